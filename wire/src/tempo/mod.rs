//! Tempo's formats: what its HTTP API answers.

pub mod api;
mod proto;
