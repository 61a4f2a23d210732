//! OTLP by the OpenTelemetry SDK over gRPC, as applications send it, and metrics and logs over HTTP.

use std::time::{Duration, SystemTime};

use opentelemetry::KeyValue;
use opentelemetry::logs::{AnyValue, LogRecord, Logger, LoggerProvider, Severity};
use opentelemetry::metrics::MeterProvider;
use opentelemetry::trace::{Span, SpanKind, Status, TraceContextExt, Tracer, TracerProvider};
use opentelemetry_otlp::{LogExporter, MetricExporter, SpanExporter, WithExportConfig};
use opentelemetry_proto::tonic::logs::v1::LogsData;
use opentelemetry_proto::tonic::metrics::v1::MetricsData;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::logs::SdkLoggerProvider;
use opentelemetry_sdk::metrics::{PeriodicReader, SdkMeterProvider};
use opentelemetry_sdk::trace::SdkTracerProvider;
use prost::Message;
use serde_json::json;

use super::{assert_close, list, vector};
use crate::process::{DEADLINE, Obs, now};
use crate::send::{MINUTE, Otlp, SECOND, otlp};

fn resource() -> Resource {
    Resource::builder()
        .with_service_name("sdk")
        .with_attribute(KeyValue::new("service.instance.id", "i-1"))
        .with_attribute(KeyValue::new("host.name", "here"))
        .build()
}

/// The exporters need a runtime around them; the SDK's own threads drive them.
fn runtime() -> tokio::runtime::Runtime {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime")
}

#[test]
fn spans_of_the_sdk_over_grpc() {
    let (obs, runtime) = (Obs::start(), runtime());
    let _inside = runtime.enter();
    let exporter = SpanExporter::builder()
        .with_tonic()
        .with_endpoint(format!("http://{}", obs.address("otlp_grpc")))
        .with_timeout(DEADLINE)
        .build()
        .expect("an exporter");
    let provider = SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_resource(resource())
        .build();
    let tracer = provider.tracer("scope");
    let id = tracer.in_span("outer", |context| {
        let inner = tracer.span_builder("inner").with_kind(SpanKind::Client);
        let mut inner = inner.start_with_context(&tracer, &context);
        inner.set_attribute(KeyValue::new("peer", "db"));
        inner.add_event("retry", vec![KeyValue::new("attempt", 2)]);
        inner.set_status(Status::error("refused"));
        inner.end();
        context.span().span_context().trace_id()
    });
    let ended = provider.shutdown_with_timeout(DEADLINE);
    ended.expect("everything is acknowledged");
    let params = [("q", "{ resource.service.name = \"sdk\" && status = error }")];
    let found = obs.get("/tempo/api/search", &params).json();
    assert_eq!(list(&found["traces"]).len(), 1, "{found}");
    assert_eq!(found["traces"][0]["rootTraceName"], "outer", "{found}");
    let trace = obs.get(&format!("/tempo/api/v2/traces/{id}"), &[]).json();
    let text = trace.to_string();
    for part in [
        "\"inner\"",
        "\"retry\"",
        "\"attempt\"",
        "\"refused\"",
        "\"scope\"",
        "\"here\"",
    ] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
}

#[test]
fn logs_of_the_sdk_over_grpc() {
    let (obs, runtime) = (Obs::start(), runtime());
    let _inside = runtime.enter();
    let exporter = LogExporter::builder()
        .with_tonic()
        .with_endpoint(format!("http://{}", obs.address("otlp_grpc")))
        .with_timeout(DEADLINE)
        .build()
        .expect("an exporter");
    let provider = SdkLoggerProvider::builder()
        .with_batch_exporter(exporter)
        .with_resource(resource())
        .build();
    let logger = provider.logger("scope");
    for order in 0..3 {
        let mut record = logger.create_log_record();
        record.set_timestamp(SystemTime::now());
        record.set_severity_number(Severity::Error);
        record.set_severity_text("ERROR");
        record.set_body(AnyValue::from(format!("order {order} failed")));
        record.add_attribute("order.id", order);
        logger.emit(record);
    }
    let ended = provider.shutdown_with_timeout(DEADLINE);
    ended.expect("everything is acknowledged");
    let params = [("query", "{service_name=\"sdk\"} | order_id=\"1\"")];
    let found = obs.get("/loki/api/v1/query_range", &params).json();
    let streams = list(&found["data"]["result"]);
    assert_eq!(streams.len(), 1, "{found}");
    assert_eq!(streams[0]["values"][0][1], "order 1 failed");
    assert_eq!(streams[0]["stream"]["service_instance_id"], "i-1");
    assert_eq!(streams[0]["stream"]["detected_level"], "error");
    assert_eq!(streams[0]["stream"]["host_name"], "here");
}

#[test]
fn metrics_of_the_sdk_over_grpc() {
    let (obs, runtime) = (Obs::start(), runtime());
    let _inside = runtime.enter();
    let exporter = MetricExporter::builder()
        .with_tonic()
        .with_endpoint(format!("http://{}", obs.address("otlp_grpc")))
        .with_timeout(DEADLINE)
        .build()
        .expect("an exporter");
    let reader = PeriodicReader::builder(exporter)
        .with_interval(Duration::from_secs(3600))
        .build();
    let provider = SdkMeterProvider::builder()
        .with_reader(reader)
        .with_resource(resource())
        .build();
    let meter = provider.meter("scope");
    let orders = meter
        .u64_counter("shop.orders")
        .with_description("Orders taken.")
        .build();
    orders.add(3, &[KeyValue::new("kind", "book")]);
    orders.add(4, &[KeyValue::new("kind", "toy")]);
    meter
        .f64_gauge("queue.usage")
        .with_unit("1")
        .build()
        .record(0.5, &[]);
    let durations = meter.f64_histogram("request.duration").with_unit("s");
    let durations = durations.with_boundaries(vec![0.1, 1.0]).build();
    [0.05, 0.5, 5.0]
        .iter()
        .for_each(|seconds| durations.record(*seconds, &[]));
    provider.force_flush().expect("everything is acknowledged");
    let at = format!("{}", now() / SECOND + 1);
    let check = |query: &str, expect: &[(&str, f64)]| {
        let params = [("query", query), ("time", at.as_str())];
        assert_close(
            &vector(&obs.get("/api/v1/query", &params).json()),
            expect,
            query,
        );
    };
    check(
        "sum by (kind, job, instance) (shop_orders_total)",
        &[
            ("{instance=\"i-1\",job=\"sdk\",kind=\"book\"}", 3.0),
            ("{instance=\"i-1\",job=\"sdk\",kind=\"toy\"}", 4.0),
        ],
    );
    check("sum(queue_usage_ratio)", &[("{}", 0.5)]);
    check(
        "sum by (le) (request_duration_seconds_bucket)",
        &[
            ("{le=\"+Inf\"}", 3.0),
            ("{le=\"0.1\"}", 1.0),
            ("{le=\"1\"}", 2.0),
        ],
    );
    check("sum(request_duration_seconds_count)", &[("{}", 3.0)]);
    check(
        "sum by (host_name) (target_info)",
        &[("{host_name=\"here\"}", 1.0)],
    );
    let told = obs
        .get("/api/v1/metadata", &[("metric", "shop_orders_total")])
        .json();
    assert_eq!(
        told["data"]["shop_orders_total"][0]["help"], "Orders taken.",
        "{told}"
    );
    // It was acknowledged; the SDK gives the end five seconds, which a busy machine may not have.
    drop(provider.shutdown());
}

/// The same request in all four encodings; each is another service.
#[test]
fn metrics_and_logs_over_http_in_every_encoding() {
    let obs = Obs::start();
    let time = now() - MINUTE;
    let encodings = [
        Otlp::Protobuf,
        Otlp::ProtobufGzip,
        Otlp::Json,
        Otlp::JsonGzip,
    ];
    for (index, encoding) in encodings.into_iter().enumerate() {
        let service = format!("http-{index}");
        let (metrics, logs) = match encoding {
            Otlp::Protobuf | Otlp::ProtobufGzip => protobuf_bodies(&service, time),
            Otlp::Json | Otlp::JsonGzip => json_bodies(&service, time),
        };
        for (signal, body) in [("metrics", metrics), ("logs", logs)] {
            let answer = otlp(&obs, signal, encoding, body);
            assert_eq!(
                answer.status,
                200,
                "{signal} {encoding:?}: {}",
                answer.text()
            );
        }
        let params = [("query", format!("level{{job={service:?}}}"))];
        let params = params.each_ref().map(|(n, v)| (*n, v.as_str()));
        let name = format!("level{{job={service:?}}}");
        assert_close(
            &vector(&obs.get("/api/v1/query", &params).json()),
            &[(&name, 7.5)],
            &name,
        );
        let params = [("query", format!("{{service_name={service:?}}}"))];
        let params = params.each_ref().map(|(n, v)| (*n, v.as_str()));
        let found = obs.get("/loki/api/v1/query_range", &params).json();
        let stream = &found["data"]["result"][0];
        assert_eq!(
            stream["values"],
            json!([[time.to_string(), "hello"]]),
            "{found}"
        );
    }
}

fn json_bodies(service: &str, time: i64) -> (Vec<u8>, Vec<u8>) {
    let resource =
        json!({"attributes": [{"key": "service.name", "value": {"stringValue": service}}]});
    let point = json!({"timeUnixNano": time.to_string(), "asDouble": 7.5});
    let metrics = json!({"resourceMetrics": [{"resource": resource, "scopeMetrics": [
        {"metrics": [{"name": "level", "gauge": {"dataPoints": [point]}}]},
    ]}]});
    let record = json!({"timeUnixNano": time.to_string(), "body": {"stringValue": "hello"}});
    let logs = json!({"resourceLogs": [{"resource": resource, "scopeLogs": [
        {"logRecords": [record]},
    ]}]});
    (
        metrics.to_string().into_bytes(),
        logs.to_string().into_bytes(),
    )
}

fn protobuf_bodies(service: &str, time: i64) -> (Vec<u8>, Vec<u8>) {
    use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
    use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
    use opentelemetry_proto::tonic::metrics::v1::{
        Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, metric, number_data_point,
    };
    use opentelemetry_proto::tonic::resource::v1::Resource;
    let text = |text: &str| AnyValue {
        value: Some(any_value::Value::StringValue(text.into())),
    };
    let attribute = KeyValue {
        key: "service.name".into(),
        value: Some(text(service)),
        ..KeyValue::default()
    };
    let resource = Some(Resource {
        attributes: vec![attribute],
        ..Resource::default()
    });
    let point = NumberDataPoint {
        time_unix_nano: time as u64,
        value: Some(number_data_point::Value::AsDouble(7.5)),
        ..NumberDataPoint::default()
    };
    let metric = Metric {
        name: "level".into(),
        data: Some(metric::Data::Gauge(Gauge {
            data_points: vec![point],
        })),
        ..Metric::default()
    };
    let metrics = MetricsData {
        resource_metrics: vec![ResourceMetrics {
            resource: resource.clone(),
            scope_metrics: vec![ScopeMetrics {
                metrics: vec![metric],
                ..ScopeMetrics::default()
            }],
            ..ResourceMetrics::default()
        }],
    };
    let record = LogRecord {
        time_unix_nano: time as u64,
        body: Some(text("hello")),
        ..LogRecord::default()
    };
    let logs = LogsData {
        resource_logs: vec![ResourceLogs {
            resource,
            scope_logs: vec![ScopeLogs {
                log_records: vec![record],
                ..ScopeLogs::default()
            }],
            ..ResourceLogs::default()
        }],
    };
    (metrics.encode_to_vec(), logs.encode_to_vec())
}
