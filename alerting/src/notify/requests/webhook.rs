//! Webhooks with all that is known of a notification, and what else takes it: incident.io, ntfy,
//! programs.
//!
//! Invariant: the body is Alertmanager's, version 4, unless the settings have one of their own.

use serde_json::json;

use super::{
    Answer, Exchange, Failure, Kept, Next, Program, Request, Writer, by_status, check, then,
};

/// Bytes of a body that incident.io takes.
const INCIDENT_BYTES_MAX: usize = 512 * 1024;

fn alerts_max(writer: &Writer<'_>) -> usize {
    usize::try_from(writer.settings.int("max_alerts")).unwrap_or(0)
}

/// The settings and the data of at most `max_alerts` alerts.
pub(super) fn webhook(writer: &Writer<'_>) -> Result<Exchange, Failure> {
    let shown = writer.data.first(alerts_max(writer));
    // Templates see no more than the body has.
    let cut = Writer {
        value: shown.value(),
        plain: writer.plain.clone(),
        markup: writer.markup.clone(),
        data: &shown,
        ..*writer
    };
    let body = match writer.settings.any("payload") {
        None => writer.data.webhook(alerts_max(writer)),
        Some(payload) => cut
            .any(payload)
            .map_err(|failure| failure.about("failed to render custom payload"))?,
    };
    let url = cut.expand(&writer.secret("url"));
    let url = url.map_err(|failure| failure.about("failed to template webhook URL"))?;
    if url.is_empty() {
        return Err(Failure::last("webhook URL is empty after templating"));
    }
    let mut request = Request::json(url, &body);
    if !writer.data.delivery.is_empty() {
        let delivery = writer.data.delivery.clone();
        request.headers.push(("idempotency-key", delivery));
    }
    Ok(by_status(request, &[]))
}

pub(super) fn incidentio(writer: &Writer<'_>) -> Result<Exchange, Failure> {
    let body = |alerts: usize| {
        let mut body = writer.data.webhook(alerts);
        body["version"] = "1".into();
        body
    };
    let mut request = Request::json(writer.secret("url"), &body(alerts_max(writer)));
    if request.body.len() > INCIDENT_BYTES_MAX {
        let mut first = body(alerts_max(writer));
        if let Some(alerts) = first["alerts"].as_array_mut() {
            alerts.truncate(1);
        }
        request = Request::json(request.url, &first);
    }
    let token = writer.secret("alert_source_token");
    if !token.is_empty() {
        let token = format!("Bearer {token}");
        request.headers.push(("authorization", token));
    }
    Ok(then(request, |answer| {
        check(answer, &[429], incident_details(answer))?;
        Ok(Next::Done(Kept::new()))
    }))
}

fn incident_details(answer: &Answer<'_>) -> String {
    let body: serde_json::Value = match serde_json::from_slice(answer.body) {
        Ok(body) => body,
        Err(_) => return String::new(),
    };
    let text = |key: &str| body[key].as_str().unwrap_or("").to_owned();
    let errors = body["errors"].as_array().into_iter().flatten();
    let errors: Vec<&str> = errors.filter_map(|error| error.as_str()).collect();
    let parts = [text("message"), text("error"), errors.join(", ")];
    let parts: Vec<String> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    parts.join(": ")
}

/// ntfy's JSON: priorities are numbers from 1 to 5, tags a list.
pub(super) fn ntfy(writer: &Writer<'_>) -> Result<Exchange, Failure> {
    let tags = writer.text("tags")?;
    let tags: Vec<&str> = tags
        .split(',')
        .map(str::trim)
        .filter(|tag| !tag.is_empty())
        .collect();
    let message = writer.text("message")?;
    let mut body = json!({
        "topic": writer.text("topic")?,
        "title": super::cut(&writer.text("title")?, 250),
        // Longer ones become attachments.
        "message": super::cut_bytes(message.trim(), 4096),
        "tags": tags,
    });
    let priority = writer.text("priority")?;
    if let Ok(priority) = priority.trim().parse::<i64>() {
        body["priority"] = priority.clamp(1, 5).into();
    }
    let click = writer.text("click")?;
    if !click.is_empty() {
        body["click"] = click.into();
    }
    Ok(by_status(
        Request::json(writer.settings.text("url"), &body),
        &[429],
    ))
}

/// A program reads the webhook's body, and finds the most important in its environment.
pub(super) fn program(writer: &Writer<'_>) -> Result<Program, Failure> {
    let arguments = writer.settings.texts("arguments").iter();
    let arguments: Result<Vec<String>, Failure> =
        arguments.map(|text| writer.expand(text)).collect();
    let data = writer.data;
    let labels = data.common_labels();
    let label = |name: &str| labels.get(name).unwrap_or("").to_owned();
    Ok(Program {
        command: writer.settings.text("command").to_owned(),
        arguments: arguments?,
        input: format!("{}\n", data.webhook(0)).into_bytes(),
        environment: vec![
            ("OBS_STATUS", data.status().to_owned()),
            ("OBS_RECEIVER", data.receiver.to_owned()),
            ("OBS_GROUP_KEY", data.group_key.to_owned()),
            ("OBS_REASON", data.reason.to_owned()),
            ("OBS_ALERTNAME", label("alertname")),
            ("OBS_ALERTS", data.alerts.len().to_string()),
        ],
    })
}
