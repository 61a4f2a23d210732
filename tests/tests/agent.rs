//! `obs agent` before `obs serve`, both as processes: numbered lines through everything that happens
//! to log files and to the two, pushes of every signal through the buffer, secrets that must be
//! nowhere, pods of an API server, and destinations of every kind.

mod loss;
mod pods;
mod redaction;
mod reload;
mod ways;

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::process::{Obs, now};
use crate::send::{SECOND, gzip};

/// A configuration of an agent that sends to a server; `more` are further keys of
/// `obs.collector`.
fn config(server: &Obs, more: &str) -> String {
    format!(
        "obs:\n  collector:\n    destinations: [{{obs: {{url: '{}', max_backoff: 1s}}}}]\n    {more}\n",
        server.url()
    )
}

/// How a runtime writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Cri,
    Docker,
    /// CRI, each line in pieces between pieces of the other stream.
    Pieces,
}

/// The log of one container.
struct Container {
    form: Form,
    folder: PathBuf,
    began: i64,
    number: i64,
    rotations: u64,
    /// Added to each line.
    text: fn(i64) -> String,
}

impl Container {
    fn new(root: &Path, pod: &str) -> Self {
        Self::with(root, pod, Form::Cri)
    }

    fn with(root: &Path, pod: &str, form: Form) -> Self {
        let folder = root.join(format!("shop_{pod}_uid-{pod}/web"));
        fs::create_dir_all(&folder).expect("made");
        Self {
            form,
            folder,
            began: now() - 600 * SECOND,
            number: 0,
            rotations: 0,
            text: |_| "of many".to_owned(),
        }
    }

    fn path(&self) -> PathBuf {
        self.folder.join("0.log")
    }

    fn write(&mut self, lines: i64) {
        let file = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.path());
        let mut out = Vec::new();
        for _ in 0..lines {
            let at = obs_model::Timestamp::from_nanos(self.began + self.number * 1000);
            let stream = ["stdout", "stderr"][(self.number % 2) as usize];
            let other = ["stdout", "stderr"][((self.number + 1) % 2) as usize];
            let text = format!("number={} {}", self.number, (self.text)(self.number));
            let written = match self.form {
                Form::Cri => writeln!(out, "{at} {stream} F {text}"),
                Form::Docker => {
                    let line = serde_json::json!({
                        "log": format!("{text}\n"), "stream": stream, "time": at.to_string(),
                    });
                    writeln!(out, "{line}")
                }
                Form::Pieces => {
                    let (head, tail) = text.split_at(9);
                    let next = self.number + 1;
                    self.number = next;
                    let (before, behind) = (format!("number={next}"), (self.text)(next));
                    writeln!(
                        out,
                        "{at} {stream} P {head}\n{at} {other} P {before}\n\
                         {at} {stream} F {tail}\n{at} {other} P  \n{at} {other} F {behind}"
                    )
                }
            };
            written.expect("memory is writable");
            self.number += 1;
        }
        let written = file.and_then(|mut file| file.write_all(&out));
        written.expect("written");
    }

    fn rotate(&mut self) -> PathBuf {
        let to = format!("0.log.20260101-{:06}", self.rotations);
        self.rotations += 1;
        let to = self.folder.join(to);
        fs::rename(self.path(), &to).expect("renamed");
        to
    }

    /// As logrotate does with `copytruncate`.
    fn copy_and_truncate(&mut self) {
        let to = format!("0.log.20260101-{:06}", self.rotations);
        self.rotations += 1;
        fs::copy(self.path(), self.folder.join(to)).expect("copied");
        let file = fs::OpenOptions::new().write(true).open(self.path());
        file.and_then(|file| file.set_len(0)).expect("truncated");
    }
}

fn compress(path: &Path) {
    let bytes = gzip(&fs::read(path).expect("there"));
    fs::write(format!("{}.gz", path.display()), bytes).expect("written");
    fs::remove_file(path).expect("removed");
}

/// Streams of a query, with their lines.
fn streams(server: &Obs, query: &str) -> Vec<Value> {
    let start = (now() - 3600 * SECOND).to_string();
    let params = [
        ("query", query),
        ("start", start.as_str()),
        ("limit", "5000"),
    ];
    let answer = server.get("/loki/api/v1/query_range", &params).json();
    let found = answer["data"]["result"].as_array();
    found.expect("streams").clone()
}

/// The lines of a query.
fn lines(server: &Obs, query: &str) -> Vec<String> {
    let mut all = Vec::new();
    for stream in streams(server, query) {
        for value in stream["values"].as_array().expect("values") {
            all.push(value[1].as_str().expect("a line").to_owned());
        }
    }
    all
}

/// How often each number is in the store.
fn numbers(server: &Obs, pod: &str) -> BTreeMap<i64, usize> {
    let mut found = BTreeMap::new();
    for line in lines(server, &format!("{{pod=\"{pod}\"}}")) {
        let number = line
            .strip_prefix("number=")
            .and_then(|l| l.split(' ').next());
        let number = number.and_then(|n| n.parse().ok()).expect("a number");
        *found.entry(number).or_insert(0) += 1;
    }
    found
}

/// Waits until every line of a container is there, each once. What is sent a second time comes
/// before lines that are written now: those are waited for before anything is counted.
fn arrived(server: &Obs, pod: &str, container: &mut Container) {
    all_there(server, pod, container);
    container.write(1);
    once(pod, &all_there(server, pod, container));
}

/// How often each line of a container is there, when all are.
fn all_there(server: &Obs, pod: &str, container: &Container) -> BTreeMap<i64, usize> {
    crate::process::until(&format!("all lines of {pod}"), || {
        let found = numbers(server, pod);
        (found.len() as i64 == container.number).then_some(found)
    })
}

fn once(pod: &str, found: &BTreeMap<i64, usize>) {
    let twice: Vec<_> = found.iter().filter(|(_, count)| **count != 1).collect();
    assert!(twice.is_empty(), "{pod}: {twice:?}");
}

/// A moment ago, and so many nanoseconds, as RFC 3339 writes it.
fn time(nanos: i64) -> String {
    let second = now() / SECOND * SECOND;
    obs_model::Timestamp::from_nanos(second - 60 * SECOND + nanos).to_string()
}

/// A sample of an agent's own metrics, summed over the labels that the name leaves out.
fn own(agent: &Obs, name: &str) -> f64 {
    let text = agent.get("/metrics", &[]).text();
    let of = text.lines().filter(|line| {
        let rest = line.strip_prefix(name);
        rest.is_some_and(|rest| rest.starts_with(['{', ' ', ',', '}']))
    });
    of.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
        .sum()
}

/// Searches every byte of every file.
fn nowhere(folder: &Path, secret: &[u8]) {
    assert!(search(folder, secret), "{} is there", folder.display());
}

/// The same; whether the folder was there: files and folders of a running server may go.
fn search(folder: &Path, secret: &[u8]) -> bool {
    let Ok(entries) = fs::read_dir(folder) else {
        return false;
    };
    for entry in entries {
        let Ok(path) = entry.map(|entry| entry.path()) else {
            continue;
        };
        if path.is_dir() {
            search(&path, secret);
            continue;
        }
        let bytes = fs::read(&path).unwrap_or_default();
        let found = bytes.windows(secret.len()).any(|window| window == secret);
        assert!(!found, "{}", path.display());
    }
    true
}

#[test]
fn a_configuration_without_a_destination_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = folder.path().join("obs.yml");
    fs::write(&config, "obs: {}\n").expect("written");
    let mut command = crate::process::command(&["agent", "--listen", "127.0.0.1:0"]);
    command.arg("--config").arg(&config);
    command.arg("--data").arg(folder.path().join("data"));
    let output = command.output().expect("obs runs");
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(text.contains("names no destination"), "{text}");
}
