//! Which files a backup has, what they are known by, and where one is restored into.

use super::*;

#[expect(clippy::disallowed_methods, reason = "a folder for the test")]
fn folder(files: &[(&str, &[u8])]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (path, bytes) in files {
        let file = dir.path().join(path);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, bytes).unwrap();
    }
    dir
}

const ONE: &[u8] =
    include_bytes!("../../../storage/tests/fixtures/v1/toy/parts/00000000000000000001.part");
const TWO: &[u8] =
    include_bytes!("../../../storage/tests/fixtures/v1/toy/parts/00000000000000000002.part");

#[test]
fn what_is_kept() {
    let check = |folder: &str, name: &str, expect: bool| {
        assert_eq!(is_kept(folder, name), expect, "{folder}/{name}");
    };
    check("", "metrics", true);
    check("", "lock", false);
    check("", "copies", false);
    check("", "redaction.keys", true);
    check("", "obs.yml", false);
    check("forward", "obs.yml", true);
    check("rules", "lock", true);
    check("logs", "reserve", false);
    check("spans", "quarantine", false);
    check("alerts", "acknowledged", true);
    check("alerts", "acknowledged.tmp", false);
    check("", "tail.checkpoint.new", false);
}

#[test]
fn paths_stay_below() {
    for (path, expect) in [
        ("a/b", true),
        ("a..b", true),
        ("", false),
        ("/a", false),
        ("a//b", false),
        ("../a", false),
        ("a/..", false),
        ("a/./b", false),
        ("a\0", false),
        ("a\\b", false),
    ] {
        assert_eq!(is_plain(path), expect, "{path:?}");
    }
}

#[test]
fn parts_are_known_by_their_footers_and_damage_is_named() {
    let mut broken = ONE.to_vec();
    broken[9] ^= 1;
    let path = "metrics/parts/00000000000000000001.part";
    let tag = |bytes: &[u8]| {
        let dir = folder(&[(path, bytes)]);
        let files = Files::open(dir.path()).unwrap();
        let listed = files.list().unwrap();
        assert_eq!(listed.len(), 1, "{listed:?}");
        assert_eq!(
            (listed[0].path.as_str(), listed[0].bytes),
            (path, bytes.len() as u64)
        );
        let checked = files.check(path).map_err(|error| error.to_string());
        (listed[0].tag.clone(), checked)
    };
    let (known, checked) = tag(ONE);
    assert_eq!((known.len(), checked), (65, Ok(())));
    assert_ne!(tag(TWO).0, known);
    // The footer is the same; only reading all finds it.
    let (same, checked) = tag(&broken);
    assert_eq!(same, known);
    assert!(checked.unwrap_err().contains(path));
    // What is no part is known by its bytes.
    assert!(tag(b"cut").0.starts_with('f'));
}

#[test]
fn what_obs_does_not_write_is_left_out_and_told() {
    let dir = folder(&[
        ("lock", b""),
        ("obs.yml", b"secret"),
        ("old/metrics/x", b""),
        ("copies/1/x", b""),
        ("tail.checkpoint.new", b""),
        ("redaction.keys", b""),
    ]);
    let files = Files::open(dir.path()).unwrap();
    let listed: Vec<String> = files.list().unwrap().into_iter().map(|f| f.path).collect();
    assert_eq!(listed, ["redaction.keys"]);
    assert_eq!(files.left_out().unwrap(), ["obs.yml", "old"]);
}

#[test]
fn files_are_read_in_pieces() {
    let dir = folder(&[("lock", b""), ("rules/acknowledged", b"0123456789")]);
    let files = Files::open(dir.path()).unwrap();
    assert_eq!(files.read("rules/acknowledged", 2, 3).unwrap(), b"234");
    assert_eq!(files.read("rules/acknowledged", 8, 30).unwrap(), b"89");
    assert!(files.read("../x", 0, 1).is_err());
    assert!(Files::open(dir.path()).is_err(), "it is locked");
    assert!(files.left_out().unwrap().is_empty());
    assert!(Files::open(&dir.path().join("rules")).is_err());
}

#[test]
fn a_restore_begins_in_an_empty_folder_and_goes_on_where_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let restoring = Restoring::begin(&data, "b1").unwrap();
    assert!(!restoring.is_resumed());
    std::fs::create_dir_all(data.join("metrics/parts")).unwrap();
    drop(restoring);
    assert!(Files::open(&data).is_err(), "it is not whole");
    let other = Restoring::begin(&data, "b2").unwrap_err().to_string();
    assert!(other.contains("(b1)"), "{other}");
    let restoring = Restoring::begin(&data, "b1").unwrap();
    assert!(restoring.is_resumed());
    restoring
        .finish(&["metrics/parts".to_owned(), "metrics".to_owned()])
        .unwrap();
    Files::open(&data).unwrap();
    let full = Restoring::begin(&data, "b1").unwrap_err().to_string();
    assert!(full.contains("not empty"), "{full}");
}
