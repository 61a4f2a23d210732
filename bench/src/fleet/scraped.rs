//! The instances of a fleet as targets of scrapes: each answers with the text that an exporter would
//! give, with help and type of every family.
//!
//! Invariant: the answers of a target depend on the fleet and on their number only, so that every
//! system gets the same ones.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::table::Shape;
use super::{Fleet, Instance};
use crate::protobuf;

/// Labels that a target has by the configuration, not by its lines.
const OF_TARGET: [&str; 3] = ["cluster", "instance", "job"];

/// One instance that is scraped.
pub(crate) struct Target {
    fleet: Fleet,
    instance: Instance,
    /// What stands before the value of each row; empty where the row is not exposed.
    heads: Vec<String>,
    step: u64,
}

impl Target {
    /// An instance by its number.
    pub(crate) fn new(fleet: Fleet, number: u64) -> Self {
        let instance = Instance::new(&fleet, number, 0);
        let heads = heads(&instance);
        Self {
            fleet,
            instance,
            heads,
            step: 0,
        }
    }

    /// The label `instance` of its series.
    pub(crate) fn name(number: u64) -> String {
        format!("host-{number:04}:9100")
    }

    /// Answers so far.
    pub(crate) fn answers(&self) -> u64 {
        self.step
    }

    /// Writes the next answer and gives its samples.
    pub(crate) fn answer(&mut self, body: &mut Vec<u8>) -> u64 {
        let generation = self.instance.generation_at(&self.fleet, self.step);
        if generation != self.instance.generation {
            self.instance = Instance::new(&self.fleet, self.instance.number, generation);
            self.heads = heads(&self.instance);
        }
        self.step += 1;
        self.instance.advance();
        body.clear();
        let mut text = String::new();
        let mut samples = 0;
        for (head, row) in self.heads.iter().zip(&self.instance.rows) {
            if !head.is_empty() {
                body.extend_from_slice(head.as_bytes());
                text.clear();
                number(row.value, &mut text);
                body.extend_from_slice(text.as_bytes());
                body.push(b'\n');
                samples += 1;
            }
        }
        samples
    }
}

/// What stands before each value: comments where a family begins, name and labels.
fn heads(instance: &Instance) -> Vec<String> {
    let mut families = BTreeSet::new();
    let heads = instance.rows.iter().map(|row| {
        let pairs = protobuf::pairs(&row.labels);
        let name = pairs.iter().find(|(name, _)| *name == "__name__");
        let name = name.map_or("", |(_, value)| *value);
        if name == "up" || name.starts_with("scrape_") {
            return String::new(); // Whoever scrapes says that.
        }
        let (family, kind) = family(name, row.shape);
        let mut head = String::new();
        if families.insert(family.to_owned()) {
            let words = family.replace('_', " ");
            head = format!("# HELP {family} All about {words}.\n# TYPE {family} {kind}\n");
        }
        head.push_str(name);
        let mut separator = '{';
        for (name, value) in &pairs {
            if *name != "__name__" && !OF_TARGET.contains(name) {
                head.push(separator);
                separator = ',';
                head.push_str(&format!("{name}=\"{value}\""));
            }
        }
        // A replaced instance is a new process behind the same address.
        if instance.generation > 0 {
            head.push(separator);
            separator = ',';
            head.push_str(&format!("process=\"{}\"", instance.generation));
        }
        if separator == ',' {
            head.push('}');
        }
        head.push(' ');
        head
    });
    heads.collect()
}

fn family(name: &str, shape: Shape) -> (&str, &'static str) {
    match shape {
        Shape::Bucket => (name.trim_end_matches("_bucket"), "histogram"),
        Shape::Sum => (name.trim_end_matches("_sum"), "histogram"),
        Shape::Count => (name.trim_end_matches("_count"), "histogram"),
        Shape::Idle | Shape::Ticks | Shape::Nanos | Shape::Bytes => (name, "counter"),
        _ => (name, "gauge"),
    }
}

/// As the client libraries write it: shortest, with an exponent from a million on and below 0.0001.
fn number(value: f64, out: &mut String) {
    let size = value.abs();
    let written = if size == 0.0 || (1e-4..1e6).contains(&size) || !size.is_finite() {
        write!(out, "{value}")
    } else {
        let text = format!("{value:e}");
        let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let exponent: i32 = exponent.parse().unwrap_or(0);
        let sign = if exponent < 0 { '-' } else { '+' };
        write!(out, "{digits}e{sign}{:02}", exponent.abs())
    };
    written.expect("writing to a string does not fail");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fleet(lifetime: u64) -> Fleet {
        Fleet {
            series: 830,
            samples: 3,
            interval_ms: 1000,
            lifetime,
            end_ms: 1_700_000_000_000,
            seed: 1,
            nanoseconds: true,
        }
    }

    fn lines(target: &mut Target) -> (u64, Vec<String>) {
        let mut body = Vec::new();
        let samples = target.answer(&mut body);
        let text = String::from_utf8(body).expect("text");
        (samples, text.lines().map(str::to_owned).collect())
    }

    #[test]
    fn numbers_are_written_as_exporters_do() {
        for (value, expect) in [
            (0.0, "0"),
            (12.5, "12.5"),
            (1_234_567.0, "1.234567e+06"),
            (-0.00002, "-2e-05"),
            (999_999.5, "999999.5"),
        ] {
            let mut text = String::new();
            number(value, &mut text);
            assert_eq!(text, expect);
        }
    }

    #[test]
    fn every_series_has_one_line_and_every_family_one_type() {
        let mut target = Target::new(fleet(0), 0);
        let (samples, first) = lines(&mut target);
        let (comments, values): (Vec<_>, Vec<_>) = first.iter().partition(|l| l.starts_with('#'));
        assert_eq!((samples, values.len()), (825, 825));
        let heads: BTreeSet<_> = values
            .iter()
            .map(|l| l.rsplit_once(' ').expect("two").0)
            .collect();
        assert_eq!(heads.len(), values.len());
        let types: BTreeSet<_> = comments.iter().collect();
        assert_eq!(types.len(), comments.len());
        let (_, second) = lines(&mut target);
        assert_ne!(first, second);
        let (_, again) = lines(&mut Target::new(fleet(0), 0));
        assert_eq!(first, again);
    }

    #[test]
    fn replaced_instances_have_new_series() {
        let mut target = Target::new(fleet(2), 0);
        lines(&mut target);
        lines(&mut target);
        let (_, third) = lines(&mut target);
        assert!(
            third.iter().any(|l| l.contains("process=\"1\"")),
            "{third:?}"
        );
    }
}
