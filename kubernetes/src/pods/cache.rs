//! The pods that are known, and the ways to find them.
//!
//! Invariants: each index leads to a pod that is kept; of two pods that claim one name, address or
//! container the one that is not gone wins, else the one that came later; nothing is forgotten
//! before its time but the oldest of what is gone when there are too many.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use obs_model::Timestamp;

use super::read::{self, PodObject};
use super::{Pod, Settings};
use crate::object::Key;
use crate::watch::Event;

/// The annotation of static pods that has the name of their log folder.
const CONFIG_HASH: &str = "kubernetes.io/config.hash";

#[derive(Debug)]
struct Entry {
    pod: Arc<Pod>,
    /// The list in which it was seen last.
    seen: u64,
    gone: Option<Timestamp>,
}

#[derive(Debug)]
pub(super) struct Cache {
    keep: Duration,
    pods_max: usize,
    /// By identity.
    pods: HashMap<Box<str>, Entry>,
    names: HashMap<Key, Box<str>>,
    ips: HashMap<Box<str>, Box<str>>,
    containers: HashMap<Box<str>, Box<str>>,
    hashes: HashMap<Box<str>, Box<str>>,
    lists: u64,
    listing: bool,
    refused: u64,
}

impl Cache {
    pub(super) fn new(settings: &Settings) -> Self {
        Self {
            keep: settings.keep,
            pods_max: settings.pods_max,
            pods: HashMap::new(),
            names: HashMap::new(),
            ips: HashMap::new(),
            containers: HashMap::new(),
            hashes: HashMap::new(),
            lists: 0,
            listing: false,
            refused: 0,
        }
    }

    /// Takes in an event. Whether there is something new to be found.
    pub(super) fn take(&mut self, event: Event<PodObject>, now: Timestamp) -> bool {
        match event {
            Event::Start => {
                self.lists += 1;
                self.listing = true;
                return false;
            }
            Event::Put(_, object) => self.put(read::pod(object)),
            Event::Gone(key) => {
                let uid = self.names.get(&key);
                if let Some(entry) = uid.and_then(|uid| self.pods.get_mut(uid)) {
                    entry.gone.get_or_insert(now);
                }
            }
            Event::Ready => {
                if std::mem::take(&mut self.listing) {
                    let lost = self.pods.values_mut().filter(|e| e.seen != self.lists);
                    for entry in lost {
                        entry.gone.get_or_insert(now);
                    }
                }
            }
        }
        // While a list comes, only its end wakes those who wait.
        !self.listing
    }

    fn put(&mut self, pod: Pod) {
        if pod.uid.is_empty() {
            return;
        }
        if !self.pods.contains_key(&pod.uid)
            && self.pods.len() >= self.pods_max
            && !self.make_room()
        {
            self.refused += 1;
            if self.refused.is_power_of_two() {
                let (limit, refused) = (self.pods_max, self.refused);
                tracing::warn!(limit, refused, "pods are not kept: there are too many");
            }
            return;
        }
        let before = self.pods.remove(&pod.uid);
        if let Some(before) = before {
            self.unlink(&before.pod);
        }
        self.names.insert(pod.key.clone(), pod.uid.clone());
        for ip in &pod.ips {
            self.ips.insert(ip.clone(), pod.uid.clone());
        }
        for container in pod.containers.iter().filter(|c| !c.id.is_empty()) {
            self.containers
                .insert(container.id.clone(), pod.uid.clone());
        }
        if let Some(hash) = pod.annotations.get(CONFIG_HASH) {
            self.hashes.insert(hash.into(), pod.uid.clone());
        }
        let entry = Entry {
            seen: self.lists,
            gone: None,
            pod: Arc::new(pod),
        };
        self.pods.insert(entry.pod.uid.clone(), entry);
    }

    /// Forgets the pod that has been gone for the longest time. Whether there was one.
    fn make_room(&mut self) -> bool {
        let gone = self.pods.iter().filter_map(|(uid, e)| Some((e.gone?, uid)));
        let Some(uid) = gone.min().map(|(_, uid)| uid.clone()) else {
            return false;
        };
        self.forget(&uid);
        true
    }

    pub(super) fn sweep(&mut self, now: Timestamp) {
        let keep = i64::try_from(self.keep.as_nanos()).unwrap_or(i64::MAX);
        let past = |e: &Entry| {
            e.gone
                .is_some_and(|gone| now.nanos().saturating_sub(gone.nanos()) > keep)
        };
        let past = self.pods.iter().filter(|(_, e)| past(e));
        let past: Vec<Box<str>> = past.map(|(uid, _)| uid.clone()).collect();
        for uid in past {
            self.forget(&uid);
        }
    }

    fn forget(&mut self, uid: &str) {
        if let Some(entry) = self.pods.remove(uid) {
            self.unlink(&entry.pod);
        }
    }

    /// Takes a pod out of the indices, where they still lead to it.
    fn unlink(&mut self, pod: &Pod) {
        if self.names.get(&pod.key).is_some_and(|uid| *uid == pod.uid) {
            self.names.remove(&pod.key);
        }
        for ip in &pod.ips {
            if self.ips.get(ip).is_some_and(|uid| *uid == pod.uid) {
                self.ips.remove(ip);
            }
        }
        for container in &pod.containers {
            if self
                .containers
                .get(&container.id)
                .is_some_and(|uid| *uid == pod.uid)
            {
                self.containers.remove(&container.id);
            }
        }
        if let Some(hash) = pod.annotations.get(CONFIG_HASH)
            && self.hashes.get(hash).is_some_and(|uid| *uid == pod.uid)
        {
            self.hashes.remove(hash);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.pods.len()
    }

    pub(super) fn by_uid(&self, uid: &str) -> Option<Arc<Pod>> {
        let direct = self.pods.get(uid);
        let entry = direct.or_else(|| self.pods.get(self.hashes.get(uid)?))?;
        Some(Arc::clone(&entry.pod))
    }

    pub(super) fn by_name(&self, namespace: &str, name: &str) -> Option<Arc<Pod>> {
        self.by_uid(self.names.get(&Key::new(namespace, name))?)
    }

    pub(super) fn by_ip(&self, ip: &str) -> Option<Arc<Pod>> {
        self.by_uid(self.ips.get(ip)?)
    }

    pub(super) fn by_container_id(&self, id: &str) -> Option<(Arc<Pod>, Box<str>)> {
        let pod = self.by_uid(self.containers.get(id)?)?;
        let container = pod.containers.iter().find(|c| &*c.id == id)?;
        let name = container.name.clone();
        Some((pod, name))
    }
}
