//! What obs is brought to machines in: the Debian package made of the binary, its units, the bill of
//! materials, the file of the image.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

use super::list;
use crate::process::{binary, command};

fn root() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().expect("tests/ has a parent").to_owned()
}

fn deploy(name: &str) -> PathBuf {
    root().join("deploy").join(name)
}

/// Whether programs are there.
#[expect(clippy::print_stderr, reason = "a test that does not run says so")]
fn there(programs: &[&str]) -> bool {
    let missing = programs.iter().find(|program| {
        let asked = Command::new(program).arg("--version").output();
        asked.is_err()
    });
    if let Some(missing) = missing {
        eprintln!("skipped: {missing} is not there");
    }
    missing.is_none()
}

fn done(output: std::io::Result<Output>, what: &str) -> String {
    let output = output.unwrap_or_else(|error| panic!("{what}: {error}"));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{what}: {errors}");
    String::from_utf8(output.stdout).expect("text")
}

#[test]
fn a_debian_package_has_what_a_machine_needs() {
    if !there(&["dpkg-deb", "strip", "objdump", "python3"]) {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let build = |name: &str| {
        let out = folder.path().join(name);
        std::fs::create_dir(&out).expect("made");
        let mut build = Command::new(deploy("debian/build.sh"));
        build.arg(binary()).arg(&out);
        // Compression is not what is tested.
        build
            .env("COMPRESSION", "none")
            .env("SOURCE_DATE_EPOCH", "1700000000");
        PathBuf::from(done(build.output(), "build.sh").trim())
    };
    let (package, again) = (build("one"), build("two"));
    let same = std::fs::read(&package).expect("made") == std::fs::read(&again).expect("made");
    assert!(same, "the same binary comes to the same package");

    // Times are listed as in the time zone.
    let ask = |flag: &str| {
        let mut ask = Command::new("dpkg-deb");
        done(ask.arg(flag).arg(&package).env("TZ", "UTC").output(), flag)
    };
    let info = ask("-I");
    for field in [
        " Package: obs\n",
        " Version: 0.",
        " Depends: libc6 (>= 2.",
        " Installed-Size: ",
    ] {
        assert!(info.contains(field), "{field:?} in {info}");
    }
    let contents = ask("-c");
    let mut files = BTreeMap::new();
    for line in contents.lines() {
        let words: Vec<_> = line.split_whitespace().collect();
        assert_eq!((words[1], words[3]), ("root/root", "2023-11-14"), "{line}");
        files.insert(
            words[5].trim_start_matches('.').to_owned(),
            words[0].to_owned(),
        );
    }
    for (file, mode) in [
        ("/usr/bin/obs", "-rwxr-xr-x"),
        ("/etc/obs/obs.yml", "-rw-r--r--"),
        ("/etc/obs/agent.yml", "-rw-r--r--"),
        ("/etc/default/obs", "-rw-r--r--"),
        ("/lib/systemd/system/obs.service", "-rw-r--r--"),
        ("/lib/systemd/system/obs-agent.service", "-rw-r--r--"),
        ("/usr/share/bash-completion/completions/obs", "-rw-r--r--"),
        ("/usr/share/doc/obs/copyright", "-rw-r--r--"),
        ("/usr/share/doc/obs/deploy.md", "-rw-r--r--"),
        ("/usr/share/doc/obs/sbom.cdx.json", "-rw-r--r--"),
    ] {
        assert_eq!(
            files.get(file).map(String::as_str),
            Some(mode),
            "{file} in {contents}"
        );
    }
    of_scripts(&package, &folder.path().join("tree"));
}

/// What dpkg itself reads, and the program, from the package laid out in a folder.
fn of_scripts(package: &Path, tree: &Path) {
    let raw = Command::new("dpkg-deb")
        .arg("-R")
        .arg(package)
        .arg(tree)
        .output();
    done(raw, "dpkg-deb -R");
    let conffiles = std::fs::read_to_string(tree.join("DEBIAN/conffiles")).expect("text");
    let conffiles: Vec<_> = conffiles.lines().collect();
    let expect = [
        "/etc/default/obs",
        "/etc/default/obs-agent",
        "/etc/obs/agent.yml",
        "/etc/obs/obs.yml",
    ];
    assert_eq!(conffiles, expect);
    for script in ["postinst", "prerm", "postrm"] {
        let checked = Command::new("sh")
            .arg("-n")
            .arg(tree.join("DEBIAN").join(script))
            .output();
        done(checked, script);
    }
    let said = done(
        Command::new(tree.join("usr/bin/obs"))
            .arg("--version")
            .output(),
        "obs",
    );
    assert!(said.starts_with("obs "), "{said}");
}

#[test]
fn default_configurations_are_ones_that_obs_takes() {
    for name in ["debian/obs.yml", "debian/agent.yml"] {
        let path = deploy(name).display().to_string();
        let output = command(&["check", "config", &path]).output();
        done(output, name);
    }
}

#[test]
fn units_are_what_systemd_understands() {
    if !there(&["systemd-analyze"]) {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let obs = binary().display().to_string();
    for unit in ["obs.service", "obs-agent.service"] {
        let text = std::fs::read_to_string(deploy("systemd").join(unit)).expect("text");
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix("ExecStart=/usr/bin/obs "));
        let arguments: Vec<_> = line
            .expect("a command")
            .split(' ')
            .chain(["--help"])
            .collect();
        done(command(&arguments).output(), unit);
        let path = folder.path().join(unit);
        std::fs::write(&path, text.replace("/usr/bin/obs", &obs)).expect("writable");
        let verify = Command::new("systemd-analyze")
            .args(["verify", "--man=no"])
            .arg(&path)
            .output();
        let output = verify.expect("it runs");
        let errors = String::from_utf8_lossy(&output.stderr);
        // Of other units on this machine nothing is said here.
        let ours: Vec<_> = errors.lines().filter(|line| line.contains(unit)).collect();
        assert_eq!(ours, Vec::<&str>::new());
    }
}

#[test]
fn the_bill_of_materials_has_everything_that_is_linked() {
    if !there(&["python3"]) {
        return;
    }
    let bill = || {
        done(
            Command::new("python3").arg(deploy("sbom.py")).output(),
            "sbom.py",
        )
    };
    let text = bill();
    assert_eq!(text, bill(), "the same lock file comes to the same bill");
    let bill: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(
        (&bill["bomFormat"], &bill["specVersion"]),
        (&"CycloneDX".into(), &"1.5".into())
    );
    let components = list(&bill["components"]);
    let references: BTreeSet<_> = components
        .iter()
        .map(|c| c["bom-ref"].to_string())
        .collect();
    assert_eq!(references.len(), components.len(), "each once");
    for component in components {
        let own = component["name"]
            .as_str()
            .is_some_and(|name| name.starts_with("obs-"));
        assert_eq!(component["hashes"][0]["alg"].is_null(), own, "{component}");
        assert!(
            component["licenses"][0]["expression"].is_string(),
            "{component}"
        );
    }
    for name in ["obs-server", "rustls", "tokio", "zstd"] {
        assert!(
            components.iter().any(|component| component["name"] == name),
            "{name}"
        );
    }
    // What only tests use is not in the binary.
    for name in ["proptest", "tempfile", "obs-tests", "expect-test"] {
        assert!(
            !components.iter().any(|component| component["name"] == name),
            "{name}"
        );
    }
    let main = bill["metadata"]["component"]["bom-ref"].to_string();
    let known = |reference: &Value| {
        let reference = reference.to_string();
        references.contains(&reference) || reference == main
    };
    let entries = list(&bill["dependencies"]);
    assert_eq!(entries.len(), components.len() + 1);
    for entry in entries {
        assert!(
            known(&entry["ref"]) && list(&entry["dependsOn"]).iter().all(known),
            "{entry}"
        );
    }
}

#[test]
fn the_image_has_no_root_and_locked_sources() {
    let text = std::fs::read_to_string(deploy("container/Containerfile")).expect("text");
    let last = text.rsplit_once("\nFROM ").expect("stages").1;
    let user = last.lines().find_map(|line| line.strip_prefix("USER "));
    assert_eq!(user, Some("65532:65532"));
    assert!(!last.contains("\nRUN "), "the last stage has no shell");
    assert!(!text.contains(":latest"), "tags that move");
    let builds: Vec<_> = text
        .lines()
        .filter(|line| line.contains("cargo build"))
        .collect();
    assert!(
        builds.len() == 1 && builds[0].contains("--locked"),
        "{builds:?}"
    );
    let entry: Vec<String> = exec(last, "ENTRYPOINT ");
    assert_eq!(entry, ["/usr/bin/obs"]);
    let mut arguments = exec(last, "CMD ");
    arguments.push("--help".to_owned());
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    done(command(&arguments).output(), "CMD");
    // Every package of the workspace is in the context, or cargo finds no workspace.
    let ignored =
        std::fs::read_to_string(deploy("container/Containerfile.dockerignore")).expect("text");
    let manifest = std::fs::read_to_string(root().join("Cargo.toml")).expect("text");
    for line in ignored.lines() {
        assert!(
            !manifest.contains(&format!("\"{line}\"")),
            "{line} is a member"
        );
    }
}

/// The words of an instruction in the form of JSON.
fn exec(stage: &str, instruction: &str) -> Vec<String> {
    let line = stage
        .lines()
        .find_map(|line| line.strip_prefix(instruction));
    serde_json::from_str(line.expect("the instruction")).expect("JSON")
}
