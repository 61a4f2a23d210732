//! logfmt lines to labels: `level=info msg="a b" flag`.

/// Calls `found` with each pair, in order, until it says that it has enough. Malformed pairs are
/// stepped over; where the form is strict, the first ends the line and comes back.
pub(crate) fn pairs(
    line: &[u8],
    strict: bool,
    mut found: impl FnMut(&str, &str) -> bool,
) -> Result<(), LogfmtFault> {
    let mut at = 0;
    while at < line.len() {
        if line[at] <= b' ' {
            at += 1;
            continue;
        }
        match pair(line, at) {
            Ok((key, value, end)) => {
                if !found(key, &value) {
                    return Ok(());
                }
                at = end;
            }
            Err(bad) if strict => return Err(bad),
            Err(bad) => {
                at = bad.at;
                while at < line.len() && line[at] > b' ' {
                    at += 1;
                }
            }
        }
    }
    Ok(())
}

/// Where a line is not logfmt.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("logfmt syntax error at pos {} : {reason}", .at + 1)]
pub(crate) struct LogfmtFault {
    at: usize,
    reason: &'static str,
}

/// The pair that starts at `start`, and where it ends.
fn pair(line: &[u8], start: usize) -> Result<(&str, String, usize), LogfmtFault> {
    let fault = |at, reason| LogfmtFault { at, reason };
    let mut at = start;
    while at < line.len() && line[at] > b' ' && line[at] != b'=' {
        if line[at] == b'"' {
            return Err(fault(at, "unexpected '\"'"));
        }
        at += 1;
    }
    let Ok(key) = std::str::from_utf8(&line[start..at]) else {
        return Err(fault(at, "invalid key"));
    };
    if key.is_empty() {
        return Err(fault(at, "unexpected '='"));
    }
    if line.get(at) != Some(&b'=') {
        return Ok((key, String::new(), at));
    }
    at += 1;
    if line.get(at) == Some(&b'"') {
        let (value, end) = quoted(line, at).map_err(|(end, reason)| fault(end, reason))?;
        return Ok((key, value, end));
    }
    let begin = at;
    while at < line.len() && line[at] > b' ' {
        match line[at] {
            b'=' => return Err(fault(at, "unexpected '='")),
            b'"' => return Err(fault(at, "unexpected '\"'")),
            _ => at += 1,
        }
    }
    let value = String::from_utf8_lossy(&line[begin..at]).into_owned();
    Ok((key, value, at))
}

/// A quoted value that starts at `start`, and where it ends.
fn quoted(line: &[u8], start: usize) -> Result<(String, usize), (usize, &'static str)> {
    let mut at = start + 1;
    let mut escaped = false;
    loop {
        match line.get(at) {
            None => return Err((line.len(), "unterminated quoted value")),
            Some(b'"') => break,
            Some(b'\\') => {
                escaped = true;
                at += 2;
            }
            Some(_) => at += 1,
        }
    }
    let text = String::from_utf8_lossy(&line[start..=at]);
    let value = if escaped {
        serde_json::from_str(&text).map_err(|_| (at + 1, "invalid quoted value"))?
    } else {
        text.get(1..text.len() - 1).unwrap_or("").to_owned()
    };
    Ok((value, at + 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lines() {
        let check = |line: &str, expect: &[&str], ok: bool| {
            let mut found = Vec::new();
            let result = pairs(line.as_bytes(), false, |k, v| {
                found.push(format!("{k}={v}"));
                true
            });
            assert_eq!(found, expect, "{line}");
            assert_eq!(result, Ok(()), "{line}");
            let strict = pairs(line.as_bytes(), true, |_, _| true);
            assert_eq!(strict.is_ok(), ok, "{line}");
        };
        check("a=1 b=\"x y\" c", &["a=1", "b=x y", "c="], true);
        check("a=\"q\\\"\\n\" b=", &["a=q\"\n", "b="], true);
        check("=1 b=2", &["b=2"], false);
        check("a=b=c d=4", &["d=4"], false);
        check("a=\"open", &[], false);
        check("", &[], true);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(line in proptest::collection::vec(any::<u8>(), 0..200), text in "[a= \"\\\\]{0,40}") {
            let mut count = 0usize;
            let mut one = |_: &str, _: &str| {
                count += 1;
                true
            };
            let first = pairs(&line, false, &mut one);
            let second = pairs(text.as_bytes(), true, &mut one);
            prop_assert!(count <= line.len() + text.len());
            prop_assert!(first.is_ok() && (second.is_ok() || count <= text.len() + line.len()));
        }
    }
}
