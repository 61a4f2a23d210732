//! bcache: caches in front of disks, from `/sys/fs/bcache/<uuid>`.

use obs_model::metrics::MetricKind::{self, Counter, Gauge};

use crate::sheet::Sheet;
use crate::{CollectError, Options, Source};

const FOLDER: &str = "sys/fs/bcache";
/// bcache writes tenths of a 1024th: `1.5k` is 1 and 5/10.24 k.
const FRACTION: f64 = 10.24;

/// File, name, type, help.
const SETS: [(&str, &str, MetricKind, &str); 9] = [
    (
        "average_key_size",
        "average_key_size_sectors",
        Gauge,
        "Average data per key in the btree (sectors).",
    ),
    (
        "btree_cache_size",
        "btree_cache_size_bytes",
        Gauge,
        "Amount of memory currently used by the btree cache.",
    ),
    (
        "cache_available_percent",
        "cache_available_percent",
        Gauge,
        "Percentage of cache device without dirty data, usable for writeback (may contain clean cached data).",
    ),
    ("congested", "congested", Gauge, "Congestion."),
    (
        "root_usage_percent",
        "root_usage_percent",
        Gauge,
        "Percentage of the root btree node in use (tree depth increases if too high).",
    ),
    ("tree_depth", "tree_depth", Gauge, "Depth of the btree."),
    (
        "internal/active_journal_entries",
        "active_journal_entries",
        Gauge,
        "Number of journal entries that are newer than the index.",
    ),
    (
        "internal/btree_nodes",
        "btree_nodes",
        Gauge,
        "Total nodes in the btree.",
    ),
    (
        "internal/cache_read_races",
        "cache_read_races_total",
        Counter,
        "Counts instances where while data was being read from the cache, the bucket was reused and invalidated - i.e. where the pointer was stale after the read completed.",
    ),
];
/// File below `stats_total`, name, help.
const TOTALS: [(&str, &str, &str); 7] = [
    (
        "bypassed",
        "bypassed_bytes_total",
        "Amount of IO (both reads and writes) that has bypassed the cache.",
    ),
    (
        "cache_hits",
        "cache_hits_total",
        "Hits counted per individual IO as bcache sees them.",
    ),
    (
        "cache_misses",
        "cache_misses_total",
        "Misses counted per individual IO as bcache sees them.",
    ),
    (
        "cache_bypass_hits",
        "cache_bypass_hits_total",
        "Hits for IO intended to skip the cache.",
    ),
    (
        "cache_bypass_misses",
        "cache_bypass_misses_total",
        "Misses for IO intended to skip the cache.",
    ),
    (
        "cache_miss_collisions",
        "cache_miss_collisions_total",
        "Instances where data insertion from cache miss raced with write (data already present).",
    ),
    (
        "cache_readaheads",
        "cache_readaheads_total",
        "Count of times readahead occurred.",
    ),
];
/// Key in `writeback_rate_debug`, name, help.
const WRITEBACK: [(&str, &str, &str); 5] = [
    (
        "target",
        "dirty_target_bytes",
        "Current dirty data target threshold for this backing device in bytes.",
    ),
    (
        "rate",
        "writeback_rate",
        "Current writeback rate for this backing device in bytes.",
    ),
    (
        "proportional",
        "writeback_rate_proportional_term",
        "Current result of proportional controller, part of writeback rate",
    ),
    (
        "integral",
        "writeback_rate_integral_term",
        "Current result of integral controller, part of writeback rate",
    ),
    (
        "change",
        "writeback_change",
        "Last writeback rate change step for this backing device.",
    ),
];
/// File of a cache, name, type, help.
const CACHES: [(&str, &str, MetricKind, &str); 3] = [
    (
        "io_errors",
        "io_errors",
        Gauge,
        "Number of errors that have occurred, decayed by io_error_halflife.",
    ),
    (
        "metadata_written",
        "metadata_written_bytes_total",
        Counter,
        "Sum of all non data writes (btree writes and all other metadata).",
    ),
    (
        "written",
        "written_bytes_total",
        Counter,
        "Sum of all data that has been written to the cache.",
    ),
];

pub(crate) fn collect(
    source: &Source,
    options: &Options,
    sheet: &mut Sheet,
) -> Result<(), CollectError> {
    for uuid in source.entries(FOLDER).unwrap_or_default() {
        if !uuid.contains('-') {
            continue;
        }
        let folder = format!("{FOLDER}/{uuid}");
        let set = ("uuid", uuid.as_str());
        for (file, name, kind, help) in SETS {
            let value = value(source, &format!("{folder}/{file}"))?;
            sheet.put(kind, &format!("node_bcache_{name}"), help, &[set], value);
        }
        let nanos = value(
            source,
            &format!("{folder}/internal/btree_read_average_duration_us"),
        )?;
        sheet.gauge(
            "node_bcache_btree_read_average_duration_seconds",
            "Average btree read duration.",
            &[set],
            // The name says microseconds; node_exporter takes it for nanoseconds, and so do we.
            nanos * 1e-9,
        );
        for device in source.numbered(&folder, "bdev") {
            let device = format!("bdev{device}");
            backing(
                source,
                &format!("{folder}/{device}"),
                [set, ("backing_device", &device)],
                sheet,
            )?;
        }
        for cache in source.numbered(&folder, "cache") {
            let cache = format!("cache{cache}");
            let folder = format!("{folder}/{cache}");
            let labels = [set, ("cache_device", cache.as_str())];
            for (file, name, kind, help) in CACHES {
                let value = value(source, &format!("{folder}/{file}"))?;
                sheet.put(kind, &format!("node_bcache_{name}"), help, &labels, value);
            }
            if options.bcache_priority {
                priorities(source, &format!("{folder}/priority_stats"), labels, sheet)?;
            }
        }
    }
    Ok(())
}

/// A number that is rounded for people; 0 where the file is absent.
fn value(source: &Source, path: &str) -> Result<f64, CollectError> {
    let Some(text) = source.find(path)? else {
        return Ok(0.0);
    };
    parse(text.trim()).ok_or_else(|| source.form(path, 0, "a number"))
}

fn parse(text: &str) -> Option<f64> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (-1.0, digits),
        None => (1.0, text),
    };
    let digits = digits.trim_end_matches("/sec");
    let number = digits.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = format!("1{}", digits.get(number.len()..)?);
    let unit = super::human_bytes(&unit)?;
    let mantissa = match number.split_once('.') {
        Some((whole, part)) if unit > 1.0 => {
            whole.parse::<f64>().ok()? + part.parse::<f64>().ok()? / FRACTION
        }
        _ => number.parse::<f64>().ok()?,
    };
    Some(sign * (mantissa * unit).trunc())
}

fn backing(
    source: &Source,
    folder: &str,
    labels: [(&str, &str); 2],
    sheet: &mut Sheet,
) -> Result<(), CollectError> {
    sheet.gauge(
        "node_bcache_dirty_data_bytes",
        "Amount of dirty data for this backing device in the cache.",
        &labels,
        value(source, &format!("{folder}/dirty_data"))?,
    );
    let path = format!("{folder}/writeback_rate_debug");
    let text = source.read(&path)?;
    for (key, name, help) in WRITEBACK {
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
        let value = match line.map(|line| parse(line.trim())) {
            Some(value) => value.ok_or_else(|| source.form(&path, 0, "a number"))?,
            None => 0.0,
        };
        sheet.gauge(&format!("node_bcache_{name}"), help, &labels, value);
    }
    for (file, name, help) in TOTALS {
        let value = value(source, &format!("{folder}/stats_total/{file}"))?;
        if file != "cache_readaheads" || value != 0.0 {
            sheet.counter(&format!("node_bcache_{name}"), help, &labels, value);
        }
    }
    Ok(())
}

fn priorities(
    source: &Source,
    path: &str,
    labels: [(&str, &str); 2],
    sheet: &mut Sheet,
) -> Result<(), CollectError> {
    let text = source.read(path)?;
    for (key, name, help) in [
        (
            "Unused:",
            "priority_stats_unused_percent",
            "The percentage of the cache that doesn't contain any data.",
        ),
        (
            "Metadata:",
            "priority_stats_metadata_percent",
            "Bcache's metadata overhead.",
        ),
    ] {
        let line = text.lines().find_map(|line| line.strip_prefix(key));
        let percent = line.map(|line| line.trim().trim_end_matches('%').parse::<u32>());
        let percent = match percent {
            Some(percent) => percent.map_err(|_| source.form(path, 0, "a percentage"))?,
            None => 0,
        };
        sheet.gauge(
            &format!("node_bcache_{name}"),
            help,
            &labels,
            f64::from(percent),
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn numbers_of_bcache() {
        for (text, expect) in [
            ("0", Some(0.0)),
            ("542", Some(542.0)),
            ("1.5k", Some(1524.0)),
            ("-3.2M", Some(-3_350_528.0)),
            ("10G", Some(10_737_418_240.0)),
            ("4.0k/sec", Some(4096.0)),
            ("k", None),
            ("", None),
        ] {
            assert_eq!(parse(text), expect, "{text}");
        }
    }
}
