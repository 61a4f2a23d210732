//! What `obs.kubernetes.kube_state` becomes.

use std::path::Path;

use anyhow::Context;
use obs_collector::config::KubeStateConfig;
use obs_kubernetes::state::{AllowLists, CustomConfig, Settings};

/// What is shown; `folder` is what relative paths start from.
pub(crate) fn state_settings(state: &KubeStateConfig, folder: &Path) -> anyhow::Result<Settings> {
    let custom = match &state.custom_resource_state_config_file {
        None => CustomConfig::default(),
        Some(file) => {
            let file = folder.join(file);
            let text = std::fs::read_to_string(&file);
            let text = text.with_context(|| format!("read {}", file.display()))?;
            CustomConfig::parse(&text).with_context(|| format!("{}", file.display()))?
        }
    };
    Ok(Settings {
        resources: state.resources.clone(),
        namespaces: state.namespaces.clone(),
        namespaces_denylist: state.namespaces_denylist.clone(),
        metric_allowlist: state.metric_allowlist.clone(),
        metric_denylist: state.metric_denylist.clone(),
        metric_opt_in_list: state.metric_opt_in_list.clone(),
        labels: AllowLists::new(state.labels_allow_list.clone())?,
        annotations: AllowLists::new(state.annotations_allow_list.clone())?,
        use_apiserver_cache: state.use_api_server_cache,
        custom,
        custom_only: state.custom_resources_only,
        ..Settings::default()
    })
}
