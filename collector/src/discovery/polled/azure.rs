//! `azure_sd_configs`: virtual machines of a subscription, those of scale sets too.

use std::collections::BTreeMap;

use obs_model::{Labels, TargetGroup};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::super::poll::{Meta, TIMEOUT, host_port, sanitize};
use super::{PAGES_MAX, json, machine, same_server};
use crate::config::clouds::AzureSettings;
use crate::http_client::configured::HttpClient;

const COMPUTE: &str = "2024-07-01";
const NETWORK: &str = "2023-11-01";
/// Interfaces of machines in scale sets are told of by this version only.
const NETWORK_OF_SETS: &str = "2018-10-01";
/// Largest answer with a token.
const TOKEN_BYTES_MAX: usize = 64 << 10;

#[derive(Deserialize)]
struct Token {
    access_token: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Page<T> {
    #[serde(default = "Vec::new")]
    value: Vec<T>,
    next_link: Option<String>,
}

#[derive(Debug, Deserialize)]
struct ScaleSet {
    id: String,
    name: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Machine {
    id: String,
    name: String,
    #[serde(default)]
    location: String,
    tags: Option<BTreeMap<String, String>>,
    #[serde(default)]
    properties: MachineProperties,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct MachineProperties {
    storage_profile: StorageProfile,
    os_profile: OsProfile,
    hardware_profile: HardwareProfile,
    network_profile: NetworkProfile,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct StorageProfile {
    os_disk: OsDisk,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct OsDisk {
    os_type: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct OsProfile {
    computer_name: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct HardwareProfile {
    vm_size: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct NetworkProfile {
    network_interfaces: Vec<Reference>,
}

#[derive(Debug, Deserialize)]
struct Reference {
    id: String,
}

#[derive(Debug, Deserialize)]
struct Interface {
    properties: Option<InterfaceProperties>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct InterfaceProperties {
    primary: Option<bool>,
    #[serde(default)]
    ip_configurations: Vec<IpConfiguration>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct IpConfiguration {
    properties: IpProperties,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct IpProperties {
    #[serde(rename = "privateIPAddress")]
    private: Option<String>,
    #[serde(rename = "publicIPAddress")]
    public: Option<PublicIp>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct PublicIp {
    properties: PublicIpProperties,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct PublicIpProperties {
    ip_address: Option<String>,
}

/// Who asks.
struct Asker<'a> {
    client: &'a HttpClient,
    settings: &'a AzureSettings,
    token: String,
}

pub(super) async fn ask(
    client: &HttpClient,
    settings: &AzureSettings,
    port: u16,
) -> Result<Vec<TargetGroup>, String> {
    let asker = Asker {
        client,
        settings,
        token: token(client, settings).await?,
    };
    let mut targets = Vec::new();
    let machines: Vec<Machine> = asker.all(&asker.listed("virtualMachines")).await?;
    for machine in &machines {
        targets.extend(asker.target(machine, None, port).await?);
    }
    let sets: Vec<ScaleSet> = asker.all(&asker.listed("virtualMachineScaleSets")).await?;
    for set in &sets {
        let path = format!("{}/virtualMachines?api-version={COMPUTE}", set.id);
        let machines: Vec<Machine> = asker.all(&path).await?;
        for machine in &machines {
            targets.extend(asker.target(machine, Some(&set.name), port).await?);
        }
    }
    Ok(super::group("Azure", targets))
}

async fn token(client: &HttpClient, settings: &AzureSettings) -> Result<String, String> {
    let resources = &settings.resources;
    let text = match &settings.secret {
        Some(secret) => {
            let url = format!("{}/{}/oauth2/v2.0/token", settings.login, settings.tenant);
            let form = super::form([
                ("grant_type", "client_credentials"),
                ("client_id", &settings.client_id),
                ("client_secret", secret.reveal()),
                ("scope", &format!("{resources}/.default")),
            ]);
            let request = client.requests().post(&url).timeout(TIMEOUT);
            let request = request.header("content-type", "application/x-www-form-urlencoded");
            let answer = client.ask(request.body(form), TOKEN_BYTES_MAX).await;
            answer
                .map_err(|fault| format!("{url}: {fault}"))?
                .body
                .to_vec()
        }
        None => {
            let url = format!("{}/metadata/identity/oauth2/token", settings.machine);
            let url = reqwest::Url::parse_with_params(
                &url,
                [
                    ("api-version", "2018-02-01"),
                    ("resource", &format!("{resources}/")),
                    ("client_id", &settings.client_id),
                ]
                .into_iter()
                .filter(|(_, value)| !value.is_empty()),
            );
            let request = client.requests().get(url.map_err(|e| e.to_string())?);
            machine(client, request.header("metadata", "true"))
                .await?
                .into_bytes()
        }
    };
    let token: Token =
        serde_json::from_slice(&text).map_err(|_| "expected an access token".to_owned())?;
    Ok(token.access_token)
}

impl Asker<'_> {
    fn listed(&self, what: &str) -> String {
        let group = self.settings.group.as_ref();
        let group = group.map_or(String::new(), |group| format!("/resourceGroups/{group}"));
        format!(
            "/subscriptions/{}{group}/providers/Microsoft.Compute/{what}?api-version={COMPUTE}",
            self.settings.subscription
        )
    }

    /// All pages of a list.
    async fn all<T: DeserializeOwned>(&self, path: &str) -> Result<Vec<T>, String> {
        let base = &self.settings.resources;
        let (mut all, mut url) = (Vec::new(), format!("{base}{path}"));
        for _ in 0..PAGES_MAX {
            let page: Page<T> = json(self.client, &url, Some(&self.token)).await?;
            all.extend(page.value);
            match page.next_link.filter(|next| !next.is_empty()) {
                Some(next) => {
                    same_server(base, &next)?;
                    url = next;
                }
                None => return Ok(all),
            }
        }
        Err(format!("more than {PAGES_MAX} pages"))
    }

    /// A machine without a primary interface that has an address is no target.
    async fn target(
        &self,
        machine: &Machine,
        set: Option<&str>,
        port: u16,
    ) -> Result<Option<Labels>, String> {
        let mut meta = self.labels(machine, set);
        let version = if set.is_some() {
            NETWORK_OF_SETS
        } else {
            NETWORK
        };
        for interface in &machine.properties.network_profile.network_interfaces {
            let url = format!(
                "{}{}?api-version={version}&$expand=IPConfigurations/PublicIPAddress",
                self.settings.resources, interface.id
            );
            let found: Interface = match json(self.client, &url, Some(&self.token)).await {
                Ok(found) => found,
                // Gone between two questions.
                Err(fault) if fault.contains("404") => continue,
                Err(fault) => return Err(fault),
            };
            let Some(properties) = found.properties.filter(|p| p.primary == Some(true)) else {
                continue;
            };
            for configuration in &properties.ip_configurations {
                let ip = &configuration.properties;
                let public = ip
                    .public
                    .as_ref()
                    .and_then(|p| p.properties.ip_address.as_deref());
                if let Some(public) = public {
                    meta.set("__meta_azure_machine_public_ip", public);
                }
                if let Some(private) = &ip.private {
                    meta.set("__meta_azure_machine_private_ip", private.as_str())
                        .set("__address__", host_port(private, port));
                    return Ok(Some(meta.labels()));
                }
            }
        }
        Ok(None)
    }

    fn labels(&self, machine: &Machine, set: Option<&str>) -> Meta {
        let properties = &machine.properties;
        let mut parts = machine.id.split('/');
        let group = parts.find(|part| part.eq_ignore_ascii_case("resourceGroups"));
        let group = group.and_then(|_| parts.next()).unwrap_or("");
        let mut meta = Meta::default();
        meta.set("__meta_azure_subscription_id", &*self.settings.subscription)
            .set("__meta_azure_tenant_id", &*self.settings.tenant);
        let mut put = |name: &str, value: &str| {
            meta.set(format!("__meta_azure_machine_{name}"), value);
        };
        put("id", &machine.id);
        put("name", &machine.name);
        put("computer_name", &properties.os_profile.computer_name);
        put("os_type", &properties.storage_profile.os_disk.os_type);
        put("location", &machine.location);
        put("resource_group", group);
        put("size", &properties.hardware_profile.vm_size);
        put("scale_set", set.unwrap_or(""));
        for (name, value) in machine.tags.iter().flatten() {
            put(&format!("tag_{}", sanitize(name)), value);
        }
        meta
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::poll::tests::{Recorded, lines};
    use super::super::ask;
    use super::super::tests::settings;
    use crate::config::clouds::PolledApi;

    #[tokio::test]
    async fn machines_and_those_of_scale_sets() {
        let list = "/subscriptions/sub/providers/Microsoft.Compute";
        let of = "/subscriptions/sub/resourceGroups/rg/providers";
        let machine = |id: &str, name: &str, nic: &str| {
            format!(
                r#"{{"value": [{{"id": "{id}", "name": "{name}", "location": "westeurope", "tags": {{"a-b": "c"}},
                "properties": {{"storageProfile": {{"osDisk": {{"osType": "Linux"}}}},
                "osProfile": {{"computerName": "{name}-host"}}, "hardwareProfile": {{"vmSize": "D2"}},
                "networkProfile": {{"networkInterfaces": [{{"id": "{nic}"}}]}}}}}}]}}"#
            )
        };
        let interface = |ip: &str| {
            format!(
                r#"{{"properties": {{"primary": true, "ipConfigurations": [{{"properties":
                {{"privateIPAddress": "{ip}", "publicIPAddress": {{"properties": {{"ipAddress": "1.2.3.4"}}}}}}}}]}}}}"#
            )
        };
        let set = format!("{of}/Microsoft.Compute/virtualMachineScaleSets/set");
        let (nic, nic_of_set) = (format!("{of}/nic"), format!("{set}/nic"));
        let alone = machine(&format!("{of}/vm"), "vm", &nic);
        let inside = machine(&format!("{set}/virtualMachines/0"), "set_0", &nic_of_set);
        let sets = format!(r#"{{"value": [{{"id": "{set}", "name": "set"}}]}}"#);
        let server = Recorded::start(&[
            (
                "/t/oauth2/v2.0/token",
                r#"{"access_token": "token", "expires_in": 3600}"#,
            ),
            (&format!("{list}/virtualMachines"), &alone),
            (&format!("{list}/virtualMachineScaleSets"), &sets),
            (&format!("{set}/virtualMachines"), &inside),
            (&nic, &interface("10.0.0.1")),
            (&nic_of_set, &interface("10.0.0.2")),
        ])
        .await;
        let yaml = "azure_sd_configs: [{subscription_id: sub, tenant_id: t, client_id: c, client_secret: s}]";
        let settings = settings(yaml, |api| {
            let PolledApi::Azure(azure) = api else {
                panic!("{api:?}");
            };
            (azure.login, azure.resources) = (server.url.clone(), server.url.clone());
        });
        let found = lines(&ask(&settings).await.expect("groups"));
        let labels = |id: &str, name: &str, ip: &str, set: &str| {
            format!(
                r#"{{__address__="{ip}:80", __meta_azure_machine_computer_name="{name}-host", __meta_azure_machine_id="{id}", __meta_azure_machine_location="westeurope", __meta_azure_machine_name="{name}", __meta_azure_machine_os_type="Linux", __meta_azure_machine_private_ip="{ip}", __meta_azure_machine_public_ip="1.2.3.4", __meta_azure_machine_resource_group="rg", {set}__meta_azure_machine_size="D2", __meta_azure_machine_tag_a_b="c", __meta_azure_subscription_id="sub", __meta_azure_tenant_id="t"}}"#
            )
        };
        assert_eq!(
            found,
            [
                labels(&format!("{of}/vm"), "vm", "10.0.0.1", ""),
                labels(
                    &format!("{set}/virtualMachines/0"),
                    "set_0",
                    "10.0.0.2",
                    r#"__meta_azure_machine_scale_set="set", "#
                ),
            ]
        );
        let headers = server.headers.lock().expect("not poisoned");
        assert_eq!(headers[1]["authorization"], "Bearer token");
        let bodies = server.bodies.lock().expect("not poisoned");
        assert!(
            bodies[0].contains("client_secret=s&scope="),
            "{}",
            bodies[0]
        );
    }
}
