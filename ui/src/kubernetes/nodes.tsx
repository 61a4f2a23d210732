// Nodes: conditions, room, and what their machines say.

import { instant } from '../api/prometheus';
import { bytes, number } from '../format/text';
import { useLoad } from '../load';
import { Show } from '../parts/show';
import { SmallChart } from '../pages/services';
import { useTime } from '../time/store';
import { Usage } from './pods';

export function Nodes() {
  const { range, tick } = useTime();
  const loaded = useLoad([range.end, tick], async (signal) => {
    const ask = (text: string) => instant(text, range.end, signal);
    const [info, conditions, room, requests, count] = await Promise.all([
      ask('kube_node_info'), ask('kube_node_status_condition == 1'), ask('kube_node_status_allocatable'),
      ask('sum by (node, resource) (kube_pod_container_resource_requests * on (namespace, pod) group_left(node) kube_pod_info)').catch(() => []), ask('count by (node) (kube_pod_info)'),
    ]);
    const of = (all: typeof info, node?: string, resource?: string) => all.find((one) => one.metric.node === node && (!resource || one.metric.resource === resource))?.value;
    return info.map(({ metric }) => {
      const own = conditions.filter((one) => one.metric.node === metric.node);
      const ready = own.find((one) => one.metric.condition === 'Ready')?.metric.status;
      const pressure = own.filter((one) => one.metric.condition !== 'Ready' && one.metric.status === 'true').map((one) => one.metric.condition ?? '');
      return {
        node: metric.node ?? '', version: metric.kubelet_version ?? '', os: metric.os_image ?? '', ready, pressure, pods: of(count, metric.node), podRoom: of(room, metric.node, 'pods'),
        cpu: of(requests, metric.node, 'cpu'), cpuRoom: of(room, metric.node, 'cpu'), memory: of(requests, metric.node, 'memory'), memoryRoom: of(room, metric.node, 'memory'),
      };
    });
  });
  return (
    <>
      <Show of={loaded} empty={(all) => all.length === 0} whenEmpty="No nodes of a cluster are known; the machines below are those with a node exporter.">
        {(all) => (
          <div class="scroll card">
            <table>
              <thead><tr><th>Node</th><th>State</th><th>Version</th><th class="number">Pods</th><th class="number">CPU requested</th><th class="number">Memory requested</th></tr></thead>
              <tbody>
                {all.map((one) => (
                  <tr key={one.node}>
                    <td>{one.node}</td>
                    <td><span class={`badge ${one.ready === 'true' ? 'ok' : 'err'}`}>{one.ready === 'true' ? 'Ready' : 'not ready'}</span> {one.pressure.map((name) => <span key={name} class="badge err">{name}</span>)}</td>
                    <td>{one.version} <small class="quiet">{one.os}</small></td>
                    <td class="number"><Usage used={one.pods} of={one.podRoom} show={number} /></td><td class="number"><Usage used={one.cpu} of={one.cpuRoom} show={number} /></td><td class="number"><Usage used={one.memory} of={one.memoryRoom} show={bytes} /></td>
                  </tr>
                ))}
              </tbody>
            </table>
          </div>
        )}
      </Show>
      <div class="columns" style={{ marginTop: '12px' }}>
        <SmallChart title="CPU busy" unit="percentunit" query={'1 - avg by (instance) (rate(node_cpu_seconds_total{mode="idle"}[$w]))'} label="instance" range={range} tick={tick} />
        <SmallChart title="Memory used" unit="percentunit" query="1 - node_memory_MemAvailable_bytes / node_memory_MemTotal_bytes" label="instance" range={range} tick={tick} />
        <SmallChart title="Disk used, the fullest" unit="percentunit" query={'max by (instance) (1 - node_filesystem_avail_bytes{fstype!~"tmpfs|overlay|squashfs|ramfs|devtmpfs"} / node_filesystem_size_bytes)'} label="instance" range={range} tick={tick} />
        <SmallChart title="Network" unit="Bps" query={'sum by (instance) (rate(node_network_receive_bytes_total{device!="lo"}[$w]) + rate(node_network_transmit_bytes_total{device!="lo"}[$w]))'} label="instance" range={range} tick={tick} />
      </div>
    </>
  );
}
