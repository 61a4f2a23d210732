// Saving, exporting and editing a dashboard as a whole.

import { useState } from 'preact/hooks';
import { deleteDashboard, saveDashboard } from '../api/server';
import { errorText } from '../load';
import { go, kept, link, route, setParams } from '../route';
import { download } from './export';
import { JsonDialog } from './jsonDialog';
import type { Dashboard } from './model';
import { read } from './model';

interface Props {
  dashboard: Dashboard;
  json: unknown;
  isChanged: boolean;
  change: (json: unknown) => void;
}

export function Actions({ dashboard, json, isChanged, change }: Props) {
  const [editing, setEditing] = useState(false);
  const [told, setTold] = useState('');
  const save = async () => {
    try {
      await saveDashboard(dashboard.uid, json);
      change(undefined);
      change(json);
      setTold('Saved');
    } catch (error) {
      setTold(`Not saved: ${errorText(error)}`);
    }
  };
  const remove = async () => {
    if (!confirm(`Delete “${dashboard.title}”?`)) return;
    try {
      await deleteDashboard(dashboard.uid);
      go(link('/dashboards', kept(route.get().params)));
    } catch (error) {
      setTold(`Not deleted: ${errorText(error)}`);
    }
  };
  return (
    <div class="dashboard-actions">
      {told && <span class="quiet" role="status">{told}</span>}
      {isChanged && <button type="button" class="primary" onClick={() => void save()}>Save</button>}
      <button type="button" onClick={() => setEditing(true)}>JSON</button>
      <button type="button" onClick={() => download(`${dashboard.title}.json`, 'application/json', JSON.stringify(json, null, 2))}>Export</button>
      <button type="button" onClick={() => setParams({ kiosk: 'true' })}>Kiosk</button>
      <button type="button" onClick={() => void remove()}>Delete</button>
      {editing && (
        <JsonDialog
          title="The dashboard as JSON"
          json={json}
          close={() => setEditing(false)}
          done={(next) => {
            read(next);
            change(next);
          }}
        />
      )}
    </div>
  );
}
