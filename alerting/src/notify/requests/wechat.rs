//! WeChat: a token for the company, then the message.

use serde_json::{Value, json};

use super::{Answer, Class, Exchange, Failure, Kept, Next, Request, Writer, filled, shown, then};

pub(super) fn wechat(writer: &Writer<'_>) -> Result<Exchange, Failure> {
    let text = |key: &str| Ok::<Value, Failure>(writer.text(key)?.into());
    let kind = writer.settings.text("message_type").to_owned();
    let message = text("message")?;
    let (plain, markdown) = match kind.as_str() {
        "markdown" => ("".into(), message),
        _ => (message, "".into()),
    };
    let mut body = filled([
        ("touser", text("to_user")?),
        ("toparty", text("to_party")?),
        ("totag", text("to_tag")?),
        ("agentid", text("agent_id")?),
        ("msgtype", kind.into()),
    ]);
    body.insert("safe".to_owned(), "0".into());
    body.insert("text".to_owned(), json!({"content": plain}));
    body.insert("markdown".to_owned(), json!({"content": markdown}));
    let encode = |pairs: &[(&str, &str)]| {
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.extend_pairs(pairs);
        form.finish()
    };
    let secret = writer.expand(&writer.secret("api_secret"))?;
    let corp = writer.text("corp_id")?;
    let query = encode(&[("corpid", &corp), ("corpsecret", &secret)]);
    let token = Request {
        method: "GET",
        url: format!("{}?{query}", writer.url("api_url", "gettoken")),
        headers: Vec::new(),
        body: Vec::new(),
    };
    let url = writer.url("api_url", "message/send");
    Ok(then(token, move |answer| {
        let granted: Value = serde_json::from_slice(answer.body)
            .map_err(|error| Failure::last(format!("the answer with the token: {error}")))?;
        let token = granted["access_token"].as_str().unwrap_or("");
        if token.is_empty() {
            return Err(Failure::last(format!(
                "invalid APISecret for CorpID: {corp}"
            )));
        }
        let url = format!("{url}?{}", encode(&[("access_token", token)]));
        let message = then(Request::json(url, &body.into()), sent);
        Ok(Next::Ask(Box::new(message)))
    }))
}

/// The token of WeChat has ended.
const TOKEN_ENDED: i64 = 42001;

fn sent(answer: &Answer<'_>) -> Result<Next, Failure> {
    if answer.status != 200 {
        return Err(Failure {
            class: Class::of_status(answer.status),
            ..Failure::passing(format!("unexpected status code {}", answer.status))
        });
    }
    let body: Value = serde_json::from_slice(answer.body).map_err(|error| {
        let text = shown(answer.body);
        Failure::passing(format!("the answer {text:?}: {error}"))
    })?;
    let error = body["errmsg"].as_str().unwrap_or("").to_owned();
    match body["errcode"].as_i64() {
        Some(0) | None => Ok(Next::Done(Kept::new())),
        Some(TOKEN_ENDED) => Err(Failure::passing(error)),
        Some(_) => Err(Failure::last(error)),
    }
}
