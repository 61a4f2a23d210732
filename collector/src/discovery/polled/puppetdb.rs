//! `puppetdb_sd_configs`: the resources that a query of PuppetDB finds.

use std::collections::BTreeMap;

use obs_model::{Labels, TargetGroup};
use serde::Deserialize;
use serde_json::Value;

use super::super::poll::{ANSWER_BYTES_MAX, Meta, TIMEOUT, host_port, sanitize};
use super::group;
use crate::config::clouds::PuppetDbSettings;
use crate::http_client::configured::HttpClient;
use crate::http_client::shown;

/// Between values of a list, and around them.
const SEPARATOR: &str = ",";
/// How deep parameters may lie in one another.
const DEPTH_MAX: usize = 16;

#[derive(Debug, Deserialize)]
struct Resource {
    certname: String,
    #[serde(default)]
    resource: String,
    #[serde(rename = "type", default)]
    kind: String,
    #[serde(default)]
    title: String,
    #[serde(default)]
    exported: bool,
    #[serde(default)]
    tags: Vec<String>,
    file: Option<String>,
    environment: Option<String>,
    #[serde(default)]
    parameters: BTreeMap<String, Value>,
}

pub(super) async fn ask(
    client: &HttpClient,
    own: &PuppetDbSettings,
    port: u16,
) -> Result<Vec<TargetGroup>, String> {
    let url = format!("{}/pdb/query/v4", own.base);
    let question = serde_json::json!({"query": own.query}).to_string();
    let request = client.requests().post(&url).timeout(TIMEOUT);
    let request = request
        .header("accept", "application/json")
        .header("content-type", "application/json")
        .body(question);
    let answer = client.ask(request, ANSWER_BYTES_MAX).await;
    let told = |fault| format!("{}: {fault}", shown(&url));
    let answer = answer.map_err(told)?;
    if !answer.media_type().eq_ignore_ascii_case("application/json") {
        return Err(format!("unsupported content type {}", answer.media_type()));
    }
    let found: Vec<Resource> = answer.json().map_err(told)?;
    let targets = found.iter().map(|one| labels(one, own, port));
    Ok(group(
        &format!("{}?query={}", shown(&url), own.query),
        targets.collect(),
    ))
}

fn labels(resource: &Resource, own: &PuppetDbSettings, port: u16) -> Labels {
    let mut meta = Meta::default();
    let mut set = |name: &str, value: &str| {
        meta.set(format!("__meta_puppetdb_{name}"), value);
    };
    set("query", &own.query);
    set("certname", &resource.certname);
    set("resource", &resource.resource);
    set("type", &resource.kind);
    set("title", &resource.title);
    set("exported", if resource.exported { "true" } else { "false" });
    set("file", resource.file.as_deref().unwrap_or(""));
    set("environment", resource.environment.as_deref().unwrap_or(""));
    if !resource.tags.is_empty() {
        set("tags", &listed(resource.tags.iter().cloned()));
    }
    if own.parameters {
        parameters("parameter", &resource.parameters, DEPTH_MAX, &mut set);
    }
    meta.set("__address__", host_port(&resource.certname, port));
    meta.labels()
}

fn listed(values: impl Iterator<Item = String>) -> String {
    let values: Vec<String> = values.collect();
    format!("{SEPARATOR}{}{SEPARATOR}", values.join(SEPARATOR))
}

/// A value that is one word.
fn plain(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Bool(truth) => Some(truth.to_string()),
        Value::Number(number) => Some(number.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

fn parameters<'a>(
    prefix: &str,
    all: impl IntoIterator<Item = (&'a String, &'a Value)>,
    depth: usize,
    set: &mut dyn FnMut(&str, &str),
) {
    for (name, value) in all {
        let name = format!("{prefix}_{}", sanitize(name));
        match value {
            Value::Array(values) => {
                let values: Vec<String> = values.iter().filter_map(plain).collect();
                if !values.is_empty() {
                    set(&name, &listed(values.into_iter()));
                }
            }
            Value::Object(inner) if depth > 0 => parameters(&name, inner, depth - 1, set),
            other => {
                if let Some(text) = plain(other) {
                    set(&name, &text);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::poll::tests::{Recorded, lines};
    use super::super::ask;
    use super::super::tests::settings;
    use crate::config::clouds::PolledApi;

    #[tokio::test]
    async fn faults_have_no_credentials() {
        let server = Recorded::start(&[]).await;
        let yaml = "puppetdb_sd_configs: [{url: 'http://p', query: vhosts}]";
        let settings = settings(yaml, |api| {
            let PolledApi::PuppetDb(own) = api else {
                panic!("{api:?}");
            };
            own.base = server.url.replace("//", "//u:hunter2@");
        });
        let fault = ask(&settings).await.expect_err("nothing there");
        let told = format!("{}/pdb/query/v4: server returned", server.url);
        assert!(fault.starts_with(&told), "{fault}");
    }

    #[tokio::test]
    async fn resources_of_a_query() {
        let found = r#"[{"certname": "edinburgh.example.com", "environment": "prod",
            "exported": false, "file": "/etc/vhosts.pp", "line": 384,
            "parameters": {"access_log": true, "ensure": "absent", "labels": {"alias": "e"},
                "options": ["Indexes", "FollowSymLinks"], "port": 22, "none": null},
            "resource": "49af83866dc5a1518968b68e58a25319107afe11",
            "tags": ["roles::hypervisor", "apache"], "title": "a.example.com", "type": "Apache::Vhost"}]"#;
        let server = Recorded::start(&[("/pdb/query/v4", found)]).await;
        let asked = async |yaml: &str| {
            let settings = settings(yaml, |api| {
                let PolledApi::PuppetDb(own) = api else {
                    panic!("{api:?}");
                };
                own.base.clone_from(&server.url);
            });
            lines(&ask(&settings).await.expect("groups"))
        };
        let head = concat!(
            r#"{__address__="edinburgh.example.com:9100", "#,
            r#"__meta_puppetdb_certname="edinburgh.example.com", "#,
            r#"__meta_puppetdb_environment="prod", __meta_puppetdb_exported="false", "#,
            r#"__meta_puppetdb_file="/etc/vhosts.pp", "#
        );
        let tail = concat!(
            r#"__meta_puppetdb_query="vhosts", "#,
            r#"__meta_puppetdb_resource="49af83866dc5a1518968b68e58a25319107afe11", "#,
            r#"__meta_puppetdb_tags=",roles::hypervisor,apache,", "#,
            r#"__meta_puppetdb_title="a.example.com", __meta_puppetdb_type="Apache::Vhost"}"#
        );
        let parameters = concat!(
            r#"__meta_puppetdb_parameter_access_log="true", "#,
            r#"__meta_puppetdb_parameter_ensure="absent", "#,
            r#"__meta_puppetdb_parameter_labels_alias="e", "#,
            r#"__meta_puppetdb_parameter_options=",Indexes,FollowSymLinks,", "#,
            r#"__meta_puppetdb_parameter_port="22", "#
        );
        let yaml = "puppetdb_sd_configs: [{url: 'http://p', query: vhosts, port: 9100}]";
        assert_eq!(asked(yaml).await, [format!("{head}{tail}")]);
        let yaml = yaml.replace("port:", "include_parameters: true, port:");
        assert_eq!(asked(&yaml).await, [format!("{head}{parameters}{tail}")]);
        let bodies = server.bodies.lock().expect("not poisoned");
        assert_eq!(bodies[0], r#"{"query":"vhosts"}"#);
    }
}
