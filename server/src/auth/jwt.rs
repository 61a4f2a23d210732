//! JSON Web Tokens: taken apart, and their signatures and claims checked. Pure.
//!
//! Invariants: the algorithm is one that the configuration allows *and* one of the key's own kind, so
//! that a token cannot choose how it is checked; there is no algorithm without a key and none with a
//! shared secret; a token without an end is not taken.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{self, RsaPublicKeyComponents, UnparsedPublicKey};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::config::Algorithm;

/// Longest token.
const TOKEN_BYTES_MAX: usize = 32 << 10;
/// Keys of one issuer.
const KEYS_MAX: usize = 100;

#[derive(Deserialize)]
struct Head {
    alg: String,
    #[serde(default)]
    kid: Option<String>,
    #[serde(default)]
    crit: Option<Value>,
}

/// A token in its parts; nothing of it is believed yet.
pub(super) struct Token<'a> {
    signed: &'a str,
    signature: Vec<u8>,
    /// How it says that it is signed.
    pub(super) algorithm: Algorithm,
    /// By which key it says that it is.
    pub(super) key: Option<String>,
    /// What it claims.
    pub(super) claims: Map<String, Value>,
}

impl<'a> Token<'a> {
    /// Takes a token apart; `None` where it is none.
    pub(super) fn parse(text: &'a str) -> Option<Self> {
        if text.len() > TOKEN_BYTES_MAX {
            return None;
        }
        let (signed, signature) = text.rsplit_once('.')?;
        let (head, claims) = signed.split_once('.')?;
        let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).ok();
        let head: Head = serde_json::from_slice(&decode(head)?).ok()?;
        // Extensions that must be understood, of which none is.
        if head.crit.is_some() {
            return None;
        }
        Some(Self {
            signed,
            signature: decode(signature)?,
            algorithm: serde_json::from_value(Value::String(head.alg)).ok()?,
            key: head.kid,
            claims: serde_json::from_slice(&decode(claims)?).ok()?,
        })
    }

    /// A claim that is text.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.claims.get(name)?.as_str()
    }

    /// Texts of a claim that is one or a list.
    pub(super) fn texts(&self, name: &str) -> Vec<String> {
        match self.claims.get(name) {
            Some(Value::String(one)) => vec![one.clone()],
            Some(Value::Array(all)) => {
                let all = all.iter().filter_map(Value::as_str);
                all.map(str::to_owned).collect()
            }
            _ => Vec::new(),
        }
    }

    /// Whether it is for one of `audiences` and valid at `now`, in seconds.
    pub(super) fn check(&self, audiences: &[String], now: i64, leeway: i64) -> Result<(), String> {
        let mut meant = self.texts("aud").into_iter();
        if !meant.any(|one| audiences.contains(&one)) {
            return Err("the token is for somebody else (aud)".to_owned());
        }
        let time = |name: &str| match self.claims.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => {
                let whole = value
                    .as_i64()
                    .or_else(|| value.as_f64().map(|time| time as i64));
                whole
                    .map(Some)
                    .ok_or_else(|| format!("the token's {name} is no time"))
            }
        };
        let Some(end) = time("exp")? else {
            return Err("the token has no end (exp)".to_owned());
        };
        if now.saturating_sub(leeway) >= end {
            return Err("the token has expired".to_owned());
        }
        for name in ["nbf", "iat"] {
            if time(name)?.is_some_and(|begin| begin > now.saturating_add(leeway)) {
                return Err(format!("the token is not valid yet ({name})"));
            }
        }
        Ok(())
    }

    /// Whether the key signed it.
    pub(super) fn is_signed_by(&self, key: &Key) -> bool {
        use signature as s;
        let (signed, own) = (self.signed.as_bytes(), self.signature.as_slice());
        if key.algorithm.is_some_and(|only| only != self.algorithm) {
            return false;
        }
        let rsa: Option<&'static signature::RsaParameters> = match self.algorithm {
            Algorithm::Rs256 => Some(&s::RSA_PKCS1_2048_8192_SHA256),
            Algorithm::Rs384 => Some(&s::RSA_PKCS1_2048_8192_SHA384),
            Algorithm::Rs512 => Some(&s::RSA_PKCS1_2048_8192_SHA512),
            Algorithm::Ps256 => Some(&s::RSA_PSS_2048_8192_SHA256),
            Algorithm::Ps384 => Some(&s::RSA_PSS_2048_8192_SHA384),
            Algorithm::Ps512 => Some(&s::RSA_PSS_2048_8192_SHA512),
            Algorithm::Es256 | Algorithm::Es384 | Algorithm::EdDsa => None,
        };
        match (&key.public, self.algorithm) {
            (Public::Rsa { n, e }, _) => {
                let key = RsaPublicKeyComponents { n, e };
                rsa.is_some_and(|how| key.verify(how, signed, own).is_ok())
            }
            (Public::P256(point), Algorithm::Es256) => {
                let key = UnparsedPublicKey::new(&s::ECDSA_P256_SHA256_FIXED, point);
                key.verify(signed, own).is_ok()
            }
            (Public::P384(point), Algorithm::Es384) => {
                let key = UnparsedPublicKey::new(&s::ECDSA_P384_SHA384_FIXED, point);
                key.verify(signed, own).is_ok()
            }
            (Public::Ed25519(point), Algorithm::EdDsa) => {
                let key = UnparsedPublicKey::new(&s::ED25519, point);
                key.verify(signed, own).is_ok()
            }
            _ => false,
        }
    }
}

/// A key of an issuer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Key {
    /// Its name.
    pub(super) id: Option<String>,
    /// The only algorithm that it is for.
    algorithm: Option<Algorithm>,
    public: Public,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Public {
    Rsa { n: Vec<u8>, e: Vec<u8> },
    P256(Vec<u8>),
    P384(Vec<u8>),
    Ed25519(Vec<u8>),
}

#[derive(Deserialize)]
struct RawKeys {
    keys: Vec<RawKey>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawKey {
    kty: String,
    kid: Option<String>,
    r#use: Option<String>,
    alg: Option<String>,
    crv: String,
    n: String,
    e: String,
    x: String,
    y: String,
}

/// The keys of a JWKS that sign; those of kinds that are not known are left out.
pub(super) fn keys(bytes: &[u8]) -> Result<Vec<Key>, String> {
    let raw: RawKeys =
        serde_json::from_slice(bytes).map_err(|e| format!("expected a JWKS: {e}"))?;
    let found: Vec<Key> = raw
        .keys
        .into_iter()
        .take(KEYS_MAX)
        .filter_map(key)
        .collect();
    match found.is_empty() {
        true => Err("expected keys of RSA, EC or Ed25519, found none".to_owned()),
        false => Ok(found),
    }
}

fn key(raw: RawKey) -> Option<Key> {
    if raw.r#use.as_deref().is_some_and(|usage| usage != "sig") {
        return None;
    }
    // A key of an algorithm that is not known here is of no use.
    let algorithm = match raw.alg {
        Some(name) => Some(serde_json::from_value(Value::String(name)).ok()?),
        None => None,
    };
    let bytes = |text: &str| {
        let bytes = URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).ok()?;
        (!bytes.is_empty()).then_some(bytes)
    };
    let point = |size: usize| {
        let (x, y) = (bytes(&raw.x)?, bytes(&raw.y)?);
        let sized = x.len() == size && y.len() == size;
        sized.then(|| [&[4], x.as_slice(), y.as_slice()].concat())
    };
    let public = match (raw.kty.as_str(), raw.crv.as_str()) {
        ("RSA", _) => Public::Rsa {
            n: bytes(&raw.n)?,
            e: bytes(&raw.e)?,
        },
        ("EC", "P-256") => Public::P256(point(32)?),
        ("EC", "P-384") => Public::P384(point(48)?),
        ("OKP", "Ed25519") => Public::Ed25519(bytes(&raw.x)?),
        _ => return None,
    };
    Some(Key {
        id: raw.kid,
        algorithm,
        public,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use ring::rand::SystemRandom;
    use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair};
    use serde_json::json;

    use super::*;

    fn token(head: &Value, claims: &Value, sign: impl Fn(&[u8]) -> Vec<u8>) -> String {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(head), part(claims));
        let signature = URL_SAFE_NO_PAD.encode(sign(signed.as_bytes()));
        format!("{signed}.{signature}")
    }

    fn ed25519() -> (Ed25519KeyPair, Key) {
        let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).expect("made");
        let pair = Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).expect("read");
        let x = URL_SAFE_NO_PAD.encode(pair.public_key());
        let set = json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "x": x, "kid": "a"}]});
        let key = keys(set.to_string().as_bytes()).expect("a key").remove(0);
        (pair, key)
    }

    fn p256() -> (EcdsaKeyPair, Key) {
        let random = SystemRandom::new();
        let how = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(how, &random).expect("made");
        let pair = EcdsaKeyPair::from_pkcs8(how, pkcs8.as_ref(), &random).expect("read");
        let point = pair.public_key().as_ref();
        let part = |from: usize, to: usize| URL_SAFE_NO_PAD.encode(&point[from..to]);
        let set =
            json!({"keys": [{"kty": "EC", "crv": "P-256", "x": part(1, 33), "y": part(33, 65)}]});
        let key = keys(set.to_string().as_bytes()).expect("a key").remove(0);
        (pair, key)
    }

    #[test]
    fn signatures_are_of_the_kind_of_their_keys() {
        let (ed, ed_key) = ed25519();
        let (ec, ec_key) = p256();
        let sign_ed = |bytes: &[u8]| ed.sign(bytes).as_ref().to_vec();
        let sign_ec = |bytes: &[u8]| {
            let signature = ec.sign(&SystemRandom::new(), bytes).expect("signed");
            signature.as_ref().to_vec()
        };
        let claims = json!({"sub": "ann"});
        let good = token(&json!({"alg": "EdDSA"}), &claims, sign_ed);
        let parsed = Token::parse(&good).expect("a token");
        assert!(parsed.is_signed_by(&ed_key) && !parsed.is_signed_by(&ec_key));
        let other = token(&json!({"alg": "ES256", "kid": "x"}), &claims, sign_ec);
        let parsed = Token::parse(&other).expect("a token");
        assert_eq!(parsed.key.as_deref(), Some("x"));
        assert!(parsed.is_signed_by(&ec_key) && !parsed.is_signed_by(&ed_key));
        // An algorithm that is not that of the key.
        let liar = token(&json!({"alg": "RS256"}), &claims, sign_ec);
        assert!(!Token::parse(&liar).expect("a token").is_signed_by(&ec_key));
        // Other claims under the same signature.
        let swapped = good.split('.').collect::<Vec<_>>();
        let payload = URL_SAFE_NO_PAD.encode(json!({"sub": "root"}).to_string());
        let swapped = format!("{}.{payload}.{}", swapped[0], swapped[2]);
        assert!(
            !Token::parse(&swapped)
                .expect("a token")
                .is_signed_by(&ed_key)
        );
        for head in [
            json!({"alg": "none"}),
            json!({"alg": "HS256"}),
            json!({"alg": "EdDSA", "crit": ["b64"]}),
            json!({}),
        ] {
            let text = token(&head, &claims, sign_ed);
            assert!(Token::parse(&text).is_none(), "{head}");
        }
    }

    #[test]
    fn claims_have_a_time_and_an_audience() {
        let check = |claims: Value, expect: &str| {
            let text = token(&json!({"alg": "EdDSA"}), &claims, |_| vec![1]);
            let parsed = Token::parse(&text).expect("a token");
            let fault = parsed.check(&["obs".to_owned()], 1000, 10).err();
            let fault = fault.unwrap_or_default();
            match expect {
                "" => assert_eq!(fault, "", "{claims}"),
                expect => assert!(fault.contains(expect), "{claims}: {fault}"),
            }
        };
        check(json!({"aud": "obs", "exp": 1001}), "");
        check(
            json!({"aud": ["x", "obs"], "exp": 991, "nbf": 1010, "iat": 1.0}),
            "",
        );
        check(json!({"aud": "obs", "exp": 990}), "expired");
        check(json!({"aud": "obs"}), "no end");
        check(json!({"aud": "obs", "exp": "soon"}), "no time");
        check(
            json!({"aud": "obs", "exp": 2000, "nbf": 1011}),
            "not valid yet (nbf)",
        );
        check(
            json!({"aud": "obs", "exp": 2000, "iat": 5000}),
            "not valid yet (iat)",
        );
        check(json!({"aud": "other", "exp": 2000}), "somebody else");
        check(json!({"exp": 2000}), "somebody else");
    }

    #[test]
    fn sets_of_keys() {
        let check = |set: Value, expect: Result<usize, &str>| {
            let found = keys(set.to_string().as_bytes());
            match (found, expect) {
                (Ok(found), Ok(expect)) => assert_eq!(found.len(), expect, "{set}"),
                (Err(fault), Err(expect)) => assert!(fault.contains(expect), "{fault}"),
                (found, _) => panic!("{set}: {found:?}"),
            }
        };
        let rsa = json!({"kty": "RSA", "n": "AQAB", "e": "AQAB", "alg": "RS256", "use": "sig"});
        check(json!({"keys": [rsa]}), Ok(1));
        let mut other = rsa.clone();
        other["use"] = "enc".into();
        check(json!({"keys": [rsa, other]}), Ok(1));
        other = rsa.clone();
        other["alg"] = "HS256".into();
        check(json!({"keys": [other]}), Err("found none"));
        check(
            json!({"keys": [{"kty": "oct", "k": "AQAB"}]}),
            Err("found none"),
        );
        check(
            json!({"keys": [{"kty": "EC", "crv": "P-256", "x": "AQAB", "y": "AQAB"}]}),
            Err("none"),
        );
        check(json!([]), Err("expected a JWKS"));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]
        #[test]
        fn any_text_is_a_token_or_none(text in "[A-Za-z0-9_.-]{0,80}") {
            if let Some(token) = Token::parse(&text) {
                prop_assert!(token.signature.len() <= text.len());
            }
        }
    }
}
