//! What is told of expectations that do not hold, in promtool's words.

use std::collections::BTreeMap;

use obs_model::Labels;

/// Labels and annotations of an alert that fires.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Fires {
    pub(super) labels: Labels,
    pub(super) annotations: Labels,
}

/// A sample of an answer.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) labels: Labels,
    pub(super) value: f64,
    /// Empty where it is no histogram.
    pub(super) histogram: String,
}

impl Found {
    pub(super) fn same(&self, other: &Self, fuzzy: bool) -> bool {
        let (a, b) = (self.value, other.value);
        let near = fuzzy && (a.next_down() == b || a.next_up() == b);
        let equal = a == b || near || (a.is_nan() && b.is_nan());
        equal && self.labels == other.labels && self.histogram == other.histogram
    }
}

/// Samples in one line.
pub(super) fn samples(samples: &[Found]) -> String {
    if samples.is_empty() {
        return "nil".to_owned();
    }
    let one = |sample: &Found| match sample.histogram.as_str() {
        "" => format!("{} {}", sample.labels, exponential(sample.value)),
        histogram => format!("{} {histogram}", sample.labels),
    };
    samples.iter().map(one).collect::<Vec<_>>().join(", ")
}

/// As Go writes floats with the verb `E`.
fn exponential(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let text = format!("{value:e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (sign, digits) = match exponent.strip_prefix('-') {
        Some(digits) => ('-', digits),
        None => ('+', exponent),
    };
    format!("{mantissa}E{sign}{digits:0>2}")
}

/// Alerts over several lines, below a margin.
pub(super) fn alerts(alerts: &[Fires]) -> String {
    if alerts.is_empty() {
        return "[]".to_owned();
    }
    let mut text = "[".to_owned();
    for (index, alert) in alerts.iter().enumerate() {
        let comma = if index > 0 { "," } else { "" };
        text.push_str(&format!(
            "{comma}\n{index}:\n  Labels:{}\n  Annotations:{}",
            alert.labels, alert.annotations
        ));
    }
    text.push_str("\n]");
    text.replace('\n', "\n            ")
}

/// Alerts as lines of JSON, for a comparison.
fn json(alerts: &[Fires]) -> Vec<String> {
    let one = |alert: &Fires| {
        let map = |labels: &Labels| -> BTreeMap<String, String> {
            let pairs = labels.iter();
            pairs
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect()
        };
        serde_json::json!({"Labels": map(&alert.labels), "Annotations": map(&alert.annotations)})
    };
    let all: Vec<serde_json::Value> = alerts.iter().map(one).collect();
    let text = format!("{:#}", serde_json::Value::from(all));
    text.lines().map(str::to_owned).collect()
}

/// What to take away (`-`) from the expected and to add (`+`) to come to what was found.
pub(super) fn difference(expected: &[Fires], found: &[Fires]) -> String {
    let (a, b) = (json(expected), json(found));
    // How many lines are common from here on, for each pair of places.
    let mut common = vec![vec![0usize; b.len() + 1]; a.len() + 1];
    for i in (0..a.len()).rev() {
        for j in (0..b.len()).rev() {
            common[i][j] = match a[i] == b[j] {
                true => common[i + 1][j + 1] + 1,
                false => common[i + 1][j].max(common[i][j + 1]),
            };
        }
    }
    let (mut i, mut j) = (0, 0);
    let mut lines = Vec::new();
    while i < a.len() || j < b.len() {
        if i < a.len() && j < b.len() && a[i] == b[j] {
            lines.push(format!("  {}", a[i]));
            (i, j) = (i + 1, j + 1);
        } else if j == b.len() || (i < a.len() && common[i + 1][j] >= common[i][j + 1]) {
            lines.push(format!("- {}", a[i]));
            i += 1;
        } else {
            lines.push(format!("+ {}", b[j]));
            j += 1;
        }
    }
    lines.join("\n            ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_lines() {
        let fires = |value: &str| Fires {
            labels: Labels::from_pairs([("alertname", "A"), ("x", value)]),
            annotations: Labels::empty(),
        };
        let text = difference(&[fires("1")], &[fires("2")]);
        let changed: Vec<&str> = text
            .lines()
            .map(str::trim_start)
            .filter(|line| line.starts_with(['-', '+']))
            .collect();
        assert_eq!(changed, ["-       \"x\": \"1\"", "+       \"x\": \"2\""]);
        assert!(!difference(&[fires("1")], &[fires("1")]).contains('-'));
    }

    #[test]
    fn floats_are_written_as_go_does() {
        for (value, text) in [(12.0, "1.2E+01"), (0.5, "5E-01"), (f64::INFINITY, "+Inf")] {
            assert_eq!(exponential(value), text);
        }
    }
}
