//! Templates of notifications: Alertmanager's functions and methods, and the templates that it
//! ships, by their names.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use obs_model::Timestamp;
use obs_query::template::texts::{pattern, replace_all, title};
use obs_query::template::{
    Arguments, CallError, Functions, Moment, Template, TemplateError, Value,
};

use super::data::{to_json, without};
use crate::template::human_duration;

/// All names.
const NAMES: &[&str] = &[
    "append",
    "base64decode",
    "base64encode",
    "date",
    "dict",
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
];

/// The functions at a time.
#[derive(Clone, Debug, Default)]
pub struct NotifyFunctions {
    /// What `now` is.
    pub now: Timestamp,
    /// The labels of the route, as templates see them.
    pub route_labels: Value,
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
            _ => {
                arguments.expect(name, 1)?;
                self.one(name, arguments)
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
    fn one(&self, name: &str, arguments: &Arguments) -> Outcome {
        match name {
            "toJson" => Ok(to_json(&arguments.values()[0]).to_string().into()),
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
            "safeHtml" | "safeUrl" => Ok(arguments.text(0)?.into()),
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
pub struct Library(String);

impl Library {
    /// The templates that are always there, and those of files over them.
    pub fn new(files: &[String]) -> Result<Self, TemplateError> {
        let mut text = shipped();
        for file in files {
            // Only what a file defines counts, not what stands between.
            text.push_str("{{ define \"\" }}");
            text.push_str("{{ end }}");
            text.push_str(file);
        }
        let library = Self(text);
        library.parse("")?;
        Ok(library)
    }

    fn parse(&self, text: &str) -> Result<Template, TemplateError> {
        let own = "__text";
        let all = format!("{}{{{{ define {own:?} }}}}{text}{{{{ end }}}}", self.0);
        Template::parse("", &all, &NotifyFunctions::default())
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
        let all = self.parse(text)?;
        all.execute_named("__text", data, functions)
    }
}

/// Kinds with a title and a list of alerts each.
const LISTS: &[(&str, &str, &str, bool)] = &[
    ("pushover", "title", "message", true),
    ("sns", "subject", "message", true),
    ("webex", "", "message", true),
    ("telegram", "", "message", false),
    ("discord", "title", "message", false),
];

/// Kinds whose list is in Markdown, with the names of their titles.
const MARKDOWN: &[(&str, &[&str], &str)] = &[
    ("msteams", &["summary", "title"], "text"),
    ("msteamsv2", &["title"], "text"),
    ("jira", &["summary"], "description"),
    ("mattermost", &["title"], "text"),
];

const SUBJECT: &str = "{{ template \"__subject\" . }}";
const URL: &str = "{{ template \"__alertmanagerURL\" . }}";
const NAME: &str = "{{ template \"__alertmanager\" . }}";
const COLOR: &str = "{{ if eq .Status \"firing\" }}danger{{ else }}good{{ end }}";

/// What is one text each, by name.
const NAMED: &[(&str, &str)] = &[
    ("slack.default.color", COLOR),
    ("mattermost.default.color", COLOR),
    ("slack.default.title", SUBJECT),
    ("slack.default.username", NAME),
    (
        "slack.default.fallback",
        "{{ template \"slack.default.title\" . }} | {{ template \"slack.default.titlelink\" . }}",
    ),
    ("slack.default.callbackid", ""),
    ("slack.default.pretext", ""),
    ("slack.default.titlelink", URL),
    ("slack.default.iconemoji", ""),
    ("slack.default.iconurl", ""),
    ("slack.default.text", ""),
    ("slack.default.footer", ""),
    ("pagerduty.default.description", SUBJECT),
    ("pagerduty.default.client", NAME),
    ("pagerduty.default.clientURL", URL),
    (
        "pagerduty.default.instances",
        "{{ template \"__text_alert_list\" . }}",
    ),
    ("opsgenie.default.message", SUBJECT),
    ("opsgenie.default.source", URL),
    ("wechat.default.to_user", ""),
    ("wechat.default.to_party", ""),
    ("wechat.default.to_tag", ""),
    ("wechat.default.agent_id", ""),
    ("victorops.default.entity_display_name", SUBJECT),
    ("victorops.default.monitoring_tool", NAME),
    ("pushover.default.url", URL),
    ("discord.default.content", ""),
    ("rocketchat.default.title", SUBJECT),
    ("rocketchat.default.alias", NAME),
    ("rocketchat.default.titlelink", URL),
    ("rocketchat.default.emoji", ""),
    ("rocketchat.default.iconurl", ""),
    ("rocketchat.default.text", ""),
    ("mattermost.default.username", NAME),
    ("mattermost.default.titlelink", URL),
    (
        "mattermost.default.fallback",
        "{{ template \"mattermost.default.title\" . }} | {{ template \"mattermost.default.titlelink\" . }}",
    ),
    ("email.default.subject", SUBJECT),
];

/// What is defined without any file, under Alertmanager's names and with its texts.
fn shipped() -> String {
    let mut out = String::new();
    let mut define = |name: &str, body: &str| {
        out.push_str(&format!("{{{{ define {name:?} }}}}{body}{{{{ end }}}}"));
    };
    define_shared(&mut define);
    define_kinds(&mut define);
    out
}

/// What the texts of all kinds are made of.
fn define_shared(define: &mut dyn FnMut(&str, &str)) {
    define("__alertmanager", "Alertmanager");
    define(
        "__alertmanagerURL",
        "{{ .ExternalURL }}/#/alerts?receiver={{ .Receiver | urlquery }}",
    );
    define(
        "__subject",
        "[{{ .Status | toUpper }}{{ if eq .Status \"firing\" }}:{{ .Alerts.Firing | len }}{{ end }}] \
         {{ .GroupLabels.SortedPairs.Values | join \" \" }} \
         {{ if gt (len .CommonLabels) (len .GroupLabels) }}\
         ({{ with .CommonLabels.Remove .GroupLabels.Names }}{{ .Values | join \" \" }}{{ end }}){{ end }}",
    );
    define("__description", "");
    let pairs = |of: &str, indent: &str| {
        format!(
            "{{{{ range .{of}.SortedPairs }}}}{indent} - {{{{ .Name }}}} = {{{{ .Value }}}}\n{{{{ end }}}}"
        )
    };
    define(
        "__text_alert_list",
        &format!(
            "{{{{ range . }}}}Labels:\n{}Annotations:\n{}Source: {{{{ .GeneratorURL }}}}\n{{{{ end }}}}",
            pairs("Labels", ""),
            pairs("Annotations", "")
        ),
    );
    define(
        "__text_alert_list_markdown",
        &format!(
            "{{{{ range . }}}}\nLabels:\n{}\nAnnotations:\n{}\nSource: {{{{ .GeneratorURL }}}}\n{{{{ end }}}}\n",
            pairs("Labels", " "),
            pairs("Annotations", " ")
        ),
    );
}

/// The texts of each kind.
fn define_kinds(define: &mut dyn FnMut(&str, &str)) {
    let annotations = "{{ .CommonAnnotations.SortedPairs.Values | join \" \" }}\n";
    // Each of the two lists, where it has any; `open` and `close` are how they are trimmed.
    let lists = |list: &str, mark: &str, open: &str, close: &str| {
        let one = |word: &str| {
            format!(
                "{{{{ if gt (len .Alerts.{word}) 0 {open}}}}}\n{mark}Alerts {word}:\n\
                 {{{{ template {list:?} .Alerts.{word} }}}}\n{{{{{close} end }}}}\n"
            )
        };
        one("Firing") + &one("Resolved")
    };
    let plain = lists("__text_alert_list", "", "", "");
    let trimmed = lists("__text_alert_list", "", "-", "-");
    let markdown = lists("__text_alert_list_markdown", "# ", "", "");
    for (kind, titled, listed, with_annotations) in LISTS {
        if !titled.is_empty() {
            define(&format!("{kind}.default.{titled}"), SUBJECT);
        }
        let start = if *with_annotations { annotations } else { "\n" };
        define(
            &format!("{kind}.default.{listed}"),
            &format!("{start}{plain}"),
        );
    }
    for (kind, titles, listed) in MARKDOWN {
        for title in *titles {
            define(&format!("{kind}.default.{title}"), SUBJECT);
        }
        define(
            &format!("{kind}.default.{listed}"),
            &format!("\n{markdown}"),
        );
    }
    for (name, body) in NAMED {
        define(name, body);
    }
    let ends = trimmed.trim_end_matches('\n');
    define(
        "opsgenie.default.description",
        &format!("{annotations}{ends}"),
    );
    define(
        "victorops.default.state_message",
        &format!("{annotations}{ends}"),
    );
    define(
        "wechat.default.message",
        &format!("{SUBJECT}\n{annotations}{ends}\nAlertmanagerUrl:\n{URL}"),
    );
    define("jira.default.priority", PRIORITY);
    define("email.default.html", EMAIL);
}

/// The worst severity of the alerts that fire, or of those that are over where none does.
const PRIORITY: &str = "\
{{- $worst := \"\" -}}\
{{- range .Alerts.Firing -}}{{- $s := index .Labels \"severity\" -}}\
{{- if eq $s \"critical\" -}}{{- $worst = \"High\" -}}\
{{- else if and (eq $s \"warning\") (ne $worst \"High\") -}}{{- $worst = \"Medium\" -}}\
{{- else if and (eq $s \"info\") (eq $worst \"\") -}}{{- $worst = \"Low\" -}}{{- end -}}{{- end -}}\
{{- if eq $worst \"\" -}}\
{{- range .Alerts.Resolved -}}{{- $s := index .Labels \"severity\" -}}\
{{- if eq $s \"critical\" -}}{{- $worst = \"High\" -}}\
{{- else if and (eq $s \"warning\") (ne $worst \"High\") -}}{{- $worst = \"Medium\" -}}\
{{- else if and (eq $s \"info\") (eq $worst \"\") -}}{{- $worst = \"Low\" -}}{{- end -}}{{- end -}}\
{{- end -}}{{- $worst -}}";

/// A plain page: what fires, what is over, and where to look.
const EMAIL: &str = "\
<!DOCTYPE html>\n<html><head><meta charset=\"utf-8\"><title>{{ template \"__subject\" . | html }}</title></head>\
<body style=\"font-family: sans-serif; margin: 0; background: #f6f6f6\">\
<table width=\"100%\" cellpadding=\"16\" style=\"max-width: 640px; margin: auto; background: #fff\">\
<tr><td style=\"background: {{ if gt (len .Alerts.Firing) 0 }}#b3261e{{ else }}#2e7d32{{ end }}; color: #fff\">\
<b>{{ len .Alerts }} alert{{ if gt (len .Alerts) 1 }}s{{ end }} for \
{{ range .GroupLabels.SortedPairs }}{{ .Name | html }}={{ .Value | html }} {{ end }}</b></td></tr>\
<tr><td><a href=\"{{ template \"__alertmanagerURL\" . }}\">View in {{ template \"__alertmanager\" . }}</a></td></tr>\
{{ if gt (len .Alerts.Firing) 0 }}<tr><td><b>[{{ len .Alerts.Firing }}] Firing</b></td></tr>\
{{ range .Alerts.Firing }}{{ template \"__email_alert\" . }}{{ end }}{{ end }}\
{{ if gt (len .Alerts.Resolved) 0 }}<tr><td><b>[{{ len .Alerts.Resolved }}] Resolved</b></td></tr>\
{{ range .Alerts.Resolved }}{{ template \"__email_alert\" . }}{{ end }}{{ end }}\
</table></body></html>{{ end }}\
{{ define \"__email_alert\" }}<tr><td><b>Labels</b><br>\
{{ range .Labels.SortedPairs }}{{ .Name | html }} = {{ .Value | html }}<br>{{ end }}\
{{ if gt (len .Annotations) 0 }}<b>Annotations</b><br>{{ end }}\
{{ range .Annotations.SortedPairs }}{{ .Name | html }} = {{ .Value | html }}<br>{{ end }}\
<a href=\"{{ .GeneratorURL | html }}\">Source</a></td></tr>";

#[cfg(test)]
mod tests {
    use obs_model::Labels;

    use super::super::data::Data;
    use super::super::{Fingerprint, Received};
    use super::*;

    fn expand(text: &str) -> String {
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
        let email = expand("{{ template \"email.default.html\" . }}");
        assert!(
            email.contains("it &lt;burns&gt;") && !email.contains("<burns>"),
            "{email}"
        );
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
