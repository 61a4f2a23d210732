//! The part of the cpu collector that `--collector.cpu.info` asks for, from `/proc/cpuinfo`.

use std::collections::BTreeMap;

use obs_model::Pattern;

use crate::sheet::Sheet;
use crate::{CollectError, Options};

/// Keys of the file and the labels that they become. ARM, RISC-V and others have some of them.
const LABELS: [(&str, &[&str]); 9] = [
    ("package", &["physical id"]),
    ("core", &["core id", "hart"]),
    ("vendor", &["vendor_id", "vendor", "system type"]),
    ("family", &["cpu family", "CPU Family"]),
    ("model", &["model"]),
    (
        "model_name",
        &["model name", "Model Name", "cpu model", "isa"],
    ),
    ("microcode", &["microcode"]),
    ("stepping", &["stepping"]),
    ("cachesize", &["cache size"]),
];

pub(super) fn parse(
    text: &str,
    frequency: bool,
    options: &Options,
    sheet: &mut Sheet,
) -> Result<(), CollectError> {
    let mut common = BTreeMap::new();
    let mut cpus: Vec<BTreeMap<&str, &str>> = Vec::new();
    for line in text.lines() {
        let Some((key, value)) = line.split_once(':') else {
            continue;
        };
        let (key, value) = (key.trim(), value.trim());
        if key == "processor" {
            cpus.push(common.clone());
        }
        cpus.last_mut().unwrap_or(&mut common).insert(key, value);
    }
    for cpu in &cpus {
        let value = |keys: &[&str]| keys.iter().find_map(|key| cpu.get(key).copied());
        let number = value(&["processor"]).unwrap_or_default();
        let mut labels = vec![("cpu", number)];
        labels.extend(
            LABELS
                .iter()
                .map(|(label, keys)| (*label, value(keys).unwrap_or_default())),
        );
        let help = "CPU information from /proc/cpuinfo.";
        sheet.gauge("node_cpu_info", help, &labels, 1.0);
        if frequency {
            let megahertz = value(&["cpu MHz", "clock"]).unwrap_or("0");
            let megahertz: f64 = megahertz
                .trim_end_matches("MHz")
                .parse()
                .map_err(|_| CollectError::form("/proc/cpuinfo", 0, "a frequency in MHz"))?;
            let at = ["package", "core", "cpu"];
            labels.retain(|(label, _)| at.contains(label));
            sheet.gauge(
                "node_cpu_frequency_hertz",
                "CPU frequency in hertz from /proc/cpuinfo.",
                &labels,
                megahertz * 1e6,
            );
        }
    }
    let Some(first) = cpus.first() else {
        return Err(CollectError::form("/proc/cpuinfo", 0, "a processor"));
    };
    let words = |keys: &[&str]| keys.iter().find_map(|key| first.get(key).copied());
    let flags = words(&["flags", "Features", "features"]).unwrap_or_default();
    let bugs = words(&["bugs"]).unwrap_or_default();
    listed("flag", flags, options.cpu_flags_include.as_ref(), sheet);
    listed("bug", bugs, options.cpu_bugs_include.as_ref(), sheet);
    Ok(())
}

fn listed(what: &str, words: &str, include: Option<&Pattern>, sheet: &mut Sheet) {
    let Some(include) = include else {
        return;
    };
    let help = format!(
        "The `{what}s` field of CPU information from /proc/cpuinfo taken from the first core."
    );
    for word in words.split_ascii_whitespace() {
        if include.is_match(word.as_bytes()) {
            let name = format!("node_cpu_{what}_info");
            sheet.gauge(&name, &help, &[(what, word)], 1.0);
        }
    }
}
