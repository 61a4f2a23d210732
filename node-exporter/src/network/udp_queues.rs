//! udp_queues: bytes that wait in UDP sockets, from `/proc/net/{udp,udp6}`.

use super::tcpstat::sockets;
use crate::sheet::Sheet;
use crate::{CollectError, Options, Source};

pub(crate) fn collect(source: &Source, _: &Options, sheet: &mut Sheet) -> Result<(), CollectError> {
    let mut found = false;
    for (file, ip) in [("udp", "v4"), ("udp6", "v6")] {
        let path = format!("proc/net/{file}");
        let Some(text) = source.find(&path)? else {
            continue;
        };
        found = true;
        let (mut sent, mut received) = (0.0, 0.0);
        for socket in sockets(&path, &text) {
            let socket = socket?;
            sent += socket.sending;
            received += socket.receiving;
        }
        for (queue, bytes) in [("tx", sent), ("rx", received)] {
            sheet.gauge(
                "node_udp_queues",
                "Number of allocated memory in the kernel for UDP datagrams in bytes.",
                &[("queue", queue), ("ip", ip)],
                bytes,
            );
        }
    }
    if found {
        Ok(())
    } else {
        Err(CollectError::NoData("no /proc/net/udp"))
    }
}
