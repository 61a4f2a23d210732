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
