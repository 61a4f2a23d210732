//! Pushes through the routes, and restarts.

use std::io::BufRead;
use std::sync::Mutex as StdMutex;

use axum::Router;
use axum::body::Body;
use http::{Method, Request, StatusCode};
use obs_model::limits::Limits;
use tokio::task::JoinSet;
use tower::Service;

use super::*;
use crate::Decoder;
use crate::receive::{Receiver, pushgateway};
use crate::sink::Accepted;

struct Rig {
    routes: Router,
    gateway: Gateway,
    seen: Arc<StdMutex<Vec<String>>>,
    _writer: JoinSet<()>,
}

async fn rig(folder: &std::path::Path, config: &str) -> Rig {
    let config: PushgatewayConfig = serde_yaml_ng::from_str(config).expect("a configuration");
    let (sink, mut inbox) = Sink::channel(64);
    let seen = Arc::new(StdMutex::new(Vec::new()));
    let notes = Arc::clone(&seen);
    let mut writer = JoinSet::new();
    writer.spawn(async move {
        while let Some(write) = inbox.metrics.recv().await {
            let mut notes = notes.lock().expect("not poisoned");
            for series in &write.batch.series {
                let Value::Float(value) = series.samples[0].value else {
                    continue;
                };
                let shown = match obs_model::sample::is_stale(value) {
                    true => "stale".to_owned(),
                    false => value.to_string(),
                };
                notes.push(format!("{} {shown}", series.labels));
            }
            write.done.send(Ok(Accepted::default())).expect("a waiter");
        }
    });
    let gateway = Gateway::open(folder.to_owned(), &config, (sink.clone(), None));
    let gateway = gateway.await.expect("a gateway");
    let receiver = Receiver::new(sink, Limits::default(), Decoder::new(1), Arc::default());
    Rig {
        routes: pushgateway::routes(receiver.clone(), gateway.clone())
            .merge(pushgateway::wipe_routes(receiver, gateway.clone())),
        gateway,
        seen,
        _writer: writer,
    }
}

impl Rig {
    async fn send(&self, method: Method, path: &str, body: &str) -> (StatusCode, String) {
        let request = Request::builder().method(method).uri(path);
        let request = request
            .body(Body::from(body.to_owned()))
            .expect("a request");
        let response = self.routes.clone().call(request).await.expect("an answer");
        let status = response.status();
        let body = axum::body::to_bytes(response.into_body(), 1 << 20).await;
        (
            status,
            String::from_utf8(body.expect("a body").to_vec()).expect("text"),
        )
    }

    /// The page without the times.
    async fn page(&self) -> String {
        let (status, text) = self.send(Method::GET, "/pushgateway/metrics", "").await;
        assert_eq!(status, StatusCode::OK);
        let lines = text.lines().filter(|l| !l.contains("push_"));
        lines.map(|l| format!("{l}\n")).collect()
    }

    fn seen(&self) -> Vec<String> {
        let seen = std::mem::take(&mut *self.seen.lock().expect("not poisoned"));
        seen.into_iter().filter(|l| !l.contains("push_")).collect()
    }
}

#[tokio::test]
async fn put_replaces_a_group_and_post_its_families() {
    let folder = tempfile::tempdir().expect("a folder");
    let rig = rig(folder.path(), "{}").await;
    let (put, post) = (Method::PUT, Method::POST);
    for (method, path, body, status) in [
        (
            &put,
            "/metrics/job/a/instance/i",
            "x 1\ny{job=\"z\",l=\"m\"} 2\n",
            200,
        ),
        (&post, "/metrics/job/a/instance/i", "x 3\n", 200),
        (&put, "/metrics/job/b", "# TYPE w counter\nw 4\nv 1\n", 200),
        (&put, "/metrics/job/b", "# TYPE w counter\nw 5\n", 200),
        (&put, "/metrics/job/b", "x 1 1000\n", 400),
        (&put, "/metrics/job/b", "# TYPE x counter\nx 1\n", 400),
        (&post, "/metrics/job/b", "q 1", 400),
    ] {
        let (found, text) = rig.send(method.clone(), path, body).await;
        assert_eq!(found.as_u16(), status, "{path} {body} {text}");
        assert_eq!(text.is_empty(), status == 200, "{text}");
    }
    let page = "# TYPE w counter\nw{instance=\"\",job=\"b\"} 5\n# TYPE x untyped\n\
                x{instance=\"i\",job=\"a\"} 3\n# TYPE y untyped\ny{instance=\"i\",job=\"a\",l=\"m\"} 2\n";
    assert_eq!(rig.page().await, page);
    rig.seen();
    rig.gateway.write_all().await;
    let mut seen = rig.seen();
    seen.sort();
    assert_eq!(
        seen,
        [
            r#"{__name__="v", job="b"} stale"#,
            r#"{__name__="w", job="b"} 5"#,
            r#"{__name__="x", instance="i", job="a"} 3"#,
            r#"{__name__="y", instance="i", job="a", l="m"} 2"#,
        ]
    );
    let (_, text) = rig.send(Method::GET, "/api/v1/metrics", "").await;
    let answer: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let group = &answer["data"][1];
    assert_eq!(group["labels"]["job"], "b");
    assert_eq!(group["last_push_successful"], false);
    assert_eq!(group["w"]["type"], "COUNTER");
    assert_eq!(group["w"]["metrics"][0]["value"], "5");
    assert_eq!(answer["data"][0]["last_push_successful"], true);
}

#[tokio::test]
async fn a_restart_finds_all_groups_and_no_deleted_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let before = rig(folder.path(), "{}").await;
    let body = "# HELP h of a job\n# TYPE h histogram\nh_bucket{le=\"1\"} 1\nh_count 2\nh_sum 3\n";
    for job in ["a", "b"] {
        let path = format!("/metrics/job/{job}");
        let (status, text) = before.send(Method::PUT, &path, body).await;
        assert_eq!((status, text.as_str()), (StatusCode::OK, ""));
    }
    let (status, _) = before.send(Method::DELETE, "/metrics/job/a", "").await;
    assert_eq!(status, StatusCode::ACCEPTED);
    let page = before.page().await;
    assert!(
        page.contains("h_bucket{instance=\"\",job=\"b\",le=\"+Inf\"} 2\n"),
        "{page}"
    );
    assert!(!page.contains("job=\"a\""), "{page}");
    let after = rig(folder.path(), "{}").await;
    assert_eq!(after.page().await, page);
    after.gateway.write_all().await;
    assert!(
        after
            .seen()
            .iter()
            .any(|line| line.starts_with("{__name__=\"h_sum\""))
    );
}

#[tokio::test]
async fn damage_is_set_aside() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("x.group");
    tokio::fs::write(&path, "obs-pushgateway-group 1\n{}\n")
        .await
        .expect("written");
    let rig = rig(folder.path(), "{}").await;
    assert_eq!(rig.page().await, "");
    assert!(folder.path().join("x.damaged").exists() && !path.exists());
}

#[tokio::test]
async fn bounds_and_settings() {
    let folder = tempfile::tempdir().expect("a folder");
    let rig = rig(
        folder.path(),
        "{series_max: 4, enable_admin_api: true, consistency_check: false}",
    )
    .await;
    let (status, _) = rig.send(Method::PUT, "/metrics/job/a", "x 1\ny 1\n").await;
    assert_eq!(status, StatusCode::ACCEPTED);
    let (status, text) = rig.send(Method::PUT, "/metrics/job/b", "x 1\n").await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
    assert!(text.contains("series_max of 4"), "{text}");
    let (status, _) = rig.send(Method::PUT, "/api/v1/admin/wipe", "").await;
    assert_eq!(
        (status, rig.page().await.as_str()),
        (StatusCode::ACCEPTED, "")
    );
    let (status, text) = rig.send(Method::GET, "/api/v1/status", "").await;
    assert_eq!(status, StatusCode::OK);
    assert!(text.contains("start_time"), "{text}");
}

#[test]
fn files_come_back() {
    let mut groups = Groups::new(100);
    let labels = Pairs::from([("job".to_owned(), "a\n\"".to_owned())]);
    let pushed = obs_wire::prometheus::pushed::decode_text(
        b"# TYPE s summary\ns{quantile=\"0.5\"} NaN\ns_sum 1\ns_count 2\nx +Inf\n",
        &Limits::default(),
    );
    let push = Push {
        labels,
        pushed: pushed.expect("metrics"),
        replace: true,
        checked: true,
    };
    let tenant = Tenant::anonymous();
    let (group, fault) = groups.plan(&tenant, push, Timestamp::from_seconds(7));
    assert_eq!(fault, None);
    let group = group.expect("a group");
    let bytes = file::encode(&tenant, &group).expect("bytes");
    let (owner, again) = file::decode(&bytes).expect("a group");
    // NaN is not equal to itself.
    assert_eq!(
        (owner, format!("{again:?}")),
        (tenant.clone(), format!("{group:?}"))
    );
    for at in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1;
        assert!(file::decode(&damaged).is_err(), "byte {at}");
        assert!(file::decode(&bytes[..at]).is_err(), "cut at {at}");
    }
    groups.put(&tenant, group);
    assert_eq!(groups.of(&tenant).count(), 1);
}

/// Tries in which the original says each of two things at least once.
const CHANCES: usize = 100;
/// Requests whose answers and whose page are those of the original.
const SAME: [(&str, &str, &str); 15] = [
    (
        "PUT",
        "/metrics/job/a/instance/i",
        "x 1\ny{job=\"z\",l=\"m\"} 2\n",
    ),
    (
        "POST",
        "/metrics/job/a/instance/i",
        "# HELP x of a\n# TYPE x untyped\nx 3e10\n",
    ),
    ("PUT", "/metrics/job/b", "# TYPE w counter\nw 4\nv NaN\n"),
    ("PUT", "/metrics/job/b", "# TYPE w counter\nw 5\n"),
    ("PUT", "/metrics/job/b", "x 1 1000\n"),
    ("PUT", "/metrics/job/b", "# TYPE x counter\nx 1\n"),
    ("POST", "/metrics/job/b", "q 1"),
    ("POST", "/metrics/job/b/l", "q 1\n"),
    ("POST", "/metrics/job/b/l-m/x", "q 1\n"),
    ("POST", "/metrics/job@base64/L3Zhcg/l@base64/=", "q 1\n"),
    ("PUT", "/metrics/job/empty", ""),
    (
        "POST",
        "/metrics/job/h",
        "# TYPE h histogram\nh_bucket{le=\"1\"} 1\nh_count 2\nh_sum 3\n# TYPE s summary\ns{quantile=\"0.5\"} 1e10\ns_sum 2\ns_count 1\n",
    ),
    ("POST", "/metrics/job/dup", "x 1\nx 2\n"),
    ("POST", "/metrics/job/dup", "x 1\n# TYPE x gauge\n"),
    ("DELETE", "/metrics/job/gone", ""),
];

/// The lines of a page that are of pushed metrics, without the times.
fn pushed_lines(page: &str) -> Vec<String> {
    let own = ["go_", "process_", "pushgateway_", "promhttp_", "push_"];
    let of_own = |line: &str| {
        let comment = line
            .strip_prefix("# ")
            .and_then(|rest| rest.split_once(' '));
        let name = comment.map_or(line, |(_, name)| name);
        own.iter().any(|prefix| name.starts_with(prefix))
    };
    let mut lines: Vec<String> = page
        .lines()
        .filter(|line| !of_own(line))
        .map(str::to_owned)
        .collect();
    lines.sort();
    lines
}

/// A process that ends with the test.
struct Original(std::process::Child);

impl Original {
    /// Where it listens, as its log says; what it logs later is read and dropped.
    #[expect(clippy::disallowed_methods, reason = "its log is read beside the test")]
    fn address(&mut self) -> String {
        let log = self.0.stderr.take().expect("its log is a pipe");
        let mut lines = std::io::BufReader::new(log).lines().map_while(Result::ok);
        let said = lines.find(|line| line.contains("Listening on"));
        std::thread::spawn(move || lines.count());
        let said = said.expect("it listens before it ends");
        let (_, address) = said.split_once("address=").expect("an address");
        address.to_owned()
    }
}

impl Drop for Original {
    fn drop(&mut self) {
        self.0.kill().expect("killed");
        self.0.wait().expect("ended");
    }
}

#[tokio::test]
async fn answers_are_those_of_debians_gateway() {
    let folder = tempfile::tempdir().expect("a folder");
    let kept = folder.path().join("original");
    let spawned = std::process::Command::new("prometheus-pushgateway")
        .arg("--web.listen-address=127.0.0.1:0")
        .arg(format!("--persistence.file={}", kept.display()))
        .stderr(std::process::Stdio::piped())
        .spawn();
    let Ok(child) = spawned else {
        println!("skipped: there is no prometheus-pushgateway");
        return;
    };
    let mut original = Original(child);
    let address = original.address();
    let client = crate::http_client::build(|| Ok(reqwest::Client::builder()), |b| b.build());
    let client = client.expect("a client");
    let rig = rig(&folder.path().join("ours"), "{}").await;
    for (method, path, body) in SAME {
        let method = Method::from_bytes(method.as_bytes()).expect("a method");
        let ask = async || {
            let request = client.request(method.clone(), format!("http://{address}{path}"));
            let theirs = request.body(body).send().await.expect("an answer");
            (theirs.status(), theirs.text().await.expect("a text"))
        };
        let (status, mut theirs) = ask().await;
        let (ours, text) = rig.send(method.clone(), path, body).await;
        assert_eq!(ours, status, "{path} {body}: {text} {theirs}");
        if theirs.contains("collected metric") || theirs.contains("label") {
            // Of two groups that disagree the original names one by chance; it keeps neither push.
            for _ in 0..CHANCES {
                if text != theirs {
                    theirs = ask().await.1;
                }
            }
            assert_eq!(text, theirs, "{path} {body}");
        }
    }
    let page = client.get(format!("http://{address}/metrics")).send().await;
    let page = page.expect("a page").text().await.expect("a text");
    let (_, ours) = rig.send(Method::GET, "/pushgateway/metrics", "").await;
    assert_eq!(pushed_lines(&ours), pushed_lines(&page));
}

/// Where a group is written before it is renamed, as a pipe that nobody reads: writing waits.
fn hold_up(folder: &std::path::Path, job: &str) -> PathBuf {
    let labels = Pairs::from([("job".to_owned(), job.to_owned())]);
    let path = file::path(folder, &Tenant::anonymous(), &labels).with_extension("new");
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    let kind = rustix::fs::FileType::Fifo;
    rustix::fs::mknodat(rustix::fs::CWD, &path, kind, mode, 0).expect("a pipe");
    path
}

#[tokio::test]
async fn nobody_who_reads_waits_for_the_disk() {
    let folder = tempfile::tempdir().expect("a folder");
    let rig = rig(folder.path(), "{}").await;
    rig.send(Method::PUT, "/metrics/job/a", "x 1\n").await;
    let pipe = hold_up(folder.path(), "b");
    let push = rig.send(Method::PUT, "/metrics/job/b", "y 2\n");
    let mut push = std::pin::pin!(push);
    tokio::select! {
        biased;
        _ = &mut push => panic!("it waits for the disk"),
        page = rig.page() => assert!(page.contains("x{") && !page.contains("y{"), "{page}"),
    }
    // A pipe is no file that can be made durable: the push is told so, and changed nothing.
    let read = JoinSet::from_iter([tokio::fs::read(pipe)]);
    let (status, _) = push.await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(read.join_all().await.len(), 1);
    assert!(!rig.page().await.contains("y{"));
}

#[tokio::test]
async fn a_push_whose_client_goes_away_is_finished() {
    let folder = tempfile::tempdir().expect("a folder");
    let first = rig(folder.path(), "{}").await;
    {
        let push = first.send(Method::PUT, "/metrics/job/a", "x 1\n");
        let mut push = std::pin::pin!(push);
        // It has begun to write when there is a task for it; then the client goes.
        while first.gateway.tasks.is_empty() {
            tokio::select! {
                biased;
                _ = &mut push => panic!("it was done at once"),
                () = tokio::task::yield_now() => {}
            }
        }
    }
    first.gateway.tasks.close();
    first.gateway.tasks.wait().await;
    let page = first.page().await;
    assert!(page.contains("x{instance=\"\",job=\"a\"} 1"), "{page}");
    let again = rig(folder.path(), "{}").await;
    assert_eq!(again.page().await, page);
}
