// Numbers, times and durations for people.

/** `1.23 ms` */
export function duration(nanos: number): string {
  const [value, unit] =
    nanos < 1e3 ? [nanos, 'ns'] : nanos < 1e6 ? [nanos / 1e3, 'µs'] : nanos < 1e9 ? [nanos / 1e6, 'ms'] : [nanos / 1e9, 's'];
  const digits = value >= 100 ? 0 : value >= 10 ? 1 : 2;
  return `${Number(value.toFixed(digits))} ${unit}`;
}

/** At most four digits and an SI prefix. */
export function number(value: number): string {
  const size = Math.abs(value);
  if (!Number.isFinite(value)) return `${value}`;
  if (size >= 1e12) return `${Number((value / 1e12).toPrecision(4))}T`;
  if (size >= 1e9) return `${Number((value / 1e9).toPrecision(4))}G`;
  if (size >= 1e6) return `${Number((value / 1e6).toPrecision(4))}M`;
  if (size >= 1e4) return `${Number((value / 1e3).toPrecision(4))}k`;
  return `${Number(value.toPrecision(4))}`;
}

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
    const clock = step >= 60 ? minutes(date) : `${minutes(date)}:${two(date.getSeconds())}`;
    const mark = today === told ? clock : `${clock}\n${today}`;
    told = today;
    return mark;
  });
}

/** `1 span`, `2 spans` */
export function count(n: number, noun: string): string {
  return `${n} ${noun}${n === 1 ? '' : 's'}`;
}

/** `12 s ago` */
export function ago(rfc3339: string, now: number): string {
  const seconds = (now - Date.parse(rfc3339)) / 1000;
  if (!Number.isFinite(seconds) || seconds > 1e8) return 'never';
  if (seconds < 90) return `${Math.max(0, Math.round(seconds))} s ago`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min ago`;
  return `${Math.round(seconds / 3600)} h ago`;
}

/** `name{a="1"}` */
export function seriesName(metric: Record<string, string>): string {
  const { __name__: name = '', ...labels } = metric;
  const pairs = Object.entries(labels).map(([key, value]) => `${key}=${JSON.stringify(value)}`);
  return pairs.length > 0 || !name ? `${name}{${pairs.join(', ')}}` : name;
}
