//! `/api/v1/dashboards`: Grafana's dashboard JSON, listed, read, saved and removed.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::middleware::from_fn;
use axum::response::Response;
use axum::routing::get;
use http::{StatusCode, header};
use obs_collector::{ErrorKind, HttpError};
use serde_json::{Value, json};

use super::{Asker, json};
use crate::app::App;
use crate::clock;
use crate::dashboards::{DASHBOARD_BYTES_MAX, DashboardError, Source, Summary};

/// Below `/api/v1`.
pub(super) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/dashboards", get(list))
        .route("/dashboards/{uid}", get(one).put(put).delete(remove))
        .layer(from_fn(super::admin::same_site))
}

fn shown(summary: &Summary) -> Value {
    let mut shown = json!({
        "uid": summary.uid,
        "title": summary.title,
        "tags": summary.tags,
        "builtin": summary.source == Source::Bundled,
        "url": format!("/d/{}", summary.uid),
    });
    match summary.source {
        Source::Bundled => shown["source"] = "bundled".into(),
        Source::Folder => shown["source"] = "folder".into(),
        Source::Saved(time) => {
            shown["source"] = "saved".into();
            shown["updated"] = time.to_string().into();
        }
    }
    shown
}

fn answer(data: &Value) -> Response {
    let body = json!({"status": "success", "data": data});
    json(body.to_string().into_bytes())
}

async fn list(State(app): State<Arc<App>>, Asker(tenant): Asker) -> Response {
    let all = app.dashboards.list(&tenant);
    let all: Vec<Value> = all.iter().map(shown).collect();
    answer(&json!({ "dashboards": all }))
}

fn missing(uid: &str) -> HttpError {
    HttpError::not_found(format!("no dashboard has the uid {uid:?}"))
}

/// The JSON as it was saved, without an envelope.
async fn one(
    State(app): State<Arc<App>>,
    Asker(tenant): Asker,
    Path(uid): Path<String>,
) -> Result<Response, HttpError> {
    let found = app.dashboards.get(&tenant, &uid);
    let mut response = json(found.ok_or_else(|| missing(&uid))?);
    let fresh = http::HeaderValue::from_static("no-cache");
    response.headers_mut().insert(header::CACHE_CONTROL, fresh);
    Ok(response)
}

async fn put(
    State(app): State<Arc<App>>,
    Asker(tenant): Asker,
    Path(uid): Path<String>,
    body: Bytes,
) -> Result<Response, HttpError> {
    if body.len() > DASHBOARD_BYTES_MAX {
        let text = format!("expected a dashboard of at most {DASHBOARD_BYTES_MAX} bytes");
        return Err(HttpError::new(ErrorKind::TooLarge, text));
    }
    let saved = app.dashboards.put(&tenant, &uid, &body, clock::now()).await;
    Ok(answer(&shown(&saved.map_err(fault)?)))
}

async fn remove(
    State(app): State<Arc<App>>,
    Asker(tenant): Asker,
    Path(uid): Path<String>,
) -> Result<StatusCode, HttpError> {
    match app.dashboards.remove(&tenant, &uid).await.map_err(fault)? {
        true => Ok(StatusCode::NO_CONTENT),
        false if app.dashboards.get(&tenant, &uid).is_some() => Err(HttpError::new(
            ErrorKind::Forbidden,
            format!("the dashboard {uid:?} was not saved here and cannot be removed here"),
        )),
        false => Err(missing(&uid)),
    }
}

fn fault(error: DashboardError) -> HttpError {
    let kind = match error {
        DashboardError::Invalid(_) | DashboardError::TooMany => ErrorKind::BadData,
        DashboardError::Table(_) => ErrorKind::Internal,
        DashboardError::Stopping => ErrorKind::Unavailable,
    };
    HttpError::new(kind, error.to_string())
}
