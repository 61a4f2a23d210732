//! network_route: routes of the machine, by netlink.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::netlink::{self, Route};
use crate::sheet::Sheet;
use crate::{CollectError, Options, Source};

/// `include/uapi/linux/rtnetlink.h`
const PROTOCOLS: [(u8, &str); 22] = [
    (0, "unspec"),
    (1, "redirect"),
    (2, "kernel"),
    (3, "boot"),
    (4, "static"),
    (8, "gated"),
    (9, "ra"),
    (10, "mrt"),
    (11, "zebra"),
    (12, "bird"),
    (13, "dnrouted"),
    (14, "xorp"),
    (15, "ntk"),
    (16, "dhcp"),
    (17, "mrouted"),
    (42, "babel"),
    (186, "bgp"),
    (187, "isis"),
    (188, "ospf"),
    (189, "rip"),
    (192, "eigrp"),
    (255, "unknown"),
];

pub(crate) fn collect(_: &Source, _: &Options, sheet: &mut Sheet) -> Result<(), CollectError> {
    let links = netlink::links()?;
    write(&netlink::routes()?, &links, sheet);
    Ok(())
}

fn write(routes: &[Route], links: &BTreeMap<u32, String>, sheet: &mut Sheet) {
    let text = |ip: Option<IpAddr>| ip.map(|ip| ip.to_string()).unwrap_or_default();
    let mut counts: BTreeMap<&str, u32> = BTreeMap::new();
    for route in routes {
        let protocol = PROTOCOLS.iter().find(|(id, _)| *id == route.protocol);
        for hop in &route.hops {
            let device = links.get(&hop.device).map_or("", String::as_str);
            *counts.entry(device).or_default() += 1;
            let weight = hop.weight.map(|weight| weight.to_string());
            sheet.gauge(
                "node_network_route_info",
                "network routing table information",
                &[
                    ("device", device),
                    ("src", &text(route.source)),
                    ("dest", &destination(route)),
                    ("gw", &text(hop.gateway)),
                    ("priority", &route.priority.to_string()),
                    ("proto", protocol.map_or("unknown", |(_, name)| name)),
                    ("weight", &weight.unwrap_or_default()),
                ],
                1.0,
            );
        }
    }
    for (device, count) in counts {
        sheet.gauge(
            "node_network_routes",
            "network routes by interface",
            &[("device", device)],
            f64::from(count),
        );
    }
}

/// The network with its length, or `default`.
fn destination(route: &Route) -> String {
    let prefix = u32::from(route.prefix);
    match route.destination {
        Some(IpAddr::V4(v4)) if prefix > 0 => {
            let mask = u32::MAX.checked_shl(32_u32.saturating_sub(prefix));
            let network = Ipv4Addr::from(u32::from(v4) & mask.unwrap_or_default());
            format!("{network}/{prefix}")
        }
        Some(IpAddr::V6(v6)) if prefix > 0 => {
            let mask = u128::MAX.checked_shl(128_u32.saturating_sub(prefix));
            let network = Ipv6Addr::from(u128::from(v6) & mask.unwrap_or_default());
            format!("{network}/{prefix}")
        }
        Some(_) | None => "default".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn destinations_are_networks() {
        for (address, prefix, expect) in [
            (Some("10.1.2.3"), 16, "10.1.0.0/16"),
            (Some("10.1.2.3"), 32, "10.1.2.3/32"),
            (Some("2001:db8::1"), 32, "2001:db8::/32"),
            (None, 0, "default"),
            (Some("0.0.0.0"), 0, "default"),
        ] {
            let route = Route {
                destination: address.map(|a| a.parse().unwrap()),
                prefix,
                ..Route::default()
            };
            assert_eq!(destination(&route), expect);
        }
    }
}
