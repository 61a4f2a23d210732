//! `/api/v1/alertmanager/route`: where an alert would go, and what would keep it quiet now.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use obs_alerting::notify::route::{GroupBy, Repeat, Route};
use obs_alerting::notify::{Fingerprint, matchers};
use obs_collector::HttpError;
use obs_model::{Labels, MatchOp, Timestamp, duration};
use serde_json::{Value, json};

use super::{object, off_loop, open, whole};
use crate::alertmanager::{Loaded, Room};
use crate::api::Asker;
use crate::app::App;
use crate::clock;
use crate::params::{Params, invalid};

/// Labels as matchers that are all equalities: `{alertname="A", severity="page"}`.
fn labels(params: &Params) -> Result<Labels, HttpError> {
    let mut pairs = Vec::new();
    for text in params.all("labels") {
        for matcher in matchers::parse(text).map_err(|e| invalid("labels", e))? {
            if matcher.op != MatchOp::Equal {
                let why = format!("expected labels such as severity=\"page\", found {text:?}");
                return Err(invalid("labels", why));
            }
            pairs.push((matcher.name.to_string(), matcher.value.to_string()));
        }
    }
    Ok(Labels::from_pairs(pairs))
}

pub(super) async fn route(
    State(app): State<Arc<App>>,
    Asker(tenant): Asker,
    params: Params,
) -> Response {
    let whole = whole(&tenant, "the tree of routes");
    let alertmanager = match whole.and_then(|()| open(&app)) {
        Ok(alertmanager) => alertmanager,
        Err(response) => return *response,
    };
    let labels = match labels(&params) {
        Ok(labels) => labels,
        Err(error) => return error.into_response(),
    };
    let (now, alertmanager) = (clock::now(), Arc::clone(alertmanager));
    let work = move || {
        let data = alertmanager.look(&tenant, |room, loaded| preview(&labels, room, loaded, now));
        let body = json!({"status": "success", "data": data});
        crate::api::json(body.to_string().into_bytes())
    };
    off_loop(work).await.unwrap_or_else(|response| *response)
}

fn preview(labels: &Labels, room: &Room, loaded: &Loaded, now: Timestamp) -> Value {
    let sources = room.groups.sources(now);
    let quiet = room.groups.quiet(labels, &sources, &room.silences, now);
    let routes = loaded.config.route.find(labels);
    let routes = routes
        .into_iter()
        .map(|route| shown(route, labels, loaded, now));
    let inhibited_by = quiet.inhibited_by.iter().map(Fingerprint::to_string);
    json!({
        "labels": object(labels),
        "silencedBy": quiet.silenced_by,
        "inhibitedBy": inhibited_by.collect::<Vec<String>>(),
        "routes": routes.collect::<Vec<Value>>(),
    })
}

fn shown(route: &Route, labels: &Labels, loaded: &Loaded, now: Timestamp) -> Value {
    let options = &route.options;
    let receiver = loaded
        .config
        .receivers
        .iter()
        .find(|r| r.name == options.receiver);
    let integrations = receiver
        .into_iter()
        .flat_map(|receiver| &receiver.integrations);
    let integrations = integrations.map(|i| format!("{}[{}]", i.kind(), i.index));
    let group_by: Vec<String> = match &options.group_by {
        GroupBy::All => vec!["...".to_owned()],
        GroupBy::Labels(names) => names.iter().cloned().collect(),
    };
    let repeat = match options.repeat {
        Repeat::Never => "never".to_owned(),
        Repeat::After(nanos) => duration::format(nanos),
    };
    json!({
        "route": route.key,
        "receiver": options.receiver,
        "integrations": integrations.collect::<Vec<String>>(),
        "groupBy": group_by,
        "groupLabels": object(&route.group_labels(labels)),
        "groupWait": duration::format(options.group_wait),
        "groupInterval": duration::format(options.group_interval),
        "repeatInterval": repeat,
        "resolveWait": options.resolve_wait.map(duration::format),
        "mutedBy": loaded.config.muted_by(options, now),
    })
}
