//! `/admin/tsdb/…`: behind the switch `--enable-admin-api`.
//!
//! Invariant: a call runs to its end although the client may leave, and answers when it is done.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use obs_collector::{ErrorKind, HttpError};
use obs_model::Timestamp;
use obs_storage::{BackupError, DeleteError, Force};
use serde_json::json;

use super::{Result, selectors, success};
use crate::api::{Asker, admin};
use crate::app::App;
use crate::clock;
use crate::params::{Clock, Params};

/// Below the data directory, as in Prometheus.
const SNAPSHOTS: &str = "snapshots";

/// As Prometheus says it when the switch is off.
fn allowed(app: &App) -> Result<()> {
    if app.about.admin_api {
        return Ok(());
    }
    let message = "admin APIs disabled";
    Err(HttpError::new(ErrorKind::Unavailable, message))
}

/// `/admin/tsdb/delete_series`: hidden at once, gone from the disk with the next merges.
pub(super) async fn delete_series(
    State(app): State<Arc<App>>,
    Asker(seen): Asker,
    params: Params,
) -> Result<StatusCode> {
    allowed(&app)?;
    if params.all("match[]").next().is_none() {
        return Err(HttpError::bad_data("no match[] parameter provided"));
    }
    let range = params.open_range(Clock::Seconds)?;
    let mut selectors = selectors(&params, &app)?;
    // What is not seen is not deleted.
    for matchers in &mut selectors {
        matchers.extend(seen.matchers().iter().cloned());
    }
    let tenant = seen.tenant().clone();
    let metrics = Arc::clone(&app.stores()?.metrics);
    let what: Vec<&str> = params.all("match[]").collect();
    tracing::info!(%tenant, ?what, from = %range.start, to = %range.end, "deleting series");
    let delete = move || {
        let mut all = selectors.iter();
        all.try_for_each(|matchers| obs_tsdb::delete(&metrics, &tenant, matchers, range))
    };
    run(delete).await?.map_err(|e| delete_error(&e))?;
    Ok(StatusCode::NO_CONTENT)
}

/// What a deletion that failed means to an HTTP client.
pub(in crate::api) fn delete_error(error: &DeleteError) -> HttpError {
    let kind = match error {
        DeleteError::TooLarge { .. } => ErrorKind::BadData,
        DeleteError::TooMany { .. } => ErrorKind::TooMany,
        DeleteError::Job(_) | DeleteError::Selector(_) => ErrorKind::Internal,
    };
    HttpError::new(kind, error.to_string())
}

/// `/admin/tsdb/clean_tombstones`: takes what was deleted from the disk.
pub(super) async fn clean_tombstones(State(app): State<Arc<App>>) -> Result<StatusCode> {
    allowed(&app)?;
    admin::force(&app, Force::Clean).await
}

/// `/admin/tsdb/snapshot`: a copy of all signals that opens as a data directory.
pub(super) async fn snapshot(State(app): State<Arc<App>>, params: Params) -> Result<Response> {
    allowed(&app)?;
    // What is in memory becomes parts before, so that there is nothing to skip.
    params.flag("skip_head")?;
    let stores = app.stores()?.clone();
    let name = snapshot_name(clock::now());
    let folder = format!("{SNAPSHOTS}/{name}");
    let copy = move || -> std::result::Result<(), BackupError> {
        stores.metrics.snapshot_to(&folder)?;
        stores.logs.snapshot_to(&folder)?;
        stores.spans.snapshot_to(&folder)
    };
    let done = run(copy).await?;
    done.map_err(|error| HttpError::internal(format!("create snapshot: {error}")))?;
    Ok(success(&json!({"name": name})))
}

/// `20260102T030405Z-` and what makes it the only one.
fn snapshot_name(now: Timestamp) -> String {
    let text = now.to_string();
    let digits: String = text.chars().filter(|c| !"-:".contains(*c)).collect();
    let seconds = digits.split(['.', 'Z']).next().unwrap_or_default();
    format!("{seconds}Z-{:016x}", now.nanos())
}

/// Runs a change to its end, off the event loop.
#[expect(
    clippy::disallowed_methods,
    reason = "an admin call waits for the job that runs now, outside the query pool"
)]
pub(in crate::api) async fn run<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| HttpError::internal(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_snapshots() {
        let check = |nanos: i64, expect: &str| {
            assert_eq!(snapshot_name(Timestamp::from_nanos(nanos)), expect);
        };
        check(0, "19700101T000000Z-0000000000000000");
        check(1_500_000_001, "19700101T000001Z-0000000059682f01");
    }
}
