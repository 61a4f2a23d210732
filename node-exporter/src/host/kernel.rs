//! entropy, filefd, kernel_hung, loadavg, selinux, stat, uname: a handful of numbers each.

use obs_model::metrics::MetricKind::{self, Counter, Gauge};

use crate::sheet::Sheet;
use crate::{CollectError, Options, Source};

/// Key in `/proc/stat`, name, type, help.
const STAT: [(&str, &str, MetricKind, &str); 6] = [
    (
        "intr",
        "node_intr_total",
        Counter,
        "Total number of interrupts serviced.",
    ),
    (
        "ctxt",
        "node_context_switches_total",
        Counter,
        "Total number of context switches.",
    ),
    (
        "processes",
        "node_forks_total",
        Counter,
        "Total number of forks.",
    ),
    (
        "btime",
        "node_boot_time_seconds",
        Gauge,
        "Node boot time, in unixtime.",
    ),
    (
        "procs_running",
        "node_procs_running",
        Gauge,
        "Number of processes in runnable state.",
    ),
    (
        "procs_blocked",
        "node_procs_blocked",
        Gauge,
        "Number of processes blocked waiting for I/O to complete.",
    ),
];
/// Vectors of the line `softirq`, behind the total.
const VECTORS: [&str; 10] = [
    "hi",
    "timer",
    "net_tx",
    "net_rx",
    "block",
    "block_iopoll",
    "tasklet",
    "sched",
    "hrtimer",
    "rcu",
];

pub(crate) fn stat(
    source: &Source,
    options: &Options,
    sheet: &mut Sheet,
) -> Result<(), CollectError> {
    let text = source.read("proc/stat")?;
    for (index, line) in text.lines().enumerate() {
        let fault = || CollectError::form("/proc/stat", index, "a number");
        let mut words = line.split_ascii_whitespace();
        let key = words.next().unwrap_or_default();
        if let Some((_, name, kind, help)) = STAT.iter().find(|(known, ..)| *known == key) {
            let value = words.next().and_then(|word| word.parse::<u64>().ok());
            let value = value.ok_or_else(fault)? as f64;
            sheet.put(*kind, name, help, &[], value);
        }
        if key == "softirq" && options.stat_softirq {
            for (vector, word) in VECTORS.iter().zip(words.skip(1)) {
                let value = word.parse::<u64>().map_err(|_| fault())? as f64;
                let labels = [("vector", *vector)];
                let help = "Number of softirq calls.";
                sheet.counter("node_softirqs_total", help, &labels, value);
            }
        }
    }
    Ok(())
}

pub(crate) fn loadavg(source: &Source, _: &Options, sheet: &mut Sheet) -> Result<(), CollectError> {
    let text = source.read("proc/loadavg")?;
    let mut words = text.split_ascii_whitespace();
    for minutes in ["1", "5", "15"] {
        let load = words.next().and_then(|word| word.parse::<f64>().ok());
        let load = load.ok_or_else(|| CollectError::form("/proc/loadavg", 0, "three numbers"))?;
        let help = format!("{minutes}m load average.");
        sheet.gauge(&format!("node_load{minutes}"), &help, &[], load);
    }
    Ok(())
}

pub(crate) fn filefd(source: &Source, _: &Options, sheet: &mut Sheet) -> Result<(), CollectError> {
    let text = source.read("proc/sys/fs/file-nr")?;
    let numbers: Vec<&str> = text.split_ascii_whitespace().collect();
    let fault = || CollectError::form("/proc/sys/fs/file-nr", 0, "three numbers");
    // The second has been 0 since Linux 2.6.
    let [allocated, _, maximum] = numbers[..] else {
        return Err(fault());
    };
    for (name, word) in [("allocated", allocated), ("maximum", maximum)] {
        let value = word.parse::<u64>().map_err(|_| fault())? as f64;
        let help = format!("File descriptor statistics: {name}.");
        sheet.gauge(&format!("node_filefd_{name}"), &help, &[], value);
    }
    Ok(())
}

pub(crate) fn entropy(source: &Source, _: &Options, sheet: &mut Sheet) -> Result<(), CollectError> {
    let number = |file: &str| source.number(&format!("proc/sys/kernel/random/{file}"));
    let available = number("entropy_avail")?;
    let help = "Bits of available entropy.";
    sheet.gauge("node_entropy_available_bits", help, &[], available);
    let size = number("poolsize")?;
    let help = "Bits of entropy pool.";
    sheet.gauge("node_entropy_pool_size_bits", help, &[], size);
    Ok(())
}

pub(crate) fn kernel_hung(
    source: &Source,
    _: &Options,
    sheet: &mut Sheet,
) -> Result<(), CollectError> {
    let count = source.number("proc/sys/kernel/hung_task_detect_count");
    sheet.counter(
        "node_kernel_hung_tasks_total",
        "Total number of tasks that have been detected as hung since the system booted.",
        &[],
        count.map_err(|fault| fault.absent_is_no_data("the kernel does not count hung tasks"))?,
    );
    Ok(())
}

pub(crate) fn selinux(source: &Source, _: &Options, sheet: &mut Sheet) -> Result<(), CollectError> {
    let enforce = source.text("sys/fs/selinux/enforce");
    let help = "SELinux is enabled, 1 is true, 0 is false";
    let Some(enforce) = enforce else {
        sheet.gauge("node_selinux_enabled", help, &[], 0.0);
        return Ok(());
    };
    sheet.gauge("node_selinux_enabled", help, &[], 1.0);
    let config = source.find("root/etc/selinux/config")?.unwrap_or_default();
    let mode = config
        .lines()
        .find_map(|line| line.trim().strip_prefix("SELINUX="));
    let mode = match mode.map(str::trim) {
        Some("enforcing") => 1.0,
        Some("permissive") => 0.0,
        Some(_) | None => -1.0,
    };
    sheet.gauge(
        "node_selinux_config_mode",
        "Configured SELinux enforcement mode",
        &[],
        mode,
    );
    sheet.gauge(
        "node_selinux_current_mode",
        "Current SELinux enforcement mode",
        &[],
        enforce.parse::<u8>().map_or(-1.0, f64::from),
    );
    Ok(())
}

pub(crate) fn uname(_: &Source, _: &Options, sheet: &mut Sheet) -> Result<(), CollectError> {
    let uname = rustix::system::uname();
    sheet.gauge(
        "node_uname_info",
        "Labeled system information as provided by the uname system call.",
        &[
            ("sysname", &uname.sysname().to_string_lossy()),
            ("release", &uname.release().to_string_lossy()),
            ("version", &uname.version().to_string_lossy()),
            ("machine", &uname.machine().to_string_lossy()),
            ("nodename", &uname.nodename().to_string_lossy()),
            ("domainname", &uname.domainname().to_string_lossy()),
        ],
        1.0,
    );
    Ok(())
}
