//! ICMP: an echo, over a socket for datagrams where the system allows it, else over a raw one.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket as StdSocket};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UdpSocket;
use tokio::time::Instant;

use super::module::Icmp;
use super::net::{self, Preference};
use super::report::Report;
use crate::clock;

const DURATION: &str = "probe_icmp_duration_seconds";
const DURATION_HELP: &str = "Duration of icmp request by phase";
/// What is sent where the module does not say how much.
const PAYLOAD: &[u8] = b"obs probe";
/// Most bytes of a payload: with both headers a datagram of IPv4.
const PAYLOAD_BYTES_MAX: usize = 65_507;

pub(super) async fn probe(
    target: &str,
    config: &Icmp,
    report: &mut Report,
) -> Result<bool, String> {
    for phase in ["resolve", "setup", "rtt"] {
        report.phase(DURATION, DURATION_HELP, phase, 0.0);
    }
    let preference = Preference {
        protocol: config.preferred_ip_protocol,
        fallback: config.ip_protocol_fallback.unwrap_or(true),
    };
    let (ip, took) = net::resolve(target, preference, report).await?;
    report.phase(DURATION, DURATION_HELP, "resolve", took);
    let begin = Instant::now();
    let (socket, raw) = open(ip, config)?;
    let (id, sequence) = ((clock::now().nanos() >> 20) as u16, 1);
    let packet = echo(ip, (id, sequence), config)?;
    report.phase(
        DURATION,
        DURATION_HELP,
        "setup",
        begin.elapsed().as_secs_f64(),
    );
    let lost = |e: std::io::Error| format!("error writing to socket: {e}");
    let begin = Instant::now();
    socket
        .send_to(&packet, SocketAddr::new(ip, 0))
        .await
        .map_err(lost)?;
    let mut buffer = vec![0; 65_535];
    loop {
        let (count, from) = socket.recv_from(&mut buffer).await.map_err(lost)?;
        if from.ip() != ip {
            continue;
        }
        let Some((hops, reply)) = content(&buffer[..count], ip, raw) else {
            continue;
        };
        if is_answer(reply, &packet, ip, raw) {
            report.phase(
                DURATION,
                DURATION_HELP,
                "rtt",
                begin.elapsed().as_secs_f64(),
            );
            if let Some(hops) = hops {
                let help = "Replied packet hop limit (TTL for ipv4)";
                report.set("probe_icmp_reply_hop_limit", help, f64::from(hops));
            }
            return Ok(true);
        }
    }
}

fn open(ip: IpAddr, config: &Icmp) -> Result<(UdpSocket, bool), String> {
    let fault = |e: std::io::Error| format!("error listening to socket: {e}");
    let (domain, protocol, any) = match ip {
        IpAddr::V4(_) => (
            Domain::IPV4,
            Protocol::ICMPV4,
            IpAddr::from(Ipv4Addr::UNSPECIFIED),
        ),
        IpAddr::V6(_) => (
            Domain::IPV6,
            Protocol::ICMPV6,
            IpAddr::from(Ipv6Addr::UNSPECIFIED),
        ),
    };
    let (socket, raw) = match Socket::new(domain, Type::DGRAM, Some(protocol)) {
        Ok(socket) => (socket, false),
        Err(_) => (
            Socket::new(domain, Type::RAW, Some(protocol)).map_err(fault)?,
            true,
        ),
    };
    let from = SocketAddr::new(config.source_ip_address.unwrap_or(any), 0);
    socket.bind(&from.into()).map_err(fault)?;
    if let Some(hops) = config.ttl {
        let set = match ip {
            IpAddr::V4(_) => socket.set_ttl_v4(hops),
            IpAddr::V6(_) => socket.set_unicast_hops_v6(hops),
        };
        set.map_err(fault)?;
    }
    if config.dont_fragment {
        if ip.is_ipv6() {
            return Err("dont_fragment is for IPv4 only".to_owned());
        }
        let value = rustix::net::sockopt::Ipv4PathMtuDiscovery::DO;
        let set = rustix::net::sockopt::set_ip_mtu_discover(&socket, value);
        set.map_err(|e| fault(e.into()))?;
    }
    socket.set_nonblocking(true).map_err(fault)?;
    let socket = UdpSocket::from_std(StdSocket::from(socket));
    Ok((socket.map_err(fault)?, raw))
}

fn echo(ip: IpAddr, (id, sequence): (u16, u16), config: &Icmp) -> Result<Vec<u8>, String> {
    if config.payload_size > PAYLOAD_BYTES_MAX {
        return Err(format!("payload_size is at most {PAYLOAD_BYTES_MAX}"));
    }
    let mut packet = vec![if ip.is_ipv4() { 8 } else { 128 }, 0, 0, 0];
    packet.extend(id.to_be_bytes());
    packet.extend(sequence.to_be_bytes());
    match config.payload_size {
        0 => packet.extend(PAYLOAD),
        size => packet.resize(8 + size, 0),
    }
    // The kernel sums up for IPv6, whose sum has addresses in it.
    if ip.is_ipv4() {
        let sum = checksum(&packet).to_be_bytes();
        packet[2..4].copy_from_slice(&sum);
    }
    Ok(packet)
}

/// RFC 1071.
fn checksum(packet: &[u8]) -> u16 {
    let words = packet.chunks(2);
    let sum = words.map(|w| u32::from(w[0]) << 8 | u32::from(w.get(1).copied().unwrap_or(0)));
    let mut sum: u32 = sum.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// The message behind the header of IPv4 that raw sockets give, and the hops that were left.
fn content(bytes: &[u8], ip: IpAddr, raw: bool) -> Option<(Option<u8>, &[u8])> {
    if !raw || ip.is_ipv6() {
        return Some((None, bytes));
    }
    let length = usize::from(bytes.first()? & 0x0f) * 4;
    Some((Some(*bytes.get(8)?), bytes.get(length..)?))
}

/// Type, sequence and payload; the identifier is the kernel's own on sockets for datagrams.
fn is_answer(reply: &[u8], sent: &[u8], ip: IpAddr, raw: bool) -> bool {
    let kind = if ip.is_ipv4() { 0 } else { 129 };
    let from = if raw { 4 } else { 6 };
    reply.first() == Some(&kind) && reply.len() == sent.len() && reply[from..] == sent[from..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets() {
        let ip = IpAddr::from(Ipv4Addr::LOCALHOST);
        let packet = echo(ip, (7, 1), &Icmp::default()).expect("a packet");
        assert_eq!(checksum(&packet), 0);
        let mut reply = packet.clone();
        reply[0] = 0;
        assert!(is_answer(&reply, &packet, ip, true) && !is_answer(&packet, &packet, ip, true));
        let mut header = vec![0x45, 0, 0, 0, 0, 0, 0, 0, 63];
        header.resize(20, 0);
        header.extend(&reply);
        assert_eq!(
            content(&header, ip, true),
            Some((Some(63), reply.as_slice()))
        );
        assert_eq!(content(&[0x4f], ip, true), None);
    }
}
