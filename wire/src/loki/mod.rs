//! Loki's formats: pushed log lines, and the HTTP API's JSON.

pub mod encode;
pub mod push;

pub mod api;

pub mod explore;
