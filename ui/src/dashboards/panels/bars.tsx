// The panels `barchart` and `histogram`: bars over categories or buckets, drawn as SVG.

import { useMemo } from 'preact/hooks';
import { formatValue } from '../../format/units';
import { num, obj, str } from '../../json';
import { clock } from '../../time/parse';
import { isHidden, styled, type StyledField } from '../fields';
import { rowCount, toNumber, toText } from '../frame';
import { histogram } from '../transform/summarise';
import { joinByField } from '../transform/shape';
import { ticks } from './axes';
import { Legend, legendOptions } from './legend';
import type { PanelProps } from './types';

interface Bars {
  categories: string[];
  series: { field: StyledField; values: (number | null)[] }[];
  stacked: boolean;
  horizontal: boolean;
  unit?: string;
}

const CATEGORIES = 200;

function Drawn({ bars, width, height }: { bars: Bars; width: number; height: number }) {
  const { categories, series, stacked, horizontal } = bars;
  const totals = categories.map((_, c) => series.map((one) => one.values[c] ?? 0));
  const sums = stacked ? totals.map((all) => all.reduce((a, b) => a + b, 0)) : totals.flat();
  const [min, max] = [Math.min(0, ...sums), Math.max(0, ...sums) || 1];
  const longest = Math.max(4, ...categories.map((name) => name.length));
  const left = horizontal ? Math.min(width * 0.35, longest * 6.5 + 10) : 60;
  const turned = !horizontal && (width - left) / Math.max(1, categories.length) < longest * 6.5;
  const bottom = horizontal ? 22 : turned ? Math.min(80, longest * 5 + 10) : 22;
  const [plotWidth, plotHeight] = [Math.max(10, width - left - 10), Math.max(10, height - bottom - 8)];
  const length = horizontal ? plotWidth : plotHeight;
  const across = (horizontal ? plotHeight : plotWidth) / Math.max(1, categories.length);
  const scale = (value: number) => ((value - min) / (max - min)) * length;
  const show = (value: number) => series[0]?.field.show(value).text ?? formatValue(value, bars.unit);
  const every = Math.max(1, Math.ceil((horizontal ? 16 : turned ? 14 : 1) / across));
  return (
    <svg class="bars-chart" width={width} height={height} role="img" aria-label={series.map((one) => one.field.name).join(', ') || 'Bars'}>
      {ticks(min, max, horizontal ? width / 110 : height / 45).map((value) => {
        const p = scale(value);
        return horizontal
          ? <g key={value}><line x1={left + p} x2={left + p} y1={8} y2={8 + plotHeight} class="grid" /><text x={left + p} y={height - 6} text-anchor="middle">{show(value)}</text></g>
          : <g key={value}><line x1={left} x2={left + plotWidth} y1={8 + plotHeight - p} y2={8 + plotHeight - p} class="grid" /><text x={left - 6} y={12 + plotHeight - p} text-anchor="end">{show(value)}</text></g>;
      })}
      {categories.map((name, c) => {
        let base = 0;
        const thick = across * 0.8;
        const start = c * across + across * 0.1;
        return (
          <g key={c}>
            {series.map(({ field, values }, s) => {
              const value = values[c];
              if (value == null) return null;
              const [from, to] = stacked ? [base, base + value] : [0, value];
              if (stacked) base += value;
              const [a, b] = [scale(Math.min(from, to)), scale(Math.max(from, to))];
              const each = stacked ? thick : thick / series.length;
              const offset = start + (stacked ? 0 : s * each);
              const tint = series.length === 1 && field.config.color.mode === 'thresholds' ? field.show(value).colour : field.colour;
              const box = horizontal ? { x: left + a, y: 8 + offset, width: Math.max(0.5, b - a), height: Math.max(0.5, each - 1) } : { x: left + offset, y: 8 + plotHeight - b, width: Math.max(0.5, each - 1), height: Math.max(0.5, b - a) };
              return <rect key={s} {...box} fill={tint}><title>{`${name} ${field.name}: ${field.show(value).text}`}</title></rect>;
            })}
            {c % every === 0 && (horizontal
              ? <text x={left - 6} y={8 + start + thick / 2 + 4} text-anchor="end">{name.slice(0, 40)}</text>
              : <text x={left + start + thick / 2} y={height - bottom + 15} text-anchor={turned ? 'end' : 'middle'} transform={turned ? `rotate(-40 ${left + start + thick / 2} ${height - bottom + 12})` : undefined}>{name.slice(0, 24)}</text>)}
          </g>
        );
      })}
    </svg>
  );
}

function Framed({ bars, panel, width, height }: { bars: Bars; panel: PanelProps['panel']; width: number; height: number }) {
  const options = legendOptions(panel.options);
  const items = bars.series.map(({ field }) => ({ name: field.name, colour: field.colour, field }));
  const legend = options.shown && items.length > 0 ? (options.table ? 60 : 26) : 0;
  return (
    <div class="chart-panel">
      <Drawn bars={bars} width={width} height={height - legend} />
      {legend > 0 && <div class="chart-legend" style={{ height: `${legend}px` }}><Legend items={items} options={options} hidden={new Set()} setHidden={() => undefined} /></div>}
    </div>
  );
}

export function BarChartPanel({ panel, fields, frames, width, height }: PanelProps) {
  const bars = useMemo((): Bars => {
    const joined = frames.length > 1 ? joinByField(frames, {}) : frames;
    const own = joined === frames ? fields : styled(panel, joined);
    const asked = str(panel.options.xField);
    const [frame] = joined;
    const x = own.find((one) => one.name === asked || one.field.name === asked) ?? own.find((one) => one.field.kind === 'string') ?? own.find((one) => one.field.kind === 'time');
    const rows = Math.min(CATEGORIES, frame ? rowCount(frame) : 0);
    const numbers = own.filter((one) => one.field.kind === 'number' && one !== x && !isHidden(one, 'viz'));
    return {
      categories: Array.from({ length: rows }, (_, i) => (x ? (x.field.kind === 'time' ? clock(Number(x.field.values[i])) : x.show(x.field.values[i]).text) : `${i}`)),
      series: numbers.map((field) => ({ field, values: field.field.values.slice(0, rows).map(toNumber) })),
      stacked: !['', 'none'].includes(str(panel.options.stacking, 'none')),
      horizontal: panel.options.orientation === 'horizontal',
    };
  }, [fields, frames, panel]);
  return <Framed bars={bars} panel={panel} width={width} height={height} />;
}

export function HistogramPanel({ panel, frames, width, height }: PanelProps) {
  const bars = useMemo((): Bars => {
    const ready = frames[0]?.meta === 'histogram' ? frames : histogram(frames, { ...panel.options, bucketSize: num(panel.options.bucketSize) });
    const own = styled({ ...panel, fieldConfig: { ...panel.fieldConfig, defaults: { ...panel.fieldConfig.defaults, unit: 'short' } } }, ready);
    const first = ready[0]?.fields[0]?.values ?? [];
    const unit = str(panel.fieldConfig.defaults.unit);
    const numbers = own.filter((one) => !['xMin', 'xMax', 'BucketMin', 'BucketMax'].includes(one.field.name) && one.field.kind === 'number');
    return {
      categories: first.slice(0, CATEGORIES).map((value) => (typeof value === 'number' ? formatValue(value, unit || 'short') : toText(value))),
      series: numbers.map((field, i) => ({ field: { ...field, colour: field.colour || `hsl(${i * 50} 60% 50%)` }, values: field.field.values.map(toNumber) })),
      stacked: obj(panel.fieldConfig.defaults.custom).stacking !== undefined || numbers.length > 1,
      horizontal: false,
    };
  }, [frames, panel]);
  return <Framed bars={bars} panel={panel} width={width} height={height} />;
}
