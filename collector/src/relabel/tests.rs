//! Tables of relabellings: rules in YAML, labels before, labels after.

use obs_model::Labels;
use proptest::prelude::*;

use super::*;
use crate::config::RelabelConfig;

/// `expect` is `None` where the set is dropped.
fn check(yaml: &str, before: &[(&str, &str)], expect: Option<&[(&str, &str)]>) {
    let configs: Vec<RelabelConfig> = serde_yaml_ng::from_str(yaml).expect(yaml);
    let rules: Vec<Rule> = configs.into_iter().map(RelabelConfig::into_rule).collect();
    let mut labels = Labels::from_pairs(before.iter().copied()).to_builder();
    let kept = apply(&rules, &mut labels);
    let after = kept.then(|| labels.build());
    let expect = expect.map(|pairs| Labels::from_pairs(pairs.iter().copied()));
    assert_eq!(after, expect, "{yaml}");
}

const ABC: &[(&str, &str)] = &[("a", "foo"), ("b", "bar"), ("c", "baz")];

#[test]
fn replace() {
    check(
        "[{source_labels: [a], regex: 'f(.*)', target_label: d, replacement: 'ch${1}-ch$1'}]",
        ABC,
        Some(&[("a", "foo"), ("b", "bar"), ("c", "baz"), ("d", "choo-choo")]),
    );
    check(
        "[{source_labels: [a, b], regex: 'f(.*);(.*)r', target_label: a, replacement: 'b${1}${2}m'},
          {source_labels: [c, a], regex: '(b).*b(.*)ba(.*)', target_label: d, replacement: '$1$2$2$3'}]",
        &[("a", "foo"), ("b", "bar"), ("c", "baz")],
        Some(&[("a", "boobam"), ("b", "bar"), ("c", "baz"), ("d", "boooom")]),
    );
    // No match: nothing happens. Empty result: the label goes.
    check(
        "[{source_labels: [a], regex: x, target_label: b, replacement: y}]",
        ABC,
        Some(ABC),
    );
    check(
        "[{source_labels: [a], regex: '(f).*', target_label: a, replacement: '$2'}]",
        ABC,
        Some(&[("b", "bar"), ("c", "baz")]),
    );
    // The name is expanded too; anchored, and `.` matches a newline.
    check(
        "[{source_labels: [a], regex: '(f)(.*)', target_label: 'n_$1', replacement: '$2'}]",
        &[("a", "f\nx")],
        Some(&[("a", "f\nx"), ("n_f", "\nx")]),
    );
    check(
        "[{source_labels: [a], regex: 'fo', target_label: a, replacement: y}]",
        ABC,
        Some(ABC),
    );
    // The defaults: all of the source, `$1`.
    check(
        "[{source_labels: [a, b], separator: '-', target_label: d}]",
        ABC,
        Some(&[("a", "foo"), ("b", "bar"), ("c", "baz"), ("d", "foo-bar")]),
    );
    check(
        "[{target_label: a, replacement: ''}]",
        ABC,
        Some(&[("b", "bar"), ("c", "baz")]),
    );
}

#[test]
fn keep_and_drop() {
    check(
        "[{source_labels: [a], regex: 'f.*', action: keep}]",
        ABC,
        Some(ABC),
    );
    check(
        "[{source_labels: [a], regex: 'x', action: keep}]",
        ABC,
        None,
    );
    check(
        "[{source_labels: [a], regex: 'f.*', action: Drop}]",
        ABC,
        None,
    );
    check(
        "[{source_labels: [missing], regex: '', action: drop}]",
        ABC,
        None,
    );
    check(
        "[{source_labels: [a], target_label: b, action: keepequal}]",
        ABC,
        None,
    );
    check(
        "[{source_labels: [a], target_label: b, action: dropequal}]",
        ABC,
        Some(ABC),
    );
    check(
        "[{source_labels: [a], target_label: b, action: keepequal}]",
        &[("a", "1"), ("b", "1")],
        Some(&[("a", "1"), ("b", "1")]),
    );
    check(
        "[{source_labels: [a], target_label: b, action: dropequal}]",
        &[("a", "1"), ("b", "1")],
        None,
    );
}

#[test]
fn hashmod_is_prometheus_own() {
    check(
        "[{source_labels: [c], target_label: d, action: hashmod, modulus: 1000}]",
        &[("a", "foo"), ("b", "bar"), ("c", "baz")],
        Some(&[("a", "foo"), ("b", "bar"), ("c", "baz"), ("d", "976")]),
    );
    check(
        "[{source_labels: [a], target_label: d, action: hashmod, modulus: 1000}]",
        &[("a", "foo\nbar")],
        Some(&[("a", "foo\nbar"), ("d", "734")]),
    );
}

#[test]
fn names() {
    check(
        "[{regex: '(b.*)', replacement: 'bar_${1}', action: labelmap}]",
        &[("a", "foo"), ("b1", "bar"), ("b2", "baz")],
        Some(&[
            ("a", "foo"),
            ("b1", "bar"),
            ("b2", "baz"),
            ("bar_b1", "bar"),
            ("bar_b2", "baz"),
        ]),
    );
    check(
        "[{regex: '__meta_(my.*)', action: labelmap}]",
        &[("__meta_my_baz", "aaa"), ("__meta_other", "ccc")],
        Some(&[
            ("__meta_my_baz", "aaa"),
            ("__meta_other", "ccc"),
            ("my_baz", "aaa"),
        ]),
    );
    check(
        "[{regex: '(a|b)', action: labeldrop}]",
        ABC,
        Some(&[("c", "baz")]),
    );
    check(
        "[{regex: '(a|b)', action: labelkeep}]",
        ABC,
        Some(&[("a", "foo"), ("b", "bar")]),
    );
}

#[test]
fn case() {
    check(
        "[{source_labels: [a], target_label: up, action: uppercase},
          {source_labels: [up], target_label: low, action: lowercase}]",
        &[("a", "Éa")],
        Some(&[("a", "Éa"), ("up", "ÉA"), ("low", "éa")]),
    );
}

fn rules() -> impl Strategy<Value = Vec<Rule>> {
    let name = "[abc]{1,2}";
    let regex = prop_oneof![
        Just("(.*)".to_owned()),
        Just("a(.*)|b.*".to_owned()),
        Just("(a)?(b)?c*".to_owned()),
        "[abc.]{0,4}",
    ];
    let replacement = "[abx$1{}2]{0,5}";
    let action = (0..11usize, name, replacement, 1..5u64).prop_map(
        |(kind, target, replacement, modulus)| match kind {
            0 => Action::Replace {
                target: replacement.clone() + "a",
                replacement,
            },
            1 => Action::Replace {
                target: replacement,
                replacement: String::new(),
            },
            2 => Action::Keep,
            3 => Action::Drop,
            4 => Action::KeepEqual(target),
            5 => Action::DropEqual(target),
            6 => Action::HashMod { target, modulus },
            7 => Action::LabelMap(replacement),
            8 => Action::LabelDrop,
            9 => Action::LabelKeep,
            _ => Action::Uppercase(target),
        },
    );
    let rule = (
        proptest::collection::vec(name, 0..3),
        "[;-]?",
        regex,
        action,
    );
    let rule = rule.prop_map(|(source_labels, separator, regex, action)| Rule {
        source_labels,
        separator,
        regex: Pattern::anchored(&regex).expect(&regex),
        action,
    });
    proptest::collection::vec(rule, 0..5)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn any_rules_on_any_labels(
        rules in rules(),
        pairs in proptest::collection::btree_map("[abc]{1,2}", "[abcA\u{e9}\n]{0,4}", 0..5),
    ) {
        let before = Labels::from_pairs(pairs);
        let mut builder = before.to_builder();
        let kept = apply(&rules, &mut builder);
        let after = builder.build();
        // No label without a name or a value comes out.
        prop_assert!(after.iter().all(|(name, value)| !name.is_empty() && !value.is_empty()));
        // The same again, and who dropped it is one of those who can.
        let mut again = before.to_builder();
        let why = dropped_by(&rules, &mut again);
        prop_assert_eq!(why.is_none(), kept);
        prop_assert_eq!(again.build(), after);
        if let Some((place, why)) = why {
            prop_assert!(why.starts_with("action "));
            let mut alone = before.to_builder();
            prop_assert!(apply(&rules[..place], &mut alone));
        }
    }
}
