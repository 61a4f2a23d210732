//! Colour and the size of the terminal: what depends on where the output goes.
//!
//! Invariant: nothing is coloured that is not a terminal, unless the user said `always`.

use std::io::IsTerminal;
use std::sync::OnceLock;

use clap::ValueEnum;

/// `--color`
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Colour {
    /// On terminals, unless NO_COLOR is set
    Auto,
    /// Also into pipes and files
    Always,
    /// Never
    Never,
}

static CHOICE: OnceLock<Colour> = OnceLock::new();

/// What the command line said; the first word counts.
pub(crate) fn choose(colour: Colour) {
    CHOICE.get_or_init(|| colour);
}

/// A variable of the environment that is set and not empty.
#[expect(
    clippy::disallowed_methods,
    reason = "NO_COLOR, CLICOLOR_FORCE and TERM are no settings of obs, so no flag has them"
)]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Whether to colour: --color, then NO_COLOR (no-color.org), then CLICOLOR_FORCE, then whether
/// standard output is a terminal that can.
pub(crate) fn colours() -> bool {
    let choice = CHOICE.get().copied().unwrap_or(Colour::Auto);
    decided(choice, variable, std::io::stdout().is_terminal())
}

/// Whether the terminal can neither colour nor move its cursor.
pub(crate) fn dumb() -> bool {
    variable("TERM").is_some_and(|term| term == "dumb")
}

/// What `--color` says among these words, for what is printed before they are read.
pub(crate) fn wanted(words: &[std::ffi::OsString]) -> clap::ColorChoice {
    let texts = || words.iter().map(|word| word.to_str().unwrap_or_default());
    let before_end = || texts().take_while(|word| *word != "--");
    let joined = before_end().find_map(|word| word.strip_prefix("--color="));
    let apart = || {
        let mut behind = before_end().skip_while(|word| *word != "--color");
        behind.nth(1)
    };
    match joined.or_else(apart) {
        Some("never") => clap::ColorChoice::Never,
        Some("always") => clap::ColorChoice::Always,
        _ => clap::ColorChoice::Auto,
    }
}

fn decided(choice: Colour, variable: impl Fn(&str) -> Option<String>, terminal: bool) -> bool {
    match choice {
        Colour::Always => true,
        Colour::Never => false,
        Colour::Auto if variable("NO_COLOR").is_some() => false,
        Colour::Auto if variable("CLICOLOR_FORCE").is_some_and(|v| v != "0") => true,
        Colour::Auto => terminal && variable("TERM").is_none_or(|term| term != "dumb"),
    }
}

/// Columns and rows of the terminal; COLUMNS and LINES where there is none.
pub(crate) fn terminal() -> (usize, usize) {
    match rustix::termios::tcgetwinsize(std::io::stdout()) {
        Ok(size) if size.ws_col > 0 => (size.ws_col.into(), size.ws_row.into()),
        _ => {
            let number = |name: &str| variable(name)?.parse().ok();
            let size = |name: &str, most: usize| number(name).filter(|n| (1..=most).contains(n));
            (
                size("COLUMNS", 1000).unwrap_or(100),
                size("LINES", 1000).unwrap_or(40),
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn help_hears_of_colour_too() {
        let check = |words: &[&str], expect| {
            let words: Vec<std::ffi::OsString> = words.iter().map(Into::into).collect();
            assert_eq!(wanted(&words), expect, "{words:?}");
        };
        check(&["obs", "--color", "never"], clap::ColorChoice::Never);
        check(
            &["obs", "query", "--color=always"],
            clap::ColorChoice::Always,
        );
        check(&["obs", "--color"], clap::ColorChoice::Auto);
        check(
            &["obs", "logs", "--", "--color=never"],
            clap::ColorChoice::Auto,
        );
    }

    #[test]
    fn who_decides_about_colour() {
        let check = |choice, set: &[(&str, &str)], terminal, expect| {
            let variable = |name: &str| {
                let found = set.iter().find(|(own, _)| *own == name);
                found.map(|(_, value)| (*value).to_owned())
            };
            let found = decided(choice, variable, terminal);
            assert_eq!(found, expect, "{choice:?} {set:?} {terminal}");
        };
        check(Colour::Auto, &[], true, true);
        check(Colour::Auto, &[], false, false);
        check(Colour::Auto, &[("NO_COLOR", "1")], true, false);
        check(Colour::Auto, &[("TERM", "dumb")], true, false);
        check(Colour::Auto, &[("CLICOLOR_FORCE", "1")], false, true);
        check(Colour::Auto, &[("CLICOLOR_FORCE", "0")], false, false);
        check(
            Colour::Auto,
            &[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")],
            true,
            false,
        );
        check(Colour::Always, &[("NO_COLOR", "1")], false, true);
        check(Colour::Never, &[("CLICOLOR_FORCE", "1")], true, false);
    }
}
