//! `obs alerts` and `obs silence`: what the Alertmanager of a server knows, where an alert would
//! go, and quiet on request.

use std::io::Write;

use anyhow::{Context, ensure};
use clap::{Args, Subcommand};
use obs_model::Timestamp;
use serde_json::{Value, json};

use crate::Ended;
use crate::arguments::{Output, ServerOptions, duration, length_text, time_text};
use crate::client::{Client, now, time};
use crate::shape::{Shape, write};
use crate::table::Table;

/// Where acknowledgements are.
const ACKS: &str = "/api/v1/alertmanager/acks";

/// `obs alerts`
#[derive(Debug, Subcommand)]
pub(crate) enum Alerts {
    /// List the alerts that are known now
    #[command(
        after_help = "Examples:\n  obs alerts list\n  obs alerts list --active 'severity=\"page\"' -o json"
    )]
    List(ListOptions),
    /// Show where an alert with these labels would go, and what would keep it quiet
    #[command(after_help = "Examples:\n  obs alerts route alertname=DiskFull severity=page")]
    Route(RouteOptions),
    /// Say that somebody cares for alerts: nobody hears of them again until they are over
    #[command(
        after_help = "Examples:\n  obs alerts ack -c 'on it' -d 2h alertname=DiskFull node=eu-1"
    )]
    Ack(AckOptions),
    /// List acknowledgements
    #[command(after_help = "Examples:\n  obs alerts acks\n  obs alerts acks -o json")]
    Acks(AcksOptions),
}

/// `obs silence`
#[derive(Debug, Subcommand)]
pub(crate) enum Silence {
    /// List silences
    #[command(after_help = "Examples:\n  obs silence list\n  obs silence list --expired -o json")]
    List(SilenceListOptions),
    /// Keep alerts quiet that have all of these labels
    #[command(
        after_help = "Examples:\n  obs silence add -c 'disk is being replaced' -d 2h alertname=DiskFull 'node=~\"eu-.*\"'"
    )]
    Add(SilenceAddOptions),
    /// End silences now; prints their ids
    #[command(
        after_help = "Examples:\n  obs silence expire 6b1a0d3e-6d1c-4a57-9c57-0a4a3c1d2e3f\n  \
        obs silence list -o csv | tail -n +2 | cut -d, -f1 | xargs obs silence expire"
    )]
    Expire(SilenceExpireOptions),
}

#[derive(Debug, Args)]
pub(crate) struct ListOptions {
    /// Only alerts that match: `severity="page"`
    pub(crate) matchers: Vec<String>,
    #[command(flatten)]
    pub(crate) server: ServerOptions,
    /// Only those that go to receivers that match this expression
    #[arg(long, value_name = "REGEX")]
    pub(crate) receiver: Option<String>,
    /// Leave out those that are silenced or inhibited
    #[arg(long)]
    pub(crate) active: bool,
    /// Shape of the output
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    pub(crate) output: Output,
}

#[derive(Debug, Args)]
pub(crate) struct RouteOptions {
    /// Labels: `alertname=DiskFull severity=page`
    #[arg(required = true)]
    pub(crate) labels: Vec<String>,
    #[command(flatten)]
    pub(crate) server: ServerOptions,
    /// Shape of the output
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    pub(crate) output: Output,
}

#[derive(Debug, Args)]
pub(crate) struct AckOptions {
    /// Alerts that match all of these (`severity="page"`), or fingerprints
    #[arg(required = true, value_name = "MATCHER")]
    pub(crate) alerts: Vec<String>,
    #[command(flatten)]
    pub(crate) server: ServerOptions,
    /// What is done about it
    #[arg(short, long, value_name = "TEXT", default_value = "")]
    pub(crate) comment: String,
    /// Who cares
    #[arg(short, long, value_name = "NAME", env = "USER", default_value = "obs")]
    pub(crate) author: String,
    /// For how long at most (default: until they are over)
    #[arg(short, long, value_name = "DURATION", value_parser = length_text)]
    pub(crate) duration: Option<String>,
    /// Take acknowledgements back
    #[arg(long, conflicts_with_all = ["comment", "duration"])]
    pub(crate) remove: bool,
}

#[derive(Debug, Args)]
pub(crate) struct AcksOptions {
    #[command(flatten)]
    pub(crate) server: ServerOptions,
    /// Shape of the output
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    pub(crate) output: Output,
}

#[derive(Debug, Args)]
pub(crate) struct SilenceListOptions {
    /// Only silences that have these matchers themselves
    pub(crate) matchers: Vec<String>,
    #[command(flatten)]
    pub(crate) server: ServerOptions,
    /// Also those that are over
    #[arg(long)]
    pub(crate) expired: bool,
    /// Shape of the output
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    pub(crate) output: Output,
}

#[derive(Debug, Args)]
pub(crate) struct SilenceAddOptions {
    /// Matchers: `alertname=DiskFull`, `node=~"eu-.*"`
    #[arg(required = true)]
    pub(crate) matchers: Vec<String>,
    #[command(flatten)]
    pub(crate) server: ServerOptions,
    /// Why
    #[arg(short, long, value_name = "TEXT")]
    pub(crate) comment: String,
    /// Who asks
    #[arg(short, long, value_name = "NAME", env = "USER", default_value = "obs")]
    pub(crate) author: String,
    /// For how long
    #[arg(short, long, value_name = "DURATION", default_value = "1h", value_parser = length_text)]
    pub(crate) duration: String,
    /// From when (default: now)
    #[arg(long, value_name = "TIME", value_parser = time_text, allow_hyphen_values = true)]
    pub(crate) start: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct SilenceExpireOptions {
    /// Ids
    #[arg(required = true)]
    pub(crate) ids: Vec<String>,
    #[command(flatten)]
    pub(crate) server: ServerOptions,
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

fn texts(value: &Value) -> String {
    let all: Vec<&str> = items(value).filter_map(Value::as_str).collect();
    all.join(",")
}

fn labels(value: &Value) -> String {
    let pairs = value.as_object().into_iter().flatten();
    let pairs = pairs.map(|(name, value)| format!("{name}={value}"));
    pairs.collect::<Vec<String>>().join(" ")
}

fn filters(matchers: &[String]) -> Vec<(&'static str, String)> {
    matchers.iter().map(|m| ("filter", m.clone())).collect()
}

/// Runs `obs alerts`.
pub(crate) async fn run(command: &Alerts) -> anyhow::Result<()> {
    match command {
        Alerts::List(options) => {
            let client = Client::new(&options.server)?;
            let mut params = filters(&options.matchers);
            params.extend(options.receiver.clone().map(|regex| ("receiver", regex)));
            if options.active {
                params.push(("silenced", "false".to_owned()));
                params.push(("inhibited", "false".to_owned()));
            }
            let answer = client.json("/api/v2/alerts", &params).await?;
            Shape::from(options.output).print(&answer, || alert_table(&answer))
        }
        Alerts::Route(options) => {
            let client = Client::new(&options.server)?;
            let labels = options.labels.iter();
            let params: Vec<_> = labels.map(|label| ("labels", label.clone())).collect();
            let path = "/api/v1/alertmanager/route";
            let answer = client.json(path, &params).await?;
            let data = &answer["data"];
            for (key, what) in [("silencedBy", "silenced"), ("inhibitedBy", "inhibited")] {
                let by = texts(&data[key]);
                if !by.is_empty() {
                    writeln!(
                        std::io::stderr(),
                        "nobody would be told now: {what} by {by}"
                    )?;
                }
            }
            Shape::from(options.output).print(data, || route_table(data))
        }
        Alerts::Ack(options) => ack(options).await,
        Alerts::Acks(options) => {
            let client = Client::new(&options.server)?;
            let answer = client.json(ACKS, &[]).await?;
            Shape::from(options.output).print(&answer, || ack_table(&answer))
        }
    }
}

/// Acknowledges alerts, or takes that back; prints their fingerprints.
async fn ack(options: &AckOptions) -> anyhow::Result<()> {
    let client = Client::new(&options.server)?;
    let length = options.duration.as_deref().map(duration).transpose();
    let length = length.context("--duration")?;
    let is_print = |text: &String| text.len() == 16 && text.bytes().all(|b| b.is_ascii_hexdigit());
    let prints: Vec<String> = match options.alerts.iter().all(is_print) {
        true => options.alerts.clone(),
        false => {
            let found = client
                .json("/api/v2/alerts", &filters(&options.alerts))
                .await?;
            items(&found)
                .map(|alert| text(alert, "fingerprint").to_owned())
                .collect()
        }
    };
    ensure!(!prints.is_empty(), "no alert that fires matches");
    for print in prints {
        if options.remove {
            client.delete(&format!("{ACKS}/{print}")).await?;
        } else {
            let ends = length.map(|length| now().saturating_add(length).to_string());
            let body = json!({
                "fingerprint": print,
                "createdBy": options.author,
                "comment": options.comment,
                "endsAt": ends,
            });
            let headers = [("content-type", "application/json")];
            let body = body.to_string().into_bytes();
            let posted = client.post(ACKS, &headers, body).await?;
            ensure!(posted.status == 200, posted.told());
        }
        write(&format!("{print}\n"))?;
    }
    Ok(())
}

fn ack_table(acks: &Value) -> Table {
    let mut table = Table::new(["fingerprint", "by", "since", "until", "labels", "comment"]);
    for ack in items(acks) {
        table.push(vec![
            text(ack, "fingerprint").to_owned(),
            text(ack, "createdBy").to_owned(),
            text(ack, "createdAt").to_owned(),
            text(ack, "endsAt").to_owned(),
            labels(&ack["labels"]),
            text(ack, "comment").to_owned(),
        ]);
    }
    table
}

fn alert_table(alerts: &Value) -> Table {
    let mut table = Table::new([
        "alertname",
        "state",
        "since",
        "receivers",
        "labels",
        "summary",
    ]);
    for alert in items(alerts) {
        let receivers: Vec<&str> = items(&alert["receivers"])
            .map(|r| text(r, "name"))
            .collect();
        let mut others = alert["labels"].clone();
        let name = others
            .as_object_mut()
            .and_then(|map| map.remove("alertname"));
        table.push(vec![
            name.as_ref()
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned(),
            text(&alert["status"], "state").to_owned(),
            text(alert, "startsAt").to_owned(),
            receivers.join(","),
            labels(&others),
            text(&alert["annotations"], "summary").to_owned(),
        ]);
    }
    table
}

fn route_table(data: &Value) -> Table {
    let mut table = Table::new([
        "receiver", "by", "route", "group", "wait", "interval", "repeat", "muted by",
    ]);
    for route in items(&data["routes"]) {
        table.push(vec![
            text(route, "receiver").to_owned(),
            texts(&route["integrations"]),
            text(route, "route").to_owned(),
            labels(&route["groupLabels"]),
            text(route, "groupWait").to_owned(),
            text(route, "groupInterval").to_owned(),
            text(route, "repeatInterval").to_owned(),
            texts(&route["mutedBy"]),
        ]);
    }
    table
}

/// Runs `obs silence`.
pub(crate) async fn silence(command: &Silence) -> anyhow::Result<()> {
    match command {
        Silence::List(options) => {
            let client = Client::new(&options.server)?;
            let mut params = filters(&options.matchers);
            params.push(("expired", options.expired.to_string()));
            let answer = client.json("/api/v2/silences", &params).await?;
            Shape::from(options.output).print(&answer, || silence_table(&answer))
        }
        Silence::Add(options) => {
            let client = Client::new(&options.server)?;
            let body = silence_body(options, now())?;
            let headers = [("content-type", "application/json")];
            let path = "/api/v2/silences";
            let posted = client
                .post(path, &headers, body.to_string().into_bytes())
                .await?;
            ensure!(posted.status == 200, posted.told());
            let answer: Value =
                serde_json::from_slice(&posted.body).context("the server's answer")?;
            write(&format!("{}\n", text(&answer, "silenceID")))
        }
        Silence::Expire(options) => {
            let client = Client::new(&options.server)?;
            expire(&client, &options.ids).await
        }
    }
}

/// Ends silences; one that cannot be ended does not keep the others.
async fn expire(client: &Client, ids: &[String]) -> anyhow::Result<()> {
    let mut failed = 0;
    for id in ids {
        match client.delete(&format!("/api/v2/silence/{id}")).await {
            Ok(()) => write(&format!("{id}\n"))?,
            Err(error) => {
                failed += 1;
                let hint = "`obs silence list` has the ids";
                writeln!(std::io::stderr(), "obs: silence {id}: {error:#}; {hint}")?;
            }
        }
    }
    match failed {
        0 => Ok(()),
        _ => Err(Ended(1).into()),
    }
}

fn silence_body(options: &SilenceAddOptions, now: Timestamp) -> anyhow::Result<Value> {
    let start = options.start.as_deref().map(time).transpose();
    let start = start.context("--start")?.unwrap_or(now);
    let length = duration(&options.duration).context("--duration")?;
    let mut matchers = Vec::new();
    for text in &options.matchers {
        matchers.push(matcher(text)?);
    }
    Ok(json!({
        "matchers": matchers,
        "startsAt": start.to_string(),
        "endsAt": start.saturating_add(length).to_string(),
        "createdBy": options.author,
        "comment": options.comment,
    }))
}

/// `name=value`, also `!=`, `=~` and `!~`; the value may be in quotes.
fn matcher(text: &str) -> anyhow::Result<Value> {
    let fault = || format!("expected a matcher such as severity=page, found {text:?}");
    let at = text.find(['=', '!']).with_context(fault)?;
    let (name, rest) = text.split_at(at);
    let signs = [
        ("=~", true, true),
        ("!~", false, true),
        ("!=", false, false),
        ("=", true, false),
    ];
    let found = signs
        .into_iter()
        .find_map(|(sign, equal, regex)| Some((rest.strip_prefix(sign)?, equal, regex)));
    let (value, is_equal, is_regex) = found.with_context(fault)?;
    let name = name.trim();
    ensure!(!name.is_empty(), fault());
    let value = value.trim();
    let quoted = value.len() >= 2 && value.starts_with('"') && value.ends_with('"');
    let value: String = match quoted {
        true => serde_json::from_str(value).with_context(fault)?,
        false => value.to_owned(),
    };
    Ok(json!({"name": name, "value": value, "isEqual": is_equal, "isRegex": is_regex}))
}

fn silence_table(silences: &Value) -> Table {
    let mut table = Table::new(["id", "state", "until", "matchers", "by", "comment"]);
    for silence in items(silences) {
        let matchers = items(&silence["matchers"]).map(|matcher| {
            let flag = |key: &str| matcher[key].as_bool() == Some(true);
            let sign = match (flag("isEqual"), flag("isRegex")) {
                (true, false) => "=",
                (false, false) => "!=",
                (true, true) => "=~",
                (false, true) => "!~",
            };
            format!("{}{sign}{}", text(matcher, "name"), matcher["value"])
        });
        table.push(vec![
            text(silence, "id").to_owned(),
            text(&silence["status"], "state").to_owned(),
            text(silence, "endsAt").to_owned(),
            matchers.collect::<Vec<String>>().join(" "),
            text(silence, "createdBy").to_owned(),
            text(silence, "comment").to_owned(),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matchers_of_the_command_line() {
        let check = |text: &str, expect: Option<(&str, &str, bool, bool)>| {
            let found = matcher(text).ok();
            let expect = expect.map(|(name, value, is_equal, is_regex)| {
                json!({"name": name, "value": value, "isEqual": is_equal, "isRegex": is_regex})
            });
            assert_eq!(found, expect, "{text}");
        };
        check("a=b", Some(("a", "b", true, false)));
        check("a != \"b c\"", Some(("a", "b c", false, false)));
        check("a=~b|c", Some(("a", "b|c", true, true)));
        check("a!~b=c", Some(("a", "b=c", false, true)));
        check("a", None);
        check("=b", None);
        check("a!b", None);
    }

    #[test]
    fn alerts_and_silences_as_tables() {
        let alert = json!({
            "labels": {"alertname": "A", "severity": "page"}, "status": {"state": "active"},
            "startsAt": "T", "receivers": [{"name": "r"}], "annotations": {"summary": "s"},
        });
        let csv = alert_table(&json!([alert])).csv();
        assert_eq!(
            csv.lines().nth(1),
            Some("A,active,T,r,\"severity=\"\"page\"\"\",s")
        );
        let ack = json!({
            "fingerprint": "00000000000000ff", "createdBy": "me", "createdAt": "T",
            "endsAt": null, "labels": {"alertname": "A"}, "comment": "on it",
        });
        let csv = ack_table(&json!([ack])).csv();
        let expect = "00000000000000ff,me,T,,\"alertname=\"\"A\"\"\",on it";
        assert_eq!(csv.lines().nth(1), Some(expect));
        let silence = json!({
            "id": "1", "status": {"state": "active"}, "endsAt": "E", "createdBy": "me",
            "comment": "c", "matchers": [
                {"name": "a", "value": "b", "isEqual": false, "isRegex": true},
            ],
        });
        let csv = silence_table(&json!([silence])).csv();
        assert_eq!(csv.lines().nth(1), Some("1,active,E,\"a!~\"\"b\"\"\",me,c"));
    }
}
