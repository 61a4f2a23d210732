//! cpufreq: frequencies and governors of the CPUs that are online, from `/sys/devices/system/cpu`.

use super::{CPUS, cpu_list};
use crate::sheet::{Sheet, flag};
use crate::{CollectError, Options, Source};

/// File in kHz, name, help.
const FREQUENCIES: [(&str, &str, &str); 7] = [
    (
        "cpuinfo_cur_freq",
        "frequency_hertz",
        "Current CPU thread frequency in hertz.",
    ),
    (
        "cpuinfo_avg_freq",
        "frequency_avg_hertz",
        "Average CPU thread frequency in hertz.",
    ),
    (
        "cpuinfo_min_freq",
        "frequency_min_hertz",
        "Minimum CPU thread frequency in hertz.",
    ),
    (
        "cpuinfo_max_freq",
        "frequency_max_hertz",
        "Maximum CPU thread frequency in hertz.",
    ),
    (
        "scaling_cur_freq",
        "scaling_frequency_hertz",
        "Current scaled CPU thread frequency in hertz.",
    ),
    (
        "scaling_min_freq",
        "scaling_frequency_min_hertz",
        "Minimum scaled CPU thread frequency in hertz.",
    ),
    (
        "scaling_max_freq",
        "scaling_frequency_max_hertz",
        "Maximum scaled CPU thread frequency in hertz.",
    ),
];

pub(crate) fn collect(source: &Source, _: &Options, sheet: &mut Sheet) -> Result<(), CollectError> {
    let offline = source.read(&format!("{CPUS}/offline"))?;
    let offline = cpu_list(&offline)
        .ok_or_else(|| source.form(&format!("{CPUS}/offline"), 0, "a list of CPUs"))?;
    for cpu in source.numbered(CPUS, "cpu") {
        if cpu.parse().is_ok_and(|cpu| offline.contains(&cpu)) {
            continue;
        }
        let text = |file: &str| source.text(&format!("{CPUS}/cpu{cpu}/cpufreq/{file}"));
        for (file, name, help) in FREQUENCIES {
            let kilohertz = text(file).and_then(|text| text.parse::<u64>().ok());
            if let Some(kilohertz) = kilohertz {
                let name = format!("node_cpu_{name}");
                let hertz = kilohertz as f64 * 1000.0;
                sheet.gauge(&name, help, &[("cpu", &cpu)], hertz);
            }
        }
        let Some(governor) = text("scaling_governor").filter(|text| !text.is_empty()) else {
            continue;
        };
        let known = text("scaling_available_governors").unwrap_or_default();
        for one in known.split_ascii_whitespace() {
            sheet.gauge(
                "node_cpu_scaling_governor",
                "Current enabled CPU frequency governor.",
                &[("cpu", &cpu), ("governor", one)],
                flag(one == governor),
            );
        }
    }
    Ok(())
}
