//! `/api/v1/dashboards`: dashboards as Grafana JSON.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::middleware::from_fn;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::StatusCode;
use obs_collector::{ErrorKind, HttpError};
use serde_json::{Value, json};

use super::{Asker, json};
use crate::app::App;
use crate::clock;
use crate::dashboards::{BYTES_MAX, Dashboards, KeepError, Summary};

/// Below `/api/v1`.
pub(super) fn routes() -> Router<Arc<App>> {
    let one = get(read).put(write).post(write).delete(remove);
    Router::new()
        .route("/dashboards", get(list))
        .route("/dashboards/{uid}", one)
        .layer(DefaultBodyLimit::max(BYTES_MAX))
        .layer(from_fn(super::admin::same_site))
}

impl From<KeepError> for HttpError {
    fn from(error: KeepError) -> Self {
        let kind = match error {
            KeepError::Wrong(_) => ErrorKind::BadData,
            KeepError::TooMuch(_) => ErrorKind::TooLarge,
            KeepError::Table(_) => ErrorKind::Unavailable,
        };
        Self::new(kind, error.to_string())
    }
}

fn kept(app: &App) -> Result<&Dashboards, HttpError> {
    let starting = || HttpError::unavailable("obs is starting", 1);
    app.dashboards.get().ok_or_else(starting)
}

fn missing(uid: &str) -> HttpError {
    HttpError::not_found(format!("no dashboard {uid:?}"))
}

async fn list(State(app): State<Arc<App>>, Asker(tenant): Asker) -> Result<Response, HttpError> {
    let all = kept(&app)?.list(&tenant);
    let all: Vec<Value> = all.iter().map(|(uid, told)| shown(uid, told)).collect();
    let body = json!({"status": "success", "data": {"dashboards": all}});
    Ok(json(body.to_string().into_bytes()))
}

fn shown(uid: &str, told: &Summary) -> Value {
    let mut shown = json!({
        "uid": uid, "title": told.title, "tags": told.tags, "builtin": told.builtin,
    });
    if let Some(updated) = told.updated {
        shown["updated"] = updated.to_string().into();
    }
    shown
}

async fn read(
    State(app): State<Arc<App>>,
    Asker(tenant): Asker,
    Path(uid): Path<String>,
) -> Result<Response, HttpError> {
    let found = kept(&app)?.get(&tenant, &uid);
    found.map(json).ok_or_else(|| missing(&uid))
}

async fn write(
    State(app): State<Arc<App>>,
    Asker(tenant): Asker,
    Path(uid): Path<String>,
    body: Bytes,
) -> Result<Response, HttpError> {
    kept(&app)?;
    let name = uid.clone();
    changing(move || {
        kept(&app)?
            .put(&tenant, &name, &body, clock::now())
            .map_err(Into::into)
    })
    .await?;
    let body = json!({"status": "success", "data": {"uid": uid, "url": format!("/d/{uid}")}});
    Ok(json(body.to_string().into_bytes()))
}

async fn remove(
    State(app): State<Arc<App>>,
    Asker(tenant): Asker,
    Path(uid): Path<String>,
) -> Result<Response, HttpError> {
    let name = uid.clone();
    let gone =
        changing(move || kept(&app)?.remove(&tenant, &name).map_err(HttpError::from)).await?;
    match gone {
        true => Ok(StatusCode::NO_CONTENT.into_response()),
        false => Err(missing(&uid)),
    }
}

/// Changes wait for the disk, off the event loop.
#[expect(
    clippy::disallowed_methods,
    reason = "waits for an fsync, for changes by people"
)]
async fn changing<T: Send + 'static>(
    change: impl FnOnce() -> Result<T, HttpError> + Send + 'static,
) -> Result<T, HttpError> {
    let done = tokio::task::spawn_blocking(change).await;
    done.map_err(|_| HttpError::unavailable("the server stops", 1))?
}

#[cfg(test)]
mod tests {
    use http::Request;

    use crate::api::tests::{JSON, Rig, check};

    #[tokio::test]
    async fn dashboards_are_kept_over_bundled_ones() {
        let mut rig = Rig::start();
        let told = rig.get("/api/v1/dashboards").await;
        check(&told, 200, JSON, r#""builtin":true"#);
        check(&told, 200, JSON, r#""uid":"obs-node""#);
        let told = rig.get("/api/v1/dashboards/obs-node").await;
        check(&told, 200, JSON, "\"uid\": \"obs-node\"");
        check(
            &rig.get("/api/v1/dashboards/mine").await,
            404,
            JSON,
            "no dashboard",
        );
        let put = |uid: &str| Request::put(format!("/api/v1/dashboards/{uid}"));
        let told = rig
            .ask(put("mine"), r#"{"title":"Mine","tags":["a"]}"#)
            .await;
        check(&told, 200, JSON, r#""url":"/d/mine""#);
        let told = rig.get("/api/v1/dashboards/mine").await;
        check(&told, 200, JSON, r#""uid":"mine""#);
        let told = rig.ask(put("obs-node"), r#"{"title":"My node"}"#).await;
        check(&told, 200, JSON, "success");
        let told = rig.get("/api/v1/dashboards").await;
        check(&told, 200, JSON, r#""title":"My node""#);
        check(&rig.ask(put("a.b"), "{}").await, 400, JSON, "uid: expected");
        check(&rig.ask(put("a"), "[]").await, 400, JSON, "a JSON object");
        let other = Request::get("/api/v1/dashboards/mine").header("x-scope-orgid", "b");
        check(&rig.ask(other, "").await, 404, JSON, "no dashboard");
        let gone = || Request::delete("/api/v1/dashboards/obs-node");
        assert_eq!(rig.ask(gone(), "").await.status, 204);
        assert_eq!(rig.ask(gone(), "").await.status, 404);
        let told = rig.get("/api/v1/dashboards/obs-node").await;
        check(&told, 200, JSON, "obs / Node");
    }

    #[tokio::test]
    async fn runbooks_are_shown() {
        let mut rig = Rig::start();
        let told = rig.get("/runbooks/TargetDown").await;
        check(&told, 200, "text/plain", "# TargetDown");
        assert_eq!(rig.get("/runbooks/Nothing").await.status, 404);
    }
}
