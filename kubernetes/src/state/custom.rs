//! Metrics of custom resources, as a Custom Resource State configuration describes them.
//!
//! Invariant: a configuration that is taken is whole: each metric has its kind's part and paths
//! that can be followed; what an object lacks makes no line, never an error of the others.
//! Format: <https://github.com/kubernetes/kube-state-metrics/blob/main/docs/metrics/extend/customresourcestate-metrics.md>

mod config;
mod metric;
mod path;
mod resolve;

pub use config::CustomConfig;
pub(super) use metric::CustomFamily;
pub(super) use resolve::{Definition, Found, definitions, resolve};
