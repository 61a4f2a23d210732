// Tempo's API: search, traces, tags, metrics of traces.

import type { Range } from '../time/parse';
import { get } from './http';
import type { Matrix } from './prometheus';

export interface KeyValue {
  key: string;
  value: Record<string, unknown>;
}

export interface FoundSpan {
  spanID: string;
  name?: string;
  startTimeUnixNano: string;
  durationNanos?: string;
  attributes?: KeyValue[];
}

export interface FoundTrace {
  traceID: string;
  rootServiceName?: string;
  rootTraceName?: string;
  startTimeUnixNano: string;
  durationMs?: number;
  spanSets?: { spans?: FoundSpan[]; matched?: number }[];
  serviceStats?: Record<string, { spanCount?: number; errorCount?: number }>;
}

export interface OtlpSpan {
  traceId: string;
  spanId: string;
  parentSpanId?: string;
  name: string;
  kind?: string | number;
  startTimeUnixNano: string;
  endTimeUnixNano: string;
  attributes?: KeyValue[];
  events?: { name: string; timeUnixNano: string; attributes?: KeyValue[] }[];
  links?: { traceId: string; spanId: string }[];
  status?: { code?: string | number; message?: string };
}

export interface ResourceSpans {
  resource?: { attributes?: KeyValue[] };
  scopeSpans?: { scope?: { name?: string }; spans?: OtlpSpan[] }[];
}

const seconds = (range: Range) => ({ start: Math.floor(range.start), end: Math.ceil(range.end) });

export async function search(q: string, range: Range, limit: number, signal?: AbortSignal): Promise<{ traces: FoundTrace[]; metrics: Record<string, unknown> }> {
  const body = await get<{ traces?: FoundTrace[]; metrics?: Record<string, unknown> }>('/tempo/api/search', { q, limit, ...seconds(range) }, signal);
  return { traces: body.traces ?? [], metrics: body.metrics ?? {} };
}

export async function trace(id: string, signal?: AbortSignal): Promise<ResourceSpans[]> {
  const body = await get<{ trace?: { resourceSpans?: ResourceSpans[] } }>(`/tempo/api/v2/traces/${encodeURIComponent(id)}`, {}, signal);
  return (body.trace?.resourceSpans ?? []).map((resource) => ({
    ...resource,
    scopeSpans: (resource.scopeSpans ?? []).map((scope) => ({ ...scope, spans: (scope.spans ?? []).map(withHexIds) })),
  }));
}

/** Ids of protobuf's JSON are base64; everywhere else they are hexadecimal. */
export function hexId(id: string, bytes: number): string {
  if (id === '' || (id.length === bytes * 2 && /^[0-9a-f]+$/i.test(id))) return id.toLowerCase();
  try {
    return [...atob(id)].map((c) => c.charCodeAt(0).toString(16).padStart(2, '0')).join('');
  } catch {
    return id;
  }
}

function withHexIds(span: OtlpSpan): OtlpSpan {
  return {
    ...span,
    traceId: hexId(span.traceId, 16),
    spanId: hexId(span.spanId, 8),
    parentSpanId: hexId(span.parentSpanId ?? '', 8),
    links: span.links?.map((one) => ({ traceId: hexId(one.traceId, 16), spanId: hexId(one.spanId, 8) })),
  };
}

export async function tags(range: Range, signal?: AbortSignal): Promise<{ name: string; tags: string[] }[]> {
  const body = await get<{ scopes?: { name: string; tags?: string[] }[] }>('/tempo/api/v2/search/tags', seconds(range), signal);
  return (body.scopes ?? []).map((scope) => ({ name: scope.name, tags: scope.tags ?? [] }));
}

export async function tagValues(tag: string, range: Range, signal?: AbortSignal): Promise<{ type: string; value: string }[]> {
  const path = `/tempo/api/v2/search/tag/${encodeURIComponent(tag)}/values`;
  return (await get<{ tagValues?: { type: string; value: string }[] }>(path, seconds(range), signal)).tagValues ?? [];
}

interface TraceSeries {
  labels?: KeyValue[];
  samples?: { timestampMs: string; value?: number }[];
}

/** Whether a TraceQL query computes metrics instead of finding traces. */
export function isMetrics(query: string): boolean {
  return /\|\s*(rate|count_over_time|min_over_time|max_over_time|avg_over_time|sum_over_time|quantile_over_time|histogram_over_time|compare|topk|bottomk)\s*\(/.test(query);
}

export async function metrics(q: string, range: Range, step: number, signal?: AbortSignal): Promise<Matrix[]> {
  const params = { q, ...seconds(range), step: `${step}s` };
  const body = await get<{ series?: TraceSeries[] }>('/tempo/api/metrics/query_range', params, signal);
  return (body.series ?? []).map((series) => ({
    metric: Object.fromEntries((series.labels ?? []).map(({ key, value }) => [key, attributeText(value)])),
    values: (series.samples ?? []).map(({ timestampMs, value }): [number, string] => [Number(timestampMs) / 1000, `${value ?? 0}`]),
  }));
}

/** An attribute's value as text. */
export function attributeText(value: Record<string, unknown> | undefined): string {
  if (!value) return '';
  const [kind, inner] = Object.entries(value)[0] ?? ['', ''];
  if (kind === 'arrayValue' || kind === 'kvlistValue') return JSON.stringify(inner);
  return String(inner);
}
