//! diskstats: what block devices did, from `/proc/diskstats`, and what udev knows of them.

use std::collections::BTreeMap;

use obs_model::metrics::MetricKind;

use super::SECTOR_BYTES;
use crate::sheet::Sheet;
use crate::{CollectError, Options, Source};

const SECONDS_PER_MILLI: f64 = 1e-3;

/// Name, type, factor and help of the fields behind the device's name, in the file's order.
const FIELDS: [(&str, MetricKind, f64, &str); 17] = [
    (
        "reads_completed_total",
        MetricKind::Counter,
        1.0,
        "The total number of reads completed successfully.",
    ),
    (
        "reads_merged_total",
        MetricKind::Counter,
        1.0,
        "The total number of reads merged.",
    ),
    (
        "read_bytes_total",
        MetricKind::Counter,
        SECTOR_BYTES,
        "The total number of bytes read successfully.",
    ),
    (
        "read_time_seconds_total",
        MetricKind::Counter,
        SECONDS_PER_MILLI,
        "The total number of seconds spent by all reads.",
    ),
    (
        "writes_completed_total",
        MetricKind::Counter,
        1.0,
        "The total number of writes completed successfully.",
    ),
    (
        "writes_merged_total",
        MetricKind::Counter,
        1.0,
        "The number of writes merged.",
    ),
    (
        "written_bytes_total",
        MetricKind::Counter,
        SECTOR_BYTES,
        "The total number of bytes written successfully.",
    ),
    (
        "write_time_seconds_total",
        MetricKind::Counter,
        SECONDS_PER_MILLI,
        "This is the total number of seconds spent by all writes.",
    ),
    (
        "io_now",
        MetricKind::Gauge,
        1.0,
        "The number of I/Os currently in progress.",
    ),
    (
        "io_time_seconds_total",
        MetricKind::Counter,
        SECONDS_PER_MILLI,
        "Total seconds spent doing I/Os.",
    ),
    (
        "io_time_weighted_seconds_total",
        MetricKind::Counter,
        SECONDS_PER_MILLI,
        "The weighted # of seconds spent doing I/Os.",
    ),
    (
        "discards_completed_total",
        MetricKind::Counter,
        1.0,
        "The total number of discards completed successfully.",
    ),
    (
        "discards_merged_total",
        MetricKind::Counter,
        1.0,
        "The total number of discards merged.",
    ),
    (
        "discarded_sectors_total",
        MetricKind::Counter,
        1.0,
        "The total number of sectors discarded successfully.",
    ),
    (
        "discard_time_seconds_total",
        MetricKind::Counter,
        SECONDS_PER_MILLI,
        "This is the total number of seconds spent by all discards.",
    ),
    (
        "flush_requests_total",
        MetricKind::Counter,
        1.0,
        "The total number of flush requests completed successfully",
    ),
    (
        "flush_requests_time_seconds_total",
        MetricKind::Counter,
        SECONDS_PER_MILLI,
        "This is the total number of seconds spent by all flush requests.",
    ),
];

/// Property of udev, name, help.
const ATA: [(&str, &str, &str); 3] = [
    (
        "ID_ATA_WRITE_CACHE",
        "ata_write_cache",
        "ATA disk has a write cache.",
    ),
    (
        "ID_ATA_WRITE_CACHE_ENABLED",
        "ata_write_cache_enabled",
        "ATA disk has its write cache enabled.",
    ),
    (
        "ID_ATA_ROTATION_RATE_RPM",
        "ata_rotation_rate_rpm",
        "ATA disk rotation rate in RPMs (0 for SSDs).",
    ),
];

/// What udev knows of a device.
type Properties = BTreeMap<String, String>;

pub(crate) fn collect(
    source: &Source,
    options: &Options,
    sheet: &mut Sheet,
) -> Result<(), CollectError> {
    let text = source.read("proc/diskstats")?;
    for (index, line) in text.lines().enumerate() {
        let fault = || CollectError::form("/proc/diskstats", index, "major, minor, device, counts");
        let mut words = line.split_ascii_whitespace();
        let (Some(major), Some(minor), Some(device)) = (words.next(), words.next(), words.next())
        else {
            return Err(fault());
        };
        if options.disks.ignores(device) {
            continue;
        }
        for ((name, kind, factor, help), word) in FIELDS.iter().zip(words) {
            let count = word.parse::<u64>().map_err(|_| fault())? as f64;
            // Divide where the factor is a fraction: 3 ms is 0.003, not 0.0030000000000000001.
            let value = if *factor < 1.0 {
                count / (1.0 / factor)
            } else {
                count * factor
            };
            let name = format!("node_disk_{name}");
            sheet.put(*kind, &name, help, &[("device", device)], value);
        }
        let properties = source.text(&format!("udev/b{major}:{minor}"));
        let properties = properties.as_deref().map(properties_of).unwrap_or_default();
        let rotates = source.text(&format!("sys/block/{device}/queue/rotational"));
        let rotates = if rotates.as_deref() == Some("1") {
            "1"
        } else {
            "0"
        };
        let numbers = [("major", major), ("minor", minor), ("rotational", rotates)];
        about(device, numbers, &properties, sheet);
    }
    Ok(())
}

/// `E:ID_MODEL=…`
fn properties_of(text: &str) -> Properties {
    let lines = text.lines().filter_map(|line| line.strip_prefix("E:"));
    let pairs = lines.filter_map(|line| line.split_once('='));
    pairs
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

fn about(
    device: &str,
    [major, minor, rotational]: [(&str, &str); 3],
    properties: &Properties,
    sheet: &mut Sheet,
) {
    let property = |name: &str| properties.get(name).map_or("", String::as_str);
    // The number that is printed on the disk, and what comes closest to it.
    let serials = ["SCSI_IDENT_SERIAL", "ID_SERIAL_SHORT", "ID_SERIAL"].map(property);
    let serial = serials.into_iter().find(|serial| !serial.is_empty());
    sheet.gauge(
        "node_disk_info",
        "Info of /sys/block/<block_device>.",
        &[
            ("device", device),
            major,
            minor,
            rotational,
            ("path", property("ID_PATH")),
            ("wwn", property("ID_WWN")),
            ("model", property("ID_MODEL")),
            ("serial", serial.unwrap_or_default()),
            ("revision", property("ID_REVISION")),
        ],
        1.0,
    );
    if !property("ID_FS_TYPE").is_empty() {
        sheet.gauge(
            "node_disk_filesystem_info",
            "Info about disk filesystem.",
            &[
                ("device", device),
                ("type", property("ID_FS_TYPE")),
                ("usage", property("ID_FS_USAGE")),
                ("uuid", property("ID_FS_UUID")),
                ("version", property("ID_FS_VERSION")),
            ],
            1.0,
        );
    }
    if !property("DM_NAME").is_empty() {
        sheet.gauge(
            "node_disk_device_mapper_info",
            "Info about disk device mapper.",
            &[
                ("device", device),
                ("name", property("DM_NAME")),
                ("uuid", property("DM_UUID")),
                ("vg_name", property("DM_VG_NAME")),
                ("lv_name", property("DM_LV_NAME")),
                ("lv_layer", property("DM_LV_LAYER")),
            ],
            1.0,
        );
    }
    if property("ID_ATA").is_empty() {
        return;
    }
    for (name, metric, help) in ATA {
        if let Ok(value) = property(name).parse() {
            let metric = format!("node_disk_{metric}");
            sheet.gauge(&metric, help, &[("device", device)], value);
        }
    }
}
