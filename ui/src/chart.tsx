// A time series chart on a canvas (uPlot) that follows the size of its box.

import { useEffect, useRef } from 'preact/hooks';
import uPlot from 'uplot';
import type { Matrix, Range } from './api';
import { marks, moment, number, seriesName } from './format';
import { colour } from './parts';

/** The last `since` seconds in whole steps, so that the last point is now and nothing new is missing. */
export function rangeOf(since: number, step: number, now = Date.now()): Range {
  const end = Math.ceil(now / 1000);
  return { start: end - Math.ceil(since / step) * step, end };
}

/** Points of all series on the clock of the request, from its start by steps; `null` where a series has none. */
export function align(series: Matrix[], range: Range, step: number): uPlot.AlignedData {
  const first = range.start;
  const count = Math.max(1, Math.floor((range.end - first) / step) + 1);
  const times = Array.from({ length: count }, (_, i) => first + i * step);
  const columns = series.map(({ values }) => {
    const column: (number | null)[] = new Array<number | null>(count).fill(null);
    for (const [time, text] of values) {
      const index = Math.round((time - first) / step);
      const value = Number(text);
      if (index >= 0 && index < count && Number.isFinite(value)) column[index] = value;
    }
    return column;
  });
  return [times, ...columns];
}

/** Indices of points without a neighbour: no line shows them, so they are drawn as dots. */
export function lonely(column: ArrayLike<number | null | undefined>): number[] {
  return Array.from(column, (_, i) => i).filter(
    (i) => column[i] != null && column[i - 1] == null && column[i + 1] == null,
  );
}

/** Rows of the tip: those nearest to the pointer. */
const TIP_ROWS = 8;

/** Time and values under the pointer. Names are set as text, never as markup. */
function tip(names: string[], colours: string[]): uPlot.Plugin {
  const box = document.createElement('div');
  box.className = 'tip';
  box.hidden = true;
  const show = (plot: uPlot) => {
    const { idx, left = -1, top = -1 } = plot.cursor;
    const found = names.flatMap((name, i) => {
      const value = idx == null ? null : plot.data[i + 1]?.[idx];
      return value == null ? [] : [{ name, value, colour: colours[i] ?? '', far: Math.abs(plot.valToPos(value, 'y') - top) }];
    });
    box.hidden = idx == null || left < 0 || found.length === 0;
    if (box.hidden || idx == null) return;
    const near = found.sort((a, b) => a.far - b.far).slice(0, TIP_ROWS).sort((a, b) => b.value - a.value);
    const head = document.createElement('time');
    head.textContent = moment(plot.data[0][idx] ?? 0);
    const rows = near.map(({ name, value, colour: paint }) => {
      const [row, dot, text, size] = [document.createElement('p'), document.createElement('i'), document.createElement('span'), document.createElement('b')];
      dot.style.background = paint;
      text.textContent = name;
      size.textContent = number(value);
      row.append(dot, text, size);
      return row;
    });
    const more = document.createElement('small');
    more.textContent = found.length > near.length ? `and ${found.length - near.length} more` : '';
    box.replaceChildren(head, ...rows, more);
    const over = plot.over.clientWidth;
    const right = left > over / 2;
    box.style.left = right ? '' : `${left + 14}px`;
    box.style.right = right ? `${over - left + 14}px` : '';
  };
  return { hooks: { init: (plot) => plot.over.append(box), setCursor: show } };
}

export function Chart(props: {
  series: Matrix[];
  range: Range;
  step: number;
  height: number;
  bars?: boolean;
  colours?: (metric: Record<string, string>, index: number) => string;
}) {
  const box = useRef<HTMLDivElement>(null);
  useEffect(() => {
    const element = box.current;
    if (!element) return;
    const style = getComputedStyle(element);
    const ink = style.getPropertyValue('--quiet');
    const grid = { stroke: style.getPropertyValue('--line'), width: 1 };
    const colours = props.series.map(({ metric }, index) => props.colours?.(metric, index) ?? colour(index));
    const names = props.series.map(({ metric }) => seriesName(metric));
    const plot = new uPlot(
      {
        width: element.clientWidth,
        height: props.height,
        legend: { show: false },
        cursor: { drag: { x: false, y: false } },
        scales: {
          x: { time: true, range: [props.range.start, props.range.end] },
          // Bars are lengths: they start at zero.
          ...(props.bars ? { y: { range: (_: uPlot, __: number, max: number) => [0, max > 0 ? max * 1.1 : 1] } } : {}),
        },
        plugins: [tip(names, colours)],
        axes: [
          { stroke: ink, grid, ticks: grid, space: 90, values: (_, ticks, __, ___, step) => marks(ticks, step) },
          { stroke: ink, grid, ticks: grid, size: 64, values: (_, ticks) => ticks.map(number) },
        ],
        series: [
          {},
          ...names.map((label, index) => ({
            label,
            stroke: colours[index],
            width: 1.5,
            ...(props.bars
              ? { points: { show: false }, fill: colours[index], paths: uPlot.paths.bars?.({ size: [0.9] }) }
              : { points: { show: true, size: 5, fill: colours[index], filter: (plot: uPlot, i: number) => lonely(plot.data[i] ?? []) } }),
          })),
        ],
      },
      align(props.series, props.range, props.step),
      element,
    );
    const resize = new ResizeObserver(() => plot.setSize({ width: element.clientWidth, height: props.height }));
    resize.observe(element);
    return () => {
      resize.disconnect();
      plot.destroy();
    };
  }, [props.series, props.range.start, props.range.end, props.step]);
  return <div class="chart" ref={box} />;
}
