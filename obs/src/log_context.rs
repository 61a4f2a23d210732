//! `obs logs --around N`: the lines around each line that matches, of its own stream.
//!
//! Invariant: a line is shown once, however many matches it is near to, in its order of arrival;
//! what does not overlap is parted by `--`, as grep does it.

use std::collections::HashMap;
use std::io::Write;

use anyhow::Context;
use obs_model::Timestamp;
use serde_json::{Value, json};

use crate::arguments::{LogOutput, LogsOptions};
use crate::client::Client;
use crate::logs::{self, Line, Shown};
use crate::paint::colours;

/// Lines of one time that are looked through for a match.
const SAME_TIME_MAX: usize = 5000;

pub(crate) async fn run(
    client: &Client,
    options: &LogsOptions,
    range: (Timestamp, Timestamp),
    around: usize,
) -> anyhow::Result<()> {
    let mut found =
        logs::fetch_apart(client, &options.query, range, options.limit, "backward").await?;
    logs::tell_none(&found)?;
    let shown = Shown::of(found.iter());
    shown.tell(options.output)?;
    // Of each stream the matches in order of time; the sort is stable.
    found.sort_by(|a, b| (&a.labels, a.nanos).cmp(&(&b.labels, b.nanos)));
    let mut first = true;
    for stream in found.chunk_by(|a, b| a.labels == b.labels) {
        for group in groups(client, stream, around).await? {
            print(&group, (options.output, &shown), !first)?;
            first = false;
        }
    }
    Ok(())
}

/// Lines that stand together, and whether they match.
type Group = Vec<(Line, bool)>;

/// The matches of one stream with what is around them.
async fn groups(client: &Client, matches: &[Line], around: usize) -> anyhow::Result<Vec<Group>> {
    let mut groups: Vec<Group> = Vec::new();
    // Where a line stands in the last group.
    let mut places: HashMap<(i64, String), usize> = HashMap::new();
    for line in matches {
        let segment = segment(client, line, around).await?;
        let key = |line: &Line| (line.nanos, line.text.clone());
        if !segment.iter().any(|near| places.contains_key(&key(near))) {
            groups.push(Group::new());
            places.clear();
        }
        let group = groups.last_mut().context("a group was begun")?;
        for near in segment {
            let matching = near == *line;
            match places.get(&key(&near)).and_then(|at| group.get_mut(*at)) {
                Some((_, matches)) => *matches |= matching,
                None => {
                    places.insert(key(&near), group.len());
                    group.push((near, matching));
                }
            }
        }
    }
    Ok(groups)
}

/// A match with `around` lines before and behind it. Lines of the same time are in order of
/// arrival, so those are looked at first.
async fn segment(client: &Client, line: &Line, around: usize) -> anyhow::Result<Vec<Line>> {
    let (at, next) = (line.nanos, line.nanos.saturating_add(1));
    let run = ask(client, line, (at, next), SAME_TIME_MAX, "forward").await?;
    let place = run.iter().position(|near| near.text == line.text);
    let (place, run) = match place {
        Some(place) => (place, run),
        // A query that changes lines finds none of them again.
        None => (0, vec![line.clone()]),
    };
    let mut segment = Vec::new();
    let before = around.saturating_sub(place);
    if before > 0 {
        segment = ask(client, line, (at.min(0), at), before, "backward").await?;
    }
    let end = (place + around + 1).min(run.len());
    let behind = place + around + 1 - end;
    segment.extend_from_slice(run.get(place.saturating_sub(around)..end).unwrap_or(&[]));
    if behind > 0 {
        segment.extend(ask(client, line, (next, i64::MAX), behind, "forward").await?);
    }
    Ok(segment)
}

/// Lines of the stream of a line, oldest first.
async fn ask(
    client: &Client,
    line: &Line,
    (start, end): (i64, i64),
    limit: usize,
    direction: &str,
) -> anyhow::Result<Vec<Line>> {
    let pairs = line.labels.iter().map(|(n, v)| format!("{n}={}", json!(v)));
    let query = format!("{{{}}}", pairs.collect::<Vec<_>>().join(", "));
    let range = (Timestamp::from_nanos(start), Timestamp::from_nanos(end));
    let mut found = logs::fetch_apart(client, &query, range, limit, direction).await?;
    // Streams with more labels match the selector too.
    found.retain(|near| near.labels == line.labels);
    Ok(found)
}

fn print(group: &Group, (output, shown): (LogOutput, &Shown), parted: bool) -> anyhow::Result<()> {
    let colour = colours();
    let mut out = std::io::stdout().lock();
    if parted && matches!(output, LogOutput::Table | LogOutput::Raw) {
        writeln!(out, "--")?;
    }
    for (line, matching) in group {
        match output {
            LogOutput::Raw | LogOutput::Csv | LogOutput::Graph => writeln!(out, "{}", line.text)?,
            LogOutput::Json => {
                let mut told: Value = logs::json(line);
                told["match"] = json!(matching);
                writeln!(out, "{told}")?;
            }
            LogOutput::Table => {
                let mark = if *matching { '>' } else { ' ' };
                writeln!(out, "{mark} {}", logs::row(line, shown, colour))?;
            }
        }
    }
    Ok(out.flush()?)
}
