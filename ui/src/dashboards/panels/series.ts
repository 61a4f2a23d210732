// Columns of frames on one clock, stacked and negated as configured, ready to be plotted.

import type { Column, PlotAxis, PlotSeries } from '../../chart/plot';
import { formatValue, isBinary } from '../../format/units';
import { bool, list, num, obj, str } from '../../json';
import { isHidden, type StyledField } from '../fields';
import { timeField, toNumber } from '../frame';

export interface Plotted {
  times: number[];
  series: PlotSeries[];
  axes: PlotAxis[];
  /** The column of each series. */
  of: StyledField[];
}

/** Seconds of all rows, in order; a gap of more than a step gets a moment without values. */
function clockOf(fields: StyledField[], interval: number): number[] {
  const all = new Set<number>();
  for (const { frame } of fields) for (const value of timeField(frame)?.values ?? []) if (typeof value === 'number') all.add(value);
  const sorted = [...all].sort((a, b) => a - b);
  const step = interval * 1000;
  const out: number[] = [];
  sorted.forEach((time, i) => {
    const before = sorted[i - 1];
    if (before !== undefined && step > 0 && time - before > step * 1.5) out.push((before + step) / 1000);
    out.push(time / 1000);
  });
  return out;
}

function column(one: StyledField, index: Map<number, number>, length: number): Column {
  const out: Column = new Array<number | null | undefined>(length).fill(undefined);
  const times = (timeField(one.frame)?.values ?? []) as number[];
  const own = times.slice(1).reduce((least, time, i) => Math.min(least, time - (times[i] ?? 0)), Infinity) * 1.5;
  let before: number | undefined;
  one.field.values.forEach((value, row) => {
    const at = index.get((times[row] ?? 0) / 1000);
    const number = toNumber(value);
    if (at === undefined) return;
    // Moments of other series are drawn over; where an own value is missing, the line ends.
    if (before !== undefined && (times[row] ?? 0) - (times[row - 1] ?? 0) > own) out.fill(null, before + 1, at);
    out[at] = number !== null && Number.isFinite(number) ? number : null;
    before = at;
  });
  return out;
}

function axisKey(one: StyledField): string {
  const { custom, unit = 'short' } = one.config;
  const side = str(custom.axisPlacement, 'auto');
  return `${side === 'right' ? 'right' : side === 'hidden' ? 'hidden' : 'left'}:${unit}`;
}

function axisOf(key: string, one: StyledField): PlotAxis {
  const { custom, unit, decimals, min, max } = one.config;
  const scale = obj(custom.scaleDistribution);
  return {
    key,
    side: key.startsWith('right') ? 'right' : key.startsWith('hidden') ? 'hidden' : 'left',
    show: (value) => formatValue(value, unit ?? 'short', decimals),
    label: str(custom.axisLabel) || undefined,
    min, max,
    softMin: num(custom.axisSoftMin), softMax: num(custom.axisSoftMax),
    log: scale.type === 'log' ? (num(scale.log) ?? 10) : undefined,
    centred: bool(custom.axisCenteredZero),
    binary: isBinary(unit),
  };
}

function dash(custom: StyledField['config']['custom']): number[] | undefined {
  const style = obj(custom.lineStyle);
  if (style.fill === 'dot') return [2, 5];
  if (style.fill !== 'dash') return undefined;
  const asked = list(style.dash).map((one) => num(one) ?? 10).slice(0, 8);
  return asked.length > 0 ? asked : [10, 10];
}

function seriesOf(one: StyledField, values: Column, axis: string): PlotSeries {
  const { custom } = one.config;
  const draw = str(custom.drawStyle, 'line');
  const curve = str(custom.lineInterpolation, 'linear');
  const gradient = str(custom.gradientMode, 'none') !== 'none';
  const gaps = custom.spanNulls;
  return {
    name: one.name,
    colour: one.colour,
    values,
    draw: draw === 'bars' || draw === 'points' ? draw : 'line',
    width: num(custom.lineWidth) ?? 1,
    fill: Math.min(100, (num(custom.fillOpacity) ?? 0) * (gradient ? 0.6 : 1)),
    dash: dash(custom),
    points: ['always', 'never'].includes(str(custom.showPoints)) ? (custom.showPoints as 'always' | 'never') : 'auto',
    pointSize: Math.max(3, num(custom.pointSize) ?? 5),
    curve: curve === 'smooth' || curve === 'stepBefore' || curve === 'stepAfter' ? curve : 'linear',
    spanGaps: typeof gaps === 'number' ? gaps / 1000 : gaps === true,
    axis,
    hideFromTip: isHidden(one, 'tooltip'),
    show: (value) => one.show(value).text,
  };
}

/** Values above those of the series below; what is told stays the series' own value. */
function stack(series: PlotSeries[], of: StyledField[]): void {
  const groups = new Map<string, number[]>();
  series.forEach((one, i) => {
    const stacking = obj(of[i]?.config.custom.stacking);
    const mode = str(stacking.mode, 'none');
    if (mode === 'none' || one.hidden) return;
    const negative = of[i]?.config.custom.transform === 'negative-Y' ? 'n' : 'p';
    const key = `${mode}|${str(stacking.group, 'A')}|${one.axis}|${negative}`;
    groups.set(key, [...(groups.get(key) ?? []), i]);
  });
  for (const [key, members] of groups) {
    const length = series[members[0] ?? 0]?.values.length ?? 0;
    const totals = Array.from({ length }, (_, t) => members.reduce((sum, i) => sum + (series[i]?.values[t] ?? 0), 0));
    const base = new Array<number>(length).fill(0);
    let below: number | undefined;
    for (const i of members) {
      const one = series[i];
      if (!one) continue;
      one.told = one.values;
      one.values = one.values.map((value, t) => {
        if (value == null) return value;
        const part = key.startsWith('percent') ? (totals[t] ? value / (totals[t] ?? 1) : 0) : value;
        base[t] = (base[t] ?? 0) + part;
        return base[t] ?? null;
      });
      if (below !== undefined && one.draw === 'line') one.fillTo = below;
      below = i;
    }
  }
}

export function plotted(fields: StyledField[], interval: number, hidden: Set<string>): Plotted {
  const numbers = fields.filter((one) => one.field.kind === 'number' && timeField(one.frame) && !isHidden(one, 'viz'));
  const times = clockOf(numbers, interval);
  const index = new Map(times.map((time, i) => [time, i]));
  const axes = new Map<string, PlotAxis>();
  const series = numbers.map((one) => {
    const key = axisKey(one);
    const axis = axes.get(key);
    if (!axis) axes.set(key, axisOf(key, one));
    const raw = column(one, index, times.length);
    const values = one.config.custom.transform === 'negative-Y' ? raw.map((v) => (v == null ? v : -v)) : raw;
    return { ...seriesOf(one, values, key), hidden: hidden.has(one.name), ...(values === raw ? {} : { show: (v: number) => one.show(Math.abs(v)).text }) };
  });
  stack(series, numbers);
  const percent = numbers.some((one) => obj(one.config.custom.stacking).mode === 'percent');
  if (percent) for (const axis of axes.values()) Object.assign(axis, { max: 1, show: (value: number) => formatValue(value, 'percentunit') });
  // Bars of a stack are drawn from the highest, so that the lower ones stay visible.
  const order = series.map((_, i) => i);
  if (series.some((one) => one.draw === 'bars' && one.told)) order.reverse();
  const ordered = order.flatMap((i) => {
    const one = series[i];
    return one ? [{ ...one, fillTo: one.fillTo === undefined ? undefined : order.indexOf(one.fillTo) }] : [];
  });
  return { times, series: ordered, axes: [...axes.values()].sort((a, b) => Number(a.side === 'right') - Number(b.side === 'right')), of: order.map((i) => numbers[i]!) };
}
