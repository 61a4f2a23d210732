// A table of pods.

import { bytes, number } from '../format/text';
import { kept, link, useRoute } from '../route';
import { podPath, workloadPath, type PodRow } from './queries';

/** Used of what was requested, as a bar. */
export function Usage({ used, of, show }: { used?: number; of?: number; show: (value: number) => string }) {
  if (used === undefined) return <>–</>;
  const part = of ? used / of : 0;
  return (
    <span title={of ? `${Math.round(part * 100)}% of the request` : 'without a request'}>
      {show(used)}{of ? <small class="quiet"> / {show(of)}</small> : ''}
      {of ? <span class="meter" style={{ width: `${Math.min(100, part * 100)}%`, background: part > 1 ? 'var(--bad)' : part > 0.8 ? 'var(--warn)' : undefined }} /> : null}
    </span>
  );
}

export function Pods({ rows, withWorkload = true }: { rows: PodRow[]; withWorkload?: boolean }) {
  const { params } = useRoute();
  return (
    <div class="scroll card">
      <table>
        <thead><tr><th>Pod</th>{withWorkload && <th>Workload</th>}<th>Phase</th><th>Node</th><th class="number">Restarts</th><th class="number">CPU</th><th class="number">Memory</th></tr></thead>
        <tbody>
          {rows.slice(0, 500).map((row) => (
            <tr key={`${row.namespace}/${row.pod}`}>
              <td><a href={link(podPath(row), kept(params))}>{row.pod}</a></td>
              {withWorkload && <td><a href={link(workloadPath(row), kept(params))}>{row.workload}</a> <small class="quiet">{row.workloadKind}</small></td>}
              <td><span class={`badge ${row.phase}`}>{row.waiting || row.phase}</span></td>
              <td>{row.node}</td>
              <td class="number" style={{ color: row.restarts > 0 ? 'var(--warn)' : undefined }}>{row.restarts}</td>
              <td class="number"><Usage used={row.cpu} of={row.cpuRequest} show={(v) => number(v)} /></td>
              <td class="number"><Usage used={row.memory} of={row.memoryRequest} show={bytes} /></td>
            </tr>
          ))}
        </tbody>
      </table>
      {rows.length > 500 && <p class="quiet">The first 500 of {rows.length} pods.</p>}
    </div>
  );
}
