//! zoneinfo: pages per memory zone, from `/proc/zoneinfo`.

use obs_model::metrics::MetricKind::{self, Counter, Gauge};

use crate::sheet::Sheet;
use crate::{CollectError, Options, Source};

/// Key in the file, name, type, help.
const FIELDS: [(&str, &str, MetricKind, &str); 34] = [
    (
        "nr_free_pages",
        "nr_free_pages",
        Gauge,
        "Total number of free pages in the zone",
    ),
    ("min", "min_pages", Gauge, "Zone watermark pages_min"),
    ("low", "low_pages", Gauge, "Zone watermark pages_low"),
    ("high", "high_pages", Gauge, "Zone watermark pages_high"),
    (
        "scanned",
        "scanned_pages",
        Gauge,
        "Pages scanned since last reclaim",
    ),
    (
        "spanned",
        "spanned_pages",
        Gauge,
        "Total pages spanned by the zone, including holes",
    ),
    (
        "present",
        "present_pages",
        Gauge,
        "Physical pages existing within the zone",
    ),
    (
        "managed",
        "managed_pages",
        Gauge,
        "Present pages managed by the buddy system",
    ),
    (
        "nr_active_anon",
        "nr_active_anon_pages",
        Gauge,
        "Number of anonymous pages recently more used",
    ),
    (
        "nr_inactive_anon",
        "nr_inactive_anon_pages",
        Gauge,
        "Number of anonymous pages recently less used",
    ),
    (
        "nr_isolated_anon",
        "nr_isolated_anon_pages",
        Gauge,
        "Temporary isolated pages from anon lru",
    ),
    (
        "nr_anon_pages",
        "nr_anon_pages",
        Gauge,
        "Number of anonymous pages currently used by the system",
    ),
    (
        "nr_anon_transparent_hugepages",
        "nr_anon_transparent_hugepages",
        Gauge,
        "Number of anonymous transparent huge pages currently used by the system",
    ),
    (
        "nr_active_file",
        "nr_active_file_pages",
        Gauge,
        "Number of active pages with file-backing",
    ),
    (
        "nr_inactive_file",
        "nr_inactive_file_pages",
        Gauge,
        "Number of inactive pages with file-backing",
    ),
    (
        "nr_isolated_file",
        "nr_isolated_file_pages",
        Gauge,
        "Temporary isolated pages from file lru",
    ),
    (
        "nr_file_pages",
        "nr_file_pages",
        Gauge,
        "Number of file pages",
    ),
    (
        "nr_slab_reclaimable",
        "nr_slab_reclaimable_pages",
        Gauge,
        "Number of reclaimable slab pages",
    ),
    (
        "nr_slab_unreclaimable",
        "nr_slab_unreclaimable_pages",
        Gauge,
        "Number of unreclaimable slab pages",
    ),
    (
        "nr_mlock_stack",
        "nr_mlock_stack_pages",
        Gauge,
        "mlock()ed pages found and moved off LRU",
    ),
    (
        "nr_kernel_stack",
        "nr_kernel_stacks",
        Gauge,
        "Number of kernel stacks",
    ),
    (
        "nr_mapped",
        "nr_mapped_pages",
        Gauge,
        "Number of mapped pages",
    ),
    ("nr_dirty", "nr_dirty_pages", Gauge, "Number of dirty pages"),
    (
        "nr_writeback",
        "nr_writeback_pages",
        Gauge,
        "Number of writeback pages",
    ),
    (
        "nr_unevictable",
        "nr_unevictable_pages",
        Gauge,
        "Number of unevictable pages",
    ),
    (
        "nr_shmem",
        "nr_shmem_pages",
        Gauge,
        "Number of shmem pages (included tmpfs/GEM pages)",
    ),
    (
        "nr_dirtied",
        "nr_dirtied_total",
        Counter,
        "Page dirtyings since bootup",
    ),
    (
        "nr_written",
        "nr_written_total",
        Counter,
        "Page writings since bootup",
    ),
    (
        "numa_hit",
        "numa_hit_total",
        Counter,
        "Allocated in intended node",
    ),
    (
        "numa_miss",
        "numa_miss_total",
        Counter,
        "Allocated in non intended node",
    ),
    (
        "numa_foreign",
        "numa_foreign_total",
        Counter,
        "Was intended here, hit elsewhere",
    ),
    (
        "numa_interleave",
        "numa_interleave_total",
        Counter,
        "Interleaver preferred this zone",
    ),
    (
        "numa_local",
        "numa_local_total",
        Counter,
        "Allocation from local node",
    ),
    (
        "numa_other",
        "numa_other_total",
        Counter,
        "Allocation from other node",
    ),
];

pub(crate) fn collect(source: &Source, _: &Options, sheet: &mut Sheet) -> Result<(), CollectError> {
    parse(&source.read("proc/zoneinfo")?, sheet)
}

fn parse(text: &str, sheet: &mut Sheet) -> Result<(), CollectError> {
    let mut place: Option<(&str, &str)> = None;
    for (index, line) in text.lines().enumerate() {
        let fault = || CollectError::form("/proc/zoneinfo", index, "Node 0, zone Normal");
        if let Some(rest) = line.strip_prefix("Node ") {
            let (node, zone) = rest.split_once(", zone").ok_or_else(fault)?;
            place = Some((node.trim(), zone.trim()));
            continue;
        }
        let mut words = line.split_ascii_whitespace();
        let (Some(key), Some(first)) = (words.next(), words.next()) else {
            continue;
        };
        let (node, zone) = place.ok_or_else(fault)?;
        let labels = [("node", node), ("zone", zone)];
        if key == "protection:" {
            let (_, list) = line.split_once(':').unwrap_or_default();
            let list = list.trim().trim_matches(|c| c == '(' || c == ')');
            for (at, value) in list.split(',').enumerate() {
                if let Ok(value) = value.trim().parse::<i64>() {
                    let name = format!("node_zoneinfo_protection_{at}");
                    let help = format!("Protection array {at}. field");
                    sheet.gauge(&name, &help, &labels, value as f64);
                }
            }
            continue;
        }
        let field = FIELDS.iter().find(|(known, ..)| *known == key);
        if let (Some((_, name, kind, help)), Ok(value)) = (field, first.parse::<i64>()) {
            let name = format!("node_zoneinfo_{name}");
            sheet.put(*kind, &name, help, &labels, value as f64);
        }
    }
    Ok(())
}
