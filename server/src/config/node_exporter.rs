//! `obs.node_exporter`: where the built-in node exporter is served, and what it collects.
//!
//! Invariant: a configuration that exists is one that the exporter takes; collectors and flags have
//! node_exporter's names, without the dashes.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use obs_node_exporter::{Options, Source};
use serde::Deserialize;

use crate::node_exporter::Settings;

/// `obs.node_exporter`
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "Keys")]
pub struct NodeExporterConfig {
    /// Where `/metrics` is served. It is scraped as the job `node`.
    pub listen: SocketAddr,
    /// What is served.
    pub(crate) settings: Settings,
}

/// The keys as they are written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Keys {
    listen: SocketAddr,
    /// Collectors that are turned on or off.
    #[serde(default)]
    collectors: BTreeMap<String, bool>,
    /// Only collectors that are turned on.
    #[serde(default)]
    disable_defaults: bool,
    /// Flags of node_exporter: `collector.textfile.directory: [/a, /b]`.
    #[serde(default)]
    flags: BTreeMap<String, Values>,
    #[serde(default)]
    path: Paths,
    /// Scrapes at one time.
    max_requests: Option<usize>,
}

/// `obs.node_exporter.path`
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Paths {
    procfs: Option<PathBuf>,
    sysfs: Option<PathBuf>,
    rootfs: Option<PathBuf>,
    udev_data: Option<PathBuf>,
    cgroup: Option<PathBuf>,
}

/// The value of a flag, or those of one that may be repeated.
#[derive(Deserialize)]
#[serde(untagged)]
enum Values {
    Switch(bool),
    Number(u64),
    Text(String),
    All(Vec<String>),
}

impl Values {
    fn texts(&self) -> Vec<String> {
        match self {
            Self::Switch(on) => vec![on.to_string()],
            Self::Number(number) => vec![number.to_string()],
            Self::Text(text) => vec![text.clone()],
            Self::All(texts) => texts.clone(),
        }
    }
}

impl Keys {
    /// The flags that the keys stand for.
    fn flags(&self) -> Vec<(String, String)> {
        let mut flags = Vec::new();
        if self.disable_defaults {
            flags.push(("collector.disable-defaults".to_owned(), "true".to_owned()));
        }
        for (name, on) in &self.collectors {
            flags.push((format!("collector.{name}"), on.to_string()));
        }
        for (name, values) in &self.flags {
            flags.extend(values.texts().into_iter().map(|text| (name.clone(), text)));
        }
        flags
    }
}

impl Paths {
    fn source(self) -> Source {
        let mut source = Source::new(
            self.procfs.unwrap_or_else(|| "/proc".into()),
            self.sysfs.unwrap_or_else(|| "/sys".into()),
            self.rootfs.unwrap_or_else(|| "/".into()),
        );
        if let Some(udev) = self.udev_data {
            source = source.with_udev(udev);
        }
        if let Some(cgroup) = self.cgroup {
            source = source.with_cgroup(cgroup);
        }
        source
    }
}

impl TryFrom<Keys> for NodeExporterConfig {
    type Error = String;

    fn try_from(keys: Keys) -> Result<Self, String> {
        let flags = keys.flags();
        let pairs = flags.iter().map(|(n, v)| (n.as_str(), v.as_str()));
        let options = Options::from_flags(pairs);
        let options = options.map_err(|error| format!("obs.node_exporter: {error}"))?;
        let usual = Settings::default();
        Ok(Self {
            listen: keys.listen,
            settings: Settings {
                source: keys.path.source(),
                options,
                requests_max: keys.max_requests.unwrap_or(usual.requests_max),
                ..usual
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_flags() {
        let text = "{listen: '127.0.0.1:0', collectors: {systemd: true, hwmon: false, containers: true}, \
                    flags: {collector.textfile.directory: [/a, /b], collector.cpu.guest: false, \
                    collector.filesystem.mount-points-exclude: '^/dev'}, path: {rootfs: /host, procfs: /host/proc}, \
                    max_requests: 2}";
        let config: NodeExporterConfig = serde_yaml_ng::from_str(text).unwrap();
        let options = &config.settings.options;
        assert!(options.is_enabled("systemd") && options.is_enabled("containers"));
        assert!(options.is_enabled("cpu") && !options.is_enabled("hwmon"));
        assert_eq!(config.settings.requests_max, 2);
        let few = "{listen: '127.0.0.1:0', disable_defaults: true, collectors: {cpu: true}}";
        let config: NodeExporterConfig = serde_yaml_ng::from_str(few).unwrap();
        let enabled: Vec<_> = config.settings.options.enabled().collect();
        assert_eq!(enabled, ["cpu"]);
    }

    #[test]
    fn faults_name_the_flag() {
        let check = |keys: &str, expect: &str| {
            let text = format!("{{listen: '127.0.0.1:0', {keys}}}");
            let error = serde_yaml_ng::from_str::<NodeExporterConfig>(&text).unwrap_err();
            assert!(error.to_string().contains(expect), "{error}");
        };
        check(
            "collectors: {cpus: true}",
            "obs.node_exporter: unknown flag --collector.cpus",
        );
        check(
            "flags: {collector.cpu.guest: maybe}",
            "--collector.cpu.guest: expected true or false",
        );
        check("flag: {}", "unknown field `flag`");
    }
}
