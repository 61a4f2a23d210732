// A trace as a waterfall: only the rows that are seen are drawn, so that very long traces stay quick.

import { useEffect, useMemo, useRef, useState } from 'preact/hooks';
import { colourOf } from '../format/colours';
import { duration } from '../format/text';
import { criticalPath } from './critical';
import type { Row } from './rows';

const ROW = 26;
/** Rows beyond the visible ones. */
const SPARE = 15;

export interface WaterfallProps {
  rows: Row[];
  height: number;
  picked?: string;
  onPick: (row: Row) => void;
  /** Text that rows are searched for. */
  search?: string;
  critical?: boolean;
  /** A range of the trace, as parts of its length. */
  view?: [number, number];
}

export function extentOf(rows: Row[]): { start: bigint; nanos: number } {
  const start = rows.reduce((least, row) => (row.start < least ? row.start : least), rows[0]?.start ?? 0n);
  const nanos = rows.reduce((most, row) => Math.max(most, Number(row.start - start) + row.nanos), 1);
  return { start, nanos };
}

export function found(row: Row, search: string): boolean {
  const text = search.toLowerCase();
  return [row.service, row.span.name, row.span.spanId, row.span.status?.message ?? '', ...(row.span.attributes ?? []).map((a) => `${a.key}=${JSON.stringify(Object.values(a.value)[0] ?? '')}`)]
    .some((one) => one.toLowerCase().includes(text));
}

/** The rows below closed spans are left out. */
export function visibleRows(rows: Row[], closed: Set<string>): Row[] {
  const out: Row[] = [];
  let hide: number | undefined;
  for (const row of rows) {
    if (hide !== undefined && row.depth > hide) continue;
    hide = closed.has(row.span.spanId) ? row.depth : undefined;
    out.push(row);
  }
  return out;
}

export function Waterfall(props: WaterfallProps) {
  const { rows, picked, search = '' } = props;
  const [closed, setClosed] = useState<Set<string>>(new Set());
  const [top, setTop] = useState(0);
  const box = useRef<HTMLDivElement>(null);
  const path = useMemo(() => (props.critical === false ? new Map<Row, { start: bigint; end: bigint }[]>() : criticalPath(rows)), [rows, props.critical]);
  const extent = useMemo(() => extentOf(rows), [rows]);
  const shown = useMemo(() => visibleRows(rows, closed), [rows, closed]);
  const parents = useMemo(() => new Set(rows.map((row) => row.span.parentSpanId ?? '')), [rows]);
  useEffect(() => {
    const at = shown.findIndex((row) => row.span.spanId === picked);
    if (at >= 0 && box.current && (at * ROW < box.current.scrollTop || at * ROW > box.current.scrollTop + props.height - ROW)) box.current.scrollTop = at * ROW - props.height / 2;
  }, [picked, shown]);
  const [from, to] = props.view ?? [0, 1];
  const first = Math.max(0, Math.floor(top / ROW) - SPARE);
  const last = Math.min(shown.length, Math.ceil((top + props.height) / ROW) + SPARE);
  const place = (nanos: number) => ((nanos / extent.nanos - from) / (to - from)) * 100;
  const toggle = (id: string) => {
    const next = new Set(closed);
    if (!next.delete(id)) next.add(id);
    setClosed(next);
  };
  return (
    <div class="waterfall-box">
      <div class="waterfall-head" aria-hidden="true">
        <span>Service and span</span>
        <span class="ruler">{[0, 0.25, 0.5, 0.75, 1].map((part) => <small key={part} style={{ left: `${part * 100}%` }}>{duration((from + part * (to - from)) * extent.nanos)}</small>)}</span>
        <span class="number">Duration</span>
      </div>
      <div class="scroll" ref={box} style={{ maxHeight: `${props.height}px` }} onScroll={(event) => setTop(event.currentTarget.scrollTop)}>
        <ol class="waterfall" style={{ height: `${shown.length * ROW}px` }}>
          {shown.slice(first, last).map((row, i) => {
            const id = row.span.spanId;
            const offset = Number(row.start - extent.start);
            const dim = search !== '' && !found(row, search);
            return (
              <li key={`${id}${first + i}`} style={{ top: `${(first + i) * ROW}px`, height: `${ROW}px` }} class={`${picked === id ? 'picked' : ''}${dim ? ' dim' : ''}`}>
                <span class="fold" style={{ paddingLeft: `${Math.min(row.depth, 24) * 12}px` }}>
                  {parents.has(id) ? <button type="button" class="plain" aria-label={closed.has(id) ? 'Open' : 'Close'} aria-expanded={!closed.has(id)} onClick={() => toggle(id)}>{closed.has(id) ? '▸' : '▾'}</button> : <i class="leaf" />}
                </span>
                <button type="button" class="span" aria-pressed={picked === id} onClick={() => props.onPick(row)}>
                  <span class="name" style={{ paddingLeft: `${20 + Math.min(row.depth, 24) * 12}px` }}>
                    <i style={{ background: colourOf(row.service) }} /><b>{row.service}</b> {row.span.name}{row.failed && <em> error</em>}
                  </span>
                  <span class="track">
                    <span class={row.failed ? 'bar failed' : 'bar'} style={{ left: `${Math.min(place(offset), 99.9)}%`, width: `${Math.max(0.15, place(offset + row.nanos) - place(offset))}%`, background: row.failed ? undefined : colourOf(row.service) }} />
                    {(path.get(row) ?? []).map((part, k) => (
                      <span key={k} class="critical" style={{ left: `${place(Number(part.start - extent.start))}%`, width: `${Math.max(0.1, place(Number(part.end - extent.start)) - place(Number(part.start - extent.start)))}%` }} />
                    ))}
                  </span>
                  <span class="number">{duration(row.nanos)}</span>
                </button>
              </li>
            );
          })}
        </ol>
      </div>
    </div>
  );
}
