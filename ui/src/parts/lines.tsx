// Lines of logs: coloured by level, opened to their labels, with links to the trace and the sender.

import { useState } from 'preact/hooks';
import type { LogLine } from '../api/loki';
import { levelColour } from '../format/colours';
import { quoted, time } from '../format/text';
import { link } from '../route';

const TRACE_NAMES = ['trace_id', 'traceID', 'traceId', 'traceid', 'trace.id'];

/** The trace that a line names, in its labels first. */
export function traceOf(line: LogLine): string | undefined {
  const all = { ...line.labels, ...line.metadata };
  for (const name of TRACE_NAMES) if (/^[0-9a-f]{16,32}$/i.test(all[name] ?? '')) return all[name];
  const found = /\b(?:trace_?id|trace\.id)["']?\s*[=:]\s*["']?([0-9a-f]{16,32})\b/i.exec(line.line) ?? /\b00-([0-9a-f]{32})-[0-9a-f]{16}-/.exec(line.line);
  return found?.[1];
}

export function levelOf(line: LogLine): string {
  return line.metadata.detected_level ?? line.labels.detected_level ?? line.labels.level ?? line.labels.severity ?? '';
}

/** A line of JSON or logfmt as its fields. */
export function fieldsOf(text: string): [string, string][] {
  if (text.trimStart().startsWith('{')) {
    try {
      const json = JSON.parse(text) as unknown;
      if (typeof json === 'object' && json !== null) return Object.entries(json).map(([name, value]) => [name, typeof value === 'string' ? value : JSON.stringify(value)]);
    } catch {
      return [];
    }
  }
  const pairs = [...text.matchAll(/(?:^|\s)([a-zA-Z_][\w.-]*)=(?:"((?:[^"\\]|\\.)*)"|(\S*))/g)];
  return pairs.length >= 2 ? pairs.map((m): [string, string] => [m[1] ?? '', m[2] ?? m[3] ?? '']) : [];
}

export interface LinesProps {
  lines: LogLine[];
  wrap?: boolean;
  showLabels?: boolean;
  onFilter?: (name: string, value: string, keep: boolean, parsed: boolean) => void;
}

/** Lines that are drawn at first. */
const STEP = 300;

export function Lines({ lines, wrap = true, showLabels = false, onFilter }: LinesProps) {
  const [open, setOpen] = useState<string>();
  const [most, setMost] = useState(STEP);
  return (
    <>
      <ol class={wrap ? 'lines' : 'lines nowrap'}>
        {lines.slice(0, most).map((line, i) => {
          const key = `${line.nanos}-${i}`;
          const level = levelOf(line);
          const opened = open === key;
          return (
            <li key={key} style={{ borderLeftColor: levelColour(level || 'unknown') }}>
              <button type="button" class="line" aria-expanded={opened} onClick={() => setOpen(opened ? undefined : key)}>
                <time>{time(line.nanos)}</time>
                {showLabels && <small>{Object.values(line.labels).join(' ')}</small>}
                <span>{line.line}</span>
              </button>
              {opened && <Opened line={line} onFilter={onFilter} />}
            </li>
          );
        })}
      </ol>
      {lines.length > most && <button type="button" class="more" onClick={() => setMost(most + 1000)}>{lines.length - most} more lines</button>}
    </>
  );
}

function Opened({ line, onFilter }: { line: LogLine; onFilter?: LinesProps['onFilter'] }) {
  const trace = traceOf(line);
  const seconds = Number(line.nanos / 1_000_000n) / 1000;
  const around = { from: `${Math.round((seconds - 300) * 1000)}`, to: `${Math.round((seconds + 300) * 1000)}` };
  const stream = Object.entries(line.labels).filter(([name]) => !TRACE_NAMES.includes(name) && !['span_id', 'detected_level', 'level', 'filename'].includes(name));
  const selector = `{${stream.slice(0, 6).map(([name, value]) => `${name}=${quoted(value)}`).join(', ')}}`;
  const { pod, namespace } = line.labels;
  const list = (title: string, pairs: [string, string][], parsed: boolean) => pairs.length > 0 && (
    <>
      <h3>{title}</h3>
      <dl>
        {pairs.map(([name, value]) => (
          <div key={name}>
            <dt>
              {onFilter && <><button type="button" class="plain" aria-label={`Only ${name}`} title="Only these" onClick={() => onFilter(name, value, true, parsed)}>+</button><button type="button" class="plain" aria-label={`Without ${name}`} title="Without these" onClick={() => onFilter(name, value, false, parsed)}>−</button></>}
              {name}
            </dt>
            <dd>{value}</dd>
          </div>
        ))}
      </dl>
    </>
  );
  return (
    <div class="details">
      <p class="actions">
        {trace && <a href={link(`/trace/${trace}`)}>Trace</a>}
        <a href={link('/explore', { lang: 'logql', q: selector, ...around })}>In context</a>
        {pod && <a href={link(`/kubernetes/pod/${encodeURIComponent(namespace ?? '')}/${encodeURIComponent(pod)}`, around)}>Pod</a>}
      </p>
      {list('Labels', Object.entries(line.labels), false)}
      {list('Metadata', Object.entries(line.metadata), false)}
      {list('Fields', fieldsOf(line.line), true)}
    </div>
  );
}
