//! Receivers that are programs: the notification is on their standard input.
//!
//! Invariant: no shell; a program that takes too long is killed, and what it writes is read to a
//! bound and no further.

use std::path::Path;
use std::process::Stdio;

use obs_alerting::notify::requests::{Failure, Program};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;

/// Bytes of what a program says that a reason has.
const SAID_BYTES_MAX: u64 = 1024;
/// What a program ends with that wants to be tried again, as `sysexits.h` has it.
const TRY_AGAIN: i32 = 75;

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
    let read = async {
        let mut said = Vec::new();
        if let Some(output) = output {
            let mut output = output.take(SAID_BYTES_MAX);
            drop(output.read_to_end(&mut said).await);
            // The rest is let through, so that the program does not wait for us.
            drop(tokio::io::copy(output.get_mut(), &mut tokio::io::sink()).await);
        }
        said
    };
    let ((), said, ended) = tokio::join!(write, read, child.wait());
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
