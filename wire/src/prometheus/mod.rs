//! Prometheus' formats: expositions (text and OpenMetrics), remote write, the HTTP API's JSON.

pub mod exposition;

pub mod openmetrics;
pub mod scan;
pub mod text;

pub mod remote_write;

pub mod api;
pub mod federation;
mod native;

pub use exposition::{Exposition, ScrapedExemplar, ScrapedSample, Tail};
