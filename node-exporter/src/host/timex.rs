//! timex: how well the clock is kept, by `adjtimex(2)`.

use std::io::ErrorKind;

use obs_model::metrics::MetricKind::{self, Counter, Gauge};

use crate::sheet::{Sheet, flag};
use crate::{CollectError, Options, Source, system};

/// The state of a clock that is not synchronized.
const TIME_ERROR: i32 = 5;
/// Status bit: offsets are in nanoseconds.
const STA_NANO: i32 = 0x2000;
const MICROS: f64 = 1e6;
const NANOS: f64 = 1e9;
/// Frequencies are in parts per million with 16 bits of fraction.
const PPM: f64 = 1e6 * 65536.0;

pub(crate) fn collect(_: &Source, _: &Options, sheet: &mut Sheet) -> Result<(), CollectError> {
    let (state, timex) = system::adjtimex().map_err(|error| match error.kind() {
        ErrorKind::PermissionDenied => CollectError::NoData("adjtimex is not for us"),
        _ => CollectError::system("adjtimex", error),
    })?;
    write(state, &timex, sheet);
    Ok(())
}

/// What the kernel said, and the unit of its offsets in a second.
struct Now<'a> {
    state: i32,
    timex: &'a libc::timex,
    unit: f64,
}

/// Name after `node_timex_`, kind, help, value.
type Row = (&'static str, MetricKind, &'static str, fn(&Now<'_>) -> f64);

const ROWS: [Row; 17] = [
    (
        "sync_status",
        Gauge,
        "Is clock synchronized to a reliable server (1 = yes, 0 = no).",
        |now| flag(now.state != TIME_ERROR),
    ),
    (
        "offset_seconds",
        Gauge,
        "Time offset in between local system and reference clock.",
        |now| now.timex.offset as f64 / now.unit,
    ),
    (
        "frequency_adjustment_ratio",
        Gauge,
        "Local clock frequency adjustment.",
        |now| 1.0 + now.timex.freq as f64 / PPM,
    ),
    (
        "maxerror_seconds",
        Gauge,
        "Maximum error in seconds.",
        |now| now.timex.maxerror as f64 / MICROS,
    ),
    (
        "estimated_error_seconds",
        Gauge,
        "Estimated error in seconds.",
        |now| now.timex.esterror as f64 / MICROS,
    ),
    ("status", Gauge, "Value of the status array bits.", |now| {
        now.timex.status as f64
    }),
    (
        "loop_time_constant",
        Gauge,
        "Phase-locked loop time constant.",
        |now| now.timex.constant as f64,
    ),
    (
        "tick_seconds",
        Gauge,
        "Seconds between clock ticks.",
        |now| now.timex.tick as f64 / MICROS,
    ),
    (
        "pps_frequency_hertz",
        Gauge,
        "Pulse per second frequency.",
        |now| now.timex.ppsfreq as f64 / PPM,
    ),
    (
        "pps_jitter_seconds",
        Gauge,
        "Pulse per second jitter.",
        |now| now.timex.jitter as f64 / now.unit,
    ),
    (
        "pps_shift_seconds",
        Gauge,
        "Pulse per second interval duration.",
        |now| now.timex.shift as f64,
    ),
    (
        "pps_stability_hertz",
        Gauge,
        "Pulse per second stability, average of recent frequency changes.",
        |now| now.timex.stabil as f64 / PPM,
    ),
    (
        "pps_jitter_total",
        Counter,
        "Pulse per second count of jitter limit exceeded events.",
        |now| now.timex.jitcnt as f64,
    ),
    (
        "pps_calibration_total",
        Counter,
        "Pulse per second count of calibration intervals.",
        |now| now.timex.calcnt as f64,
    ),
    (
        "pps_error_total",
        Counter,
        "Pulse per second count of calibration errors.",
        |now| now.timex.errcnt as f64,
    ),
    (
        "pps_stability_exceeded_total",
        Counter,
        "Pulse per second count of stability limit exceeded events.",
        |now| now.timex.stbcnt as f64,
    ),
    (
        "tai_offset_seconds",
        Gauge,
        "International Atomic Time (TAI) offset.",
        |now| now.timex.tai as f64,
    ),
];

fn write(state: i32, timex: &libc::timex, sheet: &mut Sheet) {
    let is_nano = timex.status & STA_NANO != 0;
    let now = Now {
        state,
        timex,
        unit: if is_nano { NANOS } else { MICROS },
    };
    for (name, kind, help, value) in ROWS {
        let name = format!("node_timex_{name}");
        sheet.put(kind, &name, help, &[], value(&now));
    }
}
