//! A server that runs: what it says of itself over its API.

use std::time::Duration;

use serde_json::Value;

use super::finding::Report;
use super::machine::{compare_dates, size};
use crate::arguments::ServerOptions;
use crate::client::{Client, now};
use crate::context::variable;

const TIMEOUT: Duration = Duration::from_secs(20);
const JOURNAL_BYTES_MAX: f64 = 1e9;
/// Targets that are told one by one.
const TOLD: usize = 10;

/// Asks the server, if there is one or one was named.
pub(super) async fn look(options: &ServerOptions, report: &mut Report) {
    let named = options.server.is_some()
        || options.context.is_some()
        || variable("OBS_SERVER").is_some()
        || variable("OBS_CONTEXT").is_some();
    if let Err(error) = ask(options, report).await {
        let found = format!("{error:#}");
        if named {
            report.problem(
                "server",
                found,
                "it cannot be asked how it is",
                "does it run, and is it at this address? 401 and 403: --token-file or `obs context \
                 add` say who asks",
            );
        } else {
            report.note(
                "server",
                found,
                "no server was named, and there is none here",
                "",
            );
        }
    }
}

async fn ask(options: &ServerOptions, report: &mut Report) -> anyhow::Result<()> {
    let client = Client::new(options)?;
    let asked = now().nanos();
    let ready = client.stream("/-/ready", &[], TIMEOUT).await?;
    let answered = now().nanos();
    let date = ready
        .headers()
        .get("date")
        .and_then(|date| date.to_str().ok());
    let date = date.unwrap_or_default().to_owned();
    report.right("server.ready", "it takes in and answers");
    compare_dates(
        "clock.server",
        "the server",
        &date,
        (asked, answered),
        report,
    );
    let metrics = client.get("/metrics", &[], "text/plain").await?;
    let metrics = String::from_utf8_lossy(&metrics);
    version(&metrics, report);
    metrics_of(&metrics, report);
    let active = [("state", "active".to_owned())];
    targets(&client.json("/api/v1/targets", &active).await?, report);
    Ok(())
}

/// `/api/v1/status/buildinfo` tells the version of Prometheus that clients may expect.
fn version(metrics: &str, report: &mut Report) {
    let own = env!("CARGO_PKG_VERSION");
    let told = values(metrics, "obs_build_info").into_iter().next();
    let (labels, _) = told.unwrap_or_default();
    let server = labels
        .strip_prefix("version=\"")
        .and_then(|rest| rest.strip_suffix('"'));
    if server == Some(own) {
        report.right(
            "server.version",
            format!("the server and this command are {own}"),
        );
        return;
    }
    let server = server.unwrap_or("not known");
    report.note(
        "server.version",
        format!("the version of the server is {server}, that of this command {own}"),
        "commands may ask for what the server does not know",
        "use the obs of the server",
    );
}

/// The values of a metric, with what tells its series apart.
fn values<'t>(text: &'t str, name: &str) -> Vec<(&'t str, f64)> {
    let mut found = Vec::new();
    for line in text.lines() {
        let Some(rest) = line.strip_prefix(name).filter(|_| !line.starts_with('#')) else {
            continue;
        };
        let (labels, value) = match rest
            .strip_prefix('{')
            .and_then(|rest| rest.rsplit_once('}'))
        {
            Some((labels, value)) => (labels, value),
            None if rest.starts_with(' ') => ("", rest),
            None => continue,
        };
        let value = value.split_whitespace().next().and_then(|v| v.parse().ok());
        found.extend(value.map(|value| (labels, value)));
    }
    found
}

fn metrics_of(text: &str, report: &mut Report) {
    let over = |name: &str, limit: f64| -> Vec<String> {
        let all = values(text, name).into_iter();
        let over = all.filter(|(_, value)| *value > limit);
        over.map(|(labels, value)| format!("{name}{{{labels}}} is {value}"))
            .collect()
    };
    let before = report.findings.len();
    for found in over("obs_store_poisoned", 0.0) {
        report.problem(
            "server.poisoned",
            found,
            "a sync failed, so the store takes no writes: nobody knows what is on the disk",
            "check the disk, then restart the server: the journal has what was acknowledged",
        );
    }
    for found in over("obs_store_quarantined", 0.0) {
        report.warning(
            "server.quarantine",
            found,
            "damaged files were set aside, and what they had is not served",
            "find out why (disk, memory), and restore a backup; `obs doctor --data` names them",
        );
    }
    for found in over("obs_store_failed_jobs_total", 0.0) {
        report.warning(
            "server.jobs",
            found,
            "flush, merge or retention has failed since the start: a full disk, or damage",
            "the log of the server says why (\"upkeep failed\")",
        );
    }
    for found in over("obs_store_journal_bytes", JOURNAL_BYTES_MAX) {
        report.warning(
            "server.journal",
            found,
            "flushes do not keep up; the next start reads all of it",
            "look for failed jobs, and at how busy the disk is",
        );
    }
    let sum = |name: &str| {
        values(text, name)
            .iter()
            .map(|(_, value)| value)
            .sum::<f64>()
    };
    let (depth, bound) = (sum("obs_sink_queue_depth"), sum("obs_sink_queue_bound"));
    if bound > 0.0 && depth / bound > 0.5 {
        report.warning(
            "server.queue",
            format!("{depth} of {bound} places of the queue of writes are taken"),
            "data comes faster than it is stored; senders are told to wait when it is full",
            "a faster disk, fewer series, or more servers",
        );
    }
    let (open, most) = (sum("process_open_fds"), sum("process_max_fds"));
    if most > 0.0 && open / most > 0.8 {
        report.warning(
            "server.files",
            format!("{open} of {most} open files"),
            "the server cannot open more parts, connections and followed files than that",
            "raise the limit: LimitNOFILE= of the unit, or ulimit -Hn",
        );
    }
    if report.findings.len() == before {
        let memory = sum("process_resident_memory_bytes").max(0.0) as u64;
        report.right(
            "server.metrics",
            format!("nothing is wrong; {} of memory", size(memory)),
        );
    }
}

fn targets(answer: &Value, report: &mut Report) {
    let none = Vec::new();
    let all = answer["data"]["activeTargets"].as_array().unwrap_or(&none);
    let down: Vec<&Value> = all
        .iter()
        .filter(|target| target["health"] == "down")
        .collect();
    for target in down.iter().take(TOLD) {
        let text = |name: &str| target[name].as_str().unwrap_or_default();
        report.warning(
            "server.targets",
            format!("{}: {}", text("scrapeUrl"), text("lastError")),
            "this target was not scraped the last time",
            "does it run, and can the server reach it?",
        );
    }
    if down.len() > TOLD {
        let more = format!("{} more targets are down", down.len() - TOLD);
        report.warning("server.targets", more, "as above", "");
    }
    if down.is_empty() {
        report.right("server.targets", format!("none of {} is down", all.len()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::Level;
    use serde_json::json;

    #[test]
    fn metrics_are_judged() {
        let check = |text: &str, level: Level, part: &str| {
            let mut report = Report::default();
            metrics_of(text, &mut report);
            assert_eq!(report.worst(), level, "{report:?}");
            assert!(report.findings[0].found.contains(part), "{report:?}");
        };
        check(
            "process_resident_memory_bytes 1048576\n",
            Level::Right,
            "1.0 MiB",
        );
        check(
            "# TYPE obs_store_poisoned gauge\nobs_store_poisoned{store=\"logs\"} 1\n",
            Level::Problem,
            "store=\"logs\"",
        );
        check("obs_store_poisoned{store=\"logs\"} 0\n", Level::Right, "");
        check(
            "obs_store_quarantined{store=\"a}b\"} 2\n",
            Level::Warning,
            "a}b",
        );
        check(
            "obs_sink_queue_depth 6\nobs_sink_queue_bound 10\n",
            Level::Warning,
            "6 of 10",
        );
        check(
            "obs_sink_queue_depth_other 6\nprocess_open_fds nonsense\n",
            Level::Right,
            "",
        );
    }

    #[test]
    fn versions_are_compared() {
        let own = env!("CARGO_PKG_VERSION");
        for (told, level) in [(own, Level::Right), ("99.0.0", Level::Note)] {
            let mut report = Report::default();
            let metrics = format!("# HELP x\nobs_build_info{{version=\"{told}\"}} 1\n");
            version(&metrics, &mut report);
            assert_eq!(report.worst(), level, "{report:?}");
            assert!(report.findings[0].found.contains(told), "{report:?}");
        }
    }

    #[test]
    fn targets_that_are_down_are_told() {
        let target = json!({"health": "down", "scrapeUrl": "http://x", "lastError": "refused"});
        let many: Vec<Value> = vec![target; TOLD + 2];
        let mut report = Report::default();
        targets(&json!({"data": {"activeTargets": many}}), &mut report);
        assert_eq!(report.findings.len(), TOLD + 1);
        assert!(report.findings[TOLD].found.starts_with("2 more"));
        let mut report = Report::default();
        targets(&json!({}), &mut report);
        assert_eq!(report.worst(), Level::Right);
    }
}
