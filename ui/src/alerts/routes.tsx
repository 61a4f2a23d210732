// Where alerts go: the tree of routes as it runs, a preview for labels that somebody types, and who hears of what now.

import { useState } from 'preact/hooks';
import { groups, managerStatus, routeOf } from '../api/alertmanager';
import { count } from '../format/text';
import { useLoad } from '../load';
import { Labels, Pairs, Show } from '../parts/show';
import { setParams } from '../route';
import { useTime } from '../time/store';

/** The part of the YAML from `route:` to the next key at the same depth. */
export function routePart(yaml: string): string {
  const lines = yaml.split('\n');
  const from = lines.findIndex((line) => line.startsWith('route:'));
  if (from < 0) return yaml;
  const length = lines.slice(from + 1).findIndex((line) => /^[a-z_]+:/.test(line));
  return lines.slice(from, length < 0 ? undefined : from + 1 + length).join('\n');
}

export function Routes({ labels }: { labels: string }) {
  const { tick } = useTime();
  const loaded = useLoad([tick], async (signal) => {
    const status = await managerStatus(signal);
    return status ? { status, groups: (await groups(signal)) ?? [] } : null;
  });
  return (
    <Show of={loaded} empty={(found) => found === null} whenEmpty="This server runs no Alertmanager.">
      {(found) => found && (
        <>
          <Preview key={labels} start={labels} />
          <div class="columns">
            <section class="card"><h2>Routes</h2><pre>{routePart(found.status.config.original)}</pre></section>
            <section class="card">
              <h2>Groups now</h2>
              <ul class="list">{found.groups.map((group, i) => <li key={i}><b>{group.receiver.name}</b> <Labels labels={group.labels} /> <small class="quiet">{count(group.alerts.length, 'alert')}</small></li>)}</ul>
              {found.groups.length === 0 && <p class="quiet">None.</p>}
            </section>
          </div>
        </>
      )}
    </Show>
  );
}

function Preview({ start }: { start: string }) {
  const { tick } = useTime();
  const [text, setText] = useState(start);
  const loaded = useLoad([start, tick], async (signal) => (start ? ((await routeOf(start, signal)) ?? null) : null));
  return (
    <section class="card" style={{ marginBottom: '12px' }}>
      <h2>Where would it go?</h2>
      <form class="query" onSubmit={(event) => { event.preventDefault(); setParams({ labels: text }); }}>
        <input aria-label="Labels of an alert" class="editor" value={text} placeholder={'alertname="HighLoad", severity="page"'} onInput={(e) => setText(e.currentTarget.value)} />
        <button type="submit" class="primary">Show</button>
      </form>
      {start && (
        <Show of={loaded} empty={(found) => found === null} whenEmpty="This server cannot tell.">
          {(found) => found && (
            <>
              {found.silencedBy.length > 0 && <p class="note">A silence keeps it quiet: {found.silencedBy.join(', ')}</p>}
              {found.inhibitedBy.length > 0 && <p class="note">Another alert inhibits it: {found.inhibitedBy.join(', ')}</p>}
              <ol class="list routes-found">
                {found.routes.map((one, i) => (
                  <li key={i}>
                    <b>{one.receiver}</b> <code class="quiet">{one.route}</code>
                    <Pairs pairs={[
                      ['its group', Object.keys(one.groupLabels).length > 0 ? <Labels key="labels" labels={one.groupLabels} /> : 'all that goes there'],
                      ['told first after', one.groupWait], ['changes after', one.groupInterval], ['again after', one.repeatInterval],
                      ...(one.resolveWait ? [['recovery after', one.resolveWait] as [string, string]] : []),
                      ['by', one.integrations.join(', ') || 'nothing: the receiver has no integrations'],
                      ...(one.mutedBy.length > 0 ? [['muted now by', one.mutedBy.join(', ')] as [string, string]] : []),
                    ]} />
                  </li>
                ))}
              </ol>
            </>
          )}
        </Show>
      )}
    </section>
  );
}
