//! `/format_query` and `/parse_query`: what the language makes of a text, without running it.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use obs_query::promql::{self, ast::Expr};

use super::query::of_query;
use super::{Result, success};
use crate::api::json;
use crate::app::{App, query_error};
use crate::params::Params;

/// `/format_query`
pub(super) async fn format(State(app): State<Arc<App>>, params: Params) -> Result<Response> {
    Ok(success(&promql::pretty(&parsed(&app, &params)?).into()))
}

/// `/parse_query`
pub(super) async fn parse(State(app): State<Arc<App>>, params: Params) -> Result<Response> {
    let tree = promql::tree(&parsed(&app, &params)?);
    Ok(json(
        format!("{{\"status\":\"success\",\"data\":{tree}}}").into_bytes(),
    ))
}

fn parsed(app: &App, params: &Params) -> Result<Expr> {
    let text = params.get("query").unwrap_or_default();
    let parsed = promql::parse_with(text, app.features.promql, &app.rules.limits);
    parsed.map_err(|error| of_query(query_error(&error.into())))
}
