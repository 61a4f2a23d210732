//! `vultr_sd_configs`: instances.

use obs_model::{Labels, TargetGroup};
use serde::Deserialize;

use super::super::poll::{Meta, host_port, tags};
use super::{PAGES_MAX, form, group, json};
use crate::http_client::configured::HttpClient;

#[derive(Debug, Deserialize)]
struct Page {
    instances: Vec<Instance>,
    #[serde(default)]
    meta: PageMeta,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct PageMeta {
    links: Links,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Links {
    next: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Instance {
    id: String,
    label: String,
    os: String,
    os_id: u64,
    region: String,
    plan: String,
    main_ip: String,
    internal_ip: String,
    v6_main_ip: String,
    hostname: String,
    server_status: String,
    vcpu_count: u64,
    ram: u64,
    allowed_bandwidth: u64,
    disk: u64,
    features: Vec<String>,
    tags: Vec<String>,
}

pub(super) async fn ask(
    client: &HttpClient,
    base: &str,
    port: u16,
) -> Result<Vec<TargetGroup>, String> {
    let (mut targets, mut cursor) = (Vec::new(), String::new());
    for _ in 0..PAGES_MAX {
        let query = form([("per_page", "100"), ("cursor", cursor.as_str())]);
        let page: Page = json(client, &format!("{base}/v2/instances?{query}"), None).await?;
        targets.extend(page.instances.iter().map(|one| labels(one, port)));
        cursor = page.meta.links.next;
        if cursor.is_empty() {
            return Ok(group("Vultr", targets));
        }
    }
    Err(format!("more than {PAGES_MAX} pages"))
}

fn labels(instance: &Instance, port: u16) -> Labels {
    let listed = |all: &[String]| match all.is_empty() {
        true => String::new(),
        false => tags(all, ","),
    };
    let mut meta = Meta::default();
    let mut set = |name: &str, value: &str| {
        meta.set(format!("__meta_vultr_instance_{name}"), value);
    };
    set("id", &instance.id);
    set("label", &instance.label);
    set("os", &instance.os);
    set("os_id", &instance.os_id.to_string());
    set("region", &instance.region);
    set("plan", &instance.plan);
    set("main_ip", &instance.main_ip);
    set("internal_ip", &instance.internal_ip);
    set("main_ipv6", &instance.v6_main_ip);
    set("hostname", &instance.hostname);
    set("server_status", &instance.server_status);
    set("vcpu_count", &instance.vcpu_count.to_string());
    set("ram_mb", &instance.ram.to_string());
    set(
        "allowed_bandwidth_gb",
        &instance.allowed_bandwidth.to_string(),
    );
    set("disk_gb", &instance.disk.to_string());
    set("features", &listed(&instance.features));
    set("tags", &listed(&instance.tags));
    meta.set("__address__", host_port(&instance.main_ip, port));
    meta.labels()
}

#[cfg(test)]
mod tests {
    use super::super::super::poll::tests::{Recorded, lines};
    use super::super::ask;
    use super::super::tests::settings;
    use crate::config::clouds::PolledApi;

    #[tokio::test]
    async fn instances_of_all_pages() {
        let one = r#"{"instances": [{"id": "dbdbd38c", "os": "CentOS 8", "ram": 2048, "disk": 55,
            "main_ip": "207.148.17.144", "vcpu_count": 1, "region": "ewr", "plan": "vc2-1c-2gb",
            "status": "active", "allowed_bandwidth": 2000, "server_status": "ok", "label": "web",
            "v6_main_ip": "2001:19f0::1", "internal_ip": "10.1.96.5", "hostname": "h1", "os_id": 362,
            "features": ["ipv6", "backups"], "tags": ["a"]}],
            "meta": {"total": 2, "links": {"next": "bmV4=", "prev": ""}}}"#;
        let two = r#"{"instances": [{"id": "x", "main_ip": "1.2.3.4"}], "meta": {"links": {"next": ""}}}"#;
        let server = Recorded::start(&[("/v2/instances", one), ("/v2/instances", two)]).await;
        let yaml = "vultr_sd_configs: [{bearer_token: t}]";
        let settings = settings(yaml, |api| *api = PolledApi::Vultr(server.url.clone()));
        let found = lines(&ask(&settings).await.expect("groups"));
        assert_eq!(found.len(), 2);
        assert_eq!(
            found[1],
            concat!(
                r#"{__address__="207.148.17.144:80", __meta_vultr_instance_allowed_bandwidth_gb="2000", "#,
                r#"__meta_vultr_instance_disk_gb="55", __meta_vultr_instance_features=",ipv6,backups,", "#,
                r#"__meta_vultr_instance_hostname="h1", __meta_vultr_instance_id="dbdbd38c", "#,
                r#"__meta_vultr_instance_internal_ip="10.1.96.5", __meta_vultr_instance_label="web", "#,
                r#"__meta_vultr_instance_main_ip="207.148.17.144", __meta_vultr_instance_main_ipv6="2001:19f0::1", "#,
                r#"__meta_vultr_instance_os="CentOS 8", __meta_vultr_instance_os_id="362", "#,
                r#"__meta_vultr_instance_plan="vc2-1c-2gb", __meta_vultr_instance_ram_mb="2048", "#,
                r#"__meta_vultr_instance_region="ewr", __meta_vultr_instance_server_status="ok", "#,
                r#"__meta_vultr_instance_tags=",a,", __meta_vultr_instance_vcpu_count="1"}"#
            )
        );
        let asked = server.asked.lock().expect("not poisoned");
        assert_eq!(asked[1], "/v2/instances?per_page=100&cursor=bmV4%3D");
    }
}
