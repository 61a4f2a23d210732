// A trace as rows of a waterfall.

import { attributeText, type KeyValue, type OtlpSpan, type ResourceSpans } from '../api/tempo';

export interface Row {
  depth: number;
  service: string;
  resource: KeyValue[];
  scope: string;
  span: OtlpSpan;
  start: bigint;
  nanos: number;
  failed: boolean;
}

/** Rows in the order of a depth-first walk, siblings by begin; every span exactly once. */
export function rows(resources: ResourceSpans[]): Row[] {
  const all: Row[] = resources.flatMap((r) =>
    (r.scopeSpans ?? []).flatMap((s) =>
      (s.spans ?? []).map((span) => ({
        depth: 0,
        service: attributeText(r.resource?.attributes?.find((a) => a.key === 'service.name')?.value) || 'unknown_service',
        resource: r.resource?.attributes ?? [],
        scope: s.scope?.name ?? '',
        span,
        start: BigInt(span.startTimeUnixNano || 0),
        nanos: Math.max(0, Number(BigInt(span.endTimeUnixNano || 0) - BigInt(span.startTimeUnixNano || 0))),
        failed: span.status?.code === 2 || span.status?.code === 'STATUS_CODE_ERROR',
      })),
    ),
  );
  all.sort((a, b) => (a.start < b.start ? -1 : a.start > b.start ? 1 : 0));
  const ids = new Set(all.map((row) => row.span.spanId));
  const children = new Map<string, Row[]>();
  const roots: Row[] = [];
  for (const row of all) {
    const parent = row.span.parentSpanId;
    if (!parent || !ids.has(parent) || parent === row.span.spanId) roots.push(row);
    else {
      const siblings = children.get(parent);
      if (siblings) siblings.push(row);
      else children.set(parent, [row]);
    }
  }
  const out: Row[] = [];
  const walk = (starts: Row[]) => {
    const stack = starts.map((row) => ({ row, depth: 0 })).reverse();
    for (let next = stack.pop(); next; next = stack.pop()) {
      const { row, depth } = next;
      out.push({ ...row, depth });
      const below = children.get(row.span.spanId) ?? [];
      children.delete(row.span.spanId);
      for (const child of [...below].reverse()) stack.push({ row: child, depth: depth + 1 });
    }
  };
  walk(roots);
  // What is left hangs in cycles of parents: cut each where it comes first.
  for (const [parent] of children) {
    const rest = children.get(parent);
    children.delete(parent);
    if (rest) walk(rest);
  }
  return out;
}
