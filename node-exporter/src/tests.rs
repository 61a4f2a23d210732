//! Every collector on small trees of `/proc` and `/sys`, and on arbitrary files in their places.
//!
//! A fixture is `tests/fixtures/<collector>[.<case>].txt`: the tree, `== flags ==` with
//! `name=value` lines, and `== expected ==` with the families that the collector gives. Lines
//! beginning with `fault:` are what it said instead. `OBS_BLESS=1` writes what is found.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::LazyLock;

use obs_model::family::Family;
use proptest::prelude::*;

use super::*;
use crate::source::Source;
use crate::tree::{Node, Tree};

/// Names whose values are those of the machine and the moment.
const OF_THE_MOMENT: [&str; 3] = [
    "node_time_seconds",
    "node_time_zone_offset_seconds",
    "container_last_seen",
];
/// Collectors without files; their tests are beside them.
const WITHOUT_FILES: [&str; 9] = [
    "ethtool",
    "logind",
    "network_route",
    "qdisc",
    "runit",
    "supervisord",
    "systemd",
    "timex",
    "uname",
];

struct Fixture {
    path: PathBuf,
    collector: &'static Collector,
    tree: String,
    options: Options,
    expected: String,
}

impl Fixture {
    fn source(&self) -> Source {
        Source::of_tree(Tree::parse(&self.tree))
    }
}

/// Read once: compiling the expressions of the options takes longer than most collectors.
static FIXTURES: LazyLock<Vec<Fixture>> = LazyLock::new(fixtures);

fn fixtures() -> Vec<Fixture> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let mut all = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        let name = path.file_stem().unwrap().to_str().unwrap();
        let name = name.split('.').next().unwrap();
        let collector = COLLECTORS.iter().find(|c| c.name == name);
        let (head, expected) = text.split_once("== expected ==\n").unwrap();
        let (tree, flags) = head.split_once("== flags ==\n").unwrap_or((head, ""));
        let flags = flags.lines().map(|line| line.split_once('=').unwrap());
        all.push(Fixture {
            collector: collector.unwrap_or_else(|| panic!("{name} is no collector")),
            tree: tree.to_owned(),
            options: Options::from_flags(flags).unwrap(),
            expected: expected.to_owned(),
            path,
        });
    }
    all.sort_by(|a, b| a.path.cmp(&b.path));
    all
}

/// Families as text, without helps and without what is of the moment.
fn shown(mut families: Vec<Family>, result: Result<(), CollectError>) -> String {
    families.retain(|family| !OF_THE_MOMENT.contains(&family.name.as_str()));
    for family in &mut families {
        family.help.clear();
    }
    let mut text = String::from_utf8(exposition(&families)).unwrap();
    if let Err(fault) = result {
        text.push_str(&format!("fault: {fault}\n"));
    }
    text
}

fn run(collector: &Collector, source: &Source, options: &Options) -> (Vec<Family>, String) {
    let mut sheet = Sheet::default();
    let result = (collector.collect)(source, options, &mut sheet);
    let families = sheet.into_families();
    let text = shown(families.clone(), result);
    (families, text)
}

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "writes what is expected when it is asked to"
)]
fn fixtures_give_what_is_expected() {
    let mut seen: BTreeSet<&str> = WITHOUT_FILES.into();
    let bless = std::env::var_os("OBS_BLESS").is_some();
    let mut wrong = Vec::new();
    for fixture in FIXTURES.iter() {
        seen.insert(fixture.collector.name);
        let (families, found) = run(fixture.collector, &fixture.source(), &fixture.options);
        for family in families {
            assert!(!family.help.is_empty(), "{} has no help", family.name);
        }
        if found != fixture.expected && bless {
            let text = std::fs::read_to_string(&fixture.path).unwrap();
            let head = text.split("== expected ==\n").next().unwrap();
            let text = format!("{head}== expected ==\n{found}");
            std::fs::write(&fixture.path, text).unwrap();
        } else if found != fixture.expected {
            let path = fixture.path.display();
            wrong.push(format!(
                "{path}\nexpected:\n{}\nfound:\n{found}",
                fixture.expected
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    let missing: Vec<&str> = COLLECTORS
        .iter()
        .map(|collector| collector.name)
        .filter(|name| !seen.contains(name))
        .collect();
    assert!(missing.is_empty(), "without a fixture: {missing:?}");
}

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "the trees of the fixtures, in a folder for the test"
)]
fn trees_on_disk_give_the_same() {
    // Collectors whose labels have the place of the tree, or that ask the mounts themselves.
    let of_the_place = [
        "rapl",
        "textfile",
        "filesystem",
        "pcidevice",
        "time",
        "containers",
    ];
    for fixture in FIXTURES.iter() {
        if of_the_place.contains(&fixture.collector.name) {
            continue;
        }
        let folder = tempfile::tempdir().unwrap();
        let at = |root: &str| folder.path().join(root);
        let mut tree = Tree::parse(&fixture.tree);
        for (path, node) in tree.files() {
            let path = at(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            match node {
                Node::File(bytes) => std::fs::write(&path, bytes).unwrap(),
                Node::Link(target) => std::os::unix::fs::symlink(target, &path).unwrap(),
            }
        }
        let source = Source::new(at("proc"), at("sys"), at("root"))
            .with_udev(at("udev"))
            .with_cgroup(at("cgroup"));
        let (_, found) = run(fixture.collector, &source, &fixture.options);
        // Faults name the place.
        let without_faults = |text: &str| {
            let lines = text.lines().filter(|line| !line.starts_with("fault:"));
            lines.map(str::to_owned).collect::<Vec<_>>()
        };
        let path = fixture.path.display();
        assert_eq!(
            without_faults(&found),
            without_faults(&fixture.expected),
            "{path}"
        );
    }
}

/// Bytes of one file that a broken kernel or a hostile mount may show.
fn content() -> impl Strategy<Value = Vec<u8>> {
    let number = any::<u64>().prop_map(|number| number.to_string());
    let word = prop_oneof![
        "[a-zA-Z0-9_:.,()/=%-]{0,12}",
        number,
        Just("0xffffffffffffffff".to_owned()),
        Just("18446744073709551616".to_owned()),
        Just("-1".to_owned()),
        Just("kB".to_owned()),
        Just("é".to_owned()),
    ];
    let text = prop::collection::vec(
        (word, prop::sample::select(vec![" ", "\n", "\t", ":", ", "])),
        0..40,
    );
    let text = text.prop_map(|words| {
        let words = words.into_iter().map(|(word, gap)| word + gap);
        words.collect::<String>().into_bytes()
    });
    prop_oneof![text, prop::collection::vec(any::<u8>(), 0..200)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Any one file of any fixture is replaced, or changed in one place.
    #[test]
    fn arbitrary_files_neither_panic_nor_multiply(
        content in content(),
        place in any::<prop::sample::Index>(),
        cut in any::<prop::sample::Index>(),
    ) {
        for fixture in FIXTURES.iter() {
            let mut tree = Tree::parse(&fixture.tree);
            let bytes: usize = fixture.tree.len();
            let count = tree.files().count();
            if count == 0 {
                continue;
            }
            let at = place.index(count);
            let (_, node) = tree.files().nth(at).unwrap();
            if let Node::File(old) = node {
                if content.len() % 2 == 0 || old.is_empty() {
                    old.clone_from(&content);
                } else {
                    let at = cut.index(old.len());
                    old.truncate(at);
                    old.extend_from_slice(&content);
                }
            }
            let source = Source::of_tree(tree);
            let (families, _) = run(fixture.collector, &source, &fixture.options);
            let points: usize = families.iter().map(|family| family.points.len()).sum();
            // Tables of fixed size, and at most a few points per byte of what was read.
            prop_assert!(points <= 2_000 + 4 * (bytes + content.len()), "{points} points");
        }
    }
}

#[test]
fn this_machine_has_its_families() {
    let gathered = gather(&Source::default(), &Options::default());
    let names: Vec<&str> = gathered.families.iter().map(|f| f.name.as_str()).collect();
    for name in [
        "node_boot_time_seconds",
        "node_cpu_seconds_total",
        "node_exporter_build_info",
        "node_filefd_allocated",
        "node_load1",
        "node_memory_MemTotal_bytes",
        "node_network_receive_bytes_total",
        "node_scrape_collector_success",
        "node_sockstat_sockets_used",
        "node_time_seconds",
        "node_timex_status",
        "node_uname_info",
        "node_vmstat_pgfault",
    ] {
        let faults = &gathered.faults;
        assert!(
            names.contains(&name),
            "{name} is missing; faults: {faults:?}"
        );
    }
    assert!(names.is_sorted());
}

#[test]
fn collectors_that_ask_the_kernel() {
    let source = Source::default();
    for (name, family) in [
        ("qdisc", ""),
        ("network_route", ""),
        ("ethtool", ""),
        ("timex", "node_timex_sync_status"),
        ("uname", "node_uname_info"),
    ] {
        let collector = COLLECTORS.iter().find(|c| c.name == name).unwrap();
        let (families, text) = run(collector, &source, &Options::default());
        assert!(!text.contains("fault:"), "{name}: {text}");
        let found = families.iter().any(|f| f.name == family);
        assert!(found || family.is_empty(), "{name}: {text}");
    }
}

#[test]
fn an_absent_proc_is_told_per_collector() {
    let source = Source::new("/nonexistent/proc", "/nonexistent/sys", "/");
    let gathered = gather(&source, &Options::default());
    let success = gathered
        .families
        .iter()
        .find(|family| family.name == "node_scrape_collector_success")
        .unwrap();
    let of = |name: &str| {
        let of_name = |p: &&obs_model::family::Point| p.labels.get("collector") == Some(name);
        success.points.iter().find(of_name).unwrap().value
    };
    assert_eq!((of("cpu"), of("uname")), (0.0, 1.0));
    let fault = |name: &str| {
        let fault = gathered.faults.iter().find(|(of, _)| *of == name);
        fault.unwrap().1.to_string()
    };
    assert!(fault("cpu").starts_with("cannot read /nonexistent/proc/stat"));
    assert_eq!(fault("zfs"), "no data: no ZFS");
}

#[test]
fn containers_are_named_by_whoever_knows_them() {
    let of_containers = |f: &&Fixture| f.path.ends_with("containers.txt");
    let fixture = FIXTURES.iter().find(of_containers).unwrap();
    let lookup = Lookup::new(|key| {
        key.container_id.map(|id| ContainerNames {
            namespace: "ns".to_owned(),
            pod: key.pod_uid.unwrap_or_default().to_owned(),
            container: id[..4].to_owned(),
            image: "registry/app:1".to_owned(),
        })
    });
    let options = fixture.options.clone().with_containers(lookup);
    let (families, _) = run(fixture.collector, &fixture.source(), &options);
    let family = families
        .iter()
        .find(|f| f.name == "container_memory_rss")
        .unwrap();
    let point = family
        .points
        .iter()
        .find(|p| p.labels.get("container").is_some());
    for (label, value) in [
        ("container", "0123"),
        ("namespace", "ns"),
        ("pod", "11111111-2222-3333-4444-555555555555"),
        ("image", "registry/app:1"),
    ] {
        assert_eq!(point.unwrap().labels.get(label), Some(value));
    }
}
