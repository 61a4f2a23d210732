//! time: the clock, its zone and its source.

use obs_model::family::Family;
use obs_model::metrics::MetricKind;

use crate::{CollectError, Options, Source, labels, source};

pub(crate) fn collect(source: &Source, _: &Options) -> Result<Vec<Family>, CollectError> {
    let now = source::now();
    let mut zone_offset = Family::new(
        "node_time_zone_offset_seconds",
        MetricKind::Gauge,
        "System time zone offset in seconds.",
    );
    let at = jiff::Timestamp::try_from(std::time::UNIX_EPOCH + now).unwrap_or_default();
    let zone = jiff::tz::TimeZone::system();
    let info = zone.to_offset_info(at);
    zone_offset.push(
        labels([("time_zone", info.abbreviation())]),
        f64::from(info.offset().seconds()),
    );
    let mut all = vec![
        Family::new(
            "node_time_seconds",
            MetricKind::Gauge,
            "System time in seconds since epoch (1970).",
        )
        .with(now.as_secs_f64()),
        zone_offset,
    ];
    all.extend(clock_sources(source));
    Ok(all)
}

fn clock_sources(source: &Source) -> [Family; 2] {
    let mut available = Family::new(
        "node_time_clocksource_available_info",
        MetricKind::Gauge,
        "Available clocksources read from '/sys/devices/system/clocksource'.",
    );
    let mut current = Family::new(
        "node_time_clocksource_current_info",
        MetricKind::Gauge,
        "Current clocksource read from '/sys/devices/system/clocksource'.",
    );
    let folder = "devices/system/clocksource";
    for name in source.sys_entries(folder) {
        let Some(device) = name.strip_prefix("clocksource") else {
            continue;
        };
        let read = |file: &str| {
            source
                .sys(&format!("{folder}/{name}/{file}"))
                .unwrap_or_default()
        };
        for clock in read("available_clocksource").split_ascii_whitespace() {
            available.push(labels([("device", device), ("clocksource", clock)]), 1.0);
        }
        for clock in read("current_clocksource").split_ascii_whitespace() {
            current.push(labels([("device", device), ("clocksource", clock)]), 1.0);
        }
    }
    [available, current]
}
