// Silences: those that are, and a new one with a preview of what it will keep quiet.

import { useMemo, useState } from 'preact/hooks';
import { addSilence, alerts, expireSilence, fits, matcherText, silences, type Matcher, type Silence } from '../api/alertmanager';
import { ago, count } from '../format/text';
import { errorText, useLoad } from '../load';
import { Labels, Show } from '../parts/show';
import { setParams } from '../route';
import { durationSeconds } from '../time/parse';
import { useTime } from '../time/store';
import { myName, rememberName } from './who';

/** `a="b", c=~"d.*"` as matchers; nothing where it is not understood. */
export function parseMatchers(text: string): Matcher[] | undefined {
  const out: Matcher[] = [];
  let rest = text.trim().replace(/^\{|\}$/g, '').trim();
  while (rest) {
    const found = /^([a-zA-Z_][\w.]*|"(?:[^"\\]|\\.)*")\s*(=~|!~|!=|=)\s*("(?:[^"\\]|\\.)*"|[^,\s]+)\s*(?:,\s*|$)/.exec(rest);
    if (!found) return undefined;
    const unquoted = (part = '') => (part.startsWith('"') ? part.slice(1, -1).replace(/\\(.)/g, (_, c: string) => (c === 'n' ? '\n' : c)) : part);
    const sign = found[2] ?? '=';
    out.push({ name: unquoted(found[1]), value: unquoted(found[3]), isRegex: sign.endsWith('~'), isEqual: !sign.startsWith('!') });
    rest = rest.slice(found[0].length);
  }
  return out.length > 0 ? out : undefined;
}

export function Silences({ start }: { start: string }) {
  const { tick } = useTime();
  const [changes, setChanges] = useState(0);
  const [told, setTold] = useState('');
  const loaded = useLoad([tick, changes], async (signal) => (await silences(signal)) ?? null);
  const expire = (id: string) => void expireSilence(id).then(() => setChanges(changes + 1), (error: unknown) => setTold(errorText(error)));
  if (loaded.value === null) return <p class="quiet">This server runs no Alertmanager, so there is nothing to silence.</p>;
  return (
    <>
      <New key={start} start={start} done={(id) => { setTold(`Silence ${id} is set.`); setChanges(changes + 1); setParams({ matchers: undefined }, 'replace'); }} />
      {told && <p role="status">{told}</p>}
      <Show of={loaded} empty={(all) => !all || all.length === 0} whenEmpty="No silences.">
        {(all) => (
          <ul class="list card">
            {[...(all ?? [])].sort((a, b) => rank(a) - rank(b)).map((one) => (
              <li key={one.id}>
                <span class={`badge ${one.status.state}-silence`}>{one.status.state}</span> {one.matchers.map((matcher, i) => <code key={i} class="label">{matcherText(matcher)}</code>)}
                <br />{one.comment} <small class="quiet">by {one.createdBy}, {one.status.state === 'expired' ? `ended ${ago(one.endsAt, Date.now())}` : `until ${new Date(one.endsAt).toLocaleString()}`}</small>{' '}
                {one.status.state !== 'expired' && <button type="button" onClick={() => expire(one.id)}>Expire</button>}
              </li>
            ))}
          </ul>
        )}
      </Show>
    </>
  );
}

const rank = (one: Silence) => ['active', 'pending', 'expired'].indexOf(one.status.state);

function New({ start, done }: { start: string; done: (id: string) => void }) {
  const [text, setText] = useState(start);
  const [length, setLength] = useState('2h');
  const [by, setBy] = useState(myName());
  const [comment, setComment] = useState('');
  const [error, setError] = useState('');
  const matchers = useMemo(() => parseMatchers(text), [text]);
  const held = useLoad([], async (signal) => (await alerts([], signal)) ?? []);
  const hit = matchers ? (held.value ?? []).filter((alert) => fits(matchers, alert.labels)) : [];
  const seconds = durationSeconds(length.trim());
  const add = async () => {
    if (!matchers || !seconds) return;
    try {
      const now = Date.now();
      rememberName(by);
      done(await addSilence({ matchers, startsAt: new Date(now).toISOString(), endsAt: new Date(now + seconds * 1000).toISOString(), createdBy: by, comment }));
    } catch (failed) {
      setError(errorText(failed));
    }
  };
  return (
    <form class="form card" style={{ marginBottom: '12px' }} onSubmit={(event) => { event.preventDefault(); void add(); }}>
      <label class="wide">What to silence <input required value={text} placeholder={'alertname="HighLoad", instance=~"web.*"'} onInput={(e) => setText(e.currentTarget.value)} /></label>
      <label>For how long <input required value={length} onInput={(e) => setLength(e.currentTarget.value)} /></label>
      <label>By <input required value={by} onInput={(e) => setBy(e.currentTarget.value)} /></label>
      <label>Why <input required value={comment} onInput={(e) => setComment(e.currentTarget.value)} /></label>
      <button type="submit" class="primary" disabled={!matchers || !seconds}>Silence</button>
      <div class="wide">
        {text && !matchers && <p class="error">expected label="value", with = != =~ or !~ between</p>}
        {matchers && <p class="quiet">{hit.length > 0 ? `Silences ${count(hit.length, 'alert')} now:` : 'Silences none of the present alerts.'}</p>}
        {hit.slice(0, 20).map((alert) => <p key={alert.fingerprint} style={{ margin: 0 }}><b>{alert.labels.alertname}</b> <Labels labels={alert.labels} without={['alertname']} /></p>)}
        {error && <p class="error" role="alert">{error}</p>}
      </div>
    </form>
  );
}
