//! Passwords and their hashes: argon2id as obs' own, bcrypt as Prometheus' `web.yml` has them.
//!
//! Invariants: a hash is computed off the event loop, a few at a time; only so many wait
//! for that; a login that was good is remembered under an HMAC of source, name, password and hash
//! with a key of this process alone, so that neither a hash nor what is in memory is good for a
//! login, and nobody elsewhere guesses at what is remembered; a name that nobody has costs as much
//! as one that somebody has.

use std::collections::{HashSet, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;

use argon2::password_hash::PasswordHash;
use argon2::{Argon2, PasswordVerifier};
use parking_lot::Mutex;
use ring::hmac;
use ring::rand::SystemRandom;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Passwords that are checked at one time: each takes tens of milliseconds of a processor, and the
/// memory that its hash says.
const CHECKS_MAX: usize = 2;
/// Checks that are made or waited for at one time.
const WAITING_MAX: usize = 64 + CHECKS_MAX;
/// Good logins that are remembered.
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

/// What is shown for a login, and from where.
#[derive(Clone, Copy)]
pub(super) struct Login<'a> {
    pub(super) source: IpAddr,
    pub(super) user: &'a str,
    pub(super) password: &'a str,
}

/// The right to have one password checked; held until the outcome is counted.
#[derive(Clone, Debug)]
pub(super) struct Place {
    _held: Arc<[OwnedSemaphorePermit; 2]>,
}

/// Good logins, the oldest first.
#[derive(Debug, Default)]
struct Known {
    tags: HashSet<Vec<u8>>,
    order: VecDeque<Vec<u8>>,
}

impl Known {
    fn add(&mut self, tag: Vec<u8>) {
        if !self.tags.insert(tag.clone()) {
            return;
        }
        self.order.push_back(tag);
        while self.order.len() > REMEMBERED_MAX {
            if let Some(oldest) = self.order.pop_front() {
                self.tags.remove(&oldest);
            }
        }
    }
}

/// Checks passwords and remembers those that were right.
#[derive(Debug)]
pub(super) struct Passwords {
    key: hmac::Key,
    known: Mutex<Known>,
    waiting: Arc<Semaphore>,
    places: Arc<Semaphore>,
}

impl Passwords {
    pub(super) fn new() -> anyhow::Result<Self> {
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new());
        let key = key.map_err(|_| anyhow::anyhow!("the system gives no random bytes"))?;
        Ok(Self {
            key,
            known: Mutex::default(),
            waiting: Arc::new(Semaphore::new(WAITING_MAX)),
            places: Arc::new(Semaphore::new(CHECKS_MAX)),
        })
    }

    /// Whether this login was good before.
    pub(super) fn is_remembered(&self, login: Login<'_>, hash: &Hash) -> bool {
        let tag = self.tag(login, hash);
        self.known.lock().tags.contains(&tag)
    }

    /// Waits for a place; none where too many wait already.
    pub(super) async fn place(&self) -> Option<Place> {
        let waiting = Arc::clone(&self.waiting).try_acquire_owned().ok()?;
        let place = Arc::clone(&self.places).acquire_owned().await.ok()?;
        Some(Place {
            _held: Arc::new([waiting, place]),
        })
    }

    /// Whether the password is that of the hash; a bad login is told as late as a good one.
    pub(super) async fn check(&self, place: &Place, login: Login<'_>, hash: &Hash) -> bool {
        if login.password.len() > PASSWORD_BYTES_MAX {
            return false;
        }
        // Who goes away does not give the place back before the work is done.
        let fits = off_loop(place.clone(), hash.clone(), login.password.to_owned()).await;
        if fits {
            self.known.lock().add(self.tag(login, hash));
        }
        fits
    }

    /// The lengths stand before the texts, so that no two logins have one tag.
    fn tag(&self, login: Login<'_>, hash: &Hash) -> Vec<u8> {
        let mut context = hmac::Context::with_key(&self.key);
        let source = login.source.to_string();
        for text in [source.as_str(), login.user, login.password, &hash.0] {
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
async fn off_loop(place: Place, hash: Hash, password: String) -> bool {
    let checked = tokio::task::spawn_blocking(move || {
        let fits = hash.fits(&password);
        drop(place);
        fits
    });
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

    fn login<'a>(last: u8, user: &'a str, password: &'a str) -> Login<'a> {
        Login {
            source: IpAddr::from([10, 0, 0, last]),
            user,
            password,
        }
    }

    #[tokio::test]
    async fn good_logins_are_checked_once() {
        let passwords = Passwords::new().expect("random bytes");
        let hash = Hash::parse(&argon2("secret")).expect("valid");
        let place = passwords.place().await.expect("free");
        let good = login(1, "ann", "secret");
        assert!(!passwords.is_remembered(good, &hash));
        assert!(passwords.check(&place, good, &hash).await);
        assert!(passwords.is_remembered(good, &hash));
        // Only what was good is remembered, and only for where it came from.
        let bad = login(1, "ann", "Secret");
        assert!(!passwords.check(&place, bad, &hash).await);
        assert!(!passwords.is_remembered(bad, &hash));
        assert!(!passwords.is_remembered(login(2, "ann", "secret"), &hash));
        assert!(!passwords.is_remembered(login(1, "bob", "secret"), &hash));
        // The hash itself is no password, and another hash is another login.
        let shown = hash.0.clone();
        assert!(
            !passwords
                .check(&place, login(1, "ann", &shown), &hash)
                .await
        );
        let other = Hash::parse(&argon2("other")).expect("valid");
        assert!(!passwords.is_remembered(good, &other));
        let long = "x".repeat(5000);
        assert!(!passwords.check(&place, login(1, "ann", &long), &hash).await);
    }

    #[test]
    fn the_oldest_login_is_forgotten_first() {
        let mut known = Known::default();
        for index in 0..=REMEMBERED_MAX {
            known.add(index.to_be_bytes().to_vec());
            known.add(index.to_be_bytes().to_vec());
        }
        let has = |index: usize| known.tags.contains(index.to_be_bytes().as_slice());
        assert!(!has(0) && has(1) && has(REMEMBERED_MAX));
        assert_eq!(known.tags.len(), REMEMBERED_MAX);
    }

    #[tokio::test]
    async fn few_wait_for_a_check() {
        let passwords = Passwords::new().expect("random bytes");
        let first = passwords.place().await.expect("free");
        let rest = u32::try_from(WAITING_MAX - 1).expect("few");
        let queued = passwords.waiting.try_acquire_many(rest).expect("free");
        assert!(passwords.place().await.is_none());
        drop(queued);
        drop(first);
        assert!(passwords.place().await.is_some());
    }

    #[test]
    fn bcrypt_fits() {
        let hash = Hash::parse(BCRYPT).expect("valid");
        assert!(hash.fits("test"));
        assert!(!hash.fits("Test"));
    }
}
