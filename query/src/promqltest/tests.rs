//! The shared corpus, and the format itself.

use std::path::PathBuf;

use super::{Failure, run};

fn pool() -> rayon::ThreadPool {
    rayon::ThreadPoolBuilder::new()
        .num_threads(1)
        .build()
        .unwrap()
}

/// The corpus lies beside the repository and is not part of it; where it is absent, the test says
/// so. Counts that were reached are floors: less is a regression.
#[test]
fn corpus_reaches_its_floors() {
    let floors = [
        ("duration_expression", 59),
        ("extended_vectors", 169),
        ("fill-modifier", 46),
        ("info", 53),
        ("limit", 36),
        ("name_label_dropping", 30),
        ("native_histograms", 513),
        ("start_timestamps", 2),
        ("type_and_unit", 58),
    ];
    // Beside the repository, or beside what holds its worktrees.
    let room = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let folder = room
        .ancestors()
        .map(|up| up.join("shared/promqltest"))
        .find(|f| f.is_dir());
    let Some(folder) = folder else {
        println!("skipped: no folder shared/promqltest beside the repository");
        return;
    };
    let pool = pool();
    let mut short = Vec::new();
    for (name, floor) in floors {
        let path = folder.join(format!("{name}.test"));
        let text = std::fs::read_to_string(&path).unwrap();
        let outcome = run(&text, true, &pool);
        for Failure { line, text } in &outcome.failures {
            println!("{name}:{line}: {text}");
        }
        let (passed, failed) = (outcome.passed, outcome.failures.len());
        println!("{name}: {passed} passed, {failed} failed");
        if passed < floor {
            short.push(format!("{name}: {passed} of {floor}"));
        }
    }
    assert!(short.is_empty(), "{short:?}");
}
