//! What each detector finds and what it leaves; arbitrary texts; whole batches.

use obs_model::spans::{ResourceSpans, ScopeSpans, Span, SpanEvent};
use obs_model::{LogRecord, Timestamp};
use proptest::prelude::*;

use super::*;

fn redactor(yaml: &str) -> Redactor {
    let config: RedactionConfig = serde_yaml_ng::from_str(yaml).expect("a configuration");
    Redactor::new(&config).expect("a redactor")
}

fn redacted(by: &Redactor, text: &str) -> String {
    let out = by.text(text.as_bytes());
    let out = out.unwrap_or_else(|| text.as_bytes().to_vec());
    String::from_utf8(out).expect("text")
}

/// `{…}` in the text marks what goes, and by whom.
fn check(text: &str) {
    let by = redactor("{}");
    let (mut plain, mut expect, mut rest) = (String::new(), String::new(), text);
    while let Some((before, after)) = rest.split_once("⟦") {
        let (secret, after) = after.split_once("⟧").expect("an end");
        let (kind, secret) = secret.split_once('|').expect("a kind");
        plain = plain + before + secret;
        expect = expect + before + "[REDACTED:" + kind + "]";
        rest = after;
    }
    assert_eq!(
        redacted(&by, &(plain.clone() + rest)),
        expect + rest,
        "{plain}{rest}"
    );
}

#[test]
fn secrets_go() {
    check("Authorization: Bearer ⟦key_value|abc.DEF-123_x⟧ done");
    check("sent bearer ⟦authorization|abcDEF123456⟧, ok");
    check("header Basic ⟦authorization|dXNlcjpwYXNzd29yZA==⟧ sent");
    check("key ⟦cloud_key|AKIAIOSFODNN7EXAMPLE⟧ used");
    check("⟦cloud_key|ghp_abcdefghijklmnopqrstuvwxyz0123456789⟧");
    check("slack ⟦cloud_key|xoxb-123456789012-abcdefghij⟧");
    check("jwt ⟦jwt|eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.abcDEF_-123⟧ end");
    check("postgres://app:⟦url_password|s3cr3t!⟧@db:5432/x");
    check("redis://:⟦url_password|hunter2⟧@cache/0");
    check("password=⟦key_value|hunter2⟧ user=bob");
    check("PASSWORD: ⟦key_value|hunter2⟧");
    check(r#"{"user":"bob","password":"⟦key_value|hun \"ter2⟧","a":1}"#);
    check(r#"{"log":"{\"db_password\":\"⟦key_value|hunter2⟧\",\"b\":1}"}"#);
    check("url?api_key=⟦key_value|abc123⟧&x=1");
    check("client_secret='⟦key_value|a b c⟧' next");
    check("aws_secret_access_key = ⟦key_value|wJalrXUtnFEMI/K7MDENG⟧");
    check("AccountKey=⟦key_value|abc==⟧;EndpointSuffix=x");
    check("mail from ⟦email|bob.b+x@example.co.uk⟧, then");
    check("card ⟦card_number|4111 1111 1111 1111⟧ ok");
    check("card ⟦card_number|4111111111111111⟧.");
    check("card=⟦card_number|5500-0000-0000-0004⟧");
    check(
        "-----BEGIN RSA PRIVATE KEY-----⟦private_key|\nMIIE\nabc\n⟧-----END RSA PRIVATE KEY-----",
    );
}

#[test]
fn everything_else_stays() {
    check("the bearer of this letter; basic training; tokens=153 max_tokens: 12");
    check("secretary=anna tokenizer: fast access_key_id_count=2");
    check("2026-11-21T12:00:00.123456789Z GET http://host:80/a?b=c 200 1234567890123");
    check("order 4111 1111 1111 1112 and id 1732191234567890123");
    check("user@host said @all a@b");
    check("password= user=x, \"password\":null, token: ***");
    check("-----BEGIN CERTIFICATE-----\nMIIE\n-----END CERTIFICATE-----");
    check("eyJ eyJhbc.def AKIA short ghp_x");
    check("at com.example.Main(Main.java:10) 10.0.0.1");
}

#[test]
fn addresses_where_wanted() {
    let by = redactor("builtin: [ip]");
    let check = |text: &str, expect: &str| assert_eq!(redacted(&by, text), expect);
    check(
        "from 10.0.0.1:8080 to fe80::1, v1.2.3.4x",
        "from [REDACTED:ip]:8080 to [REDACTED:ip], v1.2.3.4x",
    );
    check("at 12:30:45 1.2.3", "at 12:30:45 1.2.3");
}

#[test]
fn rules_of_the_user() {
    let by = redactor(
        "{builtin: false, rules: [{name: badge, pattern: 'badge-(\\d)\\d+', replacement: 'badge-$1*'}, \
         {name: ssn, pattern: '\\d{3}-\\d{2}-\\d{4}'}, {name: tenant, names: '^customer$'}]}",
    );
    assert_eq!(
        redacted(&by, "badge-123 123-45-6789"),
        "badge-1* [REDACTED:ssn]"
    );
    let mut labels = Labels::from_pairs([("customer", "acme"), ("a", "b")]);
    by.shared().labels(&mut labels);
    assert_eq!(labels.get("customer"), Some("[REDACTED:tenant]"));
    assert_eq!(labels.get("a"), Some("b"));
    let families = by.families();
    let total: f64 = families[0].points.iter().map(|p| p.value).sum();
    assert_eq!(total, 3.0);
}

fn record(line: &str, metadata: &Labels) -> LogRecord {
    LogRecord {
        time: Timestamp::from_seconds(1),
        line: line.as_bytes().to_vec(),
        metadata: metadata.clone(),
    }
}

#[test]
fn batches_of_all_signals() {
    let by = redactor("{}");
    let metadata = Labels::from_pairs([("user", "bob@example.com"), ("session_token", "abc")]);
    let mut batch = LogBatch {
        streams: vec![LogStream {
            labels: Labels::from_pairs([("app", "x"), ("owner", "a@example.org")]),
            records: vec![record("password=abc", &metadata), record("ok", &metadata)],
        }],
    };
    by.logs(&Tenant::anonymous(), &mut batch).taken();
    let shown = format!("{batch:?}");
    assert!(
        !shown.contains("example") && !shown.contains("abc"),
        "{shown}"
    );
    let mut spans = SpanBatch {
        resources: vec![ResourceSpans {
            scopes: vec![ScopeSpans {
                spans: vec![Span {
                    name: "GET /x?token=abcdef".into(),
                    attributes: vec![
                        Attribute::string("http.request.header.authorization", "abcdef"),
                        Attribute::string("url.full", "http://u:abcdef@h/"),
                    ],
                    events: vec![SpanEvent {
                        attributes: vec![Attribute::string("exception.message", "pwd: abcdef")],
                        ..SpanEvent::default()
                    }],
                    ..Span::default()
                }],
                ..ScopeSpans::default()
            }],
            ..ResourceSpans::default()
        }],
    };
    by.spans(&mut spans);
    let shown = format!("{spans:?}");
    assert!(!shown.contains("abcdef"), "{shown}");
    assert!(shown.contains("[REDACTED:url_password]"), "{shown}");
}

#[test]
fn a_private_key_over_many_lines_and_batches() {
    let by = redactor("{}");
    let run = |lines: &[&str]| {
        let mut batch = LogBatch {
            streams: vec![LogStream {
                labels: Labels::from_pairs([("app", "x")]),
                records: lines.iter().map(|l| record(l, &Labels::empty())).collect(),
            }],
        };
        by.logs(&Tenant::anonymous(), &mut batch).taken();
        let records = batch.streams.remove(0).records.into_iter();
        let lines: Vec<String> = records
            .map(|r| String::from_utf8(r.line).expect("text"))
            .collect();
        lines
    };
    let first = run(&["-----BEGIN PRIVATE KEY-----", "MIIEvQIBADANBg"]);
    assert_eq!(
        first,
        [
            "-----BEGIN PRIVATE KEY-----[REDACTED:private_key]",
            "[REDACTED:private_key]"
        ]
    );
    let second = run(&["kqhkiG9w0BAQEF", "-----END PRIVATE KEY-----", "plain"]);
    assert_eq!(
        second,
        [
            "[REDACTED:private_key]",
            "-----END PRIVATE KEY-----",
            "plain"
        ]
    );
    assert_eq!(run(&["kqhkiG9w0BAQEF"]), ["kqhkiG9w0BAQEF"]);
    // A key whose begin was before this process: its end tells.
    assert_eq!(
        run(&["a line", "kqhkiG9w0BAQEF", "-----END PRIVATE KEY-----"]),
        [
            "a line",
            "[REDACTED:private_key]",
            "-----END PRIVATE KEY-----"
        ]
    );
}

fn streams(all: &[(&str, &[&str])]) -> LogBatch {
    let stream = |(app, lines): &(&str, &[&str])| LogStream {
        labels: Labels::from_pairs([("app", *app)]),
        records: lines.iter().map(|l| record(l, &Labels::empty())).collect(),
    };
    LogBatch {
        streams: all.iter().map(stream).collect(),
    }
}

const BEGIN: &str = "-----BEGIN PRIVATE KEY-----";
const KEY: &str = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASC";
const END: &str = "-----END PRIVATE KEY-----";
const GONE: &str = "[REDACTED:private_key]";

/// Lines of a stream behind redaction.
fn lines_of(batch: &LogBatch, app: &str) -> Vec<String> {
    let own = batch.streams.iter();
    let own = own.filter(|s| s.labels.get("app") == Some(app));
    let records = own.flat_map(|s| &s.records);
    records
        .map(|r| String::from_utf8_lossy(&r.line).into_owned())
        .collect()
}

#[test]
fn keys_are_of_one_tenant_and_of_all_streams_with_these_labels() {
    let by = redactor("{}");
    let other = Tenant::new("other").expect("a tenant");
    // Its end is in another part of the same stream, its begin was in no part.
    let mut batch = streams(&[
        ("a", &["a line", KEY]),
        ("b", &[KEY]),
        ("a", &[KEY, END, KEY]),
    ]);
    by.logs(&other, &mut batch).taken();
    assert_eq!(lines_of(&batch, "a"), ["a line", GONE, GONE, END, KEY]);
    assert_eq!(lines_of(&batch, "b"), [KEY]);
    let mut batch = streams(&[("a", &[BEGIN]), ("a", &[KEY]), ("a", &[END, KEY])]);
    by.logs(&other, &mut batch).taken();
    let begun = format!("{BEGIN}{GONE}");
    assert_eq!(lines_of(&batch, "a"), [&begun, GONE, END, KEY]);
    // What is open of one tenant is none of the others'.
    by.logs(&other, &mut streams(&[("a", &[BEGIN])])).taken();
    for (tenant, expect) in [(Tenant::anonymous(), KEY), (other, GONE)] {
        let mut batch = streams(&[("a", &[KEY])]);
        by.logs(&tenant, &mut batch).taken();
        assert_eq!(lines_of(&batch, "a"), [expect], "{tenant:?}");
    }
}

#[test]
fn a_key_that_begins_inside_of_another_is_open() {
    let by = redactor("{}");
    let mut batch = streams(&[("a", &[BEGIN, KEY, BEGIN, KEY, END, KEY])]);
    by.logs(&Tenant::anonymous(), &mut batch).taken();
    let begun = format!("{BEGIN}{GONE}");
    assert_eq!(
        lines_of(&batch, "a"),
        [&begun, GONE, &begun, GONE, END, KEY]
    );
}

#[test]
fn what_is_looked_for_changes_and_what_is_counted_goes_on() {
    let folder = tempfile::tempdir().expect("a folder");
    let by = Redactor::remembering(folder.path().join("redaction.keys"));
    let clone = by.clone();
    assert!(!by.is_on() && by.families().is_empty());
    assert_eq!(by.text(b"password=hunter2"), None);
    let config: RedactionConfig = serde_yaml_ng::from_str("{}").expect("a configuration");
    for _ in 0..2 {
        by.take(by.next(Some(&config)).expect("it compiles"));
        assert_eq!(
            redacted(&clone, "password=hunter2"),
            "password=[REDACTED:key_value]"
        );
    }
    let found = &by.families()[0].points;
    assert_eq!(found.iter().map(|p| p.value).sum::<f64>(), 2.0);
    by.take(by.next(None).expect("nothing"));
    assert_eq!(clone.text(b"password=hunter2"), None);
}

#[test]
fn help_texts_and_units() {
    let by = redactor("{}");
    let mut batch = MetricBatch {
        metadata: vec![obs_model::metrics::Metadata {
            family: "a".to_owned(),
            kind: MetricKind::Gauge,
            unit: "bob@example.com".to_owned(),
            help: "see https://u:abcdef@h/ with token=abcdef".to_owned(),
        }],
        ..MetricBatch::default()
    };
    by.metrics(&mut batch);
    let shown = format!("{:?}", batch.metadata);
    let clean = !shown.contains("abcdef") && !shown.contains("example");
    assert!(clean && shown.contains("[REDACTED:"), "{shown}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn arbitrary_bytes_and_stable_results(text in proptest::collection::vec(any::<u8>(), 0..300)) {
        let by = redactor("{builtin: [authorization, cloud_key, jwt, private_key, url_password, key_value, email, card_number, ip]}");
        let same = by.text(&text) == by.text(&text);
        prop_assert!(same);
    }

    #[test]
    fn secrets_in_any_surroundings(before in "[ -~]{0,40}", after in "[ -~]{0,40}", key in "(password|api_key|token)") {
        let by = redactor("{}");
        let text = format!("{before} {key}=Zq7Zq7Zq7Z {after}");
        prop_assert!(!redacted(&by, &text).contains("Zq7Zq7Zq7Z"), "{}", text);
    }

    #[test]
    fn nearly_secrets_do_not_panic(text in "(eyJ|AKIA|Basic |://|@|password|[:=\"\\\\ .a1-]|-----BEGIN |4111 ){0,30}") {
        let by = redactor("{}");
        if let Some(out) = by.text(text.as_bytes()) {
            prop_assert!(memchr::memmem::find(&out, b"[REDACTED:").is_some());
        }
    }
}
