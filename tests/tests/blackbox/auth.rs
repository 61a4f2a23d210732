//! Authentication and authorization of a server that runs: who is let in by what, what they may do,
//! and what is refused and noted.

use std::process::Stdio;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use obs_model::MetricBatch;
use obs_tests::kube_api::{CA, CLIENT, IMPOSTOR, Pair, SERVER, User};
use ring::rand::SystemRandom;
use ring::signature::{Ed25519KeyPair, KeyPair};
use serde_json::{Value, json};

use super::kubernetes::Cluster;
use crate::process::{Answer, Obs, command, now, until};
use crate::send::{remote_write_body, series};

/// `test`, bcrypt.
const BCRYPT: &str = "$2y$04$abcdefghijklmnopqrstuuoD8yw7MmybLKVooaTGGZAt3HXugv2.a";

fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

/// `secret`, argon2id of 64 KiB.
fn argon2id() -> String {
    use argon2::password_hash::{PasswordHasher, SaltString};
    let params = argon2::Params::new(64, 2, 1, None).expect("valid");
    let salt = SaltString::from_b64("c29tZXNhbHQxMjM0").expect("a salt");
    let argon2 = argon2::Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, params);
    argon2
        .hash_password(b"secret", &salt)
        .expect("hashed")
        .to_string()
}

/// What a request gets that shows this and names that tenant.
fn ask(obs: &Obs, path: &str, shown: &str, tenant: &str) -> Answer {
    let mut headers = Vec::new();
    if !shown.is_empty() {
        headers.push(("authorization", shown));
    }
    if !tenant.is_empty() {
        headers.push(("x-scope-orgid", tenant));
    }
    obs.get_with(path, &headers)
}

fn write(obs: &Obs, shown: &str, name: &str) -> Answer {
    let one = series(&[("__name__", name)], [(now(), 1.0)]);
    let batch = MetricBatch {
        series: vec![one],
        ..MetricBatch::default()
    };
    let headers = [
        ("authorization", shown),
        ("content-type", "application/x-protobuf"),
        ("content-encoding", "snappy"),
    ];
    obs.post("/api/v1/write", &headers, remote_write_body(&batch))
}

const QUERY: &str = "/api/v1/query?query=m";

#[test]
#[expect(clippy::too_many_lines, reason = "one story from start to end")]
fn tokens_and_passwords_open_what_their_grants_say() {
    let config = format!(
        "obs:
  auth:
    audit_file: audit.jsonl
    tokens:
    - {{name: agent, token_file: token}}
    - {{name: other, sha256: ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad}}
    users:
    - {{name: ann, password_hash_file: hash, groups: [dev]}}
    - {{name: bob, password_hash: '{BCRYPT}'}}
    grants:
    - {{user: agent, tenants: shop, role: write}}
    - {{group: dev, tenants: shop, role: read}}
    - {{user: bob, tenants: '*', role: admin}}
    lockout: {{failures: 3, within: 1h}}
"
    );
    let token = "agent-token-0123456789";
    let hash = argon2id();
    let files = [
        ("obs.yml", config.as_str()),
        ("token", token),
        ("hash", hash.as_str()),
    ];
    let obs = Obs::with_files(&files);
    let agent = format!("Bearer {token}");
    let (ann, bob) = (basic("ann", "secret"), basic("bob", "test"));
    assert_eq!(write(&obs, &agent, "m").status, 204);
    assert_eq!(write(&obs, &ann, "m").status, 403);
    let answer = ask(&obs, QUERY, "", "");
    assert_eq!(answer.status, 401, "{}", answer.text());
    assert!(answer.text().contains("\"errorType\":\"unauthorized\""));
    let answer = ask(&obs, QUERY, &ann, "");
    assert_eq!(answer.status, 200, "{}", answer.text());
    let found = |answer: &Answer| answer.json()["data"]["result"].as_array().map(Vec::len);
    assert_eq!(found(&answer), Some(1), "the tenant of the grant is meant");
    assert_eq!(ask(&obs, QUERY, &ann, "other").status, 403);
    assert_eq!(ask(&obs, QUERY, &agent, "").status, 403);
    assert_eq!(found(&ask(&obs, QUERY, &bob, "shop")), Some(1));
    assert_eq!(found(&ask(&obs, QUERY, &bob, "")), Some(0));
    // Health and the UI are open; routes that there are not are as closed as others.
    assert_eq!(ask(&obs, "/-/healthy", "", "").status, 200);
    assert_eq!(ask(&obs, "/nothing", "", "").status, 401);
    assert_eq!(ask(&obs, "/nothing", &bob, "").status, 404);
    assert_eq!(ask(&obs, "/metrics", &ann, "").status, 403);
    // obs goes on scraping itself, and its series are called as if it were asked from outside.
    let up = format!(
        "/api/v1/query?query=up%7Binstance%3D%22{}%22%7D",
        obs.address("http")
    );
    until("obs scrapes itself", || {
        let answer = ask(&obs, &up, &bob, "").json();
        (answer["data"]["result"][0]["value"][1] == "1").then_some(())
    });
    // A command shows what flags say.
    std::fs::write(obs.path("password"), "test\n").expect("written");
    let password = obs.path("password").display().to_string();
    let flags = [
        "--user",
        "bob",
        "--password-file",
        &password,
        "--tenant",
        "shop",
    ];
    let output = obs.client(&[&["query", "m", "-o", "json"], &flags[..]].concat());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    let output = obs.client(&["query", "m"]);
    assert!(!output.status.success(), "nothing is shown");
    // A user that is locked out, and one who is in.
    for index in 0..3 {
        assert_eq!(
            ask(&obs, QUERY, &basic("ann", &index.to_string()), "").status,
            401
        );
    }
    assert_eq!(ask(&obs, QUERY, &basic("ann", "guess"), "").status, 429);
    assert_eq!(ask(&obs, QUERY, &ann, "").status, 200);
    // What is secret is shown nowhere.
    let shown = ask(&obs, "/api/v1/status/config", &bob, "").text();
    assert!(
        shown.contains("audit_file") && !shown.contains("$2y$"),
        "{shown}"
    );
    let deleted = obs.post("/-/reload", &[("authorization", &bob)], Vec::new());
    assert_eq!(deleted.status, 403, "the lifecycle API is off");
    let lines = until("the audit log", || {
        let text = std::fs::read_to_string(obs.path("audit.jsonl")).ok()?;
        let lines: Option<Vec<Value>> = text
            .lines()
            .map(|line| serde_json::from_str(line).ok())
            .collect();
        lines.filter(|all| all.iter().any(|one| one["route"] == "/-/reload"))
    });
    let has = |event: &str, who: &str, status: u16| {
        let is = |line: &&Value| {
            line["event"] == event && line["who"] == who && line["status"] == status
        };
        assert!(
            lines.iter().any(|line| is(&line)),
            "{event} {who}: {lines:?}"
        );
    };
    has("refused", "ann", 401);
    has("refused", "ann", 429);
    has("denied", "agent", 403);
    has("change", "bob", 403);
}

#[test]
fn web_yml_is_that_of_prometheus_and_is_read_anew() {
    let users = format!(
        "basic_auth_users: {{bob: '{BCRYPT}'}}\nhttp_server_config: {{headers: {{X-Frame-Options: deny}}}}\n"
    );
    let folder = tempfile::tempdir().expect("a folder");
    let web = folder.path().join("web.yml");
    std::fs::write(&web, &users).expect("written");
    let flag = format!("--web.config.file={}", web.display());
    let obs = Obs::with_flags(&[&flag]);
    let bob = basic("bob", "test");
    assert_eq!(ask(&obs, QUERY, "", "").status, 401);
    let answer = ask(&obs, QUERY, &bob, "");
    assert_eq!(answer.status, 200);
    let plain = reqwest::blocking::Client::builder()
        .no_proxy()
        .build()
        .expect("a client");
    let head = plain
        .head(format!("{}/-/healthy", obs.url()))
        .send()
        .expect("an answer");
    assert_eq!(head.headers()["x-frame-options"], "deny");
    assert_eq!(
        ask(&obs, QUERY, &bob, "any").status,
        200,
        "as Prometheus' users they may all"
    );
    let new = web.with_extension("new");
    std::fs::write(&new, users.replace("bob:", "eve:")).expect("written");
    std::fs::rename(&new, &web).expect("renamed");
    until("the other user", || {
        (ask(&obs, QUERY, &basic("eve", "test"), "").status == 200).then_some(())
    });
    assert_eq!(ask(&obs, QUERY, &bob, "").status, 401);
}

/// A client that trusts the tests' authority and shows this certificate.
fn client(pair: Option<Pair>) -> reqwest::blocking::Client {
    let ca = reqwest::Certificate::from_pem(CA.as_bytes()).expect("a certificate");
    let mut builder = reqwest::blocking::Client::builder().tls_certs_only([ca]);
    if let Some(pair) = pair {
        let pem = format!("{}{}", pair.cert, pair.key);
        let identity = reqwest::Identity::from_pem(pem.as_bytes()).expect("an identity");
        builder = builder.identity(identity);
    }
    builder.build().expect("a client")
}

#[test]
fn certificates_name_their_holders() {
    // Whoever is first sets it.
    drop(rustls::crypto::ring::default_provider().install_default());
    let config = "obs:
  auth:
    tls: {cert_file: server.pem, key_file: server.key, client_ca_file: ca.pem}
    grants:
    - {user: 'cert:test-client', tenants: '*', role: read}
";
    let files = [
        ("obs.yml", config),
        ("server.pem", SERVER.cert),
        ("server.key", SERVER.key),
        ("ca.pem", CA),
    ];
    let obs = Obs::spawned(&files, &[]);
    let url = |listener: &str, path: &str| format!("https://{}{path}", obs.address(listener));
    let status = |pair: Option<Pair>, listener: &str, path: &str| {
        let answer = client(pair).get(url(listener, path)).send();
        answer.expect("an answer").status().as_u16()
    };
    until("readiness", || {
        (status(None, "http", "/-/ready") == 200).then_some(())
    });
    assert_eq!(status(None, "http", QUERY), 401);
    assert_eq!(status(Some(CLIENT), "http", QUERY), 200);
    // Who shows a certificate of elsewhere is not spoken to, as by Go's servers.
    let impostor = client(Some(IMPOSTOR)).get(url("http", QUERY)).send();
    impostor.expect_err("no connection");
    assert_eq!(status(Some(CLIENT), "otlp_http", "/nothing"), 404);
    // Another certificate is taken while the server runs: one whose names are not those of the
    // address is not trusted.
    std::fs::write(obs.path("server.key"), CLIENT.key).expect("written");
    std::fs::write(obs.path("server.pem"), CLIENT.cert).expect("written");
    until("the other certificate", || {
        let answer = client(None).get(url("http", "/-/healthy")).send();
        answer.is_err().then_some(())
    });
    std::fs::write(obs.path("server.key"), SERVER.key).expect("written");
    std::fs::write(obs.path("server.pem"), SERVER.cert).expect("written");
    until("the first certificate", || {
        let answer = client(None).get(url("http", "/-/healthy")).send();
        answer.is_ok().then_some(())
    });
    until("the certificate's end is told", || {
        let answer = client(Some(CLIENT))
            .get(url("http", "/metrics"))
            .send()
            .ok()?;
        let text = answer.text().ok()?;
        text.contains("obs_tls_certificate_not_after_timestamp_seconds")
            .then_some(())
    });
}

/// Who issues tokens: keys and discovery, over HTTP.
struct Issuer {
    url: String,
    pair: Ed25519KeyPair,
}

impl Issuer {
    fn start() -> Self {
        let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).expect("made");
        let pair = Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).expect("read");
        let x = URL_SAFE_NO_PAD.encode(pair.public_key());
        let keys =
            json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "x": x, "kid": "k", "use": "sig"}]});
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let found = json!({"issuer": url, "jwks_uri": format!("{url}/keys")});
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else {
                    return;
                };
                // Whoever goes away gets no answer.
                drop(answer(&mut stream, &found, &keys));
            }
        });
        Self { url, pair }
    }

    fn token(&self, claims: &Value) -> String {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let mut all = json!({"iss": self.url, "aud": "obs", "exp": now() / 1_000_000_000 + 3600});
        for (name, value) in claims.as_object().expect("claims") {
            all[name] = value.clone();
        }
        let signed = format!(
            "{}.{}",
            part(&json!({"alg": "EdDSA", "kid": "k"})),
            part(&all)
        );
        let signature = URL_SAFE_NO_PAD.encode(self.pair.sign(signed.as_bytes()));
        format!("Bearer {signed}.{signature}")
    }
}

fn answer(stream: &mut std::net::TcpStream, found: &Value, keys: &Value) -> std::io::Result<()> {
    use std::io::{BufRead, BufReader, Write};
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let first = lines.next().transpose()?.unwrap_or_default();
    for line in lines {
        if line?.is_empty() {
            break;
        }
    }
    let body = match first.contains("/.well-known/openid-configuration") {
        true => found.to_string(),
        false => keys.to_string(),
    };
    write!(
        stream,
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: \
         close\r\n\r\n{body}",
        body.len()
    )
}

#[test]
fn json_web_tokens_of_an_issuer() {
    let issuer = Issuer::start();
    let config = format!(
        "obs:
  auth:
    oidc: [{{issuer: '{}', audience: obs}}]
    grants:
    - {{group: 'oidc:dev', tenants: a, role: read}}
    - {{claim: {{team: ops}}, tenants: '*', role: admin}}
",
        issuer.url
    );
    let obs = Obs::with_config(&config);
    let status = |claims: Value| ask(&obs, QUERY, &issuer.token(&claims), "").status;
    assert_eq!(status(json!({"sub": "u1", "groups": ["dev"]})), 200);
    assert_eq!(status(json!({"sub": "u2", "team": "ops"})), 200);
    assert_eq!(status(json!({"sub": "u3"})), 403);
    assert_eq!(
        status(json!({"sub": "u1", "groups": ["dev"], "aud": "other"})),
        401
    );
    assert_eq!(
        status(json!({"sub": "u1", "groups": ["dev"], "exp": 1000})),
        401
    );
    let stranger = Issuer {
        url: issuer.url.clone(),
        ..Issuer::start()
    };
    let forged = stranger.token(&json!({"sub": "u1", "groups": ["dev"]}));
    assert_eq!(ask(&obs, QUERY, &forged, "").status, 401);
}

#[test]
fn tokens_of_a_cluster_are_reviewed() {
    let cluster = Cluster::start();
    let config = format!(
        "obs:
  kubernetes: {{kubeconfig_file: '{}'}}
  auth:
    token_review: {{}}
    grants:
    - {{group: 'k8s:system:serviceaccounts', tenants: a, role: read}}
",
        cluster.kubeconfig()
    );
    let account = User::new("system:serviceaccount:a:b", &["system:serviceaccounts"]);
    cluster.api.add_token("e30.e30.account", account);
    cluster
        .api
        .add_token("e30.e30.user", User::new("jane", &[]));
    let obs = Obs::with_config(&config);
    assert_eq!(ask(&obs, QUERY, "Bearer e30.e30.account", "").status, 200);
    assert_eq!(ask(&obs, QUERY, "Bearer e30.e30.account", "b").status, 403);
    assert_eq!(ask(&obs, QUERY, "Bearer e30.e30.user", "").status, 403);
    assert_eq!(ask(&obs, QUERY, "Bearer nobody", "").status, 401);
    assert_eq!(ask(&obs, QUERY, "Bearer e30.e30.nobody", "").status, 401);
}

#[test]
fn an_open_listener_is_refused_unless_told_so() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().display().to_string();
    let base = [
        "serve",
        "--data",
        &data,
        "--otlp-grpc-listen",
        "127.0.0.1:0",
    ];
    let rest = ["--otlp-http-listen", "127.0.0.1:0", "--listen", "0.0.0.0:0"];
    let output = command(&[&base[..], &rest[..]].concat())
        .output()
        .expect("runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    for word in ["--listen 0.0.0.0:0", "obs.auth", "--insecure-listen"] {
        assert!(said.contains(word), "{said}");
    }
    let arguments = [&base[..], &rest[..], &["--insecure-listen"]].concat();
    let mut child = command(&arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("starts");
    until("the addresses", || {
        folder.path().join("addresses.json").exists().then_some(())
    });
    child.kill().expect("ours");
    child.wait().expect("ours");
}
