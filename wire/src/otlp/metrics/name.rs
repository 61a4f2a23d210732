//! Names by Prometheus' default translation, `UnderscoreEscapingWithSuffixes`.
//!
//! Invariant: a metric's name is of `[a-zA-Z_:][a-zA-Z0-9_:]*`, a label's of
//! `[a-zA-Z_][a-zA-Z0-9_]*`. Rules:
//! <https://opentelemetry.io/docs/specs/otel/compatibility/prometheus_and_openmetrics/>.

/// What a metric is, as far as its name shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NameKind {
    /// A gauge: the unit `1` shows as `_ratio`.
    Gauge,
    /// A monotonic sum: shows as `_total`.
    Counter,
    /// Nothing shows.
    Other,
}

/// UCUM units and the words for them.
const UNITS: [(&str, &str); 27] = [
    ("d", "days"),
    ("h", "hours"),
    ("min", "minutes"),
    ("s", "seconds"),
    ("ms", "milliseconds"),
    ("us", "microseconds"),
    ("ns", "nanoseconds"),
    ("By", "bytes"),
    ("KiBy", "kibibytes"),
    ("MiBy", "mebibytes"),
    ("GiBy", "gibibytes"),
    ("TiBy", "tibibytes"),
    ("KBy", "kilobytes"),
    ("MBy", "megabytes"),
    ("GBy", "gigabytes"),
    ("TBy", "terabytes"),
    ("m", "meters"),
    ("V", "volts"),
    ("A", "amperes"),
    ("J", "joules"),
    ("W", "watts"),
    ("g", "grams"),
    ("Cel", "celsius"),
    ("Hz", "hertz"),
    ("1", ""),
    ("%", "percent"),
    ("", ""),
];

/// Units behind the slash.
const PER_UNITS: [(&str, &str); 7] = [
    ("s", "second"),
    ("m", "minute"),
    ("h", "hour"),
    ("d", "day"),
    ("w", "week"),
    ("mo", "month"),
    ("y", "year"),
];

fn word<'a>(table: &[(&'static str, &'static str)], unit: &'a str) -> &'a str {
    if unit.contains(['{', '}']) {
        return "";
    }
    match table.iter().find(|(u, _)| *u == unit) {
        Some((_, word)) => word,
        None => unit,
    }
}

fn is_metric_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == ':'
}

/// Invalid characters become underscores, runs of them one; none at the begin or the end.
fn escape(unit: &str) -> String {
    let tokens = unit.split(|c| !is_metric_char(c)).filter(|t| !t.is_empty());
    tokens.collect::<Vec<_>>().join("_")
}

/// The words of a unit: before the slash, and behind it with `per_`.
fn unit_words(unit: &str) -> (String, String) {
    let (main, per) = unit.split_once('/').unwrap_or((unit, ""));
    let main = escape(word(&UNITS, main.trim()));
    let per = escape(word(&PER_UNITS, per.trim()));
    let per = if per.is_empty() {
        per
    } else {
        format!("per_{per}")
    };
    (main, per)
}

/// The unit as metadata shows it.
pub(crate) fn unit_name(unit: &str) -> String {
    match unit_words(unit) {
        (main, per) if per.is_empty() => main,
        (main, per) if main.is_empty() => per,
        (main, per) => format!("{main}_{per}"),
    }
}

/// The name of a metric, or none where nothing of it can be kept.
pub(crate) fn metric_name(name: &str, unit: &str, kind: NameKind) -> Option<String> {
    let (main, per) = unit_words(unit);
    let mut tokens: Vec<&str> = name
        .split(|c| !is_metric_char(c))
        .filter(|t| !t.is_empty())
        .collect();
    let add_main = !main.is_empty() && !tokens.contains(&main.as_str());
    let add_per = !per.is_empty() && !tokens.contains(&per.as_str());
    if add_main {
        tokens.push(&main);
    }
    if add_per {
        tokens.push(&per);
    }
    let last = match kind {
        NameKind::Counter => Some("total"),
        NameKind::Gauge if unit == "1" => Some("ratio"),
        NameKind::Gauge | NameKind::Other => None,
    };
    if let Some(last) = last {
        tokens.retain(|t| *t != last);
        tokens.push(last);
    }
    let joined = tokens.join("_");
    if joined.starts_with(|c: char| c.is_ascii_digit()) {
        return Some(format!("_{joined}"));
    }
    (!joined.is_empty()).then_some(joined)
}

/// The name as it is, with unit and type behind it.
pub(crate) fn with_suffixes(name: &str, unit: &str, kind: NameKind) -> String {
    let (main, per) = unit_words(unit);
    let last = match kind {
        NameKind::Counter => "total",
        NameKind::Gauge if unit == "1" => "ratio",
        NameKind::Gauge | NameKind::Other => "",
    };
    let mut made = without(name, last).to_owned();
    made.truncate(without(&made, &per).len());
    if name.is_empty() {
        return made;
    }
    if !made.ends_with(&main) {
        made.push('_');
        made.push_str(&main);
    }
    for suffix in [per.as_str(), last] {
        if !suffix.is_empty() {
            made.push('_');
            made.push_str(suffix);
        }
    }
    made
}

/// A name without a suffix and the one character before it.
fn without<'a>(name: &'a str, suffix: &str) -> &'a str {
    let rest = name.strip_suffix(suffix).filter(|_| !suffix.is_empty());
    let rest = rest.and_then(|rest| rest.strip_suffix(['_', '.', '-', '/', ' ']));
    rest.unwrap_or(name)
}

/// The name of a label: invalid characters become underscores, a leading digit gets `key_`, a
/// single leading underscore `key`. Empty where the name is.
pub(crate) fn label_name(name: &str) -> String {
    let escaped = escaped_label(name);
    if escaped.starts_with('_') && !escaped.starts_with("__") {
        format!("key{escaped}")
    } else {
        escaped
    }
}

/// The same without anything before a leading underscore.
pub(crate) fn escaped_label(name: &str) -> String {
    let keep = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    let escaped: String = name.chars().map(keep).collect();
    if escaped.starts_with(|c: char| c.is_ascii_digit()) {
        format!("key_{escaped}")
    } else {
        escaped
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metric_names() {
        use NameKind::{Counter, Gauge, Other};
        let check = |name: &str, unit: &str, kind, expect: &str| {
            let name_made = metric_name(name, unit, kind).unwrap_or_default();
            assert_eq!(name_made, expect, "{name} {unit} {kind:?}");
        };
        check(
            "http.server.duration",
            "s",
            Other,
            "http_server_duration_seconds",
        );
        check(
            "http.server.duration",
            "ms",
            Other,
            "http_server_duration_milliseconds",
        );
        check("requests.count", "1", Counter, "requests_count_total");
        check("requests_total", "{request}", Counter, "requests_total");
        check("total.requests", "", Counter, "requests_total");
        check("cpu.time", "s", Counter, "cpu_time_seconds_total");
        check("cpu.seconds", "s", Counter, "cpu_seconds_total");
        check("memory.usage", "By", Gauge, "memory_usage_bytes");
        check("cpu.utilization", "1", Gauge, "cpu_utilization_ratio");
        check("cpu.ratio", "1", Gauge, "cpu_ratio");
        check("cpu.share", "%", Gauge, "cpu_share_percent");
        check("net.io", "By/s", Gauge, "net_io_bytes_per_second");
        check("errors", "{error}/min", Gauge, "errors_per_min");
        check("errors", "1/h", Gauge, "errors_per_hour");
        check("errors", "/s", Gauge, "errors_per_second");
        check("a", "foo.bar/x_y", Gauge, "a_foo_bar_per_x_y");
        check("a", "a/s", Gauge, "a_per_second");
        check("a__b..c", "", Gauge, "a_b_c");
        check("1st", "", Gauge, "_1st");
        check("ns:rule", "", Gauge, "ns:rule");
        check("größe", "", Gauge, "gr_e");
        check("...", "", Gauge, "");
        check("", "", Other, "");
    }

    #[test]
    fn label_names() {
        let check = |name: &str, expect: &str| assert_eq!(label_name(name), expect);
        check("http.method", "http_method");
        check("1st", "key_1st");
        check("_private", "key_private");
        check("__reserved__", "__reserved__");
        check("a..b", "a__b");
        check("größe", "gr__e");
        check("", "");
    }

    #[test]
    fn unit_names() {
        let check = |unit: &str, expect: &str| assert_eq!(unit_name(unit), expect);
        check("s", "seconds");
        check("1", "");
        check("By/s", "bytes_per_second");
        check("{x}", "");
        check("/s", "per_second");
    }
}
