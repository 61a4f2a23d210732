//! Jaeger's formats: what its query API answers, and spans as its clients send them.

mod batch;
mod proto;
pub mod query;
pub mod sampling;
mod spans;
mod thrift;
pub mod ui;
pub mod v3;

pub use proto::decode as decode_protobuf;
pub use thrift::{decode as decode_thrift, decode_datagram};
