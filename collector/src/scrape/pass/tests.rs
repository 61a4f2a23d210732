//! Random scrapes, one after the other: what the pass makes of them with all that it remembers is
//! what one makes that remembers nothing but the series of the scrape before.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use obs_model::limits::Limits;
use obs_model::numbers::SeriesNumbers;
use obs_model::{MetricBatch, Tenant, Value};
use proptest::prelude::*;

use super::super::assemble::labelled_again;
use super::super::assemble::tests::{job, target};
use super::*;
use crate::config::Job;

/// The plain meaning of a scrape.
#[derive(Default)]
struct Plain {
    tracked: HashSet<Labels>,
    metadata: HashMap<String, Metadata>,
}

/// What one scrape writes, in an order of its own: labels, milliseconds, bits; exemplars; metadata.
type Written = (Vec<(String, i64, u64)>, Vec<String>, Vec<String>);

impl Plain {
    fn scrape(
        &mut self,
        job: &Job,
        format: TextFormat,
        body: &str,
        time: Timestamp,
        stored: bool,
    ) -> Result<(Written, Counts), Refused> {
        let exposition = scan::decode(format, body.as_bytes(), &Limits::default());
        let exposition = exposition.map_err(|fault| Refused::from(fault.to_string()))?;
        let (mut written, mut counts) = (Written::default(), Counts::default());
        let mut tracked = HashSet::new();
        counts.scraped = exposition.samples.len();
        for scraped in exposition.samples {
            let Some(labels) = rewrite(job, &target(), &scraped.labels, &scraped.unset) else {
                continue;
            };
            check(job, &labels).map_err(|fault| Refused { fault, counts })?;
            counts.kept += 1;
            if over_sample_limit(job, counts) {
                continue;
            }
            let own = scraped.time.filter(|_| job.honor_timestamps);
            let track = own.is_none() || job.track_timestamps_staleness;
            if track && !tracked.insert(labels.clone()) && own.is_none() {
                continue;
            }
            counts.added += usize::from(track && !self.tracked.contains(&labels));
            let at = own.unwrap_or(time);
            let line = (labels.to_string(), at.millis(), scraped.value.to_bits());
            written.0.push(line);
            if let Some(exemplar) = scraped.exemplar {
                let exemplar = exemplar.into_exemplar(at);
                written.1.push(format!("{labels} {exemplar:?}"));
            }
        }
        if over_sample_limit(job, counts) {
            return Err(sample_limit(job, counts));
        }
        for gone in self.tracked.difference(&tracked) {
            let bits = obs_model::sample::STALE_BITS;
            written.0.push((gone.to_string(), time.millis(), bits));
        }
        for entry in exposition.metadata {
            if self.metadata.get(&entry.family) != Some(&entry) {
                written.2.push(format!("{entry:?}"));
                if stored {
                    self.metadata.insert(entry.family.clone(), entry);
                }
            }
        }
        if stored {
            self.tracked = tracked;
        } else {
            self.tracked.extend(tracked);
        }
        Ok((sorted(written), counts))
    }
}

fn sorted(mut written: Written) -> Written {
    // Samples of one series and one time count in the order of their lines.
    written.0.sort_by(|a, b| (&a.0, a.1).cmp(&(&b.0, b.1)));
    written.1.sort();
    written.2.sort();
    written
}

/// A store that numbers series, and now and then forgets the numbers.
#[derive(Default)]
struct Store {
    numbers: SeriesNumbers,
    epoch: u64,
    labels: Vec<Labels>,
    places: BTreeMap<String, u32>,
}

impl Store {
    fn forget(&mut self) {
        *self = Self {
            numbers: std::mem::take(&mut self.numbers),
            epoch: self.epoch + 1,
            ..Self::default()
        };
    }

    /// What a batch says; `None` where its numbers mean nothing any more.
    fn take(&mut self, batch: &MetricBatch, learn: bool) -> Option<Written> {
        let mut written = Written::default();
        if !batch.known.numbers.is_empty() && batch.known.epoch != self.epoch {
            return None;
        }
        let known = batch.known.times.iter().zip(&batch.known.values);
        for (number, (time, value)) in batch.known.numbers.iter().zip(known) {
            let labels = self.labels[*number as usize].to_string();
            written.0.push((labels, *time, value.to_bits()));
        }
        let mut learned = Vec::new();
        for series in &batch.series {
            let text = series.labels.to_string();
            for sample in &series.samples {
                let Value::Float(value) = sample.value else {
                    panic!("a float");
                };
                let (time, bits) = (sample.time.millis(), value.to_bits());
                written.0.push((text.clone(), time, bits));
            }
            for exemplar in &series.exemplars {
                written.1.push(format!("{text} {exemplar:?}"));
            }
            let next = self.labels.len() as u32;
            let number = *self.places.entry(text).or_insert(next);
            if number == next {
                self.labels.push(series.labels.clone());
            }
            learned.extend(series.key.map(|key| (key, number)));
        }
        let metadata = batch.metadata.iter();
        written.2.extend(metadata.map(|entry| format!("{entry:?}")));
        let tenant = Tenant::anonymous();
        self.numbers.retire(&tenant, self.epoch);
        if learn {
            self.numbers.learn(&tenant, self.epoch, &learned);
        }
        Some(sorted(written))
    }
}

/// One scrape of a run.
#[derive(Clone, Debug)]
struct Step {
    lines: Vec<String>,
    /// The store forgets its numbers before the scrape, or while it is read.
    forget: Option<bool>,
    /// Numbers are not told at all.
    mute: bool,
    stored: bool,
    end: &'static str,
}

fn run(yaml: &str, format: TextFormat, steps: &[Step]) {
    let job = Arc::new(job(yaml));
    let (mut book, mut plain, mut store) = (Book::default(), Plain::default(), Store::default());
    let limits = Limits::default();
    for (at, step) in steps.iter().enumerate() {
        let mut body: String = step.lines.concat();
        body.push_str(step.end);
        let time = Timestamp::from_millis(at as i64 * 1000);
        if step.forget == Some(true) {
            store.forget();
        }
        let numbers = store.numbers.of(&Tenant::anonymous());
        let numbers = numbers.filter(|_| !step.mute);
        book.open(&job, numbers.as_deref());
        let scrape = Scrape {
            job: &job,
            histograms: job.histograms,
            target: &target(),
            limits: &limits,
            time,
        };
        let found = read(&mut book, &scrape, Format::Text(format), body.as_bytes());
        let expect = plain.scrape(&job, format, &body, time, step.stored);
        let mut out = match (found, expect) {
            (Ok(out), Ok((written, counts))) => {
                assert_eq!(out.counts, counts, "scrape {at} of {steps:?}");
                (out, written)
            }
            (found, expect) => {
                assert_eq!(found.err(), expect.err(), "scrape {at} of {steps:?}");
                continue;
            }
        };
        if step.forget == Some(false) {
            store.forget();
        }
        let places = out.0.places();
        let written = store.take(&out.0.batch, step.stored).unwrap_or_else(|| {
            let again = labelled_again(&book, out.0.batch.clone(), &places);
            store
                .take(&again, step.stored)
                .expect("labels need no numbers")
        });
        assert_eq!(written, out.1, "scrape {at} of {steps:?}");
        book.commit(out.0.changes, step.stored);
    }
}

const LINES: [&str; 22] = [
    "a 1\n",
    "a{x=\"1\"} 2\n",
    "a{x=\"1\",y=\"\\\"}\\\\\"} 3.25\n",
    "a{y=\"\\\"}\\\\\",x=\"1\"} 4\n",
    "a {x=\"2\"} 5\n",
    "ab 1e3\n",
    "b{x=\"l\n1\"}   6\n",
    "b{x=\"\"} 7\n",
    "{\"q.r\",x=\"1\"} -8\n",
    "c 9 12\n",
    "c 10 13\n",
    "c 11\n",
    "d{job=\"own\"} 12 14.5\n",
    "e_bucket{le=\"1\"} 3 # {t=\"x\"} 0.5 1.5\n",
    "e_bucket{le=\"1\"} 3 # {t=\"x\"} 0.5\n",
    "# TYPE a counter\n",
    "# TYPE a gauge\n",
    "# HELP a text\n# HELP b more\n",
    "# UNIT x_s s\n",
    "\n",
    "drop_me 1\n",
    "a NaN\n",
];

const ENDS: [&str; 7] = [
    "",
    "# EOF\n",
    "# EOF",
    "# EOF \n",
    "a 1",
    "# TYPE z gauge",
    "broken{\n",
];

const JOBS: [&str; 8] = [
    "",
    "honor_labels: true",
    "honor_timestamps: false",
    "track_timestamps_staleness: true",
    "sample_limit: 5",
    "label_limit: 4",
    "metric_relabel_configs: [{source_labels: [__name__], regex: drop_me, action: drop}, {regex: x, action: labeldrop}]",
    "metric_relabel_configs: [{source_labels: [__name__], regex: a|b, action: keep}], metric_name_validation_scheme: legacy",
];

/// Bodies that come from each other by small changes.
fn steps(format: TextFormat) -> impl Strategy<Value = Vec<Step>> {
    let lines = proptest::collection::vec(0..LINES.len(), 0..12);
    let change = (0..4u8, 0..12usize, 0..LINES.len(), "[0-9]{1,3}");
    let end = match format {
        // Most bodies are as they should be.
        TextFormat::Text => prop_oneof![8 => Just(0), 1 => 0..ENDS.len()].boxed(),
        TextFormat::OpenMetrics => prop_oneof![12 => 1..3usize, 1 => 0..ENDS.len()].boxed(),
    };
    let forget = prop_oneof![6 => Just(None), 1 => any::<bool>().prop_map(Some)];
    let step = (
        proptest::collection::vec(change, 0..3),
        forget,
        proptest::bool::weighted(0.1),
        proptest::bool::weighted(0.9),
        end,
    );
    (lines, proptest::collection::vec(step, 1..8)).prop_map(|(lines, steps)| {
        let mut lines: Vec<String> = lines.iter().map(|at| LINES[*at].to_owned()).collect();
        let step = |(changes, forget, mute, stored, end)| {
            let changes: Vec<(u8, usize, usize, String)> = changes;
            for (kind, at, line, value) in changes {
                let at = at.min(lines.len());
                match kind {
                    0 => lines.insert(at, LINES[line].to_owned()),
                    1 if at < lines.len() => drop(lines.remove(at)),
                    2 if at < lines.len() => lines.rotate_left(at),
                    _ if at < lines.len() && !lines[at].contains('#') => {
                        // Another value.
                        let head = lines[at].trim_end().rfind([' ', '}']).unwrap_or(0);
                        lines[at].truncate(head + 1);
                        lines[at].push_str(&format!("{value}\n"));
                    }
                    _ => {}
                }
            }
            Step {
                lines: lines.clone(),
                forget,
                mute,
                stored,
                end: ENDS[end],
            }
        };
        steps.into_iter().map(step).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn text_reads_as_if_nothing_was_remembered(
        yaml in 0..JOBS.len(),
        steps in steps(TextFormat::Text),
    ) {
        run(JOBS[yaml], TextFormat::Text, &steps);
    }

    #[test]
    fn openmetrics_reads_as_if_nothing_was_remembered(
        yaml in 0..JOBS.len(),
        steps in steps(TextFormat::OpenMetrics),
    ) {
        run(JOBS[yaml], TextFormat::OpenMetrics, &steps);
    }
}

/// A steady target is read by numbers alone, and one that changes is not remembered for ever.
#[test]
fn steady_scrapes_carry_numbers_and_gone_series_are_forgotten() {
    let job = Arc::new(job(""));
    let (mut book, mut store) = (Book::default(), Store::default());
    let limits = Limits::default();
    let mut scrape = |body: &str, millis: i64| {
        let numbers = store.numbers.of(&Tenant::anonymous());
        book.open(&job, numbers.as_deref());
        let scrape = Scrape {
            job: &job,
            histograms: job.histograms,
            target: &target(),
            limits: &limits,
            time: Timestamp::from_millis(millis),
        };
        let out = read(
            &mut book,
            &scrape,
            Format::Text(TextFormat::Text),
            body.as_bytes(),
        );
        let out = out.expect("a good body");
        store.take(&out.batch, true).expect("good numbers");
        book.commit(out.changes, true);
        (
            out.batch.known.numbers.len(),
            out.batch.series.len(),
            book.series.len(),
        )
    };
    let body = "# TYPE a counter\na{x=\"1\"} 1\na{x=\"2\"} 2\n";
    assert_eq!(scrape(body, 1), (0, 2, 2));
    assert_eq!(scrape(body, 2), (2, 0, 2));
    assert_eq!(scrape("a{x=\"1\"} 3\n  a{x=\"2\"} 4e2", 3), (2, 0, 2));
    // The marker of what is gone needs no labels either.
    assert_eq!(scrape("a{x=\"2\"} 1\nb 1\n", 4), (2, 1, 3));
    for round in 0..1000 {
        let (_, _, known) = scrape(&format!("a{{x=\"n{round}\"}} 1\n"), 5 + round);
        assert!(known < 100, "{known} series after {round}");
    }
}
