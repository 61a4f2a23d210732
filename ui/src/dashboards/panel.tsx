// The frame of a panel: asks when it is seen, tells its state in `data-` attributes, and draws.

import { Component, type ComponentChildren } from 'preact';
import { useEffect, useLayoutEffect, useMemo, useRef, useState } from 'preact/hooks';
import { str } from '../json';
import { errorText } from '../load';
import { Markdown } from '../parts/markdown';
import { useRoute } from '../route';
import { asked, panelTime, useDashboard, type PanelState } from './context';
import { styled } from './fields';
import { rowCount } from './frame';
import { title } from './interpolate';
import { urlOf } from './links';
import { PanelMenu } from './menu';
import type { Panel } from './model';
import { KINDS } from './panels/registry';
import { runPanel, Unsupported, type PanelData } from './queries';
import { transform, UnknownTransform } from './transform';

interface Answer {
  state: PanelState;
  data?: PanelData;
  error?: string;
}

/** Whether the panel is, or is about to be, in view. */
function useSeen(box: { current: HTMLElement | null }, always: boolean): boolean | undefined {
  const [seen, setSeen] = useState<boolean | undefined>(always ? true : undefined);
  useEffect(() => {
    if (always || !box.current) {
      setSeen(true);
      return;
    }
    const observer = new IntersectionObserver((entries) => setSeen(entries.some((entry) => entry.isIntersecting)), { rootMargin: '200px' });
    observer.observe(box.current);
    return () => observer.disconnect();
  }, [always]);
  return seen;
}

function useSize(box: { current: HTMLElement | null }): { width: number; height: number } {
  const [size, setSize] = useState({ width: 0, height: 0 });
  // At once, so that nothing counts as drawn while there is no room known to draw in.
  useLayoutEffect(() => {
    if (!box.current) return;
    const take = ({ width, height }: { width: number; height: number }) => {
      const now = { width: Math.floor(width), height: Math.floor(height) };
      setSize((before) => (before.width === now.width && before.height === now.height ? before : now));
    };
    take(box.current.getBoundingClientRect());
    const observer = new ResizeObserver(([entry]) => { if (entry) take(entry.contentRect); });
    observer.observe(box.current);
    return () => observer.disconnect();
  }, []);
  return size;
}

/** What draws a panel may fail on data that nobody foresaw: the panel says so, the page lives on. */
class Guard extends Component<{ children: ComponentChildren; onError: (why: string) => void; of: unknown }> {
  override state: { failed?: string; of?: unknown } = {};

  static override getDerivedStateFromError(error: unknown) {
    return { failed: errorText(error) };
  }

  override componentDidCatch(error: unknown) {
    this.setState({ of: this.props.of });
    this.props.onError(errorText(error));
  }

  override render() {
    // With other data it may go well again.
    return this.state.failed && this.state.of === this.props.of ? null : this.props.children;
  }
}

function useAnswer(panel: Panel, seen: boolean | undefined, width: number): [Answer, (answer: Answer) => void] {
  const context = useDashboard();
  const kind = KINDS[panel.type];
  const [answer, setAnswer] = useState<Answer>({ state: 'idle' });
  const done = useRef<string>(undefined);
  const key = JSON.stringify([context.range, context.tick, context.values, context.filters, panel.scoped, panel.json, width === 0]);
  useEffect(() => {
    if (!kind) {
      setAnswer({ state: 'unsupported', error: panel.type === 'library-panel-ref' ? `this library panel is not part of the dashboard's file; export it with its library panels` : `panel type ${panel.type || '(none)'} is not supported` });
      return;
    }
    const { range, interval } = panelTime(context, panel, width);
    const nothing = { frames: [], exemplars: [], notices: [], log: [], range, interval };
    if (kind.static) {
      setAnswer({ state: 'ok', data: nothing });
      return;
    }
    if (!seen || width === 0 || done.current === key) return;
    if (asked(panel).length === 0 && !kind.load) {
      done.current = key;
      setAnswer({ state: 'empty', data: nothing });
      return;
    }
    const abort = new AbortController();
    setAnswer((before) => ({ ...before, state: 'loading', error: undefined }));
    const { load } = kind;
    const loading = load ? load(panel, context, abort.signal).then((extra) => ({ ...nothing, extra })) : runPanel(panel, context, width, abort.signal);
    Promise.all([loading, kind.prepare?.()]).then(
      ([data]) => {
        if (abort.signal.aborted) return;
        done.current = key;
        try {
          const frames = transform(data.frames, panel.transformations);
          const empty = !load && frames.every((frame) => rowCount(frame) === 0);
          setAnswer({ state: empty ? 'empty' : 'ok', data: { ...data, frames } });
        } catch (error) {
          setAnswer({ state: error instanceof UnknownTransform ? 'unsupported' : 'error', error: errorText(error), data });
        }
      },
      (error: unknown) => {
        if (abort.signal.aborted) return;
        done.current = key;
        setAnswer({ state: error instanceof Unsupported ? 'unsupported' : 'error', error: errorText(error) });
      },
    );
    return () => abort.abort();
  }, [key, seen]);
  return [answer, setAnswer];
}

export function PanelFrame({ panel, alone }: { panel: Panel; alone?: boolean }) {
  const context = useDashboard();
  const { params } = useRoute();
  const box = useRef<HTMLElement>(null);
  const body = useRef<HTMLDivElement>(null);
  const seen = useSeen(box, context.renderAll);
  const { width, height } = useSize(body);
  const [answer, setAnswer] = useAnswer(panel, seen, width);
  const { state, data, error } = answer;
  // Also before it is known whether it is seen, and before it has begun to ask.
  const busy = state === 'loading' || (state === 'idle' && seen !== false);
  useEffect(() => context.report(panel.key, busy), [busy]);
  const kind = KINDS[panel.type];
  const time = useMemo(() => panelTime(context, panel, width), [context.range, context.values, width, panel]);
  const fields = useMemo(() => {
    if (!data || !kind) return [];
    const named = { ...panel, fieldConfig: filled(panel.fieldConfig, time.values) };
    return styled(named, data.frames, kind.byThreshold);
  }, [data, panel]);
  const name = title(panel.title, time.values);
  const links = panel.links.flatMap((json) => urlOf(json, time.values, params) ?? []);
  const drawn = data && kind && width > 0 && height > 0 && (state === 'ok' || (state === 'loading' && (data.frames.length > 0 || data.extra !== undefined)));
  return (
    <section
      ref={box}
      class={panel.transparent ? 'panel transparent' : 'panel'}
      data-panel-id={panel.key}
      data-panel-type={panel.type}
      data-state={state}
      data-error={error}
      aria-label={name || panel.type}
      aria-busy={state === 'loading'}
    >
      {(name || panel.description || links.length > 0 || !context.kiosk) && (
        <header>
          <h3 title={name}>{name}</h3>
          {panel.description && <details class="info"><summary aria-label="Description">i</summary><div class="popover"><Markdown text={title(panel.description, time.values)} /></div></details>}
          {links.map((one) => <a key={one.href} href={one.href} class="panel-link" title={one.text} target={one.blank ? '_blank' : undefined} rel="noopener noreferrer">↗</a>)}
          {data && data.notices.length > 0 && <span class="notice" title={data.notices.join('\n')}>!</span>}
          {!alone && <PanelMenu panel={panel} data={data} fields={fields} time={time} />}
        </header>
      )}
      <div class="panel-body" ref={body}>
        {drawn && (
          <Guard onError={(why) => setAnswer({ state: 'error', error: why })} of={data}>
            <kind.draw panel={panel} frames={data.frames} fields={fields} data={data} width={width} height={height} context={context} time={time} />
          </Guard>
        )}
        {state === 'empty' && <p class="panel-note">{str(panel.fieldConfig.defaults.noValue) || 'No data'}</p>}
        {(state === 'error' || state === 'unsupported') && <p class="panel-note error" role="alert">{error}</p>}
        {state === 'loading' && !drawn && <p class="panel-note quiet">Loading …</p>}
      </div>
    </section>
  );
}

/** Variables in names and units of the configuration. */
function filled(config: Panel['fieldConfig'], values: Parameters<typeof title>[1]): Panel['fieldConfig'] {
  const walk = (value: unknown, depth: number): unknown => {
    if (typeof value === 'string') return /[$[]/.test(value) ? title(value, values) : value;
    if (depth > 6 || typeof value !== 'object' || value === null) return value;
    if (Array.isArray(value)) return value.map((one) => walk(one, depth + 1));
    return Object.fromEntries(Object.entries(value).map(([name, one]) => [name, name === 'links' || name === 'url' ? one : walk(one, depth + 1)]));
  };
  return walk(config, 0) as Panel['fieldConfig'];
}
