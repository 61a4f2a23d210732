//! Chats with messages of their own: Telegram, Microsoft Teams (both ways), Discord, Webex.
//!
//! Invariant: no text is longer than the service takes.

use serde_json::{Value, json};

use super::{
    Answer, Class, Exchange, Failure, Kept, Next, Request, Writer, by_status, cut, cut_bytes,
    filled, then,
};

const TELEGRAM_CHARS_MAX: usize = 4096;
const WEBEX_BYTES_MAX: usize = 7439;

pub(super) fn telegram(writer: &Writer<'_>) -> Result<Exchange, Failure> {
    let mode = writer.settings.text("parse_mode");
    let text = match mode {
        "HTML" => {
            let text = writer.html(writer.settings.text("message"))?;
            // Cut, it would be no HTML.
            match text.chars().count() > TELEGRAM_CHARS_MAX {
                true => "Alertmanager notification could not be sent: message length exceeds Telegram limits.\n\t\t\tPlease check the template used for producing the message content.".to_owned(),
                false => text,
            }
        }
        _ => cut(&writer.text("message")?, TELEGRAM_CHARS_MAX),
    };
    let chat = match writer.files.get("chat_id_file") {
        Some(text) if writer.settings.int("chat_id") == 0 => {
            let chat: Result<i64, _> = text.trim().parse();
            chat.map_err(|_| Failure::passing("chat_id_file: expected a whole number"))?
        }
        _ => writer.settings.int("chat_id"),
    };
    let thread = match writer.settings.int("message_thread_id") {
        0 => String::new(),
        thread => thread.to_string(),
    };
    // Everything is a text, as the library that Alertmanager uses has it.
    let silent = writer.settings.flag("disable_notifications");
    let body = filled([
        ("chat_id", chat.to_string().into()),
        ("text", text.into()),
        (
            "disable_notification",
            if silent { "true" } else { "" }.into(),
        ),
        ("disable_web_page_preview", "true".into()),
        ("message_thread_id", thread.into()),
        ("parse_mode", mode.into()),
    ]);
    let token = writer.secret("bot_token");
    let url = writer.url("api_url", &format!("bot{token}/sendMessage"));
    Ok(then(Request::json(url, &body.into()), telegram_answer))
}

/// Telegram says in the body how it went; Alertmanager tries again in any case.
fn telegram_answer(answer: &Answer<'_>) -> Result<Next, Failure> {
    let body: Value = serde_json::from_slice(answer.body).unwrap_or_default();
    if body["ok"] == true {
        return Ok(Next::Done(Kept::new()));
    }
    let code = body["error_code"]
        .as_u64()
        .and_then(|code| u16::try_from(code).ok());
    let code = code.unwrap_or(answer.status);
    let text = body["description"]
        .as_str()
        .unwrap_or("no answer of Telegram");
    Err(Failure {
        class: Class::of_status(code),
        ..Failure::passing(format!("telegram: {text} ({code})"))
    })
}

pub(super) fn msteams(writer: &Writer<'_>) -> Result<Exchange, Failure> {
    let body = json!({
        "@context": "http://schema.org/extensions",
        "type": "MessageCard",
        "title": writer.text("title")?,
        "summary": writer.text("summary")?,
        "text": writer.text("text")?,
        "themeColor": if writer.is_firing() { "8C1A1A" } else { "2DC72D" },
    });
    Ok(by_status(
        Request::json(writer.secret("webhook_url"), &body),
        &[],
    ))
}

pub(super) fn msteamsv2(writer: &Writer<'_>) -> Result<Exchange, Failure> {
    let title = json!({
        "type": "TextBlock",
        "text": writer.text("title")?,
        "weight": "Bolder",
        "size": "Medium",
        "wrap": true,
        "style": "heading",
        "color": if writer.is_firing() { "Attention" } else { "Good" },
    });
    let text = json!({"type": "TextBlock", "text": writer.text("text")?, "wrap": true});
    let body = json!({
        "type": "message",
        "attachments": [{
            "contentType": "application/vnd.microsoft.card.adaptive",
            "contentUrl": null,
            "content": {
                "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
                "type": "AdaptiveCard",
                "version": "1.2",
                "body": [title, text],
                "msteams": {"width": "full"},
            },
        }],
    });
    Ok(by_status(
        Request::json(writer.secret("webhook_url"), &body),
        &[],
    ))
}

pub(super) fn discord(writer: &Writer<'_>) -> Result<Exchange, Failure> {
    let mut body = filled([
        ("username", writer.settings.text("username").into()),
        ("avatar_url", writer.settings.text("avatar_url").into()),
    ]);
    body.insert(
        "content".to_owned(),
        cut(&writer.text("content")?, 2000).into(),
    );
    let embed = json!({
        "title": cut(&writer.text("title")?, 256),
        "description": cut(&writer.text("message")?, 4096),
        "color": if writer.is_firing() { 0x99_2d22 } else { 0x2e_cc71 },
    });
    body.insert("embeds".to_owned(), json!([embed]));
    Ok(by_status(
        Request::json(writer.secret("webhook_url"), &body.into()),
        &[],
    ))
}

pub(super) fn webex(writer: &Writer<'_>) -> Result<Exchange, Failure> {
    let mut body = filled([("roomId", writer.text("room_id")?.into())]);
    let text = cut_bytes(&writer.text("message")?, WEBEX_BYTES_MAX);
    body.insert("markdown".to_owned(), text.into());
    Ok(by_status(
        Request::json(writer.settings.text("api_url"), &body.into()),
        &[],
    ))
}
