//! Scraping with Prometheus' configuration: exporters that answer, lie, die and appear.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use serde_json::Value;

use super::{list, vector};
use crate::process::{Obs, until};

/// An exporter on a port of its own that serves a text, or closes connections without one.
pub(super) struct Exporter {
    pub(super) address: String,
    text: Arc<Mutex<Option<String>>>,
}

impl Exporter {
    pub(super) fn serve(text: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it is bound").to_string();
        let text = Arc::new(Mutex::new(Some(text.to_owned())));
        let shared = Arc::clone(&text);
        // Ends with the process.
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (Ok(mut stream), Some(text)) =
                    (stream, shared.lock().expect("no thread panicked").clone())
                else {
                    continue;
                };
                let mut request = [0; 4096];
                let read = stream.read(&mut request).unwrap_or(0);
                let head = format!(
                    "HTTP/1.1 200 OK\r\ncontent-type: text/plain; version=0.0.4\r\n\
                     content-length: {}\r\nconnection: close\r\n\r\n",
                    text.len()
                );
                if read > 0 {
                    // Whoever left does not want the rest.
                    drop(
                        stream
                            .write_all(head.as_bytes())
                            .and_then(|()| stream.write_all(text.as_bytes())),
                    );
                }
            }
        });
        Self { address, text }
    }

    fn say(&self, text: Option<&str>) {
        *self.text.lock().expect("no thread panicked") = text.map(str::to_owned);
    }
}

pub(super) fn query(obs: &Obs, query: &str) -> Vec<(String, f64)> {
    vector(&obs.get("/api/v1/query", &[("query", query)]).json())
}

pub(super) fn values(found: &[(String, f64)]) -> Vec<f64> {
    found.iter().map(|(_, value)| *value).collect()
}

/// The target of a job, once it was scraped.
pub(super) fn target(obs: &Obs, job: &str, health: &str) -> Value {
    until(&format!("{job} to be {health}"), || {
        let answer = obs.get("/api/v1/targets", &[("state", "active")]).json();
        let targets = list(&answer["data"]["activeTargets"]).to_vec();
        targets
            .into_iter()
            .find(|t| t["scrapePool"] == job && t["health"] == health)
    })
}

#[test]
fn what_an_exporter_says_is_there_with_its_labels() {
    let exporter = Exporter::serve(
        "# HELP jobs_total Jobs done.\n# TYPE jobs_total counter\njobs_total{queue=\"a\"} 5\n\
         jobs_total{queue=\"b\"} 7\ngo_threads 9\nlatency_bucket{le=\"+Inf\"} 2\n",
    );
    let config = format!(
        "global: {{scrape_interval: 200ms, scrape_timeout: 200ms}}\nscrape_configs:\n\
         - job_name: exporter\n  static_configs:\n  - targets: ['{}']\n    labels: {{team: x}}\n\
         \x20 metric_relabel_configs:\n  - {{source_labels: [__name__], regex: 'go_.*', action: drop}}\n\
         \x20 - {{regex: queue, replacement: 'q_queue', action: labelmap}}\n\
         - job_name: gone\n  static_configs: [{{targets: ['127.0.0.1:1']}}]\n",
        exporter.address
    );
    let obs = Obs::with_config(&config);
    let up = target(&obs, "exporter", "up");
    assert_eq!(up["lastError"], "", "{up}");
    assert_eq!(up["labels"]["team"], "x", "{up}");
    let found = until("samples", || {
        Some(query(
            &obs,
            "sum by (q_queue, team, job, instance) (jobs_total)",
        ))
        .filter(|f| f.len() == 2)
    });
    let name = |queue: &str| {
        format!(
            "{{instance={:?},job=\"exporter\",q_queue={queue:?},team=\"x\"}}",
            exporter.address
        )
    };
    assert_eq!(found, [(name("a"), 5.0), (name("b"), 7.0)]);
    assert_eq!(query(&obs, "go_threads"), [], "dropped by its rule");
    let down = target(&obs, "gone", "down");
    assert_ne!(down["lastError"], "", "{down}");
    until("up of the dead target", || {
        Some(()).filter(|()| values(&query(&obs, "up{job=\"gone\"}")) == [0.0])
    });
    // A scrape may take longer than it has time on a busy machine.
    for (text, expect) in [
        ("up{job=\"exporter\"}", 1.0),
        ("scrape_samples_scraped{job=\"exporter\"}", 4.0),
    ] {
        until(text, || {
            Some(()).filter(|()| values(&query(&obs, text)) == [expect])
        });
    }
    let meant = obs
        .get("/api/v1/metadata", &[("metric", "jobs_total")])
        .json();
    assert_eq!(
        meant["data"]["jobs_total"][0]["help"], "Jobs done.",
        "{meant}"
    );
    // It watches itself without being told.
    until("obs' own series", || {
        Some(()).filter(|()| values(&query(&obs, "up{job=\"obs\"}")) == [1.0])
    });
    until("its build", || {
        Some(()).filter(|()| values(&query(&obs, "obs_build_info")) == [1.0])
    });
}

#[test]
fn a_target_that_lies_or_dies_is_told_and_its_series_end() {
    let exporter = Exporter::serve("works 1\n");
    let config = format!(
        "global: {{scrape_interval: 200ms, scrape_timeout: 200ms}}\nscrape_configs:\n\
         - job_name: moody\n  static_configs: [{{targets: ['{}']}}]\n",
        exporter.address
    );
    let obs = Obs::with_config(&config);
    target(&obs, "moody", "up");
    until("its series", || {
        Some(()).filter(|()| values(&query(&obs, "works")) == [1.0])
    });
    exporter.say(Some("works 1\nthis is { not the format\n"));
    until("the line to be told", || {
        let lies = target(&obs, "moody", "down");
        let error = lies["lastError"].as_str().unwrap_or_default();
        error.contains("2:").then_some(())
    });
    until("the end of its series", || {
        Some(()).filter(|()| query(&obs, "works").is_empty())
    });
    assert_eq!(values(&query(&obs, "up{job=\"moody\"}")), [0.0]);
    exporter.say(Some("works 2\n"));
    until("its return", || {
        Some(()).filter(|()| values(&query(&obs, "works")) == [2.0])
    });
    exporter.say(None);
    target(&obs, "moody", "down");
    until("its end", || {
        Some(()).filter(|()| query(&obs, "works").is_empty())
    });
}

#[test]
fn targets_in_files_come_and_go() {
    let exporter = Exporter::serve("works 1\n");
    let config = "global: {scrape_interval: 200ms, scrape_timeout: 200ms}\nscrape_configs:\n\
                  - job_name: files\n  file_sd_configs: [{files: ['sd/*.json'], refresh_interval: 1s}]\n";
    let obs = Obs::with_files(&[("obs.yml", config)]);
    let folder = obs.path("sd");
    std::fs::create_dir(&folder).expect("the folder is new");
    let file = |targets: &str| {
        std::fs::write(folder.join("draft"), targets).expect("writable");
        std::fs::rename(folder.join("draft"), folder.join("a.json")).expect("renamed");
    };
    file(&format!(
        "[{{\"targets\": [{:?}], \"labels\": {{\"from\": \"file\"}}}}]",
        exporter.address
    ));
    let found = target(&obs, "files", "up");
    assert_eq!(found["labels"]["from"], "file", "{found}");
    until("its series", || {
        Some(()).filter(|()| values(&query(&obs, "works{from=\"file\"}")) == [1.0])
    });
    file("[]");
    until("the end of the target", || {
        let answer = obs.get("/api/v1/targets", &[]).json();
        let left = list(&answer["data"]["activeTargets"])
            .iter()
            .any(|t| t["scrapePool"] == "files");
        (!left).then_some(())
    });
    until("the end of its series", || {
        Some(()).filter(|()| query(&obs, "works").is_empty())
    });
}
