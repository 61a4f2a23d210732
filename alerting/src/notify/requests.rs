//! What is sent to whom: for each kind of receiver, from its settings and a notification, the
//! requests with exactly the bodies, limits and rules of retries that Alertmanager has.
//!
//! Invariant: nothing here sends. A request comes with a function that reads its answer, which
//! gives what follows: the end, another request, or a failure that says whether a further try can
//! help.

mod attachments;
mod chat;
mod jira;
mod mail;
mod on_call;
mod sns;
#[cfg(test)]
mod tests;
mod webhook;
mod wechat;

use std::collections::BTreeMap;

use obs_query::template::Value;

use super::data::Data;
use super::receivers::{Integration, Settings};
use super::texts::{Library, NotifyFunctions};

pub use mail::{Mail, Stamp};

/// What was kept of an earlier notification of the group, for the next.
pub type Kept = BTreeMap<String, String>;

/// Why a notification did not arrive.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Failure {
    /// Whether a further try can help.
    pub retry: bool,
    /// The words.
    pub reason: String,
    /// Whose fault it is.
    pub class: Class,
}

/// Whose fault a failure is, with the words of Alertmanager's metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Class {
    /// None of the others.
    #[default]
    Other,
    /// The request was wrong.
    Client,
    /// The receiver is in trouble.
    Server,
    /// It does not know us.
    Auth,
    /// Too much was told.
    RateLimited,
    /// It took too long.
    Deadline,
}

impl Class {
    /// As a label's value.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Other => "other",
            Self::Client => "clientError",
            Self::Server => "serverError",
            Self::Auth => "authError",
            Self::RateLimited => "rateLimited",
            Self::Deadline => "contextDeadlineExceeded",
        }
    }

    fn of_status(status: u16) -> Self {
        match status {
            401 | 403 => Self::Auth,
            429 => Self::RateLimited,
            400..=499 => Self::Client,
            500..=599 => Self::Server,
            _ => Self::Other,
        }
    }
}

impl Failure {
    /// One that the next try would meet again.
    pub fn last(reason: impl Into<String>) -> Self {
        Self {
            retry: false,
            reason: reason.into(),
            class: Class::Other,
        }
    }

    /// One that may pass.
    pub fn passing(reason: impl Into<String>) -> Self {
        Self {
            retry: true,
            ..Self::last(reason)
        }
    }

    fn client(mut self) -> Self {
        self.class = Class::Client;
        self
    }

    fn about(mut self, what: &str) -> Self {
        self.reason = format!("{what}: {}", self.reason);
        self
    }
}

/// A request of HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// `POST`, most often.
    pub method: &'static str,
    /// Where to; it may hold secrets and is not for logs.
    pub url: String,
    /// Headers beside those of the client.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Request {
    fn json(url: impl Into<String>, body: &serde_json::Value) -> Self {
        Self {
            method: "POST",
            url: url.into(),
            headers: vec![("content-type", "application/json".to_owned())],
            // Encoded as Go does it, with a line's end.
            body: format!("{body}\n").into_bytes(),
        }
    }
}

/// What came back.
#[derive(Clone, Copy, Debug)]
pub struct Answer<'a> {
    /// The status.
    pub status: u16,
    /// `Content-Type`, or nothing.
    pub content_type: &'a str,
    /// The begin of the body.
    pub body: &'a [u8],
}

/// Reads an answer.
pub type Read = Box<dyn FnOnce(&Answer<'_>) -> Result<Next, Failure> + Send>;

/// A request and how its answer is read.
pub struct Exchange {
    /// The request.
    pub request: Request,
    /// What its answer means.
    pub read: Read,
}

impl std::fmt::Debug for Exchange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Exchange")
            .field(&self.request.method)
            .finish()
    }
}

/// What follows an answer.
#[derive(Debug)]
pub enum Next {
    /// It has arrived. This is kept for the next notification of the group.
    Done(Kept),
    /// Something more is asked.
    Ask(Box<Exchange>),
}

/// A program and what it is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// Its path.
    pub command: String,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// What it reads: the body of a webhook.
    pub input: Vec<u8>,
    /// More of its environment.
    pub environment: Vec<(&'static str, String)>,
}

/// Who signs a request for Amazon, as `sigv4` says it.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Aws {
    /// The region; the environment's where it is empty.
    pub region: String,
    /// The key's name; the environment's credentials where it is empty.
    pub access_key: String,
    /// The key.
    pub secret_key: String,
    /// A profile of the file with credentials.
    pub profile: String,
    /// The role that is taken on.
    pub role_arn: String,
    /// What the role may ask for.
    pub external_id: String,
}

impl std::fmt::Debug for Aws {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Aws").field(&self.region).finish()
    }
}

impl Aws {
    /// Reads `sigv4`.
    pub(super) fn of(value: Option<&serde_yaml_ng::Value>) -> Result<Self, Failure> {
        let mut aws = Self::default();
        let map = value.and_then(serde_yaml_ng::Value::as_mapping);
        for (key, value) in map.into_iter().flatten() {
            let place = match key.as_str() {
                Some("region") => &mut aws.region,
                Some("access_key") => &mut aws.access_key,
                Some("secret_key") => &mut aws.secret_key,
                Some("profile") => &mut aws.profile,
                Some("role_arn") => &mut aws.role_arn,
                Some("external_id") => &mut aws.external_id,
                _ => return Err(Failure::last(format!("sigv4: unknown field {key:?}"))),
            };
            value.as_str().unwrap_or("").clone_into(place);
        }
        if aws.access_key.is_empty() != aws.secret_key.is_empty() {
            let text =
                "sigv4: must provide a access key and secret key if credentials are specified";
            return Err(Failure::last(text));
        }
        Ok(aws)
    }
}

/// How a notification is told.
#[derive(Debug)]
pub enum Delivery {
    /// Over HTTP.
    Http(Exchange),
    /// Over HTTP, signed for Amazon; without an address it goes to the region's.
    Signed(Exchange, Aws),
    /// By mail.
    Mail(Box<Mail>),
    /// By a program.
    Program(Program),
}

/// A notification that is to be told by an integration.
#[derive(Clone, Copy, Debug)]
pub struct Case<'a> {
    /// How it is told.
    pub integration: &'a Integration,
    /// What is told.
    pub data: &'a Data<'a>,
    /// Templates.
    pub library: &'a Library,
    /// What the files hold that settings name, by the keys of those.
    pub files: &'a BTreeMap<&'static str, String>,
    /// What the last notification of the group left.
    pub kept: &'a Kept,
    /// The time and the chance of this try.
    pub stamp: &'a Stamp,
}

/// What is sent for a notification.
pub fn prepare(case: &Case<'_>) -> Result<Delivery, Failure> {
    let writer = Writer::new(case);
    let http = match case.integration.kind() {
        "webhook" => webhook::webhook(&writer),
        "incidentio" => webhook::incidentio(&writer),
        "ntfy" => webhook::ntfy(&writer),
        "exec" => return webhook::program(&writer).map(Delivery::Program),
        "slack" => attachments::slack(&writer),
        "rocketchat" => attachments::rocketchat(&writer),
        "mattermost" => attachments::mattermost(&writer),
        "pagerduty" => on_call::pagerduty(&writer),
        "opsgenie" => on_call::opsgenie(&writer),
        "victorops" => on_call::victorops(&writer),
        "pushover" => on_call::pushover(&writer),
        "telegram" => chat::telegram(&writer),
        "msteams" => chat::msteams(&writer),
        "msteamsv2" => chat::msteamsv2(&writer),
        "discord" => chat::discord(&writer),
        "webex" => chat::webex(&writer),
        "wechat" => wechat::wechat(&writer),
        "jira" => jira::jira(&writer),
        "sns" => {
            let (exchange, aws) = sns::sns(&writer)?;
            return Ok(Delivery::Signed(exchange, aws));
        }
        "email" => return mail::mail(&writer).map(|mail| Delivery::Mail(Box::new(mail))),
        other => Err(Failure::last(format!("no receiver of kind {other:?}"))),
    };
    http.map(Delivery::Http)
}

/// Writes the texts of one notification.
struct Writer<'a> {
    settings: &'a Settings,
    files: &'a BTreeMap<&'static str, String>,
    kept: &'a Kept,
    stamp: &'a Stamp,
    data: &'a Data<'a>,
    library: &'a Library,
    value: Value,
    plain: NotifyFunctions,
    markup: NotifyFunctions,
}

impl<'a> Writer<'a> {
    fn new(case: &Case<'a>) -> Self {
        let data = case.data;
        let labels = data.route_labels.iter();
        let plain = NotifyFunctions {
            now: data.now,
            route_labels: Value::texts(labels.map(|(k, v)| (k.as_str(), v.as_str()))),
            html: false,
        };
        Self {
            settings: &case.integration.settings,
            files: case.files,
            kept: case.kept,
            stamp: case.stamp,
            data,
            library: case.library,
            value: data.value(),
            markup: NotifyFunctions {
                html: true,
                ..plain.clone()
            },
            plain,
        }
    }

    /// A template, expanded.
    fn expand(&self, text: &str) -> Result<String, Failure> {
        let text = self.library.expand(text, &self.value, &self.plain);
        text.map_err(|error| Failure::last(error.to_string()).client())
    }

    /// The same as HTML.
    fn html(&self, text: &str) -> Result<String, Failure> {
        let text = self.library.expand(text, &self.value, &self.markup);
        text.map_err(|error| Failure::last(error.to_string()).client())
    }

    /// A text of the settings, expanded.
    fn text(&self, key: &str) -> Result<String, Failure> {
        let text = self.expand(self.settings.text(key));
        text.map_err(|failure| failure.about(key))
    }

    /// A text of the settings as it stands there, or in the file that they name.
    fn secret(&self, key: &str) -> String {
        match self
            .files
            .iter()
            .find(|(known, _)| known.strip_suffix("_file") == Some(key))
        {
            Some((_, content)) if !self.settings.has(key) => content.trim().to_owned(),
            _ => self.settings.text(key).to_owned(),
        }
    }

    /// An address of the settings with something after its path.
    fn url(&self, key: &str, path: &str) -> String {
        let base = self.settings.text(key);
        let (base, query) = match base.split_once('?') {
            Some((base, query)) => (base, format!("?{query}")),
            None => (base, String::new()),
        };
        format!(
            "{}/{}{query}",
            base.trim_end_matches('/'),
            path.trim_start_matches('/')
        )
    }

    /// A value of the settings as JSON, all its texts expanded; those that are YAML become what
    /// they say.
    fn any(&self, value: &serde_yaml_ng::Value) -> Result<serde_json::Value, Failure> {
        use serde_yaml_ng::Value as Yaml;
        Ok(match value {
            Yaml::String(text) => {
                let text = self.expand(text)?;
                match serde_yaml_ng::from_str::<Yaml>(&text) {
                    Err(_) | Ok(Yaml::String(_)) => text.into(),
                    Ok(value) => as_json(&value),
                }
            }
            Yaml::Sequence(values) => {
                let values: Result<Vec<_>, Failure> = values.iter().map(|v| self.any(v)).collect();
                values?.into()
            }
            Yaml::Mapping(map) => {
                let mut entries = serde_json::Map::new();
                for (key, value) in map {
                    if let Some(key) = key.as_str() {
                        entries.insert(self.expand(key)?, self.any(value)?);
                    }
                }
                entries.into()
            }
            other => as_json(other),
        })
    }

    /// A list of maps of the settings.
    fn list(&self, key: &str) -> Vec<&'a serde_yaml_ng::Mapping> {
        let values = self.settings.any(key).and_then(|value| value.as_sequence());
        let maps = values.into_iter().flatten();
        maps.filter_map(serde_yaml_ng::Value::as_mapping).collect()
    }

    /// A text of such a map, expanded.
    fn entry(&self, map: &serde_yaml_ng::Mapping, key: &str) -> Result<String, Failure> {
        match map.get(key) {
            Some(serde_yaml_ng::Value::String(text)) => self.expand(text),
            Some(serde_yaml_ng::Value::Number(number)) => Ok(number.to_string()),
            _ => Ok(String::new()),
        }
    }

    /// A short name of the group: the hash of its key.
    fn key(&self) -> String {
        let hash = ring::digest::digest(&ring::digest::SHA256, self.data.group_key.as_bytes());
        hash.as_ref()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }

    fn is_firing(&self) -> bool {
        self.data.status() == "firing"
    }
}

/// YAML as JSON; keys that are no texts are left out.
fn as_json(value: &serde_yaml_ng::Value) -> serde_json::Value {
    use serde_yaml_ng::Value as Yaml;
    match value {
        Yaml::Null => serde_json::Value::Null,
        Yaml::Bool(value) => (*value).into(),
        Yaml::String(text) => text.as_str().into(),
        Yaml::Number(number) => match (number.as_i64(), number.as_u64(), number.as_f64()) {
            (Some(int), _, _) => int.into(),
            (None, Some(int), _) => int.into(),
            (None, None, float) => float.into(),
        },
        Yaml::Sequence(values) => values.iter().map(as_json).collect(),
        Yaml::Mapping(map) => {
            let entries = map.iter();
            let entries = entries.filter_map(|(k, v)| Some((k.as_str()?.to_owned(), as_json(v))));
            serde_json::Value::Object(entries.collect())
        }
        Yaml::Tagged(tagged) => as_json(&tagged.value),
    }
}

/// A map of JSON without what is empty.
fn filled<const N: usize>(
    entries: [(&str, serde_json::Value); N],
) -> serde_json::Map<String, serde_json::Value> {
    let is_empty = |value: &serde_json::Value| match value {
        serde_json::Value::Null => true,
        serde_json::Value::Bool(value) => !value,
        serde_json::Value::String(text) => text.is_empty(),
        serde_json::Value::Array(values) => values.is_empty(),
        serde_json::Value::Object(map) => map.is_empty(),
        serde_json::Value::Number(number) => number.as_i64() == Some(0),
    };
    let entries = entries.into_iter().filter(|(_, value)| !is_empty(value));
    entries
        .map(|(key, value)| (key.to_owned(), value))
        .collect()
}

/// At most so many characters; the last of them says that some are missing.
fn cut(text: &str, characters_max: usize) -> String {
    let Some((end, _)) = text.char_indices().nth(characters_max) else {
        return text.to_owned();
    };
    if characters_max <= 3 {
        return text[..end].to_owned();
    }
    let end = text.char_indices().nth(characters_max - 1);
    let end = end.map_or(text.len(), |(at, _)| at);
    format!("{}…", &text[..end])
}

/// At most so many bytes, with the mark of what is missing.
fn cut_bytes(text: &str, bytes_max: usize) -> String {
    const MARK: &str = "…";
    if text.len() <= bytes_max {
        return text.to_owned();
    }
    if bytes_max < MARK.len() {
        return ".".repeat(bytes_max);
    }
    let end = (0..=bytes_max - MARK.len())
        .rev()
        .find(|at| text.is_char_boundary(*at));
    format!("{}{MARK}", &text[..end.unwrap_or(0)])
}

/// Characters of an answer that a reason has.
const ANSWER_CHARS_MAX: usize = 1024;

/// An answer's text for a reason.
fn shown(body: &[u8]) -> String {
    cut(String::from_utf8_lossy(body).trim(), ANSWER_CHARS_MAX)
}

/// Statuses of 200 and more are good; those of 500 and more may pass, and some others.
fn check(answer: &Answer<'_>, retried: &[u16], details: String) -> Result<(), Failure> {
    let status = answer.status;
    if (200..300).contains(&status) {
        return Ok(());
    }
    let mut reason = format!("unexpected status code {status}");
    if !details.is_empty() {
        reason.push_str(": ");
        reason.push_str(&details);
    }
    Err(Failure {
        retry: (500..600).contains(&status) || retried.contains(&status),
        reason,
        class: Class::of_status(status),
    })
}

/// A request whose answer counts by its status alone.
fn by_status(request: Request, retried: &'static [u16]) -> Exchange {
    let read = move |answer: &Answer<'_>| {
        check(answer, retried, shown(answer.body))?;
        Ok(Next::Done(Kept::new()))
    };
    Exchange {
        request,
        read: Box::new(read),
    }
}

/// A request, and what is asked after a good answer.
fn then(
    request: Request,
    read: impl FnOnce(&Answer<'_>) -> Result<Next, Failure> + Send + 'static,
) -> Exchange {
    Exchange {
        request,
        read: Box::new(read),
    }
}
