//! Sets of IP addresses as `ip("…")` writes them: an address, a range `a-b`, or a network `a/n`.

use std::net::IpAddr;

/// Addresses from `first` to `last`, both of one version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct IpSet {
    first: IpAddr,
    last: IpAddr,
}

impl IpSet {
    pub(crate) fn new(text: &str) -> Option<Self> {
        let text = text.trim();
        if let Some((address, bits)) = text.split_once('/') {
            return Self::network(address.parse().ok()?, bits.parse().ok()?);
        }
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let set = Self {
            first: first.trim().parse().ok()?,
            last: last.trim().parse().ok()?,
        };
        let ordered = set.first.is_ipv4() == set.last.is_ipv4() && set.first <= set.last;
        ordered.then_some(set)
    }

    fn network(address: IpAddr, bits: u32) -> Option<Self> {
        match address {
            IpAddr::V4(v4) => {
                let free = 32u32.checked_sub(bits)?;
                let mask = u32::MAX.checked_shl(free).unwrap_or(0);
                let first = v4.to_bits() & mask;
                Some(Self {
                    first: IpAddr::V4(first.into()),
                    last: IpAddr::V4((first | !mask).into()),
                })
            }
            IpAddr::V6(v6) => {
                let free = 128u32.checked_sub(bits)?;
                let mask = u128::MAX.checked_shl(free).unwrap_or(0);
                let first = v6.to_bits() & mask;
                Some(Self {
                    first: IpAddr::V6(first.into()),
                    last: IpAddr::V6((first | !mask).into()),
                })
            }
        }
    }

    /// Whether the text is an address of the set.
    pub(crate) fn contains(&self, text: &str) -> bool {
        text.trim().parse().is_ok_and(|address: IpAddr| {
            address.is_ipv4() == self.first.is_ipv4()
                && self.first <= address
                && address <= self.last
        })
    }

    /// Whether some address in the line belongs to the set.
    pub(crate) fn is_in(&self, line: &[u8]) -> bool {
        let part = |b: &u8| b.is_ascii_hexdigit() || matches!(b, b'.' | b':');
        line.split(|b| !part(b)).any(|word| {
            // The shortest addresses are `::` and the longest take 45 bytes.
            if word.len() < 2 || word.len() > 64 {
                return false;
            }
            let Ok(word) = std::str::from_utf8(word) else {
                return false;
            };
            self.contains(word)
                || self.contains(word.trim_end_matches(['.', ':']))
                // `1.2.3.4:80`
                || word.split_once(':').is_some_and(|(host, _)| self.contains(host))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets() {
        let check = |set: &str, line: &str, expect: bool| {
            assert_eq!(
                IpSet::new(set).unwrap().is_in(line.as_bytes()),
                expect,
                "{set} in {line}"
            );
        };
        check("192.168.0.0/16", "from 192.168.4.5:80 to x", true);
        check("192.168.0.0/16", "from 192.169.4.5 to x", false);
        check("10.0.0.1-10.0.0.9", "addr=10.0.0.9.", true);
        check("10.0.0.1-10.0.0.9", "addr=10.0.0.10", false);
        check("::1", "bind [::1] ok", true);
        check("2001:db8::/32", "at 2001:db8:1::2", true);
        check("0.0.0.0/0", "none here", false);
        for bad in ["", "x", "1.2.3.4/33", "2.2.2.2-1.1.1.1", "1.1.1.1-::1"] {
            assert_eq!(IpSet::new(bad), None, "{bad}");
        }
    }
}
