//! Where credentials come from, asked of a server of the test.

use super::*;
use crate::config::Discovery;
use crate::discovery::{Recorded, recorded};
use crate::http_client::configured::Use;

const ROLE: &str =
    r#"{"Code": "Success", "AccessKeyId": "m", "SecretAccessKey": "s", "Token": "t"}"#;

fn taken(action: &str, key: &str) -> String {
    format!(
        "<{action}Response><{action}Result><Credentials><AccessKeyId>{key}</AccessKeyId>\
         <SecretAccessKey>s</SecretAccessKey><SessionToken>st</SessionToken></Credentials>\
         </{action}Result></{action}Response>"
    )
}

/// The server, and what is found with these variables, of which `DIR` and `URL` are the test's own.
struct Rig {
    server: Recorded,
    folder: tempfile::TempDir,
}

impl Rig {
    async fn new(answers: &[(&str, &str)]) -> Self {
        Self {
            server: Recorded::start(answers).await,
            folder: tempfile::tempdir().expect("a folder"),
        }
    }

    async fn write(&self, name: &str, text: &str) {
        let path = self.folder.path().join(name);
        tokio::fs::write(path, text).await.expect("written");
    }

    async fn find(&self, variables: &[(&str, &str)], profile: &str) -> Result<String, String> {
        let folder = self.folder.path().display().to_string();
        let filled = |text: &str| {
            let text = text.replace("DIR", &folder);
            text.replace("URL", &self.server.url)
        };
        let variables = variables.iter().map(|(n, v)| ((*n).to_owned(), filled(v)));
        let from = Surroundings {
            variables: Some(variables.collect()),
            machine: self.server.url.clone(),
            roles: Some(format!("{}/sts", self.server.url)),
        };
        let Discovery::Polled(settings) = recorded("ec2_sd_configs: [{region: r}]") else {
            panic!("it is asked again and again");
        };
        let client = HttpClient::new(&settings.client, Use::default()).await;
        let asker = Asker {
            client: &client.expect("a client"),
            from: &from,
            region: "eu-west-1",
            now: Timestamp::from_seconds(1_700_000_000),
        };
        let found = asker.find(profile).await?;
        Ok(format!("{}/{}", found.access_key, found.session_token))
    }

    fn asked(&self) -> Vec<String> {
        self.server.asked.lock().expect("not poisoned").clone()
    }

    fn last_body(&self) -> String {
        let bodies = self.server.bodies.lock().expect("not poisoned");
        bodies.last().cloned().unwrap_or_default()
    }

    fn last_header(&self, name: &str) -> Option<String> {
        let headers = self.server.headers.lock().expect("not poisoned");
        let value = headers.last()?.get(name)?;
        Some(value.to_str().expect("text").to_owned())
    }
}

#[tokio::test]
async fn the_environment_comes_first() {
    let rig = Rig::new(&[]).await;
    let own = [
        ("AWS_ACCESS_KEY_ID", "e"),
        ("AWS_SECRET_ACCESS_KEY", "s"),
        ("AWS_SESSION_TOKEN", "t"),
        ("AWS_WEB_IDENTITY_TOKEN_FILE", "DIR/token"),
        ("AWS_ROLE_ARN", "arn:x"),
    ];
    assert_eq!(rig.find(&own, "").await.as_deref(), Ok("e/t"));
    // A profile that is named goes before it.
    let told = rig.find(&own, "p").await;
    assert!(told.is_err_and(|e| e.contains("no profile \"p\"")));
}

#[tokio::test]
async fn tokens_of_pods_stand_for_roles() {
    let action = "AssumeRoleWithWebIdentity";
    let rig = Rig::new(&[("/sts", &taken(action, "w"))]).await;
    rig.write("token", "to.k.en\n").await;
    let pod = [
        ("AWS_WEB_IDENTITY_TOKEN_FILE", "DIR/token"),
        ("AWS_ROLE_ARN", "arn:x"),
        ("AWS_ROLE_SESSION_NAME", "me"),
    ];
    assert_eq!(rig.find(&pod, "").await.as_deref(), Ok("w/st"));
    let body = "Action=AssumeRoleWithWebIdentity&RoleArn=arn%3Ax&WebIdentityToken=to.k.en\
                &RoleSessionName=me&Version=2011-06-15";
    assert_eq!(rig.last_body(), body);
    assert_eq!(rig.last_header("authorization"), None, "nobody signs it");
    rig.write(
        "config",
        "[profile p]\nrole_arn = arn:y\nweb_identity_token_file = TOKEN\n",
    )
    .await;
    let told = rig.find(&[("AWS_CONFIG_FILE", "DIR/config")], "p").await;
    assert!(told.is_err_and(|e| e.starts_with("TOKEN: there is no token")));
}

#[tokio::test]
async fn profiles_lead_to_one_another() {
    let answers = [taken("AssumeRole", "one"), taken("AssumeRole", "two")];
    let rig = Rig::new(&[("/sts", &answers[0]), ("/sts", &answers[1])]).await;
    rig.write(
        "config",
        "[profile c]\nrole_arn = arn:c\nsource_profile = b\nexternal_id = e\n[profile b]\n\
         role_arn = arn:b\nsource_profile = a\n[profile x]\nrole_arn = arn:x\nsource_profile = y\n\
         [profile y]\nrole_arn = arn:y\nsource_profile = x\n[profile p]\ncredential_process = run\n\
         [profile n]\nrole_arn=arn:n\nsource_profile=gone\n",
    )
    .await;
    rig.write(
        "keys",
        "[a]\naws_access_key_id = k\naws_secret_access_key = s\n",
    )
    .await;
    let files = [
        ("AWS_CONFIG_FILE", "DIR/config"),
        ("AWS_SHARED_CREDENTIALS_FILE", "DIR/keys"),
    ];
    assert_eq!(rig.find(&files, "a").await.as_deref(), Ok("k/"));
    assert_eq!(rig.find(&files, "c").await.as_deref(), Ok("two/st"));
    let body = rig.last_body();
    assert!(body.contains("RoleArn=arn%3Ac&ExternalId=e&"), "{body}");
    let signed = rig.last_header("authorization").expect("signed");
    assert!(signed.contains("Credential=one/"), "{signed}");
    for (profile, expect) in [
        ("x", "leads to too many others"),
        ("p", "credential_process is not supported"),
        ("n", "profile \"gone\": there is none"),
    ] {
        let told = rig.find(&files, profile).await.expect_err(profile);
        assert!(told.contains(expect), "{told}");
    }
    // By a variable.
    let named = [files[0], files[1], ("AWS_PROFILE", "a")];
    assert_eq!(rig.find(&named, "").await.as_deref(), Ok("k/"));
}

#[tokio::test]
async fn containers_and_machines_have_roles() {
    let path = "/latest/meta-data/iam/security-credentials/";
    let rig = Rig::new(&[
        ("/role", ROLE),
        ("/latest/api/token", "session"),
        (path, "node\n"),
        (&format!("{path}node"), ROLE),
    ])
    .await;
    rig.write("token", "let me\n").await;
    let container = [
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", "URL/role"),
        ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "DIR/token"),
    ];
    assert_eq!(rig.find(&container, "").await.as_deref(), Ok("m/t"));
    assert_eq!(rig.last_header("authorization").as_deref(), Some("let me"));
    let elsewhere = [("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://h/role")];
    let told = rig.find(&elsewhere, "").await;
    assert!(told.is_err_and(|e| e.contains("expected https")));
    // A home without these files.
    assert_eq!(rig.find(&[("HOME", "DIR")], "").await.as_deref(), Ok("m/t"));
    assert_eq!(rig.asked().len(), 4);
    let header = rig.last_header("x-aws-ec2-metadata-token");
    assert_eq!(header.as_deref(), Some("session"));
    let told = rig.find(&[("AWS_EC2_METADATA_DISABLED", "true")], "").await;
    assert!(told.is_err_and(|e| e.contains("is not asked")));
}
