//! thermal_zone: temperatures and cooling devices, from `/sys/class/thermal`.

use crate::sheet::Sheet;
use crate::{CollectError, Options, Source};

const FOLDER: &str = "sys/class/thermal";
const MILLI: f64 = 1000.0;

pub(crate) fn collect(source: &Source, _: &Options, sheet: &mut Sheet) -> Result<(), CollectError> {
    for zone in source.numbered(FOLDER, "thermal_zone") {
        let folder = format!("{FOLDER}/thermal_zone{zone}");
        let kind = source.text(&format!("{folder}/type")).unwrap_or_default();
        // A zone that is off refuses to be read, and counts as 0 as in node_exporter.
        let millidegrees = source.maybe(&format!("{folder}/temp")).unwrap_or_default();
        sheet.gauge(
            "node_thermal_zone_temp",
            "Zone temperature in Celsius",
            &[("zone", &zone), ("type", &kind)],
            millidegrees / MILLI,
        );
    }
    for device in source.numbered(FOLDER, "cooling_device") {
        let folder = format!("{FOLDER}/cooling_device{device}");
        let kind = source.text(&format!("{folder}/type"));
        let current = source.maybe(&format!("{folder}/cur_state"));
        let max = source.maybe(&format!("{folder}/max_state"));
        let (Some(kind), Some(current), Some(max)) = (kind, current, max) else {
            continue;
        };
        let labels = [("name", device.as_str()), ("type", kind.as_str())];
        sheet.gauge(
            "node_cooling_device_cur_state",
            "Current throttle state of the cooling device",
            &labels,
            current,
        );
        sheet.gauge(
            "node_cooling_device_max_state",
            "Maximum throttle state of the cooling device",
            &labels,
            max,
        );
    }
    Ok(())
}
