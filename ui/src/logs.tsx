// The logs page: lines of a LogQL query, with their volume by level.

import { useState } from 'preact/hooks';
import { logs, volume, type LogLine } from './api';
import { Chart, rangeOf } from './chart';
import { time } from './format';
import { useLoad, useTick } from './load';
import { format, type State } from './location';
import { QueryBar, Show } from './parts';

const LINES = 500;
const LIVE_SECONDS = 2;
const QUERY_DEFAULT = '{service_name=~".+"}';

const LEVELS: Record<string, string> = {
  critical: '#b0006d', fatal: '#b0006d', error: '#e5484d', warn: '#f5a524', warning: '#f5a524',
  info: '#3dd68c', debug: '#3b9eff', trace: '#8b8d98',
};

function levelOf(labels: Record<string, string>): string {
  return labels['detected_level'] ?? labels['level'] ?? '';
}

export function LogsPage({ state, change }: { state: State; change: (part: Partial<State>) => void }) {
  const [refresh, setRefresh] = useState(0);
  const [live, setLive] = useState(false);
  const tick = useTick(LIVE_SECONDS);
  const query = state.q || QUERY_DEFAULT;
  const keys = [query, state.since, refresh, live ? tick : 0];
  const lines = useLoad(keys, (signal) => logs(query, rangeOf(state.since, 1), LINES, signal));
  const counts = useLoad(keys, async (signal) => {
    const step = Math.max(1, Math.ceil(state.since / 120));
    const range = rangeOf(state.since, step);
    return { series: await volume(query, range, step, signal), range, step };
  });
  return (
    <>
      <QueryBar
        label="LogQL query"
        value={query}
        placeholder='LogQL, for example {service_name="obs"} |= "error"'
        onAsk={(q) => change({ q })}
        onRefresh={() => setRefresh((n) => n + 1)}
      />
      <label class="live">
        <input type="checkbox" checked={live} onChange={(e) => setLive(e.currentTarget.checked)} /> follow
      </label>
      {counts.value && counts.value.series.length > 0 && (
        <Chart
          series={counts.value.series}
          range={counts.value.range}
          step={counts.value.step}
          height={120}
          bars
          colours={(metric) => LEVELS[levelOf(metric)] ?? '#8b8d98'}
        />
      )}
      <Show of={lines} empty={(all) => all.length === 0} whenEmpty="No lines in this range.">
        {(all) => (
          <>
            <ol class="lines">
              {all.map((line, index) => <Line key={`${line.nanos}-${index}`} line={line} />)}
            </ol>
            {all.length === LINES && <p class="quiet">The newest {LINES} lines; narrow the query for others.</p>}
          </>
        )}
      </Show>
    </>
  );
}

function Line({ line }: { line: LogLine }) {
  const [open, setOpen] = useState(false);
  const level = levelOf(line.labels);
  const trace = line.labels['trace_id'];
  return (
    <li style={{ borderColor: LEVELS[level] ?? 'var(--line)' }}>
      <button type="button" class="line" aria-expanded={open} onClick={() => setOpen(!open)}>
        <time>{time(line.nanos)}</time>
        <span>{line.line}</span>
      </button>
      {open && (
        <dl>
          {Object.entries(line.labels).map(([name, value]) => (
            <div key={name}><dt>{name}</dt><dd>{value}</dd></div>
          ))}
          {trace && (
            <div>
              <dt>trace</dt>
              <dd><a href={format({ page: 'traces', q: '', since: 1800, trace })}>show the trace</a></dd>
            </div>
          )}
        </dl>
      )}
    </li>
  );
}
