// The APIs of the server, typed as far as the pages need them. Every page uses the same public
// APIs as other clients; there is no private one.

export interface Target {
  labels: Record<string, string>;
  scrapePool: string;
  scrapeUrl: string;
  health: 'up' | 'down' | 'unknown';
  lastError: string;
  lastScrape: string;
  lastScrapeDuration: number;
  scrapeInterval: string;
}

export interface Matrix {
  metric: Record<string, string>;
  values: [number, string][];
}

export interface LogLine {
  nanos: bigint;
  labels: Record<string, string>;
  line: string;
}

export interface FoundTrace {
  traceID: string;
  rootServiceName: string;
  rootTraceName: string;
  startTimeUnixNano: string;
  durationMs?: number;
  spanSets?: { matched?: number }[];
}

export interface KeyValue {
  key: string;
  value: Record<string, unknown>;
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
  status?: { code?: string | number; message?: string };
}

export interface ResourceSpans {
  resource?: { attributes?: KeyValue[] };
  scopeSpans?: { scope?: { name?: string }; spans?: OtlpSpan[] }[];
}

/** A range of time in seconds since the epoch. */
export interface Range {
  start: number;
  end: number;
}

async function get(path: string, params: Record<string, string>, signal?: AbortSignal): Promise<unknown> {
  const query = new URLSearchParams(params).toString();
  // Relative, so that a server below a path works too.
  const response = await fetch(`.${path}${query ? `?${query}` : ''}`, { signal });
  const text = await response.text();
  if (!response.ok) throw new Error(messageOf(text) || `the server answered ${response.status}`);
  return JSON.parse(text);
}

/** What an error's body says: Prometheus' envelope, a message, or plain text. */
export function messageOf(text: string): string {
  try {
    const body = JSON.parse(text) as { error?: string; message?: string };
    return body.error ?? body.message ?? text;
  } catch {
    return text.trim();
  }
}

export async function targets(signal?: AbortSignal): Promise<Target[]> {
  const body = (await get('/api/v1/targets', { state: 'active' }, signal)) as {
    data: { activeTargets: Target[] };
  };
  return body.data.activeTargets;
}

export async function graph(query: string, range: Range, step: number, signal?: AbortSignal): Promise<{ series: Matrix[]; notes: string[] }> {
  const params = { query, start: `${range.start}`, end: `${range.end}`, step: `${step}` };
  const body = (await get('/api/v1/query_range', params, signal)) as {
    data: { result: Matrix[] };
    warnings?: string[];
    infos?: string[];
  };
  return { series: body.data.result, notes: [...(body.warnings ?? []), ...(body.infos ?? [])] };
}

export async function metricNames(signal?: AbortSignal): Promise<string[]> {
  const body = (await get('/api/v1/label/__name__/values', { limit: '5000' }, signal)) as { data: string[] };
  return body.data;
}

export async function logs(query: string, range: Range, limit: number, signal?: AbortSignal): Promise<LogLine[]> {
  const params = {
    query,
    start: `${Math.floor(range.start)}000000000`,
    end: `${Math.ceil(range.end)}000000000`,
    limit: `${limit}`,
    direction: 'backward',
  };
  const body = (await get('/loki/api/v1/query_range', params, signal)) as {
    data: { resultType: string; result: { stream: Record<string, string>; values: [string, string][] }[] };
  };
  if (body.data.resultType !== 'streams') throw new Error('this is a metric query; ask for it on the graph page');
  const lines = body.data.result.flatMap(({ stream, values }) =>
    values.map(([nanos, line]) => ({ nanos: BigInt(nanos), labels: stream, line })),
  );
  return lines.sort((a, b) => (a.nanos < b.nanos ? 1 : a.nanos > b.nanos ? -1 : 0));
}

export async function volume(query: string, range: Range, step: number, signal?: AbortSignal): Promise<Matrix[]> {
  const params = {
    query: `sum by (detected_level) (count_over_time(${query} [${step}s]))`,
    start: `${Math.floor(range.start)}000000000`,
    end: `${Math.ceil(range.end)}000000000`,
    step: `${step}`,
  };
  const body = (await get('/loki/api/v1/query_range', params, signal)) as { data: { result: Matrix[] } };
  return body.data.result;
}

export async function searchTraces(query: string, range: Range, limit: number, signal?: AbortSignal): Promise<FoundTrace[]> {
  const params = {
    q: query,
    start: `${Math.floor(range.start)}`,
    end: `${Math.ceil(range.end)}`,
    limit: `${limit}`,
  };
  const body = (await get('/tempo/api/search', params, signal)) as { traces?: FoundTrace[] };
  return body.traces ?? [];
}

export async function trace(id: string, signal?: AbortSignal): Promise<ResourceSpans[]> {
  const body = (await get(`/tempo/api/v2/traces/${encodeURIComponent(id)}`, {}, signal)) as {
    trace?: { resourceSpans?: ResourceSpans[] };
  };
  return body.trace?.resourceSpans ?? [];
}
