// Transformations that compute columns.

import { bool, num, obj, objs, str, strs, type Json } from '../../json';
import { dateFormat } from '../../format/units';
import { clock, moment } from '../../time/parse';
import { fieldName, kindOf, numberFields, rowCount, toNumber, toText, type Field, type Frame, type Kind } from '../frame';
import { reduceNumber } from '../reduce';
import { joinByField } from './shape';
import { find } from './select';

const OPERATORS: Record<string, (a: number, b: number) => number> = {
  '+': (a, b) => a + b, '-': (a, b) => a - b, '*': (a, b) => a * b, '/': (a, b) => a / b, '%': (a, b) => a % b, '**': (a, b) => a ** b,
};

const UNARY: Record<string, (a: number) => number> = { abs: Math.abs, exp: Math.exp, ln: Math.log, floor: Math.floor, ceil: Math.ceil, round: Math.round, percent: (a) => a * 100 };

function computed(frame: Frame, frames: Frame[], options: Json): Field | undefined {
  const rows = rowCount(frame);
  const column = (value: unknown): ((row: number) => number | null) | undefined => {
    const text = typeof value === 'object' ? str(obj(value).fixed) || str(obj(obj(value).matcher).options) : str(value);
    const field = find(frame, text, frames);
    if (field) return (row) => toNumber(field.values[row]);
    const fixed = num(text);
    return fixed === undefined ? undefined : () => fixed;
  };
  const fill = (make: (row: number) => number | null): unknown[] => Array.from({ length: rows }, (_, row) => make(row));
  const field = (name: string, values: unknown[]): Field => ({ name: str(options.alias) || name, displayName: str(options.alias) || undefined, kind: kindOf(values) === 'boolean' ? 'boolean' : 'number', values });
  switch (str(options.mode, 'reduceRow')) {
    case 'binary': {
      const { left, right, operator } = obj(options.binary);
      const [a, b, apply] = [column(left), column(right), OPERATORS[str(operator, '+')]];
      if (!a || !b || !apply) return undefined;
      return field(`${str(left)} ${str(operator, '+')} ${str(right)}`, fill((row) => {
        const [x, y] = [a(row), b(row)];
        return x === null || y === null ? null : apply(x, y);
      }));
    }
    case 'unary': {
      const { fieldName: name, operator } = obj(options.unary);
      const [a, apply] = [column(name), UNARY[str(operator)]];
      if (!a || !apply) return undefined;
      return field(`${str(operator)}(${str(name)})`, fill((row) => {
        const x = a(row);
        return x === null ? null : apply(x);
      }));
    }
    case 'index':
      return field('Row', fill((row) => (bool(obj(options.index).asPercentile) ? row / Math.max(1, rows - 1) : row)));
    case 'cumulativeFunctions':
    case 'windowFunctions': {
      const part = obj(options.mode === 'windowFunctions' ? options.window : options.cumulative);
      const a = column(part.field);
      if (!a) return undefined;
      const size = num(part.windowSize) ?? 0.1;
      const window = options.mode === 'windowFunctions' ? Math.max(1, Math.round(part.windowSizeMode === 'fixed' ? size : size * rows)) : rows;
      return field(`${str(part.reducer, 'sum')}(${str(part.field)})`, fill((row) => {
        const values = Array.from({ length: Math.min(window, row + 1) }, (_, k) => a(row - k));
        return reduceNumber(str(part.reducer, 'sum'), values.reverse());
      }));
    }
    default: {
      const { include, reducer } = obj(options.reduce);
      const chosen = strs(include);
      const fields = numberFields(frame).filter((one) => chosen.length === 0 || chosen.includes(fieldName(one, frame, frames)) || chosen.includes(one.name));
      if (fields.length === 0) return undefined;
      const id = str(reducer, 'sum');
      return field({ sum: 'Total', mean: 'Mean', max: 'Max', min: 'Min' }[id] ?? id, fill((row) => reduceNumber(id, fields.map((one) => one.values[row]))));
    }
  }
}

export function calculateField(frames: Frame[], options: Json): Frame[] {
  // Series of one clock each are put side by side first, as columns of one table.
  const timed = bool(options.timeSeries, true) && frames.length > 1;
  const before = timed ? joinByField(frames, {}) : frames;
  return before.map((frame) => {
    const made = computed(frame, before, options);
    if (!made) return frame;
    const kept = bool(options.replaceFields) ? frame.fields.filter((field) => field.kind === 'time') : frame.fields;
    return { ...frame, fields: [...kept, made] };
  });
}

function converted(value: unknown, kind: Kind): unknown {
  if (value === null || value === undefined || value === '') return null;
  switch (kind) {
    case 'number':
      return toNumber(value);
    case 'time':
      return typeof value === 'number' ? value : (moment(toText(value), false, 0) ?? null);
    case 'boolean':
      return value === true || value === 1 || /^(true|1|yes|on)$/i.test(toText(value));
    case 'string':
      return toText(value);
    default:
      return value;
  }
}

export function convertFieldType(frames: Frame[], options: Json): Frame[] {
  const wanted = objs(options.conversions);
  return frames.map((frame) => ({
    ...frame,
    fields: frame.fields.map((field) => {
      const found = wanted.find((one) => str(one.targetField) === fieldName(field, frame, frames) || str(one.targetField) === field.name);
      const kind = str(found?.destinationType) as Kind;
      return ['time', 'number', 'string', 'boolean', 'other'].includes(kind) ? { ...field, kind, values: field.values.map((value) => converted(value, kind)) } : field;
    }),
  }));
}

export function formatTime(frames: Frame[], options: Json): Frame[] {
  return frames.map((frame) => ({
    ...frame,
    fields: frame.fields.map((field) => {
      if (fieldName(field, frame, frames) !== str(options.timeField) && field.name !== str(options.timeField)) return field;
      const format = str(options.outputFormat);
      return { ...field, kind: 'string', values: field.values.map((value) => (typeof value === 'number' ? (format ? dateFormat(value, format) : clock(value)) : value)) };
    }),
  }));
}

function parsed(value: unknown, format: string): Json {
  if (typeof value === 'object' && value !== null) return obj(value);
  const text = toText(value);
  if (format !== 'kvp') {
    try {
      const found: unknown = JSON.parse(text);
      if (typeof found === 'object' && found !== null) return found as Json;
      if (format === 'json') return {};
    } catch {
      if (format === 'json') return {};
    }
  }
  return Object.fromEntries([...text.matchAll(/([\w.-]+)\s*[=:]\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,;]+))/g)].map((m) => [m[1] ?? '', m[2] ?? m[3] ?? '']));
}

function atPath(json: unknown, path: string): unknown {
  return path.replace(/\[(\w+)\]/g, '.$1').split('.').filter(Boolean).reduce<unknown>((at, key) => (Array.isArray(at) ? at[Number(key)] : obj(at)[key]), json);
}

export function extractFields(frames: Frame[], options: Json): Frame[] {
  return frames.map((frame) => {
    const source = find(frame, str(options.source), frames);
    if (!source) return frame;
    const rows = source.values.map((value) => parsed(value, str(options.format, 'auto')));
    const paths = objs(options.jsonPaths);
    const names = paths.length > 0 ? [] : [...new Set(rows.flatMap((row) => Object.keys(row)))];
    const made: Field[] = [
      ...names.map((name) => ({ name, values: rows.map((row) => row[name] ?? null) })),
      ...paths.map((one) => ({ name: str(one.alias) || str(one.path), values: rows.map((row) => atPath(row, str(one.path)) ?? null) })),
    ].map((field) => ({ ...field, kind: kindOf(field.values) }));
    const kept = bool(options.replace) ? frame.fields.filter((field) => bool(options.keepTime) && field.kind === 'time') : frame.fields;
    return { ...frame, meta: undefined, fields: [...kept, ...made] };
  });
}
