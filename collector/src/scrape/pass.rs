//! One pass over the body of a scrape: lines that the book knows cost a look and a number, only
//! new ones are read with their labels.
//!
//! Invariants: what a pass makes of a body does not depend on what lines the book remembers; a
//! scrape is stored as a whole or fails as a whole (limits, names).

use std::sync::Arc;

use obs_model::metrics::{Metadata, Sample};
use obs_model::numbers::{KeyMap, KeySeed, SeriesKey};
use obs_model::{Labels, Timestamp, Value};
use obs_wire::prometheus::delimited::{self, Histograms};
use obs_wire::prometheus::scan::{self, Body, TextFormat};
use obs_wire::prometheus::{Exposition, ScrapedExemplar, ScrapedHistogram, ScrapedSample};

use super::assemble::{
    Assembled, Counts, Refused, Scrape, check, over_sample_limit, rewrite, sample_limit,
};
use super::bits::Bits;
use super::book::{Book, Item, Means, key_of};
use super::fetch::Format;
use super::native;

/// The hash of comments that were not read one by one.
const OTHER_COMMENTS: u64 = u64::MAX;

/// Reads a body for a book that was opened. Of what is in the book only lines and series change.
pub(crate) fn read(
    book: &mut Book,
    scrape: &Scrape<'_>,
    format: Format,
    bytes: &[u8],
) -> Result<Assembled, Refused> {
    let settings = scrape.histograms;
    let exposition = match format {
        // What is made of a histogram needs all its lines.
        Format::Text(text) if !settings.convert => {
            if let Some(outcome) = lines(book, scrape, text, bytes) {
                return outcome;
            }
            // Something is not as usual: the decoder of whole bodies reads it or tells what is
            // wrong.
            scan::decode(text, bytes, scrape.limits)
        }
        Format::Text(text) => scan::decode(text, bytes, scrape.limits),
        Format::Protobuf => {
            let wanted = Histograms {
                native: settings.native,
                classic: settings.classic,
            };
            delimited::decode(bytes, scrape.limits, wanted)
        }
    };
    let mut exposition = exposition.map_err(|fault| Refused::from(fault.to_string()))?;
    if settings.convert {
        native::convert(&mut exposition, settings.classic);
    }
    let mut pass = Pass::new(book, scrape, &[]);
    let metadata = pass.whole(exposition);
    pass.finish(&metadata)
}

/// Reads a body line by line; `None` where something is not as usual.
fn lines(
    book: &mut Book,
    scrape: &Scrape<'_>,
    format: TextFormat,
    bytes: &[u8],
) -> Option<Result<Assembled, Refused>> {
    let mut old = std::mem::take(&mut book.items);
    if let Some(body) = Body::open(format, bytes, scrape.limits) {
        let mut pass = Pass::new(book, scrape, &old);
        if let Some(metadata) = pass.lines(body) {
            let (next, items) = (pass.next, pass.items.take());
            let outcome = pass.finish(&metadata);
            old.truncate(next);
            book.items = items.unwrap_or(old);
            return Some(outcome);
        }
    }
    book.items = old;
    None
}

struct Pass<'a> {
    book: &'a mut Book,
    scrape: &'a Scrape<'a>,
    /// The stretches of the body before.
    old: &'a [Item],
    /// Which of them should come next.
    next: usize,
    /// The stretches of this body, from where they stopped to be the same.
    items: Option<Vec<Item>>,
    /// Where a stretch was in the body before; made when it is needed.
    by_line: Option<KeyMap<u32>>,
    /// Series of the book by their labels; made when it is needed.
    by_labels: Option<KeyMap<u32>>,
    /// Hash of the comments so far, and where they stand.
    comments: u64,
    ranges: Vec<(usize, usize)>,
    millis: i64,
    out: Assembled,
    /// Why the scrape fails, and what was counted until then. The rest is read all the same, because
    /// a body that is not well-formed is told before anything else.
    fault: Option<(String, Counts)>,
}

impl<'a> Pass<'a> {
    fn new(book: &'a mut Book, scrape: &'a Scrape<'a>, old: &'a [Item]) -> Self {
        let mut out = Assembled::for_book(book, old.len());
        out.changes.tracked = Bits::below(book.series.len());
        Self {
            book,
            scrape,
            old,
            next: 0,
            items: None,
            by_line: None,
            by_labels: None,
            comments: 0,
            ranges: Vec::new(),
            millis: scrape.time.millis(),
            out,
            fault: None,
        }
    }

    /// Takes everything of a body; gives the metadata of its comments where they are not those that
    /// were sent. `None` where something is not as usual.
    fn lines(&mut self, mut body: Body<'_, '_>) -> Option<Vec<Metadata>> {
        let length = body.lines().len();
        let mut at = body.start(0);
        while at < length {
            let next = match self.expected(&mut body, at) {
                Some(next) => next,
                None => self.unexpected(&mut body, at)?,
            };
            at = body.start(next);
        }
        if self.comments == self.book.comments {
            return Some(Vec::new());
        }
        self.out.changes.comments = Some(self.comments);
        body.metadata(&self.ranges)
    }

    /// The stretch that stood here in the body before; gives where the next one begins.
    fn expected(&mut self, body: &mut Body<'_, '_>, at: usize) -> Option<usize> {
        let item = *self.old.get(self.next)?;
        let end = item.end_at(body.lines(), at)?;
        let next = self.take(item, body, at, end)?;
        self.next += 1;
        if let Some(items) = &mut self.items {
            items.push(item);
        }
        Some(next)
    }

    /// Any other stretch.
    fn unexpected(&mut self, body: &mut Body<'_, '_>, at: usize) -> Option<usize> {
        let is_comment = body.is_comment(at);
        let end = match is_comment {
            true => body.comments(at),
            false => body.head(at)?,
        };
        let stretch = &body.lines()[at..end];
        if self.items.is_none() {
            self.items = Some(self.old[..self.next].to_vec());
        }
        if let Some(place) = self.find(stretch) {
            let item = self.old[place];
            if let Some(next) = self.take(item, body, at, end) {
                self.next = place + 1;
                self.items.get_or_insert_default().push(item);
                return Some(next);
            }
        }
        let (means, next) = if is_comment {
            let item = Item::new(stretch, Means::Comment)?;
            self.comment(item.key, at, end);
            (Some(Means::Comment), end)
        } else {
            let (scraped, next) = body.sample(at)?;
            (self.line(scraped), next)
        };
        let item = means.and_then(|means| Item::new(stretch, means));
        self.items.get_or_insert_default().extend(item);
        Some(next)
    }

    /// Where a stretch was in the body before.
    fn find(&mut self, stretch: &[u8]) -> Option<usize> {
        if self.old.is_empty() {
            return None;
        }
        let old = self.old;
        let places = self.by_line.get_or_insert_with(|| {
            let items = old.iter().enumerate();
            items
                .map(|(place, item)| (item.key, place as u32))
                .collect()
        });
        let key = SeriesKey::of(stretch, KeySeed::Line);
        let place = *places.get(&key)? as usize;
        (old[place].bytes as usize == stretch.len()).then_some(place)
    }

    /// Takes a stretch that is known; `None` where what follows is not as it must be.
    #[inline]
    fn take(
        &mut self,
        item: Item,
        body: &mut Body<'_, '_>,
        at: usize,
        end: usize,
    ) -> Option<usize> {
        let means = item.means();
        if means == Means::Comment {
            let lines = body.lines();
            // Comments without an end of line go on, unless the body ends, too.
            if end < lines.len() && lines[end - 1] != b'\n' {
                return None;
            }
            self.comment(item.key, at, end);
            return Some(end);
        }
        if let Some((value, time, next)) = body.plain_tail(end) {
            self.sample(Some(means), value, time, None);
            return Some(next);
        }
        let (tail, next) = body.tail(end)?;
        self.sample(Some(means), tail.value, tail.time, tail.exemplar);
        Some(next)
    }

    fn comment(&mut self, key: SeriesKey, at: usize, end: usize) {
        const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
        let mixed = (self.comments ^ key.high()).wrapping_mul(ODD);
        self.comments = mixed.rotate_left(31);
        self.ranges.push((at, end));
    }

    /// Takes what the decoder of whole bodies read; gives its metadata.
    fn whole(&mut self, exposition: Exposition) -> Vec<Metadata> {
        for scraped in exposition.samples {
            self.line(scraped);
        }
        for scraped in exposition.histograms {
            self.histogram(scraped);
        }
        self.out.changes.comments = Some(OTHER_COMMENTS);
        exposition.metadata
    }

    /// Takes a line with its labels; gives what it stands for, unless the scrape fails.
    fn line(&mut self, scraped: ScrapedSample) -> Option<Means> {
        let means = self.learn(&scraped.labels, &scraped.unset);
        let Some(start) = scraped.start else {
            self.sample(means, scraped.value, scraped.time, scraped.exemplar);
            return means;
        };
        let exemplars = scraped.exemplar.into_iter().map(|boxed| *boxed).collect();
        let (time, value) = (scraped.time, Value::Float(scraped.value));
        self.labelled(means, time, Some(start), value, exemplars);
        means
    }

    /// Takes a native histogram.
    fn histogram(&mut self, scraped: ScrapedHistogram) {
        let means = self.learn(&scraped.labels, &scraped.unset);
        let mut value = scraped.value;
        if let (Some(Means::Series(_)), None) = (means, &self.fault)
            && let Err(fault) = native::bound(&mut value, &self.scrape.histograms)
        {
            let fault = format!("{fault} ({})", scraped.labels);
            self.fault = Some((fault, self.out.counts));
        }
        let value = Value::Histogram(Arc::new(value));
        self.labelled(means, scraped.time, scraped.start, value, scraped.exemplars);
    }

    /// Takes a sample that is more than a number at a time.
    fn labelled(
        &mut self,
        means: Option<Means>,
        time: Option<Timestamp>,
        start: Option<Timestamp>,
        value: Value,
        exemplars: Vec<ScrapedExemplar>,
    ) {
        let Some((series, own_time)) = self.admit(means, time) else {
            return;
        };
        let time = own_time.unwrap_or(self.scrape.time);
        let sample = Sample { time, start, value };
        let exemplars = exemplars.into_iter().map(|e| e.into_exemplar(time));
        self.out
            .labelled(self.book, series, sample, exemplars.collect());
    }

    /// What a line stands for.
    fn learn(&mut self, labels: &Labels, unset: &[String]) -> Option<Means> {
        if self.fault.is_some() {
            return None;
        }
        let (job, target) = (self.scrape.job, self.scrape.target);
        let Some(labels) = rewrite(job, target, labels, unset) else {
            return Some(Means::Dropped);
        };
        if let Err(fault) = check(job, &labels) {
            self.fault = Some((fault, self.out.counts));
            return None;
        }
        Some(Means::Series(self.series(labels)))
    }

    /// The series with these labels.
    fn series(&mut self, labels: Labels) -> u32 {
        let known = &self.book.series;
        let places = self.by_labels.get_or_insert_with(|| {
            let series = known.iter().enumerate();
            series.map(|(place, s)| (s.key, place as u32)).collect()
        });
        let key = key_of(&labels);
        match places.get(&key) {
            Some(place) if known[*place as usize].labels == labels => *place,
            Some(_) => self.book.add(labels, key),
            None => {
                let place = self.book.add(labels, key);
                places.insert(key, place);
                place
            }
        }
    }

    /// Counts a sample; gives its series and its own time where it is to be stored.
    #[inline]
    fn admit(
        &mut self,
        means: Option<Means>,
        time: Option<Timestamp>,
    ) -> Option<(u32, Option<Timestamp>)> {
        let (job, counts) = (self.scrape.job, &mut self.out.counts);
        counts.scraped += 1;
        let Some(Means::Series(series)) = means.filter(|_| self.fault.is_none()) else {
            return None;
        };
        counts.kept += 1;
        if over_sample_limit(job, *counts) {
            return None; // Only to count the rest.
        }
        let own_time = time.filter(|_| job.honor_timestamps);
        if own_time.is_none() || job.track_timestamps_staleness {
            let first = self.out.changes.tracked.insert(series);
            if !first && own_time.is_none() {
                return None; // The same series twice in one body: the first one counts.
            }
            if !self.book.tracked.contains(series) {
                counts.added += 1;
            }
        }
        Some((series, own_time))
    }

    /// Takes a sample.
    #[inline]
    fn sample(
        &mut self,
        means: Option<Means>,
        value: f64,
        time: Option<Timestamp>,
        exemplar: Option<Box<ScrapedExemplar>>,
    ) {
        let Some((series, own_time)) = self.admit(means, time) else {
            return;
        };
        let millis = own_time.map_or(self.millis, Timestamp::millis);
        self.out.push(self.book, series, millis, value);
        if let Some(exemplar) = exemplar {
            let time = own_time.unwrap_or(self.scrape.time);
            self.out
                .exemplar(self.book, series, exemplar.into_exemplar(time));
        }
    }

    /// Markers for series that are gone, and what is new in the metadata.
    fn finish(mut self, metadata: &[Metadata]) -> Result<Assembled, Refused> {
        let counts = self.out.counts;
        if let Some((fault, until)) = self.fault {
            let scraped = counts.scraped;
            let counts = Counts { scraped, ..until };
            return Err(Refused { fault, counts });
        }
        if over_sample_limit(self.scrape.job, counts) {
            return Err(sample_limit(self.scrape.job, counts));
        }
        let tracked = std::mem::take(&mut self.out.changes.tracked);
        for gone in self.book.tracked.without(&tracked) {
            self.out.end(self.book, gone, self.millis);
        }
        self.out.changes.tracked = tracked;
        for entry in metadata {
            let (family, hash) = hashes(entry);
            if self.book.metadata.get(&family) != Some(&hash) {
                self.out.batch.metadata.push(entry.clone());
                self.out.changes.metadata.push((family, hash));
            }
        }
        Ok(self.out)
    }
}

/// Hashes of the family and of everything.
fn hashes(entry: &Metadata) -> (u64, u64) {
    let hash = |text: &str| SeriesKey::of(text.as_bytes(), KeySeed::Line).high();
    let Metadata {
        family, unit, help, ..
    } = entry;
    // Names hold no line breaks in what is usual, and lengths tell the rest apart.
    let all = format!(
        "{} {} {}\n{family}\n{unit}\n{help}",
        entry.kind.as_str(),
        family.len(),
        unit.len()
    );
    (hash(family), hash(&all))
}

#[cfg(test)]
mod tests;
