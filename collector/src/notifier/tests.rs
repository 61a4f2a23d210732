//! The notifier against Alertmanagers of the tests' own.

use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use axum::Router;
use axum::routing::post;
use tokio::sync::mpsc;

use super::*;
use crate::config::{AlertingConfig, alerting};
use crate::http_client::configured::{HttpClient, Use};

fn config(text: &str) -> Alerting {
    let read: AlertingConfig = serde_yaml_ng::from_str(text).expect("valid");
    alerting(read, text, Path::new("")).expect("valid")
}

fn notifier(text: &str, external: &[(&str, &str)]) -> Notifier {
    with(text, external, NotifierOptions::default())
}

fn with(text: &str, external: &[(&str, &str)], options: NotifierOptions) -> Notifier {
    let external = Labels::from_pairs(external.iter().copied());
    Notifier::new(config(text), external.into(), Arc::default(), options)
}

fn alert(name: &str) -> Alert {
    Alert {
        labels: Labels::from_pairs([("alertname", name)]),
        annotations: Labels::from_pairs([("summary", "s")]),
        starts_at: Timestamp::from_seconds(1),
        ends_at: Timestamp::from_millis(2500),
        generator_url: "http://here/graph".to_owned(),
    }
}

/// An Alertmanager that fails while `fails`; the bodies that it takes.
async fn receiver(fails: Arc<AtomicBool>) -> (String, mpsc::UnboundedReceiver<serde_json::Value>) {
    let (sender, bodies) = mpsc::unbounded_channel();
    let take = async move |body: String| {
        if fails.load(Ordering::Relaxed) {
            return http::StatusCode::INTERNAL_SERVER_ERROR;
        }
        let body = serde_json::from_str(&body).expect("JSON");
        drop(sender.send(body));
        http::StatusCode::OK
    };
    let routes = Router::new().route("/am/api/v2/alerts", post(take));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("bound");
    let address = listener.local_addr().expect("bound").to_string();
    TaskTracker::new().spawn(async move { axum::serve(listener, routes).await });
    (address, bodies)
}

#[test]
fn alerts_get_external_labels_and_rules() {
    let text = "alert_relabel_configs:\n- {source_labels: [drop], regex: yes, action: drop}\n\
                - {regex: replica, action: labeldrop}\n";
    let notifier = notifier(
        text,
        &[("cluster", "c"), ("replica", "1"), ("alertname", "no")],
    );
    let mut gone = alert("gone");
    gone.labels = Labels::from_pairs([("drop", "yes")]);
    let found = notifier.prepared([alert("a"), gone].into_iter());
    assert_eq!(found.len(), 1);
    let expect = Labels::from_pairs([("alertname", "a"), ("cluster", "c")]);
    assert_eq!(found[0].labels, expect);
    assert_eq!(
        &*found[0].json(),
        r#"{"annotations":{"summary":"s"},"endsAt":"1970-01-01T00:00:02.500Z","generatorURL":"http://here/graph","labels":{"alertname":"a","cluster":"c"},"startsAt":"1970-01-01T00:00:01Z"}"#
    );
}

#[test]
fn addresses_are_made_of_labels() {
    let alerting = config(
        "alertmanagers:\n- path_prefix: /p\n  relabel_configs:\n  \
         - {source_labels: [__address__], regex: 'bad.*', action: drop}\n  static_configs: []\n",
    );
    let labels = |host: &str| Labels::from_pairs([("__address__", host)]);
    let found = ["b:9093", "a", "[::1]", "[::1]:1", "bad:1", "x/y", "a"].map(labels);
    let (active, dropped, faults) = follow::resolve(&alerting.alertmanagers[0], &found);
    assert_eq!(
        active,
        [
            "http://[::1]:1/p/api/v2/alerts",
            "http://[::1]:80/p/api/v2/alerts",
            "http://a:80/p/api/v2/alerts",
            "http://b:9093/p/api/v2/alerts",
        ]
    );
    assert_eq!(dropped, ["http://bad:1/p/api/v2/alerts"]);
    assert_eq!(faults.len(), 1);
}

#[tokio::test]
async fn alerts_are_sent_in_batches_and_drained() {
    let fails = Arc::new(AtomicBool::new(false));
    let (address, mut bodies) = receiver(Arc::clone(&fails)).await;
    let text = format!(
        "alertmanagers:\n- path_prefix: am\n  alert_relabel_configs:\n  \
         - {{target_label: to, replacement: here}}\n  static_configs: [{{targets: ['{address}']}}]\n"
    );
    let notifier = notifier(&text, &[]);
    // Told before anybody was found: nothing is lost.
    let alerts: Vec<Alert> = (0..300).map(|n| alert(&n.to_string())).collect();
    notifier.send(&alerts);
    let stop = CancellationToken::new();
    let running = TaskTracker::new().spawn(notifier.clone().run(stop.clone()));
    let first = bodies.recv().await.expect("a batch");
    let second = bodies.recv().await.expect("a batch");
    let count = |body: &serde_json::Value| body.as_array().map_or(0, Vec::len);
    assert_eq!((count(&first), count(&second)), (256, 44));
    assert_eq!(first[0]["labels"]["to"], "here");
    assert_eq!(
        notifier.alertmanagers().0,
        [format!("http://{address}/am/api/v2/alerts")]
    );
    // What is queued when it stops is sent.
    notifier.send(&alerts[..3]);
    stop.cancel();
    running.await.expect("ended");
    assert_eq!(bodies.recv().await.map(|b| count(&b)), Some(3));
    let sent = notifier.families().remove(0);
    assert_eq!(sent.points[0].value, 303.0);
}

#[tokio::test]
async fn faults_are_counted_and_queues_bounded() {
    let fails = Arc::new(AtomicBool::new(true));
    let (address, mut bodies) = receiver(Arc::clone(&fails)).await;
    let text = format!(
        "alertmanagers:\n- path_prefix: am\n  static_configs: [{{targets: ['{address}']}}]\n"
    );
    let notifier = notifier(&text, &[]);
    let options = NotifierOptions {
        capacity: 100,
        ..NotifierOptions::default()
    };
    let many: Vec<Alert> = (0..105).map(|n| alert(&n.to_string())).collect();
    let endpoint = Endpoint::new("u".to_owned(), Arc::default(), options);
    endpoint.push(many.iter().map(Alert::json));
    assert_eq!(endpoint.queued(), 100);
    notifier.send(&many[..2]);
    let stop = CancellationToken::new();
    let running = TaskTracker::new().spawn(notifier.clone().run(stop.clone()));
    let value = |name: &str| {
        let found = notifier.families().into_iter().find(|f| f.name == name);
        found
            .and_then(|f| Some(f.points.first()?.value))
            .unwrap_or(0.0)
    };
    let errors = "prometheus_notifications_errors_total";
    tokio::time::timeout(Duration::from_secs(120), async {
        while value(errors) < 2.0 {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("counted");
    assert_eq!(value("prometheus_notifications_dropped_total"), 2.0);
    fails.store(false, Ordering::Relaxed);
    notifier.send(&many[..1]);
    assert!(bodies.recv().await.is_some());
    stop.cancel();
    running.await.expect("ended");
}

#[tokio::test]
async fn what_is_gone_is_not_counted_any_more() {
    let fine = || Arc::new(AtomicBool::new(false));
    let ((first, mut taken), (second, mut later)) =
        (receiver(fine()).await, receiver(fine()).await);
    let text = |address: &str| {
        format!(
            "alertmanagers:\n- path_prefix: am\n  static_configs: [{{targets: ['{address}']}}]\n"
        )
    };
    let notifier = notifier(&text(&first), &[]);
    let stop = CancellationToken::new();
    let running = TaskTracker::new().spawn(notifier.clone().run(stop.clone()));
    let told = |address: &str| {
        let all = notifier
            .families()
            .into_iter()
            .flat_map(|family| family.points);
        all.filter(|point| point.labels.to_string().contains(address))
            .count()
    };
    notifier.send(&[alert("a")]);
    assert!(taken.recv().await.is_some());
    assert!(told(&first) > 0);
    notifier.apply(config(&text(&second)));
    notifier.send(&[alert("b")]);
    assert!(later.recv().await.is_some());
    assert_eq!(told(&first), 0);
    assert!(told(&second) > 0);
    notifier.apply(config("{}"));
    assert_eq!(told(&second), 0);
    stop.cancel();
    running.await.expect("ended");
}

#[tokio::test]
async fn what_waits_at_the_end_is_sent_where_that_is_wanted() {
    let (address, mut bodies) = receiver(Arc::default()).await;
    let text = "alertmanagers:\n- static_configs: []\n";
    let set = config(text).alertmanagers.remove(0);
    let client = HttpClient::new(&set.job.client, Use::default()).await;
    let client = client.expect("a client");
    let ended = CancellationToken::new();
    ended.cancel();
    for (drain, ends, expect) in [
        (false, ended.clone(), 3),
        // An Alertmanager that is gone gets what waits for it in any case.
        (false, CancellationToken::new(), 0),
        (true, ended.clone(), 0),
    ] {
        let options = NotifierOptions {
            drain,
            ..NotifierOptions::default()
        };
        let (url, counts) = (format!("http://{address}/am/api/v2/alerts"), Arc::default());
        let endpoint = Endpoint::new(url, Arc::clone(&counts), options);
        endpoint.push((0..3).map(|n| alert(&n.to_string()).json()));
        let stop = (ended.clone(), ends);
        endpoint.run(&client, Duration::from_secs(60), stop).await;
        assert_eq!(endpoint.queued(), expect);
        let dropped = counts.dropped.load(Ordering::Relaxed);
        assert_eq!(dropped, expect as u64);
        let sent = bodies
            .try_recv()
            .ok()
            .and_then(|body| Some(body.as_array()?.len()));
        assert_eq!(sent.unwrap_or(0), 3 - expect);
    }
}
