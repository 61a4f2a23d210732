//! `HttpError`: the one error of every HTTP route, and its faces: Prometheus' JSON envelope, plain
//! text (Loki, remote write, Tempo) and OTLP's `google.rpc.Status` in protobuf or JSON.
//!
//! Invariant: the kind alone decides status, `errorType` and gRPC code, so that they never
//! disagree; whatever may be retried later says so with `Retry-After`.

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};

use crate::sink::SinkError;

/// What went wrong, as far as a client can act on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The request is malformed or asks what cannot be: 400 `bad_data`.
    BadData,
    /// No or bad credentials: 401.
    Unauthorized,
    /// The credentials do not allow it: 403.
    Forbidden,
    /// 404 `not_found`.
    NotFound,
    /// 405.
    MethodNotAllowed,
    /// The accepted types cannot be made: 406 `not_acceptable`.
    NotAcceptable,
    /// It exists already or changed meanwhile: 409.
    Conflict,
    /// Body or decompressed body over its limit: 413.
    TooLarge,
    /// Content type or encoding not spoken here: 415.
    UnsupportedMedia,
    /// Well-formed, but it cannot be evaluated: 422 `execution`.
    Execution,
    /// Queue or rate limit: 429.
    TooMany,
    /// The client left: 499 `canceled`.
    Canceled,
    /// Took longer than allowed: 503 `timeout`.
    Timeout,
    /// The same where the API tells it by 504, as Loki's does.
    Deadline,
    /// Not now: 503 `unavailable`.
    Unavailable,
    /// Our fault: 500 `internal`.
    Internal,
}

impl ErrorKind {
    /// The HTTP status.
    pub fn status(self) -> StatusCode {
        match self {
            Self::BadData => StatusCode::BAD_REQUEST,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::Forbidden => StatusCode::FORBIDDEN,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::NotAcceptable => StatusCode::NOT_ACCEPTABLE,
            Self::Conflict => StatusCode::CONFLICT,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::UnsupportedMedia => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Execution => StatusCode::UNPROCESSABLE_ENTITY,
            Self::TooMany => StatusCode::TOO_MANY_REQUESTS,
            Self::Canceled => {
                StatusCode::from_u16(499).expect("499 lies in the range of status codes")
            }
            Self::Timeout | Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::Deadline => StatusCode::GATEWAY_TIMEOUT,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// Prometheus' `errorType`.
    pub fn prometheus(self) -> &'static str {
        match self {
            Self::BadData
            | Self::MethodNotAllowed
            | Self::Conflict
            | Self::TooLarge
            | Self::UnsupportedMedia => "bad_data",
            Self::Unauthorized => "unauthorized",
            Self::Forbidden => "forbidden",
            Self::NotFound => "not_found",
            Self::NotAcceptable => "not_acceptable",
            Self::Execution => "execution",
            Self::TooMany => "too_many_requests",
            Self::Canceled => "canceled",
            Self::Timeout | Self::Deadline => "timeout",
            Self::Unavailable => "unavailable",
            Self::Internal => "internal",
        }
    }

    /// The number of the gRPC status code (google.rpc.Code).
    pub fn grpc(self) -> i32 {
        match self {
            Self::Canceled => 1,
            Self::BadData | Self::NotAcceptable | Self::UnsupportedMedia | Self::Execution => 3,
            Self::Timeout | Self::Deadline => 4,
            Self::NotFound => 5,
            Self::Conflict => 6,
            Self::Forbidden => 7,
            Self::TooLarge | Self::TooMany => 8,
            Self::MethodNotAllowed => 12,
            Self::Internal => 13,
            Self::Unavailable => 14,
            Self::Unauthorized => 16,
        }
    }
}

/// The shape in which a route tells errors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dialect {
    /// `{"status":"error","errorType":…,"error":…}`
    #[default]
    Prometheus,
    /// The message alone.
    Plain,
    /// `google.rpc.Status` in protobuf.
    OtlpProtobuf,
    /// `google.rpc.Status` in JSON.
    OtlpJson,
}

/// An error on its way to an HTTP client.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct HttpError {
    /// What went wrong.
    pub kind: ErrorKind,
    /// Told to the client; names place, expectation, and limit.
    pub message: String,
    /// Seconds for `Retry-After`.
    pub retry_after: Option<u64>,
}

impl HttpError {
    /// An error without `Retry-After`.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            retry_after: None,
        }
    }

    /// 400.
    pub fn bad_data(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::BadData, message)
    }

    /// 404.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::NotFound, message)
    }

    /// 413.
    pub fn too_large(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::TooLarge, message)
    }

    /// 415.
    pub fn unsupported_media(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::UnsupportedMedia, message)
    }

    /// 500.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Internal, message)
    }

    /// 503 with `Retry-After`.
    pub fn unavailable(message: impl Into<String>, retry_after: u64) -> Self {
        Self::new(ErrorKind::Unavailable, message).retry_after(retry_after)
    }

    /// This error with `Retry-After` in seconds.
    pub fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    /// The HTTP status.
    pub fn status(&self) -> StatusCode {
        self.kind.status()
    }

    /// The response in a route's dialect.
    pub fn render(&self, dialect: Dialect) -> Response {
        let (content_type, body) = match dialect {
            Dialect::Prometheus => ("application/json", self.prometheus_json()),
            Dialect::Plain => {
                let text = format!("{}\n", self.message);
                ("text/plain; charset=utf-8", text.into_bytes())
            }
            Dialect::OtlpProtobuf => ("application/x-protobuf", self.status_protobuf()),
            Dialect::OtlpJson => ("application/json", self.status_json()),
        };
        let mut response = (self.status(), body).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        headers.insert(
            header::X_CONTENT_TYPE_OPTIONS,
            HeaderValue::from_static("nosniff"),
        );
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }

    fn prometheus_json(&self) -> Vec<u8> {
        serde_json::json!({
            "status": "error",
            "errorType": self.kind.prometheus(),
            "error": self.message,
        })
        .to_string()
        .into_bytes()
    }

    fn status_json(&self) -> Vec<u8> {
        serde_json::json!({"code": self.kind.grpc(), "message": self.message})
            .to_string()
            .into_bytes()
    }

    /// `google.rpc.Status { int32 code = 1; string message = 2; repeated Any details = 3; }`; the
    /// detail is `RetryInfo { Duration retry_delay = 1; }`, without which OTLP clients give up.
    pub(crate) fn status_protobuf(&self) -> Vec<u8> {
        let code = u8::try_from(self.kind.grpc()).expect("gRPC codes are 0 to 16");
        let mut out = vec![0x08, code];
        put_bytes(&mut out, 2, self.message.as_bytes());
        if let Some(seconds) = self.retry_after {
            let mut delay = vec![0x08];
            put_varint(&mut delay, seconds);
            let mut retry_info = Vec::new();
            put_bytes(&mut retry_info, 1, &delay);
            let mut any = Vec::new();
            put_bytes(&mut any, 1, b"type.googleapis.com/google.rpc.RetryInfo");
            put_bytes(&mut any, 2, &retry_info);
            put_bytes(&mut out, 3, &any);
        }
        out
    }
}

/// A protobuf field of bytes; its number is below 16.
fn put_bytes(out: &mut Vec<u8>, field: u8, bytes: &[u8]) {
    out.push(field << 3 | 2);
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn put_varint(out: &mut Vec<u8>, mut rest: u64) {
    while rest >= 0x80 {
        out.push((rest & 0x7f) as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

/// In Prometheus' envelope, which most routes speak.
impl IntoResponse for HttpError {
    fn into_response(self) -> Response {
        self.render(Dialect::Prometheus)
    }
}

impl From<SinkError> for HttpError {
    fn from(error: SinkError) -> Self {
        let message = error.to_string();
        match error {
            SinkError::Full {
                retry_after_seconds,
            } => Self::new(ErrorKind::TooMany, message).retry_after(retry_after_seconds),
            SinkError::Refused { .. } => Self::bad_data(message),
            SinkError::Stale | SinkError::Unavailable { .. } => {
                Self::unavailable(message, crate::sink::RETRY_AFTER_SECONDS)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn check(error: HttpError, dialect: Dialect, content_type: &str, body: &[u8]) {
        let response = error.render(dialect);
        assert_eq!(response.status(), error.status());
        assert_eq!(response.headers()["content-type"], content_type);
        let bytes = axum::body::to_bytes(response.into_body(), 4096).await;
        assert_eq!(bytes.expect("a body in memory"), body);
    }

    #[tokio::test]
    async fn each_dialect() {
        let error = || HttpError::bad_data("1:2: expected \"}\"");
        let envelope =
            br#"{"error":"1:2: expected \"}\"","errorType":"bad_data","status":"error"}"#;
        check(error(), Dialect::Prometheus, "application/json", envelope).await;
        check(
            error(),
            Dialect::Plain,
            "text/plain; charset=utf-8",
            b"1:2: expected \"}\"\n",
        )
        .await;
        let json = br#"{"code":3,"message":"1:2: expected \"}\""}"#;
        check(error(), Dialect::OtlpJson, "application/json", json).await;
        let protobuf = b"\x08\x03\x12\x111:2: expected \"}\"";
        check(
            error(),
            Dialect::OtlpProtobuf,
            "application/x-protobuf",
            protobuf,
        )
        .await;
    }

    #[test]
    fn long_messages_have_long_lengths() {
        let bytes = HttpError::internal("x".repeat(300)).status_protobuf();
        assert_eq!(bytes[..5], [0x08, 13, 0x12, 0xac, 0x02]);
        assert_eq!(bytes.len(), 305);
    }

    #[test]
    fn the_sink_decides_what_may_be_retried() {
        let full = HttpError::from(SinkError::Full {
            retry_after_seconds: 7,
        });
        assert_eq!((full.status().as_u16(), full.retry_after), (429, Some(7)));
        assert_eq!(full.render(Dialect::Plain).headers()["retry-after"], "7");
        let reason = || "x".to_owned();
        let refused = HttpError::from(SinkError::Refused { reason: reason() });
        assert_eq!(
            (refused.status().as_u16(), refused.retry_after),
            (400, None)
        );
        let gone = HttpError::from(SinkError::Unavailable { reason: reason() });
        assert_eq!((gone.status().as_u16(), gone.retry_after), (503, Some(1)));
    }
}
