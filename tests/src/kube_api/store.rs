//! Objects, their versions, and the changes that watches are told of.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use serde_json::{Value, json};

use super::kinds::{Kind, builtin};

/// Changes that are remembered.
const HISTORY_MAX: usize = 200_000;

/// Why an object was not written.
#[derive(Debug)]
pub(super) enum Refusal {
    /// There is one already.
    Exists,
    /// Somebody else was faster.
    Conflict,
    /// There is none.
    NotFound,
    /// It is not an object of this kind.
    Invalid(String),
}

/// One change.
#[derive(Clone, Debug)]
pub(super) struct Change {
    pub(super) version: u64,
    pub(super) kind: usize,
    /// Before; `None` when it was new.
    pub(super) before: Option<Arc<Value>>,
    /// After; `None` when it was removed.
    pub(super) after: Option<Arc<Value>>,
}

/// Namespace and name.
pub(super) type Key = (String, String);

#[derive(Debug)]
pub(super) struct Store {
    kinds: Vec<Kind>,
    objects: Vec<BTreeMap<Key, Arc<Value>>>,
    history: VecDeque<Change>,
    version: u64,
    /// Watches from before this version are told 410 Gone.
    forgotten: u64,
    uids: u64,
}

pub(super) fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or("")
}

pub(super) fn key(object: &Value) -> Key {
    let namespace = text(object, "/metadata/namespace").to_owned();
    (namespace, text(object, "/metadata/name").to_owned())
}

fn now() -> String {
    let now = jiff::Timestamp::now();
    now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

impl Store {
    pub(super) fn new() -> Self {
        let kinds = builtin();
        Self {
            objects: kinds.iter().map(|_| BTreeMap::new()).collect(),
            kinds,
            history: VecDeque::new(),
            version: 100,
            forgotten: 0,
            uids: 0,
        }
    }

    pub(super) fn version(&self) -> u64 {
        self.version
    }

    pub(super) fn kinds(&self) -> &[Kind] {
        &self.kinds
    }

    pub(super) fn kind(&self, index: usize) -> &Kind {
        &self.kinds[index]
    }

    pub(super) fn add_kind(&mut self, kind: Kind) {
        if !self
            .kinds
            .iter()
            .any(|k| k.group == kind.group && k.plural == kind.plural && k.version == kind.version)
        {
            self.kinds.push(kind);
            self.objects.push(BTreeMap::new());
        }
    }

    /// The resource at this address.
    pub(super) fn find(&self, group: &str, version: &str, plural: &str) -> Option<usize> {
        let same = |k: &Kind| k.group == group && k.version == version && k.plural == plural;
        self.kinds.iter().position(same)
    }

    fn by_kind(&self, kind: &str) -> Option<usize> {
        let (group, name) = kind
            .split_once('/')
            .map_or((None, kind), |(g, n)| (Some(g), n));
        let same = |k: &Kind| k.kind == name && group.is_none_or(|group| k.group == group);
        self.kinds.iter().position(same)
    }

    pub(super) fn objects(&self, kind: usize) -> &BTreeMap<Key, Arc<Value>> {
        &self.objects[kind]
    }

    pub(super) fn get(&self, kind: usize, key: &Key) -> Option<Arc<Value>> {
        self.objects[kind].get(key).cloned()
    }

    /// Changes after a version; `None` when they are not remembered any more.
    pub(super) fn since(&self, version: u64) -> Option<impl Iterator<Item = &Change>> {
        if version < self.forgotten {
            return None;
        }
        let first = self
            .history
            .partition_point(|change| change.version <= version);
        Some(self.history.range(first..))
    }

    pub(super) fn is_forgotten(&self, version: u64) -> bool {
        version < self.forgotten
    }

    pub(super) fn forget_history(&mut self) {
        self.history.clear();
        // What happens is a new version, so that whoever is up to date has to list again too.
        self.version += 1;
        self.forgotten = self.version;
    }

    fn record(&mut self, kind: usize, before: Option<Arc<Value>>, after: Option<Arc<Value>>) {
        let version = self.version;
        self.history.push_back(Change {
            version,
            kind,
            before,
            after,
        });
        if self.history.len() > HISTORY_MAX
            && let Some(lost) = self.history.pop_front()
        {
            self.forgotten = lost.version;
        }
    }

    /// Writes an object; what the server keeps of it is set here.
    fn write(&mut self, kind: usize, mut object: Value) -> Arc<Value> {
        self.version += 1;
        let key = key(&object);
        let before = self.objects[kind].get(&key).cloned();
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        let after = Arc::new(object);
        self.objects[kind].insert(key, Arc::clone(&after));
        self.record(kind, before, Some(Arc::clone(&after)));
        after
    }

    /// Sets what a new object gets from the server, where it does not have it.
    fn complete(&mut self, kind: usize, object: &mut Value) {
        let own = &self.kinds[kind];
        object["apiVersion"] = json!(own.api_version());
        object["kind"] = json!(own.kind);
        if !object["metadata"].is_object() {
            object["metadata"] = json!({});
        }
        self.uids += 1;
        let defaults = [
            (
                "uid",
                json!(format!("00000000-0000-4000-8000-{:012x}", self.uids)),
            ),
            ("creationTimestamp", json!(now())),
            ("generation", json!(1)),
        ];
        for (name, value) in defaults {
            if object["metadata"][name].is_null() {
                object["metadata"][name] = value;
            }
        }
        if text(object, "/metadata/name").is_empty() {
            let prefix = text(object, "/metadata/generateName").to_owned();
            object["metadata"]["name"] = json!(format!("{prefix}{:05x}", self.uids));
        }
    }

    /// Creates or replaces, whole.
    pub(super) fn put(&mut self, mut object: Value) -> Option<u64> {
        let api_version = text(&object, "/apiVersion").to_owned();
        let name = text(&object, "/kind").to_owned();
        let same =
            |k: &Kind| k.kind == name && (api_version.is_empty() || k.api_version() == api_version);
        let kind = self.kinds.iter().position(same)?;
        if let Some(before) = self.objects[kind].get(&key(&object)) {
            for field in ["uid", "creationTimestamp"] {
                if object["metadata"][field].is_null() {
                    object["metadata"][field] = before["metadata"][field].clone();
                }
            }
        }
        self.complete(kind, &mut object);
        self.write(kind, object);
        Some(self.version)
    }

    pub(super) fn create(&mut self, kind: usize, mut object: Value) -> Result<Arc<Value>, Refusal> {
        self.complete(kind, &mut object);
        if text(&object, "/metadata/name").is_empty() {
            return Err(Refusal::Invalid(
                "name or generateName is required".to_owned(),
            ));
        }
        if self.objects[kind].contains_key(&key(&object)) {
            return Err(Refusal::Exists);
        }
        Ok(self.write(kind, object))
    }

    /// Replaces an object, or with `status` only that part of it.
    pub(super) fn update(
        &mut self,
        kind: usize,
        mut object: Value,
        status: bool,
    ) -> Result<Arc<Value>, Refusal> {
        let key = key(&object);
        let before = self.get(kind, &key).ok_or(Refusal::NotFound)?;
        let version = text(&object, "/metadata/resourceVersion");
        if !version.is_empty() && version != text(&before, "/metadata/resourceVersion") {
            return Err(Refusal::Conflict);
        }
        if status {
            let mut whole = (*before).clone();
            whole["status"] = object["status"].take();
            return Ok(self.write(kind, whole));
        }
        self.complete(kind, &mut object);
        for field in [
            "uid",
            "creationTimestamp",
            "deletionTimestamp",
            "generation",
        ] {
            object["metadata"][field] = before["metadata"][field].clone();
            if object["metadata"][field].is_null()
                && let Some(meta) = object["metadata"].as_object_mut()
            {
                meta.remove(field);
            }
        }
        if object["status"].is_null() && !before["status"].is_null() {
            object["status"] = before["status"].clone();
        }
        if object["spec"] != before["spec"] {
            let generation = before["metadata"]["generation"].as_u64().unwrap_or(1);
            object["metadata"]["generation"] = json!(generation + 1);
        }
        if !object["metadata"]["deletionTimestamp"].is_null() && !has_finalizers(&object) {
            let written = self.write(kind, object);
            self.remove(kind, &key);
            return Ok(written);
        }
        Ok(self.write(kind, object))
    }

    /// Removes an object, or marks it where somebody has to finish first. What it was.
    pub(super) fn delete(&mut self, kind: usize, key: &Key) -> Option<Arc<Value>> {
        let before = self.get(kind, key)?;
        if has_finalizers(&before) {
            let mut marked = (*before).clone();
            marked["metadata"]["deletionTimestamp"] = json!(now());
            return Some(self.write(kind, marked));
        }
        self.remove(kind, key);
        Some(before)
    }

    fn remove(&mut self, kind: usize, key: &Key) {
        let Some(before) = self.objects[kind].remove(key) else {
            return;
        };
        self.version += 1;
        // The event of a removal carries the version of the removal.
        let mut last = (*before).clone();
        last["metadata"]["resourceVersion"] = json!(self.version.to_string());
        self.record(kind, Some(Arc::new(last)), None);
    }

    pub(super) fn delete_by_kind(&mut self, kind: &str, namespace: &str, name: &str) -> bool {
        let key = (namespace.to_owned(), name.to_owned());
        self.by_kind(kind)
            .is_some_and(|kind| self.delete(kind, &key).is_some())
    }

    pub(super) fn get_by_kind(&self, kind: &str, namespace: &str, name: &str) -> Option<Value> {
        let key = (namespace.to_owned(), name.to_owned());
        Some((*self.get(self.by_kind(kind)?, &key)?).clone())
    }

    pub(super) fn all_by_kind(&self, kind: &str) -> Vec<Value> {
        let kind = self.by_kind(kind);
        let objects = kind
            .into_iter()
            .flat_map(|kind| self.objects[kind].values());
        objects.map(|object| (**object).clone()).collect()
    }
}

fn has_finalizers(object: &Value) -> bool {
    let finalizers = object
        .pointer("/metadata/finalizers")
        .and_then(Value::as_array);
    finalizers.is_some_and(|all| !all.is_empty())
}
