// The values of a dashboard's variables: what their queries answer, what the address chooses, and
// what was saved, resolved in the order in which they depend on each other.

import * as loki from '../api/loki';
import * as prometheus from '../api/prometheus';
import * as tempo from '../api/tempo';
import { seriesName } from '../format/text';
import { errorText } from '../load';
import { obj, objs, str } from '../json';
import { durationSeconds, type Range } from '../time/parse';
import { stepFor } from '../time/store';
import { interpolate, mentions, single, type Values } from './interpolate';
import { parseFilter, type Filter } from './matchers';
import type { Variable, VariableOption } from './model';
import { BUILT_IN, sourceOf } from './sources';

export const ALL = '$__all';

export interface Resolved {
  values: Values;
  options: Record<string, VariableOption[]>;
  errors: Record<string, string>;
  filters: Filter[];
}

/** Variables after those that they mention; of a cycle, in the order of the file. */
export function ordered(variables: Variable[]): Variable[] {
  const byName = new Map(variables.map((v) => [v.name, v]));
  const out: Variable[] = [];
  const seen = new Set<string>();
  const visit = (variable: Variable) => {
    if (seen.has(variable.name)) return;
    seen.add(variable.name);
    const text = [variable.query, variable.regex, JSON.stringify(variable.datasource ?? ''), JSON.stringify(variable.json.query ?? '')].join(' ');
    for (const name of mentions(text)) {
      const needed = byName.get(name);
      if (needed) visit(needed);
    }
    out.push(variable);
  };
  variables.forEach(visit);
  return out;
}

function regexOf(text: string): RegExp | undefined {
  if (!text) return undefined;
  const parts = /^\/(.*)\/([a-z]*)$/s.exec(text);
  try {
    return parts ? new RegExp(parts[1] ?? '', (parts[2] ?? '').replace(/[^gimsuy]/g, '')) : new RegExp(`^${text}$`);
  } catch {
    return undefined;
  }
}

/** Keeps what a regular expression finds; its groups `text` and `value`, or its first, are taken. */
export function applyRegex(options: VariableOption[], regex: string): VariableOption[] {
  const pattern = regexOf(regex);
  if (!pattern) return options;
  const seen = new Set<string>();
  return options.flatMap((option) => {
    const whole = new RegExp(pattern.source, pattern.flags.replace('g', ''));
    const match = whole.exec(option.text) ?? whole.exec(option.value);
    if (!match) return [];
    const named = match.groups ?? {};
    const first = match.length > 1 ? match.slice(1).find((group) => group !== undefined) : undefined;
    const value = named.value ?? named.text ?? first ?? option.value;
    const text = named.text ?? named.value ?? first ?? option.text;
    if (seen.has(value)) return [];
    seen.add(value);
    return [{ text, value }];
  });
}

const numberIn = (text: string) => Number(/(\d+(?:\.\d+)?)/.exec(text)?.[1] ?? NaN);

export function sorted(options: VariableOption[], sort: number): VariableOption[] {
  if (sort === 0) return options;
  const order = (a: VariableOption, b: VariableOption): number => {
    if (sort <= 2) return a.text < b.text ? -1 : a.text > b.text ? 1 : 0;
    if (sort <= 4) return (Number.isNaN(numberIn(a.text)) ? -1 : numberIn(a.text)) - (Number.isNaN(numberIn(b.text)) ? -1 : numberIn(b.text));
    return a.text.localeCompare(b.text, 'en', { numeric: sort >= 7, sensitivity: 'base' });
  };
  const up = [...options].sort(order);
  return sort % 2 === 0 ? up.reverse() : up;
}

const plain = (values: string[]): VariableOption[] => values.map((value) => ({ text: value, value }));

async function prometheusOptions(query: string, range: Range, signal: AbortSignal): Promise<VariableOption[]> {
  const names = /^label_names\((?:(.+))?\)\s*$/s.exec(query);
  if (names) return plain(await prometheus.labelNames(names[1] ? [names[1]] : [], range, signal));
  // Greedy: the label stands behind the last comma.
  const values = /^label_values\((?:(.+),\s*)?([a-zA-Z_$][\w$]*|"[^"]+")\s*\)\s*$/s.exec(query);
  if (values) return plain(await prometheus.labelValues((values[2] ?? '').replaceAll('"', ''), values[1] ? [values[1].trim()] : [], range, signal));
  const metrics = /^metrics\((.*)\)\s*$/s.exec(query);
  if (metrics) {
    const pattern = new RegExp(metrics[1] ?? '');
    return plain((await prometheus.labelValues('__name__', [], range, signal)).filter((name) => pattern.test(name)));
  }
  const result = /^query_result\((.+)\)\s*$/s.exec(query);
  if (result) {
    const { data } = await prometheus.query(result[1] ?? '', range.end, signal);
    if (data.resultType === 'vector') return plain(data.result.map((s) => `${seriesName(s.metric)} ${s.value?.[1] ?? ''} ${(s.value?.[0] ?? 0) * 1000}`));
    return data.resultType === 'matrix' ? [] : plain([`${data.result[1]} ${data.result[0] * 1000}`]);
  }
  if (!query.trim()) return [];
  return plain((await prometheus.series([query], range, signal)).map(seriesName));
}

async function lokiOptions(variable: Variable, query: string, range: Range, signal: AbortSignal): Promise<VariableOption[]> {
  const json = obj(variable.json.query);
  if (str(json.label)) return plain(await loki.labelValues(str(json.label), range, str(json.stream) || undefined, signal));
  if (json.type === 0 || query.startsWith('label_names()')) return plain(await loki.labels(range, signal));
  const values = /^label_values\((?:(.*),\s*)?(\w+)\s*\)$/s.exec(query.trim());
  return values ? plain(await loki.labelValues(values[2] ?? '', range, values[1], signal)) : [];
}

async function tempoOptions(variable: Variable, range: Range, signal: AbortSignal): Promise<VariableOption[]> {
  const label = str(obj(variable.json.query).label);
  if (label) return plain((await tempo.tagValues(label, range, signal)).map((one) => one.value));
  return plain((await tempo.tags(range, signal)).flatMap((scope) => scope.tags.map((tag) => (scope.name === 'intrinsic' ? tag : `${scope.name}.${tag}`))));
}

async function queried(variable: Variable, values: Values, range: Range, signal: AbortSignal): Promise<VariableOption[]> {
  const query = interpolate(variable.query, { values, style: 'promql' });
  const source = sourceOf(variable.datasource, values, { query });
  if (source.kind === 'loki') return lokiOptions(variable, query, range, signal);
  if (source.kind === 'tempo') return tempoOptions(variable, range, signal);
  if (source.kind === 'unknown') throw new Error(`data source type ${source.type} is not supported`);
  return prometheusOptions(query, range, signal);
}

async function optionsOf(variable: Variable, values: Values, range: Range, signal: AbortSignal): Promise<VariableOption[]> {
  const regex = interpolate(variable.regex, { values, style: 'text' });
  switch (variable.type) {
    case 'query':
      return sorted(applyRegex(await queried(variable, values, range, signal), regex), variable.sort);
    case 'datasource': {
      const type = variable.query.trim().toLowerCase();
      const known = BUILT_IN.filter((one) => one.type === type || (type === 'jaeger' && one.type === 'tempo'));
      return known.map((one) => ({ text: one.name, value: one.uid }));
    }
    case 'interval': {
      const auto = variable.json.auto === true ? [{ text: 'auto', value: `$__auto_interval_${variable.name}` }] : [];
      return [...auto, ...variable.options];
    }
    default:
      return variable.options;
  }
}

/** Chosen by the address, else saved and still there, else All or the first. */
export function choose(variable: Variable, options: VariableOption[], asked: string[]): string[] {
  const free = variable.type === 'textbox' || variable.type === 'constant' || variable.type === 'custom' || variable.type === 'interval';
  const isAll = (value: string) => value === ALL || (value === 'All' && variable.includeAll && !options.some((o) => o.value === 'All'));
  const known = (value: string) => options.some((option) => option.value === value);
  const valid = (all: string[]): string[] | undefined => {
    if (all.some(isAll)) return variable.includeAll ? [ALL] : undefined;
    const found = all.flatMap((value) => (known(value) ? [value] : options.filter((o) => o.text === value).map((o) => o.value)));
    if (found.length > 0) return variable.multi ? found : found.slice(0, 1);
    return undefined;
  };
  if (asked.length > 0) return valid(asked) ?? (variable.type === 'datasource' ? options.slice(0, 1).map((o) => o.value) : asked);
  const saved = valid(variable.current);
  if (saved) return saved;
  if (free && options.length === 0 && variable.current.length > 0) return variable.current;
  if (variable.includeAll) return [ALL];
  return options.slice(0, 1).map((option) => option.value);
}

function autoInterval(variable: Variable, range: Range): string {
  const count = Number(variable.json.auto_count ?? 30) || 30;
  const least = durationSeconds(str(variable.json.auto_min, '10s')) ?? 10;
  return `${stepFor(range, count, least)}s`;
}

function valueOf(variable: Variable, options: VariableOption[], chosen: string[], range: Range): Values[string] {
  const all = chosen.includes(ALL);
  const picked = all ? options : chosen.map((value) => options.find((o) => o.value === value) ?? { text: value, value });
  const multi = variable.multi || variable.includeAll;
  if (variable.type === 'interval' && picked[0]?.value.startsWith('$__auto')) return single(autoInterval(variable, range), 'auto');
  return { values: picked.map((o) => o.value), texts: picked.map((o) => o.text), multi, all, allValue: all ? variable.allValue : undefined };
}

export async function resolveVariables(variables: Variable[], params: URLSearchParams, base: Values, range: Range, signal: AbortSignal): Promise<Resolved> {
  const out: Resolved = { values: { ...base }, options: {}, errors: {}, filters: [] };
  for (const variable of ordered(variables)) {
    const asked = params.getAll(`var-${variable.name}`);
    if (variable.type === 'adhoc') {
      const saved = objs(variable.json.filters).map((f) => ({ key: str(f.key), operator: str(f.operator), value: str(f.value) }));
      const chosen = asked.map(parseFilter).filter((f) => f !== undefined);
      out.filters.push(...(params.has(`var-${variable.name}`) ? chosen : saved));
      continue;
    }
    if (variable.type === 'textbox' || variable.type === 'constant') {
      const text = variable.type === 'constant' ? variable.query : (asked[0] ?? variable.current[0] ?? variable.query);
      out.values[variable.name] = single(interpolate(text, { values: out.values, style: 'text' }));
      continue;
    }
    let options: VariableOption[] = [];
    try {
      options = await optionsOf(variable, out.values, range, signal);
    } catch (error) {
      if (signal.aborted) throw error;
      out.errors[variable.name] = errorText(error);
      options = variable.options;
    }
    out.options[variable.name] = options;
    out.values[variable.name] = valueOf(variable, options, choose(variable, options, asked), range);
  }
  return out;
}
