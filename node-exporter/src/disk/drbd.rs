//! drbd: replicated block devices of DRBD 8, from `/proc/drbd`.

use obs_model::metrics::MetricKind::{self, Counter, Gauge};

use crate::sheet::{Sheet, flag};
use crate::{CollectError, Options, Source};

const KIB: f64 = 1024.0;

/// Key, name, type, factor, help.
const NUMBERS: [(&str, &str, MetricKind, f64, &str); 12] = [
    (
        "ns",
        "network_sent_bytes_total",
        Counter,
        KIB,
        "Total number of bytes sent via the network.",
    ),
    (
        "nr",
        "network_received_bytes_total",
        Counter,
        1.0,
        "Total number of bytes received via the network.",
    ),
    (
        "dw",
        "disk_written_bytes_total",
        Counter,
        KIB,
        "Net data written on local hard disk; in bytes.",
    ),
    (
        "dr",
        "disk_read_bytes_total",
        Counter,
        KIB,
        "Net data read from local hard disk; in bytes.",
    ),
    (
        "al",
        "activitylog_writes_total",
        Counter,
        1.0,
        "Number of updates of the activity log area of the meta data.",
    ),
    (
        "bm",
        "bitmap_writes_total",
        Counter,
        1.0,
        "Number of updates of the bitmap area of the meta data.",
    ),
    (
        "lo",
        "local_pending",
        Gauge,
        1.0,
        "Number of open requests to the local I/O sub-system.",
    ),
    (
        "pe",
        "remote_pending",
        Gauge,
        1.0,
        "Number of requests sent to the peer, but that have not yet been answered by the latter.",
    ),
    (
        "ua",
        "remote_unacknowledged",
        Gauge,
        1.0,
        "Number of requests received by the peer via the network connection, but that have not yet been answered.",
    ),
    (
        "ap",
        "application_pending",
        Gauge,
        1.0,
        "Number of block I/O requests forwarded to DRBD, but not yet answered by DRBD.",
    ),
    (
        "ep",
        "epochs",
        Gauge,
        1.0,
        "Number of Epochs currently on the fly.",
    ),
    (
        "oos",
        "out_of_sync_bytes",
        Gauge,
        KIB,
        "Amount of data known to be out of sync; in bytes.",
    ),
];

/// Key, name, the good state, help.
const STATES: [(&str, &str, &str, &str); 2] = [
    (
        "ro",
        "node_role_is_primary",
        "Primary",
        "Whether the role of the node is in the primary state.",
    ),
    (
        "ds",
        "disk_state_is_up_to_date",
        "UpToDate",
        "Whether the disk of the node is up to date.",
    ),
];

pub(crate) fn collect(source: &Source, _: &Options, sheet: &mut Sheet) -> Result<(), CollectError> {
    let text = source.read("proc/drbd");
    parse(
        &text.map_err(|fault| fault.absent_is_no_data("no DRBD"))?,
        sheet,
    )
}

fn parse(text: &str, sheet: &mut Sheet) -> Result<(), CollectError> {
    let mut device = "unknown".to_owned();
    for (index, line) in text.lines().enumerate() {
        for word in line.split_ascii_whitespace() {
            let Some((key, value)) = word.split_once(':').filter(|(_, v)| !v.contains(':')) else {
                continue;
            };
            if let (Ok(number), "") = (key.parse::<u64>(), value) {
                device = format!("drbd{number}");
                continue;
            }
            let fault = || CollectError::form("/proc/drbd", index, "a number behind the key");
            let labels = [("device", device.as_str())];
            if let Some((_, name, kind, factor, help)) = NUMBERS.iter().find(|n| n.0 == key) {
                let value: f64 = value.parse().map_err(|_| fault())?;
                let name = format!("node_drbd_{name}");
                sheet.put(*kind, &name, help, &labels, value * factor);
            } else if let Some((_, name, good, help)) = STATES.iter().find(|s| s.0 == key) {
                let name = format!("node_drbd_{name}");
                for (node, state) in ["local", "remote"].into_iter().zip(value.split('/')) {
                    let labels = [labels[0], ("node", node)];
                    sheet.gauge(&name, help, &labels, flag(state == *good));
                }
            } else if key == "cs" {
                let help = "Whether DRBD is connected to the peer.";
                sheet.gauge(
                    "node_drbd_connected",
                    help,
                    &labels,
                    flag(value == "Connected"),
                );
            }
        }
    }
    Ok(())
}
