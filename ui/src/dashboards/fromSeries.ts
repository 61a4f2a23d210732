// Series of an answer as frames: one per series, one table, or the buckets of a heatmap.

import type { NativeHistogram } from '../api/prometheus';
import type { Field, Frame } from './frame';

export interface NamedSeries {
  labels: Record<string, string>;
  name?: string;
  values: [number, string][];
  histograms?: [number, NativeHistogram][];
}

/** A sample's text as a number; `null` stands for NaN, which no chart draws. */
export function sample(text: string): number | null {
  if (text === '+Inf' || text === 'Inf') return Infinity;
  if (text === '-Inf') return -Infinity;
  const value = Number(text);
  return Number.isNaN(value) ? null : value;
}

export function seriesFrames(series: NamedSeries[], refId: string, query: string): Frame[] {
  return series.filter((one) => one.values.length > 0).map(({ labels, name, values }) => ({
    refId,
    name: name ?? (Object.keys(labels).length === 0 ? query : undefined),
    fields: [
      { name: 'Time', kind: 'time', values: values.map(([time]) => time * 1000) },
      { name: 'Value', kind: 'number', values: values.map(([, text]) => sample(text)), labels, displayName: name },
    ],
  }));
}

/** Labels in alphabetical order as columns; the newest of a range last. */
export function tableFrame(series: NamedSeries[], refId: string, several: boolean): Frame {
  const names = [...new Set(series.flatMap((one) => Object.keys(one.labels)))].sort();
  const rows = series.flatMap((one) => one.values.map(([time, text]) => ({ time: time * 1000, labels: one.labels, value: sample(text) })));
  rows.sort((a, b) => a.time - b.time);
  const columns: Field[] = names.map((name) => ({ name, kind: 'string', values: rows.map((row) => row.labels[name] ?? '') }));
  const fields: Field[] = [
    { name: 'Time', kind: 'time', values: rows.map((row) => row.time) },
    ...columns,
    { name: several ? `Value #${refId}` : 'Value', kind: 'number', values: rows.map((row) => row.value) },
  ];
  return { refId, fields: rows.length > 0 ? fields : fields.map((field) => ({ ...field, values: [] })) };
}

const bound = (text: string | undefined) => (text === undefined ? NaN : text === '+Inf' ? Infinity : Number(text));

/** One frame: time and a column of counts per bucket, from the lowest bound to the highest. */
export function heatmapFrames(series: NamedSeries[], refId: string): Frame[] {
  const native = series.filter((one) => one.histograms?.length);
  if (native.length > 0) return [nativeFrame(native, refId)];
  const classic = series.filter((one) => one.values.length > 0);
  if (classic.length === 0) return [];
  const bounds = classic.map((one) => bound(one.labels.le ?? (Number.isNaN(Number(one.name)) && one.name !== '+Inf' ? undefined : one.name)));
  if (bounds.some(Number.isNaN)) return seriesFrames(classic, refId, '');
  const sorted = classic.map((one, i) => ({ one, le: bounds[i] ?? NaN })).sort((a, b) => a.le - b.le);
  const times = [...new Set(classic.flatMap((one) => one.values.map(([time]) => time)))].sort((a, b) => a - b);
  const cumulative = sorted.map(({ one }) => {
    const at = new Map(one.values.map(([time, text]) => [time, sample(text)]));
    return times.map((time) => at.get(time) ?? null);
  });
  const fields: Field[] = sorted.map(({ one, le }, i) => ({
    name: le === Infinity ? '+Inf' : `${le}`,
    kind: 'number',
    labels: one.labels,
    values: times.map((_, t) => {
      const [now, before] = [cumulative[i]?.[t] ?? null, i > 0 ? (cumulative[i - 1]?.[t] ?? 0) : 0];
      return now === null ? null : Math.max(0, now - before);
    }),
  }));
  return [{ refId, meta: 'heatmap', fields: [{ name: 'Time', kind: 'time', values: times.map((t) => t * 1000) }, ...fields] }];
}

function nativeFrame(series: NamedSeries[], refId: string): Frame {
  const cells = new Map<number, Map<number, number>>();
  const times = new Set<number>();
  for (const { histograms = [] } of series) {
    for (const [time, histogram] of histograms) {
      times.add(time);
      for (const [, , upper, count] of histogram.buckets ?? []) {
        const column = cells.get(bound(upper)) ?? new Map<number, number>();
        column.set(time, (column.get(time) ?? 0) + Number(count));
        cells.set(bound(upper), column);
      }
    }
  }
  const order = [...times].sort((a, b) => a - b);
  const fields: Field[] = [...cells].sort(([a], [b]) => a - b).map(([le, column]) => ({
    name: `${Number(le.toPrecision(4))}`, kind: 'number', values: order.map((time) => column.get(time) ?? null),
  }));
  return { refId, meta: 'heatmap', fields: [{ name: 'Time', kind: 'time', values: order.map((t) => t * 1000) }, ...fields] };
}
