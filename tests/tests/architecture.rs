//! The rules of the house (ARCHITECTURE.md), read from `cargo metadata` and the sources.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// Rooms and the rooms that each may use. `true` marks the rooms that may be async.
const ROOMS: &[(&str, &[&str], bool)] = &[
    ("model", &[], false),
    ("wire", &["model"], false),
    ("storage", &["model"], false),
    ("tsdb", &["model", "storage"], false),
    ("logstore", &["model", "storage"], false),
    ("tracestore", &["model", "storage"], false),
    ("query", &["model", "tsdb", "logstore", "tracestore"], false),
    ("alerting", &["model", "query"], false),
    ("cost", &["model"], false),
    ("kubernetes", &["model", "wire"], true),
    (
        "collector",
        &["model", "wire", "storage", "kubernetes"],
        true,
    ),
    ("node-exporter", &["model", "wire"], false),
    (
        "server",
        &[
            "model",
            "wire",
            "storage",
            "tsdb",
            "logstore",
            "tracestore",
            "query",
            "alerting",
            "cost",
            "kubernetes",
            "collector",
            "node-exporter",
        ],
        true,
    ),
    (
        "obs",
        &[
            "model",
            "wire",
            "query",
            "alerting",
            "kubernetes",
            "server",
            "node-exporter",
        ],
        true,
    ),
];

/// Crates of the edge: only async rooms (and bench, tests) may depend on them directly.
const EDGE_CRATES: &[&str] = &[
    "tokio",
    "axum",
    "tonic",
    "kube",
    "reqwest",
    "hyper",
    "opentelemetry",
    "opentelemetry-otlp",
    "opentelemetry_sdk",
];

/// Crates that only one room may depend on directly.
const CRATES_OF_ONE_ROOM: &[(&str, &str)] =
    &[("kube", "kubernetes"), ("k8s-openapi", "kubernetes")];

/// Rooms that may derive serde traits: foreign formats and configuration files.
const SERDE_ROOMS: &[&str] = &[
    "wire",
    "kubernetes",
    "alerting",
    "collector",
    "server",
    "obs",
];

const LICENCES: &[&str] = &[
    "MIT",
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "ISC",
    "Zlib",
    "Unicode-3.0",
    "Unicode-DFS-2016",
    "CC0-1.0",
    "0BSD",
    "MPL-2.0",
    "Unlicense",
    "BSL-1.0",
    "OpenSSL",
    "Apache-2.0 WITH LLVM-exception",
    "CDLA-Permissive-2.0",
];

const LOCKED_PACKAGES_MAX: usize = 450;
const FILE_LINES_MAX: usize = 800;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("tests/ has a parent")
        .to_owned()
}

fn metadata() -> Value {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked"])
        .current_dir(root())
        .output()
        .expect("cargo metadata runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).expect("cargo metadata is JSON")
}

fn files(directory: &Path, extension: &str, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).expect("folder is readable") {
        let path = entry.expect("entry is readable").path();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if path.is_dir() {
            if !["target", "node_modules", ".git", "data", "dist"].contains(&name.as_str()) {
                files(&path, extension, found);
            }
        } else if path.extension().is_some_and(|e| e == extension) {
            found.push(path);
        }
    }
}

/// Every Rust source of the rooms with its text, and its path from the root.
fn sources() -> Vec<(String, String)> {
    let mut found = Vec::new();
    files(&root(), "rs", &mut found);
    found
        .into_iter()
        .map(|path| {
            let text = fs::read_to_string(&path).expect("source is text");
            (
                path.strip_prefix(root())
                    .expect("below root")
                    .display()
                    .to_string(),
                text,
            )
        })
        .collect()
}

fn is_test_file(path: &str) -> bool {
    path.starts_with("tests/") || path.contains("/tests/") || path.ends_with("tests.rs")
}

/// The part of a source before its tests.
fn without_tests(text: &str) -> &str {
    text.split("\n#[cfg(test)]").next().unwrap_or(text)
}

fn refuse(title: &str, faults: &[String]) {
    assert!(faults.is_empty(), "{title}:\n  {}", faults.join("\n  "));
}

fn workspace_packages(metadata: &Value) -> BTreeMap<String, Vec<(String, String)>> {
    let list = |v: &Value| v.as_array().cloned().unwrap_or_default();
    let members: BTreeSet<String> = list(&metadata["workspace_members"])
        .iter()
        .map(ToString::to_string)
        .collect();
    list(&metadata["packages"])
        .iter()
        .filter(|p| members.contains(&p["id"].to_string()))
        .map(|p| {
            let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
            let dependencies = list(&p["dependencies"])
                .iter()
                .map(|d| (text(&d["name"]), text(&d["kind"])))
                .collect();
            (text(&p["name"]), dependencies)
        })
        .collect()
}

#[test]
fn edges_between_rooms_are_those_of_the_table() {
    let packages = workspace_packages(&metadata());
    let mut faults = Vec::new();
    for (room, may_use, _) in ROOMS {
        let package = if *room == "obs" {
            "obs".to_owned()
        } else {
            format!("obs-{room}")
        };
        let Some(dependencies) = packages.get(&package) else {
            faults.push(format!("{room} is in the table but not in the workspace"));
            continue;
        };
        for (name, kind) in dependencies {
            if let Some(used) = name.strip_prefix("obs-")
                && kind != "dev"
                && !may_use.contains(&used)
            {
                faults.push(format!("{room} uses {used}"));
            }
        }
    }
    let known: BTreeSet<String> = ROOMS.iter().map(|(r, ..)| format!("obs-{r}")).collect();
    for package in packages.keys() {
        let outside = ["obs", "obs-bench", "obs-tests"].contains(&package.as_str());
        if !outside && !known.contains(package) {
            faults.push(format!(
                "{package} is in the workspace but not in the table"
            ));
        }
    }
    refuse("edges that the table of rooms does not have", &faults);
}

#[test]
fn only_async_rooms_depend_on_the_edge() {
    let packages = workspace_packages(&metadata());
    let mut faults = Vec::new();
    for (room, _, is_async) in ROOMS {
        let dependencies = packages.get(&format!("obs-{room}")).into_iter().flatten();
        for (name, kind) in dependencies {
            if !is_async && kind != "dev" && EDGE_CRATES.contains(&name.as_str()) {
                faults.push(format!("{room} depends on {name}"));
            }
            let only = CRATES_OF_ONE_ROOM.iter().find(|(only, _)| only == name);
            if only.is_some_and(|(_, owner)| owner != room) {
                faults.push(format!("{room} depends on {name}"));
            }
        }
    }
    refuse("crates of the edge in rooms that are not async", &faults);
}

#[test]
fn synchronous_rooms_read_no_clock_no_chance_no_environment_no_files() {
    let banned = [
        "SystemTime::now",
        "Instant::now",
        "std::env::",
        "std::fs",
        "thread::spawn",
        "thread::sleep",
        " rand::",
    ];
    let doors = [
        "storage/src/disk.rs",
        "storage/src/blob.rs",
        "storage/src/bucket.rs",
    ];
    let rooms: Vec<String> = ROOMS
        .iter()
        .filter(|(room, _, is_async)| !is_async && *room != "node-exporter")
        .map(|(room, ..)| format!("{room}/src/"))
        .collect();
    let mut faults = Vec::new();
    for (path, text) in sources() {
        let inside = rooms.iter().any(|r| path.starts_with(r)) && !is_test_file(&path);
        if !inside || doors.contains(&path.as_str()) {
            continue;
        }
        for word in banned.iter().filter(|w| without_tests(&text).contains(**w)) {
            faults.push(format!("{path}: {word}"));
        }
    }
    refuse("doors to the outside world in synchronous rooms", &faults);
}

#[test]
fn serde_stays_in_wire_and_configuration() {
    let mut faults = Vec::new();
    for (path, text) in sources() {
        let room = path.split('/').next().unwrap_or_default();
        let derives = without_tests(&text).lines().any(|l| {
            l.contains("derive(") && (l.contains("Serialize") || l.contains("Deserialize"))
        });
        if derives && !SERDE_ROOMS.contains(&room) && !["tests", "bench"].contains(&room) {
            faults.push(path);
        }
    }
    refuse("serde derives outside wire and configuration", &faults);
}

#[test]
fn prost_stays_in_wire() {
    let packages = workspace_packages(&metadata());
    let faults: Vec<String> = packages
        .iter()
        .filter(|(package, _)| !["obs-wire", "obs-tests", "obs-bench"].contains(&package.as_str()))
        .filter(|(_, d)| {
            d.iter()
                .any(|(name, kind)| name == "prost" && kind != "dev")
        })
        .map(|(package, _)| package.clone())
        .collect();
    refuse("packages that see prost", &faults);
}

/// A store gives snapshots of whole tenants; what requests read goes through what they may see
/// (`Stores::metrics_of` and its kin).
#[test]
fn requests_read_no_whole_tenants() {
    let mut faults = Vec::new();
    for (path, text) in sources() {
        let of_requests = path.starts_with("server/src/api") && !is_test_file(&path);
        let code: String = without_tests(&text).split_whitespace().collect();
        let reads = |store: &str| code.contains(&format!("{store}.snapshot("));
        let everything = code.contains("Visible::all_of(");
        if of_requests && (["metrics", "logs", "spans"].into_iter().any(reads) || everything) {
            faults.push(path);
        }
    }
    refuse("routes that read whole tenants", &faults);
}

#[test]
fn unsafe_code_is_only_where_it_is_known() {
    let known = [
        "storage/src/blob.rs",
        "obs/src/allocator.rs",
        "node-exporter/src/system.rs",
    ];
    let mut faults = Vec::new();
    for (path, text) in sources() {
        if !known.contains(&path.as_str())
            && text.lines().any(|l| {
                let code = l.split("//").next().unwrap_or_default();
                code.contains("unsafe {")
                    || code.contains("unsafe fn")
                    || code.contains("unsafe impl")
            })
            && !path.ends_with("architecture.rs")
        {
            faults.push(path);
        }
    }
    refuse("unsafe code outside the three files", &faults);
}

#[test]
fn files_have_a_head_a_size_and_a_proper_name() {
    let forbidden = [
        "utils", "util", "common", "helpers", "misc", "core", "manager", "base",
    ];
    let mut faults = Vec::new();
    for (path, text) in sources() {
        if !text.starts_with("//!") {
            faults.push(format!("{path}: the first line does not start with //!"));
        }
        let exempt = text
            .lines()
            .take(12)
            .any(|l| l.contains("table: exempt from the size rule"));
        let lines = without_tests(&text).lines().count();
        if lines > FILE_LINES_MAX && !exempt && !is_test_file(&path) {
            faults.push(format!("{path}: {lines} lines, at most {FILE_LINES_MAX}"));
        }
        let parts = path.trim_end_matches(".rs").split('/');
        for part in parts.filter(|p| forbidden.contains(p)) {
            faults.push(format!("{path}: {part} is not a name"));
        }
    }
    refuse("files that break the rules of size, head or name", &faults);
}

#[test]
fn nothing_is_left_unfinished() {
    let marks = ["TODO", "FIXME", "XXX", "#[ignore", "should_panic"];
    let mut faults = Vec::new();
    for (path, text) in sources() {
        if path.ends_with("architecture.rs") {
            continue;
        }
        for (number, line) in text.lines().enumerate() {
            for mark in marks.iter().filter(|m| line.contains(**m)) {
                faults.push(format!("{path}:{}: {mark}", number + 1));
            }
        }
    }
    refuse("unfinished marks", &faults);
}

#[test]
fn formats_are_documented_and_named_by_their_code() {
    let mut documents = Vec::new();
    files(&root().join("docs/formats"), "md", &mut documents);
    assert!(!documents.is_empty(), "docs/formats has documents");
    let sources = sources();
    let faults: Vec<String> = documents
        .iter()
        .map(|d| {
            format!(
                "docs/formats/{}",
                d.file_name().unwrap_or_default().to_string_lossy()
            )
        })
        .filter(|d| !sources.iter().any(|(_, text)| text.contains(d.as_str())))
        .collect();
    refuse("formats that no source names", &faults);
}

/// The page of settings names every limit with its default, and no limit that is gone.
#[test]
fn limits_are_on_the_page_of_settings() {
    let text = |path: &str| fs::read_to_string(root().join(path)).expect("file is readable");
    let config = text("server/src/config.rs");
    let fields = |start: &str| -> BTreeSet<String> {
        let (_, rest) = config.split_once(start).expect("the struct is there");
        let (body, _) = rest.split_once("\n}").expect("the struct ends");
        let fields = body.lines().filter_map(|l| l.trim().strip_prefix("pub "));
        fields
            .filter_map(|l| Some(l.split_once(':')?.0.to_owned()))
            .collect()
    };
    let limits = fields("pub struct LimitsConfig {");
    assert!(limits.len() > 10, "limits were found: {limits:?}");
    let page = text("docs/configuration.md");
    let rows: BTreeMap<&str, &str> = page
        .lines()
        .filter_map(|l| l.strip_prefix("| `")?.split_once("` | "))
        .collect();
    let debug = format!("{:?}", obs_model::limits::Limits::default());
    let mut faults = Vec::new();
    for limit in &limits {
        let (_, rest) = debug
            .split_once(&format!("{limit}: "))
            .expect("a setting is a limit");
        let value: String = rest.chars().take_while(char::is_ascii_digit).collect();
        match rows.get(limit.as_str()) {
            None => faults.push(format!("{limit} is not on the page")),
            Some(row) if row.split([' ', '|']).next() != Some(value.as_str()) => {
                faults.push(format!("{limit} is {value} and not: {row}"));
            }
            Some(_) => {}
        }
    }
    for row in rows.keys().filter(|r| r.ends_with("_max")) {
        if !limits.contains(*row) {
            faults.push(format!("{row} is not a limit any more"));
        }
    }
    refuse("limits that docs/configuration.md has wrong", &faults);
}

#[test]
fn dependencies_are_few_and_permissive() {
    let metadata = metadata();
    let packages = metadata["packages"].as_array().cloned().unwrap_or_default();
    assert!(
        packages.len() <= LOCKED_PACKAGES_MAX,
        "{} packages are locked, at most {LOCKED_PACKAGES_MAX}",
        packages.len()
    );
    let mut faults = Vec::new();
    for package in &packages {
        let name = package["name"].as_str().unwrap_or_default();
        let licence = package["license"]
            .as_str()
            .unwrap_or_default()
            .replace('/', " OR ");
        // One alternative whose every part is permitted is enough.
        let permitted = licence.split(" OR ").any(|alternative| {
            alternative
                .split(" AND ")
                .all(|part| LICENCES.contains(&part.trim_matches(['(', ')', ' '])))
        });
        if !permitted {
            faults.push(format!("{name}: licence {licence:?}"));
        }
        let source = package["source"].as_str().unwrap_or("registry");
        if source.starts_with("git") {
            faults.push(format!("{name}: comes from git"));
        }
    }
    refuse("dependencies that may not be used", &faults);
}

/// Two versions of one crate cost build time and size; each pair here is one that upstream has
/// not resolved yet.
#[test]
fn no_new_duplicate_dependencies() {
    let metadata = metadata();
    let mut versions: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for package in metadata["packages"].as_array().into_iter().flatten() {
        let text = |key: &str| package[key].as_str().unwrap_or_default().to_owned();
        versions
            .entry(text("name"))
            .or_default()
            .insert(text("version"));
    }
    let known = fs::read_to_string(root().join("tests/duplicates.txt")).expect("list is readable");
    let known: BTreeSet<&str> = known.lines().filter(|l| !l.starts_with('#')).collect();
    let faults: Vec<String> = versions
        .iter()
        .filter(|(name, v)| v.len() > 1 && !known.contains(name.as_str()))
        .map(|(name, v)| {
            format!(
                "{name}: {}",
                v.iter().cloned().collect::<Vec<_>>().join(", ")
            )
        })
        .collect();
    refuse(
        "crates in more than one version (tests/duplicates.txt lists the known ones)",
        &faults,
    );
}
