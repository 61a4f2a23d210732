// All dashboards, found by title and tag; new ones and imports.

import { useState } from 'preact/hooks';
import { dashboards, saveDashboard } from '../api/server';
import { errorText, useLoad } from '../load';
import { Show } from '../parts/show';
import { go, kept, link, setParams, useRoute } from '../route';
import { JsonDialog } from './jsonDialog';
import { migrate } from './migrate';
import { read } from './model';

function newUid(): string {
  return [...crypto.getRandomValues(new Uint8Array(7))].map((byte) => byte.toString(16).padStart(2, '0')).join('');
}

const EMPTY = { title: 'New dashboard', tags: [], time: { from: 'now-1h', to: 'now' }, templating: { list: [] }, panels: [{ id: 1, type: 'timeseries', title: 'Targets that are up', gridPos: { x: 0, y: 0, w: 24, h: 10 }, targets: [{ refId: 'A', expr: 'up' }] }] };

export default function DashboardsPage() {
  const { params } = useRoute();
  const [importing, setImporting] = useState(false);
  const [error, setError] = useState('');
  const loaded = useLoad([], (signal) => dashboards(signal));
  const q = params.get('q') ?? '';
  const save = async (json: unknown) => {
    const uid = read(json).uid || newUid();
    try {
      await saveDashboard(uid, { ...migrate(json), uid });
      go(link(`/d/${encodeURIComponent(uid)}`, kept(params)));
    } catch (failed) {
      setError(errorText(failed));
    }
  };
  return (
    <>
      <div class="page-head">
        <h1>Dashboards</h1>
        <input aria-label="Find" placeholder="Find by title or tag …" value={q} onInput={(e) => setParams({ q: e.currentTarget.value || undefined }, 'replace')} />
        <button type="button" onClick={() => void save({ ...EMPTY, uid: newUid() })}>New</button>
        <button type="button" onClick={() => setImporting(true)}>Import</button>
      </div>
      {error && <p class="error" role="alert">{error}</p>}
      <Show of={loaded} empty={(all) => all.length === 0} whenEmpty="No dashboards yet. Import a Grafana dashboard, or begin a new one.">
        {(all) => (
          <ul class="cards">
            {all.filter((one) => `${one.title} ${one.tags.join(' ')}`.toLowerCase().includes(q.toLowerCase())).map((one) => (
              <li key={one.uid}>
                <a href={link(`/d/${encodeURIComponent(one.uid)}`, kept(params))}>{one.title}</a>
                <p>{one.tags.map((tag) => <button key={tag} type="button" class="tag" onClick={() => setParams({ q: tag })}>{tag}</button>)}{one.builtin && <small class="quiet">built in</small>}</p>
              </li>
            ))}
          </ul>
        )}
      </Show>
      {importing && <JsonDialog title="Import a Grafana dashboard" close={() => setImporting(false)} done={(json) => { read(json); void save(json); }} />}
    </>
  );
}
