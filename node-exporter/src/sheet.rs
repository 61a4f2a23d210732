//! What collectors write into: families by name.
//!
//! Invariant: a family has one type, the first that was told, and no two points with the same
//! labels; what would break that is dropped, because a scrape with it would be refused whole.

use std::collections::{BTreeMap, HashSet};

use obs_model::Labels;
use obs_model::family::{Family, Point};
use obs_model::metrics::MetricKind;

/// A label.
pub(crate) type Pair<'a> = (&'a str, &'a str);

/// Families by name.
#[derive(Debug, Default)]
pub(crate) struct Sheet {
    families: BTreeMap<String, Family>,
}

impl Sheet {
    pub(crate) fn gauge(&mut self, name: &str, help: &str, labels: &[Pair<'_>], value: f64) {
        self.put(MetricKind::Gauge, name, help, labels, value);
    }

    pub(crate) fn counter(&mut self, name: &str, help: &str, labels: &[Pair<'_>], value: f64) {
        self.put(MetricKind::Counter, name, help, labels, value);
    }

    pub(crate) fn untyped(&mut self, name: &str, help: &str, labels: &[Pair<'_>], value: f64) {
        self.put(MetricKind::Unknown, name, help, labels, value);
    }

    pub(crate) fn put(
        &mut self,
        kind: MetricKind,
        name: &str,
        help: &str,
        labels: &[Pair<'_>],
        value: f64,
    ) {
        let labels = Labels::from_pairs(labels.iter().copied());
        let point = Point {
            suffix: "",
            labels,
            value,
        };
        self.family(kind, name, help).points.push(point);
    }

    /// The family of a name, made where there is none.
    pub(crate) fn family(&mut self, kind: MetricKind, name: &str, help: &str) -> &mut Family {
        // Two look-ups, because an entry would need the name as a String for every point.
        if !self.families.contains_key(name) {
            let family = Family::new(name, kind, help);
            self.families.insert(name.to_owned(), family);
        }
        self.families
            .get_mut(name)
            .expect("the family was put there above")
    }

    /// All families that have points, in order of name.
    pub(crate) fn into_families(self) -> Vec<Family> {
        let mut all: Vec<Family> = self.families.into_values().collect();
        all.retain(|family| !family.points.is_empty());
        for family in all.iter_mut().filter(|family| family.points.len() > 1) {
            let mut seen = HashSet::with_capacity(family.points.len());
            family
                .points
                .retain(|point| seen.insert((point.suffix, point.labels.clone())));
        }
        all
    }
}

/// 1 or 0.
pub(crate) fn flag(is_so: bool) -> f64 {
    f64::from(u8::from(is_so))
}

/// A name that may stand behind a prefix: runs of other characters, with the underscores around
/// them, become one underscore.
pub(crate) fn sanitized(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    let mut underscores = 0;
    let mut foreign = false;
    for c in name.chars() {
        if c == '_' {
            underscores += 1;
            continue;
        }
        if !c.is_ascii_alphanumeric() {
            foreign = true;
            continue;
        }
        push_run(&mut out, &mut underscores, &mut foreign);
        out.push(c);
    }
    push_run(&mut out, &mut underscores, &mut foreign);
    out
}

fn push_run(out: &mut String, underscores: &mut usize, foreign: &mut bool) {
    let count = if *foreign { 1 } else { *underscores };
    out.extend(std::iter::repeat_n('_', count));
    (*underscores, *foreign) = (0, false);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_sanitized() {
        for (name, expect) in [
            ("kernel.random.uuid", "kernel_random_uuid"),
            ("package-0", "package_0"),
            ("rx_[0]__bytes", "rx_0_bytes"),
            ("a_-_b", "a_b"),
            ("port.rx_", "port_rx_"),
            ("é", "_"),
            ("", ""),
        ] {
            assert_eq!(sanitized(name), expect, "{name}");
        }
    }

    #[test]
    fn equal_points_are_one() {
        let mut sheet = Sheet::default();
        sheet.gauge("a", "h", &[("x", "1")], 1.0);
        sheet.counter("a", "h", &[("x", "1")], 2.0);
        sheet.gauge("a", "h", &[("x", "2")], 3.0);
        let all = sheet.into_families();
        assert_eq!(all.len(), 1);
        assert_eq!(all[0].kind, MetricKind::Gauge);
        assert_eq!(all[0].points.len(), 2);
    }
}
