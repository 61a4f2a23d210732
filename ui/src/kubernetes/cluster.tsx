// The cluster, or one namespace: counts, charts, and workloads with their pods.

import { useLoad } from '../load';
import { Show } from '../parts/show';
import { bytes, number } from '../format/text';
import { kept, link, setParams, useRoute } from '../route';
import { useTime } from '../time/store';
import { SmallChart } from '../pages/services';
import { Pods, Usage } from './pods';
import { pods, selector, workloadPath, type PodRow } from './queries';
import { Events } from './events';

interface Workload {
  first: PodRow;
  rows: PodRow[];
}

function workloads(rows: PodRow[]): Workload[] {
  const out = new Map<string, Workload>();
  for (const row of rows) {
    const key = `${row.namespace}/${row.workloadKind}/${row.workload}`;
    const found = out.get(key);
    if (found) found.rows.push(row);
    else out.set(key, { first: row, rows: [row] });
  }
  return [...out.values()];
}

const sum = (rows: PodRow[], of: (row: PodRow) => number | undefined) => {
  const known = rows.map(of).filter((v): v is number => v !== undefined);
  return known.length > 0 ? known.reduce((a, b) => a + b, 0) : undefined;
};

export function Cluster({ namespace }: { namespace?: string }) {
  const { range, tick } = useTime();
  const { params } = useRoute();
  const q = (params.get('q') ?? '').toLowerCase();
  const loaded = useLoad([range.end, tick, namespace], (signal) => pods(range.end, { namespace }, signal));
  const s = selector({ namespace });
  return (
    <Show of={loaded} empty={(rows) => rows.length === 0} whenEmpty="No pods are known: obs kube-state or kube-state-metrics tells of them, see docs/kubernetes.md.">
      {(rows) => {
        const shown = rows.filter((row) => `${row.namespace} ${row.workload} ${row.pod} ${row.node}`.toLowerCase().includes(q));
        const bad = rows.filter((row) => row.phase !== 'Running' && row.phase !== 'Succeeded');
        return (
          <>
            <div class="numbers">
              <div><b>{new Set(rows.map((row) => row.namespace)).size}</b><small>namespaces</small></div>
              <div><b>{workloads(rows).length}</b><small>workloads</small></div>
              <div class={bad.length > 0 ? 'bad' : ''}><b>{rows.length - bad.length} / {rows.length}</b><small>pods run</small></div>
              <div><b>{rows.reduce((n, row) => n + row.restarts, 0)}</b><small>restarts</small></div>
            </div>
            <div class="columns">
              <SmallChart title={`CPU by ${namespace ? 'pod' : 'namespace'}`} unit="short" query={`sum by (${namespace ? 'pod' : 'namespace'}) (rate(container_cpu_usage_seconds_total{container!=""${s && `, ${s}`}}[$w]))`} label={namespace ? 'pod' : 'namespace'} range={range} tick={tick} />
              <SmallChart title={`Memory by ${namespace ? 'pod' : 'namespace'}`} unit="bytes" query={`sum by (${namespace ? 'pod' : 'namespace'}) (container_memory_working_set_bytes{container!=""${s && `, ${s}`}})`} label={namespace ? 'pod' : 'namespace'} range={range} tick={tick} />
            </div>
            <p class="explore-bar" style={{ marginTop: '12px' }}><input aria-label="Find" placeholder="Find workloads and pods …" value={params.get('q') ?? ''} onInput={(e) => setParams({ q: e.currentTarget.value }, 'replace')} /></p>
            <div class="scroll card">
              <table>
                <thead><tr><th>Namespace</th><th>Workload</th><th>Kind</th><th class="number">Pods</th><th class="number">Restarts</th><th class="number">CPU</th><th class="number">Memory</th></tr></thead>
                <tbody>
                  {workloads(shown).map(({ first, rows: own }) => {
                    const running = own.filter((row) => row.phase === 'Running' || row.phase === 'Succeeded').length;
                    return (
                      <tr key={workloadPath(first)}>
                        <td><a href={link(`/kubernetes/namespace/${encodeURIComponent(first.namespace)}`, kept(params))}>{first.namespace}</a></td>
                        <td><a href={link(workloadPath(first), kept(params))}>{first.workload}</a></td><td>{first.workloadKind}</td>
                        <td class="number" style={{ color: running < own.length ? 'var(--bad)' : undefined }}>{running} / {own.length}</td>
                        <td class="number">{own.reduce((n, row) => n + row.restarts, 0)}</td>
                        <td class="number"><Usage used={sum(own, (row) => row.cpu)} of={sum(own, (row) => row.cpuRequest)} show={number} /></td>
                        <td class="number"><Usage used={sum(own, (row) => row.memory)} of={sum(own, (row) => row.memoryRequest)} show={bytes} /></td>
                      </tr>
                    );
                  })}
                </tbody>
              </table>
            </div>
            {bad.length > 0 && <><h2>Pods that do not run</h2><Pods rows={bad} /></>}
            <h2>Events</h2>
            <Events namespace={namespace} />
          </>
        );
      }}
    </Show>
  );
}
