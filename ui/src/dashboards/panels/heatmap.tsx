// The panel `heatmap`: buckets as they come, or computed from series.

import { useMemo } from 'preact/hooks';
import { Heatmap } from '../../chart/heatmap';
import { GRADIENTS, gradient } from '../../format/colours';
import { formatValue } from '../../format/units';
import { bool, num, obj, str } from '../../json';
import { stepFor } from '../../time/store';
import { numberFields, timeField, toNumber, type Frame } from '../frame';
import { bucketWidth } from '../transform/summarise';
import type { PanelProps } from './types';

interface Grid {
  times: number[];
  rows: string[];
  cells: (number | null)[][];
}

const empty: Grid = { times: [], rows: [], cells: [] };

function fromBuckets(frame: Frame, show: (bound: string) => string): Grid {
  const times = (timeField(frame)?.values ?? []).map((value) => Number(value) / 1000);
  const rows = numberFields(frame);
  return { times, rows: rows.map((field) => show(field.displayName ?? field.name)), cells: rows.map((field) => field.values.map(toNumber)) };
}

/** Series that are buckets without saying so: one frame each. */
function fromSeries(frames: Frame[], show: (bound: string) => string): Grid {
  const all = new Set<number>();
  for (const frame of frames) for (const value of timeField(frame)?.values ?? []) all.add(Number(value));
  const times = [...all].sort((a, b) => a - b);
  const rows = frames.flatMap((frame) => numberFields(frame).map((field) => {
    const at = new Map((timeField(frame)?.values ?? []).map((time, i) => [Number(time), toNumber(field.values[i])]));
    return { name: field.displayName ?? field.labels?.le ?? field.name, values: times.map((time) => at.get(time) ?? null) };
  }));
  rows.sort((a, b) => (a.name === '+Inf' ? Infinity : Number(a.name)) - (b.name === '+Inf' ? Infinity : Number(b.name)));
  return { times: times.map((t) => t / 1000), rows: rows.map((row) => show(row.name)), cells: rows.map((row) => row.values) };
}

function calculated(frames: Frame[], range: { start: number; end: number }, show: (bound: string) => string, width: number): Grid {
  const points = frames.flatMap((frame) => {
    const times = timeField(frame)?.values ?? [];
    return numberFields(frame).flatMap((field) => field.values.map((value, i) => ({ time: Number(times[i]) / 1000, value: toNumber(value) })));
  }).filter((point): point is { time: number; value: number } => point.value !== null && Number.isFinite(point.value));
  if (points.length === 0) return empty;
  const [min, max] = points.reduce(([low, high], { value }) => [Math.min(low, value), Math.max(high, value)], [Infinity, -Infinity]);
  const size = bucketWidth(min, max, 20);
  const step = stepFor(range, Math.max(20, width / 16));
  const first = Math.floor(min / size);
  const count = Math.min(200, Math.floor(max / size) - first + 1);
  const start = Math.floor(range.start / step) * step;
  const columns = Math.ceil((range.end - start) / step) + 1;
  const cells = Array.from({ length: count }, () => new Array<number | null>(columns).fill(null));
  for (const { time, value } of points) {
    const [row, column] = [cells[Math.min(count - 1, Math.floor(value / size) - first)], Math.ceil((time - start) / step)];
    if (row && column >= 0 && column < columns) row[column] = (row[column] ?? 0) + 1;
  }
  return { times: Array.from({ length: columns }, (_, i) => start + i * step), rows: cells.map((_, i) => show(`${Number(((first + i + 1) * size).toPrecision(8))}`)), cells };
}

export function HeatmapPanel({ panel, frames, data, width, height }: PanelProps) {
  const grid = useMemo(() => {
    const axis = obj(panel.options.yAxis);
    const unit = str(axis.unit) || str(panel.fieldConfig.defaults.unit) || 'short';
    const show = (bound: string) => (Number.isFinite(Number(bound)) && bound !== '' ? formatValue(Number(bound), unit, num(axis.decimals)) : bound === '+Inf' ? '∞' : bound);
    const [bucket] = frames.filter((frame) => frame.meta === 'heatmap');
    if (bucket) return fromBuckets(bucket, show);
    const series = frames.filter((frame) => timeField(frame));
    return bool(panel.options.calculate) ? calculated(series, data.range, show, width) : fromSeries(series, show);
  }, [frames, panel]);
  const scheme = str(obj(panel.options.color).scheme);
  const stops = GRADIENTS[`continuous-${scheme}`];
  return <Heatmap {...grid} range={data.range} height={height} colour={stops ? (part) => gradient(stops, part) : undefined} />;
}
