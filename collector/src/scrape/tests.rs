//! Scrapes of a loopback server, from configuration to sink.

use std::sync::Mutex;

use axum::Router;
use axum::http::HeaderMap;
use axum::response::IntoResponse;
use axum::routing::get;

use super::*;
use crate::config::{GlobalConfig, ScrapeConfig, jobs};
use crate::http_client::configured::{HttpClient, Use};
use crate::sink::{Accepted, Inbox};

/// A server on a port of its own; its answer can be changed while it runs.
struct Server {
    address: String,
    answer: Arc<Mutex<(u16, &'static str, String)>>,
    headers: Arc<Mutex<HeaderMap>>,
    tasks: JoinSet<()>,
}

impl Server {
    async fn start(body: &str) -> Self {
        let answer = Arc::new(Mutex::new((200, "text/plain", body.to_owned())));
        let headers = Arc::new(Mutex::new(HeaderMap::new()));
        let (told, seen) = (Arc::clone(&answer), Arc::clone(&headers));
        let handler = async move |headers: HeaderMap| {
            *seen.lock().expect("not poisoned") = headers;
            let (status, kind, body) = told.lock().expect("not poisoned").clone();
            let status = http::StatusCode::from_u16(status).expect("a status");
            (status, [("content-type", kind)], body).into_response()
        };
        let router = Router::new().route("/metrics", get(handler));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            axum::serve(listener, router).await.expect("served");
        });
        Self {
            address,
            answer,
            headers,
            tasks,
        }
    }

    fn answer(&self, status: u16, kind: &'static str, body: &str) {
        *self.answer.lock().expect("not poisoned") = (status, kind, body.to_owned());
    }
}

struct Rig {
    scraper: Scraper,
    inbox: Inbox,
    stop: CancellationToken,
    tasks: JoinSet<()>,
}

impl Rig {
    fn start(yaml: &str) -> Self {
        let (sink, inbox) = Sink::channel(16);
        let scraper = Scraper::new();
        scraper.apply(parse(yaml));
        let setting = Setting {
            sink,
            tenant: Tenant::anonymous(),
            limits: Limits::default(),
            decoder: Decoder::new(1),
            counters: Arc::default(),
        };
        let stop = CancellationToken::new();
        let mut tasks = JoinSet::new();
        let (running, token) = (scraper.clone(), stop.clone());
        tasks.spawn(async move { running.run(setting, token).await });
        Self {
            scraper,
            inbox,
            stop,
            tasks,
        }
    }

    /// The next batch as sorted lines, without those about the scrape but `up`.
    async fn next(&mut self) -> Vec<String> {
        let write = self.inbox.metrics.recv().await.expect("a batch");
        let about = |name: &str| name.starts_with("scrape_");
        let line = |series: &obs_model::Series| {
            let name = series.labels.metric_name().unwrap_or("").to_owned();
            let value = &series.samples[0].value;
            let text = match value {
                value if value.is_stale() => "stale".to_owned(),
                obs_model::Value::Float(value) => value.to_string(),
                obs_model::Value::Histogram(_) => "histogram".to_owned(),
            };
            (!about(&name)).then(|| format!("{name} {text}"))
        };
        let mut lines: Vec<String> = write.batch.series.iter().filter_map(line).collect();
        lines.sort();
        write.done.send(Ok(Accepted::default())).expect("a waiter");
        lines
    }

    async fn until(&mut self, expect: &[&str]) {
        // Repeated scrapes are welcome; the wanted one must come within a bound of attempts.
        for _ in 0..200 {
            if self.next().await == expect {
                return;
            }
        }
        panic!("{expect:?} did not come");
    }

    /// Until the first target is down for this reason, and not because the machine was busy.
    async fn until_fault(&mut self, fault: &str) {
        for _ in 0..200 {
            self.next().await;
            let active = self.scraper.targets().snapshot().active;
            if active[0].health == Health::Down && active[0].last_error == fault {
                return;
            }
        }
        panic!("{fault:?} was not told");
    }

    /// Until `up` ends; whether a series ended with it, or before.
    async fn until_end(&mut self, series: &str) -> bool {
        let (mut lives, stale) = (true, format!("{series} stale"));
        loop {
            for line in self.next().await {
                match line.split_once(' ') {
                    Some(("up", "stale")) => return !lives,
                    Some((name, _)) if name == series => lives = line != stale,
                    _ => {}
                }
            }
        }
    }

    async fn end(mut self) {
        self.stop.cancel();
        drop(self.inbox);
        self.tasks
            .join_next()
            .await
            .expect("a task")
            .expect("no panic");
    }
}

fn parse(yaml: &str) -> Vec<Job> {
    let configs: Vec<ScrapeConfig> = serde_yaml_ng::from_str(yaml).expect(yaml);
    jobs(&GlobalConfig::default(), configs, yaml, Path::new("/")).expect(yaml)
}

fn yaml(address: &str, more: &str) -> String {
    every("50ms", address, more)
}

/// For tests that look at each scrape: none of them may run out of time on a busy machine.
fn patient(address: &str) -> String {
    every("2s", address, "")
}

fn every(time: &str, address: &str, more: &str) -> String {
    format!(
        "[{{job_name: j, scrape_interval: {time}, scrape_timeout: {time}, static_configs: [{{targets: ['{address}']}}] {more}}}]"
    )
}

#[tokio::test]
async fn scrapes_fail_recover_and_end_with_markers() {
    let server = Server::start("a 1\n").await;
    let mut rig = Rig::start(&yaml(&server.address, ""));
    rig.until(&["a 1", "up 1"]).await;
    server.answer(500, "text/plain", "");
    rig.until(&["a stale", "up 0"]).await;
    rig.until(&["up 0"]).await;
    rig.until_fault("server returned HTTP status 500 Internal Server Error")
        .await;
    server.answer(200, "application/openmetrics-text", "b 2\n# EOF\n");
    rig.until(&["b 2", "up 1"]).await;
    server.answer(200, "image/png", "b 2\n");
    rig.until(&["b stale", "up 0"]).await;
    server.answer(200, "text/plain", "c 3\nbroken{\n");
    rig.until(&["up 0"]).await;
    server.answer(200, "text/plain", "c 3\n");
    rig.until(&["c 3", "up 1"]).await;
    // The job goes: everything that it wrote ends.
    rig.scraper.apply(Vec::new());
    assert!(rig.until_end("c").await, "it ends with its target");
    assert!(rig.scraper.targets().pools().len() <= 1);
    let headers = server.headers.lock().expect("not poisoned").clone();
    assert!(
        headers["accept"]
            .to_str()
            .expect("text")
            .starts_with("application/openmetrics-text;version=1.0.0")
    );
    assert_eq!(headers["x-prometheus-scrape-timeout-seconds"], "0.05");
    assert_eq!(headers["accept-encoding"], "gzip");
    rig.end().await;
    drop(server.tasks);
}

#[tokio::test]
async fn a_reload_hands_the_state_over() {
    let server = Server::start("a 1\nb 2\n").await;
    let mut rig = Rig::start(&yaml(&server.address, ""));
    // The same target under changed rules: `b` ends, `a` and `up` go on without a marker.
    let dropping = ", metric_relabel_configs: [{source_labels: [__name__], regex: b, action: drop}], basic_auth: {username: u, password: p}";
    let mut follows = false;
    while !follows {
        rig.scraper.apply(parse(&yaml(&server.address, "")));
        rig.until(&["a 1", "b 2", "up 1"]).await;
        rig.scraper.apply(parse(&yaml(&server.address, dropping)));
        loop {
            let lines = rig.next().await;
            follows = lines == ["a 1", "b stale", "up 1"];
            // A scrape that had not enough time ended all before: once more.
            let ended = lines.iter().any(|line| line == "b stale" || line == "up 0");
            if follows || ended {
                break;
            }
        }
    }
    rig.until(&["a 1", "up 1"]).await;
    let headers = server.headers.lock().expect("not poisoned").clone();
    assert_eq!(headers["authorization"], "Basic dTpw");
    rig.end().await;
}

#[tokio::test]
async fn bodies_are_bounded() {
    let server = Server::start(&"a 1\n".repeat(1000)).await;
    let mut rig = Rig::start(&yaml(&server.address, ", body_size_limit: 1KB"));
    rig.until(&["up 0"]).await;
    rig.until(&["up 0"]).await;
    rig.until_fault("body size limit exceeded (limit: 1024 bytes)")
        .await;
    rig.end().await;
}

#[tokio::test]
async fn targets_over_their_limit_are_down() {
    let server = Server::start("a 1\n").await;
    let two = |limit| {
        let labels = |n: u8| format!("{{targets: ['{}'], labels: {{n: '{n}'}}}}", server.address);
        parse(&format!(
            "[{{job_name: j, scrape_interval: 50ms, scrape_timeout: 50ms, target_limit: {limit}, static_configs: [{}, {}]}}]",
            labels(1),
            labels(2)
        ))
    };
    let mut rig = Rig::start(&yaml(&server.address, ""));
    rig.scraper.apply(two(1));
    // Each target's third word comes after its second one was told.
    for _ in 0..5 {
        rig.until(&["up 0"]).await;
    }
    let active = rig.scraper.targets().snapshot().active;
    assert_eq!(active.len(), 2);
    let fault = "target_limit exceeded (number of targets: 2, limit: 1)";
    assert!(
        active.iter().any(|target| target.last_error == fault),
        "{active:?}"
    );
    rig.scraper.apply(two(2));
    rig.until(&["a 1", "up 1"]).await;
    rig.end().await;
}

#[tokio::test]
async fn the_limit_of_a_job_goes_before_that_of_requests() {
    let server = Server::start("a 1\n").await;
    let body = async |more: &str| {
        let job = Arc::new(parse(&yaml(&server.address, more)).remove(0));
        let mut sources = Sources::new(&job.discovery, &Providers::default());
        let target = sources.resolve(&job).active.remove(0);
        let client = HttpClient::new(&job.client, Use::default()).await;
        let client = client.expect("a client");
        let question = Question::new(&client, &job, &target).await;
        let memory = Memory::new();
        let fetched = fetch::fetch(&client, &job, &target, &question, 3, &memory).await;
        fetched.map(|fetched| fetched.body.len())
    };
    assert_eq!(body("").await, Err(FetchError::TooLarge(3)));
    assert_eq!(
        body(", body_size_limit: 2B").await,
        Err(FetchError::TooLarge(2))
    );
    assert_eq!(body(", body_size_limit: 4B").await, Ok(4));
}

/// Answers with the begin of a body, and with nothing more.
async fn slow_server() -> (String, JoinSet<()>) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0");
    let listener = listener.await.expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut held = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = [0; 1024];
            assert!(stream.read(&mut head).await.expect("a request") > 0);
            let begin =
                "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 9000000\r\n\r\na 1\n";
            stream.write_all(begin.as_bytes()).await.expect("sent");
            held.push(stream);
        }
    });
    (address, tasks)
}

#[tokio::test]
async fn slow_targets_hold_what_they_sent_and_nobody_up() {
    let server = Server::start("a 1\n").await;
    let (slow, _slow) = slow_server().await;
    let memory = Memory::new();
    let before = memory.free();
    let asked = async |address: &str| {
        let job = Arc::new(parse(&yaml(address, "")).remove(0));
        let mut sources = Sources::new(&job.discovery, &Providers::default());
        let target = sources.resolve(&job).active.remove(0);
        let client = HttpClient::new(&job.client, Use::default()).await;
        let client = client.expect("a client");
        let question = Question::new(&client, &job, &target).await;
        fetch::fetch(&client, &job, &target, &question, 10 << 20, &memory).await
    };
    let mut waiting: Vec<_> = (0..80).map(|_| Box::pin(asked(&slow))).collect();
    // All have begun to answer when each has memory.
    let begun = async {
        std::future::poll_fn(|context| {
            for one in &mut waiting {
                assert!(one.as_mut().poll(context).is_pending());
            }
            match before - memory.free() >= 80 * (64 << 10) {
                true => std::task::Poll::Ready(()),
                false => std::task::Poll::Pending,
            }
        })
        .await;
    };
    begun.await;
    assert!(before - memory.free() <= 80 * (68 << 10));
    let fetched = asked(&server.address).await.expect("a body");
    assert_eq!(&fetched.body[..], b"a 1\n");
    drop((fetched, waiting));
    assert_eq!(memory.free(), before);
}

#[tokio::test]
async fn counts_of_a_scrape_over_its_sample_limit_are_written() {
    let server = Server::start("a 1\nb 2\nc 3\n").await;
    let mut rig = Rig::start(&every("2s", &server.address, ", sample_limit: 2"));
    let write = rig.inbox.metrics.recv().await.expect("a batch");
    let value = |name: &str| {
        let mut found = write.batch.series.iter();
        let series = found.find(|s| s.labels.metric_name() == Some(name));
        match series.map(|s| &s.samples[0].value) {
            Some(obs_model::Value::Float(value)) => *value,
            other => panic!("{name}: {other:?}"),
        }
    };
    assert_eq!(value("up"), 0.0);
    assert_eq!(value("scrape_samples_scraped"), 3.0);
    assert_eq!(value("scrape_samples_post_metric_relabeling"), 3.0);
    drop(write);
    rig.end().await;
}

#[tokio::test]
async fn series_that_are_numbered_anew_go_again_with_their_labels() {
    let server = Server::start("a 1\nb 2\n").await;
    let mut rig = Rig::start(&patient(&server.address));
    let first = rig.inbox.metrics.recv().await.expect("a batch");
    assert!(first.batch.known.numbers.is_empty());
    // The writer tells the numbers of what it stored.
    let keys = first.batch.series.iter().map(|s| s.key.expect("a key"));
    let learned: Vec<_> = keys.zip(0..).collect();
    let tenant = Tenant::anonymous();
    rig.inbox.numbers.learn(&tenant, 7, &learned);
    first.done.send(Ok(Accepted::default())).expect("a waiter");
    let second = rig.inbox.metrics.recv().await.expect("a batch");
    let (batch, count) = (&second.batch, learned.len());
    assert!(batch.series.is_empty(), "{batch:?}");
    assert_eq!((batch.known.numbers.len(), batch.known.epoch), (count, 7));
    second.done.send(Err(SinkError::Stale)).expect("a waiter");
    assert_eq!(rig.next().await, ["a 1", "b 2", "up 1"]);
    let status = rig.scraper.targets().snapshot().active;
    assert_eq!(status[0].last_error, "");
    // Numbers of another epoch are learned as the first ones were.
    rig.inbox.numbers.retire(&tenant, 8);
    assert_eq!(rig.next().await, ["a 1", "b 2", "up 1"]);
    rig.end().await;
}

#[tokio::test]
async fn what_was_not_stored_is_ended_all_the_same() {
    let server = Server::start("a 1\n").await;
    let mut rig = Rig::start(&patient(&server.address));
    rig.until(&["a 1", "up 1"]).await;
    server.answer(200, "text/plain", "b 1\n");
    loop {
        let write = rig.inbox.metrics.recv().await.expect("a batch");
        let names = write.batch.series.iter().map(|s| s.labels.metric_name());
        let is_new = names.flatten().any(|name| name == "b");
        let lost = SinkError::Unavailable {
            reason: "gone".into(),
        };
        let word = if is_new {
            Err(lost)
        } else {
            Ok(Accepted::default())
        };
        write.done.send(word).expect("a waiter");
        if is_new {
            break;
        }
    }
    // Neither the end of `a` nor the begin of `b` was stored for sure.
    server.answer(200, "text/plain", "c 1\n");
    rig.until(&["a stale", "b stale", "c 1", "up 1"]).await;
    rig.end().await;
}
