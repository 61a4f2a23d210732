// Field configuration: defaults and overrides become, for every column, its name, unit, thresholds,
// mappings, colours and links, and a function that shows a value.

import { GRADIENTS, colour, colourOf, gradient, mix, named } from '../format/colours';
import { clock } from '../time/parse';
import { formatValue } from '../format/units';
import { bool, list, num, obj, objs, str, strs, type Json } from '../json';
import { fieldName, toNumber, toText, type Field, type Frame } from './frame';
import type { Panel } from './model';
import { reduceNumber } from './reduce';

export interface Step {
  value: number;
  colour: string;
}

export interface Config {
  unit?: string;
  decimals?: number;
  min?: number;
  max?: number;
  noValue?: string;
  displayName?: string;
  color: Json;
  thresholds: { percentage: boolean; steps: Step[] };
  mappings: Json[];
  links: Json[];
  custom: Json;
}

export interface Shown {
  text: string;
  colour: string;
  number: number | null;
  mapped: boolean;
}

export interface StyledField {
  field: Field;
  frame: Frame;
  name: string;
  config: Config;
  /** Place among the columns of numbers of all frames. */
  index: number;
  /** The colour of the series. */
  colour: string;
  min: number;
  max: number;
  show: (value: unknown) => Shown;
}

function regexMatches(text: string, name: string): boolean {
  const parts = /^\/(.*)\/([a-z]*)$/s.exec(text);
  try {
    return new RegExp(parts ? (parts[1] ?? '') : `^${text}$`, parts ? (parts[2] ?? '').replace(/[^imsu]/g, '') : '').test(name);
  } catch {
    return false;
  }
}

const COMPARE: Record<string, (a: number, b: number) => boolean> = {
  eq: (a, b) => a === b, neq: (a, b) => a !== b, gt: (a, b) => a > b, gte: (a, b) => a >= b, lt: (a, b) => a < b, lte: (a, b) => a <= b,
};

/** Whether a matcher of an override or a transformation takes the field. */
export function matches(matcher: Json, field: Field, frame: Frame, frames: Frame[]): boolean {
  const { options } = matcher;
  const name = fieldName(field, frame, frames);
  const oneOf = (...wanted: string[]) => wanted.includes(name) || wanted.includes(field.name);
  switch (str(matcher.id)) {
    case 'byName':
      return oneOf(str(options));
    case 'byNames': {
      const { mode, names, readOnly } = obj(options);
      void readOnly;
      const found = oneOf(...strs(names));
      return mode === 'exclude' ? !found : found;
    }
    case 'byRegexp':
    case 'byRegexpOrNames':
      return typeof options === 'string' ? regexMatches(options, name) : oneOf(...strs(obj(options).names)) || (!!obj(options).pattern && regexMatches(str(obj(options).pattern), name));
    case 'byType':
      return field.kind === str(options);
    case 'byTypes':
      return strs(obj(options).types ?? options).includes(field.kind);
    case 'numeric':
      return field.kind === 'number';
    case 'time':
    case 'firstTimeField':
      return field.kind === 'time';
    case 'first':
      return frame.fields[0] === field;
    case 'byFrameRefID':
      return frame.refId === str(options);
    case 'byFrameName':
      return (frame.name ?? '') === str(options);
    case 'byValue': {
      const { reducer, op, value } = obj(options);
      const found = reduceNumber(str(reducer, 'lastNotNull'), field.values);
      return field.kind === 'number' && found !== null && (COMPARE[str(op)]?.(found, num(value) ?? 0) ?? false);
    }
    case 'anyOf':
    case 'allOf': {
      const inner = objs(options);
      return matcher.id === 'anyOf' ? inner.some((one) => matches(one, field, frame, frames)) : inner.every((one) => matches(one, field, frame, frames));
    }
    case 'invertMatch':
      return !matches(obj(options), field, frame, frames);
    default:
      return false;
  }
}

/** Sets `a.b.c` in a copy. */
function withPath(json: Json, path: string, value: unknown): Json {
  const [head = '', ...rest] = path.split('.');
  if (['__proto__', 'constructor', 'prototype'].includes(head)) return json;
  return { ...json, [head]: rest.length > 0 ? withPath(obj(json[head]), rest.join('.'), value) : value };
}

function thresholds(value: unknown): Config['thresholds'] {
  const json = obj(value);
  const steps = objs(json.steps).map((step, i) => ({ value: step.value === null || i === 0 ? -Infinity : (num(step.value) ?? -Infinity), colour: named(str(step.color)) ?? '#73bf69' }));
  const sorted = steps.sort((a, b) => a.value - b.value);
  return { percentage: json.mode === 'percentage', steps: sorted.length > 0 ? sorted : [{ value: -Infinity, colour: named('green') ?? '#73bf69' }, { value: 80, colour: named('red') ?? '#f2495c' }] };
}

function configOf(panel: Panel, field: Field, frame: Frame, frames: Frame[]): Config {
  let json: Json = { ...panel.fieldConfig.defaults, ...field.config, custom: { ...obj(panel.fieldConfig.defaults.custom) } };
  for (const { matcher, properties } of panel.fieldConfig.overrides) {
    if (!matches(matcher, field, frame, frames)) continue;
    for (const { id, value } of properties) json = withPath(json, str(id), value);
  }
  return {
    unit: str(json.unit) || undefined, decimals: num(json.decimals), min: num(json.min), max: num(json.max), noValue: str(json.noValue) || undefined,
    displayName: str(json.displayName) || undefined, color: obj(json.color), thresholds: thresholds(json.thresholds), mappings: mappingsOf(json.mappings), links: objs(json.links), custom: obj(json.custom),
  };
}

/** Old mappings have a number as their type. */
function mappingsOf(value: unknown): Json[] {
  return objs(value).map((one) => {
    if (num(one.type) === 1) return { type: 'value', options: { [str(one.value)]: { text: one.text } } };
    if (num(one.type) === 2) return { type: 'range', options: { from: num(one.from), to: num(one.to), result: { text: one.text } } };
    return one;
  });
}

function special(match: string, value: unknown): boolean {
  const empty = value === null || value === undefined;
  const nan = typeof value === 'number' && Number.isNaN(value);
  switch (match) {
    case 'null': return empty;
    case 'nan': return nan;
    case 'null+nan': return empty || nan;
    case 'true': return value === true || value === 'true';
    case 'false': return value === false || value === 'false';
    case 'empty': return value === '';
    default: return false;
  }
}

function mapped(mappings: Json[], value: unknown): Json | undefined {
  for (const { type, options } of mappings) {
    const all = obj(options);
    if (type === 'value') {
      const key = value === null || value === undefined ? 'null' : toText(value);
      if (Object.hasOwn(all, key)) return obj(all[key]);
    } else if (type === 'range') {
      const number = toNumber(value);
      if (number !== null && number >= (num(all.from) ?? -Infinity) && number <= (num(all.to) ?? Infinity)) return obj(all.result);
    } else if (type === 'regex') {
      const found = value === null || value === undefined ? undefined : regexReplace(str(all.pattern), toText(value), str(obj(all.result).text));
      if (found !== undefined) return { ...obj(all.result), text: found };
    } else if (type === 'special' && special(str(all.match), value)) return obj(all.result);
  }
  return undefined;
}

function regexReplace(pattern: string, text: string, by: string): string | undefined {
  const parts = /^\/(.*)\/([a-z]*)$/s.exec(pattern);
  try {
    const regex = new RegExp(parts ? (parts[1] ?? '') : pattern, parts ? (parts[2] ?? '').replace(/[^imsu]/g, '') : '');
    return regex.test(text) ? text.replace(regex, by) : undefined;
  } catch {
    return undefined;
  }
}

export function stepAt(config: Config, value: number, min: number, max: number): Step {
  const at = config.thresholds.percentage ? ((value - min) / (max - min || 1)) * 100 : value;
  const { steps } = config.thresholds;
  return steps.findLast((step) => at >= step.value) ?? steps[0] ?? { value: -Infinity, colour: '#73bf69' };
}

/** Bounds of thresholds in values, also where they are percentages. */
export function stepValues(config: Config, min: number, max: number): Step[] {
  return config.thresholds.steps.map((step) => ({ ...step, value: config.thresholds.percentage && Number.isFinite(step.value) ? min + ((max - min) * step.value) / 100 : step.value }));
}

function colourFor(config: Config, name: string, index: number, value: number | null, min: number, max: number): string {
  const mode = str(config.color.mode, 'palette-classic');
  const fixed = named(str(config.color.fixedColor));
  if (mode === 'fixed') return fixed ?? colour(index);
  if (mode === 'shades') return mix(fixed ?? colour(0), '#8a8f98', Math.min(0.7, index * 0.12));
  if (mode === 'thresholds') return stepAt(config, value ?? min, min, max).colour;
  const stops = GRADIENTS[mode];
  if (stops) return gradient(stops, value === null ? 0 : (value - min) / (max - min || 1));
  return mode === 'palette-classic-by-name' ? colourOf(name) : colour(index);
}

function shower(config: Config, kind: Field['kind'], name: string, index: number, min: number, max: number, byThreshold: boolean): StyledField['show'] {
  const unit = config.unit;
  return (value) => {
    const map = mapped(config.mappings, value);
    const number = toNumber(value);
    const base = byThreshold && !config.color.mode ? { ...config, color: { mode: 'thresholds' } } : config;
    const tint = named(str(map?.color)) ?? colourFor(base, name, index, number, min, max);
    if (map && str(map.text) !== '') return { text: str(map.text), colour: tint, number, mapped: true };
    if (value === null || value === undefined) return { text: config.noValue ?? '-', colour: tint, number: null, mapped: false };
    if (kind === 'time' && typeof value === 'number' && !unit) return { text: clock(value), colour: tint, number, mapped: false };
    if (number === null || (kind === 'string' && !unit) || kind === 'other') return { text: toText(value), colour: tint, number, mapped: false };
    if (kind === 'boolean' && !unit) return { text: number ? 'True' : 'False', colour: tint, number, mapped: false };
    return { text: Number.isNaN(number) ? 'NaN' : formatValue(number, unit ?? (kind === 'time' ? 'dateTimeAsIso' : 'short'), config.decimals), colour: tint, number, mapped: false };
  };
}

function extent(fields: Field[]): [number, number] {
  let [min, max] = [Infinity, -Infinity];
  for (const field of fields) {
    for (const value of field.values) {
      if (typeof value !== 'number' || !Number.isFinite(value)) continue;
      if (value < min) min = value;
      if (value > max) max = value;
    }
  }
  return min <= max ? [min, max] : [0, 100];
}

/** All columns of all frames, styled. `byThreshold` is how panels of single values choose colours. */
export function styled(panel: Panel, frames: Frame[], byThreshold = false): StyledField[] {
  const numbers = frames.flatMap((frame) => frame.fields.filter((field) => field.kind === 'number'));
  const [low, high] = extent(numbers);
  const titles = new Map<string, number>();
  let index = -1;
  return frames.flatMap((frame) => frame.fields.map((field): StyledField => {
    if (field.kind === 'number') index += 1;
    const config = configOf(panel, field, frame, frames);
    const made = config.displayName !== undefined ? nameFrom(config.displayName, field, frame, frames) : fieldName(field, frame, frames);
    const again = field.kind === 'number' ? (titles.get(made) ?? 0) : 0;
    if (field.kind === 'number') titles.set(made, again + 1);
    const name = again > 0 && config.displayName === undefined ? `${made} ${again + 1}` : made;
    const [min, max] = [config.min ?? (config.unit === 'percentunit' || config.unit === 'percent' ? Math.min(0, low) : low), config.max ?? (config.unit === 'percentunit' ? Math.max(1, high) : config.unit === 'percent' ? Math.max(100, high) : high)];
    const by = str(config.color.seriesBy, 'last');
    const last = field.kind === 'number' ? reduceNumber(by === 'last' ? 'lastNotNull' : by, field.values) : null;
    const tint = byThreshold && !config.color.mode ? colour(index) : colourFor(config, name, Math.max(0, index), last, min, max);
    return { field, frame, name, config, index, colour: tint, min, max, show: shower(config, field.kind, name, Math.max(0, index), min, max, byThreshold) };
  }));
}

/** `${__field.labels.x}`, `${__series.name}` and `${__cell_0}` in display names. */
function nameFrom(text: string, field: Field, frame: Frame, frames: Frame[]): string {
  return text
    .replace(/\$\{__field\.labels\.([^}]+)\}/g, (_, label: string) => field.labels?.[label.replace(/^\["|"\]$/g, '')] ?? '')
    .replace(/\$\{__field\.labels\}/g, () => Object.entries(field.labels ?? {}).map(([k, v]) => `${k}="${v}"`).join(', '))
    .replace(/\$\{?__field\.(?:name|displayName)\}?/g, () => field.name)
    .replace(/\$\{?__series\.name\}?/g, () => fieldName(field, frame, frames));
}

export function isHidden(one: StyledField, where: 'viz' | 'legend' | 'tooltip'): boolean {
  return bool(obj(one.config.custom.hideFrom)[where]) || (where === 'viz' && bool(one.config.custom.hidden));
}

export function stringsOf(value: unknown): string[] {
  return list(value).map((one) => str(one));
}
