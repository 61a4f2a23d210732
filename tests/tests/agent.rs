//! `obs agent` before `obs serve`: numbered lines through rotation, compression and kills of both,
//! pushes of every signal through the buffer, and secrets that must be nowhere.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::process::{Obs, Stop, now, until};
use crate::send::{SECOND, gzip, loki_json, remote_write, series};

/// The log of one container.
struct Container {
    folder: PathBuf,
    began: i64,
    number: i64,
    rotations: u64,
}

impl Container {
    fn new(root: &Path, pod: &str) -> Self {
        let folder = root.join(format!("shop_{pod}_uid-{pod}/web"));
        fs::create_dir_all(&folder).expect("made");
        Self {
            folder,
            began: now() - 600 * SECOND,
            number: 0,
            rotations: 0,
        }
    }

    fn write(&mut self, lines: i64) {
        let path = self.folder.join("0.log");
        let file = fs::OpenOptions::new().create(true).append(true).open(path);
        let mut file = file.expect("opened");
        for _ in 0..lines {
            let at = obs_model::Timestamp::from_nanos(self.began + self.number * 1000);
            let out = ["stdout", "stderr"][(self.number % 2) as usize];
            writeln!(file, "{at} {out} F number={} of many", self.number).expect("written");
            self.number += 1;
        }
    }

    fn rotate(&mut self) -> PathBuf {
        let to = format!("0.log.20260101-{:06}", self.rotations);
        self.rotations += 1;
        let to = self.folder.join(to);
        fs::rename(self.folder.join("0.log"), &to).expect("renamed");
        to
    }
}

fn compress(path: &Path) {
    let bytes = gzip(&fs::read(path).expect("there"));
    fs::write(format!("{}.gz", path.display()), bytes).expect("written");
    fs::remove_file(path).expect("removed");
}

/// How often each number is in the store.
fn numbers(server: &Obs, pod: &str) -> BTreeMap<i64, usize> {
    let query = format!("{{pod=\"{pod}\"}}");
    let start = (now() - 3600 * SECOND).to_string();
    let params = [
        ("query", query.as_str()),
        ("start", start.as_str()),
        ("limit", "5000"),
    ];
    let answer = server.get("/loki/api/v1/query_range", &params);
    assert_eq!(answer.status, 200, "{}", answer.text());
    let json: Value = serde_json::from_slice(&answer.body).expect("JSON");
    let mut found = BTreeMap::new();
    for stream in json["data"]["result"].as_array().expect("streams") {
        for value in stream["values"].as_array().expect("values") {
            let line = value[1].as_str().expect("a line");
            let number = line
                .strip_prefix("number=")
                .and_then(|l| l.split(' ').next());
            let number = number.and_then(|n| n.parse().ok()).expect("a number");
            *found.entry(number).or_insert(0) += 1;
        }
    }
    found
}

#[test]
fn each_line_arrives_once_through_rotation_and_kills() {
    let mut server = Obs::start();
    server.keep_address();
    let logs = tempfile::tempdir().expect("a folder");
    let config = format!(
        "obs:\n  collector:\n    logs: {{pods: {{path: {:?}}}}}\n    \
         destinations: [{{obs: {{url: '{}', max_backoff: 1s}}}}]\n",
        logs.path(),
        server.url()
    );
    let mut pods = [
        Container::new(logs.path(), "a"),
        Container::new(logs.path(), "b"),
    ];
    let mut agent = Obs::agent(&config);
    for round in 0..4 {
        for pod in &mut pods {
            pod.write(100);
        }
        if round == 1 {
            // Some of it is under way; what was rotated while nothing runs is compressed.
            agent.stop(Stop::Kill);
            for pod in &mut pods {
                let old = pod.rotate();
                pod.write(50);
                let new = pod.rotate();
                pod.write(50);
                compress(&old);
                compress(&new);
            }
            agent.run();
        }
        if round == 2 {
            server.stop(Stop::Kill);
            for pod in &mut pods {
                pod.write(30);
                pod.rotate();
                pod.write(30);
            }
            agent.restart(Stop::Kill);
            server.run();
        }
    }
    agent.restart(Stop::Kill);
    for (pod, name) in pods.iter().zip(["a", "b"]) {
        let found = until("all lines", || {
            let found = numbers(&server, name);
            (found.len() as i64 == pod.number).then_some(found)
        });
        let twice: Vec<_> = found.iter().filter(|(_, count)| **count != 1).collect();
        assert!(twice.is_empty(), "{twice:?}");
    }
}

#[test]
fn pushes_go_through_the_buffer_without_their_secrets() {
    let mut server = Obs::start();
    server.keep_address();
    let config = format!(
        "global: {{external_labels: {{cluster: c1}}}}\nobs:\n  collector:\n    redaction: {{}}\n    \
         destinations: [{{obs: {{url: '{}', max_backoff: 1s}}}}]\n",
        server.url()
    );
    // Nobody is there when data comes in: the agent answers for it.
    server.stop(Stop::Kill);
    let agent = Obs::agent(&config);
    let secret = "Qz8Qz8Qz8Qz8";
    let line = format!("login password={secret} ok");
    let told = loki_json(&agent, &[("app", "shop")], &[(now(), line.as_str(), &[])]);
    assert_eq!(told.status, 204, "{}", told.text());
    let one = series(
        &[("__name__", "up_again"), ("api_key", secret)],
        [(now(), 1.0)],
    );
    let batch = obs_model::MetricBatch {
        series: vec![one],
        ..obs_model::MetricBatch::default()
    };
    let told = remote_write(&agent, &batch);
    assert!((200..300).contains(&told.status), "{}", told.text());
    server.run();
    let lines = until("the line", || {
        let start = (now() - 600 * SECOND).to_string();
        let params = [("query", "{app=\"shop\"}"), ("start", start.as_str())];
        let answer = server.get("/loki/api/v1/query_range", &params);
        answer.text().contains("login").then(|| answer.text())
    });
    assert!(
        lines.contains("[REDACTED:key_value]") && lines.contains("c1"),
        "{lines}"
    );
    assert!(!lines.contains(secret), "{lines}");
    let samples = until("the sample", || {
        let answer = server.get("/api/v1/query", &[("query", "up_again")]);
        answer.text().contains("up_again").then(|| answer.text())
    });
    assert!(
        samples.contains("[REDACTED:key_value]") && !samples.contains(secret),
        "{samples}"
    );
    let own = agent.get("/metrics", &[]).text();
    assert!(
        own.contains("obs_ship_queue_bytes{") && own.contains("obs_redacted_total{"),
        "{own}"
    );
    for folder in [agent.path("data"), server.path("data")] {
        nowhere(&folder, secret.as_bytes());
    }
}

/// Searches every byte of every file.
fn nowhere(folder: &Path, secret: &[u8]) {
    for entry in fs::read_dir(folder).expect("listed") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            nowhere(&path, secret);
            continue;
        }
        // Files of a running server may go.
        let bytes = fs::read(&path).unwrap_or_default();
        let found = bytes.windows(secret.len()).any(|window| window == secret);
        assert!(!found, "{}", path.display());
    }
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
