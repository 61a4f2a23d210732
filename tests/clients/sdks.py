"""Real client libraries against obs: what they send comes back.

    sdks.py OBS_BINARY

The OpenTelemetry SDK sends traces, metrics and logs over gRPC and over HTTP; a logging handler
pushes to Loki's API, a WebSocket client follows what it sends; prometheus-api-client reads.
"""

import datetime
import json
import logging
import pathlib
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request

import logging_loki
import prometheus_api_client
import websocket
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter as GrpcLogs
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter as GrpcMetrics
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcSpans
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter as HttpLogs
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter as HttpMetrics
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpSpans
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import SimpleLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation, View
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from processes import DEADLINE, Programs, ask, wait_for

SPANS = 50
failures = []


def expect(what, wanted, got):
    """Notes where something is not what it should be."""
    if wanted != got:
        failures.append(what)
        print(f"FAILED {what}: expected {wanted!r}, got {got!r}", flush=True)


def value(obs, query):
    """The value of an instant query that gives one series."""
    result = ask(obs, "/api/v1/query", {"query": query})["data"]["result"]
    return float(result[0]["value"][1]) if len(result) == 1 else None


def lines(obs, query):
    """The streams and lines that a LogQL query gives."""
    now = time.time()
    parameters = {"query": query, "start": int((now - 600) * 1e9), "end": int((now + 60) * 1e9), "limit": 500}
    streams = ask(obs, "/loki/api/v1/query_range", parameters)["data"]["result"]
    return [(s["stream"], line) for s in streams for _, line in s["values"]]


def traces(obs, name, resource, exporter):
    """Spans with everything that the SDK can put on them."""
    provider = TracerProvider(resource=resource)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    tracer = provider.get_tracer("clients", "1.0")
    with tracer.start_as_current_span("parent", kind=trace.SpanKind.SERVER) as parent:
        parent.set_attributes({"text": "ü", "whole": 2**53 + 1, "real": 0.1, "yes": True, "list": ["a", "b"]})
        parent.add_event("happened", {"n": 1})
        context = parent.get_span_context()
        for i in range(SPANS - 2):
            with tracer.start_as_current_span(f"child-{i}", attributes={"i": i}):
                pass
        try:
            with tracer.start_as_current_span("broken", links=[trace.Link(context)]):
                raise ValueError("no")
        except ValueError:
            pass
    expect(f"{name}: spans are taken", True, provider.force_flush(1000 * DEADLINE))
    provider.shutdown()

    identifier = f"{context.trace_id:032x}"

    def found():
        batches = ask(obs, f"/tempo/api/traces/{identifier}")["batches"]
        spans = [s for b in batches for scope in b["scopeSpans"] for s in scope["spans"]]
        return len(spans) == SPANS and spans

    spans = {span["name"]: span for span in wait_for(f"{name}: the trace", found)}
    attributes = {a["key"]: a["value"] for a in spans["parent"]["attributes"]}
    expect(f"{name}: text", {"stringValue": "ü"}, attributes["text"])
    expect(f"{name}: whole number", {"intValue": str(2**53 + 1)}, attributes["whole"])
    expect(f"{name}: real number", {"doubleValue": 0.1}, attributes["real"])
    expect(f"{name}: truth value", {"boolValue": True}, attributes["yes"])
    wanted = {"arrayValue": {"values": [{"stringValue": "a"}, {"stringValue": "b"}]}}
    expect(f"{name}: list", wanted, attributes["list"])
    expect(f"{name}: event", "happened", spans["parent"]["events"][0]["name"])
    expect(f"{name}: exception", "exception", spans["broken"]["events"][0]["name"])
    expect(f"{name}: one link", 1, len(spans["broken"]["links"]))
    query = f'{{ resource.service.name = "{name}" && status = error }}'
    hits = ask(obs, "/tempo/api/search", {"q": query, "limit": 20})["traces"]
    expect(f"{name}: search", [identifier], [hit["traceID"].zfill(32) for hit in hits])


def metrics(obs, name, resource, exporter):
    """Every instrument, once more after an update."""
    reader = PeriodicExportingMetricReader(
        exporter, export_interval_millis=3_600_000, export_timeout_millis=1000 * DEADLINE
    )
    views = [View(instrument_name="client.size", aggregation=ExponentialBucketHistogramAggregation())]
    provider = MeterProvider([reader], resource=resource, views=views)
    meter = provider.get_meter("clients", "1.0")
    requests = meter.create_counter("client.requests", unit="1", description="Requests sent")
    queue = meter.create_up_down_counter("client.queue")
    took = meter.create_histogram("client.duration", unit="s")
    size = meter.create_histogram("client.size", unit="By")
    meter.create_observable_gauge("client.temperature", [lambda _: [_observation(21.5)]], unit="Cel")
    for _ in range(2):
        for i in range(10):
            requests.add(2, {"route": "/a"})
            queue.add(-1)
            took.record(i / 10)
            size.record(100 * (i + 1))
        expect(f"{name}: metrics are taken", True, provider.force_flush(1000 * DEADLINE))
    provider.shutdown()

    job = f'job="{name}"'
    for query, wanted in (
        (f'client_requests_total{{{job}, route="/a"}}', 40),
        (f"client_queue{{{job}}}", -20),
        (f"client_duration_seconds_count{{{job}}}", 20),
        (f'client_duration_seconds_bucket{{{job}, le="+Inf"}}', 20),
        (f"client_temperature_celsius{{{job}}}", 21.5),
        (f"histogram_count(client_size_bytes{{{job}}})", 20),
        (f"histogram_sum(client_size_bytes{{{job}}})", 11000),
        (f'count(target_info{{{job}, team="red"}})', 1),
    ):
        wait_for(f"{name}: {query}", lambda q=query, w=wanted: value(obs, q) == w)
    # Sizes of 500 are at this rank; the bucket around them is 2 % wide.
    middle = value(obs, f"histogram_quantile(0.45, client_size_bytes{{{job}}})")
    expect(f"{name}: quantile of {middle} near 500", True, 480 < middle < 520)


def _observation(number):
    from opentelemetry.metrics import Observation

    return Observation(number)


def logs(obs, name, resource, exporter):
    """Log records inside a span, with attributes."""
    from opentelemetry._logs import LogRecord, SeverityNumber

    provider = LoggerProvider(resource=resource)
    provider.add_log_record_processor(SimpleLogRecordProcessor(exporter))
    logger = provider.get_logger("clients")
    for i in range(5):
        logger.emit(
            LogRecord(
                timestamp=time.time_ns(),
                severity_number=SeverityNumber.WARN,
                severity_text="WARN",
                body=f"line {i} from the SDK",
                attributes={"code.line": i},
            )
        )
    provider.force_flush()
    provider.shutdown()

    query = f'{{service_name="{name}"}}'
    found = wait_for(f"{name}: log lines", lambda: len(got := lines(obs, query)) == 5 and got)
    expect(f"{name}: lines", [f"line {i} from the SDK" for i in range(5)], sorted(line for _, line in found))
    expect(f"{name}: level", {"warn"}, {labels.get("detected_level") for labels, _ in found})
    expect(f"{name}: by attribute", 1, len(lines(obs, query + ' | code_line="3"')))


def otlp(obs, addresses):
    """The OpenTelemetry SDK by every way in."""
    grpc = {"endpoint": f"http://{addresses['otlp_grpc']}", "insecure": True, "timeout": DEADLINE}
    receiver, main = f"http://{addresses['otlp_http']}", f"{obs}/otlp"
    gzip = {"compression": Compression.Gzip, "timeout": DEADLINE}
    for name, spans, measures, records in (
        ("grpc", GrpcSpans(**grpc), GrpcMetrics(**grpc), GrpcLogs(**grpc)),
        (
            "http",
            HttpSpans(f"{receiver}/v1/traces", timeout=DEADLINE),
            HttpMetrics(f"{receiver}/v1/metrics", timeout=DEADLINE),
            HttpLogs(f"{receiver}/v1/logs", timeout=DEADLINE),
        ),
        (
            "http-gzip",
            HttpSpans(f"{main}/v1/traces", **gzip),
            HttpMetrics(f"{main}/v1/metrics", **gzip),
            HttpLogs(f"{main}/v1/logs", **gzip),
        ),
    ):
        name = f"sdk-{name}"
        resource = Resource.create({"service.name": name, "service.instance.id": "i1", "team": "red"})
        traces(obs, name, resource, spans)
        metrics(obs, name, resource, measures)
        logs(obs, name, resource, records)
        print(f"{name}: traces, metrics and logs", flush=True)


def loki(obs):
    """A logging handler that pushes to Loki, in its new and its old form."""
    for version, path in ("1", "/loki/api/v1/push"), ("0", "/api/prom/push"):
        handler = logging_loki.LokiHandler(f"{obs}{path}", tags={"app": f"loki-v{version}"}, version=version)
        problems = []
        handler.handleError = lambda record, problems=problems: problems.append(sys.exc_info()[1])
        logger = logging.getLogger(f"push{version}")
        logger.propagate = False
        logger.addHandler(handler)
        for i in range(3):
            logger.error("pushed %d äöü \"quoted\"", i, extra={"tags": {"round": "one"}})
        expect(f"push {version} is taken", [], problems)
        query = f'{{app="loki-v{version}", severity="error", round="one"}}'
        found = wait_for(f"lines of push {version}", lambda q=query: len(got := lines(obs, q)) == 3 and got)
        wanted = [f'pushed {i} äöü "quoted"' for i in range(3)]
        expect(f"lines of push {version}", wanted, sorted(line for _, line in found))
    print("loki push: both versions", flush=True)


def tailing(obs):
    """A WebSocket client follows the logs: first what is there, then what comes."""
    query = urllib.parse.quote('{app="tailed"}')
    handler = logging_loki.LokiHandler(f"{obs}/loki/api/v1/push", tags={"app": "tailed"}, version="1")
    logger = logging.getLogger("tailed")
    logger.propagate = False
    logger.addHandler(handler)
    logger.warning("before")
    wait_for("a line to tail", lambda: len(lines(obs, '{app="tailed"}')) == 1)
    address = obs.replace("http://", "ws://")
    tail = websocket.create_connection(f"{address}/loki/api/v1/tail?query={query}", timeout=DEADLINE)
    heard = []
    for text in "before", "after":
        if text == "after":
            logger.warning(text)
        frame = json.loads(tail.recv())
        heard += [value[1] for stream in frame["streams"] for value in stream["values"]]
    tail.close()
    expect("a tail", ["before", "after"], heard)
    print("websocket-client: a tail", flush=True)


def reading(obs):
    """prometheus-api-client reads what there is."""
    try:
        page = urllib.request.urlopen(f"{obs}/", timeout=DEADLINE).status == 200
    except urllib.error.HTTPError:
        # The client takes the page at / for the sign that there is a server.
        page = False
        print("skipped: connection check: the binary has no web UI", flush=True)
    for method in "GET", "POST":
        client = prometheus_api_client.PrometheusConnect(url=obs, method=method)
        if page:
            expect("connection", True, client.check_prometheus_connection())
        expect("all_metrics", True, "client_requests_total" in client.all_metrics())
        expect("label names", True, {"job", "route"} <= set(client.get_label_names()))
        expect("label values", ["/a"], client.get_label_values("route"))
        expect("custom_query", 3, len(client.custom_query('client_requests_total{route="/a"}')))
        current = client.get_current_metric_value("client_queue", {"job": "sdk-grpc"})
        expect("current value", ["-20"], [one["value"][1] for one in current])
        # The client rounds to seconds, and the samples may be younger than one: a step must lie
        # behind them.
        now = datetime.datetime.now() + datetime.timedelta(seconds=15)
        before = now - datetime.timedelta(minutes=5)
        answer = client.custom_query_range("sum(client_queue)", before, now, "15")
        expect("custom_query_range", True, len(answer) == 1 and answer[0]["values"][-1][1] == "-60")
        ranges = client.get_metric_range_data("client_queue", start_time=before, end_time=now)
        expect("get_metric_range_data", 3, len(ranges))
        series = client.get_series(start=before, end=now, params={"match[]": ["client_queue"]})
        expect("series", 3, len(series))
        expect("targets", True, "activeTargets" in client.get_targets())
        metadata = client.get_metric_metadata("client_requests_total")
        expect("metadata", ["counter"], [one["type"] for one in metadata])
    print("prometheus-api-client: GET and POST", flush=True)


def main():
    """Runs everything; the exit status."""
    with tempfile.TemporaryDirectory() as folder, Programs(folder) as programs:
        obs, addresses = programs.obs(str(pathlib.Path(sys.argv[1]).resolve()))
        otlp(obs, addresses)
        loki(obs)
        tailing(obs)
        reading(obs)
    print(f"client libraries: {len(failures)} differences")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
