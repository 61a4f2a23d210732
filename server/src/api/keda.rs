//! `externalscaler.ExternalScaler` over gRPC: KEDA scales by a query in PromQL.
//!
//! Invariant: what KEDA's own Prometheus scaler refuses is refused here too: an answer of several
//! elements, and values that are no numbers where nothing may not stand for zero.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::post;
use obs_collector::HttpError;
use obs_model::sample::Value;
use obs_model::{Answer, Tenant};
use obs_query::{Language, When};
use obs_wire::keda::{self, Trigger};

use super::evaluate;
use super::streams::{Asking, answer, one};
use crate::app::App;
use crate::clock;
use crate::enforced::Visible;

/// The name of the metric where the trigger has none.
const METRIC: &str = "obs";

/// The methods, at the root.
pub(in crate::api) fn routes(app: &Arc<App>) -> Router {
    let method = |name: &str| format!("/externalscaler.ExternalScaler/{name}");
    Router::new()
        .route(&method("IsActive"), post(is_active))
        .route(&method("GetMetricSpec"), post(metric_spec))
        .route(&method("GetMetrics"), post(metrics))
        .with_state(Arc::clone(app))
}

/// What a trigger wants.
#[derive(Debug, PartialEq)]
struct Wanted {
    query: String,
    threshold: f64,
    activation: f64,
    nothing_is_zero: bool,
    metric: String,
    tenant: Option<Tenant>,
}

impl Wanted {
    fn of(trigger: &Trigger) -> Result<Self, HttpError> {
        let text = |name: &str| trigger.metadata.get(name).map(|text| text.trim());
        let fault = |name: &str, expected: &str| {
            HttpError::bad_data(format!(
                "ScaledObject {}/{}: metadata {name}: expected {expected}, found {:?}",
                trigger.namespace,
                trigger.name,
                text(name).unwrap_or_default()
            ))
        };
        let number = |name: &str, default: Option<f64>| match text(name) {
            None | Some("") => default.ok_or_else(|| fault(name, "a number")),
            Some(text) => {
                let parsed = text.parse().ok().filter(|value: &f64| value.is_finite());
                parsed.ok_or_else(|| fault(name, "a number"))
            }
        };
        let query = text("query").filter(|query| !query.is_empty());
        let tenant = text("tenant").filter(|name| !name.is_empty());
        let tenant = tenant.map(Tenant::new).transpose();
        Ok(Self {
            query: query.ok_or_else(|| fault("query", "PromQL"))?.to_owned(),
            threshold: number("threshold", None)?,
            activation: number("activationThreshold", Some(0.0))?,
            nothing_is_zero: match text("ignoreNullValues") {
                None | Some("" | "true") => true,
                Some("false") => false,
                Some(_) => return Err(fault("ignoreNullValues", "true or false")),
            },
            metric: text("metricName").unwrap_or(METRIC).to_owned(),
            tenant: tenant.map_err(|_| fault("tenant", "the name of a tenant"))?,
        })
    }

    /// The value of the query now.
    async fn value(&self, app: &App, asker: Visible) -> Result<f64, HttpError> {
        let seen = match &self.tenant {
            Some(named) => asker.elsewhere(named.clone())?,
            None => asker,
        };
        let request = app.features.request(When::At(clock::now()));
        let asked = evaluate(app, &seen, Language::Promql, &self.query, request, None);
        let found = match asked.await?.answer {
            Answer::Vector(samples) if samples.len() > 1 => {
                return Err(HttpError::bad_data(format!(
                    "query {:?} gives {} series, expected one: aggregate it",
                    self.query,
                    samples.len()
                )));
            }
            Answer::Vector(samples) => match samples.first().map(|sample| &sample.value) {
                None => None,
                Some(Value::Float(value)) => Some(*value),
                Some(Value::Histogram(_)) => {
                    return Err(HttpError::bad_data("the query gives a histogram"));
                }
            },
            Answer::Scalar(_, value) => Some(value),
            _ => return Err(HttpError::bad_data("expected a query that gives a vector")),
        };
        match found.filter(|value| value.is_finite()) {
            Some(value) => Ok(value),
            None if self.nothing_is_zero => Ok(0.0),
            None => Err(HttpError::not_found(format!(
                "query {:?} gives no number, and ignoreNullValues is false",
                self.query
            ))),
        }
    }
}

async fn is_active(State(app): State<Arc<App>>, asker: Asking, request: Request) -> Response {
    answer(asker, request, |tenant, bytes| {
        let wanted = Wanted::of(&keda::trigger(bytes)?)?;
        one(async move {
            let value = wanted.value(&app, tenant).await?;
            Ok(keda::is_active(value > wanted.activation))
        })
    })
    .await
}

async fn metric_spec(asker: Asking, request: Request) -> Response {
    answer(asker, request, |_, bytes| {
        let wanted = Wanted::of(&keda::trigger(bytes)?)?;
        one(async move { Ok(keda::metric_spec(&wanted.metric, wanted.threshold)) })
    })
    .await
}

async fn metrics(State(app): State<Arc<App>>, asker: Asking, request: Request) -> Response {
    answer(asker, request, |tenant, bytes| {
        let (trigger, name) = keda::metrics_request(bytes)?;
        let wanted = Wanted::of(&trigger)?;
        one(async move {
            let value = wanted.value(&app, tenant).await?;
            Ok(keda::metrics(&name, value))
        })
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::jaeger::tests::nested;
    use crate::api::tempo::tests::{call_at, rig, text_field};

    fn asked(query: &str) -> Vec<u8> {
        let pair = |key: &str, value: &str| {
            nested(3, &[text_field(1, key), text_field(2, value)].concat())
        };
        let pairs = [pair("query", query), pair("threshold", "5")];
        let more = pair("activationThreshold", "6");
        [
            text_field(1, "web"),
            text_field(2, "a"),
            pairs.concat(),
            more,
        ]
        .concat()
    }

    #[tokio::test]
    async fn keda_scales_by_a_query() {
        let mut rig = rig().await;
        let method = |name: &str| format!("/externalscaler.ExternalScaler/{name}");
        for (query, active) in [
            ("vector(7)", vec![8, 1]),
            ("6", vec![]),
            ("absent_metric", vec![]),
        ] {
            let found = call_at(&mut rig, &method("IsActive"), &asked(query)).await;
            assert_eq!(found, (vec![active], "0".to_owned()), "{query}");
        }
        let found = call_at(&mut rig, &method("GetMetricSpec"), &asked("vector(7)")).await;
        assert_eq!(found, (vec![keda::metric_spec("obs", 5.0)], "0".to_owned()));
        let request = [nested(1, &asked("vector(7)")), text_field(2, "s0-obs")].concat();
        let found = call_at(&mut rig, &method("GetMetrics"), &request).await;
        assert_eq!(found, (vec![keda::metrics("s0-obs", 7.0)], "0".to_owned()));
        let two = "label_replace(vector(1), \"a\", \"b\", \"\", \"\") or vector(2)";
        let (found, status) = call_at(&mut rig, &method("IsActive"), &asked(two)).await;
        assert_eq!((found.len(), status.as_str()), (0, "3"));
    }

    #[test]
    fn triggers_say_what_they_want() {
        let trigger = |pairs: &[(&str, &str)]| Trigger {
            name: "web".to_owned(),
            namespace: "a".to_owned(),
            metadata: pairs
                .iter()
                .map(|&(k, v)| (k.to_owned(), v.to_owned()))
                .collect(),
        };
        let found = Wanted::of(&trigger(&[("query", "sum(x)"), ("threshold", "2.5")])).unwrap();
        assert_eq!((found.threshold, found.activation), (2.5, 0.0));
        assert_eq!(
            (found.metric.as_str(), found.nothing_is_zero),
            ("obs", true)
        );
        let check = |pairs: &[(&str, &str)], expect: &str| {
            let fault = Wanted::of(&trigger(pairs)).unwrap_err().message;
            assert!(fault.contains(expect) && fault.contains("a/web"), "{fault}");
        };
        check(&[("threshold", "1")], "metadata query");
        check(&[("query", "x")], "metadata threshold");
        check(
            &[("query", "x"), ("threshold", "NaN")],
            "metadata threshold",
        );
        check(
            &[
                ("query", "x"),
                ("threshold", "1"),
                ("ignoreNullValues", "no"),
            ],
            "true or false",
        );
    }
}
