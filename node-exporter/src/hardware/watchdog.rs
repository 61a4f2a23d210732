//! watchdog: timers that restart a machine that hangs, from `/sys/class/watchdog`.

use crate::sheet::Sheet;
use crate::{CollectError, Options, Source};

const FOLDER: &str = "sys/class/watchdog";

/// File and name.
const NUMBERS: [(&str, &str); 7] = [
    ("bootstatus", "bootstatus"),
    ("fw_version", "fw_version"),
    ("nowayout", "nowayout"),
    ("timeleft", "timeleft_seconds"),
    ("timeout", "timeout_seconds"),
    ("pretimeout", "pretimeout_seconds"),
    ("access_cs0", "access_cs0"),
];
const LABELS: [&str; 5] = [
    "options",
    "identity",
    "state",
    "status",
    "pretimeout_governor",
];

pub(crate) fn collect(source: &Source, _: &Options, sheet: &mut Sheet) -> Result<(), CollectError> {
    let names = source.entries(FOLDER);
    let names = names.map_err(|fault| match fault {
        fault if fault.is_denied() => CollectError::NoData("watchdogs are not for us"),
        fault => fault.absent_is_no_data("no watchdog"),
    })?;
    for watchdog in names {
        for (file, name) in NUMBERS {
            if let Some(value) = source.maybe(&format!("{FOLDER}/{watchdog}/{file}")) {
                let help = format!("Value of /sys/class/watchdog/<watchdog>/{file}");
                let name = format!("node_watchdog_{name}");
                sheet.gauge(&name, &help, &[("name", &watchdog)], value);
            }
        }
        let values = LABELS.map(|file| {
            let text = source.text(&format!("{FOLDER}/{watchdog}/{file}"));
            (file, text.unwrap_or_default())
        });
        let mut labels: Vec<_> = values.iter().map(|(l, v)| (*l, v.as_str())).collect();
        labels.push(("name", watchdog.as_str()));
        let help = "Info of /sys/class/watchdog/<watchdog>";
        sheet.gauge("node_watchdog_info", help, &labels, 1.0);
    }
    Ok(())
}
