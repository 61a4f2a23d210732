//! What is told by netlink only: links by index, addresses, routes, queueing disciplines.
//!
//! Invariant: decoding never trusts a length of a message; one that reaches over its end is cut.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

use crate::CollectError;

const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
/// `NLM_F_REQUEST | NLM_F_DUMP`
const DUMP_FLAGS: u16 = 0x301;
const HEADER_BYTES: usize = 16;
/// Bytes of one datagram; the kernel sends at most 32 KiB.
const DATAGRAM_BYTES_MAX: usize = 64 << 10;
/// Bytes of one dump. A route has about 100 bytes, a full BGP table a million of them.
const DUMP_BYTES_MAX: usize = 256 << 20;
/// The kernel answers at once.
const TIMEOUT: Duration = Duration::from_secs(5);

/// One message: its type and what follows its header.
pub(super) type Message<'a> = (u16, &'a [u8]);

/// Asks for everything of a kind; `family_bytes` is the size of the kind's own header.
fn dump(kind: u16, family_bytes: usize) -> Result<Vec<u8>, CollectError> {
    let fault = |errno: rustix::io::Errno| CollectError::system("netlink", errno);
    let socket = rustix::net::socket_with(
        AddressFamily::NETLINK,
        SocketType::RAW,
        SocketFlags::CLOEXEC,
        None,
    );
    let socket = socket.map_err(fault)?;
    set_socket_timeout(&socket, Timeout::Recv, Some(TIMEOUT)).map_err(fault)?;
    let mut request = Vec::with_capacity(HEADER_BYTES + family_bytes);
    let length = u32::try_from(HEADER_BYTES + family_bytes).unwrap_or_default();
    request.extend_from_slice(&length.to_ne_bytes());
    request.extend_from_slice(&kind.to_ne_bytes());
    request.extend_from_slice(&DUMP_FLAGS.to_ne_bytes());
    request.resize(HEADER_BYTES + family_bytes, 0);
    let kernel = SocketAddrNetlink::new(0, 0);
    rustix::net::sendto(&socket, &request, SendFlags::empty(), &kernel).map_err(fault)?;
    let mut all = Vec::new();
    let mut datagram = vec![0; DATAGRAM_BYTES_MAX];
    loop {
        let received = rustix::net::recv(&socket, &mut datagram[..], RecvFlags::empty());
        let (length, _) = received.map_err(fault)?;
        let bytes = datagram.get(..length).unwrap_or_default();
        let end = messages(bytes).find(|(kind, _)| [NLMSG_DONE, NLMSG_ERROR].contains(kind));
        all.extend_from_slice(bytes);
        match end {
            Some((NLMSG_ERROR, body)) => {
                let errno = i32::from_ne_bytes(*body.first_chunk().unwrap_or(&[0; 4]));
                let error = std::io::Error::from_raw_os_error(-errno);
                return Err(CollectError::system("netlink", error));
            }
            Some(_) => return Ok(all),
            None if bytes.is_empty() || all.len() > DUMP_BYTES_MAX => {
                let error = std::io::Error::other("the answer does not end");
                return Err(CollectError::system("netlink", error));
            }
            None => {}
        }
    }
}

/// The messages of an answer.
pub(super) fn messages(bytes: &[u8]) -> impl Iterator<Item = Message<'_>> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let length = u32::from_ne_bytes(*rest.first_chunk()?) as usize;
        let kind = u16::from_ne_bytes(*rest.get(4..)?.first_chunk()?);
        let body = rest.get(HEADER_BYTES..length.min(rest.len()))?;
        rest = rest.get(aligned(length)..).unwrap_or_default();
        Some((kind, body))
    })
}

/// Attributes by type.
pub(super) fn attributes(bytes: &[u8]) -> impl Iterator<Item = Message<'_>> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let length = usize::from(u16::from_ne_bytes(*rest.first_chunk()?));
        let kind = u16::from_ne_bytes(*rest.get(2..)?.first_chunk()?);
        let body = rest.get(4..length.min(rest.len()))?;
        rest = rest.get(aligned(length)..).unwrap_or_default();
        // The two highest bits say that it is nested or in network order.
        Some((kind & 0x3fff, body))
    })
}

fn aligned(length: usize) -> usize {
    length.saturating_add(3) & !3
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

fn ip(bytes: &[u8]) -> Option<IpAddr> {
    if let Ok(v4) = <[u8; 4]>::try_from(bytes) {
        return Some(IpAddr::from(v4));
    }
    Some(IpAddr::from(<[u8; 16]>::try_from(bytes).ok()?))
}

/// Names of devices by their index.
pub(super) fn links() -> Result<BTreeMap<u32, String>, CollectError> {
    // RTM_GETLINK, ifinfomsg
    Ok(decode_links(&dump(18, 16)?))
}

fn decode_links(bytes: &[u8]) -> BTreeMap<u32, String> {
    let mut all = BTreeMap::new();
    for (_, body) in messages(bytes).filter(|(kind, _)| *kind == 16) {
        let index = u32_at(body, 4);
        let name = attributes(body.get(16..).unwrap_or_default()).find(|(kind, _)| *kind == 3);
        if let (Some(index), Some((_, name))) = (index, name) {
            all.insert(index, text(name));
        }
    }
    all
}

/// An address of a device.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Address {
    pub(super) device: u32,
    pub(super) address: IpAddr,
    pub(super) prefix: u8,
}

pub(super) fn addresses() -> Result<Vec<Address>, CollectError> {
    // RTM_GETADDR, ifaddrmsg
    Ok(decode_addresses(&dump(22, 8)?))
}

fn decode_addresses(bytes: &[u8]) -> Vec<Address> {
    let mut all = Vec::new();
    for (_, body) in messages(bytes).filter(|(kind, _)| *kind == 20) {
        let rest = body.get(8..).unwrap_or_default();
        let find = |wanted: u16| attributes(rest).find(|(kind, _)| *kind == wanted);
        // IFA_LOCAL is the own end of a point-to-point link, IFA_ADDRESS the other.
        let address = find(2).or_else(|| find(1)).and_then(|(_, bytes)| ip(bytes));
        let prefix = body.get(1).copied();
        if let (Some(device), Some(address), Some(prefix)) = (u32_at(body, 4), address, prefix) {
            all.push(Address {
                device,
                address,
                prefix,
            });
        }
    }
    all
}

/// Go's words for where an address reaches.
pub(super) fn scope(address: IpAddr) -> &'static str {
    let (link_local, interface_local) = match address {
        IpAddr::V4(v4) => {
            let multicast = matches!(v4.octets(), [224, 0, 0, _]);
            (v4.is_link_local() || multicast, false)
        }
        IpAddr::V6(v6) => {
            let first = v6.segments()[0];
            let link = first & 0xffc0 == 0xfe80 || first & 0xff0f == 0xff02;
            (link, first & 0xff0f == 0xff01)
        }
    };
    let none = match address {
        IpAddr::V4(v4) => v4.is_unspecified() || v4.is_broadcast() || v4.is_multicast(),
        IpAddr::V6(v6) => v6.is_unspecified() || v6.is_multicast(),
    };
    if address.is_loopback() || link_local {
        "link-local"
    } else if interface_local {
        "interface-local"
    } else if none {
        ""
    } else {
        "global"
    }
}

/// A way out of a route.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Hop {
    pub(super) device: u32,
    pub(super) gateway: Option<IpAddr>,
    /// Only where a route has several ways.
    pub(super) weight: Option<u32>,
}

/// A route of the unicast type.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Route {
    pub(super) source: Option<IpAddr>,
    pub(super) destination: Option<IpAddr>,
    pub(super) prefix: u8,
    pub(super) protocol: u8,
    pub(super) priority: u32,
    pub(super) hops: Vec<Hop>,
}

pub(super) fn routes() -> Result<Vec<Route>, CollectError> {
    // RTM_GETROUTE, rtmsg
    Ok(decode_routes(&dump(26, 12)?))
}

fn decode_routes(bytes: &[u8]) -> Vec<Route> {
    const UNICAST: u8 = 1;
    let mut all = Vec::new();
    for (_, body) in messages(bytes).filter(|(kind, _)| *kind == 24) {
        if body.get(7) != Some(&UNICAST) {
            continue;
        }
        let mut route = Route {
            prefix: body[1],
            protocol: body[5],
            ..Route::default()
        };
        let mut hop = Hop::default();
        for (kind, value) in attributes(body.get(12..).unwrap_or_default()) {
            match kind {
                1 => route.destination = ip(value),
                4 => hop.device = u32_at(value, 0).unwrap_or_default(),
                5 => hop.gateway = ip(value),
                6 => route.priority = u32_at(value, 0).unwrap_or_default(),
                7 => route.source = ip(value),
                9 => route.hops = multipath(value),
                _ => {}
            }
        }
        if route.hops.is_empty() {
            route.hops.push(hop);
        }
        all.push(route);
    }
    all
}

/// `rtnexthop`: length, flags, hops, device, attributes.
fn multipath(bytes: &[u8]) -> Vec<Hop> {
    let mut hops = Vec::new();
    let mut rest = bytes;
    while let Some(length) = rest
        .first_chunk()
        .map(|l| usize::from(u16::from_ne_bytes(*l)))
    {
        let Some(body) = rest.get(..length).filter(|body| body.len() >= 8) else {
            break;
        };
        let gateway = attributes(&body[8..]).find(|(kind, _)| *kind == 5);
        hops.push(Hop {
            device: u32_at(body, 4).unwrap_or_default(),
            gateway: gateway.and_then(|(_, bytes)| ip(bytes)),
            weight: Some(u32::from(body[3]) + 1),
        });
        rest = rest.get(aligned(length)..).unwrap_or_default();
    }
    hops
}

/// A queueing discipline at the root of a device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Qdisc {
    pub(super) device: u32,
    pub(super) kind: String,
    pub(super) bytes: u64,
    pub(super) packets: u32,
    pub(super) drops: u32,
    pub(super) requeues: u32,
    pub(super) overlimits: u32,
    pub(super) length: u32,
    pub(super) backlog: u32,
}

pub(super) fn qdiscs() -> Result<Vec<Qdisc>, CollectError> {
    // RTM_GETQDISC, tcmsg
    Ok(decode_qdiscs(&dump(38, 20)?))
}

fn decode_qdiscs(bytes: &[u8]) -> Vec<Qdisc> {
    /// `TC_H_ROOT`
    const ROOT: u32 = u32::MAX;
    let mut all = Vec::new();
    for (_, body) in messages(bytes).filter(|(kind, _)| *kind == 36) {
        let (Some(device), Some(ROOT | 0)) = (u32_at(body, 4), u32_at(body, 12)) else {
            continue;
        };
        let mut qdisc = Qdisc {
            device,
            ..Qdisc::default()
        };
        let mut newer = false;
        for (kind, value) in attributes(body.get(20..).unwrap_or_default()) {
            match kind {
                1 => qdisc.kind = text(value),
                // The old form, which TCA_STATS2 overrides.
                3 if !newer => old_statistics(value, &mut qdisc),
                7 => {
                    newer = true;
                    statistics(value, &mut qdisc);
                }
                _ => {}
            }
        }
        all.push(qdisc);
    }
    all
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn old_statistics(bytes: &[u8], qdisc: &mut Qdisc) {
    let number = |at: usize| u32_at(bytes, at).unwrap_or_default();
    qdisc.bytes = u64_at(bytes, 0).unwrap_or_default();
    (qdisc.packets, qdisc.drops, qdisc.overlimits) = (number(8), number(12), number(16));
    (qdisc.length, qdisc.backlog) = (number(28), number(32));
}

fn statistics(bytes: &[u8], qdisc: &mut Qdisc) {
    for (kind, value) in attributes(bytes) {
        let number = |at: usize| u32_at(value, at).unwrap_or_default();
        match kind {
            1 => {
                qdisc.bytes = u64_at(value, 0).unwrap_or_default();
                qdisc.packets = number(8);
            }
            3 => {
                (qdisc.length, qdisc.backlog, qdisc.drops) = (number(0), number(4), number(8));
                (qdisc.requeues, qdisc.overlimits) = (number(12), number(16));
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn attribute(kind: u16, body: &[u8]) -> Vec<u8> {
        let length = u16::try_from(4 + body.len()).unwrap();
        let mut out = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
        out.extend_from_slice(body);
        out.resize(out.len().next_multiple_of(4), 0);
        out
    }

    fn message(kind: u16, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(HEADER_BYTES + body.len()).unwrap();
        let mut out = length.to_ne_bytes().to_vec();
        out.extend_from_slice(&kind.to_ne_bytes());
        out.resize(HEADER_BYTES, 0);
        out.extend_from_slice(body);
        out
    }

    #[test]
    fn links_and_addresses() {
        let mut link = vec![0; 16];
        link[4] = 7;
        link.extend(attribute(3, b"eth0\0"));
        assert_eq!(
            decode_links(&message(16, &link)),
            [(7, "eth0".to_owned())].into()
        );
        let mut address = vec![2, 24, 0, 0, 7, 0, 0, 0];
        address.extend(attribute(1, &[10, 0, 0, 1]));
        address.extend(attribute(2, &[10, 0, 0, 2]));
        let expect = Address {
            device: 7,
            address: IpAddr::from([10, 0, 0, 2]),
            prefix: 24,
        };
        assert_eq!(decode_addresses(&message(20, &address)), [expect]);
    }

    #[test]
    fn routes_with_one_and_several_ways() {
        let head = [2, 16, 0, 0, 254, 4, 0, 1, 0, 0, 0, 0];
        let mut one = head.to_vec();
        one.extend(attribute(1, &[10, 1, 0, 0]));
        one.extend(attribute(4, &3_u32.to_ne_bytes()));
        one.extend(attribute(5, &[10, 0, 0, 1]));
        one.extend(attribute(6, &100_u32.to_ne_bytes()));
        let route = decode_routes(&message(24, &one)).remove(0);
        assert_eq!((route.prefix, route.protocol, route.priority), (16, 4, 100));
        assert_eq!(route.hops[0].device, 3);
        assert_eq!(route.hops[0].gateway, Some(IpAddr::from([10, 0, 0, 1])));
        let hop = |device: u32, last: u8| {
            let gateway = attribute(5, &[10, 0, 0, last]);
            let length = u16::try_from(8 + gateway.len()).unwrap();
            let mut out = length.to_ne_bytes().to_vec();
            out.extend([0, 4]);
            out.extend(device.to_ne_bytes());
            out.extend(gateway);
            out
        };
        let mut several = head.to_vec();
        several.extend(attribute(9, &[hop(3, 1), hop(4, 2)].concat()));
        let route = decode_routes(&message(24, &several)).remove(0);
        let devices: Vec<u32> = route.hops.iter().map(|hop| hop.device).collect();
        assert_eq!(devices, [3, 4]);
        assert_eq!(route.hops[1].weight, Some(5));
    }

    #[test]
    fn disciplines_at_the_root() {
        let qdisc = |parent: u32| {
            let mut body = vec![0; 20];
            body[4] = 2;
            body[12..16].copy_from_slice(&parent.to_ne_bytes());
            body.extend(attribute(1, b"fq\0"));
            let mut basic = 1000_u64.to_ne_bytes().to_vec();
            basic.extend(10_u32.to_ne_bytes());
            let queue: Vec<u8> = [1_u32, 2, 3, 4, 5]
                .iter()
                .flat_map(|n| n.to_ne_bytes())
                .collect();
            let nested = [attribute(1, &basic), attribute(3, &queue)].concat();
            body.extend(attribute(7, &nested));
            message(36, &body)
        };
        let all = decode_qdiscs(&[qdisc(u32::MAX), qdisc(5)].concat());
        let expect = Qdisc {
            device: 2,
            kind: "fq".to_owned(),
            bytes: 1000,
            packets: 10,
            length: 1,
            backlog: 2,
            drops: 3,
            requeues: 4,
            overlimits: 5,
        };
        assert_eq!(all, [expect]);
    }

    #[test]
    fn scopes_are_gos() {
        for (address, expect) in [
            ("127.0.0.1", "link-local"),
            ("::1", "link-local"),
            ("169.254.1.1", "link-local"),
            ("fe80::1", "link-local"),
            ("10.0.0.1", "global"),
            ("2001:db8::1", "global"),
            ("ff01::1", "interface-local"),
            ("0.0.0.0", ""),
        ] {
            assert_eq!(scope(address.parse().unwrap()), expect, "{address}");
        }
    }

    #[test]
    fn this_machine_has_a_loopback() {
        let links = links().unwrap();
        assert!(links.values().any(|name| name == "lo"), "{links:?}");
        let loopback = IpAddr::from([127, 0, 0, 1]);
        assert!(addresses().unwrap().iter().any(|a| a.address == loopback));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]
        #[test]
        fn arbitrary_bytes_do_not_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            for kind in [16, 20, 24, 36] {
                let framed = message(kind, &bytes);
                decode_links(&framed);
                decode_addresses(&framed);
                decode_routes(&framed);
                prop_assert!(decode_qdiscs(&framed).len() <= 1);
            }
            prop_assert!(messages(&bytes).count() <= bytes.len());
        }
    }
}
