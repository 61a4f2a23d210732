//! Resources of the API, and the addresses of what is asked of them.
//!
//! Invariant: names go into addresses percent-encoded, so that no name reaches another object.

use std::borrow::Cow;
use std::fmt;
use std::fmt::Write as _;

/// One kind of objects.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Resource {
    /// API group; empty for the core group.
    pub group: Cow<'static, str>,
    /// Version of the group.
    pub version: Cow<'static, str>,
    /// Name in addresses: plural, lower case.
    pub plural: Cow<'static, str>,
    /// Kind of its objects.
    pub kind: Cow<'static, str>,
    /// Whether its objects are in namespaces.
    pub namespaced: bool,
}

impl Resource {
    /// A resource whose objects are in namespaces.
    pub const fn namespaced(
        group: &'static str,
        version: &'static str,
        plural: &'static str,
        kind: &'static str,
    ) -> Self {
        Self {
            group: Cow::Borrowed(group),
            version: Cow::Borrowed(version),
            plural: Cow::Borrowed(plural),
            kind: Cow::Borrowed(kind),
            namespaced: true,
        }
    }

    /// A resource whose objects are the cluster's.
    pub const fn of_cluster(
        group: &'static str,
        version: &'static str,
        plural: &'static str,
        kind: &'static str,
    ) -> Self {
        Self {
            group: Cow::Borrowed(group),
            version: Cow::Borrowed(version),
            plural: Cow::Borrowed(plural),
            kind: Cow::Borrowed(kind),
            namespaced: false,
        }
    }

    /// `v1`, `apps/v1`.
    pub fn api_version(&self) -> String {
        match &*self.group {
            "" => self.version.clone().into_owned(),
            group => format!("{group}/{}", self.version),
        }
    }

    /// Address of all objects, or of those of one namespace.
    pub fn path(&self, namespace: Option<&str>) -> String {
        let mut path = match &*self.group {
            "" => format!("/api/{}", self.version),
            group => format!("/apis/{group}/{}", self.version),
        };
        if let Some(namespace) = namespace.filter(|_| self.namespaced) {
            path.push_str("/namespaces/");
            push_encoded(&mut path, namespace);
        }
        path.push('/');
        path.push_str(&self.plural);
        path
    }

    /// Address of one object.
    pub fn path_of(&self, namespace: Option<&str>, name: &str) -> String {
        let mut path = self.path(namespace);
        path.push('/');
        push_encoded(&mut path, name);
        path
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.group {
            "" => f.write_str(&self.plural),
            group => write!(f, "{}.{group}", self.plural),
        }
    }
}

fn push_encoded(path: &mut String, text: &str) {
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                path.push(char::from(byte));
            }
            _ => write!(path, "%{byte:02X}").expect("writing to a string does not fail"),
        }
    }
}

/// Which objects of a resource, and how much of them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Query {
    /// The resource.
    pub resource: Resource,
    /// One namespace, or all.
    pub namespace: Option<String>,
    /// Label selector; empty selects all.
    pub labels: String,
    /// Field selector; empty selects all.
    pub fields: String,
    /// Whether the server is asked for the metadata only: what it does not send cannot leak.
    pub metadata_only: bool,
}

impl Query {
    /// All objects, whole.
    pub fn all(resource: Resource) -> Self {
        Self {
            resource,
            namespace: None,
            labels: String::new(),
            fields: String::new(),
            metadata_only: false,
        }
    }

    /// Those of one namespace; empty is all.
    pub fn in_namespace(mut self, namespace: &str) -> Self {
        self.namespace = (!namespace.is_empty()).then(|| namespace.to_owned());
        self
    }

    /// Those whose labels match.
    pub fn with_labels(mut self, selector: &str) -> Self {
        selector.clone_into(&mut self.labels);
        self
    }

    /// Those whose fields match.
    pub fn with_fields(mut self, selector: &str) -> Self {
        selector.clone_into(&mut self.fields);
        self
    }

    /// Their metadata.
    pub fn only_metadata(mut self) -> Self {
        self.metadata_only = true;
        self
    }

    /// Address without parameters.
    pub fn path(&self) -> String {
        self.resource.path(self.namespace.as_deref())
    }

    /// Address with the selectors and these parameters.
    pub(crate) fn address(&self, parameters: &[(&str, &str)]) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        if !self.labels.is_empty() {
            query.append_pair("labelSelector", &self.labels);
        }
        if !self.fields.is_empty() {
            query.append_pair("fieldSelector", &self.fields);
        }
        for (name, value) in parameters.iter().filter(|(_, value)| !value.is_empty()) {
            query.append_pair(name, value);
        }
        match query.finish() {
            text if text.is_empty() => self.path(),
            text => format!("{}?{text}", self.path()),
        }
    }
}

macro_rules! resources {
    ($($(#[$doc:meta])* $name:ident = $make:ident($group:literal, $version:literal, $plural:literal, $kind:literal);)*) => {
        $($(#[$doc])* pub const $name: Resource = Resource::$make($group, $version, $plural, $kind);)*
    };
}

resources! {
    /// Nodes.
    NODES = of_cluster("", "v1", "nodes", "Node");
    /// Namespaces.
    NAMESPACES = of_cluster("", "v1", "namespaces", "Namespace");
    /// Pods.
    PODS = namespaced("", "v1", "pods", "Pod");
    /// Services.
    SERVICES = namespaced("", "v1", "services", "Service");
    /// Endpoints, the older way to say which pods a service has.
    ENDPOINTS = namespaced("", "v1", "endpoints", "Endpoints");
    /// Config maps.
    CONFIG_MAPS = namespaced("", "v1", "configmaps", "ConfigMap");
    /// Secrets.
    SECRETS = namespaced("", "v1", "secrets", "Secret");
    /// Endpoint slices.
    ENDPOINT_SLICES = namespaced("discovery.k8s.io", "v1", "endpointslices", "EndpointSlice");
    /// Ingresses.
    INGRESSES = namespaced("networking.k8s.io", "v1", "ingresses", "Ingress");
    /// Replica sets.
    REPLICA_SETS = namespaced("apps", "v1", "replicasets", "ReplicaSet");
    /// Jobs.
    JOBS = namespaced("batch", "v1", "jobs", "Job");
    /// Events.
    EVENTS = namespaced("events.k8s.io", "v1", "events", "Event");
    /// Events, the older resource.
    CORE_EVENTS = namespaced("", "v1", "events", "Event");
    /// ServiceMonitors of the Prometheus Operator.
    SERVICE_MONITORS = namespaced("monitoring.coreos.com", "v1", "servicemonitors", "ServiceMonitor");
    /// PodMonitors of the Prometheus Operator.
    POD_MONITORS = namespaced("monitoring.coreos.com", "v1", "podmonitors", "PodMonitor");
    /// Probes of the Prometheus Operator.
    PROBES = namespaced("monitoring.coreos.com", "v1", "probes", "Probe");
    /// ScrapeConfigs of the Prometheus Operator.
    SCRAPE_CONFIGS = namespaced("monitoring.coreos.com", "v1alpha1", "scrapeconfigs", "ScrapeConfig");
    /// PrometheusRules of the Prometheus Operator.
    PROMETHEUS_RULES = namespaced("monitoring.coreos.com", "v1", "prometheusrules", "PrometheusRule");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        let check = |query: Query, parameters: &[(&str, &str)], expect: &str| {
            assert_eq!(query.address(parameters), expect);
        };
        check(Query::all(PODS), &[], "/api/v1/pods");
        check(
            Query::all(REPLICA_SETS).in_namespace("shop"),
            &[("limit", "5"), ("continue", "")],
            "/apis/apps/v1/namespaces/shop/replicasets?limit=5",
        );
        check(
            Query::all(PODS)
                .with_labels("a in (b,c)")
                .with_fields("spec.nodeName=n"),
            &[("watch", "true")],
            "/api/v1/pods?labelSelector=a+in+%28b%2Cc%29&fieldSelector=spec.nodeName%3Dn&watch=true",
        );
        check(Query::all(NODES).in_namespace("shop"), &[], "/api/v1/nodes");
        let hostile = PODS.path_of(Some("../x"), "a/b?c");
        assert_eq!(hostile, "/api/v1/namespaces/..%2Fx/pods/a%2Fb%3Fc");
        assert_eq!(PODS.to_string(), "pods");
        assert_eq!(JOBS.to_string(), "jobs.batch");
        assert_eq!(
            (PODS.api_version(), JOBS.api_version()),
            ("v1".to_owned(), "batch/v1".to_owned())
        );
    }
}
