// The critical path: what the trace waited for, from its end backwards.

import type { Row } from './rows';

export interface Stretch {
  start: bigint;
  end: bigint;
}

/**
 * For each span the stretches in which it is the one that is waited for. From the end of a span, the
 * child that ended last before that moment is on the path; before the child began, the next one, and
 * between children the span itself.
 */
export function criticalPath(rows: Row[]): Map<Row, Stretch[]> {
  const out = new Map<Row, Stretch[]>();
  const children = new Map<string, Row[]>();
  for (const row of rows) {
    const parent = row.span.parentSpanId;
    if (row.depth > 0 && parent) children.set(parent, [...(children.get(parent) ?? []), row]);
  }
  const end = (row: Row) => row.start + BigInt(Math.round(row.nanos));
  const add = (row: Row, start: bigint, stop: bigint) => {
    if (stop > start) out.set(row, [...(out.get(row) ?? []), { start, end: stop }]);
  };
  const stack: { row: Row; until: bigint }[] = rows.filter((row) => row.depth === 0).slice(0, 1).map((row) => ({ row, until: end(row) }));
  const seen = new Set<Row>();
  for (let next = stack.pop(); next; next = stack.pop()) {
    const { row, until } = next;
    if (seen.has(row)) continue;
    seen.add(row);
    let at = until < end(row) ? until : end(row);
    const below = [...(children.get(row.span.spanId) ?? [])].sort((a, b) => (end(a) < end(b) ? 1 : end(a) > end(b) ? -1 : 0));
    for (const child of below) {
      // Nobody waits for what goes on beyond this moment, but for a child that outlives its parent.
      if (child.start >= at || (end(child) > at && at !== end(row)) || child.start < row.start) continue;
      const stop = end(child) < at ? end(child) : at;
      add(row, stop, at);
      stack.push({ row: child, until: stop });
      at = child.start;
    }
    add(row, row.start, at);
  }
  return out;
}
