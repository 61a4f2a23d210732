//! Prometheus' HTTP API v1: the shape of each answer and one error of each route.

use std::io::{Read, Write};
use std::net::TcpStream;

use obs_model::metrics::{Exemplar, MetricKind};
use obs_model::{MetricBatch, Timestamp};
use serde_json::{Value, json};

use super::scraping::Exporter;
use super::{list, texts};
use crate::process::{DEADLINE, Obs, Stop, now, until};
use crate::send::{MINUTE, SECOND, labels, metadata, remote_write, series};

/// Two counters and a gauge with a name of its own kind, the last samples a minute old.
fn shop(obs: &Obs) -> i64 {
    let end = now() / MINUTE * MINUTE - MINUTE;
    let samples =
        |slope: f64| (0..40).map(move |i| (end - i * 15 * SECOND, (40 - i) as f64 * slope));
    let requests = |instance, slope| {
        let name = ("__name__", "http_requests_total");
        series(
            &[name, ("job", "shop"), ("instance", instance)],
            samples(slope),
        )
    };
    let mut first = requests("a", 15.0);
    first.exemplars.push(Exemplar {
        labels: labels(&[("trace_id", "4bf92f3577b34da6a3ce929d0e0e4736")]),
        value: 0.25,
        time: Timestamp::from_nanos(end),
    });
    let gauge = [
        ("__name__", "disk.free"),
        ("mount.point", "/"),
        ("job", "shop"),
    ];
    let batch = MetricBatch {
        series: vec![first, requests("b", 30.0), series(&gauge, samples(1.0))],
        metadata: vec![metadata(
            "http_requests_total",
            MetricKind::Counter,
            "Requests.",
        )],
        ..Default::default()
    };
    let answer = remote_write(obs, &batch);
    assert_eq!(answer.status, 204, "{}", answer.text());
    end
}

fn seconds(nanos: i64) -> String {
    (nanos as f64 / 1e9).to_string()
}

/// The data of a success.
fn data(obs: &Obs, path: &str, params: &[(&str, &str)]) -> Value {
    let mut answer = obs.get(&format!("/api/v1{path}"), params).json();
    assert_eq!(answer["status"], "success", "{path}: {answer}");
    answer["data"].take()
}

/// An error in Prometheus' envelope.
#[track_caller]
fn fails(obs: &Obs, path: &str, params: &[(&str, &str)], expect: (u16, &str, &str)) {
    let answer = obs.get(&format!("/api/v1{path}"), params);
    let (status, kind, part) = expect;
    let body: Value = serde_json::from_slice(&answer.body).expect("JSON");
    let text = body["error"].as_str().unwrap_or_default();
    assert!(
        answer.status == status && body["errorType"] == kind && text.contains(part),
        "{path} {params:?}: {} {body}, expected {expect:?}",
        answer.status
    );
    assert_eq!(body["status"], "error");
}

#[test]
fn queries_with_all_parameters() {
    let obs = Obs::start();
    let end = shop(&obs);
    let at = seconds(end);
    let ask = |params: &[(&str, &str)]| {
        let params = [&[("time", at.as_str())], params].concat();
        obs.get("/api/v1/query", &params).json()
    };
    let all = ask(&[("query", "http_requests_total"), ("stats", "all")]);
    assert_eq!(list(&all["data"]["result"]).len(), 2, "{all}");
    let stats = &all["data"]["stats"];
    assert!(
        stats["samples"]["totalQueryableSamples"].as_u64() >= Some(2),
        "{stats}"
    );
    for timing in [
        "evalTotalTime",
        "resultSortTime",
        "queryPreparationTime",
        "innerEvalTime",
        "execQueueTime",
        "execTotalTime",
    ] {
        assert!(stats["timings"][timing].is_number(), "{timing}: {stats}");
    }
    let cut = ask(&[("query", "http_requests_total"), ("limit", "1")]);
    assert_eq!(list(&cut["data"]["result"]).len(), 1);
    assert_eq!(cut["warnings"], json!(["results truncated due to limit"]));
    assert!(cut["data"]["stats"].is_null(), "nobody asked: {cut}");
    // The last sample is older than the look back.
    let later = seconds(end + 30 * SECOND);
    let params = [
        ("query", "http_requests_total"),
        ("time", &later),
        ("lookback_delta", "10s"),
    ];
    assert_eq!(data(&obs, "/query", &params)["result"], json!([]));
    let info = ask(&[("query", "rate({\"disk.free\"}[5m])")]);
    let infos = texts(&info["infos"]).join("");
    assert!(infos.contains("metric might not be a counter"), "{info}");
    let query = |text| [("query", text)];
    fails(
        &obs,
        "/query",
        &query("sum("),
        (
            400,
            "bad_data",
            "invalid parameter \"query\": 1:5: parse error",
        ),
    );
    fails(
        &obs,
        "/query",
        &[],
        (400, "bad_data", "no expression found in input"),
    );
    let both = [("query", "up"), ("time", "soon")];
    let wrong = "invalid parameter \"time\": cannot parse \"soon\" to a valid timestamp";
    fails(&obs, "/query", &both, (400, "bad_data", wrong));
    let many = query("http_requests_total + on(job) http_requests_total");
    fails(
        &obs,
        "/query",
        &[many[0], ("time", &at)],
        (422, "execution", "many-to-many"),
    );
    fails(
        &obs,
        "/query",
        &[query("up")[0], ("timeout", "x")],
        (400, "bad_data", "valid duration"),
    );
    for none in ["0", "0s"] {
        let params = [query("up")[0], ("timeout", none)];
        fails(&obs, "/query", &params, (503, "timeout", "0 ms"));
    }
}

#[test]
fn ranges_are_bounded() {
    let obs = Obs::start();
    let end = shop(&obs);
    let (from, to) = (seconds(end - 5 * MINUTE), seconds(end));
    let range = |start: &str, end: &str, step: &str| {
        let params = [
            ("query", "http_requests_total"),
            ("start", start),
            ("end", end),
            ("step", step),
        ];
        params.map(|(name, value)| (name, value.to_owned()))
    };
    let ask = |params: &[(&str, String)]| {
        let params: Vec<(&str, &str)> = params.iter().map(|(n, v)| (*n, v.as_str())).collect();
        (obs.get("/api/v1/query_range", &params), params.len())
    };
    let matrix = ask(&range(&from, &to, "1m")).0.json();
    assert_eq!(matrix["data"]["resultType"], "matrix");
    let result = list(&matrix["data"]["result"]);
    assert_eq!(result.len(), 2);
    assert_eq!(list(&result[0]["values"]).len(), 6);
    for (params, part) in [
        (
            range("0", "11001", "1"),
            "exceeded maximum resolution of 11,000 points",
        ),
        (
            range("1", "0", "1"),
            "invalid parameter \"end\": end timestamp must not be before",
        ),
        (
            range("0", "1", "0"),
            "invalid parameter \"step\": zero or negative query resolution",
        ),
        (
            range("", "1", "1"),
            "invalid parameter \"start\": cannot parse \"\" to a valid timestamp",
        ),
        (
            range("0", "1", ""),
            "invalid parameter \"step\": cannot parse \"\" to a valid duration",
        ),
    ] {
        let answer = ask(&params).0;
        assert!(
            answer.status == 400 && answer.text().contains(&part.replace('"', "\\\"")),
            "{}",
            answer.text()
        );
    }
    let vector = [
        ("query", "up[5m]"),
        ("start", "0"),
        ("end", "1"),
        ("step", "1"),
    ];
    fails(
        &obs,
        "/query_range",
        &vector,
        (400, "bad_data", "invalid expression type \"range vector\""),
    );
}

#[test]
fn exemplars_by_series() {
    let obs = Obs::start();
    let end = shop(&obs);
    let (from, to) = (seconds(end - MINUTE), seconds(end));
    let query = (
        "query",
        "sum(rate(http_requests_total[1m])) / http_requests_total",
    );
    let found = data(
        &obs,
        "/query_exemplars",
        &[query, ("start", &from), ("end", &to)],
    );
    let expect = json!([{
        "seriesLabels": {"__name__": "http_requests_total", "instance": "a", "job": "shop"},
        "exemplars": [{
            "labels": {"trace_id": "4bf92f3577b34da6a3ce929d0e0e4736"},
            "value": "0.25",
            "timestamp": end / SECOND,
        }],
    }]);
    assert_eq!(found, expect);
    // Grafana asks whether there are any in milliseconds.
    let (from, to) = (
        (end / 1_000_000 - 1).to_string(),
        (end / 1_000_000).to_string(),
    );
    let probe = [
        ("query", "test"),
        ("start", from.as_str()),
        ("end", to.as_str()),
    ];
    assert_eq!(data(&obs, "/query_exemplars", &probe), json!([]));
    let backward = [query, ("start", "2"), ("end", "1")];
    fails(
        &obs,
        "/query_exemplars",
        &backward,
        (400, "bad_data", "end timestamp must not be before start"),
    );
    fails(
        &obs,
        "/query_exemplars",
        &[("query", "a{")],
        (400, "bad_data", "parse error"),
    );
}

#[test]
fn names_are_bounded_and_escaped() {
    let obs = Obs::start();
    let end = shop(&obs);
    let time = seconds(end - MINUTE);
    let start = ("start", time.as_str());
    // As Grafana asks.
    let limit = ("limit", "40000");
    let names = data(
        &obs,
        "/labels",
        &[start, limit, ("match[]", "{job=\"shop\"}")],
    );
    assert_eq!(
        texts(&names),
        ["__name__", "instance", "job", "mount.point"]
    );
    let values = data(&obs, "/label/U__mount_2e_point/values", &[start, limit]);
    assert_eq!(texts(&values), ["/"]);
    let cut = obs.get(
        "/api/v1/label/instance/values",
        &[("limit", "1"), ("match[]", "{job=\"shop\"}")],
    );
    let cut = cut.json();
    assert_eq!(
        (&cut["data"], &cut["warnings"]),
        (&json!(["a"]), &json!(["results truncated due to limit"]))
    );
    let form = obs.post_form(
        "/api/v1/series",
        &[("match[]", "{\"disk.free\"}"), ("match[]", "nothing")],
    );
    let expect = json!([{"__name__": "disk.free", "job": "shop", "mount.point": "/"}]);
    assert_eq!(form.json()["data"], expect);
    fails(
        &obs,
        "/series",
        &[],
        (400, "bad_data", "no match[] parameter provided"),
    );
    fails(
        &obs,
        "/labels",
        &[("match[]", "{}")],
        (
            400,
            "bad_data",
            "match[] must contain at least one non-empty matcher",
        ),
    );
    fails(
        &obs,
        "/label/job/values",
        &[("limit", "-1")],
        (400, "bad_data", "invalid parameter \"limit\""),
    );
    let counter = json!([{"type": "counter", "unit": "", "help": "Requests."}]);
    let meant = data(&obs, "/metadata", &[("limit", "40000")]);
    assert_eq!(meant["http_requests_total"], counter, "{meant}");
    assert_eq!(data(&obs, "/metadata", &[("limit", "0")]), json!({}));
    assert_eq!(data(&obs, "/metadata", &[("metric", "other")]), json!({}));
    fails(
        &obs,
        "/metadata",
        &[("limit", "many")],
        (400, "bad_data", "limit must be a number"),
    );
}

#[test]
fn queries_are_laid_out_and_taken_apart() {
    let obs = Obs::start();
    let query = ("query", "sum by(job)(rate( foo{a='b'}[5m]))");
    let expect = "sum by (job) (rate(foo{a=\"b\"}[5m]))";
    assert_eq!(data(&obs, "/format_query", &[query]), expect);
    let tree = data(&obs, "/parse_query", &[query]);
    assert_eq!(
        (&tree["type"], &tree["op"]),
        (&json!("aggregation"), &json!("sum")),
        "{tree}"
    );
    for path in ["/format_query", "/parse_query"] {
        fails(
            &obs,
            path,
            &[("query", "1 +")],
            (
                400,
                "bad_data",
                "invalid parameter \"query\": 1:4: parse error",
            ),
        );
    }
}

/// The lines of a search.
fn search(obs: &Obs, what: &str, params: &[(&str, &str)]) -> Vec<Value> {
    let answer = obs.get(&format!("/api/v1/search/{what}"), params);
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.content_type, "application/x-ndjson; charset=utf-8");
    let text = answer.text();
    let lines = text.lines().map(serde_json::from_str);
    lines.map(|line| line.expect("JSON")).collect()
}

#[test]
fn searches_are_lines_of_json() {
    let obs = Obs::start();
    shop(&obs);
    let search = |what: &str, params: &[(&str, &str)]| search(&obs, what, params);
    let shop = ("match[]", "{job=\"shop\"}");
    let names = search(
        "metric_names",
        &[
            shop,
            ("search[]", "htptotal"),
            ("include_score", "true"),
            ("include_metadata", "true"),
        ],
    );
    let found = &names[0]["results"][0];
    assert_eq!(
        (&found["name"], &found["type"], &found["help"]),
        (
            &json!("http_requests_total"),
            &json!("counter"),
            &json!("Requests.")
        ),
        "{names:?}"
    );
    assert!(
        found["score"]
            .as_f64()
            .is_some_and(|score| score > 0.0 && score < 1.0)
    );
    assert_eq!(names[1], json!({"status": "success", "has_more": false}));
    let labels = search(
        "label_names",
        &[
            shop,
            ("sort_by", "alpha"),
            ("sort_dir", "dsc"),
            ("batch_size", "2"),
            ("limit", "3"),
        ],
    );
    let expect = [
        json!({"results": [{"name": "mount.point"}, {"name": "job"}]}),
        json!({"results": [{"name": "instance"}]}),
        json!({"status": "success", "has_more": true}),
    ];
    assert_eq!(labels, expect);
    let values = search(
        "label_values",
        &[
            ("label", "instance"),
            ("search[]", "B"),
            ("case_sensitive", "false"),
            shop,
        ],
    );
    assert_eq!(values[0], json!({"results": [{"name": "b"}]}));
    let nothing = search("metric_names", &[("search[]", "zzzz")]);
    assert_eq!(nothing[0], json!({"results": []}));
    fails(
        &obs,
        "/search/label_values",
        &[],
        (400, "bad_data", "missing required parameter \"label\""),
    );
    fails(
        &obs,
        "/search/metric_names",
        &[("fuzz_alg", "x")],
        (400, "bad_data", "unsupported fuzz_alg"),
    );
    fails(
        &obs,
        "/search/label_names",
        &[("sort_by", "score")],
        (400, "bad_data", "requires search[]"),
    );
}

/// A server that scrapes one target and drops another; its configuration has a secret.
fn scraping() -> (Obs, Exporter) {
    let exporter = Exporter::serve("# HELP jobs Jobs.\n# TYPE jobs counter\njobs_total 1\n");
    let config = format!(
        "global: {{scrape_interval: 200ms, scrape_timeout: 200ms, external_labels: {{region: eu}}}}\n\
         rule_files: [rules.yml]\nscrape_configs:\n- job_name: shop\n  \
         basic_auth: {{username: me, password: hush}}\n  \
         static_configs: [{{targets: ['{}', 'dropped:1']}}]\n  relabel_configs:\n  \
         - {{source_labels: [__address__], regex: 'dropped:.*', action: drop}}\n  \
         - {{target_label: team, replacement: x}}\n",
        exporter.address
    );
    let obs = Obs::with_config(&config);
    (obs, exporter)
}

#[test]
fn targets_and_their_jobs() {
    let (obs, _exporter) = scraping();
    let shop = ("scrapePool", "shop");
    let all = until("the target", || {
        let all = data(&obs, "/targets", &[shop]);
        (all["activeTargets"][0]["health"] == "up").then_some(all)
    });
    assert_eq!(all["droppedTargetCounts"]["shop"], 1, "{all}");
    let dropped = &all["droppedTargets"][0];
    assert_eq!(
        dropped["discoveredLabels"]["__address__"], "dropped:1",
        "{all}"
    );
    let active = data(&obs, "/targets", &[shop, ("state", "active")]);
    assert_eq!(
        (
            list(&active["activeTargets"]).len(),
            list(&active["droppedTargets"]).len()
        ),
        (1, 0)
    );
    let none = data(&obs, "/targets", &[("state", "other")]);
    assert_eq!(none["activeTargets"], json!([]));
    let meant = until("metadata of the target", || {
        let meant = data(
            &obs,
            "/targets/metadata",
            &[("match_target", "{job=\"shop\"}"), ("metric", "jobs")],
        );
        (meant != json!([])).then_some(meant)
    });
    assert_eq!(meant[0]["help"], "Jobs.", "{meant}");
    assert_eq!(meant[0]["target"]["team"], "x", "{meant}");
    assert!(
        meant[0]["metric"].is_null(),
        "the request names it: {meant}"
    );
    fails(
        &obs,
        "/targets/metadata",
        &[("limit", "x")],
        (400, "bad_data", "limit must be a number"),
    );
    let pools = data(&obs, "/scrape_pools", &[]);
    assert_eq!(pools, json!({"scrapePools": ["obs", "shop"]}));
    let config = data(&obs, "/scrape_pools/config", &[shop]);
    let yaml = config["yaml"].as_str().expect("text");
    assert!(
        yaml.contains("password: <secret>") && !yaml.contains("hush"),
        "{yaml}"
    );
    fails(
        &obs,
        "/scrape_pools/config",
        &[],
        (400, "bad_data", "no scrapePool parameter provided"),
    );
    let labels = ("labels", "{\"__address__\":\"a:1\"}");
    let steps = data(&obs, "/targets/relabel_steps", &[shop, labels]);
    let steps = list(&steps["steps"]);
    assert_eq!(steps.len(), 2);
    assert_eq!(steps[0]["rule"]["action"], "drop");
    assert_eq!(
        steps[1]["output"],
        json!({"__address__": "a:1", "team": "x"})
    );
    let gone = data(
        &obs,
        "/targets/relabel_steps",
        &[shop, ("labels", "{\"__address__\":\"dropped:1\"}")],
    );
    assert_eq!(
        (&gone["steps"][1]["keep"], &gone["steps"][1]["output"]),
        (&json!(false), &json!({}))
    );
    fails(
        &obs,
        "/targets/relabel_steps",
        &[shop],
        (400, "bad_data", "no labels parameter provided"),
    );
}

#[test]
fn the_server_tells_of_itself() {
    let (obs, _exporter) = scraping();
    let config = data(&obs, "/status/config", &[]);
    let yaml = config["yaml"].as_str().expect("text");
    assert!(
        yaml.contains("job_name: shop") && !yaml.contains("hush"),
        "{yaml}"
    );
    let flags = data(&obs, "/status/flags", &[]);
    assert_eq!(flags["web.enable-admin-api"], "false");
    assert!(flags["storage.tsdb.path"].is_string(), "{flags}");
    let runtime = data(&obs, "/status/runtimeinfo", &[]);
    for key in [
        "startTime",
        "CWD",
        "hostname",
        "serverTime",
        "lastConfigTime",
        "storageRetention",
    ] {
        assert!(runtime[key].is_string(), "{key}: {runtime}");
    }
    assert!(runtime["goroutineCount"].as_u64() > Some(1), "{runtime}");
    let build = data(&obs, "/status/buildinfo", &[]);
    assert_eq!(build["version"], "3.14.0");
    assert!(
        build["features"].is_null(),
        "Grafana would believe that it is Mimir: {build}"
    );
    assert_eq!(obs.get("/version", &[]).json(), build);
    let replay = data(&obs, "/status/walreplay", &[]);
    assert_eq!(replay["state"], "done", "{replay}");
    let own = data(
        &obs,
        "/status/self_metrics",
        &[("metric_name_pattern", "obs_build_.*")],
    );
    assert_eq!(
        (list(&own).len(), &own[0]["type"]),
        (1, &json!("GAUGE")),
        "{own}"
    );
    assert_eq!(own[0]["metric"][0]["gauge"]["value"], 1.0, "{own}");
    fails(
        &obs,
        "/status/self_metrics",
        &[("metric_name_pattern", "(")],
        (400, "bad_data", "metric_name_pattern"),
    );
    let features = data(&obs, "/features", &[]);
    assert_eq!(features["promql_functions"]["rate"], true);
    assert_eq!(features["api"]["admin"], false);
    assert_eq!(data(&obs, "/notifications", &[]), json!([]));
    let live = obs.get("/api/v1/notifications/live", &[]);
    assert_eq!(live.content_type, "text/event-stream");
    assert!(live.text().starts_with("retry: "), "{}", live.text());
}

#[test]
fn where_series_come_from() {
    let obs = Obs::start();
    shop(&obs);
    let stats = data(&obs, "/status/tsdb", &[("limit", "1000")]);
    let head = &stats["headStats"];
    for key in [
        "numSeries",
        "numLabelPairs",
        "chunkCount",
        "minTime",
        "maxTime",
    ] {
        assert!(head[key].is_i64(), "{key}: {head}");
    }
    let requests = json!({"name": "http_requests_total", "value": 2});
    assert!(
        list(&stats["seriesCountByMetricName"]).contains(&requests),
        "{stats}"
    );
    for key in [
        "labelValueCountByLabelName",
        "memoryInBytesByLabelName",
        "seriesCountByLabelValuePair",
    ] {
        assert!(!list(&stats[key]).is_empty(), "{key}");
    }
    fails(
        &obs,
        "/status/tsdb",
        &[("limit", "0")],
        (400, "bad_data", "limit must be a positive number"),
    );
    fails(
        &obs,
        "/status/tsdb",
        &[("limit", "10001")],
        (400, "bad_data", "must not exceed 10000"),
    );
    obs.force("flush");
    let blocks = data(&obs, "/status/tsdb/blocks", &[]);
    let block = &list(&blocks["blocks"])[0];
    assert!(
        block["minTime"].as_i64() < block["maxTime"].as_i64(),
        "{block}"
    );
    assert!(block["stats"]["numSamples"].as_u64() > Some(0), "{block}");
}

#[test]
fn a_server_without_rules_shows_none() {
    let obs = Obs::start();
    assert_eq!(
        data(&obs, "/rules", &[("type", "alert")]),
        json!({"groups": []})
    );
    assert_eq!(data(&obs, "/alerts", &[]), json!({"alerts": []}));
    let nobody = json!({"activeAlertmanagers": [], "droppedAlertmanagers": []});
    assert_eq!(data(&obs, "/alertmanagers", &[]), nobody);
    fails(
        &obs,
        "/rules",
        &[("type", "x")],
        (400, "bad_data", "not supported value \"x\""),
    );
}

#[test]
fn last_samples_for_another_server() {
    let (obs, exporter) = scraping();
    let shop = [
        ("match[]", "jobs_total"),
        ("match[]", "{job=\"shop\",__name__=\"up\"}"),
    ];
    let text = until("both series", || {
        let answer = obs.get("/federate", &shop);
        assert_eq!(answer.status, 200);
        assert_eq!(
            answer.content_type,
            "text/plain; version=0.0.4; charset=utf-8; escaping=underscores"
        );
        Some(answer.text()).filter(|text| text.lines().count() == 4)
    });
    let lines: Vec<&str> = text.lines().collect();
    let series = format!(
        "{{instance=\"{}\",job=\"shop\",team=\"x\",region=\"eu\"}} 1 ",
        exporter.address
    );
    assert_eq!(
        (lines[0], lines[2]),
        ("# TYPE jobs_total untyped", "# TYPE up untyped")
    );
    assert!(
        lines[1].starts_with(&format!("jobs_total{series}")),
        "{text}"
    );
    assert!(lines[3].starts_with(&format!("up{series}")), "{text}");
    let wrong = obs.get("/federate", &[("match[]", "{")]);
    assert_eq!(wrong.status, 400);
    assert!(
        wrong.content_type.starts_with("text/plain") && wrong.text().contains("parse error"),
        "{wrong:?}"
    );
    let accept = [("accept", "text/plain;version=1.0.0;escaping=allow-utf-8")];
    let utf8 = obs.get_with("/federate?match[]=nothing", &accept);
    assert!(
        utf8.content_type.ends_with("escaping=allow-utf-8"),
        "{}",
        utf8.content_type
    );
    let proto = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;\
                 encoding=delimited;escaping=values;q=0.7,text/plain;q=0.2";
    let accept = [("accept", proto)];
    // A scrape that had not enough time ends the series until the next one.
    let delimited = until("the series", || {
        let answer = obs.get_with("/federate?match[]=jobs_total", &accept);
        (!answer.body.is_empty()).then_some(answer)
    });
    assert_eq!(
        delimited.content_type,
        "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; \
         encoding=delimited; escaping=values"
    );
    let body = &delimited.body;
    let message = &body[1 + usize::from(body[0] >= 0x80)..];
    assert!(
        message.starts_with(b"\x0a\x0ajobs_total\x18\x03"),
        "{delimited:?}"
    );
}

/// Head and body as they arrive: the client of the other tests unpacks by itself.
fn raw(obs: &Obs, path: &str, accept_encoding: &str) -> (String, Vec<u8>) {
    let mut stream = TcpStream::connect(obs.address("http")).expect("it listens");
    stream.set_read_timeout(Some(DEADLINE)).expect("not zero");
    let request = format!(
        "GET {path} HTTP/1.1\r\nhost: obs\r\norigin: http://grafana\r\nconnection: close\r\n\
         accept-encoding: {accept_encoding}\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).expect("it reads");
    let mut answer = Vec::new();
    stream
        .read_to_end(&mut answer)
        .expect("it answers and ends");
    let end = b"\r\n\r\n";
    let at = answer.windows(end.len()).position(|part| part == end);
    let body = answer.split_off(at.expect("a head") + end.len());
    (
        String::from_utf8(answer).expect("text").to_lowercase(),
        body,
    )
}

#[test]
fn answers_are_compressed_and_open_to_other_pages() {
    let obs = Obs::start();
    let path = "/api/v1/features";
    let (head, plain) = raw(&obs, path, "identity");
    assert!(!head.contains("content-encoding"), "{head}");
    assert!(
        head.contains("access-control-allow-origin: *\r\n"),
        "{head}"
    );
    assert!(head.contains("vary: accept-encoding\r\n"), "{head}");
    for (wanted, encoding) in [
        ("gzip, zstd", "zstd"),
        ("gzip", "gzip"),
        ("deflate", "deflate"),
    ] {
        let (head, packed) = raw(&obs, path, wanted);
        assert!(
            head.contains(&format!("content-encoding: {encoding}\r\n")),
            "{head}"
        );
        assert!(packed.len() < plain.len() / 2, "{encoding}");
        let unpacked = obs_wire::capped::decode(encoding, &packed, 1 << 20);
        assert_eq!(*unpacked.expect("it is whole"), *plain, "{encoding}");
    }
    let (head, small) = raw(&obs, "/api/v1/query?query=1", "gzip");
    assert!(!head.contains("content-encoding"), "{head}");
    assert!(small.starts_with(b"{\"status\":\"success\""));
}

#[test]
fn what_the_document_lists_is_there() {
    let obs = Obs::start();
    for version in ["3.1", "3.2"] {
        let document = obs.get("/api/v1/openapi.yaml", &[("openapi_version", version)]);
        assert!(document.content_type.starts_with("application/yaml"));
        assert!(
            document
                .text()
                .starts_with(&format!("openapi: {version}.0\n"))
        );
    }
    fails(
        &obs,
        "/openapi.yaml",
        &[("openapi_version", "2")],
        (400, "bad_data", "expected 3.1 or 3.2"),
    );
    let document = obs.get("/api/v1/openapi.yaml", &[]).text();
    let paths: Vec<&str> = document
        .lines()
        .filter_map(|line| line.strip_prefix("  /")?.strip_suffix(':'))
        .collect();
    assert!(paths.len() > 30, "{paths:?}");
    for path in paths {
        let path = path
            .replace("{name}", "job")
            .replace("{what}", "metric_names");
        let answer = obs.get(&format!("/api/v1/{path}"), &[]);
        assert_ne!(answer.status, 404, "{path}: {}", answer.text());
    }
    let nothing = obs.get("/api/v1/nothing", &[]);
    assert_eq!(
        (nothing.status, nothing.text().contains("page not found")),
        (404, true)
    );
}

#[test]
fn a_proxy_may_leave_its_path() {
    let obs = Obs::with_flags(&["--route-prefix", "/team/obs/"]);
    for path in ["/team/obs/api/v1/query?query=1", "/api/v1/query?query=1"] {
        assert_eq!(
            obs.get(path, &[]).json()["data"]["resultType"],
            "scalar",
            "{path}"
        );
    }
    assert_eq!(obs.get("/team/obs/-/ready", &[]).status, 200);
    assert_eq!(obs.get("/team/api/v1/query?query=1", &[]).status, 404);
    let flags = data(&obs, "/status/flags", &[]);
    assert_eq!(flags["web.route-prefix"], "/team/obs/");
    // Routes of their own begin with these.
    for prefix in ["/prometheus", "/loki"] {
        let obs = Obs::with_flags(&["--route-prefix", prefix]);
        let rules = obs.get(&format!("{prefix}/api/v1/rules"), &[]).json();
        assert_eq!(rules["data"]["groups"], serde_json::json!([]), "{prefix}");
        assert_eq!(obs.get(&format!("{prefix}/"), &[]).status, 200, "{prefix}");
    }
}

#[test]
fn the_admin_api_is_behind_a_switch() {
    let obs = Obs::start();
    for path in ["delete_series?match[]=up", "clean_tombstones", "snapshot"] {
        let answer = obs.post(&format!("/api/v1/admin/tsdb/{path}"), &[], Vec::new());
        assert_eq!(answer.status, 503, "{path}");
        assert!(
            answer.text().contains("admin APIs disabled"),
            "{}",
            answer.text()
        );
    }
    let obs = Obs::with_flags(&["--enable-admin-api"]);
    let answer = obs.post("/api/v1/admin/tsdb/delete_series", &[], Vec::new());
    assert_eq!(answer.status, 400);
    assert!(
        answer.text().contains("no match[] parameter provided"),
        "{}",
        answer.text()
    );
    let foreign = [("sec-fetch-site", "cross-site")];
    let answer = obs.post("/api/v1/admin/tsdb/clean_tombstones", &foreign, Vec::new());
    assert_eq!(answer.status, 403);
    assert_eq!(data(&obs, "/features", &[])["api"]["admin"], true);
    let reload = obs.post("/-/reload", &[], Vec::new());
    assert_eq!(reload.status, 403);
    assert_eq!(reload.text(), "Lifecycle API is not enabled.\n");
}

#[test]
fn deleted_series_are_gone_and_snapshots_are_data() {
    let mut obs = Obs::with_flags(&["--enable-admin-api"]);
    let end = shop(&obs);
    let admin = |obs: &Obs, call: &str, form: &[(&str, &str)]| {
        obs.post_form(&format!("/api/v1/admin/tsdb/{call}"), form)
    };
    let count = |obs: &Obs| {
        let at = seconds(end);
        let query = [
            ("query", "count_over_time(http_requests_total[1h])"),
            ("time", &at),
        ];
        let found = data(obs, "/query", &query);
        let counts = list(&found["result"]).iter();
        let counts = counts.map(|one| one["value"][1].as_str().expect("a number").to_owned());
        counts.collect::<Vec<_>>()
    };
    assert_eq!(count(&obs), ["40", "40"]);
    let taken = admin(&obs, "snapshot", &[("skip_head", "false")]).json();
    let name = taken["data"]["name"].as_str().expect("a name").to_owned();
    assert_eq!(admin(&obs, "snapshot", &[("skip_head", "x")]).status, 400);
    let one = ("match[]", "http_requests_total{instance=\"a\"}");
    assert_eq!(admin(&obs, "delete_series", &[one]).status, 204);
    assert_eq!(count(&obs), ["40"]);
    let until = seconds(end - 20 * 15 * SECOND);
    let half = [("match[]", "http_requests_total"), ("end", &until)];
    assert_eq!(admin(&obs, "delete_series", &half).status, 204);
    assert_eq!(count(&obs), ["20"]);
    assert_eq!(
        admin(&obs, "delete_series", &[("match[]", "{")]).status,
        400
    );
    assert_eq!(admin(&obs, "clean_tombstones", &[]).status, 204);
    assert_eq!(count(&obs), ["20"]);
    // The snapshot is a data directory of before.
    obs.stop(Stop::Terminate);
    let (data, kept) = (obs.path("data"), obs.path("kept"));
    std::fs::rename(&data, &kept).expect("renamed");
    std::fs::rename(kept.join("snapshots").join(name), &data).expect("it is there");
    obs.run();
    assert_eq!(count(&obs), ["40", "40"]);
}

#[test]
fn features_are_switched_by_prometheus_names() {
    let obs = Obs::with_flags(&[
        "--prometheus-defaults",
        "--enable-feature=promql-per-step-stats,promql-delayed-name-removal",
        "--enable-feature=use-start-timestamps,native-histograms",
    ]);
    let end = shop(&obs);
    let features = data(&obs, "/features", &[]);
    for (category, name, expect) in [
        ("promql", "per_step_stats", true),
        ("promql", "delayed_name_removal", true),
        ("promql", "anchored", false),
        ("promql", "fill_left", false),
        ("promql", "type_and_unit_labels", false),
        ("promql_functions", "mad_over_time", false),
        ("promql_functions", "rate", true),
        ("promql_operators", "limitk", false),
    ] {
        assert_eq!(features[category][name], expect, "{category} {name}");
    }
    for query in [
        "mad_over_time(x[5m])",
        "rate(x[5m] anchored)",
        "x + fill(0) x",
    ] {
        let answer = obs.get("/api/v1/query", &[("query", query)]);
        assert_eq!(answer.status, 400, "{query}: {}", answer.text());
    }
    // With delayed names they are there until the end.
    let kept = r#"label_replace(rate({__name__="http_requests_total"}[5m]), "name", "$1", "__name__", "(.*)")"#;
    let kept = data(&obs, "/query", &[("query", kept), ("time", &seconds(end))]);
    assert_eq!(kept["result"][0]["metric"]["name"], "http_requests_total");
    // Two series with four samples in each window of a minute.
    let (start, to) = (seconds(end - 2 * MINUTE), seconds(end));
    let params = [
        ("query", "sum(rate(http_requests_total[1m]))"),
        ("start", &*start),
        ("end", &*to),
        ("step", "60"),
        ("stats", "all"),
    ];
    let stats = data(&obs, "/query_range", &params)["stats"]["samples"].take();
    let steps: Vec<u64> = list(&stats["totalQueryableSamplesPerStep"])
        .iter()
        .filter_map(|step| step[1].as_u64())
        .collect();
    assert_eq!(steps, [8, 8, 8], "{stats}");
    assert_eq!(stats["totalQueryableSamples"], 24);
    let some = data(
        &obs,
        "/query_range",
        &[&params[..4], &[("stats", "true")]].concat(),
    );
    let some = &some["stats"]["samples"];
    assert!(some["totalQueryableSamplesPerStep"].is_null(), "{some}");
    assert_eq!(some["totalQueryableSamples"], 24);
    let flags = data(&obs, "/status/flags", &[]);
    let asked = flags["enable-feature"].to_string();
    assert!(asked.contains("use-start-timestamps"), "{asked}");
    assert!(obs.log().contains("native-histograms is always on"));
}
