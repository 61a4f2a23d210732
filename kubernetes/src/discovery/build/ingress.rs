//! Role `ingress`: each path of each ingress.

use super::{Built, attach_namespace};
use crate::discovery::names::Set;
use crate::discovery::world::World;
use crate::object::network::{IngressObject, IngressRule};

pub(super) fn build(world: &World, ingress: &IngressObject) -> Built {
    let (meta, spec) = (&ingress.metadata, &ingress.spec);
    let mut labels = Set::default();
    labels.meta("namespace", &meta.namespace);
    labels.maybe("ingress_class_name", spec.ingress_class_name.as_deref());
    labels.object("ingress", meta);
    attach_namespace(world, &mut labels, &meta.namespace);
    let mut targets = Vec::new();
    for rule in &spec.rules {
        let mut hosts = spec.tls.iter().flat_map(|tls| &tls.hosts);
        let scheme = match hosts.any(|pattern| matches(pattern, &rule.host)) {
            true => "https",
            false => "http",
        };
        for path in paths(rule) {
            let mut set = Set::default();
            set.plain("__address__", &rule.host);
            set.meta("ingress_scheme", scheme);
            set.meta("ingress_host", &rule.host);
            set.meta("ingress_path", path);
            targets.push(set.labels.build());
        }
    }
    Built { labels, targets }
}

/// The paths of a rule; a rule without any is one of everything.
fn paths(rule: &IngressRule) -> Vec<&str> {
    let Some(http) = &rule.http else {
        return vec!["/"];
    };
    let own = http.paths.iter().map(|path| &*path.path);
    own.map(|path| if path.is_empty() { "/" } else { path })
        .collect()
}

/// Whether a host is the pattern, or differs only in its first part where that is `*`.
fn matches(pattern: &str, host: &str) -> bool {
    if pattern == host {
        return true;
    }
    match (pattern.strip_prefix("*."), host.split_once('.')) {
        (Some(rest), Some((_, host))) => rest == host,
        // A lone `*` has as many parts as a host without a dot.
        (None, None) => pattern == "*",
        (None, Some(_)) | (Some(_), None) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn hosts_match_as_certificates_do() {
        let check =
            |pattern, host, expect| assert_eq!(matches(pattern, host), expect, "{pattern} {host}");
        check("a.example.com", "a.example.com", true);
        check("*.example.com", "a.example.com", true);
        check("*.example.com", "b.a.example.com", false);
        check("*.example.com", "example.com", false);
        check("a.*.com", "a.example.com", false);
        check("*", "localhost", true);
        check("*", "a.b", false);
    }
}
