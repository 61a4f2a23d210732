//! `linode_sd_configs`: instances, with what the API says of their addresses.

use std::collections::HashMap;

use obs_model::{Labels, TargetGroup};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::super::poll::{ANSWER_BYTES_MAX, Meta, TIMEOUT, host_port, tags};
use super::{PAGES_MAX, group};
use crate::config::clouds::LinodeSettings;
use crate::http_client::configured::HttpClient;

/// Most that the API gives at one time.
const PAGE: u32 = 500;

#[derive(Debug, Deserialize)]
struct Page<T> {
    data: Vec<T>,
    #[serde(default)]
    pages: u32,
}

#[derive(Debug, Deserialize)]
struct Instance {
    id: u64,
    #[serde(default)]
    label: String,
    #[serde(default)]
    group: String,
    #[serde(default)]
    status: String,
    image: Option<String>,
    #[serde(rename = "type", default)]
    kind: Option<String>,
    #[serde(default)]
    region: String,
    #[serde(default)]
    tags: Vec<String>,
    #[serde(default)]
    ipv4: Vec<String>,
    ipv6: Option<String>,
    #[serde(default)]
    hypervisor: String,
    #[serde(default)]
    specs: Specs,
    #[serde(default)]
    backups: Backups,
}

/// Sizes in MiB, transfer in GiB.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Specs {
    disk: u64,
    memory: u64,
    vcpus: u64,
    gpus: u64,
    transfer: u64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Backups {
    enabled: bool,
}

#[derive(Debug, Deserialize)]
struct Address {
    address: String,
    #[serde(default)]
    public: bool,
    rdns: Option<String>,
}

impl Address {
    fn name(&self) -> &str {
        self.rdns
            .as_deref()
            .filter(|name| *name != "null")
            .unwrap_or("")
    }
}

#[derive(Debug, Deserialize)]
struct Range {
    range: String,
    prefix: u8,
    route_target: Option<String>,
}

/// Everything of one kind.
async fn all<T: DeserializeOwned>(
    client: &HttpClient,
    own: &LinodeSettings,
    path: &str,
) -> Result<Vec<T>, String> {
    let mut found = Vec::new();
    for page in 1..=PAGES_MAX {
        let url = format!("{}/v4/{path}?page={page}&page_size={PAGE}", own.base);
        let mut request = client.requests().get(&url).timeout(TIMEOUT);
        if !own.region.is_empty() {
            let filter = serde_json::json!({"region": own.region});
            request = request.header("x-filter", filter.to_string());
        }
        let answer = client.ask(request, ANSWER_BYTES_MAX).await;
        let answer = answer.map_err(|fault| format!("{url}: {fault}"))?;
        let answer: Page<T> = answer.json().map_err(|fault| format!("{url}: {fault}"))?;
        found.extend(answer.data);
        if page >= answer.pages as usize {
            return Ok(found);
        }
    }
    Err(format!("more than {PAGES_MAX} pages"))
}

pub(super) async fn ask(
    client: &HttpClient,
    own: &LinodeSettings,
    port: u16,
) -> Result<Vec<TargetGroup>, String> {
    let instances: Vec<Instance> = all(client, own, "linode/instances").await?;
    let addresses: Vec<Address> = all(client, own, "networking/ips").await?;
    let ranges: Vec<Range> = all(client, own, "networking/ipv6/ranges").await?;
    let addresses: HashMap<&str, &Address> = addresses
        .iter()
        .map(|one| (one.address.as_str(), one))
        .collect();
    // As Prometheus: what has no addresses yet is no target.
    let there = instances.iter().filter(|one| !one.ipv4.is_empty());
    let targets = there.map(|one| {
        let addresses = Own::of(one, &addresses, &ranges);
        labels(one, &addresses, (own, port))
    });
    Ok(group("Linode", targets.collect()))
}

/// The addresses of an instance with their names: the first of each kind, and the others.
#[derive(Debug, Default)]
struct Own<'a> {
    public: (&'a str, &'a str),
    private: (&'a str, &'a str),
    six: (&'a str, &'a str),
    extra: Vec<String>,
    ranges: Vec<String>,
}

impl<'a> Own<'a> {
    fn of(instance: &Instance, addresses: &HashMap<&str, &'a Address>, ranges: &[Range]) -> Self {
        let mut own = Own::default();
        let known = instance.ipv4.iter().filter_map(|a| addresses.get(&**a));
        for address in known.copied() {
            let place = match address.public {
                true => &mut own.public,
                false => &mut own.private,
            };
            match place.0.is_empty() {
                true => *place = (address.address.as_str(), address.name()),
                false => own.extra.push(address.address.clone()),
            }
        }
        let six = instance.ipv6.as_deref().unwrap_or("");
        let six = six.split('/').next().unwrap_or("");
        if let Some(address) = addresses.get(six).copied() {
            own.six = (address.address.as_str(), address.name());
        }
        let mine = ranges
            .iter()
            .filter(|range| !six.is_empty() && range.route_target.as_deref() == Some(six));
        own.ranges = mine
            .map(|range| format!("{}/{}", range.range, range.prefix))
            .collect();
        own
    }
}

fn labels(instance: &Instance, own: &Own<'_>, (settings, port): (&LinodeSettings, u16)) -> Labels {
    let listed = |all: &[String]| match all.is_empty() {
        true => String::new(),
        false => tags(all, &settings.tag_separator),
    };
    let specs = &instance.specs;
    let backups = match instance.backups.enabled {
        true => "enabled",
        false => "disabled",
    };
    let mut meta = Meta::default();
    let mut set = |name: &str, value: &str| {
        meta.set(format!("__meta_linode_{name}"), value);
    };
    set("instance_id", &instance.id.to_string());
    set("instance_label", &instance.label);
    set("image", instance.image.as_deref().unwrap_or(""));
    set("private_ipv4", own.private.0);
    set("public_ipv4", own.public.0);
    set("public_ipv6", own.six.0);
    set("private_ipv4_rdns", own.private.1);
    set("public_ipv4_rdns", own.public.1);
    set("public_ipv6_rdns", own.six.1);
    set("region", &instance.region);
    set("type", instance.kind.as_deref().unwrap_or(""));
    set("status", &instance.status);
    set("group", &instance.group);
    set("gpus", &specs.gpus.to_string());
    set("hypervisor", &instance.hypervisor);
    set("backups", backups);
    set("specs_disk_bytes", &mebibytes(specs.disk));
    set("specs_memory_bytes", &mebibytes(specs.memory));
    set("specs_vcpus", &specs.vcpus.to_string());
    set("specs_transfer_bytes", &mebibytes(specs.transfer));
    set("tags", &listed(&instance.tags));
    set("extra_ips", &listed(&own.extra));
    set("ipv6_ranges", &listed(&own.ranges));
    meta.set("__address__", host_port(own.public.0, port));
    meta.labels()
}

fn mebibytes(count: u64) -> String {
    count.saturating_mul(1 << 20).to_string()
}

#[cfg(test)]
mod tests {
    use super::super::super::poll::tests::{Recorded, lines};
    use super::super::ask;
    use super::super::tests::settings;
    use crate::config::clouds::PolledApi;

    #[tokio::test]
    async fn instances_with_their_addresses() {
        let yaml = "linode_sd_configs: [{port: 9100, region: us-east, bearer_token: t}]";
        let one = r#"{"pages": 2, "page": 1, "results": 2, "data": [{"id": 26838044, "label": "web",
            "group": "g", "status": "running", "type": "g6-standard-2", "region": "us-east",
            "image": "linode/arch", "hypervisor": "kvm", "tags": ["a", "b"],
            "ipv4": ["45.33.82.151", "96.126.108.16", "192.168.170.51"],
            "ipv6": "2600:3c03::f03c:92ff:fe1a:1382/128", "backups": {"enabled": false},
            "specs": {"disk": 81920, "memory": 4096, "vcpus": 2, "gpus": 0, "transfer": 4000}}]}"#;
        let none = r#"{"pages": 2, "page": 2, "results": 2, "data": [{"id": 2, "label": "new", "image": null}]}"#;
        let addresses = r#"{"pages": 1, "data": [
            {"address": "45.33.82.151", "public": true, "rdns": "li1028-151.members.linode.com"},
            {"address": "96.126.108.16", "public": true, "rdns": null},
            {"address": "192.168.170.51", "public": false, "rdns": null},
            {"address": "2600:3c03::f03c:92ff:fe1a:1382", "public": true, "rdns": null}]}"#;
        let ranges = r#"{"pages": 1, "data": [{"range": "2600:3c03:e000:123::", "prefix": 64,
            "route_target": "2600:3c03::f03c:92ff:fe1a:1382", "region": "us-east"},
            {"range": "2600:3c03:e000:9::", "prefix": 64, "route_target": null}]}"#;
        let server = Recorded::start(&[
            ("/v4/linode/instances", one),
            ("/v4/linode/instances", none),
            ("/v4/networking/ips", addresses),
            ("/v4/networking/ipv6/ranges", ranges),
        ])
        .await;
        let settings = settings(yaml, |api| {
            let PolledApi::Linode(own) = api else {
                panic!("{api:?}");
            };
            own.base.clone_from(&server.url);
        });
        let groups = ask(&settings).await.expect("groups");
        assert_eq!(
            lines(&groups),
            [concat!(
                r#"{__address__="45.33.82.151:9100", __meta_linode_backups="disabled", "#,
                r#"__meta_linode_extra_ips=",96.126.108.16,", __meta_linode_gpus="0", "#,
                r#"__meta_linode_group="g", __meta_linode_hypervisor="kvm", "#,
                r#"__meta_linode_image="linode/arch", __meta_linode_instance_id="26838044", "#,
                r#"__meta_linode_instance_label="web", "#,
                r#"__meta_linode_ipv6_ranges=",2600:3c03:e000:123::/64,", "#,
                r#"__meta_linode_private_ipv4="192.168.170.51", "#,
                r#"__meta_linode_public_ipv4="45.33.82.151", "#,
                r#"__meta_linode_public_ipv4_rdns="li1028-151.members.linode.com", "#,
                r#"__meta_linode_public_ipv6="2600:3c03::f03c:92ff:fe1a:1382", "#,
                r#"__meta_linode_region="us-east", __meta_linode_specs_disk_bytes="85899345920", "#,
                r#"__meta_linode_specs_memory_bytes="4294967296", "#,
                r#"__meta_linode_specs_transfer_bytes="4194304000", __meta_linode_specs_vcpus="2", "#,
                r#"__meta_linode_status="running", __meta_linode_tags=",a,b,", "#,
                r#"__meta_linode_type="g6-standard-2"}"#
            )]
        );
        let headers = server.headers.lock().expect("not poisoned");
        assert_eq!(headers.len(), 4);
        for told in headers.iter() {
            assert_eq!(told["x-filter"], r#"{"region":"us-east"}"#);
            assert_eq!(told["authorization"], "Bearer t");
        }
    }
}
