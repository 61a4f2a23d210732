//! Every collector by the name that node_exporter gives it.

use crate::sheet::Sheet;
use crate::{CollectError, Options, Source};
use crate::{containers, cpu, disk, hardware, host, memory, network};

type Collect = fn(&Source, &Options, &mut Sheet) -> Result<(), CollectError>;

/// A collector.
#[derive(Clone, Copy, Debug)]
pub struct Collector {
    /// As in `--collector.NAME`.
    pub name: &'static str,
    /// Whether it runs without being asked for.
    pub default_on: bool,
    pub(crate) collect: Collect,
}

const fn on(name: &'static str, collect: Collect) -> Collector {
    Collector {
        name,
        default_on: true,
        collect,
    }
}

const fn off(name: &'static str, collect: Collect) -> Collector {
    Collector {
        name,
        default_on: false,
        collect,
    }
}

/// All of them, in order of name. `containers` is ours, the others are node_exporter's.
pub const COLLECTORS: [Collector; 77] = [
    on("arp", network::arp),
    on("bcache", disk::bcache),
    on("bcachefs", disk::bcachefs),
    on("bonding", network::bonding),
    on("btrfs", disk::btrfs),
    off("buddyinfo", memory::buddyinfo),
    off("cgroups", host::cgroups),
    on("conntrack", network::conntrack),
    off("containers", containers::collect),
    on("cpu", cpu::cpu),
    off("cpu_vulnerabilities", cpu::vulnerabilities),
    on("cpufreq", cpu::cpufreq),
    on("diskstats", disk::diskstats),
    on("dmi", hardware::dmi),
    on("dmmultipath", disk::dmmultipath),
    off("drbd", disk::drbd),
    off("drm", hardware::drm),
    on("edac", hardware::edac),
    on("entropy", host::entropy),
    off("ethtool", network::ethtool),
    on("fibrechannel", network::fibrechannel),
    on("filefd", host::filefd),
    on("filesystem", disk::filesystem),
    on("hwmon", hardware::hwmon),
    on("infiniband", network::infiniband),
    off("interrupts", cpu::interrupts),
    on("ipvs", network::ipvs),
    on("kernel_hung", host::kernel_hung),
    off("ksmd", memory::ksmd),
    off("lnstat", network::lnstat),
    on("loadavg", host::loadavg),
    off("logind", host::logind),
    on("mdadm", disk::mdadm),
    on("meminfo", memory::meminfo),
    off("meminfo_numa", memory::meminfo_numa),
    off("mountstats", disk::mountstats),
    on("netclass", network::netclass),
    on("netdev", network::netdev),
    on("netstat", network::netstat),
    off("network_route", network::network_route),
    on("nfs", disk::nfs),
    on("nfsd", disk::nfsd),
    on("nvme", disk::nvme),
    off("nvmesubsystem", disk::nvmesubsystem),
    on("os", host::os),
    off("pcidevice", hardware::pcidevice),
    on("powersupplyclass", hardware::powersupplyclass),
    on("pressure", memory::pressure),
    off("processes", host::processes),
    off("qdisc", network::qdisc),
    on("rapl", hardware::rapl),
    off("runit", host::runit),
    on("schedstat", cpu::schedstat),
    on("selinux", host::selinux),
    off("slabinfo", memory::slabinfo),
    on("sockstat", network::sockstat),
    off("softirqs", cpu::softirqs),
    on("softnet", network::softnet),
    on("stat", host::stat),
    off("supervisord", host::supervisord),
    off("swap", memory::swap),
    off("sysctl", host::sysctl),
    off("systemd", host::systemd),
    on("tapestats", disk::tapestats),
    off("tcpstat", network::tcpstat),
    on("textfile", host::textfile),
    on("thermal_zone", hardware::thermal_zone),
    on("time", host::time),
    on("timex", host::timex),
    on("udp_queues", network::udp_queues),
    on("uname", host::uname),
    on("vmstat", memory::vmstat),
    on("watchdog", hardware::watchdog),
    off("xfrm", network::xfrm),
    on("xfs", disk::xfs),
    on("zfs", disk::zfs),
    off("zoneinfo", memory::zoneinfo),
];

/// Collectors of node_exporter that are not here; they can be turned off, as command lines do.
pub const NOT_HERE: [&str; 3] = ["ntp", "perf", "wifi"];
