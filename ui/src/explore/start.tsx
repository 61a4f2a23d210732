// Where nobody has asked yet: what there is to ask about, ready to be clicked. Metrics by name, streams by label,
// services with spans, and what was asked before.

import { useState } from 'preact/hooks';
import * as loki from '../api/loki';
import * as prometheus from '../api/prometheus';
import * as tempo from '../api/tempo';
import { count, quoted } from '../format/text';
import { useLoad } from '../load';
import { Show } from '../parts/show';
import { link } from '../route';
import type { Range } from '../time/parse';
import { history } from './history';
import type { Language } from './language';

interface Props {
  lang: Language;
  range: Range;
  tick: number;
}

const SHOWN = 100;
/** Names that are asked for; completion in the bar finds the others. */
const METRICS_MAX = 20_000;

export function Start(props: Props) {
  const past = history().slice(0, 12);
  return (
    <div class="columns">
      {props.lang === 'promql' ? <Metrics {...props} /> : props.lang === 'logql' ? <Streams {...props} /> : <Services {...props} />}
      {past.length > 0 && (
        <section class="card">
          <h2>Asked before</h2>
          <ul class="list">{past.map((one, i) => <li key={i}><a href={link('/explore', { lang: one.lang, q: one.q })}><code>{one.q.slice(0, 300)}</code></a></li>)}</ul>
        </section>
      )}
    </div>
  );
}

/** The query that says most about a metric of this name and type. */
export function firstQuery(name: string, type = ''): string {
  if (type === 'counter' || /_(total|count|sum)$/.test(name)) return `rate(${name}[5m])`;
  if (name.endsWith('_bucket')) return `histogram_quantile(0.95, sum by (le) (rate(${name}[5m])))`;
  return /^[a-zA-Z_:][\w:]*$/.test(name) ? name : `{${quoted(name)}}`;
}

function Metrics({ range, tick }: Props) {
  const [text, setText] = useState('');
  const loaded = useLoad([range, tick], async (signal) => {
    const [names, about] = await Promise.all([prometheus.labelValues('__name__', [], range, signal, METRICS_MAX), prometheus.metadata(METRICS_MAX, signal)]);
    return { names, about };
  });
  return (
    <section class="card">
      <h2>Metrics</h2>
      <input aria-label="Find metrics" placeholder="Find by name or what it means …" value={text} onInput={(e) => setText(e.currentTarget.value)} style={{ width: '100%' }} />
      <Show of={loaded} empty={({ names }) => names.length === 0} whenEmpty="No metrics in this range.">
        {({ names, about }) => {
          const wanted = text.toLowerCase();
          const found = names.filter((name) => `${name} ${about[name]?.[0]?.help ?? ''}`.toLowerCase().includes(wanted));
          return (
            <>
              <p class="quiet">{count(found.length, 'metric')}</p>
              <ul class="list">{found.slice(0, SHOWN).map((name) => <li key={name}><a href={link('/explore', { lang: 'promql', q: firstQuery(name, about[name]?.[0]?.type) })}><code>{name}</code></a> <small class="quiet">{about[name]?.[0]?.type} {about[name]?.[0]?.help}</small></li>)}</ul>
              {found.length > SHOWN && <p class="quiet">{found.length - SHOWN} more</p>}
            </>
          );
        }}
      </Show>
    </section>
  );
}

function Streams({ range, tick }: Props) {
  const [name, setName] = useState('service_name');
  const names = useLoad([range, tick], (signal) => loki.labels(range, signal));
  const values = useLoad([name, range, tick], (signal) => loki.labelValues(name, range, undefined, signal));
  return (
    <section class="card">
      <h2>Streams by <select aria-label="Label" value={name} onChange={(e) => setName(e.currentTarget.value)}>{[...new Set([name, ...(names.value ?? [])])].map((one) => <option key={one}>{one}</option>)}</select></h2>
      <Show of={values} empty={(all) => all.length === 0} whenEmpty="No lines with this label in this range.">
        {(all) => (
          <>
            <ul class="list">{all.slice(0, SHOWN).map((value) => <li key={value}><a href={link('/explore', { lang: 'logql', q: `{${name}=${quoted(value)}}` })}>{value}</a></li>)}</ul>
            {all.length > SHOWN && <p class="quiet">{all.length - SHOWN} more</p>}
          </>
        )}
      </Show>
    </section>
  );
}

function Services({ range, tick }: Props) {
  const loaded = useLoad([range, tick], (signal) => tempo.tagValues('resource.service.name', range, signal));
  return (
    <section class="card">
      <h2>Services with spans</h2>
      <Show of={loaded} empty={(all) => all.length === 0} whenEmpty="No spans in this range.">
        {(all) => (
          <ul class="list">
            {all.slice(0, SHOWN).map(({ value }) => (
              <li key={value}>
                <a href={link('/explore', { lang: 'traceql', q: `{ resource.service.name = ${quoted(value)} }` })}>{value}</a>{' '}
                <small><a href={link('/explore', { lang: 'traceql', q: `{ resource.service.name = ${quoted(value)} && status = error }` })}>failed</a> <a href={link('/explore', { lang: 'traceql', q: `{ resource.service.name = ${quoted(value)} && duration > 1s }` })}>slow</a> <a href={link('/explore', { lang: 'traceql', q: `{ resource.service.name = ${quoted(value)} } | quantile_over_time(duration, 0.95) by (name)` })}>p95</a></small>
              </li>
            ))}
          </ul>
        )}
      </Show>
    </section>
  );
}
