//! `/rules`, `/alerts` and `/alertmanagers` of a server that evaluates no rules: the answers of a
//! Prometheus without rule files. Where the configuration asks for rules, a warning says that they
//! are not evaluated.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use serde_json::{Value, json};

use super::Result;
use crate::api::json;
use crate::app::App;
use crate::params::{Params, invalid};

/// `/rules`
pub(super) async fn rules(State(app): State<Arc<App>>, params: Params) -> Result<Response> {
    if let Some(kind) = params.get("type").map(str::to_lowercase)
        && !["alert", "record"].contains(&kind.as_str())
    {
        return Err(invalid("type", format!("not supported value {kind:?}")));
    }
    params.flag("exclude_alerts")?;
    super::selectors(&params, &app)?;
    let group_limit = params.positive("group_limit")?;
    if group_limit.is_none() && params.get("group_next_token").is_some() {
        return Err(invalid(
            "group_next_token",
            "group_limit needs to be present in order to paginate over the groups",
        ));
    }
    Ok(nothing(&app, &json!({"groups": []})))
}

/// `/alerts`
pub(super) async fn alerts(State(app): State<Arc<App>>) -> Response {
    nothing(&app, &json!({"alerts": []}))
}

/// `/alertmanagers`
pub(super) async fn alertmanagers(State(app): State<Arc<App>>) -> Response {
    nothing(
        &app,
        &json!({"activeAlertmanagers": [], "droppedAlertmanagers": []}),
    )
}

fn nothing(app: &App, data: &Value) -> Response {
    let mut answer = json!({"status": "success", "data": data});
    if !app.about.notices.is_empty() {
        answer["warnings"] = json!(app.about.notices);
    }
    json(answer.to_string().into_bytes())
}
