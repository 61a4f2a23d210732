// Names, times and durations for people.

import { fixed, formatValue } from './units';

/** `1.23 ms` from nanoseconds. */
export function duration(nanos: number): string {
  if (nanos === 0) return '0';
  const [value, unit] =
    nanos < 1e3 ? [nanos, 'ns'] : nanos < 1e6 ? [nanos / 1e3, 'µs'] : nanos < 1e9 ? [nanos / 1e6, 'ms'] : nanos < 6e10 ? [nanos / 1e9, 's'] : [nanos / 6e10, 'min'];
  const digits = value >= 100 ? 0 : value >= 10 ? 1 : 2;
  return `${Number(value.toFixed(digits))} ${unit}`;
}

/** At most four digits and an SI prefix. */
export function number(value: number): string {
  const size = Math.abs(value);
  if (!Number.isFinite(value)) return fixed(value);
  if (size !== 0 && size < 1e-4) return value.toExponential(2);
  for (const [least, prefix] of [[1e12, 'T'], [1e9, 'G'], [1e6, 'M'], [1e4, 'k']] as const) {
    if (size >= least) return `${Number((value / (prefix === 'k' ? 1e3 : least)).toPrecision(4))}${prefix}`;
  }
  return `${Number(value.toPrecision(4))}`;
}

export const bytes = (value: number) => formatValue(value, 'bytes');

const two = (n: number) => `${n}`.padStart(2, '0');
const day = (date: Date) => `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
const minutes = (date: Date) => `${two(date.getHours())}:${two(date.getMinutes())}`;

/** `2026-11-21 10:00:00.123` in the reader's zone. */
export function time(nanos: bigint): string {
  const millis = Number(nanos / 1_000_000n);
  return `${moment(millis / 1000)}.${`${new Date(millis).getMilliseconds()}`.padStart(3, '0')}`;
}

/** `2026-11-21 10:00:00` in the reader's zone, from seconds. */
export function moment(seconds: number): string {
  const date = new Date(seconds * 1000);
  return `${day(date)} ${minutes(date)}:${two(date.getSeconds())}`;
}

/** Marks of a time axis that are `step` seconds apart, by a 24-hour clock; a new day is told once. */
export function marks(ticks: number[], step: number): string[] {
  let told = '';
  return ticks.map((tick) => {
    const date = new Date(tick * 1000);
    const today = day(date);
    if (step >= 86400) return today;
    const clock = step >= 60 ? minutes(date) : `${minutes(date)}:${two(date.getSeconds())}${step < 1 ? `.${Math.floor(date.getMilliseconds() / 100)}` : ''}`;
    const mark = today === told ? clock : `${clock}\n${today}`;
    told = today;
    return mark;
  });
}

/** `1 span`, `2 spans`, `2 queries` */
export function count(n: number, noun: string): string {
  const many = /[^aeiou]y$/.test(noun) ? `${noun.slice(0, -1)}ies` : `${noun}s`;
  return `${n.toLocaleString('en-US')} ${n === 1 ? noun : many}`;
}

/** `12 s ago` */
export function ago(rfc3339: string, now: number): string {
  const seconds = (now - Date.parse(rfc3339)) / 1000;
  if (!Number.isFinite(seconds) || seconds > 1e9) return 'never';
  if (seconds < 90) return `${Math.max(0, Math.round(seconds))} s ago`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min ago`;
  if (seconds < 129600) return `${Math.round(seconds / 3600)} h ago`;
  return `${Math.round(seconds / 86400)} days ago`;
}

/** `name{a="1"}` */
export function seriesName(metric: Record<string, string>): string {
  const { __name__: name = '', ...labels } = metric;
  const pairs = Object.entries(labels).map(([key, value]) => `${key}=${JSON.stringify(value)}`);
  return pairs.length > 0 || !name ? `${name}{${pairs.join(', ')}}` : name;
}

/** A text within PromQL's and LogQL's double quotes. */
export function quoted(text: string): string {
  return `"${text.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n')}"`;
}
