//! The JSON of what Loki's API tells about logs beside their lines: volumes, patterns, detected
//! labels and fields, shards, and requests for deletion.
//!
//! Invariant: only volumes and patterns have the envelope with `status`; the others are bare, as
//! Loki's clients expect them.
//! Reference: <https://grafana.com/docs/loki/latest/reference/loki-http-api/>

use obs_model::Timestamp;

use super::api::IndexStats;
use crate::json::Writer;
use crate::number;

/// One entry of a volume.
#[derive(Clone, Debug, Default)]
pub struct Volume {
    /// Its labels; a value may be empty.
    pub labels: Vec<(String, String)>,
    /// Bytes, by time.
    pub points: Vec<(Timestamp, u64)>,
}

/// Writes `index/volume`: one point for each entry.
pub fn volume(volumes: &[Volume], out: &mut Vec<u8>) {
    volumes_of("vector", volumes, out);
}

/// Writes `index/volume_range`.
pub fn volume_range(volumes: &[Volume], out: &mut Vec<u8>) {
    volumes_of("matrix", volumes, out);
}

fn volumes_of(kind: &str, volumes: &[Volume], out: &mut Vec<u8>) {
    let mut json = Writer::new(out);
    json.object();
    json.field("status", "success");
    json.key("data");
    json.object();
    json.field("resultType", kind);
    json.key("result");
    json.array();
    for volume in volumes {
        json.object();
        json.key("metric");
        json.pairs(volume.labels.iter().map(|(n, v)| (n.as_str(), v.as_str())));
        if kind == "matrix" {
            json.key("values");
            json.array();
            volume.points.iter().for_each(|p| point(&mut json, *p));
            json.end_array();
        } else if let Some(first) = volume.points.first() {
            json.key("value");
            point(&mut json, *first);
        }
        json.end_object();
    }
    json.end_array();
    json.key("stats");
    json.object();
    json.end_object();
    json.end_object();
    json.end_object();
}

fn point(json: &mut Writer<'_>, (time, bytes): (Timestamp, u64)) {
    json.array();
    json.value(|out| number::seconds(out, time));
    json.string(&bytes.to_string());
    json.end_array();
}

/// A pattern with its counts over time.
#[derive(Clone, Debug, Default)]
pub struct Pattern {
    /// The pattern, as `|>` takes it.
    pub pattern: String,
    /// The level of its lines; empty where it is not known.
    pub level: String,
    /// Lines, by the begin of a step.
    pub samples: Vec<(Timestamp, u64)>,
}

/// Writes `patterns`.
pub fn patterns(patterns: &[Pattern], out: &mut Vec<u8>) {
    let mut json = Writer::new(out);
    json.object();
    json.field("status", "success");
    json.key("data");
    json.array();
    for pattern in patterns {
        json.object();
        json.field("pattern", &pattern.pattern);
        if !pattern.level.is_empty() {
            json.field("level", &pattern.level);
        }
        json.key("samples");
        json.array();
        for (time, count) in &pattern.samples {
            json.array();
            json.integer(time.nanos().div_euclid(1_000_000_000));
            json.unsigned(*count);
            json.end_array();
        }
        json.end_array();
        json.end_object();
    }
    json.end_array();
    json.end_object();
}

/// Writes `detected_labels`: names and numbers of values.
pub fn detected_labels<'a>(labels: impl IntoIterator<Item = (&'a str, usize)>, out: &mut Vec<u8>) {
    let mut json = Writer::new(out);
    json.object();
    json.key("detectedLabels");
    json.array();
    for (name, cardinality) in labels {
        json.object();
        json.field("label", name);
        json.key("cardinality");
        json.unsigned(cardinality as u64);
        json.end_object();
    }
    json.end_array();
    json.end_object();
}

/// A field of lines.
#[derive(Clone, Debug, Default)]
pub struct Field {
    /// Its name.
    pub label: String,
    /// `string`, `int`, `float`, `boolean`, `duration` or `bytes`.
    pub kind: &'static str,
    /// Its number of values.
    pub cardinality: usize,
    /// The parsers that find it; none where it is structured metadata.
    pub parsers: Vec<&'static str>,
    /// Its keys in JSON lines.
    pub json_path: Vec<String>,
}

/// Writes `detected_fields`.
pub fn detected_fields(fields: &[Field], limit: usize, out: &mut Vec<u8>) {
    let mut json = Writer::new(out);
    json.object();
    json.key("fields");
    json.array();
    for field in fields {
        json.object();
        json.field("label", &field.label);
        json.field("type", field.kind);
        json.key("cardinality");
        json.unsigned(field.cardinality as u64);
        json.key("parsers");
        if field.parsers.is_empty() {
            json.null();
        } else {
            json.strings(&field.parsers);
        }
        if !field.json_path.is_empty() {
            json.key("jsonPath");
            json.strings(&field.json_path);
        }
        json.end_object();
    }
    json.end_array();
    json.key("limit");
    json.unsigned(limit as u64);
    json.end_object();
}

/// Writes `detected_field/<name>/values`.
pub fn detected_values<S: AsRef<str>>(
    values: impl IntoIterator<Item = S>,
    limit: usize,
    out: &mut Vec<u8>,
) {
    let mut json = Writer::new(out);
    json.object();
    json.key("values");
    json.strings(values);
    json.key("limit");
    json.unsigned(limit as u64);
    json.end_object();
}

/// Writes `index/shards`: one shard with everything, because parts are read side by side anyway.
pub fn shards(stats: IndexStats, out: &mut Vec<u8>) {
    let mut json = Writer::new(out);
    json.object();
    json.key("shards");
    json.array();
    json.object();
    json.key("bounds");
    json.object();
    json.key("min");
    json.unsigned(0);
    json.key("max");
    json.unsigned(u64::MAX);
    json.end_object();
    json.key("stats");
    json.value(|out| super::api::index_stats(stats, out));
    json.end_object();
    json.end_array();
    json.key("statistics");
    json.object();
    json.end_object();
    json.end_object();
}

/// A request that lines are deleted.
#[derive(Clone, Debug)]
pub struct DeleteRequest {
    /// Its id.
    pub id: String,
    /// From when.
    pub start: Timestamp,
    /// Until when.
    pub end: Timestamp,
    /// Which lines.
    pub query: String,
    /// `received` or `processed`.
    pub status: &'static str,
    /// When it came.
    pub created: Timestamp,
}

/// Writes the list of requests for deletion; times are seconds, as in Loki.
pub fn delete_requests(requests: &[DeleteRequest], out: &mut Vec<u8>) {
    let mut json = Writer::new(out);
    json.array();
    for request in requests {
        json.object();
        json.field("request_id", &request.id);
        for (name, time) in [
            ("start_time", request.start),
            ("end_time", request.end),
            ("created_at", request.created),
        ] {
            json.key(name);
            json.value(|out| number::seconds(out, time));
        }
        json.field("query", &request.query);
        json.field("status", request.status);
        json.end_object();
    }
    json.end_array();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(write: impl FnOnce(&mut Vec<u8>), expect: &str) {
        let mut out = Vec::new();
        write(&mut out);
        let text = String::from_utf8(out).unwrap();
        assert_eq!(text, expect);
        assert!(serde_json::from_str::<serde_json::Value>(&text).is_ok());
    }

    #[test]
    fn shapes() {
        let at = Timestamp::from_millis(1500);
        let volumes = [Volume {
            labels: vec![("app".to_owned(), String::new())],
            points: vec![(at, 7)],
        }];
        check(
            |out| volume(&volumes, out),
            r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{"app":""},"value":[1.500,"7"]}],"stats":{}}}"#,
        );
        check(
            |out| volume_range(&volumes, out),
            r#"{"status":"success","data":{"resultType":"matrix","result":[{"metric":{"app":""},"values":[[1.500,"7"]]}],"stats":{}}}"#,
        );
        let found = [Pattern {
            pattern: "a <_>".to_owned(),
            level: "info".to_owned(),
            samples: vec![(at, 2)],
        }];
        check(
            |out| patterns(&found, out),
            r#"{"status":"success","data":[{"pattern":"a <_>","level":"info","samples":[[1,2]]}]}"#,
        );
        check(
            |out| detected_labels([("app", 2)], out),
            r#"{"detectedLabels":[{"label":"app","cardinality":2}]}"#,
        );
        let field = |parsers: &[&'static str]| Field {
            label: "f".to_owned(),
            kind: "int",
            cardinality: 1,
            parsers: parsers.to_vec(),
            json_path: parsers.iter().map(|_| "f".to_owned()).collect(),
        };
        check(
            |out| detected_fields(&[field(&["json"]), field(&[])], 9, out),
            r#"{"fields":[{"label":"f","type":"int","cardinality":1,"parsers":["json"],"jsonPath":["f"]},{"label":"f","type":"int","cardinality":1,"parsers":null}],"limit":9}"#,
        );
        check(
            |out| detected_values(["a"], 9, out),
            r#"{"values":["a"],"limit":9}"#,
        );
        check(
            |out| shards(IndexStats::default(), out),
            r#"{"shards":[{"bounds":{"min":0,"max":18446744073709551615},"stats":{"streams":0,"chunks":0,"bytes":0,"entries":0}}],"statistics":{}}"#,
        );
        let request = DeleteRequest {
            id: "1".to_owned(),
            start: at,
            end: at,
            query: "{a=\"b\"}".to_owned(),
            status: "processed",
            created: at,
        };
        check(
            |out| delete_requests(&[request], out),
            r#"[{"request_id":"1","start_time":1.500,"end_time":1.500,"created_at":1.500,"query":"{a=\"b\"}","status":"processed"}]"#,
        );
    }
}
