// Kubernetes: cluster, namespaces, workloads, pods, containers and nodes; of each its metrics, logs,
// events and traces side by side.

import type { PageProps } from '../pages';
import { kept, link, useRoute } from '../route';
import { Cluster } from './cluster';
import { Nodes } from './nodes';
import { Pod } from './pod';
import { Workload } from './workload';

export default function KubernetesPage({ path }: PageProps) {
  const { params } = useRoute();
  const rest = kept(params);
  const [kind, namespace = '', name = '', more = ''] = path;
  const crumbs: [string, string][] = [['Cluster', link('/kubernetes', rest)]];
  if (kind === 'nodes') crumbs.push(['Nodes', link('/kubernetes/nodes', rest)]);
  if (kind === 'namespace' || kind === 'pod' || kind === 'workload') crumbs.push([namespace, link(`/kubernetes/namespace/${encodeURIComponent(namespace)}`, rest)]);
  if (kind === 'pod') crumbs.push([name, '']);
  if (kind === 'workload') crumbs.push([`${name} ${more}`, '']);
  return (
    <>
      <div class="page-head">
        <h1>Kubernetes</h1>
        <a href={link('/kubernetes', rest)}>Workloads</a> <a href={link('/kubernetes/nodes', rest)}>Nodes</a>
      </div>
      {crumbs.length > 1 && <nav class="explore-bar" aria-label="Where">{crumbs.map(([text, href], i) => <span key={i}>{i > 0 && '/ '}{href && i < crumbs.length - 1 ? <a href={href}>{text}</a> : <b>{text}</b>}</span>)}</nav>}
      {!kind && <Cluster />}
      {kind === 'namespace' && <Cluster namespace={namespace} />}
      {kind === 'nodes' && <Nodes />}
      {kind === 'pod' && <Pod namespace={namespace} pod={name} />}
      {kind === 'workload' && <Workload namespace={namespace} kind={name} name={more} />}
    </>
  );
}
