//! `obs doctor`: what is right is not complained about, and what is wrong is named and explained.

use std::path::PathBuf;
use std::process::Output;

use obs_model::MetricBatch;
use serde_json::Value;

use crate::process::{Obs, Stop, command};
use crate::s3::{Faults, S3};
use crate::send::{SECOND, remote_write, series};

fn doctor(arguments: &[&str]) -> Output {
    let mut command = command(&[&["doctor", "-o", "json"], arguments].concat());
    command.env("NO_PROXY", "127.0.0.1");
    command.output().expect("obs runs")
}

/// What was found at a check, with its level.
fn found<'j>(json: &'j Value, check: &str) -> Vec<(&'j str, &'j str)> {
    let all = json["findings"].as_array().expect("a list");
    let of_check = all.iter().filter(|one| one["check"] == check);
    let text = |value: &'j Value| value.as_str().expect("text");
    of_check
        .map(|one| (text(&one["level"]), text(&one["found"])))
        .collect()
}

#[track_caller]
fn json(output: &Output, code: i32) -> Value {
    let told = String::from_utf8_lossy(&output.stderr);
    let out = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(code), "{told}{out}");
    serde_json::from_slice(&output.stdout).expect("JSON")
}

#[track_caller]
fn is(json: &Value, check: &str, level: &str, part: &str) {
    let all = found(json, check);
    let there = all
        .iter()
        .any(|(of, text)| *of == level && text.contains(part));
    assert!(there, "{check} {level} {part}: {json}");
}

#[test]
fn a_server_and_its_folder_are_looked_through() {
    let mut obs = Obs::start();
    let sample = [(1_767_225_600 * SECOND, 1.0)];
    let batch = MetricBatch {
        series: vec![series(&[("__name__", "one")], sample)],
        ..Default::default()
    };
    assert_eq!(remote_write(&obs, &batch).status, 204);
    obs.force("flush");
    let (url, data) = (obs.url(), obs.path("data").display().to_string());
    let told = json(&doctor(&["--server", &url, "--data", &data]), 0);
    is(&told, "data.lock", "note", "a server has it open");
    is(&told, "server.ready", "right", "");
    is(&told, "server.version", "right", "");
    is(&told, "clock.server", "right", "agrees");
    is(&told, "limits.files", "right", "open files");
    assert_eq!(found(&told, "server.poisoned"), []);
    obs.stop(Stop::Terminate);
    // Nobody is there, and that is a problem only for who named it.
    let told = json(&doctor(&["--server", "http://127.0.0.1:1"]), 1);
    is(&told, "server", "problem", "no connection");
    let quiet = ["--server", "http://127.0.0.1:1", "--data", &data];
    let told = json(&doctor(&quiet), 1);
    is(&told, "data.parts", "right", "metrics: the ends of");
    is(&told, "data.journal", "right", "logs");
    let names = std::fs::read_dir(obs.path("data")).expect("a folder");
    let names = names.map(|entry| entry.expect("an entry").file_name());
    let mut names = names.map(|name| name.to_string_lossy().into_owned());
    assert!(!names.any(|name| name.starts_with("doctor")));
    // Bytes in the middle are only found by reading all.
    let parts: Vec<PathBuf> = std::fs::read_dir(obs.path("data/metrics/parts"))
        .expect("parts")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    let whole = std::fs::read(&parts[0]).expect("readable");
    let mut broken = whole.clone();
    broken[10] ^= 1;
    std::fs::write(&parts[0], &broken).expect("writable");
    let told = json(&doctor(&quiet), 1);
    assert_eq!(found(&told, "data.damage"), []);
    let told = json(&doctor(&[&quiet[..], &["--deep"]].concat()), 1);
    let name = parts[0]
        .file_name()
        .and_then(|name| name.to_str())
        .expect("text");
    is(&told, "data.damage", "problem", name);
    // What the start sets aside is told too.
    std::fs::write(&parts[0], &whole[..whole.len() - 1]).expect("writable");
    obs.run();
    let told = json(&doctor(&["--server", &obs.url()]), 0);
    is(&told, "server.quarantine", "warning", "store=\"metrics\"");
    obs.stop(Stop::Terminate);
    let told = json(&doctor(&quiet), 1);
    is(&told, "data.quarantine", "warning", name);
    let told = json(
        &doctor(&["--data", &obs.path("none").display().to_string()]),
        1,
    );
    is(&told, "data", "problem", "is no folder");
}

#[test]
fn a_configuration_and_its_destinations_are_looked_through() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("obs.yml");
    let shown = file.display().to_string();
    let check = |text: &str, code: i32| {
        std::fs::write(&file, text).expect("writable");
        json(&doctor(&["--config", &shown]), code)
    };
    is(
        &check("scrape_configs: [{job_name: a}]\n", 0),
        "config",
        "right",
        "1 scrape job",
    );
    is(
        &check("scrape_configs: 7\n", 1),
        "config",
        "problem",
        "scrape_configs",
    );
    let service = S3::start();
    let config = format!("remote_write: [{{url: '{}/x'}}]\n", service.endpoint());
    is(&check(&config, 0), "clock.destinations", "right", "agrees");
    service.set(Faults {
        ahead: 7200,
        ..Faults::default()
    });
    is(
        &check(&config, 1),
        "clock.destinations",
        "problem",
        "differs by",
    );
    let people = command(&["doctor", "--config", &shown])
        .output()
        .expect("obs runs");
    assert_eq!(people.status.code(), Some(1));
    let text = String::from_utf8_lossy(&people.stdout).into_owned();
    assert!(
        text.starts_with("problem  clock.destinations: ") && text.contains("  do: "),
        "{text}"
    );
}
