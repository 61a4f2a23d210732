//! dmmultipath: devices that are reached over several paths, from `/sys/block/dm-*`.

use super::SECTOR_BYTES;
use crate::sheet::{Sheet, flag};
use crate::{CollectError, Options, Source};

const BLOCKS: &str = "sys/block";

pub(crate) fn collect(source: &Source, _: &Options, sheet: &mut Sheet) -> Result<(), CollectError> {
    let entries = source.entries(BLOCKS);
    let entries = entries.map_err(|fault| match fault {
        fault if fault.is_denied() => CollectError::NoData("/sys/block is not for us"),
        fault => fault.absent_is_no_data("no /sys/block"),
    })?;
    for entry in entries.iter().filter(|entry| entry.starts_with("dm-")) {
        let folder = format!("{BLOCKS}/{entry}");
        let uuid = source
            .find(&format!("{folder}/dm/uuid"))?
            .unwrap_or_default();
        let uuid = uuid.trim();
        if !uuid.starts_with("mpath-") {
            continue;
        }
        let name = source.read(&format!("{folder}/dm/name"))?;
        let suspended = source.number(&format!("{folder}/dm/suspended"))?;
        let sectors = source.number(&format!("{folder}/size"))?;
        let (mut active, mut failed) = (0.0, 0.0);
        for path in source
            .entries(&format!("{folder}/slaves"))
            .unwrap_or_default()
        {
            let state = source.read(&format!("{BLOCKS}/{path}/device/state"))?;
            let state = state.trim();
            // SCSI says running, NVMe live.
            if ["running", "live"].contains(&state) {
                active += 1.0;
            } else {
                failed += 1.0;
            }
            sheet.gauge(
                "node_dmmultipath_path_state",
                "Reports the underlying device state for a multipath path, as read from /sys/block/<dev>/device/state.",
                &[("device", name.trim()), ("path", &path), ("state", state)],
                1.0,
            );
        }
        let labels = [
            ("device", name.trim()),
            ("sysfs_name", entry.as_str()),
            ("uuid", uuid),
        ];
        let help = "Non-numeric information about a DM-multipath device.";
        sheet.gauge("node_dmmultipath_device_info", help, &labels, 1.0);
        for (name, help, value) in [
            (
                "active",
                "Whether the multipath device-mapper device is active (1) or suspended (0).",
                flag(suspended != 1.0),
            ),
            (
                "size_bytes",
                "Size of the multipath device in bytes, read from /sys/block/<dm>/size.",
                sectors * SECTOR_BYTES,
            ),
            (
                "paths",
                "Number of paths for a multipath device.",
                active + failed,
            ),
            (
                "paths_active",
                "Number of paths in active state (SCSI running or NVMe live) for a multipath device.",
                active,
            ),
            (
                "paths_failed",
                "Number of paths not in active state for a multipath device.",
                failed,
            ),
        ] {
            let name = format!("node_dmmultipath_device_{name}");
            sheet.gauge(&name, help, &labels[..2], value);
        }
    }
    Ok(())
}
