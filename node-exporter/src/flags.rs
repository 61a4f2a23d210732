//! node_exporter's flags of its collectors; the ones that turn a collector on or off are made of
//! the collectors' names.

/// What a flag takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// One text.
    Text,
    /// Nothing, `true` or `false`; `--no-` before it turns it off.
    Switch,
    /// A text, any number of times.
    Repeated,
    /// The old name of the flag that the help names.
    Old,
}

/// A flag.
#[derive(Clone, Copy, Debug)]
pub struct Flag {
    /// Without the dashes.
    pub name: &'static str,
    /// What holds without it.
    pub default: &'static str,
    /// What it takes.
    pub kind: Kind,
    /// One line.
    pub help: &'static str,
}

const fn flag(name: &'static str, default: &'static str, kind: Kind, help: &'static str) -> Flag {
    Flag {
        name,
        default,
        kind,
        help,
    }
}

/// Of the settings of collectors that are not here: command lines have them though the collector is off.
const NOT_HERE: &str = "Taken and without effect: the collector is not here";

/// All of them, with node_exporter's defaults; `path.dbus-socket` is ours.
#[rustfmt::skip]
pub const FLAGS: [Flag; 88] = [
    flag("path.dbus-socket", "/run/dbus/system_bus_socket", Kind::Text, "Socket of the system bus, for systemd and logind"),
    flag("collector.arp.device-include", "", Kind::Text, "Regexp of arp devices to include"),
    flag("collector.arp.device-exclude", "", Kind::Text, "Regexp of arp devices to exclude"),
    flag("collector.arp.netlink", "true", Kind::Switch, "Taken and without effect: /proc/net/arp says the same"),
    flag("collector.bcache.priorityStats", "false", Kind::Switch, "Expose expensive priority stats"),
    flag("collector.cpu.guest", "true", Kind::Switch, "Enables metric node_cpu_guest_seconds_total"),
    flag("collector.cpu.info", "false", Kind::Switch, "Enables metric cpu_info"),
    flag("collector.cpu.info.flags-include", "", Kind::Text, "Regexp of the flags of the CPU to include; turns cpu.info on"),
    flag("collector.cpu.info.bugs-include", "", Kind::Text, "Regexp of the bugs of the CPU to include; turns cpu.info on"),
    flag("collector.diskstats.device-exclude", r"^(z?ram|loop|fd|(h|s|v|xv)d[a-z]|nvme\d+n\d+p)\d+$", Kind::Text, "Regexp of diskstats devices to exclude (mutually exclusive to device-include)"),
    flag("collector.diskstats.device-include", "", Kind::Text, "Regexp of diskstats devices to include (mutually exclusive to device-exclude)"),
    flag("collector.diskstats.ignored-devices", "", Kind::Old, "collector.diskstats.device-exclude"),
    flag("collector.ethtool.device-include", "", Kind::Text, "Regexp of ethtool devices to include"),
    flag("collector.ethtool.device-exclude", "", Kind::Text, "Regexp of ethtool devices to exclude"),
    flag("collector.ethtool.metrics-include", ".*", Kind::Text, "Regexp of ethtool stats to include"),
    flag("collector.filesystem.mount-points-exclude", "^/(dev|proc|run/credentials/.+|sys|var/lib/docker/.+|var/lib/containers/storage/.+)($|/)", Kind::Text, "Regexp of mount points to exclude (mutually exclusive to mount-points-include)"),
    flag("collector.filesystem.mount-points-include", "", Kind::Text, "Regexp of mount points to include (mutually exclusive to mount-points-exclude)"),
    flag("collector.filesystem.ignored-mount-points", "", Kind::Old, "collector.filesystem.mount-points-exclude"),
    flag("collector.filesystem.fs-types-exclude", "^(autofs|binfmt_misc|bpf|cgroup2?|configfs|debugfs|devpts|devtmpfs|fusectl|hugetlbfs|iso9660|mqueue|nsfs|overlay|proc|procfs|pstore|rpc_pipefs|securityfs|selinuxfs|squashfs|erofs|sysfs|tracefs)$", Kind::Text, "Regexp of filesystem types to exclude (mutually exclusive to fs-types-include)"),
    flag("collector.filesystem.fs-types-include", "", Kind::Text, "Regexp of filesystem types to include (mutually exclusive to fs-types-exclude)"),
    flag("collector.filesystem.ignored-fs-types", "", Kind::Old, "collector.filesystem.fs-types-exclude"),
    flag("collector.filesystem.mount-timeout", "5s", Kind::Text, "How long to wait for a mount to respond before marking it as stale"),
    flag("collector.filesystem.stat-workers", "4", Kind::Text, "Taken and without effect: one worker asks all mounts, and a stuck one is left behind"),
    flag("collector.hwmon.chip-include", "", Kind::Text, "Regexp of hwmon chip to include"),
    flag("collector.hwmon.chip-exclude", "", Kind::Text, "Regexp of hwmon chip to exclude"),
    flag("collector.hwmon.sensor-include", "", Kind::Text, "Regexp of hwmon sensor to include, as chip;sensor"),
    flag("collector.hwmon.sensor-exclude", "", Kind::Text, "Regexp of hwmon sensor to exclude, as chip;sensor"),
    flag("collector.infiniband.device-include", "", Kind::Text, "Regexp of infiniband devices to include"),
    flag("collector.infiniband.device-exclude", "", Kind::Text, "Regexp of infiniband devices to exclude"),
    flag("collector.interrupts.name-include", "", Kind::Text, "Regexp of interrupts to include, as name;info;devices"),
    flag("collector.interrupts.name-exclude", "", Kind::Text, "Regexp of interrupts to exclude, as name;info;devices"),
    flag("collector.interrupts.include-zeros", "true", Kind::Switch, "Include interrupts that have a zero value"),
    flag("collector.ipvs.backend-labels", "local_address,local_port,remote_address,remote_port,proto,local_mark", Kind::Text, "Comma separated list for IPVS backend stats labels"),
    flag("collector.netclass.ignored-devices", "^$", Kind::Text, "Regexp of net devices to ignore for netclass collector"),
    flag("collector.netclass.ignore-invalid-speed", "false", Kind::Switch, "Ignore devices where the speed is invalid"),
    flag("collector.netclass.netlink", "false", Kind::Switch, "Taken and without effect: /sys/class/net says the same"),
    flag("collector.netclass_rtnl.with-stats", "true", Kind::Switch, "Taken and without effect: netdev has the statistics"),
    flag("collector.netdev.device-include", "", Kind::Text, "Regexp of net devices to include (mutually exclusive to device-exclude)"),
    flag("collector.netdev.device-exclude", "", Kind::Text, "Regexp of net devices to exclude (mutually exclusive to device-include)"),
    flag("collector.netdev.device-whitelist", "", Kind::Old, "collector.netdev.device-include"),
    flag("collector.netdev.device-blacklist", "", Kind::Old, "collector.netdev.device-exclude"),
    flag("collector.netdev.address-info", "false", Kind::Switch, "Collect address-info for every device"),
    flag("collector.netdev.enable-detailed-metrics", "false", Kind::Switch, "Use (incompatible) metric names that provide more detailed stats"),
    flag("collector.netdev.netlink", "true", Kind::Switch, "Taken and without effect: /proc/net/dev says the same"),
    flag("collector.netdev.label-ifalias", "false", Kind::Switch, "Add ifAlias label"),
    flag("collector.netstat.fields", "^(.*_(InErrors|InErrs)|Ip_Forwarding|Ip(6|Ext)_(InOctets|OutOctets)|Icmp6?_(InMsgs|OutMsgs)|TcpExt_(Listen.*|Syncookies.*|TCPSynRetrans|TCPTimeouts|TCPOFOQueue|TCPRcvQDrop)|Tcp_(ActiveOpens|InSegs|OutSegs|OutRsts|PassiveOpens|RetransSegs|CurrEstab)|Udp6?_(InDatagrams|OutDatagrams|NoPorts|RcvbufErrors|SndbufErrors))$", Kind::Text, "Regexp of fields to return for netstat collector"),
    flag("collector.pcidevice.idsfile", "", Kind::Text, "Path to pci.ids file to use for PCI device identification"),
    flag("collector.pcidevice.names", "false", Kind::Switch, "Enable PCI device name resolution (requires pci.ids file)"),
    flag("collector.powersupply.ignored-supplies", "^$", Kind::Text, "Regexp of power supplies to ignore for powersupplyclass collector"),
    flag("collector.qdisc.device-include", "", Kind::Text, "Regexp of qdisc devices to include (mutually exclusive to device-exclude)"),
    flag("collector.qdisc.device-exclude", "", Kind::Text, "Regexp of qdisc devices to exclude (mutually exclusive to device-include)"),
    flag("collector.qdisk.device-include", "", Kind::Old, "collector.qdisc.device-include"),
    flag("collector.qdisk.device-exclude", "", Kind::Old, "collector.qdisc.device-exclude"),
    flag("collector.rapl.enable-zone-label", "false", Kind::Switch, "Adds the zone as a label instead of to the name"),
    flag("collector.slabinfo.slabs-include", ".*", Kind::Text, "Regexp of slabs to include in slabinfo collector"),
    flag("collector.slabinfo.slabs-exclude", "", Kind::Text, "Regexp of slabs to exclude in slabinfo collector"),
    flag("collector.stat.softirq", "false", Kind::Switch, "Export softirq calls per vector"),
    flag("collector.sysctl.include", "", Kind::Repeated, "Select sysctl metrics to include, as name or name:key,key"),
    flag("collector.sysctl.include-info", "", Kind::Repeated, "Select sysctl metrics to include as info metrics"),
    flag("collector.systemd.unit-include", ".+", Kind::Text, "Regexp of systemd units to include. Units must both match include and not match exclude to be included"),
    flag("collector.systemd.unit-exclude", r".+\.(automount|device|mount|scope|slice)", Kind::Text, "Regexp of systemd units to exclude. Units must both match include and not match exclude to be included"),
    flag("collector.systemd.unit-whitelist", "", Kind::Old, "collector.systemd.unit-include"),
    flag("collector.systemd.unit-blacklist", "", Kind::Old, "collector.systemd.unit-exclude"),
    flag("collector.systemd.private", "false", Kind::Switch, "Speak to systemd directly, without the bus (requires root)"),
    flag("collector.systemd.enable-task-metrics", "false", Kind::Switch, "Enables service unit tasks metrics unit_tasks_current and unit_tasks_max"),
    flag("collector.systemd.enable-restarts-metrics", "false", Kind::Switch, "Enables service unit metric service_restart_total"),
    flag("collector.systemd.enable-start-time-metrics", "false", Kind::Switch, "Enables service unit metric unit_start_time_seconds"),
    flag("collector.tapestats.ignored-devices", "^$", Kind::Text, "Regexp of devices to ignore for tapestats"),
    flag("collector.textfile.directory", "", Kind::Repeated, "Directory to read text files with metrics from, supports glob matching"),
    flag("collector.vmstat.fields", "^(oom_kill|pgpg|pswp|pg.*fault).*", Kind::Text, "Regexp of fields to return for vmstat collector"),
    flag("collector.ntp.server", "127.0.0.1", Kind::Text, NOT_HERE),
    flag("collector.ntp.server-port", "123", Kind::Text, NOT_HERE),
    flag("collector.ntp.protocol-version", "4", Kind::Text, NOT_HERE),
    flag("collector.ntp.server-is-local", "false", Kind::Switch, NOT_HERE),
    flag("collector.ntp.ip-ttl", "1", Kind::Text, NOT_HERE),
    flag("collector.ntp.max-distance", "3.46608s", Kind::Text, NOT_HERE),
    flag("collector.ntp.local-offset-tolerance", "1ms", Kind::Text, NOT_HERE),
    flag("collector.perf.cpus", "", Kind::Text, NOT_HERE),
    flag("collector.perf.tracepoint", "", Kind::Repeated, NOT_HERE),
    flag("collector.perf.disable-hardware-profilers", "false", Kind::Switch, NOT_HERE),
    flag("collector.perf.hardware-profilers", "", Kind::Repeated, NOT_HERE),
    flag("collector.perf.disable-software-profilers", "false", Kind::Switch, NOT_HERE),
    flag("collector.perf.software-profilers", "", Kind::Repeated, NOT_HERE),
    flag("collector.perf.disable-cache-profilers", "false", Kind::Switch, NOT_HERE),
    flag("collector.perf.cache-profilers", "", Kind::Repeated, NOT_HERE),
    flag("collector.runit.servicedir", "/etc/service", Kind::Text, "Path to runit service directory"),
    flag("collector.supervisord.url", "http://localhost:9001/RPC2", Kind::Text, "XML RPC endpoint"),
    flag("collector.wifi.fixtures", "", Kind::Text, NOT_HERE),
];
