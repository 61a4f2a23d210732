//! `/proc` and `/sys` as metric families with node_exporter's names and labels.
//!
//! Each collector reads through `source.rs` and writes into a sheet; what it reads it takes apart
//! in functions from text to points. A collector that fails costs its own families only, and says
//! so in `node_scrape_collector_success`; one that finds nothing to tell of says so too, as
//! node_exporter's do.

mod containers;
mod cpu;
mod disk;
mod error;
mod filter;
mod flags;
mod hardware;
mod host;
mod memory;
mod mounts;
mod network;
mod options;
mod registry;
mod sheet;
mod source;
mod system;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tree;

use obs_model::family::Family;

pub use containers::{ContainerKey, ContainerNames, Lookup};
pub use error::{CollectError, FlagError};
pub use flags::{FLAGS, Flag, Kind};
pub use options::Options;
pub use registry::{COLLECTORS, Collector, NOT_HERE};
pub use source::Source;

use sheet::Sheet;

/// What one round of all collectors gave.
#[derive(Debug)]
pub struct Gathered {
    /// The families in order of name.
    pub families: Vec<Family>,
    /// What went wrong, by collector.
    pub faults: Vec<(&'static str, CollectError)>,
}

/// Runs every collector that is on once.
pub fn gather(source: &Source, options: &Options) -> Gathered {
    let mut sheet = Sheet::default();
    let mut faults = Vec::new();
    for collector in COLLECTORS {
        if !options.is_enabled(collector.name) {
            continue;
        }
        let stopwatch = source::Stopwatch::start();
        let result = (collector.collect)(source, options, &mut sheet);
        let labels = [("collector", collector.name)];
        sheet.gauge(
            "node_scrape_collector_duration_seconds",
            "node_exporter: Duration of a collector scrape.",
            &labels,
            stopwatch.seconds(),
        );
        sheet.gauge(
            "node_scrape_collector_success",
            "node_exporter: Whether a collector succeeded.",
            &labels,
            sheet::flag(result.is_ok()),
        );
        faults.extend(result.err().map(|fault| (collector.name, fault)));
    }
    sheet.gauge(
        "node_exporter_build_info",
        "A metric with a constant '1' value labeled by version, goos and goarch from which \
         node_exporter was built.",
        &[
            ("version", env!("CARGO_PKG_VERSION")),
            ("goos", "linux"),
            ("goarch", architecture()),
        ],
        1.0,
    );
    Gathered {
        families: sheet.into_families(),
        faults,
    }
}

/// The machine as Go names it.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// The families in the Prometheus text format 0.0.4.
pub fn exposition(families: &[Family]) -> Vec<u8> {
    let mut text = Vec::with_capacity(128 << 10);
    obs_wire::prometheus::text::encode(families, &mut text);
    text
}
