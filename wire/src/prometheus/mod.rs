//! Prometheus' formats: expositions (text, OpenMetrics, protobuf), remote write, the HTTP API's JSON.

pub mod delimited;
pub mod exposition;

pub mod openmetrics;
pub mod pushed;
pub mod scan;
pub mod text;

pub mod remote_read;
pub mod remote_write;

pub mod api;
pub mod federation;
mod native;

pub mod block;
pub mod chunk;

pub use exposition::{
    Exposition, ScrapedExemplar, ScrapedHistogram, ScrapedSample, Tail, normal_number,
};
