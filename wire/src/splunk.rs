//! Splunk's HTTP event collector: events and raw lines as log records, and its answers.
//!
//! Invariants: as in Splunk, the events in front of a bad one are taken, and the answer says which
//! one is bad; codes and texts are those of Splunk's table.
//! Format: <https://docs.splunk.com/Documentation/Splunk/latest/Data/FormateventsforHTTPEventCollector>

use obs_model::Labels;
use obs_model::logs::{LogBatch, LogRecord};

use crate::event::{Context, Event, Gather, Given};
use crate::json::Writer;
use crate::moment;
use crate::raw::{self, Values};

/// What streams without labels are called.
const JOB: &str = "splunk";
/// Most acknowledgements asked for at one time.
const ACKS_MAX: usize = 10_000;

/// What is told about a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// All is stored.
    Success,
    /// There is no token.
    TokenRequired,
    /// The header is no token.
    InvalidAuthorization,
    /// The token is unknown.
    InvalidToken,
    /// The body is empty.
    NoData,
    /// An event is no event.
    InvalidDataFormat,
    /// Our fault.
    InternalError,
    /// There is no room now.
    Busy,
    /// Acknowledgements need a channel.
    ChannelMissing,
    /// The channel is no name.
    InvalidChannel,
    /// An event has no `event`.
    EventRequired,
    /// An event's `event` is empty.
    EventBlank,
    /// Tokens in addresses are not taken.
    QueryToken,
    /// The answer to a question of health.
    Healthy,
}

impl Status {
    /// Splunk's code, its text, and the status of HTTP.
    pub fn parts(self) -> (u16, &'static str, u16) {
        match self {
            Self::Success => (0, "Success", 200),
            Self::TokenRequired => (2, "Token is required", 401),
            Self::InvalidAuthorization => (3, "Invalid authorization", 401),
            Self::InvalidToken => (4, "Invalid token", 403),
            Self::NoData => (5, "No data", 400),
            Self::InvalidDataFormat => (6, "Invalid data format", 400),
            Self::InternalError => (8, "Internal server error", 500),
            Self::Busy => (9, "Server is busy", 503),
            Self::ChannelMissing => (10, "Data channel is missing", 400),
            Self::InvalidChannel => (11, "Invalid data channel", 400),
            Self::EventRequired => (12, "Event field is required", 400),
            Self::EventBlank => (13, "Event field cannot be blank", 400),
            Self::QueryToken => (16, "Query string authorization is not enabled", 400),
            Self::Healthy => (17, "HEC is healthy", 200),
        }
    }
}

/// What the address says about all events of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Defaults {
    /// `host`
    pub host: Option<String>,
    /// `source`
    pub source: Option<String>,
    /// `sourcetype`
    pub sourcetype: Option<String>,
    /// `index`
    pub index: Option<String>,
}

impl Defaults {
    fn all(&self) -> [(&'static str, &Option<String>); 4] {
        [
            ("host", &self.host),
            ("source", &self.source),
            ("sourcetype", &self.sourcetype),
            ("index", &self.index),
        ]
    }

    fn labels(&self, event: &[u8]) -> Vec<(String, String)> {
        let mut labels = Vec::new();
        for (name, default) in self.all() {
            let own = raw::member(event, name).and_then(raw::text);
            let value = own
                .map(std::borrow::Cow::into_owned)
                .or_else(|| default.clone());
            labels.extend(value.map(|value| (name.to_owned(), value)));
        }
        labels
    }
}

/// The events of a request.
#[derive(Clone, Debug, Default)]
pub struct Events {
    /// Those that are good, up to the first bad one.
    pub batch: LogBatch,
    /// What is wrong with which event.
    pub fault: Option<(Status, usize)>,
}

/// Reads events: objects one after the other, or in an array.
pub fn decode_events(body: &[u8], defaults: &Defaults, context: Context<'_>) -> Events {
    let mut gather = Gather::new(context.limits);
    let mut fault = None;
    let mut count = 0;
    for (number, value) in Values::new(body).enumerate() {
        count += 1;
        if gather.is_full() {
            fault = Some((Status::InvalidDataFormat, number));
            break;
        }
        if let Err(status) = event(value, defaults, context, &mut gather) {
            fault = Some((status, number));
            break;
        }
    }
    if count == 0 {
        fault = Some((Status::NoData, 0));
    }
    Events {
        batch: gather.into_batch(),
        fault,
    }
}

fn event(
    value: &[u8],
    defaults: &Defaults,
    context: Context<'_>,
    gather: &mut Gather,
) -> Result<(), Status> {
    if raw::check(value).is_err() || value.first() != Some(&b'{') {
        return Err(Status::InvalidDataFormat);
    }
    let limits = context.limits;
    let body = raw::member(value, "event").ok_or(Status::EventRequired)?;
    let text = raw::text(body).ok_or(Status::EventRequired)?;
    if text.is_empty() {
        return Err(Status::EventBlank);
    }
    let mut event = Event::default();
    let is_object = body.first() == Some(&b'{');
    if is_object {
        event.add_object("", body, limits);
    }
    if let Some(fields) = raw::member(value, "fields") {
        event.add_object("", fields, limits);
    }
    let time = raw::member(value, "time").and_then(raw::text);
    let given = Given {
        labels: defaults.labels(value),
        time: time.and_then(|time| moment::parse(&time)),
    };
    let (labels, record) = if is_object {
        event.into_record(given, || body.to_vec(), context)
    } else {
        let given = Given {
            time: Some(given.time.unwrap_or(context.now)),
            ..given
        };
        let line = text.as_bytes().to_vec();
        event.into_record_of(line, given, || value.to_vec(), context)
    };
    gather.add(labels, record, JOB);
    Ok(())
}

/// Reads raw lines.
pub fn decode_raw(body: &[u8], defaults: &Defaults, context: Context<'_>) -> Events {
    let mut gather = Gather::new(context.limits);
    let mut labels = defaults.labels(b"{}");
    labels.extend(context.mapping.extra.iter().cloned());
    let labels = Labels::from_pairs(labels);
    for line in body.split(|byte| *byte == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        let record = LogRecord {
            time: context.now,
            line: line.to_vec(),
            metadata: Labels::empty(),
        };
        gather.add(labels.clone(), record, JOB);
    }
    // Lines have no number in Splunk's answers: those that do not fit refuse the request.
    if gather.is_full() {
        return Events {
            batch: LogBatch::default(),
            fault: Some((Status::InvalidDataFormat, 0)),
        };
    }
    let batch = gather.into_batch();
    let fault = batch.streams.is_empty().then_some((Status::NoData, 0));
    Events { batch, fault }
}

/// The answer where the store did not take some of the events: the others are stored.
pub fn refused(count: u64, of: u64, reason: &str) -> Vec<u8> {
    let (code, text, _) = Status::InvalidDataFormat.parts();
    let mut out = Vec::new();
    let mut json = Writer::new(&mut out);
    json.object();
    json.field(
        "text",
        &format!("{text}: {count} of {of} events refused: {reason}"),
    );
    json.key("code");
    json.unsigned(code.into());
    json.end_object();
    out
}

/// The answer: what is told, of which event, and what to ask for later.
pub fn answer(status: Status, event: Option<usize>, ack: Option<u64>) -> Vec<u8> {
    let (code, text, _) = status.parts();
    let mut out = Vec::new();
    let mut json = Writer::new(&mut out);
    json.object();
    json.field("text", text);
    json.key("code");
    json.unsigned(code.into());
    if let Some(event) = event {
        json.key("invalid-event-number");
        json.unsigned(event as u64);
    }
    if let Some(ack) = ack {
        json.key("ackId");
        json.unsigned(ack);
    }
    json.end_object();
    out
}

/// Reads `{"acks":[0,1]}`.
pub fn decode_acks(body: &[u8]) -> Option<Vec<u64>> {
    let body = body.trim_ascii();
    raw::check(body).ok()?;
    let acks = raw::member(body, "acks").filter(|acks| acks.first() == Some(&b'['))?;
    let ids = Values::new(acks).take(ACKS_MAX + 1);
    let ids: Option<Vec<u64>> = ids.map(|id| raw::text(id)?.parse().ok()).collect();
    ids.filter(|ids| ids.len() <= ACKS_MAX)
}

/// `{"acks":{"0":true}}`
pub fn acks_answer(acks: &[(u64, bool)]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut json = Writer::new(&mut out);
    json.object();
    json.key("acks");
    json.object();
    for (id, done) in acks {
        json.key(&id.to_string());
        json.bool(*done);
    }
    json.end_object();
    json.end_object();
    out
}

#[cfg(test)]
mod tests {
    use obs_model::Timestamp;
    use obs_model::limits::Limits;
    use proptest::prelude::*;

    use super::*;
    use crate::event::Mapping;

    fn shown(events: &Events) -> Vec<String> {
        let mut all = Vec::new();
        for stream in &events.batch.streams {
            for record in &stream.records {
                let line = String::from_utf8_lossy(&record.line);
                all.push(format!(
                    "{} {} {line} {}",
                    stream.labels, record.time, record.metadata
                ));
            }
        }
        all
    }

    fn read(body: &[u8], raw: bool) -> Events {
        let (mapping, limits) = (Mapping::default(), Limits::default());
        let context = Context {
            mapping: &mapping,
            now: Timestamp::from_seconds(5),
            limits: &limits,
        };
        let defaults = Defaults {
            source: Some("s".to_owned()),
            ..Defaults::default()
        };
        if raw {
            decode_raw(body, &defaults, context)
        } else {
            decode_events(body, &defaults, context)
        }
    }

    #[test]
    fn events() {
        let body = concat!(
            r#"{"time":1795255200.123,"host":"h","source":"x","sourcetype":"t","index":"i","event":"hello","fields":{"a":"1","n":2}}"#,
            "{\"event\":{\"message\":\"m\",\"app\":\"a\",\"time\":\"z\"}}\n\n",
            r#"{"time":"1795255200","event":{"k":[1,2]}} {"event":7}"#,
        );
        let events = read(body.as_bytes(), false);
        assert_eq!(events.fault, None);
        assert_eq!(
            shown(&events),
            [
                r#"{host="h", index="i", source="x", sourcetype="t"} 2026-11-21T10:00:00.123Z hello {a="1", n="2"}"#,
                r#"{app="a", source="s"} 1970-01-01T00:00:05Z m {time="z"}"#,
                r#"{source="s"} 2026-11-21T10:00:00Z {"k":[1,2]} {}"#,
                r#"{source="s"} 1970-01-01T00:00:05Z 7 {}"#,
            ]
        );
    }

    #[test]
    fn faults_name_the_event() {
        let check = |body: &str, expect: Option<(Status, usize)>, taken: usize| {
            let events = read(body.as_bytes(), false);
            assert_eq!(
                (events.fault, events.batch.record_count()),
                (expect, taken),
                "{body}"
            );
        };
        let good = r#"{"event":"a"}"#;
        check(good, None, 1);
        check("", Some((Status::NoData, 0)), 0);
        check(
            &format!("{good}{{\"a\":1}}{good}"),
            Some((Status::EventRequired, 1)),
            1,
        );
        check(
            &format!("{good}{{\"event\":\"\"}}"),
            Some((Status::EventBlank, 1)),
            1,
        );
        check(
            &format!("{good}{{\"event\":null}}"),
            Some((Status::EventRequired, 1)),
            1,
        );
        check(
            &format!("{good}{{\"event\":"),
            Some((Status::InvalidDataFormat, 1)),
            1,
        );
        check("7", Some((Status::InvalidDataFormat, 0)), 0);
        check(&format!("[{good},{good}]"), None, 2);
    }

    #[test]
    fn raw_lines_and_answers() {
        let events = read(b"one\r\n\n two\n", true);
        let expect = [
            r#"{source="s"} 1970-01-01T00:00:05Z one {}"#,
            r#"{source="s"} 1970-01-01T00:00:05Z  two {}"#,
        ];
        assert_eq!(shown(&events), expect);
        assert_eq!(read(b" \n", true).fault, Some((Status::NoData, 0)));
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        assert_eq!(
            text(answer(Status::Success, None, None)),
            r#"{"text":"Success","code":0}"#
        );
        assert_eq!(
            text(answer(Status::Success, None, Some(3))),
            r#"{"text":"Success","code":0,"ackId":3}"#
        );
        assert_eq!(
            text(answer(Status::EventRequired, Some(1), None)),
            r#"{"text":"Event field is required","code":12,"invalid-event-number":1}"#
        );
        assert_eq!(decode_acks(br#" {"acks":[0, 7]}"#), Some(vec![0, 7]));
        assert_eq!(decode_acks(br#"{"acks":["x"]}"#), None);
        assert_eq!(decode_acks(b"{}"), None);
        assert_eq!(
            text(acks_answer(&[(0, true), (7, false)])),
            r#"{"acks":{"0":true,"7":false}}"#
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn arbitrary_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let events = read(&bytes, false);
            prop_assert!(events.fault.is_some() || events.batch.record_count() > 0);
            let lines = read(&bytes, true);
            prop_assert!(lines.batch.record_count() <= bytes.len());
        }
    }
}
