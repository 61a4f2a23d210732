//! Jaeger's formats: what its query API answers.

pub mod ui;
pub mod v3;
