//! `linode_sd_configs`, `marathon_sd_configs`, `puppetdb_sd_configs` and `vultr_sd_configs`: all of
//! Prometheus' keys, and how they become discoveries.
//!
//! Invariant: settings that exist obey Prometheus' rules; no secret is printed.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use super::Discovery;
use super::client::{Auth, with_client_keys};
use super::clouds::{PolledApi, polled};
use super::discoveries::url;
use super::values::{Secret, Span};

/// Prometheus' default of `refresh_interval`.
const REFRESH: Duration = Duration::from_secs(60);
/// The same for Marathon.
const REFRESH_MARATHON: Duration = Duration::from_secs(30);

/// `linode_sd_configs`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinodeSettings {
    /// Where the API is.
    pub base: String,
    /// The only region that is looked at.
    pub region: String,
    /// Between values of a list, and around them.
    pub tag_separator: String,
}

with_client_keys! {
    /// One entry of `linode_sd_configs` as written.
    #[derive(Clone, Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub(super) struct LinodeDiscovery {
        refresh_interval: Option<Span>,
        port: Option<u16>,
        tag_separator: Option<String>,
        #[serde(default)]
        region: String,
    }
}

impl LinodeDiscovery {
    pub(super) fn check(mut self, folder: &Path) -> Result<Discovery, String> {
        let mut client = self.take_client().check()?;
        client.join_paths(folder);
        let api = PolledApi::Linode(LinodeSettings {
            base: "https://api.linode.com".to_owned(),
            region: self.region,
            tag_separator: self.tag_separator.unwrap_or_else(|| ",".to_owned()),
        });
        polled((self.refresh_interval, REFRESH), self.port, client, api)
    }
}

/// `marathon_sd_configs`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MarathonSettings {
    /// The servers; the first that answers tells of everything.
    pub servers: Vec<String>,
    /// The token, or the file that it is read from each time.
    pub token: Option<MarathonToken>,
}

/// The token of Marathon's own kind of authorization.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MarathonToken {
    /// It is in the configuration.
    Text(Secret),
    /// It is in a file.
    File(PathBuf),
}

with_client_keys! {
    /// One entry of `marathon_sd_configs` as written.
    #[derive(Clone, Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub(super) struct MarathonDiscovery {
        #[serde(default)]
        servers: Vec<String>,
        refresh_interval: Option<Span>,
        auth_token: Option<Secret>,
        auth_token_file: Option<PathBuf>,
    }
}

impl MarathonDiscovery {
    pub(super) fn check(mut self, folder: &Path) -> Result<Discovery, String> {
        let mut client = self.take_client().check()?;
        client.join_paths(folder);
        if self.servers.is_empty() {
            return Err("marathon_sd: must contain at least one Marathon server".to_owned());
        }
        for server in &self.servers {
            url("servers", server)?;
        }
        let token = match (self.auth_token, self.auth_token_file) {
            (Some(_), Some(_)) => {
                return Err(
                    "marathon_sd: at most one of auth_token & auth_token_file must be configured"
                        .to_owned(),
                );
            }
            (Some(text), None) => Some(MarathonToken::Text(text)),
            (None, Some(file)) => Some(MarathonToken::File(folder.join(file))),
            (None, None) => None,
        };
        if token.is_some() && client.auth != Auth::None {
            return Err(
                "marathon_sd: auth_token and auth_token_file go with no other credentials"
                    .to_owned(),
            );
        }
        let servers = self.servers.iter();
        let api = PolledApi::Marathon(MarathonSettings {
            servers: servers
                .map(|server| server.trim_end_matches('/').to_owned())
                .collect(),
            token,
        });
        polled((self.refresh_interval, REFRESH_MARATHON), None, client, api)
    }
}

/// `puppetdb_sd_configs`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PuppetDbSettings {
    /// The address of the server.
    pub base: String,
    /// What is asked, in Puppet's query language.
    pub query: String,
    /// Whether parameters become labels; there may be secrets among them.
    pub parameters: bool,
}

with_client_keys! {
    /// One entry of `puppetdb_sd_configs` as written.
    #[derive(Clone, Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub(super) struct PuppetDbDiscovery {
        #[serde(default)]
        url: String,
        #[serde(default)]
        query: String,
        #[serde(default)]
        include_parameters: bool,
        refresh_interval: Option<Span>,
        port: Option<u16>,
    }
}

impl PuppetDbDiscovery {
    pub(super) fn check(mut self, folder: &Path) -> Result<Discovery, String> {
        let mut client = self.take_client().check()?;
        client.join_paths(folder);
        if self.url.is_empty() {
            return Err("URL is missing".to_owned());
        }
        url("url", &self.url)?;
        if self.query.is_empty() {
            return Err("query missing".to_owned());
        }
        let api = PolledApi::PuppetDb(PuppetDbSettings {
            base: self.url.trim_end_matches('/').to_owned(),
            query: self.query,
            parameters: self.include_parameters,
        });
        polled((self.refresh_interval, REFRESH), self.port, client, api)
    }
}

with_client_keys! {
    /// One entry of `vultr_sd_configs` as written.
    #[derive(Clone, Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub(super) struct VultrDiscovery {
        refresh_interval: Option<Span>,
        port: Option<u16>,
    }
}

impl VultrDiscovery {
    pub(super) fn check(mut self, folder: &Path) -> Result<Discovery, String> {
        let mut client = self.take_client().check()?;
        client.join_paths(folder);
        let api = PolledApi::Vultr("https://api.vultr.com".to_owned());
        polled((self.refresh_interval, REFRESH), self.port, client, api)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::config::{GlobalConfig, ScrapeConfig, jobs};

    #[test]
    fn what_is_missing_is_told() {
        let check = |yaml: &str, expect: &str| {
            let yaml = format!("{{job_name: j, {yaml}}}");
            let config: ScrapeConfig = serde_yaml_ng::from_str(&yaml).expect(&yaml);
            let global = GlobalConfig::default();
            let made = jobs(&global, vec![config], &yaml, Path::new("/"));
            let told = made.expect_err(&yaml).to_string();
            assert!(told.contains(expect), "{yaml}: {told}");
        };
        check("marathon_sd_configs: [{}]", "at least one Marathon server");
        check("marathon_sd_configs: [{servers: [x]}]", "servers \"x\"");
        check(
            "marathon_sd_configs: [{servers: ['http://a'], auth_token: a, auth_token_file: b}]",
            "at most one of auth_token",
        );
        check(
            "marathon_sd_configs: [{servers: ['http://a'], auth_token: a, bearer_token: b}]",
            "no other credentials",
        );
        check("puppetdb_sd_configs: [{query: q}]", "URL is missing");
        check("puppetdb_sd_configs: [{url: 'http://a'}]", "query missing");
        check("linode_sd_configs: [{refresh_interval: 0s}]", "above 0");
        check("vultr_sd_configs: [{refresh_interval: 0s}]", "above 0");
    }
}
