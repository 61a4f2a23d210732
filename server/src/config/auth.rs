//! `obs.auth`: who may ask this server what.
//!
//! Invariants: a secret is read from a file or hidden wherever the configuration is shown; what
//! would let nobody in, or everybody, by an oversight is an error when the file is read.

use std::collections::BTreeMap;
use std::path::PathBuf;

use obs_collector::config::Secret;
use obs_model::limits::Limits;
use obs_model::{MatchOp, Matcher, Tenant, duration};
use serde::Deserialize;
use serde::de::{Deserializer, Error as _};

/// `obs.auth`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AuthConfig {
    /// A `web.yml` of Prometheus: TLS, headers and users. The flag `--web.config.file` wins.
    pub web_config_file: Option<PathBuf>,
    /// The certificate of the listeners.
    pub tls: Option<TlsServerConfig>,
    /// Bearer tokens.
    pub tokens: Vec<TokenConfig>,
    /// Users with passwords.
    pub users: Vec<UserConfig>,
    /// Who issues JWTs.
    pub oidc: Vec<OidcConfig>,
    /// How users are named who show a certificate.
    pub client_certificates: CertificateNames,
    /// Tokens of a cluster's service accounts and users.
    pub token_review: Option<TokenReviewConfig>,
    /// Who may do what.
    pub grants: Vec<GrantConfig>,
    /// When logins that fail are not tried any more.
    pub lockout: LockoutConfig,
    /// Where changes and refused logins are written.
    pub audit_file: Option<PathBuf>,
}

/// `obs.auth.tls`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsServerConfig {
    /// The certificate and those above it, in PEM.
    pub cert_file: PathBuf,
    /// Its key, in PEM.
    pub key_file: PathBuf,
    /// Who signs the certificates of clients.
    #[serde(default)]
    pub client_ca_file: Option<PathBuf>,
    /// Whether clients must show one.
    #[serde(default)]
    pub client_auth: ClientAuth,
    /// The oldest version that is spoken.
    #[serde(default)]
    pub min_version: TlsVersion,
}

/// Whether clients must show a certificate that `client_ca_file` signed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClientAuth {
    /// They may.
    #[default]
    Optional,
    /// They must.
    Required,
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub enum TlsVersion {
    /// 1.2
    #[default]
    #[serde(rename = "TLS12")]
    Tls12,
    /// 1.3
    #[serde(rename = "TLS13")]
    Tls13,
}

/// One of `obs.auth.tokens`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenConfig {
    /// Whose it is.
    pub name: String,
    /// The token.
    #[serde(default)]
    pub token: Option<Secret>,
    /// The file that it is in.
    #[serde(default)]
    pub token_file: Option<PathBuf>,
    /// Its SHA-256 in hexadecimal digits, so that the token itself is nowhere.
    #[serde(default)]
    pub sha256: Option<String>,
    /// Groups of its holder.
    #[serde(default)]
    pub groups: Vec<String>,
}

/// One of `obs.auth.users`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UserConfig {
    /// The name.
    pub name: String,
    /// The hash of the password: argon2id (`$argon2id$…`) or bcrypt (`$2y$…`).
    #[serde(default)]
    pub password_hash: Option<Secret>,
    /// The file that it is in.
    #[serde(default)]
    pub password_hash_file: Option<PathBuf>,
    /// Groups of the user.
    #[serde(default)]
    pub groups: Vec<String>,
}

/// One of `obs.auth.oidc`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OidcConfig {
    /// The `iss` of its tokens; its keys are found below it.
    pub issuer: String,
    /// One of these is in the `aud` of its tokens.
    #[serde(deserialize_with = "one_or_more")]
    pub audience: Vec<String>,
    /// How its tokens may be signed.
    #[serde(default = "algorithms")]
    pub algorithms: Vec<Algorithm>,
    /// Where its keys are, unless discovery says so.
    #[serde(default)]
    pub jwks_url: Option<String>,
    /// Its keys in a file.
    #[serde(default)]
    pub jwks_file: Option<PathBuf>,
    /// The certificates that its server's own must come from.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// The claim with the name of the user.
    #[serde(default = "subject")]
    pub name_claim: String,
    /// The claim with the groups.
    #[serde(default = "groups")]
    pub groups_claim: String,
    /// Stands before names and groups, so that they are nobody else's.
    #[serde(default = "oidc_prefix")]
    pub prefix: String,
    /// How far clocks may differ, in nanoseconds.
    #[serde(default = "leeway", deserialize_with = "span")]
    pub leeway: i64,
}

fn algorithms() -> Vec<Algorithm> {
    vec![Algorithm::Rs256, Algorithm::Es256, Algorithm::EdDsa]
}

fn subject() -> String {
    "sub".to_owned()
}

fn groups() -> String {
    "groups".to_owned()
}

fn oidc_prefix() -> String {
    "oidc:".to_owned()
}

fn leeway() -> i64 {
    30 * obs_model::time::NANOS_PER_SECOND
}

/// How a JWT is signed: by keys that have a public half only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[expect(missing_docs, reason = "the names of RFC 7518")]
pub enum Algorithm {
    #[serde(rename = "RS256")]
    Rs256,
    #[serde(rename = "RS384")]
    Rs384,
    #[serde(rename = "RS512")]
    Rs512,
    #[serde(rename = "PS256")]
    Ps256,
    #[serde(rename = "PS384")]
    Ps384,
    #[serde(rename = "PS512")]
    Ps512,
    #[serde(rename = "ES256")]
    Es256,
    #[serde(rename = "ES384")]
    Es384,
    #[serde(rename = "EdDSA")]
    EdDsa,
}

/// `obs.auth.client_certificates`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CertificateNames {
    /// What of a certificate names its holder.
    pub name: CertificateName,
    /// Stands before names and organizations, which are groups.
    pub prefix: String,
}

impl Default for CertificateNames {
    fn default() -> Self {
        Self {
            name: CertificateName::CommonName,
            prefix: "cert:".to_owned(),
        }
    }
}

/// What of a certificate names its holder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CertificateName {
    /// The common name of the subject.
    CommonName,
    /// The first name of a host among the alternative names.
    Dns,
    /// The first address, such as `spiffe://…`.
    Uri,
    /// The first mail address.
    Email,
}

/// `obs.auth.token_review`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TokenReviewConfig {
    /// One of these must be among the token's audiences; those of the API server where empty.
    pub audiences: Vec<String>,
    /// Stands before names and groups.
    pub prefix: String,
}

impl Default for TokenReviewConfig {
    fn default() -> Self {
        Self {
            audiences: Vec::new(),
            prefix: "k8s:".to_owned(),
        }
    }
}

/// One of `obs.auth.grants`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GrantConfig {
    /// Who: a user,
    #[serde(default)]
    pub user: Option<String>,
    /// a group,
    #[serde(default)]
    pub group: Option<String>,
    /// or who has these claims.
    #[serde(default)]
    pub claim: Option<BTreeMap<String, String>>,
    /// Whose claims: one of `oidc`; must be said where there are several.
    #[serde(default)]
    pub issuer: Option<String>,
    /// Of which tenants; `*` for all.
    #[serde(deserialize_with = "one_or_more")]
    pub tenants: Vec<String>,
    /// What.
    #[serde(deserialize_with = "roles")]
    pub role: Vec<Role>,
    /// Only what these labels have; for reading.
    #[serde(default, deserialize_with = "selector")]
    pub matchers: Vec<Matcher>,
}

/// What somebody may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Ask.
    Read,
    /// Send; together with `Read`, change dashboards, rules and silences.
    Write,
    /// Everything.
    Admin,
}

/// `obs.auth.lockout`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LockoutConfig {
    /// Logins of one user from one address that may fail; 0 for any number.
    pub failures: u32,
    /// In so much time, in nanoseconds.
    #[serde(deserialize_with = "span")]
    pub within: i64,
}

impl Default for LockoutConfig {
    fn default() -> Self {
        Self {
            failures: 10,
            within: 300 * obs_model::time::NANOS_PER_SECOND,
        }
    }
}

impl AuthConfig {
    /// Whether something of it says who asks.
    pub fn has_credentials(&self) -> bool {
        let certificates = self
            .tls
            .as_ref()
            .is_some_and(|t| t.client_ca_file.is_some());
        let listed = !self.tokens.is_empty() || !self.users.is_empty() || !self.oidc.is_empty();
        listed || certificates || self.token_review.is_some()
    }

    fn check(&self) -> Result<(), String> {
        let ways = |given: [bool; 3]| given.into_iter().filter(|given| *given).count();
        for (index, token) in self.tokens.iter().enumerate() {
            let given = [
                token.token.is_some(),
                token.token_file.is_some(),
                token.sha256.is_some(),
            ];
            if ways(given) != 1 {
                return Err(format!(
                    "tokens[{index}]: expected one of token, token_file and sha256"
                ));
            }
        }
        for (index, user) in self.users.iter().enumerate() {
            let given = [
                user.password_hash.is_some(),
                user.password_hash_file.is_some(),
                false,
            ];
            if ways(given) != 1 {
                return Err(format!(
                    "users[{index}]: expected one of password_hash and password_hash_file"
                ));
            }
            if user.name.is_empty() || user.name.contains(':') {
                return Err(format!("users[{index}]: expected a name without a colon"));
            }
        }
        if let Some(tls) = &self.tls
            && tls.client_auth == ClientAuth::Required
            && tls.client_ca_file.is_none()
        {
            return Err("tls: client_auth: required asks for client_ca_file".to_owned());
        }
        for (index, issuer) in self.oidc.iter().enumerate() {
            if issuer.jwks_url.is_some() && issuer.jwks_file.is_some() {
                return Err(format!(
                    "oidc[{index}]: jwks_url and jwks_file exclude each other"
                ));
            }
            let mut others = self.oidc.iter().take(index);
            if others.any(|other| other.issuer == issuer.issuer) {
                return Err(format!(
                    "oidc[{index}]: the issuer {} is there twice: give one entry all audiences",
                    issuer.issuer
                ));
            }
        }
        for (index, grant) in self.grants.iter().enumerate() {
            grant
                .check()
                .map_err(|why| format!("grants[{index}]: {why}"))?;
            let wrong = match &grant.issuer {
                Some(issuer) => self.oidc.iter().all(|one| one.issuer != *issuer),
                None => grant.claim.is_some() && self.oidc.len() > 1,
            };
            if wrong {
                return Err(format!(
                    "grants[{index}]: expected an issuer of oidc, whose claims are meant"
                ));
            }
        }
        if self.has_credentials() && self.grants.is_empty() {
            return Err("expected grants: without one nobody may do anything".to_owned());
        }
        if !self.grants.is_empty() && !self.has_credentials() && self.web_config_file.is_none() {
            return Err(
                "grants: there is no way to log in, so that everybody could do everything: expected \
                 tokens, users, oidc, token_review, tls.client_ca_file or web_config_file"
                    .to_owned(),
            );
        }
        Ok(())
    }
}

impl GrantConfig {
    fn check(&self) -> Result<(), String> {
        let given = [
            self.user.is_some(),
            self.group.is_some(),
            self.claim.as_ref().is_some_and(|claims| !claims.is_empty()),
        ];
        if given.into_iter().filter(|given| *given).count() != 1 {
            return Err("expected one of user, group and claim".to_owned());
        }
        if self.issuer.is_some() && self.claim.is_none() {
            return Err("an issuer is for a claim".to_owned());
        }
        for tenant in self.tenants.iter().filter(|tenant| *tenant != "*") {
            Tenant::new(tenant).map_err(|why| why.to_string())?;
        }
        if !self.matchers.is_empty() && self.role != [Role::Read] {
            return Err("matchers are for the role read".to_owned());
        }
        Ok(())
    }
}

/// `obs.auth`, checked.
pub(super) fn checked<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<AuthConfig>, D::Error> {
    let config = Option::<AuthConfig>::deserialize(deserializer)?;
    if let Some(config) = &config {
        let fault = |why: String| D::Error::custom(format!("obs.auth: {why}"));
        config.check().map_err(fault)?;
    }
    Ok(config)
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMore<T> {
    One(T),
    More(Vec<T>),
}

impl<T> OneOrMore<T> {
    fn all<E: serde::de::Error>(self) -> Result<Vec<T>, E> {
        match self {
            Self::One(one) => Ok(vec![one]),
            Self::More(all) if all.is_empty() => Err(E::custom("expected at least one")),
            Self::More(all) => Ok(all),
        }
    }
}

fn one_or_more<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    OneOrMore::deserialize(deserializer)?.all()
}

fn roles<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Role>, D::Error> {
    OneOrMore::deserialize(deserializer)?.all()
}

fn span<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    let text = String::deserialize(deserializer)?;
    let nanos = duration::parse(&text).filter(|nanos| *nanos >= 0);
    nanos
        .ok_or_else(|| D::Error::custom(format!("expected a duration such as 30s, found {text:?}")))
}

fn selector<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Matcher>, D::Error> {
    const EVERYTHING: &str = "{__name__=~\".+\",";
    let text = String::deserialize(deserializer)?;
    let rest = text.trim().strip_prefix('{');
    let rest = rest.ok_or_else(|| D::Error::custom(format!("in {text:?}: expected {{…}}")))?;
    // A query may not select everything but a little; a grant may.
    let whole = format!("{EVERYTHING}{rest}");
    let parsed = obs_query::promql::parse_selector(&whole, &Limits::default());
    let mut all = parsed.map_err(|error| D::Error::custom(format!("in {text:?}: {error}")))?;
    all.retain(|one| one.name != "__name__" || one.op != MatchOp::Regex || one.value != ".+");
    match all.is_empty() {
        true => Err(D::Error::custom(format!("in {text:?}: expected matchers"))),
        false => Ok(all),
    }
}

#[cfg(test)]
mod tests {
    use crate::config::parse;

    #[test]
    fn oversights_are_errors() {
        let check = |text: &str, expect: &str| {
            let text = format!("obs:\n  auth:\n    {text}\n");
            let fault = parse(&text).err().map(|fault| fault.to_string());
            let fault = fault.unwrap_or_default();
            match expect {
                "" => assert_eq!(fault, "", "{text}"),
                expect => assert!(fault.contains(expect), "{text}: {fault}"),
            }
        };
        check("{}", "");
        check("{audit_file: a.jsonl}", "");
        let token = "{name: a, token: 0123456789abcdef}";
        check(&format!("{{tokens: [{token}]}}"), "expected grants");
        let grants = "grants: [{user: a, tenants: '*', role: read}]";
        check(
            &format!("{{{grants}}}"),
            "grants: there is no way to log in",
        );
        check(&format!("{{web_config_file: web.yml, {grants}}}"), "");
        let with = |grant: &str| format!("{{tokens: [{token}], grants: [{grant}]}}");
        check(&with("{user: a, tenants: '*', role: read}"), "");
        check(&with("{user: a, tenants: [x, y], role: [read, write]}"), "");
        let matched = "{group: a, tenants: x, role: read, matchers: '{namespace=\"a\"}'}";
        check(&with(matched), "");
        let but = "{group: a, tenants: x, role: read, matchers: '{a!=\"b\"}'}";
        check(&with(but), "");
        for wrong in ["up", "{}", "{a}"] {
            let wrong = format!("{{group: a, tenants: x, role: read, matchers: '{wrong}'}}");
            check(&with(&wrong), "grants");
        }
        check(
            &with("{group: a, tenants: x, role: admin, matchers: '{a=\"b\"}'}"),
            "grants[0]: matchers are for the role read",
        );
        check(
            &with("{tenants: x, role: admin}"),
            "one of user, group and claim",
        );
        check(&with("{user: a, tenants: [], role: admin}"), "at least one");
        check(&with("{user: a, tenants: 'a/b', role: admin}"), "'/'");
        check(&with("{user: a, tenants: x, role: owner}"), "obs.auth");
        check("{tokens: [{name: a}]}", "token, token_file and sha256");
        check("{users: [{name: a}]}", "password_hash");
        check("{users: [{name: 'a:b', password_hash: x}]}", "colon");
        check(
            "{tls: {cert_file: a, key_file: b, client_auth: required}}",
            "client_ca_file",
        );
        check("{lockout: {within: soon}}", "soon");
        check(
            "{oidc: [{issuer: a, audience: b, algorithms: [HS256]}]}",
            "HS256",
        );
        check(
            "{oidc: [{issuer: a, audience: b}, {issuer: c, audience: d}, {issuer: a, audience: d}]}",
            "oidc[2]: the issuer a is there twice",
        );
        let of = |more: &str| {
            format!(
                "{{oidc: [{{issuer: a, audience: b}}, {{issuer: c, audience: d}}], grants: [{{claim: \
                 {{t: u}}, tenants: '*', role: read{more}}}]}}"
            )
        };
        check(&of(""), "grants[0]: expected an issuer");
        check(&of(", issuer: x"), "grants[0]: expected an issuer");
        check(&of(", issuer: c"), "");
        check("{usres: []}", "usres");
    }
}
