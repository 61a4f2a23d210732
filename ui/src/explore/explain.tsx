// A PromQL query as the tree of its parts, each with what it gives by itself: where an expression becomes
// empty, slow or too large is seen at a glance. Servers that cannot say it show their plan.

import { useMemo, useState } from 'preact/hooks';
import { explainTree, type ExplainNode } from '../api/server';
import { colour } from '../format/colours';
import { count, number, seriesName } from '../format/text';
import { useLoad } from '../load';
import { Show } from '../parts/show';
import { link } from '../route';
import type { Range } from '../time/parse';
import { stepFor } from '../time/store';
import { PlanView } from './plan';

interface Props {
  q: string;
  range: Range;
  tick: number;
}

/** Nodes below their parents, with how deep they stand; each at most once, whatever the answer says. */
export function ordered(nodes: ExplainNode[]): { node: ExplainNode; depth: number }[] {
  const out: { node: ExplainNode; depth: number }[] = [];
  const seen = new Set<number>();
  const stack = nodes.length > 0 ? [{ at: 0, depth: 0 }] : [];
  for (let next = stack.pop(); next; next = stack.pop()) {
    const { at, depth } = next;
    const node = nodes[at];
    if (!node || seen.has(at)) continue;
    seen.add(at);
    out.push({ node, depth });
    for (const child of [...node.children].reverse()) stack.push({ at: child, depth: depth + 1 });
  }
  return out;
}

export function ExplainView({ q, range, tick }: Props) {
  const step = stepFor(range, 120);
  const loaded = useLoad([q, range, tick], async (signal) => (await explainTree(q, range, step, signal)) ?? null);
  const [picked, setPicked] = useState<number>();
  if (loaded.value === null) return <PlanView lang="promql" q={q} range={range} tick={tick} />;
  return (
    <Show of={loaded} empty={(tree) => !tree || tree.nodes.length === 0} whenEmpty="This query has no parts.">
      {(tree) => {
        const rows = ordered(tree?.nodes ?? []);
        const slowest = Math.max(0.001, ...rows.map(({ node }) => node.result?.elapsedMs ?? 0));
        const one = rows.find(({ node }) => node.id === picked)?.node;
        return (
          <>
            <Marked q={q} node={one} />
            <div class="card scroll">
              <table class="explain">
                <thead><tr><th>Part</th><th class="number">Series</th><th>Labels</th><th>Value</th><th class="number">Time</th></tr></thead>
                <tbody>{rows.map(({ node, depth }) => <Part key={node.id} node={node} depth={depth} range={range} slowest={slowest} open={node.id === picked} pick={() => setPicked(node.id === picked ? undefined : node.id)} />)}</tbody>
              </table>
            </div>
            {tree?.cut && <p class="note">The query has more parts; those nearest to the whole are shown.</p>}
            {one && <Detail node={one} />}
          </>
        );
      }}
    </Show>
  );
}

/** The query with the chosen part set apart. */
function Marked({ q, node }: { q: string; node?: ExplainNode }) {
  if (!node) return <p class="quiet">Every part of the query, computed by itself. A part shows its series.</p>;
  return <pre class="card marked-query">{q.slice(0, node.start)}<mark>{q.slice(node.start, node.end)}</mark>{q.slice(node.end)}</pre>;
}

function Part({ node, depth, range, slowest, open, pick }: { node: ExplainNode; depth: number; range: Range; slowest: number; open: boolean; pick: () => void }) {
  const { result } = node;
  const empty = result && !result.error && result.series === 0;
  return (
    <tr class={open ? 'picked' : ''} data-part={node.id}>
      <td style={{ paddingLeft: `${10 + depth * 20}px` }}>
        <button type="button" class="plain" aria-expanded={open} onClick={pick}>{depth > 0 && <span class="quiet">└ </span>}<code>{node.head}</code></button>
        {result?.error && <p class="error" role="alert">{result.error}</p>}
        {(result?.warnings ?? []).map((text, i) => <p key={i} class="note">{text}</p>)}
      </td>
      <td class="number">{result?.error ? '–' : <span class={empty ? 'badge err' : ''}>{result ? (result.series ?? 0).toLocaleString('en-US') : ''}</span>}</td>
      <td>{(result?.labels ?? []).slice(0, 4).map((label) => <code key={label.name} class="label" title={label.examples.join(', ')}>{label.name} {label.values}</code>)}</td>
      <td><Value node={node} range={range} /></td>
      <td class="number">{result?.elapsedMs !== undefined && <>{number(result.elapsedMs)} ms<span class="meter" style={{ width: `${(result.elapsedMs / slowest) * 100}%` }} /></>}</td>
    </tr>
  );
}

function pathOf(values: [number, string][], range: Range, min: number, max: number): string {
  const points = values.filter(([, text]) => Number.isFinite(Number(text)))
    .map(([time, text]) => `${(((time - range.start) / (range.end - range.start)) * 100).toFixed(1)},${(19 - ((Number(text) - min) / (max - min || 1)) * 18).toFixed(1)}`);
  return points.length > 0 ? `M${points.join('L')}` : '';
}

/** A number, or the first series over time. */
function Value({ node, range }: { node: ExplainNode; range: Range }) {
  const lines = useMemo(() => (node.result?.result ?? []).slice(0, 3).flatMap((one) => (one.values && one.values.length > 1 ? [one.values] : [])), [node]);
  const first = node.result?.result?.[0];
  const last = first?.value ?? first?.values?.at(-1);
  if (node.kind === 'numberLiteral' || !last) return null;
  const all = lines.flat().map(([, text]) => Number(text)).filter(Number.isFinite);
  const [min, max] = all.reduce(([a, b], v) => [Math.min(a, v), Math.max(b, v)], [Infinity, -Infinity]);
  return (
    <span class="explain-value">
      {lines.length > 0 && (
        <svg class="sparkline" viewBox="0 0 100 20" preserveAspectRatio="none" aria-hidden="true">
          {lines.map((values, i) => <path key={i} d={pathOf(values, range, min, max)} fill="none" stroke={colour(i)} stroke-width="1.2" vector-effect="non-scaling-stroke" />)}
        </svg>
      )}
      {number(Number(last[1]))}
    </span>
  );
}

function Detail({ node }: { node: ExplainNode }) {
  const { result } = node;
  const shown = result?.result ?? [];
  return (
    <section class="card explain-detail" aria-label="The chosen part">
      <h2><code>{node.expr}</code></h2>
      <p class="actions">
        <a href={link('/explore', { lang: 'promql', q: node.expr })}>Ask only this</a>
        {result && !result.error && <span class="quiet">{count(result.series ?? 0, 'series').replace(/s$/, '')}, {count(result.points ?? 0, 'point')}{result.samplesRead !== undefined && `, ${count(result.samplesRead, 'sample')} read`}</span>}
      </p>
      {shown.length > 0 && (
        <table>
          <thead><tr><th>Series</th><th class="number">Last</th></tr></thead>
          <tbody>{shown.map((one, i) => <tr key={i}><td><code>{seriesName(one.metric)}</code></td><td class="number">{(one.value ?? one.values?.at(-1))?.[1] ?? (one.histogram ?? one.histograms ? 'histogram' : '')}</td></tr>)}</tbody>
        </table>
      )}
    </section>
  );
}
