//! Problems of the node as lines of a log: one line in logfmt for each, streams by source.
//!
//! Invariant: what is told waits while the sink refuses, and goes in the order in which it came.

use std::sync::Arc;
use std::time::Duration;

use obs_kubernetes::node::NodeEvent;
use obs_model::{Labels, LogBatch, LogRecord, LogStream, Tenant};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::metrics::Counters;
use crate::sink::{Sink, SinkError};

/// The label `job` of all streams.
const JOB: &str = "node-problems";
/// How long lines are gathered, and how many go together.
const GATHER: Duration = Duration::from_millis(250);
const BATCH_RECORDS: usize = 500;
/// Pause after the sink refused.
const PAUSE: Duration = Duration::from_secs(1);

/// Writes lines.
#[derive(Debug)]
pub(super) struct Writer {
    pub(super) sink: Sink,
    pub(super) tenant: Tenant,
    pub(super) counters: Arc<Counters>,
    pub(super) node: Arc<str>,
    pub(super) labels: Vec<(String, String)>,
}

impl Writer {
    /// Writes until nobody has anything any more, or the token is cancelled.
    pub(super) async fn run(self, mut events: mpsc::Receiver<NodeEvent>, stop: CancellationToken) {
        while let Some(event) = events.recv().await {
            let mut batch = vec![event];
            let until = Instant::now() + GATHER;
            while batch.len() < BATCH_RECORDS {
                match timeout_at(until, events.recv()).await {
                    Ok(Some(event)) => batch.push(event),
                    Ok(None) | Err(_) => break,
                }
            }
            if !self.store(self.batch(&batch), &stop).await {
                return;
            }
        }
    }

    /// Stores a batch, however long the sink refuses. Whether to go on.
    async fn store(&self, batch: LogBatch, stop: &CancellationToken) -> bool {
        loop {
            match self.sink.logs(self.tenant.clone(), batch.clone()).await {
                Ok(_) => return true,
                Err(error @ SinkError::Refused { .. }) => {
                    tracing::warn!(%error, "problems of the node are not among the logs");
                    for _ in 0..batch.record_count() {
                        self.counters.problems.lose();
                    }
                    return true;
                }
                Err(error) => tracing::warn!(%error, "problems of the node are not stored yet"),
            }
            tokio::select! {
                () = stop.cancelled() => return false,
                () = sleep(PAUSE) => {}
            }
        }
    }

    fn batch(&self, events: &[NodeEvent]) -> LogBatch {
        let mut streams: Vec<(&str, LogStream)> = Vec::new();
        for event in events {
            let record = record(&self.node, event);
            match streams.iter_mut().find(|(known, _)| *known == event.source) {
                Some((_, stream)) => stream.records.push(record),
                None => {
                    let own = self.labels.iter().map(|(n, v)| (n.as_str(), v.as_str()));
                    let usual = [
                        ("job", JOB),
                        ("node", &*self.node),
                        ("source", &event.source),
                    ];
                    let stream = LogStream {
                        labels: Labels::from_pairs(usual.into_iter().chain(own)),
                        records: vec![record],
                    };
                    streams.push((&event.source, stream));
                }
            }
        }
        LogBatch {
            streams: streams.into_iter().map(|(_, stream)| stream).collect(),
        }
    }
}

fn record(node: &str, event: &NodeEvent) -> LogRecord {
    let (kind, level) = match event.warning {
        true => ("Warning", "warn"),
        false => ("Normal", "info"),
    };
    let mut line = format!("type={kind} reason={} msg=", word(&event.reason));
    push_quoted(&mut line, &event.message);
    LogRecord {
        time: event.time,
        line: line.into_bytes(),
        metadata: Labels::from_pairs([
            ("level", level),
            ("k8s_event_reason", event.reason.as_str()),
            ("k8s_node_name", node),
        ]),
    }
}

/// A reason without what would end it in logfmt.
fn word(reason: &str) -> String {
    let plain = |c: char| {
        if c > ' ' && c != '"' && c != '=' {
            c
        } else {
            '_'
        }
    };
    reason.chars().map(plain).collect()
}

fn push_quoted(line: &mut String, text: &str) {
    line.push('"');
    for char in text.chars() {
        match char {
            '"' => line.push_str("\\\""),
            '\\' => line.push_str("\\\\"),
            '\n' => line.push_str("\\n"),
            '\t' => line.push_str("\\t"),
            c if c.is_control() => line.push(' '),
            c => line.push(c),
        }
    }
    line.push('"');
}

#[cfg(test)]
mod tests {
    use obs_model::Timestamp;

    use super::*;

    #[test]
    fn events_become_lines() {
        let event = NodeEvent {
            source: "kernel-monitor".to_owned(),
            warning: true,
            time: Timestamp::from_nanos(7),
            reason: "OOM Killing".to_owned(),
            message: "Killed \"x\"\nand \\more".to_owned(),
        };
        let record = record("n1", &event);
        assert_eq!(
            String::from_utf8(record.line).unwrap(),
            r#"type=Warning reason=OOM_Killing msg="Killed \"x\"\nand \\more""#
        );
        assert_eq!(record.metadata.get("level"), Some("warn"));
        assert_eq!(record.metadata.get("k8s_node_name"), Some("n1"));
    }
}
