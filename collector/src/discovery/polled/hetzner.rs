//! `hetzner_sd_configs`: servers of Hetzner's cloud, and dedicated ones.

use std::collections::BTreeMap;

use obs_model::{Labels, TargetGroup};
use serde::Deserialize;

use super::super::poll::{Meta, host_port, sanitize};
use super::{PAGES_MAX, group, json};
use crate::http_client::configured::HttpClient;

#[derive(Debug, Default, Deserialize)]
struct Paging {
    #[serde(default)]
    pagination: Pagination,
}

#[derive(Debug, Default, Deserialize)]
struct Pagination {
    next_page: Option<u64>,
}

#[derive(Debug, Deserialize)]
struct NetworksPage {
    networks: Vec<Network>,
    #[serde(default)]
    meta: Paging,
}

#[derive(Debug, Deserialize)]
struct Network {
    id: u64,
    name: String,
}

#[derive(Debug, Deserialize)]
struct ServersPage {
    servers: Vec<Server>,
    #[serde(default)]
    meta: Paging,
}

#[derive(Debug, Deserialize)]
struct Server {
    id: u64,
    name: String,
    #[serde(default)]
    status: String,
    #[serde(default)]
    public_net: PublicNet,
    #[serde(default)]
    private_net: Vec<PrivateNet>,
    #[serde(default)]
    server_type: ServerType,
    datacenter: Option<Datacenter>,
    location: Option<Location>,
    image: Option<Image>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
}

#[derive(Debug, Default, Deserialize)]
struct PublicNet {
    ipv4: Option<Ip>,
    ipv6: Option<Ip>,
}

#[derive(Debug, Deserialize)]
struct Ip {
    ip: String,
}

#[derive(Debug, Deserialize)]
struct PrivateNet {
    network: u64,
    ip: String,
}

#[derive(Debug, Default, Deserialize)]
struct ServerType {
    #[serde(default)]
    name: String,
    #[serde(default)]
    cores: u64,
    #[serde(default)]
    cpu_type: String,
    #[serde(default)]
    memory: f64,
    #[serde(default)]
    disk: u64,
}

#[derive(Debug, Deserialize)]
struct Datacenter {
    name: String,
    location: Location,
}

#[derive(Clone, Debug, Deserialize)]
struct Location {
    name: String,
    #[serde(default)]
    network_zone: String,
}

#[derive(Debug, Deserialize)]
struct Image {
    name: Option<String>,
    #[serde(default)]
    description: String,
    #[serde(default)]
    os_flavor: String,
    os_version: Option<String>,
}

pub(super) async fn cloud(
    client: &HttpClient,
    base: &str,
    port: u16,
) -> Result<Vec<TargetGroup>, String> {
    let (mut networks, mut page) = (BTreeMap::new(), Some(1));
    for _ in 0..PAGES_MAX {
        let Some(number) = page else { break };
        let url = format!("{base}/v1/networks?page={number}&per_page=50");
        let found: NetworksPage = json(client, &url, None).await?;
        networks.extend(found.networks.into_iter().map(|n| (n.id, n.name)));
        page = found.meta.pagination.next_page;
    }
    let (mut targets, mut page) = (Vec::new(), Some(1));
    for _ in 0..PAGES_MAX {
        let Some(number) = page else {
            return Ok(group("hetzner", targets));
        };
        let url = format!("{base}/v1/servers?page={number}&per_page=50");
        let found: ServersPage = json(client, &url, None).await?;
        targets.extend(found.servers.iter().map(|s| labels(s, &networks, port)));
        page = found.meta.pagination.next_page;
    }
    Err(format!("more than {PAGES_MAX} pages"))
}

fn labels(server: &Server, networks: &BTreeMap<u64, String>, port: u16) -> Labels {
    let ip = |ip: &Option<Ip>| ip.as_ref().map_or(String::new(), |ip| ip.ip.clone());
    let public = ip(&server.public_net.ipv4);
    let mut meta = Meta::default();
    let mut set = |name: &str, value: &str| {
        meta.set(format!("__meta_hetzner_{name}"), value);
    };
    set("role", "hcloud");
    set("server_id", &server.id.to_string());
    set("server_name", &server.name);
    set("server_status", &server.status);
    set("public_ipv4", &public);
    set("public_ipv6_network", &ip(&server.public_net.ipv6));
    let location = server.datacenter.as_ref().map(|d| &d.location);
    let location = location.or(server.location.as_ref());
    if let Some(datacenter) = &server.datacenter {
        set("datacenter", &datacenter.name);
    }
    if let Some(location) = location {
        for key in ["hcloud_location", "hcloud_datacenter_location"] {
            set(key, &location.name);
            set(&format!("{key}_network_zone"), &location.network_zone);
        }
    }
    let kind = &server.server_type;
    set("hcloud_server_type", &kind.name);
    set("hcloud_cpu_cores", &kind.cores.to_string());
    set("hcloud_cpu_type", &kind.cpu_type);
    set("hcloud_memory_size_gb", &(kind.memory as u64).to_string());
    set("hcloud_disk_size_gb", &kind.disk.to_string());
    if let Some(image) = &server.image {
        set("hcloud_image_name", image.name.as_deref().unwrap_or(""));
        set("hcloud_image_description", &image.description);
        set("hcloud_image_os_flavor", &image.os_flavor);
        set(
            "hcloud_image_os_version",
            image.os_version.as_deref().unwrap_or(""),
        );
    }
    for private in &server.private_net {
        if let Some(name) = networks.get(&private.network) {
            set(
                &format!("hcloud_private_ipv4_{}", sanitize(name)),
                &private.ip,
            );
        }
    }
    for (name, value) in &server.labels {
        let name = sanitize(name);
        set(&format!("hcloud_label_{name}"), value);
        set(&format!("hcloud_labelpresent_{name}"), "true");
    }
    meta.set("__address__", host_port(&public, port));
    meta.labels()
}

#[derive(Debug, Deserialize)]
struct Listed {
    server: Robot,
}

#[derive(Debug, Deserialize)]
struct Robot {
    server_ip: String,
    server_number: u64,
    #[serde(default)]
    server_name: String,
    #[serde(default)]
    dc: String,
    #[serde(default)]
    status: String,
    #[serde(default)]
    product: String,
    #[serde(default)]
    cancelled: bool,
    subnet: Option<Vec<Ip>>,
}

pub(super) async fn robot(
    client: &HttpClient,
    base: &str,
    port: u16,
) -> Result<Vec<TargetGroup>, String> {
    let listed: Vec<Listed> = json(client, &format!("{base}/server"), None).await?;
    let targets = listed.iter().map(|Listed { server }| {
        let mut meta = Meta::default();
        let mut set = |name: &str, value: &str| {
            meta.set(format!("__meta_hetzner_{name}"), value);
        };
        set("role", "robot");
        set("server_id", &server.server_number.to_string());
        set("server_name", &server.server_name);
        set("server_status", &server.status);
        set("datacenter", &server.dc.to_lowercase());
        set("public_ipv4", &server.server_ip);
        set("robot_product", &server.product);
        set("robot_cancelled", &server.cancelled.to_string());
        let mut subnets = server.subnet.iter().flatten();
        if let Some(subnet) = subnets.find(|subnet| subnet.ip.contains(':')) {
            set("public_ipv6_network", &format!("{}/64", subnet.ip));
        }
        meta.set("__address__", host_port(&server.server_ip, port));
        meta.labels()
    });
    Ok(group("hetzner", targets.collect()))
}

#[cfg(test)]
mod tests {
    use super::super::super::poll::tests::{Recorded, lines};
    use super::super::ask;
    use super::super::tests::settings;
    use crate::config::clouds::PolledApi;

    #[tokio::test]
    async fn servers_of_the_cloud() {
        let networks = r#"{"networks": [{"id": 7, "name": "my-net"}], "meta": {"pagination": {"next_page": null}}}"#;
        let first = r#"{"servers": [{"id": 42, "name": "web", "status": "running",
            "public_net": {"ipv4": {"ip": "1.2.3.4"}, "ipv6": {"ip": "2001:db8::/64"}},
            "private_net": [{"network": 7, "ip": "10.0.0.2"}, {"network": 8, "ip": "10.1.0.2"}],
            "server_type": {"name": "cx11", "cores": 1, "cpu_type": "shared", "memory": 2.0, "disk": 20},
            "datacenter": {"name": "fsn1-dc8", "location": {"name": "fsn1", "network_zone": "eu-central"}},
            "image": {"name": "ubuntu", "description": "Ubuntu", "os_flavor": "ubuntu", "os_version": null},
            "labels": {"my-key": "v"}}], "meta": {"pagination": {"next_page": 2}}}"#;
        let second = r#"{"servers": [{"id": 43, "name": "two"}], "meta": {"pagination": {}}}"#;
        let answers = [
            ("/v1/networks", networks),
            ("/v1/servers", first),
            ("/v1/servers", second),
        ];
        let server = Recorded::start(&answers).await;
        let settings = settings("hetzner_sd_configs: [{role: hcloud}]", |api| {
            *api = PolledApi::Hetzner {
                base: server.url.clone(),
                robot: false,
            }
        });
        let found = lines(&ask(&settings).await.expect("groups"));
        assert_eq!(found.len(), 2);
        for part in [
            r#"__address__="1.2.3.4:80""#,
            r#"__meta_hetzner_datacenter="fsn1-dc8""#,
            r#"__meta_hetzner_hcloud_datacenter_location="fsn1""#,
            r#"__meta_hetzner_hcloud_label_my_key="v""#,
            r#"__meta_hetzner_hcloud_labelpresent_my_key="true""#,
            r#"__meta_hetzner_hcloud_memory_size_gb="2""#,
            r#"__meta_hetzner_hcloud_private_ipv4_my_net="10.0.0.2""#,
            r#"__meta_hetzner_public_ipv6_network="2001:db8::/64""#,
            r#"__meta_hetzner_server_status="running""#,
        ] {
            assert!(
                found.iter().any(|line| line.contains(part)),
                "{part} {found:?}"
            );
        }
        let asked = server.asked.lock().expect("not poisoned");
        assert_eq!(asked[2], "/v1/servers?page=2&per_page=50");
    }

    #[tokio::test]
    async fn dedicated_servers() {
        let listed = r#"[{"server": {"server_ip": "1.2.3.4", "server_number": 321, "server_name": "s",
            "product": "DS 3000", "dc": "NBG1-DC1", "status": "ready", "cancelled": false,
            "subnet": [{"ip": "2a01:4f8::", "mask": "64"}]}}]"#;
        let server = Recorded::start(&[("/server", listed)]).await;
        let settings = settings("hetzner_sd_configs: [{role: robot, port: 9}]", |api| {
            *api = PolledApi::Hetzner {
                base: server.url.clone(),
                robot: true,
            }
        });
        assert_eq!(
            lines(&ask(&settings).await.expect("groups")),
            [concat!(
                r#"{__address__="1.2.3.4:9", __meta_hetzner_datacenter="nbg1-dc1", "#,
                r#"__meta_hetzner_public_ipv4="1.2.3.4", __meta_hetzner_public_ipv6_network="2a01:4f8::/64", "#,
                r#"__meta_hetzner_robot_cancelled="false", __meta_hetzner_robot_product="DS 3000", "#,
                r#"__meta_hetzner_role="robot", __meta_hetzner_server_id="321", "#,
                r#"__meta_hetzner_server_name="s", __meta_hetzner_server_status="ready"}"#
            )]
        );
    }
}
