//! The HTTP APIs: Prometheus', Loki's, Tempo's, Jaeger's and obs' own.
//!
//! A handler reads parameters, hands blocking work to the [`Reader`](crate::read::Reader) and
//! writes the answer through `wire`; it decides nothing about data.

mod admin;
mod alertmanager;
mod backup;
mod compress;
mod correlate;
mod cost;
mod dashboards;
mod errors;
mod explain;
mod export;
mod jaeger;
mod keda;
mod loki;
mod prometheus;
mod remote_read;
mod rule_groups;
mod rule_replay;
mod runbooks;
mod slos;
mod streams;
mod tempo;
mod ui;

pub(crate) use prometheus::{Scraped, target_routes};

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{FromRequest, FromRequestParts, MatchedPath, Request};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::request::Parts;
use http::{HeaderValue, Method, StatusCode, header};
use obs_collector::{Dialect, HttpError};
use obs_model::Reply;
use obs_model::limits::Limits;
use obs_query::{Language, Query};
use tracing::Instrument;

use crate::app::App;
use crate::enforced::{Enforced, Visible};
use crate::params::Params;
use crate::ruler::Origin;

pub(crate) use admin::{Bound, is_foreign, own_metrics};
pub(crate) use loki::Deletions;
pub(crate) use streams::grpc_routes;
pub(crate) use ui::below;

/// Everything that asks. The ways in come from the collector.
pub(crate) fn routes(app: &Arc<App>) -> Router {
    let queries = Router::new()
        .nest("/api/v1", own_v1())
        .nest("/loki/api/v1", loki::routes())
        .merge(loki::root_routes())
        .nest("/loki/api/v1", rule_groups::routes(Origin::Loki))
        .nest("/api/prom", rule_groups::routes(Origin::Loki))
        .nest("/prometheus/config/v1", rule_groups::routes(Origin::Api))
        .nest("/prometheus/api/v1", prometheus::log_rule_routes())
        .nest("/tempo", tempo::routes())
        .nest("/jaeger", jaeger::routes())
        .nest("/api/v1/admin/storage", admin::routes())
        .route("/federate", get(prometheus::federate))
        .merge(alertmanager::routes(app))
        .merge(cost::routes())
        .with_state(Arc::clone(app))
        .layer(from_fn(traced));
    queries
        .merge(grpc_routes(app).layer(from_fn(traced)))
        .merge(admin::health(app))
        .merge(crate::reload::routes(app))
        .merge(runbooks::routes())
        .merge(ui::routes())
        .fallback(not_found)
        .layer(from_fn(compress::compress))
        .layer(from_fn(cross_origin))
}

/// Everything below `/api/v1`.
fn own_v1() -> Router<Arc<App>> {
    prometheus::routes()
        .merge(explain::routes())
        .merge(dashboards::routes())
        .merge(errors::routes())
        .merge(slos::routes())
        .merge(cost::own_routes())
        .merge(correlate::routes())
        .merge(remote_read::routes())
        .merge(export::routes())
        .merge(loki::export::routes())
        .merge(rule_groups::below(Origin::Api))
        .merge(rule_replay::routes())
}

/// The fault of a parameter that is a selector.
pub(crate) fn evaluate_error(name: &str, error: obs_query::ParseError) -> HttpError {
    let mut error = crate::app::query_error(&error.into());
    error.message = format!("invalid parameter {name:?}: {}", error.message);
    error
}

/// As Prometheus says it; Grafana tells servers apart by this text.
async fn not_found() -> Response {
    (StatusCode::NOT_FOUND, "404 page not found\n").into_response()
}

/// One span per request; its name is the route, so that ids in paths do not make names.
async fn traced(request: Request, next: Next) -> Response {
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or("", MatchedPath::as_str)
        .to_owned();
    let span = tracing::info_span!(
        "request",
        otel.name = format!("{} {route}", request.method()),
        otel.kind = "server",
        http.request.method = %request.method(),
        http.route = route,
        url.path = request.uri().path(),
        http.response.status_code = tracing::field::Empty,
        otel.status_code = tracing::field::Empty,
    );
    let response = next.run(request).instrument(span.clone()).await;
    let status = response.status();
    span.record("http.response.status_code", status.as_u16());
    if status.is_server_error() {
        span.record("otel.status_code", "ERROR");
        let _entered = span.enter();
        tracing::warn!(route, status = status.as_u16(), "request failed");
    }
    response
}

/// Prometheus' CORS defaults: any origin may read; nothing is sent with credentials.
async fn cross_origin(request: Request, next: Next) -> Response {
    let mut response = if request.method() == Method::OPTIONS {
        StatusCode::NO_CONTENT.into_response()
    } else {
        next.run(request).await
    };
    let headers = response.headers_mut();
    let set = HeaderValue::from_static;
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, set("*"));
    headers.insert(
        header::ACCESS_CONTROL_ALLOW_METHODS,
        set("GET, POST, OPTIONS"),
    );
    headers.insert(
        header::ACCESS_CONTROL_ALLOW_HEADERS,
        set("Accept, Authorization, Content-Type, Origin, X-Scope-OrgID"),
    );
    headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, set("Date"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, set("nosniff"));
    response
}

/// What a request sees of the tenant that it names.
pub(crate) struct Asker(pub(crate) Visible);

impl<S: Send + Sync> FromRequestParts<S> for Asker {
    type Rejection = HttpError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, HttpError> {
        let tenant = obs_collector::receive::tenant_of(&parts.headers)?;
        Enforced::of(&parts.extensions).admit(tenant).map(Self)
    }
}

/// An error of Loki's and Tempo's routes, which tell it as plain text.
pub(crate) struct Plain(HttpError);

impl From<HttpError> for Plain {
    fn from(error: HttpError) -> Self {
        Self(error)
    }
}

impl IntoResponse for Plain {
    fn into_response(self) -> Response {
        self.0.render(Dialect::Plain)
    }
}

/// An extractor whose fault is told as plain text.
pub(crate) struct Told<E>(pub(crate) E);

impl<S, E> FromRequestParts<S> for Told<E>
where
    S: Send + Sync,
    E: FromRequestParts<S, Rejection = HttpError>,
{
    type Rejection = Plain;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Plain> {
        let found = E::from_request_parts(parts, state).await;
        found.map(Self).map_err(Plain)
    }
}

impl<S, E> FromRequest<S> for Told<E>
where
    S: Send + Sync,
    E: FromRequest<S, Rejection = HttpError>,
{
    type Rejection = Plain;

    async fn from_request(request: Request, state: &S) -> Result<Self, Plain> {
        let found = E::from_request(request, state).await;
        found.map(Self).map_err(Plain)
    }
}

/// A JSON body that is written already.
pub(crate) fn json(body: Vec<u8>) -> Response {
    (
        [(header::CONTENT_TYPE, "application/json")],
        Body::from(body),
    )
        .into_response()
}

/// Parses and runs a query in the pool.
pub(crate) async fn evaluate(
    app: &App,
    tenant: &Visible,
    language: Language,
    text: &str,
    request: obs_query::Request,
    timeout: Option<Duration>,
) -> Result<Reply, HttpError> {
    let mut sources = app.stores()?.sources(tenant);
    if !request.cached {
        sources.cache = None;
    }
    let (text, limits) = (text.to_owned(), app.rules.limits);
    // Prometheus and Loki bound the steps between the points; Grafana asks for as many as may be.
    let between = Limits {
        query_steps_max: limits.query_steps_max.saturating_add(1),
        ..limits
    };
    let span = tracing::info_span!("query", query.language = ?language, query.text = text);
    app.read_for(tenant, timeout, move |budget, pool| {
        span.in_scope(|| {
            let query = Query::parse(language, &text, &limits)?;
            let plan = query.plan(&request, &between)?;
            obs_query::run(&plan, &sources, budget, pool)
        })
    })
    .await
}

/// Routes that pages of other sites may not call.
pub(crate) fn own_site(routes: Router) -> Router {
    routes.layer(from_fn(admin::same_site))
}

/// The `timeout` parameter.
pub(crate) fn timeout(params: &Params) -> Result<Option<Duration>, HttpError> {
    let nanos = params.duration("timeout")?;
    // One that is over before it begins is no time at all, as in Prometheus.
    Ok(nanos.map(|n| Duration::from_nanos(n.max(0).unsigned_abs())))
}

#[cfg(test)]
pub(crate) mod tests;
