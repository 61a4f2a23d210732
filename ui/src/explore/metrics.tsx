// Numbers over time: a graph with exemplars, a table of now, or a heatmap of buckets.

import { useMemo, useState } from 'preact/hooks';
import * as loki from '../api/loki';
import * as prometheus from '../api/prometheus';
import * as tempo from '../api/tempo';
import { Heatmap } from '../chart/heatmap';
import { Plot, type Column } from '../chart/plot';
import type { Dot } from '../chart/overlays';
import { heatmapFrames, sample } from '../dashboards/fromSeries';
import { exemplarDots } from '../dashboards/panels/timeseries';
import { colour } from '../format/colours';
import { count, number, seriesName } from '../format/text';
import { useLoad } from '../load';
import { Show } from '../parts/show';
import { link } from '../route';
import type { Range } from '../time/parse';
import { stepFor } from '../time/store';
import type { Language } from './language';
import { Related } from './related';

interface Props {
  lang: Language;
  q: string;
  range: Range;
  tick: number;
  view: 'graph' | 'table' | 'heatmap';
}

interface Found {
  series: prometheus.Matrix[];
  notes: string[];
  dots: Dot[];
  stats?: unknown;
  millis: number;
  step: number;
  range: Range;
}

/** Lines that a graph shows; more are neither drawn quickly nor read. */
const LINES = 400;

async function ask(lang: Language, q: string, range: Range, view: string, signal: AbortSignal): Promise<Found> {
  const step = stepFor(range, 400, lang === 'promql' ? 1 : 2);
  const aligned = { start: Math.floor(range.start / step) * step, end: range.end };
  const began = performance.now();
  const found = { notes: [], dots: [], step, range, millis: 0 };
  if (lang === 'logql') {
    const data = view === 'table' ? await loki.query(q, range.end, signal) : await loki.queryRange(q, aligned, { step }, signal);
    if (data.resultType === 'streams') throw new Error('this query finds lines; they are shown as logs');
    const series = data.resultType === 'matrix' ? data.result : data.result.map((one) => ({ metric: one.metric, values: one.value ? [one.value] : [] }));
    return { ...found, series, stats: data.stats, millis: performance.now() - began };
  }
  if (lang === 'traceql') return { ...found, series: await tempo.metrics(q, aligned, Math.max(1, Math.round(step)), signal), millis: performance.now() - began };
  if (view === 'table') {
    const answer = await prometheus.query(q, range.end, signal, { stats: 'all' });
    const notes = [...(answer.warnings ?? []), ...(answer.infos ?? [])];
    const { data } = answer;
    const series: prometheus.Matrix[] = data.resultType === 'vector'
      ? data.result.map((one) => ({ metric: one.metric, values: one.value ? [one.value] : [], histograms: one.histogram ? [one.histogram] : undefined }))
      : data.resultType === 'matrix' ? data.result : [{ metric: {}, values: [data.result] }];
    return { ...found, series, notes, stats: data.stats, millis: performance.now() - began };
  }
  const [answer, exemplars] = await Promise.all([
    prometheus.queryRange(q, aligned, step, signal, { stats: 'all' }),
    prometheus.exemplars(q, aligned, signal).catch(() => []),
  ]);
  const all = exemplars.flatMap((one) => one.exemplars.map((e) => ({ time: e.timestamp, value: Number(e.value), labels: { ...one.seriesLabels, ...e.labels } })));
  return { ...found, series: answer.data.result, notes: [...(answer.warnings ?? []), ...(answer.infos ?? [])], dots: exemplarDots(all), stats: answer.data.stats, millis: performance.now() - began };
}

/** Points of all series on the clock of the request; `null` where a series has none. */
export function align(series: prometheus.Matrix[], range: Range, step: number): { times: number[]; columns: Column[] } {
  const first = Math.floor(range.start / step) * step;
  const length = Math.max(1, Math.floor((range.end - first) / step + 1e-6) + 1);
  const times = Array.from({ length }, (_, i) => first + i * step);
  const columns = series.map(({ values = [] }) => {
    const column: Column = new Array<number | null>(length).fill(null);
    for (const [time, text] of values) {
      const index = Math.round((time - first) / step);
      const value = Number(text);
      if (index >= 0 && index < length && Number.isFinite(value)) column[index] = value;
    }
    return column;
  });
  return { times, columns };
}

export function MetricsView(props: Props) {
  const { lang, q, range, tick, view } = props;
  const loaded = useLoad([lang, q, range, tick, view === 'table'], (signal) => ask(lang, q, range, view, signal));
  return (
    <Show of={loaded} empty={(found) => found.series.length === 0} whenEmpty="Nothing in this range. A shorter name, another label, or a longer range may find something.">
      {(found) => (
        <>
          {found.notes.map((note) => <p key={note} class="note">{note}</p>)}
          {view === 'graph' && <Graph found={found} />}
          {view === 'table' && <Table found={found} />}
          {view === 'heatmap' && <Cells found={found} />}
          <Inspector found={found} />
        </>
      )}
    </Show>
  );
}

function Inspector({ found }: { found: Found }) {
  return (
    <details class="card">
      <summary>{count(found.series.length, 'result')} in {number(found.millis)} ms, a point every {number(found.step)} s</summary>
      {found.stats !== undefined && <pre>{JSON.stringify(found.stats, null, 2)}</pre>}
    </details>
  );
}

function Graph({ found }: { found: Found }) {
  const [hidden, setHidden] = useState<Set<number>>(new Set());
  const [picked, setPicked] = useState<number>();
  const [stacked, setStacked] = useState(false);
  const drawn = found.series.slice(0, LINES);
  const { times, columns } = useMemo(() => align(drawn, found.range, found.step), [found]);
  const series = useMemo(() => {
    const base = new Array<number>(times.length).fill(0);
    let below: number | undefined;
    return drawn.map(({ metric }, i) => {
      const values = columns[i] ?? [];
      const off = hidden.has(i);
      const own = stacked && !off ? values.map((v, t) => (v == null ? null : (base[t] = (base[t] ?? 0) + v))) : values;
      const fillTo = stacked && !off ? below : undefined;
      if (!off) below = i;
      return { name: seriesName(metric), colour: colour(i), values: own, told: stacked ? values : undefined, hidden: off, fillTo, fill: stacked ? 35 : 0 };
    });
  }, [columns, hidden, stacked]);
  const natives = found.series.filter((one) => one.histograms?.length && !one.values?.length).length;
  const isolate = (index: number, add: boolean) => {
    if (add) {
      const next = new Set(hidden);
      if (!next.delete(index)) next.add(index);
      return setHidden(next);
    }
    const others = drawn.map((_, i) => i).filter((i) => i !== index);
    setHidden(others.every((i) => hidden.has(i)) && !hidden.has(index) ? new Set() : new Set(others));
  };
  return (
    <>
      {found.series.length > LINES && <p class="note">The first {LINES} of {found.series.length} series are drawn; topk or sum by show the important ones.</p>}
      {natives > 0 && <p class="note">{count(natives, 'native histogram')}: see the heatmap, or ask for histogram_quantile.</p>}
      <div class="chart-box chart">
        <Plot times={times} series={series} range={found.range} height={340} exemplars={found.dots} tip={{ mode: 'multi', sort: 'desc' }} />
      </div>
      <p class="explore-bar"><label class="switch"><input type="checkbox" checked={stacked} onChange={(e) => setStacked(e.currentTarget.checked)} /> stacked</label>{found.dots.length > 0 && <span>{count(found.dots.length, 'exemplar')}: each diamond is a trace</span>}</p>
      <table class="legend">
        <thead><tr><th>Series</th><th class="number">Min</th><th class="number">Max</th><th class="number">Last</th><th /></tr></thead>
        <tbody>
          {drawn.map(({ metric }, i) => {
            const numbers = (columns[i] ?? []).filter((v): v is number => v != null);
            return (
              <tr key={i} class={hidden.has(i) ? 'off' : ''}>
                <td><button type="button" onClick={(e) => isolate(i, e.ctrlKey || e.metaKey)}><i style={{ background: colour(i) }} /><span>{seriesName(metric)}</span></button></td>
                <td class="number">{numbers.length ? number(numbers.reduce((a, b) => Math.min(a, b))) : '–'}</td>
                <td class="number">{numbers.length ? number(numbers.reduce((a, b) => Math.max(a, b))) : '–'}</td>
                <td class="number">{numbers.length ? number(numbers.at(-1) ?? 0) : '–'}</td>
                <td class="number"><button type="button" aria-expanded={picked === i} onClick={() => setPicked(picked === i ? undefined : i)}>Related</button></td>
              </tr>
            );
          })}
        </tbody>
      </table>
      {picked !== undefined && drawn[picked] && <Related labels={drawn[picked].metric} range={found.range} />}
    </>
  );
}

function Table({ found }: { found: Found }) {
  const [picked, setPicked] = useState<number>();
  const names = useMemo(() => [...new Set(found.series.flatMap((one) => Object.keys(one.metric)))].sort((a, b) => (a === '__name__' ? -1 : b === '__name__' ? 1 : a < b ? -1 : 1)), [found]);
  const rows = useMemo(() => [...found.series].sort((a, b) => Number(b.values?.at(-1)?.[1] ?? NaN) - Number(a.values?.at(-1)?.[1] ?? NaN) || 0), [found]);
  return (
    <>
      <div class="scroll card">
        <table>
          <thead><tr>{names.map((name) => <th key={name}>{name}</th>)}<th class="number">Value</th><th /></tr></thead>
          <tbody>
            {rows.slice(0, 1000).map((one, i) => (
              <tr key={i}>
                {names.map((name) => <td key={name}>{name === 'pod' && one.metric.namespace ? <a href={link(`/kubernetes/pod/${encodeURIComponent(one.metric.namespace)}/${encodeURIComponent(one.metric.pod ?? '')}`)}>{one.metric[name]}</a> : one.metric[name]}</td>)}
                <td class="number" title={one.values?.at(-1)?.[1]}>{one.values?.length ? number(sample(one.values.at(-1)?.[1] ?? '') ?? NaN) : `${one.histograms?.[0]?.[1].count ?? ''} observations`}</td>
                <td class="number"><button type="button" aria-expanded={picked === i} onClick={() => setPicked(picked === i ? undefined : i)}>Related</button></td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      {rows.length > 1000 && <p class="note">The first 1000 of {rows.length} rows.</p>}
      {picked !== undefined && rows[picked] && <Related labels={rows[picked].metric} range={found.range} />}
    </>
  );
}

function Cells({ found }: { found: Found }) {
  const grid = useMemo(() => {
    const series = found.series.map((one) => ({ labels: one.metric, values: one.values ?? [], histograms: one.histograms }));
    const buckets = series.some((one) => one.labels.le !== undefined || one.histograms?.length);
    if (buckets) {
      const [frame] = heatmapFrames(merged(series), 'A');
      const times = (frame?.fields[0]?.values ?? []) as number[];
      const rows = (frame?.fields ?? []).slice(1);
      return { times: times.map((t) => t / 1000), rows: rows.map((field) => (field.name === '+Inf' ? '∞' : number(Number(field.name)))), cells: rows.map((field) => field.values as (number | null)[]) };
    }
    const { times, columns } = align(found.series.slice(0, 200), found.range, found.step);
    return { times, rows: found.series.slice(0, 200).map((one) => seriesName(one.metric)), cells: columns.map((column) => column.map((v) => v ?? null)) };
  }, [found]);
  return <div class="chart-box"><Heatmap {...grid} range={found.range} height={360} /></div>;
}

/** Buckets of the same bound together, whatever their other labels. */
function merged(series: { labels: prometheus.Labels; values: [number, string][]; histograms?: [number, prometheus.NativeHistogram][] }[]) {
  const natives = series.filter((one) => one.histograms?.length);
  if (natives.length > 0) return natives;
  const byBound = new Map<string, Map<number, number>>();
  for (const { labels, values } of series) {
    const sums = byBound.get(labels.le ?? '+Inf') ?? new Map<number, number>();
    for (const [time, text] of values) sums.set(time, (sums.get(time) ?? 0) + (sample(text) ?? 0));
    byBound.set(labels.le ?? '+Inf', sums);
  }
  return [...byBound].map(([le, sums]) => ({ labels: { le }, values: [...sums].map(([time, value]): [number, string] => [time, `${value}`]) }));
}
