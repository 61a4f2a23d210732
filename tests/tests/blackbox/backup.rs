//! `obs backup` and `obs restore` against servers that write meanwhile, in folders and in a bucket:
//! what comes back answers as what was backed up, and nothing that is not whole passes for a backup
//! or for a data directory.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Output, Stdio};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use obs_model::MetricBatch;
use serde_json::{Value, json};

use super::{Question, ask};
use crate::process::{Obs, Stop, command, until};
use crate::s3::{Faults, KEY, REGION, S3, SECRET};
use crate::send::{MINUTE, Otlp, SECOND, loki_json, otlp, remote_write, series};

/// 2026-01-01T00:00:00Z
const BEGIN: i64 = 1_767_225_600 * SECOND;
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
/// Minutes that are written while a backup runs.
const MEANWHILE: i64 = 40;

fn text(output: &Output) -> String {
    let (out, error) = (&output.stdout, &output.stderr);
    format!(
        "{}{}",
        String::from_utf8_lossy(out),
        String::from_utf8_lossy(error)
    )
}

/// What a command that succeeded wrote, as JSON.
#[track_caller]
fn json_of(output: &Output) -> Value {
    assert!(output.status.success(), "{}", text(output));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

#[track_caller]
fn fails(output: &Output, parts: &[&str]) {
    let told = text(output);
    assert_eq!(output.status.code(), Some(1), "{told}");
    for part in parts {
        assert!(told.contains(part), "{part}: {told}");
    }
}

/// Numbers that nobody can compress.
fn noise(seed: i64) -> f64 {
    let mixed = (seed as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (mixed ^ (mixed >> 32)) as f64
}

fn write_metrics(obs: &Obs, name: &str, minutes: std::ops::Range<i64>) {
    let many = (0..50).map(|number| {
        let number = number.to_string();
        let labels = [("__name__", name), ("number", number.as_str())];
        let seed = number.parse::<i64>().expect("a number") << 32;
        let sample = |minute| (BEGIN + minute * MINUTE, noise(seed + minute));
        series(&labels, minutes.clone().map(sample))
    });
    let batch = MetricBatch {
        series: many.collect(),
        ..Default::default()
    };
    assert_eq!(remote_write(obs, &batch).status, 204);
}

/// A little of everything that a server keeps.
fn fill(obs: &Obs) {
    write_metrics(obs, "noise", 0..400);
    let lines: Vec<String> = (0..200)
        .map(|n| format!("line {n} {:x}", noise(n) as u64))
        .collect();
    let lines = lines.iter().zip(0_i64..);
    let lines: Vec<_> = lines
        .map(|(line, n)| (BEGIN + n, line.as_str(), &[][..]))
        .collect();
    assert_eq!(loki_json(obs, &[("app", "shop")], &lines).status, 204);
    let spans = json!([{
        "traceId": TRACE, "spanId": "00000000000000a1", "name": "GET /",
        "startTimeUnixNano": BEGIN.to_string(), "endTimeUnixNano": (BEGIN + SECOND).to_string(),
    }]);
    let resource =
        json!({"attributes": [{"key": "service.name", "value": {"stringValue": "shop"}}]});
    let body = json!({"resourceSpans": [{"resource": resource, "scopeSpans": [{"spans": spans}]}]});
    let body = body.to_string().into_bytes();
    assert_eq!(otlp(obs, "traces", Otlp::Json, body).status, 200);
    let kept = [
        (
            "POST",
            "/api/v2/silences",
            "application/json",
            r#"{"matchers":[{"name":"a","value":"b","isRegex":false,"isEqual":true}],
                "startsAt":"2026-01-01T00:00:00Z","endsAt":"2100-01-01T00:00:00Z",
                "createdBy":"me","comment":"why"}"#,
        ),
        (
            "POST",
            "/api/v1/rules/team",
            "application/yaml",
            "{name: m, interval: 1h, rules: [{record: one, expr: '1'}]}",
        ),
        (
            "PUT",
            "/api/v1/dashboards/mine",
            "application/json",
            r#"{"uid":"mine","title":"Mine","panels":[]}"#,
        ),
        ("PUT", "/metrics/job/nightly", "text/plain", "rows 5\n"),
    ];
    for (method, path, kind, body) in kept {
        let url = format!("{}{path}", obs.url());
        let headers = [("content-type", kind)];
        let body = body.as_bytes().to_vec();
        let answer = crate::process::Answer::of_method(method, &url, &headers, body);
        assert!(
            answer.status < 300,
            "{path}: {} {}",
            answer.status,
            answer.text()
        );
    }
}

/// What does not change while a server scrapes itself.
fn answers(obs: &Obs) -> Vec<Value> {
    let questions: &[Question<'_>] = &[
        (
            "/api/v1/query",
            &[
                ("query", "sum by (number) (sum_over_time(noise[1d]))"),
                ("time", "1767312000"),
            ],
        ),
        (
            "/loki/api/v1/query_range",
            &[
                ("query", "{app=\"shop\"}"),
                ("start", "1767225600"),
                ("end", "1767225601"),
                ("limit", "1000"),
            ],
        ),
        ("/api/v1/dashboards/mine", &[]),
    ];
    let mut all = ask(obs, questions);
    assert_eq!(
        all[0]["data"]["result"].as_array().map(Vec::len),
        Some(50),
        "{}",
        all[0]
    );
    all.push(obs.get(&format!("/jaeger/api/traces/{TRACE}"), &[]).json());
    let silences = obs.get("/api/v2/silences", &[]).json();
    all.push(silences[0]["matchers"].clone());
    assert_eq!(silences[0]["comment"], "why", "{silences}");
    all.push(obs.get("/api/v1/rules/team/m", &[]).text().into());
    let groups = obs.get("/pushgateway/metrics", &[]).text();
    assert!(
        groups.contains("rows{instance=\"\",job=\"nightly\"} 5"),
        "{groups}"
    );
    all
}

/// Where backups are, and how they are reached.
struct Vault {
    place: String,
    flags: Vec<String>,
    environment: Vec<(&'static str, String)>,
}

impl Vault {
    fn folder(folder: &Path) -> Self {
        Self {
            place: folder.display().to_string(),
            flags: Vec::new(),
            environment: Vec::new(),
        }
    }

    fn bucket(service: &S3) -> Self {
        Self {
            place: "s3://vault/some where/obs".to_owned(),
            flags: vec!["--endpoint".to_owned(), service.endpoint()],
            environment: vec![
                ("AWS_ACCESS_KEY_ID", KEY.to_owned()),
                ("AWS_SECRET_ACCESS_KEY", SECRET.to_owned()),
                ("AWS_REGION", REGION.to_owned()),
                ("NO_PROXY", "127.0.0.1".to_owned()),
            ],
        }
    }

    fn command(&self, arguments: &[&str]) -> std::process::Command {
        let mut command = command(arguments);
        command.args(&self.flags);
        for name in ["AWS_ENDPOINT_URL", "AWS_PROFILE", "AWS_SESSION_TOKEN"] {
            command.env_remove(name);
        }
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().expect("obs runs")
    }

    fn backup(&self, obs: &Obs) -> Output {
        self.run(&[
            "backup",
            "--to",
            &self.place,
            "--server",
            &obs.url(),
            "-o",
            "json",
        ])
    }

    fn list(&self) -> Value {
        json_of(&self.run(&["backup", "list", "--from", &self.place, "-o", "json"]))
    }

    fn restore(&self, data: &Path, more: &[&str]) -> Output {
        let data = data.display().to_string();
        self.run(&[&["restore", "--from", &self.place, "--data", &data], more].concat())
    }

    fn verify(&self) -> Output {
        self.run(&["restore", "--from", &self.place, "--verify-only"])
    }
}

/// Starts the server over what a backup has.
fn restart_from(obs: &mut Obs, vault: &Vault, more: &[&str]) {
    obs.stop(Stop::Kill);
    let data = obs.path("data");
    std::fs::remove_dir_all(&data).expect("it is ours");
    let restored = vault.restore(&data, more);
    assert!(restored.status.success(), "{}", text(&restored));
    obs.run();
}

fn files_below(folder: &Path) -> BTreeMap<PathBuf, u64> {
    let (mut found, mut waiting) = (BTreeMap::new(), vec![folder.to_owned()]);
    while let Some(folder) = waiting.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            // Files of a running server may go.
            let Ok(metadata) = entry.metadata() else {
                continue;
            };
            if metadata.is_dir() {
                waiting.push(entry.path());
            } else {
                found.insert(entry.path(), metadata.len());
            }
        }
    }
    found
}

#[test]
fn what_is_written_meanwhile_is_there_or_not_and_the_rest_is_as_it_was() {
    let mut obs = Obs::start();
    fill(&obs);
    let vault = Vault::folder(&obs.path("vault"));
    let expect = answers(&obs);
    // While a client writes on: what was acknowledged before the backup began is in it.
    // However long a backup takes, it is little beside what was there.
    let (written, over) = (AtomicI64::new(0), AtomicBool::new(false));
    let most = AtomicI64::new(MEANWHILE);
    let (first, before, second) = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                let minute = written.load(Ordering::Relaxed);
                until("the next backup", || {
                    let more = minute < most.load(Ordering::Relaxed);
                    (more || over.load(Ordering::Relaxed)).then_some(())
                });
                write_metrics(&obs, "meanwhile", minute..minute + 1);
                written.store(minute + 1, Ordering::Relaxed);
            }
        });
        let first = json_of(&vault.backup(&obs));
        let before = written.load(Ordering::Relaxed);
        most.store(before + MEANWHILE, Ordering::Relaxed);
        let second = json_of(&vault.backup(&obs));
        over.store(true, Ordering::Relaxed);
        (first, before, second)
    });
    let count = |told: &Value, name: &str| told["backup"][name].as_u64().expect("a number");
    assert_eq!(
        count(&first, "bytes"),
        count(&first, "new_bytes"),
        "{first}"
    );
    assert!(count(&first, "bytes") > 100_000, "{first}");
    // The second one copies what is new: less than a third.
    assert!(
        count(&second, "new_bytes") * 3 < count(&second, "bytes"),
        "{second}"
    );
    let copies = obs.path("data").join("copies");
    until("copies to go, which were read", || {
        files_below(&copies).is_empty().then_some(())
    });
    let list = vault.list();
    assert_eq!(list.as_array().map(Vec::len), Some(2), "{list}");
    assert_eq!(list[1]["id"], second["backup"]["id"]);
    restart_from(&mut obs, &vault, &[]);
    assert_eq!(answers(&obs), expect);
    let query = [
        ("query", "min(count_over_time(meanwhile[10y]))"),
        ("time", "1900000000"),
    ];
    let found = obs.get("/api/v1/query", &query).json();
    let found = super::number(&found["data"]["result"][0]["value"][1]) as i64;
    assert!(
        found >= before,
        "{before} were acknowledged, {found} are there"
    );
    // The older one is as good, and a backup of what was restored finds everything there.
    let id = first["backup"]["id"].as_str().expect("an id").to_owned();
    restart_from(&mut obs, &vault, &["--backup", &id]);
    assert_eq!(answers(&obs), expect);
}

#[test]
fn a_stopped_server_is_backed_up_with_its_journal_and_old_backups_go() {
    let mut obs = Obs::start();
    fill(&obs);
    let expect = answers(&obs);
    obs.stop(Stop::Kill);
    let vault = Vault::folder(&obs.path("vault"));
    let data = obs.path("data").display().to_string();
    let offline = || {
        vault.run(&[
            "backup",
            "--data",
            &data,
            "--to",
            &vault.place,
            "-o",
            "json",
        ])
    };
    let mut ids = Vec::new();
    for _ in 0..3 {
        let told = json_of(&offline());
        ids.push(told["backup"]["id"].as_str().expect("an id").to_owned());
        let again = ids.len() > 1;
        assert_eq!(told["backup"]["new_objects"] == 0, again, "{told}");
    }
    obs.run();
    fails(&offline(), &["in use by another process"]);
    let objects = || files_below(&obs.path("vault/objects"));
    let all = objects();
    let prune = |more: &[&str]| {
        let arguments = ["backup", "prune", "--from", &vault.place, "-o", "json"];
        json_of(&vault.run(&[&arguments, more].concat()))
    };
    let would = prune(&["--keep", "1", "--dry-run"]);
    assert_eq!(would["removed"], json!(ids[..2]), "{would}");
    assert_eq!(vault.list().as_array().map(Vec::len), Some(3));
    let done = prune(&["--keep", "1"]);
    assert_eq!(done["removed"], json!(ids[..2]), "{done}");
    assert_eq!(objects(), all, "they are those of the one that stays");
    // What only the old one has goes with it.
    let newer = json_of(&vault.backup(&obs));
    assert_eq!(
        prune(&["--keep", "1"])["kept"],
        json!([newer["backup"]["id"]])
    );
    assert!(all.keys().any(|object| !objects().contains_key(object)));
    restart_from(&mut obs, &vault, &[]);
    assert_eq!(answers(&obs), expect);
}

#[test]
fn damage_is_found_and_named() {
    let mut obs = Obs::start();
    fill(&obs);
    let vault = Vault::folder(&obs.path("vault"));
    json_of(&vault.backup(&obs));
    assert!(vault.verify().status.success());
    let objects = files_below(&obs.path("vault/objects"));
    let (largest, _) = objects
        .iter()
        .max_by_key(|(_, bytes)| **bytes)
        .expect("objects");
    let mut bytes = std::fs::read(largest).expect("readable");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(largest, &bytes).expect("writable");
    let name = largest
        .file_name()
        .and_then(|name| name.to_str())
        .expect("text");
    let parts = ["metrics/parts/", name, "expected the checksum", "1 of "];
    fails(&vault.verify(), &parts);
    let data = obs.path("restored");
    fails(&vault.restore(&data, &[]), &parts);
    let serve = [
        "serve",
        "--data",
        &data.display().to_string(),
        "--listen",
        "127.0.0.1:0",
    ];
    let refused = command(&serve).output().expect("obs runs");
    fails(&refused, &["obs restore"]);
    std::fs::write(largest, &bytes[..middle]).expect("writable");
    fails(&vault.verify(), &[name, "bytes, found"]);
    std::fs::remove_file(largest).expect("ours");
    fails(&vault.verify(), &[name, "missing"]);
    // A damaged manifest is told; nothing is guessed, and nothing is removed.
    let manifest = files_below(&obs.path("vault/backups"));
    let manifest = manifest.keys().next().expect("a manifest");
    let mut bytes = std::fs::read(manifest).expect("readable");
    bytes[20] ^= 1;
    std::fs::write(manifest, &bytes).expect("writable");
    fails(&vault.verify(), &["checksum", ".manifest"]);
    let prune = ["backup", "prune", "--from", &vault.place, "--keep", "1"];
    fails(&vault.run(&prune), &["nothing is removed"]);
    // A part that is damaged at its source does not get into a backup.
    obs.force("flush");
    obs.stop(Stop::Kill);
    let parts = files_below(&obs.path("data/metrics/parts"));
    let (part, _) = parts
        .iter()
        .max_by_key(|(_, bytes)| **bytes)
        .expect("parts");
    let mut bytes = std::fs::read(part).expect("readable");
    bytes[12] ^= 1;
    std::fs::write(part, bytes).expect("writable");
    let data = obs.path("data").display().to_string();
    let offline = vault.run(&["backup", "--data", &data, "--to", &vault.place]);
    let name = part
        .file_name()
        .and_then(|name| name.to_str())
        .expect("text");
    fails(&offline, &[name, "is corrupt", "there is no new backup"]);
}

#[test]
fn misuse_is_told() {
    let check = |arguments: &[&str], code: i32, part: &str| {
        let output = command(arguments).output().expect("obs runs");
        let told = text(&output);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {told}");
        assert!(told.contains(part), "{arguments:?}: {told}");
    };
    let folder = tempfile::tempdir().expect("a folder");
    let here = folder.path().display().to_string();
    check(&["backup"], 2, "--to");
    check(&["backup", "--to", "gs://x/y"], 2, "s3://BUCKET/PREFIX");
    check(&["backup", "--to", "s3://"], 2, "s3://BUCKET/PREFIX");
    check(
        &["backup", "--to", "x", "--endpoint", "minio"],
        2,
        "--endpoint",
    );
    check(&["backup", "prune", "--from", "x"], 2, "--keep");
    check(
        &["backup", "prune", "--from", "x", "--keep", "0"],
        2,
        "--keep",
    );
    check(&["restore", "--from", "x"], 2, "--data");
    check(
        &["restore", "--from", "x", "--data", "y", "--backup", "../z"],
        2,
        "--backup",
    );
    check(
        &["backup", "--to", "/nowhere/x", "--data", &here],
        1,
        "no data directory",
    );
    let inside = format!("{here}/vault");
    check(
        &["backup", "--to", &inside, "--data", &here],
        1,
        "in the data directory",
    );
    check(
        &["restore", "--from", &here, "--verify-only"],
        1,
        "there is no backup",
    );
    check(&["backup", "list", "--from", &here], 0, "id");
    let nobody = ["backup", "--to", &here, "--server", "http://127.0.0.1:1"];
    check(&nobody, 1, "no connection");
    std::fs::write(folder.path().join("mine"), "x").expect("writable");
    let missing = [
        "restore", "--from", &here, "--data", &here, "--backup", "b1",
    ];
    check(&missing, 1, "there is no backup b1");
}

#[test]
fn a_bucket_that_stumbles_has_it_all() {
    let service = S3::start();
    let vault = Vault::bucket(&service);
    let mut obs = Obs::start();
    fill(&obs);
    let expect = answers(&obs);
    service.set(Faults {
        flaky: true,
        ..Faults::default()
    });
    let first = json_of(&vault.backup(&obs));
    assert_eq!(first["place"], "s3://vault/some where/obs/");
    json_of(&vault.backup(&obs));
    assert_eq!(vault.list().as_array().map(Vec::len), Some(2));
    assert_eq!(service.refused(), Vec::<String>::new());
    assert!(
        service
            .keys()
            .iter()
            .all(|key| key.starts_with("some where/obs/"))
    );
    restart_from(&mut obs, &vault, &[]);
    assert_eq!(answers(&obs), expect);
    let asked = service.take_asked();
    let pages = asked
        .iter()
        .filter(|a| a.contains("continuation-token="))
        .count();
    assert!(pages > 1, "lists have more than one page: {asked:?}");
    let prune = ["backup", "prune", "--from", &vault.place, "--keep", "1"];
    assert!(vault.run(&prune).status.success());
    assert!(vault.verify().status.success());
    // The clock of this machine is behind the service's: that is found out.
    service.set(Faults {
        ahead: 7200,
        ..Faults::default()
    });
    assert!(vault.verify().status.success());
    assert!(service.refused()[0].starts_with("RequestTimeTooSkewed"));
    service.set(Faults::default());
    let key = service.keys();
    let key = key
        .iter()
        .find(|key| key.contains("/objects/"))
        .expect("objects");
    service.change(key, |bytes| bytes[0] ^= 1);
    fails(
        &vault.verify(),
        &[key.strip_prefix("some where/obs/").expect("below")],
    );
    let mut wrong = Vault::bucket(&service);
    wrong.environment[1].1 = "other".to_owned();
    fails(&wrong.verify(), &["403", "SignatureDoesNotMatch"]);
}

#[test]
fn large_files_go_in_parts() {
    let service = S3::start();
    let mut vault = Vault::bucket(&service);
    let folder = tempfile::tempdir().expect("a folder");
    // Keys of a file count where there are none in the environment.
    let keys = folder.path().join("keys");
    let profile = format!("[vault]\naws_access_key_id = {KEY}\naws_secret_access_key = {SECRET}\n");
    std::fs::write(&keys, profile).expect("writable");
    vault.environment.drain(..2);
    let keys = keys.display().to_string();
    for flag in ["--credentials-file", &keys, "--profile", "vault"] {
        vault.flags.push(flag.to_owned());
    }
    let data = folder.path().join("data");
    std::fs::create_dir_all(data.join("forward/x")).expect("writable");
    std::fs::write(data.join("lock"), "").expect("writable");
    let large: Vec<u8> = (0..2_600_000)
        .flat_map(|n| noise(n).to_le_bytes())
        .collect();
    std::fs::write(data.join("forward/x/00000000000000000001.journal"), &large).expect("writable");
    std::fs::write(data.join("forward/x/acknowledged"), "").expect("writable");
    service.set(Faults {
        flaky: true,
        ..Faults::default()
    });
    let from = data.display().to_string();
    let backup = [
        "backup",
        "--data",
        &from,
        "--to",
        &vault.place,
        "-o",
        "json",
    ];
    let told = json_of(&vault.run(&backup));
    assert_eq!(told["backup"]["files"], 2, "{told}");
    let asked = service.take_asked();
    assert!(
        asked.iter().any(|a| a.contains("partNumber=3")),
        "{asked:?}"
    );
    assert_eq!(json_of(&vault.run(&backup))["backup"]["new_objects"], 0);
    let to = folder.path().join("restored");
    let restored = vault.restore(&to, &[]);
    assert!(restored.status.success(), "{}", text(&restored));
    let found = std::fs::read(to.join("forward/x/00000000000000000001.journal"));
    assert!(found.expect("it is there") == large, "the bytes are others");
    fails(&vault.restore(&to, &[]), &["is not empty"]);
}

/// A command that runs until it is killed.
fn spawn(vault: &Vault, arguments: &[&str]) -> Child {
    let mut command = vault.command(arguments);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().expect("obs runs")
}

fn kill(mut child: Child) {
    child.kill().expect("the child is ours");
    child.wait().expect("the child is ours");
}

#[test]
fn killed_in_the_middle_nothing_half_done_counts() {
    let service = S3::start();
    let vault = Vault::bucket(&service);
    let mut obs = Obs::start();
    fill(&obs);
    let expect = answers(&obs);
    // A backup that does not come to its manifest.
    service.set(Faults {
        held: Some(("PUT", "/backups/")),
        ..Faults::default()
    });
    let url = obs.url();
    let child = spawn(&vault, &["backup", "--to", &vault.place, "--server", &url]);
    service.wait_held();
    kill(child);
    service.set(Faults::default());
    let list = vault.list();
    assert_eq!(
        (list.as_array().map(Vec::len), &list[0]["state"]),
        (Some(1), &json!("running"))
    );
    fails(&vault.verify(), &["there is no backup"]);
    // It may still run for all that a prune knows: nothing that it may need goes.
    let before = service.keys();
    let objects = |keys: &[String]| keys.iter().filter(|key| key.contains("/objects/")).count();
    let prune = ["backup", "prune", "--from", &vault.place, "--keep", "1"];
    let pruned = vault.run(&prune);
    assert!(pruned.status.success(), "{}", text(&pruned));
    assert_eq!(objects(&service.keys()), objects(&before));
    // One that is asked to end says how far it is, and the next one goes on from there.
    service.set(Faults {
        held: Some(("PUT", "/backups/")),
        ..Faults::default()
    });
    let mut child = spawn(&vault, &["backup", "--to", &vault.place, "--server", &url]);
    service.wait_held();
    let id = child.id().to_string();
    let sent = std::process::Command::new("kill")
        .args(["-TERM", &id])
        .status();
    assert!(sent.expect("kill(1) exists").success());
    let status = child.wait().expect("the child is ours");
    assert_eq!(status.code(), Some(1));
    service.set(Faults::default());
    let told = json_of(&vault.backup(&obs));
    let count = |name: &str| told["backup"][name].as_u64().expect("a number");
    assert!(count("new_bytes") * 3 < count("bytes"), "{told}");
    // A restore that does not come to its end.
    obs.stop(Stop::Kill);
    let data = obs.path("data");
    std::fs::remove_dir_all(&data).expect("it is ours");
    service.set(Faults {
        held: Some(("GET", "/objects/")),
        ..Faults::default()
    });
    let to = data.display().to_string();
    let child = spawn(&vault, &["restore", "--from", &vault.place, "--data", &to]);
    service.wait_held();
    kill(child);
    service.set(Faults::default());
    let serve = ["serve", "--data", &to, "--listen", "127.0.0.1:0"];
    let refused = command(&serve).output().expect("obs runs");
    fails(&refused, &["a restore into it did not come to its end"]);
    let resumed = vault.restore(&data, &[]);
    assert!(resumed.status.success(), "{}", text(&resumed));
    assert!(
        text(&resumed).contains("goes on with the restore"),
        "{}",
        text(&resumed)
    );
    obs.run();
    assert_eq!(answers(&obs), expect);
}
