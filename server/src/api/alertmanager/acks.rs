//! `/api/v1/alertmanager/acks`: who cares for which alert. This is obs' own; Alertmanager has
//! nothing like it.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::response::Response;
use http::{HeaderMap, StatusCode};
use obs_alerting::notify::{Ack, Fingerprint};
use obs_model::Timestamp;
use obs_model::time::parse_rfc3339;
use serde_json::{Value, json};

use super::{bad, body, empty, object, off_loop, ok, open, time, wrong};
use crate::alertmanager::Room;
use crate::api::Asker;
use crate::app::App;
use crate::clock;
use crate::enforced::Visible;

/// Bytes of what is said with an acknowledgement.
const TEXT_BYTES_MAX: usize = 16 << 10;

/// `GET /acks`
pub(super) async fn list(State(app): State<Arc<App>>, Asker(tenant): Asker) -> Response {
    let alertmanager = match open(&app) {
        Ok(alertmanager) => alertmanager,
        Err(response) => return *response,
    };
    let (now, alertmanager) = (clock::now(), Arc::clone(alertmanager));
    let work = move || {
        let found = alertmanager.look(&tenant, |room, _| all_of(room, &tenant, now));
        ok(&found.into())
    };
    off_loop(work).await.unwrap_or_else(|response| *response)
}

/// The acknowledgements that hold.
fn all_of(room: &Room, seen: &Visible, now: Timestamp) -> Vec<Value> {
    let all = room.groups.acks().iter().filter_map(|(print, ack)| {
        let alert = room.groups.alert(*print)?;
        room.groups.acks().of(alert, now)?;
        if !seen.sees(&alert.labels) {
            return None;
        }
        Some(json!({
            "fingerprint": print.to_string(),
            "labels": object(&alert.labels),
            "createdBy": ack.by,
            "comment": ack.comment,
            "createdAt": time(ack.at),
            "endsAt": ack.until.map(time),
        }))
    });
    all.collect()
}

/// `POST /acks`
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
    let body = match body::read(&headers, &body, "acknowledgement") {
        Ok(body) => body,
        Err(response) => return *response,
    };
    let (print, ack) = match read(&body) {
        Ok(read) => read,
        Err(fault) => return bad(&fault),
    };
    match alertmanager.acknowledge(&tenant, print, ack).await {
        Ok(true) => empty(StatusCode::OK),
        Ok(false) => wrong(StatusCode::NOT_FOUND, "no such alert fires"),
        Err(error) => wrong(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    }
}

/// `DELETE /acks/{fingerprint}`
pub(super) async fn delete(
    State(app): State<Arc<App>>,
    Asker(tenant): Asker,
    Path(print): Path<String>,
) -> Response {
    let alertmanager = match open(&app) {
        Ok(alertmanager) => alertmanager,
        Err(response) => return *response,
    };
    let Some(print) = fingerprint(&print) else {
        return bad("expected a fingerprint of 16 hexadecimal digits");
    };
    match alertmanager.unacknowledge(&tenant, print).await {
        Ok(true) => empty(StatusCode::OK),
        Ok(false) => empty(StatusCode::NOT_FOUND),
        Err(error) => wrong(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    }
}

fn fingerprint(text: &str) -> Option<Fingerprint> {
    let plain = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let number = u64::from_str_radix(text, 16).ok();
    number.filter(|_| plain).map(Fingerprint)
}

/// Reads `{"fingerprint": …, "createdBy": …, "comment": …, "endsAt": …}`; the last two may be missing.
fn read(body: &Value) -> Result<(Fingerprint, Ack), String> {
    let text = |key: &str| body[key].as_str().unwrap_or("");
    let print = fingerprint(text("fingerprint"));
    let print = print.ok_or("fingerprint: expected 16 hexadecimal digits")?;
    if text("createdBy").is_empty() {
        return Err("createdBy: expected who cares, found nothing".to_owned());
    }
    if text("createdBy").len() + text("comment").len() > TEXT_BYTES_MAX {
        let fault = format!("createdBy and comment: expected at most {TEXT_BYTES_MAX} bytes");
        return Err(fault);
    }
    let now = clock::now();
    let until = match text("endsAt") {
        "" => None,
        text => Some(
            parse_rfc3339(text).ok_or("endsAt: expected a time such as 2026-01-02T15:04:05Z")?,
        ),
    };
    if until.is_some_and(|until| until <= now) {
        return Err("endsAt: expected a time that is to come".to_owned());
    }
    let ack = Ack {
        by: text("createdBy").to_owned(),
        comment: text("comment").to_owned(),
        at: now,
        until,
    };
    Ok((print, ack))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_are_read() {
        let good = read(&json!({"fingerprint": "00000000000000ff", "createdBy": "me"}));
        let (print, ack) = good.expect("it is good");
        assert_eq!(
            (print, ack.by.as_str(), ack.until),
            (Fingerprint(255), "me", None)
        );
        let print = "00000000000000ff";
        for (body, expect) in [
            (json!(null), "fingerprint"),
            (
                json!({"fingerprint": "ff", "createdBy": "me"}),
                "fingerprint",
            ),
            (json!({"fingerprint": print}), "createdBy"),
            (
                json!({"fingerprint": print, "createdBy": "me", "comment": "x".repeat(1 << 20)}),
                "at most",
            ),
            (
                json!({"fingerprint": print, "createdBy": "me", "endsAt": "soon"}),
                "endsAt",
            ),
            (
                json!({"fingerprint": print, "createdBy": "me", "endsAt": "2001-01-01T00:00:00Z"}),
                "to come",
            ),
        ] {
            let fault = read(&body).expect_err("it is wrong");
            assert!(fault.contains(expect), "{body}: {fault}");
        }
    }
}
