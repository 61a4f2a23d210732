//! `ec2_sd_configs`: instances in one region of Amazon's cloud. Without a key in the configuration
//! it asks as whoever [`crate::aws`] finds.

use std::collections::{BTreeMap, BTreeSet};

use obs_model::{Labels, TargetGroup};
use obs_wire::sigv4::Credentials;
use obs_wire::xml::Element;

use super::super::poll::{Meta, host_port, sanitize};
use super::PAGES_MAX;
use crate::aws::{Asker, domain};
use crate::clock;
use crate::config::clouds::Ec2Settings;
use crate::http_client::configured::HttpClient;

/// The version of the API for instances.
const VERSION: &str = "2016-11-15";

pub(super) async fn ask(
    client: &HttpClient,
    settings: &Ec2Settings,
    port: u16,
) -> Result<Vec<TargetGroup>, String> {
    let mut asker = Asker {
        client,
        from: &settings.from,
        region: "",
        now: clock::now(),
    };
    let region = match (settings.region.is_empty(), settings.from.region()) {
        (false, _) => settings.region.clone(),
        (true, Some(told)) => told,
        (true, None) => asker.machines_region().await?,
    };
    asker.region = &region;
    let own = credentials(&asker, settings).await?;
    let endpoint = settings.endpoint.clone();
    let endpoint = endpoint.unwrap_or_else(|| format!("https://ec2.{region}.{}/", domain(&region)));
    let zones = zones(&asker, &own, &endpoint).await;
    let zones = zones.unwrap_or_else(|fault| {
        // As Prometheus: the identifiers of zones are then not told.
        tracing::debug!(discovery = "ec2", error = %fault, "availability zones are not known");
        BTreeMap::new()
    });
    let (mut targets, mut next) = (Vec::new(), String::new());
    for _ in 0..PAGES_MAX {
        let mut form = vec![("Action".to_owned(), "DescribeInstances".to_owned())];
        for (number, filter) in settings.filters.iter().enumerate() {
            let name = format!("Filter.{}", number + 1);
            form.push((format!("{name}.Name"), filter.name.clone()));
            let values = filter.values.iter().enumerate();
            form.extend(values.map(|(n, v)| (format!("{name}.Value.{}", n + 1), v.clone())));
        }
        if !next.is_empty() {
            form.push(("NextToken".to_owned(), next));
        }
        let service = ("ec2", VERSION, Some(&own));
        let page = asker.post(&endpoint, service, form).await?;
        for reservation in page.items("reservationSet", "item") {
            let owner = reservation.at(&["ownerId"]);
            let instances = reservation.items("instancesSet", "item");
            targets.extend(instances.filter_map(|i| labels(i, owner, (&region, &zones), port)));
        }
        next = page.at(&["nextToken"]).to_owned();
        if next.is_empty() {
            return Ok(super::group(&region, targets));
        }
    }
    Err(format!("more than {PAGES_MAX} pages"))
}

/// Whose instances are told of.
async fn credentials(asker: &Asker<'_>, settings: &Ec2Settings) -> Result<Credentials, String> {
    let own = match &settings.key {
        Some((name, text)) => Credentials {
            access_key: name.clone(),
            secret_key: text.reveal().to_owned(),
            session_token: String::new(),
        },
        None => asker.find(&settings.profile).await?,
    };
    match &settings.role {
        Some((role, external)) => asker.assume(&own, (role, external, None)).await,
        None => Ok(own),
    }
}

/// The identifiers of zones by their names.
async fn zones(
    asker: &Asker<'_>,
    own: &Credentials,
    endpoint: &str,
) -> Result<BTreeMap<String, String>, String> {
    let form = vec![("Action".to_owned(), "DescribeAvailabilityZones".to_owned())];
    let service = ("ec2", VERSION, Some(own));
    let answer = asker.post(endpoint, service, form).await?;
    let zones = answer.items("availabilityZoneInfo", "item");
    let pair = |zone: &Element| {
        let at = |name: &str| zone.at(&[name]).to_owned();
        (at("zoneName"), at("zoneId"))
    };
    Ok(zones.map(pair).collect())
}

/// An instance without an address of its own is no target.
fn labels(
    instance: &Element,
    owner: &str,
    (region, zones): (&str, &BTreeMap<String, String>),
    port: u16,
) -> Option<Labels> {
    let at = |path: &[&str]| instance.at(path);
    let private = at(&["privateIpAddress"]);
    if private.is_empty() {
        return None;
    }
    let mut meta = Meta::default();
    let mut set = |name: &str, value: &str| {
        meta.set(format!("__meta_ec2_{name}"), value);
    };
    set("region", region);
    set("owner_id", owner);
    set("private_ip", private);
    for (name, path) in [
        ("instance_id", &["instanceId"][..]),
        ("private_dns_name", &["privateDnsName"]),
        ("platform", &["platform"]),
        ("ami", &["imageId"]),
        ("availability_zone", &["placement", "availabilityZone"]),
        ("instance_state", &["instanceState", "name"]),
        ("instance_type", &["instanceType"]),
        ("instance_lifecycle", &["instanceLifecycle"]),
        ("architecture", &["architecture"]),
        ("vpc_id", &["vpcId"]),
    ] {
        set(name, at(path));
    }
    let zone = zones.get(at(&["placement", "availabilityZone"]));
    set("availability_zone_id", zone.map_or("", String::as_str));
    let public = at(&["ipAddress"]);
    if !public.is_empty() {
        set("public_ip", public);
        set("public_dns_name", at(&["dnsName"]));
    }
    if !at(&["vpcId"]).is_empty() {
        networks(instance, &mut set);
    }
    for tag in instance.items("tagSet", "item") {
        let key = tag.at(&["key"]);
        if !key.is_empty() {
            set(&format!("tag_{}", sanitize(key)), tag.at(&["value"]));
        }
    }
    meta.set("__address__", host_port(private, port));
    Some(meta.labels())
}

fn networks(instance: &Element, set: &mut impl FnMut(&str, &str)) {
    set("primary_subnet_id", instance.at(&["subnetId"]));
    let (mut seen, mut subnets) = (BTreeSet::new(), Vec::new());
    let (mut addresses, mut primary) = (Vec::new(), Vec::new());
    for interface in instance.items("networkInterfaceSet", "item") {
        let subnet = interface.at(&["subnetId"]);
        if !subnet.is_empty() && seen.insert(subnet) {
            subnets.push(subnet);
        }
        for address in interface.items("ipv6AddressesSet", "item") {
            addresses.push(address.at(&["ipv6Address"]));
            if address.at(&["isPrimaryIpv6"]) == "true" {
                primary.push(address.at(&["ipv6Address"]));
            }
        }
    }
    for (name, all) in [
        ("subnet_id", subnets),
        ("ipv6_addresses", addresses),
        ("primary_ipv6_addresses", primary),
    ] {
        if !all.is_empty() {
            set(name, &format!(",{},", all.join(",")));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::poll::tests::{Recorded, lines};
    use super::super::ask;
    use super::super::tests::settings;
    use crate::config::clouds::PolledApi;

    const ZONES: &str = "<DescribeAvailabilityZonesResponse><availabilityZoneInfo><item>\
        <zoneName>eu-a</zoneName><zoneId>euc1-az2</zoneId></item></availabilityZoneInfo></DescribeAvailabilityZonesResponse>";
    const ONE: &str = "<DescribeInstancesResponse xmlns=\"http://ec2\"><reservationSet><item><ownerId>77</ownerId>\
        <instancesSet><item><instanceId>i-1</instanceId><imageId>ami-1</imageId>\
        <instanceState><code>16</code><name>running</name></instanceState><privateDnsName>ip-10</privateDnsName>\
        <dnsName>ec2-1</dnsName><instanceType>t3.micro</instanceType><architecture>x86_64</architecture>\
        <placement><availabilityZone>eu-a</availabilityZone></placement><subnetId>s-1</subnetId><vpcId>vpc-1</vpcId>\
        <privateIpAddress>10.0.0.1</privateIpAddress><ipAddress>1.2.3.4</ipAddress>\
        <networkInterfaceSet><item><subnetId>s-1</subnetId><ipv6AddressesSet><item><ipv6Address>2001::1</ipv6Address>\
        <isPrimaryIpv6>true</isPrimaryIpv6></item></ipv6AddressesSet></item><item><subnetId>s-2</subnetId></item></networkInterfaceSet>\
        <tagSet><item><key>Name</key><value>web &amp; co</value></item><item><key>a:b</key><value>c</value></item></tagSet>\
        </item></instancesSet></item></reservationSet><nextToken>more</nextToken></DescribeInstancesResponse>";
    const LAST: &str = "<DescribeInstancesResponse><reservationSet><item><instancesSet>\
        <item><instanceId>i-2</instanceId></item></instancesSet></item></reservationSet></DescribeInstancesResponse>";

    #[tokio::test]
    async fn instances_of_a_region() {
        let server = Recorded::start(&[("/", ZONES), ("/", ONE), ("/", LAST)]).await;
        let yaml = format!(
            "ec2_sd_configs: [{{endpoint: '{}', region: eu-central-1, access_key: a, secret_key: s, \
             filters: [{{name: 'tag:x', values: [y, z]}}]}}]",
            server.url
        );
        let groups = ask(&settings(&yaml, |_| ())).await.expect("groups");
        assert_eq!(&*groups[0].source, "eu-central-1");
        assert_eq!(
            lines(&groups),
            [concat!(
                r#"{__address__="10.0.0.1:80", __meta_ec2_ami="ami-1", __meta_ec2_architecture="x86_64", "#,
                r#"__meta_ec2_availability_zone="eu-a", __meta_ec2_availability_zone_id="euc1-az2", "#,
                r#"__meta_ec2_instance_id="i-1", __meta_ec2_instance_state="running", "#,
                r#"__meta_ec2_instance_type="t3.micro", __meta_ec2_ipv6_addresses=",2001::1,", "#,
                r#"__meta_ec2_owner_id="77", __meta_ec2_primary_ipv6_addresses=",2001::1,", "#,
                r#"__meta_ec2_primary_subnet_id="s-1", __meta_ec2_private_dns_name="ip-10", "#,
                r#"__meta_ec2_private_ip="10.0.0.1", __meta_ec2_public_dns_name="ec2-1", "#,
                r#"__meta_ec2_public_ip="1.2.3.4", __meta_ec2_region="eu-central-1", "#,
                r#"__meta_ec2_subnet_id=",s-1,s-2,", __meta_ec2_tag_Name="web & co", "#,
                r#"__meta_ec2_tag_a_b="c", __meta_ec2_vpc_id="vpc-1"}"#
            )]
        );
        let asked = server.bodies.lock().expect("not poisoned");
        assert_eq!(
            asked[2],
            "Action=DescribeInstances&Filter.1.Name=tag%3Ax&Filter.1.Value.1=y&Filter.1.Value.2=z\
             &NextToken=more&Version=2016-11-15"
        );
        let headers = server.headers.lock().expect("not poisoned");
        let authorization = headers[2]["authorization"].to_str().expect("text");
        assert!(
            authorization.starts_with("AWS4-HMAC-SHA256 Credential=a/")
                && authorization.contains("/eu-central-1/ec2/aws4_request"),
            "{authorization}"
        );
    }

    #[tokio::test]
    async fn the_role_of_the_machine_takes_on_another() {
        let path = "/latest/meta-data/iam/security-credentials/";
        let role =
            r#"{"Code": "Success", "AccessKeyId": "m", "SecretAccessKey": "s", "Token": "t"}"#;
        let taken = "<AssumeRoleResponse><AssumeRoleResult><Credentials><AccessKeyId>r</AccessKeyId>\
            <SecretAccessKey>s</SecretAccessKey><SessionToken>st</SessionToken></Credentials></AssumeRoleResult></AssumeRoleResponse>";
        let answers = [
            ("/latest/api/token", "session"),
            ("/latest/meta-data/placement/region", "eu-west-1"),
            (path, "node\n"),
            ("/latest/meta-data/iam/security-credentials/node", role),
            ("/sts", taken),
            ("/", ZONES),
            ("/", LAST),
        ];
        let server = Recorded::start(&answers).await;
        let yaml = "ec2_sd_configs: [{role_arn: 'arn:x', external_id: e}]";
        let settings = settings(yaml, |api| {
            let PolledApi::Ec2(ec2) = api else {
                panic!("{api:?}");
            };
            ec2.from.variables = Some(Default::default());
            ec2.from.machine = server.url.clone();
            ec2.endpoint = Some(format!("{}/", server.url));
            ec2.from.roles = Some(format!("{}/sts", server.url));
        });
        let groups = ask(&settings).await.expect("groups");
        assert_eq!(
            (&*groups[0].source, groups[0].targets.len()),
            ("eu-west-1", 0)
        );
        let headers = server.headers.lock().expect("not poisoned");
        let last = headers.last().expect("questions");
        assert_eq!(last["x-amz-security-token"], "st");
        assert_eq!(headers[1]["x-aws-ec2-metadata-token"], "session");
    }
}
