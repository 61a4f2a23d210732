//! Nothing is lost and nothing doubled, whatever happens to the files, the agent, the server and the
//! disk.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::{Container, Form, all_there, arrived, compress, config, lines, once, own};
use crate::process::{Obs, Stop, now, until};
use crate::send::{loki_json, remote_write, series};

#[test]
fn each_line_arrives_once_through_rotation_and_kills() {
    let mut server = Obs::start();
    server.keep_address();
    let logs = tempfile::tempdir().expect("a folder");
    let followed = format!("logs: {{pods: {{path: {:?}}}}}", logs.path());
    let config = config(&server, &followed);
    let mut pods = [
        Container::new(logs.path(), "a"),
        Container::new(logs.path(), "b"),
    ];
    let mut agent = Obs::agent(&config);
    for round in 0..4 {
        for pod in &mut pods {
            pod.write(100);
        }
        if round == 1 {
            // Some of it is under way; what was rotated while nothing runs is compressed.
            agent.stop(Stop::Kill);
            for pod in &mut pods {
                let old = pod.rotate();
                pod.write(50);
                let new = pod.rotate();
                pod.write(50);
                compress(&old);
                compress(&new);
            }
            agent.run();
        }
        if round == 2 {
            server.stop(Stop::Kill);
            for pod in &mut pods {
                pod.write(30);
                pod.rotate();
                pod.write(30);
            }
            agent.restart(Stop::Kill);
            server.run();
        }
    }
    agent.restart(Stop::Kill);
    for (pod, name) in pods.iter_mut().zip(["a", "b"]) {
        arrived(&server, name, pod);
    }
}

/// Puts another file in the place of one, with the same inode: to whoever did not look meanwhile,
/// that is the same whether the file was rewritten or its inode given out again. The new one is
/// longer, so that its length does not tell.
fn replace(container: &mut Container, lines: i64) {
    let path = container.path();
    let before = fs::metadata(&path).expect("there");
    fs::write(&path, "").expect("rewritten");
    container.write(lines);
    let now = fs::metadata(&path).expect("there");
    assert_eq!(now.ino(), before.ino());
    assert!(now.len() > before.len(), "{} {}", now.len(), before.len());
}

#[test]
fn each_line_arrives_once_through_copies_deletion_and_reused_inodes() {
    let mut server = Obs::start();
    server.keep_address();
    let logs = tempfile::tempdir().expect("a folder");
    let followed = format!("logs: {{pods: {{path: {:?}}}}}", logs.path());
    let mut docker = Container::with(logs.path(), "docker", Form::Docker);
    let mut pieces = Container::with(logs.path(), "pieces", Form::Pieces);
    let mut gone = Container::new(logs.path(), "gone");
    for pod in [&mut docker, &mut pieces, &mut gone] {
        pod.write(100);
    }
    let mut agent = Obs::agent(&config(&server, &followed));
    arrived(&server, "docker", &mut docker);
    arrived(&server, "pieces", &mut pieces);
    arrived(&server, "gone", &mut gone);
    // While the agent is held, it cannot have read what is written here.
    agent.pause();
    docker.write(100);
    docker.copy_and_truncate();
    docker.write(50);
    gone.write(100);
    let pod = gone.folder.parent().expect("the pod's folder");
    fs::remove_dir_all(pod).expect("deleted");
    agent.resume();
    all_there(&server, "gone", &gone);
    arrived(&server, "docker", &mut docker);
    pieces.write(10);
    arrived(&server, "pieces", &mut pieces);
    // Nobody can write behind the lines of a pod that is gone; others were written since.
    once("gone", &all_there(&server, "gone", &gone));
    agent.stop(Stop::Kill);
    replace(&mut pieces, 300);
    docker.write(20);
    let old = docker.rotate();
    docker.write(20);
    compress(&old);
    agent.run();
    arrived(&server, "pieces", &mut pieces);
    arrived(&server, "docker", &mut docker);
}

/// Text that does not shrink, always the same for a number.
fn noise(number: i64) -> String {
    let mut state = (number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut text = String::new();
    for _ in 0..40 {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        text.push_str(&format!("{state:016x}"));
    }
    text
}

/// Bytes that the buffer may have.
const BUFFER: f64 = 256.0 * 1024.0;
/// What is under way when it becomes full: a batch of followed lines.
const UNDER_WAY: f64 = 2.0 * 1024.0 * 1024.0;

/// Bytes of lines that wait to be sent; samples have a queue of their own.
fn lines_waiting(agent: &Obs) -> f64 {
    let text = agent.get("/metrics", &[]).text();
    let of =
        |line: &&str| line.starts_with("obs_ship_queue_bytes{") && line.contains("signal=\"logs\"");
    let values = text.lines().filter(of);
    values
        .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
        .sum()
}

#[test]
fn a_full_buffer_is_bounded_and_told_and_loses_nothing() {
    let mut server = Obs::start();
    server.keep_address();
    let logs = tempfile::tempdir().expect("a folder");
    let more = format!(
        "buffer: {{max_size: 256KiB}}\n    logs: {{pods: {{path: {:?}}}}}",
        logs.path()
    );
    let config = config(&server, &more);
    server.stop(Stop::Kill);
    let mut pod = Container::new(logs.path(), "much");
    pod.text = noise;
    pod.write(2000);
    let mut agent = Obs::agent(&config);
    until("a full buffer", || {
        (lines_waiting(&agent) >= BUFFER).then_some(())
    });
    let mut late = Container::new(logs.path(), "late");
    late.write(10);
    let refused = || {
        let told = loki_json(&agent, &[("app", "x")], &[(now(), "refused", &[])]);
        assert_eq!(told.status, 503, "{}", told.text());
        assert!(
            told.text().contains("obs.collector.buffer.max_size"),
            "{}",
            told.text()
        );
    };
    refused();
    // Samples have a queue of their own, which is not full.
    let batch = obs_model::MetricBatch {
        series: vec![series(&[("__name__", "beside")], [(now(), 4.0)])],
        ..obs_model::MetricBatch::default()
    };
    let told = remote_write(&agent, &batch);
    assert!((200..300).contains(&told.status), "{}", told.text());
    let bytes = lines_waiting(&agent);
    assert!(bytes < BUFFER + UNDER_WAY, "{bytes}");
    agent.restart(Stop::Kill);
    until("a buffer that is full still", || {
        (lines_waiting(&agent) >= BUFFER).then_some(())
    });
    let told = loki_json(&agent, &[("app", "x")], &[(now(), "refused", &[])]);
    assert_eq!(told.status, 503, "{}", told.text());
    server.run();
    arrived(&server, "much", &mut pod);
    arrived(&server, "late", &mut late);
    until("room", || {
        let told = loki_json(&agent, &[("app", "x")], &[(now(), "taken", &[])]);
        (told.status == 204).then_some(())
    });
    until("the push", || {
        (!lines(&server, "{app=\"x\"}").is_empty()).then_some(())
    });
    assert!(
        lines(&server, "{app=\"x\"}")
            .iter()
            .all(|line| line == "taken")
    );
}

/// Things in the folder that no kubelet makes.
fn hostile(root: &Path) {
    use std::os::unix::ffi::OsStrExt;
    let name = std::ffi::OsStr::from_bytes(b"shop_\xff\xfe_u");
    fs::create_dir_all(root.join(name).join("web")).expect("made");
    fs::write(root.join(name).join("web/0.log"), "x\n").expect("written");
    let odd = root.join("shop_od\nd\t\"{_u-odd/we b");
    fs::create_dir_all(&odd).expect("made");
    fs::write(odd.join("0.log"), "number=0 odd\n").expect("written");
    fs::create_dir_all(odd.join("1.log")).expect("made");
    let pipe = std::process::Command::new("mkfifo")
        .arg(odd.join("2.log"))
        .status();
    assert!(pipe.expect("mkfifo(1) exists").success());
    std::os::unix::fs::symlink("3.log", odd.join("3.log")).expect("linked");
    std::os::unix::fs::symlink("/etc/hostname", odd.join("4.log")).expect("linked");
    fs::write(root.join("shop_file_u"), "not a folder").expect("written");
}

#[test]
fn many_files_huge_lines_and_hostile_names_stop_nobody() {
    let server = Obs::start();
    let logs = tempfile::tempdir().expect("a folder");
    hostile(logs.path());
    let mut huge = Container::new(logs.path(), "huge");
    let text = "y".repeat(5 << 20);
    let line = format!("2026-01-01T00:00:00.5Z stdout F {text}\0\n");
    fs::write(huge.path(), line).expect("written");
    huge.write(1);
    let mut many: Vec<Container> = (0..300)
        .map(|pod| Container::new(logs.path(), &format!("many-{pod}")))
        .collect();
    for pod in &mut many {
        pod.write(5);
    }
    let followed = format!("logs: {{pods: {{path: {:?}}}}}", logs.path());
    let agent = Obs::agent(&config(&server, &followed));
    until("the lines of all", || {
        let found = lines(&server, "{pod=~\"many-.*\"}");
        (found.len() == 1500).then_some(())
    });
    until("the line behind the huge one", || {
        lines(&server, "{pod=\"huge\"} |= \"number=0\"").pop()
    });
    until("the line of the odd pod", || {
        lines(&server, "{container=\"we b\"}").pop()
    });
    assert!(own(&agent, "obs_tail_cut_lines_total") > 0.0);
    assert_eq!(lines(&server, "{container=\"we b\"}"), ["number=0 odd"]);
}
