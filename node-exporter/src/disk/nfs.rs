//! nfs and nfsd: what clients and servers of NFS did, from `/proc/net/rpc`.

use std::collections::BTreeMap;

use crate::sheet::Sheet;
use crate::{CollectError, Options, Source};

/// Procedures of NFS 2, in their order.
#[rustfmt::skip]
const V2: [&str; 18] = [
    "Null", "GetAttr", "SetAttr", "Root", "Lookup", "ReadLink",
    "Read", "WrCache", "Write", "Create", "Remove", "Rename",
    "Link", "SymLink", "MkDir", "RmDir", "ReadDir", "FsStat",
];

/// Procedures of NFS 3, in their order.
#[rustfmt::skip]
const V3: [&str; 22] = [
    "Null", "GetAttr", "SetAttr", "Lookup", "Access", "ReadLink",
    "Read", "Write", "Create", "MkDir", "SymLink", "MkNod",
    "Remove", "RmDir", "Rename", "Link", "ReadDir", "ReadDirPlus",
    "FsStat", "FsInfo", "PathConf", "Commit",
];

/// Operations of the client of NFS 4, in the order of the kernel.
#[rustfmt::skip]
const CLIENT_V4: [&str; 59] = [
    "Null", "Read", "Write", "Commit", "Open", "OpenConfirm",
    "OpenNoattr", "OpenDowngrade", "Close", "Setattr", "FsInfo", "Renew",
    "SetClientID", "SetClientIDConfirm", "Lock", "Lockt", "Locku", "Access",
    "Getattr", "Lookup", "LookupRoot", "Remove", "Rename", "Link",
    "Symlink", "Create", "Pathconf", "StatFs", "ReadLink", "ReadDir",
    "ServerCaps", "DelegReturn", "GetACL", "SetACL", "FsLocations", "ReleaseLockowner",
    "Secinfo", "FsidPresent", "ExchangeID", "CreateSession", "DestroySession", "Sequence",
    "GetLeaseTime", "ReclaimComplete", "GetDeviceInfo", "LayoutGet", "LayoutCommit", "LayoutReturn",
    "SecinfoNoName", "TestStateID", "FreeStateID", "GetDeviceList", "BindConnToSession", "DestroyClientID",
    "Seek", "Allocate", "DeAllocate", "LayoutStats", "Clone",
];

/// Operations of the server of NFS 4, in their order.
#[rustfmt::skip]
const SERVER_V4: [&str; 40] = [
    "Op0Unused", "Op1Unused", "Op2Future", "Access", "Close", "Commit",
    "Create", "DelegPurge", "DelegReturn", "GetAttr", "GetFH", "Link",
    "Lock", "Lockt", "Locku", "Lookup", "LookupRoot", "Nverify",
    "Open", "OpenAttr", "OpenConfirm", "OpenDgrd", "PutFH", "PutPubFH",
    "PutRootFH", "Read", "ReadDir", "ReadLink", "Remove", "Rename",
    "Renew", "RestoreFH", "SaveFH", "SecInfo", "SetAttr", "SetClientID",
    "SetClientIDConfirm", "Verify", "Write", "RelLockOwner",
];

/// Operations that node_exporter does not tell of the server: procedures that do nothing, numbers
/// without an operation, and two that it leaves out.
const SILENT: [&str; 6] = [
    "Null",
    "Op0Unused",
    "Op1Unused",
    "Op2Future",
    "PutPubFH",
    "PutRootFH",
];

/// Line of `nfsd`, number in the line, name, help.
const SERVER: [(&str, usize, &str, &str); 8] = [
    (
        "rc",
        0,
        "reply_cache_hits_total",
        "Total number of NFSd Reply Cache hits (client lost server response).",
    ),
    (
        "rc",
        1,
        "reply_cache_misses_total",
        "Total number of NFSd Reply Cache an operation that requires caching (idempotent).",
    ),
    (
        "rc",
        2,
        "reply_cache_nocache_total",
        "Total number of NFSd Reply Cache non-idempotent operations (rename/delete/…).",
    ),
    (
        "fh",
        0,
        "file_handles_stale_total",
        "Total number of NFSd stale file handles",
    ),
    ("io", 0, "disk_bytes_read_total", "Total NFSd bytes read."),
    (
        "io",
        1,
        "disk_bytes_written_total",
        "Total NFSd bytes written.",
    ),
    (
        "ra",
        11,
        "read_ahead_cache_not_found_total",
        "Total number of NFSd read ahead cache not found.",
    ),
    ("rpc", 0, "server_rpcs_total", "Total number of NFSd RPCs."),
];

/// Numbers by the name of their line.
struct Lines<'a>(BTreeMap<&'a str, Vec<u64>>);

impl<'a> Lines<'a> {
    fn parse(path: &str, text: &'a str) -> Result<Self, CollectError> {
        let mut all = BTreeMap::new();
        for (index, line) in text.lines().enumerate() {
            let fault = || CollectError::form(path, index, "a name and numbers");
            let mut words = line.split_ascii_whitespace();
            let key = words.next().ok_or_else(fault)?;
            // Threads are followed by a histogram of fractions, which is 0 since Linux 2.6.
            let count = if key == "th" { 2 } else { usize::MAX };
            let numbers: Result<Vec<u64>, _> = words.take(count).map(str::parse).collect();
            let numbers = numbers.map_err(|_| fault())?;
            // Lines of procedures say how many follow.
            let counted = key.starts_with("proc");
            if counted && numbers.first() != Some(&(numbers.len().saturating_sub(1) as u64)) {
                return Err(fault());
            }
            all.insert(key, numbers);
        }
        Ok(Self(all))
    }

    /// A number; 0 where the kernel does not have it.
    fn number(&self, line: &str, at: usize) -> f64 {
        let number = self.0.get(line).and_then(|numbers| numbers.get(at));
        number.copied().unwrap_or_default() as f64
    }
}

pub(crate) fn collect(source: &Source, _: &Options, sheet: &mut Sheet) -> Result<(), CollectError> {
    let path = "proc/net/rpc/nfs";
    let text = source.read(path);
    let text = text.map_err(|fault| fault.absent_is_no_data("no NFS client"))?;
    let lines = Lines::parse(path, &text)?;
    for (at, protocol) in [(1, "udp"), (2, "tcp")] {
        sheet.counter(
            "node_nfs_packets_total",
            "Total NFSd network packets (sent+received) by protocol type.",
            &[("protocol", protocol)],
            lines.number("net", at),
        );
    }
    for (line, at, name, help) in [
        (
            "net",
            3,
            "connections",
            "Total number of NFSd TCP connections.",
        ),
        ("rpc", 0, "rpcs", "Total number of RPCs performed."),
        (
            "rpc",
            1,
            "rpc_retransmissions",
            "Number of RPC transmissions performed.",
        ),
        (
            "rpc",
            2,
            "rpc_authentication_refreshes",
            "Number of RPC authentication refreshes performed.",
        ),
    ] {
        let name = format!("node_nfs_{name}_total");
        sheet.counter(&name, help, &[], lines.number(line, at));
    }
    let mut requests = |proto: &str, line: &str, methods: &[&str]| {
        for (at, method) in methods.iter().enumerate() {
            sheet.counter(
                "node_nfs_requests_total",
                "Number of NFS procedures invoked.",
                &[("proto", proto), ("method", method)],
                lines.number(line, at + 1),
            );
        }
    };
    requests("2", "proc2", &V2);
    requests("3", "proc3", &V3);
    requests("4", "proc4", &CLIENT_V4);
    Ok(())
}

pub(crate) fn collect_server(
    source: &Source,
    _: &Options,
    sheet: &mut Sheet,
) -> Result<(), CollectError> {
    let path = "proc/net/rpc/nfsd";
    let text = source.read(path);
    let text = text.map_err(|fault| fault.absent_is_no_data("no NFS server"))?;
    let lines = Lines::parse(path, &text)?;
    for (line, at, name, help) in SERVER {
        let name = format!("node_nfsd_{name}");
        sheet.counter(&name, help, &[], lines.number(line, at));
    }
    sheet.gauge(
        "node_nfsd_server_threads",
        "Total number of NFSd kernel threads that are running.",
        &[],
        lines.number("th", 0),
    );
    sheet.gauge(
        "node_nfsd_read_ahead_cache_size_blocks",
        "How large the read ahead cache is in blocks.",
        &[],
        lines.number("ra", 0),
    );
    for (at, proto) in [(1, "udp"), (2, "tcp")] {
        sheet.counter(
            "node_nfsd_packets_total",
            "Total NFSd network packets (sent+received) by protocol type.",
            &[("proto", proto)],
            lines.number("net", at),
        );
    }
    sheet.counter(
        "node_nfsd_connections_total",
        "Total number of NFSd TCP connections.",
        &[],
        lines.number("net", 3),
    );
    for (at, error) in [(2, "fmt"), (3, "auth"), (4, "cInt")] {
        sheet.counter(
            "node_nfsd_rpc_errors_total",
            "Total number of NFSd RPC errors by error type.",
            &[("error", error)],
            lines.number("rpc", at),
        );
    }
    let mut request = |proto: &str, method: &str, value: f64| {
        sheet.counter(
            "node_nfsd_requests_total",
            "Total number NFSd Requests by method and protocol.",
            &[("proto", proto), ("method", method)],
            value,
        );
    };
    for (proto, line, methods) in [
        ("2", "proc2", &V2[..]),
        ("3", "proc3", &V3[..]),
        ("4", "proc4ops", &SERVER_V4[..]),
    ] {
        for (at, method) in methods.iter().enumerate() {
            if !SILENT.contains(method) {
                request(proto, method, lines.number(line, at + 1));
            }
        }
    }
    request("4", "WdelegGetattr", lines.number("wdeleg_getattr", 0));
    Ok(())
}
