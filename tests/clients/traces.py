"""Real senders of traces besides OpenTelemetry's: what they send comes back.

    traces.py OBS_BINARY

py_zipkin sends Zipkin's spans in its forms over HTTP; Jaeger's client asks how to sample and sends
datagrams. Both are read through Jaeger's and Tempo's API.
"""

import logging
import pathlib
import sys
import tempfile
import urllib.request

import jaeger_client
from py_zipkin import Encoding, Kind
from py_zipkin.zipkin import zipkin_client_span, zipkin_span

from processes import DEADLINE, Programs, ask, wait_for

CONFIG = """
obs:
  traces:
    jaeger: {thrift_http: '127.0.0.1:0', udp_compact: '127.0.0.1:0', sampling: '127.0.0.1:0'}
    zipkin: {listen: '127.0.0.1:0'}
"""
failures = []


def expect(what, wanted, got):
    """Notes where something is not what it should be."""
    if wanted != got:
        failures.append(what)
        print(f"FAILED {what}: expected {wanted!r}, got {got!r}", flush=True)


def traces(obs, service):
    """The traces of a service through Jaeger's API."""
    return ask(obs, "/jaeger/api/traces", {"service": service, "lookback": "1h"})["data"]


def tags(span):
    """The tags of a span by name."""
    return {tag["key"]: tag["value"] for tag in span["tags"]}


def zipkin(obs, address, encoding):
    """A server's span with a client's span below it, in one of the forms."""
    service = f"shop_{encoding.value.lower()}"
    version = "v1" if encoding is Encoding.V1_JSON else "v2"
    kind = "application/x-protobuf" if encoding is Encoding.V2_PROTO3 else "application/json"

    def transport(message):
        # JSON comes as text.
        message = message.encode() if isinstance(message, str) else message
        request = urllib.request.Request(f"http://{address}/api/{version}/spans", message)
        request.add_header("Content-Type", kind)
        with urllib.request.urlopen(request, timeout=DEADLINE) as reply:
            expect(f"{service}: status", 202, reply.status)

    with zipkin_span(
        service_name=service,
        span_name="get /",
        transport_handler=transport,
        port=80,
        sample_rate=100.0,
        encoding=encoding,
        kind=Kind.SERVER,
    ) as span:
        span.update_binary_annotations({"http.method": "GET", "http.status_code": "500"})
        span.add_annotation("flushed")
        with zipkin_client_span(service_name=service, span_name="select") as inner:
            inner.update_binary_annotations({"error": "no rows"})
    found = wait_for(f"{service}: a trace", lambda: [t for t in traces(obs, service) if len(t["spans"]) == 2])
    spans = {span["operationName"]: span for span in found[0]["spans"]}
    expect(f"{service}: spans", ["get /", "select"], sorted(spans))
    outer, inner = spans["get /"], spans["select"]
    expect(f"{service}: kinds", ("server", "client"), (tags(outer).get("span.kind"), tags(inner).get("span.kind")))
    expect(f"{service}: parent", outer["spanID"], inner["references"][0]["spanID"])
    expect(f"{service}: tag", "GET", tags(outer).get("http.method"))
    expect(f"{service}: error", ("no rows", "ERROR"), (tags(inner).get("error"), tags(inner).get("otel.status_code")))
    logs = [field["value"] for log in outer["logs"] for field in log["fields"]]
    expect(f"{service}: annotation", True, "flushed" in logs)
    print(f"zipkin: {encoding.value}", flush=True)


def jaeger(obs, addresses):
    """Jaeger's client over UDP; the sampler asks the endpoint."""
    host, port = addresses["jaeger_udp_compact"].rsplit(":", 1)
    sampling = addresses["jaeger_sampling"].rsplit(":", 1)[1]
    setting = {
        "sampler": {"type": "const", "param": 1},
        "local_agent": {"reporting_host": host, "reporting_port": port, "sampling_port": sampling},
        "logging": False,
    }
    strategy = ask(f"http://{addresses['jaeger_sampling']}", "/sampling", {"service": "pay"})
    expect("strategy", ("PROBABILISTIC", 1), (strategy["strategyType"], strategy["probabilisticSampling"]["samplingRate"]))
    tracer = jaeger_client.Config(config=setting, service_name="pay", validate=True).new_tracer()
    with tracer.start_span("charge", tags={"span.kind": "server", "amount": 7, "rate": 0.5, "error": True}) as span:
        span.log_kv({"event": "declined", "code": 51})
        with tracer.start_span("bank", child_of=span) as inner:
            inner.set_tag("span.kind", "client")
    # The reporter sends by itself each second, and has no other way to say so.
    found = wait_for("jaeger: a trace", lambda: [t for t in traces(obs, "pay") if len(t["spans"]) == 2])
    tracer.close()
    spans = {span["operationName"]: span for span in found[0]["spans"]}
    outer, inner = spans["charge"], spans["bank"]
    expect("jaeger: tags", (7, 0.5, True), tuple(tags(outer).get(key) for key in ("amount", "rate", "error")))
    expect("jaeger: parent", outer["spanID"], inner["references"][0]["spanID"])
    fields = {field["key"]: field["value"] for field in outer["logs"][0]["fields"]}
    expect("jaeger: log", ("declined", 51), (fields.get("event"), fields.get("code")))
    trace = ask(obs, f"/tempo/api/v2/traces/{found[0]['traceID']}")
    expect("jaeger: by id", 1, len(trace["trace"]["resourceSpans"]))
    query = {"q": '{ resource.service.name = "pay" && status = error } | rate()', "since": "1h"}
    expect("jaeger: metrics", 1, len(ask(obs, "/tempo/api/metrics/query", query)["series"]))
    print("jaeger: datagrams, sampling", flush=True)


def main():
    """Runs everything; the exit status."""
    logging.disable(logging.CRITICAL)
    binary = str(pathlib.Path(sys.argv[1]).resolve())
    with tempfile.TemporaryDirectory() as folder, Programs(folder) as programs:
        obs, addresses = programs.obs(binary, CONFIG)
        for encoding in (Encoding.V1_JSON, Encoding.V2_JSON, Encoding.V2_PROTO3):
            zipkin(obs, addresses["zipkin"], encoding)
        zipkin_on_the_main_port = obs.removeprefix("http://")
        request = urllib.request.Request(f"http://{zipkin_on_the_main_port}/api/v2/spans", b"[]")
        with urllib.request.urlopen(request, timeout=DEADLINE) as reply:
            expect("main port", 202, reply.status)
        jaeger(obs, addresses)
    print(f"senders of traces: {len(failures)} differences")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
