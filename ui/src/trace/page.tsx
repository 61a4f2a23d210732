// One trace: waterfall, flame graph, statistics, and for a span its details with the logs beside it.

import { useMemo, useState } from 'preact/hooks';
import * as loki from '../api/loki';
import { attributeText, trace, type KeyValue } from '../api/tempo';
import { colourOf } from '../format/colours';
import { count, duration, time } from '../format/text';
import { useLoad } from '../load';
import type { PageProps } from '../pages';
import { PreparedLinks } from '../explore/related';
import { correlateResource } from '../api/server';
import { Lines } from '../parts/lines';
import { Pairs, Show, Tabs } from '../parts/show';
import { link, setParams, useRoute } from '../route';
import { criticalPath } from './critical';
import { Flame } from './flame';
import { rows, type Row } from './rows';
import { extentOf, found, Waterfall } from './waterfall';

export default function TracePage({ path }: PageProps) {
  const id = path[0] ?? '';
  const loaded = useLoad([id], async (signal) => rows(await trace(id, signal)));
  return (
    <>
      <div class="page-head"><h1>Trace <code>{id.padStart(32, '0')}</code></h1></div>
      <Show of={loaded} empty={(all) => all.length === 0} whenEmpty="The trace has no spans.">{(all) => <Trace id={id} all={all} />}</Show>
    </>
  );
}

const VIEWS: [string, string][] = [['waterfall', 'Waterfall'], ['flame', 'Flame graph'], ['statistics', 'Statistics'], ['logs', 'Logs']];

function Trace({ id, all }: { id: string; all: Row[] }) {
  const { params } = useRoute();
  const [search, setSearch] = useState('');
  const extent = useMemo(() => extentOf(all), [all]);
  const view = VIEWS.find(([one]) => one === params.get('view'))?.[0] ?? 'waterfall';
  const picked = all.find((row) => row.span.spanId === params.get('span'));
  const pick = (row: Row) => setParams({ span: params.get('span') === row.span.spanId ? undefined : row.span.spanId }, 'replace');
  const services = [...new Set(all.map((row) => row.service))];
  const matching = search ? all.filter((row) => found(row, search)) : [];
  const around = { start: Number(extent.start / 1_000_000n) / 1000 - 60, end: Number(extent.start / 1_000_000n) / 1000 + extent.nanos / 1e9 + 60 };
  return (
    <>
      <p class="explore-bar">
        <span>{time(extent.start)} · <b>{duration(extent.nanos)}</b> · {count(all.length, 'span')} · {count(services.length, 'service')} · {count(all.filter((row) => row.failed).length, 'error')}</span>
        {services.slice(0, 12).map((service) => <a key={service} class="label" href={link('/service-map', { service })}><i style={{ background: colourOf(service) }} />{service}</a>)}
      </p>
      <div class="explore-bar">
        <Tabs label="View" all={VIEWS} now={view} onPick={(one) => setParams({ view: one })} />
        <input aria-label="Find spans" placeholder="Find spans …" value={search} onInput={(e) => setSearch(e.currentTarget.value)} onKeyDown={(e) => { if (e.key === 'Enter' && matching[0]) pick(matching[0]); }} />
        {search && <span>{count(matching.length, 'span')}</span>}
        <form onSubmit={(event) => { event.preventDefault(); const other = new FormData(event.currentTarget).get('other'); if (typeof other === 'string' && other.trim()) location.assign(link(`/compare/${id}/${encodeURIComponent(other.trim())}`)); }}>
          <input name="other" aria-label="Compare with trace" placeholder="Compare with trace id" />
        </form>
      </div>
      <div class={picked ? 'beside-trace' : ''}>
        <div>
          {view === 'waterfall' && <Waterfall rows={all} height={Math.max(320, innerHeight - 260)} picked={picked?.span.spanId} onPick={pick} search={search} />}
          {view === 'flame' && <Flame rows={all} picked={picked?.span.spanId} onPick={pick} />}
          {view === 'statistics' && <Statistics all={all} />}
          {view === 'logs' && <TraceLogs id={id} range={around} />}
        </div>
        {picked && <Details row={picked} id={id} start={extent.start} range={around} />}
      </div>
    </>
  );
}

const pairs = (all: KeyValue[] | undefined) => (all ?? []).map((one): [string, string] => [one.key, attributeText(one.value)]);

const KINDS = ['unspecified', 'internal', 'server', 'client', 'producer', 'consumer'];

function kindText(kind: string | number | undefined): string {
  if (typeof kind === 'number') return KINDS[kind] ?? '';
  return (kind ?? '').replace('SPAN_KIND_', '').toLowerCase();
}

function Details({ row, id, start, range }: { row: Row; id: string; start: bigint; range: { start: number; end: number } }) {
  const labels = Object.fromEntries(pairs(row.resource));
  const spanRange = { start: Number(row.start / 1_000_000n) / 1000 - 300, end: Number(row.start / 1_000_000n) / 1000 + row.nanos / 1e9 + 300 };
  const related = useLoad([row.span.spanId], (signal) => correlateResource(labels, spanRange, signal));
  const { 'k8s.pod.name': pod, 'k8s.namespace.name': namespace } = labels;
  return (
    <aside class="card details-of-span" aria-label="Span">
      <h2><i style={{ background: colourOf(row.service) }} />{row.service}: {row.span.name}</h2>
      {row.span.status?.message && <p class="error">{row.span.status.message}</p>}
      <Pairs pairs={[['began', `+${duration(Number(row.start - start))}`], ['took', duration(row.nanos)], ['kind', kindText(row.span.kind)], ['span', row.span.spanId]]} />
      <p class="actions">
        {pod && <a href={link(`/kubernetes/pod/${encodeURIComponent(namespace ?? '')}/${encodeURIComponent(pod)}`, { from: `${Math.round(range.start * 1000)}`, to: `${Math.round(range.end * 1000)}` })}>Pod {pod}</a>}
        <a href={link('/service-map', { service: row.service })}>Service</a>
        <a href={link('/explore', { lang: 'traceql', q: `{ resource.service.name = ${JSON.stringify(row.service)} && name = ${JSON.stringify(row.span.name)} }` })}>Spans like this</a>
      </p>
      <h3>Attributes</h3>
      <Pairs pairs={pairs(row.span.attributes)} />
      {(row.span.events ?? []).length > 0 && <h3>Events</h3>}
      {(row.span.events ?? []).map((event, i) => (
        <details key={i} open={event.name === 'exception'}>
          <summary>{event.name} +{duration(Number(BigInt(event.timeUnixNano) - row.start))}</summary>
          <Pairs pairs={pairs(event.attributes)} />
        </details>
      ))}
      {(row.span.links ?? []).length > 0 && <h3>Links</h3>}
      <ul class="list">{(row.span.links ?? []).map((one, i) => <li key={i}><a href={link(`/trace/${one.traceId}`, { span: one.spanId })}>{one.traceId}</a></li>)}</ul>
      <h3>Resource</h3>
      <Pairs pairs={pairs(row.resource)} />
      {row.scope && <><h3>Scope</h3><Pairs pairs={[['name', row.scope]]} /></>}
      <h3>Logs of this span</h3>
      <TraceLogs id={id} span={row.span.spanId} service={row.service} range={range} />
      <h3>Related</h3>
      <Show of={related}>{(all) => <PreparedLinks all={[...(all.metrics ?? []), ...(all.logs ?? [])].slice(0, 8)} />}</Show>
    </aside>
  );
}

/** Lines that name the trace in their metadata or in their text; with `span` those of it, else those of its service. */
function TraceLogs({ id, span, service, range }: { id: string; span?: string; service?: string; range: { start: number; end: number } }) {
  const loaded = useLoad([id, span], async (signal) => {
    const found = await Promise.all(['|=', '| trace_id ='].map((how) => loki.queryRange(`{service_name=~".+"} ${how} ${JSON.stringify(id)}`, range, { limit: 500, direction: 'forward' }, signal)));
    const all = found.flatMap((data) => (data.resultType === 'streams' ? loki.linesOf(data.result, true) : []));
    const lines = [...new Map(all.map((line) => [`${line.nanos}${line.line}`, line])).values()].sort((a, b) => (a.nanos < b.nanos ? -1 : 1));
    if (!span) return lines;
    const own = lines.filter((line) => (line.labels.span_id ?? line.metadata.span_id ?? '') === span || line.line.includes(span));
    return own.length > 0 ? own : lines.filter((line) => (line.labels.service_name ?? line.labels.app) === service);
  });
  return <Show of={loaded} empty={(lines) => lines.length === 0} whenEmpty="No lines name it.">{(lines) => <Lines lines={lines} />}</Show>;
}

function Statistics({ all }: { all: Row[] }) {
  const path = useMemo(() => criticalPath(all), [all]);
  const groups = new Map<string, { service: string; name: string; count: number; nanos: number; failed: number; critical: number }>();
  for (const row of all) {
    const key = `${row.service}\n${row.span.name}`;
    const group = groups.get(key) ?? { service: row.service, name: row.span.name, count: 0, nanos: 0, failed: 0, critical: 0 };
    group.count += 1;
    group.nanos += row.nanos;
    group.failed += row.failed ? 1 : 0;
    group.critical += (path.get(row) ?? []).reduce((sum, part) => sum + Number(part.end - part.start), 0);
    groups.set(key, group);
  }
  const total = extentOf(all).nanos;
  return (
    <table class="card">
      <thead><tr><th>Service</th><th>Span</th><th class="number">Count</th><th class="number">Errors</th><th class="number">Total</th><th class="number">Mean</th><th class="number">On the critical path</th></tr></thead>
      <tbody>
        {[...groups.values()].sort((a, b) => b.critical - a.critical).map((group) => (
          <tr key={`${group.service}\n${group.name}`}>
            <td><i style={{ background: colourOf(group.service) }} />{group.service}</td><td>{group.name}</td>
            <td class="number">{group.count}</td><td class="number">{group.failed || ''}</td><td class="number">{duration(group.nanos)}</td><td class="number">{duration(group.nanos / group.count)}</td>
            <td class="number">{duration(group.critical)}<span class="meter" style={{ width: `${(group.critical / total) * 100}%` }} /></td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}
