//! mdadm: software arrays, from `/proc/mdstat` and `/sys/block/md*/md`.

use crate::sheet::{Sheet, flag};
use crate::{CollectError, Options, Source};

/// States that are told, and the words that they stand for.
const STATES: [(&str, &str); 5] = [
    ("active", "active"),
    ("inactive", "inactive"),
    ("recovering", "recovering"),
    ("resync", "resyncing"),
    ("check", "checking"),
];
/// Levels that lose and regain disks.
const REDUNDANT: [&str; 5] = ["raid1", "raid4", "raid5", "raid6", "raid10"];

/// An array in `/proc/mdstat`.
#[derive(Debug, Default, PartialEq)]
struct Array<'a> {
    name: &'a str,
    state: &'a str,
    active: f64,
    total: f64,
    failed: f64,
    spare: f64,
    blocks: f64,
    synced: f64,
}

pub(crate) fn collect(source: &Source, _: &Options, sheet: &mut Sheet) -> Result<(), CollectError> {
    let text = source.read("proc/mdstat");
    let text = text.map_err(|fault| fault.absent_is_no_data("no software arrays"))?;
    for array in parse(&text)? {
        write(&array, sheet);
    }
    for device in source.entries("sys/block").unwrap_or_default() {
        let folder = format!("sys/block/{device}/md");
        if !device.starts_with("md") || !source.is_folder(&folder) {
            continue;
        }
        let level = source.read(&format!("{folder}/level"))?;
        let level = level.trim();
        let disks = source
            .text(&format!("{folder}/raid_disks"))
            .unwrap_or_default();
        // `4 (5)` while the array grows
        let disks = disks
            .split(' ')
            .next()
            .and_then(|disks| disks.parse::<u64>().ok());
        let has_disks = !["container", "imsm", "ddf", ""].contains(&level);
        if let Some(disks) = disks.filter(|_| has_disks) {
            sheet.gauge(
                "node_md_raid_disks",
                "Number of raid disks on device.",
                &[("device", &device)],
                disks as f64,
            );
        }
        let degraded = if REDUNDANT.contains(&level) {
            source.number(&format!("{folder}/degraded"))?
        } else {
            0.0
        };
        sheet.gauge(
            "node_md_degraded",
            "Number of degraded disks on device.",
            &[("device", &device)],
            degraded,
        );
    }
    Ok(())
}

fn parse(text: &str) -> Result<Vec<Array<'_>>, CollectError> {
    let lines: Vec<&str> = text.lines().collect();
    let mut all = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        let head = ["Personalities", "unused", " ", "\t"];
        if line.trim().is_empty() || head.iter().any(|word| line.starts_with(word)) {
            continue;
        }
        let fault = |at: usize| CollectError::form("/proc/mdstat", index + at, "an array");
        let mut words = line.split_ascii_whitespace();
        let (Some(name), Some(_colon), Some(state)) = (words.next(), words.next(), words.next())
        else {
            return Err(fault(0));
        };
        let status = lines.get(index + 1).ok_or_else(|| fault(1))?;
        let (active, total, blocks) = status_of(line, status).ok_or_else(|| fault(1))?;
        let mut array = Array {
            name,
            state,
            active,
            total,
            blocks,
            failed: line.matches("(F)").count() as f64,
            spare: line.matches("(S)").count() as f64,
            synced: blocks,
        };
        let mut sync = lines.get(index + 2).copied().unwrap_or_default();
        if sync.contains("bitmap") {
            sync = lines.get(index + 3).copied().unwrap_or_default();
        }
        for (word, state) in [
            ("recovery", "recovering"),
            ("reshape", "reshaping"),
            ("check", "checking"),
            ("resync", "resyncing"),
        ] {
            if sync.contains(word) {
                array.state = state;
                array.synced = synced(sync).ok_or_else(|| fault(2))?;
                break;
            }
        }
        all.push(array);
    }
    Ok(all)
}

/// Active and all disks, and blocks: `488386496 blocks super 1.2 [2/2] [UU]`.
fn status_of(device: &str, status: &str) -> Option<(f64, f64, f64)> {
    let blocks = status
        .split_ascii_whitespace()
        .next()?
        .parse::<u64>()
        .ok()? as f64;
    if device.contains("raid0") || device.contains("linear") {
        let disks = device.matches('[').count() as f64;
        return Some((disks, disks, blocks));
    }
    if device.contains("inactive") {
        return Some((0.0, 0.0, blocks));
    }
    let counts = status.split('[').skip(1).find_map(|part| {
        let (total, active) = part.split(']').next()?.split_once('/')?;
        Some((active.parse::<u32>().ok()?, total.parse::<u32>().ok()?))
    });
    let (active, total) = counts?;
    Some((active.into(), total.into(), blocks))
}

/// Blocks that are done: `recovery =  8.5% (16775552/195310144) finish=17.0min`.
fn synced(line: &str) -> Option<f64> {
    if line.contains("PENDING") || line.contains("DELAYED") {
        return Some(0.0);
    }
    line.split('(').skip(1).find_map(|part| {
        let (done, _) = part.split(')').next()?.split_once('/')?;
        Some(done.parse::<u64>().ok()? as f64)
    })
}

fn write(array: &Array<'_>, sheet: &mut Sheet) {
    let device = ("device", array.name);
    let mut gauge = |name: &str, help: &str, value: f64| {
        sheet.gauge(&format!("node_md_{name}"), help, &[device], value);
    };
    gauge(
        "disks_required",
        "Total number of disks of device.",
        array.total,
    );
    gauge("blocks", "Total number of blocks on device.", array.blocks);
    gauge(
        "blocks_synced",
        "Number of blocks synced on device.",
        array.synced,
    );
    for (state, count) in [
        ("active", array.active),
        ("failed", array.failed),
        ("spare", array.spare),
    ] {
        let help = "Number of active/failed/spare disks of device.";
        sheet.gauge("node_md_disks", help, &[device, ("state", state)], count);
    }
    for (state, word) in STATES {
        let help = "Indicates the state of md-device.";
        let labels = [device, ("state", state)];
        sheet.gauge("node_md_state", help, &labels, flag(word == array.state));
    }
}
