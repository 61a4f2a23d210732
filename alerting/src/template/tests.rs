//! What texts become, by Prometheus' documentation of its functions.

use super::*;

fn expand(text: &str) -> String {
    let surroundings = Surroundings {
        external_labels: Labels::from_pairs([("cluster", "a")]),
        external_url: "http://obs.example:9090/sub".to_owned(),
    };
    let labels = Labels::from_pairs([("__name__", "up"), ("instance", "[::1]:9100"), ("job", "n")]);
    let element = Element {
        labels: &labels,
        value: 0.959,
        now: Timestamp::from_seconds(1_643_114_203),
    };
    let asking = |query: &str| match query {
        "up" => Ok(vec![
            Asked {
                labels: Labels::from_pairs([("instance", "b")]),
                value: 2.0,
            },
            Asked {
                labels: Labels::from_pairs([("instance", "a")]),
                value: 1.5,
            },
        ]),
        "none" => Ok(Vec::new()),
        other => Err(format!("unknown {other}")),
    };
    Text::new("High", text).expand(&element, &surroundings, &asking)
}

#[test]
fn texts_are_expanded() {
    let cases = [
        ("plain", "plain"),
        (
            "{{ $labels.job }} {{ .Labels.instance }} {{ $value }}",
            "n [::1]:9100 0.959",
        ),
        ("{{ $labels.missing }}|{{ $externalLabels.cluster }}", "|a"),
        (
            "{{ $externalURL }}{{ pathPrefix }} {{ externalURL }}",
            "http://obs.example:9090/sub/sub http://obs.example:9090/sub",
        ),
        ("{{ humanize 1048576.0 }}", "1.049M"),
        (
            "{{ humanize 0.001234 }} {{ humanize 999.0 }} {{ humanize 0.0 }}",
            "1.234m 999 0",
        ),
        (
            "{{ humanize1024 1048576.0 }} {{ humanize1024 0.5 }}",
            "1Mi 0.5",
        ),
        ("{{ humanizeDuration 135.3563 }}", "2m 15s"),
        (
            "{{ humanizeDuration 0.01 }} {{ humanizeDuration 1.5 }} {{ humanizeDuration 90061.0 }}",
            "10ms 1.5s 1d 1h 1m 1s",
        ),
        (
            "{{ humanizeDuration -65.0 }} {{ humanizeDuration 0.0 }} {{ humanizeDuration \"60\" }}",
            "-1m 5s 0s 1m 0s",
        ),
        ("{{ $value | humanizePercentage }}", "95.9%"),
        (
            "{{ humanizeTimestamp 1643114203.0 }}",
            "2022-01-25 12:36:43 +0000 UTC",
        ),
        ("{{ (toTime 1643114203.0).Format \"15:04\" }}", "12:36"),
        ("{{ toDuration 3661.5 }}", "1h1m1.5s"),
        ("{{ parseDuration \"2h10m15s\" }}", "7815"),
        ("{{ now }}", "1.643114203e+09"),
        (
            "{{ stripPort $labels.instance }} {{ stripPort \"a:80\" }} {{ stripPort \"a\" }}",
            "::1 a a",
        ),
        (
            "{{ stripDomain \"a.b.c:80\" }} {{ stripDomain \"10.0.0.1:80\" }}",
            "a:80 10.0.0.1:80",
        ),
        (
            "{{ title \"ab cd\" }} {{ toUpper \"a\" }} {{ toLower \"B\" }}",
            "Ab Cd A b",
        ),
        (
            "{{ match \"^a.c$\" \"abc\" }} {{ reReplaceAll \"(b)\" \"<$1>\" \"abc\" }}",
            "true a<b>c",
        ),
        (
            "{{ graphLink \"up == 0\" }}",
            "/graph?g0.expr=up+%3D%3D+0&g0.tab=0",
        ),
        ("{{ tableLink \"up\" }}", "/graph?g0.expr=up&g0.tab=1"),
        ("{{ urlQueryEscape \"a b&c\" }}", "a+b%26c"),
        ("{{ query \"up\" | first | value }}", "2"),
        ("{{ query \"up\" | first | label \"instance\" }}", "b"),
        (
            "{{ range query \"up\" | sortByLabel \"instance\" }}{{ .Labels.instance }}={{ .Value }};{{ end }}",
            "a=1.5;b=2;",
        ),
        (
            "{{ with query \"none\" }}some{{ else }}nothing{{ end }}",
            "nothing",
        ),
        (
            "{{ define \"x\" }}<{{ .arg0 }}-{{ .arg1 }}>{{ end }}{{ template \"x\" (args 1 \"b\") }}",
            "<1-b>",
        ),
        ("{{ if gt $value 0.5 }}high{{ end }}", "high"),
        ("{{ printf \"%.1f\" $value }}", "1.0"),
    ];
    for (text, expect) in cases {
        assert_eq!(expand(text), expect, "{text}");
    }
}

/// A text that fails names why, and the rule goes on.
#[test]
fn faults_are_told_in_the_text() {
    let cases = [
        (
            "{{ query \"none\" | first }}",
            "first() called on vector with no elements",
        ),
        ("{{ query \"boom\" }}", "unknown boom"),
        ("{{ nosuch }}", "function \"nosuch\" not defined"),
        ("{{ range $i := 5 }}", "error parsing template"),
        ("{{ humanize \"x\" }}", "invalid syntax"),
        ("{{ reReplaceAll \"(\" \"\" \"\" }}", "error parsing regexp"),
        ("{{ toDuration 1e300 }}", "cannot be represented"),
    ];
    for (text, expect) in cases {
        let found = expand(text);
        assert!(
            found.starts_with("<error expanding template: error ") && found.contains(expect),
            "{text}: {found}"
        );
    }
    assert!(check("High", "{{ nosuch }}").is_err());
    assert_eq!(check("High", "{{ $labels.a }}"), Ok(()));
}

/// What would write or run without end is cut off.
#[test]
fn hostile_templates_end() {
    let doubling = "{{ define \"x\" }}{{ template \"x\" . }}{{ end }}{{ template \"x\" . }}";
    assert!(
        expand(doubling).contains("error expanding"),
        "endless recursion"
    );
    let wide = format!(
        "{{{{ $a := \"{}\" }}}}{}",
        "y".repeat(1000),
        "{{ printf \"%s\" $a }}".repeat(2000)
    );
    assert!(expand(&wide).contains("error expanding"), "too much output");
}
