//! The groups of a gateway in memory: what a push makes of them.
//!
//! Invariants: a push that does not fit the other groups of its tenant changes nothing but the
//! time of the last failure; series that vanish are remembered until they were ended in the store.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use obs_model::labels::METRIC_NAME;
use obs_model::metrics::MetricKind;
use obs_model::{Labels, LabelsBuilder, Tenant, Timestamp, Value};
use obs_wire::prometheus::pushed::{
    Pairs, Pushed, PushedFamily, PushedMetric, PushedValue, kind_word, shown,
};

/// When the group was changed last.
pub(crate) const PUSH_TIME: &str = "push_time_seconds";
/// When a change failed last.
pub(crate) const PUSH_FAILURE_TIME: &str = "push_failure_time_seconds";

/// Metrics with the same grouping labels.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Group {
    /// The grouping labels, `job` among them.
    pub labels: Pairs,
    /// The families by name, and when each was pushed.
    pub families: BTreeMap<String, (PushedFamily, Timestamp)>,
}

/// A change.
#[derive(Debug)]
pub struct Push {
    /// Which group.
    pub labels: Pairs,
    /// The families.
    pub pushed: Pushed,
    /// Whether all else of the group goes.
    pub replace: bool,
    /// Whether it must fit the other groups.
    pub checked: bool,
}

/// Why a push was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PushError {
    /// A metric has a time.
    #[error("pushed metrics must not have timestamps")]
    Timed,
    /// It does not fit.
    #[error("{0}")]
    Inconsistent(String),
    /// No room.
    #[error("the groups would have more than obs.collector.pushgateway.series_max of {0} series")]
    Full(usize),
}

/// All groups.
#[derive(Debug, Default)]
pub struct Groups {
    tenants: BTreeMap<Tenant, BTreeMap<Pairs, Group>>,
    series: usize,
    series_max: usize,
    gone: HashMap<Tenant, HashSet<Labels>>,
}

impl Group {
    /// Whether the last change was taken.
    pub fn last_push_succeeded(&self) -> bool {
        self.time(PUSH_FAILURE_TIME) <= self.time(PUSH_TIME)
    }

    fn time(&self, name: &str) -> f64 {
        let metric = self.families.get(name).and_then(|(f, _)| f.metrics.first());
        match metric.map(|m| &m.value) {
            Some(PushedValue::Simple(value)) => *value,
            _ => 0.0,
        }
    }

    /// Sets one of the two times; `None` only where there is none yet.
    fn note(&mut self, name: &str, time: Option<Timestamp>, now: Timestamp) {
        if time.is_none() && self.families.contains_key(name) {
            return;
        }
        let what = if name == PUSH_TIME {
            "succeeded"
        } else {
            "failed"
        };
        let mut labels = self.labels.clone();
        labels.entry("instance".to_owned()).or_default();
        let value = time.map_or(0.0, |t| t.nanos() as f64 / 1e9);
        let family = PushedFamily {
            name: name.to_owned(),
            help: format!("Last Unix time when changing this group in the Pushgateway {what}."),
            kind: MetricKind::Gauge,
            metrics: vec![PushedMetric {
                labels,
                value: PushedValue::Simple(value),
                native: None,
            }],
        };
        self.families.insert(name.to_owned(), (family, now));
    }

    fn series(&self) -> impl Iterator<Item = Labels> {
        let families = self.families.values();
        families.flat_map(|(family, _)| series(family).map(|(labels, _)| labels))
    }
}

/// The samples of a family. A native histogram comes beside the classic one that was pushed with
/// it, or alone where there was none.
pub(super) fn series(family: &PushedFamily) -> impl Iterator<Item = (Labels, Value)> {
    family.metrics.iter().flat_map(|metric| {
        let native = metric.native.iter().map(|native| {
            let value = Value::Histogram(Arc::new(native.value.clone()));
            (labels_of(family, metric, ("", None)), value)
        });
        let classic = match metric.is_native_only() {
            true => Vec::new(),
            false => metric.samples(),
        };
        let classic = classic.into_iter().map(|(suffix, further, value)| {
            let labels = labels_of(family, metric, (suffix, further));
            (labels, Value::Float(value))
        });
        native.chain(classic).collect::<Vec<_>>()
    })
}

/// The labels of a sample: what follows the family's name, and the further label.
fn labels_of(
    family: &PushedFamily,
    metric: &PushedMetric,
    (suffix, further): (&str, Option<(&str, String)>),
) -> Labels {
    let mut labels = LabelsBuilder::default();
    for (name, value) in &metric.labels {
        labels.set(name, value);
    }
    if let Some((name, value)) = further {
        labels.set(name, &value);
    }
    labels.set(METRIC_NAME, &format!("{}{suffix}", family.name));
    labels.build()
}

impl Groups {
    pub(super) fn new(series_max: usize) -> Self {
        Self {
            series_max,
            ..Self::default()
        }
    }

    /// A tenant's groups in order of their labels.
    pub fn of(&self, tenant: &Tenant) -> impl Iterator<Item = &Group> {
        self.tenants
            .get(tenant)
            .into_iter()
            .flat_map(BTreeMap::values)
    }

    pub(super) fn tenants(&self) -> Vec<Tenant> {
        self.tenants.keys().cloned().collect()
    }

    /// What a push makes of its group, and why it was not taken; no group where there is no room.
    pub(super) fn plan(
        &self,
        tenant: &Tenant,
        push: Push,
        now: Timestamp,
    ) -> (Option<Group>, Option<PushError>) {
        let known = self.tenants.get(tenant).and_then(|g| g.get(&push.labels));
        let before = known.cloned().unwrap_or_else(|| Group {
            labels: push.labels.clone(),
            ..Group::default()
        });
        let had = known.map_or(0, |group| group.series().count());
        match self.change(tenant, before.clone(), push, now) {
            Ok(group) => {
                let after = self.series - had + group.series().count();
                match after > self.series_max {
                    true => (None, Some(PushError::Full(self.series_max))),
                    false => (Some(group), None),
                }
            }
            Err(fault) => {
                let mut group = before;
                group.note(PUSH_FAILURE_TIME, Some(now), now);
                group.note(PUSH_TIME, None, now);
                let room = self.series - had + group.series().count() <= self.series_max;
                (room.then_some(group), Some(fault))
            }
        }
    }

    fn change(
        &self,
        tenant: &Tenant,
        mut group: Group,
        push: Push,
        now: Timestamp,
    ) -> Result<Group, PushError> {
        if push.pushed.timed {
            return Err(PushError::Timed);
        }
        if push.replace {
            let times = [PUSH_TIME, PUSH_FAILURE_TIME];
            group
                .families
                .retain(|name, _| times.contains(&name.as_str()));
        }
        let names: Vec<String> = push.pushed.families.keys().cloned().collect();
        for (name, mut family) in push.pushed.families {
            for metric in &mut family.metrics {
                metric.labels.extend(push.labels.clone());
                metric.labels.entry("instance".to_owned()).or_default();
            }
            group.families.insert(name, (family, now));
        }
        group.note(PUSH_TIME, Some(now), now);
        group.note(PUSH_FAILURE_TIME, None, now);
        if push.checked {
            for name in names {
                self.check(tenant, &group, &name)?;
            }
        }
        Ok(group)
    }

    /// Whether a family of a group goes together with what is there.
    fn check(&self, tenant: &Tenant, group: &Group, name: &str) -> Result<(), PushError> {
        let Some((family, _)) = group.families.get(name) else {
            return Ok(());
        };
        let others = self.of(tenant).filter(|g| g.labels != group.labels);
        let all: Vec<&Group> = others.chain([group]).collect();
        let mut seen = HashSet::new();
        for other in &all {
            let Some((same, _)) = other.families.get(name) else {
                continue;
            };
            if same.kind != family.kind {
                let found = family
                    .metrics
                    .first()
                    .map_or(String::new(), |m| told(m, family.kind));
                return Err(inconsistent(format!(
                    "collected metric {name:?} {{ {found}}} is not a {}",
                    kind_word(same.kind).to_uppercase()
                )));
            }
            for metric in &same.metrics {
                if !seen.insert(&metric.labels) {
                    let found = told(metric, same.kind);
                    return Err(inconsistent(format!(
                        "collected metric {name:?} {{ {found}}} was collected before with the same \
                         name and label values"
                    )));
                }
            }
        }
        let has = |name: &str| all.iter().any(|g| g.families.contains_key(name));
        let kind = |name: &str| {
            let family = all.iter().find_map(|g| g.families.get(name));
            family.map(|(family, _)| family.kind)
        };
        if let Some((suffix, kind)) = collision(family, has, kind) {
            return Err(inconsistent(format!(
                "collected metric named {name:?} collides with the {kind} that has the suffix {suffix}"
            )));
        }
        Ok(())
    }

    pub(super) fn put(&mut self, tenant: &Tenant, group: Group) {
        self.remove(tenant, &group.labels.clone());
        let gone = self.gone.entry(tenant.clone()).or_default();
        for labels in group.series() {
            gone.remove(&labels);
            self.series += 1;
        }
        let of_tenant = self.tenants.entry(tenant.clone()).or_default();
        of_tenant.insert(group.labels.clone(), group);
    }

    pub(super) fn remove(&mut self, tenant: &Tenant, labels: &Pairs) {
        let Some(of_tenant) = self.tenants.get_mut(tenant) else {
            return;
        };
        if let Some(group) = of_tenant.remove(labels) {
            let gone = self.gone.entry(tenant.clone()).or_default();
            for labels in group.series() {
                self.series -= 1;
                gone.insert(labels);
            }
        }
        if of_tenant.is_empty() {
            self.tenants.remove(tenant);
        }
    }

    /// Series that are to be ended.
    pub(super) fn take_gone(&mut self) -> HashMap<Tenant, HashSet<Labels>> {
        std::mem::take(&mut self.gone)
    }
}

/// A metric as the gateway's errors show it.
fn told(metric: &PushedMetric, kind: MetricKind) -> String {
    let labels = metric.labels.iter();
    let mut out: String = labels
        .map(|(name, value)| format!("label:<name:{name:?} value:{value:?} > "))
        .collect();
    if let PushedValue::Simple(value) = &metric.value {
        out.push_str(&format!("{}:<value:{} > ", kind_word(kind), shown(*value)));
    }
    out
}

/// A family whose samples have the names of another's.
fn collision(
    family: &PushedFamily,
    has: impl Fn(&str) -> bool,
    kind: impl Fn(&str) -> Option<MetricKind>,
) -> Option<(&'static str, &'static str)> {
    let takes = |kind: MetricKind, suffix: &str| match kind {
        MetricKind::Histogram => true,
        MetricKind::Summary => suffix != "_bucket",
        _ => false,
    };
    for suffix in ["_bucket", "_count", "_sum"] {
        if takes(family.kind, suffix) && has(&format!("{}{suffix}", family.name)) {
            return Some((suffix, family.kind.as_str()));
        }
        let base = family.name.strip_suffix(suffix);
        if let Some(kind) = base.and_then(&kind).filter(|kind| takes(*kind, suffix)) {
            return Some((suffix, kind.as_str()));
        }
    }
    None
}

fn inconsistent(text: String) -> PushError {
    PushError::Inconsistent(text)
}
