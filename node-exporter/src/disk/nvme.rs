//! nvme: controllers and their namespaces, from `/sys/class/nvme`.

use crate::sheet::Sheet;
use crate::{CollectError, Options, Source};

const FOLDER: &str = "sys/class/nvme";

/// File and label.
const LABELS: [(&str, &str); 5] = [
    ("firmware_rev", "firmware_revision"),
    ("model", "model"),
    ("serial", "serial"),
    ("state", "state"),
    ("cntlid", "cntlid"),
];

pub(crate) fn collect(source: &Source, _: &Options, sheet: &mut Sheet) -> Result<(), CollectError> {
    let devices = source.entries(FOLDER);
    for device in devices.map_err(|fault| fault.absent_is_no_data("no NVMe"))? {
        let mut values = Vec::new();
        for (file, label) in LABELS {
            let text = source.read(&format!("{FOLDER}/{device}/{file}"))?;
            values.push((label, text.trim().to_owned()));
        }
        let mut labels: Vec<_> = values.iter().map(|(l, v)| (*l, v.as_str())).collect();
        labels.push(("device", device.as_str()));
        let help = "Non-numeric data from /sys/class/nvme/<device>, value is always 1.";
        sheet.gauge("node_nvme_info", help, &labels, 1.0);
        for entry in source.entries(&format!("{FOLDER}/{device}"))? {
            if let Some(id) = namespace(&entry) {
                one(source, &device, &entry, id, sheet)?;
            }
        }
    }
    Ok(())
}

/// `nvme0n2` is namespace 2; with multipath the kernel names it `nvme0c1n2`.
fn namespace(entry: &str) -> Option<&str> {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let (controller, id) = entry.strip_prefix("nvme")?.rsplit_once('n')?;
    let mut parts = controller.split('c');
    (parts.all(digits) && digits(id)).then_some(id)
}

fn one(
    source: &Source,
    device: &str,
    entry: &str,
    id: &str,
    sheet: &mut Sheet,
) -> Result<(), CollectError> {
    let folder = format!("{FOLDER}/{device}/{entry}");
    let state = source.text(&format!("{folder}/ana_state"));
    let labels = [
        ("device", device),
        ("nsid", id),
        ("ana_state", state.as_deref().unwrap_or("unknown")),
    ];
    let help = "Information about NVMe namespaces. Value is always 1";
    sheet.gauge("node_nvme_namespace_info", help, &labels, 1.0);
    let used = source.number(&format!("{folder}/nuse"))?;
    let size = source.number(&format!("{folder}/size"))?;
    let block = source.number(&format!("{folder}/queue/logical_block_size"))?;
    for (name, help, value) in [
        (
            "capacity_bytes",
            "Capacity of the NVMe namespace in bytes. Computed as namespace_size * namespace_logical_block_size",
            size * block,
        ),
        (
            "size_bytes",
            "Size of the NVMe namespace in bytes. Available in /sys/class/nvme/<device>/<namespace>/size",
            size * block,
        ),
        (
            "used_bytes",
            "Used space of the NVMe namespace in bytes. Available in /sys/class/nvme/<device>/<namespace>/nuse",
            used * block,
        ),
        (
            "logical_block_size_bytes",
            "Logical block size of the NVMe namespace in bytes. Usually 4Kb. Available in /sys/class/nvme/<device>/<namespace>/queue/logical_block_size",
            block,
        ),
    ] {
        sheet.gauge(
            &format!("node_nvme_namespace_{name}"),
            help,
            &labels[..2],
            value,
        );
    }
    Ok(())
}
