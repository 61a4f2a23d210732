//! Receivers of our own hear what is told them.

use std::io::Write as _;
use std::sync::{Arc, Mutex};

use obs_alerting::notify::Fingerprint;
use obs_tests::kube_api::{CA, SERVER};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::*;

/// What a receiver heard.
type Heard = Arc<Mutex<Vec<String>>>;

/// An HTTP server that gives the same answer to everybody; nothing answers for ever.
async fn http(answer: Option<&'static str>) -> (String, Heard, JoinSet<()>) {
    server(answer, false).await
}

/// The same, perhaps with TLS.
async fn server(answer: Option<&'static str>, tls: bool) -> (String, Heard, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    let heard = Heard::default();
    let mut tasks = JoinSet::new();
    let notes = Arc::clone(&heard);
    tasks.spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.expect("somebody comes");
            // Who does not trust us goes away.
            let told = match tls {
                false => converse_http(stream, answer, &notes).await,
                true => match acceptor().accept(stream).await {
                    Ok(stream) => converse_http(stream, answer, &notes).await,
                    Err(_) => Ok(()),
                },
            };
            drop(told);
        }
    });
    (address, heard, tasks)
}

/// Hears one request and answers it.
async fn converse_http<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    answer: Option<&'static str>,
    notes: &Heard,
) -> std::io::Result<()> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    while !complete(&bytes) {
        match stream.read(&mut buffer).await? {
            0 => break,
            count => bytes.extend_from_slice(&buffer[..count]),
        }
    }
    let text = String::from_utf8_lossy(&bytes).into_owned();
    notes.lock().expect("not poisoned").push(text);
    let Some(answer) = answer else {
        return std::future::pending().await;
    };
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await
}

/// Whether a request has all of its body.
fn complete(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes).to_lowercase();
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        return false;
    };
    let length = head.split("content-length: ").nth(1);
    let length = length.and_then(|rest| rest.split("\r\n").next()?.parse().ok());
    body.len() >= length.unwrap_or(0)
}

/// A folder, and what is written into it.
fn folder(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, text) in files {
        let mut file = std::fs::OpenOptions::new();
        let file = file.write(true).create(true).open(folder.path().join(name));
        file.expect("a file")
            .write_all(text.as_bytes())
            .expect("written");
    }
    folder
}

async fn senders(receiver: &str, folder: &Path) -> anyhow::Result<Senders> {
    let text = format!("route: {{receiver: r}}\nreceivers:\n- name: r\n  {receiver}\n");
    let config = Config::parse(&text).unwrap_or_else(|error| panic!("{text}: {error}"));
    let options = SenderOptions {
        programs: true,
        ..SenderOptions::default()
    };
    Senders::new(&config, folder, &options).await
}

/// Tells the only receiver of an alert.
async fn tell(senders: &Senders) -> Result<(), SendError> {
    let labels = Labels::from_pairs([("alertname", "A")]);
    let alerts = [Received {
        fingerprint: Fingerprint::of(&labels),
        labels: labels.clone(),
        annotations: Labels::from_pairs([("summary", "it burns")]),
        starts_at: Timestamp::from_seconds(1_700_000_000),
        ends_at: Timestamp::from_seconds(1_800_000_000),
        updated_at: Timestamp::from_seconds(1_700_000_000),
        generator_url: String::new(),
        guessed_end: false,
    }];
    let data = Data {
        delivery: "d1".to_owned(),
        receiver: "r",
        group_key: "{}:{}",
        group_labels: &labels,
        route_labels: [("team".to_owned(), "{{ .Status }}".to_owned())].into(),
        alerts: &alerts,
        reason: "first notification",
        external_url: "http://obs",
        now: Timestamp::from_seconds(1_700_001_000),
    };
    senders.send("r", 0, &data, &Kept::new()).await.map(drop)
}

const GOOD: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok";
const BAD: &str = "HTTP/1.1 400 Bad Request\r\ncontent-length: 4\r\nconnection: close\r\n\r\nnope";
const BUSY: &str = "HTTP/1.1 503 Busy\r\ncontent-length: 4\r\nconnection: close\r\n\r\nwait";

#[tokio::test]
async fn webhooks_are_told() {
    let (address, heard, _tasks) = http(Some(GOOD)).await;
    let folder = folder(&[
        ("token", "secret\n"),
        ("url", &format!("http://{address}/hook")),
    ]);
    let receiver = "webhook_configs: [{url_file: url, http_config: {authorization: {credentials_file: token}, http_headers: {X-A: {values: [b]}}}}]";
    let senders = senders(receiver, folder.path())
        .await
        .expect("good settings");
    assert_eq!(tell(&senders).await, Ok(()));
    let heard = heard.lock().expect("not poisoned").concat();
    for part in [
        "POST /hook HTTP/1.1",
        "authorization: Bearer secret",
        "x-a: b",
        "content-type: application/json",
        "\"version\":\"4\"",
        "\"routeLabels\":{\"team\":\"firing\"}",
    ] {
        assert!(heard.contains(part), "{part}: {heard}");
    }
}

#[tokio::test]
async fn failures_say_whether_a_further_try_helps() {
    let check = async |answer: &'static str, retry: bool, reason: &str, class: &str| {
        let (address, _heard, _tasks) = http(Some(answer)).await;
        let receiver = format!("webhook_configs: [{{url: 'http://{address}/secret'}}]");
        let senders = senders(&receiver, Path::new("/"))
            .await
            .expect("good settings");
        let error = tell(&senders).await.expect_err(answer);
        assert_eq!(
            (error.retry, error.reason.as_str(), error.class),
            (retry, reason, class)
        );
    };
    check(
        BAD,
        false,
        "unexpected status code 400: nope",
        "clientError",
    )
    .await;
    check(
        BUSY,
        true,
        "unexpected status code 503: wait",
        "serverError",
    )
    .await;
    // Nobody listens there.
    let receiver = "webhook_configs: [{url: 'http://127.0.0.1:1/secret'}]";
    let senders = senders(receiver, Path::new("/"))
        .await
        .expect("good settings");
    let error = tell(&senders).await.expect_err("nobody is there");
    assert!(error.retry && !error.reason.contains("secret"), "{error:?}");
}

#[tokio::test]
async fn servers_have_to_be_trusted() {
    let (address, heard, _tasks) = server(Some(GOOD), true).await;
    let folder = folder(&[("ca.pem", CA)]);
    let tell_with = async |keys: &str| {
        let receiver =
            format!("webhook_configs: [{{url: 'https://{address}/', http_config: {{{keys}}}}}]");
        tell(
            &senders(&receiver, folder.path())
                .await
                .expect("good settings"),
        )
        .await
    };
    assert_eq!(tell_with("tls_config: {ca_file: ca.pem}").await, Ok(()));
    assert_eq!(
        tell_with("tls_config: {insecure_skip_verify: true}").await,
        Ok(())
    );
    assert_eq!(heard.lock().expect("not poisoned").len(), 2);
    let error = tell_with("tls_config: {ca_file: ca.pem, server_name: other}").await;
    assert!(error.expect_err("it is another").retry);
    assert!(
        tell_with("enable_http2: true")
            .await
            .expect_err("nobody knows it")
            .retry
    );
    assert_eq!(heard.lock().expect("not poisoned").len(), 2);
}

#[tokio::test]
async fn a_try_ends_in_time() {
    let (address, _heard, _tasks) = http(None).await;
    let receiver = format!("webhook_configs: [{{url: 'http://{address}/', timeout: 50ms}}]");
    let senders = senders(&receiver, Path::new("/"))
        .await
        .expect("good settings");
    let error = tell(&senders).await.expect_err("nobody answers");
    assert!(
        error.retry && error.reason.contains("webhook timeout reached"),
        "{error:?}"
    );
    assert_eq!(error.class, "contextDeadlineExceeded");
}

#[tokio::test]
async fn settings_that_cannot_be_used_are_told() {
    let check = async |receiver: &str, expect: &str| {
        let folder = folder(&[("bad", "{{ define \"x\" }}{{ wrong }}{{ end }}")]);
        let error = senders(receiver, folder.path()).await.expect_err(receiver);
        let error = format!("{error:#}");
        assert!(error.contains(expect), "{receiver}: {error}");
    };
    let webhook =
        |keys: &str| format!("webhook_configs: [{{url: 'http://h/', http_config: {{{keys}}}}}]");
    check(
        &webhook("bearer: x"),
        "webhook_configs[0]: http_config: unknown field",
    )
    .await;
    check(&webhook("tls_config: {ca_file: none}"), "none").await;
    check(
        "webhook_configs: [{url: 'http://h/'}]\ntemplates: [bad]",
        "bad",
    )
    .await;
    let text = "route: {receiver: r}\nreceivers: [{name: r, exec_configs: [{command: x}]}]";
    let config = Config::parse(text).expect("it is good");
    let refused = Senders::new(&config, Path::new("/"), &SenderOptions::default()).await;
    let error = format!("{:#}", refused.expect_err("programs are switched off"));
    assert!(error.contains("obs.alertmanager_programs"), "{error}");
}

#[tokio::test]
async fn programs_read_the_notification() {
    let folder = folder(&[
        (
            "good",
            "#!/bin/sh\ncat > \"$1\"\necho \"$OBS_STATUS\" >> \"$1\"\n",
        ),
        ("bad", "#!/bin/sh\necho no >&2\nexit 3\n"),
        ("later", "#!/bin/sh\nexit 75\n"),
        ("slow", "#!/bin/sh\nexec sleep 600\n"),
        ("leaves", "#!/bin/sh\nsleep 600 &\necho $! > \"$1\"\n"),
    ]);
    for name in ["good", "bad", "later", "slow", "leaves"] {
        use std::os::unix::fs::PermissionsExt as _;
        let path = folder.path().join(name);
        let all = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(path, all).expect("it can be run");
    }
    let run = async |keys: &str| {
        let receiver = format!("exec_configs: [{{{keys}}}]");
        tell(
            &senders(&receiver, folder.path())
                .await
                .expect("good settings"),
        )
        .await
    };
    let out = folder.path().join("out");
    assert_eq!(
        run(&format!("command: good, arguments: ['{}']", out.display())).await,
        Ok(())
    );
    let written = std::fs::read_to_string(&out).expect("it was written");
    assert!(
        written.starts_with('{') && written.ends_with("firing\n"),
        "{written}"
    );
    let error = run("command: bad").await.expect_err("it fails");
    assert!(!error.retry && error.reason.ends_with(": no"), "{error:?}");
    assert!(run("command: later").await.expect_err("it fails").retry);
    assert!(
        !run("command: none")
            .await
            .expect_err("it is not there")
            .retry
    );
    let error = run("command: slow, timeout: 50ms")
        .await
        .expect_err("it takes too long");
    assert!(error.retry && error.reason.contains("timeout"), "{error:?}");
    // What it leaves running has its standard error open.
    let left = folder.path().join("left");
    let told = run(&format!(
        "command: leaves, arguments: ['{}']",
        left.display()
    ))
    .await;
    let id = std::fs::read_to_string(&left).expect("it was written");
    let killed = std::process::Command::new("kill").arg(id.trim()).status();
    assert!(killed.expect("kill runs").success());
    assert_eq!(told, Ok(()));
}

/// How a mail server is.
#[derive(Clone, Copy, Default)]
struct Post {
    /// What it says it can do.
    extensions: &'static [&'static str],
    /// TLS from the start.
    implicit: bool,
    /// What it answers to a command with this begin, instead of what is good.
    refuses: Option<(&'static str, &'static str)>,
}

fn acceptor() -> TlsAcceptor {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let certs: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(SERVER.cert.as_bytes()).collect();
    let key = PrivateKeyDer::from_pem_slice(SERVER.key.as_bytes()).expect("a key");
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring has the default versions")
        .with_no_client_auth()
        .with_single_cert(certs.expect("a certificate"), key)
        .expect("key and certificate belong together");
    TlsAcceptor::from(Arc::new(config))
}

/// A mail server; its address and what it heard.
async fn post(how: Post) -> (u16, Heard, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let heard = Heard::default();
    let notes = Arc::clone(&heard);
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.expect("somebody comes");
            // Who does not trust us goes away.
            if how.implicit {
                if let Ok(stream) = acceptor().accept(stream).await {
                    drop(converse(stream, how, &notes, true).await);
                }
                continue;
            }
            if let Ok(Some(stream)) = converse(stream, how, &notes, true).await
                && let Ok(stream) = acceptor().accept(stream).await
            {
                drop(converse(stream, how, &notes, false).await);
            }
        }
    });
    (port, heard, tasks)
}

/// Speaks until the end; gives the stream where TLS shall begin.
async fn converse<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    how: Post,
    notes: &Heard,
    greets: bool,
) -> std::io::Result<Option<S>> {
    let mut stream = BufReader::new(stream);
    if greets {
        stream.write_all(b"220 post\r\n").await?;
    }
    let mut inside = false;
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await? == 0 {
            return Ok(None);
        }
        notes.lock().expect("not poisoned").push(line.clone());
        let line = line.trim_end();
        let answer = match line.split(' ').next().unwrap_or("") {
            "." if inside => "250 taken".to_owned(),
            _ if inside => continue,
            _ if how
                .refuses
                .is_some_and(|(begin, _)| line.starts_with(begin)) =>
            {
                how.refuses
                    .map(|(_, answer)| answer.to_owned())
                    .unwrap_or_default()
            }
            "EHLO" => {
                let more = how.extensions.iter().map(|name| format!("\r\n250-{name}"));
                let more: Vec<String> = more.collect();
                format!("250-post{}\r\n250 HELP", more.concat())
            }
            "STARTTLS" => "220 go".to_owned(),
            "AUTH" if line.starts_with("AUTH PLAIN") => "235 in".to_owned(),
            "AUTH" if line == "AUTH LOGIN" => "334 VXNlcm5hbWU6".to_owned(),
            // `user`
            "dXNlcg==" => "334 UGFzc3dvcmQ6".to_owned(),
            "AUTH" => "334 PGE+".to_owned(),
            "DATA" => "354 speak".to_owned(),
            "QUIT" => "221 bye".to_owned(),
            command if ["MAIL", "RCPT"].contains(&command) => "250 good".to_owned(),
            _ => "235 in".to_owned(),
        };
        inside = answer.starts_with("354");
        stream.write_all(format!("{answer}\r\n").as_bytes()).await?;
        if line == "STARTTLS" && answer.starts_with("220") {
            return Ok(Some(stream.into_inner()));
        }
    }
}

/// Sends a mail by a server of ours; gives what it heard.
async fn mail(how: Post, keys: &str) -> (Result<(), SendError>, String) {
    let (port, heard, _tasks) = post(how).await;
    let folder = folder(&[("ca.pem", CA), ("password", "word\n")]);
    let receiver = format!(
        "email_configs: [{{to: 'a@x, b@x', from: obs@x, smarthost: 'localhost:{port}', hello: me, {keys}}}]"
    );
    let senders = senders(&receiver, folder.path())
        .await
        .expect("good settings");
    let told = tell(&senders).await;
    let heard = heard.lock().expect("not poisoned").concat();
    (told, heard)
}

const TRUSTED: &str = "tls_config: {ca_file: ca.pem}";

#[tokio::test]
async fn mails_arrive() {
    let starttls = Post {
        extensions: &["STARTTLS", "AUTH LOGIN PLAIN"],
        ..Post::default()
    };
    let (told, heard) = mail(starttls, TRUSTED).await;
    assert_eq!(told, Ok(()));
    let order = [
        "EHLO me",
        "STARTTLS",
        "EHLO me",
        "MAIL FROM:<obs@x>",
        "RCPT TO:<a@x>",
        "RCPT TO:<b@x>",
        "DATA",
        "Subject: [FIRING:1] A",
        "it burns",
        "\r\n.\r\n",
        "QUIT",
    ];
    let mut rest = heard.as_str();
    for part in order {
        let (_, after) = rest
            .split_once(part)
            .unwrap_or_else(|| panic!("{part}: {heard}"));
        rest = after;
    }
    let implicit = Post {
        implicit: true,
        ..Post::default()
    };
    let (told, _) = mail(implicit, &format!("force_implicit_tls: true, {TRUSTED}")).await;
    assert_eq!(told, Ok(()));
    let (told, heard) = mail(Post::default(), "require_tls: false").await;
    assert_eq!(told, Ok(()));
    assert!(!heard.contains("STARTTLS"), "{heard}");
}

#[tokio::test]
async fn mail_servers_know_us() {
    let check = async |mechanisms: &'static [&'static str], keys: &str, expect: &[&str]| {
        let how = Post {
            extensions: mechanisms,
            ..Post::default()
        };
        let keys = format!("require_tls: false, auth_username: user, {keys}");
        let (told, heard) = mail(how, &keys).await;
        assert_eq!(told, Ok(()), "{keys}: {heard}");
        for part in expect {
            assert!(heard.contains(part), "{part}: {heard}");
        }
    };
    // NUL user NUL word
    let plain = ["AUTH PLAIN AHVzZXIAd29yZA=="];
    check(&["AUTH PLAIN LOGIN"], "auth_password: word", &plain).await;
    check(&["AUTH PLAIN"], "auth_password_file: password", &plain).await;
    check(
        &["AUTH LOGIN PLAIN"],
        "auth_password: word",
        &["AUTH LOGIN", "dXNlcg==", "d29yZA=="],
    )
    .await;
    check(
        &["AUTH CRAM-MD5"],
        "auth_secret: word",
        &["AUTH CRAM-MD5\r\ndXNlciA"],
    )
    .await;
    let how = Post {
        extensions: &["AUTH GSSAPI"],
        ..Post::default()
    };
    let (told, _) = mail(
        how,
        "require_tls: false, auth_username: user, auth_password: w",
    )
    .await;
    let error = told.expect_err("there is no way in");
    assert!(
        error.reason.contains("unknown auth mechanism: GSSAPI"),
        "{error:?}"
    );
}

#[tokio::test]
async fn mails_that_are_not_taken_are_told_of() {
    let check = async |how: Post, keys: &str, expect: &str| {
        let (told, heard) = mail(how, keys).await;
        let error = told.expect_err(expect);
        assert!(
            error.retry && error.reason.contains(expect),
            "{error:?}: {heard}"
        );
    };
    let refusing = |command, answer| Post {
        refuses: Some((command, answer)),
        ..Post::default()
    };
    let plain = "require_tls: false";
    check(
        refusing("RCPT", "550 nobody"),
        plain,
        "send RCPT command: 550 nobody",
    )
    .await;
    check(
        refusing("DATA", "451 later"),
        plain,
        "send DATA command: 451 later",
    )
    .await;
    check(
        refusing("MAIL", "what"),
        plain,
        "expected an answer of SMTP",
    )
    .await;
    check(
        Post::default(),
        "require_tls: true",
        "does not advertise the STARTTLS extension",
    )
    .await;
    let starttls = Post {
        extensions: &["STARTTLS"],
        ..Post::default()
    };
    // Its authority is not known.
    check(starttls, "require_tls: true", "TLS").await;
    let wrong = "tls_config: {ca_file: ca.pem, server_name: other}";
    check(starttls, wrong, "TLS handshake failed").await;
    let (told, _) = mail(starttls, "tls_config: {insecure_skip_verify: true}").await;
    assert_eq!(told, Ok(()));
}
