//! `/silences` and `/silence/{id}`.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::response::Response;
use http::{HeaderMap, StatusCode};
use obs_alerting::notify::{Silence, SilenceError, SilenceState};
use obs_model::{MatchOp, Matcher, Timestamp};
use serde_json::{Value, json};

use super::body::{self, Fault, Fields};
use super::{Refusal, bad, empty, filters, flag, off_loop, ok, open, time, wrong};
use crate::alertmanager::NotSet;
use crate::api::Asker;
use crate::app::App;
use crate::clock;
use crate::enforced::Visible;
use crate::params::Params;

/// A silence as the API shows it.
fn shown(silence: &Silence, now: Timestamp) -> Value {
    let matchers = silence.matchers.iter().map(|matcher| {
        json!({
            "isEqual": matches!(matcher.op, MatchOp::Equal | MatchOp::Regex),
            "isRegex": matches!(matcher.op, MatchOp::Regex | MatchOp::NotRegex),
            "name": matcher.name,
            "value": matcher.value,
        })
    });
    json!({
        "id": silence.id,
        "status": {"state": silence.state(now).as_str()},
        "updatedAt": time(silence.updated_at),
        "annotations": silence.annotations,
        "comment": silence.comment,
        "createdBy": silence.created_by,
        "endsAt": time(silence.ends_at),
        "matchers": matchers.collect::<Vec<Value>>(),
        "startsAt": time(silence.starts_at),
    })
}

/// Whether a silence has each of these matchers itself.
fn has(silence: &Silence, wanted: &[Matcher]) -> bool {
    let same = |a: &Matcher, b: &Matcher| (&a.name, a.op, &a.value) == (&b.name, b.op, &b.value);
    wanted
        .iter()
        .all(|wanted| silence.matchers.iter().any(|own| same(own, wanted)))
}

/// Whether a silence is about nothing but what is seen: it has each of the enforced matchers, or
/// names one value that meets it.
fn is_seen(silence: &Silence, seen: &Visible) -> bool {
    let within = |own: &Matcher, wanted: &Matcher| {
        let same = (own.op, &own.value) == (wanted.op, &wanted.value);
        own.name == wanted.name && (same || own.op == MatchOp::Equal && wanted.matches(&own.value))
    };
    let mut enforced = seen.matchers().iter();
    enforced.all(|wanted| silence.matchers.iter().any(|own| within(own, wanted)))
}

/// `GET /silences`
pub(super) async fn list(
    State(app): State<Arc<App>>,
    Asker(tenant): Asker,
    params: Params,
) -> Response {
    let alertmanager = match open(&app) {
        Ok(alertmanager) => alertmanager,
        Err(response) => return *response,
    };
    let wanted = match filters(&params, "filter") {
        Ok(wanted) => wanted,
        Err(fault) => return bad(&fault),
    };
    let (now, alertmanager) = (clock::now(), Arc::clone(alertmanager));
    let work = move || {
        let state_wanted = |silence: &Silence| flag(&params, silence.state(now).as_str());
        let mut found: Vec<Silence> = alertmanager.look(&tenant, |room, _| {
            let all = room.silences.iter().filter(|s| state_wanted(s));
            let all = all.filter(|s| has(s, &wanted) && is_seen(s, &tenant));
            all.cloned().collect()
        });
        // What ends next, what begins next, what ended last.
        found.sort_by_key(|silence| match silence.state(now) {
            SilenceState::Active => (0, silence.ends_at.nanos()),
            SilenceState::Pending => (1, silence.starts_at.nanos()),
            SilenceState::Expired => (2, silence.ends_at.nanos().saturating_neg()),
        });
        ok(&found.iter().map(|silence| shown(silence, now)).collect())
    };
    off_loop(work).await.unwrap_or_else(|response| *response)
}

/// Whether a text is a UUID.
fn check_id(id: &str) -> Result<(), Refusal> {
    let parts: Vec<&str> = id.split('-').collect();
    let lengths = parts.iter().map(|part| part.len());
    let hex = id.bytes().all(|b| b == b'-' || b.is_ascii_hexdigit());
    if hex && lengths.eq([8, 4, 4, 4, 12]) {
        return Ok(());
    }
    let text = format!("silenceID in path must be of type uuid: {id:?}");
    Err(Box::new(body::refused((601, text))))
}

/// `GET /silence/{id}`
pub(super) async fn one(
    State(app): State<Arc<App>>,
    Asker(tenant): Asker,
    Path(id): Path<String>,
) -> Response {
    let alertmanager = match (open(&app), check_id(&id)) {
        (Ok(alertmanager), Ok(())) => alertmanager,
        (Err(response), _) | (_, Err(response)) => return *response,
    };
    let found = alertmanager.look(&tenant, |room, _| room.silences.get(&id).cloned());
    match found.filter(|silence| is_seen(silence, &tenant)) {
        Some(silence) => ok(&shown(&silence, clock::now())),
        None => empty(StatusCode::NOT_FOUND),
    }
}

/// `DELETE /silence/{id}`
pub(super) async fn delete(
    State(app): State<Arc<App>>,
    Asker(tenant): Asker,
    Path(id): Path<String>,
) -> Response {
    let alertmanager = match (open(&app), check_id(&id)) {
        (Ok(alertmanager), Ok(())) => alertmanager,
        (Err(response), _) | (_, Err(response)) => return *response,
    };
    match alertmanager
        .expire_silence(&tenant, &id, clock::now())
        .await
    {
        Ok(()) => empty(StatusCode::OK),
        Err(NotSet::Wrong(SilenceError::Missing)) => empty(StatusCode::NOT_FOUND),
        Err(error) => wrong(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    }
}

/// `POST /silences`
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
    let body = match body::read(&headers, &body, "silence") {
        Ok(body) => body,
        Err(response) => return *response,
    };
    let silence = match read(&body) {
        Ok(silence) => silence,
        Err(Wrong::Schema(fault)) => return body::refused(fault),
        Err(Wrong::Silence(text)) => return bad(&text),
    };
    let now = clock::now();
    if silence.starts_at >= silence.ends_at {
        return bad("Failed to create silence: start time must be before end time");
    }
    if silence.ends_at < now {
        return bad("Failed to create silence: end time can't be in the past");
    }
    match alertmanager.silence(&tenant, silence, now).await {
        Ok(id) => ok(&json!({"silenceID": id})),
        Err(error @ NotSet::Wrong(SilenceError::Missing)) => {
            wrong(StatusCode::NOT_FOUND, &error.to_string())
        }
        Err(error @ NotSet::NotKept(_)) => {
            wrong(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string())
        }
        Err(error) => bad(&error.to_string()),
    }
}

/// What is wrong with a body.
enum Wrong {
    Schema(Fault),
    Silence(String),
}

impl From<Fault> for Wrong {
    fn from(fault: Fault) -> Self {
        Self::Schema(fault)
    }
}

fn required<T>(value: Option<T>, field: &str) -> Result<T, Fault> {
    value.ok_or_else(|| (602, format!("{field} in body is required")))
}

fn read(body: &Value) -> Result<Silence, Wrong> {
    let Value::Object(map) = body else {
        let kind = body::kind_of(body);
        let why =
            format!("json: cannot unmarshal {kind} into Go value of type models.PostableSilence");
        return Err(body::unread("silence", &why).into());
    };
    let fields = Fields {
        name: "silence",
        go: "PostableSilence",
        map,
    };
    // All types first, then what is required, in the order of the schema.
    let id = fields.text("id")?.unwrap_or_default();
    let (comment, created_by) = (fields.text("comment")?, fields.text("createdBy")?);
    let annotations = fields.texts("annotations")?.unwrap_or_default();
    let (starts, ends) = (fields.time("startsAt")?, fields.time("endsAt")?);
    let (has_start, has_end) = (fields.get("startsAt"), fields.get("endsAt"));
    let matchers = match fields.get("matchers") {
        None => None,
        Some(Value::Array(list)) => Some(list),
        Some(other) => {
            let kind = body::kind_of(other);
            let why = format!(
                "json: cannot unmarshal {kind} into Go struct field PostableSilence.matchers of type models.Matchers"
            );
            return Err(body::unread("silence", &why).into());
        }
    };
    let comment = required(comment, "comment")?;
    let created_by = required(created_by, "createdBy")?;
    required(has_end, "endsAt")?;
    let matchers = required(matchers, "matchers")?;
    if matchers.is_empty() {
        let text = "matchers in body should have at least 1 items".to_owned();
        return Err((612, text).into());
    }
    let mut conditions = Vec::with_capacity(matchers.len());
    for (at, matcher) in matchers.iter().enumerate() {
        conditions.push(read_matcher(matcher, at)?);
    }
    required(has_start, "startsAt")?;
    let conditions = conditions.into_iter().enumerate();
    let conditions = conditions.map(|(at, (name, op, value))| build(at, name, op, value));
    let annotations = annotations.into_iter();
    Ok(Silence {
        id: id.to_owned(),
        matchers: conditions
            .collect::<Result<_, String>>()
            .map_err(Wrong::Silence)?,
        starts_at: starts.unwrap_or(Timestamp::MIN),
        ends_at: ends.unwrap_or(Timestamp::MIN),
        updated_at: Timestamp::default(),
        created_by: created_by.to_owned(),
        comment: comment.to_owned(),
        annotations: annotations
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect::<BTreeMap<String, String>>(),
    })
}

/// Name, comparison and value.
type Condition<'a> = (&'a str, MatchOp, &'a str);

fn read_matcher(matcher: &Value, at: usize) -> Result<Condition<'_>, Fault> {
    let Value::Object(map) = matcher else {
        let kind = body::kind_of(matcher);
        let why = format!("json: cannot unmarshal {kind} into Go value of type models.Matcher");
        return Err(body::unread("silence", &why));
    };
    let fields = Fields {
        name: "silence",
        go: "Matcher",
        map,
    };
    let of = |field: &str| format!("matchers.{at}.{field}");
    let (name, value) = (fields.text("name")?, fields.text("value")?);
    let (is_equal, is_regex) = (fields.flag("isEqual")?, fields.flag("isRegex")?);
    let is_regex = required(is_regex, &of("isRegex"))?;
    let name = required(name, &of("name"))?;
    let value = required(value, &of("value"))?;
    let op = match (is_equal.unwrap_or(true), is_regex) {
        (true, false) => MatchOp::Equal,
        (false, false) => MatchOp::NotEqual,
        (true, true) => MatchOp::Regex,
        (false, true) => MatchOp::NotRegex,
    };
    Ok((name, op, value))
}

fn build(at: usize, name: &str, op: MatchOp, value: &str) -> Result<Matcher, String> {
    let of = format!("invalid silence: invalid label matcher {at} in set 0");
    if name.is_empty() {
        return Err(format!("{of}: invalid label name {name:?}"));
    }
    let matcher = Matcher::new(name, op, value);
    matcher.map_err(|e| format!("{of}: invalid regular expression {value:?}: {e}"))
}
