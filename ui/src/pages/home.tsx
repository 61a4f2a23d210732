// Home: what is wrong now, what changed, and where to look first.

import * as prometheus from '../api/prometheus';
import { errorGroups } from '../api/server';
import { ago, count, seriesName } from '../format/text';
import { formatValue } from '../format/units';
import { useLoad, type Loaded } from '../load';
import { Labels, Show } from '../parts/show';
import { kept, link, useRoute } from '../route';
import { useTime } from '../time/store';
import { changes } from './changes';
import { SmallChart } from './services';

function Number_({ of, name, href, good }: { of: Loaded<number>; name: string; href: string; good?: string }) {
  const state = of.error ? '' : of.value ? 'bad' : 'good';
  return <a class={state} href={href} title={of.error}><b>{of.value ?? (of.error ? '?' : '…')}</b><small>{of.value === 0 && good ? good : name}</small></a>;
}

/** What of a machine is close to its end. */
const SATURATED: [string, string, string][] = [
  ['CPU', '1 - avg by (instance) (rate(node_cpu_seconds_total{mode="idle"}[5m]))', '0.9'],
  ['Memory', '1 - node_memory_MemAvailable_bytes / node_memory_MemTotal_bytes', '0.9'],
  ['Load per CPU', 'node_load5 / on (instance) count by (instance) (count by (instance, cpu) (node_cpu_seconds_total))', '2'],
  ['Disk', 'max by (instance, mountpoint) (1 - node_filesystem_avail_bytes{fstype!~"tmpfs|overlay|squashfs|ramfs|devtmpfs"} / node_filesystem_size_bytes)', '0.85'],
];

export default function HomePage() {
  const { range, tick } = useTime();
  const { params } = useRoute();
  const rest = kept(params);
  const rules = useLoad([tick], (signal) => prometheus.rules(signal));
  const targets = useLoad([tick], async (signal) => (await prometheus.targets('active', signal)).activeTargets);
  const errors = useLoad([range, tick], (signal) => errorGroups(range, { limit: '6', sort: 'count' }, signal));
  const nodes = useLoad([range.end, tick], async (signal) => {
    const found = await Promise.all(SATURATED.map(async ([name, query, most]) => (await prometheus.instant(`${query} > ${most}`, range.end, signal)).map((one) => ({ ...one, name, unit: name.startsWith('Load') ? 'none' : 'percentunit' }))));
    const pressed = await prometheus.instant('kube_node_status_condition{condition!="Ready", status="true"} == 1', range.end, signal);
    return [...found.flat(), ...pressed.map((one) => ({ ...one, name: one.metric.condition ?? '', unit: '' }))];
  });
  const pods = useLoad([range.end, tick], (signal) => prometheus.instant('sum by (namespace, pod, phase) (kube_pod_status_phase{phase=~"Pending|Failed|Unknown"}) > 0', range.end, signal));
  const changed = useLoad([range, tick], (signal) => changes(range, signal));
  const map = <T,>(loaded: Loaded<T>, size: (value: T) => number): Loaded<number> => ({ ...loaded, value: loaded.value === undefined ? undefined : size(loaded.value) });
  const firing = (rules.value ?? []).flatMap((group) => group.rules).filter((rule) => rule.state === 'firing');
  const down = (targets.value ?? []).filter((target) => target.health === 'down');
  return (
    <>
      <div class="page-head"><h1>What is wrong now</h1></div>
      <div class="numbers">
        <Number_ of={map(rules, () => firing.length)} name="alerts firing" good="no alert fires" href={link('/alerts', rest)} />
        <Number_ of={map(targets, () => down.length)} name="targets down" good={`all ${targets.value?.length ?? 0} targets up`} href={link('/targets')} />
        <Number_ of={map(errors, (found) => found.total)} name="error groups" good="no exceptions" href={link('/errors', rest)} />
        <Number_ of={map(nodes, (found) => found.length)} name="machines saturated" good="machines have room" href={link('/kubernetes/nodes', rest)} />
        <Number_ of={map(pods, (found) => found.length)} name="pods not running" good="pods run" href={link('/kubernetes', rest)} />
      </div>
      <div class="columns masonry">
        <section class="card">
          <h2>What changed</h2>
          <Show of={changed} empty={(found) => found.all.length === 0 && found.failed.length === 0} whenEmpty="Nothing that obs knows of.">
            {(found) => (
              <>
                <ul class="list changes">{found.all.slice(0, 12).map((one, i) => <li key={i}><span class={`badge ${one.bad ? 'err' : ''}`}>{one.kind}</span> <a href={one.href}>{one.text}</a> {one.detail}{one.at !== undefined && <small class="quiet"> {ago(new Date(one.at * 1000).toISOString(), Date.now())}</small>}</li>)}</ul>
                {found.all.length > 12 && <p class="quiet">{found.all.length - 12} more</p>}
                {found.failed.map((why, i) => <p key={i} class="note">{why}</p>)}
              </>
            )}
          </Show>
        </section>
        <section class="card">
          <h2>Alerts</h2>
          <Show of={rules} empty={() => firing.length === 0} whenEmpty="Nothing fires.">
            {() => <ul class="list">{firing.slice(0, 8).map((rule, i) => <li key={i}><a href={link('/alerts', { q: rule.name, ...rest })}>{rule.name}</a> <small class="quiet">{count((rule.alerts ?? []).length, 'alert')}</small><br />{rule.alerts?.[0]?.annotations.summary ?? rule.annotations?.summary}</li>)}</ul>}
          </Show>
        </section>
        <section class="card">
          <h2>Targets</h2>
          <Show of={targets} empty={() => down.length === 0} whenEmpty="All targets answer.">
            {() => <ul class="list">{down.slice(0, 8).map((target, i) => <li key={i}><b>{target.scrapePool}</b> <Labels labels={target.labels} without={['job']} /><br /><small class="error">{target.lastError}</small></li>)}</ul>}
          </Show>
        </section>
        <section class="card">
          <h2>Errors</h2>
          <Show of={errors} empty={(found) => found.groups.length === 0} whenEmpty="No exceptions in this range.">
            {(found) => <ul class="list">{found.groups.map((group) => <li key={group.fingerprint}><a href={link(`/errors/${group.fingerprint}`, rest)}>{group.type || 'exception'}</a> <small class="quiet">{count(group.count, 'time')}, last {ago(group.lastSeen, Date.now())}</small><br />{group.message}</li>)}</ul>}
          </Show>
        </section>
        <section class="card">
          <h2>Saturation</h2>
          <Show of={nodes} empty={(found) => found.length === 0} whenEmpty="No machine is close to its end.">
            {(found) => <ul class="list">{found.map((one, i) => <li key={i}>{one.name} {one.unit && <b>{formatValue(one.value, one.unit)}</b>} <code class="quiet">{one.metric.instance ?? one.metric.node ?? seriesName(one.metric)}{one.metric.mountpoint ? ` ${one.metric.mountpoint}` : ''}</code></li>)}</ul>}
          </Show>
        </section>
        <SmallChart title="CPU busy by instance" unit="percentunit" query={'1 - avg by (instance) (rate(node_cpu_seconds_total{mode="idle"}[$w]))'} label="instance" range={range} tick={tick} />
        <SmallChart title="Requests by service" unit="reqps" query={'sum by (service) (rate(traces_spanmetrics_calls_total{span_kind=~"SPAN_KIND_(SERVER|CONSUMER)"}[$w]))'} label="service" range={range} tick={tick} />
        <SmallChart title="Samples of a scrape by job" unit="short" query="sum by (job) (scrape_samples_scraped)" label="job" range={range} tick={tick} />
      </div>
    </>
  );
}
