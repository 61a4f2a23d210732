//! diskstats: what block devices did, from `/proc/diskstats`.

use obs_model::family::Family;
use obs_model::metrics::MetricKind;

use crate::{CollectError, Options, Source, labels};

/// The kernel counts sectors of 512 bytes whatever the device's own sector size is.
const SECTOR_BYTES: f64 = 512.0;
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

pub(crate) fn collect(source: &Source, options: &Options) -> Result<Vec<Family>, CollectError> {
    families(&source.proc("diskstats")?, options)
}

fn families(diskstats: &str, options: &Options) -> Result<Vec<Family>, CollectError> {
    let mut all: Vec<Family> = FIELDS
        .iter()
        .map(|(name, kind, _, help)| Family::new(format!("node_disk_{name}"), *kind, *help))
        .collect();
    let mut info = Family::new(
        "node_disk_info",
        MetricKind::Gauge,
        "Info of /sys/block/<block_device>.",
    );
    for (index, line) in diskstats.lines().enumerate() {
        let fault = || CollectError::form("/proc/diskstats", index, "major, minor, device, counts");
        let mut words = line.split_ascii_whitespace();
        let (Some(major), Some(minor), Some(device)) = (words.next(), words.next(), words.next())
        else {
            return Err(fault());
        };
        if options.disk_device_exclude.is_match(device.as_bytes()) {
            continue;
        }
        info.push(
            labels([("device", device), ("major", major), ("minor", minor)]),
            1.0,
        );
        for ((family, (_, _, factor, _)), word) in all.iter_mut().zip(&FIELDS).zip(words) {
            let count: u64 = word.parse().map_err(|_| fault())?;
            // Divide where the factor is a fraction: 3 ms is 0.003, not 0.0030000000000000001.
            let value = if *factor < 1.0 {
                count as f64 / (1.0 / factor)
            } else {
                count as f64 * factor
            };
            family.push(labels([("device", device)]), value);
        }
    }
    all.push(info);
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices() {
        let text = " 254 0 vda 10 1 16 3 5 0 8 2 0 4 6\n 7 0 loop0 0 0 0 0 0 0 0 0 0 0 0\n";
        let all = families(text, &Options::default()).unwrap();
        let value = |name: &str| {
            let family = all.iter().find(|f| f.name == name).unwrap();
            assert_eq!(family.points.len(), 1, "{name}");
            family.points[0].value
        };
        assert_eq!(value("node_disk_reads_completed_total"), 10.0);
        assert_eq!(value("node_disk_read_bytes_total"), 8192.0);
        assert_eq!(value("node_disk_read_time_seconds_total"), 0.003);
        assert_eq!(value("node_disk_io_time_weighted_seconds_total"), 0.006);
        assert_eq!(value("node_disk_info"), 1.0);
        assert!(families("254 0", &Options::default()).is_err());
    }
}
