//! drm: graphics cards of AMD, from `/sys/class/drm`. Drivers of others do not tell these things.

use crate::sheet::Sheet;
use crate::{CollectError, Options, Source};

use super::hwmon::device_name;

const FOLDER: &str = "sys/class/drm";
const DRIVER: &str = "DRIVER=amdgpu";

/// Family, file and help.
const GAUGES: [(&str, &str, &str); 7] = [
    (
        "gpu_busy_percent",
        "gpu_busy_percent",
        "How busy the GPU is as a percentage.",
    ),
    (
        "memory_gtt_size_bytes",
        "mem_info_gtt_total",
        "The size of the graphics translation table (GTT) block in bytes.",
    ),
    (
        "memory_gtt_used_bytes",
        "mem_info_gtt_used",
        "The used amount of the graphics translation table (GTT) block in bytes.",
    ),
    (
        "memory_vram_size_bytes",
        "mem_info_vram_total",
        "The size of VRAM in bytes.",
    ),
    (
        "memory_vram_used_bytes",
        "mem_info_vram_used",
        "The used amount of VRAM in bytes.",
    ),
    (
        "memory_vis_vram_size_bytes",
        "mem_info_vis_vram_total",
        "The size of visible VRAM in bytes.",
    ),
    (
        "memory_vis_vram_used_bytes",
        "mem_info_vis_vram_used",
        "The used amount of visible VRAM in bytes.",
    ),
];

pub(crate) fn collect(source: &Source, _: &Options, sheet: &mut Sheet) -> Result<(), CollectError> {
    let entries = source.entries(FOLDER);
    for card in entries.map_err(|fault| fault.absent_is_no_data("no graphics"))? {
        let number = card.strip_prefix("card").unwrap_or_default();
        // `card0-DP-1` is a connector.
        if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
            continue;
        }
        let device = format!("{FOLDER}/{card}/device");
        let uevent = source.text(&format!("{device}/uevent")).unwrap_or_default();
        if uevent.lines().any(|line| line == DRIVER) {
            one(source, &card, &device, sheet);
        }
    }
    Ok(())
}

fn one(source: &Source, card: &str, device: &str, sheet: &mut Sheet) {
    let text = |file: &str| source.text(&format!("{device}/{file}")).unwrap_or_default();
    let (memory, level) = (
        text("mem_info_vram_vendor"),
        text("power_dpm_force_performance_level"),
    );
    let (id, chip) = (text("unique_id"), device_name(source, device));
    let labels = [
        ("card", card),
        ("memory_vendor", memory.as_str()),
        ("power_performance_level", &level),
        ("unique_id", &id),
        ("chip", chip.as_deref().unwrap_or_default()),
        ("vendor", "amd"),
    ];
    sheet.gauge("node_drm_card_info", "Card information", &labels, 1.0);
    for (family, file, help) in GAUGES {
        // An attribute that a card does not have is 0 to node_exporter.
        let value = source.maybe(&format!("{device}/{file}")).unwrap_or(0.0);
        sheet.gauge(
            &format!("node_drm_{family}"),
            help,
            &[("card", card)],
            value,
        );
    }
}
