// What Alertmanager holds: groups by receiver, why an alert is told or not, and who cares for it.

import { useState } from 'preact/hooks';
import { acknowledge, acks, groups, silences, takeBack, type Ack, type GettableAlert, type Silence } from '../api/alertmanager';
import { safe } from '../dashboards/links';
import { ago, count, quoted } from '../format/text';
import { errorText, useLoad } from '../load';
import { Labels, Show } from '../parts/show';
import { setParams } from '../route';
import { durationSeconds } from '../time/parse';
import { useTime } from '../time/store';
import { myName, rememberName } from './who';

/** The reason in words. */
export function why(alert: GettableAlert, ack?: Ack, known: Silence[] = []): string {
  const { status } = alert;
  if (status.silencedBy.length > 0) {
    return `silenced by ${status.silencedBy.map((id) => {
      const silence = known.find((one) => one.id === id);
      return silence ? `${silence.createdBy} until ${new Date(silence.endsAt).toLocaleString()} (${silence.comment})` : id;
    }).join(', ')}`;
  }
  if (status.inhibitedBy.length > 0) return `inhibited by ${status.inhibitedBy.join(', ')}`;
  if (status.mutedBy && status.mutedBy.length > 0) return `muted now by ${status.mutedBy.join(', ')}`;
  if (ack) return `not told again: acknowledged${ack.endsAt ? ` until ${new Date(ack.endsAt).toLocaleString()}` : ' until it is over'}`;
  if (status.state === 'unprocessed') return 'just arrived; its group waits for others';
  return `told to ${alert.receivers.map((one) => one.name).join(', ')}`;
}

export function Managed({ q }: { q: string }) {
  const { tick } = useTime();
  const [changes, setChanges] = useState(0);
  const loaded = useLoad([tick, changes], async (signal) => {
    const found = await groups(signal);
    if (!found) return null;
    const [held, known] = await Promise.all([acks(signal), silences(signal)]);
    return { groups: found, acks: new Map(held.map((one) => [one.fingerprint, one])), silences: known ?? [] };
  });
  const fits = (alert: GettableAlert) => `${JSON.stringify(alert.labels)} ${JSON.stringify(alert.annotations)}`.toLowerCase().includes(q.toLowerCase());
  return (
    <Show of={loaded} empty={(all) => all === null || all.groups.length === 0} whenEmpty={loaded.value === null ? 'This server runs no Alertmanager; alertmanager or alertmanager_file in the configuration turns it on.' : 'No alerts are held.'}>
      {(all) => (
        <>
          {(all?.groups ?? []).map((group, i) => {
            const alerts = group.alerts.filter(fits);
            return alerts.length > 0 && (
              <section key={i} class="card" style={{ marginBottom: '12px' }}>
                <h2>{group.receiver.name} <Labels labels={group.labels} /> <small class="quiet">{count(alerts.length, 'alert')}</small></h2>
                <ul class="list">
                  {alerts.map((alert) => <Held key={alert.fingerprint} alert={alert} ack={all?.acks.get(alert.fingerprint)} silences={all?.silences ?? []} changed={() => setChanges((n) => n + 1)} />)}
                </ul>
              </section>
            );
          })}
        </>
      )}
    </Show>
  );
}

function Held({ alert, ack, silences: known, changed }: { alert: GettableAlert; ack?: Ack; silences: Silence[]; changed: () => void }) {
  const [asking, setAsking] = useState(false);
  const [error, setError] = useState('');
  const act = (what: Promise<void>) => void what.then(() => { setAsking(false); setError(''); changed(); }, (failed: unknown) => setError(errorText(failed)));
  return (
    <li data-fingerprint={alert.fingerprint}>
      <span class={`badge ${alert.status.state}`}>{alert.status.state}</span> <b>{alert.labels.alertname}</b> <Labels labels={alert.labels} without={['alertname']} />
      {ack && <span class="badge ok" title={new Date(ack.createdAt).toLocaleString()}>acknowledged by {ack.createdBy}</span>} {ack?.comment && <span class="quiet">“{ack.comment}”</span>}<br />
      {alert.annotations.summary ?? alert.annotations.description} <small class="quiet">since {ago(alert.startsAt, Date.now())}; {why(alert, ack, known)}</small>
      <p class="actions tight">
        {ack
          ? <button type="button" onClick={() => act(takeBack(alert.fingerprint))}>Take back</button>
          : <button type="button" aria-expanded={asking} onClick={() => setAsking(!asking)}>Acknowledge</button>}
        <button type="button" onClick={() => setParams({ view: 'silences', matchers: matchersOf(alert) })}>Silence</button>
        <button type="button" onClick={() => setParams({ view: 'routes', labels: matchersOf(alert) })}>Where it goes</button>
        <button type="button" onClick={() => setParams({ view: 'history', q: alert.labels.alertname })}>History</button>
        {alert.generatorURL && safe(alert.generatorURL) && <a href={safe(alert.generatorURL)} rel="noopener noreferrer">Query</a>}
      </p>
      {asking && !ack && <Acknowledge done={(name, comment, endsAt) => act(acknowledge(alert.fingerprint, name, comment, endsAt))} />}
      {error && <p class="error" role="alert">{error}</p>}
    </li>
  );
}

function matchersOf(alert: GettableAlert): string {
  return Object.entries(alert.labels).map(([name, value]) => `${name}=${quoted(value)}`).join(', ');
}

/** Nobody hears of the alert any more until it is over, or for so long. */
function Acknowledge({ done }: { done: (name: string, comment: string, endsAt?: string) => void }) {
  const [name, setName] = useState(myName());
  const [comment, setComment] = useState('');
  const [length, setLength] = useState('');
  const seconds = length.trim() ? durationSeconds(length.trim()) : undefined;
  const bad = length.trim() !== '' && !seconds;
  return (
    <form class="form" onSubmit={(event) => {
      event.preventDefault();
      if (bad) return;
      rememberName(name);
      done(name, comment, seconds ? new Date(Date.now() + seconds * 1000).toISOString() : undefined);
    }}>
      <label>By <input required autofocus value={name} onInput={(e) => setName(e.currentTarget.value)} /></label>
      <label>What is done about it <input value={comment} onInput={(e) => setComment(e.currentTarget.value)} /></label>
      <label>For how long <input value={length} placeholder="until it is over" aria-invalid={bad} onInput={(e) => setLength(e.currentTarget.value)} /></label>
      <button type="submit" class="primary" disabled={bad}>Acknowledge</button>
    </form>
  );
}
