//! prometheus-adapter's rules: which series are metrics of which objects, under which names, and
//! how their values are asked for.
//!
//! Invariant: what a rule finds is looked up in the index by names and labels alone, and holds for
//! [`HOLDS`]; a request never walks all series.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use obs_model::time::NANOS_PER_SECOND;
use obs_model::{MatchOp, Matcher, TimeRange, Timestamp};
use obs_query::template::{NoFunctions, Template, Value as Part};
use regex::Regex;
use serde::Deserialize;
use serde_yaml_ng::Value;
use tokio::sync::Mutex;

use super::Served;
use super::status::Status;
use crate::clock;

/// How long a list of metrics holds, in nanoseconds.
const HOLDS: i64 = 60 * NANOS_PER_SECOND;
/// Series that had no sample for so long are not told, in nanoseconds.
const RECENT: i64 = 600 * NANOS_PER_SECOND;
/// The rules of prometheus-adapter's chart, in our words.
const USUAL: &str = include_str!("adapter.yml");

/// A configuration of prometheus-adapter.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub struct AdapterConfig {
    /// Custom metrics.
    pub rules: Vec<RuleConfig>,
    /// External metrics.
    pub external_rules: Vec<RuleConfig>,
    /// Read and not used: `metrics.k8s.io` is answered without rules.
    pub resource_rules: Option<Value>,
}

/// One rule.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub struct RuleConfig {
    series_query: String,
    series_filters: Vec<FilterConfig>,
    resources: ResourcesConfig,
    name: NameConfig,
    metrics_query: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
struct FilterConfig {
    is: Option<String>,
    is_not: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct ResourcesConfig {
    template: String,
    overrides: BTreeMap<String, GroupResource>,
    namespaced: Option<bool>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct GroupResource {
    group: String,
    resource: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct NameConfig {
    matches: String,
    r#as: String,
}

impl AdapterConfig {
    /// The rules where none are given.
    pub(super) fn usual() -> Self {
        serde_yaml_ng::from_str(USUAL).expect("the file is part of the program and tested")
    }

    /// The rules of custom and of external metrics, ready to be used.
    pub(super) fn compiled(&self) -> anyhow::Result<(Vec<Rule>, Vec<Rule>)> {
        let all = |list: &str, rules: &[RuleConfig]| -> anyhow::Result<Vec<Rule>> {
            let one = |(index, rule)| {
                let compiled = Rule::new(rule);
                compiled.map_err(|fault| anyhow::anyhow!("{list}[{index}]: {fault}"))
            };
            rules.iter().enumerate().map(one).collect()
        };
        let custom = all("rules", &self.rules)?;
        let external = all("externalRules", &self.external_rules)?;
        if self.resource_rules.is_some() {
            tracing::info!("resourceRules are not used: metrics.k8s.io is answered without rules");
        }
        Ok((custom, external))
    }
}

/// A kind of objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Resource {
    pub(super) group: &'static str,
    pub(super) plural: &'static str,
    singular: &'static str,
    pub(super) kind: &'static str,
    pub(super) namespaced: bool,
    version: &'static str,
}

const fn kind(
    group: &'static str,
    (plural, singular, kind): (&'static str, &'static str, &'static str),
    namespaced: bool,
    version: &'static str,
) -> Resource {
    Resource {
        group,
        plural,
        singular,
        kind,
        namespaced,
        version,
    }
}

/// Namespaces are what other objects are in.
pub(super) const NAMESPACES: Resource =
    kind("", ("namespaces", "namespace", "Namespace"), false, "v1");

/// The kinds that metrics may be of.
pub(super) const RESOURCES: [Resource; 16] = [
    kind("", ("pods", "pod", "Pod"), true, "v1"),
    kind("", ("services", "service", "Service"), true, "v1"),
    NAMESPACES,
    kind("", ("nodes", "node", "Node"), false, "v1"),
    kind(
        "",
        (
            "persistentvolumeclaims",
            "persistentvolumeclaim",
            "PersistentVolumeClaim",
        ),
        true,
        "v1",
    ),
    kind(
        "",
        ("persistentvolumes", "persistentvolume", "PersistentVolume"),
        false,
        "v1",
    ),
    kind(
        "",
        (
            "replicationcontrollers",
            "replicationcontroller",
            "ReplicationController",
        ),
        true,
        "v1",
    ),
    kind(
        "apps",
        ("deployments", "deployment", "Deployment"),
        true,
        "v1",
    ),
    kind(
        "apps",
        ("replicasets", "replicaset", "ReplicaSet"),
        true,
        "v1",
    ),
    kind(
        "apps",
        ("statefulsets", "statefulset", "StatefulSet"),
        true,
        "v1",
    ),
    kind("apps", ("daemonsets", "daemonset", "DaemonSet"), true, "v1"),
    kind("batch", ("jobs", "job", "Job"), true, "v1"),
    kind("batch", ("cronjobs", "cronjob", "CronJob"), true, "v1"),
    kind(
        "networking.k8s.io",
        ("ingresses", "ingress", "Ingress"),
        true,
        "v1",
    ),
    kind(
        "extensions",
        ("ingresses", "ingress", "Ingress"),
        true,
        "v1beta1",
    ),
    kind(
        "autoscaling",
        (
            "horizontalpodautoscalers",
            "horizontalpodautoscaler",
            "HorizontalPodAutoscaler",
        ),
        true,
        "v2",
    ),
];

impl Resource {
    /// By group, and a plural or singular name.
    pub(super) fn find(group: &str, name: &str) -> Option<Self> {
        let name = name.to_ascii_lowercase();
        let of = |r: &&Self| r.group == group && (r.plural == name || r.singular == name);
        RESOURCES.iter().find(of).copied()
    }

    /// As paths name it: `pods`, `deployments.apps`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (name, group) = text.split_once('.').unwrap_or((text, ""));
        Self::find(group, name)
    }

    pub(super) fn path_name(self) -> String {
        match self.group {
            "" => self.plural.to_owned(),
            group => format!("{}.{group}", self.plural),
        }
    }

    /// `/v1` and `apps/v1`, as metrics describe objects.
    pub(super) fn described_version(self) -> String {
        format!("{}/{}", self.group, self.version)
    }

    /// Where the API lists it.
    pub(super) fn list_path(self, namespace: Option<&str>) -> String {
        let mut path = match self.group {
            "" => format!("/api/{}", self.version),
            group => format!("/apis/{group}/{}", self.version),
        };
        if let Some(namespace) = namespace.filter(|_| self.namespaced) {
            path.push_str(&format!("/namespaces/{namespace}"));
        }
        format!("{path}/{}", self.plural)
    }
}

/// A rule that is ready to be used.
#[derive(Clone, Debug)]
pub(super) struct Rule {
    series: Vec<Matcher>,
    filters: Vec<(bool, Regex)>,
    /// Labels that name objects.
    pub(super) labels: Vec<(String, Resource)>,
    pub(super) namespaced: bool,
    matches: Regex,
    named: String,
    query: Template,
}

/// Reads a template that has its actions between `<<` and `>>`. What is between them is text,
/// also braces.
fn template(name: &str, text: &str) -> Result<Template, String> {
    let mut written = String::new();
    let mut rest = text;
    let literal = |piece: &str, written: &mut String| {
        if !piece.is_empty() {
            let escaped = piece.replace('\\', "\\\\").replace('"', "\\\"");
            let escaped = escaped.replace('\n', "\\n");
            written.push_str(&format!("{{{{\"{escaped}\"}}}}"));
        }
    };
    while let Some((before, after)) = rest.split_once("<<") {
        let Some((action, after)) = after.split_once(">>") else {
            return Err(format!("{name}: \"<<\" without \">>\""));
        };
        literal(before, &mut written);
        written.push_str(&format!("{{{{{action}}}}}"));
        rest = after;
    }
    literal(rest, &mut written);
    Template::parse(name, &written, &NoFunctions).map_err(|error| error.to_string())
}

fn regex(name: &str, text: &str) -> Result<Regex, String> {
    Regex::new(text).map_err(|error| format!("{name}: {error}"))
}

impl Rule {
    fn new(config: &RuleConfig) -> Result<Self, String> {
        let limits = obs_model::limits::Limits::default();
        let series = obs_query::promql::parse_selector(&config.series_query, &limits);
        let series = series.map_err(|error| format!("seriesQuery: {error}"))?;
        let mut filters = Vec::new();
        for filter in &config.series_filters {
            let one = filter.is.as_deref().filter(|text| !text.is_empty());
            if let Some(text) = one {
                filters.push((true, regex("seriesFilters.is", text)?));
            }
            let other = filter.is_not.as_deref().filter(|text| !text.is_empty());
            if let Some(text) = other {
                filters.push((false, regex("seriesFilters.isNot", text)?));
            }
        }
        let matches = match config.name.matches.as_str() {
            "" => "^.*$",
            text => text,
        };
        let matches = regex("name.matches", matches)?;
        let named = match (config.name.r#as.as_str(), matches.captures_len()) {
            ("", 1) => "${0}".to_owned(),
            ("", 2) => "${1}".to_owned(),
            ("", _) => {
                return Err("name.as: required where name.matches has several groups".to_owned());
            }
            (text, _) => braced(text),
        };
        if config.metrics_query.is_empty() {
            return Err("metricsQuery: required".to_owned());
        }
        Ok(Self {
            series,
            filters,
            labels: labels(&config.resources)?,
            namespaced: config.resources.namespaced.unwrap_or(true),
            matches,
            named,
            query: template("metricsQuery", &config.metrics_query)?,
        })
    }

    /// The label of a kind of objects.
    pub(super) fn label(&self, of: Resource) -> Option<&str> {
        let mut labels = self.labels.iter();
        let found = labels.find(|(_, resource)| *resource == of)?;
        Some(&found.0)
    }

    /// The metric that a series is, unless it is filtered out.
    fn metric(&self, series: &str) -> Option<String> {
        let passes = |(is, regex): &(bool, Regex)| regex.is_match(series) == *is;
        if !self.filters.iter().all(passes) {
            return None;
        }
        let captures = self.matches.captures(series)?;
        let mut name = String::new();
        captures.expand(&self.named, &mut name);
        (!name.is_empty()).then_some(name)
    }

    /// The query of values of a series.
    pub(super) fn query(
        &self,
        series: &str,
        matchers: &[String],
        values: &[(&str, String)],
        group_by: &str,
    ) -> Result<String, Status> {
        let groups = Part::list([Part::from(group_by)]);
        let values = values.iter().map(|(name, value)| (*name, value.as_str()));
        let data = Part::map([
            ("Series", Part::from(series)),
            ("LabelMatchers", Part::from(matchers.join(","))),
            ("LabelValuesByName", Part::texts(values)),
            ("GroupBy", Part::from(group_by)),
            ("GroupBySlice", groups),
        ]);
        let written = self.query.execute(&data, &NoFunctions);
        written.map_err(|error| Status::bad_request(error.to_string()))
    }
}

/// `$1` and `${1}` as this crate's regular expressions take them.
fn braced(text: &str) -> String {
    let mut out = String::new();
    let mut chars = text.chars().peekable();
    while let Some(char) = chars.next() {
        out.push(char);
        if char == '$' && chars.peek().is_some_and(char::is_ascii_digit) {
            out.push('{');
            while let Some(digit) = chars.next_if(char::is_ascii_digit) {
                out.push(digit);
            }
            out.push('}');
        }
    }
    out
}

fn labels(config: &ResourcesConfig) -> Result<Vec<(String, Resource)>, String> {
    let mut found = Vec::new();
    for (label, of) in &config.overrides {
        let resource = Resource::find(&of.group, &of.resource).ok_or_else(|| {
            let known: Vec<_> = RESOURCES.iter().map(|r| r.path_name()).collect();
            let (group, name) = (&of.group, &of.resource);
            format!(
                "resources.overrides.{label}: unknown resource {name:?} of group {group:?}, \
                 expected one of {}",
                known.join(", ")
            )
        })?;
        found.push((label.clone(), resource));
    }
    if config.template.is_empty() {
        return Ok(found);
    }
    let template = template("resources.template", &config.template)?;
    for resource in RESOURCES {
        if found.iter().any(|(_, known)| *known == resource) {
            continue;
        }
        let data = Part::map([
            ("Group", Part::from(resource.group.replace('.', "_"))),
            ("Resource", Part::from(resource.singular)),
        ]);
        let label = template.execute(&data, &NoFunctions);
        let label = label.map_err(|error| format!("resources.template: {error}"))?;
        if !found.iter().any(|(known, _)| *known == label) {
            found.push((label, resource));
        }
    }
    Ok(found)
}

/// Where a metric comes from: the place of its rule, and a series.
type Origin = (usize, String);

/// What rules find is worth keeping.
pub(super) trait Listed: Sized + Send + Sync {
    /// Looks for the metrics of the rules; `names` tells the series with a label.
    fn list(rules: &[Rule], names: &NamesWith<'_>) -> Result<Self, obs_query::QueryError>;
}

/// Names of the series that match and have the label, where one is asked for.
type NamesWith<'a> =
    dyn Fn(&[Matcher], Option<&str>) -> Result<Vec<String>, obs_query::QueryError> + 'a;

/// Metrics of objects.
#[derive(Debug, Default)]
pub(super) struct Adapter(BTreeMap<(Resource, String), Origin>);

impl Listed for Adapter {
    fn list(rules: &[Rule], names: &NamesWith<'_>) -> Result<Self, obs_query::QueryError> {
        let mut found = BTreeMap::new();
        for (index, rule) in rules.iter().enumerate() {
            for (label, resource) in &rule.labels {
                for series in names(&rule.series, Some(label))? {
                    if let Some(metric) = rule.metric(&series) {
                        found.entry((*resource, metric)).or_insert((index, series));
                    }
                }
            }
        }
        Ok(Self(found))
    }
}

impl Adapter {
    /// Names for discovery, and whether they are in namespaces.
    pub(super) fn names(&self) -> BTreeSet<(String, bool)> {
        let keys = self.0.keys();
        keys.map(|(resource, metric)| {
            (
                format!("{}/{metric}", resource.path_name()),
                resource.namespaced,
            )
        })
        .collect()
    }

    pub(super) fn find(&self, of: Resource, metric: &str) -> Option<&Origin> {
        self.0.get(&(of, metric.to_owned()))
    }
}

/// Metrics that are of no object.
#[derive(Debug, Default)]
pub(super) struct External(BTreeMap<String, Origin>);

impl Listed for External {
    fn list(rules: &[Rule], names: &NamesWith<'_>) -> Result<Self, obs_query::QueryError> {
        let mut found = BTreeMap::new();
        for (index, rule) in rules.iter().enumerate() {
            for series in names(&rule.series, None)? {
                if let Some(metric) = rule.metric(&series) {
                    found.entry(metric).or_insert((index, series));
                }
            }
        }
        Ok(Self(found))
    }
}

impl External {
    pub(super) fn names(&self) -> BTreeSet<String> {
        self.0.keys().cloned().collect()
    }

    pub(super) fn find(&self, metric: &str) -> Option<&Origin> {
        self.0.get(metric)
    }
}

/// Rules, and what they found lately.
#[derive(Debug)]
pub(super) struct Known<T> {
    rules: Arc<[Rule]>,
    found: Mutex<Option<(Timestamp, Arc<T>)>>,
}

impl<T: Listed + 'static> Known<T> {
    pub(super) fn new(rules: Vec<Rule>) -> Self {
        Self {
            rules: rules.into(),
            found: Mutex::new(None),
        }
    }

    pub(super) fn rule(&self, index: usize) -> Option<&Rule> {
        self.rules.get(index)
    }

    /// What the rules find, at most a minute old.
    pub(super) async fn of(&self, served: &Served) -> Result<Arc<T>, Status> {
        let mut found = self.found.lock().await;
        let now = clock::now();
        if let Some((until, known)) = &*found
            && now < *until
        {
            return Ok(Arc::clone(known));
        }
        let stores = served.app.stores().map_err(|error| Status::of(&error))?;
        let snapshot = stores.metrics.snapshot(&served.tenant);
        let rules = Arc::clone(&self.rules);
        let range = TimeRange {
            start: now - RECENT,
            end: now,
        };
        let read = served.app.read_for(&served.tenant, None, move |budget, _| {
            let names = |matchers: &[Matcher], label: Option<&str>| {
                let mut matchers = matchers.to_vec();
                if let Some(label) = label {
                    let there = Matcher::new(label, MatchOp::NotEqual, "");
                    matchers.push(there.expect("no pattern, no fault"));
                }
                let found = obs_tsdb::label_values(&snapshot, "__name__", &matchers, range, budget);
                Ok(found?)
            };
            T::list(&rules, &names)
        });
        let listed = Arc::new(read.await.map_err(|error| Status::of(&error))?);
        *found = Some((now + HOLDS, Arc::clone(&listed)));
        Ok(listed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_rules_are_rules() {
        let usual = AdapterConfig::usual();
        let (custom, _) = usual.compiled().unwrap();
        assert!(custom.len() >= 3);
    }

    fn rule(text: &str) -> Rule {
        Rule::new(&serde_yaml_ng::from_str(text).unwrap()).unwrap()
    }

    #[test]
    fn rules_name_metrics_and_ask_for_them() {
        let rule = rule(
            r#"{seriesQuery: 'http_requests_total{namespace!=""}', name: {matches: '^(.*)_total$', as: '${1}_per_second'},
                resources: {overrides: {namespace: {resource: namespace}, pod: {resource: pods}}},
                metricsQuery: 'sum(rate(<<.Series>>{<<.LabelMatchers>>}[2m])) by (<<.GroupBy>>)'}"#,
        );
        let metric = rule.metric("http_requests_total");
        assert_eq!(metric.as_deref(), Some("http_requests_per_second"));
        assert_eq!(rule.metric("http_requests"), None);
        let pods = Resource::parse("pods").unwrap();
        assert_eq!(rule.label(pods), Some("pod"));
        assert_eq!(rule.label(NAMESPACES), Some("namespace"));
        let matchers = ["namespace=\"a\"".to_owned(), "pod=~\"p|q\"".to_owned()];
        let query = rule.query("http_requests_total", &matchers, &[], "pod");
        let expect = r#"sum(rate(http_requests_total{namespace="a",pod=~"p|q"}[2m])) by (pod)"#;
        assert_eq!(query.unwrap(), expect);
    }

    #[test]
    fn templates_give_labels_of_resources() {
        let rule = rule(
            r#"{seriesQuery: '{__name__=~"kube_.*"}', resources: {template: 'kube_<<.Group>>_<<.Resource>>'},
                metricsQuery: '<<range .GroupBySlice>>[<<.>>]<<end>><<index .LabelValuesByName "pod">>'}"#,
        );
        let deployments = Resource::parse("deployments.apps").unwrap();
        assert_eq!(rule.label(deployments), Some("kube_apps_deployment"));
        let query = rule.query("x", &[], &[("pod", "p".to_owned())], "pod");
        assert_eq!(query.unwrap(), "[pod]p");
    }

    #[test]
    fn faults_of_rules_are_told_with_their_place() {
        let check = |text: &str, expect: &str| {
            let config: AdapterConfig = serde_yaml_ng::from_str(text).unwrap();
            let fault = config.compiled().unwrap_err().to_string();
            assert!(fault.contains(expect), "{fault}");
        };
        check(
            "rules: [{seriesQuery: '{', metricsQuery: x}]",
            "rules[0]: seriesQuery",
        );
        check("rules: [{seriesQuery: up}]", "metricsQuery: required");
        check(
            "externalRules: [{seriesQuery: up, metricsQuery: '<<.Series'}]",
            "externalRules[0]: metricsQuery",
        );
        check(
            "rules: [{seriesQuery: up, metricsQuery: x, name: {matches: '(a)(b)'}}]",
            "name.as",
        );
        check(
            "rules: [{seriesQuery: up, metricsQuery: x, resources: {overrides: {a: {resource: unicorn}}}}]",
            "unicorn",
        );
    }
}
