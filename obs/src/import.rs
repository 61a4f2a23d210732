//! `obs import`: samples of other systems into a server, by remote write.
//!
//! Invariants: memory is bounded by one request, whatever the size of the source (but for the label
//! texts of a TSDB block, each once); a position is noted only when the server has everything before
//! it, and holds only for the very file that it was noted of; nothing is left out without being
//! counted, told, and the exit code saying so.

mod send;
mod source;

use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use obs_model::MetricBatch;
use serde_json::{Value, json};

use crate::arguments::{ImportFormat, ImportOptions};
use crate::client;
use crate::progress::Progress;
use send::Sender;
use source::Source;

/// Samples of one request.
const SAMPLES_MAX: usize = 10_000;
/// Faults that are printed; the others are only counted.
const FAULTS_SHOWN: u64 = 20;

/// What happened so far.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Samples that the server has.
    pub(crate) samples: u64,
    /// Series of blocks, lines of texts.
    pub(crate) units: u64,
    /// What was not taken: damaged, not understood, or refused by the server.
    pub(crate) faults: u64,
    /// Samples that tombstones delete; they are not wanted.
    pub(crate) deleted: u64,
}

impl Tally {
    /// Tells what is not taken.
    pub(crate) fn fault(&mut self, what: &str) {
        self.faults += 1;
        if self.faults <= FAULTS_SHOWN {
            say(&format!("obs import: {what}"));
        }
        if self.faults == FAULTS_SHOWN {
            say("obs import: further faults are only counted");
        }
    }
}

/// To standard error; where it is gone, there is nobody to tell.
fn say(line: &str) {
    drop(writeln!(std::io::stderr(), "{line}"));
}

pub(crate) async fn run(options: &ImportOptions) -> anyhow::Result<()> {
    let files = source::files(&options.path, options.format)?;
    let state = Notebook::new(options)?;
    let (begin, skip) = state.read(&files)?;
    if begin > 0 || skip > 0 {
        say(&format!(
            "obs import: going on in file {} of {} at {skip}",
            begin + 1,
            files.len()
        ));
    }
    let sender = Sender::new(&options.server)?;
    let mut tally = Tally::default();
    for (index, (path, format)) in files.iter().enumerate().skip(begin) {
        let mut source = Source::open(path, *format, options.columns.as_deref(), client::now())
            .with_context(|| format!("{}", path.display()))?;
        if index == begin {
            source.skip(skip)?;
        }
        let mut progress = Progress::new(progress_name(path, index, files.len()), false);
        one(
            &mut source,
            &sender,
            &mut tally,
            &mut progress,
            |position| state.note(&files, index, position),
        )
        .await
        .with_context(|| format!("{}", path.display()))?;
        progress.end();
    }
    state.done()?;
    let Tally {
        samples,
        units,
        faults,
        deleted,
    } = tally;
    let deleted = match deleted {
        0 => String::new(),
        count => format!(", {count} deleted ones left out"),
    };
    writeln!(
        std::io::stdout(),
        "imported {samples} samples of {units} series or lines{deleted}"
    )?;
    if faults > 0 {
        bail!("{faults} faults: what they name was not imported");
    }
    Ok(())
}

/// Imports one source.
async fn one(
    source: &mut Source,
    sender: &Sender,
    tally: &mut Tally,
    progress: &mut Progress,
    mut note: impl FnMut(u64) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    loop {
        let mut batch = MetricBatch::default();
        let mut held = 0;
        let mut more = true;
        while held < SAMPLES_MAX && more {
            let before = batch.series.len();
            more = source.next(&mut batch, tally)?;
            held += batch.series[before..]
                .iter()
                .map(|s| s.samples.len())
                .sum::<usize>();
        }
        for request in split(batch) {
            sender.send(&request, tally).await?;
        }
        note(source.position())?;
        let (done, total) = source.progress();
        let (samples, faults) = (tally.samples, tally.faults);
        progress.show(done, total, &format!("{samples} samples · {faults} faults"));
        if !more {
            return Ok(());
        }
    }
}

/// One series may have more samples than a request.
fn split(mut batch: MetricBatch) -> Vec<MetricBatch> {
    let mut requests = vec![MetricBatch {
        metadata: std::mem::take(&mut batch.metadata),
        ..MetricBatch::default()
    }];
    let mut held = 0;
    for mut series in batch.series {
        loop {
            let rest = series
                .samples
                .split_off(series.samples.len().min(SAMPLES_MAX - held));
            held += series.samples.len();
            let labels = series.labels.clone();
            if let Some(last) = requests.last_mut() {
                last.series.push(series);
            }
            if held >= SAMPLES_MAX {
                requests.push(MetricBatch::default());
                held = 0;
            }
            if rest.is_empty() {
                break;
            }
            series = obs_model::metrics::Series {
                labels,
                samples: rest,
                ..obs_model::metrics::Series::default()
            };
        }
    }
    requests.retain(|request| !request.series.is_empty());
    requests
}

/// Where the import was when it was interrupted: `--resume FILE`.
struct Notebook(Option<PathBuf>);

#[expect(
    clippy::disallowed_methods,
    reason = "the command keeps a note in the file that it is given"
)]
impl Notebook {
    fn new(options: &ImportOptions) -> anyhow::Result<Self> {
        Ok(Self(options.resume.clone()))
    }

    /// The file to begin with, and what of it is there already.
    fn read(&self, files: &[(PathBuf, ImportFormat)]) -> anyhow::Result<(usize, u64)> {
        let Some(path) = &self.0 else {
            return Ok((0, 0));
        };
        let bytes = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok((0, 0)),
            Err(error) => return Err(error).with_context(|| format!("read {}", path.display())),
        };
        let shown = path.display();
        let begin_anew = "remove it to begin anew";
        let note: Value = serde_json::from_slice(&bytes).with_context(|| format!("{shown}"))?;
        let name = note["file"].as_str().unwrap_or("");
        let found = files
            .iter()
            .position(|(file, _)| file.display().to_string() == name);
        let (Some(index), Some(position)) = (found, note["position"].as_u64()) else {
            bail!("{shown}: the note is of another import; {begin_anew}");
        };
        if note["print"] != fingerprint(&files[index].0)? {
            bail!("{shown}: {name} is not as it was when the import was interrupted; {begin_anew}");
        }
        Ok((index, position))
    }

    fn note(
        &self,
        files: &[(PathBuf, ImportFormat)],
        index: usize,
        position: u64,
    ) -> anyhow::Result<()> {
        let Some(path) = &self.0 else {
            return Ok(());
        };
        let file = &files[index].0;
        let print = fingerprint(file)?;
        let note =
            json!({"file": file.display().to_string(), "position": position, "print": print});
        let draft = path.with_extension("tmp");
        std::fs::write(&draft, note.to_string())
            .and_then(|()| std::fs::rename(&draft, path))
            .with_context(|| format!("write {}", path.display()))
    }

    fn done(&self) -> anyhow::Result<()> {
        let Some(path) = &self.0 else {
            return Ok(());
        };
        match std::fs::remove_file(path) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error).with_context(|| format!("remove {}", path.display())),
        }
    }
}

/// By what a file is known again: its length and when it was written, of a block those of its index.
fn fingerprint(path: &Path) -> anyhow::Result<Value> {
    let index = path.join("index");
    let file = if path.is_dir() { &index } else { path };
    let found = std::fs::metadata(file).with_context(|| format!("{}", file.display()))?;
    Ok(json!([found.len(), found.mtime(), found.mtime_nsec()]))
}

/// The file's name, and which of how many it is.
fn progress_name(path: &Path, index: usize, count: usize) -> String {
    let file = path.file_name().unwrap_or(path.as_os_str());
    let name = file.to_string_lossy();
    match count {
        1 => name.into_owned(),
        count => format!("{name} ({}/{count})", index + 1),
    }
}

#[cfg(test)]
mod tests {
    use obs_model::metrics::{Sample, Series};
    use obs_model::{Timestamp, Value};

    use super::*;

    #[test]
    fn requests_are_bounded() {
        let sample = Sample {
            time: Timestamp::from_millis(1),
            start: None,
            value: Value::Float(1.0),
        };
        let series = |count| Series {
            samples: vec![sample.clone(); count],
            ..Series::default()
        };
        let batch = MetricBatch {
            series: vec![series(5), series(25_000), series(10_000)],
            ..MetricBatch::default()
        };
        let sizes: Vec<usize> = split(batch).iter().map(MetricBatch::sample_count).collect();
        assert_eq!(sizes, [10_000, 10_000, 10_000, 5005]);
    }
}
