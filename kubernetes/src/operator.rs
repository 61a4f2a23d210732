//! Objects of the Prometheus Operator as scrape configurations and rules: ServiceMonitor,
//! PodMonitor, Probe, ScrapeConfig and PrometheusRule, with the Operator's relabelings.
//!
//! How: objects are watched as JSON, each becomes entries of `scrape_configs` (as JSON, which is
//! what the configuration's own checks then read) by pure functions; what they refer to in secrets
//! and config maps is asked for by name.
//!
//! Invariants: an object that is wrong or refers to what is not there becomes a fault that names
//! it, and nothing else stops; secrets are only asked for when an object names them; results are
//! told only when they changed.

mod annotations;
mod convert;
mod http;
mod monitors;
mod run;
mod scrape_config;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

pub use annotations::annotation_jobs;
pub use run::{Settings, run};

/// What the objects came to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Monitors {
    /// Entries of `scrape_configs` by `job_name`, in the order of their names.
    pub scrape_configs: BTreeMap<String, Value>,
    /// Groups of rules, as rule files have them, by `NAMESPACE/NAME` of their object.
    pub rules: BTreeMap<String, Value>,
    /// Objects that are wrong, and why.
    pub faults: Vec<String>,
}

/// A key of a secret or of a config map.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    /// Whether it is a secret.
    pub secret: bool,
    /// The namespace.
    pub namespace: String,
    /// The object.
    pub name: String,
    /// The key.
    pub key: String,
}

/// What is known of secrets and config maps, and what turned out to be needed.
#[derive(Debug, Default)]
pub struct References {
    known: BTreeMap<Reference, Option<String>>,
    missing: RefCell<BTreeSet<Reference>>,
    used: RefCell<BTreeSet<Reference>>,
}

impl References {
    /// The value, where it is known; asked for otherwise.
    fn find(&self, reference: Reference) -> Result<String, String> {
        self.used.borrow_mut().insert(reference.clone());
        match self.known.get(&reference) {
            Some(Some(value)) => Ok(value.clone()),
            Some(None) => {
                let kind = if reference.secret {
                    "secret"
                } else {
                    "config map"
                };
                let Reference {
                    namespace,
                    name,
                    key,
                    ..
                } = reference;
                Err(format!("{kind} {namespace}/{name} has no key {key:?}"))
            }
            None => {
                self.missing.borrow_mut().insert(reference);
                Err("what it refers to is not known yet".to_owned())
            }
        }
    }

    /// Sets what there is; `None` says that there is nothing.
    pub fn set(&mut self, reference: Reference, value: Option<String>) {
        self.known.insert(reference, value);
    }

    /// Forgets what nobody asked for since this was called last; what somebody did.
    pub fn keep_used(&mut self) -> BTreeSet<Reference> {
        let used = std::mem::take(self.used.get_mut());
        self.known.retain(|reference, _| used.contains(reference));
        used
    }

    /// What was asked for and is not known, which is forgotten by this.
    pub fn take_missing(&self) -> BTreeSet<Reference> {
        std::mem::take(&mut self.missing.borrow_mut())
    }
}

/// What one object came to: entries of `scrape_configs`.
pub fn convert(object: &Value, references: &References) -> Result<Vec<Value>, String> {
    convert::convert(object, references)
}

/// The groups of a PrometheusRule.
pub fn rules(object: &Value) -> Result<Value, String> {
    convert::rules(object)
}

#[cfg(test)]
mod tests;
