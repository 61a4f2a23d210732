//! The Helm chart of `deploy/helm/obs`, and how its templates become text.
//!
//! Invariant: a template that Helm renders is rendered to the same objects, or refused: functions
//! that the chart does not use are not known here.

use anyhow::Context;
use obs_query::template::{Template, Value};
use serde_json::json;

use super::functions::Helm;
use super::{schema, values};

/// The chart's values, with what they mean.
pub(super) const VALUES: &str = include_str!("../../../deploy/helm/obs/values.yaml");
const SCHEMA: &str = include_str!("../../../deploy/helm/obs/values.schema.json");
const CHART: &str = include_str!("../../../deploy/helm/obs/Chart.yaml");

macro_rules! templates {
    ($($name:literal)*) => {
        &[$(($name, include_str!(concat!("../../../deploy/helm/obs/templates/", $name)))),*]
    };
}

/// What other templates call.
pub(super) const PARTS: &[(&str, &str)] = templates!["_config.tpl" "_helpers.tpl"];

/// In the order in which objects are to be made.
pub(super) const TEMPLATES: &[(&str, &str)] = templates![
    "namespace.yaml"
    "server-rbac.yaml"
    "agent-rbac.yaml"
    "kube-state.yaml"
    "server-config.yaml"
    "agent-config.yaml"
    "server-service.yaml"
    "server-statefulset.yaml"
    "agent-daemonset.yaml"
    "network-policy.yaml"
    "service-monitor.yaml"
    "resource-metrics.yaml"
    "NOTES.txt"
];

/// What an installation is called, and where it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Release<'n> {
    pub(super) name: &'n str,
    pub(super) namespace: &'n str,
}

/// A rendered template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct File {
    /// Name of the template.
    pub(super) name: &'static str,
    /// The text, without space around it.
    pub(super) text: String,
}

impl File {
    /// Whether it is for the cluster, not for people.
    pub(super) fn is_manifest(&self) -> bool {
        self.name.ends_with(".yaml")
    }
}

/// Renders all templates with the chart's values, and these over them. Templates that come to
/// nothing are left out.
pub(super) fn render(release: &Release<'_>, over: serde_json::Value) -> anyhow::Result<Vec<File>> {
    let mut all = values::parse(VALUES).context("values.yaml")?;
    values::merge(&mut all, over);
    let schema = serde_json::from_str(SCHEMA).context("values.schema.json")?;
    let faults = schema::check(&schema, &all);
    anyhow::ensure!(faults.is_empty(), "values: {}", faults.join("; "));
    let chart = values::parse(CHART).context("Chart.yaml")?;
    let data = json!({
        "Values": all,
        "Chart": {"Name": chart["name"], "Version": chart["version"], "AppVersion": chart["appVersion"]},
        "Release": {"Name": release.name, "Namespace": release.namespace, "Service": "obs"},
    });
    let data = values::to_template(&data);
    let mut parts = Template::parse("obs", "", &Helm::default())?;
    for (name, text) in PARTS {
        parts = parts
            .with(text, &Helm::default())
            .with_context(|| (*name).to_owned())?;
    }
    let mut files = Vec::new();
    for (name, text) in TEMPLATES {
        let text = rendered(&parts, text, &data).with_context(|| (*name).to_owned())?;
        let text = text.trim();
        if !text.is_empty() {
            files.push(File {
                name,
                text: text.to_owned(),
            });
        }
    }
    Ok(files)
}

fn rendered(parts: &Template, text: &str, data: &Value) -> anyhow::Result<String> {
    let template = parts.with(text, &Helm::default())?;
    let functions = Helm {
        template: Some(&template),
    };
    Ok(template.execute(data, &functions)?)
}
