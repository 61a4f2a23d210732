//! A tenant: whose data it is. Every read and write names one; isolation is enforced in storage.

use std::fmt;
use std::sync::Arc;

/// Longest accepted tenant name in bytes; as Loki and Mimir.
pub const TENANT_BYTES_MAX: usize = 150;

/// The name of a tenant: 1 to 150 bytes of `A-Z a-z 0-9 ! - _ . * ' ( )`, neither `.` nor `..`.
/// The same alphabet as Loki, Mimir and Tempo, and safe as a folder name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tenant(Arc<str>);

/// Why a text is not a tenant name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TenantError {
    /// Empty, or longer than [`TENANT_BYTES_MAX`].
    #[error("tenant name has {0} bytes, expected 1 to {TENANT_BYTES_MAX}")]
    Length(usize),
    /// A byte outside the alphabet, at this offset.
    #[error(
        "tenant name has a character that is not allowed at byte {0}, expected one of A-Z a-z 0-9 ! - _ . * ' ( )"
    )]
    Character(usize),
    /// `.` or `..`.
    #[error("tenant name \"{0}\" is reserved")]
    Reserved(String),
}

impl Tenant {
    /// The tenant of requests that name none.
    pub fn anonymous() -> Self {
        Self(Arc::from("anonymous"))
    }

    /// Checks and wraps a name.
    pub fn new(name: &str) -> Result<Self, TenantError> {
        if name.is_empty() || name.len() > TENANT_BYTES_MAX {
            return Err(TenantError::Length(name.len()));
        }
        if name == "." || name == ".." {
            return Err(TenantError::Reserved(name.to_owned()));
        }
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b"!-_.*'()".contains(&b);
        match name.bytes().position(|b| !allowed(b)) {
            Some(at) => Err(TenantError::Character(at)),
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
        assert_eq!(Tenant::new(""), Err(TenantError::Length(0)));
        assert_eq!(
            Tenant::new(".."),
            Err(TenantError::Reserved("..".to_owned()))
        );
        assert_eq!(Tenant::new("a/b"), Err(TenantError::Character(1)));
        assert_eq!(Tenant::new(&"x".repeat(151)), Err(TenantError::Length(151)));
    }
}
