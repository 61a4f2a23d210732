//! What to collect: node_exporter's flags by their names, with its defaults.
//!
//! Invariant: every flag of the collectors that obs has is in [`FLAGS`], and every expression was
//! compiled before the first scrape.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use obs_model::Pattern;

use crate::containers::Lookup;
use crate::error::FlagError;
use crate::filter::{Filter, Units};
use crate::flags::{FLAGS, Kind};
use crate::host::Wanted;
use crate::registry::{COLLECTORS, NOT_HERE};

/// What to collect, and how.
#[derive(Clone, Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a switch of node_exporter's command line"
)]
pub struct Options {
    enabled: BTreeSet<&'static str>,
    pub(crate) arp_devices: Filter,
    pub(crate) bcache_priority: bool,
    pub(crate) cpu_guest: bool,
    pub(crate) cpu_info: bool,
    pub(crate) cpu_flags_include: Option<Pattern>,
    pub(crate) cpu_bugs_include: Option<Pattern>,
    pub(crate) disks: Filter,
    pub(crate) ethtool_devices: Filter,
    pub(crate) ethtool_metrics: Pattern,
    pub(crate) mount_points: Filter,
    pub(crate) fs_types: Filter,
    pub(crate) mount_timeout: Duration,
    pub(crate) hwmon_chips: Filter,
    pub(crate) hwmon_sensors: Filter,
    pub(crate) infiniband_devices: Filter,
    pub(crate) interrupts: Filter,
    pub(crate) interrupts_zeros: bool,
    pub(crate) ipvs_labels: Vec<String>,
    pub(crate) net_classes: Pattern,
    pub(crate) net_valid_speed: bool,
    pub(crate) net_devices: Filter,
    pub(crate) net_addresses: bool,
    pub(crate) net_detailed: bool,
    pub(crate) net_alias: bool,
    pub(crate) netstat_fields: Pattern,
    pub(crate) pci_ids_file: String,
    pub(crate) pci_names: bool,
    pub(crate) power_supplies: Pattern,
    pub(crate) qdiscs: Filter,
    pub(crate) rapl_zone_label: bool,
    pub(crate) slabs: Filter,
    pub(crate) stat_softirq: bool,
    pub(crate) sysctls: Vec<Wanted>,
    pub(crate) sysctl_infos: Vec<Wanted>,
    pub(crate) systemd_units: Units,
    pub(crate) systemd_private: bool,
    pub(crate) systemd_tasks: bool,
    pub(crate) systemd_restarts: bool,
    pub(crate) systemd_start_times: bool,
    pub(crate) systemd_socket: PathBuf,
    pub(crate) dbus_socket: PathBuf,
    pub(crate) tapes: Pattern,
    pub(crate) runit_services: String,
    pub(crate) supervisord_url: String,
    pub(crate) textfile_directories: Vec<String>,
    pub(crate) vmstat_fields: Pattern,
    pub(crate) container_lookup: Option<Lookup>,
}

impl Default for Options {
    fn default() -> Self {
        Self::from_flags([]).expect("the defaults are valid")
    }
}

/// Flags by name, with the values that were given.
struct Given<'a>(BTreeMap<&'a str, Vec<&'a str>>);

impl<'a> Given<'a> {
    /// What was given last, or the default.
    fn text(&self, flag: &str) -> &'a str {
        let given = self.0.get(flag).and_then(|values| values.last().copied());
        given.unwrap_or_else(|| {
            let known = FLAGS.iter().find(|known| known.name == flag);
            known.map_or("", |known| known.default)
        })
    }

    fn was_given(&self, flag: &str) -> bool {
        self.0.contains_key(flag)
    }

    fn all(&self, flag: &str) -> impl Iterator<Item = &'a str> {
        self.0.get(flag).into_iter().flatten().copied()
    }

    fn switch(&self, flag: &'static str) -> Result<bool, FlagError> {
        switch(flag, self.text(flag))
    }

    fn pattern(&self, flag: &'static str) -> Result<Pattern, FlagError> {
        compile(flag, self.text(flag))
    }

    /// An expression; none where the text is empty.
    fn optional(&self, flag: &str) -> Result<Option<Pattern>, FlagError> {
        match self.text(flag) {
            "" => Ok(None),
            text => compile(flag, text).map(Some),
        }
    }

    /// Two filters that both apply: what is left out, and what is let in.
    fn filter(&self, [exclude, include]: &[String; 2]) -> Result<Filter, FlagError> {
        Ok(Filter {
            exclude: self.optional(exclude)?,
            include: self.optional(include)?,
        })
    }

    /// Two filters of which one applies; giving `include` sets the default of `exclude` aside.
    fn either(&self, flags: &[String; 2]) -> Result<Filter, FlagError> {
        let [exclude, include] = flags;
        let mut filter = self.filter(flags)?;
        if filter.include.is_some() {
            if self.was_given(exclude) && filter.exclude.is_some() {
                return Err(FlagError::Exclusive(exclude.clone(), include.clone()));
            }
            filter.exclude = None;
        }
        Ok(filter)
    }

    /// Names that node_exporter still takes for a flag.
    fn rename(&mut self, old: &'static str, new: &'static str) -> Result<(), FlagError> {
        let Some(values) = self.0.remove(old) else {
            return Ok(());
        };
        if self.was_given(new) {
            return Err(FlagError::Exclusive(old.to_owned(), new.to_owned()));
        }
        self.0.insert(new, values);
        Ok(())
    }
}

fn value_fault(flag: &str, reason: impl ToString) -> FlagError {
    FlagError::Value {
        flag: flag.to_owned(),
        reason: reason.to_string(),
    }
}

fn switch(flag: &str, text: &str) -> Result<bool, FlagError> {
    text.parse()
        .map_err(|_| value_fault(flag, "expected true or false"))
}

fn compile(flag: &str, text: &str) -> Result<Pattern, FlagError> {
    Pattern::search(text).map_err(|error| value_fault(flag, error))
}

/// Old names and the flags that they stand for.
const RENAMED: [(&str, &str); 9] = [
    (
        "collector.diskstats.ignored-devices",
        "collector.diskstats.device-exclude",
    ),
    (
        "collector.filesystem.ignored-mount-points",
        "collector.filesystem.mount-points-exclude",
    ),
    (
        "collector.filesystem.ignored-fs-types",
        "collector.filesystem.fs-types-exclude",
    ),
    (
        "collector.netdev.device-whitelist",
        "collector.netdev.device-include",
    ),
    (
        "collector.netdev.device-blacklist",
        "collector.netdev.device-exclude",
    ),
    (
        "collector.qdisk.device-include",
        "collector.qdisc.device-include",
    ),
    (
        "collector.qdisk.device-exclude",
        "collector.qdisc.device-exclude",
    ),
    (
        "collector.systemd.unit-whitelist",
        "collector.systemd.unit-include",
    ),
    (
        "collector.systemd.unit-blacklist",
        "collector.systemd.unit-exclude",
    ),
];

impl Options {
    /// From flags without their dashes, in the order of the command line; of equal ones the last
    /// holds, but for those that may be repeated.
    pub fn from_flags<'a>(
        flags: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, FlagError> {
        let mut given = Given(BTreeMap::new());
        let mut switched: BTreeMap<&'static str, bool> = BTreeMap::new();
        let mut no_defaults = false;
        for (flag, value) in flags {
            if flag == "collector.disable-defaults" {
                no_defaults = switch(flag, value)?;
            } else if let Some((name, on)) = collector(flag, value)? {
                switched.insert(name, on);
            } else if FLAGS.iter().any(|known| known.name == flag) {
                given.0.entry(flag).or_default().push(value);
            } else if let Some(known) = negated(flag) {
                let value = if switch(flag, value)? {
                    "false"
                } else {
                    "true"
                };
                given.0.entry(known).or_default().push(value);
            } else if !is_absent_collector(flag, value)? {
                return Err(FlagError::Unknown(flag.to_owned()));
            }
        }
        for (old, new) in RENAMED {
            given.rename(old, new)?;
        }
        let is_on = |name: &'static str, default_on: bool| {
            let on = switched.get(name).copied();
            on.unwrap_or(default_on && !no_defaults)
        };
        let enabled = COLLECTORS.iter().filter(|c| is_on(c.name, c.default_on));
        let enabled = enabled.map(|collector| collector.name).collect();
        Self::of(&given, enabled)
    }

    fn of(given: &Given<'_>, enabled: BTreeSet<&'static str>) -> Result<Self, FlagError> {
        let cpu_flags_include = given.optional("collector.cpu.info.flags-include")?;
        let cpu_bugs_include = given.optional("collector.cpu.info.bugs-include")?;
        let asks_info = cpu_flags_include.is_some() || cpu_bugs_include.is_some();
        let flags = |of: &str| ["exclude", "include"].map(|way| format!("collector.{of}-{way}"));
        let both = |of: &str| given.filter(&flags(of));
        let either = |of: &str| given.either(&flags(of));
        // What node_exporter reads by netlink is read from files here; the switches say nothing.
        for ignored in [
            "arp.netlink",
            "netclass.netlink",
            "rtnl.with-stats",
            "netdev.netlink",
        ] {
            let flag = FLAGS.iter().find(|flag| flag.name.ends_with(ignored));
            flag.map(|flag| given.switch(flag.name)).transpose()?;
        }
        let wanted = |flag: &str| given.all(flag).map(Wanted::parse).collect();
        Ok(Self {
            enabled,
            arp_devices: both("arp.device")?,
            bcache_priority: given.switch("collector.bcache.priorityStats")?,
            cpu_guest: given.switch("collector.cpu.guest")?,
            cpu_info: given.switch("collector.cpu.info")? || asks_info,
            cpu_flags_include,
            cpu_bugs_include,
            disks: either("diskstats.device")?,
            ethtool_devices: both("ethtool.device")?,
            ethtool_metrics: given.pattern("collector.ethtool.metrics-include")?,
            mount_points: either("filesystem.mount-points")?,
            fs_types: either("filesystem.fs-types")?,
            mount_timeout: duration(given, "collector.filesystem.mount-timeout")?,
            hwmon_chips: both("hwmon.chip")?,
            hwmon_sensors: both("hwmon.sensor")?,
            infiniband_devices: both("infiniband.device")?,
            interrupts: both("interrupts.name")?,
            interrupts_zeros: given.switch("collector.interrupts.include-zeros")?,
            ipvs_labels: ipvs_labels(given)?,
            net_classes: given.pattern("collector.netclass.ignored-devices")?,
            net_valid_speed: given.switch("collector.netclass.ignore-invalid-speed")?,
            net_devices: either("netdev.device")?,
            net_addresses: given.switch("collector.netdev.address-info")?,
            net_detailed: given.switch("collector.netdev.enable-detailed-metrics")?,
            net_alias: given.switch("collector.netdev.label-ifalias")?,
            netstat_fields: given.pattern("collector.netstat.fields")?,
            pci_ids_file: given.text("collector.pcidevice.idsfile").to_owned(),
            pci_names: given.switch("collector.pcidevice.names")?,
            power_supplies: given.pattern("collector.powersupply.ignored-supplies")?,
            qdiscs: either("qdisc.device")?,
            rapl_zone_label: given.switch("collector.rapl.enable-zone-label")?,
            runit_services: given.text("collector.runit.servicedir").to_owned(),
            slabs: both("slabinfo.slabs")?,
            stat_softirq: given.switch("collector.stat.softirq")?,
            supervisord_url: given.text("collector.supervisord.url").to_owned(),
            sysctls: wanted("collector.sysctl.include"),
            sysctl_infos: wanted("collector.sysctl.include-info"),
            systemd_units: units(given)?,
            systemd_private: given.switch("collector.systemd.private")?,
            systemd_tasks: given.switch("collector.systemd.enable-task-metrics")?,
            systemd_restarts: given.switch("collector.systemd.enable-restarts-metrics")?,
            systemd_start_times: given.switch("collector.systemd.enable-start-time-metrics")?,
            systemd_socket: PathBuf::from("/run/systemd/private"),
            dbus_socket: PathBuf::from(given.text("path.dbus-socket")),
            tapes: given.pattern("collector.tapestats.ignored-devices")?,
            textfile_directories: given
                .all("collector.textfile.directory")
                .map(str::to_owned)
                .collect(),
            vmstat_fields: given.pattern("collector.vmstat.fields")?,
            container_lookup: None,
        })
    }

    /// The same, but only the collectors of a list: `?collect[]=`.
    pub fn only<'a>(&self, names: impl IntoIterator<Item = &'a str>) -> Result<Self, FlagError> {
        let mut enabled = BTreeSet::new();
        for name in names {
            let collector = COLLECTORS.iter().find(|c| c.name == name);
            let known = collector.ok_or_else(|| FlagError::Missing(name.to_owned()))?;
            if !self.is_enabled(name) {
                return Err(FlagError::Disabled(name.to_owned()));
            }
            enabled.insert(known.name);
        }
        Ok(Self {
            enabled,
            ..self.clone()
        })
    }

    /// The same without the collectors of a list: `?exclude[]=`.
    #[must_use]
    pub fn without(&self, names: &[&str]) -> Self {
        let mut rest = self.clone();
        rest.enabled.retain(|name| !names.contains(name));
        rest
    }

    /// The same with a source of names for containers, which their cgroups do not have.
    #[must_use]
    pub fn with_containers(mut self, lookup: Lookup) -> Self {
        self.container_lookup = Some(lookup);
        self
    }

    /// Names of the collectors that are on.
    pub fn enabled(&self) -> impl Iterator<Item = &'static str> {
        self.enabled.iter().copied()
    }

    /// Whether a collector is on.
    pub fn is_enabled(&self, name: &str) -> bool {
        self.enabled.contains(name)
    }
}

/// The collector that a flag turns on or off.
fn collector(flag: &str, value: &str) -> Result<Option<(&'static str, bool)>, FlagError> {
    let (flag, turns_on) = match flag.strip_prefix("no-") {
        Some(flag) => (flag, false),
        None => (flag, true),
    };
    let Some(name) = flag.strip_prefix("collector.") else {
        return Ok(None);
    };
    let known = COLLECTORS.iter().find(|collector| collector.name == name);
    let Some(known) = known else {
        return Ok(None);
    };
    Ok(Some((known.name, switch(flag, value)? == turns_on)))
}

/// The switch that `--no-…` turns off.
fn negated(flag: &str) -> Option<&'static str> {
    let name = flag.strip_prefix("no-")?;
    let known = FLAGS
        .iter()
        .find(|known| known.name == name && known.kind == Kind::Switch);
    known.map(|known| known.name)
}

/// Collectors of node_exporter that are not here can be turned off, as command lines do.
fn is_absent_collector(flag: &str, value: &str) -> Result<bool, FlagError> {
    let turns_on = !flag.starts_with("no-");
    let name = flag.trim_start_matches("no-").strip_prefix("collector.");
    let Some(name) = name.filter(|name| NOT_HERE.contains(name)) else {
        return Ok(false);
    };
    if switch(flag, value)? == turns_on {
        return Err(FlagError::NotHere(name.to_owned()));
    }
    Ok(true)
}

fn duration(given: &Given<'_>, flag: &'static str) -> Result<Duration, FlagError> {
    let nanos = obs_model::duration::parse(given.text(flag)).and_then(|n| u64::try_from(n).ok());
    let nanos = nanos.ok_or_else(|| value_fault(flag, "expected a duration such as 5s"))?;
    Ok(Duration::from_nanos(nanos))
}

fn ipvs_labels(given: &Given<'_>) -> Result<Vec<String>, FlagError> {
    let flag = "collector.ipvs.backend-labels";
    let labels = given
        .text(flag)
        .split(',')
        .filter(|label| !label.is_empty());
    let labels: Vec<String> = labels.map(str::to_owned).collect();
    match labels
        .iter()
        .find(|label| !crate::network::IPVS_LABELS.contains(&label.as_str()))
    {
        Some(unknown) => Err(value_fault(flag, format!("unknown label {unknown:?}"))),
        None => Ok(labels),
    }
}

fn units(given: &Given<'_>) -> Result<Units, FlagError> {
    let anchored = |flag: &'static str| {
        let pattern = Pattern::anchored(given.text(flag));
        pattern.map_err(|error| value_fault(flag, error))
    };
    Ok(Units {
        include: anchored("collector.systemd.unit-include")?,
        exclude: anchored("collector.systemd.unit-exclude")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(flags: &[(&str, &str)], expect: Result<&[(&str, bool)], &str>) {
        match (Options::from_flags(flags.iter().copied()), expect) {
            (Ok(options), Ok(expect)) => {
                for (name, on) in expect {
                    assert_eq!(options.is_enabled(name), *on, "{flags:?}: {name}");
                }
            }
            (Err(error), Err(expect)) => assert_eq!(error.to_string(), expect, "{flags:?}"),
            (found, expect) => panic!("{flags:?}: {found:?}, expected {expect:?}"),
        }
    }

    #[test]
    fn collectors_are_turned_on_and_off() {
        check(
            &[],
            Ok(&[("cpu", true), ("systemd", false), ("containers", false)]),
        );
        check(
            &[("no-collector.cpu", "true"), ("collector.systemd", "true")],
            Ok(&[("cpu", false), ("systemd", true)]),
        );
        check(&[("collector.cpu", "false")], Ok(&[("cpu", false)]));
        check(
            &[
                ("collector.disable-defaults", "true"),
                ("collector.cpu", "true"),
            ],
            Ok(&[("cpu", true), ("meminfo", false)]),
        );
        check(&[("no-collector.wifi", "true")], Ok(&[("cpu", true)]));
        check(
            &[
                ("collector.ntp.server", "ntp.example"),
                ("collector.perf.tracepoint", "a:b"),
            ],
            Ok(&[("cpu", true)]),
        );
        check(
            &[("collector.wifi", "true")],
            Err("collector wifi is not part of obs"),
        );
        check(
            &[("collector.cpus", "true")],
            Err("unknown flag --collector.cpus"),
        );
    }

    #[test]
    fn values_are_checked() {
        for flag in FLAGS {
            let valid = Options::from_flags([(flag.name, flag.default)]);
            assert!(valid.is_ok(), "--{}={}: {valid:?}", flag.name, flag.default);
        }
        check(
            &[("collector.cpu.guest", "maybe")],
            Err("--collector.cpu.guest: expected true or false"),
        );
        check(
            &[("collector.ipvs.backend-labels", "proto,x")],
            Err("--collector.ipvs.backend-labels: unknown label \"x\""),
        );
        let (include, exclude) = (
            "collector.diskstats.device-include",
            "collector.diskstats.device-exclude",
        );
        check(
            &[(include, "sda"), (exclude, "sdb")],
            Err(
                "--collector.diskstats.device-exclude and --collector.diskstats.device-include \
                 are mutually exclusive",
            ),
        );
        let options = Options::from_flags([(include, "^loop0$")]).unwrap();
        assert!(!options.disks.ignores("loop0") && options.disks.ignores("sda"));
        let old = "collector.diskstats.ignored-devices";
        let options = Options::from_flags([(old, "^sda$")]).unwrap();
        assert!(options.disks.ignores("sda") && !options.disks.ignores("loop0"));
        assert!(Options::default().disks.ignores("nvme0n1p1"));
        let options = Options::from_flags([("no-collector.cpu.guest", "true")]).unwrap();
        assert!(!options.cpu_guest);
    }

    #[test]
    fn a_scrape_may_choose() {
        let options = Options::default();
        let some = options.only(["cpu", "meminfo"]).unwrap();
        assert!(some.is_enabled("cpu") && !some.is_enabled("stat"));
        let fault = |name: &str| options.only([name]).unwrap_err().to_string();
        assert_eq!(fault("nope"), "missing collector: nope");
        assert_eq!(fault("systemd"), "disabled collector: systemd");
        let rest = options.without(&["cpu"]);
        assert!(!rest.is_enabled("cpu") && rest.is_enabled("stat"));
    }
}
