//! What is imported: blocks of Prometheus' TSDB, and texts that are read line by line.

use std::fs::File;
use std::io::{BufRead, BufReader, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use obs_model::limits::Limits;
use obs_model::metrics::{Sample, Series};
use obs_model::{MetricBatch, Timestamp};
use obs_wire::WireError;
use obs_wire::prometheus::block::{
    self, CHUNK_HEAD_BYTES, CONTENTS_BYTES, CONTENTS_HEAD_BYTES, ChunkPlace, Contents, Index,
    SEGMENT_HEAD, Step, Symbols, Tombstones,
};
use obs_wire::prometheus::{chunk, openmetrics};
use obs_wire::victoria::{self, Column};

use super::Tally;
use crate::arguments::ImportFormat;

/// Longest line of a text.
const LINE_BYTES_MAX: u64 = 64 << 20;
/// Lines of OpenMetrics that are read together: metadata holds for what is behind it.
const LINES_TOGETHER: usize = 2000;

/// The blocks of a data directory of Prometheus, or the file itself.
pub(super) fn files(
    path: &Path,
    format: Option<ImportFormat>,
) -> anyhow::Result<Vec<(PathBuf, ImportFormat)>> {
    let shown = path.display();
    let found = std::fs::metadata(path).with_context(|| format!("{shown}"))?;
    if !found.is_dir() {
        let format = format.or_else(|| by_name(path));
        let format = format.with_context(|| {
            format!("{shown}: --format says what it is (openmetrics, json or csv)")
        })?;
        return Ok(vec![(path.to_owned(), format)]);
    }
    if format.is_some_and(|format| format != ImportFormat::Tsdb) {
        bail!("{shown} is a folder, which only --format tsdb reads");
    }
    if path.join("index").is_file() {
        return Ok(vec![(path.to_owned(), ImportFormat::Tsdb)]);
    }
    let mut blocks = Vec::new();
    for entry in std::fs::read_dir(path).with_context(|| format!("{shown}"))? {
        let block = entry.with_context(|| format!("{shown}"))?.path();
        if block.join("meta.json").is_file() && block.join("index").is_file() {
            blocks.push((block, ImportFormat::Tsdb));
        }
    }
    if blocks.is_empty() {
        bail!("{shown} has no blocks of Prometheus (folders with meta.json and index)");
    }
    // Names of blocks ascend with time.
    blocks.sort();
    if path.join("wal").is_dir() {
        super::say(&format!(
            "obs import: {shown}/wal is not read: what Prometheus has in memory becomes a block \
             after two hours, or with its snapshot API"
        ));
    }
    Ok(blocks)
}

fn by_name(path: &Path) -> Option<ImportFormat> {
    match path.extension()?.to_str()? {
        "json" | "jsonl" | "ndjson" => Some(ImportFormat::Json),
        "csv" => Some(ImportFormat::Csv),
        "om" | "prom" | "txt" | "openmetrics" => Some(ImportFormat::Openmetrics),
        _ => None,
    }
}

/// Something that gives series.
pub(super) enum Source {
    Block(Box<Block>),
    Text(Box<Text>),
}

impl Source {
    pub(super) fn open(
        path: &Path,
        format: ImportFormat,
        columns: Option<&str>,
        now: Timestamp,
    ) -> anyhow::Result<Self> {
        Ok(match format {
            ImportFormat::Tsdb => Self::Block(Box::new(Block::open(path)?)),
            ImportFormat::Openmetrics => {
                Self::Text(Box::new(Text::open(path, Form::OpenMetrics, now)?))
            }
            ImportFormat::Json => Self::Text(Box::new(Text::open(path, Form::Json, now)?)),
            ImportFormat::Csv => {
                let columns = columns.context("--columns says what the columns are")?;
                let columns = victoria::columns(columns)?;
                Self::Text(Box::new(Text::open(path, Form::Csv(columns), now)?))
            }
        })
    }

    /// Goes on at a position that was noted.
    pub(super) fn skip(&mut self, position: u64) -> anyhow::Result<()> {
        match self {
            Self::Block(block) => {
                block.skip = position;
                Ok(())
            }
            Self::Text(text) => text.skip(position),
        }
    }

    /// Reads a little more; false at the end.
    pub(super) fn next(
        &mut self,
        batch: &mut MetricBatch,
        tally: &mut Tally,
    ) -> anyhow::Result<bool> {
        match self {
            Self::Block(block) => block.next(batch, tally),
            Self::Text(text) => text.next(batch, tally),
        }
    }

    /// What [`Source::skip`] takes to go on behind what was read.
    pub(super) fn position(&self) -> u64 {
        match self {
            Self::Block(block) => block.read,
            Self::Text(text) => text.at,
        }
    }

    pub(super) fn progress(&self) -> (u64, u64) {
        match self {
            Self::Block(block) => block.progress,
            Self::Text(text) => (text.at, text.bytes),
        }
    }
}

/// One block.
pub(super) struct Block {
    file: File,
    contents: Contents,
    index: Index,
    /// A piece of the file around where the walk is, and where it begins.
    piece: Vec<u8>,
    begin: u64,
    segments: Vec<File>,
    tombstones: Tombstones,
    /// Series read, and how many of them are there already.
    read: u64,
    skip: u64,
    progress: (u64, u64),
}

#[expect(
    clippy::disallowed_methods,
    reason = "the command reads the files that it is given"
)]
impl Block {
    fn open(path: &Path) -> anyhow::Result<Self> {
        let file = File::open(path.join("index")).context("index")?;
        let (contents, index) = walk(&file).context("index")?;
        let tombstones = match std::fs::read(path.join("tombstones")) {
            Ok(bytes) => Tombstones::decode(&bytes)?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Tombstones::default(),
            Err(error) => return Err(error).context("tombstones"),
        };
        let mut segments = Vec::new();
        loop {
            let name = format!("chunks/{:06}", segments.len() + 1);
            match File::open(path.join(&name)) {
                Ok(file) => segments.push(checked(file).with_context(|| name)?),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => break,
                Err(error) => return Err(error).context(name),
            }
        }
        Ok(Self {
            file,
            contents,
            index,
            piece: Vec::new(),
            begin: 0,
            segments,
            tombstones,
            read: 0,
            skip: 0,
            progress: (0, 1),
        })
    }

    fn next(&mut self, batch: &mut MetricBatch, tally: &mut Tally) -> anyhow::Result<bool> {
        let next = loop {
            let at = self.index.position();
            let inside = usize::try_from(at - self.begin).unwrap_or(usize::MAX);
            match self
                .index
                .next_series(self.piece.get(inside..).unwrap_or_default())
            {
                Step::End => return Ok(false),
                Step::Series(series) => break series,
                Step::More(bytes) => {
                    self.piece =
                        read_at(&self.file, at, bytes.max(PIECE_BYTES)).context("index")?;
                    self.begin = at;
                    if self.piece.len() < bytes {
                        bail!("index: the file became shorter while it was read");
                    }
                }
            }
        };
        self.read += 1;
        let (at, end) = self.index.progress();
        let (from, _) = self.contents.series;
        self.progress = (at - from, end - from);
        if self.read <= self.skip {
            return Ok(true);
        }
        tally.units += 1;
        let series = match next {
            Ok(series) => series,
            Err(error) => {
                tally.fault(&error.to_string());
                return Ok(true);
            }
        };
        let mut samples = Vec::new();
        for place in &series.chunks {
            if let Err(error) = self.chunk(place, series.reference, &mut samples, tally) {
                tally.fault(&format!("a chunk of {}: {error:#}", series.labels));
            }
        }
        if !samples.is_empty() {
            batch.series.push(Series {
                labels: series.labels,
                samples,
                ..Series::default()
            });
        }
        Ok(true)
    }

    fn chunk(
        &self,
        place: &ChunkPlace,
        reference: u64,
        out: &mut Vec<Sample>,
        tally: &mut Tally,
    ) -> anyhow::Result<()> {
        let file = self.segments.get(place.segment as usize);
        let file = file.with_context(|| format!("chunks/{:06} is missing", place.segment + 1))?;
        let offset = u64::from(place.offset);
        let left = file.metadata()?.len().saturating_sub(offset);
        let mut head = vec![0; CHUNK_HEAD_BYTES.min(usize::try_from(left).unwrap_or(usize::MAX))];
        file.read_exact_at(&mut head, offset)?;
        let length = block::chunk_bytes(&head)?;
        if length as u64 > left {
            bail!("it has {length} bytes, the file only {left} more");
        }
        let mut bytes = vec![0; length];
        file.read_exact_at(&mut bytes, offset)?;
        let (encoding, data) = block::chunk(&bytes)?;
        let before = out.len();
        let decoded = chunk::decode(encoding, data, |millis, value| {
            if self.tombstones.cover(reference, millis) {
                tally.deleted += 1;
                return Ok(());
            }
            let time = Timestamp::from_millis(millis);
            if time.millis() != millis {
                return Err(WireError::at_path(
                    "chunk",
                    millis.to_string(),
                    "a time of the years 1677 to 2262",
                ));
            }
            out.push(Sample {
                time,
                start: None,
                value,
            });
            Ok::<(), WireError>(())
        });
        if let Err(error) = decoded {
            // All of a chunk or nothing.
            out.truncate(before);
            return Err(error.into());
        }
        Ok(())
    }
}

/// Bytes of an index that are read together.
const PIECE_BYTES: usize = 256 << 10;

/// Bytes of a file from an offset on: as many as asked for, or as there are.
fn read_at(file: &File, at: u64, count: usize) -> anyhow::Result<Vec<u8>> {
    let left = file.metadata()?.len().saturating_sub(at);
    let count = count.min(usize::try_from(left).unwrap_or(usize::MAX));
    let mut bytes = vec![0; count];
    file.read_exact_at(&mut bytes, at)?;
    Ok(bytes)
}

/// What an index begins with, and the walk through its series.
fn walk(file: &File) -> anyhow::Result<(Contents, Index)> {
    let length = file.metadata()?.len();
    let head = read_at(file, 0, CONTENTS_HEAD_BYTES)?;
    let tail = length.saturating_sub(CONTENTS_BYTES as u64);
    let contents = Contents::decode(&head, &read_at(file, tail, CONTENTS_BYTES)?, length)?;
    let bytes = block::symbols_bytes(&read_at(file, contents.symbols, 4)?)?;
    let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
    let symbols = Symbols::decode(&read_at(file, contents.symbols, bytes)?, &contents)?;
    let index = Index::new(&contents, symbols);
    Ok((contents, index))
}

/// A segment with its head.
fn checked(file: File) -> anyhow::Result<File> {
    let mut head = [0; SEGMENT_HEAD.len()];
    file.read_exact_at(&mut head, 0)?;
    if head[..5] != SEGMENT_HEAD[..5] {
        bail!("expected the magic number of chunks and version 1");
    }
    Ok(file)
}

/// How the lines of a text are written.
enum Form {
    OpenMetrics,
    Json,
    Csv(Vec<Column>),
}

/// A text that is read line by line.
pub(super) struct Text {
    form: Form,
    lines: BufReader<File>,
    now: Timestamp,
    /// Bytes read, and all of them.
    at: u64,
    bytes: u64,
    number: u64,
    ended: bool,
}

impl Text {
    #[expect(
        clippy::disallowed_methods,
        reason = "the command reads the file that it is given"
    )]
    fn open(path: &Path, form: Form, now: Timestamp) -> anyhow::Result<Self> {
        let file = File::open(path)?;
        let bytes = file.metadata()?.len();
        Ok(Self {
            form,
            lines: BufReader::with_capacity(1 << 20, file),
            now,
            at: 0,
            bytes,
            number: 0,
            ended: false,
        })
    }

    fn skip(&mut self, position: u64) -> anyhow::Result<()> {
        self.lines.seek(SeekFrom::Start(position))?;
        self.at = position;
        Ok(())
    }

    /// The next line without its end; `None` at the end of the text.
    fn line(&mut self, line: &mut Vec<u8>) -> anyhow::Result<bool> {
        use std::io::Read;
        let begin = line.len();
        let read = (&mut self.lines)
            .take(LINE_BYTES_MAX)
            .read_until(b'\n', line)?;
        if read as u64 == LINE_BYTES_MAX && line.last() != Some(&b'\n') {
            bail!(
                "line {} has more than {LINE_BYTES_MAX} bytes",
                self.number + 1
            );
        }
        self.at += read as u64;
        self.number += u64::from(read > 0);
        while line.len() > begin && line.last().is_some_and(|byte| b"\r\n".contains(byte)) {
            line.pop();
        }
        Ok(read > 0)
    }

    fn next(&mut self, batch: &mut MetricBatch, tally: &mut Tally) -> anyhow::Result<bool> {
        if let Form::OpenMetrics = self.form {
            return self.exposition(batch, tally);
        }
        let mut line = Vec::new();
        if !self.line(&mut line)? {
            return Ok(false);
        }
        if line.iter().all(u8::is_ascii_whitespace) {
            return Ok(true);
        }
        tally.units += 1;
        let limits = limits();
        let read = match &self.form {
            Form::Csv(columns) => std::str::from_utf8(&line)
                .map_err(|e| WireError::at_byte("CSV line", e.valid_up_to(), "UTF-8"))
                .and_then(|line| victoria::decode_csv(line, columns, self.now, &limits)),
            Form::Json | Form::OpenMetrics => {
                victoria::decode_line(&line, &limits).map(|series| vec![series])
            }
        };
        match read {
            Ok(series) => batch.series.extend(series),
            Err(error) => tally.fault(&format!("line {}: {error}", self.number)),
        }
        Ok(true)
    }

    /// Some lines of OpenMetrics. Where they cannot be read together they are read one by one, so
    /// that only the faulty ones are missing.
    fn exposition(&mut self, batch: &mut MetricBatch, tally: &mut Tally) -> anyhow::Result<bool> {
        let first = self.number + 1;
        let mut lines: Vec<Vec<u8>> = Vec::new();
        let mut more = true;
        while lines.len() < LINES_TOGETHER && more && !self.ended {
            let mut line = Vec::new();
            more = self.line(&mut line)?;
            if line == b"# EOF" {
                self.ended = true;
            } else if more {
                lines.push(line);
            }
        }
        let together = lines.iter().filter(|line| !line.is_empty());
        match read_openmetrics(together.map(Vec::as_slice)) {
            Ok(read) => self.take(read, batch, tally, first),
            Err(_) => {
                for (index, line) in lines.iter().enumerate().filter(|(_, l)| !l.is_empty()) {
                    let number = first + index as u64;
                    match read_openmetrics([line.as_slice()]) {
                        Ok(read) => self.take(read, batch, tally, number),
                        Err(error) => {
                            tally.units += 1;
                            tally.fault(&format!("line {number}: {error}"));
                        }
                    }
                }
            }
        }
        if self.ended {
            let mut rest = Vec::new();
            if self.line(&mut rest)? {
                tally.fault(&format!(
                    "line {}: nothing may follow \"# EOF\"",
                    self.number
                ));
            }
            return Ok(false);
        }
        if !more {
            tally.fault("the text does not end with \"# EOF\": it may have been cut");
        }
        Ok(more)
    }

    fn take(
        &self,
        read: obs_wire::prometheus::Exposition,
        batch: &mut MetricBatch,
        tally: &mut Tally,
        number: u64,
    ) {
        tally.units += read.samples.len() as u64;
        let untimed = read.samples.iter().filter(|s| s.time.is_none()).count();
        if untimed > 0 {
            tally.fault(&format!(
                "from line {number}: {untimed} samples have no timestamp and get the time of now"
            ));
        }
        let read = read.into_batch(self.now);
        batch.series.extend(read.series);
        batch.metadata.extend(read.metadata);
    }
}

fn read_openmetrics<'a>(
    lines: impl IntoIterator<Item = &'a [u8]>,
) -> Result<obs_wire::prometheus::Exposition, WireError> {
    let mut text = Vec::new();
    for line in lines {
        text.extend_from_slice(line);
        text.push(b'\n');
    }
    text.extend_from_slice(b"# EOF\n");
    openmetrics::decode(&text, &limits())
}

/// The server has limits of its own.
fn limits() -> Limits {
    Limits {
        labels_max: 4096,
        label_name_bytes_max: 1 << 20,
        label_value_bytes_max: 16 << 20,
        ..Limits::default()
    }
}
