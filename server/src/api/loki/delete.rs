//! `delete`: requests that lines are deleted, and their list.
//!
//! Lines are hidden before the answer and go from the disk with the next merges (decision 0080), so
//! a request is `processed` as soon as it is listed and cannot be taken back.
//! Invariants: a request that is listed was carried out; the list is this process' own, bounded, and
//! shows a tenant its own requests only.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use obs_collector::HttpError;
use obs_model::{Tenant, TimeRange, Timestamp};
use obs_wire::loki::explore::{self as write, DeleteRequest};

use super::{Askers, Checked, Result, json, log_query};
use crate::api::Told;
use crate::api::prometheus::{delete_error, run};
use crate::app::App;
use crate::clock;
use crate::params::{Clock, Params};

/// Tells which request was made.
const REQUEST_ID: &str = "x-delete-request-id";
/// Requests that are listed; the oldest are forgotten first.
const LISTED_MAX: usize = 1000;

/// Requests that were carried out.
#[derive(Debug, Default)]
pub(crate) struct Deletions(Mutex<VecDeque<(Tenant, DeleteRequest)>>);

impl Deletions {
    fn lock(&self) -> MutexGuard<'_, VecDeque<(Tenant, DeleteRequest)>> {
        // Every change is whole, so what a panic left behind is sound.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, tenant: Tenant, request: DeleteRequest) {
        let mut all = self.lock();
        if all.len() >= LISTED_MAX {
            all.pop_front();
        }
        all.push_back((tenant, request));
    }

    /// The requests of a tenant, the oldest first.
    fn of(&self, tenant: &Tenant) -> Vec<DeleteRequest> {
        let all = self.lock();
        let own = all.iter().filter(|(whose, _)| whose == tenant);
        own.map(|(_, request)| request.clone()).collect()
    }
}

fn wrong(message: &str) -> HttpError {
    HttpError::bad_data(message)
}

fn time(params: &Params, name: &str) -> Checked<Option<Timestamp>> {
    params.time(name, Clock::Nanoseconds).map_err(|_| {
        wrong(&format!(
            "invalid {name} time: require unix seconds or RFC3339 format"
        ))
    })
}

/// The range of a request; both ends belong to it.
fn range(params: &Params) -> Checked<TimeRange> {
    let start = time(params, "start")?.ok_or_else(|| wrong("start time not set"))?;
    let end = time(params, "end")?;
    let now = clock::now();
    let end = end.unwrap_or(now);
    if end > now {
        return Err(wrong("deletes in the future are not allowed"));
    }
    if start > end {
        return Err(wrong("start time can't be greater than end time"));
    }
    Ok(TimeRange::new(start, end))
}

pub(super) async fn create(
    State(app): State<Arc<App>>,
    Told(askers): Told<Askers>,
    Told(params): Told<Params>,
) -> Result<Response> {
    let seen = askers.only()?;
    let tenant = seen.tenant().clone();
    let query = params.get("query").ok_or_else(|| wrong("query not set"))?;
    let mut lines = log_query(&app, &params, "unsupported query expression")?;
    // What is not seen is not deleted.
    lines.matchers.extend(seen.matchers().iter().cloned());
    let selector = obs_query::logs::selector(lines).map_err(|e| wrong(&e))?;
    let range = range(&params)?;
    // All of it is deleted at once, whatever the interval is.
    params
        .duration("max_interval")
        .map_err(|_| wrong("invalid max_interval: valid time units are 's', 'm', 'h'"))?;
    let logs = Arc::clone(&app.stores()?.logs);
    tracing::info!(%tenant, query, from = %range.start, to = %range.end, "deleting lines");
    let whose = tenant.clone();
    let hide = move || obs_logstore::delete(&logs, &whose, &selector, range);
    run(hide).await?.map_err(|e| delete_error(&e))?;
    let created = clock::now();
    let request = DeleteRequest {
        id: format!("{:016x}", created.nanos()),
        start: range.start,
        end: range.end,
        query: query.to_owned(),
        status: "processed",
        created,
    };
    let id = request.id.clone();
    app.deletions.add(tenant, request);
    Ok((StatusCode::NO_CONTENT, [(REQUEST_ID, id)]).into_response())
}

pub(super) async fn list(
    State(app): State<Arc<App>>,
    Told(askers): Told<Askers>,
    Told(params): Told<Params>,
) -> Result<Response> {
    let seen = askers.only()?;
    seen.must_be_whole("the list of delete requests")?;
    let mut requests = app.deletions.of(seen);
    if let (Some(start), Some(end)) = (time(&params, "start")?, time(&params, "end")?) {
        requests.retain(|request| request.start <= end && start <= request.end);
    }
    let mut body = Vec::new();
    write::delete_requests(&requests, &mut body);
    Ok(json(body))
}

/// A request that is listed is done, so there is nothing left to cancel.
pub(super) async fn cancel(
    State(app): State<Arc<App>>,
    Told(askers): Told<Askers>,
    Told(params): Told<Params>,
) -> Result<StatusCode> {
    let id = params.get("request_id");
    let id = id.ok_or_else(|| wrong("request_id not set"))?;
    let known = app.deletions.of(askers.only()?);
    if !known.iter().any(|request| request.id == id) {
        return Err(HttpError::not_found("could not find delete request with given id").into());
    }
    let done = "deletion of request which is in process or already processed is not allowed";
    Err(wrong(done).into())
}
