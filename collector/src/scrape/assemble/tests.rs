//! Tables of scrapes: bodies in order, and the samples that each one writes.

use std::path::Path;

use obs_model::limits::Limits;
use obs_wire::prometheus::scan::TextFormat;

use super::*;
use crate::config::{GlobalConfig, ScrapeConfig, jobs};
use crate::scrape::fetch::Format;
use crate::scrape::pass;

pub(in crate::scrape) fn job(yaml: &str) -> Job {
    let yaml = format!("{{job_name: j, {yaml}}}");
    let config: ScrapeConfig = serde_yaml_ng::from_str(&yaml).expect("a configuration");
    let jobs = jobs(
        &GlobalConfig::default(),
        vec![config],
        &yaml,
        Path::new("/"),
    );
    jobs.expect("a job").remove(0)
}

/// One scrape that is stored, and then what it wrote.
fn scrape(job: &Job, book: &mut Book, body: &str, millis: i64) -> Result<Assembled, Refused> {
    let job = Arc::new(job.clone());
    book.open(&job, None);
    let scrape = Scrape {
        job: &job,
        histograms: job.histograms,
        target: &target(),
        limits: &Limits::default(),
        time: Timestamp::from_millis(millis),
    };
    pass::read(
        book,
        &scrape,
        Format::Text(TextFormat::Text),
        body.as_bytes(),
    )
}

fn first(yaml: &str, body: &str) -> Result<Assembled, Refused> {
    scrape(&job(yaml), &mut Book::default(), body, 0)
}

pub(in crate::scrape) fn target() -> Labels {
    Labels::from_pairs([("job", "j"), ("instance", "i")])
}

fn lines(batch: &MetricBatch) -> Vec<String> {
    let line = |series: &Series| {
        let sample = &series.samples[0];
        let text = match &sample.value {
            value if value.is_stale() => "stale".to_owned(),
            Value::Float(value) => value.to_string(),
            Value::Histogram(_) => "histogram".to_owned(),
        };
        let own = series.labels.without(|n| n == "job" || n == "instance");
        format!("{own} {text} @{}", sample.time.millis())
    };
    let mut lines: Vec<String> = batch.series.iter().map(line).collect();
    lines.sort();
    lines
}

/// Scrapes the bodies (`None` fails) at 1, 2, … ms; `expect` holds the lines of each batch.
fn check(yaml: &str, bodies: &[Option<&str>], expect: &[&[&str]]) {
    let job = job(yaml);
    let mut book = Book::default();
    for (index, (body, expect)) in bodies.iter().zip(expect).enumerate() {
        let millis = index as i64 + 1;
        let out = match body {
            Some(body) => scrape(&job, &mut book, body, millis).expect(body),
            None => failed(&book, Timestamp::from_millis(millis)),
        };
        assert_eq!(lines(&out.batch), *expect, "{yaml} scrape {index}");
        book.commit(out.changes, true);
    }
}

#[test]
fn series_that_go_get_one_marker() {
    check(
        "",
        &[
            Some("a 1\nb 2\n"),
            Some("a 3\n"),
            Some("a 4\n"),
            Some("a 5\nb 6\n"),
        ],
        &[
            &[r#"{__name__="a"} 1 @1"#, r#"{__name__="b"} 2 @1"#],
            &[r#"{__name__="a"} 3 @2"#, r#"{__name__="b"} stale @2"#],
            &[r#"{__name__="a"} 4 @3"#],
            &[r#"{__name__="a"} 5 @4"#, r#"{__name__="b"} 6 @4"#],
        ],
    );
}

#[test]
fn a_failed_scrape_ends_everything_once() {
    check(
        "",
        &[Some("a 1\n"), None, None, Some("a 2\n")],
        &[
            &[r#"{__name__="a"} 1 @1"#],
            &[r#"{__name__="a"} stale @2"#],
            &[],
            &[r#"{__name__="a"} 2 @4"#],
        ],
    );
}

#[test]
fn own_timestamps_are_exempt_unless_tracked() {
    let bodies = [Some("a 1 77\nb 2\n"), Some("b 2\n")];
    check(
        "",
        &bodies,
        &[
            &[r#"{__name__="a"} 1 @77"#, r#"{__name__="b"} 2 @1"#],
            &[r#"{__name__="b"} 2 @2"#],
        ],
    );
    check(
        "track_timestamps_staleness: true",
        &bodies,
        &[
            &[r#"{__name__="a"} 1 @77"#, r#"{__name__="b"} 2 @1"#],
            &[r#"{__name__="a"} stale @2"#, r#"{__name__="b"} 2 @2"#],
        ],
    );
    check(
        "honor_timestamps: false",
        &bodies,
        &[
            &[r#"{__name__="a"} 1 @1"#, r#"{__name__="b"} 2 @1"#],
            &[r#"{__name__="a"} stale @2"#, r#"{__name__="b"} 2 @2"#],
        ],
    );
}

#[test]
fn labels_of_the_target_win_unless_honored() {
    let body = [Some("a{job=\"x\",exported_job=\"y\"} 1\n")];
    let twice = r#"{__name__="a", exported_exported_job="x", exported_job="y"} 1 @1"#;
    check("", &body, &[&[twice]]);
    let out = first("honor_labels: true", "a{job=\"x\"} 1\n");
    let labels = out.expect("kept").batch.series[0].labels.to_string();
    assert_eq!(labels, r#"{__name__="a", instance="i", job="x"}"#);
}

#[test]
fn labels_said_to_be_empty_are_honored_too() {
    let check = |yaml: &str, expect: &str| {
        let out = first(yaml, "a{instance=\"\",job=\"x\"} 1\n");
        let labels = out.expect("kept").batch.series[0].labels.to_string();
        assert_eq!(labels, expect);
    };
    // As the push gateway says that a group has no instance.
    check("honor_labels: true", r#"{__name__="a", job="x"}"#);
    check(
        "honor_labels: false",
        r#"{__name__="a", exported_job="x", instance="i", job="j"}"#,
    );
}

#[test]
fn what_is_over_the_sample_limit_is_counted() {
    let out = first(
        "sample_limit: 1, metric_relabel_configs: [{source_labels: [__name__], regex: b, action: drop}]",
        "a 1\nb 2\nc 3\nd 4\n",
    );
    let expect = Counts {
        scraped: 4,
        kept: 3,
        added: 0,
    };
    assert_eq!(out.expect_err("over the limit").counts, expect);
}

#[test]
fn relabelling_drops_and_joins_series() {
    check(
        "metric_relabel_configs: [{source_labels: [__name__], regex: b, action: drop},
          {regex: l, action: labeldrop}]",
        &[Some("a{l=\"1\"} 1\na{l=\"2\"} 2\nb 3\n")],
        &[&[r#"{__name__="a"} 1 @1"#]],
    );
}

#[test]
fn limits_fail_the_scrape() {
    for (yaml, body, expect) in [
        ("sample_limit: 1", "a 1\nb 2\n", "sample limit exceeded"),
        (
            "label_limit: 3",
            "a{x=\"1\"} 1\n",
            "label_limit exceeded (metric: a, number of labels: 4, limit: 3)",
        ),
        (
            "label_name_length_limit: 8",
            "a{ninebytes=\"1\"} 1\n",
            "label_name_length_limit exceeded",
        ),
        (
            "label_value_length_limit: 3",
            "a{x=\"1234\"} 1\n",
            "label_value_length_limit exceeded",
        ),
        (
            "metric_name_validation_scheme: legacy",
            "{\"a.b\"} 1\n",
            "invalid metric name",
        ),
        (
            "metric_relabel_configs: [{regex: __name__, action: labeldrop}]",
            "a 1\n",
            "missing metric name",
        ),
    ] {
        let refused = first(yaml, body).expect_err(yaml);
        assert!(refused.fault.starts_with(expect), "{refused:?}");
    }
}

#[test]
fn counts_reports_and_the_end() {
    let job = job(
        "extra_scrape_metrics: true, sample_limit: 9, metric_relabel_configs: [{source_labels: [__name__], regex: b, action: drop}]",
    );
    let time = Timestamp::from_millis(1);
    let mut book = Book::default();
    let mut out = scrape(&job, &mut book, "a 1\nb 2\n", 1).expect("kept");
    assert_eq!(
        out.counts,
        Counts {
            scraped: 2,
            kept: 1,
            added: 1
        }
    );
    let attempt = Attempt {
        time,
        seconds: 0.5,
        body_bytes: 8,
    };
    report(&job, &target(), &mut book, &mut out, &attempt, 10.0, true);
    assert_eq!(
        lines(&out.batch),
        [
            r#"{__name__="a"} 1 @1"#,
            r#"{__name__="scrape_body_size_bytes"} 8 @1"#,
            r#"{__name__="scrape_duration_seconds"} 0.5 @1"#,
            r#"{__name__="scrape_sample_limit"} 9 @1"#,
            r#"{__name__="scrape_samples_post_metric_relabeling"} 1 @1"#,
            r#"{__name__="scrape_samples_scraped"} 2 @1"#,
            r#"{__name__="scrape_series_added"} 1 @1"#,
            r#"{__name__="scrape_timeout_seconds"} 10 @1"#,
            r#"{__name__="up"} 1 @1"#,
        ]
    );
    book.commit(out.changes, true);
    let (job, later) = (Arc::new(job), Timestamp::from_millis(2));
    let end = ended(&job, &target(), &mut book, None, later).batch;
    assert_eq!(end.series.len(), 9);
    assert!(end.series.iter().all(|s| s.samples[0].value.is_stale()));
    let none = ended(&job, &target(), &mut Book::default(), None, later);
    assert!(none.batch.is_empty());
}

#[test]
fn metadata_is_sent_when_it_changes() {
    let job = job("");
    let mut book = Book::default();
    let mut sent = |body: &str, stored: bool| {
        let out = scrape(&job, &mut book, body, 1).expect("kept");
        let families = out.batch.metadata.iter().map(|m| m.family.clone());
        let families: Vec<String> = families.collect();
        book.commit(out.changes, stored);
        families.join(" ")
    };
    let body = "# TYPE a counter\na 1\n";
    assert_eq!(sent(body, false), "a");
    assert_eq!(sent(body, true), "a");
    assert_eq!(sent(body, true), "");
    let more = "# TYPE a counter\na 1\n# HELP b x\nb 1\n";
    assert_eq!(sent(more, true), "b");
    assert_eq!(sent(body, true), "");
    assert_eq!(sent("a 1\n# TYPE a gauge\n", true), "a");
    assert_eq!(sent(body, true), "a");
    // Indented comments and those of another order count, too.
    assert_eq!(sent("# HELP b y\nb 1\n  # TYPE a counter\n", true), "b");
}
