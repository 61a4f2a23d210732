//! What each kind of receiver gets, by data.

use std::collections::BTreeMap;

use obs_model::{Labels, Timestamp};
use serde_json::{Value, json};

use super::*;
use crate::notify::{Config, Fingerprint, Received};

/// Hash of the key of the group in these tests.
const KEY: &str = "ad4b39d3af6c5f089ddb8504a474cd124febe3ef322f263d58074fb0c51dc572";

/// A stage on which one integration tells one notification.
struct Stage {
    settings: String,
    files: BTreeMap<&'static str, String>,
    kept: Kept,
    resolved: bool,
    long: usize,
}

fn stage(kind: &str, settings: &str) -> Stage {
    Stage {
        settings: format!("{kind}_configs: [{{{settings}}}]"),
        files: BTreeMap::new(),
        kept: Kept::new(),
        resolved: false,
        long: 0,
    }
}

impl Stage {
    fn resolved(mut self) -> Self {
        self.resolved = true;
        self
    }

    fn file(mut self, key: &'static str, content: &str) -> Self {
        self.files.insert(key, content.to_owned());
        self
    }

    fn kept(mut self, key: &str, value: &str) -> Self {
        self.kept.insert(key.to_owned(), value.to_owned());
        self
    }

    /// An annotation of so many characters.
    fn long(mut self, characters: usize) -> Self {
        self.long = characters;
        self
    }

    fn tell(&self) -> Result<Delivery, Failure> {
        let text = format!(
            "route: {{receiver: r}}\nreceivers:\n- name: r\n  {}\n",
            self.settings
        );
        let config = Config::parse(&text).unwrap_or_else(|error| panic!("{text}: {error}"));
        let alert = |i: &str, over: bool| {
            let labels = Labels::from_pairs([("alertname", "A"), ("i", i)]);
            let mut summary = "it <burns>".to_owned();
            summary.push_str(&"x".repeat(self.long));
            Received {
                fingerprint: Fingerprint::of(&labels),
                labels,
                annotations: Labels::from_pairs([("summary", summary.as_str())]),
                starts_at: Timestamp::from_seconds(1_700_000_000),
                ends_at: Timestamp::from_seconds(if over { 1_700_000_100 } else { 1_800_000_000 }),
                updated_at: Timestamp::from_seconds(1_700_000_000),
                generator_url: "http://p/graph".to_owned(),
                guessed_end: false,
            }
        };
        let alerts = [alert("1", self.resolved), alert("2", true)];
        let group = Labels::from_pairs([("alertname", "A")]);
        let data = Data {
            delivery: String::new(),
            receiver: "web.hook",
            group_key: "{}:{alertname=\"A\"}",
            group_labels: &group,
            route_labels: BTreeMap::new(),
            alerts: &alerts,
            reason: "first notification",
            external_url: "http://obs",
            now: Timestamp::from_seconds(1_700_001_000),
        };
        let library = Library::new(&[]).expect("the templates that are shipped");
        prepare(&Case {
            integration: &config.receivers[0].integrations[0],
            data: &data,
            library: &library,
            files: &self.files,
            kept: &self.kept,
            stamp: &Stamp {
                now: Timestamp::from_seconds(1_700_001_000),
                nonce: 7,
                host: "host".to_owned(),
            },
        })
    }

    fn exchange(&self) -> Exchange {
        match self.tell() {
            Ok(Delivery::Http(exchange) | Delivery::Signed(exchange, _)) => exchange,
            other => panic!("{}: {other:?}", self.settings),
        }
    }

    fn request(&self) -> Request {
        self.exchange().request
    }

    fn body(&self) -> Value {
        let body = self.request().body;
        serde_json::from_slice(&body).unwrap_or_else(|_| String::from_utf8_lossy(&body).into())
    }

    fn failure(&self) -> Failure {
        self.tell().expect_err("nothing can be told")
    }
}

/// Reads an answer to an exchange.
fn answer(exchange: Exchange, status: u16, kind: &str, body: &str) -> Result<Next, Failure> {
    (exchange.read)(&Answer {
        status,
        content_type: kind,
        body: body.as_bytes(),
    })
}

/// Whether a further try is made after an answer; nothing where it was good.
fn retry(stage: &Stage, status: u16, body: &str) -> Option<bool> {
    let answered = answer(stage.exchange(), status, "application/json", body);
    answered.err().map(|failure| failure.retry)
}

#[test]
fn webhooks_get_version_4() {
    let body = stage("webhook", "url: 'http://h/'").body();
    let fingerprint = |i: &str| {
        let labels = Labels::from_pairs([("alertname", "A"), ("i", i)]);
        Fingerprint::of(&labels).to_string()
    };
    let alert = |i: &str, status: &str, end: &str| {
        json!({
            "status": status,
            "labels": {"alertname": "A", "i": i},
            "annotations": {"summary": "it <burns>"},
            "startsAt": "2023-11-14T22:13:20Z",
            "endsAt": end,
            "generatorURL": "http://p/graph",
            "fingerprint": fingerprint(i),
        })
    };
    let expect = json!({
        "receiver": "web\\.hook",
        "status": "firing",
        "alerts": [
            alert("1", "firing", "0001-01-01T00:00:00Z"),
            alert("2", "resolved", "2023-11-14T22:15:00Z"),
        ],
        "notification_reason": "first notification",
        "groupLabels": {"alertname": "A"},
        "commonLabels": {"alertname": "A"},
        "commonAnnotations": {"summary": "it <burns>"},
        "routeLabels": {},
        "externalURL": "http://obs",
        "version": "4",
        "groupKey": "{}:{alertname=\"A\"}",
        "truncatedAlerts": 0,
    });
    assert_eq!(body, expect);
    let body = stage("webhook", "url: 'http://h/', max_alerts: 1").body();
    assert_eq!(body["truncatedAlerts"], 1);
    assert_eq!(body["alerts"].as_array().map(Vec::len), Some(1));
    assert_eq!(body["commonLabels"], json!({"alertname": "A", "i": "1"}));
}

#[test]
fn webhooks_may_have_bodies_and_addresses_of_their_own() {
    let text = "url: 'http://h/{{ .Status }}', payload: {text: '{{ .CommonAnnotations.summary }}', count: '{{ len .Alerts }}', '{{ .Status }}': [true, 1, '{{ .GroupLabels | toJson }}', ''], map: '{a: \"b:\"}', quoted: \"'1'\"}";
    let stage = stage("webhook", text);
    let expect = json!({
        "text": "it <burns>",
        "count": 2,
        "firing": [true, 1, {"alertname": "A"}, null],
        "map": {"a": "b:"},
        "quoted": "'1'",
    });
    assert_eq!(stage.body(), expect);
    assert_eq!(stage.request().url, "http://h/firing");
    let file = self::stage("webhook", "url_file: f").file("url_file", " http://f/\n");
    assert_eq!(file.request().url, "http://f/");
    let empty = self::stage("webhook", "url: '{{ if false }}x{{ end }}'").failure();
    assert!(
        !empty.retry && empty.reason.contains("empty after templating"),
        "{empty}"
    );
    let wrong = self::stage(
        "webhook",
        "url: 'http://h/', payload: {a: '{{ .X.Y | toUpper }}'}",
    )
    .failure();
    assert!(
        !wrong.retry && wrong.reason.contains("custom payload"),
        "{wrong}"
    );
    assert_eq!(wrong.class, Class::Client);
}

#[test]
fn statuses_say_whether_a_further_try_helps() {
    const URL: &str = "http_config: {authorization: {credentials: x}}";
    let check = |kind: &str, settings: &str, expect: &[(u16, Option<bool>)]| {
        for (status, expect) in expect {
            let found = retry(&stage(kind, settings), *status, "{}");
            assert_eq!(found, *expect, "{kind} {status}");
        }
    };
    let usual = [
        (204, None),
        (400, Some(false)),
        (403, Some(false)),
        (429, Some(false)),
        (503, Some(true)),
    ];
    check("webhook", "url: 'http://h/'", &usual);
    check("msteams", "webhook_url: 'http://h/'", &usual);
    check("msteamsv2", "webhook_url: 'http://h/'", &usual);
    check("discord", "webhook_url: 'http://h/'", &usual);
    check("mattermost", "webhook_url: 'http://h/'", &usual);
    check("victorops", "routing_key: r, api_key: k", &usual);
    check("pushover", "user_key: u, token: t", &usual);
    check("webex", &format!("room_id: r, {URL}"), &usual);
    check("sns", "topic_arn: a", &usual);
    let limited = [
        (202, None),
        (400, Some(false)),
        (403, Some(false)),
        (429, Some(true)),
        (500, Some(true)),
    ];
    check("pagerduty", "routing_key: r", &limited);
    check("opsgenie", "api_key: k", &limited);
    check("incidentio", "url: 'http://h/'", &limited);
    check("ntfy", "topic: t", &limited);
    let first = [
        (200, None),
        (400, Some(false)),
        (403, Some(true)),
        (429, Some(false)),
        (500, Some(true)),
    ];
    check("pagerduty", "service_key: r", &first);
    // A good status alone is not enough.
    check(
        "slack",
        "api_url: 'http://h/'",
        &[(200, Some(false)), (404, Some(false)), (502, Some(true))],
    );
    check(
        "rocketchat",
        "token: t, token_id: i",
        &[(200, Some(false)), (401, Some(false)), (500, Some(true))],
    );
    check(
        "telegram",
        "bot_token: t, chat_id: 1",
        &[(200, Some(true)), (400, Some(true)), (500, Some(true))],
    );
}

#[test]
fn failures_have_classes() {
    let class = |status: u16| {
        let stage = stage("webhook", "url: 'http://h/'");
        let failure = answer(stage.exchange(), status, "", "x").expect_err("a failure");
        assert_eq!(
            failure.reason,
            format!("unexpected status code {status}: x")
        );
        failure.class.as_str()
    };
    let classes: Vec<&str> = [301, 401, 403, 404, 429, 500].map(class).to_vec();
    assert_eq!(
        classes,
        [
            "other",
            "authError",
            "authError",
            "clientError",
            "rateLimited",
            "serverError"
        ]
    );
}

#[test]
fn slack_gets_attachments() {
    let settings = "api_url: 'http://h/', channel: '#a', title: '{{ .Status }}', text: t, fields: [{title: a, value: '{{ .Status }}', short: false}, {title: b, value: c}], short_fields: true, actions: [{type: button, text: x, url: 'http://u', confirm: {text: sure}}], link_names: true";
    let expect = json!({
        "channel": "#a",
        "username": "Alertmanager",
        "link_names": true,
        "attachments": [{
            "title": "firing",
            "title_link": "http://obs/#/alerts?receiver=web%5C.hook",
            "text": "t",
            "fallback": "[FIRING:1] A  | http://obs/#/alerts?receiver=web%5C.hook",
            "callback_id": "",
            "footer": "",
            "color": "danger",
            "mrkdwn_in": ["fallback", "pretext", "text"],
            "fields": [
                {"title": "a", "value": "firing", "short": false},
                {"title": "b", "value": "c", "short": true},
            ],
            "actions": [{"type": "button", "text": "x", "url": "http://u", "confirm": {"text": "sure"}}],
        }],
    });
    let stage = stage("slack", settings);
    assert_eq!(stage.body(), expect);
    let read = |kind: &str, body: &str| answer(stage.exchange(), 200, kind, body);
    assert!(matches!(read("text/plain", "ok"), Ok(Next::Done(_))));
    assert!(matches!(
        read("application/json", "{\"ok\":true}"),
        Ok(Next::Done(_))
    ));
    let refused = read(
        "application/json",
        "{\"ok\":false,\"error\":\"no_channel\"}",
    );
    let refused = refused.expect_err("refused");
    assert_eq!(
        refused.reason,
        "channel \"#a\": error response from Slack: no_channel"
    );
    assert!(!refused.retry);
    assert!(
        read("application/json", "<html>")
            .expect_err("no JSON")
            .retry
    );
    assert!(!read("text/html", "no_text").expect_err("refused").retry);
    let title = self::stage(
        "slack",
        "api_url: 'http://h/', title: '{{ .CommonAnnotations.summary }}'",
    )
    .long(2000)
    .body();
    let title = title["attachments"][0]["title"]
        .as_str()
        .unwrap_or("")
        .to_owned();
    assert_eq!(title.chars().count(), 1024);
    assert!(title.ends_with('…'));
}

#[test]
fn messages_of_slack_are_changed() {
    let settings = "app_token: xoxb, channel: '#a', update_message: true";
    let first = stage("slack", settings);
    assert_eq!(
        first.request().url,
        "https://slack.com/api/chat.postMessage"
    );
    assert!(
        first
            .request()
            .headers
            .contains(&("authorization", "Bearer xoxb".to_owned()))
    );
    let body = "{\"ok\":true,\"ts\":\"1.2\",\"channel\":\"C1\"}";
    let Ok(Next::Done(kept)) = answer(first.exchange(), 200, "application/json", body) else {
        panic!("it is good");
    };
    assert_eq!(kept.get("ts").map(String::as_str), Some("1.2"));
    let second = stage("slack", settings)
        .kept("ts", "1.2")
        .kept("channel", "C1");
    assert_eq!(second.request().url, "https://slack.com/api/chat.update");
    assert_eq!(
        (&second.body()["ts"], &second.body()["channel"]),
        (&json!("1.2"), &json!("C1"))
    );
}

#[test]
fn rocketchat_and_mattermost_get_attachments() {
    let stage = stage(
        "rocketchat",
        "api_url: 'http://h/', token: t, token_id: i, channel: c, actions: [{text: x, url: u}]",
    );
    let request = stage.request();
    assert_eq!(request.url, "http://h/api/v1/chat.postMessage");
    assert!(request.headers.contains(&("x-auth-token", "t".to_owned())));
    assert!(request.headers.contains(&("x-user-id", "i".to_owned())));
    let body = stage.body();
    assert_eq!(body["channel"], "c");
    assert_eq!(body["attachments"][0]["color"], "red");
    assert_eq!(body["attachments"][0]["actions"][0]["type"], "button");
    assert!(
        answer(
            stage.exchange(),
            200,
            "application/json",
            "{\"success\":true}"
        )
        .is_ok()
    );
    let stage = self::stage(
        "mattermost",
        "webhook_url: 'http://h/', text: t, priority: {priority: URGENT, requested_ack: true, persistent_notifications: true}, props: {card: c}",
    );
    let body = stage.body();
    assert_eq!(body["attachments"][0]["text"], "t");
    assert_eq!(body["attachments"][0]["color"], "danger");
    assert_eq!(
        body["priority"],
        json!({"priority": "urgent", "requested_ack": true, "persistent_notifications": true})
    );
    assert_eq!(body["props"], json!({"card": "c"}));
    assert_eq!(body.get("text"), None);
    let own = self::stage("mattermost", "webhook_url: 'http://h/', text: t, attachments: [{text: '{{ .Status }}', fields: [{title: a, value: b, short: true}]}], priority: {priority: x, requested_ack: true}").body();
    assert_eq!(own["text"], "t");
    assert_eq!(
        own["attachments"],
        json!([{"text": "firing", "fields": [{"title": "a", "value": "b", "short": true}]}])
    );
    assert_eq!(own["priority"], json!({"priority": "standard"}));
}

#[test]
fn pagerduty_triggers_and_resolves() {
    let settings = "routing_key: r, class: c, details: {firing: f, own: '{{ len .Alerts }}'}, links: [{href: 'http://l', text: t}, {text: none}], images: [{src: s}]";
    let body = stage("pagerduty", settings).body();
    let expect = json!({
        "routing_key": "r",
        "event_action": "trigger",
        "dedup_key": KEY,
        "client": "Alertmanager",
        "client_url": "http://obs/#/alerts?receiver=web%5C.hook",
        "images": [{"src": "s", "alt": "", "href": ""}],
        "links": [{"href": "http://l", "text": "t"}],
        "payload": {
            "summary": "[FIRING:1] A ",
            "source": "Alertmanager",
            "severity": "error",
            "class": "c",
            "custom_details": {
                "firing": "f",
                "own": 2,
                "num_firing": 1,
                "num_resolved": 1,
                "resolved": body["payload"]["custom_details"]["resolved"],
            },
        },
    });
    assert_eq!(body, expect);
    assert_eq!(
        body["payload"]["custom_details"]["resolved"][0]["labels"]["i"],
        "2"
    );
    assert_eq!(
        stage("pagerduty", "routing_key: r").resolved().body()["event_action"],
        "resolve"
    );
    let large = stage("pagerduty", "routing_key: r").long(600_000);
    assert!(large.request().body.len() < 10_000);
    let error = large.body()["payload"]["custom_details"]["error"].to_string();
    assert!(error.contains("512KB"), "{error}");
    let first = stage("pagerduty", "service_key_file: f").file("service_key_file", "k\n");
    assert_eq!(
        first.request().url,
        "https://events.pagerduty.com/generic/2010-04-15/create_event.json"
    );
    assert_eq!(
        (&first.body()["service_key"], &first.body()["event_type"]),
        (&json!("k"), &json!("trigger"))
    );
    let refused = "{\"message\":\"wrong\",\"errors\":[\"a\",\"b\"]}";
    let refused = answer(
        stage("pagerduty", "routing_key: r").exchange(),
        400,
        "",
        refused,
    );
    assert_eq!(
        refused.expect_err("refused").reason,
        "unexpected status code 400: wrong: a,b"
    );
}

#[test]
fn opsgenie_creates_updates_and_closes() {
    let settings = "api_key: k, tags: 'a,,b', priority: P1, details: {x: '{{ .Status }}'}, update_alerts: true, responders: [{name: 'x,y', type: teams}, {id: '1', type: user}, {name: '{{ .CommonLabels.none }}', type: ''}]";
    let stage = stage("opsgenie", settings);
    let request = stage.request();
    assert_eq!(request.url, "https://api.opsgenie.com/v2/alerts");
    assert!(
        request
            .headers
            .contains(&("authorization", "GenieKey k".to_owned()))
    );
    let body = stage.body();
    assert_eq!(body["alias"], KEY);
    assert_eq!(body["details"], json!({"alertname": "A", "x": "firing"}));
    assert_eq!(body["tags"], json!(["a", "b"]));
    assert_eq!(
        body["responders"],
        json!([{"name": "x", "type": "team"}, {"name": "y", "type": "team"}, {"id": "1", "type": "user"}])
    );
    let Ok(Next::Ask(second)) = answer(stage.exchange(), 202, "", "") else {
        panic!("the message is changed next");
    };
    assert_eq!(second.request.method, "PUT");
    assert_eq!(
        second.request.url,
        format!("https://api.opsgenie.com/v2/alerts/{KEY}/message?identifierType=alias")
    );
    let Ok(Next::Ask(third)) = answer(*second, 202, "", "") else {
        panic!("the description is changed next");
    };
    assert!(third.request.url.contains("/description?"));
    assert!(matches!(answer(*third, 202, "", ""), Ok(Next::Done(_))));
    let closed = self::stage("opsgenie", "api_key: k").resolved();
    assert_eq!(
        closed.request().url,
        format!("https://api.opsgenie.com/v2/alerts/{KEY}/close?identifierType=alias")
    );
    assert_eq!(
        closed.body(),
        json!({"source": "http://obs/#/alerts?receiver=web%5C.hook"})
    );
    let long = self::stage(
        "opsgenie",
        "api_key: k, message: '{{ .CommonAnnotations.summary }}'",
    )
    .long(500);
    assert_eq!(
        long.body()["message"]
            .as_str()
            .map(|text| text.chars().count()),
        Some(130)
    );
}

#[test]
fn victorops_and_pushover_are_told() {
    let stage = stage(
        "victorops",
        "routing_key: '{{ .Status }}', api_key: k, message_type: x, custom_fields: {a: '{{ .Status }}'}",
    );
    assert_eq!(
        stage.request().url,
        "https://alert.victorops.com/integrations/generic/20131114/alert/k/firing"
    );
    let body = stage.body();
    assert_eq!(
        (&body["message_type"], &body["entity_id"], &body["a"]),
        (&json!("CRITICAL"), &json!(KEY), &json!("firing"))
    );
    let over = self::stage(
        "victorops",
        "routing_key: r, api_key: k, message_type: INFO",
    )
    .resolved();
    assert_eq!(over.body()["message_type"], "RECOVERY");
    let stage = self::stage(
        "pushover",
        "user_key: u, token: t, message: ' ', ttl: 1h, html: true",
    );
    let url = stage.request().url;
    for part in [
        "https://api.pushover.net/1/messages.json?token=t&user=u",
        "message=%28no+details%29",
        "priority=2",
        "retry=60",
        "expire=3600",
        "ttl=3600",
        "html=1",
    ] {
        assert!(url.contains(part), "{part}: {url}");
    }
    let html = self::stage(
        "pushover",
        "user_key: u, token: t, html: true, message: '<b>{{ .CommonAnnotations.summary }}</b>'",
    );
    assert!(
        html.request()
            .url
            .contains("message=%3Cb%3Eit+%26lt%3Bburns%26gt%3B%3C%2Fb%3E")
    );
}

#[test]
fn telegram_gets_texts_that_fit() {
    let stage = stage(
        "telegram",
        "bot_token: T, chat_id: -5, message_thread_id: 7, disable_notifications: true, message: '<b>{{ .CommonAnnotations.summary }}</b>'",
    );
    assert_eq!(
        stage.request().url,
        "https://api.telegram.org/botT/sendMessage"
    );
    let expect = json!({
        "chat_id": "-5",
        "text": "<b>it &lt;burns&gt;</b>",
        "disable_notification": "true",
        "disable_web_page_preview": "true",
        "message_thread_id": "7",
        "parse_mode": "HTML",
    });
    assert_eq!(stage.body(), expect);
    let long = |mode: &str| {
        let settings = format!(
            "bot_token: T, chat_id: 1, parse_mode: {mode}, message: '{{{{ .CommonAnnotations.summary }}}}'"
        );
        let body = self::stage("telegram", &settings).long(5000).body();
        body["text"].as_str().unwrap_or("").to_owned()
    };
    assert!(long("HTML").contains("message length exceeds Telegram limits"));
    assert_eq!(long("MarkdownV2").chars().count(), 4096);
    let file = self::stage("telegram", "bot_token_file: t, chat_id_file: c")
        .file("bot_token_file", "F\n")
        .file("chat_id_file", " 9 \n");
    assert!(file.request().url.contains("/botF/"));
    assert_eq!(file.body()["chat_id"], "9");
    let limited = "{\"ok\":false,\"error_code\":429,\"description\":\"Too Many Requests\"}";
    let limited = answer(
        self::stage("telegram", "bot_token: T, chat_id: 1").exchange(),
        429,
        "",
        limited,
    );
    let limited = limited.expect_err("too much");
    assert_eq!((limited.retry, limited.class), (true, Class::RateLimited));
    assert!(answer(stage.exchange(), 200, "", "{\"ok\":true}").is_ok());
}

#[test]
fn teams_discord_and_webex_are_told() {
    let card = stage("msteams", "webhook_url: 'http://h/'").body();
    assert_eq!(
        (&card["@context"], &card["type"], &card["themeColor"]),
        (
            &json!("http://schema.org/extensions"),
            &json!("MessageCard"),
            &json!("8C1A1A")
        )
    );
    let card = stage("msteamsv2", "webhook_url: 'http://h/', title: t, text: x")
        .resolved()
        .body();
    let expect = json!({
        "type": "message",
        "attachments": [{
            "contentType": "application/vnd.microsoft.card.adaptive",
            "contentUrl": null,
            "content": {
                "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
                "type": "AdaptiveCard",
                "version": "1.2",
                "body": [
                    {"type": "TextBlock", "text": "t", "weight": "Bolder", "size": "Medium", "wrap": true, "style": "heading", "color": "Good"},
                    {"type": "TextBlock", "text": "x", "wrap": true},
                ],
                "msteams": {"width": "full"},
            },
        }],
    });
    assert_eq!(card, expect);
    let file = stage("discord", "webhook_url_file: f, username: u")
        .file("webhook_url_file", "http://d/\n")
        .long(5000);
    assert_eq!(file.request().url, "http://d/");
    let body = file.body();
    assert_eq!(
        (&body["username"], &body["content"]),
        (&json!("u"), &json!(""))
    );
    assert_eq!(body["embeds"][0]["color"], 10_038_562);
    assert_eq!(
        body["embeds"][0]["description"]
            .as_str()
            .map(|text| text.chars().count()),
        Some(4096)
    );
    let body = stage(
        "webex",
        "room_id: r, http_config: {authorization: {credentials: x}}",
    )
    .long(8000)
    .body();
    assert_eq!(body["roomId"], "r");
    assert_eq!(body["markdown"].as_str().map(str::len), Some(7439));
}

#[test]
fn wechat_asks_for_a_token_first() {
    let stage = stage(
        "wechat",
        "api_secret: s, corp_id: c, agent_id: '1', message: m",
    );
    assert_eq!(
        stage.request().url,
        "https://qyapi.weixin.qq.com/cgi-bin/gettoken?corpid=c&corpsecret=s"
    );
    let Ok(Next::Ask(message)) = answer(stage.exchange(), 200, "", "{\"access_token\":\"t&\"}")
    else {
        panic!("the message is next");
    };
    assert_eq!(
        message.request.url,
        "https://qyapi.weixin.qq.com/cgi-bin/message/send?access_token=t%26"
    );
    let body: Value = serde_json::from_slice(&message.request.body).expect("JSON");
    let expect = json!({"text": {"content": "m"}, "markdown": {"content": ""}, "agentid": "1", "safe": "0", "msgtype": "text"});
    assert_eq!(body, expect);
    let ended = answer(
        *message,
        200,
        "",
        "{\"errcode\":42001,\"errmsg\":\"ended\"}",
    );
    assert!(ended.expect_err("ended").retry);
    assert!(
        !answer(stage.exchange(), 200, "", "{}")
            .expect_err("no token")
            .retry
    );
}

/// Goes through a conversation with Jira; gives what was asked.
fn jira(stage: &Stage, answers: &[&str]) -> Vec<String> {
    let mut asked = Vec::new();
    let mut exchange = stage.exchange();
    for body in answers {
        let path = exchange
            .request
            .url
            .trim_start_matches("https://j/rest/api/2")
            .to_owned();
        asked.push(format!("{} {path}", exchange.request.method));
        match answer(exchange, 200, "application/json", body).expect("it is good") {
            Next::Done(_) => return asked,
            Next::Ask(next) => exchange = *next,
        }
    }
    panic!("more is asked: {asked:?}, then {exchange:?}");
}

#[test]
fn jira_finds_makes_changes_and_moves_issues() {
    let settings = "api_url: 'https://j/rest/api/2', project: P, issue_type: Bug, labels: [z, '{{ .Status }}'], summary: {template: s, enable_update: false}, description: d, resolve_transition: Close, reopen_transition: Open, reopen_duration: 1h, wont_fix_resolution: no, fields: {customfield_1: {value: '{{ .Status }}'}}";
    let firing = stage("jira", settings);
    let search = firing.body();
    let jql = format!(
        "(resolution is EMPTY or resolution != \"no\") and (resolutiondate is EMPTY OR resolutiondate >= -60m) and project=\"P\" and labels=\"ALERT{{{KEY}}}\" order by status ASC,resolutiondate DESC"
    );
    assert_eq!(
        search,
        json!({"jql": jql, "maxResults": 2, "fields": ["status"]})
    );
    let none = "{\"issues\":[]}";
    assert_eq!(
        jira(&firing, &[none, "{}"]),
        ["POST /search", "POST /issue"]
    );
    let Ok(Next::Ask(made)) = answer(firing.exchange(), 200, "", none) else {
        panic!("an issue is made");
    };
    let body: Value = serde_json::from_slice(&made.request.body).expect("JSON");
    let expect = json!({"fields": {
        "project": {"key": "P"},
        "issuetype": {"name": "Bug"},
        "summary": "s",
        "description": "d",
        "labels": [format!("ALERT{{{KEY}}}"), "firing", "z"],
        "customfield_1": {"value": "firing"},
    }});
    assert_eq!(body, expect);
    let issue = |category: &str| {
        format!(
            "{{\"issues\":[{{\"key\":\"P-1\",\"fields\":{{\"status\":{{\"name\":\"x\",\"statusCategory\":{{\"key\":\"{category}\"}}}}}}}}]}}"
        )
    };
    let moves =
        "{\"transitions\":[{\"id\":\"1\",\"name\":\"Close\"},{\"id\":\"2\",\"name\":\"Open\"}]}";
    assert_eq!(
        jira(&firing, &[&issue("new"), ""]),
        ["POST /search", "PUT /issue/P-1"]
    );
    let moved = [
        "POST /search",
        "PUT /issue/P-1",
        "GET /issue/P-1/transitions",
        "POST /issue/P-1/transitions",
    ];
    assert_eq!(jira(&firing, &[&issue("done"), "", moves, ""]), moved);
    let over = stage("jira", settings).resolved();
    assert_eq!(jira(&over, &[none]), ["POST /search"]);
    assert_eq!(jira(&over, &[&issue("new"), "", moves, ""]), moved);
    let Ok(Next::Ask(changed)) = answer(over.exchange(), 200, "", &issue("new")) else {
        panic!("the issue is changed");
    };
    let body: Value = serde_json::from_slice(&changed.request.body).expect("JSON");
    assert_eq!(
        (
            body["fields"].get("summary"),
            &body["fields"]["description"]
        ),
        (None, &json!("d"))
    );
    let cloud = stage(
        "jira",
        "api_url: 'https://x.atlassian.net/rest/api/2', project: P, issue_type: Bug",
    )
    .request();
    assert_eq!(cloud.url, "https://x.atlassian.net/rest/api/3/search/jql");
    let busy = answer(firing.exchange(), 429, "", "").expect_err("busy");
    assert!(
        busy.retry && busy.reason.starts_with("failed to look up existing issues"),
        "{busy}"
    );
}

#[test]
fn sns_gets_a_form() {
    let form = |stage: &Stage| {
        let body = stage.request().body;
        form_urlencoded::parse(&body)
            .into_owned()
            .collect::<BTreeMap<String, String>>()
    };
    let stage = stage(
        "sns",
        "topic_arn: 'arn:x.fifo', message: m, attributes: {k: '{{ .Status }}'}, sigv4: {region: r, access_key: a, secret_key: s}",
    );
    let found = form(&stage);
    for (key, expect) in [
        ("Action", "Publish"),
        ("TopicArn", "arn:x.fifo"),
        ("MessageGroupId", KEY),
        ("MessageDeduplicationId", KEY),
        ("Message", "m"),
        ("Subject", "[FIRING:1] A "),
        ("MessageAttributes.entry.1.Name", "k"),
        ("MessageAttributes.entry.1.Value.StringValue", "firing"),
        ("Version", "2010-03-31"),
    ] {
        assert_eq!(found.get(key).map(String::as_str), Some(expect), "{key}");
    }
    let sms = form(
        &self::stage(
            "sns",
            "phone_number: '1', message: '{{ .CommonAnnotations.summary }}'",
        )
        .long(3000),
    );
    assert_eq!(sms.get("Message").map(String::len), Some(1600));
    assert_eq!(
        sms.get("MessageAttributes.entry.1.Name")
            .map(String::as_str),
        Some("truncated")
    );
    assert!(
        self::stage("sns", "topic_arn: a, sigv4: {access_key: a}")
            .failure()
            .reason
            .contains("secret key")
    );
}

#[test]
fn ntfy_programs_and_incidentio_are_told() {
    let body = stage(
        "ntfy",
        "url: 'http://n', topic: t, tags: 'a, b', priority: '9', message: m, title: x, click: ''",
    )
    .body();
    let expect =
        json!({"topic": "t", "title": "x", "message": "m", "tags": ["a", "b"], "priority": 5});
    assert_eq!(body, expect);
    let Ok(Delivery::Program(program)) = stage(
        "exec",
        "command: /bin/x, arguments: ['{{ .Status }}', '$(rm)']",
    )
    .tell() else {
        panic!("a program");
    };
    assert_eq!(program.arguments, ["firing", "$(rm)"]);
    let input: Value = serde_json::from_slice(&program.input).expect("JSON");
    assert_eq!(input["version"], "4");
    assert!(
        program
            .environment
            .contains(&("OBS_STATUS", "firing".to_owned()))
    );
    let incident = stage("incidentio", "url: 'http://h/', alert_source_token: t").long(600_000);
    assert_eq!(incident.body()["version"], "1");
    assert_eq!(incident.body()["alerts"].as_array().map(Vec::len), Some(1));
    assert!(
        incident
            .request()
            .headers
            .contains(&("authorization", "Bearer t".to_owned()))
    );
}

#[test]
fn mails_have_headers_and_two_parts() {
    let settings = "to: 'A <a@x>, b@x', from: obs@x, smarthost: 'h:25', text: 'plain {{ .Status }}', headers: {subject: 'ü {{ .Status }}', X-Own: 'a\u{e9}b'}, threading: {enabled: true}";
    let Ok(Delivery::Mail(mail)) = stage("email", settings).tell() else {
        panic!("a mail");
    };
    assert_eq!(
        (mail.from.as_str(), mail.to.as_slice()),
        ("obs@x", ["a@x".to_owned(), "b@x".to_owned()].as_slice())
    );
    let text = String::from_utf8(mail.message.clone()).expect("ASCII");
    for part in [
        "From: obs@x\r\n",
        "To: A <a@x>, b@x\r\n",
        "Subject: =?utf-8?q?=C3=BC_firing?=\r\n",
        "Message-Id: <1700001000000000000.7@host>\r\n",
        &format!(
            "In-Reply-To: <alert-{}-2023-11-14@alertmanager>\r\n",
            &KEY[..16]
        ),
        "Date: Tue, 14 Nov 2023 22:30:00 +0000\r\n",
        "Content-Type: multipart/alternative;  boundary=",
        "Content-Type: text/plain; charset=UTF-8\r\n\r\nplain firing\r\n--",
        "Content-Type: text/html; charset=UTF-8\r\n\r\n<!DOCTYPE html>",
        "it &lt;burns&gt;",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let (_, body) = text.split_once("\r\n\r\n").expect("a body");
    assert!(body.lines().all(|line| line.len() <= 76), "{text}");
    assert!(text.trim_end().ends_with("--"));
    let failure = |settings: &str| stage("email", settings).failure().reason;
    assert!(
        failure("to: a@x, from: 'a@x, b@x', smarthost: 'h:25'")
            .contains("exactly one 'from' address (got: 2)")
    );
    assert!(failure("to: nobody, from: a@x, smarthost: 'h:25'").contains("parse 'to' addresses"));
    assert!(
        failure("to: a@x, from: a@x, smarthost: 'h:25', headers: {'a b': c}").contains("header")
    );
}

#[test]
fn hostile_templates_end() {
    let settings = |text: &str| format!("url: 'http://h/', payload: {{a: '{text}'}}");
    for (text, expect) in [
        ("{{ range $i := 1000000000 }}x{{ end }}", "more than"),
        ("{{ range $i := 1000000000 }}{{ end }}", "more than"),
        (
            "{{ define \"r\" }}{{ template \"r\" . }}{{ end }}{{ template \"r\" . }}",
            "depth",
        ),
        (
            "{{ range $i := 100000 }}{{ range $j := 100000 }}{{ $.CommonAnnotations.summary }}{{ end }}{{ end }}",
            "more than",
        ),
        ("{{ printf \"%1000000000d\" 1 }}", ""),
    ] {
        let told = stage("webhook", &settings(text)).tell();
        match told {
            Err(failure) => assert!(
                failure.reason.contains(expect) && !failure.retry,
                "{text}: {failure}"
            ),
            Ok(Delivery::Http(exchange)) => {
                assert!(exchange.request.body.len() < 4 << 20, "{text}");
            }
            Ok(other) => panic!("{text}: {other:?}"),
        }
    }
    let labels = [
        ("a".to_owned(), "{{ routeLabels \"b\" }}".to_owned()),
        ("b".to_owned(), "{{ routeLabels \"a\" }}".to_owned()),
        ("c".to_owned(), "<{{ routeLabels \"d\" }}>".to_owned()),
        ("d".to_owned(), "{{ .Status }}".to_owned()),
    ];
    let group = Labels::empty();
    let data = Data {
        delivery: String::new(),
        receiver: "r",
        group_key: "",
        group_labels: &group,
        route_labels: BTreeMap::new(),
        alerts: &[],
        reason: "",
        external_url: "",
        now: Timestamp::from_seconds(0),
    };
    let library = Library::new(&[]).expect("the templates that are shipped");
    let expand =
        |labels: &[(String, String)]| crate::notify::texts::route_labels(labels, &data, &library);
    let error = expand(&labels).expect_err("a cycle").to_string();
    assert!(
        error.contains("route label cycle detected: a -> b -> a"),
        "{error}"
    );
    let found = expand(&labels[2..]).expect("no cycle");
    assert_eq!(found["c"], "<resolved>");
}

#[test]
fn files_define_templates_over_those_that_are_there() {
    let file = "{{ define \"slack.default.title\" }}own {{ .Status }}{{ end }}{{ define \"__subject\" }} {{ end }}".to_owned();
    let library = Library::new(&[file]).expect("templates");
    let functions = NotifyFunctions::default();
    let value = obs_query::template::Value::map([("Status", "firing".into())]);
    let found = library.expand(
        "{{ template \"slack.default.title\" . }}",
        &value,
        &functions,
    );
    assert_eq!(found.as_deref(), Ok("own firing"));
    let error = library
        .expand("{{ template \"none\" . }}", &value, &functions)
        .expect_err("none");
    assert!(
        error.to_string().contains("\"none\" not defined"),
        "{error}"
    );
    assert!(Library::new(&["{{ define \"x\" }}{{ wrong }}{{ end }}".to_owned()]).is_err());
}
