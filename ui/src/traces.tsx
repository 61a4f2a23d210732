// The traces page: a TraceQL search, and one trace as a waterfall.

import { useState } from 'preact/hooks';
import { searchTraces, trace } from './api';
import { count, duration, time } from './format';
import { useLoad } from './load';
import { format, type State } from './location';
import { QueryBar, Show, colourOf } from './parts';
import { rows, text, type Row } from './spans';

const QUERY_DEFAULT = '{}';
const TRACES = 50;
/** Rows that are drawn; a browser gets slow beyond. */
const ROWS_MAX = 2000;

export function TracesPage({ state, change }: { state: State; change: (part: Partial<State>) => void }) {
  if (state.trace) return <Trace id={state.trace} back={() => change({ trace: '' })} />;
  return <Search state={state} change={change} />;
}

function Search({ state, change }: { state: State; change: (part: Partial<State>) => void }) {
  const [refresh, setRefresh] = useState(0);
  const query = state.q || QUERY_DEFAULT;
  const found = useLoad([query, state.since, refresh], (signal) => {
    const end = Math.ceil(Date.now() / 1000);
    return searchTraces(query, { start: end - state.since, end }, TRACES, signal);
  });
  return (
    <>
      <QueryBar
        label="TraceQL query"
        value={query}
        placeholder="TraceQL, for example { status = error }"
        onAsk={(q) => change({ q })}
        onRefresh={() => setRefresh((n) => n + 1)}
      />
      <Show of={found} empty={(all) => all.length === 0} whenEmpty="No traces in this range.">
        {(all) => (
          <table class="traces stack">
            <thead>
              <tr><th>started</th><th>service</th><th>root</th><th class="number">duration</th><th class="number">matched spans</th><th>trace</th></tr>
            </thead>
            <tbody>
              {all.map((t) => (
                <tr key={t.traceID}>
                  <td>{time(BigInt(t.startTimeUnixNano))}</td>
                  <td><i style={{ background: colourOf(t.rootServiceName) }} />{t.rootServiceName}</td>
                  <td>{t.rootTraceName}</td>
                  <td class="number" data-label="duration">{t.durationMs ? duration(t.durationMs * 1e6) : '< 1 ms'}</td>
                  <td class="number" data-label="matched spans">{(t.spanSets ?? []).reduce((n, s) => n + (s.matched ?? 0), 0)}</td>
                  <td><a href={format({ ...state, trace: t.traceID })}><code>{t.traceID.padStart(32, '0')}</code></a></td>
                </tr>
              ))}
            </tbody>
          </table>
        )}
      </Show>
    </>
  );
}

function Trace({ id, back }: { id: string; back: () => void }) {
  const [open, setOpen] = useState<string>();
  const loaded = useLoad([id], async (signal) => rows(await trace(id, signal)));
  return (
    <>
      <p class="crumbs"><button type="button" onClick={back}>← search</button> <code>{id.padStart(32, '0')}</code></p>
      <Show of={loaded} empty={(all) => all.length === 0} whenEmpty="The trace has no spans.">
        {(all) => <Waterfall all={all} open={open} setOpen={setOpen} />}
      </Show>
    </>
  );
}

function Waterfall({ all, open, setOpen }: { all: Row[]; open?: string; setOpen: (id?: string) => void }) {
  const start = all.reduce((a, r) => (r.start < a ? r.start : a), all[0]?.start ?? 0n);
  const total = Math.max(1, ...all.slice(0, ROWS_MAX).map((r) => Number(r.start - start) + r.nanos));
  const services = [...new Set(all.map((r) => r.service))];
  return (
    <>
      <p class="quiet">
        {time(start)} · {duration(total)} · {count(all.length, 'span')} · {count(services.length, 'service')} ·{' '}
        {count(all.filter((r) => r.failed).length, 'error')}
      </p>
      <ol class="waterfall">
        {all.slice(0, ROWS_MAX).map((row) => {
          const key = row.span.spanId;
          const left = (Number(row.start - start) / total) * 100;
          const width = Math.max(0.15, (row.nanos / total) * 100);
          return (
            <li key={key}>
              <button type="button" class="span" aria-expanded={open === key} onClick={() => setOpen(open === key ? undefined : key)}>
                <span class="name" style={{ paddingLeft: `${row.depth * 14}px` }}>
                  <i style={{ background: colourOf(row.service) }} />
                  <b>{row.service}</b> {row.span.name}{row.failed && <em> error</em>}
                </span>
                <span class="track">
                  <span class={row.failed ? 'bar failed' : 'bar'} style={{ left: `${Math.min(left, 99.8)}%`, width: `${width}%`, background: row.failed ? undefined : colourOf(row.service) }} />
                </span>
                <span class="number">{duration(row.nanos)}</span>
              </button>
              {open === key && <Details row={row} />}
            </li>
          );
        })}
      </ol>
      {all.length > ROWS_MAX && <p class="quiet">The first {ROWS_MAX} of {all.length} spans; `obs trace` prints all.</p>}
    </>
  );
}

function Details({ row }: { row: Row }) {
  const list = (title: string, pairs: [string, string][]) =>
    pairs.length > 0 && (
      <>
        <h3>{title}</h3>
        <dl>{pairs.map(([name, value]) => <div key={name}><dt>{name}</dt><dd>{value}</dd></div>)}</dl>
      </>
    );
  const pairs = (all: { key: string; value: Record<string, unknown> }[] | undefined) =>
    (all ?? []).map((a): [string, string] => [a.key, text(a.value)]);
  return (
    <div class="details">
      {row.span.status?.message && <p class="error">{row.span.status.message}</p>}
      {list('Attributes', pairs(row.span.attributes))}
      {list('Events', (row.span.events ?? []).map((e): [string, string] => [
        `${e.name} +${duration(Number(BigInt(e.timeUnixNano) - row.start))}`,
        pairs(e.attributes).map(([k, v]) => `${k}=${v}`).join(' '),
      ]))}
      {list('Resource', pairs(row.resource))}
      {list('Scope', row.scope ? [['name', row.scope]] : [])}
    </div>
  );
}
