//! The built-in detectors: from the place of a literal to the bytes that must go.
//!
//! Each is a function that reads a few bytes around a hit of the prefilter and says which range is
//! a secret, or none. Invariants: ranges lie inside the text; a detector reads at most
//! [`REACH_MAX`] bytes to either side but for private keys, so that hostile text costs linear time;
//! nothing is decided from bytes outside the text.

use std::ops::Range;

use base64::Engine as _;

/// Longest secret that is looked at on one side of a hit.
const REACH_MAX: usize = 8 << 10;

/// What finds a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Bearer,
    Basic,
    Cloud,
    Jwt,
    PrivateKey,
    Url,
    KeyValue,
    Email,
}

/// The literals of the prefilter, which ignores case, and what each of them may begin.
pub(super) const LITERALS: [(&str, Kind); 41] = [
    ("bearer", Kind::Bearer),
    ("basic ", Kind::Basic),
    ("akia", Kind::Cloud),
    ("asia", Kind::Cloud),
    ("aiza", Kind::Cloud),
    ("ghp_", Kind::Cloud),
    ("gho_", Kind::Cloud),
    ("ghu_", Kind::Cloud),
    ("ghs_", Kind::Cloud),
    ("ghr_", Kind::Cloud),
    ("github_pat_", Kind::Cloud),
    ("glpat-", Kind::Cloud),
    ("xoxa-", Kind::Cloud),
    ("xoxb-", Kind::Cloud),
    ("xoxp-", Kind::Cloud),
    ("xoxr-", Kind::Cloud),
    ("xoxs-", Kind::Cloud),
    ("sk_live_", Kind::Cloud),
    ("rk_live_", Kind::Cloud),
    ("npm_", Kind::Cloud),
    ("ya29.", Kind::Cloud),
    ("accountkey=", Kind::KeyValue),
    ("sharedaccesskey=", Kind::KeyValue),
    ("eyj", Kind::Jwt),
    ("-----begin ", Kind::PrivateKey),
    ("://", Kind::Url),
    ("passw", Kind::KeyValue),
    ("passphrase", Kind::KeyValue),
    ("pwd", Kind::KeyValue),
    ("secret", Kind::KeyValue),
    ("token", Kind::KeyValue),
    ("api_key", Kind::KeyValue),
    ("apikey", Kind::KeyValue),
    ("api-key", Kind::KeyValue),
    ("access_key", Kind::KeyValue),
    ("accesskey", Kind::KeyValue),
    ("access-key", Kind::KeyValue),
    ("private_key", Kind::KeyValue),
    ("credential", Kind::KeyValue),
    ("authorization", Kind::KeyValue),
    ("@", Kind::Email),
];

/// Name of the detector, as configured and counted.
pub(super) fn detector(kind: Kind) -> &'static str {
    match kind {
        Kind::Bearer | Kind::Basic => "authorization",
        Kind::Cloud => "cloud_key",
        Kind::Jwt => "jwt",
        Kind::PrivateKey => "private_key",
        Kind::Url => "url_password",
        Kind::KeyValue => "key_value",
        Kind::Email => "email",
    }
}

/// The secret that the literal at `hit` begins or belongs to.
pub(super) fn find(kind: Kind, text: &[u8], hit: Range<usize>) -> Option<Range<usize>> {
    match kind {
        Kind::Bearer => bearer(text, hit),
        Kind::Basic => basic(text, hit),
        Kind::Cloud => cloud(text, hit),
        Kind::Jwt => jwt(text, hit),
        Kind::PrivateKey => private_key(text, hit),
        Kind::Url => url(text, hit),
        Kind::KeyValue => key_value(text, hit),
        Kind::Email => email(text, hit),
    }
}

/// The end of the run of accepted bytes from `from`.
fn run(text: &[u8], from: usize, accept: impl Fn(u8) -> bool) -> usize {
    let rest = &text[from.min(text.len())..];
    let rest = &rest[..rest.len().min(REACH_MAX)];
    from + rest.iter().position(|b| !accept(*b)).unwrap_or(rest.len())
}

/// The begin of the run of accepted bytes that ends before `until`.
fn run_back(text: &[u8], until: usize, accept: impl Fn(u8) -> bool) -> usize {
    let rest = &text[until.saturating_sub(REACH_MAX)..until];
    let kept = rest.iter().rev().take_while(|b| accept(**b)).count();
    until - kept
}

fn word(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b == b'_'
}

fn begins_word(text: &[u8], at: usize) -> bool {
    at == 0 || !word(text[at - 1])
}

fn token68(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b"-._~+/=".contains(&b)
}

fn spaces(text: &[u8], from: usize) -> usize {
    run(text, from, |b| b == b' ' || b == b'\t')
}

fn bearer(text: &[u8], hit: Range<usize>) -> Option<Range<usize>> {
    let begin = spaces(text, hit.end);
    if begin == hit.end || !begins_word(text, hit.start) {
        return None;
    }
    let end = run(text, begin, token68);
    let secret = &text[begin..end];
    // "bearer certificates are" is prose; credentials are long or not only lower case.
    let prose = secret.iter().all(|b| b.is_ascii_lowercase() || *b == b'.');
    let enough = if prose { 20 } else { 6 };
    (secret.len() >= enough).then_some(begin..end)
}

fn basic(text: &[u8], hit: Range<usize>) -> Option<Range<usize>> {
    let begin = spaces(text, hit.end);
    let end = run(text, begin, |b| {
        b.is_ascii_alphanumeric() || b"+/=-_".contains(&b)
    });
    if !begins_word(text, hit.start) || end - begin < 4 {
        return None;
    }
    let trimmed: Vec<u8> = text[begin..end]
        .iter()
        .copied()
        .filter(|b| *b != b'=')
        .collect();
    let plain = base64::engine::general_purpose::STANDARD_NO_PAD.decode(&trimmed);
    plain.is_ok_and(|p| p.contains(&b':')).then_some(begin..end)
}

fn cloud(text: &[u8], hit: Range<usize>) -> Option<Range<usize>> {
    let literal = &text[hit.clone()];
    let upper = |b: u8| b.is_ascii_uppercase() || b.is_ascii_digit();
    let (end, enough) = match literal {
        b"AKIA" | b"ASIA" => (run(text, hit.end, upper), 16),
        b"AIza" => (run(text, hit.end, |b| word(b) || b == b'-'), 30),
        b"ghp_" | b"gho_" | b"ghu_" | b"ghs_" | b"ghr_" => (run(text, hit.end, word), 20),
        b"npm_" => (run(text, hit.end, |b| b.is_ascii_alphanumeric()), 30),
        b"github_pat_" => (run(text, hit.end, word), 20),
        b"sk_live_" | b"rk_live_" => (run(text, hit.end, word), 10),
        b"glpat-" | b"xoxa-" | b"xoxb-" | b"xoxp-" | b"xoxr-" | b"xoxs-" => {
            (run(text, hit.end, |b| word(b) || b == b'-'), 10)
        }
        b"ya29." => (run(text, hit.end, |b| word(b) || b == b'-'), 20),
        _ => return None,
    };
    let found = begins_word(text, hit.start) && end - hit.end >= enough;
    found.then_some(hit.start..end)
}

fn jwt(text: &[u8], hit: Range<usize>) -> Option<Range<usize>> {
    let part = |b: u8| word(b) || b == b'-';
    if &text[hit.clone()] != b"eyJ" || !begins_word(text, hit.start) {
        return None;
    }
    let header = run(text, hit.end, part);
    if header - hit.start < 8 || text.get(header) != Some(&b'.') {
        return None;
    }
    let claims = run(text, header + 1, part);
    if claims - header < 8 {
        return None;
    }
    let mut end = claims;
    // The signature; encrypted tokens have five parts.
    while text.get(end) == Some(&b'.') && run(text, end + 1, part) > end + 1 {
        end = run(text, end + 1, part);
    }
    Some(hit.start..end)
}

/// First line of a key, which is not secret.
pub(super) const KEY_ENDS: &[u8] = b"-----END ";

fn private_key(text: &[u8], hit: Range<usize>) -> Option<Range<usize>> {
    let label = run(text, hit.end, |b| {
        b.is_ascii_uppercase() || b.is_ascii_digit() || b == b' '
    });
    if !text[hit.end..label].ends_with(b"PRIVATE KEY") {
        return None;
    }
    let begin = run(text, label, |b| b == b'-');
    let end = memchr::memmem::find(&text[begin..], KEY_ENDS);
    Some(begin..end.map_or(text.len(), |at| begin + at))
}

/// Whether a text is the last line of a private key that began on a line before.
pub(super) fn ends_key(text: &[u8]) -> bool {
    let find = |what: &[u8]| memchr::memmem::find(text, what);
    find(KEY_ENDS)
        .is_some_and(|at| memchr::memmem::find(&text[at..], b"PRIVATE KEY-----").is_some())
        && find(b"-----BEGIN ").is_none()
}

/// Whether a text is a line inside a private key: base64, or one of its headers.
pub(super) fn is_key_line(text: &[u8]) -> bool {
    let text = text.trim_ascii();
    let base64 = |b: &u8| b.is_ascii_alphanumeric() || b"+/=".contains(b);
    let header = text.starts_with(b"Proc-Type:") || text.starts_with(b"DEK-Info:");
    header || (text.len() <= 128 && text.iter().all(base64))
}

fn url(text: &[u8], hit: Range<usize>) -> Option<Range<usize>> {
    let authority = |b: u8| b > b' ' && !b"/?#\"'<>\\`".contains(&b);
    let end = run(text, hit.end, authority);
    let at = text[hit.end..end].iter().rposition(|b| *b == b'@')?;
    let colon = text[hit.end..hit.end + at]
        .iter()
        .position(|b| *b == b':')?;
    let begin = hit.end + colon + 1;
    let scheme = hit.start > 0 && text[hit.start - 1].is_ascii_alphanumeric();
    (scheme && begin < hit.end + at).then_some(begin..hit.end + at)
}

/// Whether a key that has the word of a hit is one of a secret: the rest of it must not make it
/// another word, as in `tokens` or `secretary`.
fn secret_key(text: &[u8], hit: &Range<usize>, end: usize) -> bool {
    let rest = &text[hit.end..end];
    let literal = text[hit.clone()].to_ascii_lowercase();
    if literal == b"passw" {
        return true;
    }
    if literal.ends_with(b"=") {
        return true;
    }
    let rest: Vec<u8> = rest.to_ascii_lowercase();
    match rest.as_slice() {
        b"" => true,
        b"s" => literal == b"credential",
        // secret_key, SecretAccessKey, token_value, access_key_id is none.
        rest => {
            let rest = rest
                .strip_prefix(b"_")
                .or(rest.strip_prefix(b"-"))
                .unwrap_or(rest);
            [
                &b"key"[..],
                b"access_key",
                b"accesskey",
                b"access-key",
                b"value",
                b"hash",
                b"string",
            ]
            .contains(&rest)
        }
    }
}

/// Whether an attribute's or label's name alone says that its value is secret.
pub(super) fn is_secret_name(name: &[u8], hit: Range<usize>) -> bool {
    let end = run(name, hit.end, |b| word(b) || b == b'-');
    secret_key(name, &hit, end) && end == name.len()
}

fn key_value(text: &[u8], hit: Range<usize>) -> Option<Range<usize>> {
    let at_sign = text[hit.end - 1] == b'=';
    let mut at = if at_sign {
        hit.end
    } else {
        let end = run(text, hit.end, |b| word(b) || b == b'-');
        if !secret_key(text, &hit, end) {
            return None;
        }
        let mut at = end;
        // A closing quote of a JSON key, escaped where JSON is inside JSON.
        while text.get(at) == Some(&b'\\') {
            at += 1;
        }
        if matches!(text.get(at), Some(b'"' | b'\'')) {
            at += 1;
        }
        let close = at;
        at = spaces(text, at);
        match text.get(at) {
            // `password= user=x` has no password, `password = x` has one.
            Some(b'=') if close == at && text.get(at + 1) == Some(&b' ') => return None,
            Some(b'=' | b':') => {}
            _ => return None,
        }
        at += 1;
        if text.get(at) == Some(&b'>') {
            at += 1;
        }
        spaces(text, at)
    };
    let mut slashes = 0;
    while text.get(at) == Some(&b'\\') {
        slashes += 1;
        at += 1;
    }
    let range = match text.get(at) {
        Some(quote @ (b'"' | b'\'')) => quoted(text, at + 1, *quote, slashes),
        Some(_) => bare(text, at - slashes),
        None => return None,
    };
    let value = &text[range.clone()];
    let nothing = value.is_empty()
        || value.iter().all(|b| *b == b'*')
        || [&b"null"[..], b"nil", b"none", b"true", b"false"].contains(&value);
    (!nothing && !value.starts_with(b"[REDACTED")).then_some(range)
}

/// A value in quotes: up to the quote that is escaped as often as the first, or to the end.
fn quoted(text: &[u8], begin: usize, quote: u8, slashes: usize) -> Range<usize> {
    let mut at = begin;
    let mut seen = 0;
    while let Some(byte) = text.get(at) {
        match byte {
            b'\\' => seen += 1,
            b if *b == quote && seen <= slashes => return begin..at - seen,
            _ => seen = 0,
        }
        at += 1;
        if at - begin > REACH_MAX {
            break;
        }
    }
    begin..at.min(text.len())
}

/// A value without quotes; after a scheme of authorization the credentials belong to it.
fn bare(text: &[u8], begin: usize) -> Range<usize> {
    let value = |b: u8| b > b' ' && !b"\"',;&)]}<>|".contains(&b);
    let end = run(text, begin, value);
    let scheme = text[begin..end].to_ascii_lowercase();
    let schemes = [
        &b"bearer"[..],
        b"basic",
        b"token",
        b"digest",
        b"negotiate",
        b"apikey",
    ];
    if schemes.contains(&scheme.as_slice()) {
        let next = spaces(text, end);
        return next..run(text, next, value);
    }
    begin..end
}

fn email(text: &[u8], hit: Range<usize>) -> Option<Range<usize>> {
    let local = |b: u8| b.is_ascii_alphanumeric() || b"._%+-".contains(&b);
    let begin = run_back(text, hit.start, local);
    let domain = |b: u8| b.is_ascii_alphanumeric() || b".-".contains(&b);
    let mut end = run(text, hit.end, domain);
    while end > hit.end && !text[end - 1].is_ascii_alphanumeric() {
        end -= 1;
    }
    let host = &text[hit.end..end];
    let dot = host.iter().rposition(|b| *b == b'.')?;
    let top = &host[dot + 1..];
    let plausible = top.len() >= 2 && top.iter().all(u8::is_ascii_alphabetic) && dot > 0;
    (plausible && begin < hit.start).then_some(begin..end)
}

/// Distance at which bytes are looked at for card numbers: the shortest has 13 bytes, so two
/// neighbours of the looked-at places lie inside each.
const CARD_STEP: usize = 6;

fn card_byte(b: u8) -> bool {
    b.is_ascii_digit() || b == b' ' || b == b'-'
}

/// Card numbers: 13 to 19 digits, alone or in groups, whose checksum is right.
pub(super) fn cards(text: &[u8], found: &mut impl FnMut(Range<usize>)) {
    let mut at = CARD_STEP;
    while at < text.len() {
        if !card_byte(text[at]) || !card_byte(text[at - CARD_STEP]) {
            at += CARD_STEP;
            continue;
        }
        let (mut begin, mut end) = (at, at);
        while begin > 0 && card_byte(text[begin - 1]) && at - begin < 64 {
            begin -= 1;
        }
        while end < text.len() && card_byte(text[end]) && end - at < 64 {
            end += 1;
        }
        if let Some(card) = card(text, begin..end) {
            found(card);
        }
        at = end.max(at) + CARD_STEP;
    }
}

/// A card number in a run of digits and separators.
fn card(text: &[u8], run: Range<usize>) -> Option<Range<usize>> {
    let outer = |at: usize| {
        text.get(at)
            .is_some_and(|b| b.is_ascii_alphabetic() || *b == b'_')
    };
    let mut begin = run.start;
    while begin < run.end {
        if !text[begin].is_ascii_digit() {
            begin += 1;
            continue;
        }
        let (mut digits, mut at, mut end, mut best) = (Vec::with_capacity(20), begin, begin, None);
        while at < run.end && digits.len() < 20 {
            match text[at] {
                digit if digit.is_ascii_digit() => {
                    digits.push(digit - b'0');
                    end = at + 1;
                    let whole = text.get(end).is_none_or(|b| !b.is_ascii_digit());
                    if whole && (13..=19).contains(&digits.len()) && luhn(&digits) {
                        best = Some(begin..end);
                    }
                }
                // One separator between groups.
                _ if end != at => break,
                _ => {}
            }
            at += 1;
        }
        let alone = !(begin > 0 && (outer(begin - 1) || text[begin - 1] == b'.'));
        if let Some(best) = best.filter(|b| alone && !outer(b.end)) {
            return Some(best);
        }
        // The next group of digits.
        begin = crate::redact::detect::run(text, begin, |b| b.is_ascii_digit());
    }
    None
}

fn luhn(digits: &[u8]) -> bool {
    // Networks' first digits; serial numbers and times begin otherwise more often than not.
    if !matches!(digits[0], 2..=6) || digits.iter().all(|d| *d == digits[0]) {
        return false;
    }
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(index, digit)| match (index % 2, u32::from(*digit) * 2) {
            (0, _) => u32::from(*digit),
            (_, twice) => twice / 10 + twice % 10,
        })
        .sum();
    sum.is_multiple_of(10)
}

/// Addresses of the internet protocol, versions 4 and 6.
pub(super) fn addresses(text: &[u8], found: &mut impl FnMut(Range<usize>)) {
    let part = |b: u8| b.is_ascii_hexdigit() || b == b'.' || b == b':';
    let mut at = 0;
    while at < text.len() {
        if !part(text[at]) || (at > 0 && (word(text[at - 1]) || part(text[at - 1]))) {
            at += 1;
            continue;
        }
        let end = run(text, at, part);
        let mut whole = &text[at..end];
        while let Some(cut) = whole.strip_suffix(b":").or(whole.strip_suffix(b".")) {
            whole = cut;
        }
        let known = |bytes: &[u8]| -> bool {
            std::str::from_utf8(bytes).is_ok_and(|t| t.parse::<std::net::IpAddr>().is_ok())
        };
        let length = if known(&text[at..end]) {
            Some(end - at)
        } else if known(whole) {
            Some(whole.len())
        } else {
            // `10.0.0.1:8080`
            let colon = whole.iter().position(|b| *b == b':');
            colon.filter(|colon| known(&whole[..*colon]))
        };
        let follows = length.is_some_and(|l| text.get(at + l).is_some_and(|b| word(*b)));
        match length.filter(|_| !follows) {
            Some(length) => {
                found(at..at + length);
                at += length;
            }
            None => at = end.max(at + 1),
        }
    }
}
