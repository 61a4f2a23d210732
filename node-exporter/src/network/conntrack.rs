//! conntrack: entries of the connection table and what became of packets, summed over CPUs.

use crate::sheet::Sheet;
use crate::{CollectError, Options, Source};

/// Column of `/proc/net/stat/nf_conntrack`, name, help.
const COLUMNS: [(usize, &str, &str); 8] = [
    (
        2,
        "found",
        "Number of searched entries which were successful.",
    ),
    (
        4,
        "invalid",
        "Number of packets seen which can not be tracked.",
    ),
    (
        5,
        "ignore",
        "Number of packets seen which are already connected to a conntrack entry.",
    ),
    (8, "insert", "Number of entries inserted into the list."),
    (
        9,
        "insert_failed",
        "Number of entries for which list insertion was attempted but failed.",
    ),
    (
        10,
        "drop",
        "Number of packets dropped due to conntrack failure.",
    ),
    (
        11,
        "early_drop",
        "Number of dropped conntrack entries to make room for new ones, if maximum table size was reached.",
    ),
    (
        16,
        "search_restart",
        "Number of conntrack table lookups which had to be restarted due to hashtable resizes.",
    ),
];

pub(crate) fn collect(source: &Source, _: &Options, sheet: &mut Sheet) -> Result<(), CollectError> {
    let no_data = |fault: CollectError| fault.absent_is_no_data("conntrack is not loaded");
    let count = source.number("proc/sys/net/netfilter/nf_conntrack_count");
    sheet.gauge(
        "node_nf_conntrack_entries",
        "Number of currently allocated flow entries for connection tracking.",
        &[],
        count.map_err(no_data)?,
    );
    let max = source.number("proc/sys/net/netfilter/nf_conntrack_max");
    sheet.gauge(
        "node_nf_conntrack_entries_limit",
        "Maximum size of connection tracking table.",
        &[],
        max.map_err(no_data)?,
    );
    let text = source.read("proc/net/stat/nf_conntrack");
    parse(&text.map_err(no_data)?, sheet)
}

fn parse(text: &str, sheet: &mut Sheet) -> Result<(), CollectError> {
    let mut sums = [0_u64; COLUMNS.len()];
    for (index, line) in text.lines().enumerate().skip(1) {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        let fault = || {
            let expected = "16 or 17 hexadecimal numbers";
            CollectError::form("/proc/net/stat/nf_conntrack", index, expected)
        };
        if !(16..=17).contains(&words.len()) {
            return Err(fault());
        }
        for (sum, (column, ..)) in sums.iter_mut().zip(COLUMNS) {
            if let Some(word) = words.get(column) {
                let count = u64::from_str_radix(word, 16).map_err(|_| fault())?;
                *sum = sum.wrapping_add(count);
            }
        }
    }
    for (sum, (_, name, help)) in sums.into_iter().zip(COLUMNS) {
        let name = format!("node_nf_conntrack_stat_{name}");
        sheet.gauge(&name, help, &[], sum as f64);
    }
    Ok(())
}
