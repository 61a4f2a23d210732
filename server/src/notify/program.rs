//! Receivers that are programs: the notification is on their standard input.
//!
//! Invariant: no shell; a program that takes too long is killed, and what it writes is read to a
//! bound and no further; it has ended when it ends, whatever it leaves running.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use obs_alerting::notify::requests::{Failure, Program};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{ChildStderr, Command};
use tokio_util::sync::CancellationToken;

/// Bytes of what a program says that a reason has.
const SAID_BYTES_MAX: u64 = 1024;
/// What a program ends with that wants to be tried again, as `sysexits.h` has it.
const TRY_AGAIN: i32 = 75;

/// How long what a program has written is waited for once it has ended: others may have its
/// standard error open for ever.
const SAID_WAIT: Duration = Duration::from_millis(200);

/// Runs a program to its end.
pub(super) async fn run(program: &Program, folder: &Path) -> Result<(), Failure> {
    let mut command = Command::new(folder.join(&program.command));
    command
        .args(&program.arguments)
        .envs(program.environment.iter().map(|(k, v)| (*k, v.as_str())))
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let fault = |what: &str, e: std::io::Error| format!("{}: {what}: {e}", program.command);
    let child = command.spawn();
    let mut child = child.map_err(|e| Failure::last(fault("cannot be run", e)))?;
    let (input, output) = (child.stdin.take(), child.stderr.take());
    let write = async {
        if let Some(mut input) = input {
            // A program that does not read has its reasons.
            drop(input.write_all(&program.input).await);
        }
    };
    let (mut said, over) = (Vec::new(), CancellationToken::new());
    let talk = async {
        let conversation = async { tokio::join!(write, hear(output, &mut said)) };
        let late = async {
            over.cancelled().await;
            tokio::time::sleep(SAID_WAIT).await;
        };
        tokio::select! {
            biased;
            ((), ()) = conversation => {}
            () = late => {}
        }
    };
    let wait = async {
        let ended = child.wait().await;
        over.cancel();
        ended
    };
    let ((), ended) = tokio::join!(talk, wait);
    let ended = ended.map_err(|e| Failure::passing(fault("cannot be waited for", e)))?;
    if ended.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&said);
    let text = format!("{}: {ended}: {}", program.command, said.trim());
    Err(match ended.code() {
        Some(TRY_AGAIN) | None => Failure::passing(text),
        Some(_) => Failure::last(text),
    })
}

/// Hears what a program says, to a bound.
async fn hear(output: Option<ChildStderr>, said: &mut Vec<u8>) {
    if let Some(output) = output {
        let mut output = output.take(SAID_BYTES_MAX);
        drop(output.read_to_end(said).await);
        // The rest is let through, so that the program does not wait for us.
        drop(tokio::io::copy(output.get_mut(), &mut tokio::io::sink()).await);
    }
}
