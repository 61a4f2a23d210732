//! The table of all kinds of receivers and their keys, with Alertmanager's names and defaults.
//!
//! table: exempt from the size rule

use super::Settings;

/// What a key may have.
#[derive(Clone, Copy, Debug)]
pub enum Shape {
    /// A text, most often a template; with its default.
    Text(&'static str),
    /// Truth; with its default.
    Bool(Option<bool>),
    /// A whole number.
    Int,
    /// A duration; with its default in seconds.
    Duration(Option<i64>),
    /// A list of texts.
    Texts,
    /// A map of texts.
    Map,
    /// Anything.
    Any,
}

use Shape::{Any, Bool, Duration, Int, Map, Text, Texts};

/// A kind of receiver.
pub struct Schema {
    /// Its name: `slack` for `slack_configs`.
    pub kind: &'static str,
    /// Whether recoveries are told without a word about it.
    pub send_resolved: bool,
    /// Its keys.
    pub fields: &'static [(&'static str, Shape)],
    /// Keys that are taken from the settings for all where they are not set, and their names there.
    pub inherits: &'static [(&'static str, &'static str)],
    /// Of each group at least one must be there in the end.
    pub needs: &'static [&'static [&'static str]],
    /// What else must hold.
    pub check: fn(&Settings) -> Result<(), String>,
}

impl std::fmt::Debug for Schema {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.kind)
    }
}

impl PartialEq for Schema {
    fn eq(&self, other: &Self) -> bool {
        self.kind == other.kind
    }
}

/// `global`
pub(super) const GLOBAL: &[(&str, Shape)] = &[
    ("resolve_timeout", Duration(Some(300))),
    ("http_config", Any),
    ("jira_api_url", Text("")),
    ("smtp_from", Text("")),
    ("smtp_hello", Text("localhost")),
    ("smtp_smarthost", Text("")),
    ("smtp_auth_username", Text("")),
    ("smtp_auth_password", Text("")),
    ("smtp_auth_password_file", Text("")),
    ("smtp_auth_secret", Text("")),
    ("smtp_auth_secret_file", Text("")),
    ("smtp_auth_identity", Text("")),
    ("smtp_require_tls", Bool(Some(true))),
    ("smtp_tls_config", Any),
    ("smtp_force_implicit_tls", Bool(None)),
    ("slack_api_url", Text("")),
    ("slack_api_url_file", Text("")),
    ("slack_app_token", Text("")),
    ("slack_app_token_file", Text("")),
    (
        "slack_app_url",
        Text("https://slack.com/api/chat.postMessage"),
    ),
    (
        "pagerduty_url",
        Text("https://events.pagerduty.com/v2/enqueue"),
    ),
    ("opsgenie_api_url", Text("https://api.opsgenie.com/")),
    ("opsgenie_api_key", Text("")),
    ("opsgenie_api_key_file", Text("")),
    (
        "wechat_api_url",
        Text("https://qyapi.weixin.qq.com/cgi-bin/"),
    ),
    ("wechat_api_secret", Text("")),
    ("wechat_api_secret_file", Text("")),
    ("wechat_api_corp_id", Text("")),
    (
        "victorops_api_url",
        Text("https://alert.victorops.com/integrations/generic/20131114/alert/"),
    ),
    ("victorops_api_key", Text("")),
    ("victorops_api_key_file", Text("")),
    ("telegram_api_url", Text("https://api.telegram.org")),
    ("telegram_bot_token", Text("")),
    ("telegram_bot_token_file", Text("")),
    ("webex_api_url", Text("https://webexapis.com/v1/messages")),
    ("rocketchat_api_url", Text("https://open.rocket.chat/")),
    ("rocketchat_token", Text("")),
    ("rocketchat_token_file", Text("")),
    ("rocketchat_token_id", Text("")),
    ("rocketchat_token_id_file", Text("")),
    ("mattermost_webhook_url", Text("")),
    ("mattermost_webhook_url_file", Text("")),
];

/// At most one of two keys.
fn one_of(settings: &Settings, pairs: &[(&str, &str)]) -> Result<(), String> {
    match pairs
        .iter()
        .find(|(a, b)| settings.has(a) && settings.has(b))
    {
        Some((a, b)) => Err(format!("at most one of {a} & {b} must be configured")),
        None => Ok(()),
    }
}

/// A value out of a few.
fn among(settings: &Settings, key: &str, allowed: &[&str]) -> Result<(), String> {
    let value = settings.text(key);
    if value.is_empty() || value.contains("{{") || allowed.contains(&value) {
        return Ok(());
    }
    Err(format!(
        "{key}: expected one of {}, found {value:?}",
        allowed.join(", ")
    ))
}

/// All kinds.
pub static SCHEMAS: &[Schema] = &[
    Schema {
        kind: "webhook",
        send_resolved: true,
        fields: &[
            ("send_resolved", Bool(None)),
            ("http_config", Any),
            ("url", Text("")),
            ("url_file", Text("")),
            ("max_alerts", Int),
            ("timeout", Duration(None)),
            ("payload", Any),
        ],
        inherits: &[],
        needs: &[&["url", "url_file"]],
        check: |s| one_of(s, &[("url", "url_file")]),
    },
    Schema {
        kind: "slack",
        send_resolved: false,
        fields: &[
            ("send_resolved", Bool(None)),
            ("http_config", Any),
            ("api_url", Text("")),
            ("api_url_file", Text("")),
            ("app_token", Text("")),
            ("app_token_file", Text("")),
            ("app_url", Text("")),
            ("channel", Text("")),
            (
                "username",
                Text("{{ template \"slack.default.username\" . }}"),
            ),
            ("color", Text("{{ template \"slack.default.color\" . }}")),
            ("title", Text("{{ template \"slack.default.title\" . }}")),
            (
                "title_link",
                Text("{{ template \"slack.default.titlelink\" . }}"),
            ),
            (
                "pretext",
                Text("{{ template \"slack.default.pretext\" . }}"),
            ),
            ("text", Text("{{ template \"slack.default.text\" . }}")),
            ("message_text", Text("")),
            ("fields", Any),
            ("short_fields", Bool(None)),
            ("footer", Text("{{ template \"slack.default.footer\" . }}")),
            (
                "fallback",
                Text("{{ template \"slack.default.fallback\" . }}"),
            ),
            (
                "callback_id",
                Text("{{ template \"slack.default.callbackid\" . }}"),
            ),
            (
                "icon_emoji",
                Text("{{ template \"slack.default.iconemoji\" . }}"),
            ),
            (
                "icon_url",
                Text("{{ template \"slack.default.iconurl\" . }}"),
            ),
            ("image_url", Text("")),
            ("thumb_url", Text("")),
            ("link_names", Bool(None)),
            ("mrkdwn_in", Texts),
            ("actions", Any),
            ("update_message", Bool(None)),
            ("timeout", Duration(None)),
        ],
        inherits: &[
            ("api_url", "slack_api_url"),
            ("api_url_file", "slack_api_url_file"),
            ("app_token", "slack_app_token"),
            ("app_token_file", "slack_app_token_file"),
            ("app_url", "slack_app_url"),
        ],
        needs: &[&["api_url", "api_url_file", "app_token", "app_token_file"]],
        check: |s| {
            one_of(
                s,
                &[
                    ("api_url", "api_url_file"),
                    ("app_token", "app_token_file"),
                    ("api_url", "app_token"),
                    ("api_url", "app_token_file"),
                    ("api_url_file", "app_token"),
                    ("api_url_file", "app_token_file"),
                ],
            )
        },
    },
    Schema {
        kind: "email",
        send_resolved: false,
        fields: &[
            ("send_resolved", Bool(None)),
            ("to", Text("")),
            ("from", Text("")),
            ("hello", Text("")),
            ("smarthost", Text("")),
            ("auth_username", Text("")),
            ("auth_password", Text("")),
            ("auth_password_file", Text("")),
            ("auth_secret", Text("")),
            ("auth_secret_file", Text("")),
            ("auth_identity", Text("")),
            ("headers", Map),
            ("html", Text("{{ template \"email.default.html\" . }}")),
            ("text", Text("")),
            ("require_tls", Bool(None)),
            ("tls_config", Any),
            ("force_implicit_tls", Bool(None)),
            ("threading", Any),
        ],
        inherits: &[
            ("from", "smtp_from"),
            ("hello", "smtp_hello"),
            ("smarthost", "smtp_smarthost"),
            ("auth_username", "smtp_auth_username"),
            ("auth_password", "smtp_auth_password"),
            ("auth_password_file", "smtp_auth_password_file"),
            ("auth_secret", "smtp_auth_secret"),
            ("auth_secret_file", "smtp_auth_secret_file"),
            ("auth_identity", "smtp_auth_identity"),
            ("require_tls", "smtp_require_tls"),
            ("tls_config", "smtp_tls_config"),
            ("force_implicit_tls", "smtp_force_implicit_tls"),
        ],
        needs: &[&["to"], &["from"], &["smarthost"]],
        check: |s| {
            let mut seen = std::collections::BTreeSet::new();
            match s
                .map("headers")
                .find(|(name, _)| !seen.insert(name.to_lowercase()))
            {
                Some((name, _)) => Err(format!("duplicate header {name:?} in email config")),
                None => Ok(()),
            }
        },
    },
    Schema {
        kind: "pagerduty",
        send_resolved: true,
        fields: &[
            ("send_resolved", Bool(None)),
            ("http_config", Any),
            ("service_key", Text("")),
            ("service_key_file", Text("")),
            ("routing_key", Text("")),
            ("routing_key_file", Text("")),
            ("url", Text("")),
            (
                "client",
                Text("{{ template \"pagerduty.default.client\" . }}"),
            ),
            (
                "client_url",
                Text("{{ template \"pagerduty.default.clientURL\" . }}"),
            ),
            (
                "description",
                Text("{{ template \"pagerduty.default.description\" . }}"),
            ),
            ("details", Any),
            ("images", Any),
            ("links", Any),
            ("source", Text("")),
            ("severity", Text("")),
            ("class", Text("")),
            ("component", Text("")),
            ("group", Text("")),
            ("timeout", Duration(None)),
        ],
        inherits: &[("url", "pagerduty_url")],
        needs: &[&[
            "service_key",
            "service_key_file",
            "routing_key",
            "routing_key_file",
        ]],
        check: |s| {
            one_of(
                s,
                &[
                    ("service_key", "service_key_file"),
                    ("routing_key", "routing_key_file"),
                ],
            )
        },
    },
    Schema {
        kind: "opsgenie",
        send_resolved: true,
        fields: &[
            ("send_resolved", Bool(None)),
            ("http_config", Any),
            ("api_key", Text("")),
            ("api_key_file", Text("")),
            ("api_url", Text("")),
            (
                "message",
                Text("{{ template \"opsgenie.default.message\" . }}"),
            ),
            (
                "description",
                Text("{{ template \"opsgenie.default.description\" . }}"),
            ),
            (
                "source",
                Text("{{ template \"opsgenie.default.source\" . }}"),
            ),
            ("details", Map),
            ("entity", Text("")),
            ("responders", Any),
            ("actions", Text("")),
            ("tags", Text("")),
            ("note", Text("")),
            ("priority", Text("")),
            ("update_alerts", Bool(None)),
        ],
        inherits: &[
            ("api_url", "opsgenie_api_url"),
            ("api_key", "opsgenie_api_key"),
            ("api_key_file", "opsgenie_api_key_file"),
        ],
        needs: &[&["api_key", "api_key_file"]],
        check: |s| one_of(s, &[("api_key", "api_key_file")]),
    },
    Schema {
        kind: "jira",
        send_resolved: true,
        fields: &[
            ("send_resolved", Bool(None)),
            ("http_config", Any),
            ("api_url", Text("")),
            ("api_type", Text("auto")),
            ("project", Text("")),
            ("summary", Any),
            ("description", Any),
            ("labels", Texts),
            (
                "priority",
                Text("{{ template \"jira.default.priority\" . }}"),
            ),
            ("issue_type", Text("")),
            ("reopen_transition", Text("")),
            ("resolve_transition", Text("")),
            ("wont_fix_resolution", Text("")),
            ("reopen_duration", Duration(None)),
            ("fields", Any),
        ],
        inherits: &[("api_url", "jira_api_url")],
        needs: &[&["api_url"], &["project"], &["issue_type"]],
        check: |s| among(s, "api_type", &["auto", "cloud", "datacenter"]),
    },
    Schema {
        kind: "telegram",
        send_resolved: true,
        fields: &[
            ("send_resolved", Bool(None)),
            ("http_config", Any),
            ("api_url", Text("")),
            ("bot_token", Text("")),
            ("bot_token_file", Text("")),
            ("chat_id", Int),
            ("chat_id_file", Text("")),
            ("message_thread_id", Int),
            (
                "message",
                Text("{{ template \"telegram.default.message\" . }}"),
            ),
            ("disable_notifications", Bool(None)),
            ("parse_mode", Text("HTML")),
        ],
        inherits: &[
            ("api_url", "telegram_api_url"),
            ("bot_token", "telegram_bot_token"),
            ("bot_token_file", "telegram_bot_token_file"),
        ],
        needs: &[
            &["bot_token", "bot_token_file"],
            &["chat_id", "chat_id_file"],
        ],
        check: |s| {
            among(s, "parse_mode", &["Markdown", "MarkdownV2", "HTML"])?;
            one_of(
                s,
                &[("bot_token", "bot_token_file"), ("chat_id", "chat_id_file")],
            )
        },
    },
    Schema {
        kind: "msteams",
        send_resolved: true,
        fields: &[
            ("send_resolved", Bool(None)),
            ("http_config", Any),
            ("webhook_url", Text("")),
            ("webhook_url_file", Text("")),
            ("title", Text("{{ template \"msteams.default.title\" . }}")),
            (
                "summary",
                Text("{{ template \"msteams.default.summary\" . }}"),
            ),
            ("text", Text("{{ template \"msteams.default.text\" . }}")),
        ],
        inherits: &[],
        needs: &[&["webhook_url", "webhook_url_file"]],
        check: |s| one_of(s, &[("webhook_url", "webhook_url_file")]),
    },
    Schema {
        kind: "msteamsv2",
        send_resolved: true,
        fields: &[
            ("send_resolved", Bool(None)),
            ("http_config", Any),
            ("webhook_url", Text("")),
            ("webhook_url_file", Text("")),
            (
                "title",
                Text("{{ template \"msteamsv2.default.title\" . }}"),
            ),
            ("text", Text("{{ template \"msteamsv2.default.text\" . }}")),
        ],
        inherits: &[],
        needs: &[&["webhook_url", "webhook_url_file"]],
        check: |s| one_of(s, &[("webhook_url", "webhook_url_file")]),
    },
    Schema {
        kind: "discord",
        send_resolved: true,
        fields: &[
            ("send_resolved", Bool(None)),
            ("http_config", Any),
            ("webhook_url", Text("")),
            ("webhook_url_file", Text("")),
            (
                "content",
                Text("{{ template \"discord.default.content\" . }}"),
            ),
            ("title", Text("{{ template \"discord.default.title\" . }}")),
            (
                "message",
                Text("{{ template \"discord.default.message\" . }}"),
            ),
            ("username", Text("")),
            ("avatar_url", Text("")),
        ],
        inherits: &[],
        needs: &[&["webhook_url", "webhook_url_file"]],
        check: |s| one_of(s, &[("webhook_url", "webhook_url_file")]),
    },
    Schema {
        kind: "pushover",
        send_resolved: true,
        fields: &[
            ("send_resolved", Bool(None)),
            ("http_config", Any),
            ("user_key", Text("")),
            ("user_key_file", Text("")),
            ("token", Text("")),
            ("token_file", Text("")),
            ("title", Text("{{ template \"pushover.default.title\" . }}")),
            (
                "message",
                Text("{{ template \"pushover.default.message\" . }}"),
            ),
            ("url", Text("{{ template \"pushover.default.url\" . }}")),
            ("url_title", Text("")),
            ("device", Text("")),
            ("sound", Text("")),
            (
                "priority",
                Text("{{ if eq .Status \"firing\" }}2{{ else }}0{{ end }}"),
            ),
            ("retry", Duration(Some(60))),
            ("expire", Duration(Some(3600))),
            ("ttl", Duration(None)),
            ("html", Bool(None)),
            ("monospace", Bool(None)),
        ],
        inherits: &[],
        needs: &[&["user_key", "user_key_file"], &["token", "token_file"]],
        check: |s| {
            if s.flag("html") && s.flag("monospace") {
                return Err("at most one of monospace & html must be configured".to_owned());
            }
            one_of(s, &[("user_key", "user_key_file"), ("token", "token_file")])
        },
    },
    Schema {
        kind: "victorops",
        send_resolved: true,
        fields: &[
            ("send_resolved", Bool(None)),
            ("http_config", Any),
            ("api_key", Text("")),
            ("api_key_file", Text("")),
            ("api_url", Text("")),
            ("routing_key", Text("")),
            ("message_type", Text("CRITICAL")),
            (
                "state_message",
                Text("{{ template \"victorops.default.state_message\" . }}"),
            ),
            (
                "entity_display_name",
                Text("{{ template \"victorops.default.entity_display_name\" . }}"),
            ),
            (
                "monitoring_tool",
                Text("{{ template \"victorops.default.monitoring_tool\" . }}"),
            ),
            ("custom_fields", Map),
        ],
        inherits: &[
            ("api_url", "victorops_api_url"),
            ("api_key", "victorops_api_key"),
            ("api_key_file", "victorops_api_key_file"),
        ],
        needs: &[&["routing_key"], &["api_key", "api_key_file"]],
        check: |s| one_of(s, &[("api_key", "api_key_file")]),
    },
    Schema {
        kind: "sns",
        send_resolved: true,
        fields: &[
            ("send_resolved", Bool(None)),
            ("http_config", Any),
            ("api_url", Text("")),
            ("sigv4", Any),
            ("topic_arn", Text("")),
            ("phone_number", Text("")),
            ("target_arn", Text("")),
            ("subject", Text("{{ template \"sns.default.subject\" . }}")),
            ("message", Text("{{ template \"sns.default.message\" . }}")),
            ("attributes", Map),
            ("use_aws_http_client", Bool(None)),
        ],
        inherits: &[],
        needs: &[&["topic_arn", "phone_number", "target_arn"]],
        check: |s| {
            one_of(
                s,
                &[
                    ("topic_arn", "phone_number"),
                    ("topic_arn", "target_arn"),
                    ("phone_number", "target_arn"),
                ],
            )
        },
    },
    Schema {
        kind: "wechat",
        send_resolved: false,
        fields: &[
            ("send_resolved", Bool(None)),
            ("http_config", Any),
            ("api_secret", Text("")),
            ("api_secret_file", Text("")),
            ("corp_id", Text("")),
            (
                "message",
                Text("{{ template \"wechat.default.message\" . }}"),
            ),
            ("api_url", Text("")),
            (
                "to_user",
                Text("{{ template \"wechat.default.to_user\" . }}"),
            ),
            (
                "to_party",
                Text("{{ template \"wechat.default.to_party\" . }}"),
            ),
            ("to_tag", Text("{{ template \"wechat.default.to_tag\" . }}")),
            (
                "agent_id",
                Text("{{ template \"wechat.default.agent_id\" . }}"),
            ),
            ("message_type", Text("text")),
        ],
        inherits: &[
            ("api_url", "wechat_api_url"),
            ("api_secret", "wechat_api_secret"),
            ("api_secret_file", "wechat_api_secret_file"),
            ("corp_id", "wechat_api_corp_id"),
        ],
        needs: &[&["api_secret", "api_secret_file"], &["corp_id"]],
        check: |s| {
            among(s, "message_type", &["text", "markdown"])?;
            one_of(s, &[("api_secret", "api_secret_file")])
        },
    },
    Schema {
        kind: "webex",
        send_resolved: true,
        fields: &[
            ("send_resolved", Bool(None)),
            ("http_config", Any),
            ("api_url", Text("")),
            (
                "message",
                Text("{{ template \"webex.default.message\" . }}"),
            ),
            ("room_id", Text("")),
        ],
        inherits: &[("api_url", "webex_api_url")],
        needs: &[&["room_id"], &["http_config"]],
        check: |_| Ok(()),
    },
    Schema {
        kind: "rocketchat",
        send_resolved: false,
        fields: &[
            ("send_resolved", Bool(None)),
            ("http_config", Any),
            ("api_url", Text("")),
            ("token_id", Text("")),
            ("token_id_file", Text("")),
            ("token", Text("")),
            ("token_file", Text("")),
            ("channel", Text("")),
            (
                "color",
                Text("{{ if eq .Status \"firing\" }}red{{ else }}green{{ end }}"),
            ),
            (
                "title",
                Text("{{ template \"rocketchat.default.title\" . }}"),
            ),
            (
                "title_link",
                Text("{{ template \"rocketchat.default.titlelink\" . }}"),
            ),
            ("text", Text("{{ template \"rocketchat.default.text\" . }}")),
            ("fields", Any),
            ("short_fields", Bool(None)),
            (
                "emoji",
                Text("{{ template \"rocketchat.default.emoji\" . }}"),
            ),
            (
                "icon_url",
                Text("{{ template \"rocketchat.default.iconurl\" . }}"),
            ),
            ("image_url", Text("")),
            ("thumb_url", Text("")),
            ("link_names", Bool(None)),
            ("actions", Any),
        ],
        inherits: &[
            ("api_url", "rocketchat_api_url"),
            ("token_id", "rocketchat_token_id"),
            ("token_id_file", "rocketchat_token_id_file"),
            ("token", "rocketchat_token"),
            ("token_file", "rocketchat_token_file"),
        ],
        needs: &[&["token_id", "token_id_file"], &["token", "token_file"]],
        check: |s| one_of(s, &[("token", "token_file"), ("token_id", "token_id_file")]),
    },
    Schema {
        kind: "mattermost",
        send_resolved: true,
        fields: &[
            ("send_resolved", Bool(None)),
            ("http_config", Any),
            ("webhook_url", Text("")),
            ("webhook_url_file", Text("")),
            ("channel", Text("")),
            (
                "username",
                Text("{{ template \"mattermost.default.username\" . }}"),
            ),
            ("text", Text("{{ template \"mattermost.default.text\" . }}")),
            (
                "fallback",
                Text("{{ template \"mattermost.default.fallback\" . }}"),
            ),
            (
                "color",
                Text("{{ template \"mattermost.default.color\" . }}"),
            ),
            ("pretext", Text("")),
            ("author_name", Text("")),
            ("author_link", Text("")),
            ("author_icon", Text("")),
            (
                "title",
                Text("{{ template \"mattermost.default.title\" . }}"),
            ),
            (
                "title_link",
                Text("{{ template \"mattermost.default.titlelink\" . }}"),
            ),
            ("fields", Any),
            ("thumb_url", Text("")),
            ("footer", Text("")),
            ("footer_icon", Text("")),
            ("image_url", Text("")),
            ("icon_url", Text("")),
            ("icon_emoji", Text("")),
            ("attachments", Any),
            ("type", Text("")),
            ("props", Any),
            ("priority", Any),
        ],
        inherits: &[
            ("webhook_url", "mattermost_webhook_url"),
            ("webhook_url_file", "mattermost_webhook_url_file"),
        ],
        needs: &[&["webhook_url", "webhook_url_file"]],
        check: |s| one_of(s, &[("webhook_url", "webhook_url_file")]),
    },
    Schema {
        kind: "incidentio",
        send_resolved: true,
        fields: &[
            ("send_resolved", Bool(None)),
            ("http_config", Any),
            ("url", Text("")),
            ("url_file", Text("")),
            ("alert_source_token", Text("")),
            ("alert_source_token_file", Text("")),
            ("max_alerts", Int),
            ("timeout", Duration(None)),
        ],
        inherits: &[],
        needs: &[&["url", "url_file"]],
        check: |s| {
            one_of(
                s,
                &[
                    ("url", "url_file"),
                    ("alert_source_token", "alert_source_token_file"),
                ],
            )
        },
    },
    // obs' own.
    Schema {
        kind: "ntfy",
        send_resolved: true,
        fields: &[
            ("send_resolved", Bool(None)),
            ("http_config", Any),
            ("url", Text("https://ntfy.sh")),
            ("topic", Text("")),
            ("title", Text("{{ template \"__subject\" . }}")),
            (
                "message",
                Text("{{ template \"telegram.default.message\" . }}"),
            ),
            (
                "priority",
                Text("{{ if eq .Status \"firing\" }}4{{ else }}3{{ end }}"),
            ),
            (
                "tags",
                Text(
                    "{{ if eq .Status \"firing\" }}rotating_light{{ else }}white_check_mark{{ end }}",
                ),
            ),
            ("click", Text("{{ template \"__alertmanagerURL\" . }}")),
        ],
        inherits: &[],
        needs: &[&["topic"]],
        check: |_| Ok(()),
    },
    Schema {
        kind: "exec",
        send_resolved: true,
        fields: &[
            ("send_resolved", Bool(None)),
            ("command", Text("")),
            ("arguments", Texts),
            ("timeout", Duration(Some(30))),
        ],
        inherits: &[],
        needs: &[&["command"]],
        check: |_| Ok(()),
    },
];
