// Grafana's server-side expressions (`__expr__`): reduce, math, resample and threshold over what other queries
// of the panel answered. Sets of values are matched by their labels, as Grafana does it.

import { num, obj, objs, str, strs, type Json } from '../json';
import { durationSeconds, type Range } from '../time/parse';
import { fieldName, numberFields, rowCount, timeField, toNumber, toText, type Frame } from './frame';
import { evaluate, parseMath, type Item } from './math';
import { reduce } from './reduce';

export class ExpressionError extends Error {}

/** The refIds of queries that an expression reads. */
export function inputsOf(json: Json): string[] {
  const text = str(json.expression);
  switch (str(json.type)) {
    case 'math':
      return [...text.matchAll(/\$(?:\{([^}]+)\}|(\w+))/g)].map((found) => found[1] ?? found[2] ?? '');
    case 'classic_conditions':
      return objs(json.conditions).flatMap((one) => strs(obj(one.query).params)).slice(0, 100);
    default:
      return text ? [text.replace(/^\$\{?|\}$/g, '')] : [];
  }
}

/** A query's answer as items: one for each column of numbers. */
export function itemsOf(frames: Frame[]): Item[] {
  return frames.flatMap((frame): Item[] => {
    const time = timeField(frame);
    const labels = frame.fields.filter((field) => field.kind === 'string');
    return numberFields(frame).flatMap((field): Item[] => {
      // A table without time: every row is a number with its texts as labels.
      if (!time || (labels.length > 0 && !field.labels)) {
        return Array.from({ length: rowCount(frame) }, (_, row) => ({ labels: { ...field.labels, ...Object.fromEntries(labels.map((one) => [fieldName(one, frame), toText(one.values[row])])) }, values: [toNumber(field.values[row])] }));
      }
      return [{ labels: field.labels ?? {}, times: time.values.map(Number), values: field.values.map(toNumber), name: field.displayName ?? frame.name }];
    });
  });
}

export function framesOf(items: Item[], refId: string): Frame[] {
  return items.map((item): Frame => {
    const named = Object.keys(item.labels).length > 0;
    const value = { name: named ? 'Value' : refId, kind: 'number' as const, values: item.values, labels: named ? item.labels : undefined, displayName: item.name };
    return { refId, name: named ? undefined : refId, fields: item.times ? [{ name: 'Time', kind: 'time', values: item.times }, value] : [value] };
  });
}

/** What the words of the editor are among the reducers of panels. */
const REDUCERS: Record<string, string> = { avg: 'mean', min: 'min', max: 'max', sum: 'sum', count: 'count', last: 'last', median: 'median', mean: 'mean', diff: 'diff', diff_abs: 'diff', percent_diff: 'diffperc' };

function reduceItems(items: Item[], json: Json): Item[] {
  const { mode, replaceWithValue } = obj(json.settings);
  return items.map((item) => {
    const values = mode === 'dropNN' ? item.values.filter((v) => v !== null && Number.isFinite(v)) : mode === 'replaceNN' ? item.values.map((v) => (v !== null && Number.isFinite(v) ? v : (num(replaceWithValue) ?? 0))) : item.values;
    const id = str(json.reducer, 'last');
    // Strictly, one value that is none makes the result none.
    const spoilt = !mode && id !== 'last' && id !== 'count' && values.some((v) => v === null || Number.isNaN(v));
    const found = toNumber(reduce(REDUCERS[id] ?? id, values));
    return { labels: item.labels, name: item.name, values: [spoilt ? NaN : id === 'diff_abs' && found !== null ? Math.abs(found) : found] };
  });
}

const POINTS_MAX = 11_000;

function resample(items: Item[], json: Json, range: Range): Item[] {
  const step = durationSeconds(str(json.window)) ?? 0;
  if (step <= 0) throw new ExpressionError(`resample: expected a duration as window, found "${str(json.window)}"`);
  const length = Math.floor((range.end - range.start) / step) + 1;
  if (length > POINTS_MAX) throw new ExpressionError(`resample: ${length} points, at most ${POINTS_MAX}`);
  const times = Array.from({ length }, (_, i) => (range.start + i * step) * 1000);
  const down = REDUCERS[str(json.downsampler, 'mean')] ?? 'mean';
  const up = str(json.upsampler, 'fillna');
  return items.filter((item) => item.times).map((item) => {
    let at = 0;
    const own = item.times ?? [];
    const values = times.map((time) => {
      const inside: (number | null)[] = [];
      while (at < own.length && (own[at] ?? 0) <= time) {
        if ((own[at] ?? 0) > time - step * 1000) inside.push(item.values[at] ?? null);
        at += 1;
      }
      if (inside.length > 0) return toNumber(reduce(down, inside));
      if (up === 'pad') return at > 0 ? (item.values[at - 1] ?? null) : null;
      if (up === 'backfilling') return item.values[at] ?? null;
      return null;
    });
    return { ...item, times, values };
  });
}

function holds(evaluator: Json, value: number): boolean {
  const [a = 0, b = 0] = (Array.isArray(evaluator.params) ? evaluator.params : []).map((one) => num(one) ?? 0);
  switch (str(evaluator.type, 'gt')) {
    case 'gt': return value > a;
    case 'lt': return value < a;
    case 'eq': return value === a;
    case 'ne': case 'neq': return value !== a;
    case 'gte': return value >= a;
    case 'lte': return value <= a;
    case 'within_range': return value > Math.min(a, b) && value < Math.max(a, b);
    case 'outside_range': return value < Math.min(a, b) || value > Math.max(a, b);
    case 'within_range_included': return value >= Math.min(a, b) && value <= Math.max(a, b);
    case 'outside_range_included': return value <= Math.min(a, b) || value >= Math.max(a, b);
    case 'no_value': return Number.isNaN(value);
    default: throw new ExpressionError(`threshold: "${str(evaluator.type)}" is not known`);
  }
}

function threshold(items: Item[], json: Json): Item[] {
  const evaluator = obj(obj(objs(json.conditions)[0]).evaluator);
  return items.map((item) => ({ ...item, values: item.values.map((value) => (value === null || Number.isNaN(value) ? value : holds(evaluator, value) ? 1 : 0)) }));
}

function classic(json: Json, inputs: Map<string, Item[]>): Item[] {
  const found = objs(json.conditions).reduce<boolean | undefined>((before, one) => {
    const items = inputs.get(strs(obj(one.query).params)[0] ?? '') ?? [];
    const reducer = str(obj(one.reducer).type, 'avg');
    const holdsNow = items.some((item) => holds(obj(one.evaluator), toNumber(reduce(REDUCERS[reducer] ?? reducer, item.values)) ?? NaN));
    if (before === undefined) return holdsNow;
    return str(obj(one.operator).type) === 'or' ? before || holdsNow : before && holdsNow;
  }, undefined);
  return [{ labels: {}, values: [found ? 1 : 0] }];
}

/** One expression over the items of its inputs. */
export function express(json: Json, inputs: Map<string, Item[]>, range: Range): Item[] {
  const of = (refId: string): Item[] => {
    const found = inputs.get(refId);
    if (!found) throw new ExpressionError(`the expression reads ${refId || 'nothing'}, and there is no such query`);
    return found;
  };
  const [first = ''] = inputsOf(json);
  switch (str(json.type)) {
    case 'reduce': return reduceItems(of(first), json);
    case 'resample': return resample(of(first), json, range);
    case 'threshold': return threshold(of(first), json);
    case 'math': return evaluate(parseMath(str(json.expression)), of);
    case 'classic_conditions': return classic(json, inputs);
    default: throw new ExpressionError(`expressions of type ${str(json.type) || '(none)'} are not supported`);
  }
}
