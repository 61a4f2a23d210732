//! Writers for `/api/metrics/query_range` and `/api/metrics/query`, in JSON and protobuf.
//!
//! Invariants: proto3-JSON (64-bit integers are texts, defaults are left out); nothing stands in
//! an answer to an instant query that the schema does not have, because clients refuse it.

use obs_model::answer::{SpanExemplar, SpanSeries};
use obs_model::time::Timestamp;
use prost::Message;

use super::api::{SearchMetrics, write_metrics};
use super::messages::metrics_message;
use super::proto;
use crate::otlp::attributes;
use crate::otlp::json::{Object, write_attribute, write_double};

fn number(object: &mut Object<'_>, name: &str, value: f64) {
    // Negative zero is not the default.
    if value.to_bits() != 0 {
        write_double(object.key(name), value);
    }
}

fn write_tail(mut object: Object<'_>, metrics: &SearchMetrics, partial: Option<&str>) {
    write_metrics(object.key("metrics"), metrics);
    if let Some(why) = partial {
        object.text("status", "PARTIAL");
        object.text("message", why);
    }
    object.close();
}

/// `/api/metrics/query_range` in JSON; `partial` says why series are missing.
pub fn range_json(
    series: &[SpanSeries],
    metrics: &SearchMetrics,
    partial: Option<&str>,
    out: &mut Vec<u8>,
) {
    let mut object = Object::open(out);
    // Written even when empty: clients iterate over it.
    crate::otlp::json::write_list(object.key("series"), series, write_series);
    write_tail(object, metrics, partial);
}

fn write_series(out: &mut Vec<u8>, series: &SpanSeries) {
    let mut object = Object::open(out);
    object.list("labels", &series.labels, write_attribute);
    object.list("samples", &series.samples, |out, (time, value)| {
        let mut sample = Object::open(out);
        sample.long("timestampMs", time.millis());
        number(&mut sample, "value", *value);
        sample.close();
    });
    object.list("exemplars", &series.exemplars, |out, exemplar| {
        let mut inner = Object::open(out);
        inner.list("labels", &exemplar.labels, write_attribute);
        number(&mut inner, "value", exemplar.value);
        inner.long("timestampMs", exemplar.time.millis());
        inner.close();
    });
    object.close();
}

/// `/api/metrics/query` in JSON: the last value of each series.
pub fn instant_json(
    series: &[SpanSeries],
    metrics: &SearchMetrics,
    partial: Option<&str>,
    out: &mut Vec<u8>,
) {
    let mut object = Object::open(out);
    crate::otlp::json::write_list(object.key("series"), series, |out, series| {
        let mut inner = Object::open(out);
        inner.list("labels", &series.labels, write_attribute);
        number(&mut inner, "value", last(series));
        inner.close();
    });
    write_tail(object, metrics, partial);
}

fn last(series: &SpanSeries) -> f64 {
    series.samples.last().map_or(0.0, |(_, value)| *value)
}

/// `tempopb.QueryRangeResponse`.
pub fn range_protobuf(
    series: &[SpanSeries],
    metrics: &SearchMetrics,
    partial: Option<&str>,
) -> Vec<u8> {
    let message = proto::QueryRangeResponse {
        series: series.iter().map(series_message).collect(),
        metrics: Some(metrics_message(metrics)),
        status: i32::from(partial.is_some()),
        message: partial.unwrap_or_default().to_owned(),
    };
    message.encode_to_vec()
}

fn series_message(series: &SpanSeries) -> proto::TimeSeries {
    let sample = |(time, value): &(Timestamp, f64)| proto::Sample {
        value: *value,
        timestamp_ms: time.millis(),
    };
    let exemplar = |exemplar: &SpanExemplar| proto::Exemplar {
        labels: attributes::to_proto(&exemplar.labels),
        value: exemplar.value,
        timestamp_ms: exemplar.time.millis(),
    };
    proto::TimeSeries {
        labels: attributes::to_proto(&series.labels),
        samples: series.samples.iter().map(sample).collect(),
        exemplars: series.exemplars.iter().map(exemplar).collect(),
    }
}

/// `tempopb.QueryInstantResponse`.
pub fn instant_protobuf(
    series: &[SpanSeries],
    metrics: &SearchMetrics,
    partial: Option<&str>,
) -> Vec<u8> {
    let one = |series: &SpanSeries| proto::InstantSeries {
        labels: attributes::to_proto(&series.labels),
        value: last(series),
    };
    let message = proto::QueryInstantResponse {
        series: series.iter().map(one).collect(),
        metrics: Some(metrics_message(metrics)),
        status: i32::from(partial.is_some()),
        message: partial.unwrap_or_default().to_owned(),
    };
    message.encode_to_vec()
}

#[cfg(test)]
mod tests {
    use obs_model::spans::{Attribute, AttributeValue};

    use super::*;

    fn series() -> SpanSeries {
        let int = |key: &str, value| Attribute {
            key: key.to_owned(),
            value: AttributeValue::Int(value),
        };
        SpanSeries {
            labels: vec![
                Attribute::string("resource.service.name", "shop"),
                int("span.n", 5),
            ],
            samples: vec![
                (Timestamp::from_seconds(60), 0.0),
                (Timestamp::from_seconds(75), 1.5),
            ],
            exemplars: vec![SpanExemplar {
                labels: vec![Attribute::string("trace:id", "ab")],
                time: Timestamp::from_seconds(61),
                value: 0.25,
            }],
        }
    }

    #[test]
    fn ranges() {
        let mut out = Vec::new();
        let metrics = SearchMetrics {
            inspected_bytes: 9,
            ..SearchMetrics::default()
        };
        range_json(&[series()], &metrics, None, &mut out);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            r#"{"series":[{"labels":[{"key":"resource.service.name","value":{"stringValue":"shop"}},"#.to_owned()
                + r#"{"key":"span.n","value":{"intValue":"5"}}],"samples":[{"timestampMs":"60000"},"#
                + r#"{"timestampMs":"75000","value":1.5}],"exemplars":[{"labels":[{"key":"trace:id","#
                + r#""value":{"stringValue":"ab"}}],"value":0.25,"timestampMs":"61000"}]}],"#
                + r#""metrics":{"inspectedBytes":"9"}}"#
        );
        let bytes = range_protobuf(&[series()], &metrics, Some("cut"));
        let read = proto::QueryRangeResponse::decode(&bytes[..]).unwrap();
        assert_eq!(read.series[0].samples[1].value, 1.5);
        assert_eq!((read.status, read.message.as_str()), (1, "cut"));
        assert_eq!(read.series[0].exemplars[0].timestamp_ms, 61_000);
    }

    #[test]
    fn instants_have_only_fields_of_the_schema() {
        let mut out = Vec::new();
        instant_json(
            &[series()],
            &SearchMetrics::default(),
            Some("cut"),
            &mut out,
        );
        assert_eq!(
            String::from_utf8(out).unwrap(),
            r#"{"series":[{"labels":[{"key":"resource.service.name","value":{"stringValue":"shop"}},"#.to_owned()
                + r#"{"key":"span.n","value":{"intValue":"5"}}],"value":1.5}],"metrics":{},"#
                + r#""status":"PARTIAL","message":"cut"}"#
        );
        let bytes = instant_protobuf(&[series()], &SearchMetrics::default(), None);
        let read = proto::QueryInstantResponse::decode(&bytes[..]).unwrap();
        assert_eq!(read.series[0].value, 1.5);
    }
}
