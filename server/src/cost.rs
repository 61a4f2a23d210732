//! Costs over stored metrics: the questions of `obs-cost` asked of the store.
//!
//! Invariant: one window is one read of the query pool, with one budget; a request that is dropped
//! stops it.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, anyhow};
use obs_collector::HttpError;
use obs_cost::observe::{Answers, Asked, Question, Read, Series};
use obs_cost::{Book, Cluster, Span};
use obs_model::family::Family;
use obs_model::limits::Limits;
use obs_model::time::NANOS_PER_SECOND;
use obs_model::{Answer, Budget, Tenant, Timestamp, Value};
use obs_query::{Language, Query, QueryError, Request, Sources, When};
use rayon::ThreadPool;

use crate::app::App;
use crate::clock;
use crate::config::Config;
use crate::enforced::Visible;

/// OpenCost's name of a cluster that has none.
const CLUSTER: &str = "cluster-one";
/// Age from which costs among the server's metrics are made anew: half of a short interval of scrapes.
const TOLD_AGE: i64 = 5 * NANOS_PER_SECOND;
/// How long a scrape of the server's metrics may wait for them.
const TOLD_WITHIN: Duration = Duration::from_secs(5);
/// Largest file of prices.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// What is configured.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) book: Arc<Book>,
    pub(crate) cluster: String,
    /// Whether costs are told among the server's own metrics.
    pub(crate) exported: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            book: Arc::new(Book::new(
                obs_cost::Prices::default(),
                Vec::new(),
                Vec::new(),
            )),
            cluster: CLUSTER.to_owned(),
            exported: false,
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What is configured now.
#[derive(Debug, Default)]
pub(crate) struct Costs {
    settings: Mutex<Settings>,
    /// What was told last among the server's own metrics, and when it was made.
    told: Mutex<(i64, Vec<Family>)>,
}

impl Costs {
    /// What is configured at the start.
    pub(crate) fn new(settings: Settings) -> Self {
        Self {
            settings: Mutex::new(settings),
            ..Self::default()
        }
    }

    /// What is configured now.
    pub(crate) fn settings(&self) -> Settings {
        locked(&self.settings).clone()
    }

    /// Takes other settings.
    pub(crate) fn provide(&self, settings: Settings) {
        *locked(&self.settings) = settings;
        // What is told next has the new prices.
        locked(&self.told).0 = 0;
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "files of prices are read with the configuration, before anything runs"
)]
fn text_of(file: Option<PathBuf>) -> anyhow::Result<Option<String>> {
    let Some(file) = file else {
        return Ok(None);
    };
    let shown = || format!("read {}", file.display());
    let length = std::fs::metadata(&file).with_context(shown)?.len();
    if length > FILE_BYTES_MAX {
        anyhow::bail!(
            "{}: expected at most {FILE_BYTES_MAX} bytes",
            file.display()
        );
    }
    let bytes = std::fs::read(&file).with_context(shown)?;
    let text = String::from_utf8(bytes).with_context(|| format!("{} is not text", file.display()));
    text.map(Some)
}

/// What a configuration says; relative paths start from `folder`.
pub(crate) fn settings(config: &Config, folder: &Path) -> anyhow::Result<Settings> {
    let Some(cost) = &config.obs.cost else {
        let named = config.external_labels();
        let named = named.get("cluster").map(str::to_owned);
        return Ok(Settings {
            cluster: named.unwrap_or_else(|| CLUSTER.to_owned()),
            ..Settings::default()
        });
    };
    let [prices, list] = cost.files(folder);
    let book = cost.book([text_of(prices)?, text_of(list)?]);
    let labels = config.external_labels();
    let named = cost.cluster.as_deref().or_else(|| labels.get("cluster"));
    Ok(Settings {
        book: Arc::new(book.map_err(|fault| anyhow!(fault))?),
        cluster: named.unwrap_or(CLUSTER).to_owned(),
        exported: cost.metrics,
    })
}

/// Reads a window and makes something of it, in the query pool.
pub(crate) async fn read<T, F>(
    app: &App,
    tenant: &Visible,
    (window, step): (Span, Option<i64>),
    make: F,
) -> Result<T, HttpError>
where
    T: Send + 'static,
    F: FnOnce(&Cluster, &Book) -> T + Send + 'static,
{
    let sources = app.stores()?.sources(tenant);
    let limits = app.rules.limits;
    let Settings { book, cluster, .. } = app.cost.settings();
    let read = Read {
        window,
        now: clock::now().nanos(),
        step,
        cluster,
    };
    app.read_for(tenant, None, move |budget, pool| {
        let mut answers = Answers::default();
        for question in read.questions() {
            let series = ask(&question, &sources, &limits, (budget, pool))?;
            answers.insert(question.name, series);
        }
        budget.check()?;
        Ok(make(&read.cluster(&answers), &book))
    })
    .await
}

/// OpenCost's metrics, made anew where they are older than [`TOLD_AGE`]; those of before where that
/// takes too long or fails.
pub(crate) async fn families(app: &App) -> Vec<Family> {
    if !app.cost.settings().exported || app.stores().is_err() {
        return Vec::new();
    }
    let now = clock::now().nanos();
    let (made, last) = locked(&app.cost.told).clone();
    if now - made < TOLD_AGE {
        return last;
    }
    let span = Span::new(now - 5 * 60 * NANOS_PER_SECOND, now);
    let tenant = Visible::all_of(Tenant::anonymous());
    let read = read(app, &tenant, (span, None), move |cluster, book| {
        obs_cost::exported(cluster, book, span.end)
    });
    match tokio::time::timeout(TOLD_WITHIN, read).await {
        Ok(Ok(families)) => {
            *locked(&app.cost.told) = (now, families.clone());
            families
        }
        Ok(Err(error)) => {
            tracing::warn!(error = error.message, "costs are not told anew");
            last
        }
        Err(_) => {
            tracing::warn!("costs are not told anew: reading took too long");
            last
        }
    }
}

fn ask(
    question: &Question,
    sources: &Sources,
    limits: &Limits,
    (budget, pool): (&Budget, &ThreadPool),
) -> Result<Vec<Series>, QueryError> {
    let time = Timestamp::from_nanos;
    let when = match question.asked {
        Asked::At(at) => When::At(time(at)),
        Asked::Range { start, end, step } => When::Range {
            start: time(start),
            end: time(end),
            step,
        },
    };
    let mut request = Request::new(when);
    request.lookback = question.lookback;
    request.cached = false;
    let query = Query::parse(Language::Promql, &question.text, limits)?;
    let plan = query.plan(&request, limits)?;
    let reply = obs_query::run(&plan, sources, budget, pool)?;
    Ok(match reply.answer {
        Answer::Vector(samples) => {
            let floats = samples.into_iter().filter_map(|sample| match sample.value {
                Value::Float(value) => Some(Series {
                    labels: sample.labels,
                    points: vec![(sample.time.nanos(), value)],
                }),
                Value::Histogram(_) => None,
            });
            floats.collect()
        }
        Answer::Matrix(series) => {
            let floats = series.into_iter().map(|one| {
                let points = one.samples.iter().filter_map(|(at, value)| match value {
                    Value::Float(value) => Some((at.nanos(), value)),
                    Value::Histogram(_) => None,
                });
                Series {
                    points: points.collect(),
                    labels: one.labels,
                }
            });
            floats.collect()
        }
        _ => Vec::new(),
    })
}
