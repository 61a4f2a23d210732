//! `digitalocean_sd_configs`: droplets.

use obs_model::TargetGroup;
use serde::Deserialize;

use super::super::poll::{Meta, host_port, tags};
use super::{PAGES_MAX, group, json, same_server};
use crate::http_client::configured::HttpClient;

#[derive(Debug, Deserialize)]
struct Page {
    droplets: Vec<Droplet>,
    #[serde(default)]
    links: Links,
}

#[derive(Debug, Default, Deserialize)]
struct Links {
    #[serde(default)]
    pages: Pages,
}

#[derive(Debug, Default, Deserialize)]
struct Pages {
    next: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Droplet {
    id: u64,
    name: String,
    #[serde(default)]
    status: String,
    #[serde(default)]
    features: Vec<String>,
    #[serde(default)]
    tags: Vec<String>,
    #[serde(default)]
    vpc_uuid: String,
    #[serde(default)]
    size_slug: String,
    #[serde(default)]
    region: Region,
    #[serde(default)]
    image: Image,
    #[serde(default)]
    networks: Networks,
}

#[derive(Debug, Default, Deserialize)]
struct Region {
    #[serde(default)]
    slug: String,
}

#[derive(Debug, Default, Deserialize)]
struct Image {
    slug: Option<String>,
    #[serde(default)]
    name: String,
}

#[derive(Debug, Default, Deserialize)]
struct Networks {
    #[serde(default)]
    v4: Vec<Network>,
    #[serde(default)]
    v6: Vec<Network>,
}

#[derive(Debug, Deserialize)]
struct Network {
    ip_address: String,
    #[serde(rename = "type")]
    kind: String,
}

fn address<'a>(networks: &'a [Network], kind: &str) -> &'a str {
    let found = networks.iter().find(|network| network.kind == kind);
    found.map_or("", |network| network.ip_address.as_str())
}

pub(super) async fn ask(
    client: &HttpClient,
    base: &str,
    port: u16,
) -> Result<Vec<TargetGroup>, String> {
    let mut targets = Vec::new();
    let mut next = Some(format!("{base}/v2/droplets?page=1&per_page=200"));
    for _ in 0..PAGES_MAX {
        let Some(url) = next.take() else {
            return Ok(group("DigitalOcean", targets));
        };
        let page: Page = json(client, &url, None).await?;
        let with_address = page.droplets.iter().filter(|droplet| {
            // As Prometheus: what has no addresses yet is no target.
            !droplet.networks.v4.is_empty()
        });
        targets.extend(with_address.map(|droplet| labels(droplet, port)));
        next = page.links.pages.next;
        if let Some(next) = &next {
            same_server(base, next)?;
        }
    }
    Err(format!("more than {PAGES_MAX} pages"))
}

fn labels(droplet: &Droplet, port: u16) -> obs_model::Labels {
    let public = address(&droplet.networks.v4, "public");
    let listed = |all: &[String]| match all.is_empty() {
        true => String::new(),
        false => tags(all, ","),
    };
    let mut meta = Meta::default();
    let mut set = |name: &str, value: &str| {
        meta.set(format!("__meta_digitalocean_{name}"), value);
    };
    set("droplet_id", &droplet.id.to_string());
    set("droplet_name", &droplet.name);
    set("image", droplet.image.slug.as_deref().unwrap_or(""));
    set("image_name", &droplet.image.name);
    set("private_ipv4", address(&droplet.networks.v4, "private"));
    set("public_ipv4", public);
    set("public_ipv6", address(&droplet.networks.v6, "public"));
    set("region", &droplet.region.slug);
    set("size", &droplet.size_slug);
    set("status", &droplet.status);
    set("vpc", &droplet.vpc_uuid);
    set("features", &listed(&droplet.features));
    set("tags", &listed(&droplet.tags));
    meta.set("__address__", host_port(public, port));
    meta.labels()
}

#[cfg(test)]
mod tests {
    use super::super::super::poll::tests::{Recorded, lines};
    use super::super::ask;
    use super::super::tests::settings;
    use crate::config::clouds::PolledApi;

    #[tokio::test]
    async fn droplets_of_all_pages() {
        let yaml = "digitalocean_sd_configs: [{port: 9100, bearer_token: t}]";
        let one = r#"{"droplets": [{"id": 3164444, "name": "web", "status": "active",
            "features": ["backups", "ipv6"], "tags": ["a", "b"], "vpc_uuid": "v", "size_slug": "s-1",
            "region": {"slug": "nyc3"}, "image": {"slug": "ubuntu", "name": "20.04"},
            "networks": {"v4": [{"ip_address": "10.0.0.1", "type": "private"},
                {"ip_address": "1.2.3.4", "type": "public"}],
                "v6": [{"ip_address": "2001::1", "type": "public"}]}},
            {"id": 2, "name": "new"}], "links": {}}"#;
        let server = Recorded::start(&[("/v2/droplets", one)]).await;
        let own = |base: String| settings(yaml, |api| *api = PolledApi::DigitalOcean(base));
        let groups = ask(&own(server.url.clone())).await.expect("groups");
        assert_eq!(
            lines(&groups),
            [concat!(
                r#"{__address__="1.2.3.4:9100", __meta_digitalocean_droplet_id="3164444", "#,
                r#"__meta_digitalocean_droplet_name="web", __meta_digitalocean_features=",backups,ipv6,", "#,
                r#"__meta_digitalocean_image="ubuntu", __meta_digitalocean_image_name="20.04", "#,
                r#"__meta_digitalocean_private_ipv4="10.0.0.1", __meta_digitalocean_public_ipv4="1.2.3.4", "#,
                r#"__meta_digitalocean_public_ipv6="2001::1", __meta_digitalocean_region="nyc3", "#,
                r#"__meta_digitalocean_size="s-1", __meta_digitalocean_status="active", "#,
                r#"__meta_digitalocean_tags=",a,b,", __meta_digitalocean_vpc="v"}"#
            )]
        );
        // Further pages are asked for, unless they lead away; and not for ever.
        let away =
            r#"{"droplets": [], "links": {"pages": {"next": "http://elsewhere/v2/droplets"}}}"#;
        let server = Recorded::start(&[("/v2/droplets", away)]).await;
        let fault = ask(&own(server.url.clone())).await.expect_err("elsewhere");
        assert!(fault.contains("elsewhere"), "{fault}");
    }
}
