// Ranges of time as people write them: `now-1h`, `now/d`, an instant, `last 3 hours`, `yesterday`.

export interface Range {
  /** Seconds since the epoch. */
  start: number;
  end: number;
}

const SECONDS: Record<string, number> = { ms: 0.001, s: 1, m: 60, h: 3600, d: 86400, w: 604800, M: 2592000, y: 31536000 };

const WORDS: Record<string, string> = {
  s: 's', sec: 's', secs: 's', second: 's', seconds: 's', m: 'm', min: 'm', mins: 'm', minute: 'm', minutes: 'm',
  h: 'h', hr: 'h', hrs: 'h', hour: 'h', hours: 'h', d: 'd', day: 'd', days: 'd', w: 'w', week: 'w', weeks: 'w',
  month: 'M', months: 'M', y: 'y', year: 'y', years: 'y',
};

/** `1m30s`, `1.5h`, `250ms` in seconds. */
export function durationSeconds(text: string): number | undefined {
  const parts = [...text.matchAll(/(\d+(?:\.\d+)?)(ms|[smhdwMy])/g)];
  if (parts.length === 0 || parts.map((p) => p[0]).join('') !== text) return undefined;
  return parts.reduce((sum, [, count, unit]) => sum + Number(count) * (SECONDS[unit ?? ''] ?? 0), 0);
}

/** A duration as PromQL and Grafana write it: `1m`, `1h30m`, `500ms`. */
export function durationText(seconds: number): string {
  if (seconds < 1) return `${Math.max(1, Math.round(seconds * 1000))}ms`;
  let rest = Math.round(seconds);
  const parts: string[] = [];
  for (const [unit, size] of [['d', 86400], ['h', 3600], ['m', 60], ['s', 1]] as const) {
    const count = Math.floor(rest / size);
    if (count > 0) parts.push(`${count}${unit}`);
    rest -= count * size;
  }
  return parts.join('') || '0s';
}

function moved(date: Date, count: number, unit: string): Date {
  const after = new Date(date);
  if (unit === 'M') after.setMonth(after.getMonth() + count);
  else if (unit === 'y') after.setFullYear(after.getFullYear() + count);
  else after.setTime(after.getTime() + count * (SECONDS[unit] ?? 0) * 1000);
  return after;
}

/** The begin of the unit that the moment is in; its end when `up`. */
function rounded(date: Date, unit: string, up: boolean): Date {
  const begin = new Date(date);
  begin.setMilliseconds(0);
  if (unit !== 's') begin.setSeconds(0);
  if (!['s', 'm'].includes(unit)) begin.setMinutes(0);
  if (!['s', 'm', 'h'].includes(unit)) begin.setHours(0);
  if (unit === 'w') begin.setDate(begin.getDate() - ((begin.getDay() + 6) % 7));
  if (unit === 'M' || unit === 'y') begin.setDate(1);
  if (unit === 'y') begin.setMonth(0);
  if (!up) return begin;
  const days = unit === 'd' ? 1 : unit === 'w' ? 7 : 0;
  const next = days > 0 ? new Date(begin.getFullYear(), begin.getMonth(), begin.getDate() + days) : moved(begin, 1, unit);
  return new Date(next.getTime() - 1);
}

/** A moment in milliseconds: `now-1h/h`, milliseconds or seconds since the epoch, or a date. */
export function moment(text: string, up: boolean, now: number): number | undefined {
  const trimmed = text.trim();
  if (/^\d{9,11}$/.test(trimmed)) return Number(trimmed) * 1000;
  if (/^\d{12,14}$/.test(trimmed)) return Number(trimmed);
  const relative = /^now\s*((?:[+-]\s*\d+\s*(?:ms|[smhdwMy])\s*|\/[smhdwMy]\s*)*)$/.exec(trimmed);
  if (!relative) {
    const date = Date.parse(/^\d{4}-\d\d-\d\d$/.test(trimmed) ? `${trimmed}T00:00:00` : trimmed.replace(/^(\d{4}-\d\d-\d\d) /, '$1T'));
    return Number.isNaN(date) || !/\d{4}/.test(trimmed) ? undefined : date;
  }
  let date = new Date(now);
  for (const [, sign, count, unit, round] of (relative[1] ?? '').matchAll(/([+-])\s*(\d+)\s*(ms|[smhdwMy])|\/([smhdwMy])/g)) {
    date = round ? rounded(date, round, up) : moved(date, Number(`${sign}${count}`), unit ?? 's');
  }
  return date.getTime();
}

export interface RawRange {
  from: string;
  to: string;
}

/** What a person types into the range: words for `from` and `to`, or nothing when it is not understood. */
export function words(text: string, now: number): RawRange | undefined {
  const clean = text.trim().toLowerCase().replace(/\s+/g, ' ');
  if (clean === 'today') return { from: 'now/d', to: 'now' };
  if (clean === 'yesterday') return { from: 'now-1d/d', to: 'now-1d/d' };
  const calendar = /^(this|last|previous) (week|month|year)$/.exec(clean);
  if (calendar) {
    const unit = WORDS[calendar[2] ?? ''] ?? 'w';
    return calendar[1] === 'this' ? { from: `now/${unit}`, to: 'now' } : { from: `now-1${unit}/${unit}`, to: `now-1${unit}/${unit}` };
  }
  const last = /^(?:last |past |-)?(\d*) ?([a-z]+)(?: ago)?$/.exec(clean);
  const unit = last && WORDS[last[2] ?? ''];
  if (last && unit) return { from: `now-${last[1] || 1}${unit}`, to: 'now' };
  const pair = /^(.+?)(?: to | until | - | – |\.\.)(.+)$/.exec(text.trim());
  if (pair) {
    const [from, to] = [pair[1] ?? '', pair[2] ?? ''].map((side) => absolute(side, now));
    return from && to ? { from, to } : undefined;
  }
  const single = absolute(text, now);
  return single ? { from: single, to: 'now' } : undefined;
}

function absolute(text: string, now: number): string | undefined {
  const clean = text.trim();
  const ago = /^(\d+) ?([a-z]+) ago$/i.exec(clean);
  const unit = ago && WORDS[(ago[2] ?? '').toLowerCase()];
  if (ago && unit) return `now-${ago[1]}${unit}`;
  const clock = /^(\d{1,2}):(\d\d)(?::(\d\d))?$/.exec(clean);
  if (clock) {
    const date = new Date(now);
    date.setHours(Number(clock[1]), Number(clock[2]), Number(clock[3] ?? 0), 0);
    return `${date.getTime()}`;
  }
  if (clean.startsWith('now')) return moment(clean, false, now) === undefined ? undefined : clean.replace(/\s/g, '');
  const found = moment(clean, false, now);
  return found === undefined ? undefined : `${found}`;
}

/** The range of two raw ends; what is not understood is the last `since` seconds. */
export function resolve(raw: RawRange, now: number, since = 1800): Range {
  const end = (moment(raw.to, true, now) ?? now) / 1000;
  const start = (moment(raw.from, false, now) ?? (end - since) * 1000) / 1000;
  return start < end ? { start, end } : { start: end - since, end };
}

const UNIT_NAMES: Record<string, string> = { s: 'second', m: 'minute', h: 'hour', d: 'day', w: 'week', M: 'month', y: 'year' };

const two = (n: number) => `${n}`.padStart(2, '0');

/** `2026-11-22 10:00:00`, without seconds where they are zero. */
export function clock(millis: number): string {
  const d = new Date(millis);
  const seconds = d.getSeconds() ? `:${two(d.getSeconds())}` : '';
  return `${d.getFullYear()}-${two(d.getMonth() + 1)}-${two(d.getDate())} ${two(d.getHours())}:${two(d.getMinutes())}${seconds}`;
}

/** The range in words for the picker's button. */
export function describe(raw: RawRange, now: number): string {
  const last = /^now-(\d+)([smhdwMy])$/.exec(raw.from);
  if (last && raw.to === 'now') {
    let [count, unit] = [Number(last[1]), last[2] ?? 's'];
    if (unit === 's' && count % 60 === 0) [count, unit] = [count / 60, 'm'];
    if (unit === 'm' && count % 60 === 0) [count, unit] = [count / 60, 'h'];
    return `Last ${count} ${UNIT_NAMES[unit]}${count === 1 ? '' : 's'}`;
  }
  const known: Record<string, string> = { 'now/d now': 'Today', 'now-1d/d now-1d/d': 'Yesterday', 'now/w now': 'This week', 'now/M now': 'This month' };
  const name = known[`${raw.from} ${raw.to}`];
  if (name) return name;
  const { start, end } = resolve(raw, now);
  return `${clock(start * 1000)} to ${raw.to === 'now' ? 'now' : clock(end * 1000)}`;
}
