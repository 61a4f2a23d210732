//! Sends what is imported by remote write 2.0, until the server has it.

use std::time::Duration;

use anyhow::{Context, bail};
use obs_model::MetricBatch;
use obs_wire::prometheus::remote_write::v2;
use obs_wire::snappy;

use super::Tally;
use crate::arguments::ServerOptions;
use crate::client::Client;

/// Attempts for a server that is away or has no room; with the waits between, about five minutes.
const ATTEMPTS: u32 = 30;
/// The longest wait between two of them.
const WAIT_MAX: Duration = Duration::from_secs(15);

pub(super) struct Sender(Client);

impl Sender {
    pub(super) fn new(options: &ServerOptions) -> anyhow::Result<Self> {
        Client::new(options).map(Self)
    }

    pub(super) async fn send(&self, batch: &MetricBatch, tally: &mut Tally) -> anyhow::Result<()> {
        let mut body = Vec::new();
        v2::encode(batch, &mut body);
        let body = snappy::encode(&body);
        let headers = [
            (
                "content-type",
                "application/x-protobuf;proto=io.prometheus.write.v2.Request",
            ),
            ("content-encoding", "snappy"),
            ("x-prometheus-remote-write-version", "2.0.0"),
        ];
        let sent = batch.sample_count() as u64;
        let mut wait = Duration::from_millis(100);
        for attempt in 1..=ATTEMPTS {
            let answer = self.0.post("/api/v1/write", &headers, body.clone()).await;
            let reason = match answer {
                Ok(answer) if (200..300).contains(&answer.status) => {
                    tally.samples += sent;
                    return Ok(());
                }
                Ok(answer) if answer.status == 429 || answer.status >= 500 => answer.told(),
                Ok(answer) if answer.status == 400 => {
                    // What was good of it is stored; the headers say how much.
                    let written = answer.written.unwrap_or(0);
                    tally.samples += written;
                    tally.fault(&format!(
                        "the server refused {} of {sent} samples: {}",
                        sent.saturating_sub(written),
                        answer.told()
                    ));
                    return Ok(());
                }
                Ok(answer) => bail!("the server answered {}: {}", answer.status, answer.told()),
                Err(error) if attempt == ATTEMPTS => return Err(error),
                Err(error) => format!("{error:#}"),
            };
            if attempt == ATTEMPTS {
                bail!("gave up after {ATTEMPTS} attempts: {reason}");
            }
            if attempt == 1 {
                // Each request anew, so that nobody wonders what the command waits for.
                super::say(&format!(
                    "obs import: {reason}; trying again for some minutes"
                ));
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(WAIT_MAX);
        }
        Err(anyhow::anyhow!("no attempt was made")).context("remote write")
    }
}
