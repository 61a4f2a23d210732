//! `/proc` and `/sys` as metric families with node_exporter's names and labels.
//!
//! Each collector is a pure function from the text of kernel files to families; `source.rs` is
//! the only place that reads. A collector that fails costs its own families only, and says so in
//! `node_scrape_collector_success`.

mod cpu;
mod diskstats;
mod error;
mod filefd;
mod filesystem;
mod loadavg;
mod meminfo;
mod netdev;
mod netstat;
mod pressure;
mod sockstat;
mod source;
mod stat;
mod time;
mod uname;
mod vmstat;

use obs_model::family::Family;
use obs_model::metrics::MetricKind;
use obs_model::{Labels, Pattern};

pub use error::CollectError;
pub use source::Source;

/// What to collect; field by field node_exporter's flags and their defaults.
#[derive(Clone, Debug)]
pub struct Options {
    /// `--collector.filesystem.mount-points-exclude`
    pub mount_points_exclude: Pattern,
    /// `--collector.filesystem.fs-types-exclude`
    pub fs_types_exclude: Pattern,
    /// `--collector.diskstats.device-exclude`
    pub disk_device_exclude: Pattern,
    /// `--collector.netdev.device-exclude`
    pub net_device_exclude: Pattern,
    /// `--collector.netstat.fields`
    pub netstat_fields: Pattern,
    /// `--collector.vmstat.fields`
    pub vmstat_fields: Pattern,
}

const MOUNT_POINTS_EXCLUDE: &str =
    r"^/(dev|proc|run/credentials/.+|sys|var/lib/docker/.+|var/lib/containers/storage/.+)($|/)";
const FS_TYPES_EXCLUDE: &str = "^(autofs|binfmt_misc|bpf|cgroup2?|configfs|debugfs|devpts|\
    devtmpfs|erofs|fusectl|hugetlbfs|iso9660|mqueue|nsfs|overlay|proc|procfs|pstore|rpc_pipefs|\
    securityfs|selinuxfs|squashfs|sysfs|tracefs)$";
const DISK_DEVICE_EXCLUDE: &str = r"^(ram|loop|fd|(h|s|v|xv)d[a-z]|nvme\d+n\d+p)\d+$";
const NETSTAT_FIELDS: &str = "^(.*_(InErrors|InErrs)|Ip_Forwarding|Ip(6|Ext)_(InOctets|OutOctets)|\
    Icmp6?_(InMsgs|OutMsgs)|TcpExt_(Listen.*|Syncookies.*|TCPSynRetrans|TCPTimeouts|TCPOFOQueue|\
    TCPRcvQDrop)|Tcp_(ActiveOpens|InSegs|OutSegs|OutRsts|PassiveOpens|RetransSegs|CurrEstab)|\
    Udp6?_(InDatagrams|OutDatagrams|NoPorts|RcvbufErrors|SndbufErrors))$";
const VMSTAT_FIELDS: &str = "^(oom_kill|pgpg|pswp|pg.*fault).*";

impl Default for Options {
    fn default() -> Self {
        let pattern = |text| Pattern::search(text).expect("the defaults are valid expressions");
        Self {
            mount_points_exclude: pattern(MOUNT_POINTS_EXCLUDE),
            fs_types_exclude: pattern(FS_TYPES_EXCLUDE),
            disk_device_exclude: pattern(DISK_DEVICE_EXCLUDE),
            net_device_exclude: pattern("^$"),
            netstat_fields: pattern(NETSTAT_FIELDS),
            vmstat_fields: pattern(VMSTAT_FIELDS),
        }
    }
}

type Collect = fn(&Source, &Options) -> Result<Vec<Family>, CollectError>;

/// Every collector by the name that node_exporter gives it.
const COLLECTORS: &[(&str, Collect)] = &[
    ("cpu", cpu::collect),
    ("diskstats", diskstats::collect),
    ("filefd", filefd::collect),
    ("filesystem", filesystem::collect),
    ("loadavg", loadavg::collect),
    ("meminfo", meminfo::collect),
    ("netdev", netdev::collect),
    ("netstat", netstat::collect),
    ("pressure", pressure::collect),
    ("sockstat", sockstat::collect),
    ("stat", stat::collect),
    ("time", time::collect),
    ("uname", uname::collect),
    ("vmstat", vmstat::collect),
];

/// What one round of all collectors gave.
#[derive(Debug)]
pub struct Gathered {
    /// The families in order of name.
    pub families: Vec<Family>,
    /// What went wrong, by collector.
    pub faults: Vec<(&'static str, CollectError)>,
}

/// Runs every collector once.
pub fn gather(source: &Source, options: &Options) -> Gathered {
    let mut families = Vec::new();
    let mut faults = Vec::new();
    let mut duration = Family::new(
        "node_scrape_collector_duration_seconds",
        MetricKind::Gauge,
        "node_exporter: Duration of a collector scrape.",
    );
    let mut success = Family::new(
        "node_scrape_collector_success",
        MetricKind::Gauge,
        "node_exporter: Whether a collector succeeded.",
    );
    for (name, collect) in COLLECTORS {
        let stopwatch = source::Stopwatch::start();
        let result = collect(source, options);
        let labels = labels([("collector", name)]);
        duration.push(labels.clone(), stopwatch.seconds());
        success.push(labels, if result.is_ok() { 1.0 } else { 0.0 });
        match result {
            Ok(found) => families.extend(found),
            Err(fault) => faults.push((*name, fault)),
        }
    }
    families.push(duration);
    families.push(success);
    families.push(build_info());
    families.retain(|f| !f.points.is_empty());
    families.sort_by(|a, b| a.name.cmp(&b.name));
    Gathered { families, faults }
}

/// The families in the Prometheus text format 0.0.4.
pub fn exposition(gathered: &Gathered) -> Vec<u8> {
    let mut text = Vec::with_capacity(64 << 10);
    obs_wire::prometheus::text::encode(&gathered.families, &mut text);
    text
}

fn build_info() -> Family {
    let mut family = Family::new(
        "node_exporter_build_info",
        MetricKind::Gauge,
        "A metric with a constant '1' value labeled by the version of the exporter.",
    );
    family.push(
        labels([("version", env!("CARGO_PKG_VERSION")), ("goos", "linux")]),
        1.0,
    );
    family
}

/// Labels from pairs.
fn labels<const N: usize>(pairs: [(&str, &str); N]) -> Labels {
    Labels::from_pairs(pairs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_its_families() {
        let gathered = gather(&Source::default(), &Options::default());
        let names: Vec<&str> = gathered.families.iter().map(|f| f.name.as_str()).collect();
        for name in [
            "node_boot_time_seconds",
            "node_cpu_seconds_total",
            "node_filefd_allocated",
            "node_load1",
            "node_memory_MemTotal_bytes",
            "node_network_receive_bytes_total",
            "node_sockstat_sockets_used",
            "node_time_seconds",
            "node_uname_info",
            "node_vmstat_pgfault",
        ] {
            assert!(
                names.contains(&name),
                "{name} is missing; faults: {:?}",
                gathered.faults
            );
        }
        assert!(names.is_sorted());
    }

    #[test]
    fn an_absent_proc_is_told_per_collector() {
        let source = Source::new("/nonexistent/proc", "/nonexistent/sys", "/");
        let gathered = gather(&source, &Options::default());
        let success = gathered
            .families
            .iter()
            .find(|f| f.name == "node_scrape_collector_success")
            .unwrap();
        let cpu = success
            .points
            .iter()
            .find(|p| p.labels.get("collector") == Some("cpu"))
            .unwrap();
        assert_eq!(cpu.value, 0.0);
        let (_, fault) = gathered
            .faults
            .iter()
            .find(|(name, _)| *name == "cpu")
            .unwrap();
        assert!(
            fault
                .to_string()
                .starts_with("cannot read /nonexistent/proc/stat"),
            "{fault}"
        );
    }
}
