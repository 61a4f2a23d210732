//! Volumes that no pod mounts and load balancers that lead nowhere.
//!
//! Invariant: something is unused only if nothing used it in the whole window.

use crate::cluster::Cluster;
use crate::prices::Book;
use crate::span::Span;
use crate::{AssetKind, GIB, MONTH_HOURS};

/// Something that is paid for and not used.
#[derive(Clone, Debug, PartialEq)]
pub struct Unused {
    /// A disk or a load balancer.
    pub kind: AssetKind,
    /// The cluster.
    pub cluster: String,
    /// Its name; of a load balancer `namespace/service`.
    pub name: String,
    /// Namespace and name of a volume's claim.
    pub claim: Option<(String, String)>,
    /// Bytes of a volume.
    pub bytes: f64,
    /// Days for which nothing used it, as far as the window reaches.
    pub days: f64,
    /// From 0 to 1: a week of silence is sure.
    pub confidence: f64,
    /// Dollars a month.
    pub monthly: f64,
}

/// What nothing used in a window, and is there at its end.
pub fn unused(cluster: &Cluster, book: &Book, window: Span) -> Vec<Unused> {
    let mut found = Vec::new();
    let days = |life: Span| life.intersect(window).hours() / 24.0;
    let confidence = |life: Span| (days(life) / 7.0).min(1.0);
    for volume in cluster.volumes.iter().filter(|v| v.life.end >= window.end) {
        let mounted = cluster.pods.iter().any(|pod| {
            let claimed = volume.claim.as_ref().is_some_and(|(namespace, claim)| {
                pod.namespace == *namespace && pod.claims.contains(claim)
            });
            claimed && pod.cluster == volume.cluster && !pod.life.intersect(window).is_empty()
        });
        if !mounted {
            found.push(Unused {
                kind: AssetKind::Disk,
                cluster: volume.cluster.clone(),
                name: volume.name.clone(),
                claim: volume.claim.clone(),
                bytes: volume.bytes,
                days: days(volume.life),
                confidence: confidence(volume.life),
                monthly: volume.bytes / GIB * book.volume(volume, window.end) * MONTH_HOURS,
            });
        }
    }
    // Where nothing tells which pods services lead to, all would seem to lead nowhere.
    let known = cluster.pods.iter().any(|pod| !pod.services.is_empty());
    for balancer in cluster
        .balancers
        .iter()
        .filter(|b| known && b.life.end >= window.end)
    {
        let used = cluster.pods.iter().any(|pod| {
            pod.cluster == balancer.cluster
                && pod.namespace == balancer.namespace
                && pod.services.contains(&balancer.service)
                && !pod.life.intersect(window).is_empty()
        });
        if !used {
            found.push(Unused {
                kind: AssetKind::LoadBalancer,
                cluster: balancer.cluster.clone(),
                name: format!("{}/{}", balancer.namespace, balancer.service),
                claim: None,
                bytes: 0.0,
                days: days(balancer.life),
                confidence: confidence(balancer.life),
                monthly: book.at(window.end).load_balancer * MONTH_HOURS,
            });
        }
    }
    found.sort_by(|a, b| b.monthly.total_cmp(&a.monthly));
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::{Balancer, Pod, Volume};

    #[test]
    fn what_nobody_uses() {
        let window = Span::new(0, 14 * 24 * crate::HOUR);
        let claim = |name: &str| Some(("a".to_owned(), name.to_owned()));
        let volume = |name: &str, claim: Option<(String, String)>| Volume {
            name: name.to_owned(),
            claim,
            life: window,
            bytes: 100.0 * GIB,
            ..Volume::default()
        };
        let balancer = |service: &str| Balancer {
            namespace: "a".to_owned(),
            service: service.to_owned(),
            life: window,
            ..Balancer::default()
        };
        let mut cluster = Cluster {
            pods: vec![Pod {
                namespace: "a".to_owned(),
                life: window,
                claims: vec!["used".to_owned()],
                services: vec!["web".to_owned()],
                ..Pod::default()
            }],
            volumes: vec![
                volume("v1", claim("used")),
                volume("v2", claim("free")),
                volume("v3", None),
            ],
            balancers: vec![balancer("web"), balancer("old")],
            ..Cluster::default()
        };
        let names = |cluster: &Cluster| -> Vec<(String, f64)> {
            let found = unused(cluster, &Book::default(), window);
            found
                .into_iter()
                .map(|u| (u.name, (u.monthly * 100.0).round() / 100.0))
                .collect()
        };
        let told = names(&cluster);
        let expect = [("a/old", 18.25), ("v2", 4.0), ("v3", 4.0)];
        let found: Vec<(&str, f64)> = told.iter().map(|(n, m)| (n.as_str(), *m)).collect();
        assert_eq!(found, expect);
        cluster.pods[0].services.clear();
        assert_eq!(names(&cluster).len(), 2);
    }
}
