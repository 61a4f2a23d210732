//! Amazon's signatures of requests, version 4
//! (docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html).
//!
//! Invariant: the same request, credentials and time have the same signature; the time is told.

use obs_model::Timestamp;
use ring::digest::{SHA256, digest};
use ring::hmac;

/// Who signs.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Credentials {
    /// The name of the key.
    pub access_key: String,
    /// The key.
    pub secret_key: String,
    /// What goes with keys that end.
    pub session_token: String,
}

impl Credentials {
    /// The credentials of a profile in a file such as `~/.aws/credentials`; nothing without both
    /// keys.
    pub fn of_profile(text: &str, profile: &str) -> Option<Self> {
        let mut found = Self::default();
        // Keys before any profile are those of the default one.
        let mut inside = profile == "default";
        for line in text.lines().map(str::trim) {
            let name = line
                .strip_prefix('[')
                .and_then(|rest| rest.strip_suffix(']'));
            if let Some(name) = name {
                inside = name.trim() == profile;
            }
            let Some((key, value)) = line.split_once('=').filter(|_| inside) else {
                continue;
            };
            let place = match key.trim() {
                "aws_access_key_id" => &mut found.access_key,
                "aws_secret_access_key" => &mut found.secret_key,
                "aws_session_token" => &mut found.session_token,
                _ => continue,
            };
            value.trim().clone_into(place);
        }
        (!found.access_key.is_empty() && !found.secret_key.is_empty()).then_some(found)
    }
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Credentials")
            .field(&self.access_key)
            .finish()
    }
}

/// What is signed.
#[derive(Clone, Copy, Debug)]
pub struct Unsigned<'a> {
    /// Such as `POST`.
    pub method: &'a str,
    /// Host, with its port where that is not the scheme's.
    pub host: &'a str,
    /// The path as it is sent, encoded once.
    pub path: &'a str,
    /// What stands after `?`, as it is sent.
    pub query: &'a str,
    /// Headers that are signed beside those that signing adds; names are lower-case.
    pub headers: &'a [(&'a str, &'a str)],
    /// The body.
    pub body: &'a [u8],
}

/// For which service, where and when.
#[derive(Clone, Copy, Debug)]
pub struct Scope<'a> {
    /// Such as `eu-central-1`.
    pub region: &'a str,
    /// Such as `sns`.
    pub service: &'a str,
    /// When the request is made.
    pub now: Timestamp,
}

/// The headers that make a request a signed one: `authorization`, `x-amz-date`,
/// `x-amz-content-sha256` and, where there is one, `x-amz-security-token`.
pub fn sign(
    request: &Unsigned<'_>,
    credentials: &Credentials,
    scope: &Scope<'_>,
) -> Vec<(&'static str, String)> {
    let (day, time) = moments(scope.now);
    let body = hex(digest(&SHA256, request.body).as_ref());
    let mut added = vec![
        ("x-amz-content-sha256", body.clone()),
        ("x-amz-date", time.clone()),
    ];
    if !credentials.session_token.is_empty() {
        added.push(("x-amz-security-token", credentials.session_token.clone()));
    }
    let mut headers = vec![("host", request.host)];
    headers.extend(request.headers);
    headers.extend(added.iter().map(|(name, value)| (*name, value.as_str())));
    headers.sort_unstable();
    let names: Vec<&str> = headers.iter().map(|(name, _)| *name).collect();
    let names = names.join(";");
    let mut canonical = format!(
        "{}\n{}\n{}\n",
        request.method,
        again(request.path, scope.service),
        sorted(request.query)
    );
    for (name, value) in &headers {
        let words: Vec<&str> = value.split_ascii_whitespace().collect();
        canonical.push_str(&format!("{name}:{}\n", words.join(" ")));
    }
    canonical.push_str(&format!("\n{names}\n{body}"));
    let place = format!("{day}/{}/{}/aws4_request", scope.region, scope.service);
    let hash = hex(digest(&SHA256, canonical.as_bytes()).as_ref());
    let text = format!("AWS4-HMAC-SHA256\n{time}\n{place}\n{hash}");
    let mut key = format!("AWS4{}", credentials.secret_key).into_bytes();
    for part in [day.as_str(), scope.region, scope.service, "aws4_request"] {
        key = mac(&key, part);
    }
    let signature = hex(&mac(&key, &text));
    let authorization = format!(
        "AWS4-HMAC-SHA256 Credential={}/{place}, SignedHeaders={names}, Signature={signature}",
        credentials.access_key
    );
    added.push(("authorization", authorization));
    added
}

fn mac(key: &[u8], text: &str) -> Vec<u8> {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    hmac::sign(&key, text.as_bytes()).as_ref().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// `20150830` and `20150830T123600Z`.
fn moments(now: Timestamp) -> (String, String) {
    let plain = Timestamp::from_seconds(now.nanos().div_euclid(1_000_000_000)).to_string();
    let time: String = plain.chars().filter(|c| !"-:".contains(*c)).collect();
    let day = time.split('T').next().unwrap_or("").to_owned();
    (day, time)
}

/// A path is encoded once more for the signature, but for S3.
fn again(path: &str, service: &str) -> String {
    let path = if path.is_empty() { "/" } else { path };
    if service == "s3" {
        return path.to_owned();
    }
    let mut out = String::with_capacity(path.len());
    for byte in path.bytes() {
        match byte {
            b'/' | b'-' | b'_' | b'.' | b'~' => out.push(char::from(byte)),
            byte if byte.is_ascii_alphanumeric() => out.push(char::from(byte)),
            byte => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// Parameters in order of their names; one without a value has an empty one.
fn sorted(query: &str) -> String {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    let mut pairs: Vec<(&str, &str)> = pairs
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .collect();
    pairs.sort_unstable();
    let pairs: Vec<String> = pairs.iter().map(|(k, v)| format!("{k}={v}")).collect();
    pairs.join("&")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The request of Amazon's own description of version 4.
    #[test]
    fn the_example_of_the_description_is_signed() {
        let credentials = Credentials {
            access_key: "AKIDEXAMPLE".to_owned(),
            secret_key: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".to_owned(),
            session_token: String::new(),
        };
        let key = format!("AWS4{}", credentials.secret_key).into_bytes();
        let parts = ["20150830", "us-east-1", "iam", "aws4_request"];
        let key = parts.iter().fold(key, |key, part| mac(&key, part));
        assert_eq!(
            hex(&key),
            "c4afb1cc5771d871763a393e44b703571b55cc28424d1a5e86da6ed3c154a4b9"
        );
        let canonical = "f536975d06c0309214f805bb90ccff089219ecd68b2577efef23edd43b7e1a59";
        let text = format!(
            "AWS4-HMAC-SHA256\n20150830T123600Z\n20150830/us-east-1/iam/aws4_request\n{canonical}"
        );
        assert_eq!(
            hex(&mac(&key, &text)),
            "5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7"
        );
    }

    #[test]
    fn profiles_are_read() {
        let text = "[default]\naws_access_key_id = A\naws_secret_access_key=S=\n\n[other]\n# no key\naws_access_key_id=B\n";
        let found = Credentials::of_profile(text, "default").expect("a profile");
        assert_eq!(
            (found.access_key.as_str(), found.secret_key.as_str()),
            ("A", "S=")
        );
        assert_eq!(Credentials::of_profile(text, "other"), None);
        assert_eq!(Credentials::of_profile(text, "none"), None);
        let bare = "aws_access_key_id=A\naws_secret_access_key=S\naws_session_token=T";
        let found = Credentials::of_profile(bare, "default").expect("keys");
        assert_eq!(found.session_token, "T");
        assert_eq!(Credentials::of_profile(bare, "other"), None);
    }

    #[test]
    fn requests_get_their_headers() {
        let credentials = Credentials {
            access_key: "AKID".to_owned(),
            secret_key: "secret".to_owned(),
            session_token: "token".to_owned(),
        };
        let request = Unsigned {
            method: "POST",
            host: "sns.eu-central-1.amazonaws.com",
            path: "/a%20b",
            query: "b=2&a=1&c",
            headers: &[("content-type", "text/plain;  charset=utf-8")],
            body: b"x",
        };
        let scope = Scope {
            region: "eu-central-1",
            service: "sns",
            now: Timestamp::from_seconds(1_440_938_160),
        };
        let headers = sign(&request, &credentials, &scope);
        let of = |name: &str| {
            let found = headers.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| value.as_str()).unwrap_or_default()
        };
        assert_eq!(of("x-amz-date"), "20150830T123600Z");
        assert_eq!(of("x-amz-security-token"), "token");
        let authorization = of("authorization");
        let begin = "AWS4-HMAC-SHA256 Credential=AKID/20150830/eu-central-1/sns/aws4_request, \
                     SignedHeaders=content-type;host;x-amz-content-sha256;x-amz-date;x-amz-security-token, Signature=";
        assert!(authorization.starts_with(begin), "{authorization}");
        assert_eq!(headers, sign(&request, &credentials, &scope));
        let other = Unsigned {
            body: b"y",
            ..request
        };
        assert_ne!(headers, sign(&other, &credentials, &scope));
        assert_eq!(again("/a%20b", "sns"), "/a%2520b");
        assert_eq!(again("/a%20b", "s3"), "/a%20b");
        assert_eq!(sorted("b=2&a=1&c"), "a=1&b=2&c=");
    }
}
