//! A tenant: whose data it is. Every read and write names one; isolation is enforced in storage.

use std::fmt;
use std::sync::Arc;

/// Longest accepted tenant name in bytes; as Loki and Mimir.
pub const TENANT_BYTES_MAX: usize = 150;

/// The name of a tenant: 1 to 150 bytes of `A-Z a-z 0-9 ! - _ . * ' ( )`, neither `.` nor `..`.
/// The same alphabet as Loki, Mimir and Tempo, and safe as a folder name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tenant(Arc<str>);

/// Why a text is not a tenant name; in the words of Loki, Mimir and Tempo.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TenantError {
    /// Nothing.
    #[error("no org id: a tenant has a name of 1 to {TENANT_BYTES_MAX} bytes")]
    Empty,
    /// Longer than [`TENANT_BYTES_MAX`].
    #[error("tenant ID is too long: max {TENANT_BYTES_MAX} characters")]
    TooLong,
    /// A character outside the alphabet.
    #[error("tenant ID '{0}' contains unsupported character '{1}'")]
    Character(String, char),
    /// `.` or `..`.
    #[error("tenant ID is '.' or '..'")]
    Reserved,
}

impl Tenant {
    /// The tenant of requests that name none.
    pub fn anonymous() -> Self {
        Self(Arc::from("anonymous"))
    }

    /// Checks and wraps a name.
    pub fn new(name: &str) -> Result<Self, TenantError> {
        if name.is_empty() {
            return Err(TenantError::Empty);
        }
        if name.len() > TENANT_BYTES_MAX {
            return Err(TenantError::TooLong);
        }
        if name == "." || name == ".." {
            return Err(TenantError::Reserved);
        }
        let allowed = |c: char| c.is_ascii_alphanumeric() || "!-_.*'()".contains(c);
        match name.chars().find(|c| !allowed(*c)) {
            Some(odd) => Err(TenantError::Character(name.to_owned(), odd)),
            None => Ok(Self(Arc::from(name))),
        }
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Tenant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        assert_eq!(
            Tenant::new("team-a").map(|t| t.to_string()),
            Ok("team-a".to_owned())
        );
        let check = |name: &str, expect: &str| {
            let fault = Tenant::new(name).map_err(|e| e.to_string());
            assert_eq!(fault, Err(expect.to_owned()), "{name}");
        };
        check("", "no org id: a tenant has a name of 1 to 150 bytes");
        check("..", "tenant ID is '.' or '..'");
        check("a/b", "tenant ID 'a/b' contains unsupported character '/'");
        check(
            &"x".repeat(151),
            "tenant ID is too long: max 150 characters",
        );
    }
}
