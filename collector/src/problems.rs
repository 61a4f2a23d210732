//! Problems of the node: rules on the kernel's ring buffer, on logs and on what programs find, in
//! node-problem-detector's format. What they find becomes lines of a log, metrics, and for the API
//! server events and conditions of the node.
//!
//! What a line means is decided in `rules`, which is pure; `follow` and `programs` read and run;
//! here one task for each monitor takes what they say. Invariants: every queue has a bound, and
//! what finds no room is counted; programs run only where that is allowed; a monitor that fails
//! takes no other with it.

pub(crate) mod definition;
mod follow;
mod layout;
mod lines;
mod programs;
mod rules;
mod tally;
mod tell;
mod usual;

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use obs_kubernetes::node::{NodeCondition, NodeEvent, NodeReporter};
use obs_kubernetes::{Access, Client};
use obs_model::Tenant;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::config::NodeProblemsConfig;
use crate::metrics::Counters;
use crate::redact::Redactor;
use crate::sink::Sink;
use definition::{Definition, MonitorKind};
use rules::{Monitor, Report};
pub(crate) use tally::Tally;

/// Lines and outcomes that wait for their monitor.
const WAITING_MAX: usize = 256;
/// Events that wait to be told, of each who is told.
const EVENTS_MAX: usize = 1024;
/// Pause before a client of the API server is made again.
const CLIENT_PAUSE: Duration = Duration::from_secs(30);
/// Largest file with a monitor.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// Why problems of the node cannot be looked for.
#[derive(Debug, thiserror::Error)]
pub enum ProblemError {
    /// A monitor that is not what it should be.
    #[error("{0}")]
    Definition(String),
    /// A file with a monitor that is wrong.
    #[error("{path}: {reason}")]
    File {
        /// The file.
        path: String,
        /// What is wrong.
        reason: String,
    },
    /// A monitor that runs programs, which the configuration does not allow.
    #[error("{0}: runs programs, expected allow_commands: true")]
    Commands(String),
}

/// What is looked for, and who is told.
#[derive(Debug)]
pub struct Problems {
    definitions: Vec<Definition>,
    /// The name of the node.
    node: Arc<str>,
    labels: Vec<(String, String)>,
}

/// Who is told.
#[derive(Clone, Debug)]
pub struct Setting {
    /// Where lines go.
    pub sink: Sink,
    /// Whose lines they are.
    pub tenant: Tenant,
    /// Where problems are counted.
    pub counters: Arc<Counters>,
    /// The API server that is told of the node; none where it is not.
    pub access: Option<Access>,
}

impl Problems {
    /// Reads the monitors that the configuration names; `folder` is what relative paths start from,
    /// `node` the name of the node, where the configuration has none.
    ///
    /// # Errors
    /// A file cannot be read or is wrong.
    pub async fn open(
        config: &NodeProblemsConfig,
        folder: &Path,
        node: Option<&str>,
    ) -> Result<Self, ProblemError> {
        let mut definitions = Vec::new();
        for (index, monitor) in config.monitors.iter().enumerate() {
            let place = |fault: ProblemError| {
                ProblemError::Definition(format!("monitors[{index}]: {fault}"))
            };
            definitions.push(monitor.clone().check().map_err(place)?);
        }
        for file in &config.config_files {
            let path = folder.join(file);
            let read = read(&path).await.map_err(|reason| ProblemError::File {
                path: path.display().to_string(),
                reason,
            })?;
            definitions.push(read);
        }
        // Who brings a monitor of the same name has it in the place of ours.
        let ours = usual::kernel();
        let theirs = definitions
            .iter()
            .any(|d: &Definition| d.source == ours.source);
        if config.default_rules.unwrap_or(!theirs) {
            definitions.push(ours);
        }
        let runs = |d: &&Definition| matches!(d.kind, MonitorKind::Programs(_));
        if let Some(custom) = definitions
            .iter()
            .find(runs)
            .filter(|_| !config.allow_commands)
        {
            return Err(ProblemError::Commands(custom.source.clone()));
        }
        let labels = config.labels.iter().map(|(n, v)| (n.clone(), v.clone()));
        Ok(Self {
            definitions,
            node: config.node_name(node).into(),
            labels: labels.collect(),
        })
    }

    /// Looks for problems until the token is cancelled.
    pub async fn run(self, setting: Setting, stop: CancellationToken) {
        let tally = &setting.counters.problems;
        tally.begin();
        let (lines, heard) = mpsc::channel(EVENTS_MAX);
        let (events, told) = match &setting.access {
            Some(_) => {
                let (events, told) = mpsc::channel(EVENTS_MAX);
                (Some(events), Some(told))
            }
            None => (None, None),
        };
        // Lines are redacted in the sink; what the API server is told does not pass it.
        let redactor = setting.sink.redactor().cloned();
        let board = Arc::new(Board::new(self.definitions.len(), redactor.clone()));
        let mut tasks = JoinSet::new();
        if let (Some(access), Some(told)) = (setting.access.clone(), told) {
            let cluster = Cluster {
                access,
                node: Arc::clone(&self.node),
                counters: Arc::clone(&setting.counters),
            };
            let (wanted, stop) = (board.wanted.subscribe(), stop.clone());
            tasks.spawn(async move { cluster.run(told, wanted, stop).await });
        }
        let writer = tell::Writer {
            sink: setting.sink.clone(),
            tenant: setting.tenant.clone(),
            counters: Arc::clone(&setting.counters),
            node: self.node,
            labels: self.labels,
        };
        let stopped = stop.clone();
        tasks.spawn(async move { writer.run(heard, stopped).await });
        for (number, definition) in self.definitions.into_iter().enumerate() {
            let task = Task {
                monitor: Monitor::new(definition, clock::now()),
                number,
                board: Arc::clone(&board),
                counters: Arc::clone(&setting.counters),
                lines: lines.clone(),
                events: events.clone(),
                redactor: redactor.clone(),
            };
            let stop = stop.clone();
            tasks.spawn(async move { task.run(stop).await });
        }
        drop((lines, events, board));
        while tasks.join_next().await.is_some() {}
    }
}

async fn read(path: &Path) -> Result<Definition, String> {
    let size = tokio::fs::metadata(path).await.map_err(|e| e.to_string())?;
    if size.len() > FILE_BYTES_MAX {
        return Err(format!("expected at most {FILE_BYTES_MAX} bytes"));
    }
    let text = tokio::fs::read_to_string(path).await;
    let text = text.map_err(|error| error.to_string())?;
    Definition::parse(&text).map_err(|error| error.to_string())
}

/// The conditions of all monitors.
#[derive(Debug)]
struct Board {
    conditions: Mutex<Vec<Vec<NodeCondition>>>,
    wanted: watch::Sender<Vec<NodeCondition>>,
    redactor: Option<Redactor>,
}

/// Takes secrets out of what the API server is told.
fn redact(redactor: Option<&Redactor>, text: &mut String) {
    if let Some(redacted) = redactor.and_then(|by| by.text(text.as_bytes())) {
        *text = String::from_utf8_lossy(&redacted).into_owned();
    }
}

impl Board {
    fn new(monitors: usize, redactor: Option<Redactor>) -> Self {
        Self {
            conditions: Mutex::new(vec![Vec::new(); monitors]),
            wanted: watch::Sender::default(),
            redactor,
        }
    }

    fn set(&self, monitor: usize, conditions: &[NodeCondition]) {
        let mut all = self
            .conditions
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = all.get_mut(monitor) {
            conditions.clone_into(own);
            for condition in own {
                redact(self.redactor.as_ref(), &mut condition.message);
            }
        }
        self.wanted.send_replace(all.concat());
    }
}

/// One monitor.
struct Task {
    monitor: Monitor,
    number: usize,
    board: Arc<Board>,
    counters: Arc<Counters>,
    lines: mpsc::Sender<NodeEvent>,
    events: Option<mpsc::Sender<NodeEvent>>,
    redactor: Option<Redactor>,
}

impl Task {
    async fn run(mut self, stop: CancellationToken) {
        self.counters.problems.take(self.monitor.initial_counts());
        let definition = self.monitor.definition().clone();
        match &definition.kind {
            MonitorKind::Lines(lines) => {
                self.board.set(self.number, self.monitor.conditions());
                let (sender, mut found) = mpsc::channel::<lines::Line>(WAITING_MAX);
                let take = async {
                    while let Some(line) = found.recv().await {
                        self.counters.problems.looked_at(1);
                        let report = self.monitor.take_line(line.time, &line.text);
                        self.tell(report);
                    }
                };
                let follow = async {
                    follow::run(lines, &sender, &stop).await;
                    drop(sender);
                };
                tokio::join!(take, follow);
            }
            MonitorKind::Programs(programs) => {
                if !programs.skip_initial {
                    self.board.set(self.number, self.monitor.conditions());
                }
                let (sender, mut found) = mpsc::channel::<programs::Outcome>(WAITING_MAX);
                let take = async {
                    while let Some(outcome) = found.recv().await {
                        let programs::Outcome {
                            rule,
                            verdict,
                            message,
                        } = outcome;
                        let now = clock::now();
                        let report = self.monitor.take_result(rule, now, verdict, message);
                        self.tell(report);
                    }
                };
                let run = async {
                    programs::run(programs, &definition.rules, &sender, &stop).await;
                    drop(sender);
                };
                tokio::join!(take, run);
            }
        }
    }

    /// Tells what a line or an outcome meant. Nothing waits here: a flood of problems must not
    /// hold up the reading of the next one.
    fn tell(&self, report: Report) {
        if report.changed {
            self.board.set(self.number, self.monitor.conditions());
        }
        self.counters.problems.take(report.counts);
        for event in report.events {
            if let Some(events) = &self.events {
                let mut told = event.clone();
                redact(self.redactor.as_ref(), &mut told.message);
                if events.try_send(told).is_err() {
                    self.counters.problems.node.lose();
                }
            }
            if self.lines.try_send(event).is_err() {
                self.counters.problems.lose();
            }
        }
    }
}

/// The API server that is told of the node.
struct Cluster {
    access: Access,
    node: Arc<str>,
    counters: Arc<Counters>,
}

impl Cluster {
    async fn run(
        self,
        events: mpsc::Receiver<NodeEvent>,
        wanted: watch::Receiver<Vec<NodeCondition>>,
        stop: CancellationToken,
    ) {
        let client = loop {
            match Client::new(&self.access).await {
                Ok(client) => break client,
                Err(error) => {
                    tracing::warn!(%error, "no API server to tell of the node, is tried again");
                }
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(CLIENT_PAUSE) => {}
            }
        };
        let counters = Arc::clone(&self.counters.problems.node);
        let reporter = NodeReporter::new(client, &self.node, counters);
        tokio::join!(
            reporter.clone().tell_events(events, stop.clone()),
            reporter.keep_conditions(wanted, stop)
        );
    }
}

#[cfg(test)]
mod tests;
