// What Alertmanager holds: groups by receiver, and why an alert is told or not.

import { groups, type GettableAlert } from '../api/alertmanager';
import { ago, count, quoted } from '../format/text';
import { useLoad } from '../load';
import { Labels, Show } from '../parts/show';
import { setParams } from '../route';
import { safe } from '../dashboards/links';
import { useTime } from '../time/store';

/** The reason in words. */
export function why(alert: GettableAlert): string {
  const { status } = alert;
  if (status.silencedBy.length > 0) return `silenced by ${status.silencedBy.join(', ')}`;
  if (status.inhibitedBy.length > 0) return `inhibited by ${status.inhibitedBy.join(', ')}`;
  if (status.state === 'unprocessed') return 'just arrived; its group waits for others';
  return `told to ${alert.receivers.map((one) => one.name).join(', ')}`;
}

export function Managed({ q }: { q: string }) {
  const { tick } = useTime();
  const loaded = useLoad([tick], async (signal) => (await groups(signal)) ?? null);
  const fits = (alert: GettableAlert) => `${JSON.stringify(alert.labels)} ${JSON.stringify(alert.annotations)}`.toLowerCase().includes(q.toLowerCase());
  return (
    <Show of={loaded} empty={(all) => all === null || all.length === 0} whenEmpty={loaded.value === null ? 'This server runs no Alertmanager; alertmanager or alertmanager_file in the configuration turns it on.' : 'No alerts are held.'}>
      {(all) => (
        <>
          {(all ?? []).map((group, i) => {
            const alerts = group.alerts.filter(fits);
            return alerts.length > 0 && (
              <section key={i} class="card" style={{ marginBottom: '12px' }}>
                <h2>{group.receiver.name} <Labels labels={group.labels} /> <small class="quiet">{count(alerts.length, 'alert')}</small></h2>
                <ul class="list">
                  {alerts.map((alert) => (
                    <li key={alert.fingerprint}>
                      <span class={`badge ${alert.status.state}`}>{alert.status.state}</span> <b>{alert.labels.alertname}</b> <Labels labels={alert.labels} without={['alertname']} /><br />
                      {alert.annotations.summary ?? alert.annotations.description} <small class="quiet">since {ago(alert.startsAt, Date.now())}; {why(alert)}</small>{' '}
                      <button type="button" onClick={() => setParams({ view: 'silences', matchers: Object.entries(alert.labels).map(([name, value]) => `${name}=${quoted(value)}`).join(', ') })}>Silence</button>{' '}
                      {alert.generatorURL && safe(alert.generatorURL) && <a href={safe(alert.generatorURL)} rel="noopener noreferrer">Query</a>}
                    </li>
                  ))}
                </ul>
              </section>
            );
          })}
        </>
      )}
    </Show>
  );
}
