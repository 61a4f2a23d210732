//! `eureka_sd_configs`: instances of applications that Eureka knows.

use obs_model::{Labels, TargetGroup};
use obs_wire::xml::{self, Element};

use super::super::poll::{ANSWER_BYTES_MAX, Meta, TIMEOUT, sanitize};
use crate::http_client::configured::HttpClient;
use crate::http_client::shown;

pub(super) async fn ask(client: &HttpClient, base: &str) -> Result<Vec<TargetGroup>, String> {
    let url = format!("{base}/apps");
    let request = client.requests().get(&url).timeout(TIMEOUT);
    let request = request.header("accept", "application/xml");
    let answer = client.ask(request, ANSWER_BYTES_MAX).await?;
    let apps = xml::decode(&answer.body).map_err(|fault| format!("{}: {fault}", shown(&url)))?;
    let all = apps.children.iter().filter(|app| app.name == "application");
    let targets = all.flat_map(|app| {
        let instances = app.children.iter().filter(|one| one.name == "instance");
        instances.map(|instance| labels(app.at(&["name"]), instance))
    });
    Ok(super::group("eureka", targets.collect()))
}

fn labels(app: &str, instance: &Element) -> Labels {
    let at = |path: &[&str]| instance.at(path);
    let mut meta = Meta::default();
    let mut set = |name: &str, value: &str| {
        meta.set(format!("__meta_eureka_app_{name}"), value);
    };
    set("name", app);
    for (name, key) in [
        ("instance_hostname", "hostName"),
        ("instance_homepage_url", "homePageUrl"),
        ("instance_statuspage_url", "statusPageUrl"),
        ("instance_healthcheck_url", "healthCheckUrl"),
        ("instance_ip_addr", "ipAddr"),
        ("instance_vip_address", "vipAddress"),
        ("instance_secure_vip_address", "secureVipAddress"),
        ("instance_status", "status"),
        ("instance_country_id", "countryId"),
        ("instance_id", "instanceId"),
    ] {
        set(name, at(&[key]));
    }
    let number = at(&["port"]);
    for (name, key) in [
        ("instance_port", "port"),
        ("instance_secure_port", "securePort"),
    ] {
        if let Some(port) = instance.child(key) {
            set(name, &port.text);
            set(&format!("{name}_enabled"), port.attribute("enabled"));
        }
    }
    if let Some(center) = instance.child("dataCenterInfo") {
        set("instance_datacenterinfo_name", center.at(&["name"]));
        for one in center.child("metadata").map_or(&[][..], |m| &m.children) {
            set(
                &format!("instance_datacenterinfo_metadata_{}", sanitize(&one.name)),
                &one.text,
            );
        }
    }
    for one in instance.child("metadata").map_or(&[][..], |m| &m.children) {
        set(
            &format!("instance_metadata_{}", sanitize(&one.name)),
            &one.text,
        );
    }
    // As Prometheus: 80 where no port is told.
    let number = if number.is_empty() { "80" } else { number };
    let host = at(&["hostName"]);
    let host = match host.contains(':') {
        true => format!("[{host}]"),
        false => host.to_owned(),
    };
    meta.set("__address__", format!("{host}:{number}"));
    meta.set("instance", at(&["instanceId"]));
    meta.labels()
}

#[cfg(test)]
mod tests {
    use super::super::super::poll::tests::{Recorded, lines};
    use super::super::ask;
    use super::super::tests::settings;

    #[tokio::test]
    async fn applications() {
        let apps = r#"<applications><versions__delta>1</versions__delta><application><name>META</name>
            <instance><instanceId>i:1</instanceId><hostName>meta1</hostName><app>META</app><ipAddr>10.0.0.1</ipAddr>
            <status>UP</status><port enabled="true">8080</port><securePort enabled="false">443</securePort>
            <countryId>1</countryId><dataCenterInfo class="x"><name>MyOwn</name></dataCenterInfo>
            <metadata><management.port>8090</management.port></metadata>
            <homePageUrl>http://meta1:8080/</homePageUrl></instance></application></applications>"#;
        let server = Recorded::start(&[("/eureka/apps", apps)]).await;
        let yaml = format!("eureka_sd_configs: [{{server: '{}/eureka/'}}]", server.url);
        assert_eq!(
            lines(&ask(&settings(&yaml, |_| ())).await.expect("groups")),
            [concat!(
                r#"{__address__="meta1:8080", __meta_eureka_app_instance_country_id="1", "#,
                r#"__meta_eureka_app_instance_datacenterinfo_name="MyOwn", "#,
                r#"__meta_eureka_app_instance_homepage_url="http://meta1:8080/", "#,
                r#"__meta_eureka_app_instance_hostname="meta1", __meta_eureka_app_instance_id="i:1", "#,
                r#"__meta_eureka_app_instance_ip_addr="10.0.0.1", "#,
                r#"__meta_eureka_app_instance_metadata_management_port="8090", "#,
                r#"__meta_eureka_app_instance_port="8080", __meta_eureka_app_instance_port_enabled="true", "#,
                r#"__meta_eureka_app_instance_secure_port="443", "#,
                r#"__meta_eureka_app_instance_secure_port_enabled="false", "#,
                r#"__meta_eureka_app_instance_status="UP", __meta_eureka_app_name="META", instance="i:1"}"#
            )]
        );
    }
}
