//! Alertmanager's API through the routes; texts and shapes are those of Alertmanager itself.

use http::Request;
use serde_json::{Value, json};

use crate::alertmanager::tests::simulated;
use crate::api::tests::{Heard, JSON, Rig, check};

const CONFIG: &str = "
route:
  receiver: web
  group_by: [alertname]
  routes:
  - receiver: other
    matchers: [team=\"x\"]
inhibit_rules:
- source_matchers: [severity=\"page\"]
  target_matchers: [severity=\"warn\"]
receivers:
- name: web
  webhook_configs:
  - url: http://127.0.0.1:9/x?token=s3cret
- name: other
  labels: {owner: me}
";

fn rig() -> Rig {
    let rig = Rig::start();
    assert!(rig.app.alertmanager.set(simulated(CONFIG)).is_ok());
    rig
}

async fn post(rig: &mut Rig, path: &str, body: &str) -> Heard {
    let request = Request::post(path).header("content-type", JSON);
    rig.ask(request, body).await
}

async fn list(rig: &mut Rig, path: &str) -> Vec<Value> {
    let told = rig.get(path).await;
    assert_eq!(told.status, 200, "{told:?}");
    serde_json::from_str(&told.body).expect("a list")
}

#[tokio::test]
async fn faults_are_told_as_alertmanager_does() {
    let mut rig = rig();
    for (path, body, status, expect) in [
        (
            "alerts",
            "",
            422,
            r#"{"code":602,"message":"alerts in body is required"}"#,
        ),
        (
            "alerts",
            "[{}]",
            422,
            r#"{"code":602,"message":"0.labels in body is required"}"#,
        ),
        (
            "alerts",
            "{",
            400,
            r#"{"code":400,"message":"parsing alerts body from \"\" failed, because unexpected EOF"}"#,
        ),
        (
            "alerts",
            "{}",
            400,
            "json: cannot unmarshal object into Go value of type models.PostableAlerts",
        ),
        (
            "alerts",
            r#"[{"labels":{}}]"#,
            400,
            r#""at least one label pair required""#,
        ),
        (
            "alerts",
            r#"[{"labels":{"a":"b"},"startsAt":"x"}]"#,
            400,
            r#"parsing time \"x\" as \"2006-01-02 15:04:05\""#,
        ),
        (
            "alerts",
            r#"[{"labels":{"a":1}}]"#,
            400,
            "json: cannot unmarshal number into Go struct field Alert.labels of type string",
        ),
        (
            "alerts",
            r#"[{"labels":{"a":"1"},"startsAt":"2030-01-01T00:00:00Z","endsAt":"2020-01-01T00:00:00Z"}]"#,
            400,
            r#""start time must be before end time""#,
        ),
        (
            "alerts",
            r#"[{"labels":{"a":"1"},"generatorURL":"%zz"}]"#,
            422,
            r#""code":601,"message":"0.generatorURL in body must be of type uri"#,
        ),
        ("alerts", "null", 200, ""),
    ] {
        let told = post(&mut rig, &format!("/api/v2/{path}"), body).await;
        let kind = if expect.is_empty() { "" } else { JSON };
        check(&told, status, kind, expect);
    }
}

#[tokio::test]
async fn faults_of_silences_are_told_as_alertmanager_does() {
    let mut rig = rig();
    let at = "\"startsAt\":\"2030-01-01T00:00:00Z\",\"endsAt\":\"2031-01-01T00:00:00Z\"";
    let silence = |matchers: &str| {
        format!("{{\"matchers\":[{matchers}],{at},\"createdBy\":\"me\",\"comment\":\"c\"}}")
    };
    let a = r#"{"name":"a","value":"x","isRegex":false}"#;
    for (path, body, status, expect) in [
        (
            "silences",
            "{}",
            422,
            r#"{"code":602,"message":"comment in body is required"}"#,
        ),
        (
            "silences",
            silence("").as_str(),
            422,
            r#"{"code":612,"message":"matchers in body should have at least 1 items"}"#,
        ),
        (
            "silences",
            silence(r#"{"name":"a","value":""}"#).as_str(),
            422,
            r#"{"code":602,"message":"matchers.0.isRegex in body is required"}"#,
        ),
        (
            "silences",
            silence(r#"{"name":"a","value":"","isRegex":false}"#).as_str(),
            400,
            r#""invalid silence: matcher set 0: at least one matcher must not match the empty string""#,
        ),
        (
            "silences",
            silence(r#"{"name":"a","value":"(","isRegex":true}"#).as_str(),
            400,
            r#""invalid silence: invalid label matcher 0 in set 0: invalid regular expression \"(\""#,
        ),
        (
            "silences",
            silence(a).replace("2031", "2030").as_str(),
            400,
            r#""Failed to create silence: start time must be before end time""#,
        ),
        (
            "silences",
            silence(a).replace("203", "201").as_str(),
            400,
            r#""Failed to create silence: end time can't be in the past""#,
        ),
        (
            "silences",
            silence(a)
                .replace(
                    "{\"matchers",
                    "{\"id\":\"6aa8d3ff-8ee3-4a8f-8a3c-0d5d4b9b4a11\",\"matchers",
                )
                .as_str(),
            404,
            r#""silence not found""#,
        ),
    ] {
        let told = post(&mut rig, &format!("/api/v2/{path}"), body).await;
        let kind = if expect.is_empty() { "" } else { JSON };
        check(&told, status, kind, expect);
    }
}

#[tokio::test]
async fn questions_with_faults() {
    let mut rig = rig();
    let plain = Request::post("/api/v2/alerts").header("content-type", "text/plain");
    let told = rig.ask(plain, "[]").await;
    let expect = r#"{"code":415,"message":"unsupported media type \"text/plain\", only [application/json] are allowed"}"#;
    check(&told, 415, JSON, expect);
    for (path, status, expect) in [
        (
            "foo",
            404,
            r#"{"code":404,"message":"path /api/v2/foo was not found"}"#,
        ),
        ("alerts?filter=a", 400, r#""bad matcher format: a""#),
        ("alerts?receiver=(", 400, "failed to parse receiver param: "),
        ("alerts?active=x", 200, "[]"),
        (
            "silence/x",
            422,
            r#"{"code":601,"message":"silenceID in path must be of type uuid: \"x\""}"#,
        ),
        ("silence/6aa8d3ff-8ee3-4a8f-8a3c-0d5d4b9b4a11", 404, ""),
    ] {
        let told = rig.get(&format!("/api/v2/{path}")).await;
        check(&told, status, "", expect);
    }
}

#[tokio::test]
async fn paths_and_methods_that_are_not_there() {
    let mut rig = rig();
    let told = post(&mut rig, "/api/v2/status", "").await;
    let expect = r#"{"code":405,"message":"method POST is not allowed, but [GET] are"}"#;
    check(&told, 405, JSON, expect);
    let gone = Request::delete("/api/v2/silence/6aa8d3ff-8ee3-4a8f-8a3c-0d5d4b9b4a11");
    assert_eq!(rig.ask(gone, "").await.status, 404);
}

#[tokio::test]
async fn alerts_and_groups_have_their_shapes() {
    let mut rig = rig();
    let alerts = json!([
        {"labels": {"alertname": "A", "severity": "page", "empty": ""}, "annotations": {"summary": "s"},
         "generatorURL": "http://x/graph"},
        {"labels": {"alertname": "B", "severity": "warn", "team": "x"}},
        {"labels": {}},
    ]);
    let told = post(&mut rig, "/alertmanager/api/v2/alerts", &alerts.to_string()).await;
    check(&told, 400, JSON, "at least one label pair required");
    let all = list(&mut rig, "/api/v2/alerts").await;
    assert_eq!(all.len(), 2, "the good ones were taken: {all:?}");
    let find = |all: &[Value], name: &str| {
        let found = all
            .iter()
            .find(|alert| alert["labels"]["alertname"] == name);
        found.cloned().unwrap_or_default()
    };
    let (a, b) = (find(&all, "A"), find(&all, "B"));
    assert_eq!(a["labels"], json!({"alertname": "A", "severity": "page"}));
    assert_eq!(a["receivers"], json!([{"name": "web"}]));
    assert_eq!(
        a["status"],
        json!({"state": "active", "silencedBy": [], "inhibitedBy": [], "mutedBy": []})
    );
    assert_eq!(a["generatorURL"], "http://x/graph");
    assert_eq!(
        a["startsAt"].as_str().map(str::len),
        Some("2026-11-22T03:15:30.082Z".len())
    );
    assert_eq!(b["status"]["state"], "suppressed");
    assert_eq!(b["status"]["inhibitedBy"], json!([a["fingerprint"]]));
    assert_eq!(b["annotations"], json!({}));
    assert!(b.get("generatorURL").is_none());
    for (query, expect) in [
        ("inhibited=false", &["A"][..]),
        ("active=false", &["B"]),
        ("receiver=we.*", &["A"]),
        ("receiver=we", &[]),
        ("filter=team%3D%22x%22", &["B"]),
        ("filter=team%3D%22%22&filter=alertname%21%3DB", &["A"]),
        ("receiver_matchers=owner%3Dme", &["B"]),
    ] {
        let found = list(&mut rig, &format!("/api/v2/alerts?{query}")).await;
        let names = found
            .iter()
            .map(|alert| alert["labels"]["alertname"].clone());
        assert_eq!(names.collect::<Vec<_>>(), expect, "{query}");
    }
    let groups = list(&mut rig, "/api/v2/alerts/groups").await;
    assert_eq!(groups.len(), 2);
    assert_eq!(groups[0]["labels"], json!({"alertname": "A"}));
    assert_eq!(groups[0]["receiver"], json!({"name": "web"}));
    assert_eq!(groups[0]["routeLabels"], json!({}));
    assert_eq!(groups[0]["alerts"][0], a);
    let receivers = list(&mut rig, "/api/v2/receivers").await;
    assert_eq!(
        receivers,
        [
            json!({"name": "web"}),
            json!({"name": "other", "labels": {"owner": "me"}})
        ]
    );
    let told = rig
        .get("/api/v1/alertmanager/route?labels=alertname%3DB&labels=team%3Dx")
        .await;
    check(&told, 200, JSON, r#""receiver":"other""#);
    let told = rig.get("/api/v1/alertmanager/route?labels=a!%3Db").await;
    check(&told, 400, JSON, "expected labels");
}

#[tokio::test]
async fn silences_come_and_go() {
    let mut rig = rig();
    let body = json!({
        "matchers": [{"name": "alertname", "value": "A", "isRegex": false}],
        "startsAt": "2020-01-01T00:00:00.000Z", "endsAt": "9999-01-01T00:00:00Z",
        "createdBy": "", "comment": "",
    });
    let told = post(&mut rig, "/api/v2/silences", &body.to_string()).await;
    assert_eq!(told.status, 200, "{told:?}");
    let told: Value = serde_json::from_str(&told.body).expect("JSON");
    let id = told["silenceID"].as_str().expect("an id").to_owned();
    let found = rig.get(&format!("/api/v2/silence/{id}")).await;
    let found: Value = serde_json::from_str(&found.body).expect("JSON");
    assert_eq!(found["status"]["state"], "active");
    assert_eq!(found["annotations"], json!({}));
    let matcher = json!({"isEqual": true, "isRegex": false, "name": "alertname", "value": "A"});
    assert_eq!(found["matchers"], json!([matcher]));
    let alerts = r#"[{"labels":{"alertname":"A"}}]"#;
    assert_eq!(post(&mut rig, "/api/v2/alerts", alerts).await.status, 200);
    let all = list(&mut rig, "/api/v2/alerts").await;
    assert_eq!(all[0]["status"]["silencedBy"], json!([id]));
    assert!(
        list(&mut rig, "/api/v2/alerts?silenced=false")
            .await
            .is_empty()
    );
    let same = "/api/v2/silences?filter=alertname%3D%22A%22";
    assert_eq!(list(&mut rig, same).await.len(), 1);
    let other = "/api/v2/silences?filter=alertname%3D~%22A%22";
    assert!(list(&mut rig, other).await.is_empty());
    // Sent back with another comment it is the same one; with other matchers it is not.
    let mut changed = found.clone();
    changed["comment"] = "why".into();
    let told = post(&mut rig, "/api/v2/silences", &changed.to_string()).await;
    check(&told, 200, JSON, &id);
    changed["matchers"][0]["value"] = "B".into();
    let told = post(&mut rig, "/api/v2/silences", &changed.to_string()).await;
    assert!(told.status == 200 && !told.body.contains(&id), "{told:?}");
    let active = list(&mut rig, "/api/v2/silences?expired=false").await;
    assert_eq!(active.len(), 1);
    let new = active[0]["id"].as_str().expect("an id");
    for _ in 0..2 {
        let gone = Request::delete(format!("/api/v2/silence/{new}"));
        assert_eq!(rig.ask(gone, "").await.status, 200);
    }
    let all = list(&mut rig, "/api/v2/silences").await;
    assert!(
        all.iter()
            .all(|silence| silence["status"]["state"] == "expired")
    );
}

#[tokio::test]
async fn the_status_is_where_grafana_looks_for_it() {
    let mut rig = rig();
    let told = rig.get("/api/v2/status").await;
    check(
        &told,
        200,
        JSON,
        r#""cluster":{"peers":[],"status":"disabled"}"#,
    );
    let status: Value = serde_json::from_str(&told.body).expect("JSON");
    let original = status["config"]["original"].as_str().expect("a text");
    assert!(
        original.contains("receiver: web") && !original.contains("s3cret"),
        "{original}"
    );
    // An answer there would make Grafana take the server for Mimir.
    let told = rig.get("/alertmanager/api/v2/status").await;
    check(&told, 404, JSON, "/api/v2/status");
    assert_eq!(rig.get("/alertmanager/api/v2/receivers").await.status, 200);
    let mut early = Rig::start();
    assert_eq!(early.get("/api/v2/alerts").await.status, 503);
}
