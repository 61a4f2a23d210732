//! Answers are compressed where the client takes it: zstd, gzip or deflate.
//!
//! Invariants: an answer that is encoded already, a stream whose end is not known, and what would
//! gain nothing are left alone; large answers are compressed off the event loop.

use std::io::{self, Write};

use axum::body::{Body, Bytes, HttpBody, to_bytes};
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};
use http::{HeaderMap, HeaderValue, Method, header};
use obs_collector::HttpError;

/// Shorter answers fit into one packet anyhow.
const BYTES_MIN: u64 = 1400;
/// What the event loop compresses itself: below a millisecond of work.
const BYTES_INLINE_MAX: usize = 64 << 10;
/// Fast levels: the answers of a query are read once.
const ZSTD_LEVEL: i32 = 1;

/// A way to encode a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Encoding {
    Zstd,
    Gzip,
    Deflate,
}

impl Encoding {
    fn as_str(self) -> &'static str {
        match self {
            Self::Zstd => "zstd",
            Self::Gzip => "gzip",
            Self::Deflate => "deflate",
        }
    }

    /// What the client likes best, zstd before gzip before deflate where it does not mind.
    fn of(headers: &HeaderMap) -> Option<Self> {
        let values = headers.get_all(header::ACCEPT_ENCODING).iter();
        let items = values
            .filter_map(|value| value.to_str().ok())
            .flat_map(|text| text.split(','));
        let mut best = None;
        for item in items {
            let (name, parameters) = item.split_once(';').unwrap_or((item, ""));
            let quality = parameters.trim().strip_prefix("q=");
            let quality = quality.map_or(Ok(1.0), |q| q.trim().parse::<f64>());
            let known = match name.trim().to_ascii_lowercase().as_str() {
                "zstd" => (Self::Zstd, 2),
                "gzip" | "x-gzip" | "*" => (Self::Gzip, 1),
                "deflate" => (Self::Deflate, 0),
                _ => continue,
            };
            let quality = quality.unwrap_or(0.0);
            let better = best.is_none_or(|(q, (_, rank))| (q, rank) < (quality, known.1));
            if quality > 0.0 && better {
                best = Some((quality, known));
            }
        }
        best.map(|(_, (encoding, _))| encoding)
    }

    fn encode(self, bytes: &[u8]) -> io::Result<Vec<u8>> {
        match self {
            Self::Zstd => zstd::bulk::compress(bytes, ZSTD_LEVEL),
            Self::Gzip => {
                let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
                encoder.write_all(bytes)?;
                encoder.finish()
            }
            Self::Deflate => {
                let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
                encoder.write_all(bytes)?;
                encoder.finish()
            }
        }
    }
}

/// Compresses the answer to a request.
pub(super) async fn compress(request: Request, next: Next) -> Response {
    let wanted = Encoding::of(request.headers());
    let head = request.method() == Method::HEAD;
    let mut response = next.run(request).await;
    let size = response.body().size_hint().exact();
    let worth = size.is_some_and(|size| size >= BYTES_MIN) && is_text(response.headers());
    if !worth || response.headers().contains_key(header::CONTENT_ENCODING) {
        return response;
    }
    let headers = response.headers_mut();
    headers.append(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    match wanted {
        Some(encoding) if !head => encoded(response, encoding).await,
        Some(_) | None => response,
    }
}

fn is_text(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE);
    let kind = kind.and_then(|value| value.to_str().ok()).unwrap_or("");
    let kind = kind.split(';').next().unwrap_or("").trim();
    let known = [
        "application/json",
        "application/x-ndjson",
        "application/yaml",
        "application/javascript",
        "application/protobuf",
        "application/vnd.google.protobuf",
        "image/svg+xml",
    ];
    kind.starts_with("text/") && kind != "text/event-stream" || known.contains(&kind)
}

async fn encoded(response: Response, encoding: Encoding) -> Response {
    let (mut parts, body) = response.into_parts();
    // It has an exact size: it is in memory already.
    let body = match to_bytes(body, usize::MAX).await {
        Ok(body) => body,
        Err(error) => return HttpError::internal(error.to_string()).into_response(),
    };
    match packed(body, encoding).await {
        Ok(packed) => {
            let headers = &mut parts.headers;
            let name = HeaderValue::from_static(encoding.as_str());
            headers.insert(header::CONTENT_ENCODING, name);
            headers.remove(header::CONTENT_LENGTH);
            Response::from_parts(parts, Body::from(packed))
        }
        Err(error) => HttpError::internal(format!("compress the answer: {error}")).into_response(),
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "compressing a large answer takes longer than the event loop may wait"
)]
async fn packed(body: Bytes, encoding: Encoding) -> io::Result<Vec<u8>> {
    if body.len() <= BYTES_INLINE_MAX {
        return encoding.encode(&body);
    }
    let work = tokio::task::spawn_blocking(move || encoding.encode(&body));
    work.await.map_err(io::Error::other)?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_clients_like() {
        let check = |text: &'static str, expect| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static(text));
            assert_eq!(Encoding::of(&headers), expect, "{text}");
        };
        check("gzip, deflate, br, zstd", Some(Encoding::Zstd));
        check("gzip", Some(Encoding::Gzip));
        check("zstd;q=0.1, gzip;q=0.5", Some(Encoding::Gzip));
        check("gzip;q=0, deflate", Some(Encoding::Deflate));
        check("*", Some(Encoding::Gzip));
        check("identity", None);
        check("gzip;q=x", None);
    }

    #[test]
    fn what_is_packed_is_unpacked() {
        let text = b"{\"status\":\"success\"}".repeat(100);
        for encoding in [Encoding::Zstd, Encoding::Gzip, Encoding::Deflate] {
            let packed = encoding.encode(&text).expect("memory takes all");
            assert!(packed.len() < text.len() / 10);
            let back = obs_wire::capped::decode(encoding.as_str(), &packed, 1 << 20);
            assert_eq!(*back.expect("it is whole"), *text);
        }
    }
}
