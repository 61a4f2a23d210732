//! `scrape_failure_log_file`: one line of JSON for each scrape that failed.
//!
//! Invariant: a line is written whole or not at all; a file that cannot be written is told of once
//! and stops no scrape.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use obs_model::Timestamp;
use tokio::fs::{File, OpenOptions};
use tokio::io::AsyncWriteExt;
use tokio::sync::Mutex;

/// The file of one job.
#[derive(Debug)]
pub(super) struct FailureLog {
    path: PathBuf,
    file: Mutex<Option<File>>,
    told: AtomicBool,
}

impl FailureLog {
    pub(super) fn new(path: PathBuf) -> Self {
        Self {
            path,
            file: Mutex::default(),
            told: AtomicBool::new(false),
        }
    }

    /// Writes why a scrape failed.
    pub(super) async fn tell(&self, job: &str, url: &str, fault: &str, time: Timestamp) {
        let line = serde_json::json!({
            "time": time.to_string(),
            "level": "ERROR",
            "msg": fault,
            "job_name": job,
            "target": url,
        });
        match self.write(format!("{line}\n").as_bytes()).await {
            Ok(()) => self.told.store(false, Ordering::Relaxed),
            Err(error) if !self.told.swap(true, Ordering::Relaxed) => {
                let path = self.path.display();
                tracing::warn!(%path, %error, "failed scrapes cannot be told");
            }
            Err(_) => {}
        }
    }

    async fn write(&self, line: &[u8]) -> std::io::Result<()> {
        let mut held = self.file.lock().await;
        if held.is_none() {
            let mut options = OpenOptions::new();
            *held = Some(options.create(true).append(true).open(&self.path).await?);
        }
        let Some(file) = held.as_mut() else {
            return Ok(());
        };
        let written = match file.write_all(line).await {
            Ok(()) => file.flush().await,
            Err(error) => Err(error),
        };
        if written.is_err() {
            *held = None;
        }
        written
    }
}
