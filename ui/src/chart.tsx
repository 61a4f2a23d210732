// A time series chart on a canvas (uPlot) that follows the size of its box.

import { useEffect, useRef } from 'preact/hooks';
import uPlot from 'uplot';
import type { Matrix, Range } from './api';
import { number, seriesName } from './format';
import { colour } from './parts';

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
    const paint = props.colours ?? ((_, index) => colour(index));
    const plot = new uPlot(
      {
        width: element.clientWidth,
        height: props.height,
        legend: { show: false },
        cursor: { drag: { x: false, y: false } },
        scales: { x: { time: true, range: [props.range.start, props.range.end] } },
        axes: [
          { stroke: ink, grid, ticks: grid },
          { stroke: ink, grid, ticks: grid, size: 64, values: (_, ticks) => ticks.map(number) },
        ],
        series: [
          {},
          ...props.series.map(({ metric }, index) => ({
            label: seriesName(metric),
            stroke: paint(metric, index),
            width: 1.5,
            points: { show: false },
            ...(props.bars
              ? { fill: paint(metric, index), paths: uPlot.paths.bars?.({ size: [0.9] }) }
              : {}),
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
