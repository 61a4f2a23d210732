//! The tree of routes: which receivers an alert goes to, and how its notifications are timed.

use std::collections::BTreeSet;

use obs_model::{Labels, Matcher, matcher};

use super::escalation::Step;

/// Which labels make groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GroupBy {
    /// All: each alert is a group.
    All,
    /// These.
    Labels(BTreeSet<String>),
}

/// How often what has not changed is told again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeat {
    /// After so many nanoseconds.
    After(i64),
    /// Never: once when it is wrong, once when it is right again.
    Never,
}

/// What holds for the alerts of a route, with what it has from those above.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Who is told.
    pub receiver: String,
    /// Which labels make groups.
    pub group_by: GroupBy,
    /// Nanoseconds before the first notification of a group.
    pub group_wait: i64,
    /// Nanoseconds between notifications of a group.
    pub group_interval: i64,
    /// How often what has not changed is told again.
    pub repeat: Repeat,
    /// Nanoseconds after which a recovery is told, where that is before the interval.
    pub resolve_wait: Option<i64>,
    /// Names of times in which nothing is told.
    pub mute: Vec<String>,
    /// Names of times outside of which nothing is told.
    pub active: Vec<String>,
    /// Labels for templates.
    pub labels: Vec<(String, String)>,
    /// Who else hears of what fires for long.
    pub escalate: Vec<Step>,
}

/// A route.
#[derive(Clone, Debug)]
pub struct Route {
    /// What alerts must have.
    pub matchers: Vec<Matcher>,
    /// Whether its siblings are asked too.
    pub continues: bool,
    /// What holds for its alerts.
    pub options: Options,
    /// Below it.
    pub routes: Vec<Route>,
    /// Its place in the tree, which does not change while the matchers above stay.
    pub key: String,
    /// The same, with the places among siblings.
    pub id: String,
}

impl Route {
    /// Names routes below a parent, and those below them.
    pub fn name(&mut self, parent: Option<(&str, &str)>, index: usize) {
        let own = shown(&self.matchers);
        match parent {
            None => {
                self.key = own.clone();
                self.id = own;
            }
            Some((key, id)) => {
                self.key = format!("{key}/{own}");
                self.id = format!("{id}/{own}/{index}");
            }
        }
        let (key, id) = (self.key.clone(), self.id.clone());
        for (index, route) in self.routes.iter_mut().enumerate() {
            route.name(Some((&key, &id)), index);
        }
    }

    /// The routes of an alert, in order of the tree; never none for the root.
    pub fn find(&self, labels: &Labels) -> Vec<&Self> {
        let mut found = Vec::new();
        self.collect(labels, &mut found);
        found
    }

    fn collect<'r>(&'r self, labels: &Labels, found: &mut Vec<&'r Self>) {
        if !matcher::all_match(&self.matchers, labels) {
            return;
        }
        let before = found.len();
        for route in &self.routes {
            let known = found.len();
            route.collect(labels, found);
            if found.len() > known && !route.continues {
                break;
            }
        }
        if found.len() == before {
            found.push(self);
        }
    }

    /// This and all below it.
    pub fn all(&self) -> Vec<&Self> {
        let mut all = vec![self];
        for route in &self.routes {
            all.extend(route.all());
        }
        all
    }

    /// The one with an id, of this and all below it.
    pub fn by_id(&self, id: &str) -> Option<&Self> {
        if self.id == id {
            return Some(self);
        }
        self.routes.iter().find_map(|route| route.by_id(id))
    }

    /// Whether a receiver may hear of it, now or further up.
    pub fn hears(&self, receiver: &str) -> bool {
        let mut steps = self.options.escalate.iter();
        self.options.receiver == receiver || steps.any(|step| step.receiver == receiver)
    }

    /// The labels by which an alert of this route is grouped.
    pub fn group_labels(&self, labels: &Labels) -> Labels {
        match &self.options.group_by {
            GroupBy::All => labels.clone(),
            GroupBy::Labels(names) => labels.without(|name| !names.contains(name)),
        }
    }

    /// The name of a group, as webhooks get it.
    pub fn group_key(&self, group: &Labels) -> String {
        let pairs = group.iter();
        let pairs: Vec<String> = pairs
            .map(|(name, value)| format!("{name}={}", obs_query::promql::quote(value)))
            .collect();
        format!("{}:{{{}}}", self.key, pairs.join(", "))
    }
}

/// Matchers as they print: `{a="b",c=~"d"}`.
pub fn shown(matchers: &[Matcher]) -> String {
    let mut sorted: Vec<&Matcher> = matchers.iter().collect();
    sorted.sort_by(|a, b| (&a.name, &a.value).cmp(&(&b.name, &b.value)));
    let shown: Vec<String> = sorted
        .into_iter()
        .map(|m| {
            let name = match obs_model::labels::is_legacy_name(&m.name) {
                true => m.name.to_string(),
                false => obs_query::promql::quote(&m.name),
            };
            format!(
                "{name}{}{}",
                m.op.as_str(),
                obs_query::promql::quote(&m.value)
            )
        })
        .collect();
    format!("{{{}}}", shown.join(","))
}
