//! Metrics of the state of objects, as kube-state-metrics 2.20 names them.
//!
//! An object is read as JSON, one at a time, and becomes the tails of its lines ([`rows`]); the
//! object itself is not kept. Tables say what each resource has (`workload`, `pod`, …); what is
//! watched and shown is [`settings`]' to say; one task takes the events of all watches ([`run`]).
//!
//! Invariants: names, labels, values and types of metrics are kube-state-metrics'; an object that
//! is odd makes fewer lines, never a fault; what was listed stays until a new list is complete.

mod access;
mod admission;
mod batch;
mod cluster;
mod container;
mod network;
mod node;
mod pod;
mod policy;
mod storage;
mod workload;

mod cron;
mod custom;
mod error;
mod family;
mod labels;
mod object;
mod quantity;
mod resource;
mod rows;
mod run;
mod settings;
mod shard;
mod sheet;
mod store;
mod telemetry;

pub use custom::CustomConfig;
pub use error::StateError;
pub use labels::AllowLists;
pub use run::StateMetrics;
pub use settings::Settings;
pub use shard::Shard;
pub use store::Scrape;

#[cfg(test)]
mod tests;
