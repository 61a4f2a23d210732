// Many traces as one flame graph: the same steps (service and span, below the same steps) added up.

import type { Box } from '../dashboards/panels/flamegraph';
import type { Row } from './rows';

interface Step {
  label: string;
  self: number;
  count: number;
  children: Map<string, Step>;
}

/** Nanoseconds of a span in which none of its children ran. */
export function selfTime(row: Row, children: Row[]): number {
  const start = row.start;
  const pieces = children
    .map((child) => [Math.max(0, Number(child.start - start)), Math.min(row.nanos, Number(child.start - start) + child.nanos)] as const)
    .filter(([from, to]) => to > from)
    .sort((a, b) => a[0] - b[0]);
  let [covered, end] = [0, 0];
  for (const [from, to] of pieces) {
    if (to <= end) continue;
    covered += to - Math.max(from, end);
    end = to;
  }
  return Math.max(0, row.nanos - covered);
}

/** The boxes of a flame graph; a box is as wide as the time of its own and of all below it. */
export function aggregate(traces: Row[][]): { boxes: Box[]; counts: Map<Box, number> } {
  const root: Step = { label: '', self: 0, count: 0, children: new Map() };
  for (const all of traces) {
    const path: Step[] = [root];
    all.forEach((row, at) => {
      path.length = Math.min(path.length, row.depth + 1);
      const parent = path[path.length - 1] ?? root;
      const label = `${row.service}: ${row.span.name}`;
      const step = parent.children.get(label) ?? { label, self: 0, count: 0, children: new Map<string, Step>() };
      parent.children.set(label, step);
      const below: Row[] = [];
      for (let i = at + 1; i < all.length && (all[i]?.depth ?? 0) > row.depth; i += 1) {
        const child = all[i];
        if (child && child.depth === row.depth + 1) below.push(child);
      }
      step.self += selfTime(row, below);
      step.count += 1;
      path.push(step);
    });
  }
  const boxes: Box[] = [];
  const counts = new Map<Box, number>();
  const place = (step: Step, level: number, start: number): number => {
    const box: Box = { label: step.label, level, start, value: 0, self: step.self };
    boxes.push(box);
    counts.set(box, step.count);
    let at = start;
    for (const child of [...step.children.values()].sort((a, b) => b.self - a.self)) at += place(child, level + 1, at);
    box.value = at - start + step.self;
    return box.value;
  };
  let at = 0;
  for (const step of root.children.values()) at += place(step, 0, at);
  return { boxes, counts };
}
