//! One request of remote write: how a batch becomes bytes and headers, and what an answer means.

use http::header::{HeaderMap, HeaderName, HeaderValue};
use obs_model::metrics::MetricBatch;
use obs_model::{Tenant, Timestamp, Value};
use obs_wire::prometheus::remote_write::{self, v2};
use obs_wire::snappy;
use reqwest::{Response, StatusCode};

use crate::config::{RemoteWrite, WriteMessage};
use crate::http_client::chain;
use crate::http_client::configured::HttpClient;
use crate::receive::TENANT_HEADER;

/// Said to the other side.
const USER_AGENT: &str = concat!("obs/", env!("CARGO_PKG_VERSION"));
/// Characters of an answer that are logged.
const ANSWER_CHARS: usize = 256;
/// Bytes of an answer that are read.
const ANSWER_BYTES_MAX: usize = 4096;

/// How much a request carries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Amounts {
    pub(super) samples: u64,
    pub(super) histograms: u64,
    pub(super) exemplars: u64,
    pub(super) metadata: u64,
    pub(super) highest_millis: i64,
}

impl Amounts {
    pub(super) fn of(batch: &MetricBatch) -> Self {
        let mut amounts = Self::default();
        for series in &batch.series {
            amounts.exemplars += series.exemplars.len() as u64;
            for sample in &series.samples {
                match sample.value {
                    Value::Float(_) => amounts.samples += 1,
                    Value::Histogram(_) => amounts.histograms += 1,
                }
                amounts.highest_millis = amounts.highest_millis.max(sample.time.millis());
            }
        }
        if batch.series.is_empty() {
            amounts.metadata = batch.metadata.len() as u64;
        }
        amounts
    }
}

/// Takes out samples before a time; gives how much that was.
pub(super) fn drop_before(batch: &mut MetricBatch, oldest: Timestamp) -> Amounts {
    let before = Amounts::of(batch);
    for series in &mut batch.series {
        series.samples.retain(|sample| sample.time >= oldest);
        series.exemplars.retain(|exemplar| exemplar.time >= oldest);
    }
    batch
        .series
        .retain(|s| !(s.samples.is_empty() && s.exemplars.is_empty()));
    let after = Amounts::of(batch);
    Amounts {
        samples: before.samples - after.samples,
        histograms: before.histograms - after.histograms,
        exemplars: before.exemplars - after.exemplars,
        metadata: 0,
        highest_millis: 0,
    }
}

/// A request that can be sent as often as it takes.
#[derive(Clone, Debug)]
pub(super) struct Prepared {
    pub(super) body: bytes::Bytes,
    pub(super) amounts: Amounts,
}

pub(super) fn prepare(batch: &MetricBatch, message: WriteMessage) -> Prepared {
    let mut body = Vec::new();
    match message {
        WriteMessage::One if batch.series.is_empty() => {
            remote_write::encode_v1(batch, &mut body);
        }
        WriteMessage::One => {
            // Metadata goes by itself.
            let series = MetricBatch {
                series: batch.series.clone(),
                ..MetricBatch::default()
            };
            remote_write::encode_v1(&series, &mut body);
        }
        WriteMessage::Two => v2::encode(batch, &mut body),
    }
    Prepared {
        body: snappy::encode(&body).into(),
        amounts: Amounts::of(batch),
    }
}

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The other side has it.
    Taken,
    /// Not now: why, and after how many seconds where it was said.
    Later(String, Option<u64>),
    /// Never: why.
    Refused(String),
}

pub(super) async fn send(
    client: &HttpClient,
    config: &RemoteWrite,
    tenant: &Tenant,
    body: bytes::Bytes,
) -> Outcome {
    let headers = match headers(client, config, tenant).await {
        Ok(headers) => headers,
        // A secret's file may come back.
        Err(fault) => return Outcome::Later(fault, None),
    };
    let request = client
        .requests()
        .post(&config.url)
        .headers(headers)
        .timeout(config.timeout)
        .body(body);
    match request.send().await {
        Ok(response) => judge(response, config).await,
        Err(error) => Outcome::Later(chain(&error.without_url()), None),
    }
}

async fn headers(
    client: &HttpClient,
    config: &RemoteWrite,
    tenant: &Tenant,
) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    let (content_type, version) = match config.message {
        WriteMessage::One => ("application/x-protobuf", "0.1.0"),
        WriteMessage::Two => (
            "application/x-protobuf;proto=io.prometheus.write.v2.Request",
            "2.0.0",
        ),
    };
    for (name, value) in [
        ("content-type", content_type),
        ("content-encoding", "snappy"),
        ("x-prometheus-remote-write-version", version),
        ("user-agent", USER_AGENT),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    let value = |text: &str| {
        HeaderValue::from_str(text).map_err(|_| "a header value is not printable".to_owned())
    };
    if *tenant != Tenant::anonymous() {
        headers.insert(TENANT_HEADER, value(tenant.as_str())?);
    }
    client.put_headers(&mut headers).await?;
    for (name, text) in &config.headers {
        let name = HeaderName::try_from(name.as_str()).map_err(|e| e.to_string())?;
        headers.insert(name, value(text.reveal())?);
    }
    Ok(headers)
}

async fn judge(mut response: Response, config: &RemoteWrite) -> Outcome {
    let status = response.status();
    if status.is_success() {
        return Outcome::Taken;
    }
    let retry_after = response.headers().get(http::header::RETRY_AFTER);
    let retry_after = retry_after.and_then(|v| v.to_str().ok()?.parse().ok());
    let mut answer = Vec::new();
    while answer.len() < ANSWER_BYTES_MAX
        && let Ok(Some(chunk)) = response.chunk().await
    {
        answer.extend_from_slice(&chunk);
    }
    let answer = String::from_utf8_lossy(&answer);
    let shown: String = answer.trim().chars().take(ANSWER_CHARS).collect();
    let told = format!("HTTP status {status}: {shown}");
    let later = status.is_server_error()
        || (status == StatusCode::TOO_MANY_REQUESTS && config.queue.retry_on_http_429);
    if later {
        Outcome::Later(told, retry_after)
    } else {
        Outcome::Refused(told)
    }
}
