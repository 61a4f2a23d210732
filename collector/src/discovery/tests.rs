//! Discovered label sets and the targets they become; files that come, change and go.

use super::*;
use crate::config::{GlobalConfig, ScrapeConfig, jobs};

fn job(yaml: &str) -> Job {
    let config: ScrapeConfig = serde_yaml_ng::from_str(yaml).expect(yaml);
    let jobs = jobs(&GlobalConfig::default(), vec![config], yaml, Path::new("/"));
    jobs.expect(yaml).remove(0)
}

/// `expect` is the URL and the labels, `dropped`, or the fault.
fn check(yaml: &str, discovered: &[(&str, &str)], expect: &str) {
    let labels = Labels::from_pairs(discovered.iter().copied());
    let got = match resolve(&job(yaml), &labels) {
        Ok(Ok(target)) => format!("{} {}", target.url, target.labels),
        Ok(Err(_)) => "dropped".to_owned(),
        Err(fault) => fault,
    };
    assert_eq!(got, expect, "{yaml}");
}

#[test]
fn defaults_and_internal_labels() {
    check(
        "{job_name: j}",
        &[("__address__", "h:1"), ("env", "x"), ("__meta_y", "z")],
        r#"http://h:1/metrics {env="x", instance="h:1", job="j"}"#,
    );
    check(
        "{job_name: j, scheme: https, metrics_path: /p, params: {a: ['1', '2'], b: ['3']}}",
        &[
            ("__address__", "h"),
            ("__param_b", "lost"),
            ("__param_c", "4"),
            ("job", "own"),
        ],
        r#"https://h/p?a=1&a=2&b=3&c=4 {instance="h", job="own"}"#,
    );
}

#[test]
fn relabelling_rewrites_the_request() {
    check(
        "{job_name: j, relabel_configs: [
          {source_labels: [__address__], target_label: __param_target},
          {source_labels: [__param_target], target_label: instance},
          {target_label: __address__, replacement: 'probe:9115'},
          {target_label: __metrics_path__, replacement: /probe}]}",
        &[("__address__", "https://example.org")],
        r#"http://probe:9115/probe?target=https%3A%2F%2Fexample.org {instance="https://example.org", job="j"}"#,
    );
    check(
        "{job_name: j, relabel_configs: [{source_labels: [env], regex: prod, action: keep}]}",
        &[("__address__", "h"), ("env", "dev")],
        "dropped",
    );
    let job = job(
        "{job_name: j, relabel_configs: [{target_label: __scrape_interval__, replacement: 90s},
          {target_label: __scrape_timeout__, replacement: 1m30s}]}",
    );
    let target = resolve(&job, &Labels::from_pairs([("__address__", "h")]));
    let target = target.expect("valid").expect("kept");
    assert_eq!(
        (target.interval.as_secs(), target.timeout.as_secs()),
        (90, 90)
    );
}

#[test]
fn faults() {
    check("{job_name: j}", &[("a", "b")], "no address");
    check(
        "{job_name: j}",
        &[("__address__", "http://h")],
        r#""http://h" is not a valid hostname"#,
    );
    check(
        "{job_name: j}",
        &[("__address__", "h"), ("__scrape_timeout__", "2m")],
        "scrape timeout cannot be greater than scrape interval (120s > 60s)",
    );
    check(
        "{job_name: j}",
        &[("__address__", "h"), ("__scrape_interval__", "0s")],
        "__scrape_interval__ cannot be 0",
    );
}

#[test]
fn equal_targets_are_one() {
    let job = job("{job_name: j, static_configs: [{targets: [a, a, b]}]}");
    let mut sources = Sources::new(&job.discovery, &Providers::default());
    let resolved = sources.resolve(&job);
    assert_eq!(resolved.active.len(), 2);
    assert_eq!(sources.poll(), None);
}

async fn write(path: &Path, text: &str) {
    tokio::fs::write(path, text).await.expect("written");
}

#[tokio::test]
async fn files_come_change_and_go() {
    let dir = tempfile::tempdir().expect("a folder");
    let (json, yaml) = (dir.path().join("a.json"), dir.path().join("b.yml"));
    let mut sources = Sources::new(
        &[Discovery::Files {
            files: vec![dir.path().join("*.json"), yaml.clone()],
            refresh: Duration::from_secs(300),
        }],
        &Providers::default(),
    );
    assert_eq!(sources.poll(), Some(FILE_POLL));
    assert_eq!(sources.refresh().await, (false, vec![]));

    write(
        &json,
        r#"[{"targets": ["h:1", "h:2"], "labels": {"a": "b"}}]"#,
    )
    .await;
    write(&yaml, "- targets: [h:3]\n").await;
    assert_eq!(sources.refresh().await, (true, vec![]));
    assert_eq!(sources.refresh().await, (false, vec![]));
    let all: Vec<String> = sources.discovered().map(Labels::to_string).collect();
    assert_eq!(all.len(), 3);
    let path = json.display();
    assert_eq!(
        all[0],
        format!("{{__address__=\"h:1\", __meta_filepath=\"{path}\", a=\"b\"}}")
    );

    // A broken file keeps its targets and is told each time; a good one replaces them.
    write(&json, r#"[{"target": []}]"#).await;
    let (changed, faults) = sources.refresh().await;
    assert!(
        !changed && faults.len() == 1 && faults[0].contains("unknown field `target`"),
        "{faults:?}"
    );
    assert_eq!(sources.discovered().count(), 3);
    write(&json, r#"[{"targets": ["other:1"]}]"#).await;
    assert!(sources.refresh().await.0);
    assert_eq!(sources.discovered().count(), 2);
    tokio::fs::remove_file(&json).await.expect("removed");
    assert_eq!(sources.refresh().await, (true, vec![]));
    assert_eq!(sources.discovered().count(), 1);
}

#[tokio::test]
async fn a_folder_that_cannot_be_listed_keeps_its_targets() {
    let dir = tempfile::tempdir().expect("a folder");
    let folder = dir.path().join("sd");
    tokio::fs::create_dir(&folder).await.expect("made");
    write(&folder.join("a.yml"), "- targets: [h:1]\n").await;
    let mut sources = Sources::new(
        &[Discovery::Files {
            files: vec![folder.join("*.yml")],
            refresh: Duration::from_secs(300),
        }],
        &Providers::default(),
    );
    assert_eq!(sources.refresh().await, (true, vec![]));
    // A link to itself: reading it fails for everybody, root included.
    let aside = dir.path().join("aside");
    tokio::fs::rename(&folder, &aside).await.expect("renamed");
    tokio::fs::symlink(&folder, &folder).await.expect("linked");
    let (changed, faults) = sources.refresh().await;
    assert!(!changed && faults.len() == 1, "{faults:?}");
    assert_eq!(sources.discovered().count(), 1);
}
