//! `consul_sd_configs`: the catalog of Consul, and the instances of each service with their health.
//! Both are asked with blocking queries, which Consul answers when something changed.
//!
//! Invariant: a service that the catalog does not name any more is not watched any more, and its
//! group is taken away.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use obs_model::{Labels, TargetGroup};
use serde::Deserialize;
use tokio::task::{AbortHandle, JoinSet};

use super::poll::{self, ANSWER_BYTES_MAX, Meta, every, host_port, tags};
use super::provider::Groups;
use crate::config::ConsulSettings;
use crate::http_client::configured::{HttpClient, Use};

/// How long Consul may wait for a change.
const WAIT: Duration = Duration::from_secs(120);
/// How much longer an answer may take: Consul waits up to a sixteenth longer.
const MARGIN: Duration = Duration::from_secs(15);
/// Pause after a fault.
const PAUSE: Duration = Duration::from_secs(15);

/// An instance of a service.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Entry {
    node: Node,
    service: Service,
    checks: Vec<Check>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Node {
    node: String,
    address: String,
    datacenter: String,
    meta: Option<BTreeMap<String, String>>,
    tagged_addresses: Option<BTreeMap<String, String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Service {
    #[serde(rename = "ID")]
    id: String,
    address: String,
    port: u16,
    tags: Option<Vec<String>>,
    meta: Option<BTreeMap<String, String>>,
    namespace: String,
    partition: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Check {
    #[serde(rename = "CheckID")]
    id: String,
    status: String,
}

/// What is asked with.
#[derive(Debug)]
struct Asker {
    settings: ConsulSettings,
    client: HttpClient,
    datacenter: String,
}

/// Runs until nobody listens.
pub(super) async fn run(settings: ConsulSettings, groups: Groups) {
    let asker = loop {
        match Asker::new(&settings).await {
            Ok(asker) => break Arc::new(asker),
            Err(fault) => warn(&fault),
        }
        tokio::time::sleep(PAUSE).await;
        if groups.is_closed() {
            return;
        }
    };
    let mut watched = Watched::default();
    if !settings.services.is_empty() && settings.tags.is_empty() {
        // The catalog has nothing to add.
        watched.follow(&asker, &settings.services, &groups).await;
        groups.closed().await;
        return;
    }
    let (mut index, mut ticks) = (0, every(settings.refresh));
    loop {
        ticks.tick().await;
        match asker.catalog(&mut index).await {
            Ok(names) => watched.follow(&asker, &names, &groups).await,
            Err(fault) => {
                warn(&fault);
                tokio::time::sleep(PAUSE).await;
            }
        }
        if groups.is_closed() {
            return;
        }
    }
}

fn warn(fault: &str) {
    tracing::warn!(discovery = "consul", error = %fault, "unable to refresh target groups");
}

/// The services that are watched; their tasks end with this.
#[derive(Debug, Default)]
struct Watched {
    tasks: JoinSet<()>,
    by_name: HashMap<String, AbortHandle>,
}

impl Watched {
    async fn follow(&mut self, asker: &Arc<Asker>, names: &[String], groups: &Groups) {
        while self.tasks.try_join_next().is_some() {}
        let gone: Vec<String> = self.by_name.keys().cloned().collect();
        for name in gone.into_iter().filter(|name| !names.contains(name)) {
            if let Some(task) = self.by_name.remove(&name) {
                task.abort();
            }
            // Whoever does not listen any more needs no word.
            drop(groups.send(vec![TargetGroup::gone(name)]).await);
        }
        if names.is_empty() {
            drop(groups.send(Vec::new()).await);
        }
        for name in names {
            if !self.by_name.contains_key(name) {
                let (asker, groups) = (Arc::clone(asker), groups.clone());
                let task = self.tasks.spawn(watch(asker, name.clone(), groups));
                self.by_name.insert(name.clone(), task);
            }
        }
    }
}

async fn watch(asker: Arc<Asker>, name: String, groups: Groups) {
    let (mut index, mut ticks) = (0, every(asker.settings.refresh));
    loop {
        ticks.tick().await;
        let before = index;
        match asker.service(&name, &mut index).await {
            // The same as before: the wait was over.
            Ok(_) if before != 0 && index == before => {}
            Ok(group) => {
                if groups.send(vec![group]).await.is_err() {
                    return;
                }
            }
            Err(fault) => {
                warn(&format!("{name}: {fault}"));
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

impl Asker {
    async fn new(settings: &ConsulSettings) -> Result<Self, String> {
        let client = HttpClient::new(&settings.client, Use::default()).await?;
        let mut asker = Self {
            settings: settings.clone(),
            client,
            datacenter: settings.datacenter.clone(),
        };
        if asker.datacenter.is_empty() {
            let url = poll::address(&settings.base, &["agent", "self"], &[])?;
            let told: serde_json::Value = asker.get(url).await?.0;
            let told = told["Config"]["Datacenter"].as_str().unwrap_or("");
            told.clone_into(&mut asker.datacenter);
        }
        Ok(asker)
    }

    /// An answer and its index.
    async fn get<T: serde::de::DeserializeOwned>(
        &self,
        url: reqwest::Url,
    ) -> Result<(T, u64), String> {
        let request = self.client.requests().get(url).timeout(WAIT + MARGIN);
        let request = match &self.settings.token {
            Some(token) => request.header("x-consul-token", token.reveal()),
            None => request,
        };
        let answer = self.client.ask(request, ANSWER_BYTES_MAX).await?;
        let index = answer.header("x-consul-index");
        let index = index.and_then(|text| text.parse().ok()).unwrap_or(0);
        Ok((answer.json()?, index))
    }

    /// Asks for what changed since an index.
    async fn blocking<T: serde::de::DeserializeOwned>(
        &self,
        path: &[&str],
        filter: &str,
        tags: &[String],
        index: &mut u64,
    ) -> Result<T, String> {
        let mut params = self.settings.params.clone();
        let mut add = |name: &str, value: String| params.push((name.to_owned(), value));
        if !filter.is_empty() {
            add("filter", filter.to_owned());
        }
        tags.iter().for_each(|tag| add("tag", tag.clone()));
        if *index > 0 {
            add("index", index.to_string());
        }
        add("wait", format!("{}s", WAIT.as_secs()));
        let url = poll::address(&self.settings.base, path, &params)?;
        let (found, new) = self.get(url).await?;
        // An index that goes back says that everything begins anew.
        *index = if new < *index { 0 } else { new };
        Ok(found)
    }

    /// Names of the services that are wanted.
    async fn catalog(&self, index: &mut u64) -> Result<Vec<String>, String> {
        let settings = &self.settings;
        let path = ["catalog", "services"];
        let all: BTreeMap<String, Option<Vec<String>>> =
            self.blocking(&path, &settings.filter, &[], index).await?;
        let wanted = |(name, tags): &(String, Option<Vec<String>>)| {
            let tags = tags.as_deref().unwrap_or_default();
            let named = settings.services.is_empty() || settings.services.contains(name);
            named && settings.tags.iter().all(|tag| tags.contains(tag))
        };
        Ok(all
            .into_iter()
            .filter(wanted)
            .map(|(name, _)| name)
            .collect())
    }

    async fn service(&self, name: &str, index: &mut u64) -> Result<TargetGroup, String> {
        let settings = &self.settings;
        let path = ["health", "service", name];
        let entries: Vec<Entry> = self
            .blocking(&path, &settings.health_filter, &settings.tags, index)
            .await?;
        let all = [
            ("__meta_consul_service", name),
            ("__meta_consul_dc", self.datacenter.as_str()),
        ];
        let targets = entries.iter();
        Ok(TargetGroup {
            source: name.into(),
            labels: Labels::from_pairs(all),
            targets: targets
                .map(|one| labels(one, &settings.tag_separator))
                .collect(),
        })
    }
}

fn labels(entry: &Entry, separator: &str) -> Labels {
    let Entry { node, service, .. } = entry;
    let host = match service.address.is_empty() {
        true => &node.address,
        false => &service.address,
    };
    let tags = tags(service.tags.as_deref().unwrap_or_default(), separator);
    let mut meta = Meta::default();
    meta.set("__address__", host_port(host, service.port))
        .set("__meta_consul_address", &*node.address)
        .set("__meta_consul_dc", &*node.datacenter)
        .set("__meta_consul_node", &*node.node)
        .set("__meta_consul_namespace", &*service.namespace)
        .set("__meta_consul_partition", &*service.partition)
        .set("__meta_consul_tags", tags)
        .set("__meta_consul_service_address", &*service.address)
        .set("__meta_consul_service_port", service.port.to_string())
        .set("__meta_consul_service_id", &*service.id)
        .set("__meta_consul_health", health(&entry.checks))
        .set_all("__meta_consul_metadata", node.meta.iter().flatten())
        .set_all(
            "__meta_consul_service_metadata",
            service.meta.iter().flatten(),
        )
        .set_all(
            "__meta_consul_tagged_address",
            node.tagged_addresses.iter().flatten(),
        );
    meta.labels()
}

/// The worst of all checks.
fn health(checks: &[Check]) -> &'static str {
    let maintained = |check: &Check| {
        check.id == "_node_maintenance" || check.id.starts_with("_service_maintenance:")
    };
    if checks.iter().any(maintained) {
        return "maintenance";
    }
    let has = |status: &str| checks.iter().any(|check| check.status == status);
    match (has("critical"), has("warning")) {
        (true, _) => "critical",
        (false, true) => "warning",
        (false, false) => "passing",
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;

    use super::super::poll::tests::{Recorded, discovery, lines};
    use super::*;
    use crate::config::Discovery;

    const REDIS: &str = r#"[{"Node": {"Node": "n1", "Address": "10.0.0.1", "Datacenter": "dc1",
        "Meta": {"rack-id": "r"}, "TaggedAddresses": {"lan": "10.0.0.9"}},
        "Service": {"ID": "redis-1", "Service": "redis", "Address": "", "Port": 6379,
        "Tags": ["a", "b"], "Meta": {"v": "1"}, "Namespace": "ns"},
        "Checks": [{"CheckID": "c", "Status": "passing"}, {"CheckID": "d", "Status": "warning"}]}]"#;

    #[tokio::test]
    async fn services_come_and_go() {
        let agent = r#"{"Config": {"Datacenter": "dc1"}}"#;
        let catalog = "/pre/v1/catalog/services";
        let answers = vec![
            ("/pre/v1/agent/self", agent),
            ("/pre/v1/health/service/redis", REDIS),
            (catalog, r#"{"redis": ["a", "b"], "web": ["b"]}"#),
        ];
        let server = Recorded::start(&answers).await;
        let yaml = format!(
            "consul_sd_configs: [{{server: '{}', path_prefix: /pre, token: t, tags: [a], \
             refresh_interval: 1ms, node_meta: {{k: v}}}}]",
            server.url
        );
        let Discovery::Consul(settings) = discovery(&yaml) else {
            panic!("{yaml}");
        };
        let (sender, mut receiver) = mpsc::channel(64);
        let mut tasks = JoinSet::new();
        tasks.spawn(run(*settings, sender));
        let mut until = async |done: &dyn Fn(&[TargetGroup]) -> bool| {
            loop {
                let batch = receiver.recv().await.expect("a batch");
                if done(&batch) {
                    break lines(&batch);
                }
            }
        };
        let found = until(&|batch| batch.iter().any(|group| !group.targets.is_empty())).await;
        // Gone only when its instances were told.
        server.answer(catalog, "{}");
        until(&|batch| batch.contains(&TargetGroup::gone("redis"))).await;
        assert_eq!(
            found,
            [
                r#"{__address__="10.0.0.1:6379", __meta_consul_address="10.0.0.1", __meta_consul_dc="dc1", __meta_consul_health="warning", __meta_consul_metadata_rack_id="r", __meta_consul_namespace="ns", __meta_consul_node="n1", __meta_consul_service="redis", __meta_consul_service_id="redis-1", __meta_consul_service_metadata_v="1", __meta_consul_service_port="6379", __meta_consul_tagged_address_lan="10.0.0.9", __meta_consul_tags=",a,b,"}"#
            ]
        );
        let asked = server.asked.lock().expect("not poisoned");
        let health = "/pre/v1/health/service/redis?stale=&node-meta=k%3Av&tag=a&wait=120s";
        assert!(asked.iter().any(|asked| asked == health), "{asked:?}");
        assert!(
            !asked.iter().any(|asked| asked.contains("/web")),
            "{asked:?}"
        );
    }

    #[test]
    fn the_worst_check_counts() {
        let check = |checks: &[(&str, &str)], expect: &str| {
            let checks = checks.iter().map(|(id, status)| Check {
                id: (*id).to_owned(),
                status: (*status).to_owned(),
            });
            assert_eq!(health(&checks.collect::<Vec<_>>()), expect);
        };
        check(&[], "passing");
        check(&[("a", "warning"), ("b", "critical")], "critical");
        check(&[("_node_maintenance", "critical")], "maintenance");
        check(&[("_service_maintenance:x", "critical")], "maintenance");
    }
}
