// Transformations that put frames together or apart.

import { num, obj, objs, str, strs, type Json } from '../../json';
import { fieldName, keyOf, kindOf, rowCount, timeField, toNumber, toText, type Field, type Frame } from '../frame';
import { reduceNumber } from '../reduce';
import { compare, find, pickRows } from './select';

/** The column that frames are joined by: the named one, else their time. */
function joinField(frame: Frame, name: string, frames: Frame[]): Field | undefined {
  return name ? find(frame, name, frames) : timeField(frame);
}

export function joinByField(frames: Frame[], options: Json): Frame[] {
  const name = str(options.byField);
  const inner = options.mode === 'inner';
  const parts = frames.flatMap((frame) => {
    const by = joinField(frame, name, frames);
    return by ? [{ frame, by }] : [];
  });
  const [first] = parts;
  if (!first || parts.length === 1) return frames.length > 1 && first ? [first.frame] : frames;
  const keys = new Map<string, unknown>();
  for (const { by } of parts) for (const value of by.values) keys.set(keyOf([value]), value);
  let order = [...keys];
  const maps = parts.map(({ by }) => {
    const rows = new Map<string, number[]>();
    by.values.forEach((value, row) => {
      const key = keyOf([value]);
      rows.set(key, [...(rows.get(key) ?? []), row]);
    });
    return rows;
  });
  if (inner) order = order.filter(([key]) => maps.every((map) => map.has(key)));
  if (first.by.kind === 'time' || first.by.kind === 'number') order.sort(([, a], [, b]) => compare(a, b));
  // A key that stands several times in a frame makes several rows, as a join of tables does.
  const rows = order.flatMap(([key]) => {
    const most = Math.max(1, ...maps.map((map) => map.get(key)?.length ?? 0));
    return Array.from({ length: most }, (_, k) => maps.map((map) => {
      const found = map.get(key);
      return found ? (found[k] ?? found[found.length - 1]) : undefined;
    }));
  });
  const counts = order.map(([key]) => Math.max(1, ...maps.map((map) => map.get(key)?.length ?? 0)));
  const keyValues = order.flatMap(([, value], i) => Array.from({ length: counts[i] ?? 1 }, () => value));
  const taken = new Map<string, number>();
  const fields: Field[] = [{ ...first.by, values: keyValues }];
  parts.forEach(({ frame, by }, p) => {
    for (const field of frame.fields.filter((one) => one !== by)) {
      const again = taken.get(field.name) ?? 0;
      taken.set(field.name, again + 1);
      const unique = again > 0 && !field.labels && !/^value/i.test(field.name) ? { name: `${field.name} ${again + 1}` } : {};
      const display = field.displayName ?? (frame.name && /^value$/i.test(field.name) && Object.keys(field.labels ?? {}).length === 0 ? frame.name : undefined);
      fields.push({ ...field, ...unique, displayName: display, values: rows.map((row) => (row[p] === undefined ? null : (field.values[row[p]] ?? null))) });
    }
  });
  return [{ refId: first.frame.refId, fields }];
}

/** Rows of several tables in one: rows that agree where both have a value become one. */
export function merge(frames: Frame[]): Frame[] {
  if (frames.length < 2) return frames;
  const names = [...new Set(frames.flatMap((frame) => frame.fields.map((field) => mergeName(field, frame, frames))))];
  const columns = new Map<string, Field>();
  const inFrames = new Map<string, number>();
  for (const frame of frames) {
    for (const field of frame.fields) {
      const name = mergeName(field, frame, frames);
      if (!columns.has(name)) columns.set(name, field);
      inFrames.set(name, (inFrames.get(name) ?? 0) + 1);
    }
  }
  const shared = names.filter((name) => inFrames.get(name) === frames.length);
  const merged = new Map<string, Map<string, unknown>[]>();
  const out: Map<string, unknown>[] = [];
  for (const frame of frames) {
    for (let row = 0; row < rowCount(frame); row += 1) {
      const cells = new Map(frame.fields.map((field) => [mergeName(field, frame, frames), field.values[row]]));
      const key = keyOf(shared.map((name) => cells.get(name)));
      const fitting = merged.get(key)?.find((other) => shared.length > 0 && [...cells].every(([name, value]) => !other.has(name) || other.get(name) === value));
      if (fitting) for (const [name, value] of cells) fitting.set(name, value);
      else {
        merged.set(key, [...(merged.get(key) ?? []), cells]);
        out.push(cells);
      }
    }
  }
  const fields = names.map((name): Field => ({ ...columns.get(name)!, name, values: out.map((row) => row.get(name) ?? null) }));
  return [{ refId: 'merge', fields }];
}

function mergeName(field: Field, frame: Frame, frames: Frame[]): string {
  return field.labels && Object.keys(field.labels).length > 0 ? fieldName(field, frame, frames) : field.name;
}

export function labelsToFields(frames: Frame[], options: Json): Frame[] {
  const keep = strs(options.keepLabels);
  if (options.mode === 'rows') return frames.flatMap((frame) => frame.fields.filter((f) => f.labels).map((field): Frame => {
    const pairs = Object.entries(field.labels ?? {});
    return { refId: frame.refId, fields: [{ name: 'label', kind: 'string', values: pairs.map(([k]) => k) }, { name: 'value', kind: 'string', values: pairs.map(([, v]) => v) }] };
  }));
  const tables = frames.map((frame): Frame => {
    const time = timeField(frame);
    const labels = [...new Set(frame.fields.flatMap((field) => Object.keys(field.labels ?? {})))].filter((name) => keep.length === 0 || keep.includes(name));
    const rows = rowCount(frame);
    const valueLabel = str(options.valueLabel);
    const made = labels.filter((name) => name !== valueLabel && name !== '__name__').map((name): Field => {
      const value = frame.fields.find((field) => field.labels?.[name] !== undefined)?.labels?.[name] ?? null;
      return { name, kind: 'string', values: Array.from({ length: rows }, () => value) };
    });
    const values = frame.fields.filter((field) => field !== time).map((field): Field => {
      const { labels: own, displayName: _, ...rest } = field;
      const name = (valueLabel && own?.[valueLabel]) || (/^value$/i.test(field.name) ? (own?.__name__ ?? field.name) : field.name);
      return { ...rest, name };
    });
    return { refId: frame.refId, fields: [...(time ? [time] : []), ...made, ...values] };
  });
  return merge(tables);
}

export function seriesToRows(frames: Frame[]): Frame[] {
  const rows = frames.flatMap((frame) => {
    const time = timeField(frame);
    return frame.fields.filter((field) => field.kind !== 'time').flatMap((field) => field.values.map((value, i) => ({ time: time?.values[i] ?? null, metric: fieldName(field, frame, frames), value })));
  });
  rows.sort((a, b) => compare(b.time, a.time));
  return [{
    refId: frames[0]?.refId ?? 'A',
    fields: [
      { name: 'Time', kind: 'time', values: rows.map((row) => row.time) },
      { name: 'Metric', kind: 'string', values: rows.map((row) => row.metric) },
      { name: 'Value', kind: 'number', values: rows.map((row) => row.value) },
    ],
  }];
}

export function concatenate(frames: Frame[], options: Json): Frame[] {
  if (frames.length < 2) return frames;
  const rows = Math.max(...frames.map(rowCount));
  const fields = frames.flatMap((frame) => frame.fields.map((field): Field => ({
    ...field,
    name: frame.name && options.frameNameMode !== 'drop' && options.frameNameMode !== 'label' ? `${frame.name} ${field.name}` : field.name,
    labels: frame.name && options.frameNameMode === 'label' ? { ...field.labels, [str(options.frameNameLabel, 'frame')]: frame.name } : field.labels,
    values: Array.from({ length: rows }, (_, i) => field.values[i] ?? null),
  })));
  return [{ refId: frames[0]?.refId ?? 'A', fields }];
}

export function partitionByValues(frames: Frame[], options: Json): Frame[] {
  const by = strs(options.fields);
  return frames.flatMap((frame) => {
    const keys = by.flatMap((name) => find(frame, name, frames) ?? []);
    if (keys.length === 0) return [frame];
    const groups = new Map<string, number[]>();
    for (let row = 0; row < rowCount(frame); row += 1) {
      const key = keyOf(keys.map((field) => field.values[row]));
      groups.set(key, [...(groups.get(key) ?? []), row]);
    }
    return [...groups.values()].map((rows) => {
      const labels = Object.fromEntries(keys.map((field) => [field.name, toText(field.values[rows[0] ?? 0])]));
      const part = pickRows(frame, rows);
      const fields = part.fields.filter((_, i) => !keys.includes(frame.fields[i] as Field)).map((field) => (field.kind === 'time' ? field : { ...field, labels: { ...field.labels, ...labels } }));
      return { ...part, name: Object.values(labels).join(' '), fields };
    });
  });
}

/** Each row's name and value become a column of one row. */
export function rowsToFields(frames: Frame[], options: Json): Frame[] {
  const mappings = objs(options.mappings);
  return frames.map((frame) => {
    const named = (handler: string) => str(mappings.find((one) => str(one.handlerKey) === handler)?.fieldName);
    const name = find(frame, named('field.name'), frames) ?? frame.fields.find((field) => field.kind === 'string');
    const value = find(frame, named('field.value'), frames) ?? frame.fields.find((field) => field.kind === 'number');
    if (!name || !value) return frame;
    const configs = mappings.filter((one) => !str(one.handlerKey).startsWith('field.'));
    return {
      refId: frame.refId,
      fields: name.values.map((text, row): Field => ({
        name: toText(text), kind: kindOf([value.values[row]]), values: [value.values[row]],
        config: Object.fromEntries(configs.map((one) => [str(one.handlerKey), find(frame, str(one.fieldName), frames)?.values[row]])),
      })),
    };
  });
}

/** A table with a row per series: its labels, its reduced value, and the series itself as a sparkline. */
export function timeSeriesTable(frames: Frame[], options: Json): Frame[] {
  const refIds = [...new Set(frames.map((frame) => frame.refId))];
  return refIds.map((refId): Frame => {
    const own = frames.filter((frame) => frame.refId === refId);
    const series = own.flatMap((frame) => frame.fields.filter((field) => field.kind === 'number').map((field) => ({ frame, field })));
    const names = [...new Set(series.flatMap(({ field }) => Object.keys(field.labels ?? {})))];
    const stat = str(obj(options[refId]).stat, 'lastNotNull');
    return {
      refId,
      fields: [
        ...names.map((name): Field => ({ name, kind: 'string', values: series.map(({ field }) => field.labels?.[name] ?? '') })),
        { name: 'Trend', displayName: `Trend${refIds.length > 1 ? ` #${refId}` : ''}`, kind: 'other', values: series.map(({ frame, field }) => ({ times: timeField(frame)?.values ?? [], values: field.values, value: reduceNumber(stat, field.values) })) },
      ],
    };
  });
}

export function transpose(frames: Frame[], options: Json): Frame[] {
  return frames.map((frame) => {
    const [head, ...rest] = frame.fields;
    if (!head) return frame;
    const columns = head.values.map((value, row): Field => {
      const values = rest.map((field) => field.values[row] ?? null);
      return { name: toText(value), kind: kindOf(values), values };
    });
    return { ...frame, fields: [{ name: str(options.firstFieldName) || head.name, kind: 'string', values: rest.map((field) => fieldName(field, frame, frames)) }, ...columns] };
  });
}

export function groupingToMatrix(frames: Frame[], options: Json): Frame[] {
  return frames.map((frame) => {
    const column = find(frame, str(options.columnField, 'Time'), frames);
    const row = find(frame, str(options.rowField, 'Time'), frames);
    const value = find(frame, str(options.valueField, 'Value'), frames);
    if (!column || !row || !value) return frame;
    const columns = [...new Set(column.values.map(toText))];
    const rows = [...new Set(row.values)];
    const cells = new Map(value.values.map((one, i) => [keyOf([row.values[i], toText(column.values[i])]), one]));
    const empty = options.emptyValue === 'zero' ? 0 : options.emptyValue === 'empty' ? '' : null;
    return {
      refId: frame.refId,
      fields: [
        { name: `${row.name}\\${column.name}`, kind: row.kind, values: rows },
        ...columns.map((name): Field => ({ name, kind: value.kind, values: rows.map((one) => cells.get(keyOf([one, name])) ?? empty) })),
      ],
    };
  });
}

export const asNumber = (value: unknown) => toNumber(value) ?? num(value);
