//! The windows of burn rates: those of Google's workbook for a month, scaled for other windows.
//!
//! Invariant: an alert's factor is the share of the budget that may go, times the objective's window
//! over the alert's; 14.4, 6, 3 and 1 for thirty days.

use obs_model::time::{NANOS_PER_DAY, NANOS_PER_SECOND};

const MINUTE: i64 = 60 * NANOS_PER_SECOND;
const HOUR: i64 = 60 * MINUTE;

/// The window of objectives that say none; Sloth's.
pub const WINDOW_DEFAULT: i64 = 30 * NANOS_PER_DAY;
/// Shortest window: below it the short windows are shorter than scrapes are apart.
const WINDOW_MIN: i64 = NANOS_PER_DAY;
/// Longest window.
const WINDOW_MAX: i64 = 366 * NANOS_PER_DAY;

/// A budget that goes too fast: over the long window, and over the short one still.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Burn {
    /// Nanoseconds of the long window.
    pub long: i64,
    /// Nanoseconds of the short one; the same where there is only one.
    pub short: i64,
    /// How many times faster than the window allows.
    pub factor: f64,
    /// How the burn rate is compared with the factor.
    pub compare: &'static str,
}

/// Of the workbook: long and short window, percent of the budget.
const PAGE: [(i64, i64, f64); 2] = [(HOUR, 5 * MINUTE, 2.0), (6 * HOUR, 30 * MINUTE, 5.0)];
const TICKET: [(i64, i64, f64); 2] = [(24 * HOUR, 2 * HOUR, 10.0), (72 * HOUR, 6 * HOUR, 10.0)];

/// When somebody is woken.
pub(super) fn page(window: i64) -> Vec<Burn> {
    PAGE.iter().map(|row| burn(window, *row)).collect()
}

/// When it can wait for the morning.
pub(super) fn ticket(window: i64) -> Vec<Burn> {
    TICKET.iter().map(|row| burn(window, *row)).collect()
}

fn burn(window: i64, (long, short, percent): (i64, i64, f64)) -> Burn {
    let (long, short) = (scaled(window, long), scaled(window, short));
    Burn {
        long,
        short,
        factor: rounded(percent / 100.0 * (window as f64 / long as f64)),
        compare: ">",
    }
}

/// Away with what is left of 0.02 * 720 besides 14.4.
fn rounded(factor: f64) -> f64 {
    (factor * 1e6).round() / 1e6
}

/// A window of the workbook's month for another one: whole minutes, one at least.
fn scaled(window: i64, of_month: i64) -> i64 {
    // Every month is a month: 28 days have the windows that everybody knows.
    if (28 * NANOS_PER_DAY..=31 * NANOS_PER_DAY).contains(&window) {
        return of_month;
    }
    let minutes = (of_month / MINUTE).saturating_mul(window / MINUTE) / (WINDOW_DEFAULT / MINUTE);
    minutes.max(1) * MINUTE
}

/// The windows that are recorded whatever alerts there are, sorted.
pub(super) fn standard(window: i64) -> Vec<i64> {
    let burns = page(window).into_iter().chain(ticket(window));
    let mut all: Vec<i64> = burns.flat_map(|burn| [burn.long, burn.short]).collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// Whether an objective can have this window.
pub(super) fn check(window: i64) -> Result<(), String> {
    match (WINDOW_MIN..=WINDOW_MAX).contains(&window) {
        true => Ok(()),
        false => Err(format!(
            "the window: expected 1d to 366d, found {}",
            obs_model::duration::format(window)
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_workbooks_table_and_scaled_ones() {
        let check = |days: i64, expect: &[(i64, i64, f64)]| {
            let window = days * NANOS_PER_DAY;
            let all = page(window).into_iter().chain(ticket(window));
            let found: Vec<_> = all
                .map(|b| (b.long / MINUTE, b.short / MINUTE, b.factor))
                .collect();
            assert_eq!(found, expect, "{days} days");
        };
        let month = [
            (60, 5, 14.4),
            (360, 30, 6.0),
            (1440, 120, 3.0),
            (4320, 360, 1.0),
        ];
        check(30, &month);
        let four_weeks = [
            (60, 5, 13.44),
            (360, 30, 5.6),
            (1440, 120, 2.8),
            (4320, 360, 0.933333),
        ];
        check(28, &four_weeks);
        let week = [(14, 1, 14.4), (84, 7, 6.0), (336, 28, 3.0), (1008, 84, 1.0)];
        check(7, &week);
        let quarter = [
            (180, 15, 14.4),
            (1080, 90, 6.0),
            (4320, 360, 3.0),
            (12960, 1080, 1.0),
        ];
        check(90, &quarter);
    }

    #[test]
    fn windows_have_bounds() {
        assert!(check(NANOS_PER_DAY).is_ok());
        assert!(check(HOUR).unwrap_err().contains("found 1h"));
        assert!(check(i64::MAX).is_err());
    }
}
