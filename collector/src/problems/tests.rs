//! Monitors from a file of records to lines of a log and to an API server.

use std::time::Duration;

use obs_model::LogBatch;
use obs_tests::kube_api::{Fault, KubeApi, Rule, User};
use serde_json::{Value, json};
use tokio::time::timeout;

use super::*;
use crate::sink::{Accepted, Inbox};

/// How long anything may take before a test gives up. Long, because machines may be busy.
const DEADLINE: Duration = Duration::from_secs(120);

fn config(text: &str) -> NodeProblemsConfig {
    serde_yaml_ng::from_str(text).expect("a configuration")
}

/// The next batch that is to be stored.
async fn stored(inbox: &mut Inbox) -> LogBatch {
    let write = timeout(DEADLINE, inbox.logs.recv()).await;
    let write = write.expect("lines come").expect("the sink is there");
    write
        .done
        .send(Ok(Accepted::default()))
        .expect("the writer waits");
    write.batch
}

/// Looks at the server until something holds.
async fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let wait = async {
        loop {
            match look() {
                Some(found) => return found,
                None => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
    };
    let waited = timeout(DEADLINE, wait).await;
    waited.unwrap_or_else(|_| panic!("gave up waiting for {what}"))
}

fn condition(api: &KubeApi, kind: &str) -> Option<Value> {
    let node = api.get("Node", "", "n1")?;
    let all = node.pointer("/status/conditions")?.as_array()?.clone();
    all.into_iter().find(|condition| condition["type"] == kind)
}

const OOM: &str = "Out of memory: Killed process 7 (stress) total-vm:9kB, anon-rss:8kB, file-rss:1kB, shmem-rss:0kB";
const READ_ONLY: &str = "EXT4-fs (sda1): Remounting filesystem read-only";

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "one story from start to end")]
async fn records_of_the_kernel_become_lines_events_conditions_and_metrics() {
    let api = KubeApi::start().await;
    api.add_token("t", User::new("obs", &["nodes"]));
    api.allow(Rule::new("nodes", "*", "events", "*"));
    api.allow(Rule::new("nodes", "*", "nodes", "*"));
    api.allow(Rule::new("nodes", "*", "nodes/status", "*"));
    api.put(
        json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"},
        "status": {"conditions": [{"type": "Ready", "status": "True"}]}}),
    );
    // The server is busy at first, and then asks for patience.
    api.fail("/api/v1/namespaces/default/events", 1, Fault::Status(503));
    api.fail("/api/v1/namespaces/default/events", 1, Fault::TooMany(1));
    api.fail("/api/v1/nodes/n1/status", 1, Fault::Status(500));
    let folder = tempfile::tempdir().unwrap();
    let (kmsg, file) = (
        folder.path().join("kmsg"),
        folder.path().join("kernel.json"),
    );
    let mut definition = usual::kernel_text().replace("/dev/kmsg", &kmsg.display().to_string());
    definition = definition.replace("\"5m\"", "\"100y\"");
    tokio::fs::write(&file, definition).await.unwrap();
    tokio::fs::write(&kmsg, "").await.unwrap();
    let config = config(
        "{default_rules: false, config_files: [kernel.json], node_name: n1, labels: {cluster: c}}",
    );
    let problems = Problems::open(&config, folder.path(), None).await.unwrap();
    let (sink, mut inbox) = Sink::channel(4);
    let counters = Arc::<Counters>::default();
    let kubeconfig = folder.path().join("kubeconfig");
    tokio::fs::write(&kubeconfig, api.kubeconfig(Some("t")))
        .await
        .unwrap();
    let setting = Setting {
        sink,
        tenant: Tenant::anonymous(),
        counters: Arc::clone(&counters),
        access: Some(Access::Kubeconfig {
            file: kubeconfig,
            context: None,
        }),
    };
    let stop = CancellationToken::new();
    let check = async {
        let initial = until("the first conditions", || condition(&api, "KernelDeadlock")).await;
        assert_eq!(
            (&initial["status"], &initial["reason"]),
            (&json!("False"), &json!("KernelHasNoDeadlock"))
        );
        assert_eq!(condition(&api, "Ready").unwrap()["status"], "True");
        let up = lines::uptime(&tokio::fs::read_to_string("/proc/uptime").await.unwrap());
        let micros = up.unwrap().as_micros();
        let records = format!(
            "6,1,{micros},-;all is well\n4,2,{micros},-;{OOM}\n SUBSYSTEM=x\n3,3,{micros},-;{READ_ONLY}\n4,4,{micros},-;{OOM}\n"
        );
        tokio::fs::write(&kmsg, records).await.unwrap();
        let mut lines = Vec::new();
        while lines.len() < 3 {
            for stream in stored(&mut inbox).await.streams {
                let expect = [
                    ("cluster", "c"),
                    ("job", "node-problems"),
                    ("node", "n1"),
                    ("source", "kernel-monitor"),
                ];
                assert_eq!(stream.labels, obs_model::Labels::from_pairs(expect));
                lines.extend(
                    stream
                        .records
                        .into_iter()
                        .map(|r| String::from_utf8(r.line).unwrap()),
                );
            }
        }
        let oom = format!("type=Warning reason=OOMKilling msg=\"{OOM}\"");
        let read_only = "type=Normal reason=FilesystemIsReadOnly msg=\"Node condition ReadonlyFilesystem is now: True, reason: FilesystemIsReadOnly\"";
        assert_eq!(lines, [oom.as_str(), read_only, oom.as_str()]);
        let changed = until("the changed condition", || {
            condition(&api, "ReadonlyFilesystem").filter(|c| c["status"] == "True")
        })
        .await;
        assert_eq!(changed["message"], READ_ONLY);
        let event = until("both events, of which one happened twice", || {
            let events = api.all("Event");
            let both = (events.len() == 2).then_some(events)?;
            both.into_iter().find(|event| event["count"] == 2)
        })
        .await;
        assert_eq!(event["reason"], "OOMKilling");
        assert_eq!(event["message"], OOM);
        assert_eq!(event["type"], "Warning");
        assert_eq!(
            event["involvedObject"],
            json!({"kind": "Node", "name": "n1", "uid": "n1"})
        );
        assert_eq!(
            event["source"],
            json!({"component": "kernel-monitor", "host": "n1"})
        );
        let mut text = Vec::new();
        obs_wire::prometheus::text::encode(&counters.problems.families(), &mut text);
        let text = String::from_utf8(text).unwrap();
        for line in [
            "problem_counter{reason=\"OOMKilling\"} 2",
            "problem_counter{reason=\"FilesystemIsReadOnly\"} 1",
            "problem_counter{reason=\"TaskHung\"} 0",
            "problem_gauge{reason=\"FilesystemIsReadOnly\",type=\"ReadonlyFilesystem\"} 1",
            "problem_gauge{reason=\"DockerHung\",type=\"KernelDeadlock\"} 0",
            "obs_node_problem_lines_total 4",
        ] {
            assert!(text.contains(line), "{line} is missing: {text}");
        }
        stop.cancel();
    };
    let stopped = stop.clone();
    tokio::join!(problems.run(setting, stopped), check);
}

#[tokio::test]
async fn programs_run_only_where_that_is_allowed() {
    let custom = "{plugin: custom, source: ntp, pluginConfig: {invoke_interval: 1h}, rules: [{type: temporary, reason: NTPIsDown, path: /bin/sh, args: ['-c', 'echo down; exit 1']}]}";
    let text = format!("{{default_rules: false, node_name: n1, monitors: [{custom}]}}");
    let refused = Problems::open(&config(&text), Path::new("/"), None).await;
    assert_eq!(
        refused.unwrap_err().to_string(),
        "ntp: runs programs, expected allow_commands: true"
    );
    let allowed = format!(
        "{{default_rules: false, node_name: n1, allow_commands: true, monitors: [{custom}]}}"
    );
    let problems = Problems::open(&config(&allowed), Path::new("/"), Some("other"))
        .await
        .unwrap();
    let (sink, mut inbox) = Sink::channel(4);
    let setting = Setting {
        sink,
        tenant: Tenant::anonymous(),
        counters: Arc::default(),
        access: None,
    };
    let stop = CancellationToken::new();
    let check = async {
        let batch = stored(&mut inbox).await;
        let line = String::from_utf8_lossy(&batch.streams[0].records[0].line).into_owned();
        assert_eq!(line, "type=Warning reason=NTPIsDown msg=\"down\"");
        stop.cancel();
    };
    let stopped = stop.clone();
    tokio::join!(problems.run(setting, stopped), check);
}

#[tokio::test]
async fn files_that_are_wrong_are_named() {
    let folder = tempfile::tempdir().unwrap();
    tokio::fs::write(folder.path().join("bad.json"), "{}")
        .await
        .unwrap();
    for (text, expect) in [
        (
            "{config_files: [bad.json]}",
            "bad.json: missing field `plugin`",
        ),
        ("{config_files: [none.json]}", "none.json: No such file"),
        (
            "{monitors: [{plugin: kmsg}]}",
            "monitors[0]: source: expected a name",
        ),
    ] {
        let error = Problems::open(&config(text), folder.path(), None)
            .await
            .unwrap_err();
        assert!(error.to_string().contains(expect), "{error}");
    }
}

#[tokio::test]
async fn a_monitor_of_the_same_name_stands_in_the_place_of_ours() {
    let kernel = "monitors: [{plugin: kmsg, source: kernel-monitor}]";
    for (text, expect) in [
        ("{}".to_owned(), 1),
        ("{default_rules: false}".to_owned(), 0),
        (format!("{{{kernel}}}"), 1),
        (format!("{{default_rules: true, {kernel}}}"), 2),
        ("{monitors: [{plugin: kmsg, source: own}]}".to_owned(), 2),
    ] {
        let opened = Problems::open(&config(&text), Path::new("/"), None).await;
        assert_eq!(opened.unwrap().definitions.len(), expect, "{text}");
    }
}

#[test]
fn what_the_api_server_is_told_has_no_secrets() {
    let config = serde_yaml_ng::from_str("{}").expect("a configuration");
    let redactor = Redactor::new(&config).expect("a redactor");
    let board = Board::new(1, Some(redactor));
    let condition = NodeCondition {
        kind: "Bad".to_owned(),
        holds: obs_kubernetes::node::Holds::True,
        since: clock::now(),
        reason: "Bad".to_owned(),
        message: "mount of cifs://u:Zx9Zx9Zx9Q@h with password=Zx9Zx9Zx9Q".to_owned(),
    };
    board.set(0, &[condition]);
    let told = board.wanted.borrow()[0].message.clone();
    assert_eq!(
        told,
        "mount of cifs://u:[REDACTED:url_password]@h with password=[REDACTED:key_value]"
    );
}
