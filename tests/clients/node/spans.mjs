// Sends one trace by each exporter of OpenTelemetry's SDK for Node and prints their ids as JSON.
//
//   node spans.mjs '{"otlp_grpc": …, "otlp_http": …, "zipkin": …}'

import { SpanKind, SpanStatusCode, context, trace } from "@opentelemetry/api";
import { OTLPTraceExporter as Grpc } from "@opentelemetry/exporter-trace-otlp-grpc";
import { OTLPTraceExporter as Json } from "@opentelemetry/exporter-trace-otlp-http";
import { OTLPTraceExporter as Protobuf } from "@opentelemetry/exporter-trace-otlp-proto";
import { ZipkinExporter } from "@opentelemetry/exporter-zipkin";
import { resourceFromAttributes } from "@opentelemetry/resources";
import { BatchSpanProcessor, NodeTracerProvider } from "@opentelemetry/sdk-trace-node";

const addresses = JSON.parse(process.argv[2]);
const url = `http://${addresses.otlp_http}/v1/traces`;
const exporters = {
  grpc: new Grpc({ url: `http://${addresses.otlp_grpc}` }),
  json: new Json({ url }),
  "json-gzip": new Json({ url, compression: "gzip" }),
  protobuf: new Protobuf({ url }),
  "protobuf-gzip": new Protobuf({ url, compression: "gzip" }),
  zipkin: new ZipkinExporter({ url: `http://${addresses.zipkin}/api/v2/spans` }),
};

const ids = {};
for (const [name, exporter] of Object.entries(exporters)) {
  const service = `node-${name}`;
  const provider = new NodeTracerProvider({
    resource: resourceFromAttributes({ "service.name": service, "service.instance.id": "i1", team: "red" }),
    spanProcessors: [new BatchSpanProcessor(exporter)],
  });
  const tracer = provider.getTracer("clients", "1.0");
  const parent = tracer.startSpan("parent", { kind: SpanKind.SERVER });
  parent.setAttributes({ text: "ü", whole: 7, real: 0.5, yes: true, list: ["a", "b"] });
  parent.addEvent("happened", { n: 1 });
  const inside = trace.setSpan(context.active(), parent);
  const link = { context: parent.spanContext(), attributes: { why: "test" } };
  const child = tracer.startSpan("child", { kind: SpanKind.CLIENT, links: [link] }, inside);
  child.recordException(new TypeError("no"));
  child.setStatus({ code: SpanStatusCode.ERROR, message: "no" });
  child.end();
  parent.end();
  await provider.forceFlush();
  await provider.shutdown();
  ids[service] = { trace: parent.spanContext().traceId, child: child.spanContext().spanId };
}
console.log(JSON.stringify(ids));
