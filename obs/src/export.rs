//! `obs export`: samples of a server as OpenMetrics, JSON lines or CSV, by remote read.
//!
//! Invariants: a range is read window by window, so that memory is bounded by one window; what a
//! form has no place for is counted, told, and the exit code says so; a window is noted for
//! `--resume` only when all of it is in the file.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufWriter, IsTerminal, Seek, SeekFrom, Write};
use std::path::Path;

use anyhow::{Context, bail};
use obs_model::limits::Limits;
use obs_model::{Labels, Matcher, Samples, TimeRange, Timestamp};
use obs_wire::prometheus::{openmetrics, remote_read};
use obs_wire::{snappy, victoria};
use serde_json::{Value, json};

use crate::arguments::{ExportFormat, ExportOptions, ExportSignal, duration};
use crate::client::{self, Client};
use crate::progress::Progress;

/// Columns of CSV where nothing is said.
const COLUMNS: &str = "__name__,job,instance,__value__,__timestamp__:unix_ms";

pub(crate) async fn run(options: &ExportOptions) -> anyhow::Result<()> {
    if let Some(ExportSignal::Logs(options)) = &options.signal {
        return crate::log_export::run(options).await;
    }
    let window = duration(&options.window).context("--window")?;
    if window < 1_000_000 {
        bail!("--window: expected a millisecond or more");
    }
    let limits = Limits::default();
    let matchers = options.selectors.iter().map(|text| {
        obs_server::parse_selector(text, &limits).with_context(|| format!("selector {text:?}"))
    });
    let matchers = matchers.collect::<anyhow::Result<Vec<_>>>()?;
    let client = Client::new(&options.server)?;
    let mut note = Note::read(options)?;
    let mut writer = Writer {
        columns: victoria::columns(options.columns.as_deref().unwrap_or(COLUMNS))?,
        out: open(options, &note)?,
        format: options.output,
        samples: note.samples,
        left_out: LeftOut::from_note(&note.left_out),
    };
    let (from, to) = (note.from, note.to);
    let terminal = options.file.is_none() && std::io::stdout().is_terminal();
    let mut progress = Progress::new("", terminal);
    while note.next <= to {
        let begin = note.next;
        // Both ends belong to a window; the next one begins a millisecond later.
        let end = Timestamp::from_nanos(begin.nanos().saturating_add(window - 1_000_000)).min(to);
        read(&client, &matchers, TimeRange::new(begin, end), &mut writer).await?;
        let (done, total) = ((end - from).max(0), (to - from).max(1));
        let told = format!("{} samples", writer.samples);
        progress.show(done.unsigned_abs(), total.unsigned_abs(), &told);
        note.next = Timestamp::from_millis(end.millis().saturating_add(1));
        note.length = writer.flush()?;
        (note.samples, note.left_out) = (writer.samples, writer.left_out.note());
        note.write(options)?;
        if end == to {
            break;
        }
    }
    progress.end();
    writer.left_out.exemplars = exemplars(&client, options, (from, to)).await?;
    writer.end()?;
    note.done(options)
}

/// Reads one window and writes it down.
async fn read(
    client: &Client,
    matchers: &[Vec<Matcher>],
    range: TimeRange,
    writer: &mut Writer,
) -> anyhow::Result<()> {
    let request = remote_read::encode(matchers, range, true);
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
    Ok(())
}

/// How many exemplars there are, which no form has a place for.
async fn exemplars(
    client: &Client,
    options: &ExportOptions,
    (from, to): (Timestamp, Timestamp),
) -> anyhow::Result<u64> {
    let mut count = 0;
    for selector in &options.selectors {
        let params = [
            ("query", selector.clone()),
            ("start", client::seconds(from)),
            ("end", client::seconds(to)),
        ];
        let answer = client.json("/api/v1/query_exemplars", &params).await?;
        let series = answer["data"].as_array().into_iter().flatten();
        count += series
            .filter_map(|one| one["exemplars"].as_array())
            .map(|all| all.len() as u64)
            .sum::<u64>();
    }
    Ok(count)
}

/// How far an export is: `--resume FILE`.
#[derive(Debug)]
struct Note {
    from: Timestamp,
    to: Timestamp,
    /// The begin of the next window.
    next: Timestamp,
    /// Bytes of the file that are right.
    length: u64,
    /// Samples in it, and what was left out so far.
    samples: u64,
    left_out: Value,
}

#[expect(
    clippy::disallowed_methods,
    reason = "the command keeps a note in the file that it is given"
)]
impl Note {
    /// What was noted, or the begin.
    fn read(options: &ExportOptions) -> anyhow::Result<Self> {
        let (from, to) = options.time.range("1h")?;
        let fresh = Self {
            from,
            to,
            next: from,
            length: 0,
            samples: 0,
            left_out: Value::Null,
        };
        let Some(path) = &options.resume else {
            return Ok(fresh);
        };
        if options.file.is_none() {
            bail!("--resume needs --file, which it goes on with");
        }
        let shown = path.display();
        let bytes = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(fresh),
            Err(error) => return Err(error).with_context(|| format!("read {shown}")),
        };
        let note: Value = serde_json::from_slice(&bytes).with_context(|| format!("{shown}"))?;
        if note["export"] != Self::of(options) {
            bail!("{shown}: the note is of another export; remove it to begin anew");
        }
        let nanos = |name: &str| {
            let nanos = note[name].as_i64().map(Timestamp::from_nanos);
            nanos.with_context(|| format!("{shown}: {name} is not a number"))
        };
        Ok(Self {
            from: nanos("from")?,
            to: nanos("to")?,
            next: nanos("next")?,
            length: note["length"]
                .as_u64()
                .with_context(|| format!("{shown}: length is not a number"))?,
            samples: note["samples"].as_u64().unwrap_or(0),
            left_out: note["left_out"].clone(),
        })
    }

    /// What an export is known again by. Times that are counted from now are those of the note.
    fn of(options: &ExportOptions) -> Value {
        json!({
            "selectors": options.selectors,
            "file": options.file.as_ref().map(|path| path.display().to_string()),
            "format": format!("{:?}", options.output),
            "columns": options.columns,
            "from": options.time.from,
            "to": options.time.to,
            "since": options.time.since,
        })
    }

    fn write(&self, options: &ExportOptions) -> anyhow::Result<()> {
        let Some(path) = &options.resume else {
            return Ok(());
        };
        let note = json!({
            "export": Self::of(options),
            "from": self.from.nanos(),
            "to": self.to.nanos(),
            "next": self.next.nanos(),
            "length": self.length,
            "samples": self.samples,
            "left_out": self.left_out,
        });
        let draft = path.with_extension("tmp");
        std::fs::write(&draft, note.to_string())
            .and_then(|()| std::fs::rename(&draft, path))
            .with_context(|| format!("write {}", path.display()))
    }

    fn done(&self, options: &ExportOptions) -> anyhow::Result<()> {
        let Some(path) = &options.resume else {
            return Ok(());
        };
        match std::fs::remove_file(path) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error).with_context(|| format!("remove {}", path.display())),
        }
    }
}

fn wide() -> Limits {
    Limits {
        labels_max: 4096,
        label_name_bytes_max: 1 << 20,
        label_value_bytes_max: 16 << 20,
        ..Limits::default()
    }
}

/// A file of this name, or standard output.
#[expect(
    clippy::disallowed_methods,
    reason = "the command writes the file that it is given"
)]
pub(crate) fn create(path: Option<&Path>) -> anyhow::Result<Box<dyn Write>> {
    Ok(match path {
        None => Box::new(BufWriter::new(std::io::stdout())),
        Some(path) => {
            let file = File::create(path);
            let file = file.with_context(|| format!("create {}", path.display()))?;
            Box::new(BufWriter::new(file))
        }
    })
}

/// The file, cut where the note says that it is right.
#[expect(
    clippy::disallowed_methods,
    reason = "the command writes the file that it is given"
)]
fn open(options: &ExportOptions, note: &Note) -> anyhow::Result<Out> {
    let Some(path) = &options.file else {
        return Ok(Out::Standard(BufWriter::new(std::io::stdout())));
    };
    let shown = path.display();
    if note.length == 0 {
        let file = File::create(path).with_context(|| format!("create {shown}"))?;
        return Ok(Out::File(BufWriter::new(file)));
    }
    let file = File::options().write(true).open(path);
    let mut file = file.with_context(|| format!("open {shown}"))?;
    if file.metadata()?.len() < note.length {
        bail!("{shown} is shorter than when the export was interrupted; begin anew");
    }
    file.set_len(note.length)?;
    file.seek(SeekFrom::End(0))?;
    Ok(Out::File(BufWriter::new(file)))
}

/// Where samples are written to.
enum Out {
    Standard(BufWriter<std::io::Stdout>),
    File(BufWriter<File>),
}

impl Out {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        match self {
            Self::Standard(out) => out.write_all(bytes),
            Self::File(out) => out.write_all(bytes),
        }
    }

    /// Gives the length of the file, all of which is on disk then.
    fn flush(&mut self) -> std::io::Result<u64> {
        match self {
            Self::Standard(out) => out.flush().map(|()| 0),
            Self::File(out) => {
                out.flush()?;
                out.get_ref().sync_data()?;
                out.stream_position()
            }
        }
    }
}

/// What a form has no place for.
#[derive(Debug, Default)]
struct LeftOut {
    histograms: u64,
    stale: u64,
    exemplars: u64,
    /// Labels without a column of CSV.
    labels: BTreeSet<String>,
}

impl LeftOut {
    fn note(&self) -> Value {
        json!({"histograms": self.histograms, "stale": self.stale, "labels": self.labels})
    }

    fn from_note(note: &Value) -> Self {
        let labels = note["labels"].as_array().into_iter().flatten();
        Self {
            histograms: note["histograms"].as_u64().unwrap_or(0),
            stale: note["stale"].as_u64().unwrap_or(0),
            exemplars: 0,
            labels: labels
                .filter_map(Value::as_str)
                .map(str::to_owned)
                .collect(),
        }
    }

    /// In words; empty where nothing was left out.
    fn told(&self) -> String {
        let mut all = Vec::new();
        for (count, what) in [
            (self.histograms, "native histograms"),
            (self.stale, "stale markers"),
            (self.exemplars, "exemplars"),
        ] {
            if count > 0 {
                all.push(format!("{count} {what}"));
            }
        }
        if !self.labels.is_empty() {
            let labels: Vec<&str> = self.labels.iter().map(String::as_str).collect();
            let labels = labels.join(", ");
            all.push(format!(
                "the labels {labels} (--columns makes columns of them)"
            ));
        }
        all.join("; ")
    }
}

struct Writer {
    out: Out,
    format: ExportFormat,
    columns: Vec<victoria::Column>,
    samples: u64,
    left_out: LeftOut,
}

impl Writer {
    fn series(&mut self, series: &remote_read::StreamedSeries) -> anyhow::Result<()> {
        let mut samples = Samples::default();
        for (millis, value) in &series.samples {
            samples.push(Timestamp::from_millis(*millis), value.clone());
        }
        let labels: &Labels = &series.labels;
        let mut text = Vec::new();
        let (histograms, stale) = match self.format {
            ExportFormat::Json => (victoria::encode_line(labels, &samples, &mut text), 0),
            ExportFormat::Csv => {
                let told = victoria::encode_csv(labels, &samples, &self.columns, &mut text);
                self.left_out.labels.extend(told.labels);
                (told.histograms, told.stale)
            }
            ExportFormat::Openmetrics => openmetrics::encode(labels, &samples, &mut text),
        };
        self.samples += (samples.len() - histograms - stale) as u64;
        self.left_out.histograms += histograms as u64;
        self.left_out.stale += stale as u64;
        Ok(self.out.write(&text)?)
    }

    fn flush(&mut self) -> anyhow::Result<u64> {
        Ok(self.out.flush()?)
    }

    fn end(&mut self) -> anyhow::Result<()> {
        if self.format == ExportFormat::Openmetrics {
            self.out.write(b"# EOF\n")?;
        }
        self.out.flush()?;
        let samples = self.samples;
        let told = "without metadata: types, units and help are not exported";
        drop(writeln!(
            std::io::stderr(),
            "exported {samples} samples, {told}"
        ));
        let left_out = self.left_out.told();
        if !left_out.is_empty() {
            bail!("not exported, for want of a place in this form: {left_out}");
        }
        Ok(())
    }
}
