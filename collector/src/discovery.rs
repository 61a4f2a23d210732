//! From what is discovered to targets: `static_configs`, `file_sd_configs` and discoveries that
//! run by themselves (`provider`); groups, relabelling, checks.
//!
//! Invariants: what becomes of a discovered label set is decided by one pure function,
//! [`resolve`]; a file that cannot be read or parsed keeps the groups it had; a group that did not
//! change is not resolved again.

mod consul;
mod dns;
mod docker;
mod http;
mod nomad;
mod poll;
mod polled;
pub(crate) mod provider;

#[cfg(test)]
pub(crate) use poll::tests::{Recorded, discovery as recorded};

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use obs_model::{Labels, LabelsBuilder, TargetGroup as FoundGroup, duration};
use tokio::time::Instant;

use crate::config::{Discovery, HistogramSettings, Job, TargetGroup, parse_duration};
use crate::glob;
use crate::relabel;
use provider::{Provider, Providers};

/// Largest file of targets that is read.
const FILE_BYTES_MAX: u64 = 64 << 20;
/// How often files are looked at for a new time of change, where `refresh_interval` is longer.
const FILE_POLL: Duration = Duration::from_secs(5);
/// Changes that discoveries tell of are gathered for so long, as in Prometheus.
const GATHER: Duration = Duration::from_secs(5);
/// How long the first targets of a discovery are waited for before those of others are scraped.
const FIRST_WAIT: Duration = Duration::from_secs(10);

/// Something to scrape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Labels before relabelling.
    pub discovered: Labels,
    /// Labels of its series.
    pub labels: Labels,
    /// Where it is.
    pub url: String,
    /// The socket through which it is asked, by `__unix_socket__`.
    pub unix_socket: Option<Box<str>>,
    /// How often it is scraped.
    pub interval: Duration,
    /// How long a scrape may take.
    pub timeout: Duration,
    /// What is made of its histograms.
    pub histograms: HistogramChoice,
}

/// What is made of the histograms of one target: what its job says, unless labels say otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct HistogramChoice {
    /// `__scrape_native_histograms__`
    pub native: bool,
    /// `__always_scrape_classic_histograms__`
    pub classic: bool,
    /// `__convert_classic_histograms_to_nhcb__`
    pub convert: bool,
}

const NATIVE: &str = "__scrape_native_histograms__";
const CLASSIC: &str = "__always_scrape_classic_histograms__";
const CONVERT: &str = "__convert_classic_histograms_to_nhcb__";

impl HistogramChoice {
    fn of(labels: &LabelsBuilder) -> Result<Self, String> {
        let read = |name: &str| match labels.get(name).unwrap_or("") {
            // As the labels of Prometheus are read.
            "1" | "t" | "T" | "TRUE" | "true" | "True" => Ok(true),
            "" | "0" | "f" | "F" | "FALSE" | "false" | "False" => Ok(false),
            other => Err(format!("{name} is {other:?}, expected true or false")),
        };
        Ok(Self {
            native: read(NATIVE)?,
            classic: read(CLASSIC)?,
            convert: read(CONVERT)?,
        })
    }

    /// The settings of a job with this choice.
    pub(crate) fn settings(self, job: &Job) -> HistogramSettings {
        HistogramSettings {
            native: self.native,
            classic: self.classic,
            convert: self.convert,
            ..job.histograms
        }
    }
}

/// What a job's discovery came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resolved {
    /// To be scraped, one per label set.
    pub active: Vec<Target>,
    /// Dropped by relabelling.
    pub dropped: Vec<Labels>,
    /// Label sets that are not targets, and why.
    pub faults: Vec<String>,
}

/// Labels of each target of a group. `file` is where the group stands, for file discovery.
fn members(group: &TargetGroup, file: Option<&Path>) -> Vec<Labels> {
    let of_group = group.labels.iter().map(|(n, v)| (n.as_str(), v.as_str()));
    let mut builder = Labels::from_pairs(of_group).to_builder();
    if let Some(file) = file {
        builder.set("__meta_filepath", &file.to_string_lossy());
    }
    let member = |address: &String| builder.set("__address__", address).build();
    group.targets.iter().map(member).collect()
}

/// What became of one label set, and what it was.
type Outcome = Result<Result<Target, Labels>, String>;

/// Puts together what became of all label sets.
#[derive(Debug, Default)]
struct Gathered {
    resolved: Resolved,
    seen: BTreeMap<(Labels, String), ()>,
}

impl Gathered {
    fn add(&mut self, labels: &Labels, outcome: Outcome) {
        match outcome {
            Ok(Ok(target)) => {
                // Equal label sets would write into each other's series: the first one stays.
                let key = (target.labels.clone(), target.url.clone());
                if self.seen.insert(key, ()).is_none() {
                    self.resolved.active.push(target);
                }
            }
            Ok(Err(dropped)) => self.resolved.dropped.push(dropped),
            Err(fault) => self.resolved.faults.push(format!("{labels}: {fault}")),
        }
    }
}

/// Applies a job's defaults, relabelling and checks to all that was discovered.
pub fn resolve_all<'a>(job: &Job, discovered: impl IntoIterator<Item = &'a Labels>) -> Resolved {
    let mut gathered = Gathered::default();
    for labels in discovered {
        gathered.add(labels, resolve(job, labels));
    }
    gathered.resolved
}

/// The target that a discovered label set becomes, or its labels where relabelling drops it.
pub fn resolve(job: &Job, discovered: &Labels) -> Result<Result<Target, Labels>, String> {
    let mut builder = discovered.to_builder();
    set_defaults(job, &mut builder);
    let with_defaults = builder.build();
    if !relabel::apply(&job.relabel, &mut builder) {
        return Ok(Err(with_defaults));
    }
    let address = builder.get("__address__").unwrap_or("").to_owned();
    if address.is_empty() {
        return Err("no address".to_owned());
    }
    if address.contains('/') {
        return Err(format!("{address:?} is not a valid hostname"));
    }
    let interval = time_label(&builder, "__scrape_interval__")?;
    let timeout = time_label(&builder, "__scrape_timeout__")?;
    if timeout > interval {
        return Err(format!(
            "scrape timeout cannot be greater than scrape interval ({timeout:?} > {interval:?})"
        ));
    }
    let histograms = HistogramChoice::of(&builder)?;
    let url = url(job, &builder, &address)?;
    if builder.get("instance").is_none() {
        builder.set("instance", &address);
    }
    let unix_socket = builder.get("__unix_socket__").filter(|s| !s.is_empty());
    let unix_socket = unix_socket.map(Box::from);
    builder.retain(|name, _| !name.starts_with("__"));
    Ok(Ok(Target {
        unix_socket,
        discovered: with_defaults,
        labels: builder.build(),
        url,
        interval,
        timeout,
        histograms,
    }))
}

fn set_defaults(job: &Job, builder: &mut LabelsBuilder) {
    let text =
        |time: Duration| duration::format(i64::try_from(time.as_nanos()).unwrap_or(i64::MAX));
    let mut default = |name: &str, value: &str| {
        if builder.get(name).is_none() {
            builder.set(name, value);
        }
    };
    default("job", &job.name);
    default("__scrape_interval__", &text(job.interval));
    default("__scrape_timeout__", &text(job.timeout));
    default("__metrics_path__", &job.metrics_path);
    default("__scheme__", &job.scheme);
    for (name, wanted) in [
        (NATIVE, job.histograms.native),
        (CLASSIC, job.histograms.classic),
        (CONVERT, job.histograms.convert),
    ] {
        default(name, if wanted { "true" } else { "false" });
    }
    for (name, values) in &job.params {
        if let Some(first) = values.first() {
            builder.set(&format!("__param_{name}"), first);
        }
    }
}

fn time_label(builder: &LabelsBuilder, name: &str) -> Result<Duration, String> {
    let text = builder.get(name).unwrap_or("");
    match parse_duration(text) {
        Ok(time) if time.is_zero() => Err(format!("{name} cannot be 0")),
        Ok(time) => Ok(time),
        Err(fault) => Err(format!("{name}: {fault}")),
    }
}

fn url(job: &Job, builder: &LabelsBuilder, address: &str) -> Result<String, String> {
    let scheme = builder.get("__scheme__").unwrap_or("http");
    if scheme != "http" && scheme != "https" {
        return Err(format!("unknown scheme {scheme:?}, expected http or https"));
    }
    let path = builder.get("__metrics_path__").unwrap_or("");
    let slash = if path.starts_with('/') { "" } else { "/" };
    let text = format!("{scheme}://{address}{slash}{path}");
    let mut url = reqwest::Url::parse(&text).map_err(|e| format!("{text:?} is not a URL: {e}"))?;
    let mut params: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (name, values) in &job.params {
        params.insert(name, values.iter().map(String::as_str).collect());
    }
    for (name, value) in builder.iter() {
        if let Some(name) = name.strip_prefix("__param_") {
            let values = params.entry(name).or_default();
            match values.first_mut() {
                Some(first) => *first = value,
                None => values.push(value),
            }
        }
    }
    if !params.is_empty() {
        let mut query = url.query_pairs_mut();
        for (name, values) in params {
            for value in values {
                query.append_pair(name, value);
            }
        }
    }
    Ok(with_port(url, address))
}

/// The text of a URL, with the port that the address has even where it is that of the scheme: so it
/// is shown.
fn with_port(url: reqwest::Url, address: &str) -> String {
    let port = address.rsplit_once(':').map(|(_, port)| port);
    let port = port.filter(|port| url.port().is_none() && port.parse::<u16>().is_ok());
    let before = format!("{}://{}", url.scheme(), url.host_str().unwrap_or(""));
    let text = String::from(url);
    match (port, text.strip_prefix(&before)) {
        (Some(port), Some(after)) => format!("{before}:{port}{after}"),
        _ => text,
    }
}

/// Parses a file of targets, JSON or YAML by its ending.
fn parse_file(path: &Path, bytes: &[u8]) -> Result<Vec<TargetGroup>, String> {
    let json = path
        .extension()
        .is_some_and(|ending| ending.eq_ignore_ascii_case("json"));
    let parsed: Result<Option<Vec<TargetGroup>>, String> = if json {
        serde_json::from_slice(bytes).map_err(|e| e.to_string())
    } else {
        serde_yaml_ng::from_slice(bytes).map_err(|e| e.to_string())
    };
    parsed
        .map(Option::unwrap_or_default)
        .map_err(|e| format!("{}: {e}", path.display()))
}

#[derive(Debug, Default)]
struct FileState {
    stamp: Option<(SystemTime, u64)>,
    members: Vec<Labels>,
}

/// What a job's sources hold now; re-reads files that changed.
#[derive(Debug, Default)]
pub(crate) struct Sources {
    members: Vec<Labels>,
    patterns: Vec<PathBuf>,
    files: BTreeMap<PathBuf, FileState>,
    poll: Option<Duration>,
    running: Vec<Running>,
}

/// A group, and what became of its members.
type ResolvedGroup = (Arc<FoundGroup>, Vec<(Labels, Outcome)>);

/// A discovery that runs, and what became of its groups.
#[derive(Debug)]
struct Running {
    provider: Arc<Provider>,
    version: tokio::sync::watch::Receiver<u64>,
    resolved: HashMap<Box<str>, ResolvedGroup>,
}

impl Running {
    /// Adds its targets; groups that are as they were are not resolved again.
    fn resolve(&mut self, job: &Job, gathered: &mut Gathered) {
        self.version.borrow_and_update();
        let mut before = std::mem::take(&mut self.resolved);
        for group in self.provider.groups() {
            let old = before.remove(&group.source);
            let same = old.filter(|(old, _)| Arc::ptr_eq(old, &group));
            let (group, members) = same.unwrap_or_else(|| {
                let members = group.members();
                let members = members.map(|labels| {
                    let outcome = resolve(job, &labels);
                    (labels, outcome)
                });
                let members = members.collect();
                (group, members)
            });
            for (labels, outcome) in &members {
                gathered.add(labels, outcome.clone());
            }
            self.resolved.insert(group.source.clone(), (group, members));
        }
    }
}

impl Sources {
    pub(crate) fn new(sources: &[Discovery], providers: &Providers) -> Self {
        let mut own = Self::default();
        for source in sources {
            if let Some(provider) = providers.open(source) {
                own.running.push(Running {
                    version: provider.version(),
                    provider,
                    resolved: HashMap::new(),
                });
            }
            match source {
                Discovery::Http(_)
                | Discovery::Dns(_)
                | Discovery::Consul(_)
                | Discovery::Docker(_)
                | Discovery::Nomad(_)
                | Discovery::Polled(_)
                | Discovery::Kubernetes(_) => {}
                Discovery::Static(groups) => {
                    own.members
                        .extend(groups.iter().flat_map(|g| members(g, None)));
                }
                Discovery::Files { files, refresh } => {
                    own.patterns.extend(files.iter().cloned());
                    let poll = (*refresh).clamp(Duration::from_millis(100), FILE_POLL);
                    own.poll = Some(own.poll.map_or(poll, |p| p.min(poll)));
                }
            }
        }
        own
    }

    /// How often files are looked at; `None` where there are none.
    fn poll(&self) -> Option<Duration> {
        self.poll
    }

    /// Waits until every discovery told once of everything, but not for ever.
    pub(crate) async fn first(&mut self) {
        let until = Instant::now() + FIRST_WAIT;
        for running in &mut self.running {
            let told = running.version.wait_for(|version| *version > 0);
            // One that has no answer yet must not keep the others from being scraped.
            drop(tokio::time::timeout_at(until, told).await);
        }
    }

    /// Waits until files are due to be looked at, or until discoveries told of something and a
    /// while passed.
    pub(crate) async fn change(&mut self) {
        let every = self.poll();
        let poll = async move {
            match every {
                Some(poll) => tokio::time::sleep(poll).await,
                None => std::future::pending().await,
            }
        };
        let versions = self.running.iter_mut().map(|running| &mut running.version);
        let mut told: Vec<_> = versions
            .map(|version| Box::pin(version.changed()))
            .collect();
        let any = std::future::poll_fn(|context| {
            let ready = |told: &mut _| Future::poll(std::pin::Pin::new(told), context).is_ready();
            match told.iter_mut().any(ready) {
                true => std::task::Poll::Ready(()),
                false => std::task::Poll::Pending,
            }
        });
        tokio::select! {
            () = poll => {}
            () = async { any.await; tokio::time::sleep(GATHER).await } => {}
        }
    }

    /// What became of everything that is known now.
    pub(crate) fn resolve(&mut self, job: &Job) -> Resolved {
        let mut gathered = Gathered::default();
        for labels in self.discovered() {
            gathered.add(labels, resolve(job, labels));
        }
        for running in &mut self.running {
            running.resolve(job, &mut gathered);
        }
        gathered.resolved
    }

    /// Everything that is configured or in files, in stable order.
    pub(crate) fn discovered(&self) -> impl Iterator<Item = &Labels> {
        let of_files = self.files.values().flat_map(|file| &file.members);
        self.members.iter().chain(of_files)
    }

    /// Everything that is known now, also what running discoveries found.
    pub(crate) fn known(&mut self) -> Vec<Labels> {
        let mut all: Vec<Labels> = self.discovered().cloned().collect();
        for running in &mut self.running {
            running.version.borrow_and_update();
            for group in running.provider.groups() {
                all.extend(group.members());
            }
        }
        all
    }

    /// Looks at the files again. Whether anything changed, and what went wrong.
    pub(crate) async fn refresh(&mut self) -> (bool, Vec<String>) {
        let mut faults = Vec::new();
        let mut paths = Vec::new();
        for pattern in &self.patterns {
            let (found, more) = glob::expand(pattern).await;
            paths.extend(found);
            faults.extend(more);
        }
        let before = self.files.len();
        // Files in a folder that cannot be listed now are not known to be gone.
        if faults.is_empty() {
            self.files.retain(|path, _| paths.contains(path));
        }
        let mut changed = self.files.len() != before;
        for path in paths {
            let state = self.files.entry(path.clone()).or_default();
            match state.refresh(&path).await {
                Ok(new) => changed |= new,
                Err(fault) => faults.push(fault),
            }
        }
        (changed, faults)
    }
}

impl FileState {
    async fn refresh(&mut self, path: &Path) -> Result<bool, String> {
        let fault = |e: std::io::Error| format!("{}: {e}", path.display());
        let metadata = tokio::fs::metadata(path).await.map_err(fault)?;
        let stamp = Some((metadata.modified().map_err(fault)?, metadata.len()));
        if stamp == self.stamp {
            return Ok(false);
        }
        if metadata.len() > FILE_BYTES_MAX {
            return Err(format!(
                "{}: file of {} bytes, at most {FILE_BYTES_MAX} are read",
                path.display(),
                metadata.len()
            ));
        }
        let bytes = tokio::fs::read(path).await.map_err(fault)?;
        let groups = parse_file(path, &bytes)?;
        self.members = groups.iter().flat_map(|g| members(g, Some(path))).collect();
        self.stamp = stamp;
        Ok(true)
    }
}

#[cfg(test)]
mod tests;
