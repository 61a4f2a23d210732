//! Which devices are asked for.

use obs_model::Pattern;

/// Names that are left out, or that alone are taken; as node_exporter's pairs of flags.
#[derive(Clone, Debug, Default)]
pub(crate) struct Filter {
    pub(crate) exclude: Option<Pattern>,
    pub(crate) include: Option<Pattern>,
}

impl Filter {
    pub(crate) fn ignores(&self, name: &str) -> bool {
        let matches = |pattern: &Pattern| pattern.is_match(name.as_bytes());
        self.exclude.as_ref().is_some_and(matches)
            || self
                .include
                .as_ref()
                .is_some_and(|pattern| !matches(pattern))
    }
}

/// Units of systemd: taken are those that match the one and not the other, wholly.
#[derive(Clone, Debug)]
pub(crate) struct Units {
    pub(crate) include: Pattern,
    pub(crate) exclude: Pattern,
}

impl Units {
    pub(crate) fn includes(&self, name: &str) -> bool {
        self.include.is_match(name.as_bytes()) && !self.exclude.is_match(name.as_bytes())
    }
}
