//! Labels and annotations of objects as labels of metrics: names made legal, clashes resolved, and
//! only those that an allow-list names.
//!
//! Invariant: the names that come out are legal and distinct, whatever the keys are.

use std::collections::{BTreeMap, HashMap};

use super::error::StateError;

/// Wildcards that one pattern may have.
const WILDCARDS_MAX: usize = 1;

/// One pattern of an allow-list: a key, or the parts around one `*`.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Pattern {
    Key(String),
    Around(String, String),
}

/// Which labels (or annotations) of a resource are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Allowed {
    everything: bool,
    patterns: Vec<Pattern>,
}

impl Allowed {
    fn new(keys: &[String]) -> Self {
        // A lone `*` counts in the first place only.
        let everything = keys.first().is_some_and(|key| key == "*");
        let keys = keys.iter().filter(|key| *key != "*");
        let patterns = keys.map(|key| match key.split_once('*') {
            Some((before, after)) => Pattern::Around(before.to_owned(), after.to_owned()),
            None => Pattern::Key(key.clone()),
        });
        Self {
            everything,
            patterns: patterns.collect(),
        }
    }

    /// Whether a list was given at all: without one there is no metric.
    pub(super) fn is_empty(&self) -> bool {
        !self.everything && self.patterns.is_empty()
    }

    /// Whether a key is on the list.
    fn has(&self, key: &str) -> bool {
        self.everything
            || self.patterns.iter().any(|pattern| match pattern {
                Pattern::Key(wanted) => key == wanted,
                Pattern::Around(before, after) => {
                    key.len() >= before.len() + after.len()
                        && key.starts_with(before.as_str())
                        && key.ends_with(after.as_str())
                }
            })
    }

    /// The pairs whose keys are on the list, named as labels of a metric.
    pub(super) fn select(&self, prefix: &str, pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        let pairs: Vec<_> = pairs
            .iter()
            .filter(|(key, _)| self.has(key))
            .copied()
            .collect();
        named(prefix, &pairs)
    }
}

/// Allow-lists by resource, as `--metric-labels-allowlist` gives them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AllowLists(BTreeMap<String, Vec<String>>);

impl AllowLists {
    /// Reads `pods=[app,k8s-app],nodes=[*]`.
    ///
    /// # Errors
    /// The text has another form, or a key has more than one wildcard.
    pub fn parse(text: &str) -> Result<Self, StateError> {
        let refuse = || StateError::AllowList(text.to_owned());
        let mut lists = BTreeMap::new();
        let mut rest = text.trim();
        while !rest.is_empty() {
            let (name, after) = rest.split_once("=[").ok_or_else(refuse)?;
            let (keys, after) = after.split_once(']').ok_or_else(refuse)?;
            if name.trim().is_empty() || name.contains([',', '[', ']', '=']) {
                return Err(refuse());
            }
            let mut list = Vec::new();
            if !keys.is_empty() {
                for key in keys.split(',') {
                    if key.trim().is_empty() || key.contains('[') {
                        return Err(refuse());
                    }
                    list.push(key.trim().to_owned());
                }
            }
            lists.insert(name.trim().to_owned(), list);
            rest = match after.strip_prefix(',') {
                Some("") => return Err(refuse()),
                Some(more) => more,
                None if after.is_empty() => "",
                None => return Err(refuse()),
            };
        }
        Self::new(lists)
    }

    /// Lists that a configuration file gives.
    ///
    /// # Errors
    /// A key has more than one wildcard.
    pub fn new(lists: BTreeMap<String, Vec<String>>) -> Result<Self, StateError> {
        let many = |key: &&String| key.matches('*').count() > WILDCARDS_MAX;
        if let Some(key) = lists.values().flatten().find(many) {
            return Err(StateError::Wildcards(key.clone()));
        }
        Ok(Self(lists))
    }

    /// The resources that are named; `*` stands for all.
    pub(super) fn resources(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// The list of a resource; that of `*` goes before it.
    pub(super) fn of(&self, resource: &str) -> Allowed {
        let list = self.0.get("*").or_else(|| self.0.get(resource));
        list.map_or_else(Allowed::default, |keys| Allowed::new(keys))
    }
}

/// Pairs named as labels of a metric: prefixed, made legal, and where two become the same, told
/// apart by `_conflictN`.
pub(super) fn named(prefix: &str, pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    let mut sorted = pairs.to_vec();
    sorted.sort_unstable();
    let mut out: Vec<(String, String)> = Vec::with_capacity(sorted.len());
    let mut used: HashMap<String, usize> = HashMap::new();
    let mut conflicts: HashMap<String, usize> = HashMap::new();
    for (key, value) in sorted {
        let base = format!("{prefix}_{}", snake_case(key));
        let mut name = base.clone();
        if let Some(count) = conflicts.get_mut(&base) {
            name = next_free(&base, count, &used);
        } else if let Some(first) = used.remove(&base) {
            let mut count = 0;
            let renamed = next_free(&base, &mut count, &used);
            used.insert(renamed.clone(), first);
            out[first].0 = renamed;
            name = next_free(&base, &mut count, &used);
            conflicts.insert(base, count);
        }
        used.insert(name.clone(), out.len());
        out.push((name, value.to_owned()));
    }
    out
}

fn next_free(base: &str, count: &mut usize, used: &HashMap<String, usize>) -> String {
    loop {
        *count += 1;
        let candidate = format!("{base}_conflict{count}");
        if !used.contains_key(&candidate) {
            return candidate;
        }
    }
}

/// Every character that a label's name may not have as `_`.
pub(super) fn sanitized(name: &str) -> String {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '_';
    name.chars()
        .map(|c| if fits(c) { c } else { '_' })
        .collect()
}

/// Sanitised, with `_` before each capital that follows a small letter or a digit, all small.
fn snake_case(name: &str) -> String {
    let mut out = String::with_capacity(name.len() + 4);
    let mut before = '_';
    for c in sanitized(name).chars() {
        if c.is_ascii_uppercase() && (before.is_ascii_lowercase() || before.is_ascii_digit()) {
            out.push('_');
        }
        out.push(c.to_ascii_lowercase());
        before = c;
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(pairs: &[(&str, &str)], expect: &[(&str, &str)]) {
        let out = named("label", pairs);
        let out: Vec<_> = out.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        assert_eq!(out, expect);
    }

    #[test]
    fn names() {
        check(
            &[
                ("app.kubernetes.io/name", "x"),
                ("fooBar9Baz", "y"),
                ("日", "z"),
            ],
            &[
                ("label_app_kubernetes_io_name", "x"),
                ("label_foo_bar9_baz", "y"),
                ("label__", "z"),
            ],
        );
    }

    #[test]
    fn clashes_are_told_apart() {
        check(
            &[
                ("a-b", "1"),
                ("a.b", "2"),
                ("a/b", "3"),
                ("a_b", "4"),
                ("c", "5"),
            ],
            &[
                ("label_a_b_conflict1", "1"),
                ("label_a_b_conflict2", "2"),
                ("label_a_b_conflict3", "3"),
                ("label_a_b_conflict4", "4"),
                ("label_c", "5"),
            ],
        );
        // A key that looks like what a clash makes.
        check(
            &[("a-b", "1"), ("a-b-conflict1", "2"), ("a.b", "3")],
            &[
                ("label_a_b_conflict2", "1"),
                ("label_a_b_conflict1", "2"),
                ("label_a_b_conflict3", "3"),
            ],
        );
    }

    #[test]
    fn lists() {
        let lists = AllowLists::parse("pods=[app, k8s-*],nodes=[*],jobs=[]").unwrap();
        let pods = lists.of("pods");
        let pairs = [("app", "a"), ("k8s-app", "b"), ("other", "c")];
        let selected = pods.select("label", &pairs);
        assert_eq!(
            selected,
            [
                ("label_app".to_owned(), "a".to_owned()),
                ("label_k8s_app".to_owned(), "b".to_owned())
            ]
        );
        assert_eq!(lists.of("nodes").select("label", &pairs).len(), 3);
        assert!(lists.of("jobs").is_empty() && lists.of("secrets").is_empty());
        let all = AllowLists::parse("*=[app],pods=[other]").unwrap();
        assert_eq!(all.of("pods"), all.of("jobs"));
        // The full wildcard counts in the first place only.
        assert_eq!(
            AllowLists::parse("pods=[app,*]")
                .unwrap()
                .of("pods")
                .select("label", &pairs)
                .len(),
            1
        );
    }

    #[test]
    fn odd_lists() {
        for text in [
            "pods",
            "pods=",
            "pods=app",
            "pods=[app",
            "pods=[app]x",
            "pods=[app],",
            "pods=[,app]",
            "pods=[app,]",
            ",pods=[app]",
            "pods=[a],,nodes=[b]",
            "pods=[a[]",
            "=[a]",
            "pods=[*a*]",
        ] {
            assert!(AllowLists::parse(text).is_err(), "{text}");
        }
        assert_eq!(AllowLists::parse("").unwrap(), AllowLists::default());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn any_keys_make_distinct_legal_names(keys in prop::collection::btree_set("[aB._/-]{1,4}(_conflict[12])?", 0..12)) {
            let pairs: Vec<_> = keys.iter().map(|key| (key.as_str(), "")).collect();
            let out = named("label", &pairs);
            let names: std::collections::BTreeSet<_> = out.iter().map(|(name, _)| name).collect();
            prop_assert_eq!(names.len(), keys.len());
            prop_assert!(out.iter().all(|(name, _)| *name == sanitized(name)));
        }

        #[test]
        fn any_list_is_read_or_refused(text in "[a*=,\\[\\] ]{0,16}") {
            drop(AllowLists::parse(&text));
        }
    }
}
