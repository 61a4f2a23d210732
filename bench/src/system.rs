//! The systems that can be measured: how each is started, when it is ready, how it is told to put
//! everything on disk in its final form, and which of its files are a journal.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::str::FromStr;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use crate::http::Client;
use crate::process::Process;
use crate::workload::Signal;

/// Longest wait until a system is ready: a peer may replay a long journal.
const READY_MAX: Duration = Duration::from_secs(600);
/// Between two looks. It bounds the precision of restart times.
const LOOK: Duration = Duration::from_millis(5);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Obs,
    Prometheus,
    VictoriaMetrics,
    VictoriaLogs,
    VictoriaTraces,
}

/// A system by name and binary.
#[derive(Clone, Debug)]
pub(crate) struct System {
    kind: Kind,
    /// Its column in the table.
    pub(crate) name: String,
    /// What is run; a bare name is looked up in `PATH`.
    pub(crate) binary: PathBuf,
}

/// `--peer NAME[=PATH]`
impl FromStr for System {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, path) = match text.split_once('=') {
            Some((name, path)) => (name, Some(path)),
            None => (text, None),
        };
        let kind = match name {
            "prometheus" => Kind::Prometheus,
            "victoria-metrics" => Kind::VictoriaMetrics,
            "victoria-logs" => Kind::VictoriaLogs,
            "victoria-traces" => Kind::VictoriaTraces,
            "obs" if path.is_some() => Kind::Obs,
            _ => {
                return Err(
                    "expected prometheus[=PATH], victoria-metrics[=PATH], victoria-logs[=PATH], victoria-traces[=PATH] or obs=PATH (another build)"
                        .to_owned(),
                );
            }
        };
        let name = match kind {
            Kind::Obs => "other obs",
            _ => name,
        };
        Ok(Self {
            kind,
            name: name.to_owned(),
            binary: PathBuf::from(path.unwrap_or(name)),
        })
    }
}

/// A system that runs.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) process: Process,
    pub(crate) address: SocketAddr,
    /// From start to the first answer that it is ready.
    pub(crate) ready_after: Duration,
}

impl System {
    /// obs itself.
    pub(crate) fn obs(binary: PathBuf) -> Self {
        Self {
            kind: Kind::Obs,
            name: "obs".to_owned(),
            binary,
        }
    }

    /// Whether it takes this signal in.
    pub(crate) fn takes(&self, signal: Signal) -> bool {
        match self.kind {
            Kind::Obs => true,
            Kind::Prometheus | Kind::VictoriaMetrics => signal == Signal::Metrics,
            Kind::VictoriaLogs => signal == Signal::Logs,
            Kind::VictoriaTraces => signal == Signal::Traces,
        }
    }

    /// The path that takes bodies of a signal in.
    pub(crate) fn door(&self, signal: Signal) -> &'static str {
        match (self.kind, signal) {
            // Else it would take JSON lines apart and not give them back.
            (Kind::VictoriaLogs, _) => "/insert/loki/api/v1/push?disable_message_parsing=1",
            (Kind::VictoriaTraces, _) => "/insert/opentelemetry/v1/traces",
            (_, Signal::Metrics) => "/api/v1/write",
            (_, Signal::Logs) => "/loki/api/v1/push",
            (_, Signal::Traces) => "/v1/traces",
        }
    }

    /// Which of the two ways to ask is its own.
    pub(crate) fn path<'a>(&self, common: &'a str, other: Option<&'a str>) -> Option<&'a str> {
        match self.kind {
            Kind::VictoriaLogs | Kind::VictoriaTraces => other,
            _ => Some(common),
        }
    }

    /// What to know of the numbers of this system.
    pub(crate) fn caveat(&self) -> &'static str {
        match self.kind {
            Kind::Obs => "acknowledges after fsync",
            Kind::Prometheus => {
                "acknowledges before fsync; its disk is as it is, the head is not made a block"
            }
            Kind::VictoriaMetrics => {
                "acknowledges before anything is on disk and keeps no journal: stopped with SIGTERM, because a kill loses what it holds"
            }
            Kind::VictoriaLogs => {
                "acknowledges before anything is on disk and keeps no journal; JSON lines are not taken apart when they arrive"
            }
            Kind::VictoriaTraces => {
                "acknowledges before anything is on disk and keeps no journal; asked over Jaeger's API, which gives whole traces"
            }
        }
    }

    /// Starts it on a data folder and waits until it is ready. It scrapes what a configuration says.
    pub(crate) fn start(&self, data: &Path, scraped: Option<&str>) -> anyhow::Result<Running> {
        let log = data.with_extension("log");
        let config = data.with_extension("yml");
        fs::write(&config, scraped.unwrap_or("global: {}\n"))?;
        let begin = Instant::now();
        match self.kind {
            Kind::Obs => {
                let addresses = data.join("addresses.json");
                if addresses.exists() {
                    fs::remove_file(&addresses)?;
                }
                let mut process =
                    Process::start(&self.binary, &obs_arguments(data, &config), &log)?;
                let address = wait(&mut process, &log, begin, || obs_address(&addresses))?;
                ready(process, address, "/-/ready", &log, begin)
            }
            Kind::Prometheus => {
                let address = free_address()?;
                let arguments = [
                    format!("--config.file={}", config.display()),
                    format!("--storage.tsdb.path={}", data.display()),
                    format!("--web.listen-address={address}"),
                    "--web.enable-remote-write-receiver".to_owned(),
                ];
                let process = Process::start(&self.binary, &arguments, &log)?;
                ready(process, address, "/-/ready", &log, begin)
            }
            Kind::VictoriaMetrics => {
                let address = free_address()?;
                let mut arguments = vec![
                    format!("-storageDataPath={}", data.display()),
                    format!("-httpListenAddr={address}"),
                    "-search.latencyOffset=0s".to_owned(),
                    "-search.disableCache".to_owned(),
                ];
                if scraped.is_some() {
                    arguments.push(format!("-promscrape.config={}", config.display()));
                }
                let process = Process::start(&self.binary, &arguments, &log)?;
                ready(process, address, "/health", &log, begin)
            }
            Kind::VictoriaLogs | Kind::VictoriaTraces => {
                let address = free_address()?;
                let arguments = [
                    format!("-storageDataPath={}", data.display()),
                    format!("-httpListenAddr={address}"),
                    "-retentionPeriod=100y".to_owned(),
                ];
                let process = Process::start(&self.binary, &arguments, &log)?;
                ready(process, address, "/health", &log, begin)
            }
        }
    }

    /// Ends it before the restart: as a crash does, but for systems that lose what they
    /// acknowledged.
    pub(crate) fn stop(&self, process: Process) -> anyhow::Result<()> {
        match self.kind {
            Kind::Obs | Kind::Prometheus => process.kill(),
            Kind::VictoriaMetrics | Kind::VictoriaLogs | Kind::VictoriaTraces => {
                process.terminate()
            }
        }
    }

    /// Puts everything on disk in its final form; false when the system has no way to.
    pub(crate) fn flush_and_merge(&self, client: &mut Client) -> anyhow::Result<bool> {
        match self.kind {
            Kind::Obs => {
                for what in ["flush", "merge"] {
                    let path = format!("/api/v1/admin/storage/{what}");
                    client.post(&path, &[], &[])?.success().context(what)?;
                }
                Ok(true)
            }
            Kind::Prometheus => Ok(false),
            Kind::VictoriaMetrics | Kind::VictoriaLogs | Kind::VictoriaTraces => {
                client.get("/internal/force_flush")?.success()?;
                client.get("/internal/force_merge")?.success()?;
                wait_for_merges(client)?;
                Ok(true)
            }
        }
    }

    /// Whether a file is part of the journal.
    pub(crate) fn is_journal(&self, data: &Path, file: &Path) -> bool {
        match self.kind {
            Kind::Obs => file.extension().is_some_and(|e| e == "journal"),
            Kind::Prometheus => file.starts_with(data.join("wal")),
            Kind::VictoriaMetrics | Kind::VictoriaLogs | Kind::VictoriaTraces => false,
        }
    }

    /// Whether a file is not the data's: of a fixed size, or a cache kept over restarts.
    pub(crate) fn is_aside(&self, data: &Path, file: &Path) -> bool {
        match self.kind {
            Kind::Obs => file.file_name().is_some_and(|n| n == "reserve"),
            Kind::Prometheus => false,
            Kind::VictoriaMetrics | Kind::VictoriaLogs | Kind::VictoriaTraces => {
                file.starts_with(data.join("cache"))
            }
        }
    }

    /// Fetches the Debian package of a peer that is a bare name and not in `PATH`, and unpacks it
    /// below `folder`: nothing of the machine changes and no service starts.
    pub(crate) fn install(&mut self, folder: &Path) -> anyhow::Result<()> {
        if self.binary.components().count() > 1 || in_path(&self.binary) {
            return Ok(());
        }
        fs::create_dir_all(folder)?;
        let package = self.binary.display().to_string();
        run(Command::new("apt-get")
            .args(["download", &package])
            .current_dir(folder))?;
        let entries = fs::read_dir(folder)?.collect::<Result<Vec<_>, _>>()?;
        let name = |p: &Path| {
            p.file_name().is_some_and(|n| {
                let n = n.to_string_lossy();
                n.starts_with(&format!("{package}_")) && n.ends_with(".deb")
            })
        };
        let archive = entries.iter().map(fs::DirEntry::path).find(|p| name(p));
        let archive = archive.with_context(|| format!("apt-get left no {package}_*.deb"))?;
        run(Command::new("dpkg").arg("-x").arg(archive).arg(folder))?;
        self.binary = folder.join("usr/bin").join(package);
        Ok(())
    }

    /// What `--version` says first.
    pub(crate) fn version(&self) -> String {
        let output = Command::new(&self.binary).arg("--version").output();
        let text = output
            .map(|o| [o.stdout, o.stderr].concat())
            .unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let mut lines = text.lines().filter(|l| !l.is_empty());
        lines.next().unwrap_or("unknown version").to_owned()
    }
}

fn run(command: &mut Command) -> anyhow::Result<()> {
    let output = command
        .output()
        .with_context(|| format!("run {}", command.get_program().to_string_lossy()))?;
    let told = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(output.status.success(), "{command:?}: {}", told.trim());
    Ok(())
}

fn in_path(name: &Path) -> bool {
    std::env::var_os("PATH")
        .is_some_and(|all| std::env::split_paths(&all).any(|p| p.join(name).is_file()))
}

fn obs_arguments(data: &Path, config: &Path) -> [String; 10] {
    let any = || "127.0.0.1:0".to_owned();
    [
        "serve".to_owned(),
        format!("--data={}", data.display()),
        format!("--config={}", config.display()),
        "--listen".to_owned(),
        any(),
        "--otlp-grpc-listen".to_owned(),
        any(),
        "--otlp-http-listen".to_owned(),
        any(),
        "--retention=0s".to_owned(),
    ]
}

fn obs_address(file: &Path) -> Option<SocketAddr> {
    let json: serde_json::Value = serde_json::from_slice(&fs::read(file).ok()?).ok()?;
    json["http"].as_str()?.parse().ok()
}

/// A loopback address that nobody listens on.
fn free_address() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

fn ready(
    mut process: Process,
    address: SocketAddr,
    path: &str,
    log: &Path,
    begin: Instant,
) -> anyhow::Result<Running> {
    wait(&mut process, log, begin, || {
        let answer = Client::new(address).get(path).ok()?;
        (answer.status == 200).then_some(())
    })?;
    Ok(Running {
        process,
        address,
        ready_after: begin.elapsed(),
    })
}

/// Looks until there is something, the process ended or it takes too long.
fn wait<T>(
    process: &mut Process,
    log: &Path,
    begin: Instant,
    look: impl Fn() -> Option<T>,
) -> anyhow::Result<T> {
    loop {
        if let Some(found) = look() {
            return Ok(found);
        }
        if let Some(status) = process.ended()? {
            bail!("it ended ({status}); see {}", log.display());
        }
        anyhow::ensure!(
            begin.elapsed() < READY_MAX,
            "not ready after {} s; see {}",
            READY_MAX.as_secs(),
            log.display()
        );
        sleep(LOOK);
    }
}

/// VictoriaMetrics and its kin merge in the background and count the merges that were asked for.
fn wait_for_merges(client: &mut Client) -> anyhow::Result<()> {
    let begin = Instant::now();
    let mut quiet = 0;
    while quiet < 2 {
        sleep(Duration::from_millis(50));
        let text = client.get("/metrics")?.success()?;
        let text = String::from_utf8_lossy(&text);
        let active = text
            .lines()
            .find_map(|l| Some(l.split_once("_active_force_merges ")?.1))
            .context("expected active_force_merges in /metrics")?;
        quiet = if active.trim() == "0" { quiet + 1 } else { 0 };
        anyhow::ensure!(begin.elapsed() < READY_MAX, "merges do not end");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peers_by_name_and_path() {
        let check = |text: &str, expect: Option<(&str, &str)>| {
            let found = text.parse::<System>().ok();
            let found = found.map(|s| (s.name, s.binary.display().to_string()));
            let expect = expect.map(|(n, b)| (n.to_owned(), b.to_owned()));
            assert_eq!(found, expect, "{text}");
        };
        check("prometheus", Some(("prometheus", "prometheus")));
        check(
            "victoria-metrics=/x/vm",
            Some(("victoria-metrics", "/x/vm")),
        );
        check("victoria-logs=/x/vl", Some(("victoria-logs", "/x/vl")));
        check("obs=/old/obs", Some(("other obs", "/old/obs")));
        check("obs", None);
        check("influx", None);
    }
}
