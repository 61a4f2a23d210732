//! Tables: what pipelines make of lines, of limits and of windows.

use obs_logstore::Rows;
use obs_model::limits::Limits;
use std::sync::Arc;

use obs_logstore::{Logs, Snapshot};
use proptest::prelude::*;

use obs_model::{
    Annotations, Answer, Budget, Labels, LogBatch, LogRecord, LogStream, TimeRange, Timestamp,
    Value,
};

use super::lines::LineCollector;
use super::pipeline::Pipeline;
use super::row::Row;
use super::samples::{CompiledLeaf, SampleCollector};
use super::{lines, select};
use crate::error::QueryError;
use crate::logql::ast::LogExpr;
use crate::logql::{Expr, parse, plan};
use crate::plan::Leaf;
use crate::request::{Direction, Language, Plan, Request, When};
use crate::run::{Query, Sources, run};

fn logs(text: &str) -> LogExpr {
    match parse(text, &Limits::default()).unwrap() {
        Expr::Logs(logs) => logs,
        Expr::Metric(_) => panic!("{text} is a metric query"),
    }
}

fn record(seconds: i64, line: &str, metadata: &[(&str, &str)]) -> LogRecord {
    LogRecord {
        time: Timestamp::from_seconds(seconds),
        line: line.as_bytes().to_vec(),
        metadata: Labels::from_pairs(metadata.iter().copied()),
    }
}

/// The records that the store lets pass for a pipeline.
fn led(pipeline: &Pipeline, records: &[LogRecord]) -> Rows<'static> {
    let wanted = |r: &&LogRecord| pipeline.leading_filters().all(|f| f.holds(&r.line));
    Rows::of(records.iter().filter(wanted))
}

/// Runs a pipeline on one record of the stream `{app="x", level="s"}` with the metadata
/// `pod="p"` and `level="m"`; shows line and labels, or nothing where the line is dropped.
fn check(stages: &str, line: &str, expect: Option<&str>) {
    let expr = logs(&format!("{{app=\"x\"}} {stages}"));
    let pipeline = Pipeline::new(&expr.stages).unwrap();
    let budget = Budget::new(&Limits::default());
    let mut collector =
        LineCollector::new(&pipeline, TimeRange::ALL, 1, Direction::Backward, &budget);
    let stream = Labels::from_pairs([("app", "x"), ("level", "s")]);
    let record = record(1, line, &[("pod", "p"), ("level", "m")]);
    collector.take(&stream, &led(&pipeline, &[record])).unwrap();
    let found = collector.finish();
    let shown = found.first().map(|lines| {
        let record = &lines.stream.records[0];
        format!(
            "{} {} {} {}",
            String::from_utf8_lossy(&record.line),
            lines.stream.labels,
            record.metadata,
            lines.parsed[0]
        )
    });
    assert_eq!(shown.as_deref(), expect, "{stages} on {line}");
}

const BASE: &str = r#"{app="x", level="s"} {level_extracted="m", pod="p"}"#;

#[test]
fn line_filters() {
    let kept = |stages: &str, line: &str| check(stages, line, Some(&format!("{line} {BASE} {{}}")));
    let dropped = |stages: &str, line: &str| check(stages, line, None);
    kept(r#"|= "b""#, "abc");
    dropped(r#"|= "B""#, "abc");
    kept(r#"|= "B" or "c""#, "abc");
    dropped(r#"!= "B" or "c""#, "abc");
    kept(r#"!= "B" or "C""#, "abc");
    kept(r#"|~ "(?i)B.""#, "abc");
    dropped(r#"!~ "^a""#, "abc");
    kept(r#"|> "a<_>c""#, "abc");
    dropped(r#"!> "a<_>c""#, "abc");
    kept(r#"|= ip("10.0.0.0/8")"#, "from 10.1.2.3:80");
    dropped(r#"!= ip("10.0.0.0/8")"#, "from 10.1.2.3:80");
    kept(r#"|= """#, "abc");
}

#[test]
fn parsers() {
    let parsed = |stages: &str, line: &str, expect: &str| {
        check(stages, line, Some(&format!("{line} {BASE} {expect}")));
    };
    parsed(
        "| json",
        r#"{"a":{"b":1.0},"c":[1],"d":"é","1x":true}"#,
        r#"{_1x="true", a_b="1.0", d="é"}"#,
    );
    parsed(
        "| json",
        r#"{"app":"y","pod":"q"}"#,
        r#"{app_extracted="y", pod_extracted="q"}"#,
    );
    // A parsed label hides metadata that had to give its name to the stream.
    check(
        "| json",
        r#"{"level":"z"}"#,
        Some(r#"{"level":"z"} {app="x", level="s"} {pod="p"} {level_extracted="z"}"#),
    );
    parsed("| json", r#"{"a":"1","a":"2"}"#, r#"{a="1"}"#);
    parsed(
        "| json",
        r#"{"a":1,oops"#,
        r#"{__error__="JSONParserErr", __error_details__="Value looks like object, but can't find closing '}' symbol", a="1"}"#,
    );
    parsed(
        "| json",
        "plain",
        r#"{__error__="JSONParserErr", __error_details__="Value looks like object, but can't find closing '}' symbol"}"#,
    );
    parsed("| json", r#"{"a":1} and more"#, r#"{a="1"}"#);
    parsed(
        "| json",
        r#"{"a":"x"#,
        r#"{__error__="JSONParserErr", __error_details__="Value is string, but can't find closing '\"' symbol"}"#,
    );
    parsed("| json", r#"{"":"1"," ":"2","a":{"":"3"}}"#, r#"{a="3"}"#);
    parsed(
        "| json",
        r#"{"a:b":1,"c d":{"9":2}}"#,
        r#"{a_b="1", c_d_9="2"}"#,
    );
    parsed(
        r#"| json x="a.b[1]", y="n""#,
        r#"{"a":{"b":[1,2]}}"#,
        r#"{x="2"}"#,
    );
    parsed(
        "| logfmt",
        r#"a=1 b="x y" c= d.e=f"#,
        r#"{a="1", b="x y", d_e="f"}"#,
    );
    parsed("| logfmt", r#"a=1 b=c=d e=2"#, r#"{a="1", e="2"}"#);
    parsed(
        "| logfmt --strict",
        r#"a=1 b=c=d e=2"#,
        r#"{__error__="LogfmtParserErr", __error_details__="logfmt syntax error at pos 8 : unexpected '='", a="1"}"#,
    );
    parsed(r#"| logfmt x="b""#, "a=1 b=2", r#"{x="2"}"#);
    parsed(
        r#"| regexp "(?P<a>[0-9]+)-(?P<b>.)""#,
        "12-z",
        r#"{a="12", b="z"}"#,
    );
    parsed(r#"| regexp "(?P<a>[0-9]+)""#, "none", "{}");
    parsed(
        r#"| pattern "<ip> - <_> <app>""#,
        "1.1.1.1 - me 200",
        r#"{app_extracted="200", ip="1.1.1.1"}"#,
    );
    check(
        "| unpack",
        r#"{"a":"1","n":2,"_entry":"the line"}"#,
        Some(&format!("the line {BASE} {{a=\"1\"}}")),
    );
}

#[test]
fn label_filters_and_errors() {
    let kept = |stages: &str, line: &str, expect: &str| {
        check(stages, line, Some(&format!("{line} {BASE} {expect}")));
    };
    let dropped = |stages: &str, line: &str| check(stages, line, None);
    kept("| logfmt | d > 1s", "d=1.5s", r#"{d="1.5s"}"#);
    dropped("| logfmt | d > 2s", "d=1.5s");
    dropped("| logfmt | absent > 2s", "d=1.5s");
    kept(
        "| logfmt | d > 2s",
        "d=x",
        r#"{__error__="LabelFilterErr", __error_details__="time: invalid duration \"x\"", d="x"}"#,
    );
    dropped(r#"| logfmt | d > 2s | __error__="""#, "d=x");
    kept(
        "| logfmt | d > 2s | drop __error__, __error_details__",
        "d=x",
        r#"{d="x"}"#,
    );
    kept("| logfmt | n >= 5 and n < 6", "n=5", r#"{n="5"}"#);
    kept(
        "| logfmt | n > 9 or s == 1KB",
        "n=5 s=1000B",
        r#"{n="5", s="1000B"}"#,
    );
    dropped(r#"| absent!="""#, "x");
    kept(r#"| absent="""#, "x", "{}");
    kept(r#"| pod="p" level="s""#, "x", "{}");
    kept(r#"| level_extracted="m""#, "x", "{}");
    kept(
        r#"| logfmt | a=ip("10.0.0.0/8")"#,
        "a=10.1.1.1",
        r#"{a="10.1.1.1"}"#,
    );
    dropped(r#"| logfmt | a!=ip("10.0.0.0/8")"#, "a=10.1.1.1");
}

#[test]
fn rewriting() {
    check(
        "| logfmt | drop app, a, pod",
        "a=1 b=2",
        Some(r#"a=1 b=2 {level="s"} {level_extracted="m"} {b="2"}"#),
    );
    check(
        r#"| logfmt | drop a="9", b="2""#,
        "a=1 b=2",
        Some(&format!("a=1 b=2 {BASE} {{a=\"1\"}}")),
    );
    check(
        "| logfmt | keep app, b",
        "a=1 b=2",
        Some(r#"a=1 b=2 {app="x"} {} {b="2"}"#),
    );
    check(
        r#"| logfmt | line_format "{{.b}}-{{__line__}}" |= "2-""#,
        "a=1 b=2",
        Some(&format!("2-a=1 b=2 {BASE} {{a=\"1\", b=\"2\"}}")),
    );
    check(
        r#"| label_format who=app, t="<{{.pod}}>""#,
        "x",
        Some(r#"x {level="s"} {level_extracted="m", pod="p"} {t="<p>", who="x"}"#),
    );
    check(
        "| decolorize",
        "\u{1b}[1;31mred\u{1b}[0m ok",
        Some(&format!("red ok {BASE} {{}}")),
    );
    check(
        r#"| line_format "{{ .app | upper }}{{ range $i, $c := .b }}{{ end }}""#,
        "x",
        Some(&format!(
            "x {BASE} {{__error__=\"TemplateFormatErr\", __error_details__=\"template: line:1:37: executing \\\"line\\\" at <.b>: range can't iterate over \"}}"
        )),
    );
    check(
        r#"| line_format "{{ .app | upper }} {{ __timestamp__ | unixEpochNanos }}""#,
        "x",
        Some(&format!("X 1000000000 {BASE} {{}}")),
    );
    let templated = logs(r#"{app="x"} | line_format "{{ .a | nosuch }}""#);
    let error = Pipeline::new(&templated.stages).unwrap_err().to_string();
    assert_eq!(
        error,
        "parse error : stage '| line_format \"{{ .a | nosuch }}\"' : invalid line template: \
         template: line:1: function \"nosuch\" not defined"
    );
}

/// Rules of Loki's labels that are easily broken.
#[test]
fn labels_keep_their_rules() {
    let parsed = |stages: &str, line: &str, expect: &str| {
        check(stages, line, Some(&format!("{line} {BASE} {expect}")));
    };
    // A stream's label keeps its name even where it was dropped; metadata's does not.
    check(
        "| drop app, pod | json",
        r#"{"app":"y","pod":"q"}"#,
        Some(
            r#"{"app":"y","pod":"q"} {level="s"} {level_extracted="m"} {app_extracted="y", pod="q"}"#,
        ),
    );
    // What was made and dropped is not made again, and the first parser wins.
    parsed("| json | drop a | json", r#"{"a":1,"b":2}"#, r#"{b="2"}"#);
    parsed("| logfmt a=\"a\" | logfmt", "a=1 a=2", r#"{a="2"}"#);
    parsed(
        r#"| label_format a="0" | logfmt"#,
        "a=1 b=2",
        r#"{a="0", b="2"}"#,
    );
    // A label that a parser was asked for is there, if only empty.
    parsed(
        r#"| json x="b" | x > 5"#,
        r#"{"a":1}"#,
        r#"{__error__="LabelFilterErr", __error_details__="strconv.ParseFloat: parsing \"\": invalid syntax"}"#,
    );
    parsed("| logfmt x=`b` | x=``", "a=1", "{}");
    check("| json | x > 5", r#"{"a":1}"#, None);
    parsed(
        r#"| json x="a", y="b""#,
        r#"{"a":null,"b":{"c":[1]}}"#,
        r#"{y="{\"c\":[1]}"}"#,
    );
    parsed(r#"| json x="a""#, "plain", r#"{__error__="JSONParserErr"}"#);
    // A number that cannot be read does not hide the fault that is there already.
    parsed(
        "| json | a > 5",
        r#"{"a":"x","b""#,
        r#"{__error__="JSONParserErr", __error_details__="Malformed JSON error", a="x"}"#,
    );
    check("| json | a > 5", r#"{"a":"4","b""#, None);
    // Only what was packed is unpacked.
    parsed("| unpack", r#"{"a":"1"}"#, "{}");
    parsed(
        "| unpack",
        "plain",
        r#"{__error__="JSONParserErr", __error_details__="expecting json object(6), but it is not"}"#,
    );
    // Templates of one stage see the labels from before it.
    parsed(
        r#"| logfmt | label_format a="{{.b}}", b="{{.a}}", c=d"#,
        "a=1 b=2 d=3",
        r#"{a="2", b="1", c="3"}"#,
    );
    parsed("| logfmt --keep-empty | a=``", "a= b=1", r#"{b="1"}"#);
    parsed(r#"| regexp "(?P<a>x)|(?P<b>y)""#, "y", r#"{b="y"}"#);
    check(
        "| logfmt | keep a=`2`, b, app=`x`",
        "a=1 b=2",
        Some(r#"a=1 b=2 {app="x"} {} {b="2"}"#),
    );
}

#[test]
fn templates_know_the_errors_and_the_time() {
    check(
        r#"| json | line_format "{{if .__error__}}{{.__error__}}{{else}}fine{{end}}""#,
        "plain",
        Some(&format!(
            "JSONParserErr {BASE} {{__error__=\"JSONParserErr\", __error_details__=\"Value looks like object, but can't find closing '}}' symbol\"}}"
        )),
    );
    let expr = logs(r#"{app="x"} | line_format "{{ now | unixEpoch }}""#);
    let pipeline = Pipeline::new(&expr.stages).unwrap();
    let pipeline = pipeline.at(Timestamp::from_seconds(77));
    let none = Labels::empty();
    let mut row = Row::new(b"x", Timestamp::from_seconds(1), &none, &none, None);
    assert!(pipeline.run(&mut row));
    assert_eq!(&*row.line, b"77");
}

#[test]
fn stages_that_cannot_run_are_refused() {
    let check = |stages: &str, expect: &str| {
        let error = Pipeline::new(&logs(&format!("{{a=\"b\"}} {stages}")).stages);
        let error = error.unwrap_err();
        assert!(matches!(error, QueryError::Parse(_)), "{error}");
        assert_eq!(error.to_string(), format!("parse error : stage {expect}"));
    };
    check(
        "|~ `(`",
        "'|~ \"(\"' : error parsing regexp: missing closing ): `(`",
    );
    check("|= ip(`x`)", "'|= ip(\"x\")' : ip: invalid pattern: \"x\"");
    check(
        "|~ ip(`1.1.1.1`)",
        "'|~ ip(\"1.1.1.1\")' : ip: invalid operation",
    );
    check(
        "| x=ip(`y`)",
        "'| x=ip(\"y\")' : ip: invalid pattern: \"y\"",
    );
    check(
        "|> `<x>`",
        "'|> \"<x>\"' : named captures are not allowed: found '<x>'",
    );
    check(
        "|> `<_><_>`",
        "'|> \"<_><_>\"' : found consecutive capture '<_><_>': invalid expression",
    );
    check(
        "| label_format x=y,x=z",
        "'| label_format x=y,x=z' : multiple label name 'x' not allowed in a single format operation",
    );
    check(
        "| label_format __error__=y",
        "'| label_format __error__=y' : __error__ cannot be formatted",
    );
    check(
        "| json x=`a..b`",
        "'| json x=\"a..b\"' : cannot parse expression [a..b]: syntax error",
    );
    check(
        "| label_format x=`{{`",
        "'| label_format x=\"{{\"' : invalid template for label 'x': template: label:1: unclosed action",
    );
}

#[test]
fn leading_filters_and_the_rest_are_the_pipeline() {
    let expr = logs(r#"{a="b"} |= "x" | json | c="d" != "y" | line_format "{{.c}}" |= "d""#);
    let pipeline = Pipeline::new(&expr.stages).unwrap();
    let leading: Vec<String> = pipeline
        .leading_filters()
        .map(|f| format!("{} {:?}", f.negative, f.tests))
        .collect();
    assert_eq!(leading, ["false [\"x\"]", "true [\"y\"]"]);
    assert_eq!(pipeline.label_needles().len(), 1);
    let none = Labels::empty();
    for line in [
        r#"{"c":"d"} x"#,
        r#"{"c":"d"} xy"#,
        r#"{"c":"d"}"#,
        r#"{"c":"e"} x"#,
    ] {
        let row = || Row::new(line.as_bytes(), Timestamp::default(), &none, &none, None);
        let first = line.contains('x') && !line.contains('y');
        let both = first && pipeline.run_behind_leading(&mut row());
        assert_eq!(pipeline.run(&mut row()), both, "{line}");
    }
}

#[test]
fn hostile_lines_are_bounded() {
    let all = "|= `x` | json | logfmt | pattern `<a> <b>` | regexp `(?P<r>x.*)` | keep k1, k2 | unpack | decolorize";
    let pipeline = Pipeline::new(&logs(&format!("{{a=\"b\"}} {all}")).stages).unwrap();
    let none = Labels::empty();
    let run = |line: &[u8]| {
        let mut row = Row::new(line, Timestamp::default(), &none, &none, None);
        let passed = pipeline.run(&mut row);
        (passed, row.parsed_labels())
    };
    // 10⁵ keys, in JSON and in logfmt.
    let keys: Vec<String> = (0..100_000).map(|k| format!("\"k{k}\":\"x\"")).collect();
    let (passed, labels) = run(format!("{{{}}}", keys.join(",")).as_bytes());
    assert!(passed && labels.get("k1") == Some("x"));
    let keys: Vec<String> = (0..100_000).map(|k| format!("k{k}=x")).collect();
    let (passed, labels) = run(keys.join(" ").as_bytes());
    assert!(passed && labels.get("k2") == Some("x"));
    // A mebibyte of one thing.
    for piece in [
        "x", "{\"x\":", "[", "\"", "\\", "=", " ", "\u{1b}[", "\u{0}x", "<", "é",
    ] {
        let line = format!("x{}", piece.repeat((1 << 20) / piece.len()));
        assert!(run(line.as_bytes()).0, "{piece}");
        run(&line.as_bytes()[1..]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn no_line_makes_a_pipeline_panic(
        bytes in proptest::collection::vec(any::<u8>(), 0..200),
        near in "[{}\\[\\]\":,=a0 \\\\.<>\u{1b};m_]{0,60}",
    ) {
        let stages = "| json | json x=`a.b[0]`, y=`a` | logfmt | logfmt z=`a` | unpack \
            | pattern `<p> <q>=<_>` | regexp `(?P<r>[0-9]+)` | a > 5 or a > 5s or a > 5KB | b != ip(`10.0.0.0/8`) \
            | label_format m=`{{.a | trunc 2}}`, n=a | line_format `{{.b}} {{__line__}}` | decolorize | drop a=`0` | keep m, n, x";
        let pipeline = Pipeline::new(&logs(&format!("{{a=\"b\"}} {stages}")).stages).unwrap();
        let stream = Labels::from_pairs([("a", "1")]);
        let metadata = Labels::from_pairs([("b", "2"), ("a", "3")]);
        for line in [bytes.as_slice(), near.as_bytes()] {
            let mut row = Row::new(line, Timestamp::default(), &stream, &metadata, None);
            if pipeline.run(&mut row) {
                let all = row.labels_without(|_| false);
                // Each label is in one of the three layers.
                let layers = [row.stream_labels(), row.metadata_labels(), row.parsed_labels()];
                let count: usize = layers.iter().map(|l| l.iter().count()).sum();
                prop_assert_eq!(all.iter().count(), count);
            }
        }
    }
}

/// Two streams in two slices, newest slice first; shows times in the order of the answer.
fn limited(limit: usize, direction: Direction) -> (Vec<i64>, usize) {
    let pipeline = Pipeline::new(&[]).unwrap();
    let budget = Budget::new(&Limits::default());
    let seconds = |a, b| TimeRange::new(Timestamp::from_seconds(a), Timestamp::from_seconds(b));
    let mut collector = LineCollector::new(&pipeline, seconds(0, 9), limit, direction, &budget);
    let mut slices = vec![
        (seconds(0, 4), [vec![1, 3], vec![2, 4]]),
        (seconds(5, 10), [vec![5, 7, 10], vec![6, 8]]),
    ];
    if direction == Direction::Backward {
        slices.reverse();
    }
    let mut read = 0;
    for (range, streams) in slices {
        if !collector.wants(range) {
            break;
        }
        read += 1;
        for (index, times) in streams.into_iter().enumerate() {
            let labels = Labels::from_pairs([("s", index.to_string())]);
            let records = times.into_iter().map(|t| record(t, "x", &[]));
            let records: Vec<LogRecord> = records.collect();
            collector.take(&labels, &Rows::of(&records)).unwrap();
        }
    }
    let mut times: Vec<i64> = collector
        .finish()
        .iter()
        .flat_map(|lines| &lines.stream.records)
        .map(|r| r.time.nanos() / 1_000_000_000)
        .collect();
    times.sort_unstable();
    (times, read)
}

#[test]
fn limits_stop_the_scan() {
    assert_eq!(limited(3, Direction::Backward), (vec![6, 7, 8], 1));
    assert_eq!(limited(3, Direction::Forward), (vec![1, 2, 3], 1));
    assert_eq!(limited(6, Direction::Backward), (vec![3, 4, 5, 6, 7, 8], 2));
    assert_eq!(
        limited(100, Direction::Forward),
        (vec![1, 2, 3, 4, 5, 6, 7, 8], 2)
    );
    assert_eq!(limited(0, Direction::Forward), (vec![], 0));
}

/// The series that the leaf of a metric query reads.
fn series(query: &str, lines: &[&str]) -> Result<Vec<String>, QueryError> {
    let limits = Limits::default();
    let at = When::At(Timestamp::from_seconds(100));
    let Plan::Metric(plan) = plan(&parse(query, &limits)?, &Request::new(at), &limits)? else {
        panic!("{query} is a log query");
    };
    let Leaf::Logs(leaf) = &plan.leaves[0].leaf else {
        panic!("{query} reads no logs");
    };
    let compiled = CompiledLeaf::new(leaf)?;
    let budget = Budget::new(&limits);
    let mut collector = SampleCollector::new(&compiled, plan.leaves[0].range, &budget);
    let records: Vec<_> = lines
        .iter()
        .enumerate()
        .map(|(index, line)| record(50 + index as i64, line, &[("pod", "p")]))
        .collect();
    let rows = led(&compiled.pipeline, &records);
    collector.take(&Labels::from_pairs([("app", "x")]), &rows)?;
    Ok(collector
        .finish()?
        .iter()
        .map(|s| format!("{} {:?}", s.labels, s.samples.floats))
        .collect())
}

#[test]
fn metric_leaves() {
    let check = |query: &str, lines: &[&str], expect: &[&str]| {
        assert_eq!(series(query, lines).unwrap(), expect, "{query}");
    };
    let lines = ["l=a n=1 d=1s", "l=b n=2 d=2s", "l=a n=3 d=3s"];
    check(
        r#"count_over_time({app="x"}[1m])"#,
        &lines,
        &[r#"{app="x", pod="p"} [3.0]"#],
    );
    check(
        r#"bytes_rate({app="x"}[1m])"#,
        &lines,
        &[r#"{app="x", pod="p"} [36.0]"#],
    );
    check(
        r#"sum by (l) (rate({app="x"} | logfmt [1m]))"#,
        &lines,
        &[r#"{l="a"} [1.0, 1.0]"#, r#"{l="b"} [1.0]"#],
    );
    check(
        r#"sum(rate({app="x"} | logfmt [1m]))"#,
        &lines,
        &["{} [3.0]"],
    );
    check(
        r#"sum without (pod, l, n) (count_over_time({app="x"} | logfmt | drop d [1m]))"#,
        &lines,
        &[r#"{app="x"} [3.0]"#],
    );
    check(
        r#"avg_over_time({app="x"} | logfmt | drop d | unwrap n [1m])"#,
        &lines,
        &[
            r#"{app="x", l="a", pod="p"} [1.0, 3.0]"#,
            r#"{app="x", l="b", pod="p"} [2.0]"#,
        ],
    );
    check(
        r#"max_over_time({app="x"} | logfmt | unwrap duration(d) [1m]) by (l)"#,
        &lines,
        &[r#"{l="a"} [1.0, 3.0]"#, r#"{l="b"} [2.0]"#],
    );
    check(
        r#"sum_over_time({app="x"} | logfmt | unwrap absent [1m])"#,
        &lines,
        &[],
    );
    check(
        r#"sum by (l) (sum_over_time({app="x"} | logfmt | unwrap n | __error__="" [1m]))"#,
        &["l=a n=x", "l=a n=4"],
        &[r#"{l="a"} [4.0]"#],
    );
    // Labels that no one asks for are not kept, those that stages speak of are.
    check(
        r#"sum by (l) (count_over_time({app="x"} | logfmt | n != 2 | label_format l=d [1m]))"#,
        &lines,
        &[r#"{l="1s"} [1.0]"#, r#"{l="3s"} [1.0]"#],
    );
    check(
        r#"sum by (l, t, app_extracted) (rate({app="x"} | logfmt | label_format t="{{.n}}" [1m]))"#,
        &["l=a n=1 app=y"],
        &[r#"{app_extracted="y", l="a", t="1"} [1.0]"#],
    );
    let error = series(
        r#"sum(sum_over_time({app="x"} | logfmt | unwrap n [1m]))"#,
        &["n=x"],
    )
    .unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("pipeline error: 'SampleExtractionErr' for series:"),
        "{error}"
    );
}

#[test]
fn plans() {
    let check = |query: &str, expect: &str| {
        let limits = Limits::default();
        let when = When::Range {
            start: Timestamp::from_seconds(0),
            end: Timestamp::from_seconds(60),
            step: 30_000_000_000,
        };
        let plan = plan(
            &parse(query, &limits).unwrap(),
            &Request::new(when),
            &limits,
        );
        assert_eq!(
            plan.map_or_else(|e| e.to_string(), |p| p.to_string()),
            expect,
            "{query}"
        );
    };
    check(
        r#"{app="x"} |= "y""#,
        "newest 100 lines of {app=\"x\"} |= \"y\"\nfrom 1970-01-01T00:00:00Z to 1970-01-01T00:00:59.999999999Z\n",
    );
    check(
        r#"sum by (l) (rate({app="x"} [1m]))"#,
        "from 1970-01-01T00:00:00Z to 1970-01-01T00:01:00Z step 30s (3 steps)\n  per_second [60s] of #0\nread #0 lines of {app=\"x\"} by (l) from 1969-12-31T23:59:00.000000001Z to 1970-01-01T00:01:00Z\n",
    );
    check(
        "approx_topk(2, vector(1))",
        "approx_topk is only supported on instant queries",
    );
    check(
        "vector(1) + vector(1)",
        "from 1970-01-01T00:00:00Z to 1970-01-01T00:01:00Z step 30s (3 steps)\n  +\n    vector\n      1\n    vector\n      1\n",
    );
}

/// A snapshot of one memory with lines of two streams at seconds 1 to 6.
fn stored() -> Snapshot<Logs> {
    let memory = <Logs as obs_storage::Kind>::Memory::default();
    let stream = |app: &str, records| LogStream {
        labels: Labels::from_pairs([("app", app), ("env", "test")]),
        records,
    };
    let batch = LogBatch {
        streams: vec![
            stream(
                "x",
                vec![
                    record(1, "n=1 ok", &[]),
                    record(3, "n=3 bad", &[]),
                    record(5, "n=5 ok", &[]),
                ],
            ),
            stream(
                "y",
                vec![
                    record(2, "n=2 ok", &[("id", "a")]),
                    record(4, "n=4 ok", &[]),
                    record(6, "n=6 bad", &[]),
                ],
            ),
        ],
    };
    let mut bytes = Vec::new();
    obs_logstore::encode(&batch, &mut bytes);
    <Logs as obs_storage::Kind>::apply(&memory, 1, &bytes).unwrap();
    Snapshot {
        memories: vec![Arc::new(memory)],
        parts: Vec::new(),
        tags: Vec::new(),
        manifest: 0,
        hidden: obs_storage::Hiding::default(),
        confined: Arc::default(),
    }
}

fn planned(query: &str, limit: usize, direction: Direction) -> Plan {
    let limits = Limits::default();
    let mut request = Request::new(When::Range {
        start: Timestamp::from_seconds(1),
        end: Timestamp::from_seconds(6),
        step: 1_000_000_000,
    });
    request.limit = limit;
    request.direction = direction;
    plan(&parse(query, &limits).unwrap(), &request, &limits).unwrap()
}

#[test]
fn queries_read_the_store() {
    let snapshot = stored();
    let budget = Budget::new(&Limits::default());
    let check = |query: &str, limit, direction, expect: &[&str]| {
        let Plan::Logs(plan) = planned(query, limit, direction) else {
            panic!("{query} is a metric query");
        };
        let found = lines(&snapshot, &plan, &budget).unwrap();
        let shown: Vec<String> = found
            .iter()
            .flat_map(|lines| {
                lines.stream.records.iter().map(|r| {
                    format!(
                        "{} {}",
                        lines.stream.labels.get("app").unwrap_or(""),
                        String::from_utf8_lossy(&r.line)
                    )
                })
            })
            .collect();
        assert_eq!(shown, expect, "{query}");
    };
    check(
        r#"{env="test"}"#,
        3,
        Direction::Backward,
        &["x n=5 ok", "x n=3 bad", "y n=4 ok"],
    );
    check(
        r#"{env="test"}"#,
        3,
        Direction::Forward,
        &["x n=1 ok", "x n=3 bad", "y n=2 ok"],
    );
    check(
        r#"{env=~".+", app!="x"} |= "ok""#,
        9,
        Direction::Forward,
        &["y n=2 ok", "y n=4 ok"],
    );
    check(
        r#"{env="test"} |~ "b.d" | logfmt | n > 2"#,
        9,
        Direction::Forward,
        &["x n=3 bad"],
    );
    check(
        r#"{env="test"} | id="a""#,
        9,
        Direction::Forward,
        &["y n=2 ok"],
    );
    check(r#"{env="other"}"#, 9, Direction::Forward, &[]);
}

#[test]
fn metrics_read_the_store() {
    let snapshot = stored();
    let budget = Budget::new(&Limits::default());
    let Plan::Metric(plan) = planned(
        r#"sum by (app) (sum_over_time({env="test"} |= "ok" | logfmt | unwrap n [10s]))"#,
        1,
        Direction::Backward,
    ) else {
        panic!("a log query");
    };
    let Leaf::Logs(leaf) = &plan.leaves[0].leaf else {
        panic!("no leaf of logs");
    };
    let series = select(&snapshot, leaf, plan.leaves[0].range, &budget).unwrap();
    let shown: Vec<String> = series
        .iter()
        .map(|s| format!("{} {:?}", s.labels, s.samples.floats))
        .collect();
    assert_eq!(
        shown,
        [r#"{app="x"} [1.0, 5.0]"#, r#"{app="y"} [2.0, 4.0]"#]
    );
    let small = Budget::new(&Limits {
        query_series_max: 0,
        ..Limits::default()
    });
    let refused = select(&snapshot, leaf, plan.leaves[0].range, &small);
    assert!(matches!(refused, Err(QueryError::Budget(_))), "{refused:?}");
}

/// Evaluates a metric query on [`stored`]; shows each series with its values by step.
fn evaluated(query: &str, when: When) -> Result<Vec<String>, QueryError> {
    evaluated_on(&stored(), query, when)
}

/// Evaluates a metric query; shows each series with its values by step.
fn evaluated_on(
    snapshot: &Snapshot<Logs>,
    query: &str,
    when: When,
) -> Result<Vec<String>, QueryError> {
    let limits = Limits::default();
    let budget = Budget::new(&limits);
    let Plan::Metric(plan) = plan(&parse(query, &limits)?, &Request::new(when), &limits)? else {
        panic!("{query} is a log query");
    };
    let mut selected = Vec::new();
    for read in &plan.leaves {
        let Leaf::Logs(leaf) = &read.leaf else {
            panic!("{query} reads no logs");
        };
        selected.push(select(snapshot, leaf, read.range, &budget)?);
    }
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(1)
        .build()
        .unwrap();
    let (answer, notes) = crate::eval::eval(&plan, &selected, &budget, &pool)?;
    assert_eq!(notes, Annotations::default(), "{query}");
    let number = |value: &Value| match value {
        Value::Float(float) => format!("{float}"),
        Value::Histogram(_) => panic!("{query} gives a histogram"),
    };
    Ok(match answer {
        Answer::Scalar(_, value) => vec![value.to_string()],
        Answer::Vector(vector) => vector
            .iter()
            .map(|s| format!("{} {}", s.labels, number(&s.value)))
            .collect(),
        Answer::Matrix(series) => series
            .iter()
            .map(|s| {
                let points: Vec<String> = s
                    .samples
                    .iter()
                    .map(|(t, v)| format!("{}@{}", number(&v), t.millis() / 1000))
                    .collect();
                format!("{} {}", s.labels, points.join(" "))
            })
            .collect(),
        other => panic!("{query} gives {other:?}"),
    })
}

fn evaluates(query: &str, expect: &[&str]) {
    let at = When::At(Timestamp::from_seconds(6));
    let mut found = evaluated(query, at).unwrap_or_else(|e| vec![e.to_string()]);
    found.sort();
    assert_eq!(found, expect, "{query}");
}

#[test]
fn metrics_evaluate() {
    let check = evaluates;
    check("vector(1) + vector(1)", &["{} 2"]);
    check("1 + 2 * 3", &["7"]);
    check("2 > 1", &["1"]);
    check("(-2) ^ 2", &["4"]);
    check(
        r#"count_over_time({env="test"}[3s])"#,
        &[r#"{app="x", env="test"} 1"#, r#"{app="y", env="test"} 2"#],
    );
    check(r#"sum(count_over_time({env="test"}[3s]))"#, &["{} 3"]);
    check(
        r#"rate({app="x"} |= "ok" [10s])"#,
        &[r#"{app="x", env="test"} 0.2"#],
    );
    check(
        r#"bytes_over_time({app="x"}[10s])"#,
        &[r#"{app="x", env="test"} 19"#],
    );
    check(
        r#"bytes_rate({app="x"}[10s])"#,
        &[r#"{app="x", env="test"} 1.9"#],
    );
    check(
        r#"count_over_time({app="x"}[2s] offset 3s)"#,
        &[r#"{app="x", env="test"} 1"#],
    );
    check(
        r#"absent_over_time({app="z", env=~".+"}[1m])"#,
        &[r#"{app="z"} 1"#],
    );
    check(r#"absent_over_time({app="x"}[1m])"#, &[]);
    check(r#"count_over_time({app="x"}[10s]) > 5"#, &[]);
    check(
        r#"sum(count_over_time({app="x"}[10s])) / sum(count_over_time({env="test"}[10s]))"#,
        &["{} 0.5"],
    );
    check(
        r#"topk(1, sum by (app) (sum_over_time({env="test"} | logfmt | unwrap n [10s])))"#,
        &[r#"{app="y"} 12"#],
    );
    check(
        r#"count_over_time({app="x"}[10s]) * on (env) group_left () sum by (env) (count_over_time({app="y"}[10s]))"#,
        &[r#"{app="x", env="test"} 9"#],
    );
    check(
        r#"label_replace(count_over_time({app="x"}[10s]), "b", "<$1>", "app", "(.*)")"#,
        &[r#"{app="x", b="<x>", env="test"} 3"#],
    );
}

#[test]
fn metrics_fail_and_divide_as_lokis() {
    let check = evaluates;
    check(
        r#"sum by (a) (count_over_time({app="x"} | json [10s]))"#,
        &[
            "pipeline error: 'JSONParserErr' for series: '{__error__=\"JSONParserErr\", __error_details__=\"Value looks like object, but can't find closing '}' symbol\", app=\"x\", env=\"test\"}'.\nUse a label filter to intentionally skip this error. (e.g | __error__!=\"JSONParserErr\").\nTo skip all potential errors you can match empty errors.(e.g __error__=\"\")\nThe label filter can also be specified after unwrap. (e.g | unwrap latency | __error__=\"\" )\n",
        ],
    );
    // Of what is dropped nobody asks.
    check(
        r#"sum(count_over_time({app="x"} | json | drop a, b="c", __error__ [10s]))"#,
        &["{} 3"],
    );
    // No label is needed, so that no line is parsed.
    check(r#"sum(count_over_time({app="x"} | json [10s]))"#, &["{} 3"]);
    check(
        r#"sum(count_over_time({env="test"}[10s])) / (sum(count_over_time({env="test"}[10s])) - 6)"#,
        &["{} NaN"],
    );
    check(
        r#"count_over_time({app="x"}[10s]) % 0"#,
        &[r#"{app="x", env="test"} NaN"#],
    );
    check(
        r#"rate_counter({app="x"} | logfmt | unwrap n [2s])"#,
        &[r#"{app="x", env="test"} 0"#],
    );
    check(
        r#"rate_counter({app="x"} | logfmt | unwrap n [6s])"#,
        &[r#"{app="x", env="test"} 1"#],
    );
    check(
        "sum(1)",
        &["unexpected expr type (*syntax.LiteralExpr) where series are needed"],
    );
    check(
        r#"sum(count_over_time({env="test"} | json | __error__="" [10s]))"#,
        &[],
    );
}

#[test]
fn unwrapped_values_evaluate() {
    let check = |function: &str, expect: &str| {
        let at = When::At(Timestamp::from_seconds(6));
        let query = format!(r#"{function}{{app="x"}} | logfmt | unwrap n [10s])"#);
        let found = evaluated(&query, at).unwrap();
        assert_eq!(
            found,
            [format!("{{app=\"x\", env=\"test\"}} {expect}")],
            "{query}"
        );
    };
    check("sum_over_time(", "9");
    check("avg_over_time(", "3");
    check("min_over_time(", "1");
    check("max_over_time(", "5");
    check("first_over_time(", "1");
    check("last_over_time(", "5");
    check("stdvar_over_time(", "2.6666666666666665");
    check("stddev_over_time(", "1.632993161855452");
    check("quantile_over_time(0.5, ", "3");
    check("rate(", "0.9");
}

/// Every function and operator over vectors, on `{app="x"} 9` and `{app="y"} 12`.
#[test]
fn vectors_evaluate() {
    const SUMS: &str = r#"sum by (app) (sum_over_time({env="test"} | logfmt | unwrap n [10s]))"#;
    let check = |query: &str, expect: &[&str]| {
        let at = When::At(Timestamp::from_seconds(6));
        let query = query.replace('S', SUMS);
        let found = evaluated(&query, at).unwrap_or_else(|e| vec![e.to_string()]);
        assert_eq!(found, expect, "{query}");
    };
    let (x, y) = (r#"{app="x"} 9"#, r#"{app="y"} 12"#);
    check("S", &[x, y]);
    check("sort(S)", &[x, y]);
    check("sort_desc(S)", &[y, x]);
    check("topk(1, S)", &[y]);
    check("topk(5, S)", &[y, x]);
    check("bottomk(1, S)", &[x]);
    check("approx_topk(1, S)", &[y]);
    check("avg(S)", &["{} 10.5"]);
    check("min(S)", &["{} 9"]);
    check("max(S)", &["{} 12"]);
    check("count(S)", &["{} 2"]);
    check("stddev(S)", &["{} 1.5"]);
    check("stdvar(S)", &["{} 2.25"]);
    check("sum without (app) (S)", &["{} 21"]);
    check("S > 10", &[y]);
    check("10 < S", &[y]);
    check("S == bool 9", &[r#"{app="x"} 1"#, r#"{app="y"} 0"#]);
    check("S and on (app) (S > 10)", &[y]);
    check("S unless on (app) (S > 10)", &[x]);
    check("(S > 10) or S", &[y, x]);
    check("S - on (app) S", &[r#"{app="x"} 0"#, r#"{app="y"} 0"#]);
    check("2 * S % 5", &[r#"{app="x"} 3"#, r#"{app="y"} 4"#]);
    check("S ^ 2 ^ 1", &[r#"{app="x"} 81"#, r#"{app="y"} 144"#]);
    check("S / ignoring (app) group_left sum(S) * 21", &[x, y]);
    check(
        r#"label_replace(S, "app", "$1$1", "app", "(x)")"#,
        &[r#"{app="xx"} 9"#, y],
    );
    check(
        r#"absent_over_time({app="z", env!="a"} | logfmt | unwrap n [1m])"#,
        &[r#"{app="z"} 1"#],
    );
    check(
        r#"quantile_over_time(1, {env="test"} | logfmt | unwrap n [10s]) by (env)"#,
        &[r#"{env="test"} 6"#],
    );
    check(
        r#"last_over_time({env="test"} | logfmt | unwrap n [10s]) without (env)"#,
        &[r#"{app="x"} 5"#, r#"{app="y"} 6"#, r#"{app="y", id="a"} 2"#],
    );
    let refused = |query: &str, expect: &str| check(query, &[expect]);
    refused(
        "S @ 5",
        "parse error at line 1, col 70: syntax error: unexpected IDENTIFIER",
    );
    refused(
        "S + on (env) vector(1)",
        "multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)",
    );
}

#[test]
fn metrics_evaluate_over_ranges() {
    let when = When::Range {
        start: Timestamp::from_seconds(1),
        end: Timestamp::from_seconds(7),
        step: 2_000_000_000,
    };
    let found = evaluated(r#"sum by (app) (count_over_time({env="test"}[2s]))"#, when).unwrap();
    assert_eq!(
        found,
        [r#"{app="x"} 1@1 1@3 1@5"#, r#"{app="y"} 1@3 1@5 1@7"#]
    );
}

#[test]
fn all_of_it_runs_from_the_text() {
    let limits = Limits::default();
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(1)
        .build()
        .unwrap();
    let ask = |text: &str, when: When, sources: &Sources| {
        let query = Query::parse(Language::Logql, text, &limits)?;
        let plan = query.plan(&Request::new(when), &limits)?;
        run(&plan, sources, &Budget::new(&limits), &pool)
    };
    let at = When::At(Timestamp::from_seconds(6));
    let over = When::Range {
        start: Timestamp::from_seconds(1),
        end: Timestamp::from_seconds(9),
        step: 1_000_000_000,
    };
    // Grafana's check of a data source, on an empty server.
    let reply = ask("vector(1) + vector(1)", at, &Sources::default()).unwrap();
    let Answer::Vector(vector) = reply.answer else {
        panic!("{:?}", reply.answer);
    };
    assert!(vector.len() == 1 && vector[0].value.bit_eq(&Value::Float(2.0)));
    let sources = Sources {
        logs: Some(stored()),
        ..Sources::default()
    };
    let reply = ask(r#"{env="test"} |= "bad""#, over, &sources).unwrap();
    assert!(reply.samples_read > 0);
    let Answer::Streams(streams) = reply.answer else {
        panic!("{:?}", reply.answer);
    };
    assert_eq!(streams.len(), 2);
    let error = ask(r#"{env="test"}"#, at, &sources)
        .unwrap_err()
        .to_string();
    assert!(
        error.starts_with("log queries are not supported as an instant query type"),
        "{error}"
    );
    let template = ask(
        r#"{env="test"} | line_format "{{ .a | nosuch }}""#,
        over,
        &sources,
    )
    .unwrap_err();
    assert!(
        template
            .to_string()
            .contains("function \"nosuch\" not defined"),
        "{template}"
    );
}

/// The same records in a memory, and in parts that are cut at a time.
fn stored_both_ways(records: &[(u8, LogRecord)], cut: i64) -> [Snapshot<Logs>; 2] {
    type Memory = <Logs as obs_storage::Kind>::Memory;
    let mut batch = LogBatch::default();
    for app in 0..3u8 {
        let own = records.iter().filter(|(of, _)| *of == app);
        batch.streams.push(LogStream {
            labels: Labels::from_pairs([
                ("app", ["x", "y", "z"][usize::from(app)]),
                ("env", "test"),
            ]),
            records: own.map(|(_, record)| record.clone()).collect(),
        });
    }
    let mut bytes = Vec::new();
    obs_logstore::encode(&batch, &mut bytes);
    let memory = Memory::default();
    <Logs as obs_storage::Kind>::apply(&memory, 1, &bytes).unwrap();
    let cut = Timestamp::from_seconds(cut);
    let ranges = [
        TimeRange::new(Timestamp::MIN, cut),
        TimeRange::new(cut + 1, Timestamp::MAX),
    ];
    let part = |range| {
        let tenant = obs_model::Tenant::anonymous();
        let mut out = obs_storage::PartWriter::in_memory("logs", &tenant);
        <Logs as obs_storage::Kind>::flush(&memory, range, &mut out).unwrap();
        let part = out.finish_in_memory();
        (part.rows() > 0).then(|| Arc::new(obs_storage::OpenPart::open(part).unwrap()))
    };
    let parts = ranges.into_iter().filter_map(part).collect();
    let snapshot = |memories, parts| Snapshot {
        memories,
        parts,
        tags: Vec::new(),
        manifest: 0,
        hidden: obs_storage::Hiding::default(),
        confined: Arc::default(),
    };
    let in_parts = snapshot(Vec::new(), parts);
    [snapshot(vec![Arc::new(memory)], Vec::new()), in_parts]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn counts_by_minute_answer_as_lines_do(
        records in prop::collection::vec(
            (
                0u8..3,
                (0i64..120).prop_map(|t| t * 10),
                prop::sample::select(vec!["", "info", "warn"]),
                prop::sample::select(vec![("", ""), ("", ""), ("level", "odd"), ("app", "own")]),
                "[a-z]{1,5}",
            ),
            1..80,
        ),
        cut in 0i64..1200,
        start in 0i64..20,
        by in prop::sample::select(vec![
            "sum by (detected_level)",
            "sum by (level, detected_level)",
            "sum by (app, detected_level)",
            "sum by (app_extracted)",
            "sum without (detected_level)",
            "sum without (level)",
            "sum",
            "",
        ]),
        function in prop::sample::select(vec![
            "count_over_time", "bytes_over_time", "rate",
        ]),
        (step, window, offset) in prop::sample::select(vec![
            (60, "1m", ""), (120, "5m", ""), (60, "2m", "offset 1m"), (30, "1m", ""), (60, "90s", ""),
        ]),
        aligned: bool,
    ) {
        let records: Vec<(u8, LogRecord)> = records
            .into_iter()
            .map(|(app, at, level, pair, line)| {
                let pairs = [("detected_level", level), pair];
                let pairs: Vec<_> = pairs.into_iter().filter(|(_, v)| !v.is_empty()).collect();
                (app, record(at, &line, &pairs))
            })
            .collect();
        let start = if aligned { start * 60 } else { start * 60 + 7 };
        let when = When::Range {
            start: Timestamp::from_seconds(start),
            end: Timestamp::from_seconds(start + 20 * step),
            step: step * 1_000_000_000,
        };
        let query = format!(r#"{by} ({function}({{env="test"}}[{window}] {offset}))"#);
        let [in_memory, in_parts] = stored_both_ways(&records, cut);
        let expect = evaluated_on(&in_memory, &query, when).unwrap();
        prop_assert_eq!(evaluated_on(&in_parts, &query, when).unwrap(), expect, "{}", query);
        let at = When::At(Timestamp::from_seconds(start + 1200));
        let query = format!(r#"{by} ({function}({{env="test"}}[20m]))"#);
        let expect = evaluated_on(&in_memory, &query, at).unwrap();
        prop_assert_eq!(evaluated_on(&in_parts, &query, at).unwrap(), expect, "{}", query);
    }

    #[test]
    fn patterns_of_parts_count_their_lines(
        numbers in prop::collection::vec((0u8..3, 0i64..600, 0u32..5000), 1..60),
        cut in 0i64..600,
    ) {
        let texts = ["user {} logged in", r#"{"n":{},"msg":"job {} is done"}"#, "went {} away"];
        let records: Vec<(u8, LogRecord)> = numbers
            .iter()
            .map(|(text, at, n)| {
                let line = texts[usize::from(*text)].replace("{}", &n.to_string());
                (*text, record(*at, &line, &[("detected_level", "info")]))
            })
            .collect();
        let [_, in_parts] = stored_both_ways(&records, cut);
        let expr = logs(r#"{env="test"}"#);
        let range = TimeRange::new(Timestamp::from_seconds(0), Timestamp::from_seconds(600));
        let budget = Budget::new(&Limits::default());
        let found = super::patterns::patterns(&in_parts, &expr, range, 60_000_000_000, &budget);
        let found = found.unwrap();
        let distinct = |lines: &[&LogRecord]| {
            let mut lines: Vec<_> = lines.iter().map(|r| (r.time, &r.line)).collect();
            lines.sort();
            lines.dedup();
            lines.len() as u64
        };
        let all: Vec<&LogRecord> = records.iter().map(|(_, r)| r).collect();
        prop_assert_eq!(found.iter().map(|p| p.total()).sum::<u64>(), distinct(&all));
        for pattern in &found {
            let filter = super::pattern::LinePattern::new(&pattern.pattern).unwrap();
            let same: Vec<&LogRecord> =
                all.iter().copied().filter(|r| filter.is_match(&r.line)).collect();
            prop_assert!(distinct(&same) >= pattern.total(), "{:?}", pattern);
        }
    }
}
