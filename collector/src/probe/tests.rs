//! Probes of servers of this process, over loopback.

use axum::body::Body;
use axum::http::Request;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};
use tokio::task::JoinSet;
use tower::Service;

use super::*;
use crate::http_client::configured::authorization;

async fn page_of(modules: &str, query: &str, headers: &[(&str, &str)]) -> (u16, String) {
    let config: ProbesConfig = serde_yaml_ng::from_str(modules).expect(modules);
    let probes = Probes::open(&config, Path::new(""), Addresses::default())
        .await
        .expect("modules");
    let mut request = Request::get(format!("/probe?{query}"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Body::empty()).expect("a request");
    let response = probes.routes().call(request).await.expect("an answer");
    let status = response.status().as_u16();
    let body = axum::body::to_bytes(response.into_body(), 1 << 20).await;
    let text = String::from_utf8(body.expect("a body").to_vec());
    (status, text.expect("text"))
}

/// Probes and looks for lines of the answer.
async fn check(modules: &str, target: &str, expect: &[&str]) {
    let query = format!("module=m&target={target}");
    let (status, text) = page_of(modules, &query, &[]).await;
    assert_eq!(status, 200, "{text}");
    for line in expect {
        assert!(
            text.lines().any(|l| l == *line),
            "{modules}: no {line:?} in\n{text}"
        );
    }
}

/// Answers each connection with these bytes after the head of a request.
async fn server(answer: &'static str) -> (String, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let address = listener.local_addr().expect("an address").to_string();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut seen = Vec::new();
            while !seen.ends_with(b"\r\n\r\n") {
                match stream.read_u8().await {
                    Ok(byte) => seen.push(byte),
                    Err(_) => break,
                }
            }
            stream.write_all(answer.as_bytes()).await.expect("sent");
        }
    });
    (address, tasks)
}

#[tokio::test]
async fn http_tells_status_and_checks_the_body() {
    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nLast-Modified: Tue, 15 Nov 1994 12:45:26 GMT\r\nX-A: b\r\n\r\nhello";
    let (address, _tasks) = server(answer).await;
    check(
        "modules: {m: {prober: http, timeout: 100s, http: {fail_if_body_not_matches_regexp: [hel+o], fail_if_header_not_matches: [{header: x-a, regexp: b}]}}}",
        &format!("{address}/path"),
        &[
            "probe_success 1",
            "probe_http_status_code 200",
            "probe_http_version 1.1",
            "probe_http_content_length 5",
            "probe_http_uncompressed_body_length 5",
            "probe_http_redirects 0",
            "probe_http_ssl 0",
            "probe_ip_protocol 4",
            "probe_failed_due_to_regex 0",
            "probe_http_last_modified_timestamp_seconds 7.84903526e+08",
            "probe_http_duration_seconds{phase=\"tls\"} 0",
        ],
    )
    .await;
    for (http, expect) in [
        (
            "fail_if_body_matches_regexp: [ell]",
            "probe_failed_due_to_regex 1",
        ),
        (
            "fail_if_header_matches: [{header: X-A, regexp: '^b$'}]",
            "probe_failed_due_to_regex 1",
        ),
        ("fail_if_not_ssl: true", "probe_failed_due_to_regex 0"),
        ("valid_status_codes: [404]", "probe_http_status_code 200"),
        ("valid_http_versions: [HTTP/2.0]", "probe_http_version 1.1"),
    ] {
        let modules = format!("modules: {{m: {{prober: http, http: {{{http}}}}}}}");
        check(&modules, &address, &["probe_success 0", expect]).await;
    }
}

#[tokio::test]
async fn http_follows_redirects() {
    let (end, _tasks) = server("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
    let answer =
        format!("HTTP/1.1 302 Found\r\nLocation: http://{end}/\r\nContent-Length: 0\r\n\r\n");
    let (begin, _more) = server(answer.leak()).await;
    let modules = "modules: {m: {prober: http}}";
    check(
        modules,
        &begin,
        &["probe_success 1", "probe_http_redirects 1"],
    )
    .await;
    let modules = "modules: {m: {prober: http, http: {follow_redirects: false}}}";
    check(
        modules,
        &begin,
        &["probe_success 0", "probe_http_status_code 302"],
    )
    .await;
}

#[tokio::test]
async fn tcp_talks() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let address = listener.local_addr().expect("an address").to_string();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            stream
                .write_all(b"noise\r\n220 mail.example ready\r\n")
                .await
                .expect("sent");
            let mut line = [0; 18];
            if stream.read_exact(&mut line).await.is_ok() && &line == b"EHLO mail.example\n" {
                stream.write_all(b"250 ok\n").await.expect("sent");
            }
        }
    });
    let modules = "modules: {m: {prober: tcp, tcp: {query_response: [{expect: '^220 (\\S+)', send: 'EHLO ${1}', labels: [{name: host, value: '$1'}]}, {expect: ^250}]}}}";
    let info = "probe_expect_info{host=\"mail.example\"} 1";
    check(modules, &address, &["probe_success 1", info]).await;
    let modules = "modules: {m: {prober: tcp, tcp: {query_response: [{expect: ^300, send: x}]}}}";
    let modules = modules.replace("prober", "timeout: 1s, prober");
    check(&modules, &address, &["probe_success 0"]).await;
    check(
        "modules: {m: {prober: tcp}}",
        &address,
        &["probe_success 1"],
    )
    .await;
    drop(tasks);
}

#[tokio::test]
async fn dns_asks_and_judges() {
    let socket = UdpSocket::bind("127.0.0.1:0").await.expect("bound");
    let address = socket.local_addr().expect("an address").to_string();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut buffer = vec![0; 512];
        while let Ok((count, from)) = socket.recv_from(&mut buffer).await {
            let mut reply = buffer[..count].to_vec();
            reply[2] |= 0x80;
            reply[7] = 1;
            reply.extend(b"\xc0\x0c\0\x01\0\x01\0\0\0\x3c\0\x04\x7f\0\0\x01");
            socket.send_to(&reply, from).await.expect("sent");
        }
    });
    let modules = |more: &str| {
        format!(
            "modules: {{m: {{prober: dns, dns: {{query_name: a.example, query_type: A{more}}}}}}}"
        )
    };
    let found = [
        "probe_success 1",
        "probe_dns_answer_rrs 1",
        "probe_dns_query_succeeded 1",
    ];
    check(&modules(""), &address, &found).await;
    let none = ", validate_answer_rrs: {fail_if_none_matches_regexp: ['127.0.0.2']}";
    check(&modules(none), &address, &["probe_success 0"]).await;
    check(
        &modules(", valid_rcodes: [NXDOMAIN]"),
        &address,
        &["probe_success 0"],
    )
    .await;
    drop(tasks);
}

#[tokio::test]
async fn icmp_reaches_loopback() {
    let query = "module=icmp&target=127.0.0.1&debug=true";
    let (status, text) = page_of(
        "{}",
        query,
        &[("x-prometheus-scrape-timeout-seconds", "100")],
    )
    .await;
    assert_eq!(status, 200);
    if text.contains("error listening to socket") {
        println!("skipped: no right to open a socket for ICMP");
        return;
    }
    assert!(text.contains("probe_success 1\n"), "{text}");
}

#[tokio::test]
async fn what_cannot_be_probed_is_told() {
    for (query, expect) in [
        ("module=x&target=y", "Unknown module \"x\""),
        ("module=tcp_connect", "Target parameter is missing"),
    ] {
        let (status, text) = page_of("{}", query, &[]).await;
        assert_eq!((status, text.trim()), (400, expect));
    }
    let (status, text) = page_of("{}", "module=grpc_plain&target=127.0.0.1:1", &[]).await;
    assert_eq!(status, 200);
    assert!(
        text.contains("probe_success 0\n") && text.contains("probe_grpc_status_code 14\n"),
        "{text}"
    );
    for (text, expect) in [
        ("modules: {m: {prober: x}}", "unknown variant"),
        (
            "modules: {m: {prober: dns, dns: {query_name: a, query_type: X}}}",
            "query type",
        ),
        (
            "modules: {m: {prober: http, http: {oauth2: {client_id: a}}}}",
            "not supported",
        ),
        (
            "modules: {m: {prober: http, http: {fail_if_body_matches_regexp: ['(']}}}",
            "regular expression",
        ),
    ] {
        let fault = serde_yaml_ng::from_str::<ProbesConfig>(text)
            .expect_err(text)
            .to_string();
        assert!(fault.contains(expect), "{fault}");
    }
}

#[tokio::test]
async fn bodies_that_nobody_looks_at_are_not_kept() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let address = listener.local_addr().expect("an address").to_string();
    // More than is ever kept of one body.
    let blocks = 1025;
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = [0; 1024];
            assert!(stream.read(&mut head).await.expect("a request") > 0);
            let begin = format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n",
                blocks << 16
            );
            let block = vec![b'x'; 1 << 16];
            let mut sent = stream.write_all(begin.as_bytes()).await;
            for _ in 0..blocks {
                if sent.is_ok() {
                    sent = stream.write_all(&block).await;
                }
            }
        }
    });
    let length = "probe_http_uncompressed_body_length 6.71744e+07";
    check(
        "modules: {m: {prober: http}}",
        &address,
        &["probe_success 1", length],
    )
    .await;
    // One that is looked at is bounded.
    let looks = "modules: {m: {prober: http, http: {fail_if_body_matches_regexp: [y]}}}";
    check(looks, &address, &["probe_success 0"]).await;
    let bounded = "modules: {m: {prober: http, http: {body_size_limit: 1MB}}}";
    check(bounded, &address, &["probe_success 0"]).await;
}

/// Who asks, and TLS, are configured as everywhere else, with the same faults; files are below the
/// folder.
#[tokio::test]
async fn clients_are_configured_as_everywhere() {
    let folder = tempfile::tempdir().expect("a folder");
    let opened = async |yaml: &str| {
        let config: ProbesConfig = serde_yaml_ng::from_str(yaml).expect(yaml);
        Probes::open(&config, folder.path(), Addresses::default()).await
    };
    for (module, expect) in [
        (
            "prober: http, http: {bearer_token: a, basic_auth: {username: b}}",
            "module \"m\": http: at most one of basic_auth",
        ),
        (
            "prober: http, http: {tls_config: {cert: a}}",
            "a client certificate and its key",
        ),
        (
            "prober: tcp, tcp: {tls_config: {ca: a, ca_file: b}}",
            "at most one of ca and ca_file",
        ),
        ("prober: dns", "query name must be set"),
    ] {
        let fault = opened(&format!("modules: {{m: {{{module}}}}}")).await;
        let fault = fault.expect_err(module);
        assert!(fault.contains(expect), "{fault}");
    }
    let token = tokio::fs::write(folder.path().join("token"), "let me\n").await;
    token.expect("written");
    let yaml =
        "modules: {m: {prober: http, http: {authorization: {type: Key, credentials_file: token}}}}";
    let probes = opened(yaml).await.expect("modules");
    let auth = probes.modules["m"].http.auth.as_ref().expect("checked");
    let header = authorization(auth).await.expect("read").expect("one");
    assert_eq!(header, "Key let me");
}

#[tokio::test]
async fn probes_do_not_go_where_nobody_goes() {
    let refused = async |modules: &str, target: &str| {
        let query = format!("module=m&debug=true&target={target}");
        let (_, text) = page_of(modules, &query, &[]).await;
        assert!(text.contains("probe_success 0"), "{text}");
        assert!(text.contains("is not dialled: it is link-local"), "{text}");
    };
    let http = "modules: {m: {prober: http}}";
    refused(http, "http://169.254.169.254/latest/meta-data").await;
    refused("modules: {m: {prober: tcp}}", "169.254.169.254:80").await;
    refused("modules: {m: {prober: icmp}}", "169.254.169.254").await;
    let found =
        "HTTP/1.1 302 Found\r\nlocation: http://169.254.169.254/\r\ncontent-length: 0\r\n\r\n";
    let (address, _tasks) = server(found).await;
    refused(http, &format!("http://{address}/")).await;
}
