// A Grafana dashboard as the pages use it. What is stored stays as it was written; this is read from it.

import { bool, list, num, obj, objs, str, strs, type Json } from '../json';
import { migrate } from './migrate';

export interface Target {
  refId: string;
  hide: boolean;
  datasource: unknown;
  json: Json;
}

export interface Panel {
  id: number;
  /** The id in the page: clones of a repeat differ. */
  key: string;
  type: string;
  title: string;
  description: string;
  transparent: boolean;
  grid: { x: number; y: number; w: number; h: number };
  datasource: unknown;
  targets: Target[];
  transformations: Json[];
  options: Json;
  fieldConfig: { defaults: Json; overrides: { matcher: Json; properties: Json[] }[] };
  links: Json[];
  interval: string;
  maxDataPoints?: number;
  timeFrom: string;
  timeShift: string;
  repeat: string;
  repeatDirection: 'h' | 'v';
  maxPerRow: number;
  /** Variables with the value that a repeat gives this clone. */
  scoped: Record<string, { text: string; value: string }>;
  collapsed: boolean;
  /** Of a collapsed row. */
  inside: Panel[];
  json: Json;
}

export interface VariableOption {
  text: string;
  value: string;
}

export interface Variable {
  name: string;
  label: string;
  type: string;
  hide: number;
  multi: boolean;
  includeAll: boolean;
  allValue?: string;
  query: string;
  regex: string;
  sort: number;
  refresh: number;
  datasource: unknown;
  options: VariableOption[];
  /** What was saved with the dashboard. */
  current: string[];
  json: Json;
}

export interface Dashboard {
  uid: string;
  title: string;
  description: string;
  tags: string[];
  time: { from: string; to: string };
  refresh: string;
  tooltip: number;
  links: Json[];
  annotations: Json[];
  variables: Variable[];
  panels: Panel[];
  json: Json;
}

function target(json: Json, index: number): Target {
  return { refId: str(json.refId) || String.fromCharCode(65 + (index % 26)), hide: bool(json.hide), datasource: json.datasource, json };
}

export function panelOf(json: Json): Panel {
  const grid = obj(json.gridPos);
  const config = obj(json.fieldConfig);
  const id = num(json.id) ?? 0;
  return {
    id,
    key: `${id}`,
    type: str(json.type),
    title: str(json.title),
    description: str(json.description),
    transparent: bool(json.transparent),
    grid: { x: Math.min(23, num(grid.x) ?? 0), y: num(grid.y) ?? 0, w: Math.max(1, Math.min(24, num(grid.w) ?? 12)), h: Math.max(1, Math.min(200, num(grid.h) ?? 8)) },
    datasource: json.datasource,
    targets: objs(json.targets).map(target),
    transformations: objs(json.transformations),
    options: obj(json.options),
    fieldConfig: {
      defaults: obj(config.defaults),
      overrides: objs(config.overrides).map((one) => ({ matcher: obj(one.matcher), properties: objs(one.properties) })),
    },
    links: objs(json.links),
    interval: str(json.interval),
    maxDataPoints: num(json.maxDataPoints),
    timeFrom: str(json.timeFrom),
    timeShift: str(json.timeShift),
    repeat: str(json.repeat),
    repeatDirection: json.repeatDirection === 'v' ? 'v' : 'h',
    maxPerRow: num(json.maxPerRow) ?? 4,
    scoped: {},
    collapsed: bool(json.collapsed),
    inside: objs(json.panels).map(panelOf),
    json,
  };
}

function values(current: Json): string[] {
  const value = current.value;
  if (Array.isArray(value)) return strs(value);
  return value === undefined || value === null ? [] : [str(value)];
}

/** `a, b : c` as options; commas are kept by a backslash. */
export function customOptions(query: string): VariableOption[] {
  return query.split(/(?<!\\),/).map((part) => part.replaceAll('\\,', ',').trim()).filter(Boolean).map((part) => {
    const pair = /^(.+?)\s+:\s+(.+)$/.exec(part);
    return pair ? { text: pair[1] ?? '', value: pair[2] ?? '' } : { text: part, value: part };
  });
}

export function variableOf(json: Json): Variable {
  const type = str(json.type, 'query');
  const query = typeof json.query === 'string' ? json.query : str(obj(json.query).query) || str(json.definition);
  const stored = objs(json.options).map((one) => ({ text: str(one.text), value: str(one.value) })).filter((o) => o.value !== '$__all');
  const allValue = str(json.allValue);
  return {
    name: str(json.name),
    label: str(json.label) || str(json.name),
    type,
    hide: num(json.hide) ?? 0,
    multi: bool(json.multi),
    includeAll: bool(json.includeAll),
    allValue: allValue || undefined,
    query,
    regex: str(json.regex),
    sort: num(json.sort) ?? 0,
    refresh: num(json.refresh) ?? 0,
    datasource: json.datasource,
    options: type === 'custom' ? (query ? customOptions(query) : stored) : type === 'interval' ? customOptions(query) : stored,
    current: values(obj(json.current)),
    json,
  };
}

/** Reads a dashboard of any age; throws only where there is none. */
export function read(value: unknown): Dashboard {
  const json = migrate(value);
  if (Object.keys(json).length === 0) throw new Error('this is not a dashboard: expected a JSON object with panels');
  const time = obj(json.time);
  return {
    uid: str(json.uid),
    title: str(json.title, 'Dashboard'),
    description: str(json.description),
    tags: strs(json.tags),
    time: { from: str(time.from, 'now-6h'), to: str(time.to, 'now') },
    refresh: str(json.refresh),
    tooltip: num(json.graphTooltip) ?? 0,
    links: objs(json.links),
    annotations: objs(obj(json.annotations).list),
    variables: objs(obj(json.templating).list).map(variableOf).filter((v) => v.name !== ''),
    panels: list(json.panels).map((one) => panelOf(obj(one))),
    json,
  };
}
