// The range of time that pages share: written in the address, resolved anew at each refresh.

import { Cell, useCell } from '../cell';
import { route, setParams } from '../route';
import { resolve, type Range, type RawRange } from './parse';

export interface Time {
  raw: RawRange;
  range: Range;
  /** Counts refreshes, as a key of what is loaded. */
  tick: number;
}

/** What counts when the address does not say; a dashboard brings its own. */
let fallback: RawRange = { from: 'now-30m', to: 'now' };

function rawOf(params: URLSearchParams): RawRange {
  return { from: params.get('from') || fallback.from, to: params.get('to') || (params.get('from') ? 'now' : fallback.to) };
}

function resolved(raw: RawRange, tick: number): Time {
  return { raw, range: resolve(raw, Date.now()), tick };
}

export const time = new Cell<Time>(resolved(rawOf(route.get().params), 0));

route.follow(({ params }) => {
  const raw = rawOf(params);
  const before = time.get();
  if (raw.from !== before.raw.from || raw.to !== before.raw.to) time.set(resolved(raw, before.tick));
});

export function useTime(): Time {
  return useCell(time);
}

export function setFallback(raw: RawRange): void {
  if (raw.from === fallback.from && raw.to === fallback.to) return;
  fallback = raw;
  const now = rawOf(route.get().params);
  const before = time.get();
  if (now.from !== before.raw.from || now.to !== before.raw.to) time.set(resolved(now, before.tick));
}

export const FALLBACK: RawRange = { from: 'now-30m', to: 'now' };

export function setTime(raw: RawRange): void {
  setParams({ from: raw.from, to: raw.to });
}

/** A range in seconds that was drawn with the pointer. */
export function zoom(range: Range): void {
  setTime({ from: `${Math.round(range.start * 1000)}`, to: `${Math.round(range.end * 1000)}` });
}

/** Twice the range around its middle, or moved by a part of its length. */
export function zoomOut(): void {
  const { start, end } = time.get().range;
  const half = (end - start) / 2;
  zoom({ start: start - half, end: Math.min(end + half, Date.now() / 1000 + half / 2) });
}

export function shift(parts: number): void {
  const { start, end } = time.get().range;
  const by = (end - start) * parts;
  zoom({ start: start + by, end: end + by });
}

export function refresh(): void {
  const { raw, tick } = time.get();
  time.set(resolved(raw, tick + 1));
}

/** A step in whole, round seconds that makes about `points` points of the range. */
export function stepFor(range: Range, points: number, least = 1): number {
  const wanted = Math.max(least, (range.end - range.start) / Math.max(1, points));
  const steps = [0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 20, 30, 60, 120, 300, 600, 900, 1200, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 604800];
  return steps.find((step) => step >= wanted) ?? Math.ceil(wanted / 604800) * 604800;
}
