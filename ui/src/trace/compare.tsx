// Two traces side by side: the same spans by service, name and parents, and how they differ.

import { trace } from '../api/tempo';
import { colourOf } from '../format/colours';
import { count, duration } from '../format/text';
import { useLoad } from '../load';
import type { PageProps } from '../pages';
import { Show } from '../parts/show';
import { link } from '../route';
import { rows, type Row } from './rows';

export interface Compared {
  service: string;
  name: string;
  depth: number;
  counts: [number, number];
  nanos: [number, number];
  failed: [number, number];
}

/** Spans under one key are the same step: their path of services and names from the root. */
export function compare(a: Row[], b: Row[]): Compared[] {
  const out = new Map<string, Compared>();
  [a, b].forEach((all, side) => {
    const path: string[] = [];
    for (const row of all) {
      path.length = row.depth;
      path.push(`${row.service}\n${row.span.name}`);
      const key = path.join('\n\n');
      const found = out.get(key) ?? { service: row.service, name: row.span.name, depth: row.depth, counts: [0, 0], nanos: [0, 0], failed: [0, 0] };
      found.counts[side as 0 | 1] += 1;
      found.nanos[side as 0 | 1] += row.nanos;
      found.failed[side as 0 | 1] += row.failed ? 1 : 0;
      out.set(key, found);
    }
  });
  return [...out].sort(([x], [y]) => (x < y ? -1 : 1)).map(([, one]) => one);
}

export default function ComparePage({ path }: PageProps) {
  const [a = '', b = ''] = path;
  const loaded = useLoad([a, b], async (signal) => Promise.all([trace(a, signal), trace(b, signal)]).then(([x, y]) => [rows(x), rows(y)] as const));
  return (
    <>
      <div class="page-head"><h1>Compare traces</h1></div>
      <p class="explore-bar">A <a href={link(`/trace/${a}`)}><code>{a}</code></a> B <a href={link(`/trace/${b}`)}><code>{b}</code></a></p>
      <Show of={loaded}>
        {([left, right]) => {
          const all = compare(left, right);
          return (
            <table class="card">
              <thead><tr><th>Span</th><th class="number">A</th><th class="number">B</th><th class="number">Difference</th><th>Change</th></tr></thead>
              <tbody>
                {all.map((one, i) => {
                  const difference = one.nanos[1] - one.nanos[0];
                  const change = one.counts[0] === 0 ? 'only in B' : one.counts[1] === 0 ? 'only in A' : one.counts[0] !== one.counts[1] ? `${count(one.counts[0], 'span')} → ${count(one.counts[1], 'span')}` : '';
                  const failed = one.failed[0] !== one.failed[1] ? `${count(one.failed[0], 'error')} → ${count(one.failed[1], 'error')}` : '';
                  return (
                    <tr key={i}>
                      <td style={{ paddingLeft: `${10 + one.depth * 16}px` }}><i style={{ background: colourOf(one.service) }} /><b>{one.service}</b> {one.name}</td>
                      <td class="number">{one.counts[0] ? duration(one.nanos[0]) : '–'}</td><td class="number">{one.counts[1] ? duration(one.nanos[1]) : '–'}</td>
                      <td class="number" style={{ color: difference > 0 ? 'var(--bad)' : difference < 0 ? 'var(--good)' : undefined }}>{difference > 0 ? '+' : difference < 0 ? '−' : ''}{duration(Math.abs(difference))}</td>
                      <td>{[change, failed].filter(Boolean).join(', ')}</td>
                    </tr>
                  );
                })}
              </tbody>
            </table>
          );
        }}
      </Show>
    </>
  );
}
