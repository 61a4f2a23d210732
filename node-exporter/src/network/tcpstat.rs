//! tcpstat: TCP connections per state, from `/proc/net/{tcp,tcp6}`.

use std::collections::BTreeMap;

use crate::sheet::Sheet;
use crate::{CollectError, Options, Source};

/// The kernel's states, from 1 on.
const STATES: [&str; 11] = [
    "established",
    "syn_sent",
    "syn_recv",
    "fin_wait1",
    "fin_wait2",
    "time_wait",
    "close",
    "close_wait",
    "last_ack",
    "listen",
    "closing",
];

/// A line of `/proc/net/{tcp,udp}*`.
pub(super) struct Socket {
    pub(super) state: usize,
    /// Bytes.
    pub(super) sending: f64,
    /// Bytes.
    pub(super) receiving: f64,
}

pub(crate) fn collect(source: &Source, _: &Options, sheet: &mut Sheet) -> Result<(), CollectError> {
    let mut values: BTreeMap<&str, f64> = BTreeMap::new();
    let texts = [
        ("proc/net/tcp", Some(source.read("proc/net/tcp")?)),
        ("proc/net/tcp6", source.find("proc/net/tcp6")?),
    ];
    for (path, text) in &texts {
        for socket in sockets(path, text.as_deref().unwrap_or_default()) {
            let socket = socket?;
            let state = STATES.get(socket.state.wrapping_sub(1));
            *values.entry(state.unwrap_or(&"unknown")).or_default() += 1.0;
            *values.entry("rx_queued_bytes").or_default() += socket.receiving;
            *values.entry("tx_queued_bytes").or_default() += socket.sending;
        }
    }
    for (state, value) in values {
        sheet.gauge(
            "node_tcp_connection_states",
            "Number of connection states.",
            &[("state", state)],
            value,
        );
    }
    Ok(())
}

/// `  0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 …`
pub(super) fn sockets<'a>(
    path: &'a str,
    text: &'a str,
) -> impl Iterator<Item = Result<Socket, CollectError>> + 'a {
    text.lines().enumerate().skip(1).map(move |(index, line)| {
        let hex = |word: &str| u64::from_str_radix(word, 16).ok();
        let mut words = line.split_ascii_whitespace().skip(3);
        let state = words.next().and_then(hex);
        let queues = words.next().and_then(|word| word.split_once(':'));
        let queues = queues.and_then(|(sending, receiving)| hex(sending).zip(hex(receiving)));
        let expected = "addresses, a state and two queues";
        let (state, (sending, receiving)) = state
            .zip(queues)
            .ok_or_else(|| CollectError::form(path, index, expected))?;
        Ok(Socket {
            state: usize::try_from(state).unwrap_or_default(),
            sending: sending as f64,
            receiving: receiving as f64,
        })
    })
}
