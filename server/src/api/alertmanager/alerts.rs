//! `/alerts` and `/alerts/groups`.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::response::Response;
use http::{HeaderMap, StatusCode};
use obs_alerting::notify::inhibit::Sources;
use obs_alerting::notify::{Fingerprint, Group, GroupId, Quiet, Received};
use obs_model::{Labels, Matcher, Timestamp, matcher};
use serde_json::{Value, json};

use super::body::{self, Fault, Fields};
use super::{Refusal, bad, empty, filters, flag, object, off_loop, ok, open, receiver, time};
use crate::alertmanager::{Loaded, Room};
use crate::api::Asker;
use crate::app::App;
use crate::clock;
use crate::enforced::Visible;
use crate::params::Params;

/// Which alerts are asked for.
struct Wanted {
    seen: Visible,
    matchers: Vec<Matcher>,
    receiver: Option<Matcher>,
    receiver_matchers: Vec<Matcher>,
    active: bool,
    silenced: bool,
    inhibited: bool,
    muted: bool,
}

/// Whether labels of a receiver meet all conditions.
pub(super) fn labels_match(matchers: &[Matcher], labels: &BTreeMap<String, String>) -> bool {
    let value = |name: &str| labels.get(name).map_or("", String::as_str);
    matchers.iter().all(|m| m.matches(value(&m.name)))
}

impl Wanted {
    fn of(params: &Params, seen: &Visible) -> Result<Self, Refusal> {
        let matchers = filters(params, "filter").map_err(|e| Box::new(bad(&e)))?;
        let unread = |e| bad(&format!("failed to parse receiver_matchers param: {e}"));
        let receiver_matchers = filters(params, "receiver_matchers");
        Ok(Self {
            seen: seen.clone(),
            matchers,
            receiver: receiver(params)?,
            receiver_matchers: receiver_matchers.map_err(|e| Box::new(unread(e)))?,
            active: flag(params, "active"),
            silenced: flag(params, "silenced"),
            inhibited: flag(params, "inhibited"),
            muted: flag(params, "muted"),
        })
    }

    fn receiver(&self, loaded: &Loaded, name: &str) -> bool {
        if !self.receiver.as_ref().is_none_or(|m| m.matches(name)) {
            return false;
        }
        if self.receiver_matchers.is_empty() {
            return true;
        }
        let receiver = loaded.config.receivers.iter().find(|r| r.name == name);
        receiver.is_some_and(|r| labels_match(&self.receiver_matchers, &r.labels))
    }

    /// Why an alert is quiet, where it is one that is asked for.
    fn quiet(
        &self,
        alert: &Received,
        room: &Room,
        sources: &Sources,
        now: Timestamp,
    ) -> Option<Quiet> {
        let labels = &alert.labels;
        if alert.ends_at < now || !matcher::all_match(&self.matchers, labels) {
            return None;
        }
        if !self.seen.sees(labels) {
            return None;
        }
        let groups = &room.groups;
        let quiet = groups.quiet(&alert.labels, sources, &room.silences, now);
        let fits = (self.active || quiet != Quiet::default())
            && (self.silenced || quiet.silenced_by.is_empty())
            && (self.inhibited || quiet.inhibited_by.is_empty());
        fits.then_some(quiet)
    }
}

/// An alert as the API shows it.
fn shown(alert: &Received, quiet: &Quiet, receivers: &[&str], muted_by: &[String]) -> Value {
    let state = match *quiet == Quiet::default() && muted_by.is_empty() {
        true => "active",
        false => "suppressed",
    };
    let receivers = receivers.iter().map(|name| json!({"name": name}));
    let inhibited_by = quiet.inhibited_by.iter().map(Fingerprint::to_string);
    let mut shown = json!({
        "annotations": object(&alert.annotations),
        "endsAt": time(alert.ends_at),
        "fingerprint": alert.fingerprint.to_string(),
        "receivers": receivers.collect::<Vec<Value>>(),
        "startsAt": time(alert.starts_at),
        "status": {
            "inhibitedBy": inhibited_by.collect::<Vec<String>>(),
            "mutedBy": muted_by,
            "silencedBy": quiet.silenced_by,
            "state": state,
        },
        "updatedAt": time(alert.updated_at),
        "labels": object(&alert.labels),
    });
    if !alert.generator_url.is_empty() {
        shown["generatorURL"] = alert.generator_url.as_str().into();
    }
    shown
}

/// `GET /alerts`
pub(super) async fn list(
    State(app): State<Arc<App>>,
    Asker(tenant): Asker,
    params: Params,
) -> Response {
    let (alertmanager, wanted) = match (open(&app), Wanted::of(&params, &tenant)) {
        (Ok(alertmanager), Ok(wanted)) => (alertmanager, wanted),
        (Err(response), _) | (_, Err(response)) => return *response,
    };
    let now = clock::now();
    let alertmanager = Arc::clone(alertmanager);
    let work = move || {
        let list = alertmanager.look(&tenant, |room, loaded| list_of(&wanted, room, loaded, now));
        ok(&Value::Array(list))
    };
    off_loop(work).await.unwrap_or_else(|response| *response)
}

fn list_of(wanted: &Wanted, room: &Room, loaded: &Loaded, now: Timestamp) -> Vec<Value> {
    let sources = room.groups.sources(now);
    let mut list = Vec::new();
    for alert in room.groups.alerts() {
        let routes = loaded.config.route.find(&alert.labels);
        let receivers = routes.iter().map(|route| route.options.receiver.as_str());
        let receivers: Vec<&str> = receivers.collect();
        if !receivers.iter().any(|name| wanted.receiver(loaded, name)) {
            continue;
        }
        if let Some(quiet) = wanted.quiet(alert, room, &sources, now) {
            list.push((alert.fingerprint, shown(alert, &quiet, &receivers, &[])));
        }
    }
    list.sort_by_key(|(print, _)| print.0);
    list.into_iter().map(|(_, alert)| alert).collect()
}

/// `GET /alerts/groups`
pub(super) async fn groups(
    State(app): State<Arc<App>>,
    Asker(tenant): Asker,
    params: Params,
) -> Response {
    let (alertmanager, wanted) = match (open(&app), Wanted::of(&params, &tenant)) {
        (Ok(alertmanager), Ok(wanted)) => (alertmanager, wanted),
        (Err(response), _) | (_, Err(response)) => return *response,
    };
    let now = clock::now();
    let alertmanager = Arc::clone(alertmanager);
    let work = move || {
        let list = alertmanager.look(&tenant, |room, loaded| {
            groups_of(&wanted, room, loaded, now)
        });
        ok(&Value::Array(list))
    };
    off_loop(work).await.unwrap_or_else(|response| *response)
}

/// A group with what is shown of it.
struct Found<'a> {
    labels: &'a Labels,
    receiver: &'a str,
    route_labels: &'a [(String, String)],
    group: &'a Group,
    alerts: Vec<(&'a Received, Quiet)>,
}

fn groups_of(wanted: &Wanted, room: &Room, loaded: &Loaded, now: Timestamp) -> Vec<Value> {
    let sources = room.groups.sources(now);
    let mut found: Vec<Found<'_>> = Vec::new();
    let mut receivers: BTreeMap<Fingerprint, Vec<&str>> = BTreeMap::new();
    for (GroupId { route, labels }, group) in room.groups.iter() {
        let Some(route) = loaded.config.route.by_id(route) else {
            continue;
        };
        let receiver = route.options.receiver.as_str();
        if !wanted.receiver(loaded, receiver) {
            continue;
        }
        let alerts = room.groups.alerts_of(group).into_iter();
        let alerts = alerts.filter_map(|alert| {
            let quiet = wanted.quiet(alert, room, &sources, now)?;
            Some((alert, quiet))
        });
        let alerts: Vec<(&Received, Quiet)> = alerts.collect();
        if alerts.is_empty() {
            continue;
        }
        for (alert, _) in &alerts {
            receivers
                .entry(alert.fingerprint)
                .or_default()
                .push(receiver);
        }
        found.push(Found {
            labels,
            receiver,
            route_labels: &route.options.labels,
            group,
            alerts,
        });
    }
    receivers
        .values_mut()
        .for_each(|names| names.sort_unstable());
    found.sort_by(|a, b| {
        let key = |f: &Found<'_>| {
            (
                f.labels.iter().map(owned).collect::<Vec<_>>(),
                f.receiver.to_owned(),
            )
        };
        key(a).cmp(&key(b))
    });
    let groups = found.iter().filter_map(|found| {
        let muted_by = &found.group.muted_by;
        if !wanted.muted && !muted_by.is_empty() {
            return None;
        }
        let alerts = found.alerts.iter().map(|(alert, quiet)| {
            let names = receivers
                .get(&alert.fingerprint)
                .map_or(&[][..], Vec::as_slice);
            shown(alert, quiet, names, muted_by)
        });
        let route_labels: BTreeMap<&String, &String> =
            found.route_labels.iter().map(|(n, v)| (n, v)).collect();
        Some(json!({
            "alerts": alerts.collect::<Vec<Value>>(),
            "labels": object(found.labels),
            "receiver": {"name": found.receiver},
            "routeLabels": route_labels,
        }))
    });
    groups.collect()
}

fn owned((name, value): (&str, &str)) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

/// `POST /alerts`
pub(super) async fn post(
    State(app): State<Arc<App>>,
    Asker(tenant): Asker,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let alertmanager = match open(&app) {
        Ok(alertmanager) => alertmanager,
        Err(response) => return *response,
    };
    let timeout = alertmanager.loaded().config.global.resolve_timeout();
    let work = move || {
        let body = body::read(&headers, &body, "alerts")?;
        read_all(&body, clock::now(), timeout).map_err(|fault| Box::new(body::refused(fault)))
    };
    let (alerts, faults) = match off_loop(work).await {
        Ok(Ok(read)) => read,
        Ok(Err(response)) | Err(response) => return *response,
    };
    alertmanager.note_invalid(faults.len() as u64);
    alertmanager.receive(&tenant, alerts).await;
    match faults.is_empty() {
        true => empty(StatusCode::OK),
        false => bad(&faults.join("\n")),
    }
}

/// The alerts of a body, and what is wrong with some of them; the whole body is refused where the
/// schema forbids it.
fn read_all(
    body: &Value,
    now: Timestamp,
    timeout: i64,
) -> Result<(Vec<Received>, Vec<String>), Fault> {
    let list = match body {
        Value::Null => return Ok((Vec::new(), Vec::new())),
        Value::Array(list) => list,
        other => {
            let kind = body::kind_of(other);
            let why = format!(
                "json: cannot unmarshal {kind} into Go value of type models.PostableAlerts"
            );
            return Err(body::unread("alerts", &why));
        }
    };
    let (mut alerts, mut faults) = (Vec::with_capacity(list.len()), Vec::new());
    let mut missing = None;
    for (at, entry) in list.iter().enumerate() {
        let Value::Object(map) = entry else {
            let kind = body::kind_of(entry);
            let why =
                format!("json: cannot unmarshal {kind} into Go value of type models.PostableAlert");
            return Err(body::unread("alerts", &why));
        };
        let fields = Fields {
            name: "alerts",
            go: "Alert",
            map,
        };
        match read_one(fields, at, now, timeout)? {
            Read::Alert(alert) => alerts.push(alert),
            Read::Wrong(fault) => faults.push(fault),
            Read::Forbidden(fault) => missing = missing.or(Some(fault)),
        }
    }
    // Types are checked of all before the rest of the schema is.
    missing.map_or(Ok((alerts, faults)), Err)
}

/// What an entry is.
enum Read {
    Alert(Received),
    /// It is left out.
    Wrong(String),
    /// Nothing of the body is taken.
    Forbidden(Fault),
}

fn read_one(fields: Fields<'_>, at: usize, now: Timestamp, timeout: i64) -> Result<Read, Fault> {
    let labels = fields.texts("labels")?;
    let annotations = fields.texts("annotations")?.unwrap_or_default();
    let (starts, ends) = (fields.time("startsAt")?, fields.time("endsAt")?);
    let generator_url = fields.text("generatorURL")?.unwrap_or_default();
    let Some(labels) = labels else {
        let fault = (602, format!("{at}.labels in body is required"));
        return Ok(Read::Forbidden(fault));
    };
    if !generator_url.is_empty() && generator_url.parse::<http::Uri>().is_err() {
        let text = format!("{at}.generatorURL in body must be of type uri: {generator_url:?}");
        return Ok(Read::Forbidden((601, text)));
    }
    let starts_at = starts.or(ends).unwrap_or(now);
    let ends_at = ends.unwrap_or_else(|| now.saturating_add(timeout));
    if ends_at < starts_at {
        return Ok(Read::Wrong("start time must be before end time".to_owned()));
    }
    let known = body::labels(&labels);
    if known.is_empty() {
        return Ok(Read::Wrong("at least one label pair required".to_owned()));
    }
    // Names are any text in UTF-8 now, but not none.
    for (pairs, what) in [(&labels, "label set"), (&annotations, "annotations")] {
        if pairs
            .iter()
            .any(|(name, value)| name.is_empty() && !value.is_empty())
        {
            return Ok(Read::Wrong(format!("invalid {what}: invalid name \"\"")));
        }
    }
    Ok(Read::Alert(Received {
        fingerprint: Fingerprint::of(&known),
        labels: known,
        annotations: body::labels(&annotations),
        starts_at,
        ends_at,
        updated_at: now,
        generator_url: generator_url.to_owned(),
        guessed_end: ends.is_none(),
    }))
}
