//! The command line as people and scripts see it: what each command prints for data that never
//! changes, how it ends, and that nothing is coloured that goes into a pipe.
//!
//! What is expected is in `tests/fixtures/cli`; `OBS_BLESS=1` writes it anew, to be looked at.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, Output, Stdio};
use std::sync::{Arc, Mutex};

use obs_model::MetricBatch;
use obs_model::metrics::{MetricKind, Series};
use serde_json::json;

use crate::process::{Obs, Stop, command, until};
use crate::send::{MINUTE, Otlp, SECOND, loki_json, metadata, otlp, remote_write, series};

/// 2026-01-01T00:00:00Z
const BEGIN: i64 = 1_767_225_600 * SECOND;
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A series of an hour, a sample each half minute.
fn of(labels: &[(&str, &str)], value: impl Fn(f64) -> f64) -> Series {
    let samples = (0..=120).map(|i| (BEGIN + i * 30 * SECOND, value(i as f64)));
    series(labels, samples)
}

fn metrics() -> MetricBatch {
    let name = |name: &'static str| ("__name__", name);
    let mut all = vec![
        of(&[name("requests_total"), ("code", "200")], |i| i * 60.0),
        of(&[name("requests_total"), ("code", "500")], |i| i * 3.0),
        of(&[name("temperature"), ("room", "attic")], |i| {
            (i / 12.0).sin() * 8.0 - 2.0
        }),
        of(&[name("temperature"), ("room", "cellar")], |i| {
            if (40.0..60.0).contains(&i) {
                f64::NAN
            } else {
                11.5
            }
        }),
    ];
    for node in ["eu-1", "eu-2"] {
        let instance = ("instance", node);
        let busy = if node == "eu-1" { 1.5 } else { 0.25 };
        for cpu in ["0", "1"] {
            let cpu = ("cpu", cpu);
            let idle = [
                name("node_cpu_seconds_total"),
                instance,
                cpu,
                ("mode", "idle"),
            ];
            all.push(of(&idle, |i| i * 30.0 * (1.0 - busy / 2.0)));
            let user = [
                name("node_cpu_seconds_total"),
                instance,
                cpu,
                ("mode", "user"),
            ];
            all.push(of(&user, |i| i * 30.0 * busy / 2.0));
        }
        let total = [name("node_memory_MemTotal_bytes"), instance];
        all.push(of(&total, |_| 8.0 * 1024.0 * 1024.0 * 1024.0));
        let free = [name("node_memory_MemAvailable_bytes"), instance];
        all.push(of(&free, |i| (6.0 - i / 60.0) * 1024.0 * 1024.0 * 1024.0));
    }
    for (pod, share) in [("cart-7d9f", 0.4), ("shop-5c2b", 0.1)] {
        let of_pod = [("namespace", "shop"), ("pod", pod)];
        let used = [
            &[
                name("container_cpu_usage_seconds_total"),
                ("container", "main"),
            ],
            &of_pod[..],
        ];
        all.push(of(&used.concat(), |i| i * 30.0 * share));
        let held = [
            &[
                name("container_memory_working_set_bytes"),
                ("container", "main"),
            ],
            &of_pod[..],
        ];
        all.push(of(&held.concat(), |_| share * 1e9));
        let asked = [
            &[
                name("kube_pod_container_resource_requests"),
                ("resource", "cpu"),
            ],
            &of_pod[..],
        ];
        all.push(of(&asked.concat(), |_| 0.5));
    }
    for pod in 0..15 {
        let pod = format!("pod-{pod:02}");
        all.push(of(&[name("load"), ("pod", &pod)], |i| i));
    }
    MetricBatch {
        series: all,
        metadata: vec![metadata("requests_total", MetricKind::Counter, "Requests.")],
        ..Default::default()
    }
}

/// A server whose data does not change.
fn server() -> Obs {
    let obs = Obs::start();
    assert_eq!(remote_write(&obs, &metrics()).status, 204);
    let at = BEGIN + 30 * MINUTE;
    let lines = [
        (at, "level=info all is well", &[][..]),
        (at + SECOND, "level=error \u{1b}[2J, it said", &[][..]),
        (at + 5 * MINUTE, "level=info all is well again", &[][..]),
    ];
    assert_eq!(loki_json(&obs, &[("app", "shop")], &lines).status, 204);
    let span = |id: &str, parent: &str, name: &str, from: i64, to: i64| {
        json!({
            "traceId": TRACE, "spanId": id, "parentSpanId": parent, "name": name,
            "startTimeUnixNano": (at + from * 1_000_000).to_string(),
            "endTimeUnixNano": (at + to * 1_000_000).to_string(),
        })
    };
    let spans = [
        span("00000000000000a1", "", "GET /", 0, 200),
        span("00000000000000a2", "00000000000000a1", "SELECT", 50, 150),
    ];
    let body = json!({"resourceSpans": [{
        "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "shop"}}]},
        "scopeSpans": [{"spans": spans}],
    }]});
    let sent = otlp(&obs, "traces", Otlp::Json, body.to_string().into_bytes());
    assert_eq!(sent.status, 200);
    obs
}

/// A command in a pipe, on a machine that would colour.
fn piped(arguments: &[&str], columns: &str) -> Output {
    let mut command = command(arguments);
    command
        .env_remove("NO_COLOR")
        .env_remove("CLICOLOR_FORCE")
        .env("TERM", "xterm-256color")
        .env("COLUMNS", columns)
        .env("XDG_CONFIG_HOME", "/nowhere");
    command.output().expect("obs runs")
}

/// What it prints and how it ends; what depends on the run is masked.
fn shown(output: &Output, url: &str) -> String {
    let mut all = text(&output.stdout);
    let told = text(&output.stderr);
    if !told.is_empty() {
        all.push_str(&format!("--- standard error\n{told}"));
    }
    if output.status.code() != Some(0) {
        all.push_str(&format!("--- ends with {:?}\n", output.status.code()));
    }
    assert!(!all.contains('\u{1b}'), "nothing moves a cursor: {all}");
    let all = all.replace(url, "http://SERVER");
    let lines = all.lines().map(|line| match line.find(" ms  ") {
        // A time that was measured.
        Some(end) if line.contains("series ") || line.contains("scalar ") => {
            let from = line[..end].rfind(' ').map_or(end, |at| at + 1);
            format!("{} #.###{}\n", line[..from].trim_end(), &line[end..])
        }
        // It depends on whether the data is in memory still.
        _ if line.starts_with("cost ") => "cost …\n".to_owned(),
        _ => format!("{line}\n"),
    });
    lines.collect()
}

fn golden(name: &str, found: &str, differ: &mut Vec<String>) {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures/cli");
    let path = folder.join(format!("{name}.txt"));
    if std::env::var("OBS_BLESS").is_ok() {
        std::fs::create_dir_all(&folder).expect("the folder is writable");
        std::fs::write(&path, found).expect("the folder is writable");
        return;
    }
    let expect = std::fs::read_to_string(&path).unwrap_or_default();
    if found != expect {
        differ.push(format!(
            "=== {name}: expected\n{expect}=== {name}: found\n{found}"
        ));
    }
}

/// Golden name, columns, arguments. `FROM` and `TO` stand for the hour of the data.
const CASES: &[(&str, &str, &[&str])] = &[
    (
        "query-table",
        "80",
        &["query", "requests_total", "--to", "TO"],
    ),
    (
        "query-csv",
        "80",
        &["query", "requests_total", "--to", "TO", "-o", "csv"],
    ),
    (
        "query-json",
        "80",
        &["query", "requests_total", "--to", "TO", "-o", "json"],
    ),
    (
        "query-bars",
        "80",
        &[
            "query",
            "sort_desc(requests_total)",
            "--to",
            "TO",
            "-o",
            "graph",
        ],
    ),
    (
        "query-range",
        "80",
        &["query", "temperature", "FROM", "TO", "--step", "20m"],
    ),
    (
        "graph-60",
        "60",
        &[
            "query",
            "sum by (code) (rate(requests_total[5m]))",
            "FROM",
            "TO",
            "-o",
            "graph",
        ],
    ),
    (
        "graph-80",
        "80",
        &["query", "temperature", "FROM", "TO", "-o", "graph"],
    ),
    (
        "graph-200",
        "200",
        &["query", "temperature", "FROM", "TO", "--graph"],
    ),
    (
        "graph-many",
        "100",
        &["query", "load", "FROM", "TO", "-o", "graph"],
    ),
    (
        "graph-nothing",
        "80",
        &["query", "nothing", "FROM", "TO", "-o", "graph"],
    ),
    (
        "logs-table",
        "80",
        &["logs", "{app=\"shop\"}", "FROM", "TO"],
    ),
    (
        "logs-csv",
        "80",
        &[
            "logs",
            "{app=\"shop\"} |= \"well\"",
            "FROM",
            "TO",
            "-o",
            "csv",
        ],
    ),
    (
        "logs-json",
        "80",
        &[
            "logs",
            "{app=\"shop\"} |= \"again\"",
            "FROM",
            "TO",
            "-o",
            "json",
        ],
    ),
    (
        "logs-graph",
        "80",
        &["logs", "{app=\"shop\"}", "FROM", "TO", "-o", "graph"],
    ),
    ("traces-table", "80", &["traces", "{}", "FROM", "TO"]),
    (
        "traces-csv",
        "80",
        &["traces", "{}", "FROM", "TO", "-o", "csv"],
    ),
    (
        "query-spans",
        "80",
        &[
            "query",
            "{} | count_over_time() by (resource.service.name)",
            "--lang",
            "traceql",
            "FROM",
            "TO",
            "--step",
            "20m",
            "-o",
            "csv",
        ],
    ),
    (
        "query-spans-one",
        "80",
        &[
            "query",
            "{} | count_over_time() by (resource.service.name)",
            "--lang",
            "traceql",
            "--to",
            "2026-01-01T01:00:00Z",
        ],
    ),
    (
        "traces-graph",
        "80",
        &["traces", "{}", "FROM", "TO", "-o", "graph"],
    ),
    ("trace-graph", "100", &["trace", TRACE]),
    ("trace-table", "80", &["trace", TRACE, "-o", "table"]),
    ("trace-csv", "80", &["trace", TRACE, "-o", "csv"]),
    (
        "labels",
        "80",
        &[
            "labels",
            "--match",
            "{__name__=~\"requests_total|load\"}",
            "FROM",
            "TO",
        ],
    ),
    (
        "labels-of-one",
        "80",
        &["labels", "code", "FROM", "TO", "-o", "json"],
    ),
    (
        "labels-graph",
        "80",
        &[
            "labels", "pod", "--match", "load", "FROM", "TO", "-o", "graph",
        ],
    ),
    (
        "labels-logs",
        "80",
        &["labels", "app", "--lang", "logql", "FROM", "TO"],
    ),
    (
        "labels-traces",
        "80",
        &[
            "labels",
            "resource.service.name",
            "--lang",
            "traceql",
            "FROM",
            "TO",
        ],
    ),
    (
        "series-table",
        "80",
        &["series", "requests_total", "temperature", "FROM", "TO"],
    ),
    (
        "series-csv",
        "80",
        &[
            "series",
            "requests_total",
            "temperature",
            "FROM",
            "TO",
            "-o",
            "csv",
        ],
    ),
    (
        "series-graph",
        "80",
        &[
            "series",
            "{__name__=~\"load|temperature\"}",
            "FROM",
            "TO",
            "-o",
            "graph",
        ],
    ),
    ("top-nodes", "100", &["top", "nodes", "FROM", "TO"]),
    (
        "top-nodes-graph",
        "80",
        &[
            "top", "nodes", "FROM", "TO", "-o", "graph", "--sort", "memory",
        ],
    ),
    (
        "top-pods",
        "100",
        &["top", "pods", "-n", "shop", "FROM", "TO"],
    ),
    (
        "top-pods-csv",
        "80",
        &["top", "pods", "FROM", "TO", "-o", "csv"],
    ),
    (
        "top-nothing",
        "80",
        &["top", "pods", "-n", "nobody", "FROM", "TO"],
    ),
    (
        "explain-plan",
        "80",
        &[
            "explain",
            "--plan",
            "sum(rate(requests_total[5m]))",
            "--to",
            "TO",
        ],
    ),
    (
        "explain",
        "100",
        &[
            "explain",
            "sum by (code) (rate(requests_total[5m])) / 2 > bool 1",
            "--to",
            "TO",
        ],
    ),
    (
        "explain-range",
        "100",
        &[
            "explain",
            "max(temperature) - min(temperature)",
            "FROM",
            "TO",
            "--step",
            "5m",
        ],
    ),
    (
        "explain-logs",
        "80",
        &[
            "explain",
            "{app=\"shop\"} |= \"well\"",
            "--lang",
            "logql",
            "--to",
            "TO",
        ],
    ),
    (
        "error-explain",
        "80",
        &["explain", "{}", "--lang", "traceql", "-o", "csv"],
    ),
    ("error-step", "80", &["query", "up", "--step", "0s"]),
    (
        "error-limit",
        "80",
        &["logs", "{app=\"shop\"}", "--limit", "0"],
    ),
    (
        "error-duration",
        "80",
        &["silence", "add", "-c", "x", "-d", "banana", "a=b"],
    ),
    ("error-correlate", "80", &["correlate"]),
    ("error-graph", "80", &["silence", "list", "-o", "graph"]),
    ("error-silence", "80", &["silence", "expire", "nobody"]),
    (
        "error-parse",
        "80",
        &["query", "sum(rate(requests_total[5m])"],
    ),
    (
        "error-logql",
        "80",
        &["logs", "{app=\"shop\"} |= ", "FROM", "TO"],
    ),
    (
        "error-lang",
        "80",
        &["labels", "--lang", "logql", "-o", "graph"],
    ),
    ("error-usage", "80", &["query", "up", "--since", "soon"]),
    ("error-time", "80", &["query", "up", "--from", "someday"]),
    (
        "error-context",
        "80",
        &["query", "up", "--context", "nowhere"],
    ),
];

#[test]
fn commands_print_what_they_printed() {
    let obs = server();
    let url = obs.url();
    let mut differ = Vec::new();
    for (name, columns, arguments) in CASES {
        let mut all: Vec<&str> = Vec::new();
        for argument in *arguments {
            match *argument {
                "FROM" => all.extend(["--from", "2026-01-01T00:00:00Z"]),
                "TO" if all.last() == Some(&"--to") => all.push("2026-01-01T01:00:00Z"),
                "TO" => all.extend(["--to", "2026-01-01T01:00:00Z"]),
                argument => all.push(argument),
            }
        }
        if !all.contains(&"--context") {
            all.extend(["--server", &url]);
        }
        golden(name, &shown(&piped(&all, columns), &url), &mut differ);
    }
    assert!(differ.is_empty(), "{}", differ.join("\n"));
}

#[test]
fn a_server_that_is_not_there_is_told_with_what_to_do() {
    let output = piped(&["query", "up", "--server", "http://127.0.0.1:1"], "80");
    assert_eq!(output.status.code(), Some(1));
    let told = text(&output.stderr);
    assert!(
        told.contains("no connection to http://127.0.0.1:1"),
        "{told}"
    );
    for way in ["--server", "OBS_SERVER", "obs context add", "obs serve"] {
        assert!(told.contains(way), "{told}");
    }
}

#[test]
fn help_and_misuse_are_coloured_only_where_that_is_wanted() {
    for (colour, expect) in [("never", false), ("always", true)] {
        for arguments in [&["--help"][..], &["query", "--nothing"]] {
            let mut command = command(&[&["--color", colour], arguments].concat());
            let output = command.env_remove("NO_COLOR").output().expect("obs runs");
            let told = [text(&output.stdout), text(&output.stderr)].concat();
            assert_eq!(told.contains('\u{1b}'), expect, "{colour} {told}");
        }
    }
}

/// Commands below this one, as its help lists them.
fn below(help: &str) -> Vec<String> {
    let list = help.split("Commands:\n").nth(1).unwrap_or_default();
    let lines = list.lines().take_while(|line| line.starts_with("  "));
    let names = lines.filter(|line| !line.starts_with("   "));
    let names = names.filter_map(|line| line.split_whitespace().next());
    names
        .filter(|name| *name != "help")
        .map(str::to_owned)
        .collect()
}

#[test]
fn every_command_explains_itself() {
    let mut left: Vec<Vec<String>> = vec![Vec::new()];
    let mut seen = BTreeSet::new();
    while let Some(path) = left.pop() {
        let mut arguments: Vec<&str> = path.iter().map(String::as_str).collect();
        arguments.push("--help");
        let output = piped(&arguments, "80");
        let (help, name) = (text(&output.stdout), path.join(" "));
        assert!(output.status.success(), "{name}: {}", text(&output.stderr));
        assert!(help.contains("Usage: obs"), "{name}: {help}");
        assert!(!help.contains('\u{1b}'), "{name}: {help}");
        let below = below(&help);
        if below.is_empty() {
            assert!(help.contains("\nExamples:\n  "), "{name}: {help}");
        }
        seen.insert(name);
        left.extend(
            below
                .into_iter()
                .map(|inner| [path.clone(), vec![inner]].concat()),
        );
    }
    for name in [
        "serve",
        "agent",
        "query",
        "watch",
        "explain",
        "logs",
        "traces",
        "trace",
        "labels",
        "series",
        "top nodes",
        "top pods",
        "alerts list",
        "silence add",
        "rules list",
        "check config",
        "check rules",
        "check dashboard",
        "check metrics",
        "test promql",
        "test rules",
        "import",
        "export",
        "completions",
        "context list",
        "context use",
        "grafana provision",
    ] {
        assert!(seen.contains(name), "obs {name} is missing");
    }
}

/// A command with a configuration folder of its own, and how it ended.
fn in_folder(folder: &str, arguments: &[&str]) -> (String, String, Option<i32>) {
    let mut command = command(arguments);
    let output = command
        .env("XDG_CONFIG_HOME", folder)
        .output()
        .expect("obs runs");
    (
        text(&output.stdout),
        text(&output.stderr),
        output.status.code(),
    )
}

#[test]
fn contexts_name_servers() {
    let obs = server();
    let url = obs.url();
    let folder = obs.path("config").display().to_string();
    let run = |arguments: &[&str]| in_folder(&folder, arguments);
    let fine = |arguments: &[&str]| {
        let (out, told, code) = run(arguments);
        assert_eq!(code, Some(0), "{arguments:?}: {told}");
        out
    };
    let token = obs.path("token");
    std::fs::write(&token, "secret\n").expect("the folder is writable");
    let token = token.display().to_string();
    fine(&["context", "add", "here", &url]);
    fine(&[
        "context",
        "add",
        "gone",
        "http://127.0.0.1:1",
        "--tenant",
        "t",
        "--token-file",
        &token,
    ]);
    let query = [
        "query",
        "count(load)",
        "--to",
        "2026-01-01T01:00:00Z",
        "-o",
        "csv",
    ];
    assert!(fine(&query).ends_with(",15\n"), "the first one is asked");
    let listed = fine(&["context", "list", "-o", "csv"]);
    assert!(listed.contains(&format!("*,here,{url},,\n")), "{listed}");
    assert!(
        listed.contains(",gone,http://127.0.0.1:1,t,authorization\n"),
        "{listed}"
    );
    let (_, told, code) = run(&[&query[..], &["--context", "gone"]].concat());
    assert!(
        code == Some(1) && told.contains("http://127.0.0.1:1"),
        "{told}"
    );
    fine(&["context", "use", "gone"]);
    assert_eq!(run(&query).2, Some(1));
    assert!(fine(&[&query[..], &["--context", "here"]].concat()).ends_with(",15\n"));
    assert!(fine(&[&query[..], &["--server", &url]].concat()).ends_with(",15\n"));
    let rules = obs.path("r.yml");
    let text = "groups: [{name: g, rules: [{alert: A, expr: 'load + on () nothing > 1'}]}]";
    std::fs::write(&rules, text).expect("the folder is writable");
    let rules = rules.display().to_string();
    fine(&["context", "use", "here"]);
    let lint = ["check", "rules", "--lint", "absent-metrics", &rules];
    let (_, told, _) = run(&lint);
    assert!(told.contains("no metric \"nothing\""), "{told}");
    let against = ["test", "rules", "--against", "1m", &rules];
    assert!(fine(&against).contains("group"));
    let (_, told, code) = run(&[&against[..], &["--context", "gone"]].concat());
    assert!(
        code == Some(1) && told.contains("http://127.0.0.1:1"),
        "{told}"
    );
    let (_, told, code) = run(&["context", "add", "here", &url]);
    assert!(code == Some(1) && told.contains("--force"), "{told}");
    let (_, told, code) = run(&["query", "up", "--context", "x", "--server", &url]);
    assert!(code == Some(2) && told.contains("--context"), "{told}");
    let (_, told, code) = run(&["query", "up", "--context", "nobody"]);
    assert!(
        code == Some(1) && told.contains("there are gone, here"),
        "{told}"
    );
    fine(&["context", "remove", "gone"]);
    let file = obs.path("config/obs/contexts.yaml");
    let kept = std::fs::read_to_string(&file).expect("it is written");
    assert!(
        kept.contains("here") && !kept.contains("gone") && !kept.contains("secret"),
        "{kept}"
    );
}

#[test]
fn shells_complete_commands_and_names() {
    let obs = server();
    // `load` is of long ago; a name of now is completed.
    let now = series(
        &[("__name__", "requests_of_now")],
        [(crate::process::now(), 1.0)],
    );
    let batch = MetricBatch {
        series: vec![now],
        ..Default::default()
    };
    assert_eq!(remote_write(&obs, &batch).status, 204);
    let completed = |words: &[&str]| {
        let mut command = command(&[&["--"], words].concat());
        command
            .env("OBS_COMPLETE", "bash")
            .env("OBS_SERVER", obs.url())
            .env("_CLAP_IFS", "\n")
            .env("_CLAP_COMPLETE_INDEX", (words.len() - 1).to_string())
            .env("_CLAP_COMPLETE_COMP_TYPE", "9")
            .env("_CLAP_COMPLETE_SPACE", "false");
        text(&command.output().expect("obs runs").stdout)
    };
    assert!(completed(&["obs", "qu"]).contains("query"));
    assert!(completed(&["obs", "top", ""]).contains("pods"));
    assert!(completed(&["obs", "ma"]).contains("man"));
    // The list is left out where the machine is too slow for somebody who types.
    for command in ["series", "query", "explain"] {
        until("the name of a metric", || {
            completed(&["obs", command, "requests_o"])
                .contains("requests_of_now")
                .then_some(())
        });
    }
}

/// A command that runs until its handle goes, and what it has printed so far.
struct Running {
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Running {
    fn start(arguments: &[&str]) -> Self {
        let mut command = command(arguments);
        let child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let mut child = child.expect("obs runs");
        let lines: Arc<Mutex<Vec<String>>> = Arc::default();
        let read = |from: Box<dyn Read + Send>| {
            let lines = Arc::clone(&lines);
            // Ends with the command.
            std::thread::spawn(move || {
                for line in BufReader::new(from).lines().map_while(Result::ok) {
                    lines.lock().expect("no thread panicked").push(line);
                }
            });
        };
        read(Box::new(child.stdout.take().expect("it is piped")));
        read(Box::new(child.stderr.take().expect("it is piped")));
        Self { child, lines }
    }

    fn until_prints(&self, part: &str) {
        until(part, || {
            let lines = self.lines.lock().expect("no thread panicked");
            lines.iter().any(|line| line.contains(part)).then_some(())
        });
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Already gone is as good.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[test]
fn commands_that_wait_for_a_server_say_so() {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("the folder is writable");
        path.display().to_string()
    };
    let samples = write("a.om", "a 1 1700000000\n# EOF\n");
    let rules = write(
        "r.yml",
        "groups: [{name: g, rules: [{record: r, expr: '1'}]}]",
    );
    for arguments in [
        &["import", &samples][..],
        &["rules", "backfill", &rules, "--since", "1h"],
    ] {
        let all = [arguments, &["--server", "http://127.0.0.1:1"]].concat();
        Running::start(&all).until_prints("trying again");
    }
}

#[test]
fn followed_lines_go_on_behind_a_restart() {
    let mut obs = Obs::start();
    obs.keep_address();
    let push = |obs: &Obs, text: &str| {
        let line = [(crate::process::now(), text, &[][..])];
        assert_eq!(loki_json(obs, &[("app", "shop")], &line).status, 204);
    };
    push(&obs, "before");
    let url = obs.url();
    let query = "{app=\"shop\"}";
    let follow = Running::start(&["logs", query, "-f", "-o", "raw", "--server", &url]);
    follow.until_prints("before");
    obs.stop(Stop::Kill);
    follow.until_prints("trying again");
    obs.run();
    push(&obs, "behind");
    follow.until_prints("behind");
}

#[test]
fn watch_goes_into_pipes_as_lines() {
    let obs = server();
    let lines = |arguments: &[&str]| {
        let all = [
            &["watch", "vector(1)", "--every", "100ms", "--count", "3"],
            arguments,
        ]
        .concat();
        let output = obs.client(&all);
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stdout)
    };
    let plain = lines(&[]);
    assert_eq!(plain.lines().count(), 3, "{plain}");
    assert!(
        plain.lines().all(|line| line.ends_with("Z {} 1")),
        "{plain}"
    );
    let csv = lines(&["-o", "csv"]);
    assert_eq!(
        csv.lines().filter(|line| *line == "time,value").count(),
        1,
        "{csv}"
    );
    assert_eq!(lines(&["-o", "json"]).lines().count(), 3);
    let failed = obs.client(&["watch", "sum("]);
    assert_eq!(failed.status.code(), Some(1));
}

#[test]
fn files_are_checked_and_written() {
    let obs = Obs::start();
    let run = |arguments: &[&str]| command(arguments).output().expect("obs runs");
    let write = |name: &str, content: &str| {
        let path = obs.path(name);
        std::fs::write(&path, content).expect("the folder is writable");
        path.display().to_string()
    };
    let fine = write(
        "fine.txt",
        "# HELP a_total A.\n# TYPE a_total counter\na_total 1\n",
    );
    assert_eq!(run(&["check", "metrics", &fine]).status.code(), Some(0));
    let bad = run(&["check", "metrics", &write("bad.txt", "aB 1\n")]);
    assert_eq!(bad.status.code(), Some(3));
    assert!(text(&bad.stderr).contains("aB no help text\n"), "{bad:?}");
    let broken = run(&["check", "metrics", &write("broken.txt", "a{ 1\n")]);
    assert_eq!(broken.status.code(), Some(1));
    let dashboard = r#"{"title": "T", "uid": "u", "panels": [{"id": 1, "type": "stat",
        "datasource": {"type": "prometheus"}, "targets": [{"refId": "A", "expr": "sum("}]}]}"#;
    let checked = run(&["check", "dashboard", &write("dashboard.json", dashboard)]);
    assert_eq!(checked.status.code(), Some(1));
    assert!(
        text(&checked.stderr).contains("query A: 1:5: "),
        "{checked:?}"
    );
    let folder = obs.path("grafana").display().to_string();
    let provision = [
        "grafana",
        "provision",
        "--dir",
        &folder,
        "--url",
        "http://obs:9090",
    ];
    assert_eq!(run(&provision).status.code(), Some(0));
    let sources = std::fs::read_to_string(obs.path("grafana/datasources/obs.yaml"));
    assert!(
        sources
            .expect("it is written")
            .contains("http://obs:9090/tempo")
    );
    assert!(obs.path("grafana/dashboards/obs/obs-node.json").exists());
    assert_eq!(
        run(&provision).status.code(),
        Some(0),
        "the same again is no change"
    );
    let other = [
        "grafana",
        "provision",
        "--dir",
        &folder,
        "--url",
        "http://other:9090",
    ];
    assert_eq!(run(&other).status.code(), Some(1));
    assert_eq!(
        run(&[&other[..], &["--force"]].concat()).status.code(),
        Some(0)
    );
    let pages = obs.path("man").display().to_string();
    assert_eq!(run(&["man", "--dir", &pages]).status.code(), Some(0));
    assert!(obs.path("man/obs-top-pods.1").exists());
}
