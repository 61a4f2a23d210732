//! mountstats: mounts of NFS from the client's side, from `/proc/self/mountstats`.

use std::collections::BTreeSet;

use obs_model::metrics::MetricKind::{self, Counter, Gauge};

use crate::sheet::Sheet;
use crate::{CollectError, Options, Source};

/// Number in the line of events, name, help.
#[rustfmt::skip]
const EVENTS: [(usize, &str, &str); 26] = [
    (0, "event_inode_revalidate_total", "Number of times cached inode attributes are re-validated from the server."),
    (1, "event_dnode_revalidate_total", "Number of times cached dentry nodes are re-validated from the server."),
    (2, "event_data_invalidate_total", "Number of times an inode cache is cleared."),
    (3, "event_attribute_invalidate_total", "Number of times cached inode attributes are invalidated."),
    (4, "event_vfs_open_total", "Number of times cached inode attributes are invalidated."),
    (5, "event_vfs_lookup_total", "Number of times a directory lookup has occurred."),
    (6, "event_vfs_access_total", "Number of times permissions have been checked."),
    (7, "event_vfs_update_page_total", "Number of updates (and potential writes) to pages."),
    (8, "event_vfs_read_page_total", "Number of pages read directly via mmap()'d files."),
    (9, "event_vfs_read_pages_total", "Number of times a group of pages have been read."),
    (10, "event_vfs_write_page_total", "Number of pages written directly via mmap()'d files."),
    (11, "event_vfs_write_pages_total", "Number of times a group of pages have been written."),
    (12, "event_vfs_getdents_total", "Number of times directory entries have been read with getdents()."),
    (13, "event_vfs_setattr_total", "Number of times directory entries have been read with getdents()."),
    (14, "event_vfs_flush_total", "Number of pending writes that have been forcefully flushed to the server."),
    (15, "event_vfs_fsync_total", "Number of times fsync() has been called on directories and files."),
    (16, "event_vfs_lock_total", "Number of times locking has been attempted on a file."),
    (17, "event_vfs_file_release_total", "Number of times files have been closed and released."),
    (19, "event_truncation_total", "Number of times files have been truncated."),
    (20, "event_write_extension_total", "Number of times a file has been grown due to writes beyond its existing end."),
    (21, "event_silly_rename_total", "Number of times a file was removed while still open by another process."),
    (22, "event_short_read_total", "Number of times the NFS server gave less data than expected while reading."),
    (23, "event_short_write_total", "Number of times the NFS server wrote less data than expected while writing."),
    (24, "event_jukebox_delay_total", "Number of times the NFS server indicated EJUKEBOX; retrieving data from offline storage."),
    (25, "event_pnfs_read_total", "Number of NFS v4.1+ pNFS reads."),
    (26, "event_pnfs_write_total", "Number of NFS v4.1+ pNFS writes."),
];

/// The same of the line of bytes.
#[rustfmt::skip]
const BYTES: [(usize, &str, &str); 8] = [
    (0, "read_bytes_total", "Number of bytes read using the read() syscall."),
    (1, "write_bytes_total", "Number of bytes written using the write() syscall."),
    (2, "direct_read_bytes_total", "Number of bytes read using the read() syscall in O_DIRECT mode."),
    (3, "direct_write_bytes_total", "Number of bytes written using the write() syscall in O_DIRECT mode."),
    (4, "total_read_bytes_total", "Number of bytes read from the NFS server, in total."),
    (5, "total_write_bytes_total", "Number of bytes written to the NFS server, in total."),
    (6, "read_pages_total", "Number of pages read directly via mmap()'d files."),
    (7, "write_pages_total", "Number of pages written directly via mmap()'d files."),
];

/// The same of the lines of operations.
#[rustfmt::skip]
const OPERATIONS: [(usize, &str, &str); 8] = [
    (0, "operations_requests_total", "Number of requests performed for a given operation."),
    (1, "operations_transmissions_total", "Number of times an actual RPC request has been transmitted for a given operation."),
    (2, "operations_major_timeouts_total", "Number of times a request has had a major timeout for a given operation."),
    (3, "operations_sent_bytes_total", "Number of bytes sent for a given operation, including RPC headers and payload."),
    (4, "operations_received_bytes_total", "Number of bytes received for a given operation, including RPC headers and payload."),
    (5, "operations_queue_time_seconds_total", "Duration all requests spent queued for transmission for a given operation before they were sent, in seconds."),
    (6, "operations_response_time_seconds_total", "Duration all requests took to get a reply back after a request for a given operation was transmitted, in seconds."),
    (7, "operations_request_time_seconds_total", "Duration all requests took from when a request was enqueued to when it was completely handled for a given operation, in seconds."),
];

/// The same of the lines of connections, with the type.
#[rustfmt::skip]
const TRANSPORTS: [(usize, &str, MetricKind, &str); 10] = [
    (1, "transport_bind_total", Counter, "Number of times the client has had to establish a connection from scratch to the NFS server."),
    (2, "transport_connect_total", Counter, "Number of times the client has made a TCP connection to the NFS server."),
    (4, "transport_idle_time_seconds", Gauge, "Duration since the NFS mount last saw any RPC traffic, in seconds."),
    (5, "transport_sends_total", Counter, "Number of RPC requests for this mount sent to the NFS server."),
    (6, "transport_receives_total", Counter, "Number of RPC responses for this mount received from the NFS server."),
    (7, "transport_bad_transaction_ids_total", Counter, "Number of times the NFS server sent a response with a transaction ID unknown to this client."),
    (9, "transport_backlog_queue_total", Counter, "Total number of items added to the RPC backlog queue."),
    (10, "transport_maximum_rpc_slots", Gauge, "Maximum number of simultaneously active RPC requests ever used."),
    (11, "transport_sending_queue_total", Counter, "Total number of items added to the RPC transmission sending queue."),
    (12, "transport_pending_queue_total", Counter, "Total number of items added to the RPC transmission pending queue."),
];

const MILLI: f64 = 1000.0;

/// A mount of NFS.
#[derive(Debug, Default)]
struct Mount<'a> {
    /// Place among all mounts, which is that in `mountinfo`.
    index: usize,
    export: &'a str,
    point: &'a str,
    age: f64,
    bytes: Vec<u64>,
    events: Vec<u64>,
    /// Protocol and numbers of every connection.
    transports: Vec<(&'a str, Vec<u64>)>,
    /// Name and numbers of every operation.
    operations: Vec<(&'a str, Vec<u64>)>,
}

pub(crate) fn collect(source: &Source, _: &Options, sheet: &mut Sheet) -> Result<(), CollectError> {
    let text = source.read("proc/self/mountstats")?;
    let table = source.read("proc/self/mountinfo")?;
    let table: Vec<&str> = table.lines().collect();
    let mut written = BTreeSet::new();
    for mount in parse(&text)? {
        let address = table.get(mount.index).and_then(|line| address(line));
        let address = address.unwrap_or_default();
        for (protocol, _) in &mount.transports {
            let labels = [
                ("export", mount.export),
                ("protocol", *protocol),
                ("mountaddr", address),
                ("mountpoint", mount.point),
            ];
            let help = "Info metric for an NFS mountpoint.";
            sheet.gauge("node_mountstats_nfs_mountpoint_info", help, &labels, 1.0);
            // The same export at several points is one thing to the kernel.
            if !written.insert((mount.export, *protocol, address)) {
                break;
            }
            write(&mount, [labels[0], labels[1], labels[2]], sheet);
        }
    }
    Ok(())
}

/// The server's address among the options of the super block.
fn address(line: &str) -> Option<&str> {
    let (_, right) = line.split_once(" - ")?;
    let mut options = right.split(' ').nth(2)?.split(',');
    options.find_map(|option| option.strip_prefix("addr="))
}

fn parse(text: &str) -> Result<Vec<Mount<'_>>, CollectError> {
    let mut all: Vec<Mount<'_>> = Vec::new();
    let mut devices = 0;
    // Whether lines belong to the last mount, and whether they are operations.
    let (mut open, mut per_operation, mut version) = (false, false, "");
    for (index, line) in text.lines().enumerate() {
        let fault = || CollectError::form("/proc/self/mountstats", index, "statistics of a mount");
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        let numbers = |words: &[&str]| {
            let numbers: Result<Vec<u64>, _> = words.iter().map(|word| word.parse()).collect();
            numbers.map_err(|_| fault())
        };
        if let [
            "device",
            export,
            "mounted",
            "on",
            point,
            "with",
            "fstype",
            kind,
            more @ ..,
        ] = &words[..]
        {
            version = more
                .iter()
                .find_map(|word| word.strip_prefix("statvers="))
                .unwrap_or_default();
            open = ["nfs", "nfs4"].contains(kind) && !version.is_empty();
            per_operation = false;
            if open {
                all.push(Mount {
                    index: devices,
                    export,
                    point,
                    ..Mount::default()
                });
            }
            devices += 1;
            continue;
        }
        let Some(mount) = all.last_mut().filter(|_| open) else {
            continue;
        };
        match &words[..] {
            [] => per_operation = false,
            [name, values @ ..] if per_operation => {
                let name = name.trim_end_matches(':');
                mount.operations.push((name, numbers(values)?));
            }
            ["age:", age, ..] => mount.age = age.parse().map_err(|_| fault())?,
            ["bytes:", values @ ..] => mount.bytes = numbers(values)?,
            ["events:", values @ ..] => mount.events = numbers(values)?,
            ["xprt:", protocol, values @ ..] => {
                let values = aligned(protocol, version, numbers(values)?);
                mount.transports.push((protocol, values));
            }
            ["per-op", ..] => per_operation = true,
            _ => {}
        }
    }
    Ok(all)
}

/// The numbers in the places that they have for TCP in version 1.1.
fn aligned(protocol: &str, version: &str, mut numbers: Vec<u64>) -> Vec<u64> {
    match protocol {
        // UDP does not connect.
        "udp" => {
            let at = numbers.len().min(2);
            numbers.splice(at..at, [0; 3]);
        }
        // RDMA has no queues.
        "rdma" => {
            let at = numbers.len().min(10);
            numbers.splice(at..at, [0; 3]);
        }
        _ => {}
    }
    if version == "1.0" {
        numbers.truncate(10);
    }
    numbers
}

fn write(mount: &Mount<'_>, labels: [(&str, &str); 3], sheet: &mut Sheet) {
    let number = |numbers: &[u64], at: usize| numbers.get(at).copied().unwrap_or_default() as f64;
    let prefix = "node_mountstats_nfs";
    sheet.counter(
        &format!("{prefix}_age_seconds_total"),
        "The age of the NFS mount in seconds.",
        &labels,
        mount.age,
    );
    for (at, name, help) in BYTES {
        let value = number(&mount.bytes, at);
        sheet.counter(&format!("{prefix}_{name}"), help, &labels, value);
    }
    for (at, name, help) in EVENTS {
        let value = number(&mount.events, at);
        sheet.counter(&format!("{prefix}_{name}"), help, &labels, value);
    }
    for (index, (_, numbers)) in mount.transports.iter().enumerate() {
        let index = index.to_string();
        let labels = [
            labels[0],
            labels[1],
            labels[2],
            ("transport", index.as_str()),
        ];
        for (at, name, kind, help) in TRANSPORTS {
            let value = number(numbers, at);
            sheet.put(kind, &format!("{prefix}_{name}"), help, &labels, value);
        }
    }
    for (operation, numbers) in &mount.operations {
        let labels = [labels[0], labels[1], labels[2], ("operation", *operation)];
        for (at, name, help) in OPERATIONS {
            // Times are in milliseconds.
            let unit = if name.contains("_seconds_") {
                MILLI
            } else {
                1.0
            };
            let value = number(numbers, at) / unit;
            sheet.counter(&format!("{prefix}_{name}"), help, &labels, value);
        }
    }
}
