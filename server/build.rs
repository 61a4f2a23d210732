//! Writes the table of the UI's files, which `src/api/ui.rs` embeds (without a built UI the table
//! is empty and the binary says so at `/`), and that of the runbooks.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs};

#[expect(
    clippy::disallowed_methods,
    reason = "a build script writes what the build reads"
)]
fn main() {
    let manifest = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    let dist = manifest.join("../ui/dist");
    println!("cargo::rerun-if-changed={}", dist.display());
    let mut files = Vec::new();
    if dist.is_dir() {
        collect(&dist, &mut files);
        files.sort();
    } else {
        println!("cargo::warning=the web UI is not built (make ui); the binary will lack it");
    }
    let mut table = String::from("static ASSETS: &[Asset] = &[\n");
    for file in &files {
        let path = file.strip_prefix(&dist).expect("below dist").display();
        writeln!(
            table,
            "    Asset {{ path: \"/{path}\", content_type: {:?}, bytes: include_bytes!({:?}) }},",
            content_type(file),
            fs::canonicalize(file).expect("the file exists"),
        )
        .expect("strings grow");
    }
    table.push_str("];\n");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it")).join("ui.rs");
    fs::write(&out, table).expect("OUT_DIR is writable");
    let pages = runbooks(&manifest.join("../docs/runbooks"));
    fs::write(out.with_file_name("runbooks.rs"), pages).expect("OUT_DIR is writable");
}

/// The table of runbooks: the names of the alerts, sorted, and the pages.
fn runbooks(folder: &Path) -> String {
    println!("cargo::rerun-if-changed={}", folder.display());
    let mut files = Vec::new();
    collect(folder, &mut files);
    files.retain(|file| file.extension().is_some_and(|e| e == "md"));
    files.sort();
    let mut table = String::from("static RUNBOOKS: &[(&str, &str)] = &[\n");
    for file in files {
        let stem = file.file_stem().expect("a file has a name");
        writeln!(
            table,
            "    ({:?}, include_str!({:?})),",
            stem.to_string_lossy(),
            fs::canonicalize(&file).expect("the file exists"),
        )
        .expect("strings grow");
    }
    table.push_str("];\n");
    table
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("the folder is readable") {
        let path = entry.expect("the entry is readable").path();
        if path.is_dir() {
            collect(&path, files);
        } else {
            files.push(path);
        }
    }
}

fn content_type(file: &Path) -> &'static str {
    match file.extension().and_then(|e| e.to_str()) {
        Some("html") => "text/html; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        Some("woff2") => "font/woff2",
        Some("json" | "map") => "application/json",
        _ => "application/octet-stream",
    }
}
