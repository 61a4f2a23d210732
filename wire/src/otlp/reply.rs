//! Answers of the three collector services: success, partial success and errors.
//!
//! Invariant: a full success is the empty message; the counts of protobuf and JSON are equal.

use prost::Message;

use super::json::{Object, write_text};
use super::proto::collector::{ExportResponse, PartialSuccess, RpcStatus};

/// The services.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Signal {
    /// `MetricsService`.
    Metrics,
    /// `LogsService`.
    Logs,
    /// `TraceService`.
    Traces,
}

impl Signal {
    /// The JSON name of the count of what was rejected.
    fn rejected_name(self) -> &'static str {
        match self {
            Self::Metrics => "rejectedDataPoints",
            Self::Logs => "rejectedLogRecords",
            Self::Traces => "rejectedSpans",
        }
    }
}

/// How a body is written; an answer has the encoding of its request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// `application/x-protobuf`.
    Protobuf,
    /// `application/json`.
    Json,
}

impl Encoding {
    /// The value of `Content-Type`.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Protobuf => "application/x-protobuf",
            Self::Json => "application/json",
        }
    }
}

/// The body of `Export…ServiceResponse`; partial when something was rejected or is to be told.
pub fn response(signal: Signal, rejected: u64, message: &str, encoding: Encoding) -> Vec<u8> {
    let partial = rejected > 0 || !message.is_empty();
    match encoding {
        Encoding::Protobuf => {
            let partial_success = partial.then(|| PartialSuccess {
                rejected: i64::try_from(rejected).unwrap_or(i64::MAX),
                error_message: message.to_owned(),
            });
            ExportResponse { partial_success }.encode_to_vec()
        }
        Encoding::Json => {
            let mut out = Vec::new();
            let mut object = Object::open(&mut out);
            if partial {
                let mut inner = Object::open(object.key("partialSuccess"));
                inner.long(signal.rejected_name(), rejected);
                inner.text("errorMessage", message);
                inner.close();
            }
            object.close();
            out
        }
    }
}

/// The body of an error: `google.rpc.Status` with a gRPC code such as 3 (invalid argument).
pub fn status(code: i32, message: &str, encoding: Encoding) -> Vec<u8> {
    match encoding {
        Encoding::Protobuf => {
            let message = message.to_owned();
            RpcStatus { code, message }.encode_to_vec()
        }
        Encoding::Json => {
            let mut out = Vec::new();
            let mut object = Object::open(&mut out);
            object.number("code", code);
            write_text(object.key("message"), message);
            object.close();
            out
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(signal: Signal, rejected: u64, message: &str, json: &str) {
        let text = response(signal, rejected, message, Encoding::Json);
        assert_eq!(String::from_utf8(text).unwrap(), json);
        let bytes = response(signal, rejected, message, Encoding::Protobuf);
        let back = ExportResponse::decode(bytes.as_slice()).unwrap();
        let partial = back.partial_success.unwrap_or_default();
        assert_eq!(
            (partial.rejected as u64, partial.error_message.as_str()),
            (rejected, message)
        );
        assert_eq!(bytes.is_empty(), json == "{}");
    }

    #[test]
    fn partial_success_is_told_in_both_encodings() {
        check(Signal::Traces, 0, "", "{}");
        check(
            Signal::Traces,
            2,
            "bad \"id\"",
            r#"{"partialSuccess":{"rejectedSpans":"2","errorMessage":"bad \"id\""}}"#,
        );
        check(
            Signal::Logs,
            0,
            "slow",
            r#"{"partialSuccess":{"errorMessage":"slow"}}"#,
        );
        check(
            Signal::Metrics,
            1,
            "delta",
            r#"{"partialSuccess":{"rejectedDataPoints":"1","errorMessage":"delta"}}"#,
        );
    }

    #[test]
    fn errors_are_statuses() {
        let text = status(3, "no", Encoding::Json);
        assert_eq!(text, br#"{"code":3,"message":"no"}"#);
        let bytes = status(3, "no", Encoding::Protobuf);
        assert_eq!(bytes, [0x08, 3, 0x12, 2, b'n', b'o']);
    }
}
