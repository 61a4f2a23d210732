//! What probes tell of certificates: until when they are valid, and of whom for whom. No signature
//! is checked here.
//!
//! Invariant: a length never reaches beyond the element that holds it; nesting is by the schema
//! alone. Format: RFC 5280, DER of X.690.

use std::net::IpAddr;

use obs_model::time::days_from_civil;

/// A certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Certificate {
    /// The serial number in hexadecimal digits.
    pub serial: String,
    /// Who signed it, as RFC 2253 writes names.
    pub issuer: String,
    /// Whose it is.
    pub subject: String,
    /// The last common name of the subject, as it stands there; empty where it has none.
    pub common_name: String,
    /// Organizations of the subject.
    pub organizations: Vec<String>,
    /// Since when it is valid, in seconds since 1970.
    pub not_before: i64,
    /// Until when.
    pub not_after: i64,
    /// The names of hosts that it is for.
    pub dns_names: Vec<String>,
    /// Addresses among its names, such as `spiffe://…`.
    pub uris: Vec<String>,
    /// Mail addresses among them.
    pub emails: Vec<String>,
    /// Addresses of hosts among them.
    pub addresses: Vec<IpAddr>,
}

/// One element: its tag and its content.
type Element<'a> = (u8, &'a [u8]);

/// Takes the first element.
fn take<'a>(bytes: &mut &'a [u8]) -> Option<Element<'a>> {
    let (&tag, rest) = bytes.split_first()?;
    let (&first, mut rest) = rest.split_first()?;
    let length = match first {
        0..=0x7f => usize::from(first),
        // More than four bytes of length are of nothing that fits a handshake.
        0x81..=0x84 => {
            let count = usize::from(first & 0x7f);
            let (digits, after) = rest.split_at_checked(count)?;
            rest = after;
            digits.iter().fold(0, |sum, b| sum << 8 | usize::from(*b))
        }
        _ => return None,
    };
    let (content, after) = rest.split_at_checked(length)?;
    *bytes = after;
    Some((tag, content))
}

fn expect<'a>(bytes: &mut &'a [u8], tag: u8) -> Option<&'a [u8]> {
    take(bytes)
        .filter(|(found, _)| *found == tag)
        .map(|(_, c)| c)
}

const SEQUENCE: u8 = 0x30;

impl Certificate {
    /// Reads a certificate in DER; `None` where it is none.
    pub fn decode(mut der: &[u8]) -> Option<Self> {
        let mut outer = expect(&mut der, SEQUENCE)?;
        let mut body = expect(&mut outer, SEQUENCE)?;
        if body.first() == Some(&0xa0) {
            take(&mut body)?;
        }
        let serial = expect(&mut body, 0x02)?;
        expect(&mut body, SEQUENCE)?;
        let issuer = name(expect(&mut body, SEQUENCE)?)?;
        let mut validity = expect(&mut body, SEQUENCE)?;
        let not_before = time(take(&mut validity)?)?;
        let not_after = time(take(&mut validity)?)?;
        let owner = expect(&mut body, SEQUENCE)?;
        let subject = name(owner)?;
        expect(&mut body, SEQUENCE)?;
        let mut names = Names::default();
        while !body.is_empty() {
            if let (0xa3, mut content) = take(&mut body)? {
                names = alternatives(expect(&mut content, SEQUENCE)?)?;
            }
        }
        let digits = serial.iter().skip_while(|b| **b == 0);
        let serial: String = digits.map(|b| format!("{b:02x}")).collect();
        Some(Self {
            serial,
            issuer,
            subject,
            common_name: texts(owner, COMMON_NAME)?.pop().unwrap_or_default(),
            organizations: texts(owner, ORGANIZATION)?,
            not_before,
            not_after,
            dns_names: names.dns,
            uris: names.uris,
            emails: names.emails,
            addresses: names.addresses,
        })
    }
}

const COMMON_NAME: &[u8] = &[85, 4, 3];
const ORGANIZATION: &[u8] = &[85, 4, 10];

/// Names of attributes that are written short.
const SHORT: [(&[u8], &str); 8] = [
    (&[85, 4, 6], "C"),
    (ORGANIZATION, "O"),
    (&[85, 4, 11], "OU"),
    (COMMON_NAME, "CN"),
    (&[85, 4, 5], "SERIALNUMBER"),
    (&[85, 4, 7], "L"),
    (&[85, 4, 8], "ST"),
    (&[85, 4, 9], "STREET"),
];

/// A name, the last part first.
fn name(mut bytes: &[u8]) -> Option<String> {
    let mut parts = Vec::new();
    while !bytes.is_empty() {
        let mut set = expect(&mut bytes, 0x31)?;
        let mut together = Vec::new();
        while !set.is_empty() {
            let mut pair = expect(&mut set, SEQUENCE)?;
            let (kind, (_, value)) = (expect(&mut pair, 0x06)?, take(&mut pair)?);
            let short = SHORT.iter().find(|(id, _)| *id == kind);
            let label = short.map_or_else(|| dotted(kind), |(_, name)| (*name).to_owned());
            let value = escape(&String::from_utf8_lossy(value));
            together.push(format!("{label}={value}"));
        }
        parts.push(together.join("+"));
    }
    parts.reverse();
    Some(parts.join(","))
}

/// Values of one attribute of a name, in its order.
fn texts(mut bytes: &[u8], wanted: &[u8]) -> Option<Vec<String>> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let mut set = expect(&mut bytes, 0x31)?;
        while !set.is_empty() {
            let mut pair = expect(&mut set, SEQUENCE)?;
            let (kind, (_, value)) = (expect(&mut pair, 0x06)?, take(&mut pair)?);
            if kind == wanted {
                found.push(String::from_utf8_lossy(value).into_owned());
            }
        }
    }
    Some(found)
}

fn dotted(id: &[u8]) -> String {
    let mut numbers = Vec::new();
    let mut number = 0u64;
    for (index, byte) in id.iter().enumerate() {
        number = number << 7 | u64::from(byte & 0x7f);
        if byte & 0x80 != 0 {
            continue;
        }
        if numbers.is_empty() && index < 10 {
            let first = (number / 40).min(2);
            numbers.push(first);
            number -= first * 40;
        }
        numbers.push(number);
        number = 0;
    }
    let texts: Vec<String> = numbers.iter().map(u64::to_string).collect();
    texts.join(".")
}

fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for (index, c) in text.chars().enumerate() {
        let special = ",+\"\\<>;".contains(c) || index == 0 && (c == '#' || c == ' ');
        if special {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

/// `YYMMDDHHMMSSZ` or `YYYYMMDDHHMMSSZ`, as seconds since 1970.
fn time((tag, text): Element<'_>) -> Option<i64> {
    let text = std::str::from_utf8(text).ok()?.strip_suffix('Z')?;
    if !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let years = match tag {
        0x17 => 2,
        0x18 => 4,
        _ => return None,
    };
    let part = |from: usize, to: usize| text.get(from..to)?.parse::<i64>().ok();
    let mut year = part(0, years)?;
    if years == 2 {
        year += if year < 50 { 2000 } else { 1900 };
    }
    let at = |index: usize| part(years + 2 * index, years + 2 * index + 2);
    let (month, day, hour, minute) = (at(0)?, at(1)?, at(2)?, at(3)?);
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let seconds = hour * 3600 + minute * 60 + at(4)?;
    Some(days_from_civil(year, month, day) * 86_400 + seconds)
}

/// Alternative names.
#[derive(Debug, Default)]
struct Names {
    dns: Vec<String>,
    uris: Vec<String>,
    emails: Vec<String>,
    addresses: Vec<IpAddr>,
}

impl Names {
    fn push(&mut self, (tag, name): Element<'_>) {
        let text = || String::from_utf8_lossy(name).into_owned();
        match tag {
            0x81 => self.emails.push(text()),
            0x82 => self.dns.push(text()),
            0x86 => self.uris.push(text()),
            0x87 => {
                let four = <[u8; 4]>::try_from(name).map(IpAddr::from);
                let address = four.or_else(|_| <[u8; 16]>::try_from(name).map(IpAddr::from));
                self.addresses.extend(address);
            }
            _ => {}
        }
    }
}

/// The alternative names among the extensions.
fn alternatives(mut bytes: &[u8]) -> Option<Names> {
    let mut out = Names::default();
    while !bytes.is_empty() {
        let mut extension = expect(&mut bytes, SEQUENCE)?;
        if expect(&mut extension, 0x06)? != [85, 29, 17] {
            continue;
        }
        let (mut tag, mut content) = take(&mut extension)?;
        if tag == 0x01 {
            (tag, content) = take(&mut extension)?;
        }
        if tag != 0x04 {
            return None;
        }
        let mut names = expect(&mut content, SEQUENCE)?;
        while !names.is_empty() {
            out.push(take(&mut names)?);
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// One element.
    fn der(tag: u8, content: &[u8]) -> Vec<u8> {
        let mut out = vec![tag];
        match u8::try_from(content.len()) {
            Ok(length) if length < 0x80 => out.push(length),
            _ => {
                out.push(0x82);
                out.extend(u16::try_from(content.len()).unwrap().to_be_bytes());
            }
        }
        out.extend(content);
        out
    }

    fn seq(parts: &[Vec<u8>]) -> Vec<u8> {
        der(SEQUENCE, &parts.concat())
    }

    fn named(id: &[u8], text: &str) -> Vec<u8> {
        der(0x31, &seq(&[der(0x06, id), der(0x0c, text.as_bytes())]))
    }

    fn certificate() -> Vec<u8> {
        let issuer = seq(&[named(&[85, 4, 10], "A, B"), named(&[85, 4, 3], "root")]);
        let subject = seq(&[named(&[0x2a, 0x86, 0x48, 0x01], "x")]);
        let validity = seq(&[der(0x17, b"200102030405Z"), der(0x18, b"20510101000000Z")]);
        let names = seq(&[
            der(0x82, b"a.example"),
            der(0x87, &[1, 2, 3, 4]),
            der(0x86, b"spiffe://a/b"),
            der(0x81, b"a@example"),
            der(0x82, b"b.example"),
        ]);
        let extension = seq(&[
            der(0x06, &[85, 29, 17]),
            der(0x01, &[0xff]),
            der(0x04, &names),
        ]);
        let body = seq(&[
            der(0xa0, &der(0x02, &[2])),
            der(0x02, &[0, 0xab, 1]),
            seq(&[]),
            issuer,
            validity,
            subject,
            seq(&[]),
            der(
                0xa3,
                &seq(&[seq(&[der(0x06, &[85, 29, 15]), der(0x04, &[])]), extension]),
            ),
        ]);
        seq(&[body, seq(&[]), der(0x03, &[0; 200])])
    }

    #[test]
    fn what_probes_tell() {
        let found = Certificate::decode(&certificate()).unwrap();
        assert_eq!(
            found,
            Certificate {
                serial: "ab01".into(),
                issuer: "CN=root,O=A\\, B".into(),
                subject: "1.2.840.1=x".into(),
                common_name: String::new(),
                organizations: Vec::new(),
                not_before: 1_577_934_245,
                not_after: 2_556_144_000,
                dns_names: vec!["a.example".into(), "b.example".into()],
                uris: vec!["spiffe://a/b".into()],
                emails: vec!["a@example".into()],
                addresses: vec![[1, 2, 3, 4].into()],
            }
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn damage_does_not_panic(at in 0usize..300, byte in any::<u8>(), cut in 0usize..400, bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            let mut der = certificate();
            if let Some(place) = der.get_mut(at) {
                *place = byte;
            }
            der.truncate(cut);
            for input in [der, bytes] {
                if let Some(found) = Certificate::decode(&input) {
                    prop_assert!(found.dns_names.len() <= input.len());
                }
            }
        }
    }
}
