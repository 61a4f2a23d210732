//! `obs.kubernetes`: which cluster this belongs to, and what is taken from it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use obs_kubernetes::{Access, events, operator, pods};
use serde::Deserialize;

use super::{ConfigError, Discovery, GlobalConfig, Job, KubeStateConfig, ScrapeConfig, Span};

/// `obs.kubernetes`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct KubernetesConfig {
    /// The kubeconfig file; the service account of the pod where there is none.
    pub kubeconfig_file: Option<PathBuf>,
    /// The context of the file; its current one where this is left out.
    pub context: Option<String>,
    /// Takes the objects of the Prometheus Operator as scrape configurations.
    pub monitors: Option<MonitorsConfig>,
    /// Scrapes what the annotations `prometheus.io/*` say.
    pub annotations: bool,
    /// Takes the cluster's events as logs.
    pub events: Option<EventsConfig>,
    /// Watches pods, so that what they log and send gets to know who they are.
    pub pods: Option<WatchedPodsConfig>,
    /// Metrics of the state of objects, scraped as the job `kube-state-metrics`.
    pub kube_state: Option<KubeStateConfig>,
}

/// `obs.kubernetes.monitors`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MonitorsConfig {
    /// Namespaces of the objects; all where this is empty.
    pub namespaces: Vec<String>,
    /// Label selector of the objects.
    pub selector: String,
}

/// `obs.kubernetes.events`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EventsConfig {
    /// Namespaces; all where this is empty.
    pub namespaces: Vec<String>,
    /// Labels of the streams.
    pub labels: BTreeMap<String, String>,
}

/// `obs.kubernetes.pods`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WatchedPodsConfig {
    /// The node whose pods are watched. An agent takes its own, by the variable `NODE_NAME`, where
    /// this is left out; a server all.
    pub node: Option<String>,
    /// Watches the pods of all nodes, in an agent too.
    pub all_nodes: bool,
    /// How long a pod that is gone is remembered, for its last lines.
    pub keep: Span,
}

impl Default for WatchedPodsConfig {
    fn default() -> Self {
        Self {
            node: None,
            all_nodes: false,
            keep: Span(pods::Settings::default().keep),
        }
    }
}

impl WatchedPodsConfig {
    /// What is watched; `own` is the node that this runs on, where only its pods are of interest.
    pub fn settings(&self, own: Option<String>) -> pods::Settings {
        pods::Settings {
            node: self.node.clone().or(own).filter(|_| !self.all_nodes),
            keep: self.keep.0,
            ..pods::Settings::default()
        }
    }
}

impl KubernetesConfig {
    /// Whether anything is taken from the cluster.
    pub fn is_wanted(&self) -> bool {
        self.monitors.is_some() || self.annotations || self.events.is_some()
    }

    /// The state of objects, where it is wanted.
    pub fn wanted_state(&self) -> Option<&KubeStateConfig> {
        self.kube_state.as_ref().filter(|state| state.enable)
    }

    /// Checks what does not need the cluster; `folder` is what relative paths start from.
    pub fn check(&mut self, folder: &Path) -> Result<(), String> {
        if let Some(file) = &mut self.kubeconfig_file {
            *file = folder.join(&*file);
        } else if self.context.is_some() {
            return Err("obs.kubernetes.context needs a kubeconfig_file".to_owned());
        }
        if let Some(pods) = &self.pods {
            if pods.node.is_some() && pods.all_nodes {
                return Err("obs.kubernetes.pods has both node and all_nodes".to_owned());
            }
            if pods.node.as_deref() == Some("") {
                return Err("obs.kubernetes.pods.node is empty".to_owned());
            }
        }
        if let Some(monitors) = &self.monitors {
            let checked = monitors.settings().check();
            checked.map_err(|fault| format!("obs.kubernetes.monitors.selector: {fault}"))?;
        }
        Ok(())
    }

    /// The way to the cluster.
    pub fn access(&self) -> Access {
        match &self.kubeconfig_file {
            Some(file) => Access::Kubeconfig {
                file: file.clone(),
                context: self.context.clone(),
            },
            None => Access::InCluster,
        }
    }

    /// Discoveries that name no API server use that of this section.
    pub fn set_access(&self, jobs: &mut [Job]) {
        let access = self.access();
        for discovery in jobs.iter_mut().flat_map(|job| &mut job.discovery) {
            if let Discovery::Kubernetes(config) = discovery
                && config.access == Access::InCluster
                && !config.own_namespace
            {
                config.access = access.clone();
            }
        }
    }

    /// The job of an entry that was made here.
    pub(crate) fn job(
        &self,
        global: &GlobalConfig,
        entry: &serde_json::Value,
    ) -> Result<Job, String> {
        // JSON is YAML, and a fault of an entry that no file has needs no place.
        let config: ScrapeConfig =
            serde_yaml_ng::from_str(&entry.to_string()).map_err(|e| e.to_string())?;
        let jobs = super::jobs(global, vec![config], "", Path::new(""));
        let mut jobs = jobs.map_err(|ConfigError { message, .. }| message)?;
        self.set_access(&mut jobs);
        jobs.pop().ok_or_else(|| "no job".to_owned())
    }
}

impl MonitorsConfig {
    pub(crate) fn settings(&self) -> operator::Settings {
        operator::Settings {
            namespaces: self.namespaces.clone(),
            selector: self.selector.clone(),
        }
    }
}

impl EventsConfig {
    pub(crate) fn settings(&self) -> events::Settings {
        events::Settings {
            namespaces: self.namespaces.clone(),
            labels: self.labels.clone().into_iter().collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_section_is_checked() {
        let parse = |yaml: &str| -> Result<KubernetesConfig, String> {
            let parsed: Result<KubernetesConfig, _> = serde_yaml_ng::from_str(yaml);
            let mut config = parsed.map_err(|e| e.to_string())?;
            config.check(Path::new("/etc/obs"))?;
            Ok(config)
        };
        let config = parse("{kubeconfig_file: kc, monitors: {}, annotations: true}").unwrap();
        assert!(config.is_wanted());
        assert_eq!(config.access().to_string(), "/etc/obs/kc");
        assert_eq!(parse("{}").unwrap().access(), Access::InCluster);
        assert!(!parse("{}").unwrap().is_wanted());
        let fault = parse("{monitors: {selector: 'a in b'}}").unwrap_err();
        assert!(
            fault.starts_with("obs.kubernetes.monitors.selector: "),
            "{fault}"
        );
        assert!(parse("{pods: {node: n, all_nodes: true}}").is_err());
        assert!(parse("{pods: {node: ''}}").is_err());
        let pods = parse("{pods: {keep: 1m}}").unwrap().pods.unwrap();
        let settings = pods.settings(Some("n1".to_owned()));
        assert_eq!(settings.node.as_deref(), Some("n1"));
        assert_eq!(settings.keep, std::time::Duration::from_secs(60));
        let pods = parse("{pods: {all_nodes: true}}").unwrap().pods.unwrap();
        assert_eq!(pods.settings(Some("n1".to_owned())).node, None);
        assert!(parse("{context: c}").is_err());
        assert!(parse("{colour: red}").is_err());
    }

    #[test]
    fn entries_that_are_made_are_jobs() {
        let config = KubernetesConfig {
            kubeconfig_file: Some("kc".into()),
            ..KubernetesConfig::default()
        };
        for entry in operator::annotation_jobs() {
            let job = config.job(&GlobalConfig::default(), &entry).unwrap();
            assert!(job.honor_labels && !job.relabel.is_empty());
            let [Discovery::Kubernetes(discovery)] = job.discovery.as_slice() else {
                panic!("{:?}", job.discovery);
            };
            assert_eq!(discovery.access.to_string(), "kc");
        }
        let wrong = serde_json::json!({"job_name": "x", "scrape_interval": "never"});
        assert!(config.job(&GlobalConfig::default(), &wrong).is_err());
    }
}
