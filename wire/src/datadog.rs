//! Datadog's log intake: objects in an array, or lines of plain text.
//!
//! Invariant: an item that cannot be taken costs itself only, and is counted.
//! Format: <https://docs.datadoghq.com/api/latest/logs/#send-logs>

use obs_model::logs::LogBatch;

use crate::error::WireError;
use crate::event::{Context, Event, Gather, Given};
use crate::moment;
use crate::raw::{self, Values};
use crate::rejects::{Decoded, Rejects};

const FORMAT: &str = "Datadog logs";
/// What streams without labels are called.
const JOB: &str = "datadog";

/// Reads a body; `defaults` are what the address says (`ddsource`, `ddtags`, `hostname`, `service`).
pub fn decode(
    body: &[u8],
    defaults: &[(String, String)],
    context: Context<'_>,
) -> Result<Decoded<LogBatch>, WireError> {
    let max = context.limits.decompressed_bytes_max;
    if body.len() > max {
        return Err(WireError::too_large(FORMAT, crate::capped::LIMIT, max));
    }
    let mut reader = Reader {
        defaults,
        context,
        gather: Gather::new(context.limits),
        rejects: Rejects::default(),
    };
    let start = body.trim_ascii();
    if matches!(start.first(), Some(b'[' | b'{')) {
        for (number, value) in Values::new(start).enumerate() {
            reader.value(value, number + 1);
        }
    } else {
        let lines = start.split(|byte| *byte == b'\n');
        for line in lines.filter(|line| !line.trim_ascii().is_empty()) {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            reader.record(b"{}", Some(line));
        }
    }
    Ok(reader.gather.into_decoded(reader.rejects))
}

struct Reader<'a> {
    defaults: &'a [(String, String)],
    context: Context<'a>,
    gather: Gather,
    rejects: Rejects,
}

impl Reader<'_> {
    fn value(&mut self, value: &[u8], number: usize) {
        let fault = match raw::check(value) {
            // The agent asks with an empty object whether anybody is there.
            Ok(()) if raw::members(value).next().is_none() && value.first() == Some(&b'{') => {
                return;
            }
            Ok(()) if value.first() == Some(&b'{') => return self.record(value, None),
            Ok(()) => "an object".to_owned(),
            Err(reason) => reason,
        };
        self.rejects
            .add(1, format!("item {number}: expected {fault}"));
    }

    fn record(&mut self, item: &[u8], line: Option<&[u8]>) {
        let limits = self.context.limits;
        let (mut event, mut given) = (Event::default(), Given::default());
        let mut known = [None, None, None, None];
        const KNOWN: [&str; 4] = ["ddsource", "ddtags", "hostname", "service"];
        for (name, value) in raw::members(item) {
            let place = KNOWN.iter().position(|known| *known == name);
            match (place, &*name) {
                (Some(place), _) => known[place] = raw::text(value).map(|text| text.into_owned()),
                (None, "timestamp") => {
                    given.time = raw::text(value).and_then(|text| moment::parse(&text));
                }
                (None, "status") => {
                    if let Some(text) = raw::text(value) {
                        // A level by its word is one; a number is what a program answered.
                        let word = text.starts_with(|c: char| c.is_ascii_alphabetic());
                        let path = if word { "level" } else { "status" };
                        event.push(path, text, limits);
                    }
                }
                // The agent's items have what a program logged as JSON below their message.
                (None, "message") if value.first() == Some(&b'{') => {
                    event.add_object("", value, limits);
                }
                (None, path) if value.first() == Some(&b'{') => {
                    event.add_object(path, value, limits);
                }
                (None, path) => {
                    if let Some(text) = raw::text(value) {
                        event.push(path, text, limits);
                    }
                }
            }
        }
        for (place, name) in KNOWN.iter().enumerate() {
            let default = self.defaults.iter().find(|(n, _)| n == name);
            let found = known[place]
                .take()
                .or_else(|| default.map(|(_, value)| value.clone()));
            let Some(value) = found.filter(|value| !value.is_empty()) else {
                continue;
            };
            match *name {
                "ddtags" => tags(&value, &mut event, limits),
                "hostname" => given.labels.push(("host".to_owned(), value)),
                label => given.labels.push((label.to_owned(), value)),
            }
        }
        let (labels, record) = match line {
            Some(line) => {
                event.into_record_of(line.to_vec(), given, || line.to_vec(), self.context)
            }
            None => event.into_record(given, || item.to_vec(), self.context),
        };
        self.gather.add(labels, record, JOB);
    }
}

/// `env:prod,team:red,plain`
fn tags(text: &str, event: &mut Event, limits: &obs_model::limits::Limits) {
    for tag in text.split(',') {
        let (name, value) = tag.split_once(':').unwrap_or((tag, "true"));
        event.push(name.trim(), value.trim().into(), limits);
    }
}

#[cfg(test)]
mod tests {
    use obs_model::Timestamp;
    use obs_model::limits::Limits;
    use proptest::prelude::*;

    use super::*;
    use crate::event::Mapping;
    use crate::event::shown;

    fn read(body: &[u8]) -> (Vec<String>, u64) {
        let (mapping, limits) = (Mapping::default(), Limits::default());
        let context = Context {
            mapping: &mapping,
            now: Timestamp::from_seconds(5),
            limits: &limits,
        };
        let defaults = [("service".to_owned(), "d".to_owned())];
        let decoded = decode(body, &defaults, context).unwrap();
        (shown(&decoded.batch), decoded.rejected)
    }

    #[test]
    fn forms() {
        let check = |body: &str, expect: &[&str], rejected: u64| {
            assert_eq!(
                read(body.as_bytes()),
                (expect.iter().map(|&s| s.to_owned()).collect(), rejected),
                "{body}"
            );
        };
        check(
            r#"[{"message":"hi","ddsource":"nginx","ddtags":"env:prod,team:red,x","hostname":"h","service":"s","status":"warning","timestamp":1795255200123}, 7]"#,
            &[
                r#"{ddsource="nginx", env="prod", host="h", service="s"} 2026-11-21T10:00:00.123Z hi {level="warning", team="red", x="true"}"#,
            ],
            1,
        );
        check(
            r#"{"message":{"message":"in","status":200},"status":"info"}"#,
            &[r#"{service="d"} 1970-01-01T00:00:05Z in {level="info", status="200"}"#],
            0,
        );
        check(
            "one\r\n\ntwo",
            &[
                r#"{service="d"} 1970-01-01T00:00:05Z one {}"#,
                r#"{service="d"} 1970-01-01T00:00:05Z two {}"#,
            ],
            0,
        );
        check("", &[], 0);
        check("{}", &[], 0);
        check("[{\"message\":", &[], 1);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn arbitrary_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let (lines, rejected) = read(&bytes);
            prop_assert!(lines.len() as u64 + rejected <= bytes.len() as u64);
        }
    }
}
