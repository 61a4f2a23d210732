//! Names to addresses, connections, TLS: what probes over TCP share.
//!
//! Invariant: every wait ends with the deadline of its probe, which drops the future.

use std::net::{IpAddr, SocketAddr};

use obs_wire::x509::Certificate;
use ring::digest::{SHA256, digest};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::Instant;
use tokio_rustls::client::TlsStream;

use super::module::IpProtocol;
use super::report::Report;
use crate::config::TlsConfig;

/// What has no certificate that could be verified, in Go's time zero.
const NEVER: f64 = -62_135_596_800.0;

/// Which addresses are wanted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Preference {
    pub protocol: IpProtocol,
    pub fallback: bool,
}

/// Resolves a name as blackbox_exporter does; gives the seconds it took, too.
pub(super) async fn resolve(
    host: &str,
    preference: Preference,
    report: &mut Report,
) -> Result<(IpAddr, f64), String> {
    address(report, 0.0, 0);
    let begin = Instant::now();
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let looked = tokio::net::lookup_host((host, 0)).await;
    let took = begin.elapsed().as_secs_f64();
    report.set(
        "probe_dns_lookup_time_seconds",
        "Returns the time taken for probe dns lookup in seconds",
        took,
    );
    let all: Vec<IpAddr> = looked
        .map_err(|e| format!("resolution with IP protocol failed: {e}"))?
        .map(|address| address.ip())
        .collect();
    let wanted = |ip: &&IpAddr| ip.is_ipv6() == (preference.protocol == IpProtocol::V6);
    let found = all.iter().find(wanted);
    let found = found.or(all.first().filter(|_| preference.fallback));
    let ip = *found.ok_or("unable to find ip; no fallback")?;
    let allowed = report.addresses.check(host, ip);
    allowed.map_err(|refused| refused.to_string())?;
    let version = if ip.is_ipv6() { 6.0 } else { 4.0 };
    address(report, version, hash(ip));
    report.note(format!("Resolved target address {host} to {ip}"));
    Ok((ip, took))
}

/// What is told of an address is there before it is.
fn address(report: &mut Report, version: f64, hash: u32) {
    report.set(
        "probe_ip_protocol",
        "Specifies whether probe ip protocol is IP4 or IP6",
        version,
    );
    report.set(
        "probe_ip_addr_hash",
        "Specifies the hash of IP address. It's useful to detect if the IP address changes.",
        f64::from(hash),
    );
}

/// FNV-1a over the bytes of the address.
fn hash(ip: IpAddr) -> u32 {
    let bytes = match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    bytes.iter().fold(0x811c_9dc5, |hash: u32, byte| {
        (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193)
    })
}

/// Connects, from an address where one is wanted.
pub(super) async fn connect(to: SocketAddr, from: Option<IpAddr>) -> Result<TcpStream, String> {
    let fault = |e: std::io::Error| format!("error dialing TCP: {to}: {e}");
    let socket = match to {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    };
    let socket = socket.map_err(fault)?;
    if let Some(from) = from {
        socket.bind(SocketAddr::new(from, 0)).map_err(fault)?;
    }
    socket.connect(to).await.map_err(fault)
}

/// Host and port of `host:port` or `[host]:port`.
pub(super) fn split(target: &str) -> Result<(&str, u16), String> {
    let (host, port) = target
        .rsplit_once(':')
        .ok_or_else(|| format!("address {target}: missing port in address"))?;
    let port = port
        .parse()
        .map_err(|_| format!("address {target}: expected a port, found {port:?}"))?;
    Ok((host.trim_start_matches('[').trim_end_matches(']'), port))
}

/// The metrics of a connection's certificates.
pub(super) fn tell(stream: &TlsStream<TcpStream>, config: &TlsConfig, report: &mut Report) {
    let (_, connection) = stream.get_ref();
    let chain = connection.peer_certificates().unwrap_or_default();
    let parsed: Vec<Certificate> = chain
        .iter()
        .filter_map(|der| Certificate::decode(der))
        .collect();
    let earliest = parsed.iter().map(|c| c.not_after).min();
    let earliest = earliest.map_or(NEVER, |seconds| seconds as f64);
    report.set(
        "probe_ssl_earliest_cert_expiry",
        "Returns last SSL chain expiry in unixtime",
        earliest,
    );
    let verified = if config.insecure_skip_verify {
        NEVER
    } else {
        earliest
    };
    report.set(
        "probe_ssl_last_chain_expiry_timestamp_seconds",
        "Returns last SSL chain expiry in timestamp",
        verified,
    );
    if let (Some(der), Some(leaf)) = (chain.first(), parsed.first()) {
        let sum = digest(&SHA256, der);
        let sum: String = sum.as_ref().iter().map(|b| format!("{b:02x}")).collect();
        let names = leaf.dns_names.join(",");
        let labels = [
            ("fingerprint_sha256", sum.as_str()),
            ("subject", leaf.subject.as_str()),
            ("issuer", leaf.issuer.as_str()),
            ("subjectalternative", names.as_str()),
            ("serialnumber", leaf.serial.as_str()),
        ];
        let what = (
            "probe_ssl_last_chain_info",
            "Contains SSL leaf certificate information",
        );
        report.with(what, &labels, 1.0);
    }
    let version = match connection.protocol_version() {
        Some(rustls::ProtocolVersion::TLSv1_2) => "TLS 1.2",
        Some(rustls::ProtocolVersion::TLSv1_3) => "TLS 1.3",
        _ => "unknown",
    };
    let what = (
        "probe_tls_version_info",
        "Returns the TLS version used or NaN when unknown",
    );
    report.with(what, &[("version", version)], 1.0);
    if let Some(suite) = connection.negotiated_cipher_suite() {
        let name = format!("{:?}", suite.suite()).replace("TLS13_", "TLS_");
        let what = (
            "probe_tls_cipher_info",
            "Returns the TLS cipher negotiated during handshake",
        );
        report.with(what, &[("cipher", name.as_str())], 1.0);
    }
}
