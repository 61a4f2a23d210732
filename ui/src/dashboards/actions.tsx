// Saving, exporting and editing a dashboard as a whole.

import { useState } from 'preact/hooks';
import { deleteDashboard, saveDashboard } from '../api/server';
import { errorText } from '../load';
import { go, kept, link, route, setParams } from '../route';
import { ChangesDialog } from './changesDialog';
import { download } from './export';
import { JsonDialog } from './jsonDialog';
import type { Dashboard } from './model';
import { read } from './model';

interface Props {
  dashboard: Dashboard;
  json: unknown;
  /** As it was saved last. */
  saved: unknown;
  isChanged: boolean;
  change: (json: unknown) => void;
  /** Told what was saved. */
  keep: (json: unknown) => void;
}

export function Actions({ dashboard, json, saved, isChanged, change, keep }: Props) {
  const [comparing, setComparing] = useState(false);
  const [editing, setEditing] = useState(false);
  const [told, setTold] = useState('');
  const save = async () => {
    try {
      await saveDashboard(dashboard.uid, json);
      keep(json);
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
      {isChanged && <button type="button" onClick={() => setComparing(true)}>Changes</button>}
      {isChanged && <button type="button" onClick={() => change(undefined)}>Undo</button>}
      {isChanged && <button type="button" class="primary" onClick={() => void save()}>Save</button>}
      <button type="button" onClick={() => setEditing(true)}>JSON</button>
      <button type="button" onClick={() => download(`${dashboard.title}.json`, 'application/json', JSON.stringify(json, null, 2))}>Export</button>
      <button type="button" onClick={() => setParams({ kiosk: 'true' })}>Kiosk</button>
      <button type="button" onClick={() => void remove()}>Delete</button>
      {comparing && <ChangesDialog before={saved} after={json} close={() => setComparing(false)} />}
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
