//! Every route, tried by every role of two tenants: the status is that of the route's class, and no
//! byte of one tenant, or of what a confined reader does not see, is in an answer.
//!
//! The routes are those of `server/src/auth/routes.txt`, which a test of the server holds against its
//! routers, so that a new route is tried as soon as it is there.

use std::collections::{BTreeMap, BTreeSet};

use obs_model::MetricBatch;
use obs_model::metrics::{Exemplar, MetricKind};
use reqwest::blocking::{Client, RequestBuilder};
use serde_json::json;

use crate::process::{DEADLINE, Obs, now, until};
use crate::send::{SECOND, labels, loki_json_body, metadata, remote_write_body, series};

const ROUTES: &str = include_str!("../../../server/src/auth/routes.txt");

/// Class, method and path.
type Route = (&'static str, &'static str, &'static str);

const TENANTS: [&str; 2] = ["red", "blue"];
const ROLES: [&str; 5] = ["none", "read", "write", "admin", "some"];

/// What a confined reader of a tenant sees, and what it does not.
fn marks(tenant: &str) -> (String, String) {
    (format!("z{tenant}0seen"), format!("z{tenant}0hidden"))
}

/// Routes that refuse a confined reader, because what they tell cannot be cut along labels.
fn cannot_be_confined(path: &str) -> bool {
    let groups = [
        "/api/v1/rules/",
        "/loki/api/v1/rules",
        "/api/prom/rules",
        "/prometheus/config/v1/rules",
    ];
    groups.iter().any(|start| path.starts_with(start))
        || [
            "/api/v2/status",
            "/api/v1/status/tsdb/blocks",
            "/loki/api/v1/delete",
            "/api/v1/alertmanager/route",
        ]
        .contains(&path)
}

/// Routes that must show a reader what is theirs, so that silence is no success.
const SHOWING: [&str; 22] = [
    "/api/v1/query",
    "/api/v1/query_range",
    "/api/v1/query_exemplars",
    "/api/v1/series",
    "/api/v1/label/{name}/values",
    "/api/v1/metadata",
    "/api/v1/rules",
    "/api/v1/status/tsdb",
    "/federate",
    "/api/v1/export",
    "/api/v1/export/logs",
    "/api/v1/errors",
    "/api/v1/dashboards",
    "/api/v2/alerts",
    "/api/v2/silences",
    "/loki/api/v1/query_range",
    "/loki/api/v1/series",
    "/loki/api/v1/label/{name}/values",
    "/tempo/api/search",
    "/tempo/api/traces/{id}",
    "/jaeger/api/traces/{id}",
    "/jaeger/api/services",
];

fn config() -> String {
    let mut tokens = vec!["{name: root, token: token-of-root-0123}".to_owned()];
    let mut grants = vec!["{user: root, tenants: '*', role: admin}".to_owned()];
    for tenant in TENANTS {
        for role in &ROLES[1..] {
            let name = format!("{tenant}-{role}");
            tokens.push(format!("{{name: {name}, token: token-of-{name}-0123}}"));
            let (seen, _) = marks(tenant);
            let grant = match *role {
                "some" => format!("role: read, matchers: '{{marker=\"{seen}\"}}'"),
                role => format!("role: {role}"),
            };
            grants.push(format!("{{user: {name}, tenants: {tenant}, {grant}}}"));
        }
    }
    let list = |all: Vec<String>| {
        all.iter()
            .map(|one| format!("    - {one}\n"))
            .collect::<String>()
    };
    format!(
        "obs:\n  auth:\n    tokens:\n{}    grants:\n{}  alertmanager: {{route: {{receiver: nobody}}, \
         receivers: [{{name: nobody}}]}}\n",
        list(tokens),
        list(grants)
    )
}

struct Said {
    status: u16,
    body: String,
    /// Of gRPC, whose refusals are no statuses of HTTP.
    grpc: Option<String>,
}

impl Said {
    /// The status, in HTTP's words.
    fn status(&self) -> u16 {
        match self.grpc.as_deref() {
            Some("16") => 401,
            Some("7") => 403,
            _ => self.status,
        }
    }

    fn is_absent(&self) -> bool {
        self.status == 404 && self.body.trim() == "404 page not found"
    }
}

struct Asker {
    obs: Obs,
    client: Client,
}

impl Asker {
    fn request(&self, method: &str, path: &str, who: &str, tenant: Option<&str>) -> RequestBuilder {
        let method = reqwest::Method::from_bytes(method.as_bytes()).expect("a method");
        let mut request = self
            .client
            .request(method, format!("{}{path}", self.obs.url()));
        if !who.is_empty() {
            request = request.bearer_auth(format!("token-of-{who}-0123"));
        }
        if let Some(tenant) = tenant {
            request = request.header("x-scope-orgid", tenant);
        }
        request.header("accept-encoding", "identity")
    }

    fn say(request: RequestBuilder) -> Said {
        let answer = request.send().expect("an answer");
        let status = answer.status().as_u16();
        let grpc = answer.headers().get("grpc-status");
        let grpc = grpc.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
        let body = answer.bytes().expect("a body");
        Said {
            status,
            body: String::from_utf8_lossy(&body).into_owned(),
            grpc,
        }
    }

    /// As an administrator of everything.
    fn put(&self, method: &str, path: &str, tenant: &str, kind: &str, body: Vec<u8>) -> String {
        let request = self.request(method, path, "root", Some(tenant));
        let mut request = request.header("content-type", kind).body(body);
        if path == "/api/v1/write" {
            request = request.header("content-encoding", "snappy");
        }
        let said = Self::say(request);
        assert!(said.status < 300, "{path}: {} {}", said.status, said.body);
        said.body
    }

    /// Gives a tenant all that it can have, once with each of its marks.
    #[expect(clippy::too_many_lines, reason = "one entry for each kind of data")]
    fn fill(&self, tenant: &str, trace: &str) -> String {
        let (seen, hidden) = marks(tenant);
        let json = "application/json";
        let mut silence = String::new();
        for (number, mark) in [&seen, &hidden].into_iter().enumerate() {
            let time = now() - 2 * SECOND;
            let family = format!("m_{mark}");
            let mut one = series(
                &[("__name__", &family), ("marker", mark), ("job", "j")],
                [(time, 1.0)],
            );
            one.exemplars = vec![Exemplar {
                labels: labels(&[("of", mark)]),
                value: 1.0,
                time: obs_model::Timestamp::from_nanos(time),
            }];
            let batch = MetricBatch {
                series: vec![one],
                metadata: vec![metadata(&family, MetricKind::Gauge, mark)],
                ..MetricBatch::default()
            };
            let body = remote_write_body(&batch);
            self.put(
                "POST",
                "/api/v1/write",
                tenant,
                "application/x-protobuf",
                body,
            );
            let line = format!("level=error of={mark}");
            let body = loki_json_body(&[("marker", mark), ("app", "a")], &[(time, &line, &[])]);
            self.put("POST", "/loki/api/v1/push", tenant, json, body);
            let text =
                |key: &str, value: &str| json!({"key": key, "value": {"stringValue": value}});
            let span = json!({"resourceSpans": [{
                "resource": {"attributes": [
                    text("service.name", &format!("s-{mark}")), text("marker", mark)
                ]},
                "scopeSpans": [{"spans": [{
                    "traceId": trace, "spanId": format!("00000000000000a{number}"),
                    "name": format!("op-{mark}"), "kind": 2, "attributes": [text("own", mark)],
                    "events": [{"name": "exception", "timeUnixNano": time.to_string(), "attributes": [
                        text("exception.type", mark), text("exception.message", mark)
                    ]}],
                    "status": {"code": 2},
                    "startTimeUnixNano": time.to_string(),
                    "endTimeUnixNano": (time + SECOND).to_string(),
                }]}],
            }]});
            self.put(
                "POST",
                "/v1/traces",
                tenant,
                json,
                span.to_string().into_bytes(),
            );
            let rule = format!(
                "name: g{number}\nrules:\n- {{record: 'r:{mark}', expr: '1', labels: {{marker: {mark}}}}}\n\
                 - {{alert: A{number}, expr: vector(1), labels: {{marker: {mark}}}}}\n"
            );
            let yaml = "application/yaml";
            self.put("POST", "/api/v1/rules/ns", tenant, yaml, rule.into_bytes());
            let alert = json!([{"labels": {"alertname": "X", "marker": mark}}]);
            self.put(
                "POST",
                "/api/v2/alerts",
                tenant,
                json,
                alert.to_string().into_bytes(),
            );
            let wanted = json!({
                "matchers": [{"name": "marker", "value": mark, "isRegex": false}],
                "startsAt": "2020-01-01T00:00:00Z", "endsAt": "2099-01-01T00:00:00Z",
                "createdBy": mark, "comment": mark,
            });
            let body = wanted.to_string().into_bytes();
            let made = self.put("POST", "/api/v2/silences", tenant, json, body);
            let made: serde_json::Value = serde_json::from_str(&made).expect("JSON");
            if number == 0 {
                silence = made["silenceID"].as_str().expect("an id").to_owned();
            }
        }
        let dashboard = json!({"uid": "dash", "title": seen, "panels": []});
        let body = dashboard.to_string().into_bytes();
        self.put("PUT", "/api/v1/dashboards/dash", tenant, json, body);
        silence
    }
}

/// What is asked of a path, so that it tells what it has.
fn asked(path: &str, (trace, silence): (&str, &str)) -> String {
    let id = if path.contains("/silence/") {
        silence
    } else {
        trace
    };
    let mut address = path.to_owned();
    for (name, value) in [
        ("{name}", "marker"),
        ("{what}", "metric_names"),
        ("{uid}", "dash"),
        ("{slug}", "x"),
        ("{id}", id),
        ("{a}", trace),
        ("{b}", trace),
        ("{namespace}", "ns"),
        ("{group}", "g0"),
        ("{service}", "s"),
        ("{alert}", "Watchdog"),
        ("{fingerprint}", "0000000000000000"),
    ] {
        address = address.replace(name, value);
    }
    while let (Some(start), Some(end)) = (address.find('{'), address.find('}')) {
        address.replace_range(start..=end, "x");
    }
    let seconds = now() / SECOND;
    let (start, end) = (seconds - 600, seconds + 60);
    let (selector, traceql) = ("%7Bmarker%3D~%22.%2B%22%7D", "%7B%7D");
    let times = format!("start={start}&end={end}&time={end}&step=60&limit=1000");
    let query = if path.starts_with("/tempo") && path.contains("metrics") {
        format!("q={traceql}%7Crate()by(resource.marker)&{times}")
    } else if path.starts_with("/tempo") {
        format!("q={traceql}&start={start}&end={end}&limit=100")
    } else if path.starts_with("/jaeger/api/v3") {
        let at = |time| obs_model::Timestamp::from_seconds(time).to_string();
        let times = format!(
            "start_time_min={}&query.start_time_max={}",
            at(start),
            at(end)
        );
        format!("query.{times}&query.search_depth=100")
    } else if path.starts_with("/jaeger") {
        format!("start={start}000000&end={end}000000&limit=100&lookback=1h&endTs={end}000")
    } else if path.contains("allocation") || path.contains("cost") || path.contains("assets") {
        "window=1h&aggregate=label:marker".to_owned()
    } else {
        format!("query={selector}&match[]={selector}&{times}")
    };
    format!("{address}?{query}")
}

fn routes() -> Vec<Route> {
    let lines = ROUTES
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    let mut all = Vec::new();
    for line in lines {
        let words: Vec<&str> = line.split(' ').collect();
        let [class, methods, path] = words[..] else {
            panic!("{line}");
        };
        let methods = if methods == "*" { "POST" } else { methods };
        all.extend(methods.split(',').map(|method| (class, method, path)));
    }
    // What is read comes before what changes it.
    all.sort_by_key(|(class, ..)| !["public", "read"].contains(class));
    all
}

/// Whether a role may ask a class of its own tenant.
fn may(role: &str, class: &str) -> bool {
    match class {
        "public" => true,
        "read" => ["read", "admin", "some"].contains(&role),
        "write" => ["write", "admin"].contains(&role),
        "edit" | "admin" => role == "admin",
        _ => false,
    }
}

#[test]
fn no_route_shows_or_does_more_than_its_class_allows() {
    let asker = Asker {
        obs: Obs::with_config(&config()),
        client: Client::builder()
            .no_proxy()
            .timeout(DEADLINE)
            .build()
            .expect("a client"),
    };
    let traces = ["1".repeat(32), "2".repeat(32)];
    let silences: Vec<String> = TENANTS
        .iter()
        .zip(&traces)
        .map(|(tenant, trace)| asker.fill(tenant, trace))
        .collect();
    for (index, tenant) in TENANTS.iter().enumerate() {
        let path = asked("/api/v1/rules", (&traces[index], &silences[index]));
        until("rules that were evaluated", || {
            let said = Asker::say(asker.request("GET", &path, "root", Some(tenant)));
            (said.status == 200 && said.body.contains("g1")).then_some(())
        });
    }
    let mut matrix = Matrix::default();
    for route in routes() {
        for (own, tenant) in TENANTS.iter().enumerate() {
            for role in ROLES {
                // Whose names stand in the path, and whose tenant is asked for.
                for (names, named) in [(own, own), (1 - own, own), (1 - own, 1 - own)] {
                    let ids = (traces[names].as_str(), silences[names].as_str());
                    let place = (*tenant, role, TENANTS[named]);
                    matrix.cell(&asker, route, place, &asked(route.2, ids));
                }
            }
        }
    }
    matrix.finish();
}

#[derive(Default)]
struct Matrix {
    cells: usize,
    absent: BTreeSet<&'static str>,
    faults: Vec<String>,
    /// Public routes that were closed to nobody in particular.
    closed: BTreeSet<&'static str>,
    /// Routes that refused confined readers.
    refused: BTreeSet<&'static str>,
    /// By route, the readers that it showed their marks.
    showed: BTreeMap<&'static str, BTreeSet<String>>,
}

impl Matrix {
    fn cell(
        &mut self,
        asker: &Asker,
        (class, method, path): Route,
        (tenant, role, named): (&str, &str, &str),
        address: &str,
    ) {
        let who = match role {
            "none" => String::new(),
            role => format!("{tenant}-{role}"),
        };
        let mut request = asker.request(method, address, &who, Some(named));
        if path.starts_with('/') && path[1..].split('/').next().is_some_and(|s| s.contains('.')) {
            let message = request.header("content-type", "application/grpc");
            request = message.header("te", "trailers").body(vec![0; 5]);
        }
        let said = Asker::say(request);
        self.cells += 1;
        if said.is_absent() {
            self.absent.insert(path);
            return;
        }
        let what = format!("{who:?} as {named}: {method} {address}: {}", said.status());
        let own = tenant == named;
        let expect = match role {
            _ if class == "public" => None,
            "none" => Some(401),
            role if own && may(role, class) => None,
            _ => Some(403),
        };
        let refused = [401, 403].contains(&said.status());
        if class == "public" && role == "none" && refused {
            // What no listener here has is as closed as everything.
            self.closed.insert(path);
            return;
        }
        let confined = role == "some" && own && class == "read";
        if confined && said.status() == 403 {
            self.refused.insert(path);
        } else if expect.is_some_and(|expect| said.status() != expect)
            || expect.is_none() && refused
        {
            self.faults
                .push(format!("{what}, expected {expect:?}: {}", cut(&said.body)));
        }
        self.look((path, role, tenant), &said.body, &what);
    }

    /// Looks for marks in an answer.
    fn look(&mut self, (path, role, tenant): (&'static str, &str, &str), body: &str, what: &str) {
        let other = TENANTS.into_iter().find(|name| *name != tenant);
        let (seen, hidden) = marks(tenant);
        let (theirs, more) = marks(other.unwrap_or_default());
        let mut forbidden = vec![theirs, more];
        match role {
            "none" | "write" => forbidden.extend([seen.clone(), hidden.clone()]),
            "some" => forbidden.push(hidden.clone()),
            _ => {}
        }
        if let Some(mark) = forbidden.iter().find(|mark| body.contains(mark.as_str())) {
            self.faults
                .push(format!("{what} tells {mark}: {}", cut(body)));
        }
        if body.contains(&seen) {
            let of_route = self.showed.entry(path).or_default();
            of_route.insert(format!("{tenant}-{role}"));
        }
    }

    fn finish(mut self) {
        for path in SHOWING {
            let showed = self.showed.remove(path).unwrap_or_default();
            for tenant in TENANTS {
                for role in ["read", "admin", "some"] {
                    let who = format!("{tenant}-{role}");
                    if !showed.contains(&who) {
                        self.faults.push(format!("{path} shows {who} nothing"));
                    }
                }
            }
        }
        for (_, _, path) in routes().into_iter().filter(|(class, ..)| *class == "read") {
            let refuses = self.refused.contains(path);
            if refuses != cannot_be_confined(path) && !self.absent.contains(path) {
                self.faults
                    .push(format!("{path} refuses confined readers: {refuses}"));
            }
        }
        let closed = self.closed.difference(&self.absent);
        let closed: Vec<String> = closed.map(|path| format!("{path} is not public")).collect();
        self.faults.extend(closed);
        assert!(
            self.faults.is_empty(),
            "{} faults in {} cells:\n{}",
            self.faults.len(),
            self.cells,
            self.faults.join("\n")
        );
        assert!(self.cells > 6000, "{} cells", self.cells);
        // What only other listeners have.
        assert!(self.absent.len() < 40, "{:?}", self.absent);
    }
}

fn cut(text: &str) -> String {
    text.chars().take(200).collect()
}
