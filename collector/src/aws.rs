//! Who we are for Amazon: the credentials of the environment, of a token that stands for a role
//! (web identity, as pods have it), of the shared files with profiles, of the container, and of the
//! machine, in the order of Amazon's own libraries.
//!
//! Invariants: credentials are found anew for each use, so that those that end are replaced; no
//! program is run for them; a secret is in no fault.

use std::collections::BTreeMap;
use std::path::Path;

use obs_model::Timestamp;
use obs_wire::sigv4::{self, Credentials, Scope, Unsigned};
use obs_wire::xml::{self, Element};
use serde::Deserialize;

use crate::http_client::HttpClient;
use crate::http_client::shown;

mod profiles;

use profiles::Profiles;

const FORM: &str = "application/x-www-form-urlencoded; charset=utf-8";
/// The version of the API for roles.
const VERSION: &str = "2011-06-15";
/// Bytes of an answer, and of a file.
const ANSWER_BYTES_MAX: usize = 32 << 20;
const FILE_BYTES_MAX: u64 = 1 << 20;
/// What machines and containers tell of themselves is told fast or not at all.
const MACHINE_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(5);
/// Longest wait for everything else.
const TIMEOUT: std::time::Duration = std::time::Duration::from_secs(30);
/// Profiles that lead to one another.
const DEPTH_MAX: usize = 8;
/// Where containers are told of their role: by Amazon's agents on the machine.
const CONTAINER: &str = "http://169.254.170.2";
/// Hosts that may be asked for a container's credentials without TLS.
const CONTAINER_HOSTS: [&str; 6] = [
    "169.254.170.2",
    "169.254.170.23",
    "[fd00:ec2::23]",
    "127.0.0.1",
    "[::1]",
    "localhost",
];

/// Where credentials are looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Surroundings {
    /// Variables, where they are not those of the process.
    pub variables: Option<BTreeMap<String, String>>,
    /// Where the machine tells of itself.
    pub machine: String,
    /// Where roles are given out, where it is not the usual place.
    pub roles: Option<String>,
}

impl Default for Surroundings {
    fn default() -> Self {
        Self {
            variables: None,
            machine: "http://169.254.169.254".to_owned(),
            roles: None,
        }
    }
}

impl Surroundings {
    #[expect(
        clippy::disallowed_methods,
        reason = "Amazon's clients are set by these variables, and nothing else of obs is"
    )]
    fn variable(&self, name: &str) -> Option<String> {
        let found = match &self.variables {
            Some(variables) => variables.get(name).cloned(),
            None => std::env::var(name).ok(),
        };
        found.filter(|value| !value.is_empty())
    }

    /// The region that the process was told.
    pub fn region(&self) -> Option<String> {
        let told = self.variable("AWS_REGION");
        told.or_else(|| self.variable("AWS_DEFAULT_REGION"))
    }
}

/// Who asks.
#[derive(Debug)]
pub struct Asker<'a> {
    /// How everybody is reached.
    pub client: &'a HttpClient,
    /// Where credentials are looked for.
    pub from: &'a Surroundings,
    /// The region whose servers give out roles.
    pub region: &'a str,
    /// Now.
    pub now: Timestamp,
}

/// The top of the names of servers in a region.
pub fn domain(region: &str) -> &'static str {
    match region.starts_with("cn-") {
        true => "amazonaws.com.cn",
        false => "amazonaws.com",
    }
}

/// What containers and machines tell of their role.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Role {
    access_key_id: String,
    secret_access_key: String,
    token: String,
}

impl Role {
    fn read(text: &str, of: &str) -> Result<Credentials, String> {
        let role: Self = serde_json::from_str(text)
            .map_err(|_| format!("{of}: expected the credentials of a role"))?;
        Ok(Credentials {
            access_key: role.access_key_id,
            secret_key: role.secret_access_key,
            session_token: role.token,
        })
    }
}

impl Asker<'_> {
    /// The credentials of a profile; of whatever there is where it is empty.
    pub async fn find(&self, profile: &str) -> Result<Credentials, String> {
        if profile.is_empty() {
            if let Some(own) = self.of_environment() {
                return Ok(own);
            }
            let variable = |name| self.from.variable(name);
            if let (Some(file), Some(role)) = (
                variable("AWS_WEB_IDENTITY_TOKEN_FILE"),
                variable("AWS_ROLE_ARN"),
            ) {
                let session = variable("AWS_ROLE_SESSION_NAME");
                return self.web_identity(&file, &role, session.as_deref()).await;
            }
        }
        let profiles = self.profiles().await?;
        let told = self.from.variable("AWS_PROFILE");
        let name = match profile.is_empty() {
            true => told.as_deref().unwrap_or("default"),
            false => profile,
        };
        if !profiles.has(name) && (told.is_some() || !profile.is_empty()) {
            return Err(format!(
                "no profile {name:?} in the files of Amazon's clients"
            ));
        }
        if let Some(found) = self.of_profile(&profiles, name).await? {
            return Ok(found);
        }
        if let Some(found) = self.of_container().await? {
            return Ok(found);
        }
        self.of_machine().await
    }

    fn of_environment(&self) -> Option<Credentials> {
        Some(Credentials {
            access_key: self.from.variable("AWS_ACCESS_KEY_ID")?,
            secret_key: self.from.variable("AWS_SECRET_ACCESS_KEY")?,
            session_token: self.from.variable("AWS_SESSION_TOKEN").unwrap_or_default(),
        })
    }

    async fn profiles(&self) -> Result<Profiles, String> {
        let mut profiles = Profiles::default();
        let home = self.from.variable("HOME");
        for (variable, name, plain) in [
            ("AWS_CONFIG_FILE", "config", false),
            ("AWS_SHARED_CREDENTIALS_FILE", "credentials", true),
        ] {
            let usual = || Some(format!("{}/.aws/{name}", home.as_deref()?));
            let path = self.from.variable(variable).or_else(usual);
            if let Some(text) = read(path.as_deref()).await? {
                profiles.add(&text, plain);
            }
        }
        Ok(profiles)
    }

    /// What a profile and those that it leads to come to; `None` where it has no credentials.
    async fn of_profile(
        &self,
        profiles: &Profiles,
        name: &str,
    ) -> Result<Option<Credentials>, String> {
        // From the profile that was named to the one that has credentials, and back by their roles.
        let (mut chain, mut at) = (Vec::new(), name);
        let mut held = loop {
            let fault = |text: &str| Err(format!("profile {at:?}: {text}"));
            if chain.len() >= DEPTH_MAX {
                return fault("leads to too many others");
            }
            let Some(profile) = profiles.get(at) else {
                return fault("there is none");
            };
            let role = profile.get("role_arn");
            let token = profile.get("web_identity_token_file");
            if let (Some(role), Some(file)) = (role, token) {
                let session = profile.get("role_session_name");
                break Some(self.web_identity(file, role, session).await?);
            }
            if let (Some(_), Some(source)) = (role, profile.get("source_profile")) {
                chain.push(profile);
                if source == at {
                    break profile.key();
                }
                at = source;
                continue;
            }
            if let (Some(_), Some(source)) = (role, profile.get("credential_source")) {
                chain.push(profile);
                break match source {
                    "Environment" => self.of_environment(),
                    "EcsContainer" => self.of_container().await?,
                    "Ec2InstanceMetadata" => Some(self.of_machine().await?),
                    _ => return fault("credential_source is none that there is"),
                };
            }
            if let Some(own) = profile.key() {
                break Some(own);
            }
            let unserved = ["credential_process", "sso_session", "sso_start_url"];
            if let Some(key) = unserved.into_iter().find(|key| profile.get(key).is_some()) {
                return fault(&format!("{key} is not supported"));
            }
            break None;
        };
        if held.is_none() && !chain.is_empty() {
            return Err(format!("profile {name:?}: leads to no credentials"));
        }
        while let (Some(own), Some(profile)) = (&held, chain.pop()) {
            let role = profile.get("role_arn").unwrap_or("");
            let external = profile.get("external_id").unwrap_or("");
            let session = profile.get("role_session_name");
            held = Some(self.assume(own, (role, external, session)).await?);
        }
        Ok(held)
    }

    /// Takes on a role: its name, an external id, and what the session is called.
    pub async fn assume(
        &self,
        own: &Credentials,
        (role, external, session): (&str, &str, Option<&str>),
    ) -> Result<Credentials, String> {
        let mut form = vec![("RoleArn".to_owned(), role.to_owned())];
        if !external.is_empty() {
            form.push(("ExternalId".to_owned(), external.to_owned()));
        }
        self.role("AssumeRole", Some(own), (session, form)).await
    }

    /// Takes on the role that a token of somebody else stands for.
    async fn web_identity(
        &self,
        file: &str,
        role: &str,
        session: Option<&str>,
    ) -> Result<Credentials, String> {
        let token = read(Some(file)).await?;
        let token = token.ok_or_else(|| format!("{file}: there is no token"))?;
        let form = vec![
            ("RoleArn".to_owned(), role.to_owned()),
            ("WebIdentityToken".to_owned(), token.trim().to_owned()),
        ];
        let action = "AssumeRoleWithWebIdentity";
        self.role(action, None, (session, form)).await
    }

    async fn role(
        &self,
        action: &str,
        own: Option<&Credentials>,
        (session, more): (Option<&str>, Vec<(String, String)>),
    ) -> Result<Credentials, String> {
        let region = self.region;
        let usual = || format!("https://sts.{region}.{}/", domain(region));
        let endpoint = self.from.roles.clone().unwrap_or_else(usual);
        let mut form = vec![("Action".to_owned(), action.to_owned())];
        form.extend(more);
        let session = session.unwrap_or("obs").to_owned();
        form.push(("RoleSessionName".to_owned(), session));
        let answer = self.post(&endpoint, ("sts", VERSION, own), form).await?;
        let told = |name: &str| {
            let text = answer.at(&[&format!("{action}Result"), "Credentials", name]);
            match text.is_empty() {
                true => Err(format!("{}: expected {name} of the role", shown(&endpoint))),
                false => Ok(text.to_owned()),
            }
        };
        Ok(Credentials {
            access_key: told("AccessKeyId")?,
            secret_key: told("SecretAccessKey")?,
            session_token: told("SessionToken")?,
        })
    }

    /// A question to a service, with its version, and signed where there are credentials.
    pub async fn post(
        &self,
        endpoint: &str,
        (service, version, own): (&str, &str, Option<&Credentials>),
        mut form: Vec<(String, String)>,
    ) -> Result<Element, String> {
        form.push(("Version".to_owned(), version.to_owned()));
        let body = form_urlencoded::Serializer::new(String::new())
            .extend_pairs(&form)
            .finish();
        let url = reqwest::Url::parse(endpoint);
        let url = url.map_err(|e| format!("{:?}: {e}", shown(endpoint)))?;
        let host = url.host_str().unwrap_or("");
        let host = match url.port() {
            Some(port) => format!("{host}:{port}"),
            None => host.to_owned(),
        };
        let unsigned = Unsigned {
            method: "POST",
            host: &host,
            path: url.path(),
            query: "",
            headers: &[("content-type", FORM)],
            body: body.as_bytes(),
        };
        let scope = Scope {
            region: self.region,
            service,
            now: self.now,
        };
        let request = self.client.requests().post(url.clone()).timeout(TIMEOUT);
        let mut request = request.header("content-type", FORM);
        if let Some(own) = own {
            for (name, value) in sigv4::sign(&unsigned, own, &scope) {
                request = request.header(name, value);
            }
        }
        let told = |fault: String| format!("{}: {fault}", shown(endpoint));
        let answer = self.client.ask(request.body(body), ANSWER_BYTES_MAX).await;
        xml::decode(&answer.map_err(told)?.body).map_err(|fault| told(fault.to_string()))
    }

    /// What the container's agent gives, where there is one.
    async fn of_container(&self) -> Result<Option<Credentials>, String> {
        let variable = |name| self.from.variable(name);
        let relative = variable("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI");
        let full = relative.map(|path| format!("{CONTAINER}{path}"));
        let Some(url) = full.or_else(|| variable("AWS_CONTAINER_CREDENTIALS_FULL_URI")) else {
            return Ok(None);
        };
        let parsed = reqwest::Url::parse(&url);
        let parsed = parsed.map_err(|e| format!("{:?}: {e}", shown(&url)))?;
        let host = parsed.host_str().unwrap_or("");
        if parsed.scheme() != "https" && !CONTAINER_HOSTS.contains(&host) {
            return Err(format!(
                "AWS_CONTAINER_CREDENTIALS_FULL_URI is {:?}, expected https or the container's agent",
                shown(&url)
            ));
        }
        let mut token = variable("AWS_CONTAINER_AUTHORIZATION_TOKEN");
        if let Some(file) = variable("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE") {
            token = read(Some(&file)).await?;
        }
        let mut request = self.client.requests().get(parsed);
        if let Some(token) = token {
            request = request.header("authorization", token.trim());
        }
        let of = "the container's credentials";
        Role::read(&self.local(request, of).await?, of).map(Some)
    }

    /// What the machine gives to its role.
    async fn of_machine(&self) -> Result<Credentials, String> {
        const PATH: &str = "/latest/meta-data/iam/security-credentials/";
        let disabled = self.from.variable("AWS_EC2_METADATA_DISABLED");
        if disabled.is_some_and(|value| value.eq_ignore_ascii_case("true")) {
            return Err("no credentials for Amazon, and the machine is not asked".to_owned());
        }
        let session = self.session().await?;
        let names = self.told_by_machine(&session, PATH).await?;
        let name = names.lines().next().unwrap_or("");
        if name.is_empty() {
            return Err(
                "the machine has no role, expected one, or access_key and secret_key".to_owned(),
            );
        }
        let path = format!("{PATH}{name}");
        let text = self.told_by_machine(&session, &path).await?;
        Role::read(&text, "the machine's metadata")
    }

    /// The region of the machine.
    pub async fn machines_region(&self) -> Result<String, String> {
        let session = self.session().await?;
        let path = "/latest/meta-data/placement/region";
        self.told_by_machine(&session, path).await
    }

    /// What further questions to the machine are allowed with.
    async fn session(&self) -> Result<String, String> {
        let url = format!("{}/latest/api/token", self.from.machine);
        let request = self.client.requests().put(url);
        let request = request.header("x-aws-ec2-metadata-token-ttl-seconds", "300");
        self.local(request, "the machine's metadata").await
    }

    async fn told_by_machine(&self, session: &str, path: &str) -> Result<String, String> {
        let url = format!("{}{path}", self.from.machine);
        let request = self.client.requests().get(url);
        let request = request.header("x-aws-ec2-metadata-token", session);
        let told = self.local(request, "the machine's metadata").await?;
        Ok(told.trim().to_owned())
    }

    async fn local(&self, request: reqwest::RequestBuilder, of: &str) -> Result<String, String> {
        /// Longer than any of it.
        const BYTES_MAX: usize = 64 << 10;
        let request = request.timeout(MACHINE_TIMEOUT);
        let answer = self.client.ask(request, BYTES_MAX).await;
        let answer = answer.map_err(|fault| format!("{of}: {fault}"))?;
        let text = String::from_utf8(answer.body.to_vec());
        text.map_err(|_| format!("{of}: expected UTF-8"))
    }
}

/// The text of a file; `None` where there is none.
async fn read(path: Option<&str>) -> Result<Option<String>, String> {
    let Some(path) = path.map(Path::new) else {
        return Ok(None);
    };
    let fault = |e: std::io::Error| format!("{}: {e}", path.display());
    match tokio::fs::metadata(path).await {
        Ok(found) if found.len() > FILE_BYTES_MAX => Err(format!(
            "{}: larger than {FILE_BYTES_MAX} bytes",
            path.display()
        )),
        Ok(_) => {
            let text = tokio::fs::read_to_string(path).await;
            text.map(Some).map_err(fault)
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(fault(error)),
    }
}

#[cfg(test)]
mod tests;
