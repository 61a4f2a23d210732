//! A running agent takes its configuration anew and loses nothing of what it knows.

use std::fs;
use std::process::Command;

use super::{Container, arrived, config, lines, own};
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
