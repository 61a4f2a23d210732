// The panel `stat`: large values with a sparkline.

import { alpha, inkOn, readable } from '../../format/colours';
import { obj, str } from '../../json';
import { useRoute } from '../../route';
import { dataLinks } from '../links';
import { singles, type Single } from './single';
import type { PanelProps } from './types';

/** Points of a sparkline; more are not seen. */
const POINTS = 120;

export function sparkPath(values: (number | null)[], width: number, height: number): { line: string; area: string } {
  const every = Math.max(1, Math.ceil(values.length / POINTS));
  const kept = values.map((value, i) => ({ value, i })).filter(({ i }) => i % every === 0 || i === values.length - 1);
  const numbers = kept.map((one) => one.value).filter((v): v is number => v !== null && Number.isFinite(v));
  const [min, max] = [Math.min(...numbers), Math.max(...numbers)];
  const x = (i: number) => (i / Math.max(1, values.length - 1)) * width;
  const y = (v: number) => height - 1 - ((v - min) / (max - min || 1)) * (height - 3);
  const points = kept.flatMap(({ value, i }) => (value === null || !Number.isFinite(value) ? [] : [`${x(i).toFixed(1)},${y(value).toFixed(1)}`]));
  const line = points.length > 1 ? `M${points.join('L')}` : '';
  const first = points[0]?.split(',')[0] ?? '0';
  const last = points.at(-1)?.split(',')[0] ?? '0';
  return { line, area: line ? `${line}L${last},${height}L${first},${height}Z` : '' };
}

export function Sparkline({ values, colour, width, height }: { values: (number | null)[]; colour: string; width: number; height: number }) {
  const { line, area } = sparkPath(values, width, height);
  return (
    <svg class="sparkline" viewBox={`0 0 ${width} ${height}`} preserveAspectRatio="none" aria-hidden="true">
      <path d={area} fill={alpha(colour, 0.18)} />
      <path d={line} fill="none" stroke={colour} stroke-width="1.5" vector-effect="non-scaling-stroke" />
    </svg>
  );
}

function columns(count: number, width: number, height: number, orientation: string): number {
  if (orientation === 'horizontal') return 1;
  if (orientation === 'vertical') return count;
  let best = 1;
  let score = 0;
  for (let n = 1; n <= count; n += 1) {
    const rows = Math.ceil(count / n);
    const size = Math.min(width / n / 2.2, height / rows);
    if (size > score) [best, score] = [n, size];
  }
  return best;
}

export function StatPanel({ panel, fields, width, height, context }: PanelProps) {
  const { options } = panel;
  const { params } = useRoute();
  const all = singles(fields, options);
  const n = columns(all.length, width, height, str(options.orientation, 'auto'));
  const cellHeight = height / Math.ceil(all.length / n);
  const cellWidth = width / n;
  const mode = str(options.textMode, 'auto');
  const withName = mode === 'value_and_name' || mode === 'name' || (mode === 'auto' && all.length > 1);
  return (
    <div class="stats" style={{ gridTemplateColumns: `repeat(${n}, 1fr)` }}>
      {all.map((one, i) => (
        <Cell key={`${one.name}${i}`} one={one} panel={options} cellWidth={cellWidth} cellHeight={cellHeight} withName={withName} mode={mode} href={dataLinks(one.field, one.row, context.values, params)[0]?.href} />
      ))}
    </div>
  );
}

function Cell(props: { one: Single; panel: PanelProps['panel']['options']; cellWidth: number; cellHeight: number; withName: boolean; mode: string; href?: string }) {
  const { one, panel: options, cellWidth, cellHeight, withName, mode } = props;
  const colourMode = str(options.colorMode, 'value');
  const background = colourMode.startsWith('background') && one.shown.colour !== 'transparent';
  const tint = colourMode === 'none' || one.shown.colour === 'transparent' ? undefined : one.shown.colour;
  const text = mode === 'name' ? one.name : mode === 'none' ? '' : `${str(options.prefix)}${one.shown.text}${str(options.postfix)}`;
  const asked = Number(obj(options.text).valueSize);
  const size = asked > 0 ? Math.min(asked, 200) : Math.max(14, Math.min(cellHeight * (withName ? 0.38 : 0.5), (cellWidth * 0.85) / Math.max(2, text.length) * 1.7, 64));
  const graph = str(options.graphMode, 'area') !== 'none' && one.trend && one.trend.values.length > 1 && cellHeight > 50;
  const style = background ? { background: one.shown.colour, color: inkOn(one.shown.colour) } : {};
  const content = (
    <>
      {graph && one.trend && <Sparkline values={one.trend.values} colour={background ? inkOn(one.shown.colour) : (tint ?? '#8b929c')} width={200} height={50} />}
      {withName && mode !== 'name' && <span class="stat-name" title={one.name}>{one.name}</span>}
      <span class="stat-value" style={{ fontSize: `${size}px`, color: background ? undefined : tint && readable(tint) }}>{text}</span>
    </>
  );
  return props.href ? <a class="stat" style={style} href={props.href}>{content}</a> : <div class="stat" style={style}>{content}</div>;
}
