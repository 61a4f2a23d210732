//! Messages of the domain name system (RFC 1035), as far as records of targets need them.
//!
//! Invariants: names that point in circles end; no length is trusted.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::config::RecordType;

/// Most pointers that one name follows.
const POINTERS_MAX: usize = 32;
/// Longest name.
const NAME_BYTES_MAX: usize = 255;

const A: u16 = 1;
const NS: u16 = 2;
const MX: u16 = 15;
const AAAA: u16 = 28;
const SRV: u16 = 33;

/// What a record holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Data {
    Address(IpAddr),
    Service {
        target: String,
        port: u16,
    },
    Mail(String),
    NameServer(String),
    /// Another kind, such as the alias on the way to an address.
    Other,
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    /// 0 for a good one, 3 for a name that does not exist.
    pub(super) code: u8,
    /// Whether there is more than fits.
    pub(super) cut: bool,
    pub(super) records: Vec<Data>,
}

fn number(kind: RecordType) -> u16 {
    match kind {
        RecordType::A => A,
        RecordType::Ns => NS,
        RecordType::Mx => MX,
        RecordType::Aaaa => AAAA,
        RecordType::Srv => SRV,
    }
}

/// A question with the wish that others are asked, too.
pub(super) fn question(id: u16, name: &str, kind: RecordType) -> Result<Vec<u8>, String> {
    let mut out = Vec::with_capacity(name.len() + 18);
    out.extend_from_slice(&id.to_be_bytes());
    out.extend_from_slice(&[1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in name.trim_end_matches('.').split('.') {
        match u8::try_from(label.len()) {
            Ok(length @ 1..=63) => out.push(length),
            _ => return Err(format!("{name:?} is not a name")),
        }
        out.extend_from_slice(label.as_bytes());
    }
    out.push(0);
    if out.len() > 12 + NAME_BYTES_MAX {
        return Err(format!("{name:?} is too long for a name"));
    }
    out.extend_from_slice(&number(kind).to_be_bytes());
    out.extend_from_slice(&1u16.to_be_bytes());
    Ok(out)
}

/// Reads an answer to a question.
pub(super) fn read(bytes: &[u8], id: u16) -> Result<Answer, String> {
    let mut reader = Reader { bytes, at: 0 };
    let answer = reader.message(id);
    answer.ok_or_else(|| format!("the answer is malformed near byte {}", reader.at))
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let taken = *self.bytes.get(self.at..)?.first_chunk::<N>()?;
        self.at += N;
        Some(taken)
    }

    fn number(&mut self) -> Option<u16> {
        self.take().map(u16::from_be_bytes)
    }

    fn message(&mut self, id: u16) -> Option<Answer> {
        let own = self.number()? == id;
        let [flags, code] = self.take()?;
        let (questions, answers) = (self.number()?, self.number()?);
        self.take::<4>()?;
        if !own || flags & 0x80 == 0 {
            return None;
        }
        for _ in 0..questions {
            self.name()?;
            self.take::<4>()?;
        }
        let mut records = Vec::new();
        let cut = flags & 2 != 0;
        for _ in 0..answers {
            match self.record() {
                Some(record) => records.push(record),
                None if cut => break,
                None => return None,
            }
        }
        Some(Answer {
            code: code & 15,
            cut,
            records,
        })
    }

    fn record(&mut self) -> Option<Data> {
        self.name()?;
        let (kind, class) = (self.number()?, self.number()?);
        self.take::<4>()?;
        let length = usize::from(self.number()?);
        let end = self
            .at
            .checked_add(length)
            .filter(|end| *end <= self.bytes.len())?;
        let data = match (class, kind) {
            (1, A) => Data::Address(IpAddr::V4(Ipv4Addr::from(self.take::<4>()?))),
            (1, AAAA) => Data::Address(IpAddr::V6(Ipv6Addr::from(self.take::<16>()?))),
            (1, NS) => Data::NameServer(self.name()?),
            (1, MX) => {
                self.take::<2>()?;
                Data::Mail(self.name()?)
            }
            (1, SRV) => {
                self.take::<4>()?;
                Data::Service {
                    port: self.number()?,
                    target: self.name()?,
                }
            }
            _ => Data::Other,
        };
        self.at = end;
        Some(data)
    }

    /// A name with a dot at its end.
    fn name(&mut self) -> Option<String> {
        let (mut at, mut after) = (self.at, None);
        let (mut name, mut pointers) = (Vec::new(), 0);
        loop {
            let length = *self.bytes.get(at)?;
            match length {
                0 => break,
                1..=63 => {
                    let label = self.bytes.get(at + 1..at + 1 + usize::from(length))?;
                    name.extend_from_slice(label);
                    name.push(b'.');
                    at += 1 + usize::from(length);
                }
                192.. => {
                    pointers += 1;
                    let low = *self.bytes.get(at + 1)?;
                    after = after.or(Some(at + 2));
                    at = usize::from(length & 63) << 8 | usize::from(low);
                }
                _ => return None,
            }
            if name.len() > NAME_BYTES_MAX || pointers > POINTERS_MAX {
                return None;
            }
        }
        self.at = after.unwrap_or(at + 1);
        if name.is_empty() {
            name.push(b'.');
        }
        Some(String::from_utf8_lossy(&name).into_owned())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn questions() {
        let asked = question(0x1234, "a.bc.", RecordType::Srv).expect("a name");
        let expect = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x01a\x02bc\0\0\x21\0\x01";
        assert_eq!(asked, expect);
        assert!(question(1, "a..b", RecordType::A).is_err());
        assert!(question(1, &"x".repeat(64), RecordType::A).is_err());
        assert!(question(1, &"x.".repeat(200), RecordType::A).is_err());
    }

    #[test]
    fn pointers_in_circles_end() {
        let bytes = b"\0\x01\x80\0\0\0\0\x01\0\0\0\0\xc0\x0c\0\x01\0\x01\0\0\0\0\0\0";
        assert!(read(bytes, 1).is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn arbitrary_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut bytes = bytes;
            if let [first, second, flags, ..] = &mut bytes[..] {
                (*first, *second, *flags) = (0, 1, *flags | 0x80);
            }
            if let Ok(answer) = read(&bytes, 1) {
                prop_assert!(answer.records.len() <= bytes.len());
            }
        }
    }
}
