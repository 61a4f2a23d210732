//! `POST /api/v1/rule_tryout` and `POST /api/v1/rule_backfill`: rules over stored data. The body is
//! a rule file; `start` and `end` say over which time.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{RawQuery, State};
use axum::response::Response;
use axum::routing::post;
use obs_alerting::rules::{Group, Parsing, RuleFile};
use obs_collector::HttpError;
use obs_model::time::NANOS_PER_SECOND;
use obs_model::{Labels, Timestamp};
use serde_json::{Value, json};

use super::{Asker, json as written};
use crate::app::App;
use crate::params::{Clock, Params};
use crate::ruler::replay::{self, Episode, Stretch, Tried};
use crate::ruler::{Ruler, Setting};

/// Below `/api/v1`.
pub(super) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/rule_tryout", post(try_out))
        .route("/rule_backfill", post(backfill))
        .layer(axum::middleware::from_fn(super::admin::same_site))
}

/// What both are asked.
struct Wanted {
    setting: Arc<Setting>,
    groups: Vec<Group>,
    start: Timestamp,
    end: Timestamp,
}

impl Wanted {
    fn new(app: &App, query: Option<&str>, body: &[u8]) -> Result<Self, HttpError> {
        app.stores()?;
        let ruler: Option<&Arc<Ruler>> = app.ruler.get();
        let ruler = ruler.ok_or_else(|| HttpError::unavailable("the ruler is starting", 1))?;
        let pairs = form_urlencoded::parse(query.unwrap_or_default().as_bytes());
        let params = Params::of(pairs.into_owned());
        let text = std::str::from_utf8(body);
        let text = text.map_err(|_| HttpError::bad_data("expected a rule file in UTF-8"))?;
        let parsing = Parsing {
            limits: app.rules.limits,
            ..Parsing::default()
        };
        let file = RuleFile::parse(text, &parsing);
        let file = file.map_err(|fault| HttpError::bad_data(format!("rule file: {fault}")))?;
        let mut setting = ruler.setting();
        if let Some(step) = params.duration("step")? {
            let interval = step.max(1);
            setting = Arc::new(Setting {
                interval,
                ..setting.as_ref().clone()
            });
        }
        Ok(Self {
            setting,
            groups: file.groups,
            start: params.need_time("start", Clock::Seconds)?,
            end: params.need_time("end", Clock::Seconds)?,
        })
    }
}

async fn try_out(
    State(app): State<Arc<App>>,
    Asker(tenant): Asker,
    RawQuery(query): RawQuery,
    body: Bytes,
) -> Result<Response, HttpError> {
    let wanted = Wanted::new(&app, query.as_deref(), &body)?;
    let (setting, range) = (Arc::clone(&wanted.setting), (wanted.start, wanted.end));
    let tried = replay::try_out(&app, &tenant, &setting, wanted.groups, range).await?;
    let groups: Vec<Value> = tried
        .iter()
        .map(|(group, rules)| {
            let rules = group.rules.iter().zip(rules);
            let rules: Vec<Value> = rules
                .filter_map(|(rule, tried)| Some(rule_json(rule.name(), tried.as_ref()?)))
                .collect();
            let interval = group.interval.unwrap_or(setting.interval);
            json!({"name": group.name, "interval": seconds(interval), "rules": rules})
        })
        .collect();
    Ok(answer(&json!({"groups": groups})))
}

async fn backfill(
    State(app): State<Arc<App>>,
    Asker(tenant): Asker,
    RawQuery(query): RawQuery,
    body: Bytes,
) -> Result<Response, HttpError> {
    let wanted = Wanted::new(&app, query.as_deref(), &body)?;
    let (mut samples, mut refused) = (0, 0);
    for group in &wanted.groups {
        let step = group.interval.unwrap_or(wanted.setting.interval);
        let stretch = Stretch::new(wanted.start, wanted.end, step)?;
        let filled = replay::backfill(&app, &tenant, &wanted.setting, group, stretch).await?;
        samples += filled.samples;
        refused += filled.refused;
    }
    Ok(answer(&json!({"samples": samples, "refused": refused})))
}

fn answer(data: &Value) -> Response {
    let body = json!({"status": "success", "data": data});
    written(body.to_string().into_bytes())
}

fn seconds(nanos: i64) -> f64 {
    nanos as f64 / NANOS_PER_SECOND as f64
}

fn rule_json(name: &str, tried: &Tried) -> Value {
    let alerts: Vec<Value> = tried.episodes.iter().map(episode_json).collect();
    let mut shown = json!({
        "name": name,
        "evaluations": tried.evaluations,
        "failures": tried.failures,
        "pending": tried.pending,
        "fired": tried.fired,
        "firingSeconds": seconds(tried.firing),
        "longestSeconds": seconds(tried.longest),
        "alerts": alerts,
    });
    if let Some(error) = &tried.error {
        shown["lastError"] = error.clone().into();
    }
    shown
}

fn episode_json(episode: &Episode) -> Value {
    let map = |labels: &Labels| -> Value {
        let pairs = labels.iter();
        pairs
            .map(|(name, value)| (name.to_owned(), Value::from(value)))
            .collect()
    };
    json!({
        "labels": map(&episode.labels),
        "annotations": map(&episode.annotations),
        "activeAt": episode.active_at.to_string(),
        "firedAt": episode.fired_at.to_string(),
        "resolvedAt": episode.resolved_at.map(|at| at.to_string()),
    })
}
