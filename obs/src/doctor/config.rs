//! A configuration file, and the clocks of those it sends to.

use std::path::Path;
use std::time::Duration;

use serde_yaml_ng::Value;

use super::finding::Report;
use super::machine::compare_dates;
use crate::client::now;

/// Who does not answer within this is not asked the time.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Destinations that are asked.
const ASKED: usize = 8;

/// Checks the file as `obs check config` does, then asks destinations the time.
pub(super) async fn look(file: &Path, report: &mut Report) {
    let checked = match crate::check::checked(file).await {
        Ok(checked) => checked,
        Err(error) => {
            report.problem(
                "config",
                format!("{error:#}"),
                "a server does not start with it, and a reload keeps the old one",
                "`obs check config` says the same; docs/configuration.md has the keys",
            );
            return;
        }
    };
    report.right("config", checked.summary);
    for notice in checked.notices {
        report.note(
            "config",
            notice,
            "it has no effect, or not the one of Prometheus",
            "",
        );
    }
    let Ok(yaml) = serde_yaml_ng::from_str::<Value>(&checked.text) else {
        return;
    };
    let settings = || {
        Ok(reqwest::Client::builder()
            .timeout(TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("obs/", env!("CARGO_PKG_VERSION"))))
    };
    let Ok(http) = obs_server::http_client::build(settings, reqwest::ClientBuilder::build) else {
        return;
    };
    for url in urls(&yaml).into_iter().take(ASKED) {
        date(&http, &url, report).await;
    }
}

/// Where the file sends to: scheme and host alone, so that nothing is sent.
fn urls(yaml: &Value) -> Vec<String> {
    let mut found = Vec::new();
    let list = |value: &Value| value.as_sequence().cloned().unwrap_or_default();
    let mut all = list(&yaml["remote_write"]);
    for one in list(&yaml["obs"]["collector"]["destinations"]) {
        // One key says what the destination speaks.
        all.extend(
            one.as_mapping()
                .into_iter()
                .flat_map(|map| map.values().cloned()),
        );
    }
    for one in all {
        let url = one["url"].as_str();
        let Some(url) = url.and_then(|url| reqwest::Url::parse(url).ok()) else {
            continue;
        };
        let origin = url.origin().ascii_serialization();
        if ["http", "https"].contains(&url.scheme()) && !found.contains(&origin) {
            found.push(origin);
        }
    }
    found
}

async fn date(http: &reqwest::Client, url: &str, report: &mut Report) {
    let asked = now().nanos();
    match http.head(url).send().await {
        Ok(answer) => {
            let answered = now().nanos();
            let date = answer
                .headers()
                .get("date")
                .and_then(|date| date.to_str().ok());
            let date = date.unwrap_or_default();
            compare_dates("clock.destinations", url, date, (asked, answered), report);
        }
        Err(error) => report.warning(
            "config.destinations",
            format!("{url}: {:#}", anyhow::Error::from(error.without_url())),
            "what is to be sent there waits in the buffer on the disk",
            "does it run, and can this machine reach it?",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn destinations_are_found() {
        let yaml = "remote_write:\n- url: http://a:9090/api/v1/write?x=1\n- url: http://a:9090/b\n\
                    obs: {collector: {destinations: [{loki: {url: 'https://u:p@b/x'}}, {otlp: {url: 'c:1'}}]}}\n";
        let yaml: Value = serde_yaml_ng::from_str(yaml).expect("YAML");
        assert_eq!(urls(&yaml), ["http://a:9090", "https://b"]);
        assert_eq!(urls(&Value::Null), Vec::<String>::new());
    }
}
