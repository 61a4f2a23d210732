//! Which resources of the API a configuration means: the definitions that the cluster has tell the
//! plural names, and what a `*` stands for.
//!
//! Invariant: a version that is not served, or a kind that is not defined, is not watched.

use serde_json::Value;

use super::super::error::StateError;
use super::super::object::{at, flag, items, text};
use super::config::{CustomConfig, GroupVersionKind};
use super::metric::CustomFamily;

/// A served version of a custom resource.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in super::super) struct Definition {
    gvk: GroupVersionKind,
    plural: String,
    namespaced: bool,
}

/// A resource to watch, and its metrics.
#[derive(Clone, Debug)]
pub(in super::super) struct Found {
    pub(in super::super) group: String,
    pub(in super::super) version: String,
    pub(in super::super) kind: String,
    pub(in super::super) plural: String,
    pub(in super::super) namespaced: bool,
    pub(in super::super) families: Vec<CustomFamily>,
}

/// The served versions that a `CustomResourceDefinition` defines.
pub(in super::super) fn definitions(object: &Value) -> Vec<Definition> {
    let spec = at(object, "spec");
    let served = items(spec, "versions")
        .iter()
        .filter(|version| flag(version, "served"));
    let served = served.map(|version| Definition {
        gvk: GroupVersionKind {
            group: text(spec, "group").to_owned(),
            version: text(version, "name").to_owned(),
            kind: text(spec, "names.kind").to_owned(),
        },
        plural: text(spec, "names.plural").to_owned(),
        namespaced: text(spec, "scope") != "Cluster",
    });
    served.collect()
}

/// What a configuration means where these definitions are known. Where none are known at all, an
/// entry without a `*` is believed: the cluster may only hide its definitions.
pub(in super::super) fn resolve(
    config: &CustomConfig,
    known: Option<&[Definition]>,
) -> Result<Vec<Found>, StateError> {
    let mut found: Vec<Found> = Vec::new();
    for resource in &config.resources {
        let wanted = &resource.group_version_kind;
        let guess;
        let definitions: Vec<&Definition> = match known {
            Some(known) => known
                .iter()
                .filter(|known| fits(wanted, &known.gvk))
                .collect(),
            None if wanted.version == "*" || wanted.kind == "*" => Vec::new(),
            None => {
                guess = Definition {
                    gvk: wanted.clone(),
                    plural: match resource.resource_plural.as_str() {
                        "" => plural(&wanted.kind.to_ascii_lowercase()),
                        plural => plural.to_owned(),
                    },
                    namespaced: true,
                };
                vec![&guess]
            }
        };
        for definition in definitions {
            let families = resource.families(&definition.gvk)?;
            let gvk = &definition.gvk;
            let same = |f: &&mut Found| {
                (&f.group, &f.version, &f.plural) == (&gvk.group, &gvk.version, &definition.plural)
            };
            match found.iter_mut().find(same) {
                // Two entries for one resource: one watch has the metrics of both.
                Some(other) => other.families.extend(families),
                None => found.push(Found {
                    group: gvk.group.clone(),
                    version: gvk.version.clone(),
                    kind: gvk.kind.clone(),
                    plural: definition.plural.clone(),
                    namespaced: definition.namespaced,
                    families,
                }),
            }
        }
    }
    Ok(found)
}

fn fits(wanted: &GroupVersionKind, is: &GroupVersionKind) -> bool {
    let one = |wanted: &str, is: &str| wanted == "*" || wanted == is;
    wanted.group == is.group && one(&wanted.version, &is.version) && one(&wanted.kind, &is.kind)
}

/// The plural as Kubernetes' own tools guess it.
fn plural(word: &str) -> String {
    let before_last = word.chars().rev().nth(1).unwrap_or(' ');
    match word.chars().next_back() {
        Some('y') if !"aeiou".contains(before_last) => format!("{}ies", &word[..word.len() - 1]),
        Some('s' | 'x' | 'z') => format!("{word}es"),
        Some('h') if "cs".contains(before_last) => format!("{word}es"),
        _ => format!("{word}s"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn config(version: &str, kind: &str) -> CustomConfig {
        let text = format!(
            "spec: {{resources: [{{groupVersionKind: {{group: myteam.io, version: '{version}', kind: '{kind}'}}, metrics: [{{name: a, each: {{type: Gauge, gauge: {{path: [spec]}}}}}}]}}]}}"
        );
        CustomConfig::parse(&text).unwrap()
    }

    #[track_caller]
    fn check(version: &str, kind: &str, known: Option<&[Definition]>, expect: &[&str]) {
        let found = resolve(&config(version, kind), known).unwrap();
        let found = found
            .iter()
            .map(|f| format!("{}/{} {}", f.version, f.plural, f.namespaced));
        assert_eq!(found.collect::<Vec<_>>(), expect);
    }

    #[test]
    fn definitions_tell_what_is_meant() {
        let mut known = definitions(&json!({"spec": {
            "group": "myteam.io", "scope": "Namespaced", "names": {"kind": "Foo", "plural": "foos"},
            "versions": [{"name": "v1", "served": true}, {"name": "v2", "served": true},
                {"name": "v0", "served": false}],
        }}));
        known.extend(definitions(&json!({"spec": {
            "group": "myteam.io", "scope": "Cluster", "names": {"kind": "Bar", "plural": "bars"},
            "versions": [{"name": "v1", "served": true}],
        }})));
        check("v1", "Foo", Some(&known), &["v1/foos true"]);
        check("*", "Foo", Some(&known), &["v1/foos true", "v2/foos true"]);
        check("v1", "*", Some(&known), &["v1/foos true", "v1/bars false"]);
        check("v0", "Foo", Some(&known), &[]);
        check("v1", "Foo", Some(&[]), &[]);
        check("v1", "Policy", None, &["v1/policies true"]);
        check("v1", "Ingress", None, &["v1/ingresses true"]);
        check("*", "Foo", None, &[]);
    }
}
