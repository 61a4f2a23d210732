// Alertmanager's API, version 2.

import { ApiError, get, sendJson } from './http';
import type { Labels } from './prometheus';

export interface Matcher {
  name: string;
  value: string;
  isRegex: boolean;
  isEqual: boolean;
}

export interface Silence {
  id: string;
  matchers: Matcher[];
  startsAt: string;
  endsAt: string;
  createdBy: string;
  comment: string;
  status: { state: 'active' | 'pending' | 'expired' };
}

export interface GettableAlert {
  labels: Labels;
  annotations: Labels;
  fingerprint: string;
  startsAt: string;
  endsAt: string;
  generatorURL?: string;
  receivers: { name: string }[];
  status: { state: string; silencedBy: string[]; inhibitedBy: string[]; mutedBy?: string[] };
}

export interface AlertGroup {
  labels: Labels;
  receiver: { name: string };
  alerts: GettableAlert[];
}

/** An answer, or nothing where the server has no Alertmanager. */
async function where<T>(ask: Promise<T>): Promise<T | undefined> {
  try {
    return await ask;
  } catch (error) {
    if (error instanceof ApiError && (error.status === 404 || error.status === 501)) return undefined;
    throw error;
  }
}

export const alerts = (filter: string[], signal?: AbortSignal) => where(get<GettableAlert[]>('/api/v2/alerts', { filter }, signal));
export const groups = (signal?: AbortSignal) => where(get<AlertGroup[]>('/api/v2/alerts/groups', {}, signal));
export const silences = (signal?: AbortSignal) => where(get<Silence[]>('/api/v2/silences', {}, signal));
export const managerStatus = (signal?: AbortSignal) =>
  where(get<{ cluster: { status: string }; config: { original: string }; uptime: string }>('/api/v2/status', {}, signal));

export interface Ack {
  fingerprint: string;
  createdBy: string;
  comment: string;
  createdAt: string;
  endsAt: string | null;
  labels: Labels;
}

/** obs' own: who cares for which alert; none where the server knows no such thing. */
export const acks = async (signal?: AbortSignal) => (await where(get<Ack[]>('/api/v1/alertmanager/acks', {}, signal))) ?? [];

export async function acknowledge(fingerprint: string, createdBy: string, comment: string, endsAt?: string): Promise<void> {
  await sendJson('POST', '/api/v1/alertmanager/acks', { fingerprint, createdBy, comment, endsAt });
}

export async function takeBack(fingerprint: string): Promise<void> {
  await sendJson('DELETE', `/api/v1/alertmanager/acks/${encodeURIComponent(fingerprint)}`);
}

export interface Routed {
  labels: Labels;
  silencedBy: string[];
  inhibitedBy: string[];
  routes: { route: string; receiver: string; groupBy: string[]; groupLabels: Labels; groupWait: string; groupInterval: string; repeatInterval: string; resolveWait: string | null; mutedBy: string[]; integrations: string[] }[];
}

/** obs' own: where an alert with these labels would go. */
export async function routeOf(labels: string, signal?: AbortSignal): Promise<Routed | undefined> {
  return (await where(get<{ data: Routed }>('/api/v1/alertmanager/route', { labels }, signal)))?.data;
}

export async function addSilence(silence: Omit<Silence, 'id' | 'status'>): Promise<string> {
  return (JSON.parse(await sendJson('POST', '/api/v2/silences', silence)) as { silenceID: string }).silenceID;
}

export async function expireSilence(id: string): Promise<void> {
  await sendJson('DELETE', `/api/v2/silence/${encodeURIComponent(id)}`);
}

export function matcherText(matcher: Matcher): string {
  const sign = matcher.isEqual ? (matcher.isRegex ? '=~' : '=') : matcher.isRegex ? '!~' : '!=';
  return `${matcher.name}${sign}${JSON.stringify(matcher.value)}`;
}

/** Whether labels fit all matchers, as Alertmanager decides it; a regular expression that is none fits nothing. */
export function fits(matchers: Matcher[], labels: Labels): boolean {
  return matchers.every(({ name, value, isRegex, isEqual }) => {
    const found = labels[name] ?? '';
    if (!isRegex) return (found === value) === isEqual;
    try {
      return new RegExp(`^(?:${value})$`, 'u').test(found) === isEqual;
    } catch {
      return false;
    }
  });
}
