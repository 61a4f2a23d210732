// The panel `candlestick`: open, high, low and close of each moment; volume below.

import { useMemo } from 'preact/hooks';
import { named } from '../../format/colours';
import { marks } from '../../format/text';
import { obj, str } from '../../json';
import type { StyledField } from '../fields';
import { timeField, toNumber } from '../frame';
import { areaOf, Axes, domain, placeX, placeY, type Scale } from './axes';
import { TimeseriesPanel } from './timeseries';
import type { PanelProps } from './types';

const PARTS = ['open', 'high', 'low', 'close', 'volume'] as const;
type Part = (typeof PARTS)[number];

const CANDLES_MAX = 5000;

function column(fields: StyledField[], asked: string, part: Part): StyledField | undefined {
  const is = (name: string) => (one: StyledField) => one.name.toLowerCase() === name.toLowerCase() || one.field.name.toLowerCase() === name.toLowerCase();
  const numbers = fields.filter((one) => one.field.kind === 'number');
  return (asked ? numbers.find(is(asked)) : undefined) ?? numbers.find(is(part)) ?? numbers.find(is(part.slice(0, 1)));
}

interface Candle {
  time: number;
  open: number;
  high: number;
  low: number;
  close: number;
  volume: number;
}

/** The five columns by moment; they may stand in frames of their own. */
function candlesOf(columns: Partial<Record<Part, StyledField>>): Candle[] {
  const all = new Map<number, Partial<Record<Part, number>>>();
  for (const part of PARTS) {
    const one = columns[part];
    const times = one && timeField(one.frame)?.values;
    one?.field.values.forEach((value, row) => {
      const [time, number] = [toNumber(times?.[row]), toNumber(value)];
      if (time !== null && number !== null && Number.isFinite(number)) all.set(time, { ...all.get(time), [part]: number });
    });
  }
  return [...all].sort(([a], [b]) => a - b).slice(-CANDLES_MAX).flatMap(([time, { open, close, high, low, volume = 0 }]) =>
    (open === undefined || close === undefined ? [] : [{ time: time / 1000, open, close, high: high ?? Math.max(open, close), low: low ?? Math.min(open, close), volume }]));
}

export function CandlesPanel(props: PanelProps) {
  const { panel, fields, width, height, data: { range } } = props;
  const names = obj(panel.options.fields);
  const columns = useMemo(() => Object.fromEntries(PARTS.map((part) => [part, column(fields, str(names[part]), part)])) as Partial<Record<Part, StyledField>>, [fields]);
  const candles = useMemo(() => candlesOf(columns), [columns]);
  if (!columns.open || !columns.close || candles.length === 0) return <TimeseriesPanel {...props} />;
  const price = columns.close;
  const mode = str(panel.options.mode, 'candles+volume');
  const withVolume = mode.includes('volume') && columns.volume !== undefined;
  const { up: upName, down: downName } = obj(panel.options.colors);
  const [up, down] = [named(str(upName)) ?? '#3fa66b', named(str(downName)) ?? '#dd4b55'];
  const x: Scale = { min: range.start, max: range.end, show: (value) => `${value}` };
  const y: Scale = { ...domain(candles.flatMap((one) => [one.high, one.low]), price.config), show: (value) => price.show(value).text };
  const area = areaOf(width, withVolume ? height * 0.78 : height, x, y);
  const gap = (range.end - range.start) / Math.max(2, Math.floor(width / 110));
  const moments = Array.from({ length: Math.floor((range.end - range.start) / gap) }, (_, i) => range.start + gap * (i + 0.5));
  const texts = marks(moments, gap);
  // As wide as the least time between two, so that none covers another.
  const nearest = candles.slice(1).reduce((least, one, i) => Math.min(least, one.time - (candles[i]?.time ?? 0)), (range.end - range.start) / 4);
  const wide = Math.max(1, Math.min(24, (nearest / (range.end - range.start)) * area.width * 0.7));
  const most = Math.max(1e-9, ...candles.map((one) => one.volume));
  const low = height - 4;
  return (
    <svg class="bars-chart candles" width={width} height={height} role="img" aria-label={panel.title || panel.type}>
      <Axes area={area} x={x} y={y} marks={moments.map((at, i) => ({ at, text: (texts[i] ?? '').split('\n')[0] ?? '' }))} />
      {candles.map((one, i) => {
        const at = placeX(area, x, one.time);
        const before = candles[i - 1];
        const rises = str(panel.options.colorStrategy) === 'close-close' && before ? one.close >= before.close : one.close >= one.open;
        const tint = rises ? up : down;
        const [top, bottom] = [placeY(area, y, Math.max(one.open, one.close)), placeY(area, y, Math.min(one.open, one.close))];
        return (
          <g key={i} class="candle">
            <title>{`${new Date(one.time * 1000).toLocaleString()}\nopen ${y.show(one.open)}, high ${y.show(one.high)}, low ${y.show(one.low)}, close ${y.show(one.close)}`}</title>
            <line x1={at} x2={at} y1={placeY(area, y, one.high)} y2={placeY(area, y, one.low)} stroke={tint} />
            <rect x={at - wide / 2} width={wide} y={top} height={Math.max(1, bottom - top)} fill={tint} />
            {withVolume && <rect x={at - wide / 2} width={wide} y={low - (one.volume / most) * height * 0.16} height={(one.volume / most) * height * 0.16} fill={tint} fill-opacity="0.4" />}
          </g>
        );
      })}
    </svg>
  );
}
