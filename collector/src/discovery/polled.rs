//! Discoveries that ask an API for everything again and again: Amazon, Azure, Google, DigitalOcean,
//! Hetzner, Eureka, Linode, Marathon, PuppetDB, Vultr.
//!
//! Invariants: an answer is taken whole or not at all: a page that fails keeps the groups that
//! were; the pages of one question are bounded by [`PAGES_MAX`].

mod azure;
mod digitalocean;
mod ec2;
mod eureka;
mod gce;
mod hetzner;
mod linode;
mod marathon;
mod puppetdb;
mod vultr;

use obs_model::{Labels, TargetGroup};
use serde::de::DeserializeOwned;

use super::poll::{ANSWER_BYTES_MAX, Feed, TIMEOUT, every};
use super::provider::Groups;
use crate::config::clouds::{PolledApi, PolledSettings};
use crate::http_client::configured::{HttpClient, Use};
use crate::http_client::shown;

/// Pages that one question may have.
const PAGES_MAX: usize = 1_000;

/// Runs until nobody listens.
pub(super) async fn run(settings: PolledSettings, groups: Groups) {
    let mut feed = Feed::new(settings.api.name(), groups);
    let mut ticks = every(settings.refresh);
    loop {
        ticks.tick().await;
        if !feed.tell(ask(&settings).await).await {
            return;
        }
    }
}

async fn ask(settings: &PolledSettings) -> Result<Vec<TargetGroup>, String> {
    let of = Use {
        compression: true,
        unix_socket: None,
    };
    // Made anew, so that certificates that change are taken.
    let client = HttpClient::new(&settings.client, of).await?;
    let (client, port) = (&client, settings.port);
    match &settings.api {
        PolledApi::Ec2(own) => ec2::ask(client, own, port).await,
        PolledApi::Azure(own) => azure::ask(client, own, port).await,
        PolledApi::Gce(own) => gce::ask(client, own, port).await,
        PolledApi::DigitalOcean(base) => digitalocean::ask(client, base, port).await,
        PolledApi::Hetzner { base, robot } => match robot {
            true => hetzner::robot(client, base, port).await,
            false => hetzner::cloud(client, base, port).await,
        },
        PolledApi::Eureka(base) => eureka::ask(client, base).await,
        PolledApi::Linode(own) => linode::ask(client, own, port).await,
        PolledApi::Marathon(own) => marathon::ask(client, own).await,
        PolledApi::PuppetDb(own) => puppetdb::ask(client, own, port).await,
        PolledApi::Vultr(base) => vultr::ask(client, base, port).await,
    }
}

/// A good answer as JSON; `token` is put where the configuration has no credentials.
async fn json<T: DeserializeOwned>(
    client: &HttpClient,
    url: &str,
    token: Option<&str>,
) -> Result<T, String> {
    let mut request = client.requests().get(url).timeout(TIMEOUT);
    if let Some(token) = token {
        request = request.bearer_auth(token);
    }
    let answer = client.ask(request, ANSWER_BYTES_MAX).await;
    let told = |fault| format!("{}: {fault}", shown(url));
    answer.and_then(|answer| answer.json()).map_err(told)
}

/// Pairs as forms send them.
fn form<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let mut form = form_urlencoded::Serializer::new(String::new());
    form.extend_pairs(pairs).finish()
}

/// The only group of an API.
fn group(source: &str, targets: Vec<Labels>) -> Vec<TargetGroup> {
    vec![TargetGroup {
        source: source.into(),
        labels: Labels::empty(),
        targets,
    }]
}

/// Whether a link to a further page stays with the server that was asked: credentials go there.
fn same_server(base: &str, next: &str) -> Result<(), String> {
    let origin = |text: &str| {
        let url = reqwest::Url::parse(text).map_err(|e| format!("{:?}: {e}", shown(text)))?;
        Ok::<_, String>(url.origin())
    };
    match origin(base)? == origin(next)? {
        true => Ok(()),
        false => Err(format!(
            "a further page at {:?}, expected one of {}",
            shown(next),
            shown(base)
        )),
    }
}

/// What machines tell of themselves is told fast or not at all.
const MACHINE_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(5);

/// What the machine tells of itself; it is asked only where the configuration has no credentials.
async fn machine(client: &HttpClient, request: reqwest::RequestBuilder) -> Result<String, String> {
    /// Longer than any of it.
    const BYTES_MAX: usize = 64 << 10;
    let answer = client
        .ask(request.timeout(MACHINE_TIMEOUT), BYTES_MAX)
        .await;
    let answer = answer.map_err(|fault| format!("the machine's metadata: {fault}"))?;
    String::from_utf8(answer.body.to_vec())
        .map_err(|_| "the machine's metadata: expected UTF-8".to_owned())
}

#[cfg(test)]
mod tests {
    use super::super::poll::tests::discovery;
    use super::*;
    use crate::config::Discovery;

    /// The settings of an entry, pointed at a server of the test.
    pub(super) fn settings(yaml: &str, point: impl FnOnce(&mut PolledApi)) -> PolledSettings {
        let Discovery::Polled(mut settings) = discovery(yaml) else {
            panic!("{yaml}");
        };
        point(&mut settings.api);
        *settings
    }

    #[test]
    fn further_pages_stay_with_the_server() {
        let check = |next: &str, expect: bool| {
            assert_eq!(same_server("https://a.b/x", next).is_ok(), expect, "{next}");
        };
        check("https://a.b/y?page=2", true);
        check("https://a.b:443/y", true);
        check("http://a.b/y", false);
        check("https://c.b/y", false);
        check("/y", false);
    }
}
