// What all panels of a dashboard share while it is shown.

import { createContext } from 'preact';
import { useContext } from 'preact/hooks';
import type { Region } from '../chart/overlays';
import { bool } from '../json';
import { durationSeconds, durationText, moment, type Range, type RawRange } from '../time/parse';
import { stepFor } from '../time/store';
import { builtin, interpolate, type Style, type Values } from './interpolate';
import type { Filter } from './matchers';
import type { Dashboard, Panel } from './model';

export interface DashboardContext {
  dashboard: Dashboard;
  values: Values;
  filters: Filter[];
  raw: RawRange;
  range: Range;
  tick: number;
  regions: Region[];
  /** Panels that are not visible ask too. */
  renderAll: boolean;
  /** Told whether a panel still has something to do. */
  report: (key: string, busy: boolean) => void;
  kiosk: boolean;
  editing: boolean;
}

export type PanelState = 'idle' | 'loading' | 'ok' | 'empty' | 'error' | 'unsupported';

export const Context = createContext<DashboardContext | undefined>(undefined);

export function useDashboard(): DashboardContext {
  const found = useContext(Context);
  if (!found) throw new Error('a panel is drawn within a dashboard');
  return found;
}

/** Between two scrapes, where nothing else says it. */
const SCRAPE_SECONDS = 15;

export interface PanelTime {
  range: Range;
  interval: number;
  values: Values;
}

/** The panel's own range and intervals, and all variables with the built-in ones. */
export function panelTime(context: Pick<DashboardContext, 'values' | 'range' | 'dashboard'>, panel: Panel, width: number, least = ''): PanelTime {
  let { range } = context;
  const scoped = Object.fromEntries(Object.entries(panel.scoped).map(([name, one]) => [name, { values: [one.value], texts: [one.text], multi: true }]));
  const values: Values = { ...context.values, ...scoped };
  const shown = (text: string) => interpolate(text, { values, style: 'text' });
  if (panel.timeFrom) {
    const asked = shown(panel.timeFrom);
    const start = moment(asked.startsWith('now') ? asked : `now-${asked}`, false, range.end * 1000);
    if (start !== undefined) range = { start: start / 1000, end: range.end };
  }
  const back = panel.timeShift ? durationSeconds(shown(panel.timeShift).replace(/^now-/, '')) : undefined;
  if (back) range = { start: range.start - back, end: range.end - back };
  const scrape = durationSeconds(shown(least || panel.interval).replace(/^>/, '')) ?? SCRAPE_SECONDS;
  const seconds = range.end - range.start;
  const points = panel.maxDataPoints ?? Math.max(100, width);
  const interval = Math.max(stepFor(range, points, scrape), seconds / 11000);
  const rate = Math.max(interval + scrape, 4 * scrape);
  return { range, interval, values: { ...values, ...times(range, interval, rate, context.dashboard) } };
}

function times(range: Range, interval: number, rate: number, dashboard: Dashboard): Values {
  const seconds = Math.round(range.end - range.start);
  return {
    __interval: builtin(durationText(interval)), __interval_ms: builtin(`${Math.round(interval * 1000)}`), __auto: builtin(durationText(interval)),
    __rate_interval: builtin(durationText(rate)), __rate_interval_ms: builtin(`${Math.round(rate * 1000)}`),
    __range: builtin(`${seconds}s`), __range_s: builtin(`${seconds}`), __range_ms: builtin(`${seconds * 1000}`),
    __from: builtin(`${Math.round(range.start * 1000)}`), __to: builtin(`${Math.round(range.end * 1000)}`),
    __dashboard: builtin(dashboard.title), __name: builtin(dashboard.title), __org: builtin('1'), __timezone: builtin(Intl.DateTimeFormat().resolvedOptions().timeZone),
    timeFilter: builtin(''), __timeFilter: builtin(''),
  };
}

export function fill(text: string, values: Values, style: Style): string {
  return interpolate(text, { values, style });
}

/** Whether a target is asked: not hidden. */
export function asked(panel: Panel) {
  return panel.targets.filter((target) => !target.hide && !bool(target.json.hide));
}
