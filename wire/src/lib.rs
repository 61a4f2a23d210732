//! Every foreign format of obs: bytes in, nouns of `obs_model` out, and back.
//!
//! Invariants: every decoder takes bytes and limits, never panics, never allocates from a length
//! that the bytes only declare, and says where the fault is. Nothing here knows a store, a socket
//! or a clock. The structs of foreign schemas stay inside.

pub mod error;

pub mod capped;
pub mod sigv4;
pub mod snappy;

pub mod jaeger;
pub mod otlp;
pub mod tempo;
pub mod zipkin;

mod cursor;
pub mod json;
mod moment;
mod msgpack;
mod number;
mod protobuf;
mod raw;
mod rejects;

pub mod datadog;
pub mod dns;
pub mod elastic;
pub mod event;
pub mod fluent;
pub mod gelf;
pub mod graphite;
pub mod influx;
pub mod journald;
pub mod jsonlines;
pub mod keda;
pub mod loki;
pub mod prometheus;
pub mod splunk;
pub mod statsd;
pub mod syslog;
pub mod thrift;
pub mod victoria;
pub mod x509;
pub mod xml;

pub use error::{Position, WireError};
pub use rejects::Decoded;
