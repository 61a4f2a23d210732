// Services by rate, errors and duration, from the metrics that spans become; and their map.

import { useMemo } from 'preact/hooks';
import * as prometheus from '../api/prometheus';
import { Plot } from '../chart/plot';
import { align } from '../explore/metrics';
import { colour, colourOf } from '../format/colours';
import { quoted } from '../format/text';
import { formatValue, isBinary } from '../format/units';
import { useLoad } from '../load';
import { NodeGraph } from '../parts/graph';
import { Show } from '../parts/show';
import { kept, link, setParams, useRoute } from '../route';
import { durationText, type Range } from '../time/parse';
import { stepFor, useTime } from '../time/store';

interface Red {
  rate: number;
  failed: number;
  p95: number;
}

interface Found {
  services: Map<string, Red>;
  edges: { client: string; server: string; rate: number; failed: number; seconds: number }[];
}

async function load(range: Range, signal: AbortSignal): Promise<Found> {
  const window = `[${durationText(Math.max(60, range.end - range.start))}]`;
  const ask = (text: string) => prometheus.instant(text, range.end, signal);
  const kinds = 'span_kind=~"SPAN_KIND_(SERVER|CONSUMER)"';
  const [rates, failures, slow, calls, failedCalls, seconds] = await Promise.all([
    ask(`sum by (service) (rate(traces_spanmetrics_calls_total{${kinds}}${window}))`),
    ask(`sum by (service) (rate(traces_spanmetrics_calls_total{${kinds}, status_code="STATUS_CODE_ERROR"}${window}))`),
    ask(`histogram_quantile(0.95, sum by (service, le) (rate(traces_spanmetrics_latency_bucket{${kinds}}${window})))`),
    ask(`sum by (client, server) (rate(traces_service_graph_request_total${window}))`),
    ask(`sum by (client, server) (rate(traces_service_graph_request_failed_total${window}))`),
    ask(`sum by (client, server) (rate(traces_service_graph_request_server_seconds_sum${window}))`),
  ]);
  const value = (all: typeof rates, service: string) => all.find((one) => one.metric.service === service)?.value ?? 0;
  const names = new Set(rates.map((one) => one.metric.service ?? ''));
  const edges = calls.filter((one) => one.metric.client && one.metric.server).map(({ metric, value: rate }) => {
    const same = (all: typeof calls) => all.find((one) => one.metric.client === metric.client && one.metric.server === metric.server)?.value ?? 0;
    return { client: metric.client ?? '', server: metric.server ?? '', rate, failed: same(failedCalls), seconds: rate > 0 ? same(seconds) / rate : 0 };
  });
  return { services: new Map([...names].sort().map((name) => [name, { rate: value(rates, name), failed: value(failures, name), p95: value(slow, name) }])), edges };
}

export default function ServicesPage() {
  const { range, tick } = useTime();
  const { params } = useRoute();
  const loaded = useLoad([range, tick], (signal) => load(range, signal));
  const picked = params.get('service') ?? undefined;
  const pick = (service: string) => setParams({ service: service === picked ? undefined : service });
  return (
    <>
      <div class="page-head"><h1>Services</h1></div>
      <Show of={loaded} empty={(found) => found.services.size === 0 && found.edges.length === 0} whenEmpty="No spans in this range: send traces to OTLP, and services appear here by themselves.">
        {(found) => (
          <>
            <div class="card"><Map_ found={found} picked={picked} pick={pick} /></div>
            {picked && <Service name={picked} range={range} tick={tick} found={found} />}
            <div class="scroll card" style={{ marginTop: '12px' }}>
              <table>
                <thead><tr><th>Service</th><th class="number">Rate</th><th class="number">Errors</th><th class="number">p95</th><th /></tr></thead>
                <tbody>
                  {[...found.services].map(([name, red]) => (
                    <tr key={name}>
                      <td><button type="button" class="plain" aria-pressed={name === picked} onClick={() => pick(name)}><i style={{ background: colourOf(name) }} />{name}</button></td>
                      <td class="number">{formatValue(red.rate, 'reqps')}</td>
                      <td class="number" style={{ color: red.failed > 0 ? 'var(--bad)' : undefined }}>{formatValue(red.rate > 0 ? red.failed / red.rate : 0, 'percentunit')}</td>
                      <td class="number">{formatValue(red.p95, 's')}</td>
                      <td class="number"><a href={link('/explore', { lang: 'traceql', q: `{ resource.service.name = ${quoted(name)} }`, ...kept(params) })}>Traces</a> <a href={link('/explore', { lang: 'logql', q: `{service_name=${quoted(name)}}`, ...kept(params) })}>Logs</a></td>
                    </tr>
                  ))}
                </tbody>
              </table>
            </div>
          </>
        )}
      </Show>
    </>
  );
}

function Map_({ found, picked, pick }: { found: Found; picked?: string; pick: (service: string) => void }) {
  const { nodes, edges } = useMemo(() => {
    const names = [...new Set(found.edges.flatMap((edge) => [edge.client, edge.server]))];
    const most = Math.max(1e-9, ...found.edges.map((edge) => edge.rate));
    return {
      nodes: names.map((id) => {
        const red = found.services.get(id);
        const failed = red && red.rate > 0 ? red.failed / red.rate : 0;
        return { id, title: id, main: red ? formatValue(red.p95, 's') : '', second: red ? formatValue(red.rate, 'reqps') : '', arcs: [{ part: failed, colour: '#dd4b55' }, { part: 1 - failed, colour: '#3fa66b' }] };
      }),
      edges: found.edges.map((edge) => ({ source: edge.client, target: edge.server, text: `${formatValue(edge.rate, 'reqps')}, ${formatValue(edge.seconds, 's')}`, weight: edge.rate / most, colour: edge.failed > edge.rate * 0.05 ? '#dd4b55' : undefined })),
    };
  }, [found]);
  if (nodes.length === 0) return <p class="quiet">No calls between services in this range.</p>;
  return <NodeGraph nodes={nodes} edges={edges} height={460} picked={picked} onPick={pick} />;
}

const CHARTS: [string, string, (selector: string) => string][] = [
  ['Rate by span', 'reqps', (s) => `sum by (span_name) (rate(traces_spanmetrics_calls_total{${s}}[$w]))`],
  ['Errors by span', 'reqps', (s) => `sum by (span_name) (rate(traces_spanmetrics_calls_total{${s}, status_code="STATUS_CODE_ERROR"}[$w]))`],
  ['Duration, p95 by span', 's', (s) => `histogram_quantile(0.95, sum by (span_name, le) (rate(traces_spanmetrics_latency_bucket{${s}}[$w])))`],
];

function Service({ name, range, tick, found }: { name: string; range: Range; tick: number; found: Found }) {
  const callers = found.edges.filter((edge) => edge.server === name);
  const callees = found.edges.filter((edge) => edge.client === name);
  return (
    <section aria-label={name}>
      <h2><i style={{ background: colourOf(name) }} />{name}</h2>
      <div class="columns">{CHARTS.map(([title, unit, query]) => <SmallChart key={title} title={title} unit={unit} query={query(`service=${quoted(name)}, span_kind=~"SPAN_KIND_(SERVER|CONSUMER)"`)} label="span_name" range={range} tick={tick} />)}</div>
      <p class="quiet">Called by {callers.map((edge) => edge.client).join(', ') || 'nobody'}; calls {callees.map((edge) => edge.server).join(', ') || 'nobody'}.</p>
    </section>
  );
}

/** Names below a small chart; the pointer tells all. */
const NAMED = 6;

/** A chart of one PromQL query, `$w` being a window that fits its step; its title leads to Explore. */
export function SmallChart({ title, unit, query, label, range, tick, height = 170 }: { title: string; unit: string; query: string; label: string; range: Range; tick: number; height?: number }) {
  const step = stepFor(range, 150, 5);
  const text = query.replaceAll('$w', durationText(Math.max(60, step * 4)));
  const loaded = useLoad([text, range, tick], async (signal) => (await prometheus.queryRange(text, { start: Math.floor(range.start / step) * step, end: range.end }, step, signal)).data.result);
  const chart = useMemo(() => {
    const all = (loaded.value ?? []).slice(0, 30);
    const { times, columns } = align(all, range, step);
    return { times, series: all.map((one, i) => ({ name: one.metric[label] ?? (Object.values(one.metric).join(' ') || title), colour: colour(i), values: columns[i] ?? [], show: (v: number) => formatValue(v, unit) })) };
  }, [loaded.value]);
  const axes = useMemo(() => [{ key: 'y', side: 'left' as const, softMin: 0, binary: isBinary(unit), show: (v: number) => formatValue(v, unit) }], [unit]);
  return (
    <div class="card chart">
      <h3><a href={link('/explore', { lang: 'promql', q: text, ...kept(new URLSearchParams(location.search)) })}>{title}</a></h3>
      <Show of={loaded} empty={(all) => all.length === 0} whenEmpty="No data">{() => (
        <>
          <Plot times={chart.times} series={chart.series} axes={axes} range={range} height={height} tip={{ mode: 'multi', sort: 'desc' }} sync="page" />
          <ul class="legend">{chart.series.slice(0, NAMED).map((one) => <li key={one.name}><i style={{ background: one.colour }} />{one.name}</li>)}{chart.series.length > NAMED && <li class="quiet">{chart.series.length - NAMED} more</li>}</ul>
        </>
      )}</Show>
    </div>
  );
}
