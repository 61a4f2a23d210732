//! Texts that many series and edges share, and texts of attributes.
//!
//! Invariant: a text that is known costs a look-up and no allocation; texts that nobody holds any
//! more are forgotten when there are many.

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::Arc;

use obs_model::spans::{Attribute, AttributeValue, attribute};

/// Longest text that becomes the value of a label, in bytes; Tempo cuts attributes there.
const TEXT_BYTES_MAX: usize = 2048;
/// As many texts may be held before those without a holder are looked for.
const SWEEP_AT: usize = 4096;

/// Known texts.
#[derive(Debug)]
pub(super) struct Words {
    known: HashSet<Arc<str>>,
    sweep_at: usize,
}

impl Default for Words {
    fn default() -> Self {
        Self {
            known: HashSet::new(),
            sweep_at: SWEEP_AT,
        }
    }
}

/// The begin of a text that fits into a label.
pub(super) fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(TEXT_BYTES_MAX)]
}

impl Words {
    /// The shared copy of a text, cut to what fits into a label.
    pub(super) fn share(&mut self, text: &str) -> Arc<str> {
        let text = cut(text);
        if let Some(known) = self.known.get(text) {
            return Arc::clone(known);
        }
        if self.known.len() >= self.sweep_at {
            self.known.retain(|word| Arc::strong_count(word) > 1);
            // Looked at again when as many have come as are in use.
            self.sweep_at = SWEEP_AT.max(2 * self.known.len());
        }
        let word: Arc<str> = Arc::from(text);
        self.known.insert(Arc::clone(&word));
        word
    }

    /// Number of texts that are held.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.known.len()
    }
}

/// The text of an attribute's value; nothing where there is none.
pub(super) fn text(value: &AttributeValue) -> Cow<'_, str> {
    match value {
        AttributeValue::String(text) => Cow::Borrowed(text),
        AttributeValue::Empty
        | AttributeValue::Bool(_)
        | AttributeValue::Int(_)
        | AttributeValue::Double(_)
        | AttributeValue::Bytes(_)
        | AttributeValue::Array(_)
        | AttributeValue::Map(_) => Cow::Owned(obs_wire::otlp::attribute_text(value)),
    }
}

/// The text of the first list that has an attribute which is not empty.
pub(super) fn find<'a>(lists: [&'a [Attribute]; 2], key: &str) -> Option<Cow<'a, str>> {
    let found = lists.into_iter().filter_map(|list| attribute(list, key));
    found.map(text).find(|text| !text.is_empty())
}

/// A label's name: what cannot be in it becomes an underscore.
pub(super) fn label_name(text: &str) -> String {
    let legal = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    let name: String = text.chars().map(legal).collect();
    match name.as_bytes().first() {
        Some(first) if first.is_ascii_digit() => format!("_{name}"),
        Some(_) | None => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_without_holder_are_forgotten() {
        let mut words = Words::default();
        let kept = words.share("kept");
        for number in 0..20 * SWEEP_AT {
            words.share(&number.to_string());
            assert!(words.len() <= SWEEP_AT + 1);
        }
        assert!(Arc::ptr_eq(&kept, &words.share("kept")));
        assert_eq!(words.share(&"é".repeat(2000)).len(), TEXT_BYTES_MAX);
    }

    #[test]
    fn names_and_texts() {
        for (text, expect) in [("http.method", "http_method"), ("5xx", "_5xx"), ("a", "a")] {
            assert_eq!(label_name(text), expect);
        }
        let list = [Attribute {
            key: "n".into(),
            value: AttributeValue::Int(5432),
        }];
        assert_eq!(find([&[], &list], "n").as_deref(), Some("5432"));
        assert_eq!(find([&list, &[]], "m"), None);
    }
}
