//! `obs export`: samples of a server as OpenMetrics, JSON lines or CSV, by remote read.
//!
//! Invariants: a range is read window by window, so that memory is bounded by one window; what a
//! form has no place for is counted, told, and the exit code says so.

use std::io::{IsTerminal, Write};
use std::path::Path;

use anyhow::{Context, bail};
use obs_model::limits::Limits;
use obs_model::{Labels, Samples, TimeRange, Timestamp};
use obs_wire::prometheus::{openmetrics, remote_read};
use obs_wire::{snappy, victoria};

use crate::arguments::{ExportFormat, ExportOptions, ExportSignal, duration};
use crate::client::Client;
use crate::import::bar;

/// Columns of CSV where nothing is said.
const COLUMNS: &str = "__name__,job,instance,__value__,__timestamp__:unix_ms";

pub(crate) async fn run(options: &ExportOptions) -> anyhow::Result<()> {
    if let Some(ExportSignal::Logs(options)) = &options.signal {
        return crate::log_export::run(options).await;
    }
    let (from, to) = options.time.range("1h")?;
    let window = duration(&options.window).context("--window")?;
    if window < 1_000_000 {
        bail!("--window: expected a millisecond or more");
    }
    let limits = Limits::default();
    let matchers = options.selectors.iter().map(|text| {
        obs_server::parse_selector(text, &limits).with_context(|| format!("selector {text:?}"))
    });
    let matchers = matchers.collect::<anyhow::Result<Vec<_>>>()?;
    let columns = victoria::columns(options.columns.as_deref().unwrap_or(COLUMNS))?;
    let client = Client::new(&options.server)?;
    let mut writer = Writer {
        out: open(options.file.as_deref())?,
        format: options.output,
        columns,
        samples: 0,
        left_out: 0,
    };
    let mut begin = from;
    while begin <= to {
        // Both ends belong to a window; the next one begins a millisecond later.
        let end = Timestamp::from_nanos(begin.nanos().saturating_add(window - 1_000_000)).min(to);
        let range = TimeRange::new(begin, end);
        let request = remote_read::encode(&matchers, range, true);
        let headers = [
            ("content-type", "application/x-protobuf"),
            ("content-encoding", "snappy"),
            ("x-prometheus-remote-read-version", "0.1.0"),
        ];
        let answer = client
            .post("/api/v1/read", &headers, snappy::encode(&request))
            .await?;
        if answer.status != 200 {
            bail!("the server answered {}: {}", answer.status, answer.told());
        }
        for series in remote_read::decode_frames(&answer.body, &wide())? {
            writer.series(&series)?;
        }
        progress(begin, (from, to), writer.samples);
        if end == to {
            break;
        }
        begin = Timestamp::from_millis(end.millis() + 1);
    }
    writer.end()
}

fn wide() -> Limits {
    Limits {
        labels_max: 4096,
        label_name_bytes_max: 1 << 20,
        label_value_bytes_max: 16 << 20,
        ..Limits::default()
    }
}

fn progress(at: Timestamp, (from, to): (Timestamp, Timestamp), samples: u64) {
    // The data itself may be on the terminal.
    if std::io::stderr().is_terminal() && !std::io::stdout().is_terminal() {
        let (done, total) = ((at - from).max(0) as u64, (to - from).max(1) as u64);
        let bar = bar(done, total);
        drop(write!(std::io::stderr(), "\r{bar} {samples} samples\x1b[K"));
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the command writes the file that it is given"
)]
pub(crate) fn open(path: Option<&Path>) -> anyhow::Result<Box<dyn Write>> {
    Ok(match path {
        None => Box::new(std::io::BufWriter::new(std::io::stdout())),
        Some(path) => {
            let file = std::fs::File::create(path);
            let file = file.with_context(|| format!("create {}", path.display()))?;
            Box::new(std::io::BufWriter::new(file))
        }
    })
}

struct Writer {
    out: Box<dyn Write>,
    format: ExportFormat,
    columns: Vec<victoria::Column>,
    samples: u64,
    left_out: u64,
}

impl Writer {
    fn series(&mut self, series: &remote_read::StreamedSeries) -> anyhow::Result<()> {
        let mut samples = Samples::default();
        for (millis, value) in &series.samples {
            samples.push(Timestamp::from_millis(*millis), value.clone());
        }
        let labels: &Labels = &series.labels;
        let mut text = Vec::new();
        let left_out = match self.format {
            ExportFormat::Json => victoria::encode_line(labels, &samples, &mut text),
            ExportFormat::Csv => victoria::encode_csv(labels, &samples, &self.columns, &mut text),
            ExportFormat::Openmetrics => openmetrics::encode(labels, &samples, &mut text),
        };
        self.samples += (samples.len() - left_out) as u64;
        self.left_out += left_out as u64;
        Ok(self.out.write_all(&text)?)
    }

    fn end(mut self) -> anyhow::Result<()> {
        if self.format == ExportFormat::Openmetrics {
            self.out.write_all(b"# EOF\n")?;
        }
        self.out.flush()?;
        let told = writeln!(std::io::stderr(), "exported {} samples", self.samples);
        drop(told);
        if self.left_out > 0 {
            bail!(
                "{} native histograms were not exported: the form has no place for them",
                self.left_out
            );
        }
        Ok(())
    }
}
