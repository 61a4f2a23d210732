//! Services that wake people: PagerDuty, Opsgenie, VictorOps, Pushover.
//!
//! Invariant: an incident is known by the hash of its group, so that a recovery closes what the
//! first notification opened.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{
    Answer, Exchange, Failure, Kept, Next, Request, Writer, by_status, check, cut, filled, shown,
    then,
};

/// Bytes of an event that PagerDuty takes.
const EVENT_BYTES_MAX: usize = 512_000;
const PAGERDUTY_CHARS_MAX: usize = 1024;
const PAGERDUTY_V1: &str = "https://events.pagerduty.com/generic/2010-04-15/create_event.json";
const OPSGENIE_CHARS_MAX: usize = 130;
const VICTOROPS_CHARS_MAX: usize = 20_480;
const PUSHOVER: &str = "https://api.pushover.net/1/messages.json";

pub(super) fn pagerduty(writer: &Writer<'_>) -> Result<Exchange, Failure> {
    let event = if writer.is_firing() {
        "trigger"
    } else {
        "resolve"
    };
    let details = pagerduty_details(writer)?;
    let summary = cut(&writer.text("description")?, PAGERDUTY_CHARS_MAX);
    let first = writer.settings.has("service_key") || writer.settings.has("service_key_file");
    let (request, retried): (Request, &'static [u16]) = match first {
        true => (pagerduty_v1(writer, event, &summary, details)?, &[403]),
        false => (pagerduty_v2(writer, event, &summary, details)?, &[429]),
    };
    Ok(then(request, move |answer| {
        check(answer, retried, pagerduty_fault(answer))?;
        Ok(Next::Done(Kept::new()))
    }))
}

/// The settings' details over those that are always there.
fn pagerduty_details(writer: &Writer<'_>) -> Result<serde_json::Map<String, Value>, Failure> {
    const ALWAYS: [(&str, &str); 4] = [
        ("firing", "{{ .Alerts.Firing | toJson }}"),
        ("resolved", "{{ .Alerts.Resolved | toJson }}"),
        ("num_firing", "{{ .Alerts.Firing | len }}"),
        ("num_resolved", "{{ .Alerts.Resolved | len }}"),
    ];
    let own = writer
        .settings
        .any("details")
        .and_then(serde_yaml_ng::Value::as_mapping);
    let mut details = serde_json::Map::new();
    for (key, text) in ALWAYS {
        if own.is_none_or(|own| !own.contains_key(key)) {
            details.insert(key.to_owned(), writer.any(&text.into())?);
        }
    }
    for (key, value) in own.into_iter().flatten() {
        if let Some(key) = key.as_str() {
            details.insert(key.to_owned(), writer.any(value)?);
        }
    }
    Ok(details)
}

/// A body that is too large loses its details.
fn pagerduty_request(url: &str, mut body: Value, details: &[&str]) -> Request {
    let request = Request::json(url, &body);
    if request.body.len() <= EVENT_BYTES_MAX {
        return request;
    }
    let mut place = &mut body;
    for key in details {
        place = &mut place[*key];
    }
    *place = json!({
        "error": "Custom details have been removed because the original event exceeds the maximum size of 512KB",
    });
    Request::json(url, &body)
}

fn pagerduty_v1(
    writer: &Writer<'_>,
    event: &str,
    summary: &str,
    details: serde_json::Map<String, Value>,
) -> Result<Request, Failure> {
    let key = writer.expand(&writer.secret("service_key"))?;
    if key.is_empty() {
        return Err(Failure::last("service key cannot be empty"));
    }
    let mut body = filled([
        ("service_key", key.into()),
        ("incident_key", writer.key().into()),
        ("event_type", event.into()),
        ("description", summary.into()),
        ("details", details.into()),
    ]);
    body.insert("event_action".to_owned(), "".into());
    body.insert("payload".to_owned(), Value::Null);
    if event == "trigger" {
        body.extend(filled([
            ("client", writer.text("client")?.into()),
            ("client_url", writer.text("client_url")?.into()),
        ]));
    }
    Ok(pagerduty_request(PAGERDUTY_V1, body.into(), &["details"]))
}

fn pagerduty_v2(
    writer: &Writer<'_>,
    event: &str,
    summary: &str,
    details: serde_json::Map<String, Value>,
) -> Result<Request, Failure> {
    let key = writer.expand(&writer.secret("routing_key"))?;
    if key.is_empty() {
        return Err(Failure::last("routing key cannot be empty"));
    }
    let severity = match writer.text("severity")? {
        empty if empty.is_empty() => "error".to_owned(),
        severity => severity,
    };
    let source = match writer.settings.has("source") {
        true => writer.text("source")?,
        false => writer.text("client")?,
    };
    let mut payload = filled([
        ("class", writer.text("class")?.into()),
        ("component", writer.text("component")?.into()),
        ("group", writer.text("group")?.into()),
        ("custom_details", details.into()),
    ]);
    payload.insert("summary".to_owned(), summary.into());
    payload.insert("source".to_owned(), source.into());
    payload.insert("severity".to_owned(), severity.into());
    let list = |key: &str, names: &[&str], needed: &str| {
        let mut all = Vec::new();
        for map in writer.list(key) {
            let mut item = serde_json::Map::new();
            for name in names {
                item.insert((*name).to_owned(), writer.entry(map, name)?.into());
            }
            if item[needed] != "" {
                all.push(Value::Object(item));
            }
        }
        Ok::<Value, Failure>(all.into())
    };
    let mut body = filled([
        ("routing_key", key.into()),
        ("dedup_key", writer.key().into()),
        ("client", writer.text("client")?.into()),
        ("client_url", writer.text("client_url")?.into()),
        ("images", list("images", &["src", "alt", "href"], "src")?),
        ("links", list("links", &["href", "text"], "href")?),
    ]);
    body.insert("event_action".to_owned(), event.into());
    body.insert("payload".to_owned(), payload.into());
    let url = writer.settings.text("url");
    Ok(pagerduty_request(
        url,
        body.into(),
        &["payload", "custom_details"],
    ))
}

/// What PagerDuty says of a wrong event.
fn pagerduty_fault(answer: &Answer<'_>) -> String {
    if answer.status != 400 {
        return String::new();
    }
    let body: Value = match serde_json::from_slice(answer.body) {
        Ok(body) => body,
        Err(_) => return String::new(),
    };
    let errors = body["errors"].as_array().into_iter().flatten();
    let errors: Vec<&str> = errors.filter_map(Value::as_str).collect();
    format!(
        "{}: {}",
        body["message"].as_str().unwrap_or(""),
        errors.join(",")
    )
}

/// The parts between commas that are not empty.
fn parts(text: &str) -> Vec<&str> {
    text.trim()
        .split(',')
        .filter(|part| !part.is_empty())
        .collect()
}

pub(super) fn opsgenie(writer: &Writer<'_>) -> Result<Exchange, Failure> {
    let key = writer.key();
    let authorization = format!(
        "GenieKey {}",
        writer.expand(&writer.secret("api_key"))?.trim()
    );
    let request = |method: &'static str, path: &str, body: Value| {
        let mut request = Request::json(writer.url("api_url", path), &body);
        request.method = method;
        request
            .headers
            .push(("authorization", authorization.clone()));
        request
    };
    let source = writer.text("source")?;
    if !writer.is_firing() {
        let path = format!("v2/alerts/{key}/close?identifierType=alias");
        let request = request("POST", &path, json!({"source": source}));
        return Ok(by_status(request, &[429]));
    }
    let message = cut(&writer.text("message")?, OPSGENIE_CHARS_MAX);
    let description = writer.text("description")?;
    let labels = writer.data.common_labels();
    let labels = labels.iter().map(|(k, v)| (k.to_owned(), v.to_owned()));
    let mut details: BTreeMap<String, String> = labels.collect();
    for (name, text) in writer.settings.map("details") {
        details.insert(name.clone(), writer.expand(text)?);
    }
    let mut body = filled([
        ("description", description.as_str().into()),
        ("responders", responders(writer)?.into()),
        ("tags", json!(parts(&writer.text("tags")?))),
        ("note", writer.text("note")?.into()),
        ("priority", writer.text("priority")?.into()),
        ("entity", writer.text("entity")?.into()),
        ("actions", json!(parts(&writer.text("actions")?))),
    ]);
    body.insert("alias".to_owned(), key.as_str().into());
    body.insert("message".to_owned(), message.as_str().into());
    body.insert("details".to_owned(), json!(details));
    body.insert("source".to_owned(), source.into());
    let mut chain = vec![request("POST", "v2/alerts", body.into())];
    if writer.settings.flag("update_alerts") {
        let path = format!("v2/alerts/{key}/message?identifierType=alias");
        let body = filled([("message", message.into())]);
        chain.push(request("PUT", &path, body.into()));
        let path = format!("v2/alerts/{key}/description?identifierType=alias");
        let body = filled([("description", description.into())]);
        chain.push(request("PUT", &path, body.into()));
    }
    Ok(one_after_another(chain.remove(0), chain))
}

/// Requests that each need the one before to be good.
fn one_after_another(first: Request, mut rest: Vec<Request>) -> Exchange {
    then(first, move |answer| {
        check(answer, &[429], shown(answer.body))?;
        Ok(match rest.is_empty() {
            true => Next::Done(Kept::new()),
            false => {
                let next = rest.remove(0);
                Next::Ask(Box::new(one_after_another(next, rest)))
            }
        })
    })
}

fn responders(writer: &Writer<'_>) -> Result<Vec<Value>, Failure> {
    let mut all = Vec::new();
    for map in writer.list("responders") {
        let text = |key: &str| writer.entry(map, key);
        let (kind, name) = (text("type")?, text("name")?);
        let mut responder = filled([
            ("id", text("id")?.into()),
            ("name", name.as_str().into()),
            ("username", text("username")?.into()),
        ]);
        if responder.is_empty() && kind.is_empty() {
            continue;
        }
        if kind == "teams" {
            let teams = parts(&name).into_iter();
            all.extend(teams.map(|team| json!({"name": team, "type": "team"})));
            continue;
        }
        responder.insert("type".to_owned(), kind.into());
        all.push(responder.into());
    }
    Ok(all)
}

pub(super) fn victorops(writer: &Writer<'_>) -> Result<Exchange, Failure> {
    let mut kind = writer.text("message_type")?;
    if !writer.is_firing() {
        kind = "RECOVERY".to_owned();
    } else if !["INFO", "WARNING", "CRITICAL"].contains(&kind.as_str()) {
        kind = "CRITICAL".to_owned();
    }
    let mut body = serde_json::Map::new();
    let state = cut(&writer.text("state_message")?, VICTOROPS_CHARS_MAX);
    for (key, value) in [
        ("message_type", kind),
        ("entity_id", writer.key()),
        ("entity_display_name", writer.text("entity_display_name")?),
        ("state_message", state),
        ("monitoring_tool", writer.text("monitoring_tool")?),
    ] {
        body.insert(key.to_owned(), value.into());
    }
    for (name, text) in writer.settings.map("custom_fields") {
        body.insert(name.clone(), writer.expand(text)?.into());
    }
    let path = format!(
        "{}/{}",
        writer.secret("api_key"),
        writer.text("routing_key")?
    );
    let url = writer.url("api_url", &path);
    Ok(by_status(Request::json(url, &body.into()), &[]))
}

pub(super) fn pushover(writer: &Writer<'_>) -> Result<Exchange, Failure> {
    let html = writer.settings.flag("html");
    let message = match html {
        true => writer.html(writer.settings.text("message"))?,
        false => writer.text("message")?,
    };
    let message = cut(&message, 1024);
    let message = match message.trim() {
        // An empty one would be refused.
        "" => "(no details)",
        message => message,
    };
    let seconds = |key: &str| {
        let nanos = writer.settings.duration(key).unwrap_or(0);
        (nanos / obs_model::time::NANOS_PER_SECOND).to_string()
    };
    let mut form = form_urlencoded::Serializer::new(String::new());
    form.append_pair("token", &writer.expand(&writer.secret("token"))?);
    form.append_pair("user", &writer.expand(&writer.secret("user_key"))?);
    form.append_pair("title", &cut(&writer.text("title")?, 250));
    if html {
        form.append_pair("html", "1");
    }
    if writer.settings.flag("monospace") {
        form.append_pair("monospace", "1");
    }
    form.append_pair("message", message);
    form.append_pair("url", &cut(&writer.text("url")?, 512));
    form.append_pair("url_title", &writer.text("url_title")?);
    form.append_pair("priority", &writer.text("priority")?);
    form.append_pair("retry", &seconds("retry"));
    form.append_pair("expire", &seconds("expire"));
    form.append_pair("device", &writer.text("device")?);
    form.append_pair("sound", &writer.text("sound")?);
    if seconds("ttl") != "0" {
        form.append_pair("ttl", &seconds("ttl"));
    }
    let request = Request {
        method: "POST",
        url: format!("{PUSHOVER}?{}", form.finish()),
        headers: vec![("content-type", "text/plain".to_owned())],
        body: Vec::new(),
    };
    Ok(by_status(request, &[]))
}
