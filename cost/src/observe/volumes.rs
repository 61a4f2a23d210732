//! Volumes, load balancers and disruption budgets.

use std::collections::BTreeMap;

use super::Read;
use super::answers::{Answers, Seen, Series};
use crate::cluster::{Balancer, Budget, Volume};
use crate::span::Span;
use crate::usage::Usage;

/// The series of an answer by cluster and these labels.
fn by<'a>(
    read: &Read,
    answers: &'a Answers,
    name: &str,
    labels: &[&str],
) -> BTreeMap<Vec<String>, &'a Series> {
    let key = |series: &Series| {
        let own = labels.iter().map(|label| series.label(label).to_owned());
        std::iter::once(read.cluster_of(series))
            .chain(own)
            .collect()
    };
    let all = answers.get(name).iter();
    all.map(|series| (key(series), series)).collect()
}

/// The life of something that was seen.
fn life(read: &Read, seen: &Seen, created: Option<i64>, deleted: Option<i64>) -> Span {
    let end = read.gone(seen, deleted).unwrap_or_else(|| read.end());
    Span::new(created.unwrap_or(seen.first), end)
}

/// All volumes.
pub(super) fn volumes(read: &Read, answers: &Answers) -> Vec<Volume> {
    let named = |answer: &str| by(read, answers, answer, &["persistentvolume"]);
    let (infos, created) = (named("volume_info"), named("volume_created"));
    let (deleted, claims) = (named("volume_deletion"), named("volume_claim"));
    // Claims also say what they are bound to.
    let bound = by(read, answers, "claim_info", &["volumename"]);
    let mut used: BTreeMap<Vec<String>, Vec<&Series>> = BTreeMap::new();
    for series in answers.get("volume_used") {
        let labels = ["namespace", "persistentvolumeclaim"];
        let own = labels.map(|label| series.label(label).to_owned());
        let key = std::iter::once(read.cluster_of(series))
            .chain(own)
            .collect();
        used.entry(key).or_default().push(series);
    }
    let all = answers.seen("volumes").into_iter().map(|(series, seen)| {
        let (cluster, name) = (read.cluster_of(&series), series.label("persistentvolume"));
        let key = vec![cluster.clone(), name.to_owned()];
        let info = infos.get(&key);
        let label = |label: &str| info.map_or("", |series| series.label(label)).to_owned();
        let claim = claims.get(&key).map(|s| {
            (
                s.label("claim_namespace").to_owned(),
                s.label("name").to_owned(),
            )
        });
        let claim = claim.or_else(|| {
            let s = bound.get(&key)?;
            let claim = s.label("persistentvolumeclaim").to_owned();
            Some((s.label("namespace").to_owned(), claim))
        });
        let claim = claim.filter(|claim| !claim.1.is_empty());
        let time = |times: &BTreeMap<_, &Series>| times.get(&key).and_then(|s| s.time());
        let life = life(read, &seen, time(&created), time(&deleted));
        let levels = claim.as_ref().and_then(|(namespace, name)| {
            used.get(&vec![cluster.clone(), namespace.clone(), name.clone()])
        });
        let levels = levels.map_or(&[][..], Vec::as_slice);
        // Each node that mounts it tells of it.
        let levels = levels.iter().map(|s| Usage::of_gauge(&s.points, &[life]));
        Volume {
            cluster: cluster.clone(),
            name: name.to_owned(),
            class: label("storageclass"),
            provider_id: label("csi_volume_handle"),
            claim: claim.clone(),
            life,
            bytes: series.value_of(answers),
            used: Usage::joined(levels),
        }
    });
    all.collect()
}

impl Series {
    /// The size of a volume: what its series says last, not when.
    fn value_of(&self, answers: &Answers) -> f64 {
        let labels = self.labels.without(|name| name == "__name__");
        let same = |other: &&Series| other.labels.without(|name| name == "__name__") == labels;
        let sizes = answers.get("volume_bytes").iter().find(same);
        sizes.map_or(0.0, Series::value)
    }
}

/// All load balancers.
pub(super) fn balancers(read: &Read, answers: &Answers) -> Vec<Balancer> {
    let named = |answer: &str| by(read, answers, answer, &["namespace", "service"]);
    let (created, ingress) = (named("service_created"), named("service_ingress"));
    let all = answers.seen("services").into_iter().map(|(series, seen)| {
        let (cluster, namespace) = (read.cluster_of(&series), series.label("namespace"));
        let service = series.label("service");
        let key = vec![cluster.clone(), namespace.to_owned(), service.to_owned()];
        let address = ingress
            .get(&key)
            .map_or("", |series| match series.label("ip") {
                "" => series.label("hostname"),
                ip => ip,
            });
        Balancer {
            namespace: namespace.to_owned(),
            service: service.to_owned(),
            address: address.to_owned(),
            life: life(read, &seen, created.get(&key).and_then(|s| s.time()), None),
            cluster,
        }
    });
    all.collect()
}

/// All disruption budgets.
pub(super) fn budgets(read: &Read, answers: &Answers) -> Vec<Budget> {
    let labels = ["namespace", "poddisruptionbudget"];
    let expected = by(read, answers, "budget_expected", &labels);
    let allowed = by(read, answers, "budget_allowed", &labels);
    let all = allowed.into_iter().map(|(key, series)| Budget {
        allowed: series.value(),
        expected: expected.get(&key).map_or(0.0, |series| series.value()),
        cluster: key[0].clone(),
        namespace: key[1].clone(),
        name: key[2].clone(),
    });
    all.collect()
}
