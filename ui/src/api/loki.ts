// Loki's API: lines, metrics of lines, labels, patterns, fields, and the tail.

import { at } from '../base';
import { tenant } from '../tenant';
import type { Range } from '../time/parse';
import { get } from './http';
import type { Labels, Matrix, Sample } from './prometheus';

export interface LogLine {
  nanos: bigint;
  labels: Labels;
  /** Structured metadata. */
  metadata: Labels;
  line: string;
}

type Entry = [string, string] | [string, string, unknown];

export type LogData =
  | { resultType: 'streams'; result: { stream: Labels; values: Entry[] }[]; stats?: Record<string, unknown> }
  | { resultType: 'matrix'; result: Matrix[]; stats?: Record<string, unknown> }
  | { resultType: 'vector'; result: Sample[]; stats?: Record<string, unknown> };

/** Nanoseconds as text, exact to the millisecond. */
export function nanos(seconds: number): string {
  return `${Math.round(seconds * 1000)}000000`;
}

export async function queryRange(
  query: string,
  range: Range,
  options: { limit?: number; step?: number; direction?: 'backward' | 'forward' },
  signal?: AbortSignal,
): Promise<LogData> {
  const params = {
    query,
    start: nanos(range.start),
    end: nanos(range.end),
    limit: options.limit,
    step: options.step === undefined ? undefined : `${Math.round(options.step * 1000)}ms`,
    direction: options.direction ?? 'backward',
  };
  return (await get<{ data: LogData }>('/loki/api/v1/query_range', params, signal)).data;
}

export async function query(text: string, time: number, signal?: AbortSignal): Promise<LogData> {
  return (await get<{ data: LogData }>('/loki/api/v1/query', { query: text, time: nanos(time) }, signal)).data;
}

function texts(value: unknown): Labels {
  if (typeof value !== 'object' || value === null) return {};
  return Object.fromEntries(Object.entries(value).map(([name, inner]) => [name, String(inner)]));
}

/** The lines of all streams, the newest first unless asked otherwise. */
export function linesOf(streams: { stream: Labels; values: Entry[] }[], forward = false): LogLine[] {
  const lines = streams.flatMap(({ stream, values }) =>
    values.map(([time, line, more]): LogLine => {
      const extra = texts(more);
      return { nanos: BigInt(time), labels: stream, metadata: 'structuredMetadata' in extra ? {} : extra, line };
    }),
  );
  const sign = forward ? -1 : 1;
  return lines.sort((a, b) => (a.nanos < b.nanos ? sign : a.nanos > b.nanos ? -sign : 0));
}

export async function labels(range: Range, signal?: AbortSignal): Promise<string[]> {
  const params = { start: nanos(range.start), end: nanos(range.end) };
  return (await get<{ data?: string[] }>('/loki/api/v1/labels', params, signal)).data ?? [];
}

export async function labelValues(name: string, range: Range, selector?: string, signal?: AbortSignal): Promise<string[]> {
  const params = { start: nanos(range.start), end: nanos(range.end), query: selector };
  const path = `/loki/api/v1/label/${encodeURIComponent(name)}/values`;
  return (await get<{ data?: string[] }>(path, params, signal)).data ?? [];
}

export interface Pattern {
  pattern: string;
  level?: string;
  samples: [number, number][];
}

export async function patterns(query: string, range: Range, step: number, signal?: AbortSignal): Promise<Pattern[]> {
  const params = { query, start: nanos(range.start), end: nanos(range.end), step: `${step}s` };
  return (await get<{ data?: Pattern[] }>('/loki/api/v1/patterns', params, signal)).data ?? [];
}

export interface DetectedField {
  label: string;
  type: string;
  cardinality: number;
  parsers?: string[] | null;
}

export async function detectedFields(query: string, range: Range, signal?: AbortSignal): Promise<DetectedField[]> {
  const params = { query, start: nanos(range.start), end: nanos(range.end), limit: 1000 };
  return (await get<{ fields?: DetectedField[] }>('/loki/api/v1/detected_fields', params, signal)).fields ?? [];
}

/** Between two looks for lines where no socket can say whose they are. */
const LOOK_MILLIS = 2000;

/** Lines as they come, asked for again and again: a browser's socket cannot send the tenant. */
function poll(text: string, limit: number, onLines: (lines: LogLine[]) => void, onEnd: (why: string) => void): () => void {
  const abort = new AbortController();
  let seen = BigInt(Date.now()) * 1_000_000n;
  const look = () => {
    const range = { start: Number(seen / 1_000_000n) / 1000, end: Date.now() / 1000 + 1 };
    queryRange(text, range, { limit }, abort.signal).then(
      (data) => {
        const fresh = data.resultType === 'streams' ? linesOf(data.result).filter((line) => line.nanos > seen) : [];
        seen = fresh[0]?.nanos ?? seen;
        if (fresh.length > 0) onLines(fresh);
        if (!abort.signal.aborted) timer = setTimeout(look, LOOK_MILLIS);
      },
      (error: unknown) => { if (!abort.signal.aborted) onEnd(error instanceof Error ? error.message : String(error)); },
    );
  };
  let timer = setTimeout(look, 0);
  return () => {
    clearTimeout(timer);
    abort.abort();
  };
}

/** Lines as they come. The returned function ends it. */
export function tail(query: string, limit: number, onLines: (lines: LogLine[]) => void, onEnd: (why: string) => void): () => void {
  if (tenant.get()) return poll(query, limit, onLines, onEnd);
  const address = new URL(at('/loki/api/v1/tail'), location.href);
  address.protocol = address.protocol === 'https:' ? 'wss:' : 'ws:';
  address.search = new URLSearchParams({ query, limit: `${limit}` }).toString();
  const socket = new WebSocket(address);
  let ended = false;
  socket.addEventListener('message', (event) => {
    const body = JSON.parse(String(event.data)) as { streams?: { stream: Labels; values: Entry[] }[] };
    onLines(linesOf(body.streams ?? []));
  });
  socket.addEventListener('close', (event) => {
    if (!ended) onEnd(event.reason || 'the server ended the tail');
  });
  return () => {
    ended = true;
    socket.close();
  };
}

/** The stream selector at the head of a LogQL query, for what is asked about its streams. */
export function selectorOf(query: string): string | undefined {
  const start = query.indexOf('{');
  if (start < 0) return undefined;
  let quote = '';
  for (let i = start; i < query.length; i += 1) {
    const c = query[i] ?? '';
    if (quote) {
      if (c === '\\' && quote === '"') i += 1;
      else if (c === quote) quote = '';
    } else if (c === '"' || c === '`') quote = c;
    else if (c === '}') return query.slice(start, i + 1);
  }
  return undefined;
}
