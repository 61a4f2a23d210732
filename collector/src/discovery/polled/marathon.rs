//! `marathon_sd_configs`: the tasks of applications, one group for each application.

use std::collections::BTreeMap;

use obs_model::{Labels, TargetGroup};
use serde::Deserialize;

use super::super::poll::{ANSWER_BYTES_MAX, Meta, TIMEOUT, host_port};
use crate::config::clouds::MarathonSettings;
use crate::config::more_clouds::MarathonToken;
use crate::http_client::configured::HttpClient;
use crate::http_client::shown;

#[derive(Debug, Deserialize)]
struct Apps {
    apps: Vec<App>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct App {
    id: String,
    #[serde(default)]
    tasks: Vec<Task>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(default)]
    container: Option<Container>,
    #[serde(default)]
    port_definitions: Option<Vec<PortDefinition>>,
    #[serde(default)]
    networks: Vec<Network>,
    #[serde(default)]
    require_ports: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Container {
    docker: Option<Docker>,
    port_mappings: Option<Vec<PortMapping>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Docker {
    image: String,
    port_mappings: Option<Vec<PortMapping>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct PortMapping {
    labels: BTreeMap<String, String>,
    container_port: u16,
    host_port: u16,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct PortDefinition {
    labels: BTreeMap<String, String>,
    port: u16,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Network {
    mode: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Task {
    id: String,
    host: String,
    ports: Vec<u16>,
    ip_addresses: Vec<Address>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Address {
    ip_address: String,
}

/// The ports of an application, with their labels and what those are called.
#[derive(Debug, Default)]
struct Ports<'a> {
    /// 0 where Mesos chooses one for each task.
    ports: Vec<(u16, Option<&'a BTreeMap<String, String>>)>,
    prefix: &'static str,
}

impl App {
    fn on_network_of_containers(&self) -> bool {
        let first = self.networks.first();
        first.is_some_and(|network| network.mode == "container")
    }

    fn ports(&self) -> Ports<'_> {
        let container = self.container.as_ref();
        let newer = container.and_then(|c| c.port_mappings.as_deref());
        let older = container.and_then(|c| c.docker.as_ref()?.port_mappings.as_deref());
        let some = |mappings: &&[PortMapping]| !mappings.is_empty();
        if let Some(mappings) = newer.filter(some).or(older.filter(some)) {
            let inside = self.on_network_of_containers();
            let port = |one: &PortMapping| {
                if inside {
                    one.container_port
                } else {
                    one.host_port
                }
            };
            return Ports {
                ports: mappings
                    .iter()
                    .map(|one| (port(one), Some(&one.labels)))
                    .collect(),
                prefix: "__meta_marathon_port_mapping_label",
            };
        }
        let definitions = self.port_definitions.as_deref().unwrap_or_default();
        // Unless ports are required, what is defined is a port of a service.
        let port = |one: &PortDefinition| if self.require_ports { one.port } else { 0 };
        Ports {
            ports: definitions
                .iter()
                .map(|one| (port(one), Some(&one.labels)))
                .collect(),
            prefix: "__meta_marathon_port_definition_label",
        }
    }

    fn group(&self) -> TargetGroup {
        let mut meta = Meta::default();
        let docker = self.container.as_ref().and_then(|c| c.docker.as_ref());
        meta.set("__meta_marathon_app", &*self.id)
            .set("__meta_marathon_image", docker.map_or("", |d| &d.image))
            .set_all("__meta_marathon_app_label", &self.labels);
        let defined = self.ports();
        let mut targets = Vec::new();
        for task in &self.tasks {
            let own = task.ports.iter().map(|port| (*port, None));
            let ports: Vec<_> = match defined.ports.is_empty() {
                true => own.collect(),
                false => defined.ports.clone(),
            };
            for (index, (port, labels)) in ports.iter().enumerate() {
                let chosen = task.ports.get(index);
                let chosen = chosen.filter(|_| *port == 0 && task.ports.len() == ports.len());
                let port = chosen.copied().unwrap_or(*port);
                targets.push(self.target(task, (index, port), (defined.prefix, *labels)));
            }
        }
        TargetGroup {
            source: self.id.as_str().into(),
            labels: meta.labels(),
            targets,
        }
    }

    fn target(
        &self,
        task: &Task,
        (index, port): (usize, u16),
        (prefix, labels): (&str, Option<&BTreeMap<String, String>>),
    ) -> Labels {
        let inside = task
            .ip_addresses
            .first()
            .filter(|_| self.on_network_of_containers());
        let host = inside.map_or(task.host.as_str(), |one| &one.ip_address);
        let mut meta = Meta::default();
        meta.set("__address__", host_port(host, port))
            .set("__meta_marathon_task", &*task.id)
            .set("__meta_marathon_port_index", index.to_string())
            .set_all(prefix, labels.into_iter().flatten());
        meta.labels()
    }
}

/// Asks the servers in turn until one answers.
pub(super) async fn ask(
    client: &HttpClient,
    own: &MarathonSettings,
) -> Result<Vec<TargetGroup>, String> {
    let token = match &own.token {
        Some(MarathonToken::Text(text)) => Some(text.reveal().to_owned()),
        Some(MarathonToken::File(path)) => {
            let text = tokio::fs::read_to_string(path).await;
            let text = text.map_err(|e| format!("{}: {e}", path.display()))?;
            Some(text.trim().to_owned())
        }
        None => None,
    };
    let mut faults = Vec::new();
    for server in &own.servers {
        let url = format!("{server}/v2/apps/?embed=apps.tasks");
        let mut request = client.requests().get(&url).timeout(TIMEOUT);
        if let Some(token) = &token {
            request = request.header("authorization", format!("token={token}"));
        }
        let answer = client.ask(request, ANSWER_BYTES_MAX).await;
        match answer.and_then(|answer| answer.json::<Apps>()) {
            Ok(found) => return Ok(found.apps.iter().map(App::group).collect()),
            Err(fault) => faults.push(format!("{}: {fault}", shown(&url))),
        }
    }
    Err(faults.join("; "))
}

#[cfg(test)]
mod tests {
    use super::super::super::poll::tests::{Recorded, lines};
    use super::super::ask;
    use super::super::tests::settings;
    use crate::config::clouds::PolledApi;

    async fn check(app: &str, expect: &[&str]) {
        let answer = format!("{{\"apps\": [{app}]}}");
        let server = Recorded::start(&[("/v2/apps/", answer.as_str())]).await;
        let yaml =
            "marathon_sd_configs: [{servers: ['http://127.0.0.1:1', 'http://b'], auth_token: t}]";
        let settings = settings(yaml, |api| {
            let PolledApi::Marathon(own) = api else {
                panic!("{api:?}");
            };
            // The first one is away.
            own.servers[1].clone_from(&server.url);
        });
        let groups = ask(&settings).await.expect("groups");
        assert_eq!(lines(&groups), expect, "{app}");
        let headers = server.headers.lock().expect("not poisoned");
        assert_eq!(headers[0]["authorization"], "token=t");
        let asked = server.asked.lock().expect("not poisoned");
        assert_eq!(*asked, ["/v2/apps/?embed=apps.tasks"]);
    }

    #[tokio::test]
    async fn faults_have_no_credentials() {
        let server = Recorded::start(&[]).await;
        let yaml = "marathon_sd_configs: [{servers: ['http://127.0.0.1:1']}]";
        let settings = settings(yaml, |api| {
            let PolledApi::Marathon(own) = api else {
                panic!("{api:?}");
            };
            let away = "http://u:hunter2@127.0.0.1:1".to_owned();
            own.servers = vec![server.url.replace("//", "//u:hunter2@"), away];
        });
        let fault = ask(&settings).await.expect_err("nobody knows");
        let told = format!("{}/v2/apps/?embed=apps.tasks: server returned", server.url);
        assert!(fault.starts_with(&told), "{fault}");
        assert!(!fault.contains("hunter2"), "{fault}");
    }

    #[tokio::test]
    async fn ports_are_where_the_application_says() {
        let task = r#""tasks": [{"id": "t1", "host": "h1", "ports": [31000, 32000],
            "ipAddresses": [{"ipAddress": "1.2.3.4"}]}]"#;
        check(
            &format!(r#"{{"id": "/a", {task}, "labels": {{"x-y": "1"}}, "container": {{"docker": {{"image": "i"}}}}}}"#),
            &[
                r#"{__address__="h1:31000", __meta_marathon_app="/a", __meta_marathon_app_label_x_y="1", __meta_marathon_image="i", __meta_marathon_port_index="0", __meta_marathon_task="t1"}"#,
                r#"{__address__="h1:32000", __meta_marathon_app="/a", __meta_marathon_app_label_x_y="1", __meta_marathon_image="i", __meta_marathon_port_index="1", __meta_marathon_task="t1"}"#,
            ],
        )
        .await;
        // Ports that are not required are chosen by Mesos.
        check(
            &format!(r#"{{"id": "/a", {task}, "portDefinitions": [{{"port": 1, "labels": {{"p": "q"}}}}, {{"port": 2}}]}}"#),
            &[
                r#"{__address__="h1:31000", __meta_marathon_app="/a", __meta_marathon_port_definition_label_p="q", __meta_marathon_port_index="0", __meta_marathon_task="t1"}"#,
                r#"{__address__="h1:32000", __meta_marathon_app="/a", __meta_marathon_port_index="1", __meta_marathon_task="t1"}"#,
            ],
        )
        .await;
        check(
            &format!(r#"{{"id": "/a", {task}, "requirePorts": true, "portDefinitions": [{{"port": 80}}]}}"#),
            &[
                r#"{__address__="h1:80", __meta_marathon_app="/a", __meta_marathon_port_index="0", __meta_marathon_task="t1"}"#,
            ],
        )
        .await;
        // On a network of containers, their own addresses and ports.
        check(
            &format!(r#"{{"id": "/a", {task}, "networks": [{{"mode": "container", "name": "n"}}],
                "container": {{"portMappings": [{{"containerPort": 8080, "hostPort": 0, "labels": {{"p": "q"}}}}]}}}}"#),
            &[
                r#"{__address__="1.2.3.4:8080", __meta_marathon_app="/a", __meta_marathon_port_index="0", __meta_marathon_port_mapping_label_p="q", __meta_marathon_task="t1"}"#,
            ],
        )
        .await;
        check(
            &format!(r#"{{"id": "/a", {task}, "container": {{"docker": {{"portMappings": [{{"containerPort": 80, "hostPort": 0}}, {{"containerPort": 81, "hostPort": 7}}]}}}}}}"#),
            &[
                r#"{__address__="h1:31000", __meta_marathon_app="/a", __meta_marathon_port_index="0", __meta_marathon_task="t1"}"#,
                r#"{__address__="h1:7", __meta_marathon_app="/a", __meta_marathon_port_index="1", __meta_marathon_task="t1"}"#,
            ],
        )
        .await;
    }
}
