// Series over time on a canvas (uPlot). It follows the size of its box, the theme, and the pointer
// of the other plots of its page; a drag asks for a shorter range.

import { useEffect, useRef } from 'preact/hooks';
import uPlot from 'uplot';
import { useCell } from '../cell';
import { alpha, cssColour } from '../format/colours';
import { marks, number } from '../format/text';
import { theme } from '../theme';
import type { Range } from '../time/parse';
import { zoom as zoomPage } from '../time/store';
import { exemplarPlugin, regionPlugin, thresholdPlugin, type Dot, type Region, type Threshold } from './overlays';
import { tipPlugin, type TipOptions } from './tip';

export type Column = (number | null | undefined)[];

export interface PlotSeries {
  name: string;
  colour: string;
  values: Column;
  draw?: 'line' | 'bars' | 'points';
  width?: number;
  /** Percent. */
  fill?: number;
  dash?: number[];
  points?: 'auto' | 'always' | 'never';
  pointSize?: number;
  curve?: 'linear' | 'smooth' | 'stepBefore' | 'stepAfter';
  /** Joins over gaps: always, or over those of so many seconds. */
  spanGaps?: boolean | number;
  axis?: string;
  /** Filled down to the series with this index. */
  fillTo?: number;
  hidden?: boolean;
  hideFromTip?: boolean;
  show?: (value: number) => string;
  /** What is told, where it differs from what is drawn (stacks). */
  told?: Column;
}

export interface PlotAxis {
  key: string;
  side: 'left' | 'right' | 'hidden';
  show?: (value: number) => string;
  label?: string;
  min?: number;
  max?: number;
  softMin?: number;
  softMax?: number;
  log?: number;
  centred?: boolean;
  /** Marks at multiples of powers of 1024. */
  binary?: boolean;
}

/** 1, 2, 5 … 500 of each binary unit. */
const BINARY = Array.from({ length: 7 }, (_, power) => [1, 2, 5, 10, 20, 50, 100, 200, 256, 512].map((n) => n * 1024 ** power)).flat();

export interface PlotProps {
  times: number[];
  series: PlotSeries[];
  range: Range;
  height: number;
  axes?: PlotAxis[];
  sync?: string;
  tip?: TipOptions;
  regions?: Region[];
  thresholds?: Threshold[];
  exemplars?: Dot[];
  /** When false, a drag does nothing. */
  zoom?: boolean;
  onZoom?: (range: Range) => void;
  onClick?: (seconds: number, value: number) => void;
}

const DEFAULT_AXES: PlotAxis[] = [{ key: 'y', side: 'left' }];

/** Indices of points without a neighbour: no line shows them, so they are drawn as dots. */
export function lonely(column: ArrayLike<number | null | undefined>): number[] {
  // What is undefined is drawn over: the next value counts.
  const next = (from: number, by: number): boolean => {
    let at = from + by;
    while (at >= 0 && at < column.length && column[at] === undefined) at += by;
    return column[at] != null;
  };
  return Array.from(column, (_, i) => i).filter((i) => column[i] != null && !next(i, -1) && !next(i, 1));
}

/** Gaps of `null` of at most `seconds` are closed by `undefined`, which uPlot draws over. */
export function closed(times: number[], column: Column, span: boolean | number | undefined): Column {
  if (typeof span !== 'number') return column;
  const out = [...column];
  let last = -1;
  column.forEach((value, i) => {
    if (value == null) return;
    if (last >= 0 && (times[i] ?? 0) - (times[last] ?? 0) <= span) for (let k = last + 1; k < i; k += 1) out[k] = undefined;
    last = i;
  });
  return out;
}

function paths(series: PlotSeries): uPlot.Series.PathBuilder | undefined {
  if (series.draw === 'bars') return uPlot.paths.bars?.({ size: [0.9, 60], align: 0 });
  if (series.draw === 'points') return () => null;
  if (series.curve === 'smooth') return uPlot.paths.spline?.();
  if (series.curve === 'stepBefore') return uPlot.paths.stepped?.({ align: -1 });
  if (series.curve === 'stepAfter') return uPlot.paths.stepped?.({ align: 1 });
  return uPlot.paths.linear?.();
}

function seriesOf(series: PlotSeries): uPlot.Series {
  const bars = series.draw === 'bars';
  const fill = series.fill ?? (bars ? 80 : 0);
  const always = series.points === 'always' || series.draw === 'points';
  return {
    label: series.name,
    scale: series.axis ?? 'y',
    show: !series.hidden,
    stroke: series.colour,
    width: series.draw === 'points' ? 0 : (series.width ?? (bars ? 0 : 1.5)),
    dash: series.dash,
    fill: fill > 0 && series.fillTo === undefined ? alpha(series.colour, fill / 100) : undefined,
    spanGaps: series.spanGaps === true,
    paths: paths(series),
    points: {
      show: !bars && series.points !== 'never',
      size: series.pointSize ?? 5,
      fill: series.colour,
      stroke: series.colour,
      filter: always ? undefined : (plot, i) => lonely(plot.data[i] ?? []),
    },
  };
}

function scaleOf(axis: PlotAxis, bars: boolean): uPlot.Scale {
  const range = (_: uPlot, low: number | null, high: number | null): uPlot.Range.MinMax => {
    let [min, max] = [low ?? 0, high ?? 1];
    if (axis.log) return [axis.min ?? (min > 0 ? min : 0.001), axis.max ?? Math.max(max, min * 10)];
    if (bars) [min, max] = [Math.min(0, min), Math.max(0, max)];
    if (axis.softMin !== undefined) min = Math.min(min, axis.softMin);
    if (axis.softMax !== undefined) max = Math.max(max, axis.softMax);
    if (axis.centred) [min, max] = [-Math.max(Math.abs(min), Math.abs(max)), Math.max(Math.abs(min), Math.abs(max))];
    const pad = max > min ? (max - min) * 0.06 : Math.abs(max) * 0.1 || 1;
    const floor = min >= 0 && (min - pad < 0 || bars) ? (min === 0 || bars ? 0 : Math.max(0, min - pad)) : min - pad;
    const lowest = axis.min ?? (axis.softMin !== undefined && min === axis.softMin ? min : floor);
    const highest = axis.max ?? (axis.softMax !== undefined && max === axis.softMax ? max : max + pad);
    return lowest < highest ? [lowest, highest] : [lowest, lowest + 1];
  };
  return { range, distr: axis.log ? 3 : 1, log: axis.log === 2 ? 2 : 10 };
}

/** Labels of an axis take the room that they need. */
function axisSize(plot: uPlot, values: string[] | null, index: number, cycle: number): number {
  const axis = plot.axes[index] as uPlot.Axis & { _size?: number };
  if (cycle > 1 && axis._size) return axis._size;
  const longest = Math.max(3, ...(values ?? []).map((v) => (v ?? '').length));
  return Math.ceil(Math.min(longest, 18) * 6.6 + 16);
}

function axesOf(all: PlotAxis[], ink: string, line: string): uPlot.Axis[] {
  const grid = { stroke: line, width: 1 };
  const font = '11px system-ui, "DejaVu Sans", sans-serif';
  const x: uPlot.Axis = { stroke: ink, grid, ticks: grid, font, space: 80, values: (_, ticks, __, ___, step) => marks(ticks, step) };
  return [
    x,
    ...all.map((axis, i): uPlot.Axis => ({
      scale: axis.key,
      show: axis.side !== 'hidden',
      side: axis.side === 'right' ? 1 : 3,
      stroke: ink,
      font,
      labelFont: font,
      label: axis.label || undefined,
      labelSize: axis.label ? 18 : undefined,
      size: axisSize,
      space: 36,
      grid: { ...grid, show: i === 0 },
      ticks: { ...grid, size: 4 },
      ...(axis.binary && !axis.log ? { incrs: BINARY } : {}),
      values: (_, ticks) => ticks.map((tick) => (tick == null ? '' : (axis.show ?? number)(tick))),
    })),
  ];
}

export function Plot(props: PlotProps) {
  const box = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot>(undefined);
  const painted = useCell(theme);
  useEffect(() => {
    const element = box.current;
    if (!element) return;
    plot.current = draw(element, props);
    const resize = new ResizeObserver(() => {
      const [width, now] = [element.clientWidth, plot.current];
      if (now && width > 0 && width !== now.width) now.setSize({ width, height: now.height });
    });
    resize.observe(element);
    return () => {
      resize.disconnect();
      plot.current?.destroy();
      plot.current = undefined;
    };
  }, [props.times, props.series, props.range.start, props.range.end, props.axes, props.regions, props.thresholds, props.exemplars, painted]);
  useEffect(() => {
    if (box.current && plot.current && plot.current.height !== props.height) plot.current.setSize({ width: box.current.clientWidth, height: props.height });
  }, [props.height]);
  return <div class="plot" ref={box} style={{ height: `${props.height}px` }} />;
}

function draw(element: HTMLElement, props: PlotProps): uPlot {
  const axes = props.axes?.length ? props.axes : DEFAULT_AXES;
  const barAxes = new Set(props.series.filter((s) => s.draw === 'bars').map((s) => s.axis ?? 'y'));
  const scales: uPlot.Scales = { x: { time: true, range: [props.range.start, props.range.end] } };
  for (const axis of axes) scales[axis.key] = scaleOf(axis, barAxes.has(axis.key));
  const plugins = [tipPlugin(props.series, props.tip ?? {})];
  if (props.thresholds?.length) plugins.push(thresholdPlugin(props.thresholds, axes[0]?.key ?? 'y'));
  if (props.regions?.length) plugins.push(regionPlugin(props.regions));
  if (props.exemplars?.length) plugins.push(exemplarPlugin(props.exemplars, axes[0]?.key ?? 'y'));
  const canZoom = props.zoom !== false;
  const created = new uPlot(
    {
      width: Math.max(50, element.clientWidth),
      height: props.height,
      padding: [10, axes.some((a) => a.side === 'right') ? 0 : 20, 0, axes.some((a) => a.side === 'left') ? 0 : 12],
      legend: { show: false },
      cursor: {
        drag: { x: canZoom, y: false, setScale: false },
        sync: props.sync ? { key: props.sync } : undefined,
        points: { size: 7 },
      },
      scales,
      plugins,
      axes: axesOf(axes, cssColour(element, '--quiet'), cssColour(element, '--line')),
      series: [{}, ...props.series.map(seriesOf)],
      bands: props.series.flatMap((s, i) =>
        s.fillTo === undefined ? [] : [{ series: [Math.max(i, s.fillTo) + 1, Math.min(i, s.fillTo) + 1] as [number, number], fill: alpha(s.colour, (s.fill ?? 20) / 100) }]),
      hooks: {
        setSelect: [
          (plot) => {
            const { left, width } = plot.select;
            if (!canZoom || width < 4) return;
            const range = { start: plot.posToVal(left, 'x'), end: plot.posToVal(left + width, 'x') };
            plot.setSelect({ left: 0, width: 0, top: 0, height: 0 }, false);
            (props.onZoom ?? zoomPage)(range);
          },
        ],
      },
    },
    [props.times, ...props.series.map((s) => closed(props.times, s.values, s.spanGaps))] as uPlot.AlignedData,
    element,
  );
  if (props.onClick) {
    created.over.addEventListener('click', () => {
      const { left = -1, top = -1 } = created.cursor;
      if (left >= 0) props.onClick?.(created.posToVal(left, 'x'), created.posToVal(top, axes[0]?.key ?? 'y'));
    });
  }
  return created;
}
