//! processes: how many there are, in which state, and their threads, from `/proc/<pid>`.

use std::collections::BTreeMap;

use crate::sheet::Sheet;
use crate::{CollectError, Options, Source};

pub(crate) fn collect(source: &Source, _: &Options, sheet: &mut Sheet) -> Result<(), CollectError> {
    let mut states: BTreeMap<String, u32> = BTreeMap::new();
    let mut thread_states: BTreeMap<String, u32> = BTreeMap::new();
    let (mut processes, mut threads) = (0_u32, 0.0);
    let is_number = |name: &&String| name.bytes().all(|byte| byte.is_ascii_digit());
    for pid in source.entries("proc")?.iter().filter(is_number) {
        // Processes go while we look.
        let Some((state, count)) = stat(source, &format!("proc/{pid}")) else {
            continue;
        };
        processes += 1;
        threads += count;
        let tasks = source.entries(&format!("proc/{pid}/task"));
        for task in tasks.unwrap_or_default().iter().filter(is_number) {
            let of_task = || stat(source, &format!("proc/{pid}/task/{task}"));
            let state = if task == pid {
                Some(state.clone())
            } else {
                of_task().map(|(state, _)| state)
            };
            if let Some(state) = state {
                *thread_states.entry(state).or_default() += 1;
            }
        }
        *states.entry(state).or_default() += 1;
    }
    let mut gauge = |name: &str, help: &str, labels: &[(&str, &str)], value: f64| {
        sheet.gauge(&format!("node_processes_{name}"), help, labels, value);
    };
    gauge("threads", "Allocated threads in system", &[], threads);
    let limit = source.number("proc/sys/kernel/threads-max")?;
    gauge("max_threads", "Limit of threads in the system", &[], limit);
    for (state, count) in states {
        let help = "Number of processes in each state.";
        gauge("state", help, &[("state", &state)], f64::from(count));
    }
    for (state, count) in thread_states {
        let help = "Number of threads in each state.";
        let labels = [("thread_state", state.as_str())];
        gauge("threads_state", help, &labels, f64::from(count));
    }
    let limit = source.number("proc/sys/kernel/pid_max")?;
    gauge("pids", "Number of PIDs", &[], f64::from(processes));
    gauge("max_processes", "Number of max PIDs limit", &[], limit);
    Ok(())
}

/// State and number of threads. The command may hold anything, so fields are counted from the
/// last parenthesis; proc_pid_stat(5) numbers the state 3 and the threads 20.
fn stat(source: &Source, folder: &str) -> Option<(String, f64)> {
    let text = source.read(&format!("{folder}/stat")).ok()?;
    let (_, fields) = text.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace();
    let state = fields.next()?.to_owned();
    let threads = fields.nth(16)?.parse::<u32>().ok()?;
    Some((state, f64::from(threads)))
}
