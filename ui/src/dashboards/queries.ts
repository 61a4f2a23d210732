// Runs the queries of a panel and gives frames.

import * as prometheus from '../api/prometheus';
import { express, framesOf, inputsOf, itemsOf } from './expressions';
import type { Item } from './math';
import { fill, asked, panelTime, type DashboardContext } from './context';
import { bool, num, obj, objs, str, type Json } from '../json';
import type { Range } from '../time/parse';
import { type Frame } from './frame';
import { heatmapFrames, seriesFrames, tableFrame, type NamedSeries } from './fromSeries';
import type { Values } from './interpolate';
import { lokiFrames } from './lokiQueries';
import { withFilters } from './matchers';
import type { Panel, Target } from './model';
import { sourceOf } from './sources';
import { tempoFrames } from './tempoQueries';

export interface Exemplar {
  time: number;
  value: number;
  labels: Record<string, string>;
}

export interface QueryLog {
  refId: string;
  query: string;
  millis: number;
  series: number;
  stats?: unknown;
}

export interface PanelData {
  frames: Frame[];
  exemplars: Exemplar[];
  notices: string[];
  log: QueryLog[];
  range: Range;
  interval: number;
  /** What the panel loaded by itself. */
  extra?: unknown;
}

export interface Asking {
  target: Target;
  panel: Panel;
  values: Values;
  range: Range;
  interval: number;
  /** Whether several queries of the panel answer tables. */
  several: boolean;
  context: DashboardContext;
  signal: AbortSignal;
  data: PanelData;
}

export class Unsupported extends Error {}

/** `{{label}}` of a legend; nothing where the name is to be made up. */
export function legend(format: string, labels: Record<string, string>): string | undefined {
  if (!format || format === '__auto') return undefined;
  return format.replace(/\{\{\s*(.+?)\s*\}\}/g, (_, name: string) => labels[name] ?? '');
}

function stepOf(asking: Asking): number {
  const { json } = asking.target;
  const least = str(json.interval) ? panelTime(asking.context, asking.panel, 1000, str(json.interval)).interval : asking.interval;
  return Math.max(least, asking.interval) * Math.max(1, num(json.intervalFactor) && json.step === undefined ? (num(json.intervalFactor) ?? 1) : 1);
}

async function prometheusFrames(asking: Asking): Promise<Frame[]> {
  const { target, values, range, signal, data, context, panel } = asking;
  const text = withFilters(fill(str(target.json.expr), values, 'promql'), context.filters);
  if (!text.trim()) return [];
  const isInstant = bool(target.json.instant) && !bool(target.json.range);
  const format = str(target.json.format, panel.type === 'heatmap' ? 'heatmap' : 'time_series');
  const named = (metric: Record<string, string>) => legend(fill(str(target.json.legendFormat), values, 'text'), metric);
  const began = performance.now();
  let series: NamedSeries[];
  let stats: unknown;
  if (isInstant) {
    const answer = await prometheus.query(text, range.end, signal, { stats: 'all' });
    series = fromInstant(answer.data, named);
    stats = answer.data.stats;
    data.notices.push(...(answer.warnings ?? []), ...(answer.infos ?? []));
  } else {
    const step = stepOf(asking);
    const aligned = { start: Math.floor(range.start / step) * step, end: Math.floor(range.end / step) * step };
    const answer = await prometheus.queryRange(text, aligned, step, signal, { stats: 'all' });
    series = answer.data.result.map((one) => ({ labels: one.metric, name: named(one.metric), values: one.values ?? [], histograms: one.histograms }));
    stats = answer.data.stats;
    data.notices.push(...(answer.warnings ?? []), ...(answer.infos ?? []));
    if (bool(target.json.exemplar)) await readExemplars(text, aligned, signal, data);
  }
  data.log.push({ refId: target.refId, query: text, millis: performance.now() - began, series: series.length, stats });
  if (format === 'table') return [tableFrame(series, target.refId, asking.several)];
  if (format === 'heatmap') return heatmapFrames(series, target.refId);
  return seriesFrames(series, target.refId, text);
}

function fromInstant(data: prometheus.InstantData, named: (metric: Record<string, string>) => string | undefined): NamedSeries[] {
  if (data.resultType === 'vector') return data.result.map((s) => ({ labels: s.metric, name: named(s.metric), values: s.value ? [s.value] : [], histograms: s.histogram ? [s.histogram] : undefined }));
  if (data.resultType === 'matrix') return data.result.map((s) => ({ labels: s.metric, name: named(s.metric), values: s.values ?? [], histograms: s.histograms }));
  return [{ labels: {}, name: named({}), values: [data.result] }];
}

/** Exemplars are an addition: what fails about them is told, and the panel is drawn without. */
async function readExemplars(text: string, range: Range, signal: AbortSignal, data: PanelData): Promise<void> {
  try {
    for (const { seriesLabels, exemplars } of await prometheus.exemplars(text, range, signal)) {
      data.exemplars.push(...exemplars.map((one) => ({ time: one.timestamp, value: Number(one.value), labels: { ...seriesLabels, ...one.labels } })));
    }
  } catch (error) {
    if (signal.aborted) throw error;
    data.notices.push(`exemplars: ${error instanceof Error ? error.message : String(error)}`);
  }
}

async function targetFrames(asking: Asking, depth: number): Promise<Frame[]> {
  const { target, panel, values, context, signal } = asking;
  const own = sourceOf(target.datasource ?? panel.datasource, values, target.json, panel.type);
  const source = own.kind === 'mixed' ? sourceOf(target.datasource, values, target.json, panel.type) : own;
  switch (source.kind) {
    case 'prometheus':
      return prometheusFrames(asking);
    case 'loki':
      return lokiFrames(asking);
    case 'tempo':
      return tempoFrames(asking);
    case 'dashboard': {
      const wanted = num(target.json.panelId);
      const other = context.dashboard.panels.flatMap((p) => [p, ...p.inside]).find((p) => p.id === wanted);
      if (!other || depth > 3) return [];
      return (await run(other, context, 1000, signal, depth + 1)).frames;
    }
    case 'grafana':
      return [];
    default:
      throw new Unsupported(`data source type ${source.type} is not supported`);
  }
}

function isTable(target: Target): boolean {
  return str(target.json.format) === 'table';
}

async function run(panel: Panel, context: DashboardContext, width: number, signal: AbortSignal, depth: number): Promise<PanelData> {
  const { range, interval, values } = panelTime(context, panel, width);
  const data: PanelData = { frames: [], exemplars: [], notices: [], log: [], range, interval };
  const isExpression = (target: Target) => sourceOf(target.datasource ?? panel.datasource, values, target.json, panel.type).kind === 'expression';
  const shown = asked(panel);
  // What an expression reads is asked for, also where it is hidden itself.
  const needed = new Set(shown.filter(isExpression).map((target) => target.refId));
  for (let before = -1; before !== needed.size;) {
    before = needed.size;
    for (const target of panel.targets) if (needed.has(target.refId) && isExpression(target)) for (const input of inputsOf(target.json)) needed.add(input);
  }
  const targets = panel.targets.filter((target) => shown.includes(target) || needed.has(target.refId));
  const queries = targets.filter((target) => !isExpression(target));
  const several = queries.filter(isTable).length > 1;
  const answers = await Promise.all(queries.map((target) => targetFrames({ target, panel, values, range, interval, several, context, signal, data }, depth)));
  const found = new Map(queries.map((target, i) => [target.refId, answers[i] ?? []]));
  for (const [refId, frames] of expressed(targets.filter(isExpression), found, values, range)) found.set(refId, frames);
  data.frames = shown.flatMap((target) => found.get(target.refId) ?? []);
  return data;
}

/** Expressions in the order in which they can be computed. */
function expressed(targets: Target[], answers: Map<string, Frame[]>, values: Values, range: Range): [string, Frame[]][] {
  const items = new Map<string, Item[]>([...answers].map(([refId, frames]) => [refId, itemsOf(frames)]));
  const out: [string, Frame[]][] = [];
  const left = targets.map((target) => ({ refId: target.refId, json: { ...target.json, expression: fill(str(target.json.expression), withoutRefIds(values, targets, answers), 'text') } }));
  while (left.length > 0) {
    const at = Math.max(0, left.findIndex(({ json }) => inputsOf(json).every((input) => items.has(input))));
    const [next] = left.splice(at, 1);
    if (!next) break;
    const made = express(next.json, items, range);
    items.set(next.refId, made);
    out.push([next.refId, framesOf(made, next.refId)]);
  }
  return out;
}

/** In an expression `$A` is a query, whatever variables the dashboard has. */
function withoutRefIds(values: Values, targets: Target[], answers: Map<string, Frame[]>): Values {
  const taken = new Set([...targets.map((target) => target.refId), ...answers.keys()]);
  return Object.fromEntries(Object.entries(values).filter(([name]) => !taken.has(name)));
}

export function runPanel(panel: Panel, context: DashboardContext, width: number, signal: AbortSignal): Promise<PanelData> {
  return run(panel, context, width, signal, 0);
}

/** Queries of an annotation, as regions of the charts. */
export function annotationQuery(json: Json): string {
  return str(json.expr) || str(obj(json.target).expr) || str(objs(json.targets)[0]?.expr);
}
