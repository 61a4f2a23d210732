// What changed in a range of time: alerts that came and went, restarts, new versions, rollouts, errors that
// are new, and services that fail more or are slower than before. Each is asked by itself; one that cannot
// be asked is told, and the others stand.

import type { Range } from '../time/parse';
import * as prometheus from '../api/prometheus';
import { errorGroups, type ErrorGroup } from '../api/server';
import { quoted } from '../format/text';
import { formatValue } from '../format/units';
import { errorText } from '../load';
import { link } from '../route';

export interface Change {
  kind: 'alert' | 'restart' | 'version' | 'rollout' | 'error' | 'service';
  text: string;
  detail: string;
  href: string;
  /** Whether it looks like the cause or the sign of something wrong. */
  bad: boolean;
  /** Seconds since the epoch, where it is known. */
  at?: number;
}

interface Sampled {
  metric: Record<string, string>;
  value: number;
}

/** The windows at both ends of a range that are compared, in seconds. */
export function windowOf(range: Range): number {
  return Math.max(60, Math.min(900, Math.round((range.end - range.start) / 6)));
}

const promql = (q: string) => link('/explore', { lang: 'promql', q });

async function alerts(range: Range, window: string, ask: Ask): Promise<Change[]> {
  const [now, before] = await Promise.all([
    ask('max by (alertname) (ALERTS_FOR_STATE)'),
    ask(`count by (alertname) (last_over_time(ALERTS{alertstate="firing"}[${window}])) unless on (alertname) ALERTS{alertstate="firing"}`),
  ]);
  const began = now.filter((one) => one.value >= range.start).map((one): Change => ({
    kind: 'alert', text: one.metric.alertname ?? '', detail: 'began', href: link('/alerts', { q: one.metric.alertname }), bad: true, at: one.value,
  }));
  const ended = before.map((one): Change => ({ kind: 'alert', text: one.metric.alertname ?? '', detail: 'is over', href: link('/alerts', { view: 'history', q: one.metric.alertname }), bad: false }));
  return [...began, ...ended];
}

async function restarts(_: Range, window: string, ask: Ask): Promise<Change[]> {
  const [pods, processes] = await Promise.all([
    ask(`sum by (namespace, pod) (round(increase(kube_pod_container_status_restarts_total[${window}]))) > 0`),
    ask(`changes(process_start_time_seconds[${window}]) > 0`),
  ]);
  return [
    ...pods.map(({ metric, value }): Change => ({
      kind: 'restart', text: `${metric.namespace}/${metric.pod}`, detail: `restarted ${formatValue(value, 'none')} times`.replace(' 1 times', ' once'),
      href: link(`/kubernetes/pod/${encodeURIComponent(metric.namespace ?? '')}/${encodeURIComponent(metric.pod ?? '')}`), bad: true,
    })),
    ...processes.map(({ metric }): Change => ({ kind: 'restart', text: `${metric.job ?? ''} ${metric.instance ?? ''}`.trim(), detail: 'was started anew', href: promql(`process_start_time_seconds{job=${quoted(metric.job ?? '')}, instance=${quoted(metric.instance ?? '')}}`), bad: false })),
  ];
}

async function versions(_: Range, window: string, ask: Ask): Promise<Change[]> {
  const builds = '{__name__=~".+_build_info", version!=""}';
  const found = await ask(`(group by (job, version) (${builds}) unless group by (job, version) (${builds} offset ${window})) and on (job) group by (job) (${builds} offset ${window})`);
  return found.map(({ metric }): Change => ({ kind: 'version', text: metric.job ?? '', detail: `runs version ${metric.version}`, href: promql(`{__name__=~".+_build_info", job=${quoted(metric.job ?? '')}}`), bad: false }));
}

async function rollouts(_: Range, window: string, ask: Ask): Promise<Change[]> {
  const found = await ask(`changes(kube_deployment_status_observed_generation[${window}]) > 0`);
  return found.map(({ metric }): Change => ({ kind: 'rollout', text: `${metric.namespace}/${metric.deployment}`, detail: 'was changed', href: link(`/kubernetes/workload/${[metric.namespace ?? '', 'Deployment', metric.deployment ?? ''].map(encodeURIComponent).join('/')}`), bad: false }));
}

/** Nanoseconds since the epoch or RFC 3339, as seconds. */
export function secondsOf(time: string): number {
  return /^\d{16,}$/.test(time) ? Number(BigInt(time) / 1_000_000n) / 1000 : Date.parse(time) / 1000;
}

async function newErrors(range: Range, signal: AbortSignal): Promise<Change[]> {
  const { groups } = await errorGroups({ start: range.start - (range.end - range.start), end: range.end }, { limit: '100', sort: 'count' }, signal);
  const isNew = (group: ErrorGroup) => secondsOf(group.firstSeen) >= range.start;
  return groups.filter(isNew).slice(0, 5).map((group): Change => ({ kind: 'error', text: group.type || 'exception', detail: `first seen, ${group.message}`.slice(0, 160), href: link(`/errors/${group.fingerprint}`), bad: true, at: secondsOf(group.firstSeen) }));
}

/** Services whose part of errors or whose p95 is at least twice what it was, or half. */
export function shifted(now: Sampled[], before: Sampled[], least: number): { service: string; now: number; before: number }[] {
  const old = new Map(before.map((one) => [one.metric.service ?? '', one.value]));
  return now.flatMap((one) => {
    const service = one.metric.service ?? '';
    const was = old.get(service);
    if (was === undefined || !Number.isFinite(was) || !Number.isFinite(one.value) || Math.max(was, one.value) < least) return [];
    return one.value >= 2 * was || one.value <= was / 2 ? [{ service, now: one.value, before: was }] : [];
  });
}

async function services(range: Range, _: string, ask: Ask): Promise<Change[]> {
  const part = windowOf(range);
  const kinds = 'span_kind=~"SPAN_KIND_(SERVER|CONSUMER)"';
  const calls = (more: string, offset: string) => `sum by (service) (rate(traces_spanmetrics_calls_total{${kinds}${more}}[${part}s]${offset}))`;
  const errors = (offset: string) => `(${calls(', status_code="STATUS_CODE_ERROR"', offset)} or ${calls('', offset)} * 0) / ${calls('', offset)}`;
  const slow = (offset: string) => `histogram_quantile(0.95, sum by (service, le) (rate(traces_spanmetrics_latency_bucket{${kinds}}[${part}s]${offset})))`;
  const back = ` offset ${Math.max(part, Math.round(range.end - range.start - part))}s`;
  const [errorsNow, errorsBefore, slowNow, slowBefore] = await Promise.all([errors(''), errors(back), slow(''), slow(back)].map(ask));
  const told = (unit: string, what: string, all: ReturnType<typeof shifted>) => all.map((one): Change => ({
    kind: 'service', text: one.service, detail: `${what} ${formatValue(one.before, unit)} → ${formatValue(one.now, unit)}`, href: link('/service-map', { service: one.service }), bad: one.now > one.before,
  }));
  return [...told('percentunit', 'errors', shifted(errorsNow ?? [], errorsBefore ?? [], 0.01)), ...told('s', 'p95', shifted(slowNow ?? [], slowBefore ?? [], 0.001))];
}

type Ask = (query: string) => Promise<Sampled[]>;

const ORDER: Record<Change['kind'], number> = { version: 0, rollout: 1, service: 2, alert: 3, error: 4, restart: 5 };

export async function changes(range: Range, signal: AbortSignal): Promise<{ all: Change[]; failed: string[] }> {
  const window = `${Math.max(60, Math.round(range.end - range.start))}s`;
  const ask: Ask = (query) => prometheus.instant(query, range.end, signal);
  const parts = [versions(range, window, ask), rollouts(range, window, ask), services(range, window, ask), alerts(range, window, ask), newErrors(range, signal), restarts(range, window, ask)];
  const answers = await Promise.allSettled(parts);
  signal.throwIfAborted();
  return {
    all: answers.flatMap((one) => (one.status === 'fulfilled' ? one.value : [])).sort((a, b) => ORDER[a.kind] - ORDER[b.kind] || Number(b.bad) - Number(a.bad)),
    failed: [...new Set(answers.flatMap((one) => (one.status === 'rejected' ? [errorText(one.reason)] : [])))],
  };
}
