// Counts over time and value as a grid of colours on a canvas, with a tip and a zoom by dragging.

import { useEffect, useRef, useState } from 'preact/hooks';
import { useCell } from '../cell';
import { cssColour, heat } from '../format/colours';
import { marks, moment, number } from '../format/text';
import { theme } from '../theme';
import type { Range } from '../time/parse';
import { zoom as zoomPage } from '../time/store';

export interface HeatmapProps {
  /** Begins of columns, in seconds. */
  times: number[];
  /** Names of rows from below; upper bounds of buckets. */
  rows: string[];
  /** Counts by row, then column. */
  cells: (number | null)[][];
  range: Range;
  height: number;
  unit?: string;
  colour?: (part: number) => string;
  onSelect?: (time: number, row: number) => void;
}

const LEFT = 64;
const BOTTOM = 30;
const TOP = 6;

function paint(canvas: HTMLCanvasElement, props: HeatmapProps, width: number): void {
  const { times, rows, cells, range, height } = props;
  const scale = devicePixelRatio || 1;
  canvas.width = width * scale;
  canvas.height = height * scale;
  const context = canvas.getContext('2d');
  if (!context) return;
  context.scale(scale, scale);
  context.clearRect(0, 0, width, height);
  const [plotWidth, plotHeight] = [width - LEFT - 8, height - BOTTOM - TOP];
  const step = times.length > 1 ? Math.min(...times.slice(1).map((t, i) => t - (times[i] ?? 0))) : range.end - range.start;
  const x = (time: number) => LEFT + ((time - range.start) / (range.end - range.start)) * plotWidth;
  const rowHeight = plotHeight / Math.max(1, rows.length);
  const max = cells.reduce((most, row) => row.reduce<number>((m, v) => Math.max(m, v ?? 0), most), 0);
  const shade = props.colour ?? heat;
  cells.forEach((row, r) => {
    row.forEach((value, c) => {
      if (!value || value <= 0) return;
      const [from, to] = [Math.max(LEFT, x((times[c] ?? 0) - step)), Math.min(LEFT + plotWidth, x(times[c] ?? 0))];
      // Small counts beside large ones stay visible.
      context.fillStyle = shade(0.12 + 0.88 * Math.sqrt(value / (max || 1)));
      context.fillRect(from, TOP + plotHeight - (r + 1) * rowHeight, Math.max(1, to - from - 0.5), Math.max(1, rowHeight - 0.5));
    });
  });
  context.fillStyle = cssColour(canvas.parentElement ?? document.body, '--quiet');
  context.font = '11px system-ui, "DejaVu Sans", sans-serif';
  context.textAlign = 'right';
  const every = Math.max(1, Math.ceil(rows.length / Math.max(1, Math.floor(plotHeight / 18))));
  rows.forEach((name, r) => {
    if (r % every === 0) context.fillText(name.slice(0, 12), LEFT - 6, TOP + plotHeight - r * rowHeight - Math.min(rowHeight / 2, 8) + 4);
  });
  context.textAlign = 'center';
  const count = Math.max(2, Math.floor(plotWidth / 110));
  const gap = (range.end - range.start) / count;
  const ticks = Array.from({ length: count }, (_, i) => range.start + gap * (i + 0.5));
  marks(ticks, gap).forEach((text, i) => text.split('\n').forEach((line, k) => context.fillText(line, x(ticks[i] ?? 0), height - BOTTOM + 14 + k * 12)));
}

export function Heatmap(props: HeatmapProps) {
  const box = useRef<HTMLDivElement>(null);
  const canvas = useRef<HTMLCanvasElement>(null);
  const [width, setWidth] = useState(0);
  const [over, setOver] = useState<{ x: number; y: number; time: number; row: number; column: number }>();
  const [drag, setDrag] = useState<number>();
  const painted = useCell(theme);
  useEffect(() => {
    const element = box.current;
    if (!element) return;
    const resize = new ResizeObserver(() => setWidth(element.clientWidth));
    resize.observe(element);
    return () => resize.disconnect();
  }, []);
  useEffect(() => {
    if (canvas.current && width > 0) paint(canvas.current, props, width);
  }, [props.times, props.rows, props.cells, props.range.start, props.range.end, props.height, width, painted]);
  const place = (event: PointerEvent) => {
    const bounds = box.current?.getBoundingClientRect();
    const [x, y] = [event.clientX - (bounds?.left ?? 0), event.clientY - (bounds?.top ?? 0)];
    const time = props.range.start + ((x - LEFT) / (width - LEFT - 8)) * (props.range.end - props.range.start);
    const row = Math.floor(((props.height - BOTTOM - y) / (props.height - BOTTOM - TOP)) * props.rows.length);
    const column = props.times.findIndex((t) => t >= time);
    return { x, y, time, row, column: column < 0 ? props.times.length - 1 : column };
  };
  const value = over ? props.cells[over.row]?.[over.column] : undefined;
  return (
    <div
      class="heatmap"
      ref={box}
      style={{ height: `${props.height}px` }}
      onPointerMove={(event) => setOver(place(event))}
      onPointerLeave={() => { setOver(undefined); setDrag(undefined); }}
      onPointerDown={(event) => setDrag(place(event).time)}
      onPointerUp={(event) => {
        const { time, row } = place(event);
        if (drag !== undefined && Math.abs(time - drag) > (props.range.end - props.range.start) / 100) zoomPage({ start: Math.min(drag, time), end: Math.max(drag, time) });
        else props.onSelect?.(time, row);
        setDrag(undefined);
      }}
    >
      <canvas ref={canvas} style={{ width: '100%', height: `${props.height}px` }} />
      {over && value != null && value > 0 && (
        <div class="tip" style={over.x > width / 2 ? { right: `${width - over.x + 12}px`, top: `${Math.max(0, over.y - 30)}px` } : { left: `${over.x + 12}px`, top: `${Math.max(0, over.y - 30)}px` }}>
          <time>{moment(props.times[over.column] ?? 0)}</time>
          <p><span>{`${over.row > 0 ? `${props.rows[over.row - 1]} – ` : '≤ '}${props.rows[over.row]}`}</span><b>{number(value)} {props.unit ?? ''}</b></p>
        </div>
      )}
    </div>
  );
}
