//! `index/stats`, `index/volume`, `index/volume_range` and `index/shards`: sizes from the index.
//!
//! Invariant: lines are read only where records are hidden or may be stored twice.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use obs_collector::HttpError;
use obs_model::{Budget, Matcher, TimeRange, Timestamp};
use obs_query::QueryError;
use obs_query::column::Grid;
use obs_query::logs::tenants::TenantLogs;
use obs_query::logs::volume::{
    Volume, VolumeBy, VolumeRequest, volume as measure, volume_range as measure_range,
};
use obs_wire::loki::api::{self as write, IndexStats};
use obs_wire::loki::explore;

use super::{
    Askers, Checked, HOUR, Result, gather, half_open, json, matchers, positive, range as times,
    step,
};
use crate::api::Told;
use crate::app::App;
use crate::params::Params;

const SINCE: i64 = 6 * HOUR;
/// Volumes without a `limit`, as Loki.
const VOLUMES_DEFAULT: usize = 100;

async fn measured(app: &App, askers: &Askers, params: &Params) -> Checked<IndexStats> {
    let matchers = vec![matchers(app, params.get("query"))?];
    let range = half_open(params, SINCE)?;
    let read = move |tenant: &TenantLogs, matchers: &[Matcher], budget: &Budget| {
        let stats = obs_logstore::stats(&tenant.snapshot, matchers, range, budget)?;
        Ok(vec![stats])
    };
    let all = gather(app, askers, params, matchers, read).await?;
    let sum = all
        .iter()
        .fold(IndexStats::default(), |sum, one| IndexStats {
            streams: sum.streams + one.streams,
            chunks: sum.chunks + one.chunks,
            entries: sum.entries + one.entries,
            bytes: sum.bytes + one.bytes,
        });
    Ok(sum)
}

pub(super) async fn stats(
    State(app): State<Arc<App>>,
    Told(askers): Told<Askers>,
    Told(params): Told<Params>,
) -> Result<Response> {
    let stats = measured(&app, &askers, &params).await?;
    let mut body = Vec::new();
    write::index_stats(stats, &mut body);
    Ok(json(body))
}

pub(super) async fn shards(
    State(app): State<Arc<App>>,
    Told(askers): Told<Askers>,
    Told(params): Told<Params>,
) -> Result<Response> {
    params.need("query")?;
    let stats = measured(&app, &askers, &params).await?;
    let mut body = Vec::new();
    explore::shards(stats, &mut body);
    Ok(json(body))
}

/// What the parameters of a volume ask for.
fn request(app: &App, params: &Params) -> Checked<VolumeRequest> {
    let targets = params.get("targetLabels").unwrap_or("").split(',');
    let targets = targets.map(str::trim).filter(|name| !name.is_empty());
    let by = match params.get("aggregateBy") {
        None | Some("series") => VolumeBy::Series,
        Some("labels") => VolumeBy::Labels,
        Some(_) => {
            let message = "invalid aggregation option, expected series or labels";
            return Err(HttpError::bad_data(message));
        }
    };
    Ok(VolumeRequest {
        matchers: matchers(app, Some(params.need("query")?))?,
        targets: targets.map(str::to_owned).collect(),
        by,
        limit: match params.get("limit") {
            // As Loki, 0 is none.
            Some("0") => VOLUMES_DEFAULT,
            _ => positive(params, "limit")?.unwrap_or(VOLUMES_DEFAULT),
        },
    })
}

/// Volumes of all tenants, the largest first.
async fn volumes<F>(
    app: &App,
    askers: &Askers,
    params: &Params,
    request: VolumeRequest,
    read: F,
) -> Checked<Vec<Volume>>
where
    F: Fn(&TenantLogs, &VolumeRequest, &Budget) -> std::result::Result<Vec<Volume>, QueryError>
        + Send
        + 'static,
{
    let (limit, several) = (request.limit, askers.several());
    let selectors = vec![request.matchers.clone()];
    let each = move |tenant: &TenantLogs, matchers: &[Matcher], budget: &Budget| {
        let own = VolumeRequest {
            matchers: matchers.to_vec(),
            // What is small with one tenant may be large over all.
            limit: if several { usize::MAX } else { limit },
            ..request.clone()
        };
        read(tenant, &own, budget)
    };
    let found = gather(app, askers, params, selectors, each).await?;
    if !several {
        return Ok(found);
    }
    let mut sums: BTreeMap<Vec<(String, String)>, Vec<u64>> = BTreeMap::new();
    for volume in found {
        let sum = sums
            .entry(volume.labels)
            .or_insert(vec![0; volume.bytes.len()]);
        sum.iter_mut()
            .zip(&volume.bytes)
            .for_each(|(sum, more)| *sum += more);
    }
    let sums = sums
        .into_iter()
        .map(|(labels, bytes)| Volume { labels, bytes });
    let mut sums: Vec<Volume> = sums.collect();
    sums.sort_by_key(|volume| std::cmp::Reverse(volume.bytes.iter().sum::<u64>()));
    sums.truncate(limit);
    Ok(sums)
}

/// Volumes as the API tells them; steps without bytes are left out.
fn told(volumes: Vec<Volume>, at: impl Fn(usize) -> Timestamp) -> Vec<explore::Volume> {
    let told = volumes.into_iter().map(|volume| explore::Volume {
        labels: volume.labels,
        points: volume
            .bytes
            .iter()
            .enumerate()
            .filter(|(_, bytes)| **bytes > 0)
            .map(|(index, bytes)| (at(index), *bytes))
            .collect(),
    });
    told.collect()
}

pub(super) async fn volume(
    State(app): State<Arc<App>>,
    Told(askers): Told<Askers>,
    Told(params): Told<Params>,
) -> Result<Response> {
    let request = request(&app, &params)?;
    let (start, end) = times(&params, SINCE)?;
    let range = TimeRange::new(start, end.saturating_sub(1).max(start));
    let read = move |tenant: &TenantLogs, request: &VolumeRequest, budget: &Budget| {
        measure(&tenant.snapshot, request, range, budget)
    };
    let found = volumes(&app, &askers, &params, request, read).await?;
    let mut body = Vec::new();
    // What is asked for at an instant is told at the end, what is asked for in steps at their begin.
    explore::volume(&told(found, |_| end), &mut body);
    Ok(json(body))
}

pub(super) async fn volume_range(
    State(app): State<Arc<App>>,
    Told(askers): Told<Askers>,
    Told(params): Told<Params>,
) -> Result<Response> {
    let request = request(&app, &params)?;
    let (start, end) = times(&params, SINCE)?;
    let step = step(&app, &params, (start, end))?;
    let (width, each) = ((end - start).max(1), step.max(1));
    let count = width.unsigned_abs().div_ceil(each.unsigned_abs());
    let grid = Grid {
        start,
        step,
        count: usize::try_from(count).unwrap_or(1),
    };
    let read = move |tenant: &TenantLogs, request: &VolumeRequest, budget: &Budget| {
        measure_range(&tenant.snapshot, request, &grid, budget)
    };
    let found = volumes(&app, &askers, &params, request, read).await?;
    let mut body = Vec::new();
    explore::volume_range(&told(found, |index| grid.at(index)), &mut body);
    Ok(json(body))
}
