// Found traces: a scatter of their durations over time, and a table that leads to each.

import { useEffect, useMemo, useRef, useState } from 'preact/hooks';
import { attributeText, search, type FoundTrace } from '../api/tempo';
import { colourOf } from '../format/colours';
import { count, duration, marks, time } from '../format/text';
import { useLoad } from '../load';
import { Show } from '../parts/show';
import { go, link, setParams, useRoute } from '../route';
import type { Range } from '../time/parse';

interface Props {
  q: string;
  range: Range;
  tick: number;
  spans: boolean;
}

const LIMITS = ['20', '100', '500'];

export function TracesView({ q, range, tick, spans }: Props) {
  const { params } = useRoute();
  const limit = Number(params.get('limit') ?? 100) || 100;
  const [picked, setPicked] = useState<string[]>([]);
  const loaded = useLoad([q, range, tick, limit], (signal) => search(q, range, limit, signal));
  const pick = (id: string) => setPicked(picked.includes(id) ? picked.filter((one) => one !== id) : [...picked, id].slice(-2));
  return (
    <>
      <p class="explore-bar">
        <label>at most <select value={`${limit}`} onChange={(e) => setParams({ limit: e.currentTarget.value })}>{LIMITS.map((one) => <option key={one}>{one}</option>)}</select> traces</label>
        {picked.length === 2 && <a href={link(`/compare/${picked[0]}/${picked[1]}`)}>Compare the two</a>}
        {picked.length === 1 && <span>Choose one more to compare</span>}
      </p>
      <Show of={loaded} empty={({ traces }) => traces.length === 0} whenEmpty="No traces in this range.">
        {({ traces, metrics }) => (
          <>
            <Scatter traces={traces} range={range} />
            {spans ? <Spans traces={traces} /> : <Traces traces={traces} picked={picked} pick={pick} />}
            <details class="card"><summary>{count(traces.length, 'trace')}</summary><pre>{JSON.stringify(metrics, null, 2)}</pre></details>
          </>
        )}
      </Show>
    </>
  );
}

interface Box {
  x: number;
  y: number;
  width: number;
  height: number;
}

/** A rectangle that the pointer draws in a picture; small ones are clicks. */
function useSelection(done: (box: Box) => void): { box?: Box; on: Record<string, (event: PointerEvent) => void> } {
  const [drawn, setDrawn] = useState<{ x1: number; y1: number; x2: number; y2: number }>();
  const at = (event: PointerEvent) => {
    const { left, top } = (event.currentTarget as Element).getBoundingClientRect();
    return [event.clientX - left, event.clientY - top] as const;
  };
  const box = drawn && { x: Math.min(drawn.x1, drawn.x2), y: Math.min(drawn.y1, drawn.y2), width: Math.abs(drawn.x2 - drawn.x1), height: Math.abs(drawn.y2 - drawn.y1) };
  return {
    box: box && box.width + box.height > 8 ? box : undefined,
    on: {
      onPointerDown: (event) => {
        if (event.button !== 0 || (event.target as Element).tagName === 'circle') return;
        const [x, y] = at(event);
        (event.currentTarget as Element).setPointerCapture(event.pointerId);
        setDrawn({ x1: x, y1: y, x2: x, y2: y });
      },
      onPointerMove: (event) => {
        const [x2, y2] = at(event);
        setDrawn((before) => before && { ...before, x2, y2 });
      },
      onPointerUp: () => {
        setDrawn(undefined);
        if (box && box.width > 8 && box.height > 8) done(box);
      },
      onPointerCancel: () => setDrawn(undefined),
    },
  };
}

const HEIGHT = 190;
const LEFT = 62;

/** Durations on a logarithmic axis: the slow ones are the upper ones. */
function Scatter({ traces, range }: { traces: FoundTrace[]; range: Range }) {
  const box = useRef<HTMLDivElement>(null);
  const [width, setWidth] = useState(1000);
  useEffect(() => {
    if (!box.current) return;
    const observer = new ResizeObserver(([entry]) => setWidth(Math.max(280, Math.floor(entry?.contentRect.width ?? 1000))));
    observer.observe(box.current);
    return () => observer.disconnect();
  }, []);
  const points = useMemo(() => traces.map((t) => ({ t, at: Number(BigInt(t.startTimeUnixNano) / 1_000_000n) / 1000, ms: Math.max(0.1, t.durationMs ?? 0.1), failed: Object.values(t.serviceStats ?? {}).some((s) => (s.errorCount ?? 0) > 0), spans: Object.values(t.serviceStats ?? {}).reduce((n, s) => n + (s.spanCount ?? 0), 0) })), [traces]);
  const [low, high] = points.reduce(([a, b], p) => [Math.min(a, p.ms), Math.max(b, p.ms)], [Infinity, 0]);
  const [from, to] = [Math.floor(Math.log10(low)), Math.max(Math.floor(Math.log10(low)) + 1, Math.ceil(Math.log10(high)))];
  // All of what was found, not all of the range: the newest traces are found first.
  const start = Math.max(range.start, Math.min(...points.map((p) => p.at)) - 1);
  const x = (at: number) => LEFT + ((at - start) / Math.max(1, range.end - start)) * (width - LEFT - 12);
  const y = (ms: number) => 8 + (1 - (Math.log10(ms) - from) / (to - from)) * (HEIGHT - 34);
  const drag = useSelection((box) => {
    const millis = (py: number) => 10 ** (from + (1 - (py - 8) / (HEIGHT - 34)) * (to - from));
    const seconds = (px: number) => start + ((px - LEFT) / (width - LEFT - 12)) * Math.max(1, range.end - start);
    const text = (ms: number) => `${Math.max(1, Math.round(ms * 1000))}us`;
    setParams({ view: 'compare', select: `traceDuration >= ${text(millis(box.y + box.height))} && traceDuration <= ${text(millis(box.y))}`, selectfrom: `${Math.round(seconds(box.x) * 1000)}`, selectto: `${Math.round(seconds(box.x + box.width) * 1000)}` });
  });
  const columns = Math.max(2, Math.min(8, Math.floor(width / 130)));
  const gap = (range.end - start) / columns;
  const ticks = Array.from({ length: columns }, (_, i) => start + gap * (i + 0.5));
  return (
    <div class="chart-box" ref={box}>
      <svg class="scatter" {...drag.on} viewBox={`0 0 ${width} ${HEIGHT}`} role="img" aria-label="Durations of the traces over time" style={{ width: '100%' }}>
        {Array.from({ length: to - from + 1 }, (_, i) => 10 ** (from + i)).map((ms) => <g key={ms}><line x1={LEFT} x2={width - 12} y1={y(ms)} y2={y(ms)} class="grid" /><text x={LEFT - 6} y={y(ms) + 4} text-anchor="end">{duration(ms * 1e6)}</text></g>)}
        {marks(ticks, gap).map((text, i) => <text key={i} x={x(ticks[i] ?? 0)} y={HEIGHT - 6} text-anchor="middle">{text.split('\n')[0]}</text>)}
        {drag.box && <rect {...drag.box} class="selection" />}
        {points.map(({ t, at, ms, failed, spans }) => (
          <circle key={t.traceID} cx={x(at)} cy={y(ms)} r={Math.min(9, 3 + Math.sqrt(spans) / 2)} fill={failed ? 'var(--bad)' : colourOf(t.rootServiceName ?? '')} onClick={() => go(link(`/trace/${t.traceID}`))}>
            <title>{`${t.rootServiceName ?? ''} ${t.rootTraceName ?? ''}\n${duration(ms * 1e6)}`}</title>
          </circle>
        ))}
      </svg>
      <p class="quiet hint">Draw a rectangle around traces to see what sets them apart.</p>
    </div>
  );
}

function Traces({ traces, picked, pick }: { traces: FoundTrace[]; picked: string[]; pick: (id: string) => void }) {
  return (
    <table class="traces card">
      <thead><tr><th /><th>Started</th><th>Service</th><th>Root</th><th>Services</th><th class="number">Duration</th><th class="number">Matched</th><th>Trace</th></tr></thead>
      <tbody>
        {traces.map((t) => {
          const errors = Object.values(t.serviceStats ?? {}).reduce((n, s) => n + (s.errorCount ?? 0), 0);
          return (
            <tr key={t.traceID}>
              <td><input type="checkbox" aria-label={`Compare ${t.traceID}`} checked={picked.includes(t.traceID)} onChange={() => pick(t.traceID)} /></td>
              <td><time>{time(BigInt(t.startTimeUnixNano))}</time></td>
              <td><i style={{ background: colourOf(t.rootServiceName ?? '') }} />{t.rootServiceName}</td>
              <td>{t.rootTraceName} {errors > 0 && <em class="failed">{count(errors, 'error')}</em>}</td>
              <td>{Object.entries(t.serviceStats ?? {}).slice(0, 6).map(([name, s]) => <span key={name} class="label"><i style={{ background: colourOf(name) }} />{name} {s.spanCount}</span>)}</td>
              <td class="number">{t.durationMs ? duration(t.durationMs * 1e6) : '< 1 ms'}</td>
              <td class="number">{(t.spanSets ?? []).reduce((n, s) => n + (s.matched ?? 0), 0)}</td>
              <td><a href={link(`/trace/${t.traceID}`)}><code>{t.traceID.padStart(32, '0')}</code></a></td>
            </tr>
          );
        })}
      </tbody>
    </table>
  );
}

function Spans({ traces }: { traces: FoundTrace[] }) {
  const spans = traces.flatMap((t) => (t.spanSets ?? []).flatMap((set) => (set.spans ?? []).map((span) => ({ t, span }))));
  return (
    <table class="traces card">
      <thead><tr><th>Started</th><th>Span</th><th>Attributes</th><th class="number">Duration</th><th>Trace</th></tr></thead>
      <tbody>
        {spans.slice(0, 1000).map(({ t, span }) => (
          <tr key={`${t.traceID}${span.spanID}`}>
            <td><time>{time(BigInt(span.startTimeUnixNano))}</time></td>
            <td>{span.name}</td>
            <td>{(span.attributes ?? []).map((a) => <code key={a.key} class="label">{a.key}={attributeText(a.value)}</code>)}</td>
            <td class="number">{duration(Number(span.durationNanos ?? 0))}</td>
            <td><a href={link(`/trace/${t.traceID}`, { span: span.spanID })}><code>{t.traceID.slice(0, 12)}…</code></a></td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}
