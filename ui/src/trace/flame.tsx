// The spans of a trace as a flame graph: width is time, a row is a depth.

import { useMemo, useState } from 'preact/hooks';
import { colourOf } from '../format/colours';
import { duration } from '../format/text';
import type { Row } from './rows';
import { extentOf } from './waterfall';

const ROW = 20;
const WIDTH = 1200;
/** Narrower boxes are not seen. */
const LEAST = 0.4;

export function Flame({ rows, picked, onPick }: { rows: Row[]; picked?: string; onPick: (row: Row) => void }) {
  const [focus, setFocus] = useState<Row>();
  const extent = useMemo(() => extentOf(rows), [rows]);
  const from = focus ? Number(focus.start - extent.start) : 0;
  const length = Math.max(1, focus ? focus.nanos : extent.nanos);
  const depth = rows.reduce((most, row) => Math.max(most, row.depth), 0) + 1;
  // Spans of one depth that overlap go into lanes of their own.
  const placed = useMemo(() => {
    const lanes: number[] = [];
    const base: number[] = [];
    let top = 0;
    const out: { row: Row; y: number }[] = [];
    for (let d = 0; d < depth; d += 1) {
      base[d] = top;
      lanes.length = 0;
      for (const row of rows.filter((one) => one.depth === d).sort((a, b) => (a.start < b.start ? -1 : 1))) {
        const start = Number(row.start - extent.start);
        let lane = lanes.findIndex((end) => end <= start);
        if (lane < 0) lane = lanes.length;
        lanes[lane] = start + row.nanos;
        out.push({ row, y: (base[d] ?? 0) + lane });
      }
      top += Math.max(1, lanes.length);
    }
    return { out, height: top };
  }, [rows]);
  return (
    <div class="card scroll" style={{ maxHeight: `${Math.max(320, innerHeight - 260)}px` }}>
      {focus && <p><button type="button" onClick={() => setFocus(undefined)}>← whole trace</button></p>}
      <svg class="flame" viewBox={`0 0 ${WIDTH} ${placed.height * ROW}`} role="img" aria-label="Flame graph">
        {placed.out.map(({ row, y }, i) => {
          const x = ((Number(row.start - extent.start) - from) / length) * WIDTH;
          const width = (row.nanos / length) * WIDTH;
          if (width < LEAST || x > WIDTH || x + width < 0) return null;
          const [left, right] = [Math.max(0, x), Math.min(WIDTH, x + width)];
          return (
            <g key={i} onClick={() => onPick(row)} onDblClick={() => setFocus(row)}>
              <rect x={left} y={y * ROW} width={right - left} height={ROW - 1} rx="2" fill={row.failed ? 'var(--bad)' : colourOf(row.service)} opacity={picked && picked !== row.span.spanId ? 0.6 : 1}>
                <title>{`${row.service} ${row.span.name}\n${duration(row.nanos)}`}</title>
              </rect>
              {right - left > 40 && <text x={left + 5} y={y * ROW + 13}>{`${row.service} ${row.span.name}`.slice(0, Math.floor((right - left - 8) / 6.2))}</text>}
            </g>
          );
        })}
      </svg>
      <p class="quiet">A click shows a span, a double click makes it the whole width.</p>
    </div>
  );
}
