// One value out of a column, under the names that dashboards use.

import { toNumber } from './frame';

type Reducer = (numbers: number[], raw: unknown[]) => unknown;

const sum = (n: number[]) => n.reduce((a, b) => a + b, 0);
const mean = (n: number[]) => (n.length ? sum(n) / n.length : null);
const variance = (n: number[]) => {
  const middle = mean(n);
  return middle === null ? null : sum(n.map((v) => (v - middle) ** 2)) / n.length;
};
const ends = (n: number[]) => (n.length ? [n[0] ?? 0, n[n.length - 1] ?? 0] : undefined);
const max = (n: number[]) => n.reduce<number | null>((a, b) => (a === null || b > a ? b : a), null);
const min = (n: number[]) => n.reduce<number | null>((a, b) => (a === null || b < a ? b : a), null);
const filled = (raw: unknown[]) => raw.filter((v) => v !== null && v !== undefined && !(typeof v === 'number' && Number.isNaN(v)));

export function quantile(numbers: number[], q: number): number | null {
  if (numbers.length === 0) return null;
  const sorted = [...numbers].sort((a, b) => a - b);
  const at = (sorted.length - 1) * q;
  const low = sorted[Math.floor(at)] ?? 0;
  return low + ((sorted[Math.ceil(at)] ?? low) - low) * (at - Math.floor(at));
}

const REDUCERS: Record<string, Reducer> = {
  lastNotNull: (_, raw) => filled(raw).at(-1) ?? null,
  last: (_, raw) => raw.at(-1) ?? null,
  firstNotNull: (_, raw) => filled(raw)[0] ?? null,
  first: (_, raw) => raw[0] ?? null,
  min: (n) => min(n),
  max: (n) => max(n),
  mean: (n) => mean(n),
  median: (n) => quantile(n, 0.5),
  variance: (n) => variance(n),
  stdDev: (n) => {
    const found = variance(n);
    return found === null ? null : Math.sqrt(found);
  },
  sum: (n) => (n.length ? sum(n) : null),
  count: (_, raw) => raw.length,
  countAll: (_, raw) => raw.length,
  range: (n) => (n.length ? (max(n) ?? 0) - (min(n) ?? 0) : null),
  delta: (n) => n.slice(1).reduce((total, value, i) => total + (value >= (n[i] ?? 0) ? value - (n[i] ?? 0) : value), 0),
  step: (n) => n.slice(1).reduce<number | null>((least, value, i) => Math.min(least ?? Infinity, value - (n[i] ?? 0)), null),
  diff: (n) => {
    const both = ends(n);
    return both ? both[1]! - both[0]! : null;
  },
  diffperc: (n) => {
    const both = ends(n);
    return both && both[0] !== 0 ? (both[1]! - both[0]!) / both[0]! : null;
  },
  logmin: (n) => min(n.filter((v) => v > 0)),
  allIsZero: (n) => n.length > 0 && n.every((v) => v === 0),
  allIsNull: (_, raw) => filled(raw).length === 0,
  changeCount: (_, raw) => filled(raw).reduce<number>((total, value, i, all) => total + (i > 0 && value !== all[i - 1] ? 1 : 0), 0),
  distinctCount: (_, raw) => new Set(filled(raw)).size,
  uniqueValues: (_, raw) => [...new Set(filled(raw))].join(', '),
  allValues: (_, raw) => filled(raw).join(', '),
};

/** Names of old dashboards. */
const ALIASES: Record<string, string> = { avg: 'mean', current: 'lastNotNull', total: 'sum', stddev: 'stdDev', first_not_null: 'firstNotNull' };

const LABELS: Record<string, string> = {
  lastNotNull: 'Last', last: 'Last', mean: 'Mean', max: 'Max', min: 'Min', sum: 'Total', count: 'Count', firstNotNull: 'First', first: 'First',
  range: 'Range', delta: 'Delta', diff: 'Difference', stdDev: 'StdDev', median: 'Median', distinctCount: 'Distinct', changeCount: 'Changes',
};

export function reducerLabel(id: string): string {
  return LABELS[ALIASES[id] ?? id] ?? id;
}

export function reduce(id: string, values: unknown[]): unknown {
  const numbers = values.map(toNumber).filter((v): v is number => v !== null && !Number.isNaN(v));
  const percentile = /^p(\d{1,2})$/.exec(id);
  if (percentile) return quantile(numbers, Number(percentile[1]) / 100);
  const reducer = REDUCERS[ALIASES[id] ?? id];
  return reducer ? reducer(numbers, values) : null;
}

export function reduceNumber(id: string, values: unknown[]): number | null {
  return toNumber(reduce(id, values));
}
