//! btrfs: file systems and their space, from `/sys/fs/btrfs/<uuid>`.

use super::SECTOR_BYTES;
use crate::sheet::Sheet;
use crate::{CollectError, Options, Source};

const FOLDER: &str = "sys/fs/btrfs";
const MILLI: f64 = 1000.0;

pub(crate) fn collect(source: &Source, _: &Options, sheet: &mut Sheet) -> Result<(), CollectError> {
    for entry in source.entries(FOLDER).unwrap_or_default() {
        // `features` stands beside the file systems.
        if entry.contains('-') {
            one(source, &entry, sheet)?;
        }
    }
    Ok(())
}

fn one(source: &Source, entry: &str, sheet: &mut Sheet) -> Result<(), CollectError> {
    let folder = format!("{FOLDER}/{entry}");
    let text = |file: &str| source.text(&format!("{folder}/{file}")).unwrap_or_default();
    let uuid = text("metadata_uuid");
    let uuid = if uuid.is_empty() {
        entry
    } else {
        uuid.as_str()
    };
    let id = ("uuid", uuid);
    let help = "Filesystem information";
    sheet.gauge(
        "node_btrfs_info",
        help,
        &[id, ("label", &text("label"))],
        1.0,
    );
    sheet.gauge(
        "node_btrfs_global_rsv_size_bytes",
        "Size of global reserve.",
        &[id],
        number(&text("allocation/global_rsv_size")),
    );
    commits(source, &format!("{folder}/commit_stats"), id, sheet)?;
    let devices = source.entries(&format!("{folder}/devices"))?;
    for device in &devices {
        sheet.gauge(
            "node_btrfs_device_size_bytes",
            "Size of a device that is part of the filesystem.",
            &[id, ("device", device)],
            number(&text(&format!("devices/{device}/size"))) * SECTOR_BYTES,
        );
    }
    for kind in ["data", "metadata", "system"] {
        let group = format!("{folder}/allocation/{kind}");
        let labels = [id, ("block_group_type", kind)];
        sheet.gauge(
            "node_btrfs_reserved_bytes",
            "Amount of space reserved for a data type",
            &labels,
            number(&text(&format!("allocation/{kind}/bytes_reserved"))),
        );
        for layout in source.entries(&group)? {
            if !source.is_folder(&format!("{group}/{layout}")) {
                continue;
            }
            let of = |file: &str| number(&text(&format!("allocation/{kind}/{layout}/{file}")));
            let labels = [labels[0], labels[1], ("mode", layout.as_str())];
            for (name, help, value) in [
                (
                    "used_bytes",
                    "Amount of used space by a layout/data type",
                    of("used_bytes"),
                ),
                (
                    "size_bytes",
                    "Amount of space allocated for a layout/data type",
                    of("total_bytes"),
                ),
                (
                    "allocation_ratio",
                    "Data allocation ratio for a layout/data type",
                    ratio(&layout, devices.len() as f64),
                ),
            ] {
                sheet.gauge(&format!("node_btrfs_{name}"), help, &labels, value);
            }
        }
    }
    Ok(())
}

/// A number; 0 where there is none.
fn number(text: &str) -> f64 {
    text.parse::<u64>().unwrap_or_default() as f64
}

/// Bytes on disk per byte of data.
fn ratio(layout: &str, devices: f64) -> f64 {
    match layout {
        "single" | "raid0" => 1.0,
        "dup" | "raid1" | "raid10" => 2.0,
        "raid1c3" => 3.0,
        "raid1c4" => 4.0,
        "raid5" => devices / (devices - 1.0),
        "raid6" => devices / (devices - 2.0),
        _ => 0.0,
    }
}

fn commits(
    source: &Source,
    path: &str,
    id: (&str, &str),
    sheet: &mut Sheet,
) -> Result<(), CollectError> {
    let text = source.find(path)?.unwrap_or_default();
    let mut values = [0.0; 4];
    let keys = [
        "commits",
        "last_commit_ms",
        "max_commit_ms",
        "total_commit_ms",
    ];
    for (index, line) in text.lines().enumerate() {
        let fault = || source.form(path, index, "a name and a number");
        let (key, value) = line.split_once(' ').ok_or_else(fault)?;
        let value = value.trim().parse::<u64>().map_err(|_| fault())? as f64;
        if let Some(at) = keys.iter().position(|known| *known == key) {
            values[at] = value;
        }
    }
    let [count, last, max, total] = values;
    let help = "The total number of commits that have occurred.";
    sheet.counter("node_btrfs_commits_total", help, &[id], count);
    let help = "Duration of the most recent commit, in seconds.";
    sheet.gauge("node_btrfs_last_commit_seconds", help, &[id], last / MILLI);
    let help = "Duration of the slowest commit, in seconds.";
    sheet.gauge("node_btrfs_max_commit_seconds", help, &[id], max / MILLI);
    let help = "Sum of the duration of all commits, in seconds.";
    sheet.counter(
        "node_btrfs_commit_seconds_total",
        help,
        &[id],
        total / MILLI,
    );
    Ok(())
}
