//! obs' own logs and traces: structured lines on standard error and, where the configuration asks,
//! the same events and spans through OpenTelemetry into the server's own OTLP receiver.
//!
//! Invariant: only events and spans of obs' own crates are exported, and the receivers make none
//! per request, so that taking in telemetry makes no telemetry.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, anyhow};
use obs_collector::http_client;
use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider;
use opentelemetry_appender_tracing::layer::OpenTelemetryTracingBridge;
use opentelemetry_otlp::{LogExporter, Protocol, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::logs::{
    BatchConfigBuilder as LogBatch, BatchLogProcessor, SdkLoggerProvider,
};
use opentelemetry_sdk::trace::{
    BatchConfigBuilder as SpanBatch, BatchSpanProcessor, SdkTracerProvider,
};
use tracing::Metadata;
use tracing_subscriber::filter::{LevelFilter, Targets, filter_fn};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry};

/// How often own telemetry is sent; short, because a user looks at it after seconds.
const EXPORT_PERIOD: Duration = Duration::from_secs(1);
/// How long one export may take.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(5);

/// The shape of log lines on standard error.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// `key=value` pairs for people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// What is set up and must be flushed at the end.
#[derive(Debug, Default)]
pub(crate) struct Telemetry {
    traces: Option<SdkTracerProvider>,
    logs: Option<SdkLoggerProvider>,
}

/// What to export.
#[derive(Clone, Debug)]
pub(crate) struct Export {
    /// The OTLP/HTTP receiver.
    pub(crate) to: SocketAddr,
    /// Where this process is let in, and what it shows there, unless anybody is.
    pub(crate) own: Option<(SocketAddr, String)>,
    /// Whether logs are exported.
    pub(crate) logs: bool,
    /// Whether traces are exported.
    pub(crate) traces: bool,
}

impl Export {
    fn place(&self) -> SocketAddr {
        self.own.as_ref().map_or(self.to, |(place, _)| *place)
    }
}

/// Sets the process' subscriber up. A process that has one already keeps it (tests).
pub(crate) fn start(
    format: LogFormat,
    verbose: LevelFilter,
    export: Export,
) -> anyhow::Result<Telemetry> {
    let resource = Resource::builder()
        .with_service_name("obs")
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .with_attribute(KeyValue::new("service.instance.id", export.to.to_string()))
        .build();
    let traces = export
        .traces
        .then(|| traces(&export, resource.clone()))
        .transpose()?;
    let logs = export.logs.then(|| logs(&export, resource)).transpose()?;
    let stderr = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let stderr: Box<dyn Layer<Registry> + Send + Sync> = match format {
        LogFormat::Text => stderr.boxed(),
        LogFormat::Json => stderr.json().flatten_event(true).boxed(),
    };
    // Other crates speak up only when something is wrong.
    let ours = Targets::new()
        .with_default(LevelFilter::WARN)
        .with_target("obs", verbose);
    let spans = traces.as_ref().map(|provider| {
        tracing_opentelemetry::layer()
            .with_tracer(provider.tracer("obs"))
            .with_location(false)
            .with_threads(false)
            .with_target(false)
            .with_tracked_inactivity(false)
            .with_filter(filter_fn(is_ours))
    });
    let events = logs
        .as_ref()
        .map(|provider| OpenTelemetryTracingBridge::new(provider).with_filter(filter_fn(is_ours)));
    let subscriber = tracing_subscriber::registry()
        .with(stderr.with_filter(ours))
        .with(spans)
        .with(events);
    if subscriber.try_init().is_err() {
        tracing::debug!("a subscriber is set already");
    }
    Ok(Telemetry { traces, logs })
}

fn is_ours(metadata: &Metadata<'_>) -> bool {
    metadata.target().starts_with("obs") && *metadata.level() <= tracing::Level::INFO
}

/// The exporters run on threads of their own, so their client blocks. It asks this very process:
/// a proxy of the environment is not for it.
fn client(export: &Export) -> anyhow::Result<reqwest::blocking::Client> {
    let mut headers = http::HeaderMap::new();
    if let Some((_, token)) = &export.own {
        let mut value = http::HeaderValue::try_from(format!("Bearer {token}"))?;
        value.set_sensitive(true);
        headers.insert(http::header::AUTHORIZATION, value);
    }
    let settings = || {
        let builder = reqwest::Client::builder().no_proxy();
        Ok(builder.default_headers(headers.clone()))
    };
    let finish = |builder| {
        reqwest::blocking::ClientBuilder::from(builder)
            .timeout(EXPORT_TIMEOUT)
            .build()
    };
    http_client::build(settings, finish)
        .map_err(|e| anyhow!("set up the HTTP client of own telemetry: {e}"))
}

fn traces(export: &Export, resource: Resource) -> anyhow::Result<SdkTracerProvider> {
    let exporter = SpanExporter::builder()
        .with_http()
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(format!("http://{}/v1/traces", export.place()))
        .with_http_client(client(export)?)
        .build()
        .context("set up the exporter of own traces")?;
    let config = SpanBatch::default()
        .with_scheduled_delay(EXPORT_PERIOD)
        .build();
    let processor = BatchSpanProcessor::builder(exporter)
        .with_batch_config(config)
        .build();
    Ok(SdkTracerProvider::builder()
        .with_span_processor(processor)
        .with_resource(resource)
        .build())
}

fn logs(export: &Export, resource: Resource) -> anyhow::Result<SdkLoggerProvider> {
    let exporter = LogExporter::builder()
        .with_http()
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(format!("http://{}/v1/logs", export.place()))
        .with_http_client(client(export)?)
        .build()
        .context("set up the exporter of own logs")?;
    let config = LogBatch::default()
        .with_scheduled_delay(EXPORT_PERIOD)
        .build();
    let processor = BatchLogProcessor::builder(exporter)
        .with_batch_config(config)
        .build();
    Ok(SdkLoggerProvider::builder()
        .with_log_processor(processor)
        .with_resource(resource)
        .build())
}

impl Telemetry {
    /// Sends what is left. Blocks; call it off the event loop while the receiver still answers.
    pub(crate) fn stop(self) {
        if let Some(Err(error)) = self.traces.map(|p| p.shutdown()) {
            tracing::warn!(%error, "own traces could not be flushed");
        }
        if let Some(Err(error)) = self.logs.map(|p| p.shutdown()) {
            tracing::warn!(%error, "own logs could not be flushed");
        }
    }
}
