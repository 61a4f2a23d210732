// What the pages of Kubernetes ask: the metrics of kube-state-metrics, cAdvisor and the kubelet.

import { instant, type Labels } from '../api/prometheus';
import { quoted } from '../format/text';

export interface Sampled {
  metric: Labels;
  value: number;
}

export interface PodRow {
  namespace: string;
  pod: string;
  node: string;
  phase: string;
  workload: string;
  workloadKind: string;
  restarts: number;
  cpu?: number;
  cpuRequest?: number;
  memory?: number;
  memoryRequest?: number;
  waiting: string;
}

export function selector(labels: Record<string, string | undefined>): string {
  return Object.entries(labels).flatMap(([name, value]) => (value ? [`${name}=${quoted(value)}`] : [])).join(', ');
}

/** Pods with their workloads: a ReplicaSet's is its Deployment. */
export async function pods(time: number, of: { namespace?: string; pod?: string; node?: string }, signal: AbortSignal): Promise<PodRow[]> {
  const s = selector({ namespace: of.namespace, pod: of.pod });
  const ask = (text: string) => instant(text, time, signal);
  const [info, phases, owners, sets, restarts, cpu, cpuRequest, memory, memoryRequest, waiting] = await Promise.all([
    ask(`kube_pod_info{${selector(of)}}`),
    ask(`kube_pod_status_phase{${s}} == 1`),
    ask(`kube_pod_owner{${s}}`),
    ask(`kube_replicaset_owner{${selector({ namespace: of.namespace })}}`),
    ask(`sum by (namespace, pod) (kube_pod_container_status_restarts_total{${s}})`),
    ask(`sum by (namespace, pod) (rate(container_cpu_usage_seconds_total{container!="", container!="POD"${s && `, ${s}`}}[5m]))`),
    ask(`sum by (namespace, pod) (kube_pod_container_resource_requests{resource="cpu"${s && `, ${s}`}})`),
    ask(`sum by (namespace, pod) (container_memory_working_set_bytes{container!="", container!="POD"${s && `, ${s}`}})`),
    ask(`sum by (namespace, pod) (kube_pod_container_resource_requests{resource="memory"${s && `, ${s}`}})`),
    ask(`kube_pod_container_status_waiting_reason{${s}} == 1`),
  ]);
  const key = (metric: Labels) => `${metric.namespace}/${metric.pod}`;
  const index = (all: Sampled[]) => new Map(all.map((one) => [key(one.metric), one]));
  const [phase, owner, restarted, used, asked, held, wanted, stuck] = [phases, owners, restarts, cpu, cpuRequest, memory, memoryRequest, waiting].map(index);
  const deployments = new Map(sets.map(({ metric }) => [`${metric.namespace}/${metric.replicaset}`, metric]));
  return info.map(({ metric }): PodRow => {
    const id = key(metric);
    const own = owner?.get(id)?.metric;
    const above = own?.owner_kind === 'ReplicaSet' ? deployments.get(`${metric.namespace}/${own.owner_name}`) : undefined;
    return {
      namespace: metric.namespace ?? '', pod: metric.pod ?? '', node: metric.node ?? '', phase: phase?.get(id)?.metric.phase ?? 'Unknown',
      workload: above?.owner_name ?? own?.owner_name ?? metric.pod ?? '', workloadKind: above?.owner_kind ?? own?.owner_kind ?? 'Pod',
      restarts: restarted?.get(id)?.value ?? 0, cpu: used?.get(id)?.value, cpuRequest: asked?.get(id)?.value, memory: held?.get(id)?.value, memoryRequest: wanted?.get(id)?.value,
      waiting: stuck?.get(id)?.metric.reason ?? '',
    };
  }).sort((a, b) => (a.namespace + a.workload + a.pod < b.namespace + b.workload + b.pod ? -1 : 1));
}

export const podPath = (row: { namespace: string; pod: string }) => `/kubernetes/pod/${encodeURIComponent(row.namespace)}/${encodeURIComponent(row.pod)}`;
export const workloadPath = (row: { namespace: string; workload: string; workloadKind: string }) => `/kubernetes/workload/${[row.namespace, row.workloadKind, row.workload].map(encodeURIComponent).join('/')}`;
