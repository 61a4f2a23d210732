//! The node exporter as the configuration and the command line want it: collectors, flags, paths,
//! and cgroups of both versions as cAdvisor's metrics.

use std::path::Path;

use super::vector;
use crate::process::{Answer, Obs, command, until};

const CONTAINER: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
const POD: &str = "11111111-2222-3333-4444-555555555555";

fn write(root: &Path, files: &[(String, &str)]) {
    for (path, text) in files {
        let path = root.join(path);
        let folder = path.parent().expect("a file is in a folder");
        std::fs::create_dir_all(folder).expect("writable");
        std::fs::write(path, text).expect("writable");
    }
}

/// A tree of cgroups of version 2, and what the kubelet writes of its pod.
fn second_version(root: &Path) {
    let slice = "cgroup/kubepods.slice/kubepods-burstable.slice";
    let pod = format!(
        "{slice}/kubepods-burstable-pod{}.slice",
        POD.replace('-', "_")
    );
    let scope = format!("{pod}/cri-containerd-{CONTAINER}.scope");
    write(
        root,
        &[
            ("cgroup/cgroup.controllers".to_owned(), "cpu memory\n"),
            (
                format!("{scope}/cpu.stat"),
                "usage_usec 2500000\nuser_usec 2000000\nsystem_usec 500000\n",
            ),
            (format!("{scope}/memory.current"), "4096000\n"),
            (format!("{scope}/memory.max"), "8192000\n"),
            (
                format!("{scope}/memory.stat"),
                "anon 1000000\nfile 2000000\ninactive_file 96000\n",
            ),
            (format!("{scope}/cgroup.procs"), ""),
            (format!("root/var/log/pods/shop_cart-0_{POD}/app/0.log"), ""),
            (
                format!("root/var/log/containers/cart-0_shop_app-{CONTAINER}.log"),
                "",
            ),
        ],
    );
}

/// One of version 1.
fn first_version(root: &Path) {
    write(
        root,
        &[
            (
                format!("cgroup/memory/docker/{CONTAINER}/memory.usage_in_bytes"),
                "4096\n",
            ),
            (
                format!("cgroup/memory/docker/{CONTAINER}/memory.stat"),
                "total_cache 10\ntotal_rss 20\ntotal_inactive_file 96\n",
            ),
            (
                format!("cgroup/cpuacct/docker/{CONTAINER}/cpuacct.usage"),
                "1500000000\n",
            ),
        ],
    );
}

/// The value of the line that begins so and has this in it.
fn value(text: &str, family: &str, part: &str) -> Option<f64> {
    let start = format!("{family}{{");
    let mut lines = text.lines().filter(|line| line.starts_with(&start));
    let line = lines.find(|line| line.contains(part))?;
    line.rsplit_once(' ')?.1.parse().ok()
}

#[test]
fn keys_of_the_configuration_choose_what_is_collected() {
    let tree = tempfile::tempdir().expect("a folder");
    second_version(tree.path());
    let at = |name: &str| tree.path().join(name).display().to_string();
    let config = format!(
        "global: {{scrape_interval: 1s}}\nobs:\n  node_exporter:\n    listen: 127.0.0.1:0\n    \
         disable_defaults: true\n    collectors: {{containers: true, loadavg: true, uname: true}}\n    \
         flags: {{collector.cpu.guest: false}}\n    path: {{cgroup: {:?}, rootfs: {:?}}}\n",
        at("cgroup"),
        at("root")
    );
    let obs = Obs::with_config(&config);
    let url = format!("http://{}/metrics", obs.address("node_exporter"));
    let text = Answer::from(&url, &[]).expect("it listens").text();
    assert!(
        text.contains("node_load1 ") && text.contains("node_uname_info{"),
        "{text}"
    );
    assert!(
        !text.contains("node_cpu_seconds_total") && text.contains("process_resident_memory_bytes")
    );
    let app = "container=\"app\"";
    assert_eq!(
        value(&text, "container_memory_working_set_bytes", app),
        Some(4_000_000.0)
    );
    assert_eq!(
        value(&text, "container_cpu_usage_seconds_total", app),
        Some(2.5)
    );
    assert_eq!(
        value(&text, "container_spec_memory_limit_bytes", app),
        Some(8_192_000.0)
    );
    assert_eq!(
        value(&text, "container_memory_rss", "pod=\"cart-0\""),
        Some(1_000_000.0)
    );
    assert_eq!(
        value(&text, "container_memory_cache", "namespace=\"shop\""),
        Some(2_000_000.0)
    );
    let query =
        "container_memory_rss{job=\"node\", namespace=\"shop\", pod=\"cart-0\", container=\"app\"}";
    until("the container in the store", || {
        let answer = obs.get("/api/v1/query", &[("query", query)]).json();
        vector(&answer)
            .first()
            .filter(|(_, value)| *value == 1e6)
            .map(drop)
    });
}

#[test]
fn the_first_version_of_cgroups_is_printed_once() {
    let tree = tempfile::tempdir().expect("a folder");
    first_version(tree.path());
    let cgroup = format!("--path.cgroup={}", tree.path().join("cgroup").display());
    let flags = [
        "node-exporter",
        "--once",
        "--collector.disable-defaults",
        "--collector.containers",
        &cgroup,
    ];
    let output = command(&flags).output().expect("obs runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    for (family, expect) in [
        ("container_memory_usage_bytes", 4096.0),
        ("container_memory_working_set_bytes", 4000.0),
        ("container_memory_rss", 20.0),
        ("container_memory_cache", 10.0),
        ("container_cpu_usage_seconds_total", 1.5),
    ] {
        assert_eq!(
            value(&text, family, CONTAINER),
            Some(expect),
            "{family}: {text}"
        );
    }
    let success = value(&text, "node_scrape_collector_success", "containers");
    assert_eq!(success, Some(1.0));
}

#[test]
fn keys_that_are_wrong_are_told_before_the_start() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("obs.yml");
    for (keys, expect) in [
        ("collectors: {cpus: true}", "unknown flag --collector.cpus"),
        (
            "collectors: {wifi: true}",
            "collector wifi is not part of obs",
        ),
        (
            "flags: {collector.cpu.guest: maybe}",
            "--collector.cpu.guest: expected true or false",
        ),
        ("colectors: {}", "unknown field `colectors`"),
    ] {
        let text = format!("obs:\n  node_exporter:\n    listen: 127.0.0.1:0\n    {keys}\n");
        std::fs::write(&file, text).expect("writable");
        let checked = command(&["check", "config", &file.display().to_string()]).output();
        let checked = checked.expect("obs runs");
        let said = String::from_utf8_lossy(&checked.stderr).into_owned();
        assert!(
            !checked.status.success() && said.contains(expect),
            "{keys}: {said}"
        );
    }
}
