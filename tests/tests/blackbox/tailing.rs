//! Files of lines are followed: each line once, through rotation and restarts.

use std::fs::OpenOptions;
use std::io::Write;

use super::list;
use crate::process::{Obs, Stop, until};

fn append(obs: &Obs, name: &str, text: &str) {
    let file = OpenOptions::new()
        .create(true)
        .append(true)
        .open(obs.path(name));
    file.and_then(|mut file| file.write_all(text.as_bytes()))
        .expect("the file is writable");
}

fn lines(obs: &Obs) -> Vec<String> {
    let params = [
        ("query", "{app=\"tailed\"}"),
        ("limit", "1000"),
        ("direction", "forward"),
    ];
    let found = obs.get("/loki/api/v1/query_range", &params).json();
    let mut all: Vec<String> = Vec::new();
    for stream in list(&found["data"]["result"]) {
        all.extend(
            list(&stream["values"])
                .iter()
                .filter_map(|e| e[1].as_str())
                .map(str::to_owned),
        );
    }
    all.sort();
    all
}

fn expect(obs: &Obs, count: usize) {
    let want: Vec<String> = (1..=count).map(|n| format!("line {n:02}")).collect();
    until(&format!("{count} lines"), || {
        (lines(obs).len() >= count).then_some(())
    });
    assert_eq!(lines(obs), want);
}

#[test]
fn a_file_is_followed_through_rotation_and_restart() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("app.log").display().to_string();
    let config = format!(
        "obs: {{collector: {{logs: {{files: [{{paths: [{path:?}], labels: {{app: tailed}}}}]}}}}}}\n"
    );
    let mut obs = Obs::with_config(&config);
    // `path` is absolute, and joining an absolute path gives it back.
    append(&obs, &path, "line 01\nline 02\nline 0");
    expect(&obs, 2);
    append(&obs, &path, "3\n");
    expect(&obs, 3);
    std::fs::rename(&path, format!("{path}.1")).expect("rotated");
    append(&obs, &path, "line 04\n");
    expect(&obs, 4);
    obs.stop(Stop::Terminate);
    append(&obs, &path, "line 05\n");
    obs.run();
    expect(&obs, 5);
    append(&obs, &path, "line 06\n");
    expect(&obs, 6);
}
