// Transformations that compute: configuration out of data, regressions, heatmaps, joins by labels, texts in other forms.

import { list, num, obj, objs, str, strs, type Json } from '../../json';
import { durationSeconds } from '../../time/parse';
import { matches } from '../fields';
import { fieldName, keyOf, numberFields, rowCount, timeField, toNumber, toText, type Field, type Frame } from '../frame';
import { reduce } from '../reduce';
import { find } from './select';
import { joinByField } from './shape';
import { bucketWidth } from './summarise';

/** What a column of configuration sets, by the name of the setting. */
function setting(key: string, value: unknown): Json {
  const threshold = /^threshold(\d+)$/.exec(key);
  if (threshold) return { threshold: { value: toNumber(value), color: ['green', 'orange', 'red', 'purple'][Math.min(3, Number(threshold[1]))] } };
  if (['min', 'max', 'decimals'].includes(key)) return { [key]: toNumber(value) };
  if (['unit', 'displayName', 'noValue'].includes(key)) return { [key]: toText(value) };
  if (key === 'name') return { displayName: toText(value) };
  if (key === 'color') return { color: { mode: 'fixed', fixedColor: toText(value) } };
  return {};
}

/** The settings that all rows, reduced, say. */
function settings(frame: Frame, mappings: Json[]): Json {
  const out: Json = {};
  const steps: Json[] = [];
  for (const field of frame.fields) {
    const how = mappings.find((one) => str(one.fieldName) === field.name || str(one.fieldName) === fieldName(field, frame)) ?? {};
    const key = str(how.handlerKey) || field.name.toLowerCase().replace(/^displayname$/, 'displayName');
    if (key === '__ignore') continue;
    const { threshold, ...rest } = setting(key, reduce(str(how.reducerId, 'lastNotNull'), field.values));
    Object.assign(out, rest);
    if (threshold) steps.push(obj(threshold));
  }
  if (steps.length > 0) out.thresholds = { mode: 'absolute', steps: [{ value: null, color: 'green' }, ...steps] };
  return out;
}

export function configFromData(frames: Frame[], options: Json): Frame[] {
  const from = frames.find((frame) => frame.refId === str(options.configRefId, 'config'));
  if (!from) return frames;
  const config = settings(from, objs(options.mappings));
  const applyTo = obj(options.applyTo).id ? obj(options.applyTo) : { id: 'numeric' };
  const rest = frames.filter((frame) => frame !== from);
  return rest.map((frame) => ({ ...frame, fields: frame.fields.map((field) => (matches(applyTo, field, frame, rest) ? { ...field, config: { ...field.config, ...config } } : field)) }));
}

export function joinByLabels(frames: Frame[], options: Json): Frame[] {
  const value = str(options.value);
  const fields = frames.flatMap((frame) => numberFields(frame)).filter((field) => field.labels && Object.hasOwn(field.labels, value));
  if (!value || fields.length === 0) return frames;
  const asked = strs(options.join);
  const join = asked.length > 0 ? asked : [...new Set(fields.flatMap((field) => Object.keys(field.labels ?? {})))].filter((name) => name !== value && name !== '__name__').sort();
  const columns = [...new Set(fields.map((field) => field.labels?.[value] ?? ''))];
  const rows = new Map<string, { keys: string[]; cells: Map<string, unknown[]> }>();
  for (const field of fields) {
    const keys = join.map((name) => field.labels?.[name] ?? '');
    const key = keyOf(keys);
    const found = rows.get(key) ?? { keys, cells: new Map<string, unknown[]>() };
    found.cells.set(field.labels?.[value] ?? '', field.values);
    rows.set(key, found);
  }
  const all = [...rows.values()].flatMap(({ keys, cells }) => Array.from({ length: Math.max(...[...cells.values()].map((one) => one.length)) }, (_, i) => ({ keys, at: (column: string) => cells.get(column)?.[i] ?? null })));
  return [{
    refId: frames[0]?.refId ?? 'A',
    fields: [
      ...join.map((name, k): Field => ({ name, kind: 'string', values: all.map((row) => row.keys[k] ?? '') })),
      ...columns.map((name): Field => ({ name, kind: 'number', values: all.map((row) => row.at(name)) })),
    ],
  }];
}

/** Solves `matrix · x = right` by elimination; nothing where it has no one answer. */
function solve(matrix: number[][], right: number[]): number[] | undefined {
  const n = right.length;
  const m = matrix.map((row, i) => [...row, right[i] ?? 0]);
  for (let column = 0; column < n; column += 1) {
    let pivot = column;
    for (let row = column + 1; row < n; row += 1) if (Math.abs(m[row]?.[column] ?? 0) > Math.abs(m[pivot]?.[column] ?? 0)) pivot = row;
    const [a, b] = [m[column], m[pivot]];
    if (!a || !b || Math.abs(b[column] ?? 0) < 1e-12) return undefined;
    [m[column], m[pivot]] = [b, a];
    for (let row = 0; row < n; row += 1) {
      const target = m[row];
      if (row === column || !target) continue;
      const part = (target[column] ?? 0) / (b[column] ?? 1);
      for (let k = column; k <= n; k += 1) target[k] = (target[k] ?? 0) - part * (b[k] ?? 0);
    }
  }
  return m.map((row, i) => (row[n] ?? 0) / (row[i] ?? 1));
}

/** Coefficients of the polynomial that fits best, from the constant up. */
export function fit(points: [number, number][], degree: number): number[] | undefined {
  const sums = Array.from({ length: 2 * degree + 1 }, (_, k) => points.reduce((sum, [x]) => sum + x ** k, 0));
  const matrix = Array.from({ length: degree + 1 }, (_, i) => Array.from({ length: degree + 1 }, (__, j) => sums[i + j] ?? 0));
  return solve(matrix, Array.from({ length: degree + 1 }, (_, i) => points.reduce((sum, [x, y]) => sum + y * x ** i, 0)));
}

const PREDICTIONS_MAX = 5000;

export function regression(frames: Frame[], options: Json): Frame[] {
  const of = (frame: Frame) => ({ x: str(options.xFieldName) ? find(frame, str(options.xFieldName), frames) : timeField(frame), y: str(options.yFieldName) ? find(frame, str(options.yFieldName), frames) : numberFields(frame)[0] });
  const chosen = frames.map((frame) => ({ frame, ...of(frame) })).find(({ x, y }) => x && y && x !== y);
  if (!chosen?.x || !chosen.y) return frames;
  const { frame, x, y } = chosen;
  const points = y.values.flatMap((value, row): [number, number][] => {
    const [a, b] = [toNumber(x.values[row]), toNumber(value)];
    return a !== null && b !== null && Number.isFinite(a) && Number.isFinite(b) ? [[a, b]] : [];
  });
  if (points.length < 2) return frames;
  const [low, high] = points.reduce(([a, b], [value]) => [Math.min(a, value), Math.max(b, value)], [Infinity, -Infinity]);
  // Powers of moments are too large to be exact: they are counted from the middle, in halves of the range.
  const [middle, half] = [(low + high) / 2, (high - low) / 2 || 1];
  const polynomial = str(options.modelType) === 'polynomial';
  const degree = polynomial ? Math.max(1, Math.min(5, num(options.degree) ?? 2)) : 1;
  const found = fit(points.map(([a, b]) => [(a - middle) / half, b]), degree);
  if (!found) return frames;
  const count = Math.max(2, Math.min(PREDICTIONS_MAX, num(options.predictionCount) ?? 100));
  const xs = Array.from({ length: count }, (_, i) => low + ((high - low) * i) / (count - 1));
  const name = polynomial ? 'Polynomial regression' : 'Linear regression';
  return [...frames, {
    refId: frame.refId, name,
    fields: [{ ...x, labels: undefined, values: xs }, { name, kind: 'number', values: xs.map((at) => found.reduce((sum, c, power) => sum + c * ((at - middle) / half) ** power, 0)), config: y.config }],
  }];
}

const CELLS_MAX = 500;

/** Counts of values by moment and size, as a panel `heatmap` draws them. */
export function heatmap(frames: Frame[], options: Json): Frame[] {
  const points = frames.flatMap((frame) => {
    const times = timeField(frame)?.values ?? [];
    return numberFields(frame).flatMap((field) => field.values.map((value, i): [number, number | null] => [Number(times[i]), toNumber(value)]));
  }).filter((point): point is [number, number] => Number.isFinite(point[0]) && point[1] !== null && Number.isFinite(point[1]));
  if (points.length === 0) return [];
  const bounds = (index: 0 | 1) => points.reduce(([low, high], point) => [Math.min(low, point[index]), Math.max(high, point[index])] as [number, number], [Infinity, -Infinity] as [number, number]);
  const [[from, to], [min, max]] = [bounds(0), bounds(1)];
  const size = (how: Json, low: number, high: number, otherwise: number, isTime: boolean) => {
    const value = str(how.value);
    const asked = str(how.mode) === 'count' ? (high - low) / Math.max(1, Number(value) || otherwise) : isTime ? (durationSeconds(value) ?? NaN) * 1000 : Number(value || NaN);
    return asked > 0 && (high - low) / asked < CELLS_MAX ? asked : bucketWidth(low, high, otherwise);
  };
  const [wide, tall] = [size(obj(options.xBuckets), from, to, 30, true), size(obj(options.yBuckets), min, max, 20, false)];
  const [left, bottom] = [Math.floor(from / wide), Math.floor(min / tall)];
  const [columns, rows] = [Math.floor(to / wide) - left + 1, Math.floor(max / tall) - bottom + 1];
  const cells = Array.from({ length: rows }, () => new Array<number | null>(columns).fill(null));
  for (const [time, value] of points) {
    const row = cells[Math.floor(value / tall) - bottom];
    const column = Math.floor(time / wide) - left;
    if (row) row[column] = (row[column] ?? 0) + 1;
  }
  return [{
    refId: frames[0]?.refId ?? 'A', meta: 'heatmap',
    fields: [
      { name: 'Time', kind: 'time', values: Array.from({ length: columns }, (_, i) => (left + i + 1) * wide) },
      ...cells.map((values, i): Field => ({ name: `${Number(((bottom + i + 1) * tall).toPrecision(8))}`, kind: 'number', values })),
    ],
  }];
}

const words = (text: string) => text.replace(/([a-z0-9])([A-Z])/g, '$1 $2').split(/[^\p{L}\p{N}]+/u).filter(Boolean);
const upperFirst = (text: string) => text.slice(0, 1).toUpperCase() + text.slice(1);

const FORMS: Record<string, (text: string, options: Json) => string> = {
  'Upper Case': (text) => text.toUpperCase(), 'Lower Case': (text) => text.toLowerCase(), 'Sentence Case': (text) => upperFirst(text),
  'Title Case': (text) => text.split(' ').map(upperFirst).join(' '), 'Pascal Case': (text) => words(text).map((word) => upperFirst(word.toLowerCase())).join(''),
  'Camel Case': (text) => words(text).map((word, i) => (i > 0 ? upperFirst(word.toLowerCase()) : word.toLowerCase())).join(''),
  'Snake Case': (text) => words(text).map((word) => word.toLowerCase()).join('_'), 'Kebab Case': (text) => words(text).map((word) => word.toLowerCase()).join('-'),
  Trim: (text) => text.trim(), Substring: (text, options) => text.substring(num(options.substringStart) ?? 0, num(options.substringEnd) ?? text.length),
};

export function formatString(frames: Frame[], options: Json): Frame[] {
  const form = FORMS[str(options.outputFormat, 'Upper Case')];
  const name = str(options.stringField);
  return frames.map((frame) => ({
    ...frame,
    fields: frame.fields.map((field) => (form && field.kind === 'string' && (fieldName(field, frame, frames) === name || field.name === name) ? { ...field, values: field.values.map((value) => (value === null || value === undefined ? value : form(toText(value), options))) } : field)),
  }));
}

/** Neighbours of each value in a window, averaged. */
export function smoothing(frames: Frame[], options: Json): Frame[] {
  const wanted = Math.max(1, num(options.resolution) ?? 100);
  return frames.map((frame) => {
    const half = Math.floor(Math.max(1, Math.ceil(rowCount(frame) / wanted)) / 2);
    const smooth = (values: unknown[]) => values.map((value, row) => {
      const near = list(values.slice(Math.max(0, row - half), row + half + 1)).map(toNumber).filter((one): one is number => one !== null && Number.isFinite(one));
      return value === null || near.length === 0 ? null : near.reduce((a, b) => a + b, 0) / near.length;
    });
    return timeField(frame) ? { ...frame, fields: frame.fields.map((field) => (field.kind === 'number' ? { ...field, values: smooth(field.values) } : field)) } : frame;
  });
}

/** Time series in one table (`wide`), or each in a frame of its own with its texts as labels. */
export function prepareTimeSeries(frames: Frame[], options: Json): Frame[] {
  const timed = frames.filter((frame) => timeField(frame));
  if (str(options.format) === 'wide') return joinByField(timed, {});
  return timed.flatMap((frame) => {
    const time = timeField(frame);
    const texts = frame.fields.filter((field) => field.kind === 'string');
    const groups = new Map<string, number[]>();
    for (let row = 0; row < rowCount(frame); row += 1) {
      const key = keyOf(texts.map((field) => field.values[row]));
      groups.set(key, [...(groups.get(key) ?? []), row]);
    }
    return numberFields(frame).flatMap((field) => [...groups.values()].map((rows): Frame => {
      const labels = texts.length > 0 ? { ...field.labels, ...Object.fromEntries(texts.map((one) => [one.name, toText(one.values[rows[0] ?? 0])])) } : field.labels;
      return { refId: frame.refId, name: frame.name, fields: [{ name: 'Time', kind: 'time', values: rows.map((row) => time?.values[row]) }, { ...field, labels, values: rows.map((row) => field.values[row]) }] };
    }));
  });
}
