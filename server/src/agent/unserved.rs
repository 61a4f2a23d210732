//! Whether the destinations of an agent take all that its configuration has it collect.
//!
//! Invariant: a configuration that asks for something that would be refused as it comes in is
//! refused itself; what is only pushed (the receivers over HTTP listen in any case) is refused when
//! it comes.

use obs_collector::config::{Destination, Job};

use crate::config::Config;

/// A section of the configuration, and whether it is there.
type Section = (&'static str, bool);

/// Whether any destination takes samples.
pub(super) fn takes_metrics(destinations: &Destination) -> bool {
    let ships = &destinations.ships;
    !destinations.remote_writes.is_empty() || ships.iter().any(|ship| ship.metrics.is_some())
}

/// What is wrong with a configuration, if something is.
pub(super) fn check(
    config: &Config,
    jobs: &[Job],
    destinations: &Destination,
) -> anyhow::Result<()> {
    anyhow::ensure!(
        !destinations.is_empty(),
        "the configuration names no destination; add one to obs.collector.destinations or \
         remote_write"
    );
    let ships = &destinations.ships;
    let taken = [
        (
            "metrics",
            takes_metrics(destinations),
            metrics(config, jobs),
        ),
        ("logs", ships.iter().any(|s| s.logs.is_some()), logs(config)),
        (
            "traces",
            ships.iter().any(|s| s.traces.is_some()),
            traces(config),
        ),
    ];
    for (signal, taken, sections) in taken {
        let wanted = sections.into_iter().find(|(_, wanted)| *wanted);
        if let (false, Some((section, _))) = (taken, wanted) {
            anyhow::bail!(
                "{section} collects {signal}, but no destination takes {signal}; add one to \
                 obs.collector.destinations that does, or leave the section out"
            );
        }
    }
    Ok(())
}

fn metrics(config: &Config, jobs: &[Job]) -> Vec<Section> {
    let collector = &config.obs.collector;
    let (statsd, graphite) = (&collector.statsd, &collector.graphite);
    let kubernetes = &config.obs.kubernetes;
    vec![
        ("scrape_configs", !jobs.is_empty()),
        ("obs.node_exporter", config.obs.node_exporter.is_some()),
        (
            "obs.collector.statsd",
            statsd.udp.is_some() || statsd.tcp.is_some() || statsd.unixgram.is_some(),
        ),
        (
            "obs.collector.graphite",
            graphite.udp.is_some() || graphite.tcp.is_some(),
        ),
        (
            "obs.collector.pushgateway",
            collector.pushgateway.listen.is_some(),
        ),
        ("obs.kubernetes.monitors", kubernetes.monitors.is_some()),
        ("obs.kubernetes.annotations", kubernetes.annotations),
    ]
}

fn logs(config: &Config) -> Vec<Section> {
    let (followed, logs) = (&config.obs.collector.logs, &config.obs.logs);
    vec![
        (
            "obs.collector.logs",
            followed.has_files() || followed.journald.is_some(),
        ),
        (
            "obs.collector.node_problems",
            config.obs.collector.node_problems.is_some(),
        ),
        ("obs.logs.syslog", logs.syslog.is_some()),
        ("obs.logs.fluent", logs.fluent.is_some()),
        ("obs.logs.gelf", logs.gelf.is_some()),
        ("obs.logs.splunk_hec", !logs.splunk_hec.tokens.is_empty()),
        (
            "obs.kubernetes.events",
            config.obs.kubernetes.events.is_some(),
        ),
    ]
}

fn traces(config: &Config) -> Vec<Section> {
    let traces = &config.obs.traces;
    let jaeger = &traces.jaeger;
    let listens = [
        jaeger.grpc,
        jaeger.thrift_http,
        jaeger.udp_compact,
        jaeger.udp_binary,
    ];
    vec![
        ("obs.traces.zipkin", traces.zipkin.is_some()),
        ("obs.traces.jaeger", listens.iter().any(Option::is_some)),
    ]
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn checked(text: &str) -> Result<(), String> {
        let config = crate::config::parse(text).expect(text);
        let folder = Path::new("/etc");
        let destinations = config.destinations(text, folder).expect(text);
        let jobs = config.jobs(text, folder).expect(text);
        check(&config, &jobs, &destinations).map_err(|error| error.to_string())
    }

    #[test]
    fn what_nobody_takes_is_refused() {
        let check = |destinations: &str, more: &str, expect: Option<&str>| {
            let collector = format!("collector:\n    destinations: [{destinations}]");
            let text = format!("obs:\n  {collector}\n{more}\n");
            let fault = checked(&text).err();
            match expect {
                Some(expect) => {
                    let fault = fault.expect(&text);
                    assert!(fault.contains(expect), "{fault}");
                }
                None => assert_eq!(fault, None, "{text}"),
            }
        };
        let all = "{obs: {url: 'http://h:1'}}";
        let loki = "{loki: {url: 'http://h:1'}}";
        let write = "{remote_write: {url: 'http://h:1/w'}}";
        let traces = "{otlp: {url: 'http://h:1', signals: [traces]}}";
        let scrape = "scrape_configs: [{job_name: a}]";
        let files = "    logs: {files: [{paths: [/x]}]}";
        let gelf = "  logs: {gelf: {udp: '127.0.0.1:0'}}";
        let zipkin = "  traces: {zipkin: {listen: '127.0.0.1:0'}}";
        for more in ["", scrape, files, gelf, zipkin] {
            check(all, more, None);
            let expect = (more == zipkin).then_some("obs.traces.zipkin collects traces");
            check(&format!("{loki}, {write}"), more, expect);
        }
        check("", "", Some("names no destination"));
        check(loki, scrape, Some("scrape_configs collects metrics"));
        check(loki, "    statsd: {udp: '127.0.0.1:0'}", Some("statsd"));
        check(loki, files, None);
        let problems = "    node_problems: {}";
        check(loki, problems, None);
        check(
            write,
            problems,
            Some("obs.collector.node_problems collects logs"),
        );
        check(write, scrape, None);
        check(write, files, Some("obs.collector.logs collects logs"));
        check(traces, gelf, Some("obs.logs.gelf collects logs"));
        check(traces, zipkin, None);
    }
}
