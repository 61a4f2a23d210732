//! zfs: what ZFS counts, from `/proc/spl/kstat/zfs`.

use crate::sheet::{Sheet, flag};
use crate::{CollectError, Options, Source};

const FOLDER: &str = "proc/spl/kstat/zfs";

/// File and what its names begin with.
const FILES: [(&str, &str); 11] = [
    ("abdstats", "zfs_abd"),
    ("arcstats", "zfs_arc"),
    ("dbufstats", "zfs_dbuf"),
    ("dmu_tx", "zfs_dmu_tx"),
    ("dnodestats", "zfs_dnode"),
    ("fm", "zfs_fm"),
    ("vdev_cache_stats", "zfs_vdev_cache"),
    ("vdev_mirror_stats", "zfs_vdev_mirror"),
    ("xuio_stats", "zfs_xuio"),
    ("zfetchstats", "zfs_zfetch"),
    ("zil", "zfs_zil"),
];
const POOL_STATES: [&str; 7] = [
    "online",
    "degraded",
    "faulted",
    "offline",
    "removed",
    "unavail",
    "suspended",
];
/// `KSTAT_DATA_INT64` and `KSTAT_DATA_UINT64`
const INT64: &str = "3";
const UINT64: &str = "4";

pub(crate) fn collect(source: &Source, _: &Options, sheet: &mut Sheet) -> Result<(), CollectError> {
    let entries = source.entries(FOLDER);
    let entries = entries.map_err(|fault| fault.absent_is_no_data("no ZFS"))?;
    for (file, prefix) in FILES {
        // Each version of ZFS has some of them.
        let path = format!("{FOLDER}/{file}");
        let Some(text) = source.find(&path)? else {
            continue;
        };
        for (name, value) in table(source, &path, &text)? {
            let help = format!("kstat.zfs.misc.{file}.{name}");
            sheet.untyped(
                &format!("node_{prefix}_{}", metric(name)),
                &help,
                &[],
                value,
            );
        }
    }
    for pool in entries {
        if source.is_folder(&format!("{FOLDER}/{pool}")) {
            of_pool(source, &pool, sheet)?;
        }
    }
    Ok(())
}

fn metric(name: &str) -> String {
    name.rsplit('.')
        .next()
        .unwrap_or_default()
        .replace('-', "_")
}

/// Lines of name, type and value, below the line that says so.
fn rows<'a>(text: &'a str) -> impl Iterator<Item = (usize, Vec<&'a str>)> + 'a {
    let rows = text.lines().enumerate();
    let rows = rows.map(|(index, line)| (index, line.split_ascii_whitespace().collect()));
    let rows =
        rows.skip_while(|(_, words): &(usize, Vec<&str>)| words != &["name", "type", "data"]);
    rows.skip(1).filter(|(_, words)| words.len() >= 3)
}

fn table<'a>(
    source: &Source,
    path: &str,
    text: &'a str,
) -> Result<Vec<(&'a str, f64)>, CollectError> {
    let mut all = Vec::new();
    if !text
        .lines()
        .any(|line| line.split_ascii_whitespace().eq(["name", "type", "data"]))
    {
        return Err(source.form(path, 0, "a line name type data"));
    }
    for (index, words) in rows(text) {
        let value = match words[1] {
            UINT64 => words[2].parse::<u64>().ok().map(|value| value as f64),
            INT64 => words[2].parse::<i64>().ok().map(|value| value as f64),
            _ => continue,
        };
        let value = value.ok_or_else(|| source.form(path, index, "a number of 64 bits"))?;
        all.push((words[0], value));
    }
    Ok(all)
}

fn of_pool(source: &Source, pool: &str, sheet: &mut Sheet) -> Result<(), CollectError> {
    let folder = format!("{FOLDER}/{pool}");
    if let Some(text) = source.find(&format!("{folder}/io"))? {
        io(source, &format!("{folder}/io"), pool, &text, sheet)?;
    }
    for entry in source.entries(&folder).unwrap_or_default() {
        if entry.starts_with("objset-") {
            let path = format!("{folder}/{entry}");
            let text = source.read(&path)?;
            let name = rows(&text).find(|(_, words)| words[0] == "dataset_name");
            // A name may have blanks.
            let name = name
                .map(|(_, words)| words[2..].join(" "))
                .unwrap_or_default();
            for (key, value) in table(source, &path, &text)? {
                let help = format!("kstat.zfs.misc.objset.{key}");
                let labels = [("zpool", pool), ("dataset", name.as_str())];
                let name = format!("node_zfs_zpool_dataset_{}", metric(key));
                sheet.untyped(&name, &help, &labels, value);
            }
        }
    }
    if let Some(state) = source.find(&format!("{folder}/state"))? {
        let state = state.trim().to_lowercase();
        for known in POOL_STATES {
            let labels = [("zpool", pool), ("state", known)];
            let help = "kstat.zfs.misc.state";
            sheet.gauge("node_zfs_zpool_state", help, &labels, flag(state == known));
        }
    }
    Ok(())
}

/// A line of names and a line of values.
fn io(
    source: &Source,
    path: &str,
    pool: &str,
    text: &str,
    sheet: &mut Sheet,
) -> Result<(), CollectError> {
    let mut lines = text.lines().enumerate();
    let head = lines.find(|(_, line)| line.trim_start().starts_with("nread"));
    let names = head.map(|(_, line)| line).unwrap_or_default();
    for (index, line) in lines {
        for (name, word) in names
            .split_ascii_whitespace()
            .zip(line.split_ascii_whitespace())
        {
            let value = word.parse::<u64>();
            let value = value.map_err(|_| source.form(path, index, "a number per name"))?;
            let help = format!("kstat.zfs.misc.io.{name}");
            let metric = format!("node_zfs_zpool_{}", metric(name));
            sheet.untyped(&metric, &help, &[("zpool", pool)], value as f64);
        }
    }
    Ok(())
}
