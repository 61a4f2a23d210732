//! What the functions of several template languages share: regular expressions, titles, numbers.

use obs_model::re2;
use regex::Regex;

use super::CallError;

/// Bytes that one call may make.
pub const TEXT_BYTES_MAX: usize = 1 << 20;

/// A regular expression in RE2's syntax, bounded in size.
pub fn pattern(text: &str) -> Result<Regex, CallError> {
    let built = regex::RegexBuilder::new(&re2::translate(text))
        .size_limit(1 << 20)
        .build();
    built.map_err(|_| CallError::Failed(format!("error parsing regexp: {text:?}")))
}

/// Replaces all that a regular expression matches, with `$1` and `${name}` in the new text.
pub fn replace_all(pattern: &Regex, text: &str, new: &str) -> Result<String, CallError> {
    check_places(text.len() + 1, new)?;
    Ok(pattern.replace_all(text, new).into_owned())
}

/// Refuses so many places for a new text where that could be too large.
pub(crate) fn check_places(places: usize, new: &str) -> Result<(), CallError> {
    if places.saturating_mul(new.len() + 1) > 64 * TEXT_BYTES_MAX {
        let text = format!("a text of more than {TEXT_BYTES_MAX} bytes");
        return Err(CallError::Failed(text));
    }
    Ok(())
}

/// The first letter of each word in upper case, as Go's `strings.Title`.
pub fn title(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut inside = false;
    for c in text.chars() {
        match inside {
            true => out.push(c),
            false => out.extend(c.to_uppercase()),
        }
        // What Go's strings.Title takes for a part of a word.
        inside = match c.is_ascii() {
            true => c.is_ascii_alphanumeric() || c == '_',
            false => c.is_alphanumeric() || !c.is_whitespace(),
        };
    }
    out
}

/// `%.{digits}g`
pub fn significant(value: f64, digits: usize) -> String {
    super::printf::general(value, Some(digits), false)
}
