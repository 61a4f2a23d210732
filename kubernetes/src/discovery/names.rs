//! Names of discovered labels: `__meta_kubernetes_…`.

use obs_model::LabelsBuilder;

use crate::object::{Meta, Pairs};

pub(super) const PREFIX: &str = "__meta_kubernetes_";

/// Labels under construction; names are given without their common beginning.
#[derive(Clone, Debug, Default)]
pub(super) struct Set {
    pub(super) labels: LabelsBuilder,
    name: String,
}

impl Set {
    /// `__address__`, `instance`, …
    pub(super) fn plain(&mut self, name: &str, value: &str) {
        self.labels.set(name, value);
    }

    /// `__meta_kubernetes_` and this name.
    pub(super) fn meta(&mut self, name: &str, value: &str) {
        self.named(&[name], None, value);
    }

    /// The same where there is something to set.
    pub(super) fn maybe(&mut self, name: &str, value: Option<&str>) {
        self.meta(name, value.unwrap_or(""));
    }

    /// The same for yes and no.
    pub(super) fn truth(&mut self, name: &str, value: Option<bool>) {
        self.maybe(
            name,
            value.map(|value| if value { "true" } else { "false" }),
        );
    }

    /// `__meta_kubernetes_`, parts of a name, and one part with every character that no label
    /// has replaced by `_`.
    pub(super) fn named(&mut self, parts: &[&str], foreign: Option<&str>, value: &str) {
        self.name.clear();
        self.name.push_str(PREFIX);
        parts.iter().for_each(|part| self.name.push_str(part));
        let clean = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
        self.name.extend(foreign.unwrap_or("").chars().map(clean));
        self.labels.set(&self.name, value);
    }

    /// Name, labels and annotations of an object.
    pub(super) fn object(&mut self, role: &str, meta: &Meta) {
        self.named(&[role, "_name"], None, &meta.name);
        self.labels_and_annotations(role, meta);
    }

    /// Labels and annotations of an object, each with a second label that says that it is there.
    pub(super) fn labels_and_annotations(&mut self, role: &str, meta: &Meta) {
        self.pairs(&[role, "_label_"], &[role, "_labelpresent_"], &meta.labels);
        self.pairs(
            &[role, "_annotation_"],
            &[role, "_annotationpresent_"],
            &meta.annotations,
        );
    }

    pub(super) fn pairs(&mut self, name: &[&str], present: &[&str], pairs: &Pairs) {
        for (foreign, value) in pairs.iter() {
            self.named(name, Some(foreign), value);
            self.named(present, Some(foreign), "true");
        }
    }
}

/// Host and port in one; addresses with colons are put into brackets.
pub(super) fn join(host: &str, port: impl std::fmt::Display) -> String {
    match host.contains(':') {
        true => format!("[{host}]:{port}"),
        false => format!("{host}:{port}"),
    }
}
