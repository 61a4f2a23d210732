//! Texts of labels as numbers, durations and sizes, as Loki reads them.

use crate::logql::lexer::parse_size;
use crate::tokens::go_duration;

/// A number as Go's `ParseFloat` reads it.
pub(crate) fn number(text: &str) -> Result<f64, String> {
    let read: Option<f64> = text.parse().ok();
    let read = read.or_else(|| crate::tokens::parse_float(text));
    let read = read.ok_or_else(|| fault(text, "invalid syntax"))?;
    match read.is_infinite() && text.bytes().any(|b| b.is_ascii_digit()) {
        true => Err(fault(text, "value out of range")),
        false => Ok(read),
    }
}

fn fault(text: &str, why: &str) -> String {
    format!("strconv.ParseFloat: parsing {text:?}: {why}")
}

/// A duration such as `1.5s`, in nanoseconds.
pub(crate) fn duration(text: &str) -> Result<i64, String> {
    go_duration(text).ok_or_else(|| format!("time: invalid duration {text:?}"))
}

/// A size such as `5 MB` or `512`, in bytes.
pub(crate) fn bytes(text: &str) -> Result<u64, String> {
    parse_size(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values() {
        assert_eq!(number("1e3"), Ok(1000.0));
        assert_eq!(number("-Inf"), Ok(f64::NEG_INFINITY));
        assert!(number("1s").is_err());
        let beyond = "strconv.ParseFloat: parsing \"1e400\": value out of range";
        assert_eq!(number("1e400"), Err(beyond.to_owned()));
        assert_eq!(duration("-1.5s"), Ok(-1_500_000_000));
        assert!(duration("1d").is_err());
        assert_eq!(bytes("5 MB"), Ok(5_000_000));
        assert_eq!(bytes("1kib"), Ok(1024));
        assert_eq!(bytes("2k"), Ok(2000));
        assert_eq!(bytes("512"), Ok(512));
        assert_eq!(bytes("1,024 B"), Ok(1024));
        assert_eq!(bytes("5 XB"), Err("unhandled size name: xb".to_owned()));
        assert!(bytes("many").is_err());
    }
}
