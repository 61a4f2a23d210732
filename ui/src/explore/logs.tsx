// Lines: their volume by level, the lines themselves, what fields they have, their patterns, and the tail.

import { useEffect, useMemo, useRef, useState } from 'preact/hooks';
import * as loki from '../api/loki';
import { Plot } from '../chart/plot';
import { levelColour } from '../format/colours';
import { count, number, quoted } from '../format/text';
import { sparkPath } from '../dashboards/panels/stat';
import { useLoad } from '../load';
import { fieldsOf, Lines } from '../parts/lines';
import { Show } from '../parts/show';
import { setParams } from '../route';
import type { Range } from '../time/parse';
import { stepFor } from '../time/store';
import { align } from './metrics';

interface Props {
  q: string;
  range: Range;
  tick: number;
  patterns: boolean;
}

const LIMIT = 1000;
/** Lines that are kept while a tail runs. */
const TAIL = 2000;

/** The query with one more condition on a label of the stream, or on a field of the line. */
export function filtered(q: string, name: string, value: string, keep: boolean, parsed: boolean): string {
  const selector = loki.selectorOf(q);
  if (!parsed && selector && /^[a-zA-Z_]\w*$/.test(name) && !['detected_level', 'trace_id', 'span_id'].includes(name)) {
    const inner = selector.slice(1, -1).trim();
    const next = `{${inner ? `${inner}, ` : ''}${name}${keep ? '=' : '!='}${quoted(value)}}`;
    return q.replace(selector, () => next);
  }
  const field = name.replace(/[^\w]/g, '_');
  const needsParser = parsed && !/\|\s*(json|logfmt)\b/.test(q);
  return `${q}${needsParser ? ' | json | logfmt' : ''} | ${field}${keep ? '=' : '!='}${quoted(value)}`;
}

export function LogsView({ q, range, tick, patterns }: Props) {
  const [live, setLive] = useState(false);
  const [wrap, setWrap] = useState(true);
  const filter = (name: string, value: string, keep: boolean, parsed: boolean) => setParams({ q: filtered(q, name, value, keep, parsed) });
  return (
    <>
      {!live && <Volume q={q} range={range} tick={tick} />}
      <p class="explore-bar">
        <label class="switch live"><input type="checkbox" checked={live} onChange={(e) => setLive(e.currentTarget.checked)} /> live</label>
        <label class="switch"><input type="checkbox" checked={wrap} onChange={(e) => setWrap(e.currentTarget.checked)} /> wrap lines</label>
      </p>
      {patterns ? <Patterns q={q} range={range} tick={tick} /> : live ? <Live q={q} wrap={wrap} /> : <Found q={q} range={range} tick={tick} wrap={wrap} onFilter={filter} />}
    </>
  );
}

function Volume({ q, range, tick }: { q: string; range: Range; tick: number }) {
  const step = stepFor(range, 80, 1);
  // A bar counts the lines before its moment: the last one stands at the end of the newest.
  const whole = useMemo(() => ({ start: Math.floor(range.start / step) * step, end: Math.ceil(range.end / step) * step }), [range, step]);
  const loaded = useLoad([q, range, tick], async (signal) => {
    const data = await loki.queryRange(`sum by (detected_level) (count_over_time(${q} | drop __error__ [${step}s]))`, whole, { step }, signal);
    return data.resultType === 'matrix' ? data.result : [];
  });
  const chart = useMemo(() => {
    const all = loaded.value ?? [];
    const { times, columns } = align(all, whole, step);
    const base = new Array<number>(times.length).fill(0);
    const series = all.map(({ metric }, i) => {
      const told = columns[i] ?? [];
      const level = metric.detected_level || 'unknown';
      return { name: level, colour: levelColour(level), draw: 'bars' as const, fill: 100, told, values: told.map((v, t) => (v ? (base[t] = (base[t] ?? 0) + v) : null)) };
    });
    // The highest stack is drawn first, the lower ones over it.
    return { times, series: series.reverse(), total: all.flatMap((one) => one.values ?? []).reduce((sum, [, v]) => sum + Number(v), 0) };
  }, [loaded.value]);
  if (loaded.error) return <p class="note">{loaded.error}</p>;
  if (!loaded.value?.length) return null;
  return (
    <div class="chart-box chart">
      <Plot times={chart.times} series={chart.series} range={whole} height={130} tip={{ mode: 'multi', sort: 'desc' }} />
      <ul class="legend">{[...chart.series].reverse().map((one) => <li key={one.name}><i style={{ background: one.colour }} />{one.name}</li>)}<li class="quiet">{count(chart.total, 'line')}</li></ul>
    </div>
  );
}

function Found({ q, range, tick, wrap, onFilter }: { q: string; range: Range; tick: number; wrap: boolean; onFilter: (name: string, value: string, keep: boolean, parsed: boolean) => void }) {
  const loaded = useLoad([q, range, tick], async (signal) => {
    const data = await loki.queryRange(q, range, { limit: LIMIT }, signal);
    if (data.resultType !== 'streams') throw new Error('this query computes numbers; they are shown as a graph');
    return { lines: loki.linesOf(data.result), stats: data.stats };
  });
  return (
    <Show of={loaded} empty={({ lines }) => lines.length === 0} whenEmpty="No lines in this range.">
      {({ lines, stats }) => (
        <div class="with-side">
          <Fields lines={lines} onFilter={onFilter} />
          <div>
            {lines.length >= LIMIT && <p class="note">The newest {LIMIT} lines; a shorter range or a filter shows the others.</p>}
            <Lines lines={lines} wrap={wrap} onFilter={onFilter} />
            <details class="card"><summary>{count(lines.length, 'line')}</summary><pre>{JSON.stringify(stats, null, 2)}</pre></details>
          </div>
        </div>
      )}
    </Show>
  );
}

interface FieldCount {
  name: string;
  parsed: boolean;
  total: number;
  top: [string, number][];
}

/** How often which values stand in the lines that were found. */
export function fieldCounts(lines: loki.LogLine[]): FieldCount[] {
  const counts = new Map<string, { parsed: boolean; values: Map<string, number> }>();
  const add = (name: string, value: string, parsed: boolean) => {
    const found = counts.get(name) ?? { parsed, values: new Map<string, number>() };
    found.values.set(value, (found.values.get(value) ?? 0) + 1);
    counts.set(name, found);
  };
  for (const line of lines) {
    const labels = { ...line.labels, ...line.metadata };
    for (const [name, value] of Object.entries(labels)) add(name, value, false);
    for (const [name, value] of fieldsOf(line.line)) if (!(name in labels)) add(name, value, true);
  }
  return [...counts].map(([name, { parsed, values }]) => ({
    name, parsed, total: [...values.values()].reduce((a, b) => a + b, 0), top: [...values].sort((a, b) => b[1] - a[1]).slice(0, 8),
  })).sort((a, b) => Number(a.parsed) - Number(b.parsed) || b.total - a.total);
}

function Fields({ lines, onFilter }: { lines: loki.LogLine[]; onFilter: (name: string, value: string, keep: boolean, parsed: boolean) => void }) {
  const fields = useMemo(() => fieldCounts(lines), [lines]);
  const [open, setOpen] = useState<string>();
  const [shown, setShown] = useState(false);
  return (
    <aside class="card fields-list" aria-label="Fields">
      <button type="button" class="fields-fold" aria-expanded={shown} onClick={() => setShown(!shown)}>{shown ? '▾' : '▸'} Fields</button>
      <div class={shown ? '' : 'folded'}>
      {fields.map((field) => (
        <div key={field.name}>
          <button type="button" aria-expanded={open === field.name} onClick={() => setOpen(open === field.name ? undefined : field.name)}><span>{field.name}</span><small class="quiet">{Math.round((field.total / lines.length) * 100)}%</small></button>
          {open === field.name && field.top.map(([value, n]) => (
            <button key={value} type="button" title="Only these lines" onClick={() => onFilter(field.name, value, true, field.parsed)}>
              <span class="quiet" style={{ overflow: 'hidden', textOverflow: 'ellipsis', whiteSpace: 'nowrap' }}>{value || '(empty)'}</span><small>{n}</small>
            </button>
          ))}
        </div>
      ))}
      </div>
    </aside>
  );
}

function Live({ q, wrap }: { q: string; wrap: boolean }) {
  const [lines, setLines] = useState<loki.LogLine[]>([]);
  const [ended, setEnded] = useState('');
  const [again, setAgain] = useState(0);
  const waiting = useRef<loki.LogLine[]>([]);
  useEffect(() => {
    setEnded('');
    const stop = loki.tail(q, 100, (found) => waiting.current.unshift(...found), setEnded);
    // Bursts are drawn a few times a second, not line by line.
    const timer = setInterval(() => {
      if (waiting.current.length === 0) return;
      const found = waiting.current;
      waiting.current = [];
      setLines((before) => [...found, ...before].slice(0, TAIL));
    }, 250);
    return () => {
      stop();
      clearInterval(timer);
    };
  }, [q, again]);
  return (
    <section class="result" data-state={ended ? 'error' : 'ok'}>
      {ended ? <p class="note">{ended} <button type="button" onClick={() => setAgain(again + 1)}>Again</button></p> : <p class="quiet">{lines.length === 0 ? 'Waiting for lines …' : `${count(lines.length, 'line')}, the newest first`}</p>}
      <Lines lines={lines} wrap={wrap} />
    </section>
  );
}

/** Counts in equal parts of the range; where none is told there were none. */
export function overTime(samples: [number, number][], range: Range, parts = 60): number[] {
  const out = new Array<number>(parts).fill(0);
  const wide = (range.end - range.start) / parts || 1;
  for (const [time, n] of samples) {
    const at = Math.min(parts - 1, Math.floor((time - range.start) / wide));
    if (at >= 0) out[at] = (out[at] ?? 0) + n;
  }
  return out;
}

function Patterns({ q, range, tick }: { q: string; range: Range; tick: number }) {
  const selector = loki.selectorOf(q) ?? q;
  const loaded = useLoad([selector, range, tick], async (signal) => {
    const found = await loki.patterns(selector, range, stepFor(range, 60, 1), signal);
    return found.map((one) => ({ ...one, total: one.samples.reduce((sum, [, n]) => sum + n, 0) })).sort((a, b) => b.total - a.total);
  });
  return (
    <Show of={loaded} empty={(all) => all.length === 0} whenEmpty="No patterns in this range.">
      {(all) => (
        <table class="card patterns">
          <thead><tr><th>Level</th><th>Pattern</th><th>Over time</th><th class="number">Lines</th><th /></tr></thead>
          <tbody>
            {all.slice(0, 200).map((one, i) => (
              <tr key={i}>
                <td><i style={{ background: levelColour(one.level ?? 'unknown') }} />{one.level}</td>
                <td><code>{one.pattern}</code></td>
                <td><svg width="120" height="22" aria-hidden="true"><path d={sparkPath(overTime(one.samples, range), 120, 22).line} fill="none" stroke={levelColour(one.level ?? 'unknown')} /></svg></td>
                <td class="number">{number(one.total)}</td>
                <td class="number"><button type="button" onClick={() => setParams({ q: `${selector} |> ${quoted(one.pattern)}`, view: undefined })}>Lines</button></td>
              </tr>
            ))}
          </tbody>
        </table>
      )}
    </Show>
  );
}
