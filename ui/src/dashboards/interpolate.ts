// Variables in texts: `$name`, `${name}`, `${name:format}`, `[[name]]`, and the built-in ones.

import { moment as momentText } from '../format/text';
import { dateFormat } from '../format/units';

export interface Value {
  /** The values that are chosen; of All, all of them. */
  values: string[];
  texts: string[];
  multi: boolean;
  /** Stands for All as it is written. */
  allValue?: string;
  all?: boolean;
  /** Never escaped, whatever the format. */
  builtin?: boolean;
}

export type Values = Record<string, Value>;

export function single(value: string, text = value): Value {
  return { values: [value], texts: [text], multi: false };
}

export function builtin(value: string): Value {
  return { values: [value], texts: [value], multi: false, builtin: true };
}

export function regexEscape(text: string): string {
  return text.replace(/[\\^$*+?.()|[\]{}/]/g, '\\$&');
}

type Format = (value: Value, name: string, argument: string) => string;

const each = (value: Value, make: (one: string) => string, glue = ',') => value.values.map(make).join(glue);
const glob: Format = (value) => (value.values.length > 1 ? `{${value.values.join(',')}}` : (value.values[0] ?? ''));

const FORMATS: Record<string, Format> = {
  csv: (v) => v.values.join(','),
  raw: (v) => v.values.join(','),
  values: (v) => v.values.join(','),
  json: (v) => JSON.stringify(v.multi ? v.values : v.values[0]),
  pipe: (v) => v.values.join('|'),
  join: (v, _, argument) => v.values.join(argument || ','),
  regex: (v) => (v.values.length > 1 ? `(${each(v, regexEscape, '|')})` : regexEscape(v.values[0] ?? '')),
  glob,
  lucene: (v) => (v.values.length > 1 ? `(${each(v, (one) => `"${lucene(one)}"`, ' OR ')})` : lucene(v.values[0] ?? '')),
  distributed: (v, name) => v.values.map((one, i) => (i > 0 ? `${name}=${one}` : one)).join(','),
  percentencode: (v) => encodeURIComponent(v.values.length > 1 ? `{${v.values.join(',')}}` : (v.values[0] ?? '')),
  uriencode: (v) => encodeURI(v.values.join(',')),
  queryparam: (v, name) => (v.all ? ['$__all'] : v.values).map((one) => `var-${encodeURIComponent(name)}=${encodeURIComponent(one)}`).join('&'),
  singlequote: (v) => each(v, (one) => `'${one.replaceAll("'", "\\'")}'`),
  doublequote: (v) => each(v, (one) => `"${one.replaceAll('"', '\\"')}"`),
  sqlstring: (v) => each(v, (one) => `'${one.replaceAll("'", "''")}'`),
  text: (v) => (v.all ? 'All' : v.texts.join(' + ')),
  date: (v, _, argument) => date(Number(v.values[0]), argument),
};

function lucene(text: string): string {
  return text.replace(/[+\-&|!(){}[\]^"~*?:\\/]/g, '\\$&');
}

function date(millis: number, format: string): string {
  if (!Number.isFinite(millis)) return '';
  if (format === 'seconds') return `${Math.floor(millis / 1000)}`;
  if (format && format !== 'iso') return dateFormat(millis, format);
  return new Date(millis).toISOString();
}

/** How a query language wants a variable without a format. */
export type Style = 'promql' | 'text' | 'url';

/** Within a string of PromQL or LogQL; several values are a regular expression. */
function promql(value: Value, selectable: boolean): string {
  const inString = (text: string) => text.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n');
  if (!selectable) return inString(value.values[0] ?? '');
  const escaped = value.values.map((one) => inString(regexEscape(one).replaceAll('\\/', '/')));
  return escaped.length === 1 ? (escaped[0] ?? '') : `(${escaped.join('|')})`;
}

export interface Scope {
  values: Values;
  style: Style;
}

const PATTERN = /\$(\w+)|\[\[(\w+?)(?::(\w+))?\]\]|\$\{(\w+)(?:\.([^:}]*))?(?::([^}]*))?\}/g;

export function interpolate(text: string, { values, style }: Scope): string {
  return text.replace(PATTERN, (whole: string, plain?: string, bracket?: string, bracketFormat?: string, braced?: string, path?: string, bracedFormat?: string) => {
    const name = plain ?? bracket ?? braced ?? '';
    const value = Object.hasOwn(values, name) ? values[name] : undefined;
    if (!value || path) return whole;
    return one(value, name, bracketFormat ?? bracedFormat ?? '', style);
  });
}

function one(value: Value, name: string, format: string, style: Style): string {
  const [kind = '', ...rest] = format.split(':');
  if (value.all && value.allValue !== undefined && kind !== 'queryparam' && kind !== 'text') return value.allValue;
  const make = FORMATS[kind];
  if (kind && make) return make(value, name, rest.join(':'));
  if (value.builtin) return value.values[0] ?? '';
  if (style === 'promql') return promql(value, value.multi);
  if (style === 'url') return value.values.map(encodeURIComponent).join(',');
  return value.multi && value.values.length > 1 ? `{${value.values.join(',')}}` : (value.values[0] ?? '');
}

/** The names of variables that a text mentions. */
export function mentions(text: string): string[] {
  return [...text.matchAll(PATTERN)].map((match) => match[1] ?? match[2] ?? match[4] ?? '');
}

/** A title for people: values joined by `+`, unescaped. */
export function title(text: string, values: Values): string {
  const shown = Object.fromEntries(Object.entries(values).map(([name, value]) => [name, single(value.all && value.allValue === undefined && value.values.length !== 1 ? 'All' : value.texts.join(' + '))]));
  return interpolate(text, { values: shown, style: 'text' });
}

export function rangeText(range: { start: number; end: number }): string {
  return `${momentText(range.start)} to ${momentText(range.end)}`;
}
