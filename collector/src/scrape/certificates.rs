//! Notices that files of certificates were replaced: those of a job's client are read when it is made.
//!
//! Invariant: files that cannot be looked at are as good as files that are not there: when they
//! appear, that is a change.

use std::path::Path;
use std::time::{Duration, SystemTime};

use crate::config::{Auth, ClientConfig};

/// How often the files are looked at.
const POLL: Duration = Duration::from_secs(5);

/// When files were changed last, and their sizes.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Stamps(Vec<Option<(SystemTime, u64)>>);

impl Stamps {
    /// How the files of a client are now.
    pub(super) async fn of(config: &ClientConfig) -> Self {
        let mut stamps = Vec::new();
        for path in files(config) {
            let found = tokio::fs::metadata(path).await.ok();
            let stamp = found.and_then(|found| Some((found.modified().ok()?, found.len())));
            stamps.push(stamp);
        }
        Self(stamps)
    }

    /// Waits until the files are not like this any more.
    pub(super) async fn change(&self, config: &ClientConfig) {
        if self.0.is_empty() {
            std::future::pending::<()>().await;
        }
        loop {
            tokio::time::sleep(POLL).await;
            if Self::of(config).await != *self {
                return;
            }
        }
    }
}

fn files(config: &ClientConfig) -> Vec<&Path> {
    let tls = &config.tls;
    let own = [&tls.ca_file, &tls.cert_file, &tls.key_file];
    let mut all: Vec<&Path> = own
        .into_iter()
        .flatten()
        .map(|path| path.as_path())
        .collect();
    if let Auth::Oauth2(oauth2) = &config.auth {
        all.extend(files(&oauth2.client));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::client_config;

    #[tokio::test]
    async fn files_that_change_are_noticed() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("ca.pem");
        let yaml = format!("{{tls_config: {{ca_file: '{}'}}}}", path.display());
        let config = client_config(&yaml).expect("valid");
        let before = Stamps::of(&config).await;
        assert_eq!(before, Stamps(vec![None]));
        tokio::fs::write(&path, "x").await.expect("written");
        let after = Stamps::of(&config).await;
        assert_ne!(after, before);
        assert_eq!(after, Stamps::of(&config).await);
        before.change(&config).await;
        let none = client_config("{}").expect("valid");
        assert_eq!(Stamps::of(&none).await, Stamps(Vec::new()));
    }
}
