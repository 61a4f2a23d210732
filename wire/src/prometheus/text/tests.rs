//! The text format: tables, round trips, hostile bytes.

use expect_test::{Expect, expect};
use obs_model::Labels;
use proptest::prelude::*;

use super::*;

fn print(exposition: &Exposition) -> String {
    let mut out = String::new();
    for sample in &exposition.samples {
        out.push_str(&format!("{} {:?}", sample.labels, sample.value));
        if let Some(time) = sample.time {
            out.push_str(&format!(" @{}", time.nanos()));
        }
        out.push('\n');
    }
    for m in &exposition.metadata {
        out.push_str(&format!(
            "# {} {} {:?}\n",
            m.family,
            m.kind.as_str(),
            m.help
        ));
    }
    out
}

fn check(text: &str, expect: Expect) {
    let result = decode(text.as_bytes(), &Limits::default());
    expect.assert_eq(&result.map_or_else(|error| error.to_string(), |e| print(&e)));
}

#[test]
fn good_lines() {
    check(
        "# HELP go_gc A summary\\\\ of\\n\"pauses\".\n# TYPE go_gc summary\n\
         go_gc{quantile=\"0\"} 4.9351e-05\n\
         go_gc{quantile=\"0.25\",} 7.424100000000001e-05\n\
         go_gc { quantile = \"0.5\" , a = \"b\" } 8.3e-05 1520879607789\n\
         # TYPE empty gauge\n# HELP nohelp\n#TYPE ignored\n# a comment\n\
         \n  a:b\t1\n_x NaN -1\ny +Inf\nz -Inf",
        expect![[r#"
            {__name__="go_gc", quantile="0"} 4.9351e-5
            {__name__="go_gc", quantile="0.25"} 7.424100000000001e-5
            {__name__="go_gc", a="b", quantile="0.5"} 8.3e-5 @1520879607789000000
            {__name__="a:b"} 1.0
            {__name__="_x"} NaN @-1000000
            {__name__="y"} inf
            {__name__="z"} -inf
            # go_gc summary "A summary\\ of\n\"pauses\"."
            # empty gauge ""
            # nohelp unknown ""
        "#]],
    );
    check(
        "# TYPE \"a.b\" counter\n{\"a.b\",\"l.x\"=\"v\\\"\\\\\\n\",empty=\"\"} 1\n{__name__=\"c\"} 2\n",
        expect![[r#"
            {__name__="a.b", "l.x"="v\"\\\n"} 1.0
            {__name__="c"} 2.0
            # a.b counter ""
        "#]],
    );
}

#[test]
fn odd_but_good_lines() {
    check(
        r#"
# Escaping in label values:
msdos_file_access_time_seconds{path="C:\\DIR\\FILE.TXT",error="Cannot find file:\n\"FILE.TXT\""} 1.458255915e9

metric_without_timestamp_and_labels 12.47
something_weird{problem="division by zero"} +Inf -3982045
none{} 0
Upper{A="1",__b="2"}1
"#,
        expect![[r#"
            {__name__="msdos_file_access_time_seconds", error="Cannot find file:\n\"FILE.TXT\"", path="C:\\DIR\\FILE.TXT"} 1458255915.0
            {__name__="metric_without_timestamp_and_labels"} 12.47
            {__name__="something_weird", problem="division by zero"} inf @-3982045000000
            {__name__="none"} 0.0
            {A="1", __b="2", __name__="Upper"} 1.0
        "#]],
    );
}

#[test]
fn faults_have_line_and_column() {
    let at = |text: &str, expect: Expect| check(text, expect);
    at(
        "a 1\nb",
        expect![[r#"prometheus text is malformed at 2:2: expected a number, found the end"#]],
    );
    at(
        "a 1 x\n",
        expect![[
            r#"prometheus text is malformed at 1:5: expected a timestamp in milliseconds, found "x""#
        ]],
    );
    at(
        "a 1 1 1\n",
        expect![[
            r#"prometheus text is malformed at 1:7: expected the end of the line, found "1""#
        ]],
    );
    at(
        "a 0x1p3\n",
        expect![[r#"prometheus text is malformed at 1:3: expected a number, found "0x1p3""#]],
    );
    at(
        "a{b=\"c\",b=\"d\"} 1\n",
        expect![[
            r#"prometheus text is malformed at 1:1: expected label names once each, found "b" twice, found "a{b=\"c\",b=\"d\"}""#
        ]],
    );
    at(
        "a{b=c} 1\n",
        expect![[
            r#"prometheus text is malformed at 1:5: expected a string in double quotes, found "c}""#
        ]],
    );
    at(
        "a{b=\"c\n",
        expect![[
            r#"prometheus text is malformed at 1:5: expected a string that is closed, found "\"c""#
        ]],
    );
    at(
        "a{1=\"c\"} 1\n",
        expect![[
            r#"prometheus text is malformed at 1:3: expected a label name or "}", found "1=\"c\"}""#
        ]],
    );
    at(
        "{b=\"c\"} 1\n",
        expect![[
            r#"prometheus text is malformed at 1:1: expected a metric name, found "{b=\"c\"}""#
        ]],
    );
    at(
        "a{\"b\"} 1\n",
        expect![[
            r#"prometheus text is malformed at 1:1: expected one metric name, not two, found "a{\"b\"}""#
        ]],
    );
    at(
        "# TYPE a x\n",
        expect![[
            r#"prometheus text is malformed at 1:10: expected a metric type such as counter or gauge, found "x""#
        ]],
    );
    at(
        "a 1 9223372036854775807\n",
        expect![[
            r#"prometheus text is malformed at 1:5: expected a timestamp in milliseconds, found "9223372036854775807""#
        ]],
    );
    at(
        "é 1\n",
        expect![[r#"prometheus text is malformed at 1:1: expected a metric name, found "é""#]],
    );
}

#[test]
fn limits_are_named() {
    let limits = Limits {
        labels_max: 1,
        label_name_bytes_max: 8,
        label_value_bytes_max: 4,
        decompressed_bytes_max: 40,
        ..Limits::default()
    };
    let limit = |text: &str| match decode(text.as_bytes(), &limits) {
        Err(WireError::TooLarge { limit, .. }) => limit,
        other => panic!("{text}: {other:?}"),
    };
    assert!(decode(b"abcd{b=\"1234\"} 1", &limits).is_ok());
    assert_eq!(limit("abcd{b=\"1234\",c=\"1\"} 1"), "labels_max");
    assert_eq!(limit("abcd{b23456789=\"1\"} 1"), "label_name_bytes_max");
    assert_eq!(limit("abcd{b=\"12345\"} 1"), "label_value_bytes_max");
    assert_eq!(limit("abcde 1"), "label_value_bytes_max");
    assert_eq!(limit("# HELP abcde 1"), "label_value_bytes_max");
    assert_eq!(limit(&"a 1\n".repeat(11)), "decompressed_bytes_max");
}

#[test]
fn bytes_that_are_not_text() {
    let error = decode(b"a 1\nb{c=\"\xff\"} 1", &Limits::default()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "prometheus text is malformed at 2:6: expected UTF-8"
    );
}

#[test]
fn families_print_like_the_client() {
    let mut histogram = Family::new("h", MetricKind::Histogram, "a \\ and\na \"quote\"");
    for (suffix, le, value) in [
        ("_bucket", "+Inf", 3.0),
        ("_sum", "", 1.5e9),
        ("_count", "", 3.0),
    ] {
        histogram.points.push(Point {
            suffix,
            labels: Labels::from_pairs([("le", le)]),
            value,
        });
    }
    let mut dotted = Family::new("a.b", MetricKind::Info, "");
    dotted.push(Labels::from_pairs([("x.y", "\"\n")]), f64::NAN);
    dotted.push(Labels::empty(), 0.5);
    let mut out = Vec::new();
    encode(&[histogram, dotted], &mut out);
    expect![[r#"
        # HELP h a \\ and\na "quote"
        # TYPE h histogram
        h_bucket{le="+Inf"} 3
        h_sum 1.5e+09
        h_count 3
        # TYPE "a.b" gauge
        {"a.b","x.y"="\"\n"} NaN
        {"a.b"} 0.5
    "#]]
    .assert_eq(&String::from_utf8(out).unwrap());
}

fn families() -> impl Strategy<Value = Vec<Family>> {
    let text = prop_oneof!["[a-z_:]{1,5}", "\\PC{1,6}", "[\\\\\"\n{}=, #é]{1,6}"];
    let labels = proptest::collection::btree_map("[a-z.]{1,3}", text.clone(), 0..4);
    let points = proptest::collection::vec((labels, any::<f64>()), 0..5);
    proptest::collection::btree_map(text.clone(), (text, points), 0..4).prop_map(|families| {
        let family = |(name, (help, points)): (String, (String, Vec<(_, f64)>))| {
            let mut family = Family::new(name, MetricKind::Gauge, help);
            for (labels, value) in points {
                family.push(Labels::from_pairs::<String, String>(labels), value);
            }
            family
        };
        families.into_iter().map(family).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn round_trip(families in families()) {
        let mut out = Vec::new();
        encode(&families, &mut out);
        let read = decode(&out, &Limits::default()).unwrap();
        let expect: Vec<_> = families
            .iter()
            .flat_map(|f| f.points.iter().map(move |p| (f, p)))
            .map(|(f, p)| {
                let mut labels = p.labels.to_builder();
                labels.set(obs_model::labels::METRIC_NAME, &f.name);
                (labels.build(), p.value)
            })
            .collect();
        prop_assert_eq!(read.samples.len(), expect.len());
        for (sample, (labels, value)) in read.samples.iter().zip(&expect) {
            prop_assert_eq!(&sample.labels, labels);
            prop_assert!(sample.value == *value || value.is_nan());
        }
        prop_assert_eq!(read.metadata.len(), families.len());
        for (read, family) in read.metadata.iter().zip(&families) {
            prop_assert_eq!(&read.family, &family.name);
            // Blanks between name and help belong to the syntax.
            prop_assert_eq!(&read.help, family.help.trim_start_matches([' ', '\t']));
        }
    }

    #[test]
    fn arbitrary_bytes(
        bytes in proptest::collection::vec(any::<u8>(), 0..80),
        text in "[a-c0-9{}=\", \n#\\\\+.HELPTY-]{0,80}",
    ) {
        for input in [bytes.as_slice(), text.as_bytes()] {
            if let Ok(read) = decode(input, &Limits::default()) {
                prop_assert!(read.samples.len() + read.metadata.len() <= input.len());
            }
        }
    }
}

#[test]
fn empty_values_are_remembered() {
    let read = decode(b"a{b=\"\",c=\"1\"} 2\n", &Limits::default()).unwrap();
    let sample = &read.samples[0];
    assert_eq!(sample.labels.to_string(), r#"{__name__="a", c="1"}"#);
    assert_eq!(sample.unset, ["b"]);
}
