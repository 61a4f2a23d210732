// Transformations that make fewer rows: groups, reductions, histograms.

import { bool, num, obj, str, strs, type Json } from '../../json';
import { fieldName, keyOf, kindOf, numberFields, rowCount, toNumber, type Field, type Frame } from '../frame';
import { reduce, reducerLabel } from '../reduce';

export function groupBy(frames: Frame[], options: Json): Frame[] {
  const fields = obj(options.fields);
  return frames.flatMap((frame) => {
    const asked = frame.fields.map((field) => ({ field, how: obj(fields[fieldName(field, frame, frames)] ?? fields[field.name]) }));
    const keys = asked.filter(({ how }) => how.operation === 'groupby').map(({ field }) => field);
    if (keys.length === 0) return [frame];
    const groups = new Map<string, number[]>();
    for (let row = 0; row < rowCount(frame); row += 1) {
      const key = keyOf(keys.map((field) => field.values[row]));
      const rows = groups.get(key);
      if (rows) rows.push(row);
      else groups.set(key, [row]);
    }
    const all = [...groups.values()];
    const aggregates = asked.filter(({ how }) => how.operation === 'aggregate').flatMap(({ field, how }) =>
      strs(how.aggregations).map((id): Field => {
        const values = all.map((rows) => reduce(id, rows.map((row) => field.values[row])));
        return { ...field, name: `${fieldName(field, frame, frames)} (${id})`, displayName: undefined, labels: undefined, kind: field.kind === 'time' && !/count/i.test(id) ? 'time' : kindOf(values), values };
      }));
    return [{ ...frame, fields: [...keys.map((field) => ({ ...field, values: all.map((rows) => field.values[rows[0] ?? 0]) })), ...aggregates] }];
  });
}

export function reduceRows(frames: Frame[], options: Json): Frame[] {
  const reducers = strs(options.reducers).length > 0 ? strs(options.reducers) : ['max'];
  if (options.mode === 'reduceFields') {
    return frames.map((frame) => ({
      ...frame,
      fields: numberFields(frame).flatMap((field) => reducers.map((id): Field => ({
        ...field, name: reducers.length > 1 ? `${reducerLabel(id)} ${fieldName(field, frame, frames)}` : field.name, values: [reduce(id, field.values)],
      }))),
    }));
  }
  const toFields = bool(options.labelsToFields);
  const rows = frames.flatMap((frame) => frame.fields.filter((field) => field.kind === 'number' || (field.kind !== 'time' && bool(options.includeTimeField) && false)).map((field) => ({ field, name: fieldName(field, frame, frames) })));
  const names = toFields ? [...new Set(rows.flatMap(({ field }) => Object.keys(field.labels ?? {})))] : [];
  if (rows.length === 0) return [];
  return [{
    refId: frames[0]?.refId ?? 'A',
    fields: [
      { name: 'Field', kind: 'string', values: rows.map(({ name, field }) => (toFields ? (field.labels?.__name__ ?? field.name) : name)) },
      ...names.filter((name) => name !== '__name__').map((name): Field => ({ name, kind: 'string', values: rows.map(({ field }) => field.labels?.[name] ?? '') })),
      ...reducers.map((id): Field => {
        const values = rows.map(({ field }) => reduce(id, field.values));
        return { name: reducerLabel(id), kind: kindOf(values), values };
      }),
    ],
  }];
}

/** Round widths of buckets, so that about thirty cover the values. */
export function bucketWidth(min: number, max: number, wanted = 30): number {
  const raw = (max - min) / wanted || 1;
  const power = 10 ** Math.floor(Math.log10(raw));
  return ([1, 2, 2.5, 5, 10].find((step) => step * power >= raw) ?? 10) * power;
}

export function histogram(frames: Frame[], options: Json): Frame[] {
  const fields = frames.flatMap((frame) => numberFields(frame).map((field) => ({ frame, field })));
  const columns = fields.map(({ frame, field }) => ({ name: fieldName(field, frame, frames), numbers: field.values.map(toNumber).filter((v): v is number => v !== null && Number.isFinite(v)), field }));
  const everything = columns.flatMap((column) => column.numbers);
  if (everything.length === 0) return [];
  const [min, max] = everything.reduce(([low, high], v) => [Math.min(low, v), Math.max(high, v)], [Infinity, -Infinity]);
  const width = num(options.bucketSize) ?? bucketWidth(min, max, num(options.bucketCount) ?? 30);
  const offset = num(options.bucketOffset) ?? 0;
  const first = Math.floor((min - offset) / width);
  const buckets = Math.min(10_000, Math.floor((max - offset) / width) - first + 1);
  const counts = (numbers: number[]) => {
    const out = Array.from({ length: buckets }, () => 0);
    for (const value of numbers) {
      const at = Math.min(buckets - 1, Math.floor((value - offset) / width) - first);
      out[at] = (out[at] ?? 0) + 1;
    }
    return out;
  };
  const edge = (i: number) => Number(((first + i) * width + offset).toPrecision(12));
  const made: Field[] = bool(options.combine)
    ? [{ name: 'Count', kind: 'number', values: counts(everything) }]
    : columns.map(({ name, numbers, field }) => ({ name, displayName: name, kind: 'number', labels: undefined, config: field.config, values: counts(numbers) }));
  return [{
    refId: str(frames[0]?.refId, 'A'), meta: 'histogram',
    fields: [
      { name: 'xMin', kind: 'number', values: Array.from({ length: buckets }, (_, i) => edge(i)) },
      { name: 'xMax', kind: 'number', values: Array.from({ length: buckets }, (_, i) => edge(i + 1)) },
      ...made,
    ],
  }];
}
