//! Which series meet matchers: set algebra on postings, the same for the head and for parts.
//!
//! Invariant: an absent label has the empty value. So a matcher that accepts the empty text takes
//! series away (those whose value it refuses), and one that refuses it adds up the values that it
//! accepts; the answer is the intersection of the latter without the former.

use obs_model::{MatchOp, Matcher, Pattern};
use obs_storage::Corrupt;
use roaring::RoaringBitmap;

/// Sets of series by label; the head and each part have one.
pub(crate) trait Index {
    /// All series.
    fn all(&self) -> RoaringBitmap;

    /// Series with this value of this label; both are not empty.
    fn with_value(&self, name: &str, value: &str) -> Result<RoaringBitmap, Corrupt>;

    /// Series that have this label.
    fn with_name(&self, name: &str) -> Result<RoaringBitmap, Corrupt>;

    /// Series with some value of this label that starts with `prefix` and that `accept` takes.
    fn with_values(
        &self,
        name: &str,
        prefix: &str,
        accept: &dyn Fn(&str) -> bool,
    ) -> Result<RoaringBitmap, Corrupt>;

    /// Series with a value of this label that starts with `prefix` and matches an expression.
    fn matching(
        &self,
        name: &str,
        prefix: &str,
        pattern: &Pattern,
    ) -> Result<RoaringBitmap, Corrupt> {
        self.with_values(name, prefix, &|value| pattern.is_match(value.as_bytes()))
    }

    /// Label names in ascending order.
    fn names(&self) -> Vec<String>;

    /// Calls back for each value of a label, ascending; `false` from the callback ends it.
    fn values(&self, name: &str, each: &mut dyn FnMut(&str) -> bool) -> Result<(), Corrupt>;
}

/// The series that meet all matchers.
pub(crate) fn find(index: &dyn Index, matchers: &[Matcher]) -> Result<RoaringBitmap, Corrupt> {
    let mut found: Option<RoaringBitmap> = None;
    for matcher in matchers.iter().filter(|m| !m.matches("")) {
        let set = accepted(index, matcher)?;
        let narrowed = match found {
            Some(found) => found & set,
            None => set,
        };
        if narrowed.is_empty() {
            return Ok(narrowed);
        }
        found = Some(narrowed);
    }
    let mut found = found.unwrap_or_else(|| index.all());
    for matcher in matchers.iter().filter(|m| m.matches("")) {
        if found.is_empty() {
            break;
        }
        found -= refused(index, matcher)?;
    }
    Ok(found)
}

/// Series whose value the matcher accepts; it refuses the empty text.
fn accepted(index: &dyn Index, matcher: &Matcher) -> Result<RoaringBitmap, Corrupt> {
    match matcher.op {
        MatchOp::Equal => index.with_value(&matcher.name, &matcher.value),
        MatchOp::Regex => matching(index, matcher),
        // These refuse the empty text, so the first of them is `!=""`.
        MatchOp::NotEqual => index.with_name(&matcher.name),
        MatchOp::NotRegex => index.with_values(&matcher.name, "", &|v| matcher.matches(v)),
    }
}

/// Series with a value that the matcher refuses; it accepts the empty text.
fn refused(index: &dyn Index, matcher: &Matcher) -> Result<RoaringBitmap, Corrupt> {
    match matcher.op {
        MatchOp::NotEqual => index.with_value(&matcher.name, &matcher.value),
        MatchOp::NotRegex => matching(index, matcher),
        MatchOp::Equal => index.with_name(&matcher.name),
        MatchOp::Regex => index.with_values(&matcher.name, "", &|v| !matcher.matches(v)),
    }
}

/// Series whose value matches the matcher's expression, which does not match the empty text.
fn matching(index: &dyn Index, matcher: &Matcher) -> Result<RoaringBitmap, Corrupt> {
    let Some(pattern) = matcher.pattern() else {
        return Ok(RoaringBitmap::new());
    };
    if let Some(texts) = pattern.exact() {
        let mut found = RoaringBitmap::new();
        for text in texts {
            // A label value is UTF-8, so other texts are nobody's value.
            if let Ok(text) = std::str::from_utf8(text) {
                found |= index.with_value(&matcher.name, text)?;
            }
        }
        return Ok(found);
    }
    // Ranges of values, of which none lies in another.
    let mut found = RoaringBitmap::new();
    let mut last: Option<&str> = None;
    for prefix in pattern.prefixes().iter().map(|prefix| text_of(prefix)) {
        if last.is_none_or(|last| !prefix.starts_with(last)) {
            found |= index.matching(&matcher.name, prefix, pattern)?;
            last = Some(prefix);
        }
    }
    Ok(found)
}

/// The whole characters of a prefix, which may end inside one.
fn text_of(prefix: &[u8]) -> &str {
    match std::str::from_utf8(prefix) {
        Ok(prefix) => prefix,
        Err(e) => std::str::from_utf8(&prefix[..e.valid_up_to()]).unwrap_or(""),
    }
}
