//! Bars of progress on standard error, only where that is a terminal: what goes into a log stays
//! readable.

use std::io::{IsTerminal, Write};

use obs_model::Timestamp;

use crate::client::now;

/// At least so long between two drawings.
const PERIOD_NANOS: i64 = 100_000_000;
/// Before this much time no rate is told: it would jump.
const RATE_AFTER_SECONDS: f64 = 1.0;

/// The progress of one thing.
pub(crate) struct Progress {
    name: String,
    shown: bool,
    begun: Timestamp,
    /// How much was done when it began; what is resumed was not done now.
    first: Option<u64>,
    drawn: Option<Timestamp>,
}

impl Progress {
    /// Begins. Where the data itself goes to the terminal, nothing is drawn into it.
    pub(crate) fn new(name: impl Into<String>, data_on_terminal: bool) -> Self {
        Self {
            name: name.into(),
            shown: std::io::stderr().is_terminal() && !crate::paint::dumb() && !data_on_terminal,
            begun: now(),
            first: None,
            drawn: None,
        }
    }

    /// So much of all is done; `what` tells more, such as counts.
    pub(crate) fn show(&mut self, done: u64, total: u64, what: &str) {
        let now = now();
        let first = *self.first.get_or_insert(done);
        let soon = self.drawn.is_some_and(|drawn| now - drawn < PERIOD_NANOS);
        if !self.shown || (soon && done < total) {
            return;
        }
        self.drawn = Some(now);
        let seconds = (now - self.begun) as f64 / 1e9;
        let left = left(done, total, first, seconds);
        let bar = bar(done, total);
        let name = if self.name.is_empty() {
            String::new()
        } else {
            format!("{} · ", self.name)
        };
        let line = format!("{bar} {name}{what}{left}");
        let line: String = line.chars().take(columns()).collect();
        // Where standard error is gone, there is nobody to tell.
        drop(write!(std::io::stderr(), "\r{line}\x1b[K"));
    }

    /// Leaves the last drawing behind.
    pub(crate) fn end(&self) {
        if self.drawn.is_some() {
            drop(writeln!(std::io::stderr()));
        }
    }
}

/// A line that is broken cannot be drawn over.
fn columns() -> usize {
    match rustix::termios::tcgetwinsize(std::io::stderr()) {
        Ok(size) if size.ws_col > 1 => usize::from(size.ws_col) - 1,
        _ => 79,
    }
}

/// ` · 1m20s left`, where that can be told.
fn left(done: u64, total: u64, first: u64, seconds: f64) -> String {
    let (now, rest) = (done.saturating_sub(first), total.saturating_sub(done));
    if seconds < RATE_AFTER_SECONDS || now == 0 || rest == 0 {
        return String::new();
    }
    let seconds = (seconds * rest as f64 / now as f64).ceil().min(1e9);
    let left = obs_model::duration::format(seconds as i64 * 1_000_000_000);
    format!(" · {left} left")
}

/// `[#####     ]  50%`
pub(crate) fn bar(done: u64, total: u64) -> String {
    const WIDTH: u64 = 30;
    let (done, total) = (done.min(total), total.max(1));
    let full = (u128::from(done) * u128::from(WIDTH) / u128::from(total)) as usize;
    let percent = u128::from(done) * 100 / u128::from(total);
    let empty = WIDTH as usize - full;
    format!("[{}{}] {percent:3}%", "#".repeat(full), " ".repeat(empty))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars() {
        let half = format!("[{}{}]  50%", "#".repeat(15), " ".repeat(15));
        assert_eq!(bar(1, 2), half);
        assert!(bar(9, 0).ends_with("]   0%") && bar(u64::MAX, u64::MAX).ends_with("] 100%"));
    }

    #[test]
    fn what_is_left() {
        assert_eq!(left(50, 100, 0, 60.0), " · 1m left");
        assert_eq!(left(60, 100, 50, 10.0), " · 40s left");
        assert_eq!(left(50, 100, 50, 60.0), "");
        assert_eq!(left(1, 100, 0, 0.1), "");
        assert_eq!(left(100, 100, 0, 9.0), "");
    }
}
