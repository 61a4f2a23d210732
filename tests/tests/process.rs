//! Runs the real `obs` binary: start on free ports, ask, kill, start again over the same data.
//!
//! Invariants: nothing waits blindly, every wait is for a condition and has a deadline; a server
//! dies with its handle; when a test fails, the end of the server's log is printed.

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::Value;
use tempfile::TempDir;

use crate::relay::Relay;

/// How long anything may take before a test gives up. Long, because machines may be busy.
pub(crate) const DEADLINE: Duration = Duration::from_secs(180);
/// Between two looks at a condition.
const POLL: Duration = Duration::from_millis(10);
/// Lines of the server's log that a failing test prints.
const LOG_LINES: usize = 60;

/// Nanoseconds since the epoch.
pub(crate) fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let nanos = since.expect("the clock is after 1970").as_nanos();
    i64::try_from(nanos).expect("before 2262")
}

/// Looks until there is something; panics after [`DEADLINE`].
pub(crate) fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + DEADLINE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < end, "gave up waiting for {what}");
        std::thread::sleep(POLL);
    }
}

/// The binary: `OBS_BIN`, or built once by the cargo that built this test, in the same profile.
pub(crate) fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        if let Ok(path) = std::env::var("OBS_BIN") {
            return path.into();
        }
        // TARGET/PROFILE/deps/this
        let this = std::env::current_exe().expect("the test knows its path");
        let profile = this
            .ancestors()
            .nth(2)
            .expect("tests lie in deps/ of a profile");
        let target = profile
            .parent()
            .expect("a profile lies in a target directory");
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["build", "--quiet", "--locked", "-p", "obs", "--bin", "obs"]);
        if profile.ends_with("release") {
            cargo.arg("--release");
        }
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let status = cargo
            .current_dir(root)
            .env("CARGO_TARGET_DIR", target)
            .status();
        assert!(status.expect("cargo runs").success(), "obs does not build");
        profile.join("obs")
    })
}

/// A command of the binary, without settings from the environment.
pub(crate) fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(binary());
    command
        .args(arguments)
        .env("NO_COLOR", "1")
        .env("TZ", "UTC")
        .stdin(Stdio::null());
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("OBS_")) {
        command.env_remove(name);
    }
    command
}

/// How a server is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// SIGKILL
    Kill,
    /// SIGTERM
    Terminate,
}

/// A server that runs, and its folder.
#[derive(Debug)]
pub(crate) struct Obs {
    folder: TempDir,
    child: Option<Child>,
    addresses: Value,
    tenant: Option<String>,
    flags: Vec<String>,
    /// `serve` or `agent`.
    role: &'static str,
    /// What has the same address however often the server starts.
    relay: Option<Relay>,
}

impl Obs {
    /// A fresh server without a configuration.
    pub(crate) fn start() -> Self {
        Self::with_files(&[])
    }

    /// A fresh server with this configuration.
    pub(crate) fn with_config(config: &str) -> Self {
        Self::with_files(&[("obs.yml", config)])
    }

    /// A fresh server with more flags.
    pub(crate) fn with_flags(flags: &[&str]) -> Self {
        Self::with(&[], flags)
    }

    /// A fresh server in a folder with these files; `obs.yml` is its configuration.
    pub(crate) fn with_files(files: &[(&str, &str)]) -> Self {
        Self::with(files, &[])
    }

    /// The same, not waited for: it may answer nobody who does not know how to ask.
    pub(crate) fn spawned(files: &[(&str, &str)], flags: &[&str]) -> Self {
        let mut obs = Self::prepared("serve", files, flags);
        obs.spawn();
        obs
    }

    /// The same with more flags.
    pub(crate) fn with_files_and_flags(files: &[(&str, &str)], flags: &[&str]) -> Self {
        Self::with(files, flags)
    }

    fn with(files: &[(&str, &str)], flags: &[&str]) -> Self {
        let mut obs = Self::prepared("serve", files, flags);
        obs.run();
        obs
    }

    fn prepared(role: &'static str, files: &[(&str, &str)], flags: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a folder for the test");
        for (name, text) in files {
            std::fs::write(folder.path().join(name), text).expect("the folder is writable");
        }
        Self {
            folder,
            child: None,
            addresses: Value::Null,
            tenant: None,
            flags: flags.iter().map(|&flag| flag.to_owned()).collect(),
            role,
            relay: None,
        }
    }

    /// A fresh agent with this configuration.
    pub(crate) fn agent(config: &str) -> Self {
        Self::agent_with(&[("obs.yml", config)], &[])
    }

    /// A fresh agent in a folder with these files, with more flags.
    pub(crate) fn agent_with(files: &[(&str, &str)], flags: &[&str]) -> Self {
        let mut obs = Self::prepared("agent", files, flags);
        obs.run();
        obs
    }

    /// From now on [`Self::url`] is the same after each start.
    pub(crate) fn keep_address(&mut self) {
        let relay = Relay::start();
        relay.to(Some(self.address("http")));
        self.relay = Some(relay);
    }

    /// Starts the server over the folder that is there, and waits until it is ready.
    pub(crate) fn run(&mut self) {
        self.spawn();
        until("/-/ready", || {
            self.assert_runs();
            self.try_get("/-/ready", &[])
                .ok()
                .filter(|answer| answer.status == 200)
        });
    }

    /// Starts the server and waits until it listens; it may still replay.
    pub(crate) fn spawn(&mut self) {
        assert!(self.child.is_none(), "the server runs already");
        let note = self.data().join("addresses.json");
        if note.exists() {
            std::fs::remove_file(&note).expect("the note is ours");
        }
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.log_path());
        let data = self.data().display().to_string();
        let config = self.path("obs.yml");
        let mut command = command(&[self.role, "--data", &data]);
        if self.role == "serve" {
            command.args(["--retention", "0"]);
        }
        for flag in ["--listen", "--otlp-grpc-listen", "--otlp-http-listen"] {
            command.args([flag, "127.0.0.1:0"]);
        }
        if config.exists() {
            command.arg("--config").arg(&config);
        }
        command
            .args(&self.flags)
            .stdout(Stdio::null())
            .stderr(log.expect("the log is writable"));
        self.child = Some(command.spawn().expect("obs starts"));
        self.addresses = until("addresses.json", || {
            self.assert_runs();
            serde_json::from_slice(&std::fs::read(&note).ok()?).ok()
        });
        if let Some(relay) = &self.relay {
            relay.to(Some(self.address("http")));
        }
    }

    fn assert_runs(&mut self) {
        if let Some(child) = &mut self.child
            && let Some(status) = child.try_wait().expect("the child is ours")
        {
            panic!("obs ended with {status}:\n{}", self.log_end());
        }
    }

    /// Stops the server and waits for its end.
    pub(crate) fn stop(&mut self, how: Stop) {
        let Some(mut child) = self.child.take() else {
            return;
        };
        if let Some(relay) = &self.relay {
            relay.to(None);
        }
        match how {
            Stop::Kill => child.kill().expect("the child is ours"),
            Stop::Terminate => {
                let sent = Command::new("kill")
                    .args(["-TERM", &child.id().to_string()])
                    .status();
                assert!(sent.expect("kill(1) exists").success(), "SIGTERM is sent");
            }
        }
        let status = until("the end of the server", || child.try_wait().expect("ours"));
        if how == Stop::Terminate {
            assert!(
                status.success(),
                "obs ended with {status}:\n{}",
                self.log_end()
            );
        }
    }

    /// Holds the server where it is: it keeps its address and answers nobody.
    pub(crate) fn pause(&self) {
        self.signal("-STOP");
    }

    /// Has the server read its configuration again.
    pub(crate) fn hangup(&self) {
        self.signal("-HUP");
    }

    /// Lets a held server go on.
    pub(crate) fn resume(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let id = self.process_id().to_string();
        let sent = Command::new("kill").args([signal, &id]).status();
        assert!(sent.expect("kill(1) exists").success(), "{signal} is sent");
    }

    /// Stops the server and starts it over the same data.
    pub(crate) fn restart(&mut self, how: Stop) {
        self.stop(how);
        self.run();
    }

    /// The id of the server's process, for those who kill it from another thread.
    pub(crate) fn process_id(&self) -> u32 {
        self.child.as_ref().expect("the server runs").id()
    }

    /// Every further request is of this tenant.
    pub(crate) fn set_tenant(&mut self, tenant: Option<&str>) {
        self.tenant = tenant.map(str::to_owned);
    }

    /// A file in the test's folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn data(&self) -> PathBuf {
        self.path("data")
    }

    fn log_path(&self) -> PathBuf {
        self.path("stderr.log")
    }

    /// Everything that the server logged.
    pub(crate) fn log(&self) -> String {
        let text = std::fs::read(self.log_path()).unwrap_or_default();
        String::from_utf8_lossy(&text).into_owned()
    }

    /// The last lines of it.
    fn log_end(&self) -> String {
        let text = self.log();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(LOG_LINES)..].join("\n")
    }

    /// The address of a listener: `http`, `otlp_grpc`, `otlp_http`.
    pub(crate) fn address(&self, listener: &str) -> String {
        self.addresses[listener]
            .as_str()
            .expect("the listener is in the note")
            .to_owned()
    }

    /// The URL of the server, as `--server` takes it.
    pub(crate) fn url(&self) -> String {
        match &self.relay {
            Some(relay) => format!("http://{}", relay.address),
            None => format!("http://{}", self.address("http")),
        }
    }

    fn with_headers(
        &self,
        mut request: reqwest::blocking::RequestBuilder,
        headers: &[(&str, &str)],
    ) -> reqwest::blocking::RequestBuilder {
        if let Some(tenant) = &self.tenant {
            request = request.header("x-scope-orgid", tenant);
        }
        headers.iter().fold(request, |request, (name, value)| {
            request.header(*name, *value)
        })
    }

    /// GET; an error is one of the connection.
    pub(crate) fn try_get(&self, path: &str, params: &[(&str, &str)]) -> reqwest::Result<Answer> {
        let url = parameters(&format!("{}{path}", self.url()), params);
        Answer::of(self.with_headers(client().get(url), &[]).send()?)
    }

    /// GET.
    pub(crate) fn get(&self, path: &str, params: &[(&str, &str)]) -> Answer {
        let answer = self.try_get(path, params);
        answer.unwrap_or_else(|error| panic!("GET {path}: {error}"))
    }

    /// GET with headers.
    pub(crate) fn get_with(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        let request = client().get(format!("{}{path}", self.url()));
        let answer = self
            .with_headers(request, headers)
            .send()
            .and_then(Answer::of);
        answer.unwrap_or_else(|error| panic!("GET {path}: {error}"))
    }

    /// POST to a listener; an error is one of the connection.
    pub(crate) fn try_post(
        &self,
        listener: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> reqwest::Result<Answer> {
        let url = format!("http://{}{path}", self.address(listener));
        Answer::of(
            self.with_headers(client().post(url).body(body), headers)
                .send()?,
        )
    }

    /// POST to the HTTP listener.
    pub(crate) fn post(&self, path: &str, headers: &[(&str, &str)], body: Vec<u8>) -> Answer {
        let answer = self.try_post("http", path, headers, body);
        answer.unwrap_or_else(|error| panic!("POST {path}: {error}"))
    }

    /// DELETE.
    pub(crate) fn delete(&self, path: &str) -> Answer {
        let request = client().delete(format!("{}{path}", self.url()));
        let answer = self.with_headers(request, &[]).send().and_then(Answer::of);
        answer.unwrap_or_else(|error| panic!("DELETE {path}: {error}"))
    }

    /// POST of a form.
    pub(crate) fn post_form(&self, path: &str, params: &[(&str, &str)]) -> Answer {
        let url = parameters("http://x/", params);
        let form = url.query().unwrap_or_default().as_bytes().to_vec();
        self.post(
            path,
            &[("content-type", "application/x-www-form-urlencoded")],
            form,
        )
    }

    /// POST with parameters as another tenant.
    pub(crate) fn post_as(&self, tenant: &str, path: &str, params: &[(&str, &str)]) -> Answer {
        let url = parameters(&format!("{}{path}", self.url()), params);
        let request = client().post(url).header("x-scope-orgid", tenant);
        let answer = request.send().and_then(Answer::of);
        answer.unwrap_or_else(|error| panic!("POST {path}: {error}"))
    }

    /// `flush` or `merge`: brings all memory to parts, or all parts together.
    pub(crate) fn force(&self, what: &str) {
        let answer = self.post(&format!("/api/v1/admin/storage/{what}"), &[], Vec::new());
        assert_eq!(answer.status, 204, "{what}: {}", answer.text());
    }

    /// Runs a client command of the binary against this server.
    pub(crate) fn client(&self, arguments: &[&str]) -> Output {
        let mut command = command(arguments);
        command.args(["--server", &self.url()]);
        command.output().expect("obs runs")
    }
}

#[expect(clippy::print_stderr, reason = "a failing test shows the server's log")]
impl Drop for Obs {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // Already gone is as good.
            drop(child.kill());
            drop(child.wait());
        }
        if std::thread::panicking() {
            eprintln!("--- the server's log ends with\n{}", self.log_end());
        }
    }
}

fn parameters(url: &str, params: &[(&str, &str)]) -> reqwest::Url {
    reqwest::Url::parse_with_params(url, params).expect("a valid URL")
}

fn client() -> &'static reqwest::blocking::Client {
    static CLIENT: OnceLock<reqwest::blocking::Client> = OnceLock::new();
    CLIENT.get_or_init(|| {
        // Whoever is first sets it; the others have nothing to set.
        drop(rustls::crypto::ring::default_provider().install_default());
        let builder = reqwest::blocking::Client::builder()
            .no_proxy()
            .timeout(DEADLINE);
        builder.build().expect("a client without special wishes")
    })
}

/// What a server answered.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) content_type: String,
    pub(crate) retry_after: Option<String>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// GET of any URL.
    pub(crate) fn from(url: &str, params: &[(&str, &str)]) -> reqwest::Result<Self> {
        Self::of(client().get(parameters(url, params)).send()?)
    }

    /// Any method on any URL.
    pub(crate) fn of_method(
        method: &str,
        url: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> Self {
        let method = reqwest::Method::from_bytes(method.as_bytes()).expect("a method");
        let mut request = client().request(method, url).body(body);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = request.send().and_then(Self::of);
        answer.unwrap_or_else(|error| panic!("{url}: {error}"))
    }

    fn of(response: reqwest::blocking::Response) -> reqwest::Result<Self> {
        let header = |name: &str| {
            response
                .headers()
                .get(name)
                .and_then(|v| v.to_str().ok())
                .map(str::to_owned)
        };
        Ok(Self {
            status: response.status().as_u16(),
            content_type: header("content-type").unwrap_or_default(),
            retry_after: header("retry-after"),
            body: response.bytes()?.to_vec(),
        })
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body, of an answer of success.
    pub(crate) fn json(&self) -> Value {
        assert_eq!(self.status, 200, "{}", self.text());
        let body = serde_json::from_slice(&self.body);
        body.unwrap_or_else(|error| panic!("not JSON ({error}): {}", self.text()))
    }
}
