//! The rules and objectives that come with obs.
//!
//! Invariant: each alert has a page in `docs/runbooks/` and a test in `bundled/tests/` that fires it.

use std::collections::BTreeSet;

use obs_model::limits::Limits;

use crate::error::FileError;
use crate::rules::{Group, Parsing, RuleFile};
use crate::slo::{self, Slo};

/// A file that comes with obs.
#[derive(Clone, Copy, Debug)]
pub struct Bundled {
    /// Its name.
    pub name: &'static str,
    /// What is in it.
    pub text: &'static str,
}

/// Rules.
pub const RULES: &[Bundled] = &[
    Bundled {
        name: "kubernetes.yml",
        text: include_str!("../bundled/kubernetes.yml"),
    },
    Bundled {
        name: "kubernetes-system.yml",
        text: include_str!("../bundled/kubernetes-system.yml"),
    },
    Bundled {
        name: "node.yml",
        text: include_str!("../bundled/node.yml"),
    },
    Bundled {
        name: "obs.yml",
        text: include_str!("../bundled/obs.yml"),
    },
];

/// Objectives.
pub const OBJECTIVES: &[Bundled] = &[Bundled {
    name: "kubernetes-slo.yml",
    text: include_str!("../bundled/kubernetes-slo.yml"),
}];

/// What comes with obs, read.
#[derive(Clone, Debug, Default)]
pub struct Taken {
    /// Groups, each with the name of its file.
    pub groups: Vec<(String, Group)>,
    /// Objectives, whose rules are among the groups.
    pub objectives: Vec<Slo>,
}

/// What comes with obs, without what is named: rules, groups, objectives or files.
pub fn take(without: &[String], limits: &Limits) -> Result<Taken, FileError> {
    let mut unused: BTreeSet<&str> = without.iter().map(String::as_str).collect();
    let mut gone = |name: &str| {
        unused.remove(name);
        without.iter().any(|w| w == name)
    };
    let mut taken = Taken::default();
    for file in RULES {
        let groups = read(file, file.text, limits)?;
        let whole = gone(file.name);
        for mut group in groups {
            let all = gone(&group.name) || whole;
            group.rules.retain(|rule| !gone(rule.name()) && !all);
            if !group.rules.is_empty() {
                taken.groups.push((file.name.to_owned(), group));
            }
        }
    }
    for file in OBJECTIVES {
        let whole = gone(file.name);
        let mut all = slo::parse(file.text, limits).map_err(|error| of(file, &error))?;
        for slo in &mut all {
            slo.alerts.retain(|alert| !gone(&alert.name));
        }
        all.retain(|slo| !gone(&slo.id) && !whole);
        let rules = slo::rules(&all).map_err(|message| FileError {
            position: None,
            message: format!("{}: {message}", file.name),
        })?;
        let groups = read(file, &rules, limits)?.into_iter();
        taken
            .groups
            .extend(groups.map(|group| (file.name.to_owned(), group)));
        taken.objectives.append(&mut all);
    }
    match unused.first() {
        None => Ok(taken),
        Some(name) => Err(FileError {
            position: None,
            message: format!("expected the name of a bundled rule, group or file, found {name:?}"),
        }),
    }
}

fn read(file: &Bundled, text: &str, limits: &Limits) -> Result<Vec<Group>, FileError> {
    let parsing = Parsing {
        limits: *limits,
        ..Parsing::default()
    };
    let read = RuleFile::parse(text, &parsing).map_err(|error| of(file, &error))?;
    Ok(read.groups)
}

fn of(file: &Bundled, error: &FileError) -> FileError {
    FileError {
        position: None,
        message: format!("{}:{error}", file.name),
    }
}

#[cfg(test)]
mod tests;
