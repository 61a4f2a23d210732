//! Who asks, and what a request shows for it.
//!
//! Invariant: credentials are taken from headers and certificates only, never from an address.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, header};
use obs_wire::x509;

use crate::config::{CertificateName, CertificateNames};
use crate::token_review::User;

/// Longest value of a header that is looked at: tokens of some issuers are long.
const HEADER_BYTES_MAX: usize = 32 << 10;

/// Somebody who has shown who they are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Identity {
    /// The name, after the prefix of who vouches for it.
    pub(crate) name: String,
    /// Groups, after the same.
    pub(crate) groups: Vec<String>,
    /// What a JWT claims, as far as it is text.
    pub(crate) claims: Vec<(String, String)>,
    /// By what.
    pub(crate) how: How,
}

/// By what somebody has shown who they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum How {
    /// A token of the configuration.
    #[default]
    Token,
    /// A password.
    Password,
    /// A JWT.
    Jwt,
    /// A token of a cluster.
    Kubernetes,
    /// A certificate.
    Certificate,
}

impl How {
    /// For the audit log.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::Password => "password",
            Self::Jwt => "jwt",
            Self::Kubernetes => "kubernetes",
            Self::Certificate => "certificate",
        }
    }

    /// Whether browsers send it without being asked by the page.
    pub(crate) fn is_ambient(self) -> bool {
        matches!(self, Self::Password | Self::Certificate)
    }
}

/// What a request's headers show.
#[derive(PartialEq, Eq)]
pub(super) enum Shown {
    /// Nothing.
    Nothing,
    /// A name and a password.
    Basic { user: String, password: String },
    /// A token.
    Token(String),
    /// Something that is none of these.
    Unknown,
}

impl Shown {
    /// Reads the headers. Senders of other systems have schemes of their own for tokens: `Splunk`,
    /// `Token` (Influx), `ApiKey` (Elastic), and the header `DD-API-KEY`.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let Some(value) = headers.get(header::AUTHORIZATION) else {
            return match headers.get("dd-api-key").map(|value| value.to_str()) {
                Some(Ok(key)) if !key.is_empty() && key.len() <= HEADER_BYTES_MAX => {
                    Self::Token(key.to_owned())
                }
                Some(_) => Self::Unknown,
                None => Self::Nothing,
            };
        };
        if value.len() > HEADER_BYTES_MAX {
            return Self::Unknown;
        }
        let text = value.to_str().unwrap_or_default().trim();
        let Some((scheme, rest)) = text.split_once(' ') else {
            return Self::Unknown;
        };
        let rest = rest.trim();
        match scheme.to_ascii_lowercase().as_str() {
            "basic" => match pair(rest) {
                Some((user, password)) => Self::Basic { user, password },
                None => Self::Unknown,
            },
            "bearer" | "splunk" | "token" if !rest.is_empty() => Self::Token(rest.to_owned()),
            // `id:key` in base64; the key is the token.
            "apikey" => match pair(rest) {
                Some((_, key)) => Self::Token(key),
                None => Self::Token(rest.to_owned()),
            },
            _ => Self::Unknown,
        }
    }
}

fn pair(encoded: &str) -> Option<(String, String)> {
    let plain = String::from_utf8(STANDARD.decode(encoded).ok()?).ok()?;
    let (user, password) = plain.split_once(':')?;
    Some((user.to_owned(), password.to_owned()))
}

/// The user that a token of a cluster is of.
pub(super) fn of_cluster(user: User, prefix: &str) -> Identity {
    Identity {
        name: format!("{prefix}{}", user.name),
        groups: prefixed(user.groups, prefix),
        claims: Vec::new(),
        how: How::Kubernetes,
    }
}

/// Who a certificate names; its organizations are groups.
pub(super) fn of_certificate(der: &[u8], names: &CertificateNames) -> Option<Identity> {
    let found = x509::Certificate::decode(der)?;
    let name = match names.name {
        CertificateName::CommonName => Some(found.common_name),
        CertificateName::Dns => found.dns_names.into_iter().next(),
        CertificateName::Uri => found.uris.into_iter().next(),
        CertificateName::Email => found.emails.into_iter().next(),
    };
    let name = name.filter(|name| !name.is_empty())?;
    Some(Identity {
        name: format!("{}{name}", names.prefix),
        groups: prefixed(found.organizations, &names.prefix),
        claims: Vec::new(),
        how: How::Certificate,
    })
}

pub(super) fn prefixed(names: Vec<String>, prefix: &str) -> Vec<String> {
    let names = names.into_iter();
    names.map(|name| format!("{prefix}{name}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_in_headers() {
        let check = |name: &'static str, value: &str, expect: Shown| {
            let mut headers = HeaderMap::new();
            headers.insert(name, value.parse().expect("a header value"));
            assert!(Shown::of(&headers) == expect, "{name}: {value}");
        };
        let basic = |user: &str, password: &str| Shown::Basic {
            user: user.to_owned(),
            password: password.to_owned(),
        };
        let token = |text: &str| Shown::Token(text.to_owned());
        check("authorization", "Basic YW5uOnA6dw==", basic("ann", "p:w"));
        check("authorization", "basic YW5uOg==", basic("ann", ""));
        check("authorization", "Basic YW5u", Shown::Unknown);
        check("authorization", "Basic ?", Shown::Unknown);
        for scheme in ["Bearer", "bearer", "Splunk", "Token"] {
            check("authorization", &format!("{scheme} abc"), token("abc"));
        }
        check("authorization", "ApiKey aWQ6a2V5", token("key"));
        check("authorization", "Bearer", Shown::Unknown);
        check("authorization", "Negotiate abc", Shown::Unknown);
        check(
            "authorization",
            &format!("Bearer {}", "x".repeat(40_000)),
            Shown::Unknown,
        );
        check("dd-api-key", "abc", token("abc"));
        check("x-other", "abc", Shown::Nothing);
    }
}
