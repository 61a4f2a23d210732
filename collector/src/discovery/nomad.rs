//! `nomad_sd_configs`: the services that Nomad registers.

use obs_model::{Labels, TargetGroup};
use serde::Deserialize;

use super::poll::{ANSWER_BYTES_MAX, Feed, Meta, TIMEOUT, every, host_port, tags};
use super::provider::Groups;
use crate::config::NomadSettings;
use crate::http_client::configured::{HttpClient, Use};

#[derive(Debug, Deserialize)]
struct Namespace {
    #[serde(rename = "Services", default)]
    services: Vec<Listed>,
}

#[derive(Debug, Deserialize)]
struct Listed {
    #[serde(rename = "ServiceName")]
    name: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Instance {
    #[serde(rename = "ID")]
    id: String,
    service_name: String,
    namespace: String,
    #[serde(rename = "NodeID")]
    node_id: String,
    datacenter: String,
    #[serde(rename = "AllocID")]
    alloc_id: String,
    tags: Option<Vec<String>>,
    address: String,
    port: u16,
}

/// Runs until nobody listens.
pub(super) async fn run(settings: NomadSettings, groups: Groups) {
    let mut feed = Feed::new("nomad", groups);
    let mut ticks = every(settings.refresh);
    loop {
        ticks.tick().await;
        if !feed.tell(ask(&settings).await).await {
            return;
        }
    }
}

async fn ask(settings: &NomadSettings) -> Result<Vec<TargetGroup>, String> {
    let client = HttpClient::new(&settings.client, Use::default()).await?;
    let listed: Vec<Namespace> = get(&client, settings, &["services"]).await?;
    let mut targets = Vec::new();
    for service in listed.iter().flat_map(|namespace| &namespace.services) {
        let instances: Vec<Instance> = get(&client, settings, &["service", &service.name]).await?;
        let all = instances.iter();
        targets.extend(all.map(|instance| labels(instance, &settings.tag_separator)));
    }
    Ok(vec![TargetGroup {
        source: "Nomad".into(),
        labels: Labels::empty(),
        targets,
    }])
}

async fn get<T: serde::de::DeserializeOwned>(
    client: &HttpClient,
    settings: &NomadSettings,
    path: &[&str],
) -> Result<T, String> {
    let url = super::poll::address(&settings.base, path, &settings.params)?;
    let request = client.requests().get(url).timeout(TIMEOUT);
    client.ask(request, ANSWER_BYTES_MAX).await?.json()
}

fn labels(instance: &Instance, separator: &str) -> Labels {
    let address = host_port(&instance.address, instance.port);
    let tags = tags(instance.tags.as_deref().unwrap_or_default(), separator);
    let mut meta = Meta::default();
    meta.set("__address__", &*address)
        .set("__meta_nomad_address", &*instance.address)
        .set("__meta_nomad_dc", &*instance.datacenter)
        .set("__meta_nomad_namespace", &*instance.namespace)
        .set("__meta_nomad_node_id", &*instance.node_id)
        .set("__meta_nomad_service", &*instance.service_name)
        .set("__meta_nomad_service_address", &*address)
        .set("__meta_nomad_service_alloc_id", &*instance.alloc_id)
        .set("__meta_nomad_service_id", &*instance.id)
        .set("__meta_nomad_service_port", instance.port.to_string())
        .set("__meta_nomad_tags", tags);
    meta.labels()
}

#[cfg(test)]
mod tests {
    use super::super::poll::tests::{Recorded, discovery, lines};
    use super::*;
    use crate::config::Discovery;

    #[tokio::test]
    async fn services() {
        let listed =
            r#"[{"Namespace": "default", "Services": [{"ServiceName": "redis", "Tags": ["a"]}]}]"#;
        let redis = r#"[{"ID": "i", "ServiceName": "redis", "Namespace": "default", "NodeID": "n",
            "Datacenter": "dc1", "JobID": "j", "AllocID": "al", "Tags": ["a", "b"],
            "Address": "10.0.0.1", "Port": 6379}]"#;
        let answers = [("/v1/services", listed), ("/v1/service/redis", redis)];
        let server = Recorded::start(&answers).await;
        let yaml = format!("nomad_sd_configs: [{{server: '{}'}}]", server.url);
        let Discovery::Nomad(settings) = discovery(&yaml) else {
            panic!("{yaml}");
        };
        let groups = ask(&settings).await.expect("groups");
        assert_eq!(
            lines(&groups),
            [
                r#"{__address__="10.0.0.1:6379", __meta_nomad_address="10.0.0.1", __meta_nomad_dc="dc1", __meta_nomad_namespace="default", __meta_nomad_node_id="n", __meta_nomad_service="redis", __meta_nomad_service_address="10.0.0.1:6379", __meta_nomad_service_alloc_id="al", __meta_nomad_service_id="i", __meta_nomad_service_port="6379", __meta_nomad_tags=",a,b,"}"#
            ]
        );
        let asked = server.asked.lock().expect("not poisoned");
        assert_eq!(
            asked[1],
            "/v1/service/redis?namespace=default&region=global&stale="
        );
    }
}
