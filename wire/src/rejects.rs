//! What of a request is not taken while the rest is: counts and reasons for its sender.
//!
//! Invariant: the reasons of a request take a bounded number of words, however much is wrong.

/// Distinct reasons told in one message; the rest is only counted.
const REASONS_MAX: usize = 5;

/// Characters of a foreign text shown in a message.
const SHOWN_CHARS: usize = 100;

/// What a request brought, and what of it was not taken.
#[derive(Clone, Debug, Default)]
pub struct Decoded<B> {
    /// What was taken.
    pub batch: B,
    /// Samples, spans, log records or data points that were not.
    pub rejected: u64,
    /// Why they were not; a warning where nothing was rejected; else empty.
    pub message: String,
}

/// Collects what was rejected and why.
#[derive(Debug, Default)]
pub(crate) struct Rejects {
    count: u64,
    reasons: Vec<String>,
    untold: bool,
}

impl Rejects {
    /// Counts items that were not taken; each reason is told once.
    pub(crate) fn add(&mut self, count: usize, reason: String) {
        self.count += count as u64;
        self.fault(reason);
    }

    /// Tells a fault that costs no sample.
    pub(crate) fn fault(&mut self, reason: String) {
        if self.reasons.contains(&reason) {
            return;
        }
        if self.reasons.len() < REASONS_MAX {
            self.reasons.push(reason);
        } else {
            self.untold = true;
        }
    }

    /// What was taken, with what was not.
    pub(crate) fn into_decoded<B>(mut self, batch: B) -> Decoded<B> {
        if self.untold {
            self.reasons.push("and other reasons".to_owned());
        }
        Decoded {
            batch,
            rejected: self.count,
            message: self.reasons.join("; "),
        }
    }
}

/// Characters of a stream's labels shown in a message.
const LABELS_CHARS: usize = 300;

/// Labels as they are, cut for a message: they may be too many or too long.
pub(crate) fn clipped(labels: &str) -> String {
    match labels.char_indices().nth(LABELS_CHARS) {
        Some((end, _)) => format!("{}…", &labels[..end]),
        None => labels.to_owned(),
    }
}

/// A foreign text, quoted and cut for a message.
pub(crate) fn shown(text: &str) -> String {
    match text.char_indices().nth(SHOWN_CHARS) {
        Some((end, _)) => format!("{:?}…", &text[..end]),
        None => format!("{text:?}"),
    }
}
