//! `obs rules backfill`: has a server write what recording rules would have recorded, online.
//!
//! Invariants: a rule is filled over the whole time before one that reads it; the samples stand at
//! multiples of the interval, so that a repetition writes the same ones again.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use anyhow::{Context, bail};
use obs_alerting::rules::group::reads;
use obs_alerting::rules::{Group, Rule, RuleKind};
use obs_model::{Timestamp, duration};
use serde_json::Value;

use crate::client::{Client, seconds};
use crate::progress::bar;
use crate::rule_arguments::BackfillOptions;

/// Steps of one request.
const STEPS: i64 = 2_000;
/// How long a server may take for them.
const TIMEOUT: Duration = Duration::from_secs(600);
/// Attempts for a server that is away or busy.
const ATTEMPTS: u32 = 8;

/// One rule and its group.
type Job<'a> = (&'a Group, &'a Rule);

pub(super) async fn run(options: &BackfillOptions) -> anyhow::Result<()> {
    let (start, end) = options.time.range("1d")?;
    let interval = crate::arguments::duration(&options.eval_interval)?.max(1);
    let groups = super::read(&options.files, options.ignore_unknown_fields)?;
    let jobs: Vec<Job<'_>> = groups
        .iter()
        .flat_map(|group| group.rules.iter().map(move |rule| (group, rule)))
        .filter(|(_, rule)| matches!(rule.kind, RuleKind::Record { .. }))
        .collect();
    if jobs.is_empty() {
        bail!("the files have no recording rule");
    }
    let (jobs, circle) = ordered(jobs);
    for (_, rule) in circle {
        let name = rule.name();
        writeln!(
            std::io::stderr(),
            "{name} is one of several rules that read each other: a second run brings them closer"
        )?;
    }
    let step = |group: &Group| group.interval.unwrap_or(interval);
    let chunks = |group: &Group| pieces(start, end, step(group));
    let total: usize = jobs.iter().map(|(group, _)| chunks(group).len()).sum();
    let client = Client::new(&options.server)?;
    let shown = std::io::stderr().is_terminal() && !crate::paint::dumb();
    let (mut done, mut samples, mut refused) = (0u64, 0u64, 0u64);
    for (group, rule) in &jobs {
        let one = Group {
            rules: vec![(*rule).clone()],
            ..(*group).clone()
        };
        let body = super::written(std::iter::once(&one))?;
        for (from, to) in chunks(group) {
            if shown {
                let bar = bar(done, total as u64);
                let name = rule.name();
                write!(
                    std::io::stderr(),
                    "\r{bar} {name} · {samples} samples\x1b[K"
                )?;
            }
            let path = format!(
                "/api/v1/rule_backfill?start={}&end={}&step={}",
                seconds(from),
                seconds(to),
                duration::format(interval)
            );
            let data = fill(&client, &path, &body).await;
            let data = data.with_context(|| format!("rule {:?}", rule.name()))?;
            samples += data["samples"].as_u64().unwrap_or(0);
            refused += data["refused"].as_u64().unwrap_or(0);
            done += 1;
        }
    }
    if shown {
        writeln!(std::io::stderr(), "\r{}\x1b[K", bar(done, total as u64))?;
    }
    let rules = jobs.len();
    writeln!(
        std::io::stdout(),
        "recorded {samples} samples of {rules} rules from {start} to {end}"
    )?;
    if refused > 0 {
        bail!("the server refused {refused} samples; they may be older than it keeps any");
    }
    Ok(())
}

/// Asks until the server has done it.
async fn fill(client: &Client, path: &str, body: &[u8]) -> anyhow::Result<Value> {
    let headers = [("content-type", "application/yaml")];
    let mut wait = Duration::from_millis(200);
    for attempt in 1.. {
        let answer = client.post_within(path, &headers, body.to_vec(), TIMEOUT);
        let reason = match answer.await {
            Ok(answer) if answer.status == 200 => {
                let answer: Value = serde_json::from_slice(&answer.body)
                    .context("the server did not answer with JSON")?;
                return Ok(answer["data"].clone());
            }
            Ok(answer) if answer.status == 429 || answer.status >= 500 => answer.told(),
            Ok(answer) => bail!("the server answered {}: {}", answer.status, answer.told()),
            Err(error) => format!("{error:#}"),
        };
        if attempt == ATTEMPTS {
            bail!("gave up after {ATTEMPTS} attempts: {reason}");
        }
        if attempt == 1 {
            crate::shape::note(&format!("obs: {reason}; trying again"))?;
        }
        tokio::time::sleep(wait).await;
        wait *= 2;
    }
    Ok(Value::Null)
}

/// A time in pieces of so many steps; each begins a step behind the one before.
fn pieces(start: Timestamp, end: Timestamp, step: i64) -> Vec<(Timestamp, Timestamp)> {
    let step = step.max(obs_model::time::NANOS_PER_MILLI);
    let first = start.nanos().div_euclid(step).saturating_mul(step);
    let mut from = Timestamp::from_nanos(first);
    if from < start {
        from = from.saturating_add(step);
    }
    let mut pieces = Vec::new();
    while from <= end {
        let to = from.saturating_add(step.saturating_mul(STEPS - 1)).min(end);
        pieces.push((from, to));
        from = from.saturating_add(step.saturating_mul(STEPS));
    }
    pieces
}

/// Jobs behind all that they read from; and those that wait for each other, which come last in the
/// order of their files.
fn ordered(jobs: Vec<Job<'_>>) -> (Vec<Job<'_>>, Vec<Job<'_>>) {
    let mut left = jobs;
    let mut done = Vec::with_capacity(left.len());
    loop {
        let waits = |job: &Job<'_>| {
            let others = left.iter().filter(|other| !std::ptr::eq(other.1, job.1));
            others.clone().any(|other| reads(job.1, other.1))
        };
        let flags: Vec<bool> = left.iter().map(waits).collect();
        let mut ready = Vec::new();
        let mut later = Vec::new();
        for (job, waits) in left.into_iter().zip(flags) {
            match waits {
                false => ready.push(job),
                true => later.push(job),
            }
        }
        left = later;
        let stuck = ready.is_empty();
        done.extend(ready);
        if stuck {
            let circle = left.clone();
            done.extend(left);
            return (done, circle);
        }
    }
}

#[cfg(test)]
mod tests {
    use obs_alerting::rules::{Parsing, RuleFile};

    use super::*;

    #[test]
    fn rules_come_behind_what_they_read() {
        let check = |rules: &[(&str, &str)], expect: &[&str], circle: usize| {
            let rules: Vec<String> = rules
                .iter()
                .map(|(name, expr)| format!("  - {{record: '{name}', expr: '{expr}'}}\n"))
                .collect();
            let text = format!("groups:\n- name: g\n  rules:\n{}", rules.concat());
            let file = RuleFile::parse(&text, &Parsing::default()).expect("valid rules");
            let group = &file.groups[0];
            let jobs = group.rules.iter().map(|rule| (group, rule)).collect();
            let (jobs, stuck) = ordered(jobs);
            let names: Vec<&str> = jobs.iter().map(|(_, rule)| rule.name()).collect();
            assert_eq!((names.as_slice(), stuck.len()), (expect, circle), "{text}");
        };
        check(&[("a", "x"), ("b", "y")], &["a", "b"], 0);
        check(
            &[("a", "sum(b)"), ("b", "rate(c[5m])"), ("c", "x")],
            &["c", "b", "a"],
            0,
        );
        check(&[("a", "b"), ("b", "a"), ("c", "x")], &["c", "a", "b"], 2);
        check(&[("a", "a offset 1m")], &["a"], 0);
    }

    #[test]
    fn pieces_follow_each_other() {
        let time = Timestamp::from_seconds;
        let found = pieces(time(1), time(150_000), 60_000_000_000);
        assert_eq!(found[0].0, time(60));
        assert_eq!(found[1].0 - found[0].1, 60_000_000_000);
        assert_eq!(found.last().map(|piece| piece.1), Some(time(150_000)));
        assert_eq!(pieces(time(1), time(2), 60_000_000_000), []);
    }
}
