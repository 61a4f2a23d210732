//! What `/federate` answers: the last samples of series with their times, as text or as protobuf.
//!
//! Invariants: series come in order of name, so that each name has one `# TYPE` line, or one family
//! of each kind; names that a reader does not take are escaped in the way that it asked for.
//! Format: <https://prometheus.io/docs/instrumenting/exposition_formats/>,
//! <https://prometheus.io/docs/instrumenting/escaping_schemes/> and, of protobuf,
//! <https://github.com/prometheus/client_model/blob/master/io/prometheus/client/metrics.proto>

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::Write;

use obs_model::histogram::{BucketSpan, ResetHint};
use obs_model::labels::is_legacy_name;
use obs_model::{Histogram, Labels, Timestamp, Value};

use super::text::{escape, is_metric_name};
use crate::number;
use crate::protobuf::put;

/// The last sample of a series.
pub type Last = (Labels, Timestamp, Value);

/// How samples are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// Lines; native histograms have no place.
    #[default]
    Text,
    /// Messages with their length before each.
    Protobuf,
}

/// What a reader asks for with `Accept`: the first of its wishes, best first, that can be met. An
/// escaping counts for the wishes behind it, too.
pub fn of_accept(accept: &str) -> (Form, Escaping) {
    let mut clauses: Vec<(f64, Vec<(&str, &str)>)> = Vec::new();
    for clause in accept.split(',') {
        let parts = clause.split(';').map(str::trim);
        let pairs = parts.map(|part| part.split_once('=').unwrap_or((part, "")));
        let pairs: Vec<_> = pairs
            .map(|(k, v)| (k.trim(), v.trim().trim_matches('"')))
            .collect();
        let quality = pairs.iter().find(|(key, _)| *key == "q");
        let quality = quality.and_then(|(_, q)| q.parse().ok()).unwrap_or(1.0);
        clauses.push((quality, pairs));
    }
    clauses.sort_by(|(a, _), (b, _)| b.total_cmp(a));
    let mut escaping = Escaping::default();
    for (_, pairs) in &clauses {
        let get = |wanted: &str| {
            pairs
                .iter()
                .find(|(key, _)| *key == wanted)
                .map(|(_, v)| *v)
        };
        escaping = get("escaping")
            .and_then(Escaping::named)
            .unwrap_or(escaping);
        let family = get("proto") == Some("io.prometheus.client.MetricFamily");
        match pairs.first().map_or("", |(kind, _)| *kind) {
            PROTOBUF if family && get("encoding") == Some("delimited") => {
                return (Form::Protobuf, escaping);
            }
            "text/plain" if matches!(get("version"), None | Some("" | "0.0.4" | "1.0.0")) => {
                return (Form::Text, escaping);
            }
            _ => {}
        }
    }
    (Form::Text, escaping)
}

const PROTOBUF: &str = "application/vnd.google.protobuf";

/// How names beyond the old alphabet are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Escaping {
    /// As they are, in quotes.
    AllowUtf8,
    /// Every other character becomes `_`.
    #[default]
    Underscores,
    /// `.` becomes `_dot_`, `_` is doubled, every other character becomes `__`.
    Dots,
    /// `U__` and the code of every other character.
    Values,
}

impl Escaping {
    /// As in `Accept` and `Content-Type`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AllowUtf8 => "allow-utf-8",
            Self::Underscores => "underscores",
            Self::Dots => "dots",
            Self::Values => "values",
        }
    }

    fn named(name: &str) -> Option<Self> {
        [Self::AllowUtf8, Self::Underscores, Self::Dots, Self::Values]
            .into_iter()
            .find(|known| known.as_str() == name)
    }

    /// A name as it is printed. Colons are legal in names of metrics only, and old names stay as
    /// they are but for the dots' scheme.
    fn name(self, name: &str, metric: bool) -> Cow<'_, str> {
        let legal = if metric {
            is_metric_name(name)
        } else {
            is_legacy_name(name)
        };
        let fits = |c: char| c.is_ascii_alphanumeric() || c == '_' || metric && c == ':';
        let each = |character: &dyn Fn(char) -> String| {
            let first = name.chars().next().is_some_and(|c| c.is_ascii_digit());
            let characters = name.chars().enumerate();
            let escaped = characters.map(|(at, c)| match c {
                c if at == 0 && first => character(c),
                '_' if self != Self::Underscores => "__".to_owned(),
                c if fits(c) => c.to_string(),
                c => character(c),
            });
            Cow::Owned(escaped.collect::<String>())
        };
        match self {
            Self::AllowUtf8 => Cow::Borrowed(name),
            Self::Underscores | Self::Values if legal => Cow::Borrowed(name),
            Self::Underscores => each(&|_| "_".to_owned()),
            Self::Dots => each(&|c| if c == '.' { "_dot_" } else { "__" }.to_owned()),
            Self::Values => {
                let escaped = each(&|c| format!("_{:x}_", u32::from(c)));
                Cow::Owned(format!("U__{escaped}"))
            }
        }
    }
}

impl Form {
    /// The media type of what [`encode`] writes.
    pub fn content_type(self, escaping: Escaping) -> String {
        let escaping = escaping.as_str();
        match self {
            Self::Text => format!("text/plain; version=0.0.4; charset=utf-8; escaping={escaping}"),
            Self::Protobuf => format!(
                "{PROTOBUF}; proto=io.prometheus.client.MetricFamily; encoding=delimited; \
                 escaping={escaping}"
            ),
        }
    }
}

/// Writes samples, sorted by the metric's name. Labels of `external` (a value may be empty) are
/// added where the series has none of that name; series without a name are left out.
pub fn encode(
    form: Form,
    samples: &[Last],
    external: &BTreeMap<String, String>,
    escaping: Escaping,
    out: &mut Vec<u8>,
) {
    match form {
        Form::Text => text(samples, external, escaping, out),
        Form::Protobuf => protobuf(samples, external, escaping, out),
    }
}

/// Labels of a series but its name, and those of `external` that it does not have.
fn all_labels<'a>(
    labels: &'a Labels,
    external: &'a BTreeMap<String, String>,
) -> impl Iterator<Item = (&'a str, &'a str)> {
    let own = labels.iter().filter(|(name, _)| *name != "__name__");
    let added = external
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()));
    own.chain(added.filter(|(name, _)| labels.get(name).is_none()))
}

fn protobuf(
    samples: &[Last],
    external: &BTreeMap<String, String>,
    escaping: Escaping,
    out: &mut Vec<u8>,
) {
    const UNTYPED: u64 = 3;
    const HISTOGRAM: u64 = 4;
    const GAUGE_HISTOGRAM: u64 = 5;
    let kind = |value: &Value| match value {
        Value::Float(_) => UNTYPED,
        Value::Histogram(h) if h.reset_hint == ResetHint::Gauge => GAUGE_HISTOGRAM,
        Value::Histogram(_) => HISTOGRAM,
    };
    let same =
        |a: &Last, b: &Last| a.0.metric_name() == b.0.metric_name() && kind(&a.2) == kind(&b.2);
    for family in samples.chunk_by(same) {
        let Some((labels, _, first)) = family.first() else {
            continue;
        };
        let Some(name) = labels.metric_name().filter(|name| !name.is_empty()) else {
            continue;
        };
        let mut message = Vec::new();
        put::bytes(&mut message, 1, escaping.name(name, true).as_bytes());
        put::uint(&mut message, 3, kind(first));
        for (labels, time, value) in family {
            put::message(&mut message, 4, |metric| {
                for (name, value) in all_labels(labels, external) {
                    put::message(metric, 1, |pair| {
                        put::bytes(pair, 1, escaping.name(name, false).as_bytes());
                        put::bytes(pair, 2, value.as_bytes());
                    });
                }
                match value {
                    Value::Float(value) => put::message(metric, 5, |out| double(out, 1, *value)),
                    Value::Histogram(value) => put::message(metric, 7, |out| histogram(value, out)),
                }
                put::uint(metric, 6, time.millis().cast_unsigned());
            });
        }
        put::varint(out, message.len() as u64);
        out.append(&mut message);
    }
}

/// A number that is there even if it is zero.
fn double(out: &mut Vec<u8>, number: u32, value: f64) {
    put::varint(out, u64::from(number) << 3 | 1);
    out.extend_from_slice(&value.to_le_bytes());
}

/// A native histogram with counts as floats. One with bounds of its own, for which the message has
/// no fields, is written with the buckets of a classic one.
fn histogram(h: &Histogram, out: &mut Vec<u8>) {
    double(out, 4, h.count);
    double(out, 2, h.sum);
    if h.has_custom_buckets() {
        let mut counts = vec![0.0; h.custom_bounds.len() + 1];
        for (index, count) in indexed(&h.positive_spans, &h.positive) {
            if let Some(place) = usize::try_from(index)
                .ok()
                .and_then(|at| counts.get_mut(at))
            {
                *place += count;
            }
        }
        let bounds = h.custom_bounds.iter().copied().chain([f64::INFINITY]);
        let mut sum = 0.0;
        for (bound, count) in bounds.zip(counts) {
            sum += count;
            put::message(out, 3, |bucket| {
                double(bucket, 4, sum);
                double(bucket, 2, bound);
            });
        }
        return;
    }
    put::varint(out, 5 << 3);
    put::varint(out, put::zigzag(i64::from(h.schema)));
    double(out, 6, h.zero_threshold);
    double(out, 8, h.zero_count);
    for (spans, counts, number) in [
        (&h.negative_spans, &h.negative, 9),
        (&h.positive_spans, &h.positive, 12),
    ] {
        for span in spans {
            put::message(out, number, |out| {
                put::sint(out, 1, i64::from(span.offset));
                put::uint(out, 2, u64::from(span.length));
            });
        }
        for count in counts {
            double(out, number + 2, *count);
        }
    }
}

/// The indices of buckets and their counts.
fn indexed<'a>(
    spans: &'a [BucketSpan],
    counts: &'a [f64],
) -> impl Iterator<Item = (i64, f64)> + 'a {
    let mut next = 0;
    let indices = spans.iter().flat_map(move |span| {
        let begin = next + i64::from(span.offset);
        next = begin + i64::from(span.length);
        begin..next
    });
    indices.zip(counts.iter().copied())
}

fn text(
    samples: &[Last],
    external: &BTreeMap<String, String>,
    escaping: Escaping,
    out: &mut Vec<u8>,
) {
    let mut last = None;
    for (labels, time, value) in samples {
        let (Some(name), Value::Float(value)) = (labels.metric_name(), value) else {
            continue;
        };
        if name.is_empty() {
            continue;
        }
        let printed = escaping.name(name, true);
        let plain = is_metric_name(&printed);
        if last != Some(name) {
            out.extend_from_slice(b"# TYPE ");
            quoted_unless(plain, &printed, out);
            out.extend_from_slice(b" untyped\n");
            last = Some(name);
        }
        if plain {
            out.extend_from_slice(printed.as_bytes());
            out.push(b'{');
        } else {
            out.push(b'{');
            quoted_unless(false, &printed, out);
            out.push(b',');
        }
        pairs(all_labels(labels, external), escaping, out);
        out.extend_from_slice(b"} ");
        number::general(out, *value);
        writeln!(out, " {}", time.millis()).expect("writing to a vector does not fail");
    }
}

fn pairs<'a>(
    pairs: impl Iterator<Item = (&'a str, &'a str)>,
    escaping: Escaping,
    out: &mut Vec<u8>,
) {
    for (index, (name, value)) in pairs.enumerate() {
        if index > 0 {
            out.push(b',');
        }
        let name = escaping.name(name, false);
        quoted_unless(is_legacy_name(&name), &name, out);
        out.extend_from_slice(b"=\"");
        escape(out, value, true);
        out.push(b'"');
    }
}

fn quoted_unless(plain: bool, name: &str, out: &mut Vec<u8>) {
    if plain {
        out.extend_from_slice(name.as_bytes());
        return;
    }
    out.push(b'"');
    escape(out, name, true);
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protobuf::{Message, Wire};

    fn check(labels: &[(&str, &str)], escaping: Escaping, expect: &str) {
        let labels = Labels::from_pairs(labels.iter().copied());
        let external = [("instance", ""), ("region", "eu")];
        let external = external.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let mut out = Vec::new();
        let samples = [(labels, Timestamp::from_millis(1500), Value::Float(0.5))];
        encode(Form::Text, &samples, &external.into(), escaping, &mut out);
        assert_eq!(String::from_utf8(out).unwrap(), expect);
    }

    #[test]
    fn external_labels_fill_gaps() {
        check(
            &[("__name__", "up"), ("instance", "a\"b")],
            Escaping::Underscores,
            "# TYPE up untyped\nup{instance=\"a\\\"b\",region=\"eu\"} 0.5 1500\n",
        );
        check(
            &[("__name__", "up"), ("region", "us")],
            Escaping::AllowUtf8,
            "# TYPE up untyped\nup{region=\"us\",instance=\"\"} 0.5 1500\n",
        );
        check(&[("a", "b")], Escaping::AllowUtf8, "");
    }

    #[test]
    fn names_beyond_the_old_alphabet() {
        let labels = [("__name__", "a.b_c"), ("é", "x")];
        let check = |escaping, expect: &str| check(&labels, escaping, expect);
        check(
            Escaping::AllowUtf8,
            "# TYPE \"a.b_c\" untyped\n{\"a.b_c\",\"é\"=\"x\",instance=\"\",region=\"eu\"} 0.5 1500\n",
        );
        check(
            Escaping::Underscores,
            "# TYPE a_b_c untyped\na_b_c{_=\"x\",instance=\"\",region=\"eu\"} 0.5 1500\n",
        );
        check(
            Escaping::Dots,
            "# TYPE a_dot_b__c untyped\na_dot_b__c{__=\"x\",instance=\"\",region=\"eu\"} 0.5 1500\n",
        );
        check(
            Escaping::Values,
            "# TYPE U__a_2e_b__c untyped\nU__a_2e_b__c{U___e9_=\"x\",instance=\"\",region=\"eu\"} 0.5 1500\n",
        );
    }

    #[test]
    fn what_readers_ask_for() {
        let check = |accept: &str, expect| assert_eq!(of_accept(accept), (Form::Text, expect));
        check("*/*", Escaping::Underscores);
        check("", Escaping::Underscores);
        check(
            "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,*/*;q=0.2",
            Escaping::AllowUtf8,
        );
        check("text/plain; escaping=values", Escaping::Values);
        check("text/plain; escaping=other", Escaping::Underscores);
        // As Prometheus asks when it scrapes native histograms.
        let proto = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily";
        let both = format!(
            "text/plain;version=0.0.4;q=0.5,{proto};encoding=delimited;escaping=allow-utf-8;q=0.7"
        );
        assert_eq!(of_accept(&both), (Form::Protobuf, Escaping::AllowUtf8));
        let text_first = both.replace("q=0.5", "q=0.9");
        assert_eq!(of_accept(&text_first).0, Form::Text);
        assert_eq!(of_accept(&format!("{proto};encoding=text")).0, Form::Text);
        let kind = Form::Protobuf.content_type(Escaping::Dots);
        assert!(
            kind.ends_with("; encoding=delimited; escaping=dots"),
            "{kind}"
        );
        let again = of_accept(&kind.replace("; ", ";"));
        assert_eq!(again, (Form::Protobuf, Escaping::Dots));
    }

    /// The fields of a message, messages within as far as they can be read so.
    fn shown(bytes: &[u8]) -> String {
        let mut fields = Message::new("test", bytes).fields();
        let mut all = Vec::new();
        while let Some((number, wire)) = fields.next().unwrap() {
            all.push(match wire {
                Wire::Varint(value) => format!("{number}: {value}"),
                Wire::Fixed64(bits) => format!("{number}: {:?}", f64::from_bits(bits)),
                Wire::Bytes(inner) => match inner.text() {
                    Ok(text) if !text.contains(char::is_control) => format!("{number}: {text:?}"),
                    _ => format!("{number}: {{{}}}", shown(inner.bytes)),
                },
                _ => format!("{number}: ?"),
            });
        }
        all.join(", ")
    }

    #[test]
    fn native_histograms_in_protobuf() {
        let span = |offset, length| BucketSpan { offset, length };
        let native = Histogram {
            schema: -1,
            count: 4.0,
            sum: 1.5,
            zero_threshold: 0.25,
            positive_spans: vec![span(-1, 1), span(2, 1)],
            positive: vec![1.0, 2.0],
            negative_spans: vec![span(3, 1)],
            negative: vec![1.0],
            ..Histogram::default()
        };
        let custom = Histogram {
            schema: obs_model::histogram::CUSTOM_BUCKETS_SCHEMA,
            count: 3.0,
            positive_spans: vec![span(1, 2)],
            positive: vec![1.0, 2.0],
            custom_bounds: vec![0.5, 1.0],
            reset_hint: ResetHint::Gauge,
            ..Histogram::default()
        };
        let histogram = |h: &Histogram| Value::Histogram(std::sync::Arc::new(h.clone()));
        let check = |value: Value, expect: &str| {
            let labels = Labels::from_pairs([("__name__", "a.b"), ("x", "y")]);
            let samples = [(labels, Timestamp::from_millis(1500), value)];
            let (mut out, external) = (Vec::new(), [("z".to_owned(), String::new())]);
            let escaping = Escaping::Dots;
            encode(
                Form::Protobuf,
                &samples,
                &external.into(),
                escaping,
                &mut out,
            );
            let (length, used) = crate::protobuf::read_varint(&out).unwrap();
            assert_eq!(out.len(), used + length as usize);
            let labels = r#"1: {1: "x", 2: "y"}, 1: {1: "z", 2: ""}"#;
            let (kind, value) = expect.split_once(' ').unwrap();
            let expect = format!(r#"1: "a_dot_b", 3: {kind}, 4: {{{labels}, {value}, 6: 1500}}"#);
            assert_eq!(shown(&out[used..]), expect);
        };
        check(Value::Float(0.0), "3 5: {1: 0.0}");
        check(
            histogram(&native),
            "4 7: {4: 4.0, 2: 1.5, 5: 1, 6: 0.25, 8: 0.0, 9: {1: 6, 2: 1}, 11: 1.0, \
             12: {1: 1, 2: 1}, 12: {1: 4, 2: 1}, 14: 1.0, 14: 2.0}",
        );
        check(
            histogram(&custom),
            "5 7: {4: 3.0, 2: 0.0, 3: {4: 0.0, 2: 0.5}, 3: {4: 1.0, 2: 1.0}, 3: {4: 3.0, 2: inf}}",
        );
        let mut out = Vec::new();
        let labels = Labels::from_pairs([("__name__", "a")]);
        let samples = [(labels, Timestamp::from_millis(1), histogram(&native))];
        encode(
            Form::Text,
            &samples,
            &BTreeMap::new(),
            Escaping::Dots,
            &mut out,
        );
        assert!(out.is_empty());
    }
}
