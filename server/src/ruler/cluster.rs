//! Rules of the cluster: objects of the kind `PrometheusRule`, evaluated as long as they are there.
//!
//! Invariants: an object that is wrong is told and changes nothing, neither of what it was before
//! nor of others; nothing ends while the cluster is not heard of.

use std::collections::BTreeMap;
use std::sync::Arc;

use obs_alerting::rules::{Group, Parsing, RuleFile};
use obs_model::Tenant;
use obs_model::limits::Limits;
use serde_json::Value;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{GroupKey, Origin, Replaced};
use crate::app::App;

/// The groups of objects by `namespace/name`.
pub(crate) type Objects = BTreeMap<String, Value>;

/// Evaluates what the objects say, whenever they change, until the token is cancelled.
pub(crate) async fn follow(
    app: Arc<App>,
    mut objects: watch::Receiver<Objects>,
    stop: CancellationToken,
) {
    let mut known: BTreeMap<String, Vec<(GroupKey, Group)>> = BTreeMap::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            changed = objects.changed() => if changed.is_err() { return },
        }
        let Some(ruler) = app.ruler.get() else {
            continue;
        };
        let now = objects.borrow_and_update().clone();
        known = taken(&now, known, &app.rules.limits);
        let groups = known.values().flatten().cloned().collect();
        let replaced = Replaced::Of(Origin::Kubernetes);
        if ruler.apply(&app, replaced, groups).await.is_err() {
            return;
        }
    }
}

/// The groups of all objects; of one that is wrong those that it had before.
fn taken(
    objects: &Objects,
    mut before: BTreeMap<String, Vec<(GroupKey, Group)>>,
    limits: &Limits,
) -> BTreeMap<String, Vec<(GroupKey, Group)>> {
    let mut taken = BTreeMap::new();
    for (name, object) in objects {
        let old = before.remove(name);
        match groups(name, object, limits) {
            Ok(groups) => drop(taken.insert(name.clone(), groups)),
            Err(fault) => {
                tracing::warn!(%fault, "PrometheusRule {name} is not evaluated as it is now");
                taken.extend(old.map(|groups| (name.clone(), groups)));
            }
        }
    }
    taken
}

fn groups(name: &str, object: &Value, limits: &Limits) -> Result<Vec<(GroupKey, Group)>, String> {
    let parsing = Parsing {
        limits: *limits,
        ..Parsing::default()
    };
    // JSON is YAML.
    let file = RuleFile::parse(&object.to_string(), &parsing).map_err(|e| e.message)?;
    let groups = file.groups.into_iter();
    Ok(groups
        .map(|group| {
            let key = GroupKey {
                tenant: Tenant::anonymous(),
                origin: Origin::Kubernetes,
                file: format!("PrometheusRule/{name}"),
                name: group.name.clone(),
            };
            (key, group)
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_wrong_object_keeps_what_it_was() {
        let object = |expr: &str| {
            let rules = json!([{"record": "a", "expr": expr}]);
            json!({"groups": [{"name": "g", "rules": rules}]})
        };
        let limits = Limits::default();
        let of = |pairs: &[(&str, &str)]| -> Objects {
            let pairs = pairs.iter();
            pairs
                .map(|(name, expr)| ((*name).to_owned(), object(expr)))
                .collect()
        };
        let texts = |taken: &BTreeMap<String, Vec<(GroupKey, Group)>>| -> Vec<String> {
            let groups = taken.values().flatten();
            groups
                .map(|(key, group)| format!("{}: {}", key.file, group.rules[0].expression.text))
                .collect()
        };
        let first = taken(
            &of(&[("n/a", "1"), ("n/b", "sum(")]),
            BTreeMap::new(),
            &limits,
        );
        assert_eq!(texts(&first), ["PrometheusRule/n/a: 1"]);
        let second = taken(&of(&[("n/a", "sum("), ("n/b", "2")]), first, &limits);
        let both = ["PrometheusRule/n/a: 1", "PrometheusRule/n/b: 2"];
        assert_eq!(texts(&second), both);
        assert!(taken(&Objects::new(), second, &limits).is_empty());
    }
}
