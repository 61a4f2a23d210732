//! `Status`: how APIs of Kubernetes say what is wrong.

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use obs_collector::{ErrorKind, HttpError};
use serde_json::json;

/// A fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Status {
    code: StatusCode,
    reason: &'static str,
    message: String,
}

impl Status {
    fn new(code: StatusCode, reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            code,
            reason,
            message: message.into(),
        }
    }

    /// There is no such thing.
    pub(super) fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "NotFound", message)
    }

    /// The request is wrong.
    pub(super) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "BadRequest", message)
    }

    /// Nobody known asks.
    pub(super) fn unauthorized() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "Unauthorized", "Unauthorized")
    }

    /// Somebody asks who may not.
    pub(super) fn forbidden(message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "Forbidden", message)
    }

    /// The API can only be read.
    pub(super) fn method_not_allowed() -> Self {
        let message = "the server does not allow this method on the requested resource";
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed", message)
    }

    /// What is needed does not answer.
    pub(super) fn unavailable(message: impl Into<String>) -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "ServiceUnavailable",
            message,
        )
    }

    /// What an error of a query means here.
    pub(super) fn of(error: &HttpError) -> Self {
        let message = error.message.clone();
        match error.kind {
            ErrorKind::Unavailable => Self::unavailable(message),
            ErrorKind::TooMany => {
                Self::new(StatusCode::TOO_MANY_REQUESTS, "TooManyRequests", message)
            }
            ErrorKind::Timeout => Self::new(StatusCode::GATEWAY_TIMEOUT, "Timeout", message),
            _ => Self::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "InternalError",
                format!("unable to fetch metrics: {message}"),
            ),
        }
    }
}

impl IntoResponse for Status {
    fn into_response(self) -> Response {
        let body = json!({
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "reason": self.reason,
            "code": self.code.as_u16(),
        });
        (self.code, Json(body)).into_response()
    }
}
