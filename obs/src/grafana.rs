//! `obs grafana provision`: files with which an existing Grafana knows an obs: its data sources, led
//! from one to another, and the bundled dashboards.
//!
//! Invariant: the uids are fixed, so that a second run changes the same data sources and dashboards,
//! and links between them hold. Format: <https://grafana.com/docs/grafana/latest/administration/provisioning/>

mod sources;

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::arguments::server_url;
use crate::shape::{note, write};

/// `obs grafana …`
#[derive(Debug, Subcommand)]
pub(crate) enum GrafanaCommand {
    /// Write provisioning files of data sources and dashboards for an existing Grafana
    ///
    /// Grafana reads them from its folder `conf/provisioning` (`/etc/grafana/provisioning` in packages
    /// and in its image) when it starts. Metrics lead to traces by exemplars, log lines to traces,
    /// traces to logs, metrics and the service map.
    #[command(
        after_help = "Examples:\n  obs grafana provision --dir /etc/grafana/provisioning --url http://obs:9090\n  \
        obs grafana provision --dir out --url https://obs.example.com --tenant shop --token-env OBS_TOKEN\n  \
        obs grafana provision --dir out --url http://obs:9090 --jaeger --dashboards-path /var/lib/grafana/dashboards/obs"
    )]
    Provision(ProvisionOptions),
}

#[derive(Debug, Args)]
pub(crate) struct ProvisionOptions {
    /// Grafana's provisioning folder; `datasources` and `dashboards` in it are written
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// The address at which Grafana reaches obs
    #[arg(long, value_name = "URL", value_parser = server_url)]
    url: String,
    /// The tenant (X-Scope-OrgID) that Grafana asks for
    #[arg(long, value_name = "NAME")]
    tenant: Option<String>,
    /// The variable of Grafana's environment that holds a token for obs
    #[arg(long, value_name = "NAME", value_parser = variable_name)]
    token_env: Option<String>,
    /// Also a data source of type Jaeger
    #[arg(long)]
    jaeger: bool,
    /// Make obs the data source that new panels have
    #[arg(long)]
    default: bool,
    /// Where Grafana finds the dashboards [default: the folder `dashboards/obs` in --dir]
    #[arg(long, value_name = "DIR")]
    dashboards_path: Option<PathBuf>,
    /// The folder in Grafana that the dashboards are in
    #[arg(long, value_name = "NAME", default_value = "obs")]
    folder: String,
    /// No dashboards
    #[arg(long)]
    no_dashboards: bool,
    /// Replace files that are there
    #[arg(long)]
    force: bool,
    /// Print what would be written
    #[arg(long)]
    dry_run: bool,
}

fn variable_name(text: &str) -> Result<String, String> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    if !text.is_empty() && text.bytes().all(plain) {
        Ok(text.to_owned())
    } else {
        Err("expected the name of a variable such as OBS_TOKEN".to_owned())
    }
}

/// Runs `obs grafana`.
pub(crate) fn run(command: &GrafanaCommand) -> anyhow::Result<()> {
    let GrafanaCommand::Provision(options) = command;
    let files = files(options)?;
    if options.dry_run {
        for (path, text) in &files {
            write(&format!("# {}\n{text}\n", path.display()))?;
        }
        return Ok(());
    }
    if !options.force
        && let Some((path, _)) = files.iter().find(|(path, text)| differs(path, text))
    {
        bail!(
            "{} is there already and is another one; --force replaces it",
            path.display()
        );
    }
    for (path, text) in &files {
        save(path, text).with_context(|| format!("write {}", path.display()))?;
        write(&format!("{}\n", path.display()))?;
    }
    note(
        "Grafana reads them when it starts; its data sources then are obs, obs logs, obs traces and obs alerts",
    )?;
    Ok(())
}

fn differs(path: &Path, text: &str) -> bool {
    std::fs::read_to_string(path).is_ok_and(|found| found != text)
}

fn save(path: &Path, text: &str) -> std::io::Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .open(path)?;
    std::io::Write::write_all(&mut file, text.as_bytes())
}

/// Everything that is written, by path.
fn files(options: &ProvisionOptions) -> anyhow::Result<Vec<(PathBuf, String)>> {
    let head = "# Written by `obs grafana provision`; a further run with --force writes it anew.\n";
    let yaml = |value: &Value| -> anyhow::Result<String> {
        let text = serde_yaml_ng::to_string(value).context("write YAML")?;
        Ok(format!("{head}{text}"))
    };
    let asked = sources::Asked {
        url: options.url.trim_end_matches('/'),
        tenant: options.tenant.as_deref(),
        token_env: options.token_env.as_deref(),
        jaeger: options.jaeger,
        default: options.default,
    };
    let mut files = vec![(
        options.dir.join("datasources/obs.yaml"),
        yaml(&sources::all(&asked))?,
    )];
    if options.no_dashboards {
        return Ok(files);
    }
    let folder = options.dir.join("dashboards/obs");
    let seen = match &options.dashboards_path {
        Some(path) => path.clone(),
        None => std::path::absolute(&folder).context("--dir")?,
    };
    let provider = json!({"apiVersion": 1, "providers": [{
        "name": "obs",
        "orgId": 1,
        "folder": options.folder,
        "folderUid": "obs",
        "type": "file",
        "disableDeletion": false,
        "allowUiUpdates": false,
        "updateIntervalSeconds": 60,
        "options": {"path": seen.display().to_string(), "foldersFromFilesStructure": false},
    }]});
    files.push((options.dir.join("dashboards/obs.yaml"), yaml(&provider)?));
    for (uid, text) in obs_server::bundled_dashboards() {
        let dashboard = bound(text).with_context(|| format!("dashboard {uid}"))?;
        files.push((folder.join(format!("{uid}.json")), dashboard));
    }
    Ok(files)
}

/// A dashboard whose variables of data sources choose those of obs at first, also where Grafana has
/// others of their types.
fn bound(text: &str) -> anyhow::Result<String> {
    let mut dashboard: Value = serde_json::from_str(text).context("not JSON")?;
    let variables = dashboard["templating"]["list"].as_array_mut();
    for variable in variables.into_iter().flatten() {
        if variable["type"] != "datasource" {
            continue;
        }
        let (name, uid) = match variable["query"].as_str() {
            Some("prometheus") => sources::METRICS,
            Some("loki") => sources::LOGS,
            Some("tempo") => sources::TRACES,
            _ => continue,
        };
        variable["current"] = json!({"selected": true, "text": name, "value": uid});
    }
    let text = serde_json::to_string_pretty(&dashboard).context("write JSON")?;
    Ok(format!("{text}\n"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn options() -> ProvisionOptions {
        ProvisionOptions {
            dir: "out".into(),
            url: "http://obs:9090/".to_owned(),
            tenant: Some("shop".to_owned()),
            token_env: Some("OBS_TOKEN".to_owned()),
            jaeger: true,
            default: true,
            dashboards_path: Some("/srv/dashboards".into()),
            folder: "obs".to_owned(),
            no_dashboards: false,
            force: false,
            dry_run: false,
        }
    }

    #[test]
    fn files_fit_together() {
        let files = files(&options()).unwrap();
        let names: Vec<String> = files
            .iter()
            .map(|(path, _)| path.display().to_string())
            .collect();
        assert_eq!(
            names[..2],
            ["out/datasources/obs.yaml", "out/dashboards/obs.yaml"]
        );
        let sources: Value = serde_yaml_ng::from_str(&files[0].1).unwrap();
        let uids: BTreeSet<&str> = sources["datasources"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(|source| source["uid"].as_str())
            .collect();
        let provider: Value = serde_yaml_ng::from_str(&files[1].1).unwrap();
        assert_eq!(
            provider["providers"][0]["options"]["path"],
            "/srv/dashboards"
        );
        assert_eq!(files.len(), 2 + obs_server::bundled_dashboards().count());
        for (path, text) in &files[2..] {
            let dashboard: Value = serde_json::from_str(text).unwrap();
            for variable in dashboard["templating"]["list"].as_array().unwrap() {
                if variable["type"] == "datasource" {
                    let uid = variable["current"]["value"].as_str().unwrap();
                    assert!(uids.contains(uid), "{}: {uid}", path.display());
                }
            }
        }
    }
}
