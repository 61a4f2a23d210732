//! What the API tells of targets, in Prometheus' shapes.

use super::*;

fn keys(value: &Value) -> Vec<&str> {
    let object = value
        .as_object()
        .unwrap_or_else(|| panic!("not an object: {value}"));
    let mut keys: Vec<&str> = object.keys().map(String::as_str).collect();
    keys.sort_unstable();
    keys
}

#[test]
fn targets_and_why_there_are_no_more() {
    let peer = Peer::serve(|_| {
        Reply::text("# HELP works Whether.\n# TYPE works gauge\nworks 1\n# TYPE n counter\nn 2\n")
    });
    let config = format!(
        "{PATIENT}scrape_configs:\n- job_name: a\n  static_configs: [{{targets: ['{0}', 'dropped:1', 'dropped:2', 'equal:3'], labels: {{team: x}}}}]\n\
         \x20 keep_dropped_targets: 10\n  relabel_configs:\n\
         \x20 - {{source_labels: [__address__], regex: 'dropped:.*', action: drop}}\n\
         \x20 - {{source_labels: [__address__], regex: 'equal:(.*)', target_label: n}}\n\
         \x20 - {{source_labels: [n], regex: '3', action: drop}}\n\
         - job_name: b\n  static_configs: [{{targets: ['{0}', 'dropped:9']}}]\n\
         \x20 keep_dropped_targets: 1\n  relabel_configs: [{{source_labels: [__address__], regex: '127.*', action: keep}}]\n",
        peer.address
    );
    let obs = Obs::with_config(&config);
    let up = target(&obs, "a", "up");
    target(&obs, "b", "up");
    active(&up, &peer.address);
    let get = |params: &[(&str, &str)]| obs.get("/api/v1/targets", params).json()["data"].clone();
    let all = get(&[]);
    assert_eq!(
        keys(&all),
        ["activeTargets", "droppedTargetCounts", "droppedTargets"]
    );
    assert_eq!(all["droppedTargetCounts"]["a"], 3, "{all}");
    assert_eq!(all["droppedTargetCounts"]["b"], 1, "{all}");
    let only = get(&[("state", "dropped"), ("scrapePool", "a")]);
    assert_eq!(only["activeTargets"], json!([]));
    let dropped = list(&only["droppedTargets"]);
    assert_eq!(dropped.len(), 3, "{only}");
    assert_eq!(keys(&dropped[0]), ["discoveredLabels", "scrapePool"]);
    let active = get(&[("state", "active"), ("scrapePool", "b")]);
    assert_eq!(list(&active["activeTargets"]).len(), 1);
    assert_eq!(active["droppedTargets"], json!([]));
    reasons(&get(&[
        ("state", "dropped"),
        ("scrapePool", "a"),
        ("reasons", "true"),
    ]));
    let pools = obs.get("/api/v1/scrape_pools", &[]).json();
    assert_eq!(pools["data"]["scrapePools"], json!(["a", "b", "obs"]));
    metadata(&obs, &peer.address);
    relabel_steps(&obs);
}

fn active(up: &Value, address: &str) {
    assert_eq!(
        keys(up),
        [
            "discoveredLabels",
            "globalUrl",
            "health",
            "labels",
            "lastError",
            "lastScrape",
            "lastScrapeDuration",
            "scrapeInterval",
            "scrapePool",
            "scrapeTimeout",
            "scrapeUrl",
        ]
    );
    assert_eq!(up["scrapeInterval"], "5s");
    assert_eq!(
        up["discoveredLabels"],
        json!({
            "__address__": address, "__metrics_path__": "/metrics", "__scheme__": "http",
            "__scrape_interval__": "5s", "__scrape_timeout__": "5s", "job": "a", "team": "x",
            "__always_scrape_classic_histograms__": "false",
            "__convert_classic_histograms_to_nhcb__": "false",
            "__scrape_native_histograms__": "false",
        })
    );
    assert_eq!(
        up["labels"],
        json!({"instance": address, "job": "a", "team": "x"})
    );
}

/// Why targets were dropped, where that is asked for: by which rule.
fn reasons(why: &Value) {
    let reason = |address: &str| {
        let found = list(&why["droppedTargets"]).iter();
        let found = found.map(Value::clone);
        let mut found = found.filter(|t| t["discoveredLabels"]["__address__"] == address);
        found.next().expect(address)["reason"].clone()
    };
    assert_eq!(
        reason("dropped:1"),
        json!({"rule": 0, "text": "relabel_configs[0]: action drop matched \"dropped:1\""})
    );
    assert_eq!(
        reason("equal:3"),
        json!({"rule": 2, "text": "relabel_configs[2]: action drop matched \"3\""})
    );
}

fn metadata(obs: &Obs, address: &str) {
    let matcher = "{job=\"a\"}";
    let labels = json!({"instance": address, "job": "a", "team": "x"});
    let get = |params: &[(&str, &str)]| obs.get("/api/v1/targets/metadata", params).json();
    let some = |params: &[(&str, &str)]| {
        until("metadata", || {
            Some(get(params)).filter(|told| told["data"] != json!([]))
        })
    };
    let one = some(&[("match_target", matcher), ("metric", "works")]);
    assert_eq!(
        one,
        json!({"status": "success", "data": [
            {"target": labels, "type": "gauge", "help": "Whether.", "unit": ""}
        ]})
    );
    let all = some(&[("match_target", matcher)]);
    assert!(
        list(&all["data"]).contains(
            &json!({"target": labels, "metric": "n", "type": "counter", "help": "", "unit": ""})
        ),
        "{all}"
    );
    // The bound is looked at before each target, whose metrics are told whole.
    let bounded = some(&[("limit", "1")]);
    let told = list(&bounded["data"]);
    assert!(
        !told.is_empty() && told.iter().all(|one| one["target"] == told[0]["target"]),
        "{bounded}"
    );
}

fn relabel_steps(obs: &Obs) {
    let params = [
        ("scrapePool", "a"),
        ("labels", r#"{"__address__":"equal:3","job":"a"}"#),
    ];
    let answer = obs.get("/api/v1/targets/relabel_steps", &params).json();
    let steps = list(&answer["data"]["steps"]);
    assert_eq!(steps.len(), 3, "{answer}");
    assert_eq!(keys(&steps[0]), ["keep", "output", "rule"]);
    assert_eq!(steps[1]["output"]["n"], "3", "{answer}");
    assert_eq!(steps[2]["keep"], false, "{answer}");
    assert_eq!(
        steps[2]["rule"],
        json!({
            "action": "drop", "regex": "3", "replacement": "$1", "separator": ";",
            "source_labels": ["n"],
        })
    );
    assert_eq!(
        steps[1]["rule"],
        json!({
            "action": "replace", "regex": "equal:(.*)", "replacement": "$1", "separator": ";",
            "source_labels": ["__address__"], "target_label": "n",
        })
    );
    let bad = obs.get(
        "/api/v1/targets/relabel_steps",
        &[("scrapePool", "zz"), ("labels", "{}")],
    );
    assert_eq!(bad.status, 400, "{}", bad.text());
}

#[test]
fn a_target_says_what_is_made_of_its_histograms() {
    let classic =
        "# TYPE h histogram\nh_bucket{le=\"1\"} 2\nh_bucket{le=\"+Inf\"} 3\nh_sum 4\nh_count 3\n";
    let peer = Peer::serve(move |_| Reply::text(classic));
    let config = format!(
        "{PATIENT}scrape_configs:\n- job_name: a\n  static_configs: [{{targets: ['{0}'], labels: {{kind: plain}}}}, \
         {{targets: ['{0}'], labels: {{kind: native, __convert_classic_histograms_to_nhcb__: 'true'}}}}]\n",
        peer.address
    );
    let obs = Obs::with_config(&config);
    await_values(&obs, "h_count", &[3.0]);
    await_values(&obs, "histogram_count(h{kind=\"native\"})", &[3.0]);
    await_values(&obs, "histogram_sum(h)", &[4.0]);
}
