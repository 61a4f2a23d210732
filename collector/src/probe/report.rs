//! What a probe tells: its metrics, and a log for those who debug it.

use std::collections::BTreeMap;

use obs_model::Labels;
use obs_model::family::Family;
use obs_model::metrics::MetricKind::Gauge;

use crate::outgoing::Addresses;

/// Metrics by name and lines of a log.
#[derive(Debug, Default)]
pub(super) struct Report {
    /// Where the probe may go.
    pub(super) addresses: Addresses,
    families: BTreeMap<&'static str, Family>,
    pub log: Vec<String>,
}

impl Report {
    /// Of a probe that may go to some addresses.
    pub(super) fn new(addresses: &Addresses) -> Self {
        Self {
            addresses: addresses.clone(),
            ..Self::default()
        }
    }

    /// Sets a gauge without labels.
    pub(super) fn set(&mut self, name: &'static str, help: &str, value: f64) {
        let family = Family::new(name, Gauge, help).with(value);
        self.families.insert(name, family);
    }

    /// Sets a gauge with labels.
    pub(super) fn with(
        &mut self,
        (name, help): (&'static str, &str),
        labels: &[(&str, &str)],
        value: f64,
    ) {
        let labels = Labels::from_pairs(labels.iter().copied());
        let new = || Family::new(name, Gauge, help);
        let family = self.families.entry(name).or_insert_with(new);
        match family.points.iter_mut().find(|p| p.labels == labels) {
            Some(point) => point.value = value,
            None => {
                family.push(labels, value);
            }
        }
    }

    /// Adds to one of the phases of a duration.
    pub(super) fn phase(&mut self, name: &'static str, help: &str, phase: &str, seconds: f64) {
        let labels = Labels::from_pairs([("phase", phase)]);
        let new = || Family::new(name, Gauge, help);
        let family = self.families.entry(name).or_insert_with(new);
        match family.points.iter_mut().find(|p| p.labels == labels) {
            Some(point) => point.value += seconds,
            None => {
                family.push(labels, seconds);
            }
        }
    }

    pub(super) fn note(&mut self, text: impl Into<String>) {
        self.log.push(text.into());
    }

    pub(super) fn into_families(self) -> Vec<Family> {
        self.families.into_values().collect()
    }
}
