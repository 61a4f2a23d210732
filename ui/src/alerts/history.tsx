// What was pending and firing in the range, one line for each alert, from the series ALERTS.

import { useMemo } from 'preact/hooks';
import * as prometheus from '../api/prometheus';
import { count, marks, moment } from '../format/text';
import { useLoad } from '../load';
import { Show } from '../parts/show';
import { link, useRoute } from '../route';
import { durationText, type Range } from '../time/parse';
import { stepFor, useTime } from '../time/store';

export interface Span {
  start: number;
  end: number;
  firing: boolean;
}

export interface Line {
  name: string;
  labels: Record<string, string>;
  spans: Span[];
  firing: number;
}

/** Alerts are shown by name and labels; each state's samples become spans of time. */
export function linesOf(series: prometheus.Matrix[], step: number): Line[] {
  const lines = new Map<string, Line>();
  for (const { metric, values = [] } of series) {
    const { __name__: _, alertname = '', alertstate, ...labels } = metric;
    const key = JSON.stringify([alertname, Object.entries(labels).sort(([a], [b]) => (a < b ? -1 : 1))]);
    const line = lines.get(key) ?? { name: alertname, labels, spans: [], firing: 0 };
    let open: Span | undefined;
    for (const [time] of values) {
      if (open && time - open.end <= step * 1.5) open.end = time;
      else {
        open = { start: time, end: time, firing: alertstate === 'firing' };
        line.spans.push(open);
      }
    }
    lines.set(key, line);
  }
  const all = [...lines.values()];
  for (const line of all) {
    for (const span of line.spans) span.end += step;
    line.spans.sort((a, b) => a.start - b.start);
    line.firing = line.spans.filter((span) => span.firing).reduce((sum, span) => sum + span.end - span.start, 0);
  }
  return all.sort((a, b) => b.firing - a.firing || (a.name < b.name ? -1 : 1));
}

const LINES = 200;

export function AlertHistory({ q }: { q: string }) {
  const { range, tick } = useTime();
  const { params } = useRoute();
  const step = stepFor(range, 300, 15);
  const loaded = useLoad([range, tick], async (signal) =>
    (await prometheus.queryRange('ALERTS', { start: Math.floor(range.start / step) * step, end: range.end }, step, signal)).data.result);
  const lines = useMemo(() => linesOf(loaded.value ?? [], step), [loaded.value]);
  const shown = lines.filter((line) => `${line.name} ${JSON.stringify(line.labels)}`.toLowerCase().includes(q.toLowerCase()));
  return (
    <Show of={loaded} empty={() => shown.length === 0} whenEmpty="No alert was pending or firing in this range.">
      {() => (
        <>
          <p class="quiet">{count(shown.length, 'alert')} in this range, <span class="key bad" /> firing <span class="key warn" /> pending</p>
          <div class="card scroll">
            <table class="alert-history">
              <thead><tr><th>Alert</th><th class="number">Fired for</th><th class="number">Times</th><th><Ruler range={range} /></th></tr></thead>
              <tbody>
                {shown.slice(0, LINES).map((line, i) => (
                  <tr key={i}>
                    <td><a href={link('/alerts', { q: line.name, from: params.get('from') ?? undefined, to: params.get('to') ?? undefined })}>{line.name}</a> <small class="quiet">{Object.entries(line.labels).map(([name, value]) => `${name}="${value}"`).join(' ')}</small></td>
                    <td class="number">{line.firing > 0 ? durationText(line.firing) : '–'}</td>
                    <td class="number">{line.spans.filter((span) => span.firing).length}</td>
                    <td class="wide-cell"><Bar line={line} range={range} /></td>
                  </tr>
                ))}
              </tbody>
            </table>
            {shown.length > LINES && <p class="quiet">{shown.length - LINES} more; a name or a label above finds them.</p>}
          </div>
        </>
      )}
    </Show>
  );
}

const WIDTH = 1000;

function Bar({ line, range }: { line: Line; range: Range }) {
  const x = (time: number) => Math.max(0, Math.min(WIDTH, ((time - range.start) / (range.end - range.start)) * WIDTH));
  return (
    <svg viewBox={`0 0 ${WIDTH} 16`} preserveAspectRatio="none" class="history-bar" role="img" aria-label={`${line.name} over time`}>
      {line.spans.map((span, i) => (
        <rect key={i} x={x(span.start)} width={Math.max(2, x(span.end) - x(span.start))} y={0} height={16} fill={span.firing ? 'var(--bad)' : 'var(--warn)'}>
          <title>{`${span.firing ? 'firing' : 'pending'} from ${moment(span.start)} to ${moment(span.end)}`}</title>
        </rect>
      ))}
    </svg>
  );
}

function Ruler({ range }: { range: Range }) {
  const gap = (range.end - range.start) / 4;
  const ticks = [0.5, 1.5, 2.5, 3.5].map((n) => range.start + n * gap);
  return <span class="history-ruler">{marks(ticks, gap).map((text, i) => <small key={i}>{text.split('\n')[0]}</small>)}</span>;
}
