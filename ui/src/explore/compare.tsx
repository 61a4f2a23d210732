// What sets some traces apart from the others: attributes and values that a selection has more often than the
// rest, by TraceQL's `compare()`.

import { useMemo, useState } from 'preact/hooks';
import * as tempo from '../api/tempo';
import { count, moment, quoted } from '../format/text';
import { formatValue } from '../format/units';
import { useLoad } from '../load';
import { Show } from '../parts/show';
import { setParams, useRoute } from '../route';
import type { Range } from '../time/parse';

export interface Difference {
  attribute: string;
  /** The largest difference between the parts of a value. */
  most: number;
  values: { value: string; selected: number; others: number }[];
}

interface Counted {
  labels: Record<string, string>;
  total: number;
}

/** By attribute: which part of the selection and of the rest has each value. */
export function differences(all: Counted[]): { selected: number; others: number; found: Difference[] } {
  const counts = new Map<string, Map<string, [number, number]>>();
  let [selected, others] = [0, 0];
  for (const { labels, total } of all) {
    const { __meta_type: type = '', ...rest } = labels;
    const [attribute, value] = Object.entries(rest)[0] ?? [];
    if (attribute === undefined || value === undefined) continue;
    if (type === 'selection_total') selected = Math.max(selected, total);
    else if (type === 'baseline_total') others = Math.max(others, total);
    else if (type === 'selection' || type === 'baseline') {
      const values = counts.get(attribute) ?? new Map<string, [number, number]>();
      const pair = values.get(value) ?? [0, 0];
      pair[type === 'selection' ? 0 : 1] += total;
      values.set(value, pair);
      counts.set(attribute, values);
    }
  }
  const found = [...counts].map(([attribute, values]): Difference => {
    const parts = [...values].map(([value, [a, b]]) => ({ value, selected: selected ? a / selected : 0, others: others ? b / others : 0 }));
    parts.sort((a, b) => Math.abs(b.selected - b.others) - Math.abs(a.selected - a.others));
    return { attribute, most: Math.max(0, ...parts.map((one) => Math.abs(one.selected - one.others))), values: parts };
  });
  return { selected, others, found: found.sort((a, b) => b.most - a.most) };
}

/** The spans of a query, without what is computed of them. */
export function spansOf(q: string): string {
  let depth = 0;
  let quote = '';
  for (let i = 0; i < q.length; i += 1) {
    const c = q[i] ?? '';
    if (quote) {
      if (c === '\\' && quote === '"') i += 1;
      else if (c === quote) quote = '';
    } else if (c === '"' || c === '`') quote = c;
    else if ('{('.includes(c)) depth += 1;
    else if ('})'.includes(c)) depth -= 1;
    else if (c === '|' && depth === 0 && q[i + 1] !== '|' && q[i - 1] !== '|') return q.slice(0, i).trim() || '{}';
  }
  return q.trim() || '{}';
}

const PRESETS: [string, string][] = [['failed spans', 'status = error'], ['slower than 100 ms', 'duration > 100ms'], ['traces slower than 1 s', 'traceDuration > 1s']];
const VALUES = 20;

export function CompareView({ q, range, tick }: { q: string; range: Range; tick: number }) {
  const { params } = useRoute();
  const selection = params.get('select') ?? 'status = error';
  const [from, to] = [Number(params.get('selectfrom')), Number(params.get('selectto'))];
  const timed = from > 0 && to > from;
  const base = spansOf(q);
  const text = `${base} | compare({ ${selection} }, ${VALUES}${timed ? `, ${from}000000, ${to}000000` : ''})`;
  const loaded = useLoad([text, range, tick], async (signal) => {
    const series = await tempo.metrics(text, range, Math.max(1, Math.ceil(range.end - range.start)), signal);
    return differences(series.map((one) => ({ labels: one.metric, total: (one.values ?? []).reduce((sum, [, value]) => sum + Number(value), 0) })));
  });
  return (
    <>
      <Chooser key={selection} selection={selection} />
      {timed && <p class="explore-bar">from {moment(from / 1000)} to {moment(to / 1000)} <button type="button" onClick={() => setParams({ selectfrom: undefined, selectto: undefined })}>any time</button></p>}
      <Show of={loaded} empty={({ selected, others }) => selected + others === 0} whenEmpty="No spans in this range.">
        {({ selected, others, found }) => (
          <>
            <p class="quiet"><span class="key picked" /> {count(selected, 'selected span')} <span class="key" /> {count(others, 'other')}</p>
            {selected === 0 && <p class="note">Nothing is selected: no span fits <code>{selection}</code>.</p>}
            <div class="columns differences">{found.filter((one) => one.most > 0.005).slice(0, 60).map((one) => <Attribute key={one.attribute} one={one} q={base} />)}</div>
          </>
        )}
      </Show>
    </>
  );
}

function Chooser({ selection }: { selection: string }) {
  const [text, setText] = useState(selection);
  return (
    <form class="query" onSubmit={(event) => { event.preventDefault(); setParams({ select: text }); }}>
      <input aria-label="Spans that are compared with the others" class="editor" value={text} onInput={(e) => setText(e.currentTarget.value)} />
      <select aria-label="Usual selections" value="" onChange={(e) => { if (e.currentTarget.value) setParams({ select: e.currentTarget.value }); }}>
        <option value="">Usual …</option>
        {PRESETS.map(([name, value]) => <option key={value} value={value}>{name}</option>)}
      </select>
      <button type="submit" class="primary">Compare</button>
    </form>
  );
}

/** A condition on the attribute, as TraceQL writes it. */
export function condition(attribute: string, value: string): string {
  const name = /^(span|resource|event|link|instrumentation)[.:]/.test(attribute) || /^(name|kind|status|statusMessage|rootName|rootServiceName|duration)$/.test(attribute) ? attribute : `.${attribute}`;
  const bare = attribute === 'kind' || attribute === 'status' || /^-?\d+(\.\d+)?$/.test(value) || value === 'true' || value === 'false';
  return `${name} = ${bare ? value : quoted(value)}`;
}

function Attribute({ one, q }: { one: Difference; q: string }) {
  const shown = useMemo(() => one.values.slice(0, 5), [one]);
  const percent = (part: number) => formatValue(part, 'percentunit', 0);
  return (
    <section class="card">
      <h3><code>{one.attribute}</code></h3>
      {shown.map(({ value, selected, others }) => (
        <button key={value} type="button" class="difference" title="Only these" onClick={() => setParams({ q: q === '{}' ? `{ ${condition(one.attribute, value)} }` : `${q} && { ${condition(one.attribute, value)} }`, view: 'traces' })}>
          <span>{value}</span>
          <span class="both"><span class="meter picked" style={{ width: `${selected * 100}%` }} /><span class="meter" style={{ width: `${others * 100}%` }} /></span>
          <small>{percent(selected)} <span class="quiet">/ {percent(others)}</span></small>
        </button>
      ))}
    </section>
  );
}
