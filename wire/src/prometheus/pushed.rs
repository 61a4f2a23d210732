//! Metric families as they are pushed to a gateway: the text format 0.0.4, or protobuf messages
//! `io.prometheus.client.MetricFamily`, each after its length.
//!
//! Invariants: metrics keep labels with empty values, because they say "no such label" to whoever
//! scrapes the gateway; what [`encode_text`] prints, [`decode_text`] reads back; a histogram has a
//! bucket `+Inf`. Format: <https://prometheus.io/docs/instrumenting/exposition_formats/>

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use obs_model::Labels;
use obs_model::histogram::Histogram;
use obs_model::labels::METRIC_NAME;
use obs_model::limits::Limits;
use obs_model::metrics::MetricKind;

use super::delimited;
use super::exposition::ScrapedSample;
use super::text::{self, escape, is_metric_name};
use crate::error::{Position, WireError};
use crate::number;
use crate::protobuf::{Message, Wire};

const FORMAT: &str = "pushed protobuf";

/// Names and values in order of name; values may be empty.
pub type Pairs = BTreeMap<String, String>;

/// Metrics of one name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PushedFamily {
    /// The name.
    pub name: String,
    /// Its help.
    pub help: String,
    /// Its type.
    pub kind: MetricKind,
    /// The metrics.
    pub metrics: Vec<PushedMetric>,
}

/// One metric of a family.
#[derive(Clone, Debug, PartialEq)]
pub struct PushedMetric {
    /// Its labels, without name, `le` and `quantile`.
    pub labels: Pairs,
    /// Its value.
    pub value: PushedValue,
    /// The native histogram that came with it.
    pub native: Option<Arc<PushedNative>>,
}

/// A native histogram as it was pushed: the formats of text have no place for it.
#[derive(Clone, Debug)]
pub struct PushedNative {
    /// The message `io.prometheus.client.Histogram`.
    pub message: Vec<u8>,
    /// What it says.
    pub value: Histogram,
}

impl PartialEq for PushedNative {
    /// What it says comes from the message alone.
    fn eq(&self, other: &Self) -> bool {
        self.message == other.message
    }
}

impl PushedNative {
    /// Reads a message; `None` where it has no native histogram.
    pub fn decode(bytes: &[u8], limits: &Limits) -> Result<Option<Self>, WireError> {
        let message = Message {
            format: FORMAT,
            bytes,
            begin: 0,
        };
        native(message, MetricKind::Histogram, limits)
    }
}

fn native(
    message: Message<'_>,
    kind: MetricKind,
    limits: &Limits,
) -> Result<Option<PushedNative>, WireError> {
    let value = delimited::native_histogram(message, kind, limits)?;
    Ok(value.map(|value| PushedNative {
        message: message.bytes.to_vec(),
        value,
    }))
}

/// The value of a metric.
#[derive(Clone, Debug, PartialEq)]
pub enum PushedValue {
    /// Of a counter, gauge or untyped metric.
    Simple(f64),
    /// Of a summary.
    Summary(Distribution),
    /// Of a histogram.
    Histogram(Distribution),
}

/// A summary or a histogram.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Distribution {
    /// Quantiles and their values, or upper bounds and how many are up to them.
    pub points: Vec<(f64, f64)>,
    /// Sum of all.
    pub sum: f64,
    /// Number of all.
    pub count: f64,
}

/// What was pushed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Pushed {
    /// The families by name.
    pub families: BTreeMap<String, PushedFamily>,
    /// Whether a metric has a time, which a gateway does not take.
    pub timed: bool,
}

/// Reads the text format. Unlike a scraper, a gateway wants the last line to end, and one type for
/// each name, told before its samples.
pub fn decode_text(bytes: &[u8], limits: &Limits) -> Result<Pushed, WireError> {
    check_order(bytes)?;
    let exposition = text::decode(bytes, limits)?;
    let kinds: HashMap<String, (MetricKind, String)> = exposition
        .metadata
        .into_iter()
        .map(|m| (m.family, (m.kind, m.help)))
        .collect();
    let mut families = BTreeMap::<String, TextFamily>::new();
    let mut timed = false;
    for sample in exposition.samples {
        timed |= sample.time.is_some();
        let name = sample.labels.metric_name().unwrap_or_default().to_owned();
        let (family, part) = part_of(&name, &kinds);
        let (kind, help) = kinds.get(family).cloned().unwrap_or_default();
        let into = families
            .entry(family.to_owned())
            .or_insert_with(|| TextFamily {
                family: PushedFamily {
                    name: family.to_owned(),
                    help,
                    kind: simple_kind(kind),
                    metrics: Vec::new(),
                },
                places: HashMap::new(),
            });
        into.add(part, &sample);
    }
    let families = families.into_iter().map(|(n, f)| (n, f.finish())).collect();
    Ok(Pushed { families, timed })
}

/// What a sample says of its metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Value,
    Point,
    Sum,
    Count,
}

/// The family that a sample is of, and which part.
fn part_of<'a>(name: &'a str, kinds: &HashMap<String, (MetricKind, String)>) -> (&'a str, Part) {
    let kind = |name: &str| kinds.get(name).map(|(kind, _)| *kind);
    match kind(name) {
        Some(MetricKind::Summary | MetricKind::Histogram) => return (name, Part::Point),
        Some(_) => return (name, Part::Value),
        None => {}
    }
    for (suffix, part) in [
        ("_sum", Part::Sum),
        ("_count", Part::Count),
        ("_bucket", Part::Point),
    ] {
        let Some(base) = name.strip_suffix(suffix) else {
            continue;
        };
        match kind(base) {
            Some(MetricKind::Histogram) => return (base, part),
            Some(MetricKind::Summary) if part != Part::Point => return (base, part),
            _ => {}
        }
    }
    (name, Part::Value)
}

/// The format knows five types.
fn simple_kind(kind: MetricKind) -> MetricKind {
    match kind {
        MetricKind::Info | MetricKind::StateSet => MetricKind::Gauge,
        MetricKind::GaugeHistogram => MetricKind::Histogram,
        other => other,
    }
}

/// A family while its lines are read.
struct TextFamily {
    family: PushedFamily,
    /// Where the metric of some labels is.
    places: HashMap<Pairs, usize>,
}

impl TextFamily {
    fn add(&mut self, part: Part, sample: &ScrapedSample) {
        let distributed = match self.family.kind {
            MetricKind::Histogram => Some("le"),
            MetricKind::Summary => Some("quantile"),
            _ => None,
        };
        let mut labels = pairs(&sample.labels, &sample.unset);
        let Some(of_points) = distributed else {
            // Lines with equal labels stay two metrics: the check for duplicates finds them.
            let value = PushedValue::Simple(sample.value);
            self.family.metrics.push(PushedMetric {
                labels,
                value,
                native: None,
            });
            return;
        };
        let at = labels.remove(of_points);
        let all = &mut self.family.metrics;
        let is_histogram = of_points == "le";
        let place = *self.places.entry(labels).or_insert_with_key(|labels| {
            let value = if is_histogram {
                PushedValue::Histogram(Distribution::default())
            } else {
                PushedValue::Summary(Distribution::default())
            };
            all.push(PushedMetric {
                labels: labels.clone(),
                value,
                native: None,
            });
            all.len() - 1
        });
        let distribution = match &mut all[place].value {
            PushedValue::Histogram(d) | PushedValue::Summary(d) => d,
            PushedValue::Simple(_) => return,
        };
        match part {
            Part::Sum => distribution.sum = sample.value,
            Part::Count => distribution.count = sample.value,
            Part::Point | Part::Value => {
                if let Some(at) = at.as_deref().and_then(number::parse) {
                    distribution.points.push((at, sample.value));
                }
            }
        }
    }

    fn finish(mut self) -> PushedFamily {
        for metric in &mut self.family.metrics {
            if let PushedValue::Histogram(d) = &mut metric.value {
                d.close();
            }
        }
        self.family
    }
}

impl Distribution {
    /// Adds the bucket of all where it is missing.
    fn close(&mut self) {
        match self.points.iter().find(|(le, _)| *le == f64::INFINITY) {
            Some((_, all)) if self.count == 0.0 => self.count = *all,
            Some(_) => {}
            None => self.points.push((f64::INFINITY, self.count)),
        }
    }
}

fn pairs(labels: &Labels, unset: &[String]) -> Pairs {
    let mut pairs: Pairs = unset.iter().map(|n| (n.clone(), String::new())).collect();
    let named = labels.iter().filter(|(name, _)| *name != METRIC_NAME);
    pairs.extend(named.map(|(n, v)| (n.to_owned(), v.to_owned())));
    pairs
}

/// The rules of order that a gateway has and a scraper does not.
fn check_order(bytes: &[u8]) -> Result<(), WireError> {
    let lines = bytes.split(|b| *b == b'\n');
    let fault = |line: usize, expected: String| WireError::Malformed {
        format: text::FORMAT,
        position: Position::Line { line, column: 1 },
        expected,
    };
    if !bytes.is_empty() && bytes.last() != Some(&b'\n') {
        let expected = "the end of the line, found the end of the text".to_owned();
        return Err(fault(lines.count(), expected));
    }
    let (mut typed, mut helped, mut seen) = (HashSet::new(), HashSet::new(), HashSet::new());
    for (index, line) in lines.enumerate() {
        let line = line.trim_ascii_start();
        let Some(comment) = line.strip_prefix(b"#") else {
            let end = line.iter().position(|b| b" \t{".contains(b));
            seen.insert(&line[..end.unwrap_or(line.len())]);
            continue;
        };
        let mut words = comment
            .split(|b| *b == b' ' || *b == b'\t')
            .filter(|w| !w.is_empty());
        let (told, name) = (words.next(), words.next().unwrap_or_default());
        let shown = || String::from_utf8_lossy(name).into_owned();
        match told {
            Some(b"TYPE") if !typed.insert(name) || seen.contains(name) => {
                let expected = format!(
                    "one TYPE line for metric name {:?}, before its samples",
                    shown()
                );
                return Err(fault(index + 1, expected));
            }
            Some(b"HELP") if !helped.insert(name) => {
                let expected = format!("one HELP line for metric name {:?}", shown());
                return Err(fault(index + 1, expected));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Reads messages `io.prometheus.client.MetricFamily`, each after its length as a varint.
pub fn decode_delimited(bytes: &[u8], limits: &Limits) -> Result<Pushed, WireError> {
    let mut pushed = Pushed::default();
    let mut at = 0;
    while at < bytes.len() {
        let rest = &bytes[at..];
        let (length, size) = crate::protobuf::read_varint(rest)
            .ok_or_else(|| WireError::at_byte(FORMAT, at, "a length"))?;
        let left = rest.len() - size;
        let length = usize::try_from(length)
            .ok()
            .filter(|length| *length <= left)
            .ok_or_else(|| WireError::at_byte(FORMAT, at, format!("a length of at most {left}")))?;
        let begin = at + size;
        let message = Message {
            format: FORMAT,
            bytes: &bytes[begin..begin + length],
            begin,
        };
        let family = family(message, limits, &mut pushed.timed)?;
        pushed.families.insert(family.name.clone(), family);
        at = begin + length;
    }
    Ok(pushed)
}

fn family(
    message: Message<'_>,
    limits: &Limits,
    timed: &mut bool,
) -> Result<PushedFamily, WireError> {
    let mut out = PushedFamily {
        // As in the schema: a family without a type has the first.
        kind: MetricKind::Counter,
        ..PushedFamily::default()
    };
    let mut metrics = Vec::new();
    let mut fields = message.fields();
    while let Some((number, wire)) = fields.next()? {
        match (number, wire) {
            (1, Wire::Bytes(name)) => name.text()?.clone_into(&mut out.name),
            (2, Wire::Bytes(help)) => help.text()?.clone_into(&mut out.help),
            (3, Wire::Varint(kind)) => {
                out.kind = match kind {
                    0 => MetricKind::Counter,
                    1 => MetricKind::Gauge,
                    2 => MetricKind::Summary,
                    3 => MetricKind::Unknown,
                    4 | 5 => MetricKind::Histogram,
                    _ => return Err(message.fault("a metric type from 0 to 5")),
                }
            }
            (4, Wire::Bytes(one)) => metrics.push(one),
            _ => {}
        }
    }
    if out.name.is_empty() {
        return Err(message.fault("a metric family with a name"));
    }
    if out.name.len() > limits.label_value_bytes_max {
        let max = limits.label_value_bytes_max;
        return Err(WireError::too_large(FORMAT, "label_value_bytes_max", max));
    }
    for one in metrics {
        out.metrics.push(metric(one, out.kind, limits, timed)?);
    }
    Ok(out)
}

fn metric(
    message: Message<'_>,
    kind: MetricKind,
    limits: &Limits,
    timed: &mut bool,
) -> Result<PushedMetric, WireError> {
    let mut labels = Pairs::new();
    let (mut value, mut of_native) = (None, None);
    let mut fields = message.fields();
    while let Some((number, wire)) = fields.next()? {
        match (number, wire) {
            (1, Wire::Bytes(pair)) => {
                let (name, text) = label(pair, limits)?;
                if labels.insert(name, text).is_some() {
                    return Err(pair.fault("one value for each label"));
                }
            }
            (2, Wire::Bytes(m)) if kind == MetricKind::Gauge => value = Some(simple(m)?),
            (3, Wire::Bytes(m)) if kind == MetricKind::Counter => value = Some(simple(m)?),
            (5, Wire::Bytes(m)) if kind == MetricKind::Unknown => value = Some(simple(m)?),
            (4, Wire::Bytes(m)) if kind == MetricKind::Summary => {
                value = Some(PushedValue::Summary(distribution(m, kind)?));
            }
            (7, Wire::Bytes(m)) if kind == MetricKind::Histogram => {
                let mut distribution = distribution(m, kind)?;
                distribution.close();
                of_native = native(m, kind, limits)?.map(Arc::new);
                value = Some(PushedValue::Histogram(distribution));
            }
            (6, Wire::Varint(_)) => *timed = true,
            _ => {}
        }
    }
    if labels.len() > limits.labels_max {
        return Err(WireError::too_large(
            FORMAT,
            "labels_max",
            limits.labels_max,
        ));
    }
    let expected = || format!("a value of the type {}", kind.as_str());
    let value = value.ok_or_else(|| message.fault(expected()))?;
    Ok(PushedMetric {
        labels,
        value,
        native: of_native,
    })
}

fn label(message: Message<'_>, limits: &Limits) -> Result<(String, String), WireError> {
    let (mut name, mut value) = ("", "");
    let mut fields = message.fields();
    while let Some((number, wire)) = fields.next()? {
        match (number, wire) {
            (1, Wire::Bytes(text)) => name = text.text()?,
            (2, Wire::Bytes(text)) => value = text.text()?,
            _ => {}
        }
    }
    if name.is_empty() || name == METRIC_NAME {
        return Err(message.fault("the name of a label"));
    }
    for (what, length, max) in [
        (
            "label_name_bytes_max",
            name.len(),
            limits.label_name_bytes_max,
        ),
        (
            "label_value_bytes_max",
            value.len(),
            limits.label_value_bytes_max,
        ),
    ] {
        if length > max {
            return Err(WireError::too_large(FORMAT, what, max));
        }
    }
    Ok((name.to_owned(), value.to_owned()))
}

fn simple(message: Message<'_>) -> Result<PushedValue, WireError> {
    let mut value = 0.0;
    let mut fields = message.fields();
    while let Some((number, wire)) = fields.next()? {
        if let (1, Wire::Fixed64(bits)) = (number, wire) {
            value = f64::from_bits(bits);
        }
    }
    Ok(PushedValue::Simple(value))
}

/// A summary (points are quantile and value) or a histogram (cumulative count and upper bound).
fn distribution(message: Message<'_>, kind: MetricKind) -> Result<Distribution, WireError> {
    let mut out = Distribution::default();
    let mut fields = message.fields();
    while let Some((number, wire)) = fields.next()? {
        match (number, wire) {
            (1, Wire::Varint(count)) => out.count = count as f64,
            (2, Wire::Fixed64(bits)) => out.sum = f64::from_bits(bits),
            (4, Wire::Fixed64(bits)) => out.count = f64::from_bits(bits),
            (3, Wire::Bytes(point)) => out.points.push(pair(point, kind)?),
            _ => {}
        }
    }
    Ok(out)
}

fn pair(message: Message<'_>, kind: MetricKind) -> Result<(f64, f64), WireError> {
    let (mut at, mut value) = (0.0, 0.0);
    let is_bucket = kind == MetricKind::Histogram;
    let mut fields = message.fields();
    while let Some((number, wire)) = fields.next()? {
        match (number, wire) {
            (1, Wire::Varint(count)) if is_bucket => value = count as f64,
            (4, Wire::Fixed64(bits)) if is_bucket => value = f64::from_bits(bits),
            (2, Wire::Fixed64(bits)) if is_bucket => at = f64::from_bits(bits),
            (1, Wire::Fixed64(bits)) => at = f64::from_bits(bits),
            (2, Wire::Fixed64(bits)) => value = f64::from_bits(bits),
            _ => {}
        }
    }
    Ok((at, value))
}

/// What follows the family's name, the further label, the value.
pub type PushedSample = (&'static str, Option<(&'static str, String)>, f64);

impl PushedMetric {
    /// Whether it has a native histogram and nothing of a classic one but its bucket of all.
    pub fn is_native_only(&self) -> bool {
        let bounded = |(bound, _): &(f64, f64)| bound.is_finite();
        match &self.value {
            PushedValue::Histogram(d) => self.native.is_some() && !d.points.iter().any(bounded),
            PushedValue::Simple(_) | PushedValue::Summary(_) => false,
        }
    }

    /// The samples: what follows the family's name, the further label, the value.
    pub fn samples(&self) -> Vec<PushedSample> {
        let (name, suffix, d) = match &self.value {
            PushedValue::Simple(value) => return vec![("", None, *value)],
            PushedValue::Summary(d) => ("quantile", "", d),
            PushedValue::Histogram(d) => ("le", "_bucket", d),
        };
        let point = |(at, value): &(f64, f64)| (suffix, Some((name, shown(*at))), *value);
        let mut out: Vec<_> = d.points.iter().map(point).collect();
        out.push(("_sum", None, d.sum));
        out.push(("_count", None, d.count));
        out
    }
}

/// A float as the formats print it.
pub fn shown(value: f64) -> String {
    let mut text = Vec::new();
    number::general(&mut text, value);
    String::from_utf8_lossy(&text).into_owned()
}

/// Prints families, labels with empty values too.
pub fn encode_text<'a>(families: impl IntoIterator<Item = &'a PushedFamily>, out: &mut Vec<u8>) {
    for family in families {
        if !family.help.is_empty() {
            out.extend_from_slice(b"# HELP ");
            name(out, &family.name);
            out.push(b' ');
            escape(out, &family.help, false);
            out.push(b'\n');
        }
        out.extend_from_slice(b"# TYPE ");
        name(out, &family.name);
        out.push(b' ');
        out.extend_from_slice(kind_word(family.kind).as_bytes());
        out.push(b'\n');
        for metric in &family.metrics {
            for (suffix, further, value) in metric.samples() {
                line(out, (&family.name, suffix), metric, further.as_ref());
                number::general(out, value);
                out.push(b'\n');
            }
        }
    }
}

/// The word of a type in the text format.
pub fn kind_word(kind: MetricKind) -> &'static str {
    match kind {
        MetricKind::Unknown => "untyped",
        other => other.as_str(),
    }
}

fn line(
    out: &mut Vec<u8>,
    (family, suffix): (&str, &str),
    metric: &PushedMetric,
    further: Option<&(&'static str, String)>,
) {
    let mut separator = b'{';
    if is_metric_name(family) {
        out.extend_from_slice(family.as_bytes());
        out.extend_from_slice(suffix.as_bytes());
    } else {
        out.extend_from_slice(b"{\"");
        escape(out, family, true);
        out.extend_from_slice(suffix.as_bytes());
        out.push(b'"');
        separator = b',';
    }
    let labels = metric.labels.iter().map(|(n, v)| (n.as_str(), v.as_str()));
    for (label, value) in labels.chain(further.map(|(n, v)| (*n, v.as_str()))) {
        out.push(separator);
        separator = b',';
        if obs_model::labels::is_legacy_name(label) {
            out.extend_from_slice(label.as_bytes());
        } else {
            out.push(b'"');
            escape(out, label, true);
            out.push(b'"');
        }
        out.extend_from_slice(b"=\"");
        escape(out, value, true);
        out.push(b'"');
    }
    if separator == b',' {
        out.push(b'}');
    }
    out.push(b' ');
}

fn name(out: &mut Vec<u8>, name: &str) {
    if is_metric_name(name) {
        out.extend_from_slice(name.as_bytes());
    } else {
        out.push(b'"');
        escape(out, name, true);
        out.push(b'"');
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(input: &str) -> Pushed {
        decode_text(input.as_bytes(), &Limits::default()).expect(input)
    }

    fn check(input: &str, expect: &str) {
        let mut out = Vec::new();
        encode_text(text(input).families.values(), &mut out);
        assert_eq!(String::from_utf8(out).unwrap(), expect);
        assert_eq!(text(expect), text(input));
    }

    #[test]
    fn families_come_back_in_order_of_name() {
        check(
            "z 1\n# TYPE a counter\n# HELP a of b\na{x=\"\",l=\"v\"} 2\n",
            "# HELP a of b\n# TYPE a counter\na{l=\"v\",x=\"\"} 2\n# TYPE z untyped\nz 1\n",
        );
        let histogram = "# TYPE h histogram\nh_bucket{l=\"v\",le=\"1\"} 2\nh_bucket{l=\"v\",le=\"+Inf\"} 3\n\
                         h_sum{l=\"v\"} 4\nh_count{l=\"v\"} 3\n";
        check(histogram, histogram);
        let summary = "# TYPE s summary\ns{quantile=\"0.5\"} 1\ns_sum 2\ns_count 1\n";
        check(summary, summary);
        check("x_count 1\n", "# TYPE x_count untyped\nx_count 1\n");
        check(
            "# TYPE h histogram\nh_count 3\nh_sum 1\n",
            "# TYPE h histogram\nh_bucket{le=\"+Inf\"} 3\nh_sum 1\nh_count 3\n",
        );
    }

    #[test]
    fn a_gateway_is_stricter_than_a_scraper() {
        for (input, expect) in [
            ("a 1", "1:1"),
            ("a 1\n# TYPE a gauge\n", "2:1"),
            ("# TYPE a gauge\n# TYPE a gauge\n", "one TYPE line"),
            ("# HELP a x\n# HELP a y\n", "one HELP line"),
            ("a\n", "a number"),
        ] {
            let fault = decode_text(input.as_bytes(), &Limits::default()).expect_err(input);
            assert!(fault.to_string().contains(expect), "{fault}");
        }
        assert!(text("a 1 2\n").timed);
        assert!(!text("").timed);
    }

    /// `name`, `help`, GAUGE, a metric with the label `l="v"` and the value 1.5.
    const GAUGE: &[u8] = b"\x1e\x0a\x01a\x12\x01h\x18\x01\x22\x13\x0a\x06\x0a\x01l\x12\x01v\x12\x09\x09\0\0\0\0\0\0\xf8\x3f";

    #[test]
    fn messages_are_families() {
        let mut bytes = GAUGE.to_vec();
        bytes[0] = u8::try_from(GAUGE.len() - 1).unwrap();
        let pushed = decode_delimited(&bytes, &Limits::default()).unwrap();
        assert_eq!(pushed, text("# TYPE a gauge\n# HELP a h\na{l=\"v\"} 1.5\n"));
        // A histogram: count 3, sum 4, one bucket of 2 up to 1.
        let mut h = b"\x0a\x01h\x18\x04\x22\x1a\x3a\x18\x08\x03\x11".to_vec();
        h.extend(4f64.to_le_bytes());
        h.extend(b"\x1a\x0b\x08\x02\x11");
        h.extend(1f64.to_le_bytes());
        h.insert(0, u8::try_from(h.len()).unwrap());
        let pushed = decode_delimited(&h, &Limits::default()).unwrap();
        let expect = "# TYPE h histogram\nh_bucket{le=\"1\"} 2\nh_bucket{le=\"+Inf\"} 3\nh_sum 4\nh_count 3\n";
        assert_eq!(pushed, text(expect));
        let cut = decode_delimited(&bytes[..9], &Limits::default());
        assert!(cut.unwrap_err().to_string().contains("a length of at most"));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn arbitrary_bytes_do_not_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let limits = Limits::default();
            let outcomes = [decode_delimited(&bytes, &limits), decode_text(&bytes, &limits)];
            for pushed in outcomes.into_iter().flatten() {
                let mut out = Vec::new();
                encode_text(pushed.families.values(), &mut out);
                prop_assert!(pushed.families.is_empty() || !out.is_empty());
            }
        }

        #[test]
        fn printed_families_are_read_back(value in any::<f64>().prop_filter("equal", |v| !v.is_nan()), label in "[a-z\\\\\"\n]{0,6}", help in "[a-z\\\\\n]{1,6}") {
            let mut pushed = Pushed::default();
            let labels = Pairs::from([("l".to_owned(), label)]);
            let metrics = vec![PushedMetric { labels, value: PushedValue::Simple(value), native: None }];
            let family = PushedFamily { name: "a".into(), help, kind: MetricKind::Gauge, metrics };
            pushed.families.insert("a".into(), family);
            let mut out = Vec::new();
            encode_text(pushed.families.values(), &mut out);
            prop_assert_eq!(decode_text(&out, &Limits::default()).unwrap(), pushed);
        }
    }
}
