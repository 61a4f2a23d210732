// The single values of stat, gauge, bar gauge and pie: one per column, or one per row.

import { bool, num, obj, str, strs, type Json } from '../../json';
import { type Shown, type StyledField } from '../fields';
import { matches } from '../fields';
import { timeField, toText } from '../frame';
import { reduce } from '../reduce';

export interface Single {
  name: string;
  shown: Shown;
  value: number | null;
  field: StyledField;
  row: number;
  /** The values over time, for sparklines. */
  trend?: { times: number[]; values: (number | null)[] };
}

const LIMIT = 100;

function wanted(fields: StyledField[], pattern: string): StyledField[] {
  if (pattern) {
    const frames = [...new Set(fields.map((one) => one.frame))];
    return fields.filter((one) => matches({ id: /^\/.*\/[a-z]*$/.test(pattern) ? 'byRegexp' : 'byName', options: pattern }, one.field, one.frame, frames) || one.name === pattern);
  }
  const numbers = fields.filter((one) => one.field.kind === 'number');
  return numbers;
}

export function singles(fields: StyledField[], options: Json): Single[] {
  const reducing = obj(options.reduceOptions ?? obj(options.fieldOptions));
  const calc = strs(reducing.calcs)[0] ?? 'lastNotNull';
  const found = wanted(fields.filter((one) => !bool(obj(one.config.custom.hideFrom).viz)), str(reducing.fields));
  if (bool(reducing.values)) {
    const limit = num(reducing.limit) ?? 25;
    return found.flatMap((one) => {
      const labels = one.frame.fields.filter((other) => other.kind === 'string');
      return one.field.values.slice(0, Math.min(limit, LIMIT)).map((value, row): Single => {
        const text = labels.map((label) => toText(label.values[row])).filter(Boolean).join(' ');
        return single(one, text || one.name, value, row);
      });
    }).slice(0, LIMIT);
  }
  return found.slice(0, LIMIT).map((one): Single => {
    const value = reduce(calc, one.field.values);
    const time = timeField(one.frame);
    const made = single(one, one.name, value, Math.max(0, one.field.values.length - 1));
    if (time && one.field.kind === 'number') made.trend = { times: time.values as number[], values: one.field.values as (number | null)[] };
    return made;
  });
}

function single(field: StyledField, name: string, value: unknown, row: number): Single {
  const shown = field.show(value);
  return { name, shown, value: shown.number, field, row };
}

/** A part between 0 and 1 of the configured range. */
export function part(one: Single): number {
  const { min, max } = one.field;
  const found = one.value === null ? 0 : (one.value - min) / (max - min || 1);
  return Math.max(0, Math.min(1, Number.isFinite(found) ? found : 0));
}

export { LIMIT };
