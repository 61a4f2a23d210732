//! Telling receivers: what [`obs_alerting::notify::requests`] decides is sent here, over HTTP, by
//! mail or by a program.
//!
//! Invariant: one call is one try with a deadline; what follows a try that failed is decided by who
//! calls. No reason of a failure holds an address of a request or a secret.

mod aws;
mod program;
mod smtp;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, anyhow};
use bytes::Bytes;
use obs_alerting::notify::data::Data;
use obs_alerting::notify::receivers::Integration;
use obs_alerting::notify::requests::{
    Answer, Case, Class, Delivery, Exchange, Failure, Kept, Next, Request, Stamp, prepare,
};
use obs_alerting::notify::texts::{self, Library};
use obs_alerting::notify::{Config, Received};
use obs_collector::config::{ClientConfig, TlsConfig};
use obs_collector::glob;
use obs_collector::http_client::{HttpClient, Unanswered, Use};
use obs_collector::outgoing::Addresses;
use obs_model::{Labels, Timestamp};
use tokio::sync::Semaphore;

use crate::clock;

/// Longest try, where the settings of the receiver name no time.
const TRY_MAX: Duration = Duration::from_secs(300);
/// Bytes of an answer that are read.
const ANSWER_BYTES_MAX: usize = 1 << 20;
/// Requests of one conversation; Jira has four.
const REQUESTS_MAX: usize = 8;
/// Bytes of a file with a secret or with templates.
const FILE_BYTES_MAX: u64 = 4 << 20;
/// Notifications whose texts are written at one time: a hostile template holds up others no more
/// than that.
const WRITERS: usize = 4;

/// Why a receiver was not told.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub(crate) struct SendError {
    /// Whether a further try can help.
    pub(crate) retry: bool,
    /// The words.
    pub(crate) reason: String,
    /// Whose fault it is, with the words of Alertmanager's metrics.
    pub(crate) class: &'static str,
}

impl From<Failure> for SendError {
    fn from(failure: Failure) -> Self {
        Self {
            retry: failure.retry,
            class: failure.class.as_str(),
            reason: failure.reason,
        }
    }
}

/// What the senders of a configuration need beside it.
#[derive(Clone, Debug, Default)]
pub(crate) struct SenderOptions {
    /// Whether receivers may be programs.
    pub(crate) programs: bool,
    /// Which addresses they tell.
    pub(crate) addresses: Addresses,
}

/// One way of telling, with what it is done with.
#[derive(Debug)]
struct Sender {
    integration: Arc<Integration>,
    /// Files that hold what the settings do not.
    files: Vec<(&'static str, PathBuf)>,
    client: HttpClient,
    tls: TlsConfig,
    addresses: Addresses,
}

/// All ways of telling of a configuration.
#[derive(Debug)]
pub(crate) struct Senders {
    receivers: BTreeMap<String, Vec<Sender>>,
    library: Arc<Library>,
    folder: PathBuf,
    host: String,
    programs: bool,
    tries: AtomicU64,
    writers: Arc<Semaphore>,
}

/// A notification that owns what it says, for a thread of its own.
struct Notice {
    receiver: String,
    group_key: String,
    group_labels: Labels,
    route_labels: Vec<(String, String)>,
    alerts: Vec<Received>,
    reason: &'static str,
    external_url: String,
    now: Timestamp,
    delivery: String,
}

impl Notice {
    fn of(data: &Data<'_>) -> Self {
        Self {
            receiver: data.receiver.to_owned(),
            group_key: data.group_key.to_owned(),
            group_labels: data.group_labels.clone(),
            route_labels: data.route_labels.clone().into_iter().collect(),
            alerts: data.alerts.to_vec(),
            reason: data.reason,
            external_url: data.external_url.to_owned(),
            now: data.now,
            delivery: data.delivery.clone(),
        }
    }

    fn data(&self) -> Data<'_> {
        Data {
            receiver: &self.receiver,
            group_key: &self.group_key,
            group_labels: &self.group_labels,
            route_labels: self.route_labels.iter().cloned().collect(),
            alerts: &self.alerts,
            reason: self.reason,
            external_url: &self.external_url,
            now: self.now,
            delivery: self.delivery.clone(),
        }
    }
}

impl Senders {
    /// Reads templates and certificates of a configuration whose file is in this folder.
    pub(crate) async fn new(
        config: &Config,
        folder: &Path,
        options: &SenderOptions,
    ) -> anyhow::Result<Self> {
        let library = templates(config, folder).await?;
        let mut receivers = BTreeMap::new();
        for receiver in &config.receivers {
            let mut senders = Vec::new();
            for integration in &receiver.integrations {
                let about = || {
                    let (kind, index) = (integration.kind(), integration.index);
                    format!("receiver {:?}: {kind}_configs[{index}]", receiver.name)
                };
                let sender = Sender::new(integration, folder, options).await;
                senders.push(sender.with_context(about)?);
            }
            receivers.insert(receiver.name.clone(), senders);
        }
        let host = crate::process::host();
        Ok(Self {
            receivers,
            library: Arc::new(library),
            folder: folder.to_path_buf(),
            host: if host.is_empty() {
                "localhost.localdomain".to_owned()
            } else {
                host
            },
            programs: options.programs,
            tries: AtomicU64::new(0),
            writers: Arc::new(Semaphore::new(WRITERS)),
        })
    }

    /// Tells a receiver by one of its integrations, counted over all kinds; one try. The labels of
    /// the route may be templates. Takes what the last notification of the group left, and gives what
    /// the next one needs.
    pub(crate) async fn send(
        &self,
        receiver: &str,
        integration: usize,
        data: &Data<'_>,
        kept: &Kept,
    ) -> Result<Kept, SendError> {
        let senders = self.receivers.get(receiver).map(Vec::as_slice);
        let Some(sender) = senders.and_then(|senders| senders.get(integration)) else {
            let text = format!("no integration {integration} of receiver {receiver:?}");
            return Err(Failure::last(text).into());
        };
        let settings = &sender.integration.settings;
        let told = settings.duration("timeout").filter(|nanos| *nanos > 0);
        let limit = told.and_then(|nanos| u64::try_from(nanos).ok());
        let limit = limit.map_or(TRY_MAX, Duration::from_nanos).min(TRY_MAX);
        let attempt = self.attempt(sender, kept, data);
        match tokio::time::timeout(limit, attempt).await {
            Ok(outcome) => Ok(outcome?),
            Err(_) => {
                let kind = sender.integration.kind();
                let text = format!("configured {kind} timeout reached ({limit:?})");
                Err(SendError {
                    class: Class::Deadline.as_str(),
                    ..Failure::passing(text).into()
                })
            }
        }
    }

    async fn attempt(
        &self,
        sender: &Sender,
        before: &Kept,
        data: &Data<'_>,
    ) -> Result<Kept, Failure> {
        let files = sender.read_files().await?;
        let delivery = self
            .write(sender, files.clone(), before.clone(), Notice::of(data))
            .await?;
        let kept = match delivery {
            Delivery::Http(exchange) => sender.talk(exchange).await?,
            Delivery::Signed(exchange, aws) => {
                let exchange = aws::signed(&sender.client, exchange, &aws, clock::now()).await?;
                sender.talk(exchange).await?
            }
            Delivery::Mail(mail) => {
                let settings = &sender.integration.settings;
                smtp::send(settings, &files, (&sender.tls, &sender.addresses), &mail).await?;
                Kept::new()
            }
            Delivery::Program(told) if self.programs => {
                program::run(&told, &self.folder).await?;
                Kept::new()
            }
            Delivery::Program(_) => {
                let text = "receivers that are programs are switched off";
                return Err(Failure::last(text));
            }
        };
        // What is over needs nothing; what says nothing new leaves what was known.
        Ok(match kept.is_empty() && data.status() != "resolved" {
            true => before.clone(),
            false => kept,
        })
    }

    /// Writes the texts of a notification, off the event loop.
    #[expect(
        clippy::disallowed_methods,
        reason = "templates may take long, and nothing here waits while they do"
    )]
    async fn write(
        &self,
        sender: &Sender,
        files: BTreeMap<&'static str, String>,
        kept: Kept,
        notice: Notice,
    ) -> Result<Delivery, Failure> {
        let permit = Arc::clone(&self.writers).acquire_owned().await;
        let permit = permit.map_err(|_| Failure::passing("the server stops"))?;
        let (library, integration) = (Arc::clone(&self.library), Arc::clone(&sender.integration));
        let stamp = Stamp {
            now: clock::now(),
            nonce: self.tries.fetch_add(1, Ordering::Relaxed),
            host: self.host.clone(),
        };
        let task = tokio::task::spawn_blocking(move || {
            let mut data = notice.data();
            let labels = texts::route_labels(&notice.route_labels, &data, &library);
            data.route_labels = labels.map_err(|error| Failure::last(error.to_string()))?;
            let delivery = prepare(&Case {
                integration: &integration,
                data: &data,
                library: &library,
                files: &files,
                kept: &kept,
                stamp: &stamp,
            });
            drop(permit);
            delivery
        });
        let lost = |_| Failure::passing("the text was not written to its end");
        task.await.map_err(lost)?
    }
}

/// The templates of all files that the configuration names.
async fn templates(config: &Config, folder: &Path) -> anyhow::Result<Library> {
    let mut files = Vec::new();
    for pattern in &config.templates {
        let (paths, faults) = glob::expand(&folder.join(pattern)).await;
        if let Some(fault) = faults.into_iter().next() {
            return Err(anyhow!("templates: {fault}"));
        }
        for path in paths {
            let text = read(&path)
                .await
                .map_err(|fault| anyhow!("templates: {fault}"))?;
            // One by one, so that a fault has a file.
            files.push(text);
            Library::new(&files).with_context(|| format!("templates: {}", path.display()))?;
        }
    }
    Ok(Library::new(&files)?)
}

/// A file of a bounded size.
async fn read(path: &Path) -> Result<String, String> {
    let fault = |e: std::io::Error| format!("{}: {e}", path.display());
    let about = tokio::fs::metadata(path).await.map_err(fault)?;
    if about.len() > FILE_BYTES_MAX {
        let shown = path.display();
        return Err(format!("{shown}: expected at most {FILE_BYTES_MAX} bytes"));
    }
    tokio::fs::read_to_string(path).await.map_err(fault)
}

impl Sender {
    async fn new(
        integration: &Integration,
        folder: &Path,
        options: &SenderOptions,
    ) -> anyhow::Result<Self> {
        if integration.kind() == "exec" && !options.programs {
            return Err(anyhow!(
                "programs as receivers are switched off: obs.alertmanager_programs switches them on"
            ));
        }
        let settings = &integration.settings;
        let none = serde_yaml_ng::Value::Mapping(serde_yaml_ng::Mapping::new());
        let keys = |key: &str| settings.any(key).filter(|keys| !keys.is_null());
        let http = keys("http_config").unwrap_or(&none);
        let config = ClientConfig::read(http, folder);
        let mut config = config.map_err(|fault| anyhow!("http_config: {fault}"))?;
        config.guard(&options.addresses);
        let client = HttpClient::new(&config, Use::default()).await;
        let tls = TlsConfig::read(keys("tls_config").unwrap_or(&none), folder);
        let files = settings.files();
        Ok(Self {
            integration: Arc::new(integration.clone()),
            files: files.map(|(key, path)| (key, folder.join(path))).collect(),
            client: client.map_err(|fault| anyhow!("http_config: {fault}"))?,
            tls: tls.map_err(|fault| anyhow!("tls_config: {fault}"))?,
            addresses: options.addresses.clone(),
        })
    }

    async fn read_files(&self) -> Result<BTreeMap<&'static str, String>, Failure> {
        let mut contents = BTreeMap::new();
        for (key, path) in &self.files {
            let content = read(path).await;
            let content = content.map_err(|fault| Failure::last(format!("{key}: {fault}")))?;
            contents.insert(*key, content);
        }
        Ok(contents)
    }

    /// Asks, reads, and asks what follows, until the end.
    async fn talk(&self, mut exchange: Exchange) -> Result<Kept, Failure> {
        for _ in 0..REQUESTS_MAX {
            let answered = ask(&self.client, exchange.request).await?;
            let answer = Answer {
                status: answered.status,
                content_type: &answered.content_type,
                body: &answered.body,
            };
            match (exchange.read)(&answer)? {
                Next::Done(kept) => return Ok(kept),
                Next::Ask(next) => exchange = *next,
            }
        }
        Err(Failure::last(format!("more than {REQUESTS_MAX} requests")))
    }
}

/// Sends one request.
async fn ask(
    client: &HttpClient,
    request: Request,
) -> Result<obs_collector::http_client::Answered, Failure> {
    let url = reqwest::Url::parse(&request.url);
    let url = url.map_err(|error| Failure::last(format!("the address: {error}")))?;
    let mut built = http::Request::builder()
        .method(request.method)
        .uri(url.as_str());
    for (name, value) in &request.headers {
        built = built.header(*name, value);
    }
    // What is wrong with an address is told without the address.
    let built = built.body(Bytes::from(request.body));
    let built = built.map_err(|error| Failure::last(format!("the request: {error}")))?;
    let answered = client.exchange(built, ANSWER_BYTES_MAX).await;
    answered.map_err(|fault| match fault {
        Unanswered::Request(text) => Failure::last(text),
        Unanswered::Connection(text) => Failure::passing(text),
    })
}
