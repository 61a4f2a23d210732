//! Rows as samples: floats, stale markers and native histograms, with start times and exemplars.

use std::sync::Arc;

use obs_model::histogram::BucketSpan;
use obs_model::limits::Limits;
use obs_model::metrics::{Exemplar, Sample};
use obs_model::sample::stale;
use obs_model::{
    Histogram, Labels, MatchOp, Matcher, MetricBatch, Series, Tenant, TimeRange, Timestamp, Value,
};
use obs_storage::{AppendError, Corrupt, Draft, Snapshot, Store};
use obs_tsdb::{MetricDraft, Metrics, SelectError};

use super::signal::{Found, MEMBERS, Row, Signal, budget};

fn labels(row: Row) -> Labels {
    let name = ["requests_total", "temperature", "latency"][usize::from(row.member % 3)];
    Labels::from_pairs([
        ("__name__", name.to_owned()),
        ("instance", format!("host-{}", row.member / 3)),
        ("member", row.member.to_string()),
    ])
}

fn value(row: Row) -> Value {
    let tag = row.tag() as f64;
    match row.member {
        1 => Value::Float(tag * 0.1),
        // A marker says nothing about whose it is.
        2 if row.group() % 5 == 0 && row.tenant == 0 && row.variant == 0 => Value::Float(stale()),
        3 | 4 => Value::Histogram(Arc::new(histogram(row.member == 4, tag))),
        _ => Value::Float(tag),
    }
}

fn histogram(custom: bool, tag: f64) -> Histogram {
    let span = |offset, length| BucketSpan { offset, length };
    if custom {
        return Histogram {
            schema: obs_model::histogram::CUSTOM_BUCKETS_SCHEMA,
            count: tag + 3.0,
            sum: tag,
            positive_spans: vec![span(0, 3)],
            positive: vec![1.0, 2.0, tag],
            custom_bounds: vec![0.5, 5.0],
            ..Histogram::default()
        };
    }
    Histogram {
        integer: true,
        schema: 2,
        zero_threshold: 1e-128,
        zero_count: 2.0,
        count: tag + 6.0,
        sum: tag,
        positive_spans: vec![span(-3, 1), span(2, 1)],
        positive: vec![4.0, tag],
        ..Histogram::default()
    }
}

fn exemplar(row: Row) -> Option<Exemplar> {
    (row.member == 0 && row.variant == 0).then(|| Exemplar {
        labels: Labels::from_pairs([("trace_id", format!("{:032x}", row.tag()))]),
        value: row.tag() as f64,
        time: Timestamp::from_millis(row.at),
    })
}

fn batch(rows: &[Row], bad: usize) -> MetricBatch {
    let mut series: Vec<Series> = Vec::new();
    for row in rows {
        let labels = labels(*row);
        let sample = Sample {
            time: Timestamp::from_millis(row.at),
            start: (row.member == 5).then(|| Timestamp::from_millis(row.at - 7)),
            value: value(*row),
        };
        let exemplars = exemplar(*row);
        match series.last_mut().filter(|last| last.labels == labels) {
            Some(last) => {
                last.samples.push(sample);
                last.exemplars.extend(exemplars);
            }
            None => series.push(Series {
                labels,
                samples: vec![sample],
                exemplars: exemplars.into_iter().collect(),
                ..Default::default()
            }),
        }
    }
    for _ in 0..bad {
        let nameless = Series {
            labels: Labels::from_pairs([("instance", "nobody")]),
            samples: vec![Sample {
                time: Timestamp::from_millis(1),
                start: None,
                value: Value::Float(1.0),
            }],
            exemplars: Vec::new(),
            ..Default::default()
        };
        series.insert(series.len() / 2, nameless);
    }
    MetricBatch {
        series,
        metadata: Vec::new(),
        ..Default::default()
    }
}

impl Signal for Metrics {
    const FIRST_WINS: bool = true;
    const LEANS: bool = true;

    fn time(row: Row) -> Timestamp {
        Timestamp::from_millis(row.at)
    }

    fn stream(_: Row) -> Option<u8> {
        None
    }

    fn encode(
        store: &Store<Self>,
        tenant: &Tenant,
        rows: &[Row],
        bad: usize,
        out: &mut Vec<u8>,
    ) -> u64 {
        let mut batch = batch(rows, bad);
        let refused = obs_tsdb::admit(
            &store.memories(tenant),
            &mut batch,
            &Limits::default(),
            usize::MAX,
        );
        if !batch.series.is_empty() || !batch.metadata.is_empty() {
            obs_tsdb::encode(&batch, Timestamp::default(), out);
        }
        refused.samples()
    }

    fn append(
        store: &Store<Self>,
        writes: &[(Tenant, Vec<Row>, usize)],
    ) -> (u64, Result<(), AppendError>) {
        let mut refused = 0;
        let mut drafts = Vec::with_capacity(writes.len());
        for (tenant, rows, bad) in writes {
            let mut batch = batch(rows, *bad);
            let found = obs_tsdb::admit(
                &store.memories(tenant),
                &mut batch,
                &Limits::default(),
                usize::MAX,
            );
            refused += found.samples();
            drafts.push((tenant, MetricDraft::new(vec![batch], Timestamp::default())));
        }
        let mut some: Vec<(&Tenant, &mut dyn Draft<Self>)> = Vec::with_capacity(drafts.len());
        for (tenant, draft) in &mut drafts {
            some.push((tenant, draft));
        }
        (refused, store.append_drafts(&mut some))
    }

    fn selector_of(members: u8) -> Option<Vec<u8>> {
        let some = (0..MEMBERS).filter(|member| members >> member & 1 == 1);
        let some: Vec<String> = some.map(|member| member.to_string()).collect();
        let matcher = Matcher::new("member", MatchOp::Regex, some.join("|"));
        Some(obs_tsdb::selector(&[
            matcher.expect("alternatives of digits")
        ]))
    }

    fn find(snapshot: &Snapshot<Self>, way: u64) -> Result<Found, Corrupt> {
        let mut found = Found::default();
        let series = if way.is_multiple_of(2) {
            obs_tsdb::select(snapshot, &[], TimeRange::ALL, &budget()).map_err(damage)?
        } else {
            let mut all = Vec::new();
            for member in 0..MEMBERS {
                let matcher = Matcher::equal("member", member.to_string());
                let some = obs_tsdb::select(snapshot, &[matcher], TimeRange::ALL, &budget());
                all.extend(some.map_err(damage)?);
            }
            all
        };
        for one in series {
            let member = one.labels.get("member").expect("every series has one");
            let member: u8 = member.parse().expect("a number was written");
            let mut last = None;
            for (time, value) in one.samples.iter() {
                assert!(last < Some(time), "samples of {} do not ascend", one.labels);
                last = Some(time);
                let row = row_of(member, time.millis(), &value);
                assert_eq!(one.labels, labels(row), "labels of {row:?}");
                found.rows.push(row);
            }
        }
        let exemplars = obs_tsdb::exemplars(snapshot, &[], TimeRange::ALL, &budget());
        for (_, exemplars) in exemplars.map_err(damage)? {
            for one in exemplars {
                let row = Row::of_tag(one.value as i64, one.time.millis());
                assert_eq!(Some(&one), exemplar(row).as_ref(), "exemplar of {row:?}");
                found.exemplars.push(row);
            }
        }
        Ok(found)
    }
}

/// The row whose sample it is; panics when it is nobody's.
fn row_of(member: u8, at: i64, found: &Value) -> Row {
    for tenant in 0..super::signal::TENANTS.len() as u8 {
        for variant in 0..2 {
            let row = Row {
                tenant,
                at,
                member,
                variant,
            };
            if value(row).bit_eq(found) {
                return row;
            }
        }
    }
    panic!("member {member} at {at} has a value that nobody wrote: {found:?}");
}

fn damage(error: SelectError) -> Corrupt {
    match error {
        SelectError::Budget(error) => panic!("no query comes near its budget: {error}"),
        SelectError::Corrupt(error) => error,
    }
}
