//! A bucket that speaks S3, by path-style addresses and signatures of version 4.
//!
//! Invariants: a request ends by a deadline, and all retries of a run by a budget; what is sent and
//! what is answered is bounded by a piece; an object is there when its last request succeeded.

mod request;

use std::sync::atomic::{AtomicI64, AtomicU32};

use anyhow::{Context, anyhow, bail, ensure};
use obs_model::Timestamp;
use obs_wire::sigv4::Credentials;
use obs_wire::xml::{self, Element};
use reqwest::Method;

use super::place::{Object, PIECE_BYTES};
use crate::client::now;
use request::{Ask, RETRIES_MAX};

/// Parts of one upload, at most, as S3 has it.
const PARTS_MAX: u64 = 10_000;
/// Pages of one list: a thousand objects each.
const PAGES_MAX: usize = 100_000;

/// A bucket, and how it is spoken to.
#[derive(Debug)]
pub(crate) struct S3 {
    http: reqwest::Client,
    /// Scheme, host and port, and a path where the service is below one.
    endpoint: String,
    /// As it is signed.
    host: String,
    bucket: String,
    /// What keys begin with: nothing, or `name/`.
    prefix: String,
    region: String,
    credentials: Credentials,
    /// How far the clock of the service is ahead.
    skew_nanos: AtomicI64,
    /// Retries that are left.
    retries: AtomicU32,
}

/// What a bucket is reached by.
#[derive(Debug)]
pub(crate) struct Address {
    pub(crate) bucket: String,
    pub(crate) prefix: String,
    pub(crate) endpoint: Option<String>,
    pub(crate) region: String,
    pub(crate) credentials: Credentials,
}

impl S3 {
    pub(crate) fn new(address: Address) -> anyhow::Result<Self> {
        let endpoint = match address.endpoint {
            Some(endpoint) => endpoint,
            None => format!("https://s3.{}.amazonaws.com", address.region),
        };
        let endpoint = endpoint.trim_end_matches('/').to_owned();
        let url =
            reqwest::Url::parse(&endpoint).with_context(|| format!("--endpoint {endpoint}"))?;
        let host = url.host_str().context("--endpoint names no host")?;
        let host = match url.port() {
            Some(port) => format!("{host}:{port}"),
            None => host.to_owned(),
        };
        let settings = || {
            Ok(reqwest::Client::builder()
                .redirect(reqwest::redirect::Policy::none())
                .user_agent(concat!("obs/", env!("CARGO_PKG_VERSION"))))
        };
        let http = obs_server::http_client::build(settings, reqwest::ClientBuilder::build);
        let prefix = address.prefix.trim_matches('/');
        Ok(Self {
            http: http.map_err(|error| anyhow!("set up the HTTP client: {error}"))?,
            endpoint,
            host,
            bucket: address.bucket,
            prefix: match prefix {
                "" => String::new(),
                prefix => format!("{prefix}/"),
            },
            region: address.region,
            credentials: address.credentials,
            skew_nanos: AtomicI64::new(0),
            retries: AtomicU32::new(RETRIES_MAX),
        })
    }

    /// For people.
    pub(crate) fn shown(&self) -> String {
        format!("s3://{}/{}", self.bucket, self.prefix)
    }

    fn object<'a>(&self, method: Method, key: &str, query: &'a [(&'a str, &'a str)]) -> Ask<'a> {
        Ask {
            method,
            path: format!("{}{key}", self.prefix),
            query,
            range: None,
            body: bytes(Vec::new()),
        }
    }

    pub(crate) async fn put(&self, key: &str, body: Vec<u8>) -> anyhow::Result<()> {
        let mut ask = self.object(Method::PUT, key, &[]);
        ask.body = bytes(body);
        self.succeed(&ask).await.map(|_| ())
    }

    pub(crate) async fn read(
        &self,
        key: &str,
        offset: u64,
        bytes: usize,
    ) -> anyhow::Result<Option<Vec<u8>>> {
        if bytes == 0 {
            return Ok(Some(Vec::new()));
        }
        let mut ask = self.object(Method::GET, key, &[]);
        let last = offset.saturating_add(bytes as u64 - 1);
        ask.range = Some((offset, last));
        let answer = self.ask(&ask).await?;
        match answer.status {
            206 => Ok(Some(answer.body)),
            // Services that know no ranges send everything, which is right only of small objects.
            200 if offset == 0 && answer.body.len() <= bytes => Ok(Some(answer.body)),
            200 => bail!("the service does not answer ranges"),
            404 => Ok(None),
            // Behind the end there is nothing.
            416 => Ok(Some(Vec::new())),
            _ => Err(answer.fault()),
        }
    }

    pub(crate) async fn delete(&self, key: &str) -> anyhow::Result<()> {
        let answer = self.ask(&self.object(Method::DELETE, key, &[])).await?;
        match answer.status {
            200 | 204 | 404 => Ok(()),
            _ => Err(answer.fault()),
        }
    }

    pub(crate) async fn list(&self, folder: &str) -> anyhow::Result<Vec<Object>> {
        let prefix = format!("{}{folder}/", self.prefix);
        let mut found = Vec::new();
        let mut token = String::new();
        for _ in 0..PAGES_MAX {
            let mut query = vec![("list-type", "2"), ("prefix", prefix.as_str())];
            if !token.is_empty() {
                query.push(("continuation-token", token.as_str()));
            }
            let ask = Ask {
                method: Method::GET,
                path: String::new(),
                query: &query,
                range: None,
                body: bytes(Vec::new()),
            };
            let answer = self.succeed(&ask).await?;
            let page = xml::decode(&answer.body).context("the list of a bucket")?;
            ensure!(
                page.name == "ListBucketResult",
                "expected the list of a bucket, found {:?}",
                page.name
            );
            let age_of = |written: Timestamp| self.now() - written;
            for one in page.children.iter().filter(|c| c.name == "Contents") {
                found.extend(self.listed(one, age_of)?);
            }
            let next = page.at(&["NextContinuationToken"]).to_owned();
            if page.at(&["IsTruncated"]) != "true" {
                return Ok(found);
            }
            ensure!(
                !next.is_empty() && next != token,
                "the list of a bucket goes on without saying where"
            );
            token = next;
        }
        bail!("the list of a bucket has more than {PAGES_MAX} pages")
    }

    /// An object of a list; none for what is not below our prefix.
    fn listed(
        &self,
        one: &Element,
        age_of: impl Fn(Timestamp) -> i64,
    ) -> anyhow::Result<Option<Object>> {
        let Some(key) = one.at(&["Key"]).strip_prefix(&self.prefix) else {
            return Ok(None);
        };
        let bytes = one.at(&["Size"]).parse();
        let bytes = bytes.with_context(|| format!("the size of {key}"))?;
        let written: Result<jiff::Timestamp, _> = one.at(&["LastModified"]).parse();
        let age_nanos = match written {
            Ok(written) => {
                let nanos = i64::try_from(written.as_nanosecond()).unwrap_or(i64::MAX);
                age_of(Timestamp::from_nanos(nanos))
            }
            // Of unknown age is as good as new: nothing is done to it because it is old.
            Err(_) => 0,
        };
        Ok(Some(Object {
            key: key.to_owned(),
            bytes,
            age_nanos,
        }))
    }

    /// Now, by the clock of the service as far as it is known.
    fn now(&self) -> Timestamp {
        let skew = self.skew_nanos.load(std::sync::atomic::Ordering::Relaxed);
        now().saturating_add(skew)
    }
}

fn bytes(body: Vec<u8>) -> std::sync::Arc<[u8]> {
    body.into()
}

/// An object that is written in parts; small ones at once.
#[derive(Debug)]
pub(crate) struct Multipart<'a> {
    bucket: &'a S3,
    key: String,
    /// Bytes of a part.
    size: usize,
    waiting: Vec<u8>,
    /// What the service calls the upload, once there is one.
    id: Option<String>,
    /// What the service calls each part.
    tags: Vec<String>,
}

impl<'a> Multipart<'a> {
    pub(crate) async fn begin(bucket: &'a S3, key: &str, total: u64) -> anyhow::Result<Self> {
        let size = (total / PARTS_MAX + 1).max(PIECE_BYTES as u64);
        let mut upload = Self {
            bucket,
            key: key.to_owned(),
            size: usize::try_from(size).unwrap_or(usize::MAX),
            waiting: Vec::new(),
            id: None,
            tags: Vec::new(),
        };
        if total > upload.size as u64 {
            let answer = bucket
                .succeed(&bucket.object(Method::POST, key, &[("uploads", "")]))
                .await?;
            let told = xml::decode(&answer.body).context("the begin of an upload")?;
            let id = told.at(&["UploadId"]);
            ensure!(!id.is_empty(), "the service named no upload");
            upload.id = Some(id.to_owned());
        }
        Ok(upload)
    }

    pub(crate) async fn write(&mut self, piece: Vec<u8>) -> anyhow::Result<()> {
        if self.waiting.is_empty() {
            self.waiting = piece;
        } else {
            self.waiting.extend(piece);
        }
        while self.id.is_some() && self.waiting.len() >= self.size {
            let rest = self.waiting.split_off(self.size);
            let part = std::mem::replace(&mut self.waiting, rest);
            self.part(part).await?;
        }
        Ok(())
    }

    async fn part(&mut self, part: Vec<u8>) -> anyhow::Result<()> {
        let id = self.id.clone().unwrap_or_default();
        let number = (self.tags.len() + 1).to_string();
        let query = [("partNumber", number.as_str()), ("uploadId", id.as_str())];
        let mut ask = self.bucket.object(Method::PUT, &self.key, &query);
        ask.body = bytes(part);
        let answer = self.bucket.succeed(&ask).await?;
        ensure!(!answer.etag.is_empty(), "the service named no part");
        self.tags.push(answer.etag);
        Ok(())
    }

    pub(crate) async fn finish(mut self) -> anyhow::Result<()> {
        let last = std::mem::take(&mut self.waiting);
        let Some(id) = self.id.clone() else {
            return self.bucket.put(&self.key, last).await;
        };
        if !last.is_empty() {
            self.part(last).await?;
        }
        let mut body = String::from("<CompleteMultipartUpload>");
        for (index, tag) in self.tags.iter().enumerate() {
            let tag = tag.replace('&', "&amp;").replace('<', "&lt;");
            body.push_str(&format!(
                "<Part><PartNumber>{}</PartNumber><ETag>{tag}</ETag></Part>",
                index + 1
            ));
        }
        body.push_str("</CompleteMultipartUpload>");
        let query = [("uploadId", id.as_str())];
        let mut ask = self.bucket.object(Method::POST, &self.key, &query);
        ask.body = bytes(body.into_bytes());
        let answer = self.bucket.ask(&ask).await?;
        // A try whose answer was lost may have done it; then the upload is not known any more.
        if answer.status == 404 && self.is_there().await? {
            return Ok(());
        }
        // The service may answer 200 before it knows.
        let failed = || xml::decode(&answer.body).is_ok_and(|told| told.name == "Error");
        if answer.status != 200 || failed() {
            return Err(answer.fault());
        }
        Ok(())
    }

    async fn is_there(&self) -> anyhow::Result<bool> {
        Ok(self.bucket.read(&self.key, 0, 1).await?.is_some())
    }

    pub(crate) async fn abort(self) {
        if let Some(id) = &self.id {
            let query = [("uploadId", id.as_str())];
            let ask = self.bucket.object(Method::DELETE, &self.key, &query);
            // What stays goes by the rules of the bucket for uploads that were not finished.
            drop(self.bucket.ask(&ask).await);
        }
    }
}
