//! Lines of every form, and arbitrary ones.

use proptest::prelude::*;

use super::*;

fn parser(yaml: &str) -> Parser {
    let config: ParserConfig = serde_yaml_ng::from_str(yaml).expect("a parser");
    Parser::new(config).expect("compiles").expect("not none")
}

fn now() -> Timestamp {
    parse_rfc3339("2026-11-22T00:00:00Z").expect("a time")
}

/// Time, level, message and fields as `a=b`.
fn check(yaml: &str, line: &str, expect: Option<(&str, &str, &str, &str)>) {
    let found = parser(yaml).parse(line.as_bytes(), now(), &Limits::default());
    let shown = found.map(|p| {
        let time = p.time.map_or(String::new(), |t| t.to_string());
        let message = p
            .message
            .map_or(String::new(), |m| String::from_utf8_lossy(&m).into_owned());
        let fields: Vec<String> = p.fields.iter().map(|(n, v)| format!("{n}={v}")).collect();
        (
            time,
            p.level.unwrap_or("").to_owned(),
            message,
            fields.join(" "),
        )
    });
    let expect =
        expect.map(|(t, l, m, f)| (t.to_owned(), l.to_owned(), m.to_owned(), f.to_owned()));
    assert_eq!(shown, expect, "{line}");
}

#[test]
fn named_values() {
    check(
        "{type: json, time: ts, fields: [user, http.status], message: msg}",
        r#"{"ts":"2026-11-21T10:00:00Z","level":"WARNING","msg":"hi","user":"bob","http":{"status":200},"trace_id":"ab"}"#,
        Some((
            "2026-11-21T10:00:00Z",
            "warn",
            "hi",
            "trace_id=ab user=bob http_status=200",
        )),
    );
    check(
        "{type: json, time: ts, time_format: unix_ms}",
        r#"{"ts":1763719200500,"lvl":30}"#,
        Some(("2025-11-21T10:00:00.500Z", "info", "", "")),
    );
    check("json", "not json", None);
    check("json", r#"{"a":"#, None);
    check(
        "{type: logfmt, time: t, fields: [msg, n]}",
        r#"t=1763719200.25 level=error msg="a \"b\"" n=7 flag"#,
        Some(("2025-11-21T10:00:00.250Z", "error", "", "msg=a \"b\" n=7")),
    );
    check("logfmt", "just words", None);
}

#[test]
fn known_forms() {
    check(
        "klog",
        "W1121 12:34:56.789012   12 main.go:7] \"x\" a=1",
        Some((
            "2026-11-21T12:34:56.789012Z",
            "warn",
            "",
            "thread=12 source=main.go:7",
        )),
    );
    check(
        "klog",
        "I1231 12:34:56.789012   12 main.go:7] x",
        Some((
            "2025-12-31T12:34:56.789012Z",
            "info",
            "",
            "thread=12 source=main.go:7",
        )),
    );
    check("klog", "Info: not klog] x", None);
    check(
        "combined",
        r#"10.0.0.1 - - [21/Nov/2026:12:34:56 +0100] "GET /a?b=c HTTP/1.1" 503 12 "-" "curl/8""#,
        Some((
            "2026-11-21T11:34:56Z",
            "error",
            "",
            "remote_addr=10.0.0.1 method=GET path=/a?b=c protocol=HTTP/1.1 status=503 bytes=12 user_agent=curl/8",
        )),
    );
    check(
        "envoy",
        r#"[2026-11-21T12:00:00.000Z] "GET /x HTTP/2" 200 - 0 5 3 2 "-" "curl" "id-1" "host" "10.0.0.1:80""#,
        Some((
            "2026-11-21T12:00:00Z",
            "info",
            "",
            "method=GET path=/x protocol=HTTP/2 status=200 bytes_received=0 bytes_sent=5 duration=3 upstream_service_time=2 user_agent=curl request_id=id-1 authority=host upstream_host=10.0.0.1:80",
        )),
    );
    check(
        "{type: regex, pattern: '^(?P<level>\\w+) (?P<time>\\S+) (?P<user>\\w+): (?P<rest>.*)$', message: rest}",
        "ERR 2026-11-21T12:00:00Z bob: did it",
        Some(("2026-11-21T12:00:00Z", "error", "did it", "user=bob")),
    );
    check(
        "kubernetes_audit",
        r#"{"kind":"Event","auditID":"1","stage":"ResponseComplete","verb":"get","user":{"username":"u"},"objectRef":{"resource":"pods","namespace":"n"},"responseStatus":{"code":403},"stageTimestamp":"2026-11-21T12:00:00.000001Z"}"#,
        Some((
            "2026-11-21T12:00:00.000001Z",
            "warn",
            "",
            "audit_id=1 stage=ResponseComplete verb=get user=u resource=pods namespace=n code=403",
        )),
    );
    let syslog = parser("syslog").parse(
        b"<11>Nov 21 12:34:56 host app[7]: failed",
        now(),
        &Limits::default(),
    );
    let syslog = syslog.expect("parsed");
    assert_eq!(syslog.time, parse_rfc3339("2026-11-21T12:34:56Z"));
    assert!(
        syslog
            .fields
            .contains(&("host".to_owned(), "host".to_owned())),
        "{syslog:?}"
    );
}

#[test]
fn levels_in_lines() {
    let check = |line: &str, expect| assert_eq!(detect_level(line.as_bytes()), expect, "{line}");
    check("2026 [ERROR] x", Some("error"));
    check("level=warning msg", Some("warn"));
    check("terror and informer", None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn arbitrary_lines(line in proptest::collection::vec(any::<u8>(), 0..120), near in "[IWE{\\[<\"= :./0-9a-z\\]}]{0,80}") {
        for yaml in ["json", "logfmt", "klog", "syslog", "combined", "envoy", "kubernetes_audit"] {
            let parser = parser(yaml);
            for line in [&line[..], near.as_bytes()] {
                let parsed = parser.parse(line, now(), &Limits::default());
                prop_assert!(parsed.is_none_or(|p| p.fields.len() <= FIELDS_MAX));
            }
        }
    }
}
