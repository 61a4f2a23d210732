//! A fleet of machines and services, scraped at an interval: 830 series an instance, one request a
//! scrape.
//!
//! The mix is that of recorded fleets: of 830 series 229 are constant gauges, 133 counters that do
//! not move, 283 counters that move (112 of them buckets) and 185 gauges that do. All series of a
//! scrape share a timestamp; one scrape in ten is 1 to 8 ms late. The CPU time of containers has
//! nanoseconds, all of which is noise that nobody can make smaller, a third of all; or hundredths,
//! as most exporters tell it.

mod scraped;
mod table;

use obs_model::{Labels, Samples};
use snap::raw::Encoder;

use crate::protobuf;
use crate::random::Random;
use crate::targets::{JOB, Plan};
use crate::workload::{Count, Query, Sent, Signal, Source, Workload};
pub(crate) use scraped::Target;
use table::{BUCKETS, Dim, FAMILIES, Family, SERIES_PER_INSTANCE, Shape};

/// Steps that range queries have where the data allows it: three hours in minutes.
const STEPS_WISHED: i64 = 180;

/// The size of a fleet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fleet {
    /// Series that live at one time.
    pub(crate) series: u64,
    /// Scrapes.
    pub(crate) samples: u64,
    /// Milliseconds between scrapes.
    pub(crate) interval_ms: i64,
    /// Scrapes after which an instance is replaced by a new one; zero for never.
    pub(crate) lifetime: u64,
    /// The time of the last scrape, in milliseconds.
    pub(crate) end_ms: i64,
    /// Seed.
    pub(crate) seed: u64,
    /// Whether the CPU time of containers has nanoseconds instead of hundredths.
    pub(crate) nanoseconds: bool,
}

impl Fleet {
    /// How many machines and services it has.
    pub(crate) fn instances(&self) -> u64 {
        self.series.div_ceil(SERIES_PER_INSTANCE)
    }

    fn start_ms(&self) -> i64 {
        let steps = i64::try_from(self.samples.saturating_sub(1)).unwrap_or(i64::MAX);
        self.end_ms
            .saturating_sub(steps.saturating_mul(self.interval_ms))
    }

    /// Series that an instance has; the last one has what is left.
    fn series_of(&self, instance: u64) -> usize {
        let left = self.series - instance * SERIES_PER_INSTANCE;
        left.min(SERIES_PER_INSTANCE) as usize
    }

    /// All series with all their samples, without a sender; `lifetime` is not looked at.
    pub(crate) fn columns(&self) -> Vec<(Labels, Samples)> {
        let mut all = Vec::new();
        for number in 0..self.instances() {
            let mut instance = Instance::new(self, number, 0);
            let mut columns = vec![Vec::with_capacity(self.samples as usize); instance.rows.len()];
            let mut times = Vec::with_capacity(self.samples as usize);
            for step in 0..self.samples {
                times.push(instance.time(self, step));
                instance.advance();
                for (column, row) in columns.iter_mut().zip(&instance.rows) {
                    column.push(row.value);
                }
            }
            for (values, row) in columns.into_iter().zip(&instance.rows) {
                let labels = Labels::from_pairs(protobuf::pairs(&row.labels));
                all.push((labels, crate::codec::samples(&times, values)));
            }
        }
        all
    }

    fn churn(&self) -> String {
        let decimals = match self.nanoseconds {
            true => "",
            false => ", CPU time in hundredths",
        };
        match self.lifetime {
            0 => decimals.to_owned(),
            n => format!("{decimals}, an instance lives {n} scrapes"),
        }
    }

    /// Everything of a run in which the systems scrape.
    pub(crate) fn scraped(self, interval_ms: u64, gzip: bool) -> Workload {
        let packed = if gzip { ", gzip" } else { "" };
        Workload {
            title: format!(
                "{} series x {} scrapes of {} targets every {interval_ms} ms{packed}{}",
                self.series,
                self.samples,
                self.instances(),
                self.churn()
            ),
            scraped: Some(Plan {
                fleet: self,
                interval_ms,
                gzip,
            }),
            ..self.workload()
        }
    }

    /// The questions about what was scraped until a time, and the number of its samples.
    pub(crate) fn asked(self, served: u64) -> (Vec<Query>, Count) {
        let window = self.end_ms - self.start_ms() + 10 * self.interval_ms;
        let query =
            format!("sum(sum_over_time(scrape_samples_scraped{{job=\"{JOB}\"}}[{window}ms]))");
        let time = seconds(self.end_ms + 10);
        let parameters = [("query", query.as_str()), ("time", &time), ("nocache", "1")];
        let count = Count::new("/api/v1/query", &parameters, served as f64);
        (self.queries(), count)
    }

    /// Everything of the run.
    pub(crate) fn workload(self) -> Workload {
        let churn = self.churn();
        Workload {
            signal: Signal::Metrics,
            scraped: None,
            registration: None,
            title: format!(
                "{} series x {} samples every {} s, remote write 1.0, {SERIES_PER_INSTANCE} samples a request{churn}",
                self.series,
                self.samples,
                self.interval_ms / 1000
            ),
            sources: Box::new(move |connections| {
                (0..connections as u64)
                    .map(|c| Box::new(Scrapes::new(self, c, connections as u64)) as Box<dyn Source>)
                    .collect()
            }),
            series: self.series,
            queries: self.queries(),
            count: Some(self.count()),
        }
    }

    /// `up` stands for all: a lost request loses its sample.
    fn count(&self) -> Count {
        let window = self.end_ms - self.start_ms() + 2 * self.interval_ms;
        let query = format!("sum(count_over_time(up{{instance=~\"host-.+\"}}[{window}ms]))");
        let time = seconds(self.end_ms + 10);
        Count::new(
            "/api/v1/query",
            &[("query", &query), ("time", &time), ("nocache", "1")],
            (self.instances() * self.samples) as f64,
        )
    }

    fn queries(&self) -> Vec<Query> {
        let (start, end) = (seconds(self.start_ms()), seconds(self.end_ms));
        // A minute, and less where that would be fewer than 180 steps.
        let span = self.end_ms - self.start_ms();
        let step = (span / STEPS_WISHED / 1000).clamp(1, 60).to_string();
        let range = |name: &str, query: &str| {
            let parameters = [
                ("query", query),
                ("start", &start),
                ("end", &end),
                ("step", step.as_str()),
                ("nocache", "1"),
            ];
            Query::new(name, "/api/v1/query_range", &parameters).holding("\"values\":[[")
        };
        let instant = |name: &str, query: &str| {
            let parameters = [("query", query), ("time", &end), ("nocache", "1")];
            Query::new(name, "/api/v1/query", &parameters).holding("\"value\":[")
        };
        vec![
            range(
                "rate by instance, range",
                "sum(rate(node_cpu_seconds_total[5m])) by (instance)",
            ),
            instant(
                "topk of rate, instant",
                "topk(10, rate(node_cpu_seconds_total[5m]))",
            ),
            range(
                "p99 of a histogram, range",
                "histogram_quantile(0.99, sum by (le)(rate(http_request_duration_seconds_bucket[5m])))",
            ),
            range(
                "one series, range",
                "node_load1{instance=\"host-0000:9100\"}",
            ),
            instant(
                "count by name regex, instant",
                "count({__name__=~\"node_.+\"}) by (__name__)",
            ),
        ]
    }
}

fn seconds(ms: i64) -> String {
    format!("{}.{:03}", ms / 1000, ms % 1000)
}

/// One series between scrapes.
struct Row {
    /// The `Label` messages, encoded once.
    labels: Vec<u8>,
    shape: Shape,
    value: f64,
    /// What the value moves by at a step, about.
    rate: f64,
}

struct Instance {
    number: u64,
    generation: u64,
    random: Random,
    rows: Vec<Row>,
}

/// The scrapes of every `of`th instance, in order of time.
struct Scrapes {
    fleet: Fleet,
    instances: Vec<Instance>,
    step: u64,
    at: usize,
    /// The message before compression.
    message: Vec<u8>,
    encoder: Encoder,
}

impl Scrapes {
    fn new(fleet: Fleet, connection: u64, of: u64) -> Self {
        let instances = (0..fleet.instances()).filter(|i| i % of == connection);
        Self {
            fleet,
            instances: instances.map(|i| Instance::new(&fleet, i, 0)).collect(),
            step: 0,
            at: 0,
            message: Vec::new(),
            encoder: Encoder::new(),
        }
    }
}

impl Source for Scrapes {
    fn next(&mut self, body: &mut Vec<u8>) -> Option<Sent> {
        if self.at == self.instances.len() {
            self.at = 0;
            self.step += 1;
        }
        if self.step >= self.fleet.samples || self.instances.is_empty() {
            return None;
        }
        let instance = &mut self.instances[self.at];
        let generation = instance.generation_at(&self.fleet, self.step);
        if generation != instance.generation {
            *instance = Instance::new(&self.fleet, instance.number, generation);
        }
        instance.scrape(&self.fleet, self.step, &mut self.message);
        let items = instance.rows.len() as u64;
        self.at += 1;
        body.resize(snap::raw::max_compress_len(self.message.len()), 0);
        let length = self
            .encoder
            .compress(&self.message, body)
            .expect("the buffer has the length that the encoder asks for");
        body.truncate(length);
        Some(Sent {
            items,
            raw_bytes: self.message.len() as u64,
        })
    }
}

impl Instance {
    fn new(fleet: &Fleet, number: u64, generation: u64) -> Self {
        let mut random = Random::of(fleet.seed, number << 20 | generation);
        let limit = fleet.series_of(number);
        let mut rows = Vec::with_capacity(limit);
        for family in FAMILIES {
            let family = family.with(fleet.nanoseconds);
            add_rows(&family, number, generation, &mut random, &mut rows);
        }
        rows.truncate(limit);
        Self {
            number,
            generation,
            random,
            rows,
        }
    }

    /// Instances are replaced one after the other, not all at once.
    fn generation_at(&self, fleet: &Fleet, step: u64) -> u64 {
        match fleet.lifetime {
            0 => 0,
            lifetime => (step + self.number * 7 % lifetime) / lifetime,
        }
    }

    /// The millisecond of a scrape.
    fn time(&mut self, fleet: &Fleet, step: u64) -> i64 {
        let late = match self.random.chance(0.1) {
            true => 1 + self.random.below(8) as i64,
            false => 0,
        };
        // Targets are spread over the interval, as scrapers do.
        let offset = (self.number as i64 * 37) % fleet.interval_ms.max(1);
        let spread = offset - fleet.interval_ms + 1;
        let time = fleet.start_ms() + step as i64 * fleet.interval_ms + spread + late;
        time.min(fleet.end_ms)
    }

    fn scrape(&mut self, fleet: &Fleet, step: u64, out: &mut Vec<u8>) {
        out.clear();
        let time = self.time(fleet, step);
        self.advance();
        let mut sample = Vec::with_capacity(24);
        for row in &self.rows {
            sample.clear();
            protobuf::fixed64(1, row.value.to_bits(), &mut sample);
            protobuf::number(2, time.cast_unsigned(), &mut sample);
            let framed = 1 + protobuf::varint_length(sample.len() as u64) + sample.len();
            protobuf::header(1, row.labels.len() + framed, out);
            out.extend_from_slice(&row.labels);
            protobuf::bytes(2, &sample, out);
        }
    }

    /// Moves every series by one step. Buckets come in runs of [`BUCKETS`] and a sum and a count.
    fn advance(&mut self) {
        let mut at = 0;
        while at < self.rows.len() {
            if self.rows[at].shape == Shape::Bucket {
                let end = (at + BUCKETS.len() + 2).min(self.rows.len());
                observe(&mut self.rows[at..end], &mut self.random);
                at = end;
            } else {
                let row = &mut self.rows[at];
                row.value = row.shape.next(row.value, row.rate, &mut self.random);
                at += 1;
            }
        }
    }
}

/// A step of one histogram: some requests with latencies around its own middle.
fn observe(rows: &mut [Row], random: &mut Random) {
    let middle = rows[0].rate;
    let requests = (random.between(0.5, 1.5) * 40.0 * (1.0 - middle)).max(0.0) as u64;
    let mut sum = 0.0;
    for _ in 0..requests {
        let seconds = random.skewed(middle);
        sum += seconds;
        for (row, (_, bound)) in rows.iter_mut().zip(BUCKETS) {
            if seconds <= *bound {
                row.value += 1.0;
            }
        }
    }
    for row in rows.iter_mut().skip(BUCKETS.len()) {
        row.value += match row.shape {
            Shape::Sum => sum,
            _ => requests as f64,
        };
    }
}

fn add_rows(
    family: &Family,
    number: u64,
    generation: u64,
    random: &mut Random,
    rows: &mut Vec<Row>,
) {
    let mut places = vec![0_usize; family.dims.len()];
    let rows_of_route = BUCKETS.len() + 2;
    loop {
        let mut labels: Vec<(&str, String)> = vec![
            ("__name__", family.name.to_owned()),
            ("cluster", "bench".to_owned()),
            ("job", family.job.to_owned()),
        ];
        let host = match generation {
            0 => format!("host-{number:04}"),
            g => format!("host-{number:04}-{g}"),
        };
        labels.push(("instance", format!("{host}:9100")));
        for (dim, place) in family.dims.iter().zip(&places) {
            labels.push(dim.label(*place, &host));
        }
        match family.shape {
            Shape::Bucket => add_histogram(&labels, random, rows, rows_of_route),
            shape => rows.push(Row {
                labels: encode_labels(&mut labels),
                shape,
                value: shape.first(random),
                rate: shape.rate(random),
            }),
        }
        if !advance_places(&mut places, family.dims) {
            return;
        }
    }
}

/// The buckets of one histogram, its sum and its count.
fn add_histogram(
    labels: &[(&str, String)],
    random: &mut Random,
    rows: &mut Vec<Row>,
    total: usize,
) {
    let middle = random.between(0.005, 0.4);
    let base = labels[0].1.trim_end_matches("_bucket").to_owned();
    for place in 0..total {
        let mut labels = labels.to_vec();
        let shape = match BUCKETS.get(place) {
            Some((text, _)) => {
                labels.push(("le", (*text).to_owned()));
                Shape::Bucket
            }
            None if place == BUCKETS.len() => {
                labels[0].1 = format!("{base}_sum");
                Shape::Sum
            }
            None => {
                labels[0].1 = format!("{base}_count");
                Shape::Count
            }
        };
        rows.push(Row {
            labels: encode_labels(&mut labels),
            shape,
            value: 0.0,
            rate: middle,
        });
    }
}

/// Counts like an odometer; false when all places were seen.
fn advance_places(places: &mut [usize], dims: &[Dim]) -> bool {
    for (place, dim) in places.iter_mut().zip(dims).rev() {
        *place += 1;
        if *place < dim.len() {
            return true;
        }
        *place = 0;
    }
    false
}

fn encode_labels(labels: &mut [(&str, String)]) -> Vec<u8> {
    labels.sort();
    let (mut out, mut label) = (Vec::new(), Vec::new());
    for (name, value) in labels.iter() {
        label.clear();
        protobuf::bytes(1, name.as_bytes(), &mut label);
        protobuf::bytes(2, value.as_bytes(), &mut label);
        protobuf::bytes(1, &label, &mut out);
    }
    out
}

#[cfg(test)]
mod tests;
