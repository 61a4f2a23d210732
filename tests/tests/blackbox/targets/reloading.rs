//! The configuration taken anew while targets are scraped.

use super::*;

fn config(address: &str, more: &str) -> String {
    format!(
        "{FAST}scrape_configs:\n- {{job_name: a, {more}static_configs: [{{targets: ['{address}']}}]}}\n"
    )
}

/// Writes the file and has it read; whether it was taken.
fn reload(obs: &Obs, text: &str) -> bool {
    let counts = || {
        let log = obs.log();
        let count = |what: &str| log.matches(what).count();
        (
            count("configuration reloaded"),
            count("configuration not reloaded"),
        )
    };
    let before = counts();
    std::fs::write(obs.path("obs.yml"), text).expect("the folder is writable");
    obs.hangup();
    until("the reload", || {
        let (good, bad) = counts();
        match (good > before.0, bad > before.1) {
            (false, false) => None,
            (taken, _) => Some(taken),
        }
    })
}

#[test]
fn what_did_not_change_goes_on_without_a_gap() {
    let peer = Peer::serve(|_| Reply::text("works 1\n"));
    let begin = millis();
    let obs = Obs::with_config(&config(&peer.address, ""));
    await_values(&obs, "works", &[1.0]);
    // Another job, another interval, another client: the series stays the same.
    for more in [
        "",
        "scrape_interval: 300ms, ",
        "basic_auth: {username: u, password: p}, ",
    ] {
        let other = "- {job_name: b, static_configs: [{targets: ['127.0.0.1:1']}]}\n";
        let text = format!("{}{other}", config(&peer.address, more));
        assert!(reload(&obs, &text), "{text}");
        let before = peer.asked().len();
        until("a further scrape", || {
            Some(()).filter(|()| peer.asked().len() > before + 1)
        });
    }
    peer.say(|_| Reply::text("works 9\n"));
    await_values(&obs, "works", &[9.0]);
    no_gap(&obs, "works", begin);
}

#[test]
fn a_faulty_file_changes_nothing() {
    let peer = Peer::serve(|_| Reply::text("works 1\n"));
    let text = config(&peer.address, "");
    let obs = Obs::with_config(&text);
    target(&obs, "a", "up");
    assert!(!reload(
        &obs,
        "scrape_configs: [{job_name: b, no_such_key: 1}]"
    ));
    let pools = obs.get("/api/v1/scrape_pools", &[]).json();
    assert!(
        texts(&pools["data"]["scrapePools"]).contains(&"a"),
        "{pools}"
    );
    assert!(obs.log().contains("no_such_key"), "the fault is told");
    assert!(reload(&obs, &text));
}

#[test]
fn what_a_reload_takes_away_ends() {
    let peer = Peer::serve(|_| Reply::text("works 1\n"));
    let obs = Obs::with_config(&config(&peer.address, ""));
    await_values(&obs, "works", &[1.0]);
    // Other labels are other series: the old ones end at once.
    let text = config(
        &peer.address,
        "relabel_configs: [{target_label: x, replacement: y}], ",
    );
    assert!(reload(&obs, &text));
    await_values(&obs, "works{x=\"y\"}", &[1.0]);
    await_values(&obs, "works{x=\"\"}", &[]);
    await_values(&obs, "up{job=\"a\",x=\"\"}", &[]);
    assert!(reload(&obs, "{}"));
    await_values(&obs, "works", &[]);
    await_values(&obs, "up{job=\"a\"}", &[]);
    let answer = obs.get("/api/v1/targets", &[("scrapePool", "a")]).json();
    assert_eq!(answer["data"]["activeTargets"], json!([]), "{answer}");
}

#[test]
fn jobs_of_further_files() {
    let peer = Peer::serve(|_| Reply::text("works 1\n"));
    let job = |name: &str| {
        format!(
            "scrape_configs: [{{job_name: {name}, static_configs: [{{targets: ['{}']}}]}}]\n",
            peer.address
        )
    };
    let main = format!("{FAST}scrape_config_files: ['more-*.yml']\n{}", job("main"));
    let obs = Obs::with_files(&[("obs.yml", &main), ("more-1.yml", &job("first"))]);
    await_values(&obs, "count by (job) (works)", &[1.0, 1.0]);
    std::fs::write(obs.path("more-2.yml"), job("second")).expect("writable");
    std::fs::remove_file(obs.path("more-1.yml")).expect("it is there");
    assert!(reload(&obs, &main));
    await_values(&obs, "works{job=\"second\"}", &[1.0]);
    await_values(&obs, "works{job=\"first\"}", &[]);
    std::fs::write(obs.path("more-3.yml"), job("second")).expect("writable");
    assert!(!reload(&obs, &main), "one name twice");
}
