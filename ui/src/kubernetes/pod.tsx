// One pod: containers, metrics, logs, traces and events.

import * as loki from '../api/loki';
import { instant } from '../api/prometheus';
import { search } from '../api/tempo';
import { bytes, duration, number, quoted, time } from '../format/text';
import { useLoad } from '../load';
import { Lines } from '../parts/lines';
import { Show } from '../parts/show';
import { SmallChart } from '../pages/services';
import { kept, link, useRoute } from '../route';
import { useTime } from '../time/store';
import { Events } from './events';
import { Pods, Usage } from './pods';
import { pods, selector } from './queries';

export function Pod({ namespace, pod }: { namespace: string; pod: string }) {
  const { range, tick } = useTime();
  const s = selector({ namespace, pod });
  const row = useLoad([namespace, pod, range.end, tick], (signal) => pods(range.end, { namespace, pod }, signal));
  return (
    <>
      <h1>{pod}</h1>
      <Show of={row} empty={(rows) => rows.length === 0} whenEmpty="This pod is not known now; what it left is below.">{(rows) => <Pods rows={rows} />}</Show>
      <h2>Containers</h2>
      <Containers namespace={namespace} pod={pod} />
      <div class="columns" style={{ marginTop: '12px' }}>
        <SmallChart title="CPU by container" unit="short" query={`sum by (container) (rate(container_cpu_usage_seconds_total{container!="", ${s}}[$w]))`} label="container" range={range} tick={tick} />
        <SmallChart title="Memory by container" unit="bytes" query={`sum by (container) (container_memory_working_set_bytes{container!="", ${s}})`} label="container" range={range} tick={tick} />
      </div>
      <div class="columns" style={{ marginTop: '12px' }}>
        <section><h2>Logs</h2><Logs namespace={namespace} pod={pod} /></section>
        <section><h2>Traces</h2><Traces pod={pod} /><h2>Events</h2><Events namespace={namespace} name={pod} /></section>
      </div>
    </>
  );
}

function Containers({ namespace, pod }: { namespace: string; pod: string }) {
  const { range, tick } = useTime();
  const loaded = useLoad([namespace, pod, range.end, tick], async (signal) => {
    const s = selector({ namespace, pod });
    const ask = (text: string) => instant(text, range.end, signal);
    const [info, cpu, memory, limits, restarts, reasons] = await Promise.all([
      ask(`kube_pod_container_info{${s}}`), ask(`sum by (container) (rate(container_cpu_usage_seconds_total{container!="", ${s}}[5m]))`), ask(`sum by (container) (container_memory_working_set_bytes{container!="", ${s}})`),
      ask(`kube_pod_container_resource_limits{${s}}`), ask(`kube_pod_container_status_restarts_total{${s}}`), ask(`kube_pod_container_status_last_terminated_reason{${s}} == 1`),
    ]);
    const of = (all: typeof cpu, container?: string, resource?: string) => all.find((one) => one.metric.container === container && (!resource || one.metric.resource === resource));
    return info.map(({ metric }) => ({
      name: metric.container ?? '', image: metric.image ?? '', cpu: of(cpu, metric.container)?.value, memory: of(memory, metric.container)?.value, restarts: of(restarts, metric.container)?.value ?? 0,
      cpuLimit: of(limits, metric.container, 'cpu')?.value, memoryLimit: of(limits, metric.container, 'memory')?.value, last: of(reasons, metric.container)?.metric.reason ?? '',
    }));
  });
  return (
    <Show of={loaded} empty={(all) => all.length === 0} whenEmpty="No containers are known.">
      {(all) => (
        <div class="scroll card">
          <table>
            <thead><tr><th>Container</th><th>Image</th><th class="number">CPU of its limit</th><th class="number">Memory of its limit</th><th class="number">Restarts</th><th>Ended last by</th></tr></thead>
            <tbody>{all.map((one) => <tr key={one.name}><td>{one.name}</td><td><code>{one.image}</code></td><td class="number"><Usage used={one.cpu} of={one.cpuLimit} show={number} /></td><td class="number"><Usage used={one.memory} of={one.memoryLimit} show={bytes} /></td><td class="number">{one.restarts}</td><td>{one.last}</td></tr>)}</tbody>
          </table>
        </div>
      )}
    </Show>
  );
}

function Logs({ namespace, pod }: { namespace: string; pod: string }) {
  const { range, tick } = useTime();
  const { params } = useRoute();
  const query = `{${selector({ namespace, pod })}}`;
  const loaded = useLoad([query, range, tick], async (signal) => {
    const data = await loki.queryRange(query, range, { limit: 100 }, signal);
    const lines = data.resultType === 'streams' ? loki.linesOf(data.result) : [];
    if (lines.length > 0) return { query, lines };
    // OTLP keeps the pod under OpenTelemetry's names.
    const other = `{k8s_pod_name=${quoted(pod)}}`;
    const more = await loki.queryRange(other, range, { limit: 100 }, signal);
    return { query: other, lines: more.resultType === 'streams' ? loki.linesOf(more.result) : [] };
  });
  return (
    <Show of={loaded} empty={(found) => found.lines.length === 0} whenEmpty="No lines in this range.">
      {(found) => <><p><a href={link('/explore', { lang: 'logql', q: found.query, ...kept(params) })}>All lines</a></p><Lines lines={found.lines} /></>}
    </Show>
  );
}

function Traces({ pod }: { pod: string }) {
  const { range, tick } = useTime();
  const { params } = useRoute();
  const query = `{ resource.k8s.pod.name = ${JSON.stringify(pod)} }`;
  const loaded = useLoad([query, range, tick], async (signal) => (await search(query, range, 20, signal)).traces);
  return (
    <Show of={loaded} empty={(all) => all.length === 0} whenEmpty="No traces in this range.">
      {(all) => (
        <>
          <p><a href={link('/explore', { lang: 'traceql', q: query, ...kept(params) })}>All traces</a></p>
          <ul class="list card">{all.map((one) => <li key={one.traceID}><a href={link(`/trace/${one.traceID}`)}>{one.rootServiceName} {one.rootTraceName}</a> <b>{duration((one.durationMs ?? 0) * 1e6)}</b> <time class="quiet">{time(BigInt(one.startTimeUnixNano))}</time></li>)}</ul>
        </>
      )}
    </Show>
  );
}
