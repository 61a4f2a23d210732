//! One entry of `scrape_configs`: all of Prometheus' keys, and how they become a [`Job`].

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::client::with_client_keys;
use super::clouds::{
    AzureDiscovery, DigitalOceanDiscovery, Ec2Discovery, EurekaDiscovery, GceDiscovery,
    HetznerDiscovery,
};
use super::discoveries::{
    ConsulDiscovery, DnsDiscovery, DockerDiscovery, HttpDiscovery, NomadDiscovery,
};
use super::kubernetes::KubernetesDiscovery;
use super::more_clouds::{LinodeDiscovery, MarathonDiscovery, PuppetDbDiscovery, VultrDiscovery};
use super::relabeling::RelabelConfig;
use super::values::{Size, Span, Unsupported};
use super::{
    DEFAULT_INTERVAL, DEFAULT_REFRESH, DEFAULT_TIMEOUT, Discovery, GlobalConfig, HistogramSettings,
    Job, NameEscaping, NameValidation, Protocol, ScrapeLimits, TargetGroup, check_protocols,
};
use crate::relabel::Rule;

/// `file_sd_configs`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileDiscovery {
    files: Vec<PathBuf>,
    refresh_interval: Option<Span>,
}

with_client_keys! {
    /// One entry of `scrape_configs` as written.
    #[derive(Clone, Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(
        dead_code,
        reason = "keys that are not served yet are read only to say so"
    )]
    pub struct ScrapeConfig {
        job_name: String,
        scrape_interval: Option<Span>,
        scrape_timeout: Option<Span>,
        scrape_protocols: Option<Vec<Protocol>>,
        fallback_scrape_protocol: Option<Protocol>,
        metrics_path: Option<String>,
        #[serde(default)]
        honor_labels: bool,
        honor_timestamps: Option<bool>,
        #[serde(default)]
        track_timestamps_staleness: bool,
        scheme: Option<String>,
        #[serde(default)]
        params: BTreeMap<String, Vec<String>>,
        enable_compression: Option<bool>,
        scrape_failure_log_file: Option<PathBuf>,
        body_size_limit: Option<Size>,
        sample_limit: Option<u64>,
        label_limit: Option<u64>,
        label_name_length_limit: Option<u64>,
        label_value_length_limit: Option<u64>,
        target_limit: Option<u64>,
        keep_dropped_targets: Option<u64>,
        metric_name_validation_scheme: Option<NameValidation>,
        metric_name_escaping_scheme: Option<NameEscaping>,
        native_histogram_bucket_limit: Option<u64>,
        native_histogram_min_bucket_factor: Option<f64>,
        scrape_native_histograms: Option<bool>,
        convert_classic_histograms_to_nhcb: Option<bool>,
        always_scrape_classic_histograms: Option<bool>,
        extra_scrape_metrics: Option<bool>,
        #[serde(default)]
        static_configs: Vec<TargetGroup>,
        #[serde(default)]
        file_sd_configs: Vec<FileDiscovery>,
        #[serde(default)]
        relabel_configs: Vec<RelabelConfig>,
        #[serde(default)]
        metric_relabel_configs: Vec<RelabelConfig>,

        #[serde(default)]
        aws_sd_configs: Unsupported,
        #[serde(default)]
        azure_sd_configs: Vec<AzureDiscovery>,
        #[serde(default)]
        consul_sd_configs: Vec<ConsulDiscovery>,
        #[serde(default)]
        digitalocean_sd_configs: Vec<DigitalOceanDiscovery>,
        #[serde(default)]
        dns_sd_configs: Vec<DnsDiscovery>,
        #[serde(default)]
        docker_sd_configs: Vec<DockerDiscovery>,
        #[serde(default)]
        dockerswarm_sd_configs: Unsupported,
        #[serde(default)]
        ec2_sd_configs: Vec<Ec2Discovery>,
        #[serde(default)]
        eureka_sd_configs: Vec<EurekaDiscovery>,
        #[serde(default)]
        gce_sd_configs: Vec<GceDiscovery>,
        #[serde(default)]
        hetzner_sd_configs: Vec<HetznerDiscovery>,
        #[serde(default)]
        http_sd_configs: Vec<HttpDiscovery>,
        #[serde(default)]
        ionos_sd_configs: Unsupported,
        #[serde(default)]
        kubernetes_sd_configs: Vec<KubernetesDiscovery>,
        #[serde(default)]
        kuma_sd_configs: Unsupported,
        #[serde(default)]
        lightsail_sd_configs: Unsupported,
        #[serde(default)]
        linode_sd_configs: Vec<LinodeDiscovery>,
        #[serde(default)]
        marathon_sd_configs: Vec<MarathonDiscovery>,
        #[serde(default)]
        nerve_sd_configs: Unsupported,
        #[serde(default)]
        nomad_sd_configs: Vec<NomadDiscovery>,
        #[serde(default)]
        oci_sd_configs: Unsupported,
        #[serde(default)]
        openstack_sd_configs: Unsupported,
        #[serde(default)]
        outscale_sd_configs: Unsupported,
        #[serde(default)]
        ovhcloud_sd_configs: Unsupported,
        #[serde(default)]
        puppetdb_sd_configs: Vec<PuppetDbDiscovery>,
        #[serde(default)]
        scaleway_sd_configs: Unsupported,
        #[serde(default)]
        serverset_sd_configs: Unsupported,
        #[serde(default)]
        stackit_sd_configs: Unsupported,
        #[serde(default)]
        triton_sd_configs: Unsupported,
        #[serde(default)]
        uyuni_sd_configs: Unsupported,
        #[serde(default)]
        vultr_sd_configs: Vec<VultrDiscovery>,
    }
}

impl ScrapeConfig {
    /// `job_name`.
    pub fn job_name(&self) -> &str {
        &self.job_name
    }

    pub(super) fn into_job(mut self, global: &GlobalConfig, folder: &Path) -> Result<Job, String> {
        if self.job_name.is_empty() {
            return Err("job_name is empty".to_owned());
        }
        let (interval, timeout) = self.times(global)?;
        let histograms = self.histograms(global)?;
        let protocols = self.protocols(global, histograms.native)?;
        let limits = self.limits(global);
        let scheme = self.scheme.clone().unwrap_or_else(|| "http".to_owned());
        if scheme != "http" && scheme != "https" {
            return Err(format!("unknown scheme {scheme:?}, expected http or https"));
        }
        let discovery = self.discovery(folder)?;
        let global_or = |own: Option<u64>, global: Option<u64>| own.or(global).unwrap_or(0);
        let into_rules = |configs: Vec<RelabelConfig>| -> Vec<Rule> {
            configs.into_iter().map(RelabelConfig::into_rule).collect()
        };
        let mut client = self.take_client().check()?;
        client.join_paths(folder);
        Ok(Job {
            name: self.job_name,
            interval,
            timeout,
            protocols,
            fallback: self.fallback_scrape_protocol,
            scheme,
            metrics_path: self.metrics_path.unwrap_or_else(|| "/metrics".to_owned()),
            params: self.params,
            honor_labels: self.honor_labels,
            honor_timestamps: self.honor_timestamps.unwrap_or(true),
            track_timestamps_staleness: self.track_timestamps_staleness,
            compression: self.enable_compression.unwrap_or(true),
            limits,
            histograms,
            failure_log: self
                .scrape_failure_log_file
                .or_else(|| global.scrape_failure_log_file.clone())
                .filter(|path| !path.as_os_str().is_empty())
                .map(|path| folder.join(path)),
            target_limit: global_or(self.target_limit, global.target_limit),
            keep_dropped_targets: global_or(self.keep_dropped_targets, global.keep_dropped_targets),
            validation: self
                .metric_name_validation_scheme
                .or(global.metric_name_validation_scheme)
                .unwrap_or_default(),
            escaping: self
                .metric_name_escaping_scheme
                .or(global.metric_name_escaping_scheme)
                .unwrap_or_default(),
            extra_metrics: self
                .extra_scrape_metrics
                .or(global.extra_scrape_metrics)
                .unwrap_or(false),
            relabel: into_rules(self.relabel_configs),
            metric_relabel: into_rules(self.metric_relabel_configs),
            discovery,
            client,
        })
    }

    fn times(
        &self,
        global: &GlobalConfig,
    ) -> Result<(std::time::Duration, std::time::Duration), String> {
        let nonzero = |span: Option<Span>| span.map(|s| s.0).filter(|d| !d.is_zero());
        let interval = nonzero(self.scrape_interval)
            .or(nonzero(global.scrape_interval))
            .unwrap_or(DEFAULT_INTERVAL);
        let global_timeout = nonzero(global.scrape_timeout).unwrap_or(DEFAULT_TIMEOUT);
        let timeout = nonzero(self.scrape_timeout).unwrap_or(global_timeout.min(interval));
        if timeout > interval {
            return Err("scrape timeout greater than scrape interval".to_owned());
        }
        Ok((interval, timeout))
    }

    fn histograms(&self, global: &GlobalConfig) -> Result<HistogramSettings, String> {
        let either = |own: Option<bool>, global: Option<bool>| own.or(global).unwrap_or(false);
        let factor = self.native_histogram_min_bucket_factor.unwrap_or(0.0);
        if !factor.is_finite() || factor < 0.0 {
            return Err(format!(
                "native_histogram_min_bucket_factor is {factor}, expected a number of at least 0"
            ));
        }
        Ok(HistogramSettings {
            native: either(
                self.scrape_native_histograms,
                global.scrape_native_histograms,
            ),
            classic: either(
                self.always_scrape_classic_histograms,
                global.always_scrape_classic_histograms,
            ),
            convert: either(
                self.convert_classic_histograms_to_nhcb,
                global.convert_classic_histograms_to_nhcb,
            ),
            bucket_limit: self.native_histogram_bucket_limit.unwrap_or(0),
            min_bucket_factor: factor,
        })
    }

    fn protocols(&self, global: &GlobalConfig, native: bool) -> Result<Vec<Protocol>, String> {
        let mut usual = vec![
            Protocol::OpenMetrics1,
            Protocol::OpenMetrics0,
            Protocol::Text1,
            Protocol::Text0,
        ];
        if native {
            // The only format that has them.
            usual.insert(0, Protocol::PrometheusProto);
        }
        match (&self.scrape_protocols, &global.scrape_protocols) {
            (Some(own), _) => check_protocols(own).map(|()| own.clone()),
            (None, Some(inherited)) => Ok(inherited.clone()),
            (None, None) => Ok(usual),
        }
    }

    fn limits(&self, global: &GlobalConfig) -> ScrapeLimits {
        let either = |own: Option<u64>, global: Option<u64>| own.or(global).unwrap_or(0);
        ScrapeLimits {
            body_bytes: self
                .body_size_limit
                .or(global.body_size_limit)
                .unwrap_or_default()
                .0,
            samples: either(self.sample_limit, global.sample_limit),
            labels: either(self.label_limit, global.label_limit),
            label_name_bytes: either(self.label_name_length_limit, global.label_name_length_limit),
            label_value_bytes: either(
                self.label_value_length_limit,
                global.label_value_length_limit,
            ),
        }
    }

    /// Adds the discoveries that ask servers.
    fn running(&self, folder: &Path, sources: &mut Vec<Discovery>) -> Result<(), String> {
        let http = |entry: HttpDiscovery| entry.check(folder);
        add(sources, "http_sd_configs", &self.http_sd_configs, http)?;
        let dns = |entry: DnsDiscovery| entry.check();
        add(sources, "dns_sd_configs", &self.dns_sd_configs, dns)?;
        let consul = |entry: ConsulDiscovery| entry.check(folder);
        add(
            sources,
            "consul_sd_configs",
            &self.consul_sd_configs,
            consul,
        )?;
        let docker = |entry: DockerDiscovery| entry.check(folder);
        add(
            sources,
            "docker_sd_configs",
            &self.docker_sd_configs,
            docker,
        )?;
        let nomad = |entry: NomadDiscovery| entry.check(folder);
        add(sources, "nomad_sd_configs", &self.nomad_sd_configs, nomad)?;
        self.polled(folder, sources)
    }

    /// Adds the discoveries that ask an API for everything.
    fn polled(&self, folder: &Path, sources: &mut Vec<Discovery>) -> Result<(), String> {
        let azure = |entry: AzureDiscovery| entry.check(folder);
        add(sources, "azure_sd_configs", &self.azure_sd_configs, azure)?;
        let droplets = |entry: DigitalOceanDiscovery| entry.check(folder);
        let entries = &self.digitalocean_sd_configs;
        add(sources, "digitalocean_sd_configs", entries, droplets)?;
        let ec2 = |entry: Ec2Discovery| entry.check(folder);
        add(sources, "ec2_sd_configs", &self.ec2_sd_configs, ec2)?;
        let eureka = |entry: EurekaDiscovery| entry.check(folder);
        add(
            sources,
            "eureka_sd_configs",
            &self.eureka_sd_configs,
            eureka,
        )?;
        let gce = |entry: GceDiscovery| entry.check(folder);
        add(sources, "gce_sd_configs", &self.gce_sd_configs, gce)?;
        let hetzner = |entry: HetznerDiscovery| entry.check(folder);
        add(
            sources,
            "hetzner_sd_configs",
            &self.hetzner_sd_configs,
            hetzner,
        )?;
        self.more_clouds(folder, sources)
    }

    fn more_clouds(&self, folder: &Path, sources: &mut Vec<Discovery>) -> Result<(), String> {
        let linode = |entry: LinodeDiscovery| entry.check(folder);
        let entries = &self.linode_sd_configs;
        add(sources, "linode_sd_configs", entries, linode)?;
        let marathon = |entry: MarathonDiscovery| entry.check(folder);
        let entries = &self.marathon_sd_configs;
        add(sources, "marathon_sd_configs", entries, marathon)?;
        let puppetdb = |entry: PuppetDbDiscovery| entry.check(folder);
        let entries = &self.puppetdb_sd_configs;
        add(sources, "puppetdb_sd_configs", entries, puppetdb)?;
        let vultr = |entry: VultrDiscovery| entry.check(folder);
        add(sources, "vultr_sd_configs", &self.vultr_sd_configs, vultr)
    }

    fn discovery(&self, folder: &Path) -> Result<Vec<Discovery>, String> {
        let mut sources = Vec::new();
        if !self.static_configs.is_empty() {
            sources.push(Discovery::Static(self.static_configs.clone()));
        }
        for (index, config) in self.file_sd_configs.iter().enumerate() {
            if config.files.is_empty() {
                return Err(format!(
                    "file_sd_configs[{index}]: file service discovery config must contain at least one path name"
                ));
            }
            if let Some(path) = config.files.iter().find(|path| !is_target_file(path)) {
                return Err(format!(
                    "file_sd_configs[{index}]: path name {:?} is not valid, expected one that ends in .json, .yml or .yaml with at most one *, in its last element",
                    path.display()
                ));
            }
            sources.push(Discovery::Files {
                files: config.files.iter().map(|path| folder.join(path)).collect(),
                refresh: config.refresh_interval.map_or(DEFAULT_REFRESH, |s| s.0),
            });
        }
        self.running(folder, &mut sources)?;
        for (index, config) in self.kubernetes_sd_configs.iter().enumerate() {
            let checked = config.clone().check(folder);
            let checked =
                checked.map_err(|fault| format!("kubernetes_sd_configs[{index}]: {fault}"))?;
            sources.push(Discovery::Kubernetes(Box::new(checked)));
        }
        Ok(sources)
    }
}

/// What a discovery of the configuration becomes once it is checked.
type Checked = Result<Discovery, String>;

/// Adds the entries of one kind of discovery.
fn add<C: Clone>(
    sources: &mut Vec<Discovery>,
    key: &str,
    entries: &[C],
    check: impl Fn(C) -> Checked,
) -> Result<(), String> {
    for (index, entry) in entries.iter().enumerate() {
        let checked = check(entry.clone());
        sources.push(checked.map_err(|fault| format!("{key}[{index}]: {fault}"))?);
    }
    Ok(())
}

/// Prometheus' rule: `^[^*]*(\*[^/]*)?\.(json|yml|yaml|JSON|YML|YAML)$`.
fn is_target_file(path: &Path) -> bool {
    let Some(text) = path.to_str() else {
        return false;
    };
    let known = [".json", ".yml", ".yaml", ".JSON", ".YML", ".YAML"];
    known.iter().any(|ending| text.ends_with(ending))
        && text
            .split_once('*')
            .is_none_or(|(_, tail)| !tail.contains('/'))
}
