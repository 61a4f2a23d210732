//! Passwords and their hashes: argon2id as obs' own, bcrypt as Prometheus' `web.yml` has them.
//!
//! Invariants: a hash is computed off the event loop, a few at a time; what was found is remembered
//! under an HMAC of name, password and hash with a key of this process alone, so that neither a hash
//! nor what is in memory is good for a login; a name that nobody has costs as much as one that
//! somebody has.

use std::collections::HashMap;

use argon2::password_hash::PasswordHash;
use argon2::{Argon2, PasswordVerifier};
use parking_lot::Mutex;
use ring::hmac;
use ring::rand::SystemRandom;
use tokio::sync::Semaphore;

/// Passwords that are checked at one time: each takes tens of milliseconds of a processor, and the
/// memory that its hash says.
const CHECKS_MAX: usize = 2;
/// Outcomes that are remembered.
const REMEMBERED_MAX: usize = 1024;
/// Longest password.
const PASSWORD_BYTES_MAX: usize = 1024;
/// Most memory of a hash in KiB, its most rounds, and most of bcrypt's cost: a configuration must not make a
/// login a burden.
const MEMORY_KIB_MAX: u32 = 1 << 20;
const ROUNDS_MAX: u32 = 1000;
const COST_MAX: u32 = 17;

/// A hash in one of the two forms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hash(String);

impl Hash {
    /// Reads a hash; an error does not show it.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if text.starts_with("$argon2id$") {
            let hash = PasswordHash::new(text).map_err(|e| format!("argon2id: {e}"))?;
            let params = argon2::Params::try_from(&hash).map_err(|e| format!("argon2id: {e}"))?;
            if hash.hash.is_none() {
                return Err("argon2id: expected salt and hash".to_owned());
            }
            if params.m_cost() > MEMORY_KIB_MAX || params.t_cost() > ROUNDS_MAX {
                return Err(format!(
                    "argon2id: expected at most m={MEMORY_KIB_MAX} and t={ROUNDS_MAX}"
                ));
            }
            return Ok(Self(text.to_owned()));
        }
        let bcrypt = ["$2a$", "$2b$", "$2x$", "$2y$"];
        let rest = bcrypt.iter().find_map(|kind| text.strip_prefix(kind));
        let Some((cost, digits)) = rest.and_then(|rest| rest.split_once('$')) else {
            return Err("expected a hash of argon2id ($argon2id$…) or bcrypt ($2y$…)".to_owned());
        };
        let known = |b: u8| b.is_ascii_alphanumeric() || b"./".contains(&b);
        let cost = cost
            .parse()
            .ok()
            .filter(|cost| (4..=COST_MAX).contains(cost));
        if cost.is_none() || digits.len() != 53 || !digits.bytes().all(known) {
            return Err(format!(
                "bcrypt: expected a cost of 4 to {COST_MAX} and 53 characters"
            ));
        }
        Ok(Self(text.to_owned()))
    }

    /// Whether the password is that of the hash; takes long.
    fn fits(&self, password: &str) -> bool {
        if !self.0.starts_with("$argon2") {
            return bcrypt::verify(password, &self.0).unwrap_or(false);
        }
        let Ok(hash) = PasswordHash::new(&self.0) else {
            return false;
        };
        let argon2 = Argon2::default();
        argon2.verify_password(password.as_bytes(), &hash).is_ok()
    }
}

/// Checks passwords and remembers what it found.
#[derive(Debug)]
pub(super) struct Passwords {
    key: hmac::Key,
    known: Mutex<HashMap<Vec<u8>, bool>>,
    places: Semaphore,
}

impl Passwords {
    pub(super) fn new() -> anyhow::Result<Self> {
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new());
        let key = key.map_err(|_| anyhow::anyhow!("the system gives no random bytes"))?;
        Ok(Self {
            key,
            known: Mutex::default(),
            places: Semaphore::new(CHECKS_MAX),
        })
    }

    /// What is remembered of a login.
    pub(super) fn remembered(&self, user: &str, password: &str, hash: &Hash) -> Option<bool> {
        let tag = self.tag(user, password, hash);
        self.known.lock().get(&tag).copied()
    }

    /// Whether the password is that of the hash; a bad login is told as late as a good one.
    pub(super) async fn check(&self, user: &str, password: &str, hash: &Hash) -> bool {
        if password.len() > PASSWORD_BYTES_MAX {
            return false;
        }
        let Ok(_place) = self.places.acquire().await else {
            return false;
        };
        // Meanwhile somebody else may have asked the same.
        if let Some(known) = self.remembered(user, password, hash) {
            return known;
        }
        let fits = off_loop(hash.clone(), password.to_owned()).await;
        let mut known = self.known.lock();
        if known.len() >= REMEMBERED_MAX {
            known.clear();
        }
        known.insert(self.tag(user, password, hash), fits);
        fits
    }

    /// The lengths stand before the texts, so that no two logins have one tag.
    fn tag(&self, user: &str, password: &str, hash: &Hash) -> Vec<u8> {
        let mut context = hmac::Context::with_key(&self.key);
        for text in [user, password, &hash.0] {
            context.update(&(text.len() as u64).to_be_bytes());
            context.update(text.as_bytes());
        }
        context.sign().as_ref().to_vec()
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a hash of a password is computed for tens of milliseconds"
)]
async fn off_loop(hash: Hash, password: String) -> bool {
    let checked = tokio::task::spawn_blocking(move || hash.fits(&password));
    checked.await.unwrap_or(false)
}

/// What a name is checked against where nobody has a password.
pub(super) fn nobody() -> Hash {
    Hash("$2y$10$QOauhQNbBCuQDKes6eFzPeMqBSjb7Mr5DUmpZ/VcEd00UAV/LDeSi".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// m=64 KiB, so that the test is quick; the password is `secret`.
    const ARGON2: &str = "$argon2id$v=19$m=64,t=2,p=1$c29tZXNhbHQxMjM0$";
    /// Of `test`.
    const BCRYPT: &str = "$2y$04$abcdefghijklmnopqrstuuoD8yw7MmybLKVooaTGGZAt3HXugv2.a";

    fn argon2(password: &str) -> String {
        use argon2::password_hash::{PasswordHasher, SaltString};
        let params = argon2::Params::new(64, 2, 1, None).expect("valid");
        let salt = SaltString::from_b64("c29tZXNhbHQxMjM0").expect("a salt");
        let argon2 = Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, params);
        let hash = argon2.hash_password(password.as_bytes(), &salt);
        hash.expect("hashed").to_string()
    }

    #[test]
    fn hashes_of_two_kinds_are_read() {
        let check = |text: &str, expect: &str| {
            let fault = Hash::parse(text).err().unwrap_or_default();
            match expect {
                "" => assert_eq!(fault, "", "{text}"),
                expect => assert!(fault.contains(expect), "{text}: {fault}"),
            }
            assert!(!fault.contains("abcdefg"), "{fault}");
        };
        check(BCRYPT, "");
        check(&format!(" {BCRYPT}\n"), "");
        check(&argon2("secret"), "");
        check(ARGON2, "argon2id");
        check("secret", "expected a hash");
        check(
            "$argon2i$v=19$m=64,t=2,p=1$c29tZXNhbHQ$aGFzaA",
            "expected a hash",
        );
        check(
            "$argon2id$v=19$m=9999999,t=2,p=1$c29tZXNhbHQxMjM0$c29tZXNhbHQxMjM0",
            "at most",
        );
        check(
            "$2y$31$abcdefghijklmnopqrstuuoD8yw7MmybLKVooaTGGZAt3HXugv2.a",
            "cost",
        );
        check("$2y$10$short", "53 characters");
    }

    #[tokio::test]
    async fn logins_are_checked_once() {
        let passwords = Passwords::new().expect("random bytes");
        let hash = Hash::parse(&argon2("secret")).expect("valid");
        assert_eq!(passwords.remembered("ann", "secret", &hash), None);
        assert!(passwords.check("ann", "secret", &hash).await);
        assert_eq!(passwords.remembered("ann", "secret", &hash), Some(true));
        assert!(!passwords.check("ann", "Secret", &hash).await);
        assert_eq!(passwords.remembered("ann", "Secret", &hash), Some(false));
        assert_eq!(passwords.remembered("bob", "secret", &hash), None);
        // The hash itself is no password, and another hash is another login.
        assert!(!passwords.check("ann", &hash.0, &hash).await);
        let other = Hash::parse(&argon2("other")).expect("valid");
        assert_eq!(passwords.remembered("ann", "secret", &other), None);
        assert!(!passwords.check("ann", &"x".repeat(5000), &hash).await);
    }

    #[test]
    fn bcrypt_fits() {
        let hash = Hash::parse(BCRYPT).expect("valid");
        assert!(hash.fits("test"));
        assert!(!hash.fits("Test"));
    }
}
