// Prometheus' API: queries, labels, targets, rules, status.

import type { Range } from '../time/parse';
import { get, type Params } from './http';

export type Labels = Record<string, string>;

export interface NativeHistogram {
  count: string;
  sum: string;
  buckets?: [number, string, string, string][];
}

export interface Matrix {
  metric: Labels;
  values?: [number, string][];
  histograms?: [number, NativeHistogram][];
}

export interface Sample {
  metric: Labels;
  value?: [number, string];
  histogram?: [number, NativeHistogram];
}

export interface QueryStats {
  timings?: Record<string, number>;
  samples?: Record<string, number>;
}

export interface Answer<T> {
  data: T;
  warnings?: string[];
  infos?: string[];
}

export interface RangeData {
  resultType: string;
  result: Matrix[];
  stats?: QueryStats;
}

export type InstantData =
  | { resultType: 'vector'; result: Sample[]; stats?: QueryStats }
  | { resultType: 'matrix'; result: Matrix[]; stats?: QueryStats }
  | { resultType: 'scalar' | 'string'; result: [number, string]; stats?: QueryStats };

export interface ExemplarSeries {
  seriesLabels: Labels;
  exemplars: { labels: Labels; value: string; timestamp: number }[];
}

export function queryRange(query: string, range: Range, step: number, signal?: AbortSignal, more: Params = {}): Promise<Answer<RangeData>> {
  return get('/api/v1/query_range', { query, start: range.start, end: range.end, step, ...more }, signal);
}

export function query(text: string, time: number, signal?: AbortSignal, more: Params = {}): Promise<Answer<InstantData>> {
  return get('/api/v1/query', { query: text, time, ...more }, signal);
}

/** The samples of an instant vector; a scalar is one without labels. */
export async function instant(text: string, time: number, signal?: AbortSignal): Promise<{ metric: Labels; value: number }[]> {
  const { data } = await query(text, time, signal);
  if (data.resultType === 'vector') return data.result.map((s) => ({ metric: s.metric, value: Number(s.value?.[1] ?? NaN) }));
  if (data.resultType === 'scalar') return [{ metric: {}, value: Number(data.result[1]) }];
  return [];
}

export async function exemplars(text: string, range: Range, signal?: AbortSignal): Promise<ExemplarSeries[]> {
  const params = { query: text, start: range.start, end: range.end };
  return (await get<Answer<ExemplarSeries[]>>('/api/v1/query_exemplars', params, signal)).data;
}

export async function labelNames(match: string[], range: Range, signal?: AbortSignal): Promise<string[]> {
  return (await get<Answer<string[]>>('/api/v1/labels', { 'match[]': match, start: range.start, end: range.end }, signal)).data;
}

export async function labelValues(name: string, match: string[], range: Range, signal?: AbortSignal, limit?: number): Promise<string[]> {
  const path = `/api/v1/label/${encodeURIComponent(name)}/values`;
  return (await get<Answer<string[]>>(path, { 'match[]': match, start: range.start, end: range.end, limit }, signal)).data;
}

/** Types and meanings by name of a metric. */
export async function metadata(limit: number, signal?: AbortSignal): Promise<Record<string, { type: string; help: string; unit: string }[]>> {
  return (await get<Answer<Record<string, { type: string; help: string; unit: string }[]>>>('/api/v1/metadata', { limit, limit_per_metric: 1 }, signal)).data;
}

export async function series(match: string[], range: Range, signal?: AbortSignal): Promise<Labels[]> {
  return (await get<Answer<Labels[]>>('/api/v1/series', { 'match[]': match, start: range.start, end: range.end }, signal)).data;
}

export interface Target {
  discoveredLabels: Labels;
  labels: Labels;
  scrapePool: string;
  scrapeUrl: string;
  health: 'up' | 'down' | 'unknown';
  lastError: string;
  lastScrape: string;
  lastScrapeDuration: number;
  scrapeInterval: string;
}

export interface Targets {
  activeTargets: Target[];
  droppedTargets?: { discoveredLabels: Labels; scrapePool?: string }[];
  droppedTargetCounts?: Record<string, number>;
}

export async function targets(state: 'active' | 'any', signal?: AbortSignal): Promise<Targets> {
  return (await get<Answer<Targets>>('/api/v1/targets', { state }, signal)).data;
}

export interface RelabelStep {
  rule: Record<string, unknown>;
  output: Labels | null;
  keep?: boolean;
}

export async function relabelSteps(scrapePool: string, labels: Labels, signal?: AbortSignal): Promise<RelabelStep[]> {
  const params = { scrapePool, labels: JSON.stringify(labels) };
  return (await get<Answer<{ steps: RelabelStep[] }>>('/api/v1/targets/relabel_steps', params, signal)).data.steps;
}

export interface RuleAlert {
  labels: Labels;
  annotations: Labels;
  state: string;
  activeAt?: string;
  value: string;
}

export interface Rule {
  name: string;
  query: string;
  type: 'alerting' | 'recording';
  labels?: Labels;
  annotations?: Labels;
  state?: string;
  duration?: number;
  keepFiringFor?: number;
  alerts?: RuleAlert[];
  health: string;
  lastError?: string;
  evaluationTime?: number;
  lastEvaluation?: string;
}

export interface RuleGroup {
  name: string;
  file: string;
  interval: number;
  rules: Rule[];
  evaluationTime?: number;
  lastEvaluation?: string;
}

export async function rules(signal?: AbortSignal): Promise<RuleGroup[]> {
  return (await get<Answer<{ groups: RuleGroup[] }>>('/api/v1/rules', {}, signal)).data.groups;
}

export interface Counted {
  name: string;
  value: number;
}

export interface TsdbStatus {
  headStats: Record<string, number>;
  seriesCountByMetricName: Counted[];
  labelValueCountByLabelName: Counted[];
  memoryInBytesByLabelName: Counted[];
  seriesCountByLabelValuePair: Counted[];
}

export async function tsdbStatus(limit: number, signal?: AbortSignal): Promise<TsdbStatus> {
  return (await get<Answer<TsdbStatus>>('/api/v1/status/tsdb', { limit }, signal)).data;
}

export async function status<T>(what: string, signal?: AbortSignal): Promise<T> {
  return (await get<Answer<T>>(`/api/v1/status/${what}`, {}, signal)).data;
}
