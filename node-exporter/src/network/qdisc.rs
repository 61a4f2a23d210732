//! qdisc: queueing disciplines at the roots of devices, by netlink.

use obs_model::metrics::MetricKind::{Counter, Gauge};

use super::netlink;
use crate::sheet::Sheet;
use crate::{CollectError, Options, Source};

pub(crate) fn collect(
    _: &Source,
    options: &Options,
    sheet: &mut Sheet,
) -> Result<(), CollectError> {
    let links = netlink::links()?;
    for qdisc in netlink::qdiscs()? {
        let device = links.get(&qdisc.device).map_or("", String::as_str);
        if options.qdiscs.ignores(device) {
            continue;
        }
        let numbers = [
            ("bytes_total", Counter, "Number of bytes sent.", qdisc.bytes),
            (
                "packets_total",
                Counter,
                "Number of packets sent.",
                qdisc.packets.into(),
            ),
            (
                "drops_total",
                Counter,
                "Number of packets dropped.",
                qdisc.drops.into(),
            ),
            (
                "requeues_total",
                Counter,
                "Number of packets dequeued, not transmitted, and requeued.",
                qdisc.requeues.into(),
            ),
            (
                "overlimits_total",
                Counter,
                "Number of overlimit packets.",
                qdisc.overlimits.into(),
            ),
            (
                "current_queue_length",
                Gauge,
                "Number of packets currently in queue to be sent.",
                qdisc.length.into(),
            ),
            (
                "backlog",
                Gauge,
                "Number of bytes currently in queue to be sent.",
                qdisc.backlog.into(),
            ),
        ];
        for (name, kind, help, value) in numbers {
            let labels = [("device", device), ("kind", qdisc.kind.as_str())];
            sheet.put(
                kind,
                &format!("node_qdisc_{name}"),
                help,
                &labels,
                value as f64,
            );
        }
    }
    Ok(())
}
