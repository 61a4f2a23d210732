//! `gce_sd_configs`: instances of one zone of Google's Compute Engine. Without credentials in the
//! configuration it asks as the service account of the machine.

use std::collections::BTreeMap;

use obs_model::{Labels, TargetGroup};
use serde::Deserialize;

use super::super::poll::{Meta, host_port, sanitize, tags};
use super::{PAGES_MAX, json, machine};
use crate::config::clouds::GceSettings;
use crate::http_client::configured::HttpClient;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Page {
    #[serde(default)]
    items: Vec<Instance>,
    next_page_token: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Instance {
    id: String,
    name: String,
    #[serde(default)]
    zone: String,
    #[serde(default)]
    status: String,
    #[serde(default)]
    machine_type: String,
    #[serde(default)]
    network_interfaces: Vec<Interface>,
    #[serde(default)]
    tags: Tags,
    #[serde(default)]
    metadata: Metadata,
    #[serde(default)]
    labels: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Interface {
    #[serde(default)]
    name: String,
    #[serde(default)]
    network: String,
    #[serde(default)]
    subnetwork: String,
    #[serde(default, rename = "networkIP")]
    ip: String,
    #[serde(default)]
    access_configs: Vec<Access>,
}

#[derive(Debug, Deserialize)]
struct Access {
    #[serde(default, rename = "type")]
    kind: String,
    #[serde(default, rename = "natIP")]
    ip: String,
}

#[derive(Debug, Default, Deserialize)]
struct Tags {
    #[serde(default)]
    items: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
struct Metadata {
    #[serde(default)]
    items: Vec<Pair>,
}

#[derive(Debug, Deserialize)]
struct Pair {
    key: String,
    value: Option<String>,
}

#[derive(Deserialize)]
struct Token {
    access_token: String,
}

async fn token(client: &HttpClient, base: &str) -> Result<String, String> {
    let url = format!("{base}/computeMetadata/v1/instance/service-accounts/default/token");
    let request = client
        .requests()
        .get(url)
        .header("metadata-flavor", "Google");
    let text = machine(client, request).await?;
    let token: Token = serde_json::from_str(&text)
        .map_err(|_| "the machine's metadata: expected a token".to_owned())?;
    Ok(token.access_token)
}

pub(super) async fn ask(
    client: &HttpClient,
    settings: &GceSettings,
    port: u16,
) -> Result<Vec<TargetGroup>, String> {
    let token = match client.has_credentials() {
        true => None,
        false => Some(token(client, &settings.machine).await?),
    };
    let (project, zone) = (&settings.project, &settings.zone);
    let mut base = reqwest::Url::parse(&settings.base).map_err(|e| e.to_string())?;
    base.path_segments_mut()
        .map_err(|()| "the API has no path".to_owned())?
        .extend([
            "compute",
            "v1",
            "projects",
            project,
            "zones",
            zone,
            "instances",
        ]);
    let (mut targets, mut next) = (Vec::new(), None::<String>);
    for _ in 0..PAGES_MAX {
        let mut url = base.clone();
        if !settings.filter.is_empty() {
            url.query_pairs_mut()
                .append_pair("filter", &settings.filter);
        }
        if let Some(next) = &next {
            url.query_pairs_mut().append_pair("pageToken", next);
        }
        let page: Page = json(client, url.as_str(), token.as_deref()).await?;
        let of = |instance: &Instance| labels(instance, settings, port);
        targets.extend(page.items.iter().filter_map(of));
        next = page.next_page_token.filter(|token| !token.is_empty());
        if next.is_none() {
            return Ok(vec![TargetGroup {
                source: format!("GCE_{project}_{zone}").into(),
                labels: Labels::empty(),
                targets,
            }]);
        }
    }
    Err(format!("more than {PAGES_MAX} pages"))
}

/// An instance without a network is no target.
fn labels(instance: &Instance, settings: &GceSettings, port: u16) -> Option<Labels> {
    let first = instance.network_interfaces.first()?;
    let mut meta = Meta::default();
    let mut set = |name: &str, value: &str| {
        meta.set(format!("__meta_gce_{name}"), value);
    };
    set("project", &settings.project);
    set("zone", &instance.zone);
    set("instance_id", &instance.id);
    set("instance_name", &instance.name);
    set("instance_status", &instance.status);
    set("machine_type", &instance.machine_type);
    set("network", &first.network);
    set("subnetwork", &first.subnetwork);
    set("private_ip", &first.ip);
    for interface in &instance.network_interfaces {
        set(
            &format!("interface_ipv4_{}", sanitize(&interface.name)),
            &interface.ip,
        );
    }
    if !instance.tags.items.is_empty() {
        set("tags", &tags(&instance.tags.items, &settings.tag_separator));
    }
    for pair in &instance.metadata.items {
        if let Some(value) = &pair.value {
            set(&format!("metadata_{}", sanitize(&pair.key)), value);
        }
    }
    for (name, value) in &instance.labels {
        set(&format!("label_{}", sanitize(name)), value);
    }
    if let Some(access) = first.access_configs.first()
        && access.kind == "ONE_TO_ONE_NAT"
    {
        set("public_ip", &access.ip);
    }
    meta.set("__address__", host_port(&first.ip, port));
    Some(meta.labels())
}

#[cfg(test)]
mod tests {
    use super::super::super::poll::tests::{Recorded, lines};
    use super::super::ask;
    use super::super::tests::settings;
    use crate::config::clouds::PolledApi;

    #[tokio::test]
    async fn instances_of_a_zone() {
        let token = (
            "/computeMetadata/v1/instance/service-accounts/default/token",
            r#"{"access_token": "t", "expires_in": 3599}"#,
        );
        let path = "/compute/v1/projects/p/zones/z-1/instances";
        let one = r#"{"items": [{"id": "12", "name": "web", "zone": "https://z", "status": "RUNNING",
            "machineType": "https://m", "labels": {"a-b": "c"}, "tags": {"items": ["t1", "t2"]},
            "metadata": {"items": [{"key": "k-1", "value": "v"}, {"key": "empty"}]},
            "networkInterfaces": [{"name": "nic0", "network": "https://n", "subnetwork": "https://s",
                "networkIP": "10.0.0.1", "accessConfigs": [{"type": "ONE_TO_ONE_NAT", "natIP": "1.2.3.4"}]}]},
            {"id": "13", "name": "no-network"}], "nextPageToken": "more"}"#;
        let answers = [
            token,
            (path, one),
            (path, r#"{"kind": "compute#instanceList"}"#),
        ];
        let server = Recorded::start(&answers).await;
        let yaml = "gce_sd_configs: [{project: p, zone: z-1, filter: 'name = w*', port: 9100}]";
        let settings = settings(yaml, |api| {
            let PolledApi::Gce(gce) = api else {
                panic!("{api:?}")
            };
            (gce.base, gce.machine) = (server.url.clone(), server.url.clone());
        });
        assert_eq!(
            lines(&ask(&settings).await.expect("groups")),
            [concat!(
                r#"{__address__="10.0.0.1:9100", __meta_gce_instance_id="12", "#,
                r#"__meta_gce_instance_name="web", __meta_gce_instance_status="RUNNING", "#,
                r#"__meta_gce_interface_ipv4_nic0="10.0.0.1", __meta_gce_label_a_b="c", "#,
                r#"__meta_gce_machine_type="https://m", __meta_gce_metadata_k_1="v", "#,
                r#"__meta_gce_network="https://n", __meta_gce_private_ip="10.0.0.1", "#,
                r#"__meta_gce_project="p", __meta_gce_public_ip="1.2.3.4", "#,
                r#"__meta_gce_subnetwork="https://s", __meta_gce_tags=",t1,t2,", __meta_gce_zone="https://z"}"#
            )]
        );
        let asked = server.asked.lock().expect("not poisoned");
        assert_eq!(
            asked[2],
            format!("{path}?filter=name+%3D+w*&pageToken=more")
        );
    }
}
