//! time: the clock, its zone and its source.

use crate::sheet::Sheet;
use crate::{CollectError, Options, Source, source};

const FOLDER: &str = "sys/devices/system/clocksource";

pub(crate) fn collect(source: &Source, _: &Options, sheet: &mut Sheet) -> Result<(), CollectError> {
    let now = source::now();
    sheet.gauge(
        "node_time_seconds",
        "System time in seconds since epoch (1970).",
        &[],
        now.as_secs_f64(),
    );
    let at = jiff::Timestamp::try_from(std::time::UNIX_EPOCH + now).unwrap_or_default();
    let zone = jiff::tz::TimeZone::system();
    let info = zone.to_offset_info(at);
    sheet.gauge(
        "node_time_zone_offset_seconds",
        "System time zone offset in seconds.",
        &[("time_zone", info.abbreviation())],
        f64::from(info.offset().seconds()),
    );
    for (index, number) in source.numbered(FOLDER, "clocksource").iter().enumerate() {
        let device = index.to_string();
        let read = |file: &str| source.read(&format!("{FOLDER}/clocksource{number}/{file}"));
        for clock in read("available_clocksource")?.split_ascii_whitespace() {
            sheet.gauge(
                "node_time_clocksource_available_info",
                "Available clocksources read from '/sys/devices/system/clocksource'.",
                &[("device", &device), ("clocksource", clock)],
                1.0,
            );
        }
        sheet.gauge(
            "node_time_clocksource_current_info",
            "Current clocksource read from '/sys/devices/system/clocksource'.",
            &[
                ("device", &device),
                ("clocksource", read("current_clocksource")?.trim()),
            ],
            1.0,
        );
    }
    Ok(())
}
