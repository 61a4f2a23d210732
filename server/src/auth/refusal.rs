//! How a refusal is told: in the shape that clients of the route read.

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::{HeaderName, HeaderValue, StatusCode, header};
use obs_collector::{Dialect, ErrorKind, HttpError};
use serde_json::{Value, json};

/// What credentials a `401` asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Asks {
    /// A name and a password.
    pub(super) basic: bool,
    /// A token.
    pub(super) bearer: bool,
}

/// The answer to a request that is refused; `path` is without the route prefix, `kind` the type of the
/// request's body.
pub(super) fn response(error: &HttpError, (path, kind): (&str, &str), asks: Asks) -> Response {
    let mut response = shaped(error, path, kind);
    let own = response.headers_mut();
    if error.kind == ErrorKind::Unauthorized {
        let set = HeaderValue::from_static;
        if asks.basic {
            let basic = set("Basic realm=\"obs\", charset=\"UTF-8\"");
            own.append(header::WWW_AUTHENTICATE, basic);
        }
        if asks.bearer || !asks.basic {
            own.append(header::WWW_AUTHENTICATE, set("Bearer realm=\"obs\""));
        }
    }
    if let Some(seconds) = error.retry_after {
        own.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    own.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn shaped(error: &HttpError, path: &str, kind: &str) -> Response {
    if kind.starts_with("application/grpc") && is_method(path) {
        return grpc(error);
    }
    let below = |prefixes: &[&str]| prefixes.iter().any(|prefix| path.starts_with(prefix));
    let (status, message) = (error.status(), &error.message);
    if below(&["/v1/", "/otlp/", "/api/v1/otlp/"]) {
        return match kind.starts_with("application/json") {
            true => error.render(Dialect::OtlpJson),
            false => error.render(Dialect::OtlpProtobuf),
        };
    }
    if below(&["/services/collector"]) {
        let code = if status == StatusCode::UNAUTHORIZED {
            2
        } else {
            4
        };
        return shape(status, &json!({"text": message, "code": code}));
    }
    if below(&["/elastic", "/insert/elasticsearch"]) {
        let cause = json!({"type": "security_exception", "reason": message});
        let whole = json!({"root_cause": [cause], "type": cause["type"], "reason": message});
        return shape(status, &json!({"error": whole, "status": status.as_u16()}));
    }
    if below(&["/jaeger/api/v3"]) {
        let told = json!({"httpCode": status.as_u16(), "message": message});
        return shape(status, &json!({"error": told}));
    }
    if below(&["/jaeger/"]) {
        let told = json!([{"code": status.as_u16(), "msg": message}]);
        return shape(status, &json!({"data": null, "errors": told}));
    }
    let of_alertmanager = [
        "/alertmanager/",
        "/api/v2/alert",
        "/api/v2/silence",
        "/api/v2/status",
    ];
    if below(&of_alertmanager) || path == "/api/v2/receivers" {
        return shape(status, &Value::String(message.clone()));
    }
    if below(&["/api/v2/write", "/influx", "/write", "/query"]) {
        let code = error.kind.prometheus();
        return shape(status, &json!({"code": code, "message": message}));
    }
    let prometheus = [
        "/api/v1/",
        "/allocation",
        "/assets",
        "/model/",
        "/prometheus/",
    ];
    match below(&prometheus) && !below(&["/api/v1/write", "/api/v1/import", "/api/v1/read"]) {
        true => error.render(Dialect::Prometheus),
        false => error.render(Dialect::Plain),
    }
}

/// Whether a path is that of a call: `/package.Service/Method`.
fn is_method(path: &str) -> bool {
    let parts = path.strip_prefix('/').and_then(|path| path.split_once('/'));
    parts.is_some_and(|(service, method)| service.contains('.') && !method.contains('/'))
}

fn shape(status: StatusCode, body: &Value) -> Response {
    let kind = [(header::CONTENT_TYPE, "application/json")];
    (status, kind, body.to_string()).into_response()
}

/// A status of gRPC in the headers: there is no message.
fn grpc(error: &HttpError) -> Response {
    let mut response = Response::new(Body::empty());
    let headers = response.headers_mut();
    let kind = HeaderValue::from_static("application/grpc");
    headers.insert(header::CONTENT_TYPE, kind);
    let code = HeaderValue::from(error.kind.grpc());
    headers.insert(HeaderName::from_static("grpc-status"), code);
    let text: String = error.message.bytes().map(encoded).collect();
    if let Ok(text) = HeaderValue::from_str(&text) {
        headers.insert(HeaderName::from_static("grpc-message"), text);
    }
    response
}

/// As gRPC encodes messages.
fn encoded(byte: u8) -> String {
    match byte {
        b' '..=b'~' if byte != b'%' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn check(path: &str, kind: &str, expect: (u16, &str, &str)) {
        let error = HttpError::new(ErrorKind::Forbidden, "no");
        let response = response(&error, (path, kind), Asks::default());
        let found = response.headers()[header::CONTENT_TYPE]
            .to_str()
            .expect("text");
        assert_eq!(
            (response.status().as_u16(), found),
            (expect.0, expect.1),
            "{path}"
        );
        let grpc = response.headers().get("grpc-status").cloned();
        let body = axum::body::to_bytes(response.into_body(), 4096).await;
        let body = String::from_utf8_lossy(&body.expect("in memory")).into_owned();
        match grpc {
            Some(code) => assert_eq!(code, expect.2, "{path}"),
            None => assert_eq!(body, expect.2, "{path}"),
        }
    }

    #[tokio::test]
    async fn each_route_in_its_words() {
        let (json, plain) = ("application/json", "text/plain; charset=utf-8");
        let envelope = r#"{"error":"no","errorType":"forbidden","status":"error"}"#;
        check("/api/v1/query", "", (403, json, envelope)).await;
        check("/loki/api/v1/query", "", (403, plain, "no\n")).await;
        check("/api/v1/write", "", (403, plain, "no\n")).await;
        check("/api/v2/alerts", "", (403, json, "\"no\"")).await;
        check(
            "/v1/logs",
            json,
            (403, json, r#"{"code":7,"message":"no"}"#),
        )
        .await;
        let protobuf = "application/x-protobuf";
        check(
            "/v1/logs",
            protobuf,
            (403, protobuf, "\u{8}\u{7}\u{12}\u{2}no"),
        )
        .await;
        let grpc = "application/grpc";
        check("/x.Y/Z", grpc, (200, grpc, "7")).await;
        check("/api/v1/query", grpc, (403, json, envelope)).await;
        let hec = r#"{"code":4,"text":"no"}"#;
        check("/services/collector/event", "", (403, json, hec)).await;
        let jaeger = r#"{"data":null,"errors":[{"code":403,"msg":"no"}]}"#;
        check("/jaeger/api/services", "", (403, json, jaeger)).await;
    }

    #[test]
    fn credentials_are_asked_for() {
        let check = |basic: bool, bearer: bool, expect: &[&str]| {
            let error = HttpError::new(ErrorKind::Unauthorized, "who?");
            let asks = Asks { basic, bearer };
            let told = response(&error, ("/x", ""), asks);
            let found: Vec<_> = told
                .headers()
                .get_all(header::WWW_AUTHENTICATE)
                .iter()
                .collect();
            assert_eq!(found, expect);
        };
        let (basic, bearer) = (
            "Basic realm=\"obs\", charset=\"UTF-8\"",
            "Bearer realm=\"obs\"",
        );
        check(true, false, &[basic]);
        check(false, true, &[bearer]);
        check(true, true, &[basic, bearer]);
        check(false, false, &[bearer]);
    }
}
