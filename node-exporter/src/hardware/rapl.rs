//! rapl: energy that was used, from `/sys/class/powercap`.

use std::collections::BTreeMap;

use crate::sheet::{Sheet, sanitized};
use crate::{CollectError, Options, Source};

const FOLDER: &str = "sys/class/powercap";
const MICRO: f64 = 1e6;

pub(crate) fn collect(
    source: &Source,
    options: &Options,
    sheet: &mut Sheet,
) -> Result<(), CollectError> {
    let no_data = |fault: CollectError| match fault {
        fault if fault.is_denied() => CollectError::NoData("powercap is not for us"),
        fault => fault.absent_is_no_data("no powercap"),
    };
    let mut used: BTreeMap<String, u32> = BTreeMap::new();
    for entry in source.entries(FOLDER).map_err(no_data)? {
        let folder = format!("{FOLDER}/{entry}");
        let Some(name) = source.text(&format!("{folder}/name")) else {
            continue;
        };
        let (name, index) = split(&name, &used);
        used.insert(name.clone(), index + 1);
        let joules = source.number(&format!("{folder}/energy_uj"));
        let joules = joules.map_err(no_data)? / MICRO;
        let (index, path) = (index.to_string(), source.resolve(&folder));
        let labels = [
            ("index", index.as_str()),
            ("path", &path.to_string_lossy()),
            ("rapl_zone", name.as_str()),
        ];
        if options.rapl_zone_label {
            let help = "Current RAPL value in joules";
            sheet.counter("node_rapl_joules_total", help, &labels, joules);
        } else {
            let metric = format!("node_rapl_{}_joules_total", sanitized(&name));
            let help = format!("Current RAPL {name} value in joules");
            sheet.counter(&metric, &help, &labels[..2], joules);
        }
    }
    Ok(())
}

/// `package-1` is package number 1; other names are counted.
fn split(name: &str, used: &BTreeMap<String, u32>) -> (String, u32) {
    if let Some((zone, index)) = name.split_once('-')
        && let Ok(index) = index.parse::<u32>()
    {
        return (zone.to_owned(), index.min(u32::MAX - 1));
    }
    (name.to_owned(), used.get(name).copied().unwrap_or_default())
}
