//! The shared corpus, and the format itself.

use std::path::{Path, PathBuf};

use super::{Failure, run};

fn pool() -> rayon::ThreadPool {
    rayon::ThreadPoolBuilder::new()
        .num_threads(1)
        .build()
        .unwrap()
}

/// The files of the corpus. It lies beside the repository and is not part of it; where it is
/// absent, the tests say so.
fn corpus() -> Option<PathBuf> {
    // Beside the repository, or beside what holds its worktrees.
    let room = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let folder = room
        .ancestors()
        .map(|up| up.join("shared/promqltest"))
        .find(|f| f.is_dir());
    if folder.is_none() {
        println!("skipped: no folder shared/promqltest beside the repository");
    }
    folder
}

/// Runs a file of the corpus: evaluations that passed, and the lines of those that did not.
fn run_corpus(folder: &Path, name: &str, delayed_names: bool) -> (usize, Vec<usize>) {
    let text = std::fs::read_to_string(folder.join(format!("{name}.test"))).unwrap();
    let outcome = run(&text, delayed_names, &pool());
    for Failure { line, text } in &outcome.failures {
        println!("{name}:{line}: {text}");
    }
    let lines = outcome.failures.iter().map(|f| f.line).collect();
    (outcome.passed, lines)
}

#[test]
fn the_whole_corpus_passes() {
    let Some(folder) = corpus() else {
        return;
    };
    let check = |name: &str, passed: usize| {
        let found = run_corpus(&folder, name, true);
        assert_eq!(found, (passed, Vec::new()), "{name}");
    };
    check("duration_expression", 59);
    check("extended_vectors", 169);
    check("fill-modifier", 46);
    check("info", 53);
    check("limit", 37);
    check("name_label_dropping", 30);
    check("native_histograms", 522);
    check("start_timestamps", 26);
    check("type_and_unit", 58);
}

/// The files assume that names leave at the end; where they do not speak of names, that must not
/// matter.
#[test]
fn the_corpus_passes_with_names_leaving_at_once() {
    let Some(folder) = corpus() else {
        return;
    };
    let check = |name: &str, failing: &[usize]| {
        let (_, lines) = run_corpus(&folder, name, false);
        assert_eq!(lines, failing, "{name}");
    };
    check("duration_expression", &[]);
    check("extended_vectors", &[]);
    check("fill-modifier", &[]);
    check("info", &[]);
    check("limit", &[]);
    // The file that is about the difference.
    check("name_label_dropping", &[59, 64, 69, 74, 89, 115, 119, 123]);
    // Annotations of histogram_quantile and histogram_fraction know no name then.
    let unnamed = [
        1616, 1621, 1626, 1631, 1635, 1639, 1644, 1648, 1653, 1908, 1911, 1914, 1917,
    ];
    check("native_histograms", &unnamed);
    check("start_timestamps", &[]);
    // Types and units left with the name, so that sides do not meet.
    check("type_and_unit", &[77, 92, 222, 237]);
}

/// Runs a text; gives what passed and each failure as `line: text`.
fn outcome(text: &str) -> (usize, Vec<String>) {
    let outcome = run(text, true, &pool());
    let failures = outcome.failures.iter();
    let failures = failures
        .map(|f| format!("{}: {}", f.line, f.text))
        .collect();
    (outcome.passed, failures)
}

#[test]
fn all_forms_of_commands_pass() {
    let text = r#"
load 5m
    a{x="1"} 0+10x10
    a{x="2"} 0+20x10  # no comment here
"#;
    // A comment needs a line of its own.
    assert_eq!(outcome(text).1.len(), 1);
    let text = r#"
load 5m
    a{x="1"} 0+10x10
    a{x="2"}	0+20x10
    b{x="1"} 3
    {"c.d", "e f"="g"} 1 _ stale NaN -Inf 1e3+1e1x2 0x3

# Words may be in any case.
eval instant at 50m SUM(a) BY (x) + BOOL ON (x) b
    expect fail regex: bool modifier can only be used

eval instant at 50m SUM(a) BY (x)
    {x="1"} 100
    {x="2"} 200

eval_ordered instant at 50m sort_desc(a)
    a{x="2"} 200
    a{x="1"} 100

eval instant at 50m sort(a)
    expect ordered
    a{x="1"} 100
    a{x="2"} 200

eval_fail instant at 0 a + on() a
    expected_fail_regexp found duplicate series .* on the right hand-side

eval_fail instant at 0 rate(a)
    expected_fail_message 1:6: parse error: expected type range vector in call to function "rate", got instant vector

eval_warn instant at 0 quantile(2, a)
    {} +Inf

eval_info instant at 50m rate(a[10m])
    {x="1"} 0.03333333333333333
    {x="2"} 0.06666666666666667

eval instant at 0 "it's"
    expect string "it's"

eval instant at 0 1 + 0x10
    17

eval instant at 5m a[10m]
    expect range vector from 0 to 5m step 5m
    a{x="1"} 0 10
    a{x="2"} 0 20

eval range from 0 to 10m step 5m b
    b{x="1"} 3

clear

eval instant at 0 a

load_with_nhcb 5m
    h_bucket{le="1"} 1 2
    h_bucket{le="2"} 3 4.5
    h_bucket{le="+Inf"} 6 8.5
    h_count 6 8.5
    h_sum 10 20

eval instant at 5m h
    h {{schema:-53 sum:20 count:8.5 custom_values:[1 2] buckets:[2 2.5 4]}}

eval instant at 0 histogram_quantile(0.5, {__name__=~"h|h_bucket"})
    expect fail msg: vector cannot contain metrics with the same labelset

eval instant at 0 start_timestamp(h)
    {} 0
"#;
    assert_eq!(outcome(text), (16, Vec::new()));
}

#[test]
fn what_does_not_fit_fails_with_its_line() {
    let check = |text: &str, expect: &str| {
        let (_, failures) = outcome(text);
        assert!(
            failures.iter().any(|f| f.starts_with(expect)),
            "{text}: {failures:?} instead of {expect}"
        );
    };
    check("\nfoo", "2: invalid command \"foo\"");
    check("load x", "1: invalid step definition \"x\"");
    check("load 5m\n  a 1\n  a{ 1", "3: ");
    check("load 5m\n  a@st 1s\n", "2: @st line has no following");
    check("load 5m\n  a@st 1s\n  a 1 2\n", "3: @st line has 1 values");
    check("eval at 5m a", "1: invalid evaluation command");
    check("eval instant at x a", "1: invalid timestamp definition");
    check(
        "eval instant at 0 1\n  2",
        "1: 1 at 1970-01-01T00:00:00Z: expected scalar 2, found 1",
    );
    check(
        "eval instant at 0 1\n  {} 1",
        "1: 1 at 1970-01-01T00:00:00Z: expected series",
    );
    check(
        "eval instant at 0 a\n  a 1 2",
        "2: expecting multiple values",
    );
    check(
        "eval instant at 0 vector(1)",
        "1: vector(1) at 1970-01-01T00:00:00Z: unexpected metric {}",
    );
    check(
        "eval instant at 0 vector(1)\n  {} 1\n  a 2",
        "1: vector(1) at 1970-01-01T00:00:00Z: expected metric",
    );
    check(
        "eval instant at 0 vector(1)\n  expect nothing",
        "2: invalid expected error",
    );
    check(
        "eval instant at 0 vector(1)\n  expect warn\n  {} 1",
        "1: vector(1) at 1970-01-01T00:00:00Z: expected warn",
    );
    check(
        "eval instant at 0 vector(1)\n  expect warn\n  expect no_warn",
        "3: invalid expect lines",
    );
    check(
        "eval instant at 0 vector(1)\n  expect fail",
        "1: vector(1) at 1970-01-01T00:00:00Z: expected error",
    );
    check(
        "eval range from 0 to 1m step 1m vector(1)\n  {} 1 1 1",
        "1: vector(1): expected 3 points",
    );
    check(
        "eval range from 0 to 1m step 1m vector(1)\n  {} 1 2",
        "1: vector(1): expected 2 at",
    );
}
