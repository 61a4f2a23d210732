//! Which Alertmanagers there are: what discovery finds, relabelled.

use std::collections::BTreeMap;
use std::sync::Arc;

use obs_model::Labels;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Shared;
use super::endpoint::Endpoint;
use crate::config::AlertmanagerSet;
use crate::discovery::Sources;
use crate::http_client::configured::{HttpClient, Use};
use crate::relabel;

/// The label with the path where alerts are posted.
const PATH: &str = "__alerts_path__";

/// Follows discovery and tells those that it finds, until the token is cancelled.
pub(super) async fn follow(
    shared: &Arc<Shared>,
    set: &Arc<AlertmanagerSet>,
    (stop, ends): (CancellationToken, CancellationToken),
) {
    let client = match HttpClient::new(&set.job.client, Use::default()).await {
        Ok(client) => client,
        Err(error) => {
            tracing::error!(entry = set.job.name, error, "no client for Alertmanagers");
            return;
        }
    };
    let mut sources = Sources::new(&set.job.discovery, &shared.providers);
    let tasks = TaskTracker::new();
    let mut running: BTreeMap<String, CancellationToken> = BTreeMap::new();
    tokio::select! {
        () = stop.cancelled() => return,
        () = sources.first() => {}
    }
    while !stop.is_cancelled() {
        let (_, faults) = sources.refresh().await;
        let (active, dropped, more) = resolve(set, &sources.known());
        for fault in faults.into_iter().chain(more) {
            tracing::warn!(entry = set.job.name, error = fault, "discovery fault");
        }
        let new = update(shared, set, &active, dropped);
        shared.forget();
        for endpoint in new {
            let token = stop.child_token();
            let (client, timeout) = (client.clone(), set.job.timeout);
            let stop = (token.clone(), ends.clone());
            running.insert(endpoint.0, token);
            tasks.spawn(async move { endpoint.1.run(&client, timeout, stop).await });
        }
        running.retain(|url, token| {
            let stays = active.contains(url);
            if !stays {
                token.cancel();
            }
            stays
        });
        tokio::select! {
            () = stop.cancelled() => {}
            () = sources.change() => {}
        }
    }
    tasks.close();
    tasks.wait().await;
}

/// Takes over what was found; gives those that are new.
fn update(
    shared: &Shared,
    set: &Arc<AlertmanagerSet>,
    active: &[String],
    dropped: Vec<String>,
) -> Vec<(String, Arc<Endpoint>)> {
    let mut all = shared.found();
    // Another configuration came meanwhile.
    let Some(found) = all.iter_mut().find(|found| Arc::ptr_eq(&found.set, set)) else {
        return Vec::new();
    };
    found.dropped = dropped;
    found.endpoints.retain(|url, _| active.contains(url));
    let early = found.early.take().unwrap_or_default();
    let mut new = Vec::new();
    for url in active {
        if found.endpoints.contains_key(url) {
            continue;
        }
        let counts = Arc::clone(shared.counts().entry(url.clone()).or_default());
        let endpoint = Arc::new(Endpoint::new(url.clone(), counts, shared.options));
        endpoint.push(early.iter().cloned());
        found.endpoints.insert(url.clone(), Arc::clone(&endpoint));
        new.push((url.clone(), endpoint));
    }
    new
}

/// The addresses of Alertmanagers, those of which were dropped, and faults.
pub(super) fn resolve(
    set: &AlertmanagerSet,
    found: &[Labels],
) -> (Vec<String>, Vec<String>, Vec<String>) {
    let (mut active, mut dropped, mut faults) = (Vec::new(), Vec::new(), Vec::new());
    for labels in found {
        let mut builder = labels.to_builder();
        builder.set("__scheme__", &set.job.scheme);
        builder.set(PATH, &set.path);
        let before = builder.build();
        if !relabel::apply(&set.job.relabel, &mut builder) {
            dropped.push(address(&before));
            continue;
        }
        let after = builder.build();
        match after
            .get("__address__")
            .filter(|address| !address.is_empty())
        {
            None => faults.push(format!("{before}: no address")),
            Some(address) if address.contains('/') => {
                faults.push(format!("{address:?} is not a valid hostname"));
            }
            Some(_) => active.push(address(&after)),
        }
    }
    active.sort();
    active.dedup();
    (active, dropped, faults)
}

/// The address that labels make.
fn address(labels: &Labels) -> String {
    let part = |name: &str| labels.get(name).unwrap_or("");
    let (scheme, host) = (part("__scheme__"), part("__address__"));
    // Behind the brackets of an address of IPv6.
    let tail = host.rsplit(']').next().unwrap_or(host);
    let port = match (tail.contains(':'), scheme) {
        (true, _) => "",
        (false, "https") => ":443",
        (false, _) => ":80",
    };
    format!("{scheme}://{host}{port}{}", part(PATH))
}
