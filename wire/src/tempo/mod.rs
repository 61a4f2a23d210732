//! Tempo's formats: what its HTTP and gRPC APIs take and answer.

pub mod api;
pub mod messages;
mod proto;
pub mod requests;
pub mod series;
