// One workload: its replicas, pods, metrics, logs and events.

import * as loki from '../api/loki';
import { instant } from '../api/prometheus';
import { useLoad } from '../load';
import { Lines } from '../parts/lines';
import { Show } from '../parts/show';
import { SmallChart } from '../pages/services';
import { regexEscape } from '../dashboards/interpolate';
import { quoted } from '../format/text';
import { kept, link, useRoute } from '../route';
import { useTime } from '../time/store';
import { Events } from './events';
import { Pods } from './pods';
import { pods, selector } from './queries';

const REPLICAS: Record<string, [string, string]> = {
  Deployment: ['kube_deployment_spec_replicas', 'kube_deployment_status_replicas_available'],
  StatefulSet: ['kube_statefulset_replicas', 'kube_statefulset_status_replicas_ready'],
  DaemonSet: ['kube_daemonset_status_desired_number_scheduled', 'kube_daemonset_status_number_ready'],
};

export function Workload({ namespace, kind, name }: { namespace: string; kind: string; name: string }) {
  const { range, tick } = useTime();
  const { params } = useRoute();
  const rows = useLoad([namespace, kind, name, range.end, tick], async (signal) => (await pods(range.end, { namespace }, signal)).filter((row) => row.workload === name && row.workloadKind === kind));
  const replicas = useLoad([namespace, kind, name, range.end, tick], async (signal) => {
    const [wanted, ready] = REPLICAS[kind] ?? [];
    if (!wanted || !ready) return undefined;
    const s = selector({ namespace, [kind.toLowerCase()]: name });
    return Promise.all([wanted, ready].map(async (metric) => (await instant(`${metric}{${s}}`, range.end, signal))[0]?.value));
  });
  const s = `namespace=${quoted(namespace)}, pod=~${quoted(`${regexEscape(name)}-.*`)}`;
  const query = `{${s}}`;
  const lines = useLoad([query, range, tick], async (signal) => {
    const data = await loki.queryRange(query, range, { limit: 100 }, signal);
    return data.resultType === 'streams' ? loki.linesOf(data.result) : [];
  });
  return (
    <>
      <h1>{name} <small class="quiet">{kind}</small></h1>
      {replicas.value && replicas.value[0] !== undefined && <p class={replicas.value[0] !== replicas.value[1] ? 'error' : 'quiet'}>{replicas.value[1] ?? 0} of {replicas.value[0]} replicas are available</p>}
      <Show of={rows} empty={(all) => all.length === 0} whenEmpty="It has no pods now.">{(all) => <Pods rows={all} withWorkload={false} />}</Show>
      <div class="columns" style={{ marginTop: '12px' }}>
        <SmallChart title="CPU by pod" unit="short" query={`sum by (pod) (rate(container_cpu_usage_seconds_total{container!="", ${s}}[$w]))`} label="pod" range={range} tick={tick} />
        <SmallChart title="Memory by pod" unit="bytes" query={`sum by (pod) (container_memory_working_set_bytes{container!="", ${s}})`} label="pod" range={range} tick={tick} />
      </div>
      <h2>Logs <a href={link('/explore', { lang: 'logql', q: query, ...kept(params) })}>all</a></h2>
      <Show of={lines} empty={(all) => all.length === 0} whenEmpty="No lines in this range.">{(all) => <Lines lines={all} showLabels />}</Show>
      <h2>Events</h2>
      <Events namespace={namespace} name={name} />
    </>
  );
}
