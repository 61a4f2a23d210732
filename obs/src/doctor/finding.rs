//! What was found, and what it means.

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    Right,
    /// Good to know.
    Note,
    /// It works, and may not for long.
    Warning,
    /// Something is wrong.
    Problem,
}

impl Level {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Right => "right",
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Problem => "problem",
        }
    }
}

/// The outcome of a check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) level: Level,
    /// The name of the check.
    pub(super) check: &'static str,
    pub(super) found: String,
    pub(super) means: &'static str,
    pub(super) remedy: String,
}

/// All of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Report {
    pub(super) findings: Vec<Finding>,
}

impl Report {
    fn add(
        &mut self,
        level: Level,
        (check, found): (&'static str, impl Into<String>),
        means: &'static str,
        remedy: impl Into<String>,
    ) {
        self.findings.push(Finding {
            level,
            check,
            found: found.into(),
            means,
            remedy: remedy.into(),
        });
    }

    pub(super) fn right(&mut self, check: &'static str, found: impl Into<String>) {
        self.add(Level::Right, (check, found), "", "");
    }

    pub(super) fn note(
        &mut self,
        check: &'static str,
        found: impl Into<String>,
        means: &'static str,
        remedy: impl Into<String>,
    ) {
        self.add(Level::Note, (check, found), means, remedy);
    }

    pub(super) fn warning(
        &mut self,
        check: &'static str,
        found: impl Into<String>,
        means: &'static str,
        remedy: impl Into<String>,
    ) {
        self.add(Level::Warning, (check, found), means, remedy);
    }

    pub(super) fn problem(
        &mut self,
        check: &'static str,
        found: impl Into<String>,
        means: &'static str,
        remedy: impl Into<String>,
    ) {
        self.add(Level::Problem, (check, found), means, remedy);
    }

    /// The worst level.
    pub(super) fn worst(&self) -> Level {
        let levels = self.findings.iter().map(|finding| finding.level);
        levels.max().unwrap_or(Level::Right)
    }
}
