//! `/api/v1/admin/storage/backups`: copies that `obs backup` reads.
//!
//! Invariant: a copy is read only by who knows its name, which is told to who asked for it.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use http::{StatusCode, header};
use obs_collector::{ErrorKind, HttpError};
use serde_json::json;

use super::prometheus::run;
use crate::app::App;
use crate::backup::Refused;
use crate::params::{Params, invalid};

/// Bytes of one answer, at most.
const PIECE_BYTES_MAX: usize = 16 << 20;
/// Seconds after which to ask for a copy again.
const RETRY_SECONDS: u64 = 60;

/// Below `/api/v1/admin/storage`.
pub(super) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/backups", post(make))
        .route("/backups/{id}", delete(remove))
        .route("/backups/{id}/file", get(file))
}

/// Makes a copy, and tells its files.
async fn make(State(app): State<Arc<App>>) -> Result<Response, HttpError> {
    let stores = app.stores()?.clone();
    let to = Arc::clone(&app);
    let made = run(move || to.copies.make(&stores)).await?;
    let made = made.map_err(|refused| match refused {
        Refused::TooMany(limit) => {
            let message = format!("there are {limit} copies for backups already");
            HttpError::new(ErrorKind::TooMany, message).retry_after(RETRY_SECONDS)
        }
        Refused::Failed(error) => HttpError::internal(format!("make a copy: {error:#}")),
    })?;
    let id = made.id.as_str();
    tracing::info!(id, files = made.files.len(), "a copy for a backup was made");
    if !made.left_out.is_empty() {
        let names = made.left_out.join(", ");
        tracing::warn!(id, names, "the copy has nothing of what obs did not write");
    }
    let files = made.files.iter();
    let files = files.map(|f| json!({"path": f.path, "bytes": f.bytes, "tag": f.tag}));
    let data = json!({
        "id": id,
        "version": env!("CARGO_PKG_VERSION"),
        "host": app.about.host,
        "files": files.collect::<Vec<_>>(),
        "left_out": made.left_out,
    });
    let body = json!({"status": "success", "data": data});
    Ok(super::json(body.to_string().into_bytes()))
}

/// Some bytes of a file; the first ones only of a file that is whole.
async fn file(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    params: Params,
) -> Result<Response, HttpError> {
    let path = params.need("path")?.to_owned();
    let number = |name: &str| {
        let text = params.need(name)?;
        text.parse::<u64>().map_err(|error| invalid(name, error))
    };
    let (offset, bytes) = (number("offset")?, number("bytes")?);
    let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
    let bytes = bytes.min(PIECE_BYTES_MAX);
    let files = app.copies.get(&id).ok_or_else(gone)?;
    let stores = app.stores()?.clone();
    let read = move || {
        if offset == 0
            && let Err(error) = files.check(&path)
        {
            // Its store sets it aside, so that the next backup goes without it.
            tracing::error!(path, %error, "a backup met damage");
            stores.scrub();
            return Err(error);
        }
        files.read(&path, offset, bytes)
    };
    let read = run(read).await?;
    let read = read.map_err(|error| HttpError::internal(format!("{error:#}")))?;
    Ok(([(header::CONTENT_TYPE, "application/octet-stream")], read).into_response())
}

async fn remove(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
) -> Result<StatusCode, HttpError> {
    match run(move || app.copies.remove(&id)).await? {
        true => Ok(StatusCode::NO_CONTENT),
        false => Err(gone()),
    }
}

fn gone() -> HttpError {
    HttpError::not_found("there is no such copy; one that is not read for an hour goes")
}
