// Transformations that keep, hide, rename and order columns and rows.

import { bool, list, num, obj, objs, str, strs, type Json } from '../../json';
import { fieldName, rowCount, toNumber, toText, type Field, type Frame } from '../frame';

export function pickRows(frame: Frame, rows: number[]): Frame {
  return { ...frame, fields: frame.fields.map((field) => ({ ...field, values: rows.map((row) => field.values[row]) })) };
}

export function renamed(field: Field, name: string): Field {
  return { ...field, name, displayName: name };
}

export function organize(frames: Frame[], options: Json): Frame[] {
  const [exclude, include, rename, order] = [obj(options.excludeByName), obj(options.includeByName), obj(options.renameByName), obj(options.indexByName)];
  const included = Object.keys(include).some((name) => include[name] === true);
  return frames.map((frame) => {
    const named = frame.fields.map((field, i) => ({ field, name: fieldName(field, frame, frames), place: i }));
    const at = ({ name, field }: { name: string; field: Field }, map: Json) => map[name] ?? map[field.name];
    const kept = named.filter((one) => at(one, exclude) !== true && (!included || at(one, include) === true));
    kept.sort((a, b) => (num(at(a, order)) ?? 1e6 + a.place) - (num(at(b, order)) ?? 1e6 + b.place));
    return { ...frame, fields: kept.map((one) => (str(at(one, rename)) ? renamed(one.field, str(at(one, rename))) : one.field)) };
  });
}

function pattern(text: string): RegExp | undefined {
  const parts = /^\/(.*)\/([a-z]*)$/s.exec(text);
  try {
    return parts ? new RegExp(parts[1] ?? '', (parts[2] ?? '').replace(/[^gimsu]/g, '')) : new RegExp(text);
  } catch {
    return undefined;
  }
}

export function filterFieldsByName(frames: Frame[], options: Json): Frame[] {
  const test = (side: Json): ((name: string, raw: string) => boolean) | undefined => {
    const [names, regex] = [strs(side.names), str(side.pattern) ? pattern(str(side.pattern)) : undefined];
    if (names.length === 0 && !regex) return undefined;
    return (name, raw) => names.includes(name) || names.includes(raw) || !!regex?.test(name);
  };
  const [include, exclude] = [test(obj(options.include)), test(obj(options.exclude))];
  return frames.map((frame) => ({
    ...frame,
    fields: frame.fields.filter((field) => {
      const name = fieldName(field, frame, frames);
      return (!include || include(name, field.name)) && !exclude?.(name, field.name);
    }),
  }));
}

export function filterByRefId(frames: Frame[], options: Json): Frame[] {
  const include = str(options.include);
  if (!include) return frames;
  const wanted = include.split('|');
  const regex = pattern(`^(?:${include})$`);
  return frames.filter((frame) => wanted.includes(frame.refId) || regex?.test(frame.refId));
}

export function renameByRegex(frames: Frame[], options: Json): Frame[] {
  const regex = pattern(str(options.regex));
  if (!regex || !str(options.regex)) return frames;
  return frames.map((frame) => ({
    ...frame,
    fields: frame.fields.map((field) => {
      const name = fieldName(field, frame, frames);
      if (field.kind === 'time' && frame.fields.length > 1 && name === 'Time' && !regex.test('Time')) return field;
      const next = name.replace(regex, str(options.renamePattern));
      return next === name ? field : renamed(field, next);
    }),
  }));
}

export function compare(a: unknown, b: unknown): number {
  if (a === b) return 0;
  if (a === null || a === undefined) return 1;
  if (b === null || b === undefined) return -1;
  if (typeof a === 'number' && typeof b === 'number') return Number.isNaN(a) ? 1 : Number.isNaN(b) ? -1 : a - b;
  return toText(a).localeCompare(toText(b), 'en', { numeric: true });
}

export function find(frame: Frame, name: string, frames: Frame[] = [frame]): Field | undefined {
  return frame.fields.find((field) => fieldName(field, frame, frames) === name) ?? frame.fields.find((field) => field.name === name);
}

export function sortBy(frames: Frame[], options: Json): Frame[] {
  const keys = objs(options.sort).length > 0 ? objs(options.sort) : objs(options.fields).map((f) => ({ field: f.fieldName ?? f.field, desc: f.desc }));
  return frames.map((frame) => {
    const columns = keys.flatMap((key) => {
      const field = find(frame, str(key.field), frames);
      return field ? [{ field, desc: bool(key.desc) }] : [];
    });
    if (columns.length === 0) return frame;
    const rows = Array.from({ length: rowCount(frame) }, (_, i) => i);
    rows.sort((a, b) => {
      for (const { field, desc } of columns) {
        const found = compare(field.values[a], field.values[b]);
        if (found !== 0) return desc ? -found : found;
      }
      return 0;
    });
    return pickRows(frame, rows);
  });
}

export function limit(frames: Frame[], options: Json): Frame[] {
  const most = num(options.limitField) ?? 10;
  return frames.map((frame) => pickRows(frame, Array.from({ length: Math.min(most, rowCount(frame)) }, (_, i) => i)));
}

type Test = (value: unknown, options: Json) => boolean;

const number = (value: unknown) => toNumber(value) ?? NaN;

const TESTS: Record<string, Test> = {
  isNull: (v) => v === null || v === undefined,
  isNotNull: (v) => v !== null && v !== undefined,
  equal: (v, o) => toText(v) === str(o.value) || (str(o.value) !== '' && number(v) === Number(o.value)),
  notEqual: (v, o) => !TESTS.equal?.(v, o),
  greater: (v, o) => number(v) > (num(o.value) ?? NaN),
  greaterOrEqual: (v, o) => number(v) >= (num(o.value) ?? NaN),
  lower: (v, o) => number(v) < (num(o.value) ?? NaN),
  lowerOrEqual: (v, o) => number(v) <= (num(o.value) ?? NaN),
  between: (v, o) => number(v) >= (num(o.from) ?? NaN) && number(v) <= (num(o.to) ?? NaN),
  regex: (v, o) => !!pattern(str(o.value))?.test(toText(v)),
  substring: (v, o) => toText(v).toLowerCase().includes(str(o.value).toLowerCase()),
  notSubstring: (v, o) => !toText(v).toLowerCase().includes(str(o.value).toLowerCase()),
};

export function filterByValue(frames: Frame[], options: Json): Frame[] {
  const filters = objs(options.filters);
  const exclude = options.type === 'exclude';
  const all = options.match === 'all';
  if (filters.length === 0) return frames;
  return frames.map((frame) => {
    const tests = filters.flatMap((filter) => {
      const field = find(frame, str(filter.fieldName), frames);
      const config = obj(filter.config);
      const test = TESTS[str(config.id)];
      return field && test ? [(row: number) => test(field.values[row], obj(config.options))] : [];
    });
    if (tests.length === 0) return frame;
    const rows = Array.from({ length: rowCount(frame) }, (_, i) => i).filter((row) => {
      const found = all ? tests.every((test) => test(row)) : tests.some((test) => test(row));
      return found !== exclude;
    });
    return pickRows(frame, rows);
  });
}

export function names(value: unknown): string[] {
  return list(value).map((one) => str(one));
}
