//! What is wanted: which resources, families, labels and namespaces; and what is watched for it.
//!
//! Invariant: settings that contradict each other, or name what there is not, are refused before
//! anything is asked of the API server.

use regex::Regex;

use super::custom::{CustomConfig, Found};
use super::error::StateError;
use super::family::Lists;
use super::labels::AllowLists;
use super::resource::{RESOURCES, Resource};
use super::shard::Shard;
use super::sheet::Sheet;
use crate::resource as api;
use crate::resource::Query;

/// Namespaces that one setting can name; each is a watch of every resource.
const NAMESPACES_MAX: usize = 1000;

/// The flags of kube-state-metrics, as far as they say what is shown.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Resources by plural name; empty stands for the default ones.
    pub resources: Vec<String>,
    /// Namespaces to watch; empty stands for all.
    pub namespaces: Vec<String>,
    /// Namespaces not to watch.
    pub namespaces_denylist: Vec<String>,
    /// The node whose pods are watched.
    pub node: String,
    /// Watch the pods that have no node.
    pub track_unscheduled_pods: bool,
    /// Labels of objects that become labels of metrics.
    pub labels: AllowLists,
    /// Annotations of objects that become labels of metrics.
    pub annotations: AllowLists,
    /// Patterns of the families that are made; empty stands for all.
    pub metric_allowlist: Vec<String>,
    /// Patterns of the families that are not made.
    pub metric_denylist: Vec<String>,
    /// Patterns of the families that are made by wish only.
    pub metric_opt_in_list: Vec<String>,
    /// Which instance of several this is.
    pub shard: Shard,
    /// Name and namespace of this instance's pod, whose stateful set tells the shard.
    pub own_pod: Option<(String, String)>,
    /// Lists may be as old as the API server's cache.
    pub use_apiserver_cache: bool,
    /// Objects of a resource that are kept at most; 0 keeps all.
    pub object_limit: usize,
    /// Metrics of custom resources.
    pub custom: CustomConfig,
    /// No other metrics than those.
    pub custom_only: bool,
}

/// Which families are made.
#[derive(Clone, Debug, Default)]
pub(super) struct Filter {
    allowed: Vec<Regex>,
    denied: Vec<Regex>,
    opted_in: Vec<Regex>,
}

impl Filter {
    fn new(settings: &Settings) -> Result<Self, StateError> {
        if !settings.metric_allowlist.is_empty() && !settings.metric_denylist.is_empty() {
            let text = "metric-allowlist and metric-denylist: expected one of them";
            return Err(StateError::Setting(text.to_owned()));
        }
        Ok(Self {
            allowed: patterns(&settings.metric_allowlist)?,
            denied: patterns(&settings.metric_denylist)?,
            opted_in: patterns(&settings.metric_opt_in_list)?,
        })
    }

    /// Whether a family is made. A pattern fits where it fits a part of the name.
    pub(super) fn has(&self, name: &str, by_wish: bool) -> bool {
        let any = |list: &[Regex]| list.iter().any(|pattern| pattern.is_match(name));
        (self.allowed.is_empty() || any(&self.allowed))
            && !any(&self.denied)
            && (!by_wish || any(&self.opted_in))
    }
}

fn patterns(texts: &[String]) -> Result<Vec<Regex>, StateError> {
    let texts = texts
        .iter()
        .map(|text| text.trim())
        .filter(|text| !text.is_empty());
    let compile = |text: &str| {
        Regex::new(text).map_err(|error| StateError::Pattern {
            pattern: text.to_owned(),
            // The whole message draws the pattern over several lines.
            reason: error
                .to_string()
                .lines()
                .last()
                .unwrap_or_default()
                .trim()
                .to_owned(),
        })
    };
    texts.map(compile).collect()
}

impl Settings {
    /// What is watched of the built-in resources.
    ///
    /// # Errors
    /// The settings contradict each other, or name what there is not.
    pub(super) fn sheets(&self) -> Result<Vec<Sheet>, StateError> {
        self.check()?;
        let filter = Filter::new(self)?;
        let mut sheets = Vec::new();
        for resource in self.wanted()? {
            let lists = Lists {
                labels: self.labels.of(resource.name),
                annotations: self.annotations.of(resource.name),
            };
            let mut sheet = Sheet::built_in(resource, &filter, lists);
            if sheet.is_empty() {
                continue;
            }
            let of = api_resource(resource);
            sheet.queries = self.queries(&of, sheet.needs_metadata_only(), resource.name == "pods");
            sheets.push(sheet);
        }
        Ok(sheets)
    }

    /// What is watched of a custom resource.
    pub(super) fn custom_sheet(&self, found: Found) -> Result<Option<Sheet>, StateError> {
        let of = api::Resource {
            group: found.group.clone().into(),
            version: found.version.clone().into(),
            plural: found.plural.clone().into(),
            kind: found.kind.clone().into(),
            namespaced: found.namespaced,
        };
        let mut sheet = Sheet::custom(found, &Filter::new(self)?);
        sheet.queries = self.queries(&of, false, false);
        Ok((!sheet.is_empty()).then_some(sheet))
    }

    fn check(&self) -> Result<(), StateError> {
        let refuse = |text: String| Err(StateError::Setting(text));
        let Shard { ordinal, total } = self.shard;
        if total == 0 || ordinal >= total {
            return refuse(format!(
                "shard {ordinal} of {total}: expected a shard below the number of shards"
            ));
        }
        if self.namespaces.len() + self.namespaces_denylist.len() > NAMESPACES_MAX {
            return refuse(format!("namespaces: expected at most {NAMESPACES_MAX}"));
        }
        let by_node = !self.node.is_empty() || self.track_unscheduled_pods;
        if by_node && let Some(other) = self.resources.iter().find(|name| *name != "pods") {
            return refuse(format!(
                "resource {other} cannot be selected by node, only pods can"
            ));
        }
        for name in self.labels.resources().chain(self.annotations.resources()) {
            if name != "*" && Resource::named(name).is_none() {
                return Err(unknown(name));
            }
        }
        Ok(())
    }

    /// The resources, each once, by name.
    fn wanted(&self) -> Result<Vec<&'static Resource>, StateError> {
        if self.custom_only {
            return Ok(Vec::new());
        }
        if self.resources.is_empty() {
            let by_node = !self.node.is_empty() || self.track_unscheduled_pods;
            let wanted = RESOURCES.into_iter().filter(|r| r.default);
            return Ok(wanted.filter(|r| !by_node || r.name == "pods").collect());
        }
        let named = self.resources.iter();
        let named = named.map(|name| Resource::named(name).ok_or_else(|| unknown(name)));
        let mut wanted = named.collect::<Result<Vec<_>, _>>()?;
        wanted.sort_by_key(|resource| resource.name);
        wanted.dedup_by_key(|resource| resource.name);
        Ok(wanted)
    }

    /// One query for each namespace, or one for all of them.
    fn queries(&self, of: &api::Resource, metadata_only: bool, pods: bool) -> Vec<Query> {
        let mut fields = Vec::new();
        if of.namespaced {
            let denied = self.namespaces_denylist.iter();
            fields.extend(denied.map(|name| format!("metadata.namespace!={name}")));
        }
        if pods && self.track_unscheduled_pods {
            fields.push("spec.nodeName=".to_owned());
        } else if pods && !self.node.is_empty() {
            fields.push(format!("spec.nodeName={}", self.node));
        }
        let mut query = Query::all(of.clone()).with_fields(&fields.join(","));
        if metadata_only {
            query = query.only_metadata();
        }
        let allowed = |name: &&String| !self.namespaces_denylist.contains(name);
        if !of.namespaced || self.namespaces.is_empty() {
            return vec![query];
        }
        let mut namespaces: Vec<_> = self.namespaces.iter().filter(allowed).collect();
        namespaces.sort_unstable();
        namespaces.dedup();
        let queries = namespaces.into_iter();
        queries
            .map(|name| query.clone().in_namespace(name))
            .collect()
    }
}

fn unknown(name: &str) -> StateError {
    let known: Vec<_> = RESOURCES.iter().map(|resource| resource.name).collect();
    StateError::Resource(name.to_owned(), known.join(", "))
}

fn api_resource(resource: &Resource) -> api::Resource {
    let of = api::Resource::namespaced(
        resource.group,
        resource.version,
        resource.name,
        resource.kind,
    );
    api::Resource {
        namespaced: resource.namespaced,
        ..of
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owned(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn by_default_all_that_kube_state_metrics_watches() {
        let sheets = Settings::default().sheets().unwrap();
        assert_eq!(sheets.len(), 32);
        let metadata_only = sheets.iter().filter(|sheet| sheet.queries[0].metadata_only);
        let metadata_only: Vec<_> = metadata_only.map(|sheet| sheet.name.as_str()).collect();
        assert_eq!(metadata_only, ["configmaps"]);
    }

    #[test]
    fn a_secret_is_read_only_where_its_type_is_shown() {
        let settings = Settings {
            resources: owned(&["secrets"]),
            metric_denylist: owned(&["kube_secret_type"]),
            ..Settings::default()
        };
        assert!(settings.sheets().unwrap()[0].queries[0].metadata_only);
    }

    #[test]
    fn queries_have_namespaces_and_nodes() {
        let settings = Settings {
            resources: owned(&["pods", "pods"]),
            namespaces: owned(&["b", "a", "c"]),
            namespaces_denylist: owned(&["c"]),
            node: "n1".to_owned(),
            ..Settings::default()
        };
        let sheets = settings.sheets().unwrap();
        let queries = sheets[0].queries.iter();
        let queries: Vec<_> = queries
            .map(|query| (query.path(), query.fields.as_str()))
            .collect();
        let fields = "metadata.namespace!=c,spec.nodeName=n1";
        assert_eq!(
            queries,
            [
                ("/api/v1/namespaces/a/pods".to_owned(), fields),
                ("/api/v1/namespaces/b/pods".to_owned(), fields)
            ]
        );
        let nodes = Settings {
            resources: owned(&["nodes"]),
            namespaces: owned(&["a"]),
            namespaces_denylist: owned(&["c"]),
            ..Settings::default()
        };
        let nodes = nodes.sheets().unwrap();
        assert_eq!(nodes[0].queries.len(), 1);
        assert_eq!(nodes[0].queries[0].fields, "");
    }

    #[test]
    fn families_are_filtered() {
        let filter = |settings: Settings| Filter::new(&settings).unwrap();
        let allow = filter(Settings {
            metric_allowlist: owned(&["^kube_pod_.*$", "kube_node_info"]),
            ..Settings::default()
        });
        assert!(allow.has("kube_pod_info", false) && allow.has("kube_node_info", false));
        assert!(!allow.has("kube_node_labels", false));
        assert!(!allow.has("kube_pod_nodeselectors", true));
        let deny = filter(Settings {
            metric_denylist: owned(&["_labels$"]),
            metric_opt_in_list: owned(&["kube_pod_nodeselectors"]),
            ..Settings::default()
        });
        assert!(!deny.has("kube_pod_labels", false) && deny.has("kube_pod_info", false));
        assert!(deny.has("kube_pod_nodeselectors", true));
        assert!(!deny.has("kube_persistentvolume_csi_attributes", true));
    }

    #[track_caller]
    fn refused(settings: Settings, expect: &str) {
        let error = settings.sheets().unwrap_err().to_string();
        assert!(error.contains(expect), "{error}");
    }

    #[test]
    fn contradictions_are_refused() {
        refused(
            Settings {
                resources: owned(&["podz"]),
                ..Settings::default()
            },
            "resource `podz`: expected one of certificatesigningrequests",
        );
        refused(
            Settings {
                labels: AllowLists::parse("podz=[*]").unwrap(),
                ..Settings::default()
            },
            "resource `podz`",
        );
        refused(
            Settings {
                metric_allowlist: owned(&["a"]),
                metric_denylist: owned(&["b"]),
                ..Settings::default()
            },
            "expected one of them",
        );
        refused(
            Settings {
                metric_allowlist: owned(&["("]),
                ..Settings::default()
            },
            "metric pattern `(`",
        );
        refused(
            Settings {
                shard: Shard {
                    ordinal: 2,
                    total: 2,
                },
                ..Settings::default()
            },
            "shard 2 of 2",
        );
        refused(
            Settings {
                node: "n".to_owned(),
                resources: owned(&["pods", "nodes"]),
                ..Settings::default()
            },
            "nodes cannot be selected by node",
        );
    }
}
