//! Messages as real programs send them.

use proptest::prelude::*;

use super::*;

/// 2026-11-21T10:00:00Z
const NOW: Timestamp = Timestamp::from_seconds(1_795_255_200);

fn read_at(message: &[u8], now: Timestamp, hours: i64) -> String {
    let limits = Limits {
        metadata_max: 6,
        ..Limits::default()
    };
    let zone = |civil: Civil| Some(civil.utc()?.saturating_sub(hours * 3_600_000_000_000));
    let mut messages = Messages::new(Context {
        now,
        zone: &zone,
        limits: &limits,
    });
    messages.add(message, "10.0.0.1");
    let batch = messages.into_batch();
    let Some(stream) = batch.streams.first() else {
        return String::new();
    };
    let record = &stream.records[0];
    let get = |name: &str| stream.labels.get(name).unwrap_or("-").to_owned();
    format!(
        "{} {} {} {} {:?} {}",
        get("host"),
        get("app"),
        get("facility"),
        record.time,
        String::from_utf8_lossy(&record.line),
        record.metadata
    )
}

fn check(message: &str, expect: &str) {
    assert_eq!(read_at(message.as_bytes(), NOW, 0), expect, "{message}");
}

#[test]
fn rfc_5424() {
    check(
        "<34>1 2026-10-11T22:14:15.003Z mymachine.example.com su - ID47 - \u{feff}'su root' failed\n",
        r#"mymachine.example.com su auth 2026-10-11T22:14:15.003Z "'su root' failed" {msg_id="ID47", severity="critical"}"#,
    );
    check(
        r#"<165>1 2026-08-24T05:14:15.000003-07:00 192.0.2.1 myproc 8710 - [exampleSDID@32473 iut="3" eventSource="A \"b\" \\ \] \n"][examplePriority@32473 class="high"] text"#,
        r#"192.0.2.1 myproc local4 2026-08-24T12:14:15.000003Z "text" {examplePriority_32473_class="high", exampleSDID_32473_eventSource="A \"b\" \\ ] \\n", exampleSDID_32473_iut="3", proc_id="8710", severity="notice"}"#,
    );
    check(
        "<0>1 - - - - - -",
        r#"10.0.0.1 - kern 2026-11-21T10:00:00Z "" {severity="emergency"}"#,
    );
    check(
        "<14>1 - h a - - [flag] x",
        r#"h a user 2026-11-21T10:00:00Z "x" {flag="true", severity="informational"}"#,
    );
    // The format lets a parameter come more than once.
    check(
        r#"<14>1 - h a - - [i@1 ip="1" ip="2"] x"#,
        r#"h a user 2026-11-21T10:00:00Z "x" {i_1_ip="1", i_1_ip_2="2", severity="informational"}"#,
    );
    // Structured data that is none is text.
    check(
        "<14>1 - h a - - [not closed x",
        r#"h a user 2026-11-21T10:00:00Z "[not closed x" {severity="informational"}"#,
    );
    // More than fits stays in the line.
    let many = r#"<14>1 - h a - - [i a="1" b="2" c="3" d="4" e="5" f="6"] x"#;
    let expect = format!("h a user 2026-11-21T10:00:00Z {many:?} {{}}");
    check(many, &expect);
}

#[test]
fn rfc_3164() {
    check(
        "<34>Oct 11 22:14:15 mymachine su: 'su root' failed for lonvick",
        r#"mymachine su auth 2026-10-11T22:14:15Z "'su root' failed for lonvick" {severity="critical"}"#,
    );
    check(
        "<13>Nov  1 02:03:04 host sshd[42]: x: y",
        r#"host sshd user 2026-11-01T02:03:04Z "x: y" {proc_id="42", severity="notice"}"#,
    );
    // No host, as local programs send it.
    check(
        "<13>Nov  1 02:03:04 cron[7]: x",
        r#"10.0.0.1 cron user 2026-11-01T02:03:04Z "x" {proc_id="7", severity="notice"}"#,
    );
    // ISO 8601, as rsyslog and newer programs send it.
    check(
        "<13>2026-11-01T02:03:04.5+01:00 host app: x",
        r#"host app user 2026-11-01T01:03:04.500Z "x" {severity="notice"}"#,
    );
    // Routers: a year, fractions, a counter.
    check(
        "<189>Nov 21 2026 09:00:00.123: %SYS-5-CONFIG_I: Configured",
        r#"10.0.0.1 - local7 2026-11-21T09:00:00.123Z "%SYS-5-CONFIG_I: Configured" {severity="notice"}"#,
    );
    check(
        "<13>Nov 21 09:00:00 2025 host app: x",
        r#"host app user 2025-11-21T09:00:00Z "x" {severity="notice"}"#,
    );
    // No tag: the line is all that is left.
    check(
        "<13>Nov 21 09:00:00 host CEF:0|V|P|1|x",
        r#"host - user 2026-11-21T09:00:00Z "CEF:0|V|P|1|x" {severity="notice"}"#,
    );
}

#[test]
fn no_header() {
    // Python's SysLogHandler.
    check(
        "<14>Error: it failed\0",
        r#"10.0.0.1 - user 2026-11-21T10:00:00Z "Error: it failed" {severity="informational"}"#,
    );
    check(
        "<14>app[3]: it",
        r#"10.0.0.1 app user 2026-11-21T10:00:00Z "it" {proc_id="3", severity="informational"}"#,
    );
    check(
        "plain words",
        r#"10.0.0.1 - - 2026-11-21T10:00:00Z "plain words" {}"#,
    );
    check("<999>x", r#"10.0.0.1 - - 2026-11-21T10:00:00Z "<999>x" {}"#);
    check("", "");
    check("\r\n", "");
}

#[test]
fn years_and_zones() {
    let time = |message: &str, now: &str, hours: i64| {
        let read = read_at(message.as_bytes(), parse_rfc3339(now).unwrap(), hours);
        read.split(' ').nth(3).unwrap().to_owned()
    };
    let late = "<13>Dec 31 23:59:59 h a: x";
    let early = "<13>Jan  1 00:00:01 h a: x";
    let leap = "<13>Feb 29 00:00:00 h a: x";
    assert_eq!(
        time(late, "2026-01-01T00:00:05Z", 0),
        "2025-12-31T23:59:59Z"
    );
    assert_eq!(
        time(early, "2025-12-31T23:59:55Z", 0),
        "2026-01-01T00:00:01Z"
    );
    assert_eq!(
        time(early, "2026-06-01T00:00:00Z", 1),
        "2025-12-31T23:00:01Z"
    );
    assert_eq!(
        time(leap, "2028-03-01T00:00:00Z", 0),
        "2028-02-29T00:00:00Z"
    );
    let iso = "<13>2026-11-01T02:03:04 h a: x";
    assert_eq!(time(iso, "2026-11-21T10:00:00Z", 2), "2026-11-01T00:03:04Z");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn any_message_becomes_a_record(
        bytes in proptest::collection::vec(any::<u8>(), 1..120),
        head in "(<[0-9]{0,4}>)?(1 )?((Nov|Jan|Feb) [ 0-9]{2} [0-9:.]{8,12} |[0-9T:.Z+-]{0,26} )?[a-z\\[\\]0-9: =\"\\\\-]{0,30}",
    ) {
        let whole = [head.as_bytes(), &bytes].concat();
        let _read = read_at(&bytes, NOW, 0);
        let read = read_at(&whole, NOW, 0);
        prop_assert!(!read.is_empty() || trimmed(&whole).is_empty());
    }

    #[test]
    fn well_formed_messages_come_back(
        priority in 0u8..192,
        host in "[a-z][a-z0-9.-]{0,20}",
        app in "[a-z][a-zA-Z0-9_-]{0,20}",
        text in "[^\\x00-\\x1f\u{feff}]{1,40}",
    ) {
        let message = format!("<{priority}>1 2026-11-21T10:00:00Z {host} {app} - - - {text}");
        let read = read_at(message.as_bytes(), Timestamp::default(), 0);
        let facility = FACILITIES[usize::from(priority / 8)];
        let severity = SEVERITIES[usize::from(priority % 8)];
        let expect = format!("{host} {app} {facility} 2026-11-21T10:00:00Z {text:?} {{severity=\"{severity}\"}}");
        prop_assert_eq!(read, expect);
    }
}
