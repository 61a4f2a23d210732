//! ksmd: pages that the kernel merged, from `/sys/kernel/mm/ksm`.

use obs_model::metrics::MetricKind::{self, Counter, Gauge};

use crate::sheet::Sheet;
use crate::source::integer;
use crate::{CollectError, Options, Source};

/// File, name, type, help.
const FIELDS: [(&str, &str, MetricKind, &str); 10] = [
    (
        "full_scans",
        "full_scans_total",
        Counter,
        "How many times all mergeable areas have been scanned.",
    ),
    (
        "general_profit",
        "general_profit_bytes",
        Gauge,
        "How effective is KSM. ksm_saved_pages * sizeof(page) - (all_rmap_items) * sizeof(rmap_item)",
    ),
    (
        "merge_across_nodes",
        "merge_across_nodes",
        Gauge,
        "Specifies if pages from different NUMA nodes can be merged.",
    ),
    (
        "pages_shared",
        "pages_shared",
        Gauge,
        "How many shared pages are being used.",
    ),
    (
        "pages_sharing",
        "pages_sharing",
        Gauge,
        "How many more sites are sharing them i.e. how much saved.",
    ),
    (
        "pages_to_scan",
        "pages_to_scan",
        Gauge,
        "How many pages to scan before ksmd goes to sleep.",
    ),
    (
        "pages_unshared",
        "pages_unshared",
        Gauge,
        "How many pages unique but repeatedly checked for merging.",
    ),
    (
        "pages_volatile",
        "pages_volatile",
        Gauge,
        "How many pages changing too fast to be placed in a tree.",
    ),
    (
        "run",
        "run",
        Gauge,
        "The status of ksmd. stopped = 0, running = 1",
    ),
    (
        "sleep_millisecs",
        "sleep_seconds",
        Gauge,
        "How many seconds ksmd should sleep before next scan.",
    ),
];

pub(crate) fn collect(source: &Source, _: &Options, sheet: &mut Sheet) -> Result<(), CollectError> {
    for (file, name, kind, help) in FIELDS {
        let path = format!("sys/kernel/mm/ksm/{file}");
        let Some(text) = source.find(&path)? else {
            continue;
        };
        // The profit is negative where merging costs more than it saves.
        let value = integer(text.trim()).ok_or_else(|| source.form(&path, 0, "a number"))?;
        let unit = if file == "sleep_millisecs" {
            1000.0
        } else {
            1.0
        };
        let name = format!("node_ksmd_{name}");
        sheet.put(kind, &name, help, &[], value / unit);
    }
    Ok(())
}
