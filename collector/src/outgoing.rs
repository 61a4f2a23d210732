//! Which addresses are not dialled: what others say where to connect to (targets of probes, receivers
//! of alerts, objects of a cluster, redirects) must not lead to where only this machine can go.
//!
//! Invariants: it is the resolved address that is decided on, and the connection goes to no other, so
//! that a name that means something else a moment later opens nothing; each redirect is decided on
//! anew, and what is said to one host (credentials) is not said to another.

mod redirects;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;

use tokio::net::TcpStream;

pub(crate) use redirects::Guard;

/// Services that tell machines their secrets and are not link-local: those of EC2, Alibaba, Oracle
/// and Azure.
const METADATA: [IpAddr; 4] = [
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V4(Ipv4Addr::new(192, 0, 0, 192)),
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
];

/// A network, such as `10.1.0.0/16`, or one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    bits: u8,
}

impl Network {
    fn holds(&self, ip: IpAddr) -> bool {
        match (self.address, ip) {
            (IpAddr::V4(own), IpAddr::V4(ip)) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.bits)).unwrap_or(0);
                own.to_bits() & mask == ip.to_bits() & mask
            }
            (IpAddr::V6(own), IpAddr::V6(ip)) => {
                let mask = u128::MAX
                    .checked_shl(128 - u32::from(self.bits))
                    .unwrap_or(0);
                own.to_bits() & mask == ip.to_bits() & mask
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let fault = || format!("expected a network such as 10.1.0.0/16, found {text:?}");
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| fault())?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.map_or(Ok(most), str::parse).map_err(|_| fault())?;
        (bits <= most)
            .then_some(Self { address, bits })
            .ok_or_else(fault)
    }
}

/// Why an address is not dialled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    host: String,
    ip: IpAddr,
    why: &'static str,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, ip, why } = self;
        if *host != ip.to_string() {
            write!(f, "{host}: ")?;
        }
        write!(
            f,
            "{ip} is not dialled: {why}; obs.collector.outgoing.allow makes exceptions"
        )
    }
}

impl std::error::Error for Refused {}

/// Which addresses are dialled for others. Link-local ones, the metadata services of clouds and "any
/// address" never are, unless they are listed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Addresses(Arc<Rules>);

#[derive(Debug, Default, PartialEq, Eq)]
struct Rules {
    refuse_loopback: bool,
    refuse_private: bool,
    allow: Vec<Network>,
}

impl Addresses {
    /// Rules that also refuse this machine itself, and private networks; `allow` goes before all.
    pub fn new(refuse_loopback: bool, refuse_private: bool, allow: Vec<Network>) -> Self {
        Self(Arc::new(Rules {
            refuse_loopback,
            refuse_private,
            allow,
        }))
    }

    /// Whether an address that `host` was resolved to is dialled.
    pub fn check(&self, host: &str, ip: IpAddr) -> Result<(), Refused> {
        let refuse = |why| {
            let host = host
                .trim_start_matches('[')
                .trim_end_matches(']')
                .to_owned();
            Err(Refused { host, ip, why })
        };
        match self.refusal(ip.to_canonical()) {
            Some(why) => refuse(why),
            None => Ok(()),
        }
    }

    /// Decides on a host that is an address already; names are decided on when they are resolved.
    pub(crate) fn check_literal(&self, host: &str) -> Result<(), Refused> {
        let plain = host.trim_start_matches('[').trim_end_matches(']');
        match plain.parse() {
            Ok(ip) => self.check(plain, ip),
            Err(_) => Ok(()),
        }
    }

    fn refusal(&self, ip: IpAddr) -> Option<&'static str> {
        if self.0.allow.iter().any(|network| network.holds(ip)) {
            return None;
        }
        // Ways to write an address of version 4 in one of version 6 lead to the same place.
        if let IpAddr::V6(wide) = ip
            && let Some(why) = embedded(wide)
                .into_iter()
                .find_map(|inner| self.refusal(inner.into()))
        {
            return Some(why);
        }
        let (unspecified, link_local, private) = match ip {
            IpAddr::V4(ip) => {
                let shared = ip.octets()[0] == 100 && ip.octets()[1] & 0xc0 == 64;
                let nothing = ip.octets()[0] == 0;
                (nothing, ip.is_link_local(), ip.is_private() || shared)
            }
            IpAddr::V6(ip) => {
                let link_local = ip.is_unicast_link_local();
                (ip.is_unspecified(), link_local, ip.is_unique_local())
            }
        };
        if METADATA.contains(&ip) {
            return Some("it is the metadata service of a cloud");
        }
        if unspecified {
            return Some("it is no address of anyone");
        }
        if link_local {
            return Some("it is link-local");
        }
        if ip.is_loopback() && self.0.refuse_loopback {
            return Some("it is this machine itself");
        }
        (private && self.0.refuse_private).then_some("it is in a private network")
    }

    /// The addresses of a host that are dialled; an error where there is none.
    pub async fn resolve(&self, host: &str, port: u16) -> std::io::Result<Vec<SocketAddr>> {
        let plain = host.trim_start_matches('[').trim_end_matches(']');
        let found = tokio::net::lookup_host((plain, port)).await?;
        self.dialled(plain, found)
    }

    /// Those of some addresses that are dialled.
    fn dialled(
        &self,
        host: &str,
        found: impl Iterator<Item = SocketAddr>,
    ) -> std::io::Result<Vec<SocketAddr>> {
        let (mut kept, mut refused) = (Vec::new(), None);
        for address in found {
            match self.check(host, address.ip()) {
                Ok(()) => kept.push(address),
                Err(error) => refused = Some(error),
            }
        }
        match refused {
            Some(error) if kept.is_empty() => Err(std::io::Error::other(error)),
            _ => Ok(kept),
        }
    }

    /// Connects to a host.
    pub async fn connect(&self, host: &str, port: u16) -> std::io::Result<TcpStream> {
        let addresses = self.resolve(host, port).await?;
        TcpStream::connect(&addresses[..]).await
    }
}

/// The addresses of version 4 that one of version 6 may lead to: through NAT64, 6to4, SIIT, and as
/// the last four bytes alone.
fn embedded(ip: Ipv6Addr) -> Vec<Ipv4Addr> {
    let bytes = ip.octets();
    let at = |[a, b, c, d]: [usize; 4]| Ipv4Addr::new(bytes[a], bytes[b], bytes[c], bytes[d]);
    let last = || at([12, 13, 14, 15]);
    match ip.segments() {
        [0x64, 0xff9b, 0, 0, 0, 0, ..] => vec![last()],
        // Prefixes of a network's own (RFC 8215), whose length only that network knows; byte 8 has
        // no part of the address (RFC 6052). What begins with zero lies in a prefix or behind an
        // address.
        [0x64, 0xff9b, 1, ..] => {
            let lengths = [[6, 7, 9, 10], [7, 9, 10, 11], [9, 10, 11, 12]].map(at);
            let all = lengths.into_iter().chain([last()]);
            all.filter(|inner| inner.octets()[0] != 0).collect()
        }
        [0x2002, ..] => vec![at([2, 3, 4, 5])],
        [0, 0, 0, 0, 0xffff, 0, ..] => vec![last()],
        // `::` and `::1` are not written so.
        [0, 0, 0, 0, 0, 0, high, _] if high != 0 => vec![last()],
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(rules: &Addresses, address: &str, expect: &str) {
        let told = match rules.check_literal(address) {
            Ok(()) => String::new(),
            Err(refused) => refused.to_string(),
        };
        match expect {
            "" => assert_eq!(told, "", "{address}"),
            _ => assert!(told.contains(expect), "{address}: {told:?}"),
        }
    }

    #[test]
    fn addresses_of_nobody_else_are_refused() {
        let usual = Addresses::default();
        for address in [
            "169.254.169.254",
            "[fe80::1]",
            "::ffff:169.254.0.1",
            "169.254.170.2",
        ] {
            check(&usual, address, "link-local");
        }
        for address in [
            "64:ff9b::a9fe:a9fe",
            "2002:a9fe:a9fe::1",
            "::169.254.169.254",
            "::ffff:0:169.254.169.254",
            // Behind prefixes of 48, 56, 64 and 96 bits.
            "64:ff9b:1:a9fe:a9:fe00::",
            "64:ff9b:1:ca9:fe:a9fe::",
            "64:ff9b:1:c:a9:fea9:fe00:0",
            "64:ff9b:1::169.254.169.254",
            "64:ff9b:1:c:d:e:a9fe:a9fe",
        ] {
            check(&usual, address, "link-local");
        }
        for address in ["fd00:ec2::254", "100.100.100.200", "168.63.129.16"] {
            check(&usual, address, "metadata");
        }
        for address in ["0.0.0.0", "::", "0.1.2.3", "::ffff:0.0.0.0"] {
            check(&usual, address, "no address of anyone");
        }
        for address in [
            "127.0.0.1",
            "::1",
            "10.1.2.3",
            "fd12::1",
            "203.0.113.7",
            "a.example",
        ] {
            check(&usual, address, "");
        }
        let strict = Addresses::new(true, true, Vec::new());
        for address in ["127.8.8.8", "::1", "::ffff:127.0.0.1"] {
            check(&strict, address, "this machine");
        }
        for address in [
            "10.1.2.3",
            "192.168.0.1",
            "100.64.0.1",
            "fd12::1",
            "172.16.9.9",
        ] {
            check(&strict, address, "private");
        }
        for address in [
            "203.0.113.7",
            "64:ff9b::203.0.113.7",
            "64:ff9b:1::203.0.113.7",
            "64:ff9b:1:cb00:71:700::",
            "::ffff:0:203.0.113.7",
        ] {
            check(&strict, address, "");
        }
        check(&strict, "::ffff:0:127.0.0.1", "this machine");
        check(&strict, "64:ff9b:1::10.0.0.1", "private");
    }

    #[test]
    fn exceptions_go_first() {
        let allow = ["169.254.20.10", "10.1.0.0/16", "fd12::/16", "0.0.0.0/0"].map(str::parse);
        let allow: Vec<Network> = allow.into_iter().collect::<Result<_, _>>().unwrap();
        let some = Addresses::new(true, true, allow[..3].to_vec());
        check(&some, "169.254.20.10", "");
        check(&some, "169.254.20.11", "link-local");
        check(&some, "10.1.255.255", "");
        check(&some, "10.2.0.0", "private");
        check(&some, "fd12:3::4", "");
        check(&some, "fd13::", "private");
        check(&Addresses::new(true, true, allow), "127.0.0.1", "");
        for text in [
            "10.0.0.0/33",
            "x",
            "10.0.0.0/",
            "/8",
            "::/129",
            "10.0.0.0/-1",
        ] {
            let fault = text.parse::<Network>().unwrap_err();
            assert!(fault.contains("10.1.0.0/16"), "{fault}");
        }
    }

    #[tokio::test]
    async fn names_are_decided_on_when_they_are_resolved() {
        let strict = Addresses::new(true, false, Vec::new());
        let fault = strict.connect("localhost", 1).await.unwrap_err();
        assert!(fault.to_string().contains("localhost: "), "{fault}");
        assert!(Addresses::default().resolve("localhost", 1).await.is_ok());
    }
}
