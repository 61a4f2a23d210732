//! The envelope and every shape of an answer.

use std::sync::Arc;

use expect_test::{Expect, expect};
use obs_model::metrics::MetricKind;
use obs_model::{Histogram, Samples};

use super::*;

fn check(write: impl FnOnce(&mut Vec<u8>), expect: Expect) {
    let mut out = Vec::new();
    write(&mut out);
    let value: serde_json::Value = serde_json::from_slice(&out).unwrap();
    assert!(value.is_object());
    expect.assert_eq(&String::from_utf8(out).unwrap());
}

fn reply(answer: Answer) -> Reply {
    Reply {
        answer,
        annotations: Annotations::default(),
        samples_read: 0,
        bytes_read: 0,
        samples_by_step: None,
    }
}

fn check_answer(answer: Answer, expect: Expect) {
    check(|out| query(&reply(answer), None, out).unwrap(), expect);
}

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

fn labels() -> Labels {
    Labels::from_pairs([("__name__", "up"), ("job", "a\"b")])
}

#[test]
fn answers() {
    check_answer(
        Answer::Scalar(at(1500), f64::INFINITY),
        expect![[r#"{"status":"success","data":{"resultType":"scalar","result":[1.5,"+Inf"]}}"#]],
    );
    check_answer(
        Answer::String(at(1000), "x".to_owned()),
        expect![[r#"{"status":"success","data":{"resultType":"string","result":[1,"x"]}}"#]],
    );
    let histogram = Arc::new(Histogram {
        count: 1.0,
        zero_count: 1.0,
        ..Histogram::default()
    });
    let sample = |value| VectorSample {
        labels: labels(),
        time: at(1_000),
        value,
    };
    check_answer(
        Answer::Vector(vec![
            sample(Value::Float(1e21)),
            sample(Value::Histogram(Arc::clone(&histogram))),
        ]),
        expect![[
            r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{"__name__":"up","job":"a\"b"},"value":[1,"1e+21"]},{"metric":{"__name__":"up","job":"a\"b"},"histogram":[1,{"count":"1","sum":"0","buckets":[[3,"-0","0","1"]]}]}]}}"#
        ]],
    );
    let mut mixed = Samples::default();
    mixed.push(at(1_000), Value::Float(1.0));
    mixed.push(at(2_000), Value::Histogram(histogram));
    mixed.push(at(3_250), Value::Float(0.5));
    check_answer(
        Answer::Matrix(vec![MatrixSeries {
            labels: Labels::empty(),
            samples: mixed,
        }]),
        expect![[
            r#"{"status":"success","data":{"resultType":"matrix","result":[{"metric":{},"values":[[1,"1"],[3.250,"0.5"]],"histograms":[[2,{"count":"1","sum":"0","buckets":[[3,"-0","0","1"]]}]]}]}}"#
        ]],
    );
    let error = query(&reply(Answer::Streams(Vec::new())), None, &mut Vec::new()).unwrap_err();
    assert!(matches!(error, WireError::Unsupported { .. }));
}

#[test]
fn lists_and_errors() {
    let mut annotations = Annotations::default();
    annotations.warn("results truncated due to limit");
    annotations.info("an info");
    check(
        |out| strings(&["a", "b"], &annotations, out),
        expect![[
            r#"{"status":"success","data":["a","b"],"warnings":["results truncated due to limit"],"infos":["an info"]}"#
        ]],
    );
    let none = Annotations::default();
    check(
        |out| series(&[labels()], &none, out),
        expect![[r#"{"status":"success","data":[{"__name__":"up","job":"a\"b"}]}"#]],
    );
    let up = Metadata {
        family: "up".to_owned(),
        kind: MetricKind::Gauge,
        unit: String::new(),
        help: "x\n".to_owned(),
    };
    check(
        |out| metadata(&[up], &none, out),
        expect![[
            r#"{"status":"success","data":{"up":[{"type":"gauge","unit":"","help":"x\n"}]}}"#
        ]],
    );
    let exemplar = Exemplar {
        labels: Labels::from_pairs([("trace_id", "1")]),
        value: 6.0,
        time: at(1_600_096_945_479),
    };
    check(
        |out| exemplars(&[(labels(), vec![exemplar])], out),
        expect![[
            r#"{"status":"success","data":[{"seriesLabels":{"__name__":"up","job":"a\"b"},"exemplars":[{"labels":{"trace_id":"1"},"value":"6","timestamp":1600096945.479}]}]}"#
        ]],
    );
    check(
        |out| error(ErrorType::BadData, "1:1: no", out),
        expect![[r#"{"status":"error","errorType":"bad_data","error":"1:1: no"}"#]],
    );
    assert_eq!(ErrorType::Execution.http_status(), 422);
}
