// Alertmanager's configuration, as it runs, and who hears of what now.

import { groups, managerStatus } from '../api/alertmanager';
import { count } from '../format/text';
import { useLoad } from '../load';
import { Labels, Show } from '../parts/show';
import { useTime } from '../time/store';

/** The part of the YAML from `route:` to the next key at the same depth. */
export function routePart(yaml: string): string {
  const lines = yaml.split('\n');
  const from = lines.findIndex((line) => /^route:/.test(line));
  if (from < 0) return yaml;
  const length = lines.slice(from + 1).findIndex((line) => /^[a-z_]+:/.test(line));
  return lines.slice(from, length < 0 ? undefined : from + 1 + length).join('\n');
}

export function Routes() {
  const { tick } = useTime();
  const loaded = useLoad([tick], async (signal) => {
    const status = await managerStatus(signal);
    return status ? { status, groups: (await groups(signal)) ?? [] } : null;
  });
  return (
    <Show of={loaded} empty={(found) => found === null} whenEmpty="This server runs no Alertmanager.">
      {(found) => found && (
        <div class="columns">
          <section class="card"><h2>Routes</h2><pre>{routePart(found.status.config.original)}</pre></section>
          <section class="card">
            <h2>Groups now</h2>
            <ul class="list">{found.groups.map((group, i) => <li key={i}><b>{group.receiver.name}</b> <Labels labels={group.labels} /> <small class="quiet">{count(group.alerts.length, 'alert')}</small></li>)}</ul>
          </section>
        </div>
      )}
    </Show>
  );
}
