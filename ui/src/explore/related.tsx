// What else is known about the sender of a series: its logs, metrics and traces, ready to be asked.

import { correlateResource, type PreparedQuery } from '../api/server';
import { useLoad } from '../load';
import { Show } from '../parts/show';
import { link } from '../route';
import type { Range } from '../time/parse';

export function PreparedLinks({ all }: { all: PreparedQuery[] }) {
  return (
    <ul class="list">
      {all.map((one, i) => {
        const millis = (text: string) => `${Math.round(Date.parse(text)) || Math.round(Number(text) * 1000)}`;
        return <li key={i}><a href={link('/explore', { lang: one.lang, q: one.query, from: millis(one.start), to: millis(one.end) })}>{one.title}</a>{one.stored === false && <small class="quiet"> none stored</small>}<br /><code class="quiet">{one.query}</code></li>;
      })}
    </ul>
  );
}

export function Related({ labels, range }: { labels: Record<string, string>; range: Range }) {
  const loaded = useLoad([JSON.stringify(labels), range], (signal) => correlateResource(labels, range, signal));
  const { namespace, pod, node } = labels;
  const pages = [
    ...(pod ? [{ name: `Pod ${pod}`, href: link(`/kubernetes/pod/${encodeURIComponent(namespace ?? '')}/${encodeURIComponent(pod)}`) }] : []),
    ...(node && !pod ? [{ name: `Node ${node}`, href: link('/kubernetes/nodes') }] : []),
    ...(labels.service ?? labels.service_name ? [{ name: `Service ${labels.service ?? labels.service_name}`, href: link('/service-map', { service: labels.service ?? labels.service_name }) }] : []),
  ];
  return (
    <div class="card related">
      <h2>Related</h2>
      {pages.length > 0 && <p class="actions">{pages.map((page) => <a key={page.href} href={page.href}>{page.name}</a>)}</p>}
      <Show of={loaded} empty={(all) => !all.logs?.length && !all.metrics?.length && !all.traces?.length} whenEmpty="No label of this series names a service, a pod or a node.">
        {(all) => (
          <div class="columns">
            {([['Logs', all.logs], ['Metrics', all.metrics], ['Traces', all.traces]] as const).map(([name, queries]) => queries && queries.length > 0 && <div key={name}><h3>{name}</h3><PreparedLinks all={queries} /></div>)}
          </div>
        )}
      </Show>
    </div>
  );
}
