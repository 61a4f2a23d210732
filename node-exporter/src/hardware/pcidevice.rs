//! pcidevice: devices on the PCI bus, from `/sys/bus/pci/devices`.

use super::pci_names::Names;
use crate::sheet::{Sheet, flag};
use crate::{CollectError, Options, Source};

const FOLDER: &str = "sys/bus/pci/devices";
/// Where Debian and Red Hat keep the names.
const NAMES: [&str; 2] = [
    "file//usr/share/misc/pci.ids",
    "file//usr/share/hwdata/pci.ids",
];
const POWER_STATES: [&str; 7] = ["D0", "D1", "D2", "D3hot", "D3cold", "unknown", "error"];
const GIGA: f64 = 1e9;

/// File, name, help; 0 where the file is absent, as in node_exporter.
const NUMBERS: [(&str, &str); 5] = [
    (
        "d3cold_allowed",
        "Whether the PCIe device supports D3cold power state (0/1).",
    ),
    (
        "sriov_drivers_autoprobe",
        "Whether SR-IOV drivers autoprobe is enabled for the device (0/1).",
    ),
    (
        "sriov_numvfs",
        "Number of Virtual Functions (VFs) currently enabled for SR-IOV.",
    ),
    (
        "sriov_totalvfs",
        "Total number of Virtual Functions (VFs) supported by the device.",
    ),
    (
        "sriov_vf_total_msix",
        "Total number of MSI-X vectors for Virtual Functions.",
    ),
];
/// File, name, help, and whether it is a speed. -1 where it is not known.
const LINKS: [(&str, &str, &str, bool); 4] = [
    (
        "max_link_speed",
        "max_link_transfers_per_second",
        "Value of maximum link's transfers per second (T/s)",
        true,
    ),
    (
        "max_link_width",
        "max_link_width",
        "Value of maximum link's width (number of lanes)",
        false,
    ),
    (
        "current_link_speed",
        "current_link_transfers_per_second",
        "Value of current link's transfers per second (T/s)",
        true,
    ),
    (
        "current_link_width",
        "current_link_width",
        "Value of current link's width (number of lanes)",
        false,
    ),
];

/// Segment, bus, device and function, in hexadecimal.
type Place = [String; 4];

pub(crate) fn collect(
    source: &Source,
    options: &Options,
    sheet: &mut Sheet,
) -> Result<(), CollectError> {
    let devices = source.entries(FOLDER);
    let devices = devices.map_err(|fault| fault.absent_is_no_data("no PCI"))?;
    let names = options.pci_names.then(|| names(source, options));
    for device in devices {
        one(source, &device, names.as_ref(), sheet)?;
    }
    Ok(())
}

fn names(source: &Source, options: &Options) -> Names {
    let own = format!("file/{}", options.pci_ids_file);
    let paths = if options.pci_ids_file.is_empty() {
        NAMES.to_vec()
    } else {
        vec![own.as_str()]
    };
    let text = paths.iter().find_map(|path| source.read(path).ok());
    Names::parse(&text.unwrap_or_default())
}

fn place(text: &str) -> Option<Place> {
    let (segment, rest) = text.split_once(':')?;
    let (bus, rest) = rest.split_once(':')?;
    let (device, function) = rest.split_once('.')?;
    let number = |text: &str| u32::from_str_radix(text, 16).ok();
    Some([
        format!("{:04x}", number(segment)?),
        format!("{:02x}", number(bus)?),
        format!("{:02x}", number(device)?),
        format!("{:x}", number(function)?),
    ])
}

fn one(
    source: &Source,
    device: &str,
    names: Option<&Names>,
    sheet: &mut Sheet,
) -> Result<(), CollectError> {
    let folder = format!("{FOLDER}/{device}");
    let fault = |expected| source.form(&folder, 0, expected);
    let here = place(device).ok_or_else(|| fault("segment:bus:device.function"))?;
    let labels = ["segment", "bus", "device", "function"];
    let labels: Vec<_> = labels
        .into_iter()
        .zip(here.iter().map(String::as_str))
        .collect();
    info(source, &folder, &labels, names, sheet)?;
    let text = |file: &str| source.text(&format!("{folder}/{file}"));
    for (file, name, help, is_speed) in LINKS {
        // `8.0 GT/s PCIe`, `4`, or `Unknown`
        let value = text(file).and_then(|text| text.split(' ').next()?.parse::<f64>().ok());
        let value = value.map_or(-1.0, |value| if is_speed { value * GIGA } else { value });
        sheet.gauge(&format!("node_pcidevice_{name}"), help, &labels, value);
    }
    for (file, help) in NUMBERS {
        let value = text(file).and_then(|text| text.parse::<u64>().ok());
        let value = value.unwrap_or_default() as f64;
        sheet.gauge(&format!("node_pcidevice_{file}"), help, &labels, value);
    }
    if let Some(state) = text("power_state").filter(|state| !state.is_empty()) {
        for known in POWER_STATES {
            let mut labels = labels.clone();
            labels.push(("state", known));
            sheet.gauge(
                "node_pcidevice_power_state",
                "PCIe device power state, one of: D0, D1, D2, D3hot, D3cold, unknown or error.",
                &labels,
                flag(known == state),
            );
        }
    }
    let numa = text("numa_node").and_then(|text| text.parse::<u32>().ok());
    if let Some(numa) = numa {
        let help = "NUMA node number for the PCI device. -1 indicates unknown or not available.";
        sheet.gauge("node_pcidevice_numa_node", help, &labels, f64::from(numa));
    }
    Ok(())
}

fn info(
    source: &Source,
    folder: &str,
    labels: &[(&str, &str)],
    names: Option<&Names>,
    sheet: &mut Sheet,
) -> Result<(), CollectError> {
    let number = |file: &str, digits: usize| {
        let path = format!("{folder}/{file}");
        let text = source.read(&path)?;
        let hex = text.trim().trim_start_matches("0x");
        let number = u32::from_str_radix(hex, 16);
        let number = number.map_err(|_| source.form(&path, 0, "a hexadecimal number"))?;
        Ok::<_, CollectError>(format!("{number:0digits$x}"))
    };
    let (vendor, device) = (number("vendor", 4)?, number("device", 4)?);
    let sub = (
        number("subsystem_vendor", 4)?,
        number("subsystem_device", 4)?,
    );
    let class = number("class", 6)?;
    let prefixed = [
        ("class_id", format!("0x{class}")),
        ("vendor_id", format!("0x{vendor}")),
        ("device_id", format!("0x{device}")),
        ("subsystem_vendor_id", format!("0x{}", sub.0)),
        ("subsystem_device_id", format!("0x{}", sub.1)),
        ("revision", format!("0x{}", number("revision", 2)?)),
    ];
    // The parent is the folder that the device's folder lies in; that of a root bus is no device.
    let parent = source.real(folder);
    let parent = parent
        .as_deref()
        .and_then(|real| place(real.rsplit('/').nth(1)?));
    let parent = parent.unwrap_or(["*"; 4].map(str::to_owned));
    let parents = [
        "parent_segment",
        "parent_bus",
        "parent_device",
        "parent_function",
    ];
    let mut all = labels.to_vec();
    all.extend(
        prefixed
            .iter()
            .map(|(label, value)| (*label, value.as_str())),
    );
    all.extend(parents.into_iter().zip(parent.iter().map(String::as_str)));
    let named = names.map(|names| {
        let subsystem = names.subsystem(&vendor, &device, (&sub.0, &sub.1));
        [
            ("vendor_name", names.vendor(&vendor)),
            ("device_name", names.device(&vendor, &device)),
            ("subsystem_vendor_name", names.vendor(&sub.0)),
            ("subsystem_device_name", subsystem),
            ("class_name", names.class(&class)),
        ]
    });
    let named = named.iter().flatten();
    all.extend(named.map(|(label, value)| (*label, value.as_str())));
    let help = "Non-numeric data from /sys/bus/pci/devices/<location>, value is always 1.";
    sheet.gauge("node_pcidevice_info", help, &all, 1.0);
    Ok(())
}
