//! `POST /api/v1/write`: Prometheus remote write 1.0 and 2.0. The content type says which; what
//! is neither is refused with 415, so that senders fall back.
//!
//! Invariant: the answer to a request of 2.0 tells in its headers what of it is durable, whatever
//! its status is.

use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use obs_model::metrics::{MetricBatch, Sample, Series};
use obs_model::{Tenant, Value};
use obs_wire::prometheus::remote_write::{self, v2};

use super::{Received, Receiver, RequestTenant, media_type, text_header};
use crate::http_error::{Dialect, ErrorKind, HttpError};
use crate::metrics::Door;
use crate::sink::{Accepted, SinkError};

/// Largest decompressed request, as Prometheus (3.12) bounds it: 32 MB.
const DECOMPRESSED_BYTES_MAX: usize = 32 << 20;
/// What a sender of series that there is no room for is told to wait: idle ones leave with a flush.
const CROWDED_RETRY_SECONDS: u64 = 60;

/// The headers that tell a sender of 2.0 what was stored.
const WRITTEN: [HeaderName; 3] = [
    HeaderName::from_static("x-prometheus-remote-write-samples-written"),
    HeaderName::from_static("x-prometheus-remote-write-histograms-written"),
    HeaderName::from_static("x-prometheus-remote-write-exemplars-written"),
];

/// Which message a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

/// What of a request of 2.0 is durable, in the order of [`WRITTEN`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Written([u64; 3]);

pub(super) async fn push(
    State(receiver): State<Receiver>,
    RequestTenant(tenant): RequestTenant,
    request: Request,
) -> Response {
    let (parts, body) = request.into_parts();
    let (mut bytes, mut written) = (0, Written::default());
    let version = version(&parts.headers);
    let outcome = async {
        let version = version.clone()?;
        let tenant = tenant?;
        let mut body = receiver.body(body).await?;
        bytes = body.bytes.len();
        let (told, faulty) = match version {
            Version::One => (store_1(&receiver, &tenant, &mut body).await?, false),
            Version::Two => store_2(&receiver, tenant, &mut body, &mut written).await?,
        };
        if told.refused > 0 || faulty {
            let told_why = format!("{} samples refused: {}", told.refused, told.reason);
            // What was good is kept. 429 tells that there may be room for new series later; 400
            // makes the sender log why the rest was not taken, and not send it again.
            return Err(match told.crowded && !faulty {
                true => {
                    HttpError::new(ErrorKind::TooMany, told_why).retry_after(CROWDED_RETRY_SECONDS)
                }
                false => HttpError::bad_data(told_why),
            });
        }
        Ok(())
    }
    .await;
    receiver.count(Door::RemoteWrite, bytes, &outcome);
    let mut response = match outcome {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(error) => error.render(Dialect::Plain),
    };
    if let Ok(Version::Two) = version {
        for (name, count) in WRITTEN.into_iter().zip(written.0) {
            response
                .headers_mut()
                .insert(name, HeaderValue::from(count));
        }
    }
    response
}

/// Decodes and stores a body. Where series were numbered anew in between, it is decoded once more
/// with all labels.
async fn store_1(
    receiver: &Receiver,
    tenant: &Tenant,
    body: &mut Received,
) -> Result<Accepted, HttpError> {
    let form = ("snappy", DECOMPRESSED_BYTES_MAX);
    let mut numbers = receiver.sink.numbers(tenant);
    loop {
        let known = numbers.take();
        let first = known.is_some();
        let decode =
            move |body: &[u8], limits: &_| remote_write::decode_v1(body, limits, known.as_deref());
        let decoded = receiver.decode(body, form, decode).await?;
        let accepted = if decoded.batch.is_empty() {
            Accepted::default()
        } else {
            match receiver.sink.metrics(tenant.clone(), decoded.batch).await {
                Err(SinkError::Stale) if first => continue,
                outcome => outcome?,
            }
        };
        return Ok(accepted.and(decoded.rejected, decoded.message));
    }
}

/// Stores floats and histograms one after the other, so that the store's answers tell which of
/// them are durable. Exemplars go with their samples. Tells whether the message had faults too.
async fn store_2(
    receiver: &Receiver,
    tenant: Tenant,
    body: &mut Received,
    written: &mut Written,
) -> Result<(Accepted, bool), HttpError> {
    let form = ("snappy", DECOMPRESSED_BYTES_MAX);
    let decoded = receiver.decode(body, form, v2::decode).await?;
    let faulty = !decoded.message.is_empty();
    let (floats, histograms) = split(decoded.batch);
    let mut told = Accepted::default().and(decoded.rejected, decoded.message);
    for (kind, batch) in [floats, histograms].into_iter().enumerate() {
        if batch.series.is_empty() && batch.metadata.is_empty() {
            continue;
        }
        let sent = batch.sample_count() as u64;
        let exemplars: usize = batch.series.iter().map(|s| s.exemplars.len()).sum();
        let accepted = receiver.sink.metrics(tenant.clone(), batch).await?;
        let stored = sent.saturating_sub(accepted.refused);
        written.0[kind] += stored;
        if stored > 0 || sent == 0 {
            written.0[2] += exemplars as u64;
        }
        told = accepted.and(told.refused, told.reason);
    }
    Ok((told, faulty))
}

/// Float samples and histograms in batches of their own. Metadata goes with whichever is first.
fn split(batch: MetricBatch) -> (MetricBatch, MetricBatch) {
    let is_histogram = |sample: &Sample| matches!(sample.value, Value::Histogram(_));
    let (mut floats, mut histograms) = (MetricBatch::default(), MetricBatch::default());
    for mut series in batch.series {
        let (own, other): (Vec<Sample>, Vec<Sample>) =
            series.samples.into_iter().partition(|s| !is_histogram(s));
        if !other.is_empty() {
            let exemplars = if own.is_empty() {
                std::mem::take(&mut series.exemplars)
            } else {
                Vec::new()
            };
            let mut of_histograms = Series {
                labels: series.labels.clone(),
                samples: other,
                ..Series::default()
            };
            of_histograms.exemplars = exemplars;
            histograms.series.push(of_histograms);
            if own.is_empty() {
                continue;
            }
        }
        series.samples = own;
        floats.series.push(series);
    }
    let first = if floats.series.is_empty() {
        &mut histograms
    } else {
        &mut floats
    };
    first.metadata = batch.metadata;
    (floats, histograms)
}

fn version(headers: &HeaderMap) -> Result<Version, HttpError> {
    let media = media_type(headers);
    // Old senders give no content type; it means 1.0.
    if !media.is_empty() && media != "application/x-protobuf" {
        return Err(HttpError::unsupported_media(format!(
            "content type {media:?} is not supported, expected application/x-protobuf"
        )));
    }
    let mut version = Version::One;
    let content_type = text_header(headers, &header::CONTENT_TYPE);
    for parameter in content_type.split(';').skip(1) {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        let value = value.trim().trim_matches('"');
        if !name.trim().eq_ignore_ascii_case("proto") {
            continue;
        }
        version = match value {
            "prometheus.WriteRequest" => Version::One,
            v2::MESSAGE => Version::Two,
            _ => {
                return Err(HttpError::unsupported_media(format!(
                    "remote write message {value:?} is not supported, expected \
                     prometheus.WriteRequest or {}",
                    v2::MESSAGE
                )));
            }
        };
    }
    let encoding = text_header(headers, &header::CONTENT_ENCODING);
    if !encoding.is_empty() && !encoding.eq_ignore_ascii_case("snappy") {
        return Err(HttpError::unsupported_media(format!(
            "content encoding {encoding:?} is not supported, expected snappy"
        )));
    }
    Ok(version)
}
