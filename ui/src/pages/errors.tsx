// Errors: exceptions of spans in groups, and one group with its stack trace and traces.

import { errorGroup, errorGroups } from '../api/server';
import { ago, count, quoted, time } from '../format/text';
import { useLoad } from '../load';
import type { PageProps } from '../pages';
import { Labels, Show } from '../parts/show';
import { kept, link, setParams, useRoute } from '../route';
import { useTime } from '../time/store';

export default function ErrorsPage({ path }: PageProps) {
  return path[0] ? <Group fingerprint={path[0]} /> : <Groups />;
}

function Groups() {
  const { range, tick } = useTime();
  const { params } = useRoute();
  const asked = { q: params.get('q') ?? undefined, service: params.get('service') ?? undefined, sort: params.get('sort') ?? undefined, limit: '100' };
  const loaded = useLoad([range, tick, JSON.stringify(asked)], (signal) => errorGroups(range, asked, signal));
  return (
    <>
      <div class="page-head">
        <h1>Errors</h1>
        <input aria-label="Find" placeholder="Type or message …" value={asked.q ?? ''} onChange={(e) => setParams({ q: e.currentTarget.value })} />
        <input aria-label="Service" placeholder="Service" value={asked.service ?? ''} onChange={(e) => setParams({ service: e.currentTarget.value })} />
        <select aria-label="Order" value={asked.sort ?? 'last'} onChange={(e) => setParams({ sort: e.currentTarget.value })}><option value="last">last seen</option><option value="first">newest</option><option value="count">most often</option></select>
      </div>
      <Show of={loaded} empty={(found) => found.groups.length === 0} whenEmpty="No exceptions in this range.">
        {(found) => (
          <div class="scroll card">
            <table>
              <thead><tr><th>Error</th><th>Services</th><th>Where</th><th class="number">Times</th><th>First</th><th>Last</th></tr></thead>
              <tbody>
                {found.groups.map((group) => (
                  <tr key={group.fingerprint}>
                    <td><a href={link(`/errors/${group.fingerprint}`, kept(params))}><b>{group.type || 'exception'}</b></a><br />{group.message}</td>
                    <td>{group.services.map((one) => <button key={one.name} type="button" class="tag" onClick={() => setParams({ service: one.name })}>{one.name} {one.count}</button>)}</td>
                    <td><code>{group.frames[0] ?? group.spanName}</code></td>
                    <td class="number">{group.count.toLocaleString('en-US')}</td>
                    <td title={group.firstSeen}>{ago(group.firstSeen, Date.now())}</td><td title={group.lastSeen}>{ago(group.lastSeen, Date.now())}</td>
                  </tr>
                ))}
              </tbody>
            </table>
            <p class="quiet">{count(found.total, 'group')}</p>
          </div>
        )}
      </Show>
    </>
  );
}

function Group({ fingerprint }: { fingerprint: string }) {
  const { range, tick } = useTime();
  const { params } = useRoute();
  const loaded = useLoad([fingerprint, range, tick], (signal) => errorGroup(fingerprint, range, signal));
  return (
    <Show of={loaded}>
      {(group) => (
        <>
          <div class="page-head"><h1>{group.type || 'exception'}</h1><a href={link('/errors', kept(params))}>all errors</a></div>
          <p class="error">{group.message}</p>
          <p class="explore-bar">{count(group.count, 'time')}, first {ago(group.firstSeen, Date.now())}, last {ago(group.lastSeen, Date.now())} <Labels labels={Object.fromEntries(group.services.map((one) => [one.name, `${one.count}`]))} /></p>
          <div class="columns">
            <section class="card"><h2>Stack trace</h2><pre>{group.stacktrace || group.frames.join('\n') || 'none was sent'}</pre></section>
            <section class="card">
              <h2>Traces</h2>
              <ul class="list">{group.traces.map((one) => <li key={one.spanId}><a href={link(`/trace/${one.traceId}`, { span: one.spanId })}><code>{one.traceId}</code></a> <time>{/^\d+$/.test(one.time) ? time(BigInt(one.time)) : ago(one.time, Date.now())}</time></li>)}</ul>
              <p class="actions"><a href={link('/explore', { lang: 'traceql', q: `{ event.exception.type = ${quoted(group.type)} }`, ...kept(params) })}>All spans with it</a></p>
            </section>
          </div>
        </>
      )}
    </Show>
  );
}
