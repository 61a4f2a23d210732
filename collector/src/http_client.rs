//! How every HTTP client of obs is built: the scraper's, the command line's, and that of obs' own
//! telemetry.
//!
//! Invariant: a machine without any certificate of the system still speaks plain HTTP; only HTTPS
//! fails there, with an error of its own.

pub(crate) mod configured;
mod oauth2;
mod server_name;
mod tls;

pub use configured::{Answered, HttpClient, Unanswered, Use};
pub use tls::handshake;
pub(crate) use tls::handshake_for;

use std::borrow::Cow;
use std::error::Error;
use std::sync::Once;

use reqwest::ClientBuilder;

/// Builds a client that trusts the certificates of the system, or none where there are none.
///
/// `make` gives the settings, `finish` turns them into a client, be it one that waits or one that
/// blocks. Callers that bring certificates of their own have no use for this: falling back to
/// none would hide why theirs cannot be read.
pub fn build<C>(
    make: impl Fn() -> Result<ClientBuilder, String>,
    finish: impl Fn(ClientBuilder) -> reqwest::Result<C>,
) -> Result<C, String> {
    choose_provider();
    let fault = match finish(make()?) {
        Ok(client) => return Ok(client),
        Err(error) => chain(&error),
    };
    let client = finish(make()?.tls_certs_only([])).map_err(|e| chain(&e))?;
    tracing::warn!(error = %fault, "no certificates of the system are trusted");
    Ok(client)
}

/// Chooses who does the cryptography of TLS; the first call of the process counts.
pub(crate) fn choose_provider() {
    static PROVIDER: Once = Once::new();
    PROVIDER.call_once(|| {
        // An error means that another part of the process has chosen a provider already.
        drop(rustls::crypto::ring::default_provider().install_default());
    });
}

/// An address as messages show it: without who asks and the password.
pub(crate) fn shown(address: &str) -> Cow<'_, str> {
    if !address.contains('@') {
        return Cow::Borrowed(address);
    }
    let bare = reqwest::Url::parse(address).ok().and_then(|mut url| {
        url.set_username("").ok()?;
        url.set_password(None).ok()?;
        Some(url.to_string())
    });
    Cow::Owned(bare.unwrap_or_else(|| "an address with credentials".to_owned()))
}

/// An error with all that caused it, in one line.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_not_shown() {
        let check = |address: &str, expect: &str| assert_eq!(shown(address), expect);
        check("http://h:1/a?b=c", "http://h:1/a?b=c");
        check("http://u:hunter2@h:1/a?b=c", "http://h:1/a?b=c");
        check("https://token@h", "https://h/");
        check("u:hunter2@h", "an address with credentials");
        check("http://h/?mail=a@b", "http://h/?mail=a@b");
        check("no address", "no address");
    }
}
