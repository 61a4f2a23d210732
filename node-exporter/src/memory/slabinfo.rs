//! slabinfo: the kernel's object caches, from `/proc/slabinfo`, which only root may read.

use crate::sheet::Sheet;
use crate::{CollectError, Options, Source};

/// Name and help, in the order of the columns behind the slab's name.
const COLUMNS: [(&str, &str); 5] = [
    (
        "active_objects",
        "The number of objects that are currently active (i.e., in use).",
    ),
    (
        "objects",
        "The total number of allocated objects (i.e., objects that are both in use and not in use).",
    ),
    (
        "object_size_bytes",
        "The size of objects in this slab, in bytes.",
    ),
    (
        "objects_per_slab",
        "The number of objects stored in each slab.",
    ),
    (
        "pages_per_slab",
        "The number of pages allocated for each slab.",
    ),
];

pub(crate) fn collect(
    source: &Source,
    options: &Options,
    sheet: &mut Sheet,
) -> Result<(), CollectError> {
    parse(&source.read("proc/slabinfo")?, options, sheet)
}

fn parse(text: &str, options: &Options, sheet: &mut Sheet) -> Result<(), CollectError> {
    for (index, line) in text.lines().enumerate() {
        if line.starts_with("slabinfo -") || line.starts_with("# name") {
            continue;
        }
        let fault = || CollectError::form("/proc/slabinfo", index, "a slab and five numbers");
        let mut words = line.split_ascii_whitespace();
        let slab = words.next().ok_or_else(fault)?;
        if options.slabs.ignores(slab) {
            continue;
        }
        for (name, help) in COLUMNS {
            let value = words.next().and_then(|word| word.parse::<u64>().ok());
            let value = value.ok_or_else(fault)? as f64;
            let name = format!("node_slabinfo_{name}");
            sheet.gauge(&name, help, &[("slab", slab)], value);
        }
    }
    Ok(())
}
