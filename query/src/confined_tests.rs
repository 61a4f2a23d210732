//! A reader that is confined to label matchers gets the answers of one that sees everything of a
//! store that has only what matches.

use std::sync::Arc;

use obs_logstore::Logs;
use obs_model::limits::Limits;
use obs_model::matcher::{MatchOp, all_match};
use obs_model::metrics::{Exemplar, Metadata, MetricKind, Sample};
use obs_model::spans::{Attribute, Resource, ResourceSpans, ScopeSpans};
use obs_model::{
    Budget, Labels, LogBatch, LogRecord, LogStream, Matcher, MetricBatch, Series, Span, SpanBatch,
    SpanId, Tenant, TimeRange, Timestamp, TraceId, Value, resource,
};
use obs_storage::{Kind, PartWriter, Snapshot};
use obs_tracestore::Spans;
use obs_tsdb::Metrics;
use proptest::prelude::*;

use crate::traces;
use crate::{Language, Query, Request, ResultCache, Sources, TenantCache, When, run};

/// Seconds that the data lie in.
const SECONDS: i64 = 1200;

/// What is put into a store, and whether it goes to a part before the next.
type Steps<B> = Vec<(B, bool)>;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_seconds(seconds)
}

fn labels(pairs: &[(&str, &str)]) -> Labels {
    Labels::from_pairs(pairs.iter().filter(|(_, value)| !value.is_empty()).copied())
}

fn pick(values: &'static [&'static str]) -> impl Strategy<Value = &'static str> {
    prop::sample::select(values)
}

fn matchers() -> impl Strategy<Value = Vec<Matcher>> {
    let op = prop::sample::select(
        &[
            MatchOp::Equal,
            MatchOp::NotEqual,
            MatchOp::Regex,
            MatchOp::NotRegex,
        ][..],
    );
    let name = pick(&["namespace", "pod", "service_name", "__name__"]);
    let value = pick(&["x", "y", "p", "x|y", "a_total", "", ".+"]);
    let one =
        (name, op, value).prop_map(|(name, op, value)| Matcher::new(name, op, value).unwrap());
    prop::collection::vec(one, 1..3)
}

fn metrics() -> impl Strategy<Value = Steps<MetricBatch>> {
    let samples = prop::collection::vec((0..SECONDS / 15, 0..100i32), 1..12);
    let series = (
        pick(&["a_total", "b"]),
        pick(&["", "x", "y"]),
        pick(&["", "p", "q"]),
        samples,
    );
    let series = series.prop_map(|(name, namespace, pod, samples)| Series {
        labels: labels(&[("__name__", name), ("namespace", namespace), ("pod", pod)]),
        exemplars: vec![Exemplar {
            labels: labels(&[("trace_id", "t"), ("of", namespace)]),
            value: 1.0,
            time: at(samples[0].0 * 15),
        }],
        samples: samples
            .iter()
            .map(|(step, value)| Sample {
                time: at(step * 15),
                start: None,
                value: Value::Float(f64::from(*value)),
            })
            .collect(),
        ..Series::default()
    });
    let batch = prop::collection::vec(series, 1..6).prop_map(|series| MetricBatch {
        series,
        metadata: ["a", "b"].map(meaning).to_vec(),
        ..MetricBatch::default()
    });
    prop::collection::vec((batch, any::<bool>()), 1..4)
}

fn meaning(family: &str) -> Metadata {
    Metadata {
        family: family.to_owned(),
        kind: MetricKind::Counter,
        unit: String::new(),
        help: family.to_owned(),
    }
}

fn logs() -> impl Strategy<Value = Steps<LogBatch>> {
    let lines = prop::collection::vec((0..SECONDS, pick(&["ok", "level=error bad", "n=1"])), 1..8);
    let stream = (
        pick(&["", "x", "y"]),
        pick(&["p", "q"]),
        pick(&["", "x"]),
        lines,
    );
    let stream = stream.prop_map(|(namespace, pod, service, lines)| LogStream {
        labels: labels(&[
            ("namespace", namespace),
            ("pod", pod),
            ("service_name", service),
        ]),
        records: lines
            .iter()
            .map(|(time, line)| LogRecord {
                time: at(*time),
                line: line.as_bytes().to_vec(),
                metadata: Labels::empty(),
            })
            .collect(),
    });
    let batch = prop::collection::vec(stream, 1..5).prop_map(|streams| LogBatch { streams });
    prop::collection::vec((batch, any::<bool>()), 1..4)
}

fn spans() -> impl Strategy<Value = Steps<SpanBatch>> {
    let span = (0..4u8, 0..SECONDS, pick(&["a", "b"]), 0..6u8);
    let sender = (pick(&["", "x", "y"]), pick(&["x", "p", "q"]));
    let group = (sender, prop::collection::vec(span, 1..5));
    let steps = prop::collection::vec((prop::collection::vec(group, 1..4), any::<bool>()), 1..4);
    steps.prop_map(|steps| {
        // No id twice.
        let mut next = 0u8;
        let mut made = |(trace, start, name, parent): (u8, i64, &str, u8)| {
            next += 1;
            Span {
                trace_id: TraceId([trace + 1; 16]),
                span_id: SpanId([0, 0, 0, 0, 0, 0, 0, next]),
                parent_id: SpanId([0, 0, 0, 0, 0, 0, 0, next.saturating_sub(parent)]),
                name: name.to_owned(),
                start: at(start),
                end: at(start + 1),
                attributes: vec![Attribute::string("k", name)],
                ..Span::default()
            }
        };
        let mut batch = |groups: Vec<((&str, &str), Vec<_>)>| SpanBatch {
            resources: groups
                .into_iter()
                .map(|((namespace, service), spans)| ResourceSpans {
                    resource: Resource {
                        attributes: [("k8s.namespace.name", namespace), ("service.name", service)]
                            .into_iter()
                            .filter(|(_, value)| !value.is_empty())
                            .map(|(key, value)| Attribute::string(key, value))
                            .collect(),
                        ..Resource::default()
                    },
                    scopes: vec![ScopeSpans {
                        spans: spans.into_iter().map(&mut made).collect(),
                        ..ScopeSpans::default()
                    }],
                })
                .collect(),
        };
        let steps = steps.into_iter();
        steps
            .map(|(groups, flush)| (batch(groups), flush))
            .collect()
    })
}

/// A store that got the steps.
fn stored<K: Kind, B>(steps: &Steps<B>, put: &dyn Fn(&K::Memory, &B)) -> Snapshot<K> {
    let (mut parts, mut memory) = (Vec::new(), K::Memory::default());
    for (batch, flush) in steps {
        put(&memory, batch);
        if *flush {
            let mut out = PartWriter::in_memory(K::NAME, &Tenant::anonymous());
            K::flush(&memory, TimeRange::ALL, &mut out).unwrap();
            let part = out.finish_in_memory();
            parts.extend((part.rows() > 0).then_some(part));
            memory = K::Memory::default();
        }
    }
    Snapshot::from_parts(vec![memory], parts).unwrap()
}

fn of_metrics(steps: &Steps<MetricBatch>) -> Snapshot<Metrics> {
    stored(steps, &|memory: &obs_tsdb::Memory, batch: &MetricBatch| {
        memory.insert(batch.clone());
    })
}

fn of_logs(steps: &Steps<LogBatch>) -> Snapshot<Logs> {
    stored(steps, &|memory, batch| {
        let mut bytes = Vec::new();
        obs_logstore::encode(batch, &mut bytes);
        Logs::apply(memory, 1, &bytes).unwrap();
    })
}

fn of_spans(steps: &Steps<SpanBatch>) -> Snapshot<Spans> {
    stored(steps, &|memory, batch| {
        let mut bytes = Vec::new();
        obs_tracestore::encode(batch, &mut bytes);
        Spans::apply(memory, 1, &bytes).unwrap();
    })
}

/// What is left of steps.
fn only<B: Clone>(steps: &Steps<B>, keep: impl Fn(&mut B)) -> Steps<B> {
    let mut steps = steps.clone();
    steps.iter_mut().for_each(|(batch, _)| keep(batch));
    steps
}

fn asked(language: Language, text: &str, when: When, sources: &Sources) -> String {
    let limits = Limits::default();
    let query = Query::parse(language, text, &limits).unwrap();
    let mut request = Request::new(when);
    request.spans_per_set = 100;
    request.cached = true;
    let plan = query.plan(&request, &limits).unwrap();
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(1)
        .build()
        .unwrap();
    let reply = run(&plan, sources, &Budget::new(&limits), &pool);
    let reply = reply.map(|reply| (reply.answer, reply.annotations));
    format!("{reply:?}")
}

fn whole() -> When {
    When::Range {
        start: at(0),
        end: at(SECONDS),
        step: 60_000_000_000,
    }
}

/// Both readers get the same; the one that sees everything of all of it asks before, so that a cache
/// that does not tell them apart is found out.
fn check(language: Language, queries: &[&str], [all, confined, only]: [&Sources; 3]) {
    for text in queries {
        let all = asked(language, text, whole(), all);
        let own = asked(language, text, whole(), only);
        for _ in 0..2 {
            let confined = asked(language, text, whole(), confined);
            assert_eq!(confined, own, "{text}, where all is {all}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn of_metrics_only_what_matches_is_there(steps in metrics(), matchers in matchers()) {
        let own = only(&steps, |batch| {
            batch.series.retain(|series| all_match(&matchers, &series.labels));
        });
        let tenant_cache = || TenantCache {
            cache: Arc::new(ResultCache::new(1 << 20)),
            tenant: Tenant::anonymous(),
        };
        let all = of_metrics(&steps);
        let confined = all.clone().confined_to(matchers.into());
        let own = of_metrics(&own);
        let shared = tenant_cache();
        let sources = |snapshot: &Snapshot<Metrics>, cache: TenantCache| Sources {
            metrics: Some(snapshot.clone()),
            cache: Some(cache),
            ..Sources::default()
        };
        check(
            Language::Promql,
            &[
                "{__name__=~\".+\"}",
                "a_total",
                "sum by (namespace) (rate(a_total[5m]))",
                "count({__name__!=\"\"})",
                "topk(1, b)",
                "absent(b)",
                "a_total / on (pod) group_left sum by (pod) (b)",
                "max_over_time(b[2m:30s])",
                "quantile by (pod) (0.5, {__name__=~\"a.*|b\"})",
            ],
            [
                &sources(&all, shared.clone()),
                &sources(&confined, shared),
                &sources(&own, tenant_cache()),
            ],
        );
        let budget = Budget::new(&Limits::default());
        let reads = |snapshot: &Snapshot<Metrics>| {
            let of = TimeRange::ALL;
            let pod = [Matcher::equal("pod", "p")];
            let mut counted = obs_tsdb::cardinality(snapshot, of, 10, &budget).unwrap();
            counted.samples = 0;
            let halves = [(0, SECONDS / 2), (SECONDS / 2, SECONDS)];
            let [before, after] = halves.map(|(from, to)| TimeRange::new(at(from), at(to)));
            format!(
                "{:?}",
                (
                    obs_tsdb::series(snapshot, &pod, of, &budget).unwrap(),
                    obs_tsdb::series(snapshot, &[], of, &budget).unwrap(),
                    obs_tsdb::label_names(snapshot, &[], of, &budget).unwrap(),
                    obs_tsdb::label_values(snapshot, "namespace", &[], of, &budget).unwrap(),
                    obs_tsdb::label_values(snapshot, "namespace", &pod, of, &budget).unwrap(),
                    obs_tsdb::exemplars(snapshot, &[], of, &budget).unwrap(),
                    obs_tsdb::growth(snapshot, before, after, 10, &budget).unwrap(),
                    counted,
                )
            )
        };
        prop_assert_eq!(reads(&confined), reads(&own));
        let told = obs_tsdb::metadata(&confined, &budget).unwrap();
        let told: Vec<String> = told.into_iter().map(|entry| entry.family).collect();
        let names = obs_tsdb::label_values(&own, "__name__", &[], TimeRange::ALL, &budget).unwrap();
        let expect: Vec<&str> = names.iter().map(|name| name.trim_end_matches("_total")).collect();
        prop_assert_eq!(told, expect);
    }

    #[test]
    fn of_logs_only_what_matches_is_there(steps in logs(), matchers in matchers()) {
        let own = only(&steps, |batch| {
            batch.streams.retain(|stream| all_match(&matchers, &stream.labels));
        });
        let all = of_logs(&steps);
        let confined = all.clone().confined_to(matchers.into());
        let own = of_logs(&own);
        let sources = |snapshot: &Snapshot<Logs>| Sources {
            logs: Some(snapshot.clone()),
            ..Sources::default()
        };
        check(
            Language::Logql,
            &[
                "{pod=~\".+\"}",
                "{pod=~\".+\"} |= \"error\" | logfmt",
                "{namespace=\"x\"}",
                "sum by (namespace) (count_over_time({pod=~\".+\"}[1m]))",
                "sum by (level) (rate({pod!=\"\"} | logfmt [5m]))",
                "bytes_over_time({pod=~\"p|q\"}[20m])",
            ],
            [&sources(&all), &sources(&confined), &sources(&own)],
        );
        let budget = Budget::new(&Limits::default());
        let reads = |snapshot: &Snapshot<Logs>| {
            let of = TimeRange::ALL;
            let pod = [Matcher::equal("pod", "p")];
            let mut stats = obs_logstore::stats(snapshot, &pod, of, &budget).unwrap();
            stats.chunks = 0;
            let mut lines = 0;
            let mut extents = |extent: obs_logstore::Extent<'_>| {
                lines += extent.records;
                Ok(())
            };
            obs_logstore::extents(snapshot, &[], of, &budget, &mut extents).unwrap();
            format!(
                "{:?}",
                (
                    obs_logstore::streams(snapshot, &[], of, &budget).unwrap(),
                    obs_logstore::streams(snapshot, &pod, of, &budget).unwrap(),
                    obs_logstore::label_names(snapshot, &[], of, &budget).unwrap(),
                    obs_logstore::label_values(snapshot, "namespace", &[], of, &budget).unwrap(),
                    stats,
                    lines,
                )
            )
        };
        prop_assert_eq!(reads(&confined), reads(&own));
    }

    #[test]
    fn of_spans_only_what_matches_is_there(steps in spans(), matchers in matchers()) {
        let own = only(&steps, |batch| {
            let meets = |group: &ResourceSpans| resource::meets(&matchers, &group.resource.attributes);
            batch.resources.retain(meets);
        });
        let all = of_spans(&steps);
        let confined = all.clone().confined_to(matchers.clone().into());
        let own = of_spans(&own);
        let sources = |snapshot: &Snapshot<Spans>| Sources {
            spans: Some(snapshot.clone()),
            ..Sources::default()
        };
        check(
            Language::Traceql,
            &[
                "{}",
                "{ name = \"a\" }",
                "{ span.k = \"a\" } >> { name = \"b\" }",
                "{ rootName = \"a\" }",
                "{ parent.k = \"b\" }",
                "{} | count() > 1",
                "{ resource.service.name = \"x\" } | select(span.k)",
                "{} | rate() by (resource.service.name)",
                "{ nestedSetParent < 0 } | count_over_time() by (name)",
                "{ rootName = \"a\" } | count_over_time()",
                "{} | compare({ name = \"a\" })",
            ],
            [&sources(&all), &sources(&confined), &sources(&own)],
        );
        let budget = Budget::new(&Limits::default());
        let reads = |snapshot: &Snapshot<Spans>| {
            let of = TimeRange::ALL;
            let (tag_names, tag_values) = (traces::tag_names, traces::tag_values);
            let service = crate::traceql::parse_attribute("resource.service.name").unwrap();
            let name = crate::traceql::parse_attribute("name").unwrap();
            let filter = crate::traceql::parse("{ span.k = \"a\" }", &Limits::default()).unwrap();
            let whole: Vec<_> = (1..5)
                .map(|id| traces::trace(snapshot, TraceId([id; 16]), &budget).unwrap())
                .collect();
            format!(
                "{:?}",
                (
                    whole,
                    tag_names(snapshot, None, of, &budget).unwrap(),
                    tag_names(snapshot, Some(&filter), of, &budget).unwrap(),
                    tag_values(snapshot, &service, None, of, &budget).unwrap(),
                    tag_values(snapshot, &name, None, of, &budget).unwrap(),
                    tag_values(snapshot, &service, Some(&filter), of, &budget).unwrap(),
                )
            )
        };
        prop_assert_eq!(reads(&confined), reads(&own));
    }
}
