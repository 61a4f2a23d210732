//! Chats whose messages have attachments in Slack's shape: Slack, Rocket.Chat, Mattermost.
//!
//! Invariant: bodies are Alertmanager's; a title has at most 1,024 characters, a text of Mattermost
//! 16,383.

use serde_json::{Value, json};
use serde_yaml_ng::Mapping;

use super::{
    Answer, Exchange, Failure, Kept, Next, Request, Writer, check, cut, filled, shown, then,
};

const TITLE_CHARS_MAX: usize = 1024;
const MATTERMOST_CHARS_MAX: usize = 16_383;
/// Where Slack takes changes of what it has shown.
const SLACK_UPDATE: &str = "https://slack.com/api/chat.update";

/// The fields of an attachment; without a word about it they are as wide as the settings say.
fn fields(writer: &Writer<'_>, maps: &[&Mapping], always: bool) -> Result<Value, Failure> {
    let field = |map: &&Mapping| {
        let mut field = filled([
            ("title", writer.entry(map, "title")?.into()),
            ("value", writer.entry(map, "value")?.into()),
        ]);
        let short = map.get("short").and_then(serde_yaml_ng::Value::as_bool);
        if let Some(short) = short.or(always.then(|| writer.settings.flag("short_fields"))) {
            field.insert("short".to_owned(), short.into());
        }
        Ok(Value::Object(field))
    };
    maps.iter().map(field).collect()
}

/// A failure that names the channel.
fn of_channel(failure: Failure, channel: &str) -> Failure {
    failure.about(&format!("channel {channel:?}"))
}

pub(super) fn slack(writer: &Writer<'_>) -> Result<Exchange, Failure> {
    let text = |key: &str| Ok::<Value, Failure>(writer.text(key)?.into());
    let markdown = match writer.settings.texts("mrkdwn_in") {
        [] => json!(["fallback", "pretext", "text"]),
        texts => json!(texts),
    };
    let mut attachment = filled([
        ("title", cut(&writer.text("title")?, TITLE_CHARS_MAX).into()),
        ("title_link", text("title_link")?),
        ("pretext", text("pretext")?),
        ("fields", fields(writer, &writer.list("fields"), true)?),
        ("actions", slack_actions(writer)?),
        ("image_url", text("image_url")?),
        ("thumb_url", text("thumb_url")?),
        ("color", text("color")?),
        ("mrkdwn_in", markdown),
    ]);
    for key in ["text", "fallback", "callback_id", "footer"] {
        attachment.insert(key.to_owned(), text(key)?);
    }
    let mut body = filled([
        ("channel", text("channel")?),
        ("username", text("username")?),
        ("icon_emoji", text("icon_emoji")?),
        ("icon_url", text("icon_url")?),
        ("link_names", writer.settings.flag("link_names").into()),
        ("text", text("message_text")?),
    ]);
    body.insert("attachments".to_owned(), json!([attachment]));
    let token = writer.secret("app_token");
    let mut url = match token.is_empty() {
        true => writer.secret("api_url"),
        false => writer.settings.text("app_url").to_owned(),
    };
    let updates = writer.settings.flag("update_message");
    if let (true, Some(ts), Some(channel)) =
        (updates, writer.kept.get("ts"), writer.kept.get("channel"))
    {
        url = SLACK_UPDATE.to_owned();
        body.insert("ts".to_owned(), ts.as_str().into());
        body.insert("channel".to_owned(), channel.as_str().into());
    }
    let channel = body
        .get("channel")
        .and_then(Value::as_str)
        .unwrap_or("")
        .to_owned();
    let mut request = Request::json(url, &Value::Object(body));
    if !token.is_empty() {
        request
            .headers
            .push(("authorization", format!("Bearer {token}")));
    }
    Ok(then(request, move |answer| {
        let read =
            check(answer, &[], shown(answer.body)).and_then(|()| slack_answer(answer, updates));
        read.map_err(|failure| of_channel(failure, &channel))
    }))
}

fn slack_actions(writer: &Writer<'_>) -> Result<Value, Failure> {
    let action = |map: &&Mapping| {
        let text = |key: &str| Ok::<Value, Failure>(writer.entry(map, key)?.into());
        let mut action = filled([
            ("url", text("url")?),
            ("style", text("style")?),
            ("name", text("name")?),
            ("value", text("value")?),
        ]);
        action.insert("type".to_owned(), text("type")?);
        action.insert("text".to_owned(), text("text")?);
        if let Some(confirm) = map
            .get("confirm")
            .and_then(serde_yaml_ng::Value::as_mapping)
        {
            let text = |key: &str| Ok::<Value, Failure>(writer.entry(confirm, key)?.into());
            let mut shape = filled([
                ("title", text("title")?),
                ("ok_text", text("ok_text")?),
                ("dismiss_text", text("dismiss_text")?),
            ]);
            shape.insert("text".to_owned(), text("text")?);
            action.insert("confirm".to_owned(), shape.into());
        }
        Ok(Value::Object(action))
    };
    writer.list("actions").iter().map(action).collect()
}

/// Slack says with status 200 that it did not take a message.
fn slack_answer(answer: &Answer<'_>, updates: bool) -> Result<Next, Failure> {
    if !answer.content_type.starts_with("application/json") {
        return match answer.body {
            b"ok" => Ok(Next::Done(Kept::new())),
            body => {
                let text = format!("received an error response from Slack: {}", shown(body));
                Err(Failure::last(text).client())
            }
        };
    }
    let body: Value = serde_json::from_slice(answer.body).map_err(|error| {
        let text = shown(answer.body);
        Failure::passing(format!(
            "could not unmarshal JSON response {text:?}: {error}"
        ))
        .client()
    })?;
    if body["ok"] != true {
        let error = body["error"].as_str().unwrap_or("");
        return Err(Failure::last(format!("error response from Slack: {error}")).client());
    }
    let mut kept = Kept::new();
    if let (true, Some(ts), Some(channel)) =
        (updates, body["ts"].as_str(), body["channel"].as_str())
    {
        kept.insert("ts".to_owned(), ts.to_owned());
        kept.insert("channel".to_owned(), channel.to_owned());
    }
    Ok(Next::Done(kept))
}

pub(super) fn rocketchat(writer: &Writer<'_>) -> Result<Exchange, Failure> {
    let text = |key: &str| Ok::<Value, Failure>(writer.text(key)?.into());
    let action = |map: &&Mapping| {
        let text = |key: &str| Ok::<Value, Failure>(writer.entry(map, key)?.into());
        let mut action = filled([
            ("type", "button".into()),
            ("text", text("text")?),
            ("url", text("url")?),
            ("msg", text("msg")?),
        ]);
        action.insert("is_webview".to_owned(), false.into());
        action.insert("msg_in_chat_window".to_owned(), false.into());
        Ok(Value::Object(action))
    };
    let actions: Result<Value, Failure> = writer.list("actions").iter().map(action).collect();
    let attachment = filled([
        ("title", cut(&writer.text("title")?, TITLE_CHARS_MAX).into()),
        ("title_link", text("title_link")?),
        ("text", text("text")?),
        ("image_url", text("image_url")?),
        ("thumb_url", text("thumb_url")?),
        ("color", text("color")?),
        ("fields", fields(writer, &writer.list("fields"), true)?),
        ("actions", actions?),
    ]);
    let body = filled([
        ("channel", text("channel")?),
        ("emoji", text("emoji")?),
        ("avatar", text("icon_url")?),
        ("attachments", json!([attachment])),
    ]);
    let channel = body
        .get("channel")
        .and_then(Value::as_str)
        .unwrap_or("")
        .to_owned();
    let url = writer.url("api_url", "api/v1/chat.postMessage");
    let mut request = Request::json(url, &Value::Object(body));
    request
        .headers
        .push(("x-auth-token", writer.secret("token")));
    request
        .headers
        .push(("x-user-id", writer.secret("token_id")));
    Ok(then(request, move |answer| {
        let read = check(answer, &[], shown(answer.body)).and_then(|()| rocketchat_answer(answer));
        read.map_err(|failure| of_channel(failure, &channel))
    }))
}

fn rocketchat_answer(answer: &Answer<'_>) -> Result<Next, Failure> {
    let body: Value = serde_json::from_slice(answer.body).map_err(|error| {
        let text = shown(answer.body);
        Failure::passing(format!(
            "could not unmarshal JSON response {text:?}: {error}"
        ))
        .client()
    })?;
    if body["success"] != true {
        let error = body["error"].as_str().unwrap_or("");
        return Err(Failure::last(format!("error response from Rocketchat: {error}")).client());
    }
    Ok(Next::Done(Kept::new()))
}

/// The texts of an attachment of Mattermost.
const MATTERMOST_TEXTS: [&str; 12] = [
    "fallback",
    "color",
    "pretext",
    "text",
    "author_name",
    "author_link",
    "author_icon",
    "title",
    "title_link",
    "thumb_url",
    "footer",
    "footer_icon",
];

pub(super) fn mattermost(writer: &Writer<'_>) -> Result<Exchange, Failure> {
    let text = |key: &str| Ok::<Value, Failure>(writer.text(key)?.into());
    let own = writer.list("attachments");
    let mut attachments = Vec::new();
    for map in &own {
        let mut attachment = serde_json::Map::new();
        for key in MATTERMOST_TEXTS.into_iter().chain(["image_url"]) {
            attachment.extend(filled([(key, writer.entry(map, key)?.into())]));
        }
        let of = map
            .get("fields")
            .and_then(serde_yaml_ng::Value::as_sequence);
        let of = of.into_iter().flatten();
        let maps: Vec<&Mapping> = of.filter_map(serde_yaml_ng::Value::as_mapping).collect();
        attachment.extend(filled([("fields", fields(writer, &maps, false)?)]));
        attachments.push(Value::Object(attachment));
    }
    if own.is_empty() {
        let mut attachment = serde_json::Map::new();
        for key in MATTERMOST_TEXTS.into_iter().chain(["image_url"]) {
            attachment.extend(filled([(key, text(key)?)]));
        }
        let maps = writer.list("fields");
        attachment.extend(filled([("fields", fields(writer, &maps, false)?)]));
        attachments.push(Value::Object(attachment));
    }
    // The text stands above attachments of one's own, and in the one that is made here.
    let above = match own.is_empty() {
        true => String::new(),
        false => cut(&writer.text("text")?, MATTERMOST_CHARS_MAX),
    };
    let body = filled([
        ("text", above.into()),
        ("channel", text("channel")?),
        ("username", text("username")?),
        ("icon_url", text("icon_url")?),
        ("icon_emoji", text("icon_emoji")?),
        ("attachments", attachments.into()),
        ("type", text("type")?),
        ("props", mattermost_props(writer)?),
        ("priority", mattermost_priority(writer)?),
    ]);
    let channel = body
        .get("channel")
        .and_then(Value::as_str)
        .unwrap_or("")
        .to_owned();
    let url = writer.secret("webhook_url");
    if url.is_empty() {
        return Err(Failure::last("webhook url missing"));
    }
    let request = Request::json(url, &Value::Object(body));
    Ok(then(request, move |answer| {
        let read = check(answer, &[], shown(answer.body));
        read.map_err(|failure| of_channel(failure, &channel))?;
        Ok(Next::Done(Kept::new()))
    }))
}

fn mattermost_props(writer: &Writer<'_>) -> Result<Value, Failure> {
    let props = writer
        .settings
        .any("props")
        .and_then(serde_yaml_ng::Value::as_mapping);
    let card = match props {
        Some(props) => writer.entry(props, "card")?,
        None => String::new(),
    };
    Ok(Value::Object(filled([("card", card.into())])))
}

/// What goes with a priority: only urgent messages insist, standard ones ask for nothing.
fn mattermost_priority(writer: &Writer<'_>) -> Result<Value, Failure> {
    let map = writer
        .settings
        .any("priority")
        .and_then(serde_yaml_ng::Value::as_mapping);
    let Some(map) = map else {
        return Ok(Value::Null);
    };
    let priority = writer.entry(map, "priority")?.to_lowercase();
    if priority.is_empty() {
        return Ok(Value::Null);
    }
    let known = ["urgent", "important", "standard"].contains(&priority.as_str());
    let priority = if known { priority.as_str() } else { "standard" };
    let flag = |key: &str| map.get(key).and_then(serde_yaml_ng::Value::as_bool) == Some(true);
    let asks = flag("requested_ack") && priority != "standard";
    let insists = flag("persistent_notifications") && priority == "urgent";
    Ok(Value::Object(filled([
        ("priority", priority.into()),
        ("requested_ack", asks.into()),
        ("persistent_notifications", insists.into()),
    ])))
}
