//! Requests through the routes, over stores in a folder of their own.

use http::Request;
use obs_collector::metrics::Counters;
use obs_collector::scrape::Scraper;
use obs_collector::{Decoder, Inbox, Sink};
use obs_model::metrics::{MetricBatch, Sample, Series};
use obs_model::{Labels, Tenant, Timestamp, Value};
use obs_storage::{Disk, SimDisk};
use std::sync::OnceLock;
use tempfile::TempDir;
use tower::Service;

use super::*;
use crate::about::About;
use crate::app::Opening;
use crate::clock;
use crate::dashboards::Dashboards;
use crate::read::Reader;
use crate::stores::Stores;
use crate::write::{Rules, Writers};

pub(crate) struct Rig {
    pub(crate) app: Arc<App>,
    pub(super) routes: Router,
    _folder: TempDir,
    _writers: Option<Writers>,
}

fn dashboards() -> Arc<Dashboards> {
    let disk: Arc<dyn Disk> = Arc::new(SimDisk::new(7));
    Arc::new(Dashboards::open(&disk, 7).expect("a disk that works"))
}

fn app() -> (Arc<App>, Inbox) {
    let rules = Rules::default();
    let (sink, inbox) = Sink::channel(4);
    let app = Arc::new(App {
        stores: OnceLock::new(),
        opening: Opening::default(),
        deletions: Default::default(),
        copies: Default::default(),
        ruler: OnceLock::new(),
        begun: OnceLock::new(),
        dashboards: dashboards(),
        alertmanager: OnceLock::new(),
        notifier: OnceLock::new(),
        auth: None,
        cost: Default::default(),
        external_url: String::new(),
        writes: OnceLock::new(),
        reader: Reader::new(1, rules.limits).expect("a pool"),
        scraper: Scraper::new(),
        counters: Arc::<Counters>::default(),
        pods: Default::default(),
        sink,
        shipper: None,
        rules,
        external_labels: Labels::from_pairs([("cluster", "c")]).into(),
        decoder: Decoder::new(1),
        started: clock::now(),
        about: About::default(),
        reload: Default::default(),
        features: crate::Features::default(),
    });
    (app, inbox)
}

impl Rig {
    /// A server whose journals are still replayed.
    fn starting() -> Self {
        let (app, _) = app();
        let routes = routes(&app);
        let folder = tempfile::tempdir().expect("a folder");
        Self {
            app,
            routes,
            _folder: folder,
            _writers: None,
        }
    }

    /// A server that is ready.
    pub(crate) fn start() -> Self {
        let rig = Self::opened();
        rig.app.begun.set(()).expect("set once");
        rig
    }

    /// A server whose stores are open.
    fn opened() -> Self {
        let (app, inbox) = app();
        let folder = tempfile::tempdir().expect("a folder");
        let options = obs_storage::Options::default();
        let tell = |store, progress| app.opening.note(store, progress);
        let disk = obs_storage::RealDisk::open(folder.path()).expect("a folder");
        let disk: Arc<dyn Disk> = Arc::new(disk);
        let stores = Stores::open(&disk, &options, 0, &tell).expect("stores");
        let writers = Writers::start(&stores, inbox, &app.rules).expect("threads");
        app.stores.set(stores).expect("set once");
        let routes = routes(&app);
        Self {
            app,
            routes,
            _folder: folder,
            _writers: Some(writers),
        }
    }

    /// One sample at 100 s for each value of the label `n`.
    async fn write(&self, values: &[&str]) {
        let series = |n: &&str| Series {
            labels: Labels::from_pairs([("__name__", "m"), ("n", *n)]),
            samples: vec![Sample {
                time: Timestamp::from_seconds(100),
                start: None,
                value: Value::Float(1.0),
            }],
            exemplars: Vec::new(),
            ..Default::default()
        };
        let batch = MetricBatch {
            series: values.iter().map(series).collect(),
            metadata: Vec::new(),
            ..Default::default()
        };
        let written = self.app.sink.metrics(Tenant::anonymous(), batch).await;
        assert_eq!(written.map(|accepted| accepted.refused), Ok(0));
    }

    pub(super) async fn ask(&mut self, request: http::request::Builder, body: &str) -> Heard {
        let request = request.body(Body::from(body.to_owned())).expect("valid");
        let response = self.routes.call(request).await.expect("infallible");
        let header = |name| {
            let value = response.headers().get(name)?.to_str().ok()?;
            Some(value.to_owned())
        };
        let (kind, retry_after) = (header("content-type"), header("retry-after"));
        let status = response.status().as_u16();
        let body = axum::body::to_bytes(response.into_body(), 1 << 20).await;
        Heard {
            status,
            kind: kind.unwrap_or_default(),
            retry_after,
            body: String::from_utf8(body.expect("a body").to_vec()).expect("text"),
        }
    }

    pub(super) async fn get(&mut self, path: &str) -> Heard {
        self.ask(Request::get(path), "").await
    }
}

#[derive(Debug)]
pub(super) struct Heard {
    pub(super) status: u16,
    kind: String,
    retry_after: Option<String>,
    pub(super) body: String,
}

#[track_caller]
pub(super) fn check(told: &Heard, status: u16, kind: &str, part: &str) {
    let right = told.status == status && told.kind.starts_with(kind) && told.body.contains(part);
    assert!(right, "expected {status} {kind} {part}: {told:?}");
}

pub(super) const JSON: &str = "application/json";
pub(super) const TEXT: &str = "text/plain";

#[tokio::test]
async fn what_grafana_asks_first() {
    let mut rig = Rig::start();
    let told = rig.get("/api/v1/query?query=1%2B1&time=4").await;
    check(&told, 200, JSON, r#""result":[4,"2"]"#);
    let path = "/loki/api/v1/query?query=vector(1)%2Bvector(1)&time=4000000000";
    check(
        &rig.get(path).await,
        200,
        JSON,
        r#""value":[4000000000,"2"]"#,
    );
    check(&rig.get("/tempo/api/echo").await, 200, TEXT, "echo");
    let told = rig.get("/api/v1/status/other").await;
    check(&told, 404, TEXT, "404 page not found\n");
    let form = "application/x-www-form-urlencoded";
    let post = Request::post("/api/v1/query").header("content-type", form);
    let told = rig.ask(post, "query=1%2B1&time=4").await;
    check(&told, 200, JSON, r#""result":[4,"2"]"#);
}

#[tokio::test]
async fn limits_cut_answers_and_say_so() {
    let mut rig = Rig::start();
    rig.write(&["1", "2", "3"]).await;
    let note = r#""warnings":["results truncated due to limit"]"#;
    for query in [
        "/api/v1/query?query=m&time=100",
        "/api/v1/query_range?query=m&start=100&end=110&step=5",
        "/api/v1/series?match[]=m",
        "/api/v1/label/n/values?match[]=m",
    ] {
        let told = rig.get(&format!("{query}&limit=2")).await;
        check(&told, 200, JSON, note);
        let count = ["1", "2", "3"].map(|n| told.body.matches(&format!("\"{n}\"")).count() > 0);
        assert!(count[0] && count[1], "{told:?}");
        assert!(!told.body.contains("\"n\":\"3\""), "{told:?}");
        for all in ["3", "0"] {
            let told = rig.get(&format!("{query}&limit={all}")).await;
            assert!(
                told.status == 200 && !told.body.contains("warnings"),
                "{told:?}"
            );
        }
    }
}

#[tokio::test]
async fn as_many_points_as_prometheus_gives() {
    let mut rig = Rig::start();
    let path = "/api/v1/query_range?query=m&start=0&step=1";
    check(
        &rig.get(&format!("{path}&end=11000")).await,
        200,
        JSON,
        "success",
    );
    let told = rig.get(&format!("{path}&end=11001")).await;
    check(
        &told,
        400,
        JSON,
        "exceeded maximum resolution of 11,000 points",
    );
    let path = "/loki/api/v1/query_range?query=rate(%7Ba%3D%22b%22%7D%5B1m%5D)&start=0&step=1";
    check(
        &rig.get(&format!("{path}&end=11000")).await,
        200,
        JSON,
        "success",
    );
    let told = rig.get(&format!("{path}&end=11001")).await;
    check(&told, 400, TEXT, "exceeded maximum resolution");
}

#[tokio::test]
async fn times_beyond_all_that_is_stored() {
    let mut rig = Rig::start();
    rig.write(&["1"]).await;
    let path = "/api/v1/label/n/values?start=0001-01-01T00:00:00Z&end=9999999999";
    check(&rig.get(path).await, 200, JSON, r#"["1"]"#);
    let told = rig.get("/api/v1/query?query=m&time=9999999999").await;
    check(&told, 200, JSON, r#""result":[]"#);
    let told = rig.get("/api/v1/query?query=m&time=soon").await;
    check(&told, 400, JSON, r#"invalid parameter \"time\""#);
}

#[tokio::test]
async fn faults_are_told_in_the_language_of_the_route() {
    let mut rig = Rig::start();
    let tenant = |path: &str| Request::get(path).header("x-scope-orgid", "a/b");
    for (path, kind) in [
        ("/api/v1/labels", JSON),
        ("/loki/api/v1/labels", TEXT),
        ("/tempo/api/search", TEXT),
    ] {
        let told = rig.ask(tenant(path), "").await;
        check(&told, 400, kind, "X-Scope-OrgID");
    }
    let form = "application/x-www-form-urlencoded";
    let large = format!("query={}", "x".repeat(5 << 20));
    for (path, kind) in [("/api/v1/query", JSON), ("/loki/api/v1/query_range", TEXT)] {
        let post = Request::post(path).header("content-type", form);
        let told = rig.ask(post, &large).await;
        check(&told, 413, kind, "form body");
    }
    let many = Request::post("/api/v1/query").header("content-type", form);
    let told = rig.ask(many, &"a&".repeat(20_000)).await;
    check(&told, 413, JSON, "more than 10000 parameters");
    for (path, told_so) in [
        (
            "/loki/api/v1/query_range?query=%7Ba%3D%22b%22%7D&limit=0",
            "limit must be a positive value",
        ),
        (
            "/tempo/api/search?limit=0",
            "invalid parameter \"limit\": must be a positive number",
        ),
    ] {
        let told = rig.get(path).await;
        check(&told, 400, TEXT, told_so);
    }
}

#[tokio::test]
async fn a_server_that_starts_says_how_far_it_is() {
    let mut rig = Rig::starting();
    let progress = obs_storage::Progress {
        journal_bytes: 3,
        journal_bytes_total: 10,
        ..obs_storage::Progress::default()
    };
    rig.app.opening.note("metrics", progress);
    for (path, kind) in [("/-/ready", TEXT), ("/api/v1/query?query=1", JSON)] {
        let told = rig.get(path).await;
        check(&told, 503, kind, "(metrics: 3 of 10 bytes)");
        assert_eq!(told.retry_after.as_deref(), Some("1"));
    }
    check(&rig.get("/-/healthy").await, 200, TEXT, "obs is healthy");
    // Rules cannot be asked for yet.
    let mut rig = Rig::opened();
    check(&rig.get("/-/ready").await, 503, TEXT, "rules and what");
    let mut rig = Rig::start();
    check(&rig.get("/-/ready").await, 200, TEXT, "obs is ready");
    let foreign =
        Request::post("/api/v1/admin/storage/flush").header("sec-fetch-site", "cross-site");
    check(&rig.ask(foreign, "").await, 403, JSON, "another site");
    let told = rig
        .ask(Request::post("/api/v1/admin/storage/flush"), "")
        .await;
    check(&told, 204, "", "");
}

#[tokio::test]
async fn the_page_is_below_the_prefix_too() {
    let rig = Rig::starting();
    let mut all = below("/team/obs", rig.routes);
    let mut get = async |path: &str| {
        let request = Request::get(path).body(Body::empty()).unwrap();
        all.call(request).await.unwrap()
    };
    let at_root = get("/").await.status();
    let redirect = get("/team/obs").await;
    assert_eq!(redirect.status(), StatusCode::PERMANENT_REDIRECT);
    assert_eq!(redirect.headers()[header::LOCATION], "/team/obs/");
    // The page names its files and asks its questions relative to where it is.
    assert_eq!(get("/team/obs/").await.status(), at_root);
    let asset = get("/team/obs/favicon.svg").await;
    let asset = axum::body::to_bytes(asset.into_body(), 1 << 20).await;
    assert_ne!(asset.unwrap(), "404 page not found\n");
    assert_eq!(get("/team/obs/-/healthy").await.status(), StatusCode::OK);
    assert_eq!(get("/team").await.status(), StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn remote_read_in_both_forms() {
    use obs_wire::prometheus::remote_read::decode_frames;
    let mut rig = Rig::start();
    rig.write(&["a", "b"]).await;
    // 0 to 200 s, n=~"a|b", cluster="c"; samples, then chunks.
    let query =
        b"\x10\xc0\x9a\x0c\x1a\x0a\x08\x02\x12\x01n\x1a\x03a|b\x1a\x0c\x12\x07cluster\x1a\x01c";
    let mut body = vec![0x0a, query.len() as u8];
    body.extend_from_slice(query);
    for streamed in [false, true] {
        if streamed {
            body.extend_from_slice(&[0x10, 1]);
        }
        let request =
            Request::post("/api/v1/read").body(Body::from(obs_wire::snappy::encode(&body)));
        let response = rig
            .routes
            .call(request.expect("valid"))
            .await
            .expect("infallible");
        assert_eq!(response.status().as_u16(), 200);
        let kind = response.headers()["content-type"]
            .to_str()
            .expect("text")
            .to_owned();
        let answer = axum::body::to_bytes(response.into_body(), 1 << 20)
            .await
            .expect("a body");
        if streamed {
            assert!(
                kind.starts_with("application/x-streamed-protobuf"),
                "{kind}"
            );
            let read = decode_frames(&answer, &Limits::default()).expect("frames");
            let names: Vec<String> = read.iter().map(|s| s.labels.to_string()).collect();
            let expect = ["a", "b"].map(|n| format!(r#"{{__name__="m", cluster="c", n="{n}"}}"#));
            assert_eq!(names, expect);
            assert_eq!((read[0].samples.len(), read[0].samples[0].0), (1, 100_000));
        } else {
            assert_eq!(kind, "application/x-protobuf");
            let answer = obs_wire::snappy::decode(&answer, 1 << 20).expect("snappy");
            assert!(answer.windows(7).any(|w| w == b"cluster"), "{answer:?}");
        }
    }
    let told = rig.ask(Request::post("/api/v1/read"), "no snappy").await;
    check(&told, 400, TEXT, "snappy block");
}

#[tokio::test]
async fn export_in_both_forms() {
    let mut rig = Rig::start();
    rig.write(&["a"]).await;
    let told = rig.get("/api/v1/export?match[]=m").await;
    let line = r#"{"metric":{"__name__":"m","n":"a"},"values":[1],"timestamps":[100000]}"#;
    check(&told, 200, "application/stream+json", line);
    let told = rig
        .get("/api/v1/export/csv?match[]=m&format=n,__value__,__timestamp__:unix_s")
        .await;
    check(&told, 200, "text/csv", "a,1,100");
    let told = rig.get("/api/v1/export").await;
    check(&told, 400, JSON, "no match[]");
    let told = rig.get("/api/v1/export?match[]=%7B").await;
    check(&told, 400, JSON, "match[]");
}
