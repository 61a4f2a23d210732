//! cgroups: how many there are per controller, from `/proc/cgroups`.

use crate::sheet::Sheet;
use crate::{CollectError, Options, Source};

pub(crate) fn collect(source: &Source, _: &Options, sheet: &mut Sheet) -> Result<(), CollectError> {
    let text = source.read("proc/cgroups")?;
    for (index, line) in text
        .lines()
        .enumerate()
        .filter(|(_, l)| !l.starts_with('#'))
    {
        let fault = || CollectError::form("/proc/cgroups", index, "a name and three numbers");
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        let [name, _, count, enabled, ..] = words[..] else {
            return Err(fault());
        };
        for (metric, word) in [("cgroups", count), ("enabled", enabled)] {
            let value = word.parse::<u32>().map_err(|_| fault())?;
            sheet.gauge(
                &format!("node_cgroups_{metric}"),
                "Current cgroup number of the subsystem.",
                &[("subsys_name", name)],
                f64::from(value),
            );
        }
    }
    Ok(())
}
