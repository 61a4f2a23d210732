//! Questions to name servers and their answers, as probes need them.
//!
//! Invariants: compressed names are followed backwards only, so that they end; records are shown as
//! zone files have them, with tabs. Format: RFC 1035, 3596, 2782.

use std::net::{Ipv4Addr, Ipv6Addr};

/// Types of records that have names here.
const TYPES: [(u16, &str); 16] = [
    (1, "A"),
    (2, "NS"),
    (5, "CNAME"),
    (6, "SOA"),
    (12, "PTR"),
    (13, "HINFO"),
    (15, "MX"),
    (16, "TXT"),
    (28, "AAAA"),
    (33, "SRV"),
    (35, "NAPTR"),
    (43, "DS"),
    (46, "RRSIG"),
    (48, "DNSKEY"),
    (255, "ANY"),
    (257, "CAA"),
];

const CLASSES: [(u16, &str); 5] = [(1, "IN"), (3, "CH"), (4, "HS"), (254, "NONE"), (255, "ANY")];

const RCODES: [(u8, &str); 11] = [
    (0, "NOERROR"),
    (1, "FORMERR"),
    (2, "SERVFAIL"),
    (3, "NXDOMAIN"),
    (4, "NOTIMP"),
    (5, "REFUSED"),
    (6, "YXDOMAIN"),
    (7, "YXRRSET"),
    (8, "NXRRSET"),
    (9, "NOTAUTH"),
    (10, "NOTZONE"),
];

/// A type of records by its name.
pub fn type_of(name: &str) -> Option<u16> {
    TYPES.iter().find(|(_, n)| *n == name).map(|(t, _)| *t)
}

/// A class by its name.
pub fn class_of(name: &str) -> Option<u16> {
    CLASSES.iter().find(|(_, n)| *n == name).map(|(c, _)| *c)
}

/// The name of a response code.
pub fn rcode_name(code: u8) -> String {
    let found = RCODES.iter().find(|(c, _)| *c == code);
    found.map_or_else(|| code.to_string(), |(_, name)| (*name).to_owned())
}

/// Whether a name is that of a response code.
pub fn is_rcode(name: &str) -> bool {
    RCODES.iter().any(|(_, n)| *n == name)
}

/// A question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// Repeated by the answer.
    pub id: u16,
    /// The name.
    pub name: String,
    /// The type of records.
    pub kind: u16,
    /// The class, nearly always 1.
    pub class: u16,
    /// Whether the server shall ask others.
    pub recursion: bool,
}

impl Question {
    /// The bytes to send; `None` where the name cannot be asked for.
    pub fn encode(&self) -> Option<Vec<u8>> {
        let flags: u16 = if self.recursion { 0x0100 } else { 0 };
        let mut out = Vec::with_capacity(32 + self.name.len());
        for word in [self.id, flags, 1, 0, 0, 0] {
            out.extend(word.to_be_bytes());
        }
        let name = self.name.strip_suffix('.').unwrap_or(&self.name);
        if name.len() > 253 {
            return None;
        }
        for label in name.split('.').filter(|_| !name.is_empty()) {
            let length = u8::try_from(label.len()).ok();
            out.push(length.filter(|length| (1..=63).contains(length))?);
            out.extend(label.as_bytes());
        }
        out.push(0);
        out.extend(self.kind.to_be_bytes());
        out.extend(self.class.to_be_bytes());
        Some(out)
    }
}

/// An answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reply {
    /// Of the question.
    pub id: u16,
    /// Whether it is an answer at all.
    pub is_reply: bool,
    /// Whether it was too long for a datagram.
    pub truncated: bool,
    /// The response code.
    pub rcode: u8,
    /// Answers, as zone files have them.
    pub answers: Vec<String>,
    /// Records of authority.
    pub authority: Vec<String>,
    /// Further records.
    pub additional: Vec<String>,
    /// The serial number of the first SOA among the answers.
    pub serial: Option<u32>,
}

impl Reply {
    /// Reads an answer; `None` where it is malformed.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader { bytes, at: 0 };
        let (id, flags) = (reader.word()?, reader.word()?);
        let counts = [
            reader.word()?,
            reader.word()?,
            reader.word()?,
            reader.word()?,
        ];
        for _ in 0..counts[0] {
            reader.name()?;
            reader.word()?;
            reader.word()?;
        }
        let mut out = Self {
            id,
            is_reply: flags & 0x8000 != 0,
            truncated: flags & 0x0200 != 0,
            rcode: (flags & 0x0f) as u8,
            ..Self::default()
        };
        for (section, count) in counts.into_iter().enumerate().skip(1) {
            for _ in 0..count {
                let (text, serial) = reader.record()?;
                out.serial = out.serial.or(serial.filter(|_| section == 1));
                match section {
                    1 => out.answers.push(text),
                    2 => out.authority.push(text),
                    _ => out.additional.push(text),
                }
            }
        }
        Some(out)
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let taken = self.bytes.get(self.at..self.at.checked_add(count)?)?;
        self.at += count;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1).map(|b| b[0])
    }

    fn word(&mut self) -> Option<u16> {
        let bytes = self.take(2)?;
        Some(u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    fn long(&mut self) -> Option<u32> {
        Some(u32::from(self.word()?) << 16 | u32::from(self.word()?))
    }

    /// A name with a dot at its end.
    fn name(&mut self) -> Option<String> {
        let (mut out, mut at) = (String::new(), self.at);
        let mut end = None;
        // Each step back leads before the last, so there are not more of them than bytes.
        let mut before = self.at;
        loop {
            let length = *self.bytes.get(at)?;
            match length {
                0 => {
                    self.at = end.unwrap_or(at + 1);
                    if out.is_empty() {
                        out.push('.');
                    }
                    return Some(out);
                }
                1..=63 => {
                    let label = self.bytes.get(at + 1..at + 1 + usize::from(length))?;
                    for byte in label {
                        match byte {
                            b'.' | b'\\' => out.extend(['\\', char::from(*byte)]),
                            0x21..=0x7e => out.push(char::from(*byte)),
                            other => out.push_str(&format!("\\{other:03}")),
                        }
                    }
                    out.push('.');
                    if out.len() > 1100 {
                        return None;
                    }
                    at += 1 + usize::from(length);
                }
                0xc0.. => {
                    let low = *self.bytes.get(at + 1)?;
                    end = end.or(Some(at + 2));
                    at = usize::from(length & 0x3f) << 8 | usize::from(low);
                    if at >= before {
                        return None;
                    }
                    before = at;
                }
                _ => return None,
            }
        }
    }

    fn record(&mut self) -> Option<(String, Option<u32>)> {
        let name = self.name()?;
        let (kind, class, ttl) = (self.word()?, self.word()?, self.long()?);
        let length = usize::from(self.word()?);
        let end = self.at.checked_add(length)?;
        if end > self.bytes.len() {
            return None;
        }
        let mut serial = None;
        let data = match kind {
            1 => {
                let b = self.take(4)?;
                Ipv4Addr::new(b[0], b[1], b[2], b[3]).to_string()
            }
            28 => {
                let bytes: [u8; 16] = self.take(16)?.try_into().ok()?;
                Ipv6Addr::from(bytes).to_string()
            }
            2 | 5 | 12 => self.name()?,
            15 => format!("{} {}", self.word()?, self.name()?),
            33 => {
                let (priority, weight, port) = (self.word()?, self.word()?, self.word()?);
                format!("{priority} {weight} {port} {}", self.name()?)
            }
            6 => {
                let (server, mail) = (self.name()?, self.name()?);
                let number = self.long()?;
                serial = Some(number);
                let rest = [self.long()?, self.long()?, self.long()?, self.long()?];
                let rest = rest.map(|n| n.to_string()).join(" ");
                format!("{server} {mail} {number} {rest}")
            }
            16 => {
                let mut texts = Vec::new();
                while self.at < end {
                    let length = self.byte()?;
                    texts.push(quoted(self.take(usize::from(length))?));
                }
                texts.join(" ")
            }
            _ => {
                let hex: String = self
                    .take(length)?
                    .iter()
                    .map(|b| format!("{b:02x}"))
                    .collect();
                format!("\\# {length} {hex}")
            }
        };
        if self.at != end {
            return None;
        }
        let kind = TYPES.iter().find(|(t, _)| *t == kind);
        let kind = kind.map_or_else(|| "TYPE".to_owned(), |(_, name)| (*name).to_owned());
        let class = CLASSES
            .iter()
            .find(|(c, _)| *c == class)
            .map_or("CLASS", |(_, n)| n);
        Some((format!("{name}\t{ttl}\t{class}\t{kind}\t{data}"), serial))
    }
}

fn quoted(bytes: &[u8]) -> String {
    let mut out = String::from("\"");
    for byte in bytes {
        match byte {
            b'"' | b'\\' => out.extend(['\\', char::from(*byte)]),
            0x20..=0x7e => out.push(char::from(*byte)),
            other => out.push_str(&format!("\\{other:03}")),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn question() -> Question {
        Question {
            id: 7,
            name: "a.example".into(),
            kind: 1,
            class: 1,
            recursion: true,
        }
    }

    /// The question, and records after it.
    fn reply(records: &[(u16, &[u8])]) -> Vec<u8> {
        let mut bytes = question().encode().unwrap();
        bytes[2] |= 0x80;
        bytes[7] = u8::try_from(records.len()).unwrap();
        for (kind, data) in records {
            bytes.extend([0xc0, 12]);
            bytes.extend(kind.to_be_bytes());
            bytes.extend([0, 1, 0, 0, 1, 44]);
            bytes.extend(u16::try_from(data.len()).unwrap().to_be_bytes());
            bytes.extend(*data);
        }
        bytes
    }

    #[test]
    fn records_are_shown_as_in_zone_files() {
        let soa = b"\xc0\x0c\x01m\x00\0\0\0\x09\0\0\0\x01\0\0\0\x02\0\0\0\x03\0\0\0\x04";
        let found = Reply::decode(&reply(&[
            (1, &[127, 0, 0, 1]),
            (15, b"\0\x0a\x02mx\xc0\x0e"),
            (16, b"\x03a\"b\x01c"),
            (6, soa),
            (999, &[1, 2]),
        ]))
        .unwrap();
        assert_eq!(
            found.answers,
            [
                "a.example.\t300\tIN\tA\t127.0.0.1",
                "a.example.\t300\tIN\tMX\t10 mx.example.",
                "a.example.\t300\tIN\tTXT\t\"a\\\"b\" \"c\"",
                "a.example.\t300\tIN\tSOA\ta.example. m. 9 1 2 3 4",
                "a.example.\t300\tIN\tTYPE\t\\# 2 0102",
            ]
        );
        assert_eq!(
            (found.id, found.is_reply, found.rcode, found.serial),
            (7, true, 0, Some(9))
        );
        assert_eq!(Reply::decode(&reply(&[(1, &[127, 0, 0])])), None);
        assert_eq!(Reply::decode(&reply(&[(2, b"\xc0\xff")])), None);
    }

    #[test]
    fn names() {
        assert_eq!(
            (type_of("AAAA"), class_of("CH"), type_of("X")),
            (Some(28), Some(3), None)
        );
        assert_eq!(
            (rcode_name(3), rcode_name(15)),
            ("NXDOMAIN".into(), "15".into())
        );
        assert!(is_rcode("NOERROR") && !is_rcode("OK"));
        for name in ["a..b", &"x".repeat(64), &"a.".repeat(200)] {
            let question = Question {
                name: name.into(),
                ..question()
            };
            assert_eq!(question.encode(), None, "{name}");
        }
        let root = Question {
            name: ".".into(),
            ..question()
        };
        assert_eq!(root.encode().unwrap()[12..], [0, 0, 1, 0, 1]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn damage_does_not_panic(at in 0usize..80, byte in any::<u8>(), bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let mut damaged = reply(&[(15, b"\0\x0a\x02mx\xc0\x0e"), (16, b"\x03abc")]);
            if let Some(place) = damaged.get_mut(at) {
                *place = byte;
            }
            for input in [damaged, bytes] {
                if let Some(found) = Reply::decode(&input) {
                    prop_assert!(found.answers.len() <= input.len());
                }
            }
        }
    }
}
