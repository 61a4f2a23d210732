//! JSON logs without a protocol of their own: lines, an array, or objects one after the other, as
//! Vector, Fluent Bit's `http` output and many scripts send them.
//!
//! Invariant: a value that cannot be taken costs itself only, and is counted.

use obs_model::logs::LogBatch;

use crate::error::WireError;
use crate::event::{Context, Event, Gather, Given};
use crate::raw::{self, Values};
use crate::rejects::{Decoded, Rejects};

const FORMAT: &str = "JSON lines";
/// What streams without labels are called.
const JOB: &str = "jsonline";

/// Reads a body.
pub fn decode(body: &[u8], context: Context<'_>) -> Result<Decoded<LogBatch>, WireError> {
    let max = context.limits.decompressed_bytes_max;
    if body.len() > max {
        return Err(WireError::too_large(FORMAT, crate::capped::LIMIT, max));
    }
    let mut reader = Reader {
        context,
        gather: Gather::new(context.limits),
        rejects: Rejects::default(),
    };
    let start = body.trim_ascii_start();
    if start.first() == Some(&b'[') {
        for (at, value) in Values::new(body).enumerate() {
            reader.value(value, at + 1);
        }
    } else {
        reader.lines(body);
    }
    Ok(reader.gather.into_decoded(reader.rejects))
}

struct Reader<'a> {
    context: Context<'a>,
    gather: Gather,
    rejects: Rejects,
}

impl Reader<'_> {
    /// A bad line must not swallow those behind it: so lines are told apart before values are.
    fn lines(&mut self, body: &[u8]) {
        for (at, line) in body.split(|byte| *byte == b'\n').enumerate() {
            let line = line.trim_ascii();
            if line.is_empty() {
                continue;
            }
            if raw::check(line).is_ok() {
                self.object(line, at + 1);
                continue;
            }
            for value in Values::new(line) {
                self.value(value, at + 1);
            }
        }
    }

    fn value(&mut self, value: &[u8], number: usize) {
        match raw::check(value) {
            Ok(()) => self.object(value, number),
            Err(reason) => self.refuse(number, &reason),
        }
    }

    fn object(&mut self, value: &[u8], number: usize) {
        if value.first() != Some(&b'{') {
            self.refuse(number, "an object");
            return;
        }
        let event = Event::from_json(value, self.context.limits);
        let (labels, record) = event.into_record(Given::default(), || value.to_vec(), self.context);
        self.gather.add(labels, record, JOB);
    }

    fn refuse(&mut self, number: usize, expected: &str) {
        self.rejects
            .add(1, format!("line or item {number}: expected {expected}"));
    }
}

#[cfg(test)]
mod tests {
    use obs_model::Timestamp;
    use obs_model::limits::Limits;
    use proptest::prelude::*;

    use super::*;
    use crate::event::Mapping;

    fn read(body: &[u8]) -> (Vec<String>, u64, String) {
        let (mapping, limits) = (Mapping::default(), Limits::default());
        let context = Context {
            mapping: &mapping,
            now: Timestamp::from_seconds(5),
            limits: &limits,
        };
        let decoded = decode(body, context).unwrap();
        let records = decoded.batch.streams.iter().flat_map(|s| &s.records);
        let lines = records.map(|r| String::from_utf8_lossy(&r.line).into_owned());
        (lines.collect(), decoded.rejected, decoded.message)
    }

    fn owned(list: &[&str]) -> Vec<String> {
        list.iter().map(|&text| text.to_owned()).collect()
    }

    #[test]
    fn forms() {
        let check = |body: &str, lines: &[&str], rejected: u64, message: &str| {
            let (found, count, told) = read(body.as_bytes());
            assert_eq!((found, count), (owned(lines), rejected), "{body}");
            assert!(told.contains(message), "{told}");
        };
        check("", &[], 0, "");
        check("{\"msg\":\"a\"}\n\n{\"msg\":\"b\"}\r\n", &["a", "b"], 0, "");
        check("[{\"msg\":\"a\"},\n {\"msg\":\"b\"}]", &["a", "b"], 0, "");
        check("{\"msg\":\"a\"}{\"msg\":\"b\"}", &["a", "b"], 0, "");
        check(
            "{\"msg\":\"a\"}\n{\"msg\":\n{\"msg\":\"b\"}\n7\n",
            &["a", "b"],
            2,
            "line or item 2: expected JSON",
        );
        check(
            "[{\"msg\":\"a\"}, 7]",
            &["a"],
            1,
            "item 2: expected an object",
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn arbitrary_bytes_are_read_or_counted(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            let (lines, rejected, _) = read(&body);
            prop_assert!(lines.len() as u64 + rejected <= body.len() as u64);
        }
    }
}
