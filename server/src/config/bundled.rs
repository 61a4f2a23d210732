//! `obs.rules`: the rules that come with obs.

use serde::Deserialize;

/// Nothing is recorded and nothing alerts unless this says so.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BundledConfig {
    /// Whether they are evaluated.
    pub bundled: bool,
    /// Names of rules, groups, objectives and files that are left out.
    pub disable: Vec<String>,
}
