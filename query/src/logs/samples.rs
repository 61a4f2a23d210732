//! The leaf of LogQL's metric queries: lines become samples of series.
//!
//! Where only sums over windows are asked for, lines that no window tells apart become one sample
//! ([`Cells`]); otherwise each line is one. Napkin: 16 bytes per sample; 50 million unwrapped
//! values are refused by the budget before they take 1 GB. Invariant: a series' samples ascend in
//! time, equal times are allowed.

use std::collections::HashMap;
use std::fmt;

use obs_logstore::enrich::DETECTED_LEVEL;
use obs_logstore::{MINUTE, Minutes, Rows, SelectError};
use obs_model::{Budget, BudgetError, Labels, Matcher, Samples, TimeRange, Timestamp};

use super::filter::LabelFilter;
use super::pipeline::Pipeline;
use super::row::{ERROR, EXTRACTED, Row};
use super::template::Template;
use super::value;
use crate::error::{ParseError, QueryError};
use crate::logql::ast::{self, Conversion, Grouping, LabelFormat, LogExpr, Stage, Unwrap};
use crate::plan::SelectedSeries;

/// Bytes that a sample takes, for the budget.
const SAMPLE_BYTES: u64 = 16;
/// Series of one stream that grow at the same time.
const GROWING_MAX: usize = 16;

/// What a line is worth.
#[derive(Clone, Debug, PartialEq)]
pub enum Worth {
    /// 1.
    One,
    /// Its length in bytes.
    Bytes,
    /// The value of a label.
    Unwrapped(Unwrap),
}

/// What a leaf of a log metric reads.
#[derive(Clone, Debug, PartialEq)]
pub struct LogLeaf {
    /// Conditions on the streams.
    pub matchers: Vec<Matcher>,
    /// The pipeline.
    pub stages: Vec<Stage>,
    /// What a line is worth.
    pub worth: Worth,
    /// Which labels the series have; all where there is none.
    pub grouping: Option<Grouping>,
    /// The time that `now` is in templates.
    pub now: Timestamp,
    /// Which lines may become one sample; none where each is one.
    pub cells: Option<Cells>,
}

/// The times that windows of one length, at steps of one grid, tell apart: a cell reaches from
/// behind one border of a window to the next border.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cells {
    /// A time at which a window ends.
    pub end: Timestamp,
    /// Nanoseconds from window to window, above 0.
    pub step: i64,
    /// Nanoseconds that a window reaches back.
    pub length: i64,
}

impl Cells {
    /// Whether no window tells times of one minute apart.
    fn are_minutes(&self) -> bool {
        let whole = |nanos: i64| nanos % MINUTE == 0;
        // A single window has no step.
        whole(self.end.nanos()) && whole(self.length) && (self.step == i64::MAX || whole(self.step))
    }

    /// The last time of the cell of a time.
    fn last(&self, time: i64) -> i64 {
        let border = |border: i128| {
            let behind = (i128::from(time) - border).rem_euclid(i128::from(self.step));
            let ahead = (i128::from(self.step) - behind) % i128::from(self.step);
            i128::from(time) + ahead
        };
        let end = i128::from(self.end.nanos());
        let last = border(end).min(border(end - i128::from(self.length)));
        i64::try_from(last).unwrap_or(i64::MAX)
    }
}

impl fmt::Display for LogLeaf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let logs = LogExpr {
            matchers: self.matchers.clone(),
            stages: self.stages.clone(),
        };
        match &self.worth {
            Worth::One => write!(f, "lines of {logs}")?,
            Worth::Bytes => write!(f, "bytes of {logs}")?,
            Worth::Unwrapped(unwrap) => write!(f, "values of {logs} {unwrap}")?,
        }
        match &self.grouping {
            Some(grouping) => write!(f, " {grouping}"),
            None => Ok(()),
        }
    }
}

/// A leaf, compiled.
#[derive(Debug)]
pub(crate) struct CompiledLeaf {
    pub(crate) pipeline: Pipeline,
    worth: CompiledWorth,
    grouping: Option<Grouping>,
    /// Names that parsers need to find, sorted; all where there are none.
    wanted: Option<Vec<String>>,
    cells: Option<Cells>,
}

#[derive(Debug)]
enum CompiledWorth {
    One,
    Bytes,
    Unwrapped {
        label: String,
        conversion: Conversion,
        filters: Vec<LabelFilter>,
    },
}

impl CompiledLeaf {
    pub(crate) fn new(leaf: &LogLeaf) -> Result<Self, QueryError> {
        let worth = match &leaf.worth {
            Worth::One => CompiledWorth::One,
            Worth::Bytes => CompiledWorth::Bytes,
            Worth::Unwrapped(unwrap) => CompiledWorth::Unwrapped {
                label: unwrap.label.clone(),
                conversion: unwrap.conversion,
                filters: unwrap
                    .filters
                    .iter()
                    .map(|filter| {
                        LabelFilter::new(filter).map_err(|fault| {
                            let message = format!("stage '| {filter}' : {fault}");
                            QueryError::Parse(ParseError::logql(0, 0, message))
                        })
                    })
                    .collect::<Result<_, _>>()?,
            },
        };
        Ok(Self {
            pipeline: Pipeline::new(&leaf.stages)?.at(leaf.now),
            worth,
            grouping: leaf.grouping.clone(),
            wanted: wanted(leaf),
            cells: leaf.cells,
        })
    }

    /// Whether lines of one stream with equal metadata may belong to different series.
    fn sets_labels(&self) -> bool {
        self.pipeline.sets_labels()
    }

    /// Whether a line is only counted: nothing but what the store has looked at decides on it.
    fn only_counts(&self) -> bool {
        matches!(self.worth, CompiledWorth::One) && self.pipeline.only_leads()
    }

    /// The keys of structured metadata that tell the series of lines that are only counted; nothing
    /// where others may.
    fn telling_keys(&self) -> Option<Vec<&str>> {
        let grouping = self.grouping.as_ref().filter(|g| !g.without)?;
        let mut keys: Vec<&str> = Vec::new();
        for label in &grouping.labels {
            keys.push(label);
            // What a label of the stream hides shows under another name.
            keys.extend(label.strip_suffix(EXTRACTED));
        }
        Some(keys)
    }

    /// Whether the series of lines of a stream is told by its labels and `detected_level`, if their
    /// metadata has these keys only.
    fn is_told_by_level(&self, labels: &Labels, keys: &[String]) -> bool {
        let mut others = keys.iter().filter(|key| *key != DETECTED_LEVEL);
        let Some(grouping) = &self.grouping else {
            return others.next().is_none();
        };
        if grouping.without {
            return others.all(|key| grouping.labels.contains(key) && labels.get(key).is_none());
        }
        let tells = |key: &String| {
            let shown = |label: &String| {
                let renamed = label.strip_suffix(EXTRACTED) == Some(key.as_str());
                renamed || label == key && labels.get(key).is_none()
            };
            grouping.labels.iter().any(shown)
        };
        !others.any(tells)
    }

    /// Whether the series of a line is told by the labels of its stream.
    fn is_told_by(&self, labels: &Labels) -> bool {
        let has = |name: &String| labels.get(name).is_some();
        let grouping = self.grouping.as_ref().filter(|g| !g.without);
        grouping.is_some_and(|grouping| grouping.labels.iter().all(has))
    }

    /// What the row is worth; `None` drops it.
    fn value(&self, row: &mut Row<'_>) -> Option<f64> {
        let CompiledWorth::Unwrapped {
            label,
            conversion,
            filters,
        } = &self.worth
        else {
            return Some(match self.worth {
                CompiledWorth::Bytes => row.line.len() as f64,
                _ => 1.0,
            });
        };
        let text = row.get(label).filter(|text| !text.is_empty())?;
        let read = match conversion {
            Conversion::Number => value::number(text),
            Conversion::Duration | Conversion::DurationSeconds => {
                value::duration(text).map(|nanos| nanos as f64 / 1e9)
            }
            Conversion::Bytes => value::bytes(text).map(|bytes| bytes as f64),
        };
        let value = match read {
            Ok(value) => value,
            Err(details) => {
                row.fail("SampleExtractionErr", details);
                0.0
            }
        };
        filters.iter().all(|f| f.holds(row)).then_some(value)
    }

    fn labels(&self, row: &Row<'_>) -> Labels {
        let unwrapped = match &self.worth {
            CompiledWorth::Unwrapped { label, .. } => Some(label.as_str()),
            _ => None,
        };
        match &self.grouping {
            None => row.labels_without(|name| Some(name) == unwrapped),
            Some(grouping) if grouping.without => row.labels_without(|name| {
                Some(name) == unwrapped || grouping.labels.iter().any(|l| l == name)
            }),
            Some(grouping) => row.labels_of(&grouping.labels),
        }
    }
}

/// The labels that the answer and the stages speak of, where no others can show.
fn wanted(leaf: &LogLeaf) -> Option<Vec<String>> {
    let grouping = leaf.grouping.as_ref().filter(|g| !g.without)?;
    let mut names = grouping.labels.clone();
    for stage in &leaf.stages {
        names_of(stage, &mut names)?;
    }
    if let Worth::Unwrapped(unwrap) = &leaf.worth {
        names.push(unwrap.label.clone());
        unwrap
            .filters
            .iter()
            .for_each(|f| filter_names(f, &mut names));
    }
    names.sort();
    names.dedup();
    Some(names)
}

/// Adds the labels that a stage speaks of; `None` where it may look at all of them.
fn names_of(stage: &Stage, names: &mut Vec<String>) -> Option<()> {
    match stage {
        Stage::Filter(filter) => filter_names(filter, names),
        Stage::LineFormat(text) => names.extend(template_names(text)?),
        Stage::LabelFormat(formats) => {
            for format in formats {
                match format {
                    LabelFormat::Rename { from, .. } => names.push(from.clone()),
                    LabelFormat::Template { template, .. } => {
                        names.extend(template_names(template)?);
                    }
                }
            }
        }
        // What nobody else asks for need not be there to be dropped or kept.
        Stage::Drop(_)
        | Stage::Keep(_)
        | Stage::Line(_)
        | Stage::Json(_)
        | Stage::Logfmt { .. }
        | Stage::Regexp(_)
        | Stage::Pattern(_)
        | Stage::Unpack
        | Stage::Decolorize => {}
    }
    Some(())
}

fn template_names(text: &str) -> Option<Vec<String>> {
    // A template that does not compile fails the query elsewhere.
    Template::new("", text).map_or_else(|_| Some(Vec::new()), |template| template.names())
}

fn filter_names(filter: &ast::LabelFilter, names: &mut Vec<String>) {
    match filter {
        ast::LabelFilter::Matcher(matcher) => names.push(matcher.name.clone()),
        ast::LabelFilter::Number { name, .. }
        | ast::LabelFilter::Duration { name, .. }
        | ast::LabelFilter::Bytes { name, .. }
        | ast::LabelFilter::Ip { name, .. } => names.push(name.clone()),
        ast::LabelFilter::And(filters) | ast::LabelFilter::Or(filters) => {
            filters.iter().for_each(|f| filter_names(f, names));
        }
    }
}

/// Samples of one series, while lines of one stream are added in order of time.
#[derive(Debug)]
struct Growing {
    samples: Samples,
    /// Up to when lines belong to the last sample, if one was added.
    until: Option<i64>,
}

impl Growing {
    /// Adds a line; whether it is a sample of its own.
    fn add(&mut self, time: Timestamp, value: f64, cells: Option<Cells>) -> bool {
        let nanos = time.nanos();
        if let Some(cells) = cells {
            if self.until.is_some_and(|until| nanos <= until)
                && let (Some(last), Some(at)) = (
                    self.samples.floats.last_mut(),
                    self.samples.times.last_mut(),
                )
            {
                *last += value;
                *at = time;
                return false;
            }
            self.until = Some(cells.last(nanos));
        }
        self.samples.times.push(time);
        self.samples.floats.push(value);
        true
    }
}

/// Collects samples from the slices of a scan.
#[derive(Debug)]
pub(crate) struct SampleCollector<'a> {
    leaf: &'a CompiledLeaf,
    range: TimeRange,
    budget: &'a Budget,
    series: HashMap<Labels, Samples>,
    /// Why the query fails, once a line said so.
    pub(crate) failure: Option<QueryError>,
}

impl<'a> SampleCollector<'a> {
    pub(crate) fn new(leaf: &'a CompiledLeaf, range: TimeRange, budget: &'a Budget) -> Self {
        Self {
            leaf,
            range,
            budget,
            series: HashMap::new(),
            failure: None,
        }
    }

    /// Rows of one stream.
    pub(crate) fn take(&mut self, labels: &Labels, rows: &Rows<'_>) -> Result<(), SelectError> {
        self.budget.check()?;
        if self.leaf.only_counts() && self.leaf.is_told_by(labels) {
            return self.count(labels, rows);
        }
        if let Some(keys) = self.leaf.telling_keys().filter(|_| self.leaf.only_counts()) {
            return self.count_by(labels, rows, &keys);
        }
        let wanted = self.leaf.wanted.as_deref();
        // Most lines of a stream are of the series of the line before; where the pipeline sets no
        // labels, equal metadata says so without a look at the labels.
        let mut last: Option<(Labels, Growing)> = None;
        let mut alike: Option<Labels> = None;
        let sets_labels = self.leaf.sets_labels();
        let only_counts = self.leaf.only_counts();
        let mut kept = 0;
        for index in 0..rows.len() {
            let time = rows.time(index)?;
            if !self.range.contains(time) {
                continue;
            }
            self.budget.check()?;
            let metadata = rows.metadata(index)?;
            let mut look = |line: &[u8]| -> Result<bool, BudgetError> {
                let mut row = Row::new(line, time, labels, &metadata, wanted);
                if !self.leaf.pipeline.run_behind_leading(&mut row) {
                    return Ok(true);
                }
                let Some(value) = self.leaf.value(&mut row) else {
                    return Ok(true);
                };
                if !row.error().is_empty() {
                    self.fail(&row);
                    return Ok(false);
                }
                if let (true, Some((_, samples))) = (alike.as_ref() == Some(&metadata), &mut last) {
                    kept += u64::from(samples.add(time, value, self.leaf.cells));
                    return Ok(true);
                }
                alike = (!sets_labels).then(|| metadata.clone());
                let group = self.leaf.labels(&row);
                let samples = match last.take() {
                    Some((of, samples)) if of == group => samples,
                    other => {
                        self.put(other)?;
                        self.begin(&group)?
                    }
                };
                let (_, samples) = last.insert((group, samples));
                kept += u64::from(samples.add(time, value, self.leaf.cells));
                Ok(true)
            };
            let go_on = match only_counts {
                true => look(&[])?,
                false => rows.with_line(index, look)??,
            };
            if !go_on {
                break;
            }
        }
        self.put(last)?;
        Ok(self.budget.bytes(kept * SAMPLE_BYTES)?)
    }

    /// So many rows of a stream; `false` where they must be looked at.
    pub(crate) fn take_whole(
        &mut self,
        labels: &Labels,
        range: TimeRange,
        rows: u64,
    ) -> Result<bool, SelectError> {
        let cells = self.leaf.cells.filter(|cells| {
            let last = cells.last(range.start.nanos());
            range.end.nanos() <= last && self.range.start <= range.start
        });
        let within = range.end <= self.range.end;
        if cells.is_none() || !within || !self.leaf.only_counts() || !self.leaf.is_told_by(labels) {
            return Ok(false);
        }
        let group = self.group_of(labels);
        let mut samples = self.begin(&group)?;
        samples.add(range.end, rows as f64, None);
        self.put(Some((group, samples)))?;
        self.budget.bytes(SAMPLE_BYTES)?;
        Ok(true)
    }

    /// Whether counts by minute and level may answer.
    pub(crate) fn counts_by_minute(&self) -> bool {
        let counts = matches!(self.leaf.worth, CompiledWorth::One | CompiledWorth::Bytes);
        let aligned = self.leaf.cells.is_some_and(|cells| cells.are_minutes());
        counts && aligned && self.leaf.pipeline.only_leads()
    }

    /// Rows of a stream by minute and level; `false` where they must be looked at.
    pub(crate) fn take_minutes(
        &mut self,
        labels: &Labels,
        minutes: &Minutes<'_>,
    ) -> Result<bool, SelectError> {
        if !self.leaf.is_told_by_level(labels, minutes.keys) {
            return Ok(false);
        }
        self.budget.check()?;
        let cells = self.leaf.cells;
        let mut kept = 0;
        for (number, level) in minutes.levels.iter().enumerate() {
            let mut counts = minutes.counts.iter().filter(|c| c.level as usize == number);
            let Some(first) = counts.next() else { continue };
            let pairs = [(DETECTED_LEVEL, level.as_str())];
            let metadata = Labels::from_pairs(pairs.into_iter().filter(|(_, v)| !v.is_empty()));
            let row = Row::new(&[], self.range.start, labels, &metadata, None);
            let group = self.leaf.labels(&row);
            let mut samples = self.begin(&group)?;
            for count in std::iter::once(first).chain(counts) {
                let worth = match self.leaf.worth {
                    CompiledWorth::Bytes => count.bytes,
                    _ => count.records,
                };
                kept += u64::from(samples.add(count.range().end, worth as f64, cells));
            }
            self.put(Some((group, samples)))?;
        }
        self.budget.bytes(kept * SAMPLE_BYTES)?;
        Ok(true)
    }

    /// Rows that are worth 1 each, whose series are told by these keys of their metadata.
    fn count_by(
        &mut self,
        labels: &Labels,
        rows: &Rows<'_>,
        keys: &[&str],
    ) -> Result<(), SelectError> {
        // Rows of few series take turns; each grows where it is.
        let mut growing: Vec<(Labels, Labels, Growing)> = Vec::new();
        let (range, cells) = (self.range, self.leaf.cells);
        let mut kept = 0;
        rows.for_metadata(keys, &mut |time, metadata| {
            if !range.contains(time) {
                return Ok(());
            }
            let known = growing.iter().position(|(known, ..)| known == metadata);
            let at = match known {
                Some(at) => at,
                None => {
                    if growing.len() == GROWING_MAX {
                        for (_, group, samples) in growing.drain(..) {
                            self.put(Some((group, samples)))?;
                        }
                    }
                    let row = Row::new(&[], time, labels, metadata, None);
                    let group = self.leaf.labels(&row);
                    // Other metadata may be of the same series.
                    let same = growing.iter().position(|(_, known, _)| *known == group);
                    if let Some(same) = same {
                        let (_, group, samples) = growing.swap_remove(same);
                        self.put(Some((group, samples)))?;
                    }
                    let samples = self.begin(&group)?;
                    growing.push((metadata.clone(), group, samples));
                    growing.len() - 1
                }
            };
            kept += u64::from(growing[at].2.add(time, 1.0, cells));
            Ok(())
        })?;
        for (_, group, samples) in growing {
            self.put(Some((group, samples)))?;
        }
        Ok(self.budget.bytes(kept * SAMPLE_BYTES)?)
    }

    /// The series of all lines of a stream.
    fn group_of(&self, labels: &Labels) -> Labels {
        let none = Labels::empty();
        self.leaf
            .labels(&Row::new(&[], self.range.start, labels, &none, None))
    }

    /// Rows that all are of one series, and worth 1 each.
    fn count(&mut self, labels: &Labels, rows: &Rows<'_>) -> Result<(), SelectError> {
        let group = self.group_of(labels);
        let mut samples = self.begin(&group)?;
        let (range, cells) = (self.range, self.leaf.cells);
        let mut kept = 0;
        rows.for_times(|time| {
            if range.contains(time) {
                kept += u64::from(samples.add(time, 1.0, cells));
            }
        })?;
        self.put(Some((group, samples)))?;
        Ok(self.budget.bytes(kept * SAMPLE_BYTES)?)
    }

    /// The samples that a series has so far.
    fn begin(&mut self, group: &Labels) -> Result<Growing, BudgetError> {
        let samples = self.series.remove(group).unwrap_or_default();
        if samples.is_empty() {
            self.budget.series(1)?;
            self.budget.bytes(group.packed().len() as u64)?;
        }
        // Another stream's lines may lie between, so the last sample is not added to.
        Ok(Growing {
            samples,
            until: None,
        })
    }

    fn put(&mut self, series: Option<(Labels, Growing)>) -> Result<(), BudgetError> {
        if let Some((labels, growing)) = series {
            self.series.insert(labels, growing.samples);
        }
        self.budget.check()
    }

    fn fail(&mut self, row: &Row<'_>) {
        let error = row.error();
        let series = row.labels_without(|_| false);
        self.failure = Some(QueryError::Execution(format!(
            "pipeline error: '{error}' for series: '{series}'.\nUse a label filter to \
             intentionally skip this error. (e.g | {ERROR}!=\"{error}\").\nTo skip all potential \
             errors you can match empty errors.(e.g {ERROR}=\"\")\nThe label filter can also be \
             specified after unwrap. (e.g | unwrap latency | {ERROR}=\"\" )\n"
        )));
    }

    /// The series in order of labels, each in order of time.
    pub(crate) fn finish(self) -> Result<Vec<SelectedSeries>, QueryError> {
        if let Some(failure) = self.failure {
            return Err(failure);
        }
        let mut all: Vec<SelectedSeries> = self
            .series
            .into_iter()
            .map(|(labels, samples)| SelectedSeries {
                labels,
                samples: ascending(samples),
            })
            .collect();
        all.sort_by(|a, b| a.labels.cmp(&b.labels));
        Ok(all)
    }
}

fn ascending(samples: Samples) -> Samples {
    if samples.times.is_sorted() {
        return samples;
    }
    let mut pairs: Vec<_> = samples.times.into_iter().zip(samples.floats).collect();
    pairs.sort_by_key(|(time, _)| *time);
    let (times, floats) = pairs.into_iter().unzip();
    Samples {
        times,
        floats,
        ..Samples::default()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_cell_is_what_no_window_tells_apart(
            end in -50i64..50, step in 1i64..20, length in 1i64..40,
            (early, late) in (-60i64..60, 0i64..30).prop_map(|(t, more)| (t, t + more)),
        ) {
            let cells = Cells { end: Timestamp::from_nanos(end), step, length };
            let windows = (-200..200).map(|k| end + k * step);
            let apart = windows
                .map(|end| end - length + 1..=end)
                .any(|window| window.contains(&early) != window.contains(&late));
            let together = late <= cells.last(early);
            prop_assert!(!together || !apart);
            // Between windows with gaps there are cells that nobody asks about.
            prop_assert!(together || apart || length < step);
        }
    }
}
