// The APIs of obs' own: error groups, correlation, explanations, dashboards.

import type { Range } from '../time/parse';
import { ApiError, get, sendJson } from './http';
import type { Labels } from './prometheus';

interface Envelope<T> {
  data: T;
}

export interface ErrorGroup {
  fingerprint: string;
  type: string;
  message: string;
  frames: string[];
  spanName: string;
  count: number;
  /** Nanoseconds since the epoch, or RFC 3339. */
  firstSeen: string;
  lastSeen: string;
  services: { name: string; count: number }[];
  traces: { traceId: string; spanId: string; time: string }[];
  stacktrace?: string;
}

export async function errorGroups(range: Range, more: Record<string, string | undefined>, signal?: AbortSignal): Promise<{ groups: ErrorGroup[]; total: number }> {
  return (await get<Envelope<{ groups: ErrorGroup[]; total: number }>>('/api/v1/errors', { start: range.start, end: range.end, ...more }, signal)).data;
}

export async function errorGroup(fingerprint: string, range: Range, signal?: AbortSignal): Promise<ErrorGroup> {
  return (await get<Envelope<ErrorGroup>>(`/api/v1/errors/${encodeURIComponent(fingerprint)}`, { start: range.start, end: range.end }, signal)).data;
}

export interface PreparedQuery {
  title: string;
  lang: 'promql' | 'logql' | 'traceql';
  query: string;
  start: string;
  end: string;
  stored?: boolean;
}

export interface Correlation {
  logs?: PreparedQuery[];
  metrics?: PreparedQuery[];
  traces?: PreparedQuery[];
  senderTraces?: PreparedQuery[];
  senders?: { resource: Labels; logs?: PreparedQuery[]; metrics?: PreparedQuery[]; traces?: PreparedQuery[] }[];
}

export async function correlateResource(labels: Labels, range: Range, signal?: AbortSignal): Promise<Correlation> {
  const params = { labels: JSON.stringify(labels), start: range.start, end: range.end };
  return (await get<Envelope<Correlation>>('/api/v1/correlate/resource', params, signal)).data;
}

export async function explain(lang: string, query: string, range: Range, step: number, signal?: AbortSignal): Promise<unknown> {
  const params = { lang, query, start: range.start, end: range.end, step };
  return (await get<Envelope<unknown>>('/api/v1/explain', params, signal)).data;
}

export interface ExplainNode {
  id: number;
  children: number[];
  kind: string;
  /** The part without what is below it. */
  head: string;
  expr: string;
  start: number;
  end: number;
  result?: {
    result?: { metric: Labels; value?: [number, string]; values?: [number, string][]; histogram?: unknown; histograms?: unknown }[];
    series?: number;
    points?: number;
    labels?: { name: string; values: number; examples: string[] }[];
    elapsedMs?: number;
    samplesRead?: number;
    warnings?: string[];
    error?: string;
  };
}

interface ExplainTree {
  nodes: ExplainNode[];
  cut: boolean;
}

/** The parts of a PromQL query with their values; nothing where the server cannot say it. */
export async function explainTree(query: string, range: Range, step: number, signal?: AbortSignal): Promise<ExplainTree | undefined> {
  const params = { lang: 'promql', query, start: Math.floor(range.start / step) * step, end: range.end, step, intermediate: 'true', series: 10 };
  const { tree } = (await get<Envelope<{ tree?: Partial<ExplainTree> }>>('/api/v1/explain', params, signal)).data;
  if (!tree?.nodes) return undefined;
  const nodes = tree.nodes.map((node) => {
    const { result } = node;
    // A number is one pair of a time and a value.
    const pair = result && Array.isArray(result.result) && typeof result.result[0] === 'number' ? [{ metric: {}, value: result.result as unknown as [number, string] }] : result?.result;
    return { ...node, children: node.children ?? [], result: result && { ...result, result: pair } };
  });
  return { nodes, cut: tree.cut === true };
}

export interface DashboardSummary {
  uid: string;
  title: string;
  tags: string[];
  /** Comes with the binary; a stored one of the same uid stands before it. */
  builtin: boolean;
  updated?: string;
}

export async function dashboards(signal?: AbortSignal): Promise<DashboardSummary[]> {
  try {
    return (await get<Envelope<{ dashboards: DashboardSummary[] }>>('/api/v1/dashboards', {}, signal)).data.dashboards;
  } catch (error) {
    if (error instanceof ApiError && error.status === 404) return [];
    throw error;
  }
}

export function dashboard(uid: string, signal?: AbortSignal): Promise<unknown> {
  return get<unknown>(`/api/v1/dashboards/${encodeURIComponent(uid)}`, {}, signal);
}

export async function saveDashboard(uid: string, json: unknown): Promise<void> {
  await sendJson('PUT', `/api/v1/dashboards/${encodeURIComponent(uid)}`, json);
}

export async function deleteDashboard(uid: string): Promise<void> {
  await sendJson('DELETE', `/api/v1/dashboards/${encodeURIComponent(uid)}`);
}
