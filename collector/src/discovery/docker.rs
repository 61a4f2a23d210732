//! `docker_sd_configs`: the containers of a Docker daemon, by their networks and ports.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use obs_model::{Labels, TargetGroup};
use serde::Deserialize;

use super::poll::{ANSWER_BYTES_MAX, Feed, Meta, TIMEOUT, every, host_port};
use super::provider::Groups;
use crate::config::DockerSettings;
use crate::http_client::configured::{Answer, HttpClient, Use};

/// How many containers whose network is that of another one are followed.
const SHARED_MAX: usize = 16;

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Container {
    id: String,
    names: Vec<String>,
    labels: Option<BTreeMap<String, String>>,
    ports: Vec<Port>,
    host_config: HostConfig,
    network_settings: NetworkSettings,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Port {
    #[serde(rename = "IP")]
    ip: String,
    private_port: u16,
    public_port: u16,
    #[serde(rename = "Type")]
    kind: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct HostConfig {
    network_mode: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct NetworkSettings {
    networks: Option<BTreeMap<String, Option<Endpoint>>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Endpoint {
    #[serde(rename = "IPAddress")]
    ip: String,
    #[serde(rename = "NetworkID")]
    network: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Network {
    id: String,
    name: String,
    scope: String,
    internal: bool,
    ingress: bool,
    labels: Option<BTreeMap<String, String>>,
}

/// Runs until nobody listens.
pub(super) async fn run(settings: DockerSettings, groups: Groups) {
    let mut feed = Feed::new("docker", groups);
    let mut ticks = every(settings.refresh);
    loop {
        ticks.tick().await;
        if !feed.tell(ask(&settings).await).await {
            return;
        }
    }
}

async fn ask(settings: &DockerSettings) -> Result<Vec<TargetGroup>, String> {
    let of = Use {
        compression: false,
        unix_socket: settings.socket.as_deref().map(Path::new),
    };
    let client = HttpClient::new(&settings.client, of).await?;
    let mut query = Vec::new();
    if !settings.filters.is_empty() {
        let filters = serde_json::to_string(&settings.filters).map_err(|e| e.to_string())?;
        query.push(("filters", filters));
    }
    let containers = get(&client, settings, "/containers/json", &query).await;
    let containers: Vec<Container> = containers
        .and_then(|answer| answer.json())
        .map_err(|fault| format!("error while listing containers: {fault}"))?;
    // Networks are not chosen by the filters of containers.
    let networks = get(&client, settings, "/networks", &[]).await;
    let networks: Vec<Network> = networks
        .and_then(|answer| answer.json())
        .map_err(|fault| format!("error while computing network labels: {fault}"))?;
    Ok(vec![TargetGroup {
        source: "Docker".into(),
        labels: Labels::empty(),
        targets: targets(settings, &containers, &networks),
    }])
}

async fn get(
    client: &HttpClient,
    settings: &DockerSettings,
    path: &str,
    query: &[(&str, String)],
) -> Result<Answer, String> {
    let mut url = reqwest::Url::parse(&format!("{}{path}", settings.base));
    if let (Ok(url), false) = (&mut url, query.is_empty()) {
        url.query_pairs_mut().extend_pairs(query);
    }
    let url = url.map_err(|e| e.to_string())?;
    let request = client.requests().get(url).timeout(TIMEOUT);
    client.ask(request, ANSWER_BYTES_MAX).await
}

fn targets(
    settings: &DockerSettings,
    containers: &[Container],
    networks: &[Network],
) -> Vec<Labels> {
    let by_id: HashMap<&str, &Container> = containers
        .iter()
        .map(|one| (one.id.as_str(), one))
        .collect();
    let of_networks: HashMap<&str, Meta> = networks
        .iter()
        .map(|one| (one.id.as_str(), of_network(one)))
        .collect();
    let mut found = Vec::new();
    for container in containers {
        let Some(name) = container.names.first() else {
            continue;
        };
        let mut common = Meta::default();
        common
            .set("__meta_docker_container_id", &*container.id)
            .set("__meta_docker_container_name", &**name)
            .set(
                "__meta_docker_container_network_mode",
                &*container.host_config.network_mode,
            );
        let labels = container.labels.iter().flatten();
        common.set_all("__meta_docker_container_label", labels);
        let mut endpoints = endpoints(container, &by_id);
        if settings.match_first_network {
            endpoints.truncate(1);
        }
        for endpoint in endpoints {
            let mut meta = common.clone();
            if let Some(of_network) = of_networks.get(endpoint.network.as_str()) {
                meta.extend(of_network);
            }
            meta.set("__meta_docker_network_ip", &*endpoint.ip);
            found.extend(of_endpoint(settings, container, endpoint, &meta));
        }
    }
    found
}

/// The networks of a container, by their names; those of the container whose network it shares
/// where it has none.
fn endpoints<'a>(
    container: &'a Container,
    by_id: &HashMap<&str, &'a Container>,
) -> Vec<&'a Endpoint> {
    let mut at = container;
    for _ in 0..SHARED_MAX {
        let networks = at.network_settings.networks.iter().flatten();
        let own: Vec<&Endpoint> = networks.filter_map(|(_, one)| one.as_ref()).collect();
        let shared = at.host_config.network_mode.strip_prefix("container:");
        match shared.and_then(|id| by_id.get(id).copied()) {
            Some(next) if own.is_empty() => at = next,
            _ => return own,
        }
    }
    Vec::new()
}

/// One target for each TCP port, or one with the port of the configuration.
fn of_endpoint(
    settings: &DockerSettings,
    container: &Container,
    endpoint: &Endpoint,
    meta: &Meta,
) -> Vec<Labels> {
    let ports = container.ports.iter().filter(|port| port.kind == "tcp");
    let with_port = |port: &Port| {
        let mut meta = meta.clone();
        meta.set("__address__", host_port(&endpoint.ip, port.private_port))
            .set("__meta_docker_port_private", port.private_port.to_string());
        if port.public_port > 0 {
            meta.set("__meta_docker_port_public", port.public_port.to_string())
                .set("__meta_docker_port_public_ip", &*port.ip);
        }
        meta.labels()
    };
    let mut found: Vec<Labels> = ports.map(with_port).collect();
    if found.is_empty() {
        let address = match container.host_config.network_mode.as_str() {
            "host" => settings.host_networking_host.clone(),
            _ => host_port(&endpoint.ip, settings.port),
        };
        found.push(meta.clone().set("__address__", address).labels());
    }
    found
}

fn of_network(network: &Network) -> Meta {
    let mut meta = Meta::default();
    meta.set("__meta_docker_network_id", &*network.id)
        .set("__meta_docker_network_name", &*network.name)
        .set("__meta_docker_network_scope", &*network.scope)
        .set(
            "__meta_docker_network_internal",
            network.internal.to_string(),
        )
        .set("__meta_docker_network_ingress", network.ingress.to_string())
        .set_all(
            "__meta_docker_network_label",
            network.labels.iter().flatten(),
        );
    meta
}

#[cfg(test)]
mod tests {
    use super::super::poll::tests::{Recorded, discovery, lines};
    use super::*;
    use crate::config::Discovery;

    const CONTAINERS: &str = r#"[
        {"Id": "c1", "Names": ["/web"], "Labels": {"com.x": "1"},
         "Ports": [{"IP": "0.0.0.0", "PrivatePort": 80, "PublicPort": 8080, "Type": "tcp"},
                   {"PrivatePort": 53, "Type": "udp"}],
         "HostConfig": {"NetworkMode": "bridge"},
         "NetworkSettings": {"Networks": {"b": {"IPAddress": "10.0.0.3", "NetworkID": "n2"},
                                          "a": {"IPAddress": "10.0.0.2", "NetworkID": "n1"}}}},
        {"Id": "c2", "Names": ["/side"], "Ports": [], "HostConfig": {"NetworkMode": "container:c1"},
         "NetworkSettings": {"Networks": {}}},
        {"Id": "c3", "Names": ["/host"], "Labels": null, "Ports": [],
         "HostConfig": {"NetworkMode": "host"},
         "NetworkSettings": {"Networks": {"host": {"IPAddress": "", "NetworkID": "n3"}}}}]"#;
    const NETWORKS: &str = r#"[{"Id": "n1", "Name": "a", "Scope": "local", "Internal": true,
        "Ingress": false, "Labels": {"l": "v"}}]"#;

    #[tokio::test]
    async fn containers() {
        let answers = [("/containers/json", CONTAINERS), ("/networks", NETWORKS)];
        let server = Recorded::start(&answers).await;
        let host = server.url.replace("http://", "tcp://");
        let yaml = format!(
            "docker_sd_configs: [{{host: '{host}', filters: [{{name: status, values: [running]}}]}}]"
        );
        let Discovery::Docker(settings) = discovery(&yaml) else {
            panic!("{yaml}");
        };
        let groups = ask(&settings).await.expect("groups");
        let network = r#"__meta_docker_network_id="n1", __meta_docker_network_ingress="false", __meta_docker_network_internal="true", __meta_docker_network_ip="10.0.0.2", __meta_docker_network_label_l="v", __meta_docker_network_name="a", __meta_docker_network_scope="local""#;
        assert_eq!(
            lines(&groups),
            [
                format!(
                    r#"{{__address__="10.0.0.2:80", __meta_docker_container_id="c1", __meta_docker_container_label_com_x="1", __meta_docker_container_name="/web", __meta_docker_container_network_mode="bridge", {network}, __meta_docker_port_private="80", __meta_docker_port_public="8080", __meta_docker_port_public_ip="0.0.0.0"}}"#
                ),
                format!(
                    r#"{{__address__="10.0.0.2:80", __meta_docker_container_id="c2", __meta_docker_container_name="/side", __meta_docker_container_network_mode="container:c1", {network}}}"#
                ),
                r#"{__address__="localhost", __meta_docker_container_id="c3", __meta_docker_container_name="/host", __meta_docker_container_network_mode="host"}"#.to_owned(),
            ]
        );
        let asked = server.asked.lock().expect("not poisoned").clone();
        assert_eq!(
            asked[0],
            "/containers/json?filters=%7B%22status%22%3A%5B%22running%22%5D%7D"
        );
        let all = DockerSettings {
            match_first_network: false,
            ..*settings
        };
        let groups = ask(&all).await.expect("groups");
        assert_eq!(lines(&groups).len(), 5);
    }
}
