//! The dashboards that come with the binary: files of the repository's `dashboards/`.

/// Uid and JSON of each.
pub(super) static ALL: &[(&str, &str)] = &[
    (
        "obs-alerts",
        include_str!("../../../dashboards/alerts.json"),
    ),
    (
        "obs-apiserver",
        include_str!("../../../dashboards/apiserver.json"),
    ),
    (
        "obs-cluster",
        include_str!("../../../dashboards/cluster.json"),
    ),
    (
        "obs-coredns",
        include_str!("../../../dashboards/coredns.json"),
    ),
    ("obs-cost", include_str!("../../../dashboards/cost.json")),
    (
        "obs-deployment",
        include_str!("../../../dashboards/deployment.json"),
    ),
    (
        "obs-kubelet",
        include_str!("../../../dashboards/kubelet.json"),
    ),
    ("obs-logs", include_str!("../../../dashboards/logs.json")),
    (
        "obs-namespaces",
        include_str!("../../../dashboards/namespaces.json"),
    ),
    ("obs-node", include_str!("../../../dashboards/node.json")),
    ("obs-pod", include_str!("../../../dashboards/pod.json")),
    ("obs-self", include_str!("../../../dashboards/self.json")),
    (
        "obs-service-graph",
        include_str!("../../../dashboards/service-graph.json"),
    ),
    (
        "obs-services",
        include_str!("../../../dashboards/services.json"),
    ),
    ("obs-slo", include_str!("../../../dashboards/slo.json")),
    ("obs-use", include_str!("../../../dashboards/use.json")),
    (
        "obs-workloads",
        include_str!("../../../dashboards/workloads.json"),
    ),
];
