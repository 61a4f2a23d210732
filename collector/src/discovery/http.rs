//! `http_sd_configs`: a server that tells its groups as JSON.

use obs_model::{Labels, TargetGroup};

use super::poll::{ANSWER_BYTES_MAX, Feed, TIMEOUT, every};
use super::provider::Groups;
use crate::config::{self, HttpSettings};
use crate::http_client::configured::{HttpClient, Use};

/// Runs until nobody listens.
pub(super) async fn run(settings: HttpSettings, groups: Groups) {
    let mut feed = Feed::new("http", groups);
    let mut ticks = every(settings.refresh);
    loop {
        ticks.tick().await;
        if !feed.tell(ask(&settings).await).await {
            return;
        }
    }
}

async fn ask(settings: &HttpSettings) -> Result<Vec<TargetGroup>, String> {
    let of = Use {
        compression: true,
        unix_socket: None,
    };
    // Made anew, so that certificates that change are taken.
    let client = HttpClient::new(&settings.client, of).await?;
    let request = client.requests().get(&settings.url).timeout(TIMEOUT);
    let seconds = settings.refresh.as_secs_f64();
    let request = request
        .header("accept", "application/json")
        .header("x-prometheus-refresh-interval-seconds", seconds.to_string());
    let answer = client.ask(request, ANSWER_BYTES_MAX).await?;
    if !answer.media_type().eq_ignore_ascii_case("application/json") {
        return Err(format!(
            "unsupported content type {:?}, expected application/json",
            answer.media_type()
        ));
    }
    let found: Vec<Option<config::TargetGroup>> = answer.json()?;
    let url = &settings.url;
    let group =
        |(index, group): (usize, Option<config::TargetGroup>)| -> Result<TargetGroup, String> {
            let group = group.ok_or_else(|| "nil target group item found".to_owned())?;
            let mut labels = Labels::from_pairs(&group.labels).to_builder();
            let address = |address| Labels::from_pairs([("__address__", address)]);
            Ok(TargetGroup {
                source: format!("{url}:{index}").into(),
                labels: labels.set("__meta_url", url).build(),
                targets: group.targets.iter().map(address).collect(),
            })
        };
    found.into_iter().enumerate().map(group).collect()
}

#[cfg(test)]
mod tests {
    use super::super::poll::tests::{Recorded, discovery, lines};
    use super::*;
    use crate::config::Discovery;

    #[tokio::test]
    async fn groups_are_those_of_the_server() {
        let body = r#"[{"targets": ["a:1", "b:2"], "labels": {"x": "y"}}, {"targets": []}]"#;
        let server = Recorded::start(&[("/sd", body), ("/bad", "[null]")]).await;
        let settings = |path: &str| {
            let yaml = format!("http_sd_configs: [{{url: '{}{path}'}}]", server.url);
            match discovery(&yaml) {
                Discovery::Http(settings) => settings,
                other => panic!("{other:?}"),
            }
        };
        let groups = ask(&settings("/sd")).await.expect("groups");
        let url = format!("{}/sd", server.url);
        assert_eq!(&*groups[0].source, format!("{url}:0"));
        assert_eq!(
            lines(&groups),
            [
                format!(r#"{{__address__="a:1", __meta_url="{url}", x="y"}}"#),
                format!(r#"{{__address__="b:2", __meta_url="{url}", x="y"}}"#),
            ]
        );
        let fault = ask(&settings("/bad")).await.expect_err("null");
        assert_eq!(fault, "nil target group item found");
        let fault = ask(&settings("/none")).await.expect_err("404");
        assert!(fault.contains("404"), "{fault}");
    }
}
