//! Templates of notifications: Alertmanager's functions and methods, and the templates that it
//! ships, by their names.

mod markup;
mod shipped;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use obs_model::Timestamp;
use obs_query::template::texts::{pattern, replace_all, title};
use obs_query::template::{
    Arguments, CallError, Functions, Moment, Template, TemplateError, Value, html, urlquery,
};

use super::data::{Data, json_text, to_json, without};
use crate::template::human_duration;

/// All names.
const NAMES: &[&str] = &[
    "append",
    "base64decode",
    "base64encode",
    "date",
    "dict",
    "html",
    "humanizeDuration",
    "join",
    "list",
    "match",
    "mustToDate",
    "now",
    "reReplaceAll",
    "routeLabels",
    "safeHtml",
    "safeUrl",
    "since",
    "stringSlice",
    "title",
    "toDate",
    "toJson",
    "toLower",
    "toUpper",
    "trimSpace",
    "tz",
    "urlUnescape",
    "urlquery",
];

/// Labels of a route that may wait for each other.
const ROUTE_LABELS_DEPTH_MAX: usize = 16;

/// The functions at a time.
#[derive(Clone, Debug, Default)]
pub struct NotifyFunctions {
    /// What `now` is.
    pub now: Timestamp,
    /// The labels of the route, as templates see them.
    pub route_labels: Value,
    /// Whether what is written is HTML: values are escaped where they stand.
    pub html: bool,
}

type Outcome = Result<Value, CallError>;

fn failed(text: impl Into<String>) -> CallError {
    CallError::Failed(text.into())
}

impl Functions for NotifyFunctions {
    fn knows(&self, name: &str) -> bool {
        NAMES.contains(&name)
    }

    fn call(&self, name: &str, arguments: &Arguments) -> Outcome {
        let values = arguments.values();
        match name {
            "now" => {
                arguments.expect(name, 0)?;
                Ok(Value::Time(Moment::new(self.now.nanos())))
            }
            "list" => Ok(Value::list(values.iter().cloned())),
            "stringSlice" => {
                let texts: Result<Vec<&str>, CallError> =
                    (0..values.len()).map(|at| arguments.text(at)).collect();
                Ok(Value::list(texts?.into_iter().map(Value::from)))
            }
            "append" => {
                arguments.expect_at_least(name, 1)?;
                let Value::List(list) = &values[0] else {
                    return Err(CallError::Arguments(
                        "append: expected a list first".to_owned(),
                    ));
                };
                Ok(Value::list(list.iter().chain(&values[1..]).cloned()))
            }
            "dict" => {
                if !values.len().is_multiple_of(2) {
                    return Err(failed("dict requires an even number of arguments"));
                }
                let keys: Result<Vec<&str>, CallError> = (0..values.len())
                    .step_by(2)
                    .map(|at| arguments.text(at))
                    .collect();
                let keys = keys.map_err(|_| failed("dict keys must be strings"))?;
                let pairs = keys
                    .into_iter()
                    .zip(values.iter().skip(1).step_by(2).cloned());
                Ok(Value::map(pairs))
            }
            "join" | "match" | "date" | "tz" | "toDate" | "mustToDate" => {
                arguments.expect(name, 2)?;
                two(name, arguments)
            }
            "reReplaceAll" => {
                arguments.expect(name, 3)?;
                let found = pattern(arguments.text(0)?)?;
                Ok(replace_all(&found, arguments.text(2)?, arguments.text(1)?)?.into())
            }
            "html" | "urlquery" => {
                let text = match values {
                    [Value::Html(_)] if name == "html" => return Ok(values[0].clone()),
                    [one] => one.printed(),
                    all => Value::list(all.iter().cloned()).printed(),
                };
                let text = match name {
                    "html" => html(&text),
                    _ => urlquery(&text),
                };
                Ok(self.safe(&text))
            }
            _ => {
                arguments.expect(name, 1)?;
                self.one(name, arguments)
            }
        }
    }

    fn write(&self, value: &Value, out: &mut String) -> bool {
        match value {
            _ if !self.html => false,
            Value::Html(_) => false,
            value => {
                markup::write(&value.printed(), out);
                true
            }
        }
    }

    fn method(&self, receiver: &Value, name: &str, arguments: &Arguments) -> Option<Outcome> {
        match receiver {
            Value::Map(map) if map.texts => {
                let pairs = || sorted(receiver);
                match name {
                    "SortedPairs" => Some(Ok(Value::list(pairs()))),
                    "Names" => Some(Ok(column(&pairs(), "Name"))),
                    "Values" => Some(Ok(column(&pairs(), "Value"))),
                    "Remove" => Some(match arguments.values() {
                        [Value::List(keys)] => Ok(without(map, keys)),
                        _ => Err(CallError::Arguments(
                            "Remove: expected a list of names".to_owned(),
                        )),
                    }),
                    "String" => {
                        let pairs = pairs();
                        let shown: Vec<String> = pairs.iter().map(pair_text).collect();
                        Some(Ok(shown.join(", ").into()))
                    }
                    _ => None,
                }
            }
            Value::List(values) => match name {
                "Firing" | "Resolved" => {
                    let wanted = name.to_lowercase();
                    let of = |value: &&Value| entry(value, "Status").printed() == wanted;
                    Some(Ok(Value::list(values.iter().filter(of).cloned())))
                }
                "Names" => Some(Ok(column(values, "Name"))),
                "Values" => Some(Ok(column(values, "Value"))),
                "Join" => Some(
                    arguments
                        .expect(name, 1)
                        .and_then(|()| Ok(joined(arguments.text(0)?, values))),
                ),
                _ => None,
            },
            _ => None,
        }
    }
}

impl NotifyFunctions {
    /// A text that needs no more escapes.
    fn safe(&self, text: &str) -> Value {
        match self.html {
            true => Value::Html(text.into()),
            false => text.into(),
        }
    }

    fn one(&self, name: &str, arguments: &Arguments) -> Outcome {
        match name {
            "toJson" => Ok(json_text(&to_json(&arguments.values()[0])).into()),
            "since" => {
                let time = arguments.time(0)?.nanos().unwrap_or_default();
                let past = self.now.nanos().saturating_sub(time);
                Ok(obs_query::logql::go_duration_text(past).into())
            }
            "humanizeDuration" => match &arguments.values()[0] {
                Value::Int(value) => Ok(human_duration(*value as f64).into()),
                Value::Float(value) => Ok(human_duration(*value).into()),
                other => {
                    let text = other.printed();
                    let value: Result<f64, _> = text.parse();
                    let value = value.map_err(|_| failed(format!("no number: {text:?}")))?;
                    Ok(human_duration(value).into())
                }
            },
            "toUpper" => Ok(arguments.text(0)?.to_uppercase().into()),
            "toLower" => Ok(arguments.text(0)?.to_lowercase().into()),
            "title" => Ok(title(&arguments.text(0)?.to_lowercase()).into()),
            "trimSpace" => Ok(arguments.text(0)?.trim().into()),
            "safeHtml" => Ok(self.safe(arguments.text(0)?)),
            "safeUrl" => Ok(arguments.text(0)?.into()),
            "routeLabels" => Ok(entry(&self.route_labels, arguments.text(0)?)),
            "urlUnescape" => {
                let text = format!("x={}", arguments.text(0)?.replace('&', "%26"));
                let mut pairs = form_urlencoded::parse(text.as_bytes());
                let value = pairs.next().map(|(_, value)| value.into_owned());
                Ok(value.unwrap_or_default().into())
            }
            "base64encode" => Ok(URL_SAFE.encode(arguments.text(0)?).into()),
            "base64decode" => {
                let bytes = URL_SAFE.decode(arguments.text(0)?);
                let bytes = bytes.map_err(|_| failed("illegal base64 data"))?;
                Ok(String::from_utf8_lossy(&bytes).into_owned().into())
            }
            other => Err(failed(format!("function {other:?} not defined"))),
        }
    }
}

fn two(name: &str, arguments: &Arguments) -> Outcome {
    match name {
        "join" => match &arguments.values()[1] {
            Value::List(values) => Ok(joined(arguments.text(0)?, values)),
            other => Err(CallError::Arguments(format!(
                "wrong type for value; expected []string; got {}",
                other.type_name()
            ))),
        },
        "match" => {
            let found = pattern(arguments.text(0)?)?;
            Ok(Value::Bool(found.is_match(arguments.text(1)?)))
        }
        "date" => Ok(arguments.time(1)?.format(arguments.text(0)?).into()),
        "tz" => {
            let zone = arguments.text(0)?;
            let there = arguments.time(1)?.within(zone);
            there
                .map(Value::Time)
                .ok_or_else(|| failed(format!("unknown time zone {zone}")))
        }
        "toDate" => {
            let read = Moment::parse(arguments.text(0)?, arguments.text(1)?, "UTC");
            let zero = || Moment::parse("2006-01-02", "0001-01-01", "UTC");
            Ok(read.or_else(|_| zero()).map_or(Value::Nil, Value::Time))
        }
        _ => {
            let read = Moment::parse(arguments.text(0)?, arguments.text(1)?, "UTC");
            read.map(Value::Time).map_err(failed)
        }
    }
}

/// Name and value of each entry: `alertname` first, the others in order.
fn sorted(map: &Value) -> Vec<Value> {
    let Value::Map(map) = map else {
        return Vec::new();
    };
    let pair = |(name, value): (&String, &Value)| {
        Value::map([("Name", name.as_str().into()), ("Value", value.clone())])
    };
    let is_first = |(name, _): &(&String, &Value)| *name == "alertname";
    let first = map.entries.iter().filter(is_first).map(pair);
    let others = map
        .entries
        .iter()
        .filter(|entry| !is_first(entry))
        .map(pair);
    first.chain(others).collect()
}

fn entry(value: &Value, name: &str) -> Value {
    match value {
        Value::Map(map) => {
            let found = map.entries.get(name).cloned();
            found.unwrap_or_else(|| Value::Text(Arc::from("")))
        }
        _ => Value::Text(Arc::from("")),
    }
}

fn column(pairs: &[Value], name: &str) -> Value {
    Value::list(pairs.iter().map(|pair| entry(pair, name)))
}

fn pair_text(pair: &Value) -> String {
    format!(
        "{}={}",
        entry(pair, "Name").printed(),
        entry(pair, "Value").printed()
    )
}

fn joined(separator: &str, values: &[Value]) -> Value {
    let texts: Vec<String> = values.iter().map(Value::printed).collect();
    texts.join(separator).into()
}

/// Templates that may be used in all texts of a configuration.
#[derive(Clone, Debug)]
pub struct Library(Template);

impl Library {
    /// The templates that are always there, and those of files in place of them.
    pub fn new(files: &[String]) -> Result<Self, TemplateError> {
        let functions = NotifyFunctions::default();
        let mut library = Template::parse("", &shipped::shipped(), &functions)?;
        for file in files {
            library = library.with(file, &functions)?;
        }
        Ok(Self(library))
    }

    /// Expands a text over data.
    pub fn expand(
        &self,
        text: &str,
        data: &Value,
        functions: &NotifyFunctions,
    ) -> Result<String, TemplateError> {
        if !text.contains("{{") {
            return Ok(text.to_owned());
        }
        self.0.with(text, functions)?.execute(data, functions)
    }

    /// Fails where a text is no template.
    pub fn check(&self, text: &str) -> Result<(), TemplateError> {
        self.0.with(text, &NotifyFunctions::default()).map(drop)
    }
}

/// The labels of a route, which are templates that may name each other, for a notification.
pub fn route_labels(
    labels: &[(String, String)],
    data: &Data<'_>,
    library: &Library,
) -> Result<BTreeMap<String, String>, TemplateError> {
    let value = data.value();
    let resolver = Resolver {
        written: labels.iter().cloned().collect(),
        open: RefCell::default(),
        value: &value,
        library,
        now: data.now,
    };
    let resolve =
        |(name, text): &(String, String)| Ok((name.clone(), resolver.expand(name, text)?));
    labels.iter().map(resolve).collect()
}

/// Labels of a route while they are expanded.
struct Resolver<'a> {
    written: BTreeMap<String, String>,
    /// Those that wait for others.
    open: RefCell<Vec<String>>,
    value: &'a Value,
    library: &'a Library,
    now: Timestamp,
}

impl Resolver<'_> {
    fn expand(&self, name: &str, text: &str) -> Result<String, TemplateError> {
        if !text.contains("{{") {
            return Ok(text.to_owned());
        }
        self.open.borrow_mut().push(name.to_owned());
        let parsed = self.library.0.with(text, self);
        let text = parsed.and_then(|template| template.execute(self.value, self));
        self.open.borrow_mut().pop();
        text
    }
}

impl Functions for Resolver<'_> {
    fn knows(&self, name: &str) -> bool {
        NAMES.contains(&name)
    }

    fn call(&self, name: &str, arguments: &Arguments) -> Outcome {
        if name != "routeLabels" {
            let functions = NotifyFunctions {
                now: self.now,
                ..NotifyFunctions::default()
            };
            return functions.call(name, arguments);
        }
        arguments.expect(name, 1)?;
        let wanted = arguments.text(0)?;
        let Some(text) = self.written.get(wanted) else {
            return Ok("".into());
        };
        let open = self.open.borrow().clone();
        if open.iter().any(|name| name == wanted) || open.len() >= ROUTE_LABELS_DEPTH_MAX {
            let chain = open.join(" -> ");
            return Err(failed(format!(
                "route label cycle detected: {chain} -> {wanted}"
            )));
        }
        let text = self.expand(wanted, text);
        Ok(text.map_err(|error| failed(error.to_string()))?.into())
    }

    fn method(&self, receiver: &Value, name: &str, arguments: &Arguments) -> Option<Outcome> {
        NotifyFunctions::default().method(receiver, name, arguments)
    }
}

#[cfg(test)]
mod tests {
    use obs_model::Labels;

    use super::super::data::Data;
    use super::super::{Fingerprint, Received};
    use super::*;

    fn expand(text: &str) -> String {
        expand_as(text, false)
    }

    fn expand_as(text: &str, html: bool) -> String {
        let alert = |i: &str, severity: &str, over: bool| {
            let labels = Labels::from_pairs([("alertname", "A"), ("i", i), ("severity", severity)]);
            Received {
                fingerprint: Fingerprint::of(&labels),
                labels,
                annotations: Labels::from_pairs([("summary", "it <burns>")]),
                starts_at: Timestamp::from_seconds(1_700_000_000),
                ends_at: Timestamp::from_seconds(if over { 1_700_000_100 } else { 1_800_000_000 }),
                updated_at: Timestamp::from_seconds(1_700_000_000),
                generator_url: "http://p/graph".to_owned(),
                guessed_end: false,
            }
        };
        let alerts = [alert("1", "page", false), alert("2", "page", true)];
        let group = Labels::from_pairs([("alertname", "A")]);
        let data = Data {
            delivery: String::new(),
            receiver: "team x",
            group_key: "{}:{}",
            group_labels: &group,
            route_labels: Default::default(),
            alerts: &alerts,
            reason: "first notification",
            external_url: "http://obs",
            now: Timestamp::from_seconds(1_700_001_000),
        };
        let functions = NotifyFunctions {
            now: data.now,
            route_labels: Value::texts([("team", "db")]),
            html,
        };
        let file = "{{ define \"own\" }}<{{ .Status }}>{{ end }}".to_owned();
        let library = Library::new(&[file]).expect("templates");
        let text = library.expand(text, &data.value(), &functions);
        text.unwrap_or_else(|error| format!("error: {error}"))
    }

    #[test]
    fn texts_are_alertmanagers() {
        let cases = [
            ("{{ template \"__subject\" . }}", "[FIRING:1] A (page)"),
            (
                "{{ template \"slack.default.titlelink\" . }}",
                "http://obs/#/alerts?receiver=team+x",
            ),
            ("{{ template \"slack.default.color\" . }}", "danger"),
            ("{{ template \"own\" . }}", "<firing>"),
            (
                "{{ .CommonLabels.SortedPairs.Values | join \"/\" }}",
                "A/page",
            ),
            (
                "{{ (.CommonLabels.Remove .GroupLabels.Names).Names | join \",\" }}",
                "severity",
            ),
            (
                "{{ range .Alerts.Firing }}{{ .Labels.i }} {{ .StartsAt.Unix }} {{ .EndsAt.IsZero }}{{ end }}",
                "1 1700000000 true",
            ),
            (
                "{{ range .Alerts.Resolved }}{{ .EndsAt | date \"15:04:05\" }}{{ end }}",
                "22:15:00",
            ),
            (
                "{{ range .Alerts.Resolved }}{{ .EndsAt | tz \"Europe/Berlin\" | date \"15:04\" }}{{ end }}",
                "23:15",
            ),
            (
                "{{ (index .Alerts 0).Labels.SortedPairs.Names.Join \"+\" }}",
                "alertname+i+severity",
            ),
            (
                "{{ toJson .GroupLabels }} {{ toUpper \"a\" }} {{ title \"hELLO you\" }}",
                "{\"alertname\":\"A\"} A Hello You",
            ),
            ("{{ since (index .Alerts 0).StartsAt }}", "16m40s"),
            (
                "{{ stringSlice \"a\" \"b\" | join \"-\" }} {{ (dict \"k\" 1).k }} {{ append (list 1) 2 }}",
                "a-b 1 [1 2]",
            ),
            (
                "{{ routeLabels \"team\" }} {{ base64encode \"a?b\" | base64decode }} {{ urlUnescape \"a%20b+c\" }}",
                "db a?b a b c",
            ),
            ("{{ template \"jira.default.priority\" . }}", ""),
            (
                "{{ .Alerts | len }} {{ .NotificationReason }}",
                "2 first notification",
            ),
        ];
        for (text, expect) in cases {
            assert_eq!(expand(text), expect, "{text}");
        }
    }

    #[test]
    fn lists_have_labels_annotations_and_sources() {
        let found = expand("{{ template \"__text_alert_list\" .Alerts.Firing }}");
        assert_eq!(
            found,
            "Labels:\n - alertname = A\n - i = 1\n - severity = page\nAnnotations:\n - summary = it <burns>\nSource: http://p/graph\n"
        );
        let email = expand_as("{{ template \"email.default.html\" . }}", true);
        assert!(
            email.contains("it &lt;burns&gt;") && !email.contains("<burns>"),
            "{email}"
        );
        let link = "href=\"http://obs/#/alerts?receiver=team+x\"";
        assert!(email.contains(link), "{email}");
        assert!(!email.contains("error:"), "{email}");
        for kind in [
            "opsgenie.default.description",
            "victorops.default.state_message",
            "pushover.default.message",
            "msteamsv2.default.text",
            "wechat.default.message",
        ] {
            let text = expand(&format!("{{{{ template {kind:?} . }}}}"));
            assert!(
                text.contains("Alerts Firing:") && text.contains("Alerts Resolved:"),
                "{kind}: {text}"
            );
        }
    }
}
