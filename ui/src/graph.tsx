// The graph page: a PromQL query over a range.

import { useState } from 'preact/hooks';
import { graph, metricNames } from './api';
import { Chart, rangeOf } from './chart';
import { number, seriesName } from './format';
import { useLoad } from './load';
import type { State } from './location';
import { QueryBar, Show, colour } from './parts';

const EXAMPLES = [
  'sum by (mode) (rate(node_cpu_seconds_total[1m]))',
  'node_memory_MemAvailable_bytes',
  'rate(node_network_receive_bytes_total[1m])',
  'process_resident_memory_bytes',
];

/** Rows of the legend that are drawn; the rest is told as a number. */
const LEGEND_MAX = 200;

export function GraphPage({ state, change }: { state: State; change: (part: Partial<State>) => void }) {
  const [refresh, setRefresh] = useState(0);
  const names = useLoad([], (signal) => metricNames(signal));
  const query = state.q;
  const answer = useLoad([query, state.since, refresh], async (signal) => {
    const step = Math.max(1, Math.ceil(state.since / 360));
    const range = rangeOf(state.since, step);
    const found = query ? await graph(query, range, step, signal) : { series: [], notes: [] };
    return { ...found, range, step };
  });
  return (
    <>
      <QueryBar
        label="PromQL query"
        value={query}
        placeholder="PromQL, for example up"
        suggestions={names.value}
        onAsk={(q) => change({ q })}
        onRefresh={() => setRefresh((n) => n + 1)}
      />
      {!query && (
        <ul class="examples">
          {EXAMPLES.map((example) => (
            <li key={example}>
              <button type="button" onClick={() => change({ q: example })}><code>{example}</code></button>
            </li>
          ))}
        </ul>
      )}
      {query && (
        <Show of={answer} empty={(a) => a.series.length === 0} whenEmpty="No series in this range.">
          {({ series, notes, range, step }) => (
            <>
              {notes.map((note) => <p class="note" key={note}>{note}</p>)}
              <Chart series={series} range={range} step={step} height={380} />
              <table class="legend">
                <thead><tr><th>series</th><th class="number">last</th><th class="number">min</th><th class="number">max</th></tr></thead>
                <tbody>
                  {series.slice(0, LEGEND_MAX).map(({ metric, values }, index) => {
                    const all = values.map(([, v]) => Number(v)).filter(Number.isFinite);
                    return (
                      <tr key={seriesName(metric)}>
                        <td><i style={{ background: colour(index) }} /><code>{seriesName(metric)}</code></td>
                        <td class="number">{number(all.at(-1) ?? NaN)}</td>
                        <td class="number">{number(all.reduce((a, b) => Math.min(a, b), Infinity))}</td>
                        <td class="number">{number(all.reduce((a, b) => Math.max(a, b), -Infinity))}</td>
                      </tr>
                    );
                  })}
                </tbody>
              </table>
              {series.length > LEGEND_MAX && <p class="quiet">and {series.length - LEGEND_MAX} more series</p>}
            </>
          )}
        </Show>
      )}
    </>
  );
}
