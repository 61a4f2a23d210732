// Requests to the server that the UI comes from. Every page uses the same public APIs as other
// clients; there is no private one.

import { at } from '../base';
import { tenantHeaders } from '../tenant';

export class ApiError extends Error {
  constructor(message: string, readonly status: number) {
    super(message);
  }
}

export type Params = Record<string, string | number | string[] | undefined>;

/** What an error's body says: Prometheus' envelope, a message, or plain text. */
export function messageOf(text: string): string {
  try {
    const body = JSON.parse(text) as { error?: unknown; message?: unknown } | string | null;
    if (typeof body === 'string') return body;
    const told = body?.error ?? body?.message;
    return typeof told === 'string' ? told : text;
  } catch {
    return text.trim();
  }
}

export function encode(params: Params): URLSearchParams {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(params)) {
    if (Array.isArray(value)) for (const one of value) query.append(name, one);
    else if (value !== undefined) query.append(name, `${value}`);
  }
  return query;
}

/** Requests under way at one time: browsers open six connections, one stays free for the reader. */
const AT_ONCE = 5;
let running = 0;
const waiting: (() => void)[] = [];

async function turn(signal?: AbortSignal): Promise<void> {
  if (running >= AT_ONCE) await new Promise<void>((go) => waiting.push(go));
  running += 1;
  if (!signal?.aborted) return;
  done();
  throw new DOMException('given up', 'AbortError');
}

function done(): void {
  running -= 1;
  waiting.shift()?.();
}

interface Init extends RequestInit {
  headers?: Record<string, string>;
}

async function send(path: string, init: Init): Promise<string> {
  await turn(init.signal ?? undefined);
  try {
    const response = await fetch(at(path), { ...init, headers: { ...init.headers, ...tenantHeaders() } });
    const text = await response.text();
    if (!response.ok) throw new ApiError(messageOf(text) || `the server answered ${response.status}`, response.status);
    return text;
  } catch (error) {
    if (error instanceof TypeError) throw new ApiError('the server cannot be reached', 0);
    throw error;
  } finally {
    done();
  }
}

function parsed(path: string, text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw new ApiError(`${path} answered something that is not JSON`, 200);
  }
}

/** GET; long queries go as a form, so that no address gets too long. */
export async function get<T>(path: string, params: Params = {}, signal?: AbortSignal): Promise<T> {
  const query = encode(params).toString();
  if (query.length > 3000 && path.startsWith('/api/v1/')) {
    const headers = { 'content-type': 'application/x-www-form-urlencoded' };
    return parsed(path, await send(path, { method: 'POST', body: query, headers, signal })) as T;
  }
  return parsed(path, await send(query ? `${path}?${query}` : path, { signal })) as T;
}

export async function sendJson(method: 'POST' | 'PUT' | 'DELETE', path: string, body?: unknown): Promise<string> {
  const headers = { 'content-type': 'application/json' };
  return send(path, { method, headers, body: body === undefined ? undefined : JSON.stringify(body) });
}
