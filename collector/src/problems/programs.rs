//! Runs the programs of custom plugin monitors and says what they found: 0 is fine, 1 a problem,
//! anything else nobody knows.
//!
//! Invariants: programs run only where the configuration allows it; at most as many at a time as
//! the monitor says, each until its deadline; of what they print only the first bytes are read.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::AsyncReadExt;
use tokio::process::{Child, Command};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use super::definition::{Look, Programs, Rule};
use super::rules::Verdict;

/// What the program of a rule said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Outcome {
    pub(super) rule: usize,
    pub(super) verdict: Verdict,
    pub(super) message: String,
}

/// Runs the programs of all rules again and again.
pub(super) async fn run(
    programs: &Programs,
    rules: &[Rule],
    out: &mpsc::Sender<Outcome>,
    stop: &CancellationToken,
) {
    let rounds = async {
        let mut ticks = interval(programs.interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if round(programs, rules, out).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = rounds => {}
        () = stop.cancelled() => {}
    }
}

/// Runs each program once. An error where nobody listens any more.
async fn round(
    programs: &Programs,
    rules: &[Rule],
    out: &mpsc::Sender<Outcome>,
) -> Result<(), mpsc::error::SendError<Outcome>> {
    let mut running = JoinSet::new();
    for (rule, Rule { look, .. }) in rules.iter().enumerate() {
        let Look::Program {
            path,
            args,
            timeout,
        } = look.clone()
        else {
            continue;
        };
        while running.len() >= programs.at_once {
            if let Some(Ok(outcome)) = running.join_next().await {
                out.send(outcome).await?;
            }
        }
        let bytes = programs.output_bytes;
        running.spawn(async move {
            let (verdict, message) = judge(&path, &args, timeout, bytes).await;
            Outcome {
                rule,
                verdict,
                message,
            }
        });
    }
    while let Some(outcome) = running.join_next().await {
        if let Ok(outcome) = outcome {
            out.send(outcome).await?;
        }
    }
    Ok(())
}

async fn judge(path: &Path, args: &[String], time: Duration, bytes: usize) -> (Verdict, String) {
    let child = Command::new(path)
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        // Of its own, so that what it started ends with it.
        .process_group(0)
        .kill_on_drop(true)
        .spawn();
    let mut child = match child {
        Ok(child) => child,
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "a program that looks for problems does not start");
            return (
                Verdict::Unknown,
                format!("Error in starting plugin: {error}"),
            );
        }
    };
    let output = child.stdout.take();
    let run = async {
        let mut said = Vec::new();
        if let Some(mut output) = output {
            let mut some = (&mut output).take(bytes as u64);
            some.read_to_end(&mut said).await?;
            // Whatever else it prints must not end it.
            tokio::io::copy(&mut output, &mut tokio::io::sink()).await?;
        }
        let status = child.wait().await?;
        Ok::<_, std::io::Error>((status, said))
    };
    match timeout(time, run).await {
        Err(_) => {
            kill_group(&child);
            let path = path.display();
            let text = format!("Timeout when running plugin \"{path}\"");
            (Verdict::Unknown, text)
        }
        Ok(Err(error)) => (
            Verdict::Unknown,
            format!("Error in running plugin: {error}"),
        ),
        Ok(Ok((status, said))) => {
            let message = String::from_utf8_lossy(&said).trim().to_owned();
            let verdict = match status.code() {
                Some(0) => Verdict::Fine,
                Some(1) => Verdict::Problem,
                _ => Verdict::Unknown,
            };
            (verdict, message)
        }
    }
}

/// Ends a program and what it started.
fn kill_group(child: &Child) {
    let id = child.id().and_then(|id| i32::try_from(id).ok());
    if let Some(group) = id.and_then(Pid::from_raw)
        && let Err(error) = kill_process_group(group, Signal::KILL)
    {
        tracing::debug!(%error, "a program that looks for problems is gone already");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn check(script: &str, expect: (Verdict, &str)) {
        let args = ["-c".to_owned(), script.to_owned()];
        let time = match script.contains("sleep") {
            true => Duration::from_millis(100),
            false => Duration::from_secs(60),
        };
        let found = judge(Path::new("/bin/sh"), &args, time, 8).await;
        assert_eq!((found.0, found.1.as_str()), expect, "{script}");
    }

    #[tokio::test]
    async fn programs_are_judged_by_their_end() {
        check("echo fine", (Verdict::Fine, "fine")).await;
        check(
            "echo 'down now and then'; exit 1",
            (Verdict::Problem, "down now"),
        )
        .await;
        check("exit 2", (Verdict::Unknown, "")).await;
        check("kill -9 $$", (Verdict::Unknown, "")).await;
        check(
            "sleep 600",
            (Verdict::Unknown, "Timeout when running plugin \"/bin/sh\""),
        )
        .await;
        let (verdict, message) =
            judge(Path::new("/does/not/exist"), &[], Duration::from_secs(1), 8).await;
        assert_eq!(verdict, Verdict::Unknown);
        assert!(message.starts_with("Error in starting plugin"), "{message}");
    }

    #[tokio::test]
    async fn a_round_runs_each_program_once() {
        let rule = |script: &str| Rule {
            condition: None,
            reason: "R".to_owned(),
            look: Look::Program {
                path: "/bin/sh".into(),
                args: vec!["-c".to_owned(), script.to_owned()],
                timeout: Duration::from_secs(60),
            },
        };
        let rules = [rule("echo a"), rule("echo b; exit 1"), rule("echo c")];
        let programs = Programs {
            interval: Duration::from_secs(30),
            output_bytes: 80,
            at_once: 2,
            follow_messages: false,
            skip_initial: false,
        };
        let (sender, mut outcomes) = mpsc::channel(3);
        round(&programs, &rules, &sender).await.unwrap();
        drop(sender);
        let mut found = Vec::new();
        while let Some(outcome) = outcomes.recv().await {
            found.push((outcome.rule, outcome.verdict, outcome.message));
        }
        found.sort_by_key(|outcome| outcome.0);
        let expect = [
            (0, Verdict::Fine, "a".to_owned()),
            (1, Verdict::Problem, "b".to_owned()),
            (2, Verdict::Fine, "c".to_owned()),
        ];
        assert_eq!(found, expect);
    }
}
