// Links of panels, fields and dashboards: variables filled in, and only addresses that are safe to follow.

import { at } from '../base';
import { bool, obj, str, type Json } from '../json';
import { fieldName, toText } from './frame';
import { interpolate, builtin, single, title, type Values } from './interpolate';
import type { StyledField } from './fields';

export interface Link {
  href: string;
  text: string;
  blank: boolean;
}

/** Addresses of the web, of mail, and of this server; nothing that runs. */
export function safe(url: string): string | undefined {
  // Browsers drop control characters and white space at the begin.
  const clean = [...url].filter((c) => c > '\u001f' && c !== '\u007f').join('').trim();
  if (/^(https?:|mailto:|tel:)/i.test(clean)) return clean;
  if (/^[a-z][a-z0-9+.-]*:/i.test(clean) || clean.startsWith('//') || clean.startsWith('\\')) return undefined;
  // Dashboards of a Grafana at the root mean the UI's root here.
  return clean.startsWith('/') ? (typeof location === 'undefined' || clean.startsWith(at('/')) ? clean : at(clean)) : clean || undefined;
}

/** `__url_time_range`, `__all_variables` and the variables themselves. */
export function linkValues(values: Values, params: URLSearchParams): Values {
  const from = params.get('from') ?? values.__from?.values[0] ?? '';
  const to = params.get('to') ?? values.__to?.values[0] ?? '';
  const all = Object.entries(values).filter(([name]) => !name.startsWith('__') && name !== 'timeFilter')
    .map(([name, value]) => (value.all ? ['$__all'] : value.values).map((one) => `var-${encodeURIComponent(name)}=${encodeURIComponent(one)}`).join('&')).filter(Boolean).join('&');
  return { ...values, __url_time_range: builtin(`from=${encodeURIComponent(from)}&to=${encodeURIComponent(to)}`), __all_variables: builtin(all) };
}

export function urlOf(json: Json, values: Values, params: URLSearchParams): Link | undefined {
  const href = safe(interpolate(str(json.url), { values: linkValues(values, params), style: 'url' }));
  return href ? { href, text: title(str(json.title), values) || href, blank: bool(json.targetBlank) } : undefined;
}

/** The data links of one cell or point. */
export function dataLinks(one: StyledField, row: number, values: Values, params: URLSearchParams): Link[] {
  const { field, frame, config } = one;
  if (config.links.length === 0) return [];
  const value = field.values[row];
  const local: Record<string, string> = {
    '__value.raw': toText(value), '__value.numeric': toText(value), '__value.text': one.show(value).text,
    '__value.time': toText(frame.fields.find((f) => f.kind === 'time')?.values[row]),
    '__series.name': one.name, '__field.name': one.name, '__field.displayName': one.name,
  };
  for (const [name, label] of Object.entries(field.labels ?? {})) local[`__field.labels.${name}`] = label;
  frame.fields.forEach((other, i) => {
    const text = toText(other.values[row]);
    for (const name of [fieldName(other, frame), other.name]) local[`__data.fields.${name}`] = text;
    local[`__data.fields[${i}]`] = text;
    local[`__data.fields["${other.name}"]`] = text;
    local[`__cell_${i}`] = text;
  });
  local.__cell = toText(value);
  const fill = (text: string, encoded: boolean) =>
    text.replace(/\$\{(__(?:value|series|field|data|cell)[^}:]*)(?::(\w+))?\}|\$(__cell(?:_\d+)?)/g, (whole, braced?: string, format?: string, plain?: string) => {
      const found = local[braced ?? plain ?? ''];
      if (found === undefined) return encoded ? '' : whole;
      return encoded && format !== 'raw' ? encodeURIComponent(found) : found;
    });
  return config.links.flatMap((json) => {
    const link = urlOf({ ...json, url: fill(str(json.url), true), title: fill(str(json.title), false) }, values, params);
    return link ? [link] : [];
  });
}

export function dashboardLinkTarget(json: Json): { tags: string[]; keepTime: boolean; includeVars: boolean } {
  return { tags: Array.isArray(json.tags) ? json.tags.map((one) => str(one)) : [], keepTime: bool(json.keepTime), includeVars: bool(json.includeVars) };
}

export const text = (value: string) => single(value);
export const optionsOf = (json: Json, name: string) => obj(json[name]);
