// TraceQL queries of panels: found traces as a table, one trace, metrics, and the service graph.

import * as prometheus from '../api/prometheus';
import * as tempo from '../api/tempo';
import { num, objs, str, strs, type Json } from '../json';
import { link } from '../route';
import { fill } from './context';
import type { Frame } from './frame';
import { seriesFrames } from './fromSeries';
import { legend, type Asking } from './queries';

export function tracesFrame(traces: tempo.FoundTrace[], refId: string): Frame {
  return {
    refId,
    meta: 'traces',
    fields: [
      { name: 'Trace ID', kind: 'string', values: traces.map((t) => t.traceID), config: { links: [{ title: 'Open the trace', url: `${link('/trace/')}\${__value.raw}` }] } },
      { name: 'Start time', kind: 'time', values: traces.map((t) => Number(BigInt(t.startTimeUnixNano) / 1_000_000n)) },
      { name: 'Service', kind: 'string', values: traces.map((t) => t.rootServiceName ?? '') },
      { name: 'Name', kind: 'string', values: traces.map((t) => t.rootTraceName ?? '') },
      { name: 'Duration', kind: 'number', values: traces.map((t) => t.durationMs ?? 0), config: { unit: 'ms' } },
    ],
  };
}

function spansFrame(traces: tempo.FoundTrace[], refId: string): Frame {
  const spans = traces.flatMap((t) => (t.spanSets ?? []).flatMap((set) => (set.spans ?? []).map((span) => ({ trace: t, span }))));
  const names = [...new Set(spans.flatMap(({ span }) => (span.attributes ?? []).map((a) => a.key)))].sort();
  return {
    refId,
    meta: 'traces',
    fields: [
      { name: 'Trace ID', kind: 'string', values: spans.map((s) => s.trace.traceID), config: { links: [{ title: 'Open the trace', url: `${link('/trace/')}\${__value.raw}` }] } },
      { name: 'Span ID', kind: 'string', values: spans.map((s) => s.span.spanID) },
      { name: 'Start time', kind: 'time', values: spans.map((s) => Number(BigInt(s.span.startTimeUnixNano) / 1_000_000n)) },
      { name: 'Service', kind: 'string', values: spans.map((s) => s.trace.rootServiceName ?? '') },
      { name: 'Name', kind: 'string', values: spans.map((s) => s.span.name ?? '') },
      { name: 'Duration', kind: 'number', values: spans.map((s) => Number(s.span.durationNanos ?? 0)), config: { unit: 'ns' } },
      ...names.map((name) => ({ name, kind: 'string' as const, values: spans.map((s) => tempo.attributeText(s.span.attributes?.find((a) => a.key === name)?.value)) })),
    ],
  };
}

/** Conditions of the search form as TraceQL. */
function searchQuery(json: Json): string {
  const conditions = objs(json.filters).flatMap((filter) => {
    const values = Array.isArray(filter.value) ? strs(filter.value) : str(filter.value) ? [str(filter.value)] : [];
    const tag = str(filter.tag);
    if (!tag || values.length === 0) return [];
    const scope = str(filter.scope);
    const name = scope === 'intrinsic' || !scope ? (['name', 'status', 'kind', 'duration', 'rootName', 'rootServiceName'].includes(tag) ? tag : `.${tag}`) : `${scope}.${tag}`;
    const bare = str(filter.valueType) !== 'string' && ['status', 'kind', 'duration'].includes(tag);
    return values.length > 1 ? [`${name} =~ ${JSON.stringify(values.join('|'))}`] : [`${name} ${str(filter.operator, '=')} ${bare ? values[0] : JSON.stringify(values[0])}`];
  });
  return `{${conditions.join(' && ')}}`;
}

export async function tempoFrames(asking: Asking): Promise<Frame[]> {
  const { target, values, range, interval, signal, data, panel } = asking;
  const { json, refId } = target;
  const type = str(json.queryType);
  const began = performance.now();
  if (type === 'serviceMap') return serviceMapFrames(asking);
  const text = type === 'traceqlSearch' ? searchQuery(json) : fill(str(json.query), values, 'promql').trim();
  const log = (series: number, stats?: unknown) => data.log.push({ refId, query: text, millis: performance.now() - began, series, stats });
  if (/^[0-9a-f]{1,32}$/i.test(text)) {
    const found = await tempo.trace(text, signal);
    log(found.length);
    return found.length > 0 ? [{ refId, meta: 'trace', fields: [{ name: 'trace', kind: 'other', values: [found] }] }] : [];
  }
  if (tempo.isMetrics(text)) {
    const series = await tempo.metrics(text, range, Math.max(1, Math.round(interval)), signal);
    log(series.length);
    return seriesFrames(series.map((one) => ({ labels: one.metric, name: legend(fill(str(json.legendFormat), values, 'text'), one.metric), values: one.values ?? [] })), refId, text);
  }
  const { traces, metrics } = await tempo.search(text || '{}', range, num(json.limit) ?? 20, signal);
  log(traces.length, metrics);
  if (traces.length === 0) return [];
  if (panel.type === 'traces' && traces[0]) return [{ refId, meta: 'trace', fields: [{ name: 'trace', kind: 'other', values: [await tempo.trace(traces[0].traceID, signal)] }] }];
  return [str(json.tableType) === 'spans' ? spansFrame(traces, refId) : tracesFrame(traces, refId)];
}

/** Nodes and edges as Grafana's node graph wants them. */
export async function serviceMapFrames({ range, signal, target }: Pick<Asking, 'range' | 'signal' | 'target'>): Promise<Frame[]> {
  const window = `[${Math.max(60, Math.round(range.end - range.start))}s]`;
  const by = (metric: string) => prometheus.instant(`sum by (client, server) (rate(${metric}${window}))`, range.end, signal);
  const [calls, failed, seconds] = await Promise.all(['traces_service_graph_request_total', 'traces_service_graph_request_failed_total', 'traces_service_graph_request_server_seconds_sum'].map(by));
  const value = (all: typeof calls, client?: string, server?: string) =>
    (all ?? []).filter((s) => (!client || s.metric.client === client) && (!server || s.metric.server === server)).reduce((sum, s) => sum + (Number.isFinite(s.value) ? s.value : 0), 0);
  const edges = (calls ?? []).filter((s) => s.metric.client && s.metric.server);
  const services = [...new Set(edges.flatMap((s) => [s.metric.client ?? '', s.metric.server ?? '']))];
  if (services.length === 0) return [];
  const text = (name: string, all: string[]) => ({ name, kind: 'string' as const, values: all });
  const numbers = (name: string, all: number[], unit: string) => ({ name, kind: 'number' as const, values: all, config: { unit } });
  const per = (a: number, b: number) => (b > 0 ? a / b : 0);
  return [
    {
      refId: target.refId, meta: 'nodes', name: 'nodes',
      fields: [
        text('id', services), text('title', services),
        numbers('mainstat', services.map((s) => per(value(seconds, undefined, s), value(calls, undefined, s)) * 1000), 'ms'),
        numbers('secondarystat', services.map((s) => value(calls, undefined, s)), 'reqps'),
        numbers('arc__failed', services.map((s) => per(value(failed, undefined, s), value(calls, undefined, s))), 'percentunit'),
      ],
    },
    {
      refId: target.refId, meta: 'edges', name: 'edges',
      fields: [
        text('id', edges.map((_, i) => `${i}`)), text('source', edges.map((s) => s.metric.client ?? '')), text('target', edges.map((s) => s.metric.server ?? '')),
        numbers('mainstat', edges.map((s) => per(value(seconds, s.metric.client, s.metric.server), s.value) * 1000), 'ms'),
        numbers('secondarystat', edges.map((s) => s.value), 'reqps'),
      ],
    },
  ];
}
