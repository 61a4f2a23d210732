//! bcachefs: file systems, their counters and devices, from `/sys/fs/bcachefs/<uuid>`.

use super::human_bytes;
use crate::sheet::{Sheet, sanitized};
use crate::{CollectError, Options, Source};

const FOLDER: &str = "sys/fs/bcachefs";

pub(crate) fn collect(source: &Source, _: &Options, sheet: &mut Sheet) -> Result<(), CollectError> {
    let entries = source.entries(FOLDER);
    let entries = entries.map_err(|fault| fault.absent_is_no_data("no bcachefs"))?;
    let mut found = false;
    for uuid in entries {
        if source.is_folder(&format!("{FOLDER}/{uuid}")) {
            one(source, &uuid, sheet)?;
            found = true;
        }
    }
    if found {
        Ok(())
    } else {
        Err(CollectError::NoData("no bcachefs"))
    }
}

fn one(source: &Source, uuid: &str, sheet: &mut Sheet) -> Result<(), CollectError> {
    let folder = format!("{FOLDER}/{uuid}");
    let id = ("uuid", uuid);
    sheet.gauge("node_bcachefs_info", "Filesystem information.", &[id], 1.0);
    sheet.gauge(
        "node_bcachefs_btree_cache_size_bytes",
        "Btree cache memory usage in bytes.",
        &[id],
        bytes(source, &format!("{folder}/btree_cache_size"))?,
    );
    compression(source, &format!("{folder}/compression_stats"), id, sheet)?;
    let path = format!("{folder}/errors");
    for (index, line) in lines(source, &path)? {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        if let [kind, count, ..] = words[..] {
            let count = count.parse::<u64>();
            let count = count.map_err(|_| source.form(&path, index, "a count"))?;
            let labels = [id, ("error_type", kind)];
            let help = "Error count by error type.";
            sheet.counter("node_bcachefs_errors_total", help, &labels, count as f64);
        }
    }
    for counter in source
        .entries(&format!("{folder}/counters"))
        .unwrap_or_default()
    {
        let path = format!("{folder}/counters/{counter}");
        let text = source.read(&path)?;
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix("since filesystem creation:"));
        let value = line.map_or(Some(0.0), human_bytes);
        let value = value.ok_or_else(|| source.form(&path, 0, "a count"))?;
        let name = format!("node_bcachefs_{}_total", sanitized(&counter));
        let help = format!("Bcachefs counter {counter} since filesystem creation.");
        sheet.counter(&name, &help, &[id], value.trunc());
    }
    let path = format!("{folder}/btree_write_stats");
    for (index, line) in lines(source, &path)?.into_iter().skip(1) {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        if let [kind, count, size, ..] = words[..] {
            let fault = || source.form(&path, index, "a count and a size");
            let count = count.parse::<u64>().map_err(|_| fault())?;
            let size = human_bytes(size).ok_or_else(fault)?;
            let labels = [id, ("type", kind.trim_end_matches(':'))];
            let help = "Number of btree writes by type.";
            sheet.counter(
                "node_bcachefs_btree_writes_total",
                help,
                &labels,
                count as f64,
            );
            let help = "Average btree write size by type.";
            let name = "node_bcachefs_btree_write_average_size_bytes";
            sheet.gauge(name, help, &labels, size.trunc());
        }
    }
    for entry in source.entries(&folder)? {
        if let Some(device) = entry.strip_prefix("dev-") {
            of_device(
                source,
                &format!("{folder}/{entry}"),
                [id, ("device", device)],
                sheet,
            )?;
        }
    }
    Ok(())
}

fn lines(source: &Source, path: &str) -> Result<Vec<(usize, String)>, CollectError> {
    let text = source.find(path)?.unwrap_or_default();
    Ok(text.lines().map(str::to_owned).enumerate().collect())
}

/// A size; 0 where the file is absent.
fn bytes(source: &Source, path: &str) -> Result<f64, CollectError> {
    let Some(text) = source.find(path)? else {
        return Ok(0.0);
    };
    let size = human_bytes(&text).ok_or_else(|| source.form(path, 0, "a size"))?;
    Ok(size.trunc())
}

fn compression(
    source: &Source,
    path: &str,
    id: (&str, &str),
    sheet: &mut Sheet,
) -> Result<(), CollectError> {
    for (index, line) in lines(source, path)?.into_iter().skip(1) {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        let [algorithm, compressed, uncompressed, ..] = words[..] else {
            continue;
        };
        let labels = [id, ("algorithm", algorithm.trim_end_matches(':'))];
        for (what, help, size) in [
            ("compressed", "Compressed size by algorithm.", compressed),
            (
                "uncompressed",
                "Uncompressed size by algorithm.",
                uncompressed,
            ),
        ] {
            let size = human_bytes(size).ok_or_else(|| source.form(path, index, "sizes"))?;
            let name = format!("node_bcachefs_compression_{what}_bytes");
            sheet.gauge(&name, help, &labels, size.trunc());
        }
    }
    Ok(())
}

fn of_device(
    source: &Source,
    folder: &str,
    labels: [(&str, &str); 2],
    sheet: &mut Sheet,
) -> Result<(), CollectError> {
    let text = |file: &str| source.text(&format!("{folder}/{file}")).unwrap_or_default();
    sheet.gauge(
        "node_bcachefs_device_info",
        "Device information.",
        &[
            labels[0],
            labels[1],
            ("label", &text("label")),
            ("state", &text("state")),
        ],
        1.0,
    );
    for (file, name, help) in [
        ("bucket_size", "bucket_size_bytes", "Bucket size in bytes."),
        ("nbuckets", "buckets", "Total number of buckets."),
        ("durability", "durability", "Device durability setting."),
    ] {
        let value = bytes(source, &format!("{folder}/{file}"))?;
        sheet.gauge(
            &format!("node_bcachefs_device_{name}"),
            help,
            &labels,
            value,
        );
    }
    let path = format!("{folder}/io_done");
    let mut operation = String::new();
    for (index, line) in lines(source, &path)? {
        let (key, value) = line.split_once(':').unwrap_or_default();
        let (key, value) = (key.trim(), value.trim());
        if value.is_empty() {
            operation = key.to_owned();
        } else if ["read", "write"].contains(&operation.as_str()) {
            let value = value.parse::<u64>();
            let value = value.map_err(|_| source.form(&path, index, "bytes"))?;
            let more = [("operation", operation.as_str()), ("data_type", key)];
            sheet.counter(
                "node_bcachefs_device_io_done_bytes_total",
                "IO bytes by operation type and data type.",
                &[labels[0], labels[1], more[0], more[1]],
                value as f64,
            );
        }
    }
    let path = format!("{folder}/io_errors");
    let mut wanted = false;
    for (index, line) in lines(source, &path)? {
        if line.starts_with("IO errors since ") {
            wanted = line.starts_with("IO errors since filesystem creation");
        } else if let Some((kind, value)) = line.split_once(':').filter(|_| wanted) {
            let value = value.trim().parse::<u64>();
            let value = value.map_err(|_| source.form(&path, index, "a count"))?;
            let labels = [labels[0], labels[1], ("type", kind.trim())];
            let help = "IO errors by error type.";
            sheet.counter(
                "node_bcachefs_device_io_errors_total",
                help,
                &labels,
                value as f64,
            );
        }
    }
    Ok(())
}
