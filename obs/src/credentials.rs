//! What a client command shows to a server that asks who it is.
//!
//! Invariant: secrets come from files, so that no list of processes and no history of a shell has
//! them; what a flag says wins over what a context says.

use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::Args;

use crate::context::Target;

/// Flags of every command that asks a server.
#[derive(Debug, Default, Args)]
pub(crate) struct Credentials {
    /// The file of a token that is sent as `Authorization: Bearer`
    #[arg(
        long,
        value_name = "FILE",
        env = "OBS_TOKEN_FILE",
        help_heading = "Server"
    )]
    token_file: Option<PathBuf>,
    /// Log in as this user, with --password-file
    #[arg(
        long,
        value_name = "NAME",
        env = "OBS_USER",
        requires = "password_file",
        conflicts_with = "token_file",
        help_heading = "Server"
    )]
    user: Option<String>,
    /// The file of the user's password
    #[arg(
        long,
        value_name = "FILE",
        env = "OBS_PASSWORD_FILE",
        help_heading = "Server"
    )]
    password_file: Option<PathBuf>,
    /// The certificates (PEM) that the server's own must come from
    #[arg(long, value_name = "FILE", env = "OBS_TLS_CA", help_heading = "Server")]
    tls_ca: Option<PathBuf>,
    /// Show this certificate (PEM), with --tls-key
    #[arg(
        long,
        value_name = "FILE",
        env = "OBS_TLS_CERT",
        requires = "tls_key",
        help_heading = "Server"
    )]
    tls_cert: Option<PathBuf>,
    /// The key of the certificate (PEM)
    #[arg(
        long,
        value_name = "FILE",
        env = "OBS_TLS_KEY",
        help_heading = "Server"
    )]
    tls_key: Option<PathBuf>,
}

impl Credentials {
    /// Puts what the flags say over what is known of the server.
    pub(crate) fn put(&self, target: &mut Target) -> anyhow::Result<()> {
        if let Some(authorization) = self.authorization()? {
            let name = "authorization";
            target
                .headers
                .retain(|(other, _)| !other.eq_ignore_ascii_case(name));
            target.headers.push((name.to_owned(), authorization));
        }
        if let Some(file) = &self.tls_ca {
            target.authorities = Some(text(file).context("--tls-ca")?.into_bytes());
        }
        if let (Some(cert), Some(key)) = (&self.tls_cert, &self.tls_key) {
            let (cert, key) = (
                text(cert).context("--tls-cert")?,
                text(key).context("--tls-key")?,
            );
            target.identity = Some(format!("{cert}\n{key}").into_bytes());
        }
        Ok(())
    }

    fn authorization(&self) -> anyhow::Result<Option<String>> {
        if let Some(file) = &self.token_file {
            let token = secret(file).context("--token-file")?;
            return Ok(Some(format!("Bearer {token}")));
        }
        let (Some(user), Some(file)) = (&self.user, &self.password_file) else {
            return Ok(None);
        };
        let password = secret(file).context("--password-file")?;
        let pair = STANDARD.encode(format!("{user}:{password}"));
        Ok(Some(format!("Basic {pair}")))
    }
}

fn text(path: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))
}

/// The text of a file without the line's end.
fn secret(path: &Path) -> anyhow::Result<String> {
    let text = text(path)?;
    let text = text.trim_end_matches(['\r', '\n']).to_owned();
    ensure!(!text.is_empty(), "{} is empty", path.display());
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_win_over_what_is_known() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("secret");
        std::io::Write::write_all(
            &mut std::fs::OpenOptions::new()
                .create(true)
                .append(true)
                .open(&file)
                .unwrap(),
            b"pa:ss\n",
        )
        .unwrap();
        let known = || Target {
            headers: vec![("Authorization".to_owned(), "Bearer old".to_owned())],
            ..Target::default()
        };
        let check = |credentials: &Credentials, expect: &str| {
            let mut target = known();
            credentials.put(&mut target).unwrap();
            let found: Vec<&str> = target.headers.iter().map(|(_, v)| v.as_str()).collect();
            assert_eq!(found, [expect]);
        };
        check(&Credentials::default(), "Bearer old");
        let token = Credentials {
            token_file: Some(file.clone()),
            ..Credentials::default()
        };
        check(&token, "Bearer pa:ss");
        let user = Credentials {
            user: Some("ann".to_owned()),
            password_file: Some(file),
            ..Credentials::default()
        };
        check(&user, "Basic YW5uOnBhOnNz");
        let missing = Credentials {
            token_file: Some(folder.path().join("none")),
            ..Credentials::default()
        };
        assert!(missing.put(&mut known()).is_err());
    }
}
