// What a query will read and cost, before it is asked.

import { explain } from '../api/server';
import { bytes, count } from '../format/text';
import { num, obj, objs, str } from '../json';
import { useLoad } from '../load';
import { Pairs, Show } from '../parts/show';
import type { Range } from '../time/parse';
import { stepFor } from '../time/store';
import type { Language } from './language';

export function PlanView({ lang, q, range, tick }: { lang: Language; q: string; range: Range; tick: number }) {
  const loaded = useLoad([lang, q, range, tick], async (signal) => obj(await explain(lang, q, range, stepFor(range, 250), signal)));
  return (
    <Show of={loaded}>
      {(plan) => (
        <div class="columns">
          <div class="card">
            <h2>Cost</h2>
            <Pairs pairs={[
              ['series or streams', count(num(plan.series) ?? 0, 'series').replace(/s$/, '')],
              ['samples', (num(plan.samples) ?? 0).toLocaleString('en-US')],
              ['read', bytes(num(plan.bytes) ?? 0)],
              ['steps', `${num(plan.steps) ?? 0}, of which ${num(plan.stepsCached) ?? 0} are cached`],
              ...Object.entries(obj(plan.limits)).map(([name, limit]): [string, string] => [name, Number(limit).toLocaleString('en-US')]),
            ]} />
          </div>
          <div class="card"><h2>Plan</h2><pre>{str(plan.plan) || str(plan.text)}</pre></div>
          {objs(plan.reads).length > 0 && (
            <div class="card">
              <h2>Reads</h2>
              <table>
                <thead><tr><th>selector</th><th class="number">series</th><th class="number">samples</th><th class="number">bytes</th></tr></thead>
                <tbody>{objs(plan.reads).map((read, i) => <tr key={i}><td><code>{str(read.selector)}</code></td><td class="number">{str(read.series)}</td><td class="number">{str(read.samples)}</td><td class="number">{bytes(num(read.bytes) ?? 0)}</td></tr>)}</tbody>
              </table>
            </div>
          )}
        </div>
      )}
    </Show>
  );
}
