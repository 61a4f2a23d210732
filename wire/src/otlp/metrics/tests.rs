//! Prometheus' translation of OTLP metrics, case by case.

use std::fmt::Write as _;

use obs_model::histogram::Histogram;
use proptest::collection::vec;
use proptest::prelude::*;

use super::super::proto::metrics::{Buckets, ExponentialHistogramDataPoint};
use super::*;

fn show_value(value: &Value) -> String {
    match value {
        value if value.is_stale() => "stale".to_owned(),
        Value::Float(value) => value.to_string(),
        Value::Histogram(h) => format!(
            "schema={} zero={}@{} count={} sum={} +{:?}{:?} -{:?}{:?}",
            h.schema,
            h.zero_count,
            h.zero_threshold,
            h.count,
            h.sum,
            h.positive_spans
                .iter()
                .map(|s| (s.offset, s.length))
                .collect::<Vec<_>>(),
            h.positive,
            h.negative_spans
                .iter()
                .map(|s| (s.offset, s.length))
                .collect::<Vec<_>>(),
            h.negative,
        ),
    }
}

fn show(batch: &MetricBatch) -> String {
    let mut text = String::new();
    for series in &batch.series {
        write!(text, "{}", series.labels).unwrap();
        for sample in &series.samples {
            write!(
                text,
                " {}@{}",
                show_value(&sample.value),
                sample.time.nanos()
            )
            .unwrap();
            if let Some(start) = sample.start {
                write!(text, "<{}", start.nanos()).unwrap();
            }
        }
        for exemplar in &series.exemplars {
            write!(
                text,
                " # {} {}@{}",
                exemplar.labels,
                exemplar.value,
                exemplar.time.nanos()
            )
            .unwrap();
        }
        text.push('\n');
    }
    text
}

fn body(resource: &str, metric: &str) -> String {
    format!(
        r#"{{"resourceMetrics":[{{"resource":{{"attributes":[{resource}]}},
        "scopeMetrics":[{{"metrics":[{{{metric}}}]}}]}}]}}"#
    )
}

fn text(key: &str, value: &str) -> String {
    format!(r#"{{"key":"{key}","value":{{"stringValue":"{value}"}}}}"#)
}

/// The series that a metric of a resource without attributes becomes.
fn check(metric: &str, expect: &str) {
    let body = body("", metric);
    let decoded = decode_json(body.as_bytes(), &Limits::default(), &Options::default()).unwrap();
    assert_eq!(decoded.message, "", "{metric}");
    assert_eq!(show(&decoded.batch), expect, "{metric}");
}

#[test]
fn gauges_and_sums_become_floats() {
    check(
        r#""name":"mem.use","unit":"By","gauge":{"dataPoints":[{"timeUnixNano":"5","asInt":"7"},
        {"timeUnixNano":"6","asDouble":0.5,"attributes":[{"key":"a.b","value":{"boolValue":true}}]}]}"#,
        "{__name__=\"mem_use_bytes\"} 7@5\n{__name__=\"mem_use_bytes\", a_b=\"true\"} 0.5@6\n",
    );
    check(
        r#""name":"req","sum":{"aggregationTemporality":2,"isMonotonic":true,"dataPoints":[
        {"startTimeUnixNano":"2","timeUnixNano":"5","asInt":"7"}]}"#,
        "{__name__=\"req_total\"} 7@5<2\n",
    );
    check(
        r#""name":"queue","unit":"1","sum":{
        "aggregationTemporality":"AGGREGATION_TEMPORALITY_CUMULATIVE",
        "dataPoints":[{"timeUnixNano":"5","asInt":7}]}"#,
        "{__name__=\"queue\"} 7@5\n",
    );
    check(
        r#""name":"gone","gauge":{"dataPoints":[{"timeUnixNano":"5","flags":1}]}"#,
        "{__name__=\"gone\"} stale@5\n",
    );
}

#[test]
fn histograms_become_buckets() {
    check(
        r#""name":"lat","unit":"s","histogram":{"aggregationTemporality":2,"dataPoints":[
        {"startTimeUnixNano":1,"timeUnixNano":"5","count":"6","sum":2.5,
        "bucketCounts":["1","2",3],"explicitBounds":[0.5,10],
        "exemplars":[{"timeUnixNano":"4","asDouble":0.7,"spanId":"0102030405060708",
        "traceId":"0102030405060708090a0b0c0d0e0f10",
        "filteredAttributes":[{"key":"user","value":{"intValue":3}}]}]}]}"#,
        "{__name__=\"lat_seconds_sum\"} 2.5@5<1\n\
         {__name__=\"lat_seconds_count\"} 6@5<1\n\
         {__name__=\"lat_seconds_bucket\", le=\"0.5\"} 1@5<1\n\
         {__name__=\"lat_seconds_bucket\", le=\"10\"} 3@5<1 \
         # {span_id=\"0102030405060708\", trace_id=\"0102030405060708090a0b0c0d0e0f10\", \
         user=\"3\"} 0.7@4\n\
         {__name__=\"lat_seconds_bucket\", le=\"+Inf\"} 6@5<1\n",
    );
    // No buckets, no sum.
    check(
        r#""name":"n","histogram":{"aggregationTemporality":2,"dataPoints":[{"count":4}]}"#,
        "{__name__=\"n_count\"} 4@0\n{__name__=\"n_bucket\", le=\"+Inf\"} 4@0\n",
    );
    check(
        r#""name":"n","histogram":{"aggregationTemporality":2,"dataPoints":[{"flags":1,"sum":0,
        "explicitBounds":[1],"bucketCounts":[0,0]}]}"#,
        "{__name__=\"n_sum\"} stale@0\n{__name__=\"n_count\"} stale@0\n\
         {__name__=\"n_bucket\", le=\"1\"} stale@0\n{__name__=\"n_bucket\", le=\"+Inf\"} stale@0\n",
    );
}

#[test]
fn summaries_become_quantiles() {
    check(
        r#""name":"gc","unit":"ms","summary":{"dataPoints":[{"timeUnixNano":"5","count":"2","sum":3,
        "quantileValues":[{"quantile":0.5,"value":1},{"quantile":1,"value":2}]}]}"#,
        "{__name__=\"gc_milliseconds_sum\"} 3@5\n{__name__=\"gc_milliseconds_count\"} 2@5\n\
         {__name__=\"gc_milliseconds\", quantile=\"0.5\"} 1@5\n\
         {__name__=\"gc_milliseconds\", quantile=\"1\"} 2@5\n",
    );
}

#[test]
fn exponential_histograms_become_native_ones() {
    let exponential = |fields: &str, expect: &str| {
        let metric = format!(
            r#""name":"h","exponentialHistogram":{{"aggregationTemporality":2,
            "dataPoints":[{{{fields}}}]}}"#
        );
        check(&metric, &format!("{{__name__=\"h\"}} {expect}@0\n"));
    };
    exponential(
        r#""scale":2,"count":"10","sum":5,"zeroCount":"1",
        "positive":{"offset":-1,"bucketCounts":["1","0","2",0,0,0,"3"]},
        "negative":{"offset":4,"bucketCounts":["3"]}"#,
        "schema=2 zero=1@0.0000000000000000000000000000000000000000000000000000000000000000000000000\
         0000000000000000000000000000000000000000000000000000001 count=10 sum=5 \
         +[(0, 3), (3, 1)][1.0, 0.0, 2.0, 3.0] -[(5, 1)][3.0]",
    );
    // Scale 10 is two steps too fine: four buckets become one.
    exponential(
        r#""scale":10,"count":"15","zeroThreshold":0.5,
        "positive":{"offset":-2,"bucketCounts":[1,2,3,4,5]}"#,
        "schema=8 zero=0@0.5 count=15 sum=0 +[(0, 2)][3.0, 12.0] -[][]",
    );
    exponential(r#""scale":3,"flags":1"#, "stale");
}

#[test]
fn resources_become_job_instance_and_target_info() {
    let resource = [
        text("service.namespace", "eu"),
        text("service.name", "shop"),
        text("service.instance.id", "i1"),
        text("host.name", "h"),
        text("host_name", "H"),
    ];
    let metric = |from: i64, to: i64| {
        format!(
            r#""name":"up","unit":"s","description":"Whether.","gauge":{{"dataPoints":[
            {{"timeUnixNano":"{from}","asInt":1}},{{"timeUnixNano":"{to}","asInt":1,
            "attributes":[{}]}}]}}"#,
            text("job", "mine")
        )
    };
    let target = |resource: &str, metric: &str, expect: &str| {
        let body = body(resource, metric);
        let decoded =
            decode_json(body.as_bytes(), &Limits::default(), &Options::default()).unwrap();
        assert_eq!(show(&decoded.batch), expect, "{resource}");
        decoded.batch
    };
    let s = NANOS_PER_SECOND;
    let batch = target(
        &resource.join(","),
        &metric(100 * s, 400 * s),
        "{__name__=\"up_seconds\", instance=\"i1\", job=\"eu/shop\"} 1@100000000000\n\
         {__name__=\"up_seconds\", instance=\"i1\", job=\"eu/shop\"} 1@400000000000\n\
         {__name__=\"target_info\", host_name=\"h;H\", instance=\"i1\", job=\"eu/shop\"} \
         1@100000000000 1@250000000000 1@400000000000\n",
    );
    let described: Vec<_> = batch
        .metadata
        .iter()
        .map(|m| (m.family.as_str(), m.kind, m.unit.as_str(), m.help.as_str()))
        .collect();
    assert_eq!(
        described,
        [
            ("target_info", MetricKind::Gauge, "", "Target metadata"),
            ("up_seconds", MetricKind::Gauge, "seconds", "Whether.")
        ]
    );
    // Nothing but the identity: no target_info. No identity: none either.
    target(
        &text("service.name", "shop"),
        &metric(1, 2),
        "{__name__=\"up_seconds\", job=\"shop\"} 1@1\n{__name__=\"up_seconds\", job=\"shop\"} 1@2\n",
    );
    target(
        &text("host.name", "h"),
        &metric(1, 2),
        "{__name__=\"up_seconds\"} 1@1\n{__name__=\"up_seconds\", job=\"mine\"} 1@2\n",
    );
    // A range of centuries does not become millions of samples.
    let body = body(&resource.join(","), &metric(0, i64::MAX));
    let batch = decode_json(body.as_bytes(), &Limits::default(), &Options::default())
        .unwrap()
        .batch;
    assert_eq!(batch.series[2].samples.len(), TARGET_INFO_MAX);
    assert_eq!(
        batch.series[2].samples[TARGET_INFO_MAX - 1].time,
        Timestamp::MAX
    );
}

#[test]
fn what_prometheus_cannot_keep_is_rejected() {
    let reject = |metric: &str, count: u64, expect: &str| {
        let body = body(
            "",
            &format!(r#"{metric}}},{{"name":"ok","gauge":{{"dataPoints":[{{"asInt":1}}]}}"#),
        );
        let decoded =
            decode_json(body.as_bytes(), &Limits::default(), &Options::default()).unwrap();
        assert_eq!(decoded.message, expect, "{metric}");
        assert_eq!(decoded.rejected, count, "{metric}");
        assert_eq!(show(&decoded.batch), "{__name__=\"ok\"} 1@0\n", "{metric}");
    };
    let delta = "only cumulative temporality is supported, delta and unspecified are not";
    for kind in ["sum", "histogram", "exponentialHistogram"] {
        let points = r#""dataPoints":[{},{}]"#;
        let metric = format!(r#""name":"d","{kind}":{{"aggregationTemporality":1,{points}}}"#);
        reject(&metric, 2, &format!("metric \"d\": {delta}"));
        let metric = format!(r#""name":"d","{kind}":{{{points}}}"#);
        reject(&metric, 2, &format!("metric \"d\": {delta}"));
    }
    let points = r#""gauge":{"dataPoints":[{"asInt":1}]}"#;
    reject(
        &format!(r#""name":"...",{points}"#),
        1,
        "metric \"...\": nothing of the name is valid",
    );
    reject(
        r#""name":"g","gauge":{"dataPoints":[{}]}"#,
        1,
        "metric \"g\": a data point has no value",
    );
    let classic = |fields: &str, expect: &str| {
        let metric = format!(
            r#""name":"h","histogram":{{"aggregationTemporality":2,"dataPoints":[{{{fields}}}]}}"#
        );
        reject(&metric, 1, &format!("metric \"h\": {expect}"));
    };
    classic(
        r#""bucketCounts":[1],"explicitBounds":[1]"#,
        "1 bucket counts for 1 bounds, expected one more",
    );
    classic(
        r#""bucketCounts":[1,2,3],"explicitBounds":[2,1]"#,
        "histogram bounds are not ascending",
    );
    let native = |fields: &str, expect: &str| {
        let metric = format!(
            r#""name":"h","exponentialHistogram":{{"aggregationTemporality":2,
            "dataPoints":[{{{fields}}}]}}"#
        );
        reject(&metric, 1, &format!("metric \"h\": {expect}"));
    };
    native(r#""scale":-5"#, "scale -5 is below the coarsest of -4");
    native(
        r#""count":3,"zeroCount":2"#,
        "buckets hold 2 observations, the count is 3",
    );
    native(
        r#""count":1,"positive":{"offset":2147483647,"bucketCounts":[1]}"#,
        "a bucket is out of range",
    );
}

#[test]
fn large_attributes_cannot_multiply_memory() {
    let limits = Limits {
        decompressed_bytes_max: 50_000,
        ..Limits::default()
    };
    let bounds: Vec<String> = (0..100).map(|n| n.to_string()).collect();
    let metric = format!(
        r#""name":"h","histogram":{{"aggregationTemporality":2,"dataPoints":[{{
        "attributes":[{}],"explicitBounds":[{}],"bucketCounts":[{}]}}]}}"#,
        text("big", &"v".repeat(1000)),
        bounds.join(","),
        vec!["0"; 101].join(","),
    );
    let decoded = decode_json(body("", &metric).as_bytes(), &limits, &Options::default()).unwrap();
    assert_eq!(decoded.rejected, 1);
    assert_eq!(decoded.batch.series.len(), 0);
    assert_eq!(
        decoded.message,
        "metric \"h\": the request unfolds beyond the limit decompressed_bytes_max of 50000"
    );
}

#[test]
fn options_change_labels_and_histograms() {
    let resource = [
        text("service.name", "shop"),
        text("host.name", "h"),
        text("k8s.pod.name", "p"),
    ];
    let metric = r#""name":"lat.x","unit":"s","histogram":{"aggregationTemporality":2,"dataPoints":[
        {"timeUnixNano":"5","count":"6","sum":2.5,"bucketCounts":["1","2",3],
        "explicitBounds":[0.5,10],"attributes":[{"key":"a.b","value":{"intValue":1}}]}]}"#;
    let mut body = body(&resource.join(","), metric);
    body = body.replace(
        r#"{"metrics""#,
        r#"{"schemaUrl":"u","scope":{"name":"lib","version":"2"},"metrics""#,
    );
    let check = |options: Options, expect: &str| {
        let decoded = decode_json(body.as_bytes(), &Limits::default(), &options).unwrap();
        assert_eq!(show(&decoded.batch), expect);
    };
    let options = Options {
        strategy: super::Strategy::NoTranslation,
        promoted: Promoted::Only(vec!["host.name".to_owned()]),
        keep_identifying: true,
        convert_to_native: true,
        promote_scope: true,
        ..Options::default()
    };
    let value = "schema=-53 zero=0@0 count=6 sum=2.5 +[(0, 3)][1.0, 2.0, 3.0] -[][]@5";
    check(
        options.clone(),
        &format!(
            "{{__name__=\"lat.x\", \"a.b\"=\"1\", \"host.name\"=\"h\", job=\"shop\", \
             otel_scope_name=\"lib\", otel_scope_schema_url=\"u\", otel_scope_version=\"2\"}} {value}\n\
             {{__name__=\"target_info\", \"host.name\"=\"h\", job=\"shop\", \
             \"k8s.pod.name\"=\"p\", \"service.name\"=\"shop\"}} 1@5\n"
        ),
    );
    check(
        Options {
            strategy: super::Strategy::UnderscoreEscapingWithoutSuffixes,
            promoted: Promoted::AllBut(vec!["service.name".to_owned()]),
            keep_identifying: false,
            promote_scope: false,
            ..options
        },
        &format!(
            "{{__name__=\"lat_x\", a_b=\"1\", host_name=\"h\", job=\"shop\", \
             k8s_pod_name=\"p\"}} {value}\n\
             {{__name__=\"target_info\", host_name=\"h\", job=\"shop\", k8s_pod_name=\"p\"}} 1@5\n"
        ),
    );
}

/// Counts by Prometheus' bucket index, zeroes left out.
fn by_index(h: &Histogram) -> BTreeMap<i64, f64> {
    let mut index = 0;
    let mut counts = h.positive.iter();
    let mut found = BTreeMap::new();
    for span in &h.positive_spans {
        index += i64::from(span.offset);
        for _ in 0..span.length {
            let count = *counts.next().unwrap();
            if count > 0.0 {
                found.insert(index, count);
            }
            index += 1;
        }
    }
    found
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn downscaling_keeps_every_observation_in_its_bucket(
        offset in -50..50i32,
        bucket_counts in vec(0..4u64, 0..60),
        scale in -4..13i32,
    ) {
        let mut expect = BTreeMap::new();
        let step = 1i64 << (scale - 8).max(0);
        for (at, count) in bucket_counts.iter().enumerate().filter(|(_, c)| **c > 0) {
            let index = (i64::from(offset) + at as i64).div_euclid(step) + 1;
            *expect.entry(index).or_insert(0.0) += *count as f64;
        }
        let point = ExponentialHistogramDataPoint {
            count: bucket_counts.iter().sum(),
            scale,
            positive: Some(Buckets { offset, bucket_counts }),
            ..ExponentialHistogramDataPoint::default()
        };
        let native = histogram::native(&point).unwrap();
        prop_assert_eq!(native.validate(), Ok(()));
        prop_assert_eq!(by_index(&native), expect);
        prop_assert_eq!(native.schema, scale.min(8));
    }
}
