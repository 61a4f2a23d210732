//! nvmesubsystem: paths of NVMe over fabrics to its subsystems, from `/sys/class/nvme-subsystem`.

use crate::sheet::{Sheet, flag};
use crate::{CollectError, Options, Source};

const FOLDER: &str = "sys/class/nvme-subsystem";

/// States that are told; any other is `unknown`, but for those of a controller that comes or goes.
const STATES: [&str; 5] = ["live", "connecting", "resetting", "dead", "unknown"];
const PASSING: [&str; 3] = ["deleting", "deleting (no IO)", "new"];

pub(crate) fn collect(source: &Source, _: &Options, sheet: &mut Sheet) -> Result<(), CollectError> {
    let entries = source.entries(FOLDER);
    let entries = entries.map_err(|fault| match fault.is_denied() {
        true => CollectError::NoData("no NVMe subsystems"),
        false => fault.absent_is_no_data("no NVMe subsystems"),
    });
    for subsystem in entries? {
        if subsystem.starts_with("nvme-subsys") {
            one(source, &subsystem, sheet)?;
        }
    }
    Ok(())
}

fn one(source: &Source, subsystem: &str, sheet: &mut Sheet) -> Result<(), CollectError> {
    let folder = format!("{FOLDER}/{subsystem}");
    let text = |file: &str| source.text(&format!("{folder}/{file}")).unwrap_or_default();
    let (nqn, model, serial, policy) = (
        text("subsysnqn"),
        text("model"),
        text("serial"),
        text("iopolicy"),
    );
    let labels = [
        ("subsystem", subsystem),
        ("nqn", nqn.as_str()),
        ("model", &model),
        ("serial", &serial),
        ("iopolicy", &policy),
    ];
    let help = "Non-numeric information about an NVMe subsystem.";
    sheet.gauge("node_nvmesubsystem_info", help, &labels, 1.0);
    let (mut paths, mut live) = (0_u32, 0_u32);
    for entry in source.entries(&folder)? {
        match Entry::of(&entry) {
            Some(Entry::Namespace) => {
                let help = "Maps an NVMe namespace block device to its subsystem.";
                let labels = [("subsystem", subsystem), ("device", entry.as_str())];
                sheet.gauge("node_nvmesubsystem_namespace_info", help, &labels, 1.0);
            }
            Some(Entry::Controller) => {
                paths += 1;
                live += u32::from(path(source, &folder, (subsystem, &entry), sheet));
            }
            None => {}
        }
    }
    for (name, help, value) in [
        (
            "node_nvmesubsystem_paths",
            "Number of controller paths for an NVMe subsystem.",
            paths,
        ),
        (
            "node_nvmesubsystem_paths_live",
            "Number of controller paths in live state for an NVMe subsystem.",
            live,
        ),
    ] {
        sheet.gauge(name, help, &[("subsystem", subsystem)], f64::from(value));
    }
    Ok(())
}

/// What an entry of a subsystem is.
#[derive(Debug, PartialEq, Eq)]
enum Entry {
    /// `nvme0`
    Controller,
    /// `nvme0n1`
    Namespace,
}

impl Entry {
    fn of(name: &str) -> Option<Self> {
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        let rest = name.strip_prefix("nvme")?;
        match rest.split_once('n') {
            None => digits(rest).then_some(Self::Controller),
            Some((controller, id)) => (digits(controller) && digits(id)).then_some(Self::Namespace),
        }
    }
}

/// The state of a path; whether it is live.
fn path(
    source: &Source,
    folder: &str,
    (subsystem, controller): (&str, &str),
    sheet: &mut Sheet,
) -> bool {
    let text = |file: &str| {
        let text = source.text(&format!("{folder}/{controller}/{file}"));
        text.unwrap_or_default()
    };
    let (state, transport) = (text("state"), text("transport"));
    let known = STATES.contains(&state.as_str()) || PASSING.contains(&state.as_str());
    let state = if known { state.as_str() } else { "unknown" };
    let help = "Current NVMe controller path state (1 for the current state, 0 for all others).";
    for one in STATES {
        let labels = [
            ("subsystem", subsystem),
            ("controller", controller),
            ("transport", &transport),
            ("state", one),
        ];
        let value = flag(one == state);
        sheet.gauge("node_nvmesubsystem_path_state", help, &labels, value);
    }
    state == "live"
}
