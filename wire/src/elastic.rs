//! Elasticsearch's bulk and index requests: documents as log records, and the answers clients read.
//!
//! Invariants: every operation of a request gets one item in the answer, in order; a document that
//! cannot be taken costs only its own item; a malformed action line refuses the whole request
//! before anything of it is stored, as in Elasticsearch.
//! Format: <https://www.elastic.co/docs/api/doc/elasticsearch/operation/operation-bulk>

use obs_model::Timestamp;
use obs_model::logs::LogBatch;

use crate::error::{Position, WireError};
use crate::event::{Context, Event, Gather};
use crate::json::Writer;
use crate::raw;
use crate::rejects::shown;

const FORMAT: &str = "elasticsearch bulk request";
/// The version that clients are told; they refuse servers that are much older than themselves.
pub const VERSION: &str = "8.9.0";
/// The label of a stream that names the index; without one this is it.
const INDEX_LABEL: &str = "index";
/// Longest name of an index, as in Elasticsearch.
const INDEX_BYTES_MAX: usize = 255;

/// Operations of one request: each has an item in the answer, which is larger than the operation.
const OPERATIONS_MAX: usize = 1 << 20;

/// What an operation wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// `create`
    Create,
    /// `index`
    Index,
    /// `update`
    Update,
    /// `delete`
    Delete,
}

impl Action {
    fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "create" => Self::Create,
            "index" => Self::Index,
            "update" => Self::Update,
            "delete" => Self::Delete,
            _ => return None,
        })
    }

    fn name(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Index => "index",
            Self::Update => "update",
            Self::Delete => "delete",
        }
    }
}

/// Why a document was not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    status: u16,
    kind: &'static str,
    reason: String,
}

impl Fault {
    fn new(status: u16, kind: &'static str, reason: impl Into<String>) -> Self {
        Self {
            status,
            kind,
            reason: reason.into(),
        }
    }
}

/// One operation of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    action: Action,
    index: String,
    id: String,
    /// The time of its record, where it is one.
    time: Option<Timestamp>,
    fault: Option<Fault>,
}

/// A request: records, and what is to be answered about each operation.
#[derive(Clone, Debug, Default)]
pub struct Bulk {
    /// The records of all good operations.
    pub batch: LogBatch,
    /// All operations in order.
    pub items: Vec<Item>,
}

impl Bulk {
    /// Marks so many operations as refused by the store, which does not say which: the oldest
    /// records, for age is what a store refuses.
    pub fn refuse(&mut self, refused: u64, reason: &str) {
        let mut good: Vec<&mut Item> = self
            .items
            .iter_mut()
            .filter(|i| i.fault.is_none())
            .collect();
        good.sort_by_key(|item| item.time);
        let refused = usize::try_from(refused).unwrap_or(usize::MAX);
        for item in good.into_iter().take(refused) {
            item.fault = Some(Fault::new(400, "illegal_argument_exception", reason));
        }
    }
}

/// Reads a bulk request; `index` is that of the address.
pub fn decode_bulk(body: &[u8], index: &str, context: Context<'_>) -> Result<Bulk, WireError> {
    let max = context.limits.decompressed_bytes_max;
    if body.len() > max {
        return Err(WireError::too_large(FORMAT, crate::capped::LIMIT, max));
    }
    let mut reader = Reader::new(context);
    let mut lines = body.split(|byte| *byte == b'\n').enumerate();
    while let Some((number, line)) = lines.next() {
        let line = line.trim_ascii();
        if line.is_empty() {
            continue;
        }
        let (action, meta) = action(line, number + 1)?;
        if reader.items.len() >= OPERATIONS_MAX {
            let expected = format!("at most {OPERATIONS_MAX} operations in a request");
            return Err(malformed(number + 1, expected));
        }
        let mut item = reader.item(action, index, meta);
        if action == Action::Delete {
            let reason = "records cannot be deleted one by one";
            item.fault = Some(Fault::new(400, "illegal_argument_exception", reason));
            reader.items.push(item);
            continue;
        }
        let Some((_, document)) = lines.next() else {
            return Err(malformed(number + 1, "a document behind the action".into()));
        };
        reader.document(item, document.trim_ascii());
    }
    if reader.items.is_empty() {
        let expected = "at least one operation; validation failed: no requests added";
        return Err(malformed(1, expected.to_owned()));
    }
    Ok(reader.into_bulk())
}

/// Reads a single document.
pub fn decode_document(
    body: &[u8],
    action: Action,
    (index, id): (&str, Option<&str>),
    context: Context<'_>,
) -> Bulk {
    let mut reader = Reader::new(context);
    let mut item = reader.item(action, index, b"{}");
    if let Some(id) = id {
        id.clone_into(&mut item.id);
    }
    reader.document(item, body.trim_ascii());
    reader.into_bulk()
}

fn malformed(line: usize, expected: String) -> WireError {
    WireError::Malformed {
        format: FORMAT,
        position: Position::Line { line, column: 1 },
        expected,
    }
}

/// `{"create":{…}}`: the action and its object.
fn action(line: &[u8], number: usize) -> Result<(Action, &[u8]), WireError> {
    raw::check(line).map_err(|reason| malformed(number, reason))?;
    let expected = r#"an action such as {"create":{"_index":"logs"}}"#;
    let mut members = raw::members(line);
    let (Some((name, meta)), None) = (members.next(), members.next()) else {
        return Err(malformed(number, expected.to_owned()));
    };
    let action = Action::from_name(&name).filter(|_| meta.first() == Some(&b'{'));
    let found = || format!("{expected}, found {}", shown(&name));
    let action = action.ok_or_else(|| malformed(number, found()))?;
    Ok((action, meta))
}

struct Reader<'a> {
    context: Context<'a>,
    items: Vec<Item>,
    gather: Gather,
}

impl<'a> Reader<'a> {
    fn new(context: Context<'a>) -> Self {
        Self {
            context,
            items: Vec::new(),
            gather: Gather::new(context.limits),
        }
    }

    fn item(&self, action: Action, index: &str, meta: &[u8]) -> Item {
        let text = |name: &str| raw::member(meta, name).and_then(raw::text);
        let mut index = text("_index").map_or_else(|| index.to_owned(), |name| name.into_owned());
        let mut fault = None;
        if index.len() > INDEX_BYTES_MAX {
            index.clear();
            let reason = format!("index name is longer than {INDEX_BYTES_MAX} bytes");
            fault = Some(Fault::new(400, "invalid_index_name_exception", reason));
        }
        let given = text("_id").filter(|id| id.len() <= 512);
        let made = || format!("{:x}-{}", self.context.now.nanos(), self.items.len());
        Item {
            action,
            index,
            id: given.map_or_else(made, |id| id.into_owned()),
            time: None,
            fault,
        }
    }

    fn document(&mut self, mut item: Item, document: &[u8]) {
        if item.fault.is_none() {
            match self.record(&item, document) {
                Ok(time) => item.time = Some(time),
                Err(fault) => item.fault = Some(fault),
            }
        }
        self.items.push(item);
    }

    fn record(&mut self, item: &Item, mut document: &[u8]) -> Result<Timestamp, Fault> {
        let parsing = |reason: String| Fault::new(400, "document_parsing_exception", reason);
        raw::check(document).map_err(|reason| parsing(format!("expected {reason}")))?;
        if item.action == Action::Update {
            document = upserted(document, &item.id)?;
        }
        if document.first() != Some(&b'{') {
            return Err(parsing("expected an object".to_owned()));
        }
        if self.gather.is_full() {
            let reason = "too many records at once; send less";
            return Err(Fault::new(429, "es_rejected_execution_exception", reason));
        }
        let limits = self.context.limits;
        let mut given = Vec::new();
        if !item.index.is_empty() {
            given.push((INDEX_LABEL.to_owned(), item.index.clone()));
        }
        let event = Event::from_json(document, limits);
        let (labels, record) = event.into_record(given.into(), || document.to_vec(), self.context);
        if record.line.len() > limits.line_bytes_max {
            let reason = format!(
                "the line is longer than the limit line_bytes_max of {}",
                limits.line_bytes_max
            );
            return Err(Fault::new(400, "illegal_argument_exception", reason));
        }
        let time = record.time;
        self.gather.add(labels, record, "elasticsearch");
        Ok(time)
    }

    fn into_bulk(self) -> Bulk {
        Bulk {
            batch: self.gather.into_batch(),
            items: self.items,
        }
    }
}

/// The document of an update that also inserts; no record is ever there to be changed.
fn upserted<'a>(update: &'a [u8], id: &str) -> Result<&'a [u8], Fault> {
    let yes = raw::member(update, "doc_as_upsert") == Some(b"true");
    let found = if yes {
        raw::member(update, "doc")
    } else {
        raw::member(update, "upsert")
    };
    found.ok_or_else(|| {
        let reason = format!("[{}]: document missing", shown(id));
        Fault::new(404, "document_missing_exception", reason)
    })
}

/// The answer to a bulk request.
pub fn bulk_answer(bulk: &Bulk, took_millis: u64) -> Vec<u8> {
    let mut out = Vec::with_capacity(64 + bulk.items.len() * 192);
    let mut json = Writer::new(&mut out);
    json.object();
    json.key("took");
    json.unsigned(took_millis);
    json.key("errors");
    json.bool(bulk.items.iter().any(|item| item.fault.is_some()));
    json.key("items");
    json.array();
    for item in &bulk.items {
        json.object();
        json.key(item.action.name());
        write_item(&mut json, item, true);
        json.end_object();
    }
    json.end_array();
    json.end_object();
    out
}

/// The status of the answer to a single document, and its body.
pub fn document_answer(bulk: &Bulk) -> (u16, Vec<u8>) {
    let Some(item) = bulk.items.first() else {
        return (
            400,
            error_answer(400, "parse_exception", "request body is required"),
        );
    };
    if let Some(fault) = &item.fault {
        return (
            fault.status,
            error_answer(fault.status, fault.kind, &fault.reason),
        );
    }
    let mut out = Vec::new();
    write_item(&mut Writer::new(&mut out), item, false);
    (201, out)
}

fn write_item(json: &mut Writer<'_>, item: &Item, with_status: bool) {
    json.object();
    json.field("_index", &item.index);
    json.field("_id", &item.id);
    if let Some(fault) = &item.fault {
        json.key("status");
        json.unsigned(fault.status.into());
        json.key("error");
        json.object();
        json.field("type", fault.kind);
        json.field("reason", &fault.reason);
        json.end_object();
        json.end_object();
        return;
    }
    json.key("_version");
    json.unsigned(1);
    json.field("result", "created");
    json.key("_shards");
    json.value(|out| out.extend_from_slice(br#"{"total":1,"successful":1,"failed":0}"#));
    json.key("_seq_no");
    json.unsigned(0);
    json.key("_primary_term");
    json.unsigned(1);
    if with_status {
        json.key("status");
        json.unsigned(201);
    }
    json.end_object();
}

/// An error of a whole request.
pub fn error_answer(status: u16, kind: &str, reason: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut json = Writer::new(&mut out);
    json.object();
    json.key("error");
    json.object();
    json.key("root_cause");
    json.array();
    json.pairs([("type", kind), ("reason", reason)]);
    json.end_array();
    json.field("type", kind);
    json.field("reason", reason);
    json.end_object();
    json.key("status");
    json.unsigned(status.into());
    json.end_object();
    out
}

/// What `GET /` tells; clients look at the version.
pub fn about_answer() -> Vec<u8> {
    let version = format!(
        r#"{{"number":"{VERSION}","build_flavor":"default","build_type":"tar","build_hash":"8aa461beb06aa0417a231c345a1b8c38fb498a0d","build_date":"2023-07-19T14:50:04.875992158Z","build_snapshot":false,"lucene_version":"9.7.0","minimum_wire_compatibility_version":"7.17.0","minimum_index_compatibility_version":"7.0.0"}}"#
    );
    let text = format!(
        r#"{{"name":"obs","cluster_name":"obs","cluster_uuid":"b2JzLW9icy1vYnMtb2JzLQ","version":{version},"tagline":"You Know, for Search"}}"#
    );
    text.into_bytes()
}

#[cfg(test)]
mod tests {
    use obs_model::limits::Limits;
    use proptest::prelude::*;

    use super::*;
    use crate::event::Mapping;

    fn decode(body: &[u8], limits: &Limits) -> Result<Bulk, WireError> {
        let mapping = Mapping::default();
        let context = Context {
            mapping: &mapping,
            now: Timestamp::from_seconds(5),
            limits,
        };
        decode_bulk(body, "path", context)
    }

    fn lines(bulk: &Bulk) -> Vec<String> {
        let mut all = Vec::new();
        for stream in &bulk.batch.streams {
            for record in &stream.records {
                let line = String::from_utf8_lossy(&record.line);
                all.push(format!("{} {line} {}", stream.labels, record.metadata));
            }
        }
        all
    }

    #[test]
    fn operations_become_records_and_items() {
        let body = concat!(
            "{\"create\":{\"_index\":\"logs-a\"}}\n{\"message\":\"one\",\"@timestamp\":\"2026-11-21T10:00:00Z\",\"n\":1}\r\n",
            "\n{ \"index\" : {\"_id\":\"7\"} }\n{\"msg\":\"two\",\"app\":\"x\"}\n",
            "{\"delete\":{\"_id\":\"1\"}}\n",
            "{\"create\":{}}\nnot json\n",
            "{\"update\":{\"_id\":\"8\"}}\n{\"doc\":{\"msg\":\"three\"},\"doc_as_upsert\":true}\n",
            "{\"update\":{\"_id\":\"9\"}}\n{\"doc\":{\"msg\":\"four\"}}\n",
            "{\"index\":{}}\n{\"a\":1}",
        );
        let bulk = decode(body.as_bytes(), &Limits::default()).unwrap();
        assert_eq!(
            lines(&bulk),
            [
                r#"{index="logs-a"} one {n="1"}"#,
                r#"{app="x", index="path"} two {}"#,
                r#"{index="path"} three {}"#,
                r#"{index="path"} {"a":1} {}"#,
            ]
        );
        let answer = bulk_answer(&bulk, 3);
        let answer: serde_json::Value = serde_json::from_slice(&answer).unwrap();
        assert_eq!(answer["took"], 3);
        assert_eq!(answer["errors"], true);
        let item = |at: usize, name: &str| {
            let item = &answer["items"][at][name];
            (
                item["status"].as_u64().unwrap_or(0),
                item["error"]["type"].as_str(),
            )
        };
        assert_eq!(item(0, "create"), (201, None));
        assert_eq!(item(1, "index"), (201, None));
        assert_eq!(answer["items"][1]["index"]["_id"], "7");
        assert_eq!(item(2, "delete"), (400, Some("illegal_argument_exception")));
        assert_eq!(item(3, "create"), (400, Some("document_parsing_exception")));
        assert_eq!(item(4, "update"), (201, None));
        assert_eq!(item(5, "update"), (404, Some("document_missing_exception")));
        assert_eq!(item(6, "index"), (201, None));
    }

    #[test]
    fn malformed_requests_are_refused_whole() {
        let check = |body: &str, expect: &str| {
            let error = decode(body.as_bytes(), &Limits::default()).unwrap_err();
            assert!(error.to_string().contains(expect), "{error}");
        };
        check("", "no requests added");
        check("\n\n", "no requests added");
        check("{\"create\":{}}", "1:1: expected a document");
        check("{\"create\":{}}\n{}\n\"x\"\n", "3:1: expected an action");
        check("{\"upsert\":{}}\n{}\n", "found \"upsert\"");
        check("{\"create\":1}\n{}\n", "found \"create\"");
        check("{\"create\":{},\"index\":{}}\n{}\n", "an action");
        check("{\"create\":{}\n{}\n", "JSON (");
    }

    #[test]
    fn what_the_store_refuses_is_told_of_the_oldest() {
        let body = "{\"create\":{}}\n{\"msg\":\"a\",\"ts\":1795255200}\n{\"create\":{}}\n{\"msg\":\"b\",\"ts\":1795250000}\n";
        let mut bulk = decode(body.as_bytes(), &Limits::default()).unwrap();
        bulk.refuse(1, "too old");
        let faults: Vec<bool> = bulk.items.iter().map(|i| i.fault.is_some()).collect();
        assert_eq!(faults, [false, true]);
    }

    #[test]
    fn single_documents() {
        let mapping = Mapping::default();
        let limits = Limits {
            line_bytes_max: 5,
            ..Limits::default()
        };
        let context = Context {
            mapping: &mapping,
            now: Timestamp::from_seconds(5),
            limits: &limits,
        };
        let answer = |body: &[u8]| {
            let bulk = decode_document(body, Action::Index, ("i", Some("x")), context);
            let (status, answer) = document_answer(&bulk);
            (status, String::from_utf8(answer).unwrap())
        };
        let (status, body) = answer(b"{\"msg\":\"hello\"}");
        assert_eq!(status, 201);
        assert!(
            body.starts_with(r#"{"_index":"i","_id":"x","_version":1,"result":"created""#),
            "{body}"
        );
        assert_eq!(answer(b"{\"msg\":\"hello!\"}").0, 400);
        assert!(answer(b"[]").1.contains("expected an object"));
        let about: serde_json::Value = serde_json::from_slice(&about_answer()).unwrap();
        assert_eq!(about["version"]["number"], VERSION);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn every_operation_has_an_item(
            documents in proptest::collection::vec("\\PC{0,20}", 1..8),
            garbage in proptest::collection::vec(any::<u8>(), 0..80),
        ) {
            let body: String = documents.iter().map(|d| format!("{{\"index\":{{}}}}\n{}\n", d.replace('\n', " "))).collect();
            let bulk = decode(body.as_bytes(), &Limits::default()).unwrap();
            prop_assert_eq!(bulk.items.len(), documents.len());
            let answer: serde_json::Value = serde_json::from_slice(&bulk_answer(&bulk, 1)).unwrap();
            prop_assert_eq!(answer["items"].as_array().map(Vec::len), Some(documents.len()));
            if let Ok(bulk) = decode(&garbage, &Limits::default()) {
                prop_assert!(bulk.items.len() <= garbage.len());
            }
        }
    }
}
