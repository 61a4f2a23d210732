//! A running agent takes its configuration anew and loses nothing of what it knows.

use std::fs;
use std::process::Command;

use super::{Container, arrived, config, lines, numbers, once, own};
use crate::process::{Obs, until};

#[test]
fn a_reload_follows_on_and_keeps_what_holds() {
    let server = Obs::start();
    let (first, second) = (
        tempfile::tempdir().expect("a folder"),
        tempfile::tempdir().expect("a folder"),
    );
    let mut a = Container::new(first.path(), "a");
    a.write(10);
    let followed = |more: &str| {
        let logs = format!(
            "logs: {{pods: {{path: {:?}}}, files: [{more}]}}",
            first.path()
        );
        config(&server, &logs)
    };
    let agent = Obs::agent(&followed(""));
    arrived(&server, "a", &mut a);
    let file = second.path().join("app.log");
    fs::write(&file, "one\n").expect("written");
    let entry = format!("{{paths: [{file:?}], labels: {{app: late}}}}");
    fs::write(agent.path("obs.yml"), followed(&entry)).expect("written");
    let told = agent.post("/-/reload", &[], Vec::new());
    assert_eq!(told.status, 200, "{}", told.text());
    until("the new file", || {
        (lines(&server, "{app=\"late\"}") == ["one"]).then_some(())
    });
    a.write(10);
    arrived(&server, "a", &mut a);
    // A fault changes nothing and is told.
    fs::write(agent.path("obs.yml"), "obs: {collector: {logz: {}}}").expect("written");
    let told = agent.post("/-/reload", &[], Vec::new());
    assert_eq!(told.status, 500, "{}", told.text());
    assert!(told.text().contains("logz"), "{}", told.text());
    assert_eq!(own(&agent, "prometheus_config_last_reload_successful"), 0.0);
    a.write(10);
    arrived(&server, "a", &mut a);
    // By signal; a job of its own is scraped from now on.
    let job = format!(
        "scrape_configs: [{{job_name: mine, scrape_interval: 1s, static_configs: [{{targets: \
         ['{}']}}]}}]\n",
        agent.address("http")
    );
    fs::write(agent.path("obs.yml"), job + &followed(&entry)).expect("written");
    let sent = Command::new("kill")
        .args(["-HUP", &agent.process_id().to_string()])
        .status();
    assert!(sent.expect("kill(1) exists").success());
    until("the new job", || {
        let answer = server.get("/api/v1/query", &[("query", "up{job=\"mine\"}")]);
        answer.text().contains("\"mine\"").then_some(())
    });
    until("the word of the reload", || {
        (own(&agent, "prometheus_config_last_reload_successful") == 1.0).then_some(())
    });
    a.write(10);
    arrived(&server, "a", &mut a);
}

/// Other destinations and other rules of redaction: every line is at the server that was the
/// destination when it came, once, and without the secrets of its time.
#[test]
fn a_reload_takes_destinations_and_redaction() {
    let (first, second) = (Obs::start(), Obs::start());
    let folder = tempfile::tempdir().expect("a folder");
    let mut container = Container::new(folder.path(), "a");
    container.write(10);
    let logs = format!("logs: {{pods: {{path: {:?}}}}}", folder.path());
    let agent = Obs::agent(&config(&first, &logs));
    arrived(&first, "a", &mut container);
    let early = container.number;
    let reload = |text: &str| {
        fs::write(agent.path("obs.yml"), text).expect("written");
        let told = agent.post("/-/reload", &[], Vec::new());
        assert_eq!(told.status, 200, "{}", told.text());
    };
    let redaction = "redaction: {builtin: [], rules: [{name: word, pattern: hush}]}";
    reload(&config(&second, &format!("{logs}\n    {redaction}")));
    container.write(10);
    let late = until("what came later", || {
        let found = numbers(&second, "a");
        (found.len() as i64 == container.number - early).then_some(found)
    });
    once("a", &late);
    assert!(
        late.keys().all(|number| !(0..early).contains(number)),
        "{late:?}"
    );
    assert_eq!(numbers(&first, "a").len() as i64, early);
    let push = |text: &str| {
        let line = format!("[\"{}\", \"{text}\"]", crate::process::now());
        let body =
            format!("{{\"streams\": [{{\"stream\": {{\"app\": \"p\"}}, \"values\": [{line}]}}]}}");
        let json = ("content-type", "application/json");
        let told = agent.post("/loki/api/v1/push", &[json], body.into_bytes());
        assert_eq!(told.status, 204, "{}", told.text());
    };
    push("hush 1");
    // A file with a fault changes none of it.
    fs::write(
        agent.path("obs.yml"),
        "obs: {collector: {destinations: []}}",
    )
    .expect("written");
    let told = agent.post("/-/reload", &[], Vec::new());
    assert_eq!(told.status, 500, "{}", told.text());
    push("hush 2");
    reload(&config(&second, &logs));
    push("hush 3");
    let mut found = until("what was pushed", || {
        let found = lines(&second, "{app=\"p\"}");
        (found.len() == 3).then_some(found)
    });
    found.sort();
    assert_eq!(found, ["[REDACTED:word] 1", "[REDACTED:word] 2", "hush 3"]);
}
