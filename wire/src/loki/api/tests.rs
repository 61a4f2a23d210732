//! Every shape of an answer.

use expect_test::{Expect, expect};
use obs_model::answer::{FoundTrace, MatrixSeries, VectorSample};
use obs_model::logs::LogStream;
use obs_model::{Annotations, Samples};

use super::*;

fn check(write: impl FnOnce(&mut Vec<u8>), expect: Expect) {
    let mut out = Vec::new();
    write(&mut out);
    let value: serde_json::Value = serde_json::from_slice(&out).unwrap();
    assert!(value.is_object());
    expect.assert_eq(&String::from_utf8(out).unwrap());
}

fn reply(answer: Answer) -> Reply {
    let mut annotations = Annotations::default();
    if matches!(answer, Answer::Scalar(..)) {
        annotations.warn("careful");
    }
    Reply {
        answer,
        annotations,
        samples_read: 10,
        bytes_read: 1000,
        samples_by_step: None,
    }
}

fn check_result(answer: Answer, encoding: LabelEncoding, expect: Expect) {
    let mut out = Vec::new();
    query(&reply(answer), encoding, Timing::default(), &mut out).unwrap();
    let text = String::from_utf8(out).unwrap();
    serde_json::from_str::<serde_json::Value>(&text).unwrap();
    let (result, _) = text.split_once(",\"stats\"").unwrap();
    expect.assert_eq(result);
}

fn labels(pairs: &[(&str, &str)]) -> Labels {
    Labels::from_pairs(pairs.iter().copied())
}

fn streams() -> Answer {
    let record = |nanos, line: &[u8], metadata: &[(&str, &str)]| LogRecord {
        time: Timestamp::from_nanos(nanos),
        line: line.to_vec(),
        metadata: labels(metadata),
    };
    Answer::Streams(vec![LogLines {
        stream: LogStream {
            labels: labels(&[("job", "a")]),
            records: vec![
                record(3, b"c\xff", &[]),
                record(2, b"b", &[("trace_id", "1")]),
                record(1, b"a", &[]),
            ],
        },
        parsed: vec![
            Labels::empty(),
            labels(&[("job", "x"), ("level", "info")]),
            Labels::empty(),
        ],
    }])
}

#[test]
fn lines() {
    check_result(
        streams(),
        LabelEncoding::Categorized,
        expect![[
            r#"{"status":"success","data":{"resultType":"streams","encodingFlags":["categorize-labels"],"result":[{"stream":{"job":"a"},"values":[["3","c�",{}],["2","b",{"structuredMetadata":{"trace_id":"1"},"parsed":{"job":"x","level":"info"}}],["1","a",{}]]}]"#
        ]],
    );
    check_result(
        streams(),
        LabelEncoding::Merged,
        expect![[
            r#"{"status":"success","data":{"resultType":"streams","result":[{"stream":{"job":"a"},"values":[["3","c�"],["1","a"]]},{"stream":{"job":"x","level":"info","trace_id":"1"},"values":[["2","b"]]}]"#
        ]],
    );
    check_result(
        Answer::Streams(Vec::new()),
        LabelEncoding::Merged,
        expect![[r#"{"status":"success","data":{"resultType":"streams","result":[]"#]],
    );
}

#[test]
fn metrics() {
    check_result(
        Answer::Vector(vec![VectorSample {
            labels: labels(&[("a", "b")]),
            time: Timestamp::from_millis(1500),
            value: Value::Float(1e-7),
        }]),
        LabelEncoding::Categorized,
        expect![[
            r#"{"status":"success","data":{"resultType":"vector","encodingFlags":["categorize-labels"],"result":[{"metric":{"a":"b"},"value":[1.500,"0.0000001"]}]"#
        ]],
    );
    let mut samples = Samples::default();
    samples.push(Timestamp::from_seconds(1), Value::Float(1.0));
    samples.push(Timestamp::from_seconds(2), Value::Float(f64::NAN));
    check_result(
        Answer::Matrix(vec![MatrixSeries {
            labels: Labels::empty(),
            samples,
        }]),
        LabelEncoding::Merged,
        expect![[
            r#"{"status":"success","data":{"resultType":"matrix","result":[{"metric":{},"values":[[1,"1"],[2,"NaN"]]}]"#
        ]],
    );
}

#[test]
fn statistics_and_warnings() {
    let scalar = reply(Answer::Scalar(Timestamp::from_seconds(1), 2.0));
    let timing = Timing {
        exec_seconds: 0.5,
        queue_seconds: 0.25,
    };
    check(
        |out| query(&scalar, LabelEncoding::Merged, timing, out).unwrap(),
        expect![[
            r#"{"status":"success","data":{"resultType":"scalar","result":[1,"2"],"stats":{"summary":{"bytesProcessedPerSecond":2000,"linesProcessedPerSecond":20,"totalBytesProcessed":1000,"totalLinesProcessed":10,"totalEntriesReturned":1,"totalPostFilterLines":1,"totalStructuredMetadataBytesProcessed":0,"subqueries":0,"splits":0,"shards":0,"execTime":0.5,"queueTime":0.25},"querier":{"store":{"totalChunksRef":0,"totalChunksDownloaded":0,"chunksDownloadTime":0,"queryReferencedStructuredMetadata":false,"chunk":{"headChunkBytes":0,"headChunkLines":0,"decompressedBytes":0,"decompressedLines":0,"compressedBytes":0,"totalDuplicates":0,"postFilterLines":0,"headChunkStructuredMetadataBytes":0,"decompressedStructuredMetadataBytes":0},"chunkRefsFetchTime":0,"congestionControlLatency":0,"pipelineWrapperFilteredLines":0}},"ingester":{"totalReached":0,"totalChunksMatched":0,"totalBatches":0,"totalLinesSent":0,"store":{"totalChunksRef":0,"totalChunksDownloaded":0,"chunksDownloadTime":0,"queryReferencedStructuredMetadata":false,"chunk":{"headChunkBytes":0,"headChunkLines":0,"decompressedBytes":0,"decompressedLines":0,"compressedBytes":0,"totalDuplicates":0,"postFilterLines":0,"headChunkStructuredMetadataBytes":0,"decompressedStructuredMetadataBytes":0},"chunkRefsFetchTime":0,"congestionControlLatency":0,"pipelineWrapperFilteredLines":0}},"cache":{"chunk":{"entriesFound":0,"entriesRequested":0,"entriesStored":0,"bytesReceived":0},"index":{"entriesFound":0,"entriesRequested":0,"entriesStored":0,"bytesReceived":0},"result":{"entriesFound":0,"entriesRequested":0,"entriesStored":0,"bytesReceived":0},"statsResult":{"entriesFound":0,"entriesRequested":0,"entriesStored":0,"bytesReceived":0},"volumeResult":{"entriesFound":0,"entriesRequested":0,"entriesStored":0,"bytesReceived":0},"seriesResult":{"entriesFound":0,"entriesRequested":0,"entriesStored":0,"bytesReceived":0},"labelResult":{"entriesFound":0,"entriesRequested":0,"entriesStored":0,"bytesReceived":0},"instantMetricResult":{"entriesFound":0,"entriesRequested":0,"entriesStored":0,"bytesReceived":0}}}},"warnings":["careful"]}"#
        ]],
    );
    let traces = reply(Answer::Traces(Vec::<FoundTrace>::new()));
    let error = query(&traces, LabelEncoding::Merged, timing, &mut Vec::new());
    assert!(matches!(error, Err(WireError::Unsupported { .. })));
}

#[test]
fn lists() {
    check(
        |out| strings(&["a", "b"], out),
        expect![[r#"{"status":"success","data":["a","b"]}"#]],
    );
    check(
        |out| series(&[labels(&[("a", "b")])], out),
        expect![[r#"{"status":"success","data":[{"a":"b"}]}"#]],
    );
    let stats = IndexStats {
        streams: 1,
        chunks: 2,
        entries: 3,
        bytes: 4,
    };
    check(
        |out| index_stats(stats, out),
        expect![[r#"{"streams":1,"chunks":2,"bytes":4,"entries":3}"#]],
    );
}

#[test]
fn header_flags() {
    let check = |value, expect| assert_eq!(LabelEncoding::from_header(value), expect, "{value}");
    check("categorize-labels", LabelEncoding::Categorized);
    check("other, categorize-labels", LabelEncoding::Categorized);
    check("", LabelEncoding::Merged);
    check("categorize", LabelEncoding::Merged);
}
