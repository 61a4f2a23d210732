//! logfmt lines to labels: `level=info msg="a b" flag`.

/// Calls `found` with each pair, in order; malformed pairs are stepped over. Gives the first
/// fault, for the strict form.
pub(crate) fn pairs(line: &[u8], mut found: impl FnMut(&str, &str)) -> Result<(), LogfmtFault> {
    let mut at = 0;
    let mut fault = None;
    while at < line.len() {
        if line[at] <= b' ' {
            at += 1;
            continue;
        }
        match pair(line, at) {
            Ok((key, value, end)) => {
                found(&String::from_utf8_lossy(key), &value);
                at = end;
            }
            Err(bad) => {
                at = bad.at;
                while at < line.len() && line[at] > b' ' {
                    at += 1;
                }
                fault.get_or_insert(bad);
            }
        }
    }
    fault.map_or(Ok(()), Err)
}

/// Where a line is not logfmt.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("logfmt syntax error at pos {at}: {reason}")]
pub(crate) struct LogfmtFault {
    at: usize,
    reason: &'static str,
}

/// The pair that starts at `start`, and where it ends.
fn pair(line: &[u8], start: usize) -> Result<(&[u8], String, usize), LogfmtFault> {
    let fault = |at, reason| LogfmtFault { at, reason };
    let mut at = start;
    while at < line.len() && line[at] > b' ' && line[at] != b'=' {
        if line[at] == b'"' {
            return Err(fault(at, "unexpected '\"'"));
        }
        at += 1;
    }
    let key = &line[start..at];
    if key.is_empty() {
        return Err(fault(at, "unexpected '='"));
    }
    if line.get(at) != Some(&b'=') {
        return Ok((key, String::new(), at));
    }
    at += 1;
    if line.get(at) == Some(&b'"') {
        let (value, end) = quoted(line, at).map_err(|reason| fault(line.len(), reason))?;
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
fn quoted(line: &[u8], start: usize) -> Result<(String, usize), &'static str> {
    let mut at = start + 1;
    let mut escaped = false;
    loop {
        match line.get(at) {
            None => return Err("unterminated quoted value"),
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
        serde_json::from_str(&text).map_err(|_| "invalid quoted value")?
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
            let result = pairs(line.as_bytes(), |k, v| found.push(format!("{k}={v}")));
            assert_eq!(found, expect, "{line}");
            assert_eq!(result.is_ok(), ok, "{line}");
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
            let first = pairs(&line, |_, _| count += 1);
            let second = pairs(text.as_bytes(), |_, _| count += 1);
            prop_assert!(count <= line.len() + text.len());
            prop_assert!(first.is_ok() || second.is_ok() || count <= line.len() + text.len());
        }
    }
}
