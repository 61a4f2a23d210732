//! Numbers for people, in Prometheus' ways of writing them.

use obs_model::time::NANOS_PER_SECOND;
use obs_query::logql::go_duration_text;
use obs_query::template::texts::significant;

/// `%.4g`
pub(super) fn shortest_4(value: f64) -> String {
    significant(value, 4)
}

/// A number as Go's `strconv.ParseFloat` reads it.
pub(super) fn parse(text: &str) -> Option<f64> {
    text.parse().ok()
}

/// `1.049M`
pub(super) fn humanize(value: f64) -> String {
    if value == 0.0 || value.is_nan() || value.is_infinite() {
        return shortest_4(value);
    }
    let mut value = value;
    let mut prefix = "";
    if value.abs() >= 1.0 {
        for next in ["k", "M", "G", "T", "P", "E", "Z", "Y"] {
            if value.abs() < 1000.0 {
                break;
            }
            prefix = next;
            value /= 1000.0;
        }
    } else {
        for next in ["m", "u", "n", "p", "f", "a", "z", "y"] {
            if value.abs() >= 1.0 {
                break;
            }
            prefix = next;
            value *= 1000.0;
        }
    }
    format!("{}{prefix}", shortest_4(value))
}

/// `1Mi`
pub(super) fn humanize_1024(value: f64) -> String {
    if value.abs() <= 1.0 || value.is_nan() || value.is_infinite() {
        return shortest_4(value);
    }
    let mut value = value;
    let mut prefix = "";
    for next in ["ki", "Mi", "Gi", "Ti", "Pi", "Ei", "Zi", "Yi"] {
        if value.abs() < 1024.0 {
            break;
        }
        prefix = next;
        value /= 1024.0;
    }
    format!("{}{prefix}", shortest_4(value))
}

/// `2m 15s`
pub(crate) fn duration(value: f64) -> String {
    if value.is_nan() || value.is_infinite() {
        return shortest_4(value);
    }
    if value == 0.0 {
        return format!("{}s", shortest_4(value));
    }
    if value.abs() >= 1.0 {
        let sign = if value < 0.0 { "-" } else { "" };
        let whole = value.abs() as i64;
        let (seconds, minutes) = (whole % 60, whole / 60 % 60);
        let (hours, days) = (whole / 3600 % 24, whole / 86_400);
        return match (days, hours, minutes) {
            (1.., ..) => format!("{sign}{days}d {hours}h {minutes}m {seconds}s"),
            (_, 1.., _) => format!("{sign}{hours}h {minutes}m {seconds}s"),
            (.., 1..) => format!("{sign}{minutes}m {seconds}s"),
            _ => format!("{sign}{}s", shortest_4(value.abs())),
        };
    }
    let mut value = value;
    let mut prefix = "";
    for next in ["m", "u", "n", "p", "f", "a", "z", "y"] {
        if value.abs() >= 1.0 {
            break;
        }
        prefix = next;
        value *= 1000.0;
    }
    format!("{}{prefix}s", shortest_4(value))
}

/// `95.9%`
pub(super) fn percentage(value: f64) -> String {
    format!("{}%", shortest_4(value * 100.0))
}

/// Nanoseconds since the epoch of seconds; nothing for what is no number.
pub(super) fn time(seconds: f64) -> Result<Option<i64>, String> {
    if seconds.is_nan() || seconds.is_infinite() {
        return Ok(None);
    }
    let nanos = seconds * NANOS_PER_SECOND as f64;
    if nanos >= i64::MAX as f64 || nanos <= i64::MIN as f64 {
        return Err(format!(
            "{seconds} cannot be represented as a nanoseconds timestamp since it overflows int64"
        ));
    }
    // Milliseconds, as Prometheus keeps times.
    Ok(Some((seconds * 1000.0).round() as i64 * 1_000_000))
}

/// A number of seconds as Go writes a `time.Duration`: `2m15s`.
pub(super) fn go_duration(seconds: f64) -> Result<String, String> {
    let nanos = seconds * NANOS_PER_SECOND as f64;
    if nanos.is_nan() || nanos >= i64::MAX as f64 || nanos <= i64::MIN as f64 {
        return Err(format!("{seconds} cannot be represented as a duration"));
    }
    Ok(go_duration_text(nanos as i64))
}
