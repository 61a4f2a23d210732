//! Remote write out of obs and into it, remote read: against a second obs, and against Prometheus
//! itself where it is installed.

use std::process::{Child, Command, Stdio};

use obs_model::MetricBatch;
use tempfile::TempDir;

use super::vector;
use crate::process::{Answer, Obs, Stop, now, until};
use crate::send::{SECOND, remote_write, series};

/// A Prometheus server that runs.
struct Prometheus {
    child: Child,
    folder: TempDir,
    url: String,
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        // Already gone is as good.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Prometheus {
    /// `None` where Prometheus is not installed.
    #[expect(clippy::print_stderr, reason = "a test that does not run says so")]
    fn start(config: &str) -> Option<Self> {
        let folder = tempfile::tempdir().expect("a folder for the test");
        let config_path = folder.path().join("prometheus.yml");
        std::fs::write(&config_path, config).expect("the folder is writable");
        let log = folder.path().join("log");
        let child = Command::new("prometheus")
            .arg(format!("--config.file={}", config_path.display()))
            .arg(format!(
                "--storage.tsdb.path={}",
                folder.path().join("data").display()
            ))
            .arg("--web.listen-address=127.0.0.1:0")
            .args([
                "--web.enable-remote-write-receiver",
                "--enable-feature=native-histograms",
            ])
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(&log).expect("the folder is writable"))
            .spawn();
        let Ok(child) = child else {
            eprintln!("skipped: prometheus is not installed");
            return None;
        };
        let mut started = Self {
            child,
            folder,
            url: String::new(),
        };
        started.url = until("Prometheus listens", || {
            let log = std::fs::read_to_string(&log).ok()?;
            let (_, said) = log.split_once("\"Listening on\" address=")?;
            let (address, _) = said.split_once('\n')?;
            Some(format!("http://{address}"))
        });
        until("Prometheus", || {
            started.get("/-/ready", &[]).filter(|a| a.status == 200)
        });
        Some(started)
    }

    fn get(&self, path: &str, params: &[(&str, &str)]) -> Option<Answer> {
        Answer::from(&format!("{}{path}", self.url), params).ok()
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

fn counters(count: i64) -> MetricBatch {
    let from = now() - count * SECOND;
    let one = |n: i64| {
        let (number, code) = (n.to_string(), (200 + n).to_string());
        let samples = (0..count).map(move |at| (from + at * SECOND, (n * at) as f64));
        let labels = [
            ("__name__", "m"),
            ("n", number.as_str()),
            ("code", code.as_str()),
        ];
        series(&labels, samples)
    };
    MetricBatch {
        series: (1..=3).map(one).collect(),
        ..MetricBatch::default()
    }
}

fn write(obs: &Obs, count: i64) {
    let answer = remote_write(obs, &counters(count));
    assert_eq!(answer.status, 204, "{}", answer.text());
}

const SUM: (&str, &str) = ("query", "sum by (n, cluster) (sum_over_time(m[1h]))");

fn sums(answer: &Answer) -> Vec<(String, f64)> {
    vector(&answer.json())
}

/// Sums of 0..count times the number of the series.
fn expected(count: i64, cluster: &str) -> Vec<(String, f64)> {
    let sum = (count * (count - 1) / 2) as f64;
    (1..=3)
        .map(|n| (format!("{{{cluster}n=\"{n}\"}}"), sum * f64::from(n)))
        .collect()
}

/// What was acknowledged here comes to the other server, which is away at first, even when this
/// one is killed meanwhile.
#[test]
fn samples_are_forwarded_across_a_kill() {
    for message in ["prometheus.WriteRequest", "io.prometheus.write.v2.Request"] {
        let mut other = Obs::start();
        let config = format!(
            "global: {{external_labels: {{cluster: a}}}}\nremote_write:\n- url: {}/api/v1/write\n  \
             name: other\n  protobuf_message: {message}\n  queue_config: {{batch_send_deadline: \
             100ms, max_backoff: 100ms}}\n  write_relabel_configs: [{{regex: m, source_labels: \
             [__name__], action: keep}}]\n",
            other.url()
        );
        // The address stays the same for the destination only while it is not started again.
        let mut obs = Obs::with_config(&config);
        other.pause();
        write(&obs, 100);
        obs.stop(Stop::Kill);
        obs.run();
        other.resume();
        let found = until("the forwarded samples", || {
            let found = sums(&other.get("/api/v1/query", &[SUM]));
            (found == expected(100, "cluster=\"a\",")).then_some(found)
        });
        assert_eq!(found.len(), 3);
        // The other server has them before its answer is here.
        until("the count of what was sent", || {
            let sent = "prometheus_remote_storage_samples_total{remote_name=\"other\"";
            let metrics = obs.get("/metrics", &[]).text();
            metrics.contains(sent).then_some(())
        });
        other.stop(Stop::Terminate);
    }
}

#[test]
fn prometheus_takes_what_is_forwarded() {
    let Some(prometheus) = Prometheus::start("") else {
        return;
    };
    let config = format!(
        "remote_write:\n- url: {}/api/v1/write\n  queue_config: {{batch_send_deadline: 100ms}}\n",
        prometheus.url
    );
    let obs = Obs::with_config(&config);
    write(&obs, 100);
    until("the samples in Prometheus", || {
        let found = sums(&prometheus.get("/api/v1/query", &[SUM])?);
        (found == expected(100, "")).then_some(())
    });
    assert!(!prometheus.log().contains("panic"));
}

#[test]
fn prometheus_reads_what_obs_has() {
    let obs = Obs::with_config("global: {external_labels: {cluster: b}}\n");
    write(&obs, 100);
    let config = format!(
        "remote_read: [{{url: '{}/api/v1/read', read_recent: true}}]\n",
        obs.url()
    );
    let Some(prometheus) = Prometheus::start(&config) else {
        return;
    };
    let answer = prometheus.get("/api/v1/query", &[SUM]).expect("an answer");
    assert_eq!(sums(&answer), expected(100, "cluster=\"b\","));
    let one = [(
        "query",
        r#"count_over_time(m{cluster="b",n=~"1|2",code!="201"}[1h])"#,
    )];
    let answer = prometheus.get("/api/v1/query", &one).expect("an answer");
    assert_eq!(
        sums(&answer),
        [(r#"{cluster="b",code="202",n="2"}"#.to_owned(), 100.0)]
    );
}

#[test]
fn prometheus_forwards_to_obs() {
    let obs = Obs::start();
    let config = format!(
        "global: {{scrape_interval: 1s}}\nremote_write: [{{url: '{}/api/v1/write'}}]\n\
         scrape_configs: [{{job_name: o, static_configs: [{{targets: ['{}']}}]}}]\n",
        obs.url(),
        obs.address("http")
    );
    let Some(_prometheus) = Prometheus::start(&config) else {
        return;
    };
    until("what Prometheus scraped", || {
        let found = obs.get("/api/v1/query", &[("query", "up{job=\"o\"}")]);
        sums(&found)
            .first()
            .is_some_and(|(_, up)| *up == 1.0)
            .then_some(())
    });
}
