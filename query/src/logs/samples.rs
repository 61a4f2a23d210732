//! The leaf of LogQL's metric queries: lines become samples of series, one per line.
//!
//! Napkin: 16 bytes per line that passes; a count of 50 million lines is refused by the budget
//! before it takes 1 GB. Invariant: a series' samples ascend in time, equal times are allowed.

use std::collections::HashMap;
use std::fmt;

use obs_model::{Budget, BudgetError, Labels, LogRecord, Matcher, Samples, TimeRange, Timestamp};

use super::filter::LabelFilter;
use super::pipeline::Pipeline;
use super::row::{ERROR, Row};
use super::template::Template;
use super::value;
use crate::error::{ParseError, QueryError};
use crate::logql::ast::{self, Conversion, Grouping, LabelFormat, LogExpr, Stage, Unwrap};
use crate::plan::SelectedSeries;

/// Bytes that a sample takes, for the budget.
const SAMPLE_BYTES: u64 = 16;

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
        })
    }

    /// Whether lines of one stream with equal metadata may belong to different series.
    fn sets_labels(&self) -> bool {
        self.pipeline.sets_labels()
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

    /// Records of one stream.
    pub(crate) fn take(
        &mut self,
        labels: &Labels,
        records: &[LogRecord],
    ) -> Result<(), BudgetError> {
        self.budget.check()?;
        let mut kept = 0;
        let wanted = self.leaf.wanted.as_deref();
        // Most lines of a stream are of the series of the line before; where the pipeline sets no
        // labels, equal metadata says so without a look at the labels.
        let mut last: Option<(Labels, Samples)> = None;
        let mut alike: Option<&Labels> = None;
        let sets_labels = self.leaf.sets_labels();
        for record in records {
            if !self.range.contains(record.time) {
                continue;
            }
            let mut row = Row::new(&record.line, record.time, labels, &record.metadata, wanted);
            if !self.leaf.pipeline.run(&mut row) {
                continue;
            }
            let Some(value) = self.leaf.value(&mut row) else {
                continue;
            };
            if !row.error().is_empty() {
                self.fail(&row);
                break;
            }
            kept += 1;
            if let (true, Some((_, samples))) = (alike == Some(&record.metadata), &mut last) {
                samples.times.push(record.time);
                samples.floats.push(value);
                continue;
            }
            alike = (!sets_labels).then_some(&record.metadata);
            let group = self.leaf.labels(&row);
            match &mut last {
                Some((of, samples)) if *of == group => {
                    samples.times.push(record.time);
                    samples.floats.push(value);
                }
                _ => {
                    self.put(last.take())?;
                    let mut samples = self.series.remove(&group).unwrap_or_default();
                    if samples.is_empty() {
                        self.budget.series(1)?;
                        self.budget.bytes(group.packed().len() as u64)?;
                    }
                    samples.times.push(record.time);
                    samples.floats.push(value);
                    last = Some((group, samples));
                }
            }
        }
        self.put(last)?;
        self.budget.bytes(kept * SAMPLE_BYTES)
    }

    fn put(&mut self, series: Option<(Labels, Samples)>) -> Result<(), BudgetError> {
        if let Some((labels, samples)) = series {
            self.series.insert(labels, samples);
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
