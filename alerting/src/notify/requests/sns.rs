//! Amazon's SNS: a form that is signed where it is sent.
//!
//! Invariant: a message has at most 256 KiB, one for a telephone 1,600 characters.

use super::{Aws, Exchange, Failure, Request, Writer, by_status};

const MESSAGE_BYTES_MAX: usize = 256 * 1024;
const SMS_BYTES_MAX: usize = 1600;

pub(super) fn sns(writer: &Writer<'_>) -> Result<(Exchange, Aws), Failure> {
    let settings = writer.settings;
    let text = |key: &str| {
        let text = writer.expand(settings.text(key));
        text.map_err(|failure| failure.about(&format!("execute '{key}' template")))
    };
    let aws = Aws::of(settings.any("sigv4"))?;
    let mut form = form_urlencoded::Serializer::new(String::new());
    form.append_pair("Action", "Publish");
    let mut attributes = Vec::new();
    for (name, value) in settings.map("attributes") {
        attributes.push((writer.expand(name)?, writer.expand(value)?));
    }
    let mut bytes_max = MESSAGE_BYTES_MAX;
    if settings.has("topic_arn") {
        let topic = text("topic_arn")?;
        form.append_pair("TopicArn", &topic);
        if topic.ends_with(".fifo") {
            form.append_pair("MessageDeduplicationId", &writer.key());
            form.append_pair("MessageGroupId", &writer.key());
        }
    }
    if settings.has("phone_number") {
        form.append_pair("PhoneNumber", &text("phone_number")?);
        bytes_max = SMS_BYTES_MAX;
    }
    if settings.has("target_arn") {
        form.append_pair("TargetArn", &text("target_arn")?);
    }
    let message = text("message")?;
    let mut end = message.len().min(bytes_max);
    while !message.is_char_boundary(end) {
        end -= 1;
    }
    if end < message.len() {
        attributes.push(("truncated".to_owned(), "true".to_owned()));
    }
    form.append_pair("Message", &message[..end]);
    if settings.has("subject") {
        form.append_pair("Subject", &text("subject")?);
    }
    for (index, (name, value)) in attributes.iter().enumerate() {
        let entry = format!("MessageAttributes.entry.{}", index + 1);
        form.append_pair(&format!("{entry}.Name"), name);
        form.append_pair(&format!("{entry}.Value.DataType"), "String");
        form.append_pair(&format!("{entry}.Value.StringValue"), value);
    }
    form.append_pair("Version", "2010-03-31");
    let url = match text("api_url")? {
        // The region is known where the request is signed.
        none if none.is_empty() => String::new(),
        url => url,
    };
    let request = Request {
        method: "POST",
        url,
        headers: vec![(
            "content-type",
            "application/x-www-form-urlencoded; charset=utf-8".to_owned(),
        )],
        body: form.finish().into_bytes(),
    };
    Ok((by_status(request, &[]), aws))
}
