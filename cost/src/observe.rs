//! What metrics say of a cluster: what to ask, and how the answers become a [`Cluster`].
//!
//! The metrics are those of kube-state-metrics, of the kubelet (cAdvisor) and, for egress, of
//! Kubecost's network flows. Invariants: begin and end of a container are times that the API server
//! tells (`kube_pod_container_state_started`, `kube_pod_completion_time`, …); only where it tells
//! none, they are when the object was seen first and last. What is not there is left out, and
//! nothing is counted twice where two jobs tell of it.

mod answers;
mod containers;
mod nodes;
mod pods;
mod volumes;

use crate::cluster::Cluster;
use crate::span::Span;
use crate::usage::INTERVAL;

use answers::Seen;
pub use answers::{Answers, Series};

/// Longest window whose samples are read as they came.
const RAW_MAX: i64 = 6 * crate::HOUR;
/// Most steps of one question where nobody says how fine it should be, and where somebody does.
const STEPS: [i64; 2] = [2_000, 10_000];
/// How far around a window objects are looked for: Prometheus' lookback.
const MARGIN: i64 = 5 * INTERVAL;

/// What is asked about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Read {
    /// The window.
    pub window: Span,
    /// When it is asked; nothing is known of later times.
    pub now: i64,
    /// Distance of the samples that are read of long windows; chosen where absent.
    pub step: Option<i64>,
    /// The name of the cluster of series that do not say.
    pub cluster: String,
}

/// At which times a question is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// At one time.
    At(i64),
    /// From time to time.
    Range {
        /// The first time.
        start: i64,
        /// No time is later.
        end: i64,
        /// Their distance.
        step: i64,
    },
}

/// A question in PromQL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// The name by which the answer is found.
    pub name: String,
    /// What is asked.
    pub text: String,
    /// When.
    pub asked: Asked,
    /// How far an instant selector looks back, in nanoseconds.
    pub lookback: i64,
}

/// Objects with a life, and the metric that is there as long as they are.
const PRESENT: [(&str, &str); 5] = [
    ("pods", "kube_pod_info"),
    ("containers", "kube_pod_container_info"),
    ("nodes", "kube_node_info"),
    ("volumes", "kube_persistentvolume_capacity_bytes"),
    ("services", "kube_service_spec_type{type=\"LoadBalancer\"}"),
];

/// What is told once, or changes so seldom that the last word counts.
const LATEST: [(&str, &str); 39] = [
    ("requests", "kube_pod_container_resource_requests"),
    ("limits", "kube_pod_container_resource_limits"),
    ("pod_created", "kube_pod_created"),
    ("pod_start", "kube_pod_start_time"),
    ("pod_deletion", "kube_pod_deletion_timestamp"),
    ("phase", "kube_pod_status_phase"),
    ("pod_owner", "kube_pod_owner"),
    ("replicaset_owner", "kube_replicaset_owner"),
    ("job_owner", "kube_job_owner"),
    ("pod_labels", "kube_pod_labels"),
    ("pod_annotations", "kube_pod_annotations"),
    ("namespace_labels", "kube_namespace_labels"),
    ("namespace_annotations", "kube_namespace_annotations"),
    ("pod_selectors", "kube_pod_nodeselectors"),
    (
        "pod_claims",
        "kube_pod_spec_volumes_persistentvolumeclaims_info",
    ),
    (
        "killed",
        "kube_pod_container_status_last_terminated_reason{reason=\"OOMKilled\"}",
    ),
    ("node_capacity", "kube_node_status_capacity"),
    ("node_allocatable", "kube_node_status_allocatable"),
    ("node_labels", "kube_node_labels"),
    ("node_created", "kube_node_created"),
    ("node_deletion", "kube_node_deletion_timestamp"),
    ("node_unschedulable", "kube_node_spec_unschedulable"),
    (
        "node_taint",
        "kube_node_spec_taint{effect!=\"PreferNoSchedule\"}",
    ),
    ("machine_cores", "machine_cpu_cores"),
    ("machine_memory", "machine_memory_bytes"),
    ("volume_info", "kube_persistentvolume_info"),
    ("volume_bytes", "kube_persistentvolume_capacity_bytes"),
    ("volume_created", "kube_persistentvolume_created"),
    (
        "volume_deletion",
        "kube_persistentvolume_deletion_timestamp",
    ),
    ("volume_claim", "kube_persistentvolume_claim_ref"),
    ("claim_info", "kube_persistentvolumeclaim_info"),
    ("service_created", "kube_service_created"),
    (
        "service_ingress",
        "kube_service_status_load_balancer_ingress",
    ),
    ("endpoint", "kube_endpoint_address"),
    (
        "slice",
        "kube_endpointslice_endpoints{targetref_kind=\"Pod\"}",
    ),
    ("slice_labels", "kube_endpointslice_labels"),
    ("selectors", "service_selector_labels"),
    (
        "budget_allowed",
        "kube_poddisruptionbudget_status_pod_disruptions_allowed",
    ),
    (
        "budget_expected",
        "kube_poddisruptionbudget_status_expected_pods",
    ),
];

/// What is told from sample to sample.
const VALUES: [(&str, &str); 10] = [
    ("started", "kube_pod_container_state_started"),
    (
        "ended",
        "kube_pod_container_status_last_terminated_timestamp",
    ),
    ("terminated", "kube_pod_container_status_terminated"),
    ("completed", "kube_pod_completion_time"),
    (
        "cpu",
        "container_cpu_usage_seconds_total{container!=\"\",container!=\"POD\",pod!=\"\"}",
    ),
    (
        "ram",
        "container_memory_working_set_bytes{container!=\"\",container!=\"POD\",pod!=\"\"}",
    ),
    ("gpu", "DCGM_FI_PROF_GR_ENGINE_ACTIVE{pod!=\"\"}"),
    ("volume_used", "kubelet_volume_stats_used_bytes"),
    ("sent", "container_network_transmit_bytes_total{pod!=\"\"}"),
    (
        "received",
        "container_network_receive_bytes_total{pod!=\"\"}",
    ),
];

/// Kubecost's network flows: bytes that are paid for.
const FLOWS: [(&str, &str); 3] = [
    (
        "flow_zone",
        "internet=\"false\",same_zone=\"false\",same_region=\"true\"",
    ),
    (
        "flow_region",
        "internet=\"false\",same_zone=\"false\",same_region=\"false\"",
    ),
    ("flow_internet", "internet=\"true\""),
];

impl Read {
    /// The times of which samples are read.
    pub fn span(&self) -> Span {
        let end = self.window.end.saturating_add(MARGIN).min(self.now);
        Span::new(self.window.start.saturating_sub(2 * MARGIN), end)
    }

    /// The end of what can be known.
    fn end(&self) -> i64 {
        self.window.end.min(self.now)
    }

    /// Everything that has to be asked.
    pub fn questions(&self) -> Vec<Question> {
        let span = self.span();
        let length = span.nanos();
        if length == 0 {
            return Vec::new();
        }
        let range = format!("[{}ms]", length.div_euclid(1_000_000) + 1);
        let once = |name: String, text: String| Question {
            name,
            text,
            asked: Asked::At(span.end),
            lookback: length,
        };
        let mut all = Vec::new();
        for (name, metric) in PRESENT {
            for (part, function) in [
                ("first", "ts_of_first_over_time"),
                ("last", "ts_of_last_over_time"),
                ("count", "count_over_time"),
            ] {
                let text = format!("{function}({metric}{range})");
                all.push(once(format!("{name}.{part}"), text));
            }
            all.push(once(format!("{name}.now"), metric.to_owned()));
        }
        for (name, metric) in LATEST {
            let text = format!("last_over_time({metric}{range})");
            all.push(once(name.to_owned(), text));
        }
        let flows = FLOWS.map(|(name, which)| {
            let metric = format!("kubecost_pod_network_egress_bytes_total{{{which}}}");
            (name, metric)
        });
        let values = VALUES.map(|(name, metric)| (name, metric.to_owned()));
        for (name, metric) in values.into_iter().chain(flows) {
            all.push(match length <= RAW_MAX {
                true => once(name.to_owned(), format!("{metric}{range}")),
                false => self.stepped(name, &metric),
            });
        }
        all
    }

    fn stepped(&self, name: &str, metric: &str) -> Question {
        const SECOND: i64 = 1_000_000_000;
        let span = self.span();
        let most = STEPS[usize::from(self.step.is_some())];
        let least = span.nanos().div_euclid(most);
        let step = self.step.unwrap_or(INTERVAL).max(least).max(SECOND);
        let step = (step + SECOND - 1).div_euclid(SECOND) * SECOND;
        Question {
            name: name.to_owned(),
            // Markers of staleness must not hide the last value of what went.
            text: format!("last_over_time({metric}[{}s])", step / SECOND),
            asked: Asked::Range {
                start: span.start.saturating_add(step),
                end: span.end,
                step,
            },
            lookback: MARGIN,
        }
    }

    /// The cluster that the answers tell of.
    pub fn cluster(&self, answers: &Answers) -> Cluster {
        let mut cluster = Cluster {
            nodes: nodes::nodes(self, answers),
            pods: pods::pods(self, answers),
            volumes: volumes::volumes(self, answers),
            balancers: volumes::balancers(self, answers),
            budgets: volumes::budgets(self, answers),
        };
        nodes::extend(&mut cluster);
        cluster
    }

    /// The cluster that labels name.
    fn cluster_of(&self, series: &Series) -> String {
        match series.label("cluster") {
            "" => self.cluster.clone(),
            name => name.to_owned(),
        }
    }

    /// When something went that was seen last at some time, and was to be deleted at another;
    /// `None` while it is there.
    fn gone(&self, seen: &Seen, deletion: Option<i64>) -> Option<i64> {
        let gap = seen.gap();
        let end = self.end();
        let there = seen.last >= end
            || seen.unmarked && seen.last.saturating_add(gap.saturating_mul(2)) >= end;
        // It went between two looks; the middle is wrong by half their distance at most.
        let middle = seen.last.saturating_add(gap / 2);
        let next = seen.last.saturating_add(gap);
        // A later deletion is the end of a grace that was not needed.
        let told = deletion.filter(|at| seen.last <= *at && *at <= next);
        (!there).then(|| told.unwrap_or(middle))
    }
}

#[cfg(test)]
mod tests;
