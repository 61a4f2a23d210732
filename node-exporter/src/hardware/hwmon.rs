//! hwmon: sensors of chips, from `/sys/class/hwmon`.
//!
//! A file `temp1_input` is the property `input` of the sensor `temp1`. Chips are named by the
//! device that they sit on, because the numbers of `hwmonN` depend on the order of loading.

use std::collections::BTreeMap;

use crate::sheet::{Sheet, flag};
use crate::{CollectError, Options, Source};

const FOLDER: &str = "sys/class/hwmon";
const MILLI: f64 = 0.001;
const MICRO: f64 = 1e6;

const KINDS: [&str; 14] = [
    "vrm",
    "beep_enable",
    "update_interval",
    "in",
    "cpu",
    "fan",
    "pwm",
    "temp",
    "curr",
    "power",
    "energy",
    "humidity",
    "intrusion",
    "freq",
];

/// Properties of a sensor.
type Sensor = BTreeMap<String, String>;

struct Chip {
    folder: String,
    /// Last part of the folder.
    entry: String,
    name: String,
    /// Content of its file `name`.
    label: String,
}

pub(crate) fn collect(
    source: &Source,
    options: &Options,
    sheet: &mut Sheet,
) -> Result<(), CollectError> {
    let entries = source.entries(FOLDER);
    let entries = entries.map_err(|fault| fault.absent_is_no_data("no hwmon"))?;
    let mut chips: Vec<Chip> = Vec::new();
    for entry in entries {
        let folder = format!("{FOLDER}/{entry}");
        if source.is_folder(&folder)
            && let Some(name) = name(source, &folder, &entry)
        {
            let label = source.text(&format!("{folder}/name")).unwrap_or_default();
            chips.push(Chip {
                folder,
                entry,
                name,
                label,
            });
        }
    }
    for chip in &chips {
        let name = unique(chip, &chips);
        if options.hwmon_chips.ignores(&name) {
            continue;
        }
        let label = cleaned(&chip.label);
        if !label.is_empty() {
            sheet.gauge(
                "node_hwmon_chip_names",
                "Annotation metric for human-readable chip names",
                &[("chip", &name), ("chip_name", &label)],
                1.0,
            );
        }
        for (sensor, properties) in sensors(source, &chip.folder) {
            if !options.hwmon_sensors.ignores(&format!("{name};{sensor}")) {
                write(&name, &sensor, &properties, sheet);
            }
        }
    }
    Ok(())
}

/// Two chips may sit on one device.
fn unique(chip: &Chip, chips: &[Chip]) -> String {
    let same_name = || chips.iter().filter(|other| other.name == chip.name);
    if same_name().count() < 2 {
        return chip.name.clone();
    }
    let same_label = same_name().filter(|other| other.label == chip.label);
    let label = cleaned(&chip.label);
    if label.is_empty() || same_label.count() > 1 {
        return format!("{}_{}", chip.name, cleaned(&chip.entry));
    }
    format!("{}_{label}", chip.name)
}

/// How the device behind a link is called: its place, and what it is plugged into.
pub(super) fn device_name(source: &Source, link: &str) -> Option<String> {
    let device = source.real(link)?;
    let mut parts = device.rsplit('/');
    let device = cleaned(parts.next().unwrap_or_default());
    let kind = cleaned(parts.next().unwrap_or_default());
    (!device.is_empty()).then(|| match kind.as_str() {
        "" => device,
        kind => format!("{kind}_{device}"),
    })
}

fn name(source: &Source, folder: &str, entry: &str) -> Option<String> {
    if let Some(name) = device_name(source, &format!("{folder}/device")) {
        return Some(name);
    }
    let label = source.text(&format!("{folder}/name")).unwrap_or_default();
    let found = [cleaned(&label), cleaned(entry)];
    found.into_iter().find(|name| !name.is_empty())
}

/// Lower-case letters, digits, colons and underscores.
fn cleaned(name: &str) -> String {
    let name = name.to_lowercase().replace(
        |c: char| !(c.is_ascii_lowercase() || c.is_ascii_digit() || c == ':' || c == '_'),
        "_",
    );
    name.trim_matches('_').to_owned()
}

/// Kind, number and property of a file's name.
fn split(file: &str) -> Option<(&str, u32, &str)> {
    let digits = file.find(|c: char| c.is_ascii_digit());
    // Without a number the whole name is a kind: `update_interval`, `beep_enable`, or `vrm`.
    let Some(digits) = digits else {
        return KINDS.contains(&file).then_some((file, 0, ""));
    };
    let (kind, rest) = file.split_at(digits);
    let end = rest
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(rest.len());
    let (number, rest) = rest.split_at(end);
    let property = match rest {
        "" => "",
        rest => rest
            .strip_prefix('_')
            .filter(|property| !property.is_empty())?,
    };
    Some((kind, number.parse().ok()?, property))
}

/// Sensors of a chip; drivers of old put them beside the link to the device.
fn sensors(source: &Source, folder: &str) -> BTreeMap<String, Sensor> {
    let mut all: BTreeMap<String, Sensor> = BTreeMap::new();
    for folder in [folder.to_owned(), format!("{folder}/device")] {
        for file in source.entries(&folder).unwrap_or_default() {
            let Some((kind, number, property)) = split(&file) else {
                continue;
            };
            if !KINDS.contains(&kind) {
                continue;
            }
            if let Ok(text) = source.read(&format!("{folder}/{file}")) {
                let sensor = all.entry(format!("{kind}{number}")).or_default();
                let text = text.trim_matches('\n').to_owned();
                sensor.insert(property.to_owned(), text);
            }
        }
    }
    all
}

fn write(chip: &str, sensor: &str, properties: &Sensor, sheet: &mut Sheet) {
    let labels = [("chip", chip), ("sensor", sensor)];
    let property = |name: &str| properties.get(name).map(String::as_str);
    if let Some(label) = property("label") {
        let labels = [labels[0], labels[1], ("label", label)];
        let help = "Label for given chip and sensor";
        sheet.gauge("node_hwmon_sensor_label", help, &labels, 1.0);
    }
    let kind = sensor.trim_end_matches(|c: char| c.is_ascii_digit());
    let whole = property("").unwrap_or_default();
    match kind {
        "beep_enable" => {
            let help = "Hardware beep enabled";
            sheet.gauge("node_hwmon_beep_enabled", help, &labels, flag(whole == "1"));
        }
        "vrm" => {
            if let Ok(version) = whole.parse() {
                let name = "node_hwmon_voltage_regulator_version";
                sheet.gauge(name, "Hardware voltage regulator", &labels, version);
            }
        }
        "update_interval" => {
            if let Ok(millis) = whole.parse::<f64>() {
                let name = "node_hwmon_update_interval_seconds";
                let help = "Hardware monitor update interval";
                sheet.gauge(name, help, &labels, millis * MILLI);
            }
        }
        kind => {
            for (element, text) in properties.iter().filter(|(name, _)| *name != "label") {
                if let Ok(value) = text.trim().parse() {
                    element_of(kind, element, value, properties, &labels, sheet);
                }
            }
        }
    }
}

fn element_of(
    kind: &str,
    element: &str,
    value: f64,
    properties: &Sensor,
    labels: &[(&str, &str); 2],
    sheet: &mut Sheet,
) {
    let name = match element {
        "" => format!("node_hwmon_{kind}"),
        // `input` is the value itself, but where there is a file without a property too.
        "input" if !properties.contains_key("") => format!("node_hwmon_{kind}"),
        "input" => format!("node_hwmon_{kind}_input"),
        element => format!("node_hwmon_{kind}_{}", cleaned(element)),
    };
    let mut gauge = |unit: &str, help: &str, value: f64| {
        let help = format!("Hardware monitor {help} ({element})");
        sheet.gauge(&format!("{name}{unit}"), &help, labels, value);
    };
    match (kind, element) {
        (_, "fault" | "alarm") => gauge("", "sensor status", value),
        (_, "beep") => gauge("_enabled", "sensor has beeping enabled", value),
        ("in" | "cpu", _) => gauge("_volts", "for voltage", value * MILLI),
        ("temp", "type") => gauge("", "temp element", value),
        ("temp", _) => gauge("_celsius", "for temperature", value * MILLI),
        ("curr", _) => gauge("_amps", "for current", value * MILLI),
        ("energy", _) => {
            let help = format!("Hardware monitor for joules used so far ({element})");
            sheet.counter(&format!("{name}_joule_total"), &help, labels, value / MICRO);
        }
        ("power", "accuracy") => gauge("", "power meter accuracy, as a ratio", value / MICRO),
        ("power", "average_interval" | "average_interval_min" | "average_interval_max") => {
            gauge("_seconds", "power usage update interval", value * MILLI);
        }
        ("power", _) => gauge("_watt", "for power usage in watts", value / MICRO),
        ("humidity", _) => gauge("", "for humidity, as a ratio", value / MICRO),
        ("fan", "input" | "min" | "max" | "target") => {
            gauge("_rpm", "for fan revolutions per minute", value);
        }
        ("freq", "input") => {
            // Only a frequency that has a label is told, and the label is its sensor.
            if let Some(label) = properties.get("label") {
                let labels = [labels[0], ("sensor", &*cleaned(label))];
                let help = "Hardware monitor for GPU frequency in MHz";
                sheet.gauge(&format!("{name}_freq_mhz"), help, &labels, value / MICRO);
            }
        }
        (_, _) => gauge("", "element", value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_files() {
        for (file, expect) in [
            ("temp1_input", Some(("temp", 1, "input"))),
            ("in10_max_alarm", Some(("in", 10, "max_alarm"))),
            ("pwm1", Some(("pwm", 1, ""))),
            (
                "pwm1_auto_point1_temp",
                Some(("pwm", 1, "auto_point1_temp")),
            ),
            ("update_interval", Some(("update_interval", 0, ""))),
            ("name", None),
            ("temp1x", None),
            ("temp99999999999_input", None),
        ] {
            assert_eq!(split(file), expect, "{file}");
        }
    }
}
