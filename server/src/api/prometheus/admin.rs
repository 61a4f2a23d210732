//! `/admin/tsdb/…`: behind the switch `--enable-admin-api`.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use obs_collector::{ErrorKind, HttpError};

use super::{Result, selectors};
use crate::api::Asker;
use crate::app::App;
use crate::params::{Clock, Params};

/// As Prometheus says it when the switch is off.
fn allowed(app: &App) -> Result<()> {
    if app.about.admin_api {
        return Ok(());
    }
    let message = "admin APIs disabled";
    Err(HttpError::new(ErrorKind::Unavailable, message))
}

fn not_yet(what: &str) -> HttpError {
    let message = format!("{what} is not part of this version");
    HttpError::new(ErrorKind::Unavailable, message)
}

/// `/admin/tsdb/delete_series`
pub(super) async fn delete_series(
    State(app): State<Arc<App>>,
    Asker(_): Asker,
    params: Params,
) -> Result<Response> {
    allowed(&app)?;
    if params.all("match[]").next().is_none() {
        return Err(HttpError::bad_data("no match[] parameter provided"));
    }
    params.open_range(Clock::Seconds)?;
    selectors(&params, &app)?;
    Err(not_yet("deletion"))
}

/// `/admin/tsdb/clean_tombstones`
pub(super) async fn clean_tombstones(State(app): State<Arc<App>>) -> Result<Response> {
    allowed(&app)?;
    Err(not_yet("deletion"))
}

/// `/admin/tsdb/snapshot`
pub(super) async fn snapshot(State(app): State<Arc<App>>, params: Params) -> Result<Response> {
    allowed(&app)?;
    params.flag("skip_head")?;
    Err(not_yet("a snapshot"))
}
