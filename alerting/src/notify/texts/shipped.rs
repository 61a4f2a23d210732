//! The templates that are there without any file: Alertmanager's names and texts.
//!
//! Invariant: every name that Alertmanager ships is here and gives the same text, but for the page
//! of mails, which is a plainer one of our own.

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
pub(super) fn shipped() -> String {
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
    define("__email_alert", EMAIL_ALERT);
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
<!DOCTYPE html>\n<html><head><meta charset=\"utf-8\"><title>{{ template \"__subject\" . }}</title></head>\
<body style=\"font-family: sans-serif; margin: 0; background: #f6f6f6\">\
<table width=\"100%\" cellpadding=\"16\" style=\"max-width: 640px; margin: auto; background: #fff\">\
<tr><td style=\"background: {{ if gt (len .Alerts.Firing) 0 }}#b3261e{{ else }}#2e7d32{{ end }}; color: #fff\">\
<b>{{ len .Alerts }} alert{{ if gt (len .Alerts) 1 }}s{{ end }} for \
{{ range .GroupLabels.SortedPairs }}{{ .Name }}={{ .Value }} {{ end }}</b></td></tr>\
<tr><td><a href=\"{{ template \"__alertmanagerURL\" . }}\">View in {{ template \"__alertmanager\" . }}</a></td></tr>\
{{ if gt (len .Alerts.Firing) 0 }}<tr><td><b>[{{ len .Alerts.Firing }}] Firing</b></td></tr>\
{{ range .Alerts.Firing }}{{ template \"__email_alert\" . }}{{ end }}{{ end }}\
{{ if gt (len .Alerts.Resolved) 0 }}<tr><td><b>[{{ len .Alerts.Resolved }}] Resolved</b></td></tr>\
{{ range .Alerts.Resolved }}{{ template \"__email_alert\" . }}{{ end }}{{ end }}\
</table></body></html>";

/// One alert of a mail.
const EMAIL_ALERT: &str = "<tr><td><b>Labels</b><br>\
{{ range .Labels.SortedPairs }}{{ .Name }} = {{ .Value }}<br>{{ end }}\
{{ if gt (len .Annotations) 0 }}<b>Annotations</b><br>{{ end }}\
{{ range .Annotations.SortedPairs }}{{ .Name }} = {{ .Value }}<br>{{ end }}\
<a href=\"{{ .GeneratorURL }}\">Source</a></td></tr>";
