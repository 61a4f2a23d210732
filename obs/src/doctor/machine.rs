//! This machine: open files, memory, clocks, ports.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};

use rustix::process::{Resource, getrlimit};

use super::finding::Report;
use crate::client::now;

/// Fewer open files than parts, connections and followed files come to.
const FILES_MIN: u64 = 8192;
/// What a server needs beside what it takes in.
const MEMORY_MIN: u64 = 256 << 20;
/// How far the wall clock may go apart from the one that is never set, in the time of one run.
const STEP_NANOS: i64 = 100_000_000;
/// Clocks that differ more refuse fresh data somewhere.
const SKEW_WARNING_NANOS: i64 = 5_000_000_000;
const SKEW_PROBLEM_NANOS: i64 = 300_000_000_000;
/// What obs listens on without being told.
const PORTS: [(u16, &str); 3] = [
    (9090, "--listen"),
    (4317, "--otlp-grpc-listen"),
    (4318, "--otlp-http-listen"),
];

/// Looks at limits and ports.
pub(super) fn look(report: &mut Report) {
    let limit = getrlimit(Resource::Nofile);
    // The server raises the soft limit to the hard one.
    match limit.maximum {
        Some(most) if most < FILES_MIN => report.warning(
            "limits.files",
            format!("at most {most} open files"),
            "each part, connection and followed file is an open file",
            format!("raise it to {FILES_MIN} or more: LimitNOFILE= of the unit, or ulimit -Hn"),
        ),
        Some(most) => report.right("limits.files", format!("{most} open files")),
        None => report.right("limits.files", "no limit of open files"),
    }
    memory(report);
    ports(report);
}

fn memory(report: &mut Report) {
    let machine = read("/proc/meminfo").and_then(|text| {
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix("MemTotal:"))?;
        let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
        Some(kib * 1024)
    });
    let group = group_limit();
    let (bytes, of) = match (machine, group) {
        (Some(machine), Some(group)) if group < machine => (group, "the control group"),
        (Some(machine), _) => (machine, "the machine"),
        (None, Some(group)) => (group, "the control group"),
        (None, None) => {
            report.note("limits.memory", "how much there is is not known", "", "");
            return;
        }
    };
    let found = format!("{} of memory, by {of}", size(bytes));
    if bytes < MEMORY_MIN {
        report.warning(
            "limits.memory",
            found,
            "a server with some ten thousand series needs more, and is killed where it asks for it",
            format!(
                "give it {} or more, or lower obs.storage.memory_bytes",
                size(MEMORY_MIN)
            ),
        );
    } else {
        report.right("limits.memory", found);
    }
}

/// The limit of the control group of this process; of version 2, then of version 1.
fn group_limit() -> Option<u64> {
    let own = read("/proc/self/cgroup").unwrap_or_default();
    let path = own.lines().find_map(|line| line.strip_prefix("0::"));
    let mut limit: Option<u64> = None;
    // The groups around it limit it too.
    let mut path = path.unwrap_or("/").trim_end_matches('/').to_owned();
    loop {
        let text = read(&format!("/sys/fs/cgroup{path}/memory.max"));
        let bytes = text.and_then(|text| text.trim().parse::<u64>().ok());
        limit = match (limit, bytes) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        match path.rfind('/') {
            Some(at) => path.truncate(at),
            None => break,
        }
    }
    limit.or_else(|| {
        let text = read("/sys/fs/cgroup/memory/memory.limit_in_bytes")?;
        text.trim().parse().ok()
    })
}

fn ports(report: &mut Report) {
    for (port, flag) in PORTS {
        let address = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port);
        match TcpListener::bind(address) {
            Ok(_) => report.right("ports", format!("{port} is free")),
            Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => report.note(
                "ports",
                format!("{port} is taken"),
                "a server of obs that runs here takes it; another one does not start beside it",
                format!("nothing where that is obs; else choose another port with {flag}"),
            ),
            Err(error) => report.warning(
                "ports",
                format!("{port} cannot be listened on: {error}"),
                "a server does not start with this address",
                format!("choose another one with {flag}"),
            ),
        }
    }
}

/// The wall clock, and one that nobody sets: the time since the machine was started.
#[derive(Debug)]
pub(super) struct Clocks {
    wall: i64,
    steady: Option<i64>,
}

impl Clocks {
    pub(super) fn now() -> Self {
        let uptime = read("/proc/uptime").and_then(|text| {
            let seconds: f64 = text.split_whitespace().next()?.parse().ok()?;
            Some((seconds * 1e9) as i64)
        });
        Self {
            wall: now().nanos(),
            steady: uptime,
        }
    }

    /// Whether the wall clock was set since.
    pub(super) fn compare(&self, report: &mut Report) {
        let later = Self::now();
        if let Some((after, before)) = later.steady.zip(self.steady) {
            step(later.wall - self.wall - (after - before), report);
        }
    }
}

fn step(nanos: i64, report: &mut Report) {
    if nanos.abs() > STEP_NANOS {
        report.warning(
            "clock.steady",
            format!("the clock was set by {} while this ran", duration_of(nanos)),
            "samples and lines get times that are not in order; rates and alerts are wrong there",
            "let one service (chrony, systemd-timesyncd) slew the clock, and nothing else set it",
        );
    } else {
        report.right("clock.steady", "the clock goes evenly");
    }
}

/// How far the clock of somebody else is ahead, told by the `Date` of an answer, which is of whole
/// seconds and between two readings of our clock.
pub(super) fn compare_dates(
    check: &'static str,
    who: &str,
    date: &str,
    (asked, answered): (i64, i64),
    report: &mut Report,
) {
    let Ok(date) = jiff::fmt::rfc2822::parse(date) else {
        report.note(check, format!("{who} tells no time"), "", "");
        return;
    };
    let second = i64::try_from(date.timestamp().as_nanosecond()).unwrap_or(0);
    // It was some time within that second, at some time between question and answer.
    let (first, last) = (second - answered, second + 1_000_000_000 - asked);
    let ahead = match (first > 0, last < 0) {
        (true, _) => first,
        (_, true) => last,
        (false, false) => 0,
    };
    let apart = format!("the clock of {who} differs by {}", duration_of(ahead));
    let means = "data from the future or the past is refused, and graphs of both do not fit";
    let remedy = "have both clocks set by NTP";
    match ahead.abs() {
        0..=SKEW_WARNING_NANOS => report.right(check, format!("the clock of {who} agrees")),
        nanos if nanos <= SKEW_PROBLEM_NANOS => report.warning(check, apart, means, remedy),
        _ => report.problem(check, apart, means, remedy),
    }
}

/// `1m40s`, `-250ms`
fn duration_of(nanos: i64) -> String {
    let unit = if nanos.abs() >= 1_000_000_000 {
        1_000_000_000
    } else {
        1_000_000
    };
    let whole = obs_model::duration::format(nanos.abs() / unit * unit);
    let sign = if nanos < 0 { "-" } else { "" };
    format!("{sign}{whole}")
}

pub(super) fn size(bytes: u64) -> String {
    crate::top::bytes(Some(bytes as f64))
}

#[expect(
    clippy::disallowed_methods,
    reason = "the kernel tells its limits in files"
)]
fn read(path: &str) -> Option<String> {
    let bytes = std::fs::read(path).ok()?;
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::Level;

    #[test]
    fn clocks_that_differ_are_told() {
        let check = |asked: i64, answered: i64, level: Level, part: &str| {
            let mut report = Report::default();
            let date = "Thu, 01 Jan 1970 01:00:00 GMT";
            let second = 1_000_000_000;
            compare_dates(
                "clock",
                "x",
                date,
                (asked * second, answered * second),
                &mut report,
            );
            assert_eq!(report.worst(), level, "{report:?}");
            assert!(report.findings[0].found.contains(part), "{report:?}");
        };
        check(3600, 3600, Level::Right, "agrees");
        // A slow answer says little.
        check(3590, 3620, Level::Right, "agrees");
        check(3596, 3597, Level::Right, "agrees");
        check(3700, 3700, Level::Warning, "by -1m39s");
        check(3500, 3500, Level::Warning, "by 1m40s");
        check(0, 1, Level::Problem, "by 59m59s");
        let mut report = Report::default();
        compare_dates("clock", "x", "", (0, 0), &mut report);
        assert_eq!(report.worst(), Level::Note);
    }

    #[test]
    fn a_clock_that_is_set_is_told() {
        for (nanos, level) in [
            (0, Level::Right),
            (STEP_NANOS, Level::Right),
            (STEP_NANOS + 1, Level::Warning),
            (-1_000_000_000, Level::Warning),
        ] {
            let mut report = Report::default();
            step(nanos, &mut report);
            assert_eq!(report.worst(), level, "{nanos}");
        }
    }
}
