//! `obs import` and `obs export`: between two servers, from texts, and from blocks that Prometheus'
//! own tool made.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Output};

use super::vector;
use crate::process::Obs;

/// OpenMetrics with timestamps: a counter and a gauge of three instances, an hour of 2023.
fn exposition() -> String {
    let mut text = String::from("# TYPE reqs counter\n# HELP reqs Requests.\n");
    for instance in ["a", "b", "c"] {
        for at in 0..240 {
            let (value, time) = (at * 3, 1_700_000_000 + at * 15);
            text.push_str(&format!(
                "reqs_total{{instance=\"{instance}\"}} {value} {time}\n"
            ));
        }
    }
    text.push_str("# TYPE temperature gauge\n");
    for at in 0..240 {
        let (value, time) = (f64::from(at % 7) + 0.25, 1_700_000_000 + at * 15);
        text.push_str(&format!("temperature{{room=\"küche\"}} {value} {time}\n"));
    }
    text + "# EOF\n"
}

const QUESTIONS: [&str; 3] = [
    "sum by (instance) (sum_over_time(reqs_total[2h]))",
    "count_over_time(temperature[2h])",
    "sum_over_time(temperature[2h])",
];

fn answers(obs: &Obs) -> Vec<Vec<(String, f64)>> {
    let ask = |query: &&str| {
        let params = [("query", *query), ("time", "1700003600")];
        vector(&obs.get("/api/v1/query", &params).json())
    };
    QUESTIONS.iter().map(ask).collect()
}

fn text(output: &Output) -> String {
    let (out, error) = (&output.stdout, &output.stderr);
    format!(
        "{}{}",
        String::from_utf8_lossy(out),
        String::from_utf8_lossy(error)
    )
}

fn import(obs: &Obs, path: &Path, more: &[&str]) -> Output {
    let path = path.display().to_string();
    obs.client(&[&["import", &path], more].concat())
}

#[track_caller]
fn succeeds(output: &Output) -> String {
    assert!(output.status.success(), "{}", text(output));
    text(output)
}

#[test]
fn every_form_goes_out_and_in_again() {
    let obs = Obs::start();
    let source = obs.path("source.om");
    std::fs::write(&source, exposition()).expect("writable");
    let told = succeeds(&import(&obs, &source, &[]));
    assert!(told.contains("imported 960 samples"), "{told}");
    let expect = answers(&obs);
    assert_eq!(expect[1][0].1, 240.0);
    for form in ["openmetrics", "json", "csv"] {
        let file = obs.path(&format!("out.{form}")).display().to_string();
        let columns = "__name__,instance,room,__value__,__timestamp__:rfc3339";
        let mut export = vec!["export", "reqs_total", "{room=\"küche\"}", "-o", form];
        export.extend(["--file", &file, "--columns", columns, "--window", "20m"]);
        export.extend(["--from", "1700000000", "--to", "1700003600"]);
        let told = succeeds(&obs.client(&export));
        assert!(told.contains("exported 960 samples"), "{told}");
        let other = Obs::start();
        let more = ["--format", form, "--columns", columns];
        succeeds(&import(&other, Path::new(&file), &more));
        assert_eq!(answers(&other), expect, "{form}");
    }
}

#[test]
fn faults_are_told_and_the_rest_is_taken() {
    let obs = Obs::start();
    let check = |name: &str, body: &str, more: &[&str], parts: &[&str]| {
        let path = obs.path(name);
        std::fs::write(&path, body).expect("writable");
        let output = import(&obs, &path, more);
        assert_eq!(output.status.code(), Some(1), "{}", text(&output));
        for part in parts {
            assert!(text(&output).contains(part), "{part}: {}", text(&output));
        }
    };
    let good = r#"{"metric":{"__name__":"good"},"values":[1],"timestamps":[1700000000000]}"#;
    check(
        "a.jsonl",
        &format!("{{}}\n{good}\nx\n"),
        &[],
        &["line 1:", "line 3:", "imported 1 samples", "2 faults"],
    );
    check(
        "b.om",
        "good 1 1700000000\nbad\ngood 2 1700000015\n",
        &[],
        &["line 2:", "\"# EOF\"", "imported 2 samples"],
    );
    check("c.bin", "", &[], &["--format says what it is"]);
    check("d.csv", "1,2\n", &[], &["--columns says"]);
}

#[test]
fn an_interrupted_import_goes_on() {
    let obs = Obs::start();
    let (source, note) = (
        obs.path("source.om"),
        obs.path("note").display().to_string(),
    );
    std::fs::write(&source, exposition()).expect("writable");
    let begin = exposition().find("temperature{").expect("it is there");
    let name = source.display().to_string();
    let found = std::fs::metadata(&source).expect("it is there");
    let print = serde_json::json!([found.len(), found.mtime(), found.mtime_nsec()]);
    let state = serde_json::json!({"file": name, "position": begin, "print": print}).to_string();
    std::fs::write(&note, &state).expect("writable");
    let told = succeeds(&import(&obs, &source, &["--resume", &note]));
    assert!(told.contains("imported 240 samples"), "{told}");
    assert!(!Path::new(&note).exists());
    // A position means nothing in another text.
    std::fs::write(&note, &state).expect("writable");
    std::fs::write(&source, exposition().replace("küche", "bad")).expect("writable");
    let other = import(&obs, &source, &["--resume", &note]);
    assert_eq!(other.status.code(), Some(1));
    let told = text(&other);
    assert!(told.contains("is not as it was"), "{told}");
}

#[test]
fn an_interrupted_export_goes_on() {
    let obs = Obs::start();
    let source = obs.path("source.om");
    std::fs::write(&source, exposition()).expect("writable");
    succeeds(&import(&obs, &source, &[]));
    let path = |name: &str| obs.path(name).display().to_string();
    let (whole, part, note) = (path("whole"), path("part"), path("note"));
    let export = |file: &str, to: &str, more: &[&str]| {
        let fixed = [
            "export",
            "{__name__=~\".+\"}",
            "--from",
            "1700000000",
            "--window",
            "10m",
        ];
        obs.client(&[&fixed[..], &["--to", to, "--file", file], more].concat())
    };
    succeeds(&export(&whole, "1700003600", &[]));
    // The first half is there, and some of what came behind it.
    succeeds(&export(&part, "1700001799.999", &[]));
    let half = std::fs::read(&part).expect("readable");
    std::fs::write(&part, [&half[..], b"{\"met"].concat()).expect("writable");
    let second = 1_000_000_000_i64;
    let state = serde_json::json!({
        "export": {
            "selectors": ["{__name__=~\".+\"}"], "file": part, "format": "Json", "columns": null,
            "from": "1700000000", "to": "1700003600", "since": null,
        },
        "from": 1_700_000_000 * second, "to": 1_700_003_600 * second,
        "next": 1_700_001_800 * second, "length": half.len(), "samples": 480, "left_out": null,
    });
    std::fs::write(&note, state.to_string()).expect("writable");
    let other = export(&whole, "1700003600", &["--resume", &note]);
    assert!(
        text(&other).contains("of another export"),
        "{}",
        text(&other)
    );
    let told = succeeds(&export(&part, "1700003600", &["--resume", &note]));
    assert!(told.contains("exported 960 samples"), "{told}");
    assert!(!Path::new(&note).exists());
    let read = |file: &str| std::fs::read_to_string(file).expect("readable");
    assert_eq!(read(&part), read(&whole));
    // Begun anew it leaves no note, and the same.
    succeeds(&export(&part, "1700003600", &["--resume", &note]));
    assert_eq!(read(&part), read(&whole));
    assert!(!Path::new(&note).exists());
}

#[test]
fn an_export_tells_what_its_form_has_no_place_for() {
    let obs = Obs::start();
    let source = obs.path("source.om");
    let body = "# TYPE a counter\na_total{x=\"1\"} 1 1700000000 # {id=\"7\"} 1 1700000000\n# EOF\n";
    std::fs::write(&source, body).expect("writable");
    succeeds(&import(&obs, &source, &[]));
    let lines = obs.path("stale.jsonl");
    let stale = r#"{"metric":{"__name__":"b"},"values":[1,null],"timestamps":[1700000000000,1700000015000]}"#;
    std::fs::write(&lines, stale).expect("writable");
    succeeds(&import(&obs, &lines, &[]));
    let export = |selector: &str, form: &str| {
        let range = ["--from", "1700000000", "--to", "1700000060"];
        let output = obs.client(&[&["export", selector, "-o", form], &range[..]].concat());
        (output.status.code(), text(&output))
    };
    let check = |selector: &str, form: &str, code: i32, parts: &[&str]| {
        let (status, told) = export(selector, form);
        assert_eq!(status, Some(code), "{told}");
        for part in parts {
            assert!(told.contains(part), "{part}: {told}");
        }
    };
    check(
        "a_total",
        "csv",
        1,
        &["a_total,,,1,", "1 exemplars; the labels x"],
    );
    check("a_total", "json", 1, &["1 exemplars", "without metadata"]);
    check("b", "json", 0, &["exported 2 samples", "null"]);
    check("b", "csv", 1, &["exported 1 samples", "1 stale markers"]);
    check(
        "b",
        "openmetrics",
        1,
        &["b{} 1 1700000000\n# EOF", "1 stale markers"],
    );
}

/// A block of the real thing: made by `promtool` of the installed package at run time.
#[test]
fn blocks_of_prometheus() {
    let obs = Obs::start();
    let (source, blocks) = (obs.path("source.om"), obs.path("blocks"));
    std::fs::write(&source, exposition()).expect("writable");
    let made = Command::new("promtool")
        .args(["tsdb", "create-blocks-from", "openmetrics"])
        .args([&source, &blocks])
        .output();
    let Ok(made) = made else {
        eprintln!("skipped: promtool is not installed");
        return;
    };
    succeeds(&made);
    let told = succeeds(&import(&obs, &blocks, &[]));
    assert!(told.contains("imported 960 samples of"), "{told}");
    let other = Obs::start();
    succeeds(&import(&other, &source, &[]));
    assert_eq!(answers(&obs), answers(&other));
    // A flipped bit in a chunk costs that chunk and is told.
    let block = std::fs::read_dir(&blocks)
        .expect("blocks")
        .next()
        .expect("one")
        .expect("readable");
    let chunks = block.path().join("chunks/000001");
    let mut bytes = std::fs::read(&chunks).expect("chunks");
    bytes[60] ^= 1;
    std::fs::write(&chunks, bytes).expect("writable");
    let damaged = import(&Obs::start(), &block.path(), &[]);
    assert_eq!(damaged.status.code(), Some(1));
    assert!(text(&damaged).contains("checksum"), "{}", text(&damaged));
}
