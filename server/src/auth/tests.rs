//! The table against the routers, and requests through the layer.

use std::collections::{BTreeMap, BTreeSet};

use axum::Router;
use axum::body::Body;
use axum::extract::connect_info::ConnectInfo;
use axum::routing::any;
use http::{Request, StatusCode};
use obs_collector::receive::Receiver;
use tower::ServiceExt;

use super::class::{class, entries};
use super::*;
use crate::api::tests::Rig;
use crate::config::parse;
use crate::start::{self, Peer};

/// Methods that a router can tell by their names.
const METHODS: [&str; 5] = ["get", "delete", "patch", "post", "put"];

/// The routes of a router with their methods, as its debugging text shows them: axum tells it in no
/// other way.
fn routes_of(router: &Router) -> BTreeMap<String, BTreeSet<String>> {
    let text = format!("{router:?}");
    let end = text.find("fallback_router").expect("told");
    let (endpoints, nodes) = text[..end].split_once(", node: Node").expect("told");
    let mut methods = BTreeMap::new();
    for endpoint in endpoints.split("RouteId(").skip(1) {
        let (id, endpoint) = endpoint.split_once("): ").expect("an id");
        assert!(endpoint.starts_with("MethodRouter("), "{endpoint}");
        let has = |name: &&&str| !endpoint.contains(&format!("{name}: None"));
        let found: BTreeSet<String> = METHODS
            .iter()
            .filter(has)
            .map(|m| m.to_uppercase())
            .collect();
        let is_any = found.is_empty() && endpoint.contains("allow_header: Skip");
        let found = match is_any {
            true => BTreeSet::from(["*".to_owned()]),
            false => found,
        };
        methods.insert(id.to_owned(), found);
    }
    let mut routes = BTreeMap::new();
    for node in nodes.split("RouteId(").skip(1) {
        let (id, rest) = node.split_once("): \"").expect("an id");
        let path = rest.split('"').next().expect("a path");
        routes.insert(path.to_owned(), methods[id].clone());
    }
    routes
}

fn receiver(rig: &Rig) -> Receiver {
    let app = &rig.app;
    Receiver::new(
        app.sink.clone(),
        app.rules.limits,
        app.decoder.clone(),
        Arc::clone(&app.counters),
    )
}

/// All routers of all listeners.
async fn routers(rig: &Rig, folder: &Path) -> Vec<Router> {
    let receiver = receiver(rig);
    let config = "obs: {collector: {probes: {modules: {http_2xx: {prober: http}}}}, traces: {zipkin: \
                  {listen: '127.0.0.1:0'}, jaeger: {grpc: '127.0.0.1:0', thrift_http: '127.0.0.1:0', \
                  sampling: '127.0.0.1:0'}}}";
    let config = parse(config).expect("valid");
    let gateway = start::gateway(&config, folder, &rig.app.sink)
        .await
        .expect("opened");
    let probes = start::probes(&config, folder).await.expect("opened");
    let mut sockets = obs_collector::receive::trace_sockets::TraceSockets::bind(&config.obs.traces)
        .await
        .expect("bound");
    let mut all = vec![
        start::main_routes(&rig.app, &receiver, &gateway, probes),
        start::pushgateway_routes(&receiver, &gateway),
        start::grpc_routes(&rig.app, &receiver),
        obs_collector::receive::otlp_routes(receiver.clone()),
    ];
    let streams = sockets.take_streams(&receiver);
    assert_eq!(streams.len(), 4);
    all.extend(streams.into_iter().map(|(_, routes)| routes));
    all
}

#[tokio::test]
async fn every_route_has_a_class_and_every_class_a_route() {
    let folder = tempfile::tempdir().expect("a folder");
    let rig = Rig::start();
    let mut faults = Vec::new();
    let mut seen = BTreeSet::new();
    for router in routers(&rig, folder.path()).await {
        for (path, methods) in routes_of(&router) {
            for method in methods {
                seen.insert((path.clone(), method.clone()));
                let asked = if method == "*" { "PATCH" } else { &method };
                if class(&asked.parse().expect("a method"), &path).is_none() {
                    faults.push(format!("{method} {path} has no class in auth/routes.txt"));
                }
            }
        }
    }
    // Those of exporters' listeners, which have one class for all.
    let elsewhere = ["/healthz", "/livez", "/readyz"];
    for entry in entries().filter(|entry| !elsewhere.contains(&entry.path)) {
        for method in entry.methods.split(',') {
            if !seen.contains(&(entry.path.to_owned(), method.to_owned())) {
                faults.push(format!(
                    "{method} {} is in the table and nowhere else",
                    entry.path
                ));
            }
        }
    }
    assert_eq!(faults, Vec::<String>::new());
    assert!(seen.len() > 200, "{}", seen.len());
}

const TOKENS: &str = "
  tokens:
  - {name: reader, token: reader-0123456789}
  - {name: writer, token: writer-0123456789}
  - {name: editor, token: editor-0123456789}
  - {name: admin, token: admin-01234567890}
  - {name: nobody, token: nobody-0123456789}
  grants:
  - {user: reader, tenants: a, role: read}
  - {user: writer, tenants: a, role: write}
  - {user: editor, tenants: [a, b], role: [read, write]}
  - {user: admin, tenants: '*', role: admin}
";

async fn auth(text: &str) -> Arc<Auth> {
    let text = text.replace('\n', "\n  ");
    let config = parse(&format!("obs:\n  auth:{text}\n")).expect("valid");
    let auth = Auth::configured(&config, Path::new("."), None)
        .await
        .expect("read");
    auth.expect("there")
}

/// Says which tenant it was asked for.
fn told(auth: &Arc<Auth>, prefix: &str) -> Router {
    let say = async |headers: HeaderMap| {
        let tenant = headers
            .get("x-scope-orgid")
            .map(|v| v.to_str().unwrap_or("?").to_owned());
        tenant.unwrap_or_default()
    };
    let routes = Router::new()
        .route("/-/healthy", any(say))
        .route("/api/v1/query", any(say))
        .route("/api/v1/write", any(say))
        .route("/api/v1/dashboards/{uid}", any(say))
        .route("/api/v1/admin/storage/flush", any(say))
        .route("/unlisted", any(say));
    crate::api::below(prefix, guarded(Guard::new(auth), routes))
}

async fn ask(routes: &Router, line: &str, headers: &[(&str, &str)]) -> (u16, String) {
    let (method, path) = line.split_once(' ').expect("a method and a path");
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Body::empty()).expect("valid");
    let response = routes.clone().oneshot(request).await.expect("infallible");
    let status = response.status().as_u16();
    let body = axum::body::to_bytes(response.into_body(), 4096)
        .await
        .expect("in memory");
    (status, String::from_utf8_lossy(&body).into_owned())
}

#[tokio::test]
async fn requests_are_let_in_by_route_and_role() {
    let auth = auth(TOKENS).await;
    let routes = told(&auth, "/obs");
    let check = async |who: &str, line: &str, tenant: &str, expect: (u16, &str)| {
        let token = format!("Bearer {who}");
        let mut headers = vec![("authorization", token.as_str())];
        if who.is_empty() {
            headers.clear();
        }
        if !tenant.is_empty() {
            headers.push(("x-scope-orgid", tenant));
        }
        let (status, body) = ask(&routes, line, &headers).await;
        assert_eq!(status, expect.0, "{who} {line} {tenant}: {body}");
        assert!(body.contains(expect.1), "{who} {line} {tenant}: {body}");
    };
    let (reader, writer) = ("reader-0123456789", "writer-0123456789");
    let (editor, admin) = ("editor-0123456789", "admin-01234567890");
    let query = "GET /api/v1/query";
    for prefix in ["", "/obs"] {
        let line = |line: &str| line.replacen(" /", &format!(" {prefix}/"), 1);
        check("", &line("GET /-/healthy"), "", (200, "")).await;
        check("", &line(query), "", (401, "credentials are missing")).await;
        check("wrong-0123456789", &line(query), "", (401, "not known")).await;
        check(reader, &line(query), "", (200, "a")).await;
    }
    check(reader, query, "b", (403, "reader may not read tenant b")).await;
    check(reader, query, "a|b", (403, "may not read tenant b")).await;
    check(reader, "POST /api/v1/write", "", (403, "may not write")).await;
    check(writer, "POST /api/v1/write", "", (200, "a")).await;
    check(writer, query, "", (403, "may not read")).await;
    check(editor, query, "", (403, "X-Scope-OrgID")).await;
    check(editor, query, "a|b", (200, "a|b")).await;
    check(editor, "PUT /api/v1/dashboards/x", "b", (200, "b")).await;
    check(writer, "PUT /api/v1/dashboards/x", "a", (403, "dashboards")).await;
    check(
        editor,
        "POST /api/v1/admin/storage/flush",
        "a",
        (403, "the server"),
    )
    .await;
    check(
        admin,
        "POST /api/v1/admin/storage/flush",
        "",
        (200, "anonymous"),
    )
    .await;
    check("nobody-0123456789", query, "", (403, "any tenant")).await;
    check(admin, "GET /unlisted", "", (403, "no class")).await;
    check(admin, "DELETE /api/v1/query", "", (405, "not allowed")).await;
    check("", "GET /nothing", "", (401, "")).await;
    check(admin, "GET /nothing", "", (404, "")).await;
    check(admin, "GET /api//v1/query", "", (400, "canonical")).await;
    check(admin, "GET /api/v1/../v1/query", "", (400, "canonical")).await;
    check("", "OPTIONS /api/v1/query", "", (200, "")).await;
}

#[tokio::test]
async fn without_credentials_nobody_is_asked() {
    let auth = auth(" {}").await;
    assert!(!auth.asks());
    let routes = told(&auth, "");
    let found = ask(&routes, "GET /api/v1/query", &[("x-scope-orgid", "x")]).await;
    assert_eq!(found, (200, "x".to_owned()));
}

#[tokio::test]
async fn grants_without_a_way_to_log_in_are_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let web = folder.path().join("web.yml");
    tokio::fs::write(&web, "basic_auth_users: {}\n")
        .await
        .expect("written");
    let text =
        "obs: {auth: {web_config_file: web.yml, grants: [{user: a, tenants: '*', role: read}]}}";
    let config = parse(text).expect("valid");
    let fault = Auth::configured(&config, folder.path(), None).await;
    let fault = format!("{:#}", fault.expect_err("nobody could log in"));
    assert!(fault.contains("no way to log in"), "{fault}");
}

/// `secret`, by argon2id with little memory, so that the test is quick.
fn users() -> String {
    use argon2::password_hash::{PasswordHasher, SaltString};
    let params = argon2::Params::new(64, 2, 1, None).expect("valid");
    let salt = SaltString::from_b64("c29tZXNhbHQxMjM0").expect("a salt");
    let argon2 = argon2::Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, params);
    let hash = argon2.hash_password(b"secret", &salt).expect("hashed");
    format!(
        "\n  users: [{{name: ann, password_hash: '{hash}'}}]\n  grants: [{{user: ann, tenants: '*', \
         role: admin}}]\n  lockout: {{failures: 3, within: 1h}}\n"
    )
}

fn basic(user: &str, password: &str) -> String {
    use base64::Engine;
    let pair = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
    format!("Basic {pair}")
}

#[tokio::test]
async fn passwords_are_tried_a_few_times() {
    let auth = auth(&users()).await;
    let routes = told(&auth, "");
    let check = async |user: &str, password: &str, expect: u16| {
        let pair = basic(user, password);
        let found = ask(&routes, "GET /api/v1/query", &[("authorization", &pair)]).await;
        assert_eq!(found.0, expect, "{user} {password}: {}", found.1);
    };
    check("ann", "secret", 200).await;
    for index in 0..3 {
        check("ann", &format!("wrong{index}"), 401).await;
    }
    check("ann", "another", 429).await;
    // Who is in stays in, and others are not held up by it.
    check("ann", "secret", 200).await;
    check("bob", "secret", 401).await;
}

#[tokio::test]
async fn pages_of_other_sites_change_nothing() {
    let auth = auth(&users()).await;
    let routes = told(&auth, "");
    let pair = basic("ann", "secret");
    let check = async |line: &str, site: &str, expect: u16| {
        let headers = [("authorization", pair.as_str()), ("sec-fetch-site", site)];
        let found = ask(&routes, line, &headers).await;
        assert_eq!(found.0, expect, "{line} {site}: {}", found.1);
    };
    check("PUT /api/v1/dashboards/x", "same-origin", 200).await;
    check("PUT /api/v1/dashboards/x", "cross-site", 403).await;
    check("POST /api/v1/write", "cross-site", 403).await;
    check("GET /api/v1/query", "cross-site", 200).await;
}

#[tokio::test]
async fn exporters_are_for_who_sees_the_server_and_for_obs_itself() {
    let auth = auth(TOKENS).await;
    let say = async || "metrics";
    let routes = Router::new()
        .route("/metrics", any(say))
        .route("/healthz", any(say));
    let exporter = guarded(Guard::of_exporter(&auth), routes.clone());
    let own = own_only(&auth, routes);
    let token = |token: &str| format!("Bearer {token}");
    let (mine, admin, reader) = (
        token(auth.own()),
        token("admin-01234567890"),
        token("reader-0123456789"),
    );
    let check = async |routes: &Router, line: &str, who: &str, expect: StatusCode| {
        let found = ask(routes, line, &[("authorization", who)]).await;
        assert_eq!(found.0, expect.as_u16(), "{line}: {}", found.1);
    };
    check(&exporter, "GET /healthz", "", StatusCode::OK).await;
    check(&exporter, "GET /metrics", &mine, StatusCode::OK).await;
    check(&exporter, "GET /metrics", &admin, StatusCode::OK).await;
    check(&exporter, "GET /metrics", &reader, StatusCode::FORBIDDEN).await;
    check(&own, "GET /metrics", &mine, StatusCode::OK).await;
    check(&own, "GET /metrics", &admin, StatusCode::UNAUTHORIZED).await;
    // What obs shows to itself is good nowhere else.
    let main = told(&auth, "");
    check(&main, "GET /api/v1/query", &mine, StatusCode::UNAUTHORIZED).await;
}

#[tokio::test]
async fn the_peer_of_a_request_is_noted() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("audit.jsonl");
    let auth = auth(&format!("{TOKENS}  audit_file: {}\n", file.display())).await;
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    let routes = told(&auth, "");
    for (token, path) in [
        ("editor-0123456789", "x"),
        ("reader-0123456789", "x?secret=1"),
    ] {
        let mut request = Request::put(format!("/api/v1/dashboards/{path}"))
            .header("authorization", format!("Bearer {token}"))
            .header("x-scope-orgid", "a")
            .body(Body::empty())
            .expect("valid");
        let peer = Peer::at("10.1.2.3:4".parse().expect("an address"));
        request.extensions_mut().insert(ConnectInfo(peer));
        routes.clone().oneshot(request).await.expect("infallible");
    }
    auth.start(&tasks, &stop);
    stop.cancel();
    tasks.close();
    tasks.wait().await;
    let text = tokio::fs::read_to_string(&file).await.expect("written");
    let lines: Vec<serde_json::Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    let shown = |index: usize| {
        [
            "event", "who", "how", "tenant", "action", "route", "status", "source",
        ]
        .map(|name| lines[index][name].to_string().replace('"', ""))
        .join(" ")
    };
    assert_eq!(
        shown(0),
        "change editor token a edit /api/v1/dashboards/{uid} 200 10.1.2.3"
    );
    assert_eq!(
        shown(1),
        "denied reader token  edit /api/v1/dashboards/{uid} 403 10.1.2.3"
    );
    assert!(
        !text.contains("secret=1") && !text.contains("0123456789"),
        "{text}"
    );
}
