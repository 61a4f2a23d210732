//! How targets are asked.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use obs_tests::kube_api::{CA, CLIENT, FRONT_PROXY_CA};

use super::*;

/// The first question, whoever asked it.
fn first(peer: &Peer) -> Asked {
    until("a question", || peer.asked().first().cloned())
}

#[test]
fn the_question_is_that_of_prometheus() {
    let peer = Peer::serve(|_| Reply::text("works 1\n"));
    let config = format!(
        "{PATIENT}scrape_configs:\n- {{job_name: a, metrics_path: /m, params: {{x: [y, z], empty: ['']}}, \
         static_configs: [{{targets: ['{0}'], labels: {{__param_t: v w}}}}]}}\n\
         - {{job_name: plain, enable_compression: false, scrape_protocols: [PrometheusText0.0.4], \
         static_configs: [{{targets: ['{0}']}}]}}\n",
        peer.address
    );
    let obs = Obs::with_config(&config);
    target(&obs, "a", "up");
    target(&obs, "plain", "up");
    let asked = peer.asked();
    let of = |path: &str| {
        asked
            .iter()
            .find(|a| a.target.starts_with(path))
            .expect(path)
    };
    let question = of("/m?");
    assert_eq!(question.target, "/m?empty=&t=v+w&x=y&x=z");
    assert_eq!(
        question.header("accept"),
        "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
         application/openmetrics-text;version=0.0.1;q=0.5,\
         text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
    );
    assert_eq!(question.header("accept-encoding"), "gzip");
    assert_eq!(question.header("x-prometheus-scrape-timeout-seconds"), "5");
    assert!(question.header("user-agent").starts_with("obs/"));
    let plain = of("/metrics");
    assert_eq!(
        plain.header("accept"),
        "text/plain;version=0.0.4;q=0.6,*/*;q=0.5"
    );
    assert_eq!(plain.header("accept-encoding"), "identity");
}

#[test]
fn sockets_are_asked_for_what_stands_in_the_address() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("s.sock");
    let peer = Peer::socket(&path, |_| Reply::text("works 1\n"));
    let config = format!(
        "{PATIENT}scrape_configs:\n- {{job_name: a, static_configs: [{{targets: ['name:80'], \
         labels: {{__unix_socket__: '{}'}}}}]}}\n",
        path.display()
    );
    let obs = Obs::with_config(&config);
    target(&obs, "a", "up");
    await_values(&obs, "works{instance=\"name:80\"}", &[1.0]);
    // The port of the scheme is not said again, but shown.
    assert_eq!(first(&peer).header("host"), "name");
    let up = target(&obs, "a", "up");
    assert_eq!(up["scrapeUrl"], "http://name:80/metrics", "{up}");
}

#[test]
fn certificates_are_checked_and_shown() {
    let one = Peer::secure(Tls::Server, |_| Reply::text("works 1\n"));
    let both = Peer::secure(Tls::Both, |_| Reply::text("works 2\n"));
    let job = |name: &str, address: &str, tls: &str| {
        format!(
            "- {{job_name: {name}, scheme: https, tls_config: {{{tls}}}, \
             static_configs: [{{targets: ['{address}']}}]}}\n"
        )
    };
    let config = format!(
        "{PATIENT}scrape_configs:\n{}{}{}{}{}{}",
        job("trusted", &one.address, "ca_file: ca.pem"),
        job("unknown", &one.address, ""),
        job("blind", &one.address, "insecure_skip_verify: true"),
        job(
            "other",
            &one.address,
            "ca_file: ca.pem, server_name: elsewhere"
        ),
        job(
            "shown",
            &both.address,
            "ca_file: ca.pem, cert_file: client.pem, key_file: client.key"
        ),
        job("stranger", &both.address, "ca_file: ca.pem"),
    );
    let obs = Obs::with_files(&[
        ("obs.yml", &config),
        ("ca.pem", CA),
        ("client.pem", CLIENT.cert),
        ("client.key", CLIENT.key),
    ]);
    for job in ["trusted", "blind", "shown"] {
        target(&obs, job, "up");
    }
    for job in ["unknown", "other", "stranger"] {
        assert_ne!(fault(&obs, job), "", "{job}");
    }
}

#[test]
fn credentials_and_headers_go_to_the_target() {
    let peer = Peer::serve(|_| Reply::text("works 1\n"));
    let tokens = Peer::serve(
        |asked| match asked.body.contains("grant_type=client_credentials") {
            true => Reply::json(
                r#"{"access_token": "given", "token_type": "Bearer", "expires_in": 3600}"#,
            ),
            false => Reply::status(400),
        },
    );
    let job = |name: &str, more: &str| {
        format!(
            "- {{job_name: {name}, metrics_path: /{name}, {more}, static_configs: [{{targets: ['{}']}}]}}\n",
            peer.address
        )
    };
    let config = format!(
        "{FAST}scrape_configs:\n{}{}{}{}{}",
        job(
            "basic",
            "basic_auth: {username: u, password_file: password}"
        ),
        job("bearer", "authorization: {credentials_file: token}"),
        job("kind", "authorization: {type: Token, credentials: t}"),
        job(
            "headers",
            "http_headers: {X-One: {values: [a], secrets: [b]}, X-File: {files: [token]}}"
        ),
        job(
            "oauth2",
            &format!(
                "oauth2: {{client_id: i, client_secret: s, token_url: 'http://{}/token', scopes: [a]}}",
                tokens.address
            )
        ),
    );
    let obs = Obs::with_files(&[("obs.yml", &config), ("password", "p\n"), ("token", "t1\n")]);
    for name in ["basic", "bearer", "kind", "headers", "oauth2"] {
        target(&obs, name, "up");
    }
    let last = |name: &str| {
        let path = format!("/{name}");
        peer.asked()
            .into_iter()
            .rev()
            .find(|a| a.target == path)
            .expect(name)
    };
    let basic = base64::prelude::BASE64_STANDARD.encode("u:p");
    assert_eq!(
        last("basic").header("authorization"),
        format!("Basic {basic}")
    );
    assert_eq!(last("bearer").header("authorization"), "Bearer t1");
    assert_eq!(last("kind").header("authorization"), "Token t");
    assert_eq!(last("headers").header("x-one"), "a, b");
    assert_eq!(last("headers").header("x-file"), "t1");
    assert_eq!(last("oauth2").header("authorization"), "Bearer given");
    // A scrape that had not enough time may have asked for a token before.
    let scrapes = || {
        peer.asked()
            .iter()
            .filter(|a| a.target == "/oauth2")
            .count()
    };
    let (given, before) = (tokens.asked().len(), scrapes());
    until("further scrapes", || (scrapes() > before + 2).then_some(()));
    assert_eq!(
        tokens.asked().len(),
        given,
        "a token holds for many scrapes"
    );
    // Files are read for each scrape.
    std::fs::write(obs.path("token"), "t2").expect("writable");
    until("the new token", || {
        Some(()).filter(|()| last("bearer").header("authorization") == "Bearer t2")
    });
    // No secret is shown.
    let shown = obs.get("/api/v1/status/config", &[]).text();
    assert!(
        !shown.contains("client_secret: s,") && shown.contains("<secret>"),
        "{shown}"
    );
}

#[test]
fn proxies_are_asked_unless_they_are_bypassed() {
    let peer = Peer::serve(|_| Reply::text("works 1\n"));
    let proxy = Peer::serve(|_| Reply::text("works 2\n"));
    let config = format!(
        "{PATIENT}scrape_configs:\n- {{job_name: far, proxy_url: 'http://{1}', \
         static_configs: [{{targets: ['far.example:81']}}]}}\n\
         - {{job_name: near, proxy_url: 'http://{1}', no_proxy: '127.0.0.1', \
         static_configs: [{{targets: ['{0}']}}]}}\n",
        peer.address, proxy.address
    );
    let obs = Obs::with_config(&config);
    target(&obs, "far", "up");
    target(&obs, "near", "up");
    await_values(&obs, "works{job=\"far\"}", &[2.0]);
    await_values(&obs, "works{job=\"near\"}", &[1.0]);
    assert_eq!(first(&proxy).target, "http://far.example:81/metrics");
}

#[test]
fn redirects_are_followed_where_that_is_wanted_and_keep_secrets_at_home() {
    let other = Peer::serve(|_| Reply::text("works 1\n"));
    // Another name for the same machine is another host.
    let elsewhere = format!(
        "http://localhost:{}/m",
        other.address.rsplit(':').next().expect("a port")
    );
    let peer = Peer::serve(move |_| Reply::status(307).with("location", &elsewhere));
    let config = format!(
        "{PATIENT}scrape_configs:\n- {{job_name: follows, authorization: {{credentials: s}}, \
         static_configs: [{{targets: ['{0}']}}]}}\n\
         - {{job_name: stays, follow_redirects: false, static_configs: [{{targets: ['{0}']}}]}}\n",
        peer.address
    );
    let obs = Obs::with_config(&config);
    target(&obs, "follows", "up");
    let told = fault(&obs, "stays");
    assert!(told.contains("307"), "{told}");
    let mut asked = peer.asked().into_iter();
    assert!(asked.any(|one| one.header("authorization") == "Bearer s"));
    assert_eq!(first(&other).header("authorization"), "");
}

#[test]
fn certificates_that_are_replaced_are_read() {
    let peer = Peer::secure(Tls::Server, |_| Reply::text("works 1\n"));
    let config = format!(
        "{PATIENT}scrape_configs:\n- {{job_name: a, scheme: https, scrape_interval: 200ms, scrape_timeout: 200ms, \
         tls_config: {{ca_file: ca.pem}}, static_configs: [{{targets: ['{0}']}}]}}\n\
         - {{job_name: b, scheme: https, tls_config: {{ca_file: b.pem}}, static_configs: [{{targets: ['{0}']}}]}}\n",
        peer.address
    );
    let obs = Obs::with_files(&[("obs.yml", &config), ("ca.pem", FRONT_PROXY_CA)]);
    assert_ne!(fault(&obs, "a"), "");
    for name in ["ca.pem", "b.pem"] {
        std::fs::write(obs.path(name), CA).expect("writable");
    }
    target(&obs, "a", "up");
    target(&obs, "b", "up");
}

/// A proxy that connects, and what it was asked: the head of each request.
fn connecting_proxy() -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = listener.local_addr().expect("an address").to_string();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let heads = Arc::clone(&asked);
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let heads = Arc::clone(&heads);
            std::thread::spawn(move || connect_through(client, &heads));
        }
    });
    (address, asked)
}

fn connect_through(mut client: TcpStream, heads: &Mutex<Vec<String>>) {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") && matches!(client.read(&mut byte), Ok(1)) {
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let to = head.split(' ').nth(1).unwrap_or_default().to_owned();
    heads.lock().expect("not poisoned").push(head);
    let Ok(mut server) = TcpStream::connect(to) else {
        return;
    };
    if client.write_all(b"HTTP/1.1 200 Connected\r\n\r\n").is_err() {
        return;
    }
    let (Ok(mut from), Ok(mut back)) = (client.try_clone(), server.try_clone()) else {
        return;
    };
    // Either side may go first; the other copy ends with it.
    std::thread::spawn(move || std::io::copy(&mut from, &mut back));
    drop(std::io::copy(&mut server, &mut client));
}

#[test]
fn secure_targets_are_reached_through_proxies() {
    let peer = Peer::secure(Tls::Server, |_| Reply::text("works 1\n"));
    let (proxy, asked) = connecting_proxy();
    let config = format!(
        "{PATIENT}scrape_configs:\n- {{job_name: a, scheme: https, proxy_url: 'http://u:p@{proxy}', \
         proxy_connect_header: {{X-Way: [one]}}, tls_config: {{ca_file: ca.pem}}, \
         static_configs: [{{targets: ['{}']}}]}}\n",
        peer.address
    );
    let obs = Obs::with_files(&[("obs.yml", &config), ("ca.pem", CA)]);
    target(&obs, "a", "up");
    let heads = asked.lock().expect("not poisoned").clone();
    let head = heads[0].to_ascii_lowercase();
    assert!(
        head.starts_with(&format!("connect {} http/1.1", peer.address)),
        "{head}"
    );
    assert!(head.contains("\r\nx-way: one\r\n"), "{head}");
    assert!(
        head.contains("\r\nproxy-authorization: basic dtpw\r\n"),
        "{head}"
    );
    // What is asked of the target itself is for the target alone.
    assert_eq!(first(&peer).target, "/metrics");
    assert_eq!(first(&peer).header("x-way"), "");
    assert_eq!(first(&peer).header("proxy-authorization"), "");
}
