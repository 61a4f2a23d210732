//! gRPC: the health service of the target, `grpc.health.v1.Health/Check`.

use std::net::SocketAddr;

use bytes::{BufMut, Bytes, BytesMut};
use http::{Request, Version};
use http_body_util::{BodyExt, Full};
use tokio::time::Instant;

use super::http::{Stream, send};
use super::module::Grpc;
use super::net::{self, Preference};
use super::report::Report;
use crate::http_client::handshake_for;

const DURATION: &str = "probe_grpc_duration_seconds";
const DURATION_HELP: &str = "Duration of gRPC request by phase";
const STATES: [&str; 4] = ["UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"];
/// Bytes of an answer; the message has a few.
const ANSWER_BYTES_MAX: usize = 64 << 10;
/// As gRPC has it for those that do not answer.
const UNAVAILABLE: f64 = 14.0;

/// What is told of an answer is there before it is.
fn zero(config: &Grpc, report: &mut Report) {
    for phase in ["resolve", "check"] {
        report.phase(DURATION, DURATION_HELP, phase, 0.0);
    }
    let ssl = f64::from(u8::from(config.tls));
    report.set(
        "probe_grpc_ssl",
        "Indicates if SSL was used for the connection",
        ssl,
    );
    let expiry = "Returns last SSL chain expiry in unixtime";
    report.set("probe_ssl_earliest_cert_expiry", expiry, 0.0);
    status(report, UNAVAILABLE);
    for name in STATES {
        state(report, name, 0.0);
    }
}

pub(super) async fn probe(
    target: &str,
    config: &Grpc,
    report: &mut Report,
) -> Result<bool, String> {
    zero(config, report);
    let (host, port) = net::split(target)?;
    let preference = Preference {
        protocol: config.preferred_ip_protocol,
        fallback: config.ip_protocol_fallback.unwrap_or(true),
    };
    let (ip, took) = net::resolve(host, preference, report).await?;
    report.phase(DURATION, DURATION_HELP, "resolve", took);
    let begin = Instant::now();
    let stream = net::connect(SocketAddr::new(ip, port), None).await?;
    let stream: Box<dyn Stream> = if config.tls {
        let stream = handshake_for(stream, (&config.tls_config, host), &[b"h2"]).await?;
        net::tell(&stream, &config.tls_config, report);
        Box::new(stream)
    } else {
        Box::new(stream)
    };
    let (response, _driver) = send(stream, true, request(target, config)?).await?;
    let code = |headers: &http::HeaderMap| {
        let value = headers.get("grpc-status")?.to_str().ok()?;
        value.parse::<f64>().ok()
    };
    let mut told = code(response.headers());
    let (mut body, mut bytes) = (response.into_body(), BytesMut::new());
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|e| format!("can't read the answer: {e}"))?;
        match frame.into_data() {
            Ok(data) if bytes.len() + data.len() > ANSWER_BYTES_MAX => {
                return Err(format!(
                    "the answer is longer than {ANSWER_BYTES_MAX} bytes"
                ));
            }
            Ok(data) => bytes.extend_from_slice(&data),
            Err(frame) => told = frame.trailers_ref().and_then(code).or(told),
        }
    }
    report.phase(
        DURATION,
        DURATION_HELP,
        "check",
        begin.elapsed().as_secs_f64(),
    );
    let told = told.ok_or("the answer has no grpc-status")?;
    status(report, told);
    if told != 0.0 {
        report.note(format!("gRPC status {told}"));
        return Ok(false);
    }
    let found = serving(&bytes);
    let name = STATES.get(found).copied().unwrap_or("UNKNOWN");
    state(report, name, 1.0);
    report.note(format!("The service is {name}"));
    Ok(name == "SERVING")
}

fn status(report: &mut Report, code: f64) {
    report.set("probe_grpc_status_code", "Response gRPC status code", code);
}

fn state(report: &mut Report, name: &str, value: f64) {
    let what = (
        "probe_grpc_healthcheck_response",
        "Response HealthCheck response",
    );
    report.with(what, &[("serving_status", name)], value);
}

/// `HealthCheckRequest { string service = 1; }`
fn request(target: &str, config: &Grpc) -> Result<Request<Full<Bytes>>, String> {
    let name = config.service.as_bytes();
    let length = u8::try_from(name.len()).ok().filter(|l| *l < 0x80);
    let length = length.ok_or("the name of the service is longer than 127 bytes")?;
    let mut message = BytesMut::new();
    if length > 0 {
        message.put_slice(&[0x0a, length]);
        message.put_slice(name);
    }
    let mut body = BytesMut::new();
    body.put_u8(0);
    body.put_u32(u32::try_from(message.len()).map_err(|e| e.to_string())?);
    body.put(message);
    let scheme = if config.tls { "https" } else { "http" };
    let mut request = Request::builder()
        .method("POST")
        .version(Version::HTTP_2)
        .uri(format!("{scheme}://{target}/grpc.health.v1.Health/Check"))
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    for (name, values) in &config.metadata {
        for value in values {
            request = request.header(name, value);
        }
    }
    request
        .body(Full::new(body.freeze()))
        .map_err(|e| e.to_string())
}

/// `HealthCheckResponse { ServingStatus status = 1; }` behind its five bytes.
fn serving(bytes: &[u8]) -> usize {
    match bytes.get(5..) {
        Some([0x08, state, ..]) => usize::from(*state),
        _ => 0,
    }
}
