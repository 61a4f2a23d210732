//! `obs.collector.pushgateway`, `statsd`, `graphite` and `influx`: ways in for metrics that others
//! have had before.
//!
//! Invariant: but for what is pushed over HTTP on the main port, all are off until configured.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::Deserialize;

use super::values::Span;

/// Most series of all pushed groups, without a word about it: far more than batch jobs have.
const SERIES_MAX: usize = 1_000_000;

/// `obs.collector.pushgateway`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PushgatewayConfig {
    /// Where a listener of its own is, with the groups at `/metrics`; usually port 9091.
    pub listen: Option<SocketAddr>,
    /// How often groups are written to the store; `global.scrape_interval`.
    pub interval: Option<Span>,
    /// Whether `PUT /api/v1/admin/wipe` deletes all groups.
    pub enable_admin_api: bool,
    consistency_check: Option<bool>,
    series_max: Option<usize>,
}

impl PushgatewayConfig {
    /// Whether a push must fit what is there; true.
    pub fn consistency_check(&self) -> bool {
        self.consistency_check.unwrap_or(true)
    }

    /// Most series of all groups.
    pub fn series_max(&self) -> usize {
        self.series_max.unwrap_or(SERIES_MAX)
    }
}

/// `obs.collector.statsd`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StatsdConfig {
    /// Where UDP is listened on; usually port 8125.
    pub udp: Option<SocketAddr>,
    /// Where TCP is listened on.
    pub tcp: Option<SocketAddr>,
    /// The path of a socket for datagrams.
    pub unixgram: Option<PathBuf>,
    /// A mapping file of statsd_exporter.
    pub mapping_file: Option<PathBuf>,
    /// How often what was counted is written; `global.scrape_interval`, 10s at most.
    pub interval: Option<Span>,
    /// Most series; further ones are dropped and counted. 100000.
    pub series_max: Option<usize>,
}

/// `obs.collector.graphite`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GraphiteConfig {
    /// Where lines over TCP are listened for; usually port 2003.
    pub tcp: Option<SocketAddr>,
    /// Where lines over UDP are listened for.
    pub udp: Option<SocketAddr>,
    /// A mapping file of graphite_exporter.
    pub mapping_file: Option<PathBuf>,
    /// Whether what matches no mapping is dropped.
    pub strict_match: bool,
}
