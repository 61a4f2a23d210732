//! The families that an instance exposes, and how their values move.

use crate::random::Random;

/// Series of one instance; a test holds the table to it.
pub(super) const SERIES_PER_INSTANCE: u64 = 830;

/// Names and values of bucket bounds.
pub(super) const BUCKETS: &[(&str, f64)] = &[
    ("0.001", 0.001),
    ("0.0025", 0.0025),
    ("0.005", 0.005),
    ("0.01", 0.01),
    ("0.025", 0.025),
    ("0.05", 0.05),
    ("0.1", 0.1),
    ("0.25", 0.25),
    ("0.5", 0.5),
    ("1", 1.0),
    ("2.5", 2.5),
    ("5", 5.0),
    ("10", 10.0),
    ("+Inf", f64::INFINITY),
];

/// How a value moves from scrape to scrape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// Always 1.
    One,
    /// A size or limit that does not change.
    Constant,
    /// A counter that stands still.
    Idle,
    /// A counter of seconds in steps of 0.01.
    Ticks,
    /// A counter of seconds with nanoseconds.
    Nanos,
    /// A counter of bytes or events.
    Bytes,
    /// A bucket; its neighbours up to the count belong to it.
    Bucket,
    /// The sum of a histogram.
    Sum,
    /// The count of a histogram.
    Count,
    /// Memory: pages that come and go.
    Pages,
    /// A small number of things.
    Things,
    /// Two decimals around a middle.
    Hundredths,
    /// A measured duration with all its digits.
    Measured,
}

impl Shape {
    pub(super) fn first(self, random: &mut Random) -> f64 {
        match self {
            Self::One => 1.0,
            Self::Constant => (1.0 + random.skewed(64.0).floor()) * 1_048_576.0,
            Self::Idle => random.skewed(3.0).floor(),
            Self::Ticks => random.skewed(1e7).floor() / 100.0,
            Self::Nanos => random.skewed(1e4),
            Self::Bytes => random.skewed(1e10).floor(),
            Self::Bucket | Self::Sum | Self::Count => 0.0,
            Self::Pages => random.skewed(60_000.0).floor() * 4096.0,
            Self::Things => random.skewed(20.0).floor(),
            Self::Hundredths => random.skewed(3000.0).floor() / 100.0,
            Self::Measured => random.skewed(0.02),
        }
    }

    /// What a step moves the value by, about: each series has its own.
    pub(super) fn rate(self, random: &mut Random) -> f64 {
        match self {
            Self::Ticks => random.skewed(120.0),
            Self::Nanos => random.skewed(0.8),
            Self::Bytes => random.skewed(2e5),
            Self::Pages => random.skewed(40.0),
            _ => 1.0,
        }
    }

    pub(super) fn next(self, value: f64, rate: f64, random: &mut Random) -> f64 {
        match self {
            Self::One | Self::Constant | Self::Idle => value,
            Self::Bucket | Self::Sum | Self::Count => value,
            Self::Ticks => {
                let step = (rate * random.between(0.85, 1.15)).floor();
                ((value * 100.0).round() + step) / 100.0
            }
            Self::Nanos => {
                let step = rate * random.between(0.85, 1.15);
                ((value + step) * 1e9).round() / 1e9
            }
            Self::Bytes => value + random.skewed(rate).floor(),
            Self::Pages => {
                let step = (random.normal() * rate).round() * 4096.0;
                (value + step).max(4096.0)
            }
            Self::Things => (value + (random.normal() * 1.5).round()).max(0.0),
            Self::Hundredths => ((value + random.normal() * 0.2).abs() * 100.0).round() / 100.0,
            Self::Measured => random.skewed(0.02),
        }
    }
}

/// A label with its values.
#[derive(Clone, Copy, Debug)]
pub(super) enum Dim {
    /// Numbers from zero.
    Numbers(&'static str, usize),
    /// A fixed list.
    Words(&'static str, &'static [&'static str]),
    /// Names of pods, which differ from host to host.
    Pods(usize),
}

impl Dim {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Numbers(_, n) | Self::Pods(n) => *n,
            Self::Words(_, words) => words.len(),
        }
    }

    pub(super) fn label(&self, place: usize, host: &str) -> (&'static str, String) {
        match self {
            Self::Numbers(name, _) => (*name, place.to_string()),
            Self::Words(name, words) => (*name, words[place].to_owned()),
            Self::Pods(_) => {
                let app = APPS[place % APPS.len()];
                let mut hash = Random::of(place as u64, host.len() as u64);
                for byte in host.bytes() {
                    hash = Random::of(hash.next(), u64::from(byte));
                }
                let hash = hash.next();
                ("pod", format!("{app}-{:08x}-{place:02}", hash as u32))
            }
        }
    }
}

const APPS: &[&str] = &[
    "cart",
    "checkout",
    "gateway",
    "payment",
    "search",
    "mailer",
    "auth",
    "catalog",
    "recommender",
    "worker",
];

/// A name with its labels and the way it moves.
#[derive(Clone, Copy, Debug)]
pub(super) struct Family {
    pub(super) name: &'static str,
    pub(super) job: &'static str,
    pub(super) shape: Shape,
    pub(super) dims: &'static [Dim],
}

impl Family {
    /// The family with counters of nanoseconds, or of hundredths instead.
    pub(super) fn with(self, nanoseconds: bool) -> Self {
        match self.shape {
            Shape::Nanos if !nanoseconds => Self {
                shape: Shape::Ticks,
                ..self
            },
            _ => self,
        }
    }
}

const fn family(
    name: &'static str,
    job: &'static str,
    shape: Shape,
    dims: &'static [Dim],
) -> Family {
    Family {
        name,
        job,
        shape,
        dims,
    }
}

const CPU: Dim = Dim::Numbers("cpu", 8);
const CPU16: Dim = Dim::Numbers("cpu", 16);
const MODE: Dim = Dim::Words(
    "mode",
    &[
        "idle", "iowait", "irq", "nice", "softirq", "steal", "system", "user",
    ],
);
const NET: Dim = Dim::Words(
    "device",
    &[
        "eth0",
        "eth1",
        "lo",
        "cni0",
        "flannel.1",
        "veth0a1",
        "veth0b2",
        "veth0c3",
    ],
);
const DISK: Dim = Dim::Words(
    "device",
    &[
        "nvme0n1", "nvme1n1", "nvme2n1", "sda", "sdb", "dm-0", "dm-1", "dm-2",
    ],
);
const MOUNT: Dim = Dim::Words(
    "mountpoint",
    &[
        "/", "/boot", "/data", "/data/1", "/data/2", "/var", "/var/lib", "/run",
    ],
);
const ROUTE: Dim = Dim::Words(
    "route",
    &[
        "/",
        "/cart",
        "/checkout",
        "/login",
        "/api/items",
        "/api/items/{id}",
        "/search",
        "/health",
    ],
);
const HANDLER: Dim = Dim::Numbers("handler", 19);
const PODS: Dim = Dim::Pods(50);
const RESOURCE: Dim = Dim::Words("resource", &["cpu", "memory"]);

/// All families, as an instance lists them.
pub(super) const FAMILIES: &[Family] = &[
    family("up", "node", Shape::One, &[]),
    family("scrape_samples_scraped", "node", Shape::Constant, &[]),
    family(
        "scrape_samples_post_metric_relabeling",
        "node",
        Shape::Constant,
        &[],
    ),
    family("scrape_duration_seconds", "node", Shape::Measured, &[]),
    family("scrape_timeout_seconds", "node", Shape::Constant, &[]),
    family("node_load1", "node", Shape::Hundredths, &[]),
    family("node_load5", "node", Shape::Hundredths, &[]),
    family("node_load15", "node", Shape::Hundredths, &[]),
    family("node_cpu_seconds_total", "node", Shape::Ticks, &[CPU, MODE]),
    family(
        "node_cpu_guest_seconds_total",
        "node",
        Shape::Idle,
        &[CPU16, Dim::Words("mode", &["nice", "user"])],
    ),
    family(
        "node_cpu_scaling_frequency_max_hertz",
        "node",
        Shape::Constant,
        &[CPU16],
    ),
    family(
        "node_filesystem_size_bytes",
        "node",
        Shape::Constant,
        &[MOUNT],
    ),
    family(
        "node_filesystem_avail_bytes",
        "node",
        Shape::Pages,
        &[MOUNT],
    ),
    family(
        "node_network_receive_bytes_total",
        "node",
        Shape::Bytes,
        &[NET],
    ),
    family(
        "node_network_transmit_bytes_total",
        "node",
        Shape::Bytes,
        &[NET],
    ),
    family(
        "node_network_receive_errs_total",
        "node",
        Shape::Idle,
        &[NET],
    ),
    family(
        "node_network_transmit_errs_total",
        "node",
        Shape::Idle,
        &[NET],
    ),
    family(
        "node_network_receive_drop_total",
        "node",
        Shape::Idle,
        &[NET],
    ),
    family(
        "node_network_transmit_drop_total",
        "node",
        Shape::Idle,
        &[NET],
    ),
    family("node_disk_read_bytes_total", "node", Shape::Bytes, &[DISK]),
    family(
        "node_disk_written_bytes_total",
        "node",
        Shape::Bytes,
        &[DISK],
    ),
    family(
        "node_disk_io_time_seconds_total",
        "node",
        Shape::Ticks,
        &[DISK],
    ),
    family(
        "node_hwmon_temp_celsius",
        "node",
        Shape::Hundredths,
        &[Dim::Numbers("sensor", 10)],
    ),
    family("node_memory_MemFree_bytes", "node", Shape::Pages, &[]),
    family("node_memory_Cached_bytes", "node", Shape::Pages, &[]),
    family("node_memory_Buffers_bytes", "node", Shape::Pages, &[]),
    family("node_memory_Active_bytes", "node", Shape::Pages, &[]),
    family("node_memory_Inactive_bytes", "node", Shape::Pages, &[]),
    family("node_memory_Dirty_bytes", "node", Shape::Pages, &[]),
    family("node_memory_Mapped_bytes", "node", Shape::Pages, &[]),
    family("node_memory_AnonPages_bytes", "node", Shape::Pages, &[]),
    family("kube_pod_info", "kube-state", Shape::One, &[PODS]),
    family("kube_pod_status_ready", "kube-state", Shape::One, &[PODS]),
    family(
        "kube_pod_container_resource_limits",
        "kube-state",
        Shape::Constant,
        &[PODS, RESOURCE],
    ),
    family(
        "kube_pod_container_status_restarts_total",
        "kube-state",
        Shape::Idle,
        &[PODS],
    ),
    family(
        "container_cpu_usage_seconds_total",
        "kubelet",
        Shape::Nanos,
        &[PODS],
    ),
    family(
        "container_memory_working_set_bytes",
        "kubelet",
        Shape::Pages,
        &[PODS],
    ),
    family("container_memory_rss", "kubelet", Shape::Pages, &[PODS]),
    family("queue_depth", "app", Shape::Things, &[PODS]),
    family(
        "http_request_duration_seconds_bucket",
        "app",
        Shape::Bucket,
        &[ROUTE],
    ),
    family("http_requests_failed_total", "app", Shape::Idle, &[HANDLER]),
    family("go_goroutines", "app", Shape::Things, &[]),
    family("go_info", "app", Shape::One, &[]),
    family("go_memstats_alloc_bytes", "app", Shape::Pages, &[]),
    family("go_memstats_heap_inuse_bytes", "app", Shape::Pages, &[]),
    family("process_cpu_seconds_total", "app", Shape::Ticks, &[]),
    family("process_max_fds", "app", Shape::Constant, &[]),
    family("process_resident_memory_bytes", "app", Shape::Pages, &[]),
];
