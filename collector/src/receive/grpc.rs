//! OTLP over gRPC (port 4317): the three `Export` calls, Loki's `Push`, Jaeger's `PostSpans`. Messages stay bytes here
//! and are decoded by `wire`, exactly like those over HTTP.
//!
//! Invariants: a message is bounded before and after decompression; "try again" is told so that
//! OTLP clients do (`RESOURCE_EXHAUSTED` with `RetryInfo`, or `UNAVAILABLE`).

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::routing::post;
use bytes::{Buf, BufMut, Bytes};
use http::{HeaderValue, Response, StatusCode, header};
use obs_wire::jaeger::sampling;
use obs_wire::loki::push;
use obs_wire::otlp::{Encoding, Signal};
use tonic::codec::{Codec, CompressionEncoding, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::server::{Grpc, UnaryService};
use tonic::{Code, Status};

use super::{Received, Receiver, RequestTenant, loki, otlp, zipkin};
use crate::http_error::{ErrorKind, HttpError};
use crate::metrics::Door;
use crate::sink::RETRY_AFTER_SECONDS;
use obs_model::Tenant;

const METRICS: &str = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export";
const LOGS: &str = "/opentelemetry.proto.collector.logs.v1.LogsService/Export";
const TRACES: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
const LOKI: &str = "/logproto.Pusher/Push";
const JAEGER: &str = "/jaeger.api_v2.CollectorService/PostSpans";
const SAMPLING: &str = "/jaeger.api_v2.SamplingManager/GetSamplingStrategy";

/// What is called.
#[derive(Clone, Copy, Debug)]
enum Called {
    Otlp(Signal),
    LokiPush,
    JaegerSpans,
    JaegerSampling,
}

/// The gRPC receivers, to be served with HTTP/2.
pub fn routes(receiver: Receiver) -> Router {
    Router::new()
        .route(METRICS, post(metrics))
        .route(LOGS, post(logs))
        .route(TRACES, post(traces))
        .route(LOKI, post(loki_push))
        .route(JAEGER, post(jaeger_spans))
        .route(SAMPLING, post(jaeger_sampling))
        .fallback(unimplemented)
        .with_state(receiver)
}

/// Largest message, before and after decompression; four times gRPC's usual bound. tonic makes room
/// for the declared length, so it is kept well below that of HTTP bodies.
const MESSAGE_BYTES_MAX: usize = 16 << 20;
/// Longest call, from its first byte to the answer.
const CALL_DEADLINE: Duration = Duration::from_secs(90);

type Answer = Response<tonic::body::Body>;

async fn metrics(
    State(receiver): State<Receiver>,
    tenant: RequestTenant,
    request: Request,
) -> Answer {
    export(receiver, Called::Otlp(Signal::Metrics), tenant, request).await
}

async fn logs(State(receiver): State<Receiver>, tenant: RequestTenant, request: Request) -> Answer {
    export(receiver, Called::Otlp(Signal::Logs), tenant, request).await
}

async fn traces(
    State(receiver): State<Receiver>,
    tenant: RequestTenant,
    request: Request,
) -> Answer {
    export(receiver, Called::Otlp(Signal::Traces), tenant, request).await
}

async fn loki_push(
    State(receiver): State<Receiver>,
    tenant: RequestTenant,
    request: Request,
) -> Answer {
    export(receiver, Called::LokiPush, tenant, request).await
}

async fn jaeger_spans(
    State(receiver): State<Receiver>,
    tenant: RequestTenant,
    request: Request,
) -> Answer {
    export(receiver, Called::JaegerSpans, tenant, request).await
}

async fn jaeger_sampling(
    State(receiver): State<Receiver>,
    tenant: RequestTenant,
    request: Request,
) -> Answer {
    export(receiver, Called::JaegerSampling, tenant, request).await
}

async fn unimplemented() -> Answer {
    let text = "obs serves the OTLP services Metrics, Logs and Trace, logproto.Pusher and \
                jaeger.api_v2's CollectorService and SamplingManager";
    Status::unimplemented(text).into_http()
}

async fn export(
    receiver: Receiver,
    called: Called,
    RequestTenant(tenant): RequestTenant,
    request: Request,
) -> Answer {
    let content_type = request.headers().get(header::CONTENT_TYPE);
    let is_grpc = |value: &HeaderValue| value.as_bytes().starts_with(b"application/grpc");
    if !content_type.is_some_and(is_grpc) {
        let mut answer = Answer::new(tonic::body::Body::empty());
        *answer.status_mut() = StatusCode::UNSUPPORTED_MEDIA_TYPE;
        return answer;
    }
    let Ok(_place) = Arc::clone(&receiver.calls).try_acquire_owned() else {
        let full = HttpError::new(ErrorKind::TooMany, "too many calls are in flight");
        return status(&full.retry_after(RETRY_AFTER_SECONDS)).into_http();
    };
    let limit = receiver.limits.body_bytes_max.min(MESSAGE_BYTES_MAX);
    let service = Export {
        receiver,
        called,
        tenant,
    };
    let mut grpc = Grpc::new(Raw)
        .accept_compressed(CompressionEncoding::Gzip)
        .accept_compressed(CompressionEncoding::Zstd)
        .max_decoding_message_size(limit);
    let answer = tokio::time::timeout(CALL_DEADLINE, grpc.unary(service, request));
    let late = |_| Status::deadline_exceeded("the call took too long").into_http();
    settled(answer.await.unwrap_or_else(late))
}

/// tonic tells a message over its limit by `OUT_OF_RANGE`, after which OTLP clients send it again,
/// for ever; without `RetryInfo`, `RESOURCE_EXHAUSTED` is final.
fn settled(mut answer: Answer) -> Answer {
    let code = |code: Code| HeaderValue::from(code as i32);
    if answer.headers().get(Status::GRPC_STATUS) == Some(&code(Code::OutOfRange)) {
        let exhausted = code(Code::ResourceExhausted);
        answer.headers_mut().insert(Status::GRPC_STATUS, exhausted);
    }
    answer
}

/// One call.
struct Export {
    receiver: Receiver,
    called: Called,
    tenant: Result<Tenant, HttpError>,
}

impl UnaryService<Bytes> for Export {
    type Response = Bytes;
    type Future = Pin<Box<dyn Future<Output = Result<tonic::Response<Bytes>, Status>> + Send>>;

    fn call(&mut self, request: tonic::Request<Bytes>) -> Self::Future {
        let (receiver, called) = (self.receiver.clone(), self.called);
        let tenant = self.tenant.clone();
        Box::pin(async move {
            let bytes = request.into_inner();
            let count = bytes.len();
            if matches!(called, Called::JaegerSampling) {
                let service = sampling::service(&bytes).map_err(|e| status(&e.into()))?;
                let told = receiver.strategies.of(service).protobuf();
                return Ok(tonic::Response::new(told.into()));
            }
            let outcome = store(&receiver, called, tenant, bytes).await;
            let door = match called {
                Called::Otlp(_) => Door::OtlpGrpc,
                Called::LokiPush => Door::LokiPush,
                Called::JaegerSpans | Called::JaegerSampling => Door::Jaeger,
            };
            receiver.count(door, count, &outcome);
            outcome.map(tonic::Response::new).map_err(|e| status(&e))
        })
    }
}

async fn store(
    receiver: &Receiver,
    called: Called,
    tenant: Result<Tenant, HttpError>,
    bytes: Bytes,
) -> Result<Bytes, HttpError> {
    let tenant = tenant?;
    let share = receiver.share(bytes.len().div_ceil(1024))?;
    let mut body = Received {
        bytes,
        share: Some(share),
    };
    // tonic has decompressed the message.
    let signal = match called {
        Called::Otlp(signal) => signal,
        Called::LokiPush => {
            let decode = push::decode_protobuf;
            let decoded = receiver.decode(&mut body, ("", usize::MAX), decode).await?;
            loki::store(receiver, tenant, decoded).await?;
            return Ok(Bytes::new());
        }
        // Answered before it comes here: there is nothing to store.
        Called::JaegerSampling => return Ok(Bytes::new()),
        Called::JaegerSpans => {
            let (decode, body) = (obs_wire::jaeger::decode_protobuf, (&mut body, ""));
            zipkin::store(receiver, Door::Jaeger, tenant, body, decode).await?;
            return Ok(Bytes::new());
        }
    };
    let (plain, protobuf) = ("", Encoding::Protobuf);
    let told = otlp::store(receiver, signal, tenant, &mut body, protobuf, plain).await?;
    Ok(otlp::response_protobuf(signal, &told))
}

fn status(error: &HttpError) -> Status {
    let code = Code::from_i32(error.kind.grpc());
    match error.retry_after {
        Some(_) => Status::with_details(code, &error.message, error.status_protobuf().into()),
        None => Status::new(code, &error.message),
    }
}

/// Messages as they are.
#[derive(Clone, Copy, Debug)]
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        out.put(item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, message: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(message.copy_to_bytes(message.remaining())))
    }
}
