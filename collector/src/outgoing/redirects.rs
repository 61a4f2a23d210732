//! The same for clients that follow redirects by themselves.
//!
//! Invariant: a host that a redirect led to is decided on when it is resolved, also where the first
//! host may be anywhere.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::redirect::{Attempt, Policy};

use super::{Addresses, Refused};

/// Most redirects that are followed, as Prometheus' HTTP client.
const REDIRECTS_MAX: usize = 10;
/// Hosts that redirects led to which one client knows.
const HOSTS_MAX: usize = 1024;

/// What one client asks before it connects.
#[derive(Clone, Debug)]
pub(crate) struct Guard {
    addresses: Addresses,
    /// Whether the first host is decided on, too.
    first: bool,
    /// Whether requests have secrets that are put on for whoever is asked.
    secrets: bool,
    /// Where redirects led to.
    hosts: Arc<Mutex<HashSet<String>>>,
}

impl Guard {
    /// For a client that goes where others say, where `addresses` are given, or where only
    /// redirects are said by others.
    pub(crate) fn new(addresses: Option<&Addresses>, secrets: bool) -> Self {
        Self {
            addresses: addresses.cloned().unwrap_or_default(),
            first: addresses.is_some(),
            secrets,
            hosts: Arc::default(),
        }
    }

    /// Decides on the address of a request, where it is one.
    pub(crate) fn check_first(&self, host: Option<&str>) -> Result<(), Refused> {
        match host.filter(|_| self.first) {
            Some(host) => self.addresses.check_literal(host),
            None => Ok(()),
        }
    }

    /// Whether redirects are followed, and where to.
    pub(crate) fn policy(&self) -> Policy {
        let guard = self.clone();
        Policy::custom(move |attempt| match guard.decide(&attempt) {
            Ok(()) => attempt.follow(),
            Err(fault) => attempt.error(fault),
        })
    }

    fn decide(&self, attempt: &Attempt<'_>) -> Result<(), String> {
        let before = attempt.previous();
        if before.len() > REDIRECTS_MAX {
            return Err(format!("more than {REDIRECTS_MAX} redirects"));
        }
        let (next, last) = (attempt.url(), before.last());
        let origin = |url: &reqwest::Url| {
            let port = url.port_or_known_default();
            (
                url.host_str().map(str::to_owned),
                port,
                url.scheme() == "https",
            )
        };
        // What says who asks in the usual header is left out by the client itself.
        let elsewhere = last.is_some_and(|last| origin(last) != origin(next));
        if self.secrets && self.first && elsewhere {
            return Err("the redirect leads elsewhere, where secrets do not go".to_owned());
        }
        let Some(host) = next.host_str() else {
            return Ok(());
        };
        let asked = before.first().and_then(|first| first.host_str());
        if asked == Some(host) && !self.first {
            return Ok(());
        }
        let refused = |refused: Refused| refused.to_string();
        self.addresses.check_literal(host).map_err(refused)?;
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.first && !hosts.contains(host) {
            if hosts.len() >= HOSTS_MAX {
                return Err(format!("redirects led to more than {HOSTS_MAX} hosts"));
            }
            hosts.insert(host.to_owned());
        }
        Ok(())
    }

    fn is_decided_on(&self, host: &str) -> bool {
        let hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        self.first || hosts.contains(host)
    }
}

impl Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        let guard = self.clone();
        Box::pin(async move {
            let host = name.as_str();
            let found = match guard.is_decided_on(host) {
                true => guard.addresses.resolve(host, 0).await?,
                false => tokio::net::lookup_host((host, 0)).await?.collect(),
            };
            let found: Vec<SocketAddr> = found;
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn names_that_redirects_led_to_are_decided_on() {
        let guard = Guard {
            addresses: Addresses::new(true, false, Vec::new()),
            first: false,
            secrets: false,
            hosts: Arc::default(),
        };
        let resolved = async || {
            let name = "localhost".parse().expect("a name");
            let found = guard.resolve(name).await;
            found
                .map(Iterator::count)
                .map_err(|fault| fault.to_string())
        };
        assert!(resolved().await.is_ok_and(|count| count > 0));
        guard.hosts.lock().unwrap().insert("localhost".to_owned());
        let fault = resolved().await.expect_err("it is this machine");
        assert!(fault.contains("localhost: "), "{fault}");
    }
}
