// The panels `xychart` (points by two columns) and `trend` (lines over a column of numbers).

import { useMemo } from 'preact/hooks';
import { colour, named } from '../../format/colours';
import { num, obj, objs, str, strs, type Json } from '../../json';
import { isHidden, matches, styled, type StyledField } from '../fields';
import { timeField, toNumber } from '../frame';
import { joinByField } from '../transform/shape';
import { areaOf, Axes, domain, placeX, placeY, type Scale } from './axes';
import { Legend, legendOptions } from './legend';
import { TimeseriesPanel } from './timeseries';
import type { PanelProps } from './types';

interface Series {
  name: string;
  colour: string;
  x: StyledField;
  y: StyledField;
  size?: StyledField;
  paint?: StyledField;
  lines: boolean;
  points: boolean;
  radius: [number, number];
}

const POINTS_MAX = 10_000;

/** A column by a name (old shape) or by a matcher (new one). */
function pick(all: StyledField[], how: unknown): StyledField | undefined {
  if (typeof how === 'string') return all.find((one) => one.name === how || one.field.name === how);
  const { matcher, field } = obj(how);
  if (typeof field === 'string' && field) return pick(all, field);
  if (!obj(matcher).id) return undefined;
  const frames = [...new Set(all.map((one) => one.frame))];
  return all.find((one) => matches(obj(matcher), one.field, one.frame, frames) || (obj(matcher).id === 'byName' && one.name === str(obj(matcher).options)));
}

function seriesFrom(json: Json, index: number, x: StyledField, y: StyledField, all: StyledField[], single: boolean): Series {
  const { custom } = y.config;
  const show = str(custom.show, 'points');
  const fixed = num(obj(custom.pointSize).fixed) ?? num(obj(json.pointSize).fixed) ?? num(custom.pointSize) ?? 5;
  const size = pick(all, json.size ?? obj(json.pointSize).field);
  const [min, max] = [num(obj(custom.pointSize).min) ?? 3, num(obj(custom.pointSize).max) ?? 20];
  const tint = named(str(obj(obj(json.pointColor).fixed ? json.pointColor : json.color).fixed));
  return {
    name: str(obj(json.name).fixed) || str(json.name) || y.name,
    colour: tint ?? (single && !y.colour ? colour(index) : y.colour || colour(index)),
    x, y, size, paint: pick(all, json.color ?? obj(json.pointColor).field),
    lines: show.includes('lines'), points: show.includes('points'),
    radius: size ? [min, max] : [fixed, fixed],
  };
}

export function seriesOf(fields: StyledField[], options: Json): Series[] {
  const shown = fields.filter((one) => !isHidden(one, 'viz'));
  const numbers = shown.filter((one) => one.field.kind === 'number' || one.field.kind === 'time');
  const manual = str(options.mapping) === 'manual' || str(options.seriesMapping) === 'manual';
  const configured = objs(options.series);
  if (manual && configured.length > 0) {
    return configured.flatMap((json, i): Series[] => {
      const frames = [...new Set(shown.map((one) => one.frame))];
      const frame = obj(obj(json.frame).matcher).id ? frames[num(obj(obj(json.frame).matcher).options) ?? 0] : undefined;
      const own = frame ? shown.filter((one) => one.frame === frame) : shown;
      const x = pick(own, json.x) ?? own.find((one) => one.field.kind === 'number');
      const y = pick(own, json.y);
      if (!x) return [];
      const all = y ? [y] : own.filter((one) => one.field.kind === 'number' && one !== x);
      return all.map((one, k) => seriesFrom(json, i + k, x, one, own, false));
    });
  }
  const dims = obj(options.dims);
  const excluded = strs(dims.exclude);
  const chosen = pick(shown, dims.x) ?? pick(shown, obj(configured[0]).x);
  const onlyNumbers = numbers.filter((one) => one.field.kind === 'number');
  const x = chosen ?? (onlyNumbers.length > 1 ? onlyNumbers[0] : numbers.find((one) => one.field.kind === 'time'));
  if (!x) return [];
  return onlyNumbers.filter((one) => one !== x && !excluded.includes(one.name)).map((y, i) => seriesFrom(obj(configured[0]), i, x, y, shown, true));
}

export function XyPanel(props: PanelProps) {
  const { panel, frames, fields } = props;
  const series = useMemo(() => {
    // Series of time become columns of one table: each moment is a point.
    const joined = frames.length > 1 && frames.every((frame) => timeField(frame)) && str(panel.options.mapping) !== 'manual' ? joinByField(frames, {}) : frames;
    return seriesOf(joined === frames ? fields : styled(panel, joined), panel.options);
  }, [frames, fields, panel]);
  return <Drawn {...props} series={series} />;
}

/** Lines over the column `xField`; without one it is a chart over time. */
export function TrendPanel(props: PanelProps) {
  const { panel, frames, fields } = props;
  const series = useMemo(() => {
    const asked = str(panel.options.xField);
    const x = fields.find((one) => one.field.kind === 'number' && (asked ? one.name === asked || one.field.name === asked : !timeField(one.frame)));
    if (!x) return undefined;
    return fields.filter((one) => one.field.kind === 'number' && one !== x && one.frame === x.frame && !isHidden(one, 'viz'))
      .map((y, i): Series => ({ name: y.name, colour: y.colour || colour(i), x, y, lines: str(y.config.custom.drawStyle, 'line') === 'line', points: str(y.config.custom.drawStyle) === 'points' || y.config.custom.showPoints === 'always', radius: [4, 4] }));
  }, [frames, fields, panel]);
  return series ? <Drawn {...props} series={series} /> : <TimeseriesPanel {...props} />;
}

function Drawn({ panel, series, width, height }: PanelProps & { series: Series[] }) {
  const options = legendOptions(panel.options);
  const legend = options.shown && series.length > 0 ? 26 : 0;
  const drawn = useMemo(() => {
    const [first] = series;
    if (!first) return undefined;
    const numbers = (one: StyledField) => one.field.values.map((value) => toNumber(value) ?? NaN);
    const [xs, ys] = [series.flatMap((one) => numbers(one.x)), series.flatMap((one) => numbers(one.y))];
    const scale = (one: StyledField, values: number[]): Scale => ({
      ...domain(values, one.config), show: (value) => (one.field.kind === 'time' ? new Date(value).toLocaleTimeString() : one.show(value).text), label: str(one.config.custom.axisLabel) || undefined,
    });
    const [x, y] = [scale(first.x, xs), scale(first.y, ys)];
    const area = areaOf(width, height - legend, x, y);
    return { x, y, area };
  }, [series, width, height, legend]);
  if (!drawn) return <p class="panel-note">There are no two columns of numbers to draw.</p>;
  const { x, y, area } = drawn;
  return (
    <div class="chart-panel">
      <svg class="bars-chart xy" width={width} height={height - legend} role="img" aria-label={panel.title || panel.type}>
        <Axes area={area} x={x} y={y} />
        {series.map((one, i) => <Points key={i} series={one} at={(a, b) => [placeX(area, x, a), placeY(area, y, b)]} />)}
      </svg>
      {legend > 0 && <div class="chart-legend" style={{ height: `${legend}px` }}><Legend items={series.map((one) => ({ name: one.name, colour: one.colour, field: one.y }))} options={options} hidden={new Set()} setHidden={() => undefined} /></div>}
    </div>
  );
}

function Points({ series, at }: { series: Series; at: (x: number, y: number) => [number, number] }) {
  const { x, y, size, paint, radius: [least, most] } = series;
  const sizes = domain((size?.field.values ?? []).map((value) => toNumber(value) ?? NaN));
  const found = y.field.values.slice(0, POINTS_MAX).flatMap((value, row) => {
    const [a, b] = [toNumber(x.field.values[row]), toNumber(value)];
    if (a === null || b === null || !Number.isFinite(a) || !Number.isFinite(b)) return [];
    const weight = size ? ((toNumber(size.field.values[row]) ?? sizes.min) - sizes.min) / (sizes.max - sizes.min) : 0;
    return [{ row, place: at(a, b), r: (least + (most - least) * Math.max(0, Math.min(1, weight))) / 2 }];
  });
  const line = [...found].sort((a, b) => a.place[0] - b.place[0]).map(({ place }) => place.map((n) => n.toFixed(1)).join(',')).join('L');
  return (
    <g>
      {series.lines && line && <path d={`M${line}`} fill="none" stroke={series.colour} stroke-width={num(y.config.custom.lineWidth) ?? 1.5} />}
      {series.points && found.map(({ row, place, r }) => (
        <circle key={row} cx={place[0]} cy={place[1]} r={r} fill={paint ? paint.show(paint.field.values[row]).colour : series.colour} fill-opacity="0.7">
          <title>{`${x.name}: ${x.show(x.field.values[row]).text}\n${series.name}: ${y.show(y.field.values[row]).text}${size ? `\n${size.name}: ${size.show(size.field.values[row]).text}` : ''}`}</title>
        </circle>
      ))}
    </g>
  );
}
