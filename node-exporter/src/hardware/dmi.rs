//! dmi: what the firmware says of the machine, from `/sys/class/dmi/id`.

use crate::sheet::Sheet;
use crate::{CollectError, Options, Source};

const FOLDER: &str = "sys/class/dmi/id";

/// Files that are labels of the same name.
const FILES: [&str; 19] = [
    "bios_date",
    "bios_release",
    "bios_vendor",
    "bios_version",
    "board_asset_tag",
    "board_name",
    "board_serial",
    "board_vendor",
    "board_version",
    "chassis_asset_tag",
    "chassis_serial",
    "chassis_vendor",
    "chassis_version",
    "product_family",
    "product_name",
    "product_serial",
    "product_sku",
    "product_uuid",
    "product_version",
];

pub(crate) fn collect(source: &Source, _: &Options, sheet: &mut Sheet) -> Result<(), CollectError> {
    let no_data = || CollectError::NoData("no DMI");
    let found = source.entries(FOLDER).map_err(|_| no_data())?;
    // Serial numbers are for root only.
    let text = |file: &str| source.text(&format!("{FOLDER}/{file}")).unwrap_or_default();
    let mut values: Vec<(&str, String)> = FILES.iter().map(|file| (*file, text(file))).collect();
    values.push(("system_vendor", text("sys_vendor")));
    let known = |name: &String| FILES.contains(&name.as_str()) || name == "sys_vendor";
    if !found.iter().any(known) {
        return Err(no_data());
    }
    let labels: Vec<_> = values.iter().map(|(l, v)| (*l, v.as_str())).collect();
    sheet.gauge(
        "node_dmi_info",
        "A metric with a constant '1' value labeled by bios_date, bios_release, bios_vendor, \
         bios_version, board_asset_tag, board_name, board_serial, board_vendor, board_version, \
         chassis_asset_tag, chassis_serial, chassis_vendor, chassis_version, product_family, \
         product_name, product_serial, product_sku, product_uuid, product_version, system_vendor \
         if provided by DMI.",
        &labels,
        1.0,
    );
    Ok(())
}
