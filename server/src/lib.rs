//! The wiring of `obs serve`: configuration, listeners, writers, query pool, upkeep, own telemetry.
//!
//! Start: bind, answer "starting", replay the journals, answer. Stop: no more scrapes, own
//! telemetry flushed, requests finished, queued writes made durable.

pub mod backup;
pub mod config;
pub mod kube_state;
pub mod node_exporter;

mod about;
mod agent;
mod alertmanager;
mod api;
mod app;
mod auth;
mod clock;
mod connections;
mod cost;
mod dashboards;
mod derived;
mod enforced;
mod features;
mod intake;
mod look;
mod metrics;
mod notify;
mod params;
mod pods;
mod problems;
mod process;
mod read;
mod reload;
mod remembered;
mod request_line;
mod resource_metrics;
mod ruler;
mod sampling;
mod span_limits;
mod start;
mod stores;
mod tails;
mod telemetry;
mod tls;
mod token_review;
mod turns;
mod unread;
mod upkeep;
mod write;

use std::net::SocketAddr;
use std::path::PathBuf;

pub use agent::{AgentOptions, agent};
/// For the command line, which checks files before a server has them.
pub use alertmanager::check as check_alerts;
/// For the command line, which hands them to a Grafana.
pub use dashboards::bundled as bundled_dashboards;
pub use features::Features;
pub use look::{Looked, look_at};
/// For the command line, whose tests of rules name files by patterns.
pub use obs_collector::glob;
/// For the command line, whose clients are built in the same way.
pub use obs_collector::http_client;
#[doc(inline)]
pub use obs_collector::notifier::NotifierOptions;
/// For the command line, which selects series by remote read.
pub use obs_query::promql::parse_selector;
/// For the command line, which explains what was found.
pub use obs_storage::Inspection;
pub use ruler::RuleOptions;
pub use start::serve;
pub use telemetry::LogFormat;

/// What the command line says.
#[derive(Clone, Debug)]
pub struct Options {
    /// The configuration file.
    pub config: Option<PathBuf>,
    /// The folder for everything that is kept.
    pub data: PathBuf,
    /// HTTP APIs and UI.
    pub listen: SocketAddr,
    /// OTLP over gRPC.
    pub otlp_grpc_listen: SocketAddr,
    /// OTLP over HTTP.
    pub otlp_http_listen: SocketAddr,
    /// Whether listeners may be open to strangers.
    pub insecure_listen: bool,
    /// A `web.yml` of Prometheus.
    pub web_config_file: Option<PathBuf>,
    /// How long data is kept; 0 for ever; without it the configuration decides.
    pub retention_nanos: Option<i64>,
    /// Under which path HTTP is served besides the root: empty, or `/path` as [`is_prefix`] has it.
    pub route_prefix: String,
    /// Where users reach the server; its own address without it.
    pub external_url: Option<String>,
    /// Whether a reload may be asked for over HTTP.
    pub enable_lifecycle: bool,
    /// Whether series may be deleted and snapshots taken over HTTP.
    pub enable_admin_api: bool,
    /// How rules are evaluated.
    pub rules: RuleOptions,
    /// What is switched on.
    pub features: Features,
    /// Shape of the log.
    pub log_format: LogFormat,
    /// How much more than usual is logged: 1 debug, 2 trace.
    pub verbose: u8,
}

/// Whether a text can be the path that requests of a proxy begin with: `/` and names of letters,
/// digits, `-`, `_`, `.` and `~`, without a `/` at the end.
pub fn is_prefix(text: &str) -> bool {
    let plain = |name: &str| {
        let known = |b: u8| b.is_ascii_alphanumeric() || b"-_.~".contains(&b);
        !name.is_empty() && name.bytes().all(known)
    };
    text.strip_prefix('/')
        .is_some_and(|path| path.split('/').all(plain))
}
