//! Elasticsearch's way in, under `/elastic` and `/insert/elasticsearch`: bulk and index requests,
//! and the questions that its clients ask before they send.
//!
//! Invariants: an operation is told as created only after the sink said so; every answer carries
//! `X-Elastic-Product`, without which clients refuse the server.

use axum::Router;
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use http::request::Parts;
use http::{HeaderName, HeaderValue, Method, StatusCode, header};
use obs_model::limits::Limits;
use obs_wire::WireError;
use obs_wire::elastic::{self, Action, Bulk};
use obs_wire::event::{Context, Mapping};

use super::{Receiver, RequestTenant, content_encoding, mapping, text_header};
use crate::clock;
use crate::http_error::{ErrorKind, HttpError};
use crate::metrics::Door;

const PRODUCT: HeaderName = HeaderName::from_static("x-elastic-product");
/// How the media types of newer clients begin; they want their own back.
const VENDOR: &str = "application/vnd.elasticsearch+json";

/// The routes below a prefix.
pub(super) fn routes(prefix: &str) -> Router<Receiver> {
    Router::new()
        .route(prefix, any(handle))
        .route(&format!("{prefix}/"), any(handle))
        .route(&format!("{prefix}/{{*path}}"), any(handle))
}

/// What a request asks for.
#[derive(Debug, PartialEq, Eq)]
enum Operation {
    /// The server itself.
    About,
    /// Many operations; the index of those that name none.
    Bulk(String),
    /// One document: action, index, id.
    Document(Action, String, Option<String>),
    /// Something that is always answered so.
    Fixed(&'static str),
    /// Nothing that is known here.
    Unknown,
}

const ACKNOWLEDGED: &str = r#"{"acknowledged":true,"shards_acknowledged":true}"#;
const LICENSE: &str = r#"{"license":{"uid":"6f62732d-6f62-4732-8d6f-62732d6f6273","type":"basic","mode":"basic","status":"active"}}"#;
const HEALTH: &str = r#"{"cluster_name":"obs","status":"green","timed_out":false,"number_of_nodes":1,"number_of_data_nodes":1,"active_primary_shards":0,"active_shards":0,"relocating_shards":0,"initializing_shards":0,"unassigned_shards":0}"#;
const NODES: &str =
    r#"{"_nodes":{"total":1,"successful":1,"failed":0},"cluster_name":"obs","nodes":{}}"#;
const XPACK: &str = r#"{"features":{"ilm":{"available":true,"enabled":true},"security":{"available":false,"enabled":false}}}"#;
/// What clients set up before they send; nothing of it is needed here.
const SETUP: [&str; 9] = [
    "_ilm",
    "_index_template",
    "_template",
    "_component_template",
    "_ingest",
    "_data_stream",
    "_alias",
    "_aliases",
    "_security",
];

fn operation(method: &Method, path: &str) -> Operation {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    let sends = [Method::POST, Method::PUT].contains(method);
    let looks = [Method::GET, Method::HEAD].contains(method);
    match parts.as_slice() {
        [] if looks => Operation::About,
        ["_bulk"] if sends => Operation::Bulk(String::new()),
        [index, "_bulk"] | [index, _, "_bulk"] if sends => Operation::Bulk((*index).to_owned()),
        [index, "_doc"] if method == Method::POST => {
            Operation::Document(Action::Index, (*index).to_owned(), None)
        }
        [index, "_doc", id] if sends => {
            Operation::Document(Action::Index, (*index).to_owned(), Some((*id).to_owned()))
        }
        [index, "_create", id] if sends => {
            Operation::Document(Action::Create, (*index).to_owned(), Some((*id).to_owned()))
        }
        ["_license", ..] if looks => Operation::Fixed(LICENSE),
        ["_xpack", ..] if looks => Operation::Fixed(XPACK),
        ["_cluster", "health", ..] if looks => Operation::Fixed(HEALTH),
        ["_nodes", ..] if looks => Operation::Fixed(NODES),
        ["_logstash" | "logstash", ..] if looks => Operation::Fixed("{}"),
        [first, ..] if SETUP.contains(first) && looks => Operation::Fixed("{}"),
        [first, ..] if SETUP.contains(first) && sends => Operation::Fixed(ACKNOWLEDGED),
        // Whether an index is there, and its making.
        [index] if !index.starts_with('_') && method == Method::HEAD => Operation::Fixed("{}"),
        [index] if !index.starts_with('_') && method == Method::PUT => {
            Operation::Fixed(ACKNOWLEDGED)
        }
        _ => Operation::Unknown,
    }
}

async fn handle(
    State(receiver): State<Receiver>,
    tenant: RequestTenant,
    path: Option<Path<String>>,
    request: Request,
) -> Response {
    let path = path.map(|Path(path)| path).unwrap_or_default();
    let wanted = text_header(request.headers(), &header::ACCEPT);
    let content_type = HeaderValue::from_str(wanted)
        .ok()
        .filter(|_| wanted.starts_with(VENDOR) && !wanted.contains(','))
        .unwrap_or(HeaderValue::from_static("application/json"));
    let mut response = match operation(request.method(), &path) {
        Operation::About => (StatusCode::OK, elastic::about_answer()).into_response(),
        Operation::Fixed(text) => (StatusCode::OK, text).into_response(),
        Operation::Bulk(index) => bulk(receiver, tenant, index, request).await,
        Operation::Document(action, index, id) => {
            document(receiver, tenant, (action, index, id), request).await
        }
        Operation::Unknown => {
            let reason = format!(
                "no handler found for uri [/{path}] and method [{}]",
                request.method()
            );
            failed(&HttpError::bad_data(reason))
        }
    };
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, content_type);
    headers.insert(PRODUCT, HeaderValue::from_static("Elasticsearch"));
    response
}

async fn bulk(
    receiver: Receiver,
    tenant: RequestTenant,
    index: String,
    request: Request,
) -> Response {
    let start = clock::now();
    let work = move |body: &[u8], context: Context<'_>| elastic::decode_bulk(body, &index, context);
    match store(&receiver, tenant, request, work).await {
        Ok(bulk) => {
            let took = (clock::now() - start) / obs_model::time::NANOS_PER_MILLI;
            let took = u64::try_from(took).unwrap_or(0);
            (StatusCode::OK, elastic::bulk_answer(&bulk, took)).into_response()
        }
        Err(error) => failed(&error),
    }
}

async fn document(
    receiver: Receiver,
    tenant: RequestTenant,
    (action, index, id): (Action, String, Option<String>),
    request: Request,
) -> Response {
    let work = move |body: &[u8], context: Context<'_>| {
        let place = (index.as_str(), id.as_deref());
        Ok(elastic::decode_document(body, action, place, context))
    };
    match store(&receiver, tenant, request, work).await {
        Ok(bulk) => {
            let (status, body) = elastic::document_answer(&bulk);
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST);
            (status, body).into_response()
        }
        Err(error) => failed(&error),
    }
}

/// Decodes and stores a request; gives what is to be told of its operations.
async fn store(
    receiver: &Receiver,
    RequestTenant(tenant): RequestTenant,
    request: Request,
    work: impl FnOnce(&[u8], Context<'_>) -> Result<Bulk, WireError> + Send + 'static,
) -> Result<Bulk, HttpError> {
    let (parts, body) = request.into_parts();
    let mut bytes = 0;
    let outcome = async {
        let tenant = tenant?;
        let mut body = receiver.body(body).await?;
        bytes = body.bytes.len();
        let encoding = content_encoding(&parts.headers);
        let work = in_context(&parts, work);
        let mut bulk = receiver
            .decode(&mut body, (&encoding, usize::MAX), work)
            .await?;
        let batch = std::mem::take(&mut bulk.batch);
        if !batch.streams.is_empty() {
            let accepted = receiver.sink.logs(tenant, batch).await?;
            bulk.refuse(accepted.refused, &accepted.reason);
        }
        Ok(bulk)
    }
    .await;
    receiver.count(Door::Elasticsearch, bytes, &outcome);
    outcome
}

/// Gives a decoder of documents what it needs to know besides the bytes.
pub(super) fn in_context<T>(
    parts: &Parts,
    work: impl FnOnce(&[u8], Context<'_>) -> Result<T, WireError> + Send + 'static,
) -> impl FnOnce(&[u8], &Limits) -> Result<T, WireError> + Send + 'static {
    let mapping: Mapping = mapping::of(parts);
    let now = clock::now();
    move |body, limits| {
        let mapping = &mapping;
        work(
            body,
            Context {
                mapping,
                now,
                limits,
            },
        )
    }
}

/// An error in Elasticsearch's words.
fn failed(error: &HttpError) -> Response {
    let kind = match error.kind {
        ErrorKind::TooMany => "es_rejected_execution_exception",
        ErrorKind::TooLarge => "content_too_long_exception",
        ErrorKind::UnsupportedMedia => "media_type_header_exception",
        ErrorKind::Unavailable | ErrorKind::Timeout => "unavailable_shards_exception",
        ErrorKind::Internal => "exception",
        _ => "illegal_argument_exception",
    };
    let status = error.status();
    let body = elastic::error_answer(status.as_u16(), kind, &error.message);
    let mut response = (status, body).into_response();
    if let Some(seconds) = error.retry_after {
        let headers = response.headers_mut();
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_of_addresses() {
        let check = |method: Method, path: &str, expect: Operation| {
            assert_eq!(operation(&method, path), expect, "{method} {path}");
        };
        let (get, head) = (|| Method::GET, || Method::HEAD);
        let (post, put) = (|| Method::POST, || Method::PUT);
        check(get(), "", Operation::About);
        check(head(), "/", Operation::About);
        check(post(), "_bulk", Operation::Bulk(String::new()));
        check(put(), "/a/_bulk/", Operation::Bulk("a".into()));
        check(post(), "a/_doc/_bulk", Operation::Bulk("a".into()));
        let one = |action, id: Option<&str>| {
            Operation::Document(action, "a".into(), id.map(str::to_owned))
        };
        check(post(), "a/_doc", one(Action::Index, None));
        check(put(), "a/_doc/7", one(Action::Index, Some("7")));
        check(put(), "a/_create/7", one(Action::Create, Some("7")));
        check(get(), "_license", Operation::Fixed(LICENSE));
        check(head(), "_index_template/logs", Operation::Fixed("{}"));
        check(put(), "_ilm/policy/logs", Operation::Fixed(ACKNOWLEDGED));
        check(get(), "_nodes/http", Operation::Fixed(NODES));
        check(head(), "logs", Operation::Fixed("{}"));
        check(put(), "logs", Operation::Fixed(ACKNOWLEDGED));
        check(get(), "_bulk", Operation::Unknown);
        check(get(), "logs/_search", Operation::Unknown);
        check(Method::DELETE, "logs", Operation::Unknown);
    }
}
