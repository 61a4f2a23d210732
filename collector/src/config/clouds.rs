//! `ec2_sd_configs`, `azure_sd_configs`, `gce_sd_configs`, `digitalocean_sd_configs`,
//! `hetzner_sd_configs` and `eureka_sd_configs`: all of Prometheus' keys, and how they become
//! discoveries. Those of smaller APIs are in `more_clouds`.
//!
//! Invariant: settings that exist obey Prometheus' rules; no interval is zero; no secret is printed.

use std::path::Path;
use std::time::Duration;

use serde::Deserialize;

use super::Discovery;
use super::client::{Auth, ClientConfig, with_client_keys};
use super::discoveries::{refresh, url};
pub use super::more_clouds::{LinodeSettings, MarathonSettings, PuppetDbSettings};
use super::values::{Secret, Span};
use crate::aws::Surroundings;

/// Prometheus' default of `refresh_interval`.
const REFRESH: Duration = Duration::from_secs(60);
/// The same for Azure, whose API is slow.
const REFRESH_AZURE: Duration = Duration::from_secs(300);
/// The same for Eureka, which is near.
const REFRESH_NEAR: Duration = Duration::from_secs(30);

/// A discovery that asks an API for everything again and again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolledSettings {
    /// How often.
    pub refresh: Duration,
    /// The port of targets.
    pub port: u16,
    /// How it is asked.
    pub client: ClientConfig,
    /// Who is asked for what.
    pub api: PolledApi,
}

/// The APIs that are asked for everything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PolledApi {
    /// Amazon.
    Ec2(Ec2Settings),
    /// Microsoft.
    Azure(AzureSettings),
    /// Google.
    Gce(GceSettings),
    /// DigitalOcean: the address of the API.
    DigitalOcean(String),
    /// Hetzner: the address of the API, and whether it is that of dedicated servers.
    Hetzner {
        /// The address of the API.
        base: String,
        /// Whether it is that of dedicated servers.
        robot: bool,
    },
    /// Eureka: the address of the server.
    Eureka(String),
    /// Linode.
    Linode(LinodeSettings),
    /// Marathon.
    Marathon(MarathonSettings),
    /// PuppetDB.
    PuppetDb(PuppetDbSettings),
    /// Vultr: the address of the API.
    Vultr(String),
}

impl PolledApi {
    /// What logs call it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Ec2(_) => "ec2",
            Self::Azure(_) => "azure",
            Self::Gce(_) => "gce",
            Self::DigitalOcean(_) => "digitalocean",
            Self::Hetzner { .. } => "hetzner",
            Self::Eureka(_) => "eureka",
            Self::Linode(_) => "linode",
            Self::Marathon(_) => "marathon",
            Self::PuppetDb(_) => "puppetdb",
            Self::Vultr(_) => "vultr",
        }
    }
}

/// What turns an entry into a discovery.
pub(super) fn polled(
    (own, default): (Option<Span>, Duration),
    port: Option<u16>,
    client: ClientConfig,
    api: PolledApi,
) -> Result<Discovery, String> {
    Ok(Discovery::Polled(Box::new(PolledSettings {
        refresh: refresh(own, default)?,
        port: port.unwrap_or(80),
        client,
        api,
    })))
}

/// One entry of `filters`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ec2Filter {
    /// What is looked at.
    pub name: String,
    /// What it may be.
    pub values: Vec<String>,
}

/// `ec2_sd_configs`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ec2Settings {
    /// Where the API is, where it is not the usual place.
    pub endpoint: Option<String>,
    /// The region; that of the machine where this is empty.
    pub region: String,
    /// Name and text of a key; the surroundings are searched where there is none.
    pub key: Option<(String, Secret)>,
    /// The role that is taken on, and its external id.
    pub role: Option<(String, String)>,
    /// What instances must be like.
    pub filters: Vec<Ec2Filter>,
    /// Whose credentials are used where there is no key; empty for what the surroundings have.
    pub profile: String,
    /// Where credentials are looked for.
    pub from: Surroundings,
}

with_client_keys! {
    /// One entry of `ec2_sd_configs` as written.
    #[derive(Clone, Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub(super) struct Ec2Discovery {
        endpoint: Option<String>,
        #[serde(default)]
        region: String,
        access_key: Option<String>,
        secret_key: Option<Secret>,
        profile: Option<String>,
        role_arn: Option<String>,
        external_id: Option<String>,
        refresh_interval: Option<Span>,
        port: Option<u16>,
        #[serde(default)]
        filters: Vec<Ec2Filter>,
    }
}

impl Ec2Discovery {
    pub(super) fn check(mut self, folder: &Path) -> Result<Discovery, String> {
        let mut client = self.take_client().check()?;
        client.join_paths(folder);
        if client.auth != Auth::None {
            return Err("requests are signed: no other credentials can be configured".to_owned());
        }
        if let Some(endpoint) = &self.endpoint {
            url("endpoint", endpoint)?;
        }
        if let Some(filter) = self.filters.iter().find(|filter| filter.values.is_empty()) {
            return Err(format!(
                "EC2 SD configuration filter values cannot be empty (filter {:?})",
                filter.name
            ));
        }
        let key = match (self.access_key, self.secret_key) {
            (Some(name), Some(text)) => Some((name, text)),
            (None, None) => None,
            _ => return Err("access_key and secret_key belong together".to_owned()),
        };
        let role = self.role_arn.filter(|role| !role.is_empty());
        let api = PolledApi::Ec2(Ec2Settings {
            endpoint: self.endpoint.filter(|endpoint| !endpoint.is_empty()),
            region: self.region,
            key,
            role: role.map(|role| (role, self.external_id.unwrap_or_default())),
            filters: self.filters,
            profile: self.profile.unwrap_or_default(),
            from: Surroundings::default(),
        });
        polled((self.refresh_interval, REFRESH), self.port, client, api)
    }
}

/// `azure_sd_configs`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AzureSettings {
    /// Where resources are told of.
    pub resources: String,
    /// Where tokens are given out.
    pub login: String,
    /// Where the machine tells of itself.
    pub machine: String,
    /// The subscription.
    pub subscription: String,
    /// The tenant.
    pub tenant: String,
    /// The client; of OAuth where it has a secret, else the identity of the machine.
    pub client_id: String,
    /// The secret of OAuth.
    pub secret: Option<Secret>,
    /// The only group that is looked at.
    pub group: Option<String>,
}

with_client_keys! {
    /// One entry of `azure_sd_configs` as written.
    #[derive(Clone, Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub(super) struct AzureDiscovery {
        environment: Option<String>,
        authentication_method: Option<String>,
        subscription_id: String,
        #[serde(default)]
        tenant_id: String,
        #[serde(default)]
        client_id: String,
        client_secret: Option<Secret>,
        resource_group: Option<String>,
        refresh_interval: Option<Span>,
        port: Option<u16>,
    }
}

impl AzureDiscovery {
    pub(super) fn check(mut self, folder: &Path) -> Result<Discovery, String> {
        let mut client = self.take_client().check()?;
        client.join_paths(folder);
        if client.auth != Auth::None {
            return Err("requests have tokens: no other credentials can be configured".to_owned());
        }
        if self.subscription_id.is_empty() {
            return Err("azure SD configuration requires a subscription_id".to_owned());
        }
        let environment = self.environment.as_deref().unwrap_or("AzurePublicCloud");
        let (login, resources) = match environment.to_ascii_uppercase().as_str() {
            "AZURECLOUD" | "AZUREPUBLICCLOUD" | "" => {
                ("login.microsoftonline.com", "management.azure.com")
            }
            "AZURECHINACLOUD" => ("login.chinacloudapi.cn", "management.chinacloudapi.cn"),
            "AZUREUSGOVERNMENT" | "AZUREUSGOVERNMENTCLOUD" => {
                ("login.microsoftonline.us", "management.usgovcloudapi.net")
            }
            _ => {
                return Err(format!(
                    "there is no cloud environment matching the name {environment:?}"
                ));
            }
        };
        let secret = match self.authentication_method.as_deref().unwrap_or("OAuth") {
            "OAuth" | "" => {
                for (name, value) in [
                    ("tenant_id", &self.tenant_id),
                    ("client_id", &self.client_id),
                ] {
                    if value.is_empty() {
                        return Err(format!("azure SD configuration requires a {name}"));
                    }
                }
                let secret = self.client_secret.take();
                Some(secret.ok_or("azure SD configuration requires a client_secret")?)
            }
            "ManagedIdentity" => None,
            other => {
                return Err(format!(
                    "authentication_method {other:?} is not supported, expected OAuth or ManagedIdentity"
                ));
            }
        };
        let api = PolledApi::Azure(AzureSettings {
            resources: format!("https://{resources}"),
            login: format!("https://{login}"),
            machine: "http://169.254.169.254".to_owned(),
            subscription: self.subscription_id,
            tenant: self.tenant_id,
            client_id: self.client_id,
            secret,
            group: self.resource_group.filter(|group| !group.is_empty()),
        });
        polled(
            (self.refresh_interval, REFRESH_AZURE),
            self.port,
            client,
            api,
        )
    }
}

/// `gce_sd_configs`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GceSettings {
    /// Where the API is.
    pub base: String,
    /// Where the machine tells of itself.
    pub machine: String,
    /// The project.
    pub project: String,
    /// The zone.
    pub zone: String,
    /// What instances must be like, as the API takes it.
    pub filter: String,
    /// Between tags, and around them.
    pub tag_separator: String,
}

with_client_keys! {
    /// One entry of `gce_sd_configs` as written.
    #[derive(Clone, Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub(super) struct GceDiscovery {
        project: String,
        zone: String,
        #[serde(default)]
        filter: String,
        refresh_interval: Option<Span>,
        port: Option<u16>,
        tag_separator: Option<String>,
    }
}

impl GceDiscovery {
    pub(super) fn check(mut self, folder: &Path) -> Result<Discovery, String> {
        let mut client = self.take_client().check()?;
        client.join_paths(folder);
        if self.project.is_empty() {
            return Err("GCE SD configuration requires a project".to_owned());
        }
        if self.zone.is_empty() {
            return Err("GCE SD configuration requires a zone".to_owned());
        }
        let api = PolledApi::Gce(GceSettings {
            base: "https://compute.googleapis.com".to_owned(),
            machine: "http://metadata.google.internal".to_owned(),
            project: self.project,
            zone: self.zone,
            filter: self.filter,
            tag_separator: self.tag_separator.unwrap_or_else(|| ",".to_owned()),
        });
        polled((self.refresh_interval, REFRESH), self.port, client, api)
    }
}

with_client_keys! {
    /// One entry of `digitalocean_sd_configs` as written.
    #[derive(Clone, Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub(super) struct DigitalOceanDiscovery {
        refresh_interval: Option<Span>,
        port: Option<u16>,
    }
}

impl DigitalOceanDiscovery {
    pub(super) fn check(mut self, folder: &Path) -> Result<Discovery, String> {
        let mut client = self.take_client().check()?;
        client.join_paths(folder);
        let api = PolledApi::DigitalOcean("https://api.digitalocean.com".to_owned());
        polled((self.refresh_interval, REFRESH), self.port, client, api)
    }
}

with_client_keys! {
    /// One entry of `hetzner_sd_configs` as written.
    #[derive(Clone, Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub(super) struct HetznerDiscovery {
        role: Option<String>,
        refresh_interval: Option<Span>,
        port: Option<u16>,
    }
}

impl HetznerDiscovery {
    pub(super) fn check(mut self, folder: &Path) -> Result<Discovery, String> {
        let mut client = self.take_client().check()?;
        client.join_paths(folder);
        let (base, robot) = match self.role.as_deref() {
            None | Some("") => return Err("role missing (one of: robot, hcloud)".to_owned()),
            Some("hcloud") => ("https://api.hetzner.cloud", false),
            Some("robot") => ("https://robot-ws.your-server.de", true),
            Some(other) => {
                return Err(format!("unknown role {other:?}, expected robot or hcloud"));
            }
        };
        let base = base.to_owned();
        let api = PolledApi::Hetzner { base, robot };
        polled((self.refresh_interval, REFRESH), self.port, client, api)
    }
}

with_client_keys! {
    /// One entry of `eureka_sd_configs` as written.
    #[derive(Clone, Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub(super) struct EurekaDiscovery {
        #[serde(default)]
        server: String,
        refresh_interval: Option<Span>,
    }
}

impl EurekaDiscovery {
    pub(super) fn check(mut self, folder: &Path) -> Result<Discovery, String> {
        let mut client = self.take_client().check()?;
        client.join_paths(folder);
        if self.server.is_empty() {
            return Err("eureka_sd: empty or null eureka server".to_owned());
        }
        url("server", &self.server)?;
        let api = PolledApi::Eureka(self.server.trim_end_matches('/').to_owned());
        polled((self.refresh_interval, REFRESH_NEAR), None, client, api)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::config::{GlobalConfig, ScrapeConfig, jobs};

    /// Why a job is not taken.
    fn fault(yaml: &str) -> String {
        let yaml = format!("{{job_name: j, {yaml}}}");
        let config = match serde_yaml_ng::from_str::<ScrapeConfig>(&yaml) {
            Ok(config) => config,
            Err(fault) => return fault.to_string(),
        };
        let made = jobs(
            &GlobalConfig::default(),
            vec![config],
            &yaml,
            Path::new("/"),
        );
        made.expect_err(&yaml).to_string()
    }

    #[test]
    fn what_is_missing_is_told() {
        let check = |yaml: &str, expect: &str| {
            let told = fault(yaml);
            assert!(told.contains(expect), "{yaml}: {told}");
        };
        check("ec2_sd_configs: [{access_key: a}]", "belong together");
        check("ec2_sd_configs: [{bearer_token: t}]", "requests are signed");
        check(
            "ec2_sd_configs: [{filters: [{name: a, values: []}]}]",
            "filter values cannot be empty",
        );
        check(
            "azure_sd_configs: [{subscription_id: s, client_id: c}]",
            "requires a tenant_id",
        );
        check(
            "azure_sd_configs: [{subscription_id: s, authentication_method: SDK}]",
            "expected OAuth or ManagedIdentity",
        );
        check(
            "azure_sd_configs: [{subscription_id: s, environment: Moon}]",
            "no cloud environment",
        );
        check(
            "gce_sd_configs: [{project: p, zone: ''}]",
            "requires a zone",
        );
        check(
            "azure_sd_configs: [{subscription_id: s, bearer_token: t}]",
            "requests have tokens",
        );
        check("hetzner_sd_configs: [{}]", "role missing");
        check("eureka_sd_configs: [{}]", "empty or null eureka server");
        check(
            "digitalocean_sd_configs: [{refresh_interval: 0s}]",
            "refresh_interval must be above 0",
        );
    }

    #[test]
    fn discoveries_that_are_not_there_say_so() {
        for name in [
            "aws",
            "dockerswarm",
            "ionos",
            "kuma",
            "lightsail",
            "nerve",
            "oci",
            "openstack",
            "outscale",
            "ovhcloud",
            "scaleway",
            "serverset",
            "stackit",
            "triton",
            "uyuni",
        ] {
            let told = fault(&format!("{name}_sd_configs: [{{}}]"));
            assert!(
                told.contains(&format!("{name}_sd_configs")) && told.contains("not supported"),
                "{told}"
            );
        }
    }
}
