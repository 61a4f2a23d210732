// Ways to hand a question on: its address with fixed times, and the request for a terminal.

import { useState } from 'preact/hooks';
import { BASE } from '../base';
import { link } from '../route';
import { tenant, tenantHeaders } from '../tenant';
import type { Range } from '../time/parse';
import { stepFor } from '../time/store';
import type { Language } from './language';

const shell = (text: string) => `'${text.replaceAll("'", `'\\''`)}'`;

export function curl(lang: Language, q: string, range: Range, origin: string): string {
  const data = (pairs: Record<string, string>) => Object.entries(pairs).map(([name, value]) => `--data-urlencode ${shell(`${name}=${value}`)}`).join(' ');
  const headers = Object.entries(tenantHeaders()).map(([name, value]) => ` -H ${shell(`${name}: ${value}`)}`).join('');
  const root = origin + BASE.replace(/\/$/, '');
  const [start, end] = [`${Math.floor(range.start)}`, `${Math.ceil(range.end)}`];
  if (lang === 'logql') return `curl${headers} -G ${shell(`${root}/loki/api/v1/query_range`)} ${data({ query: q, start, end })}`;
  if (lang === 'traceql') return `curl${headers} -G ${shell(`${root}/tempo/api/search`)} ${data({ q, start, end })}`;
  return `curl${headers} -G ${shell(`${root}/api/v1/query_range`)} ${data({ query: q, start, end, step: `${stepFor(range, 250)}` })}`;
}

export function Share({ lang, q, range }: { lang: Language; q: string; range: Range }) {
  const [told, setTold] = useState('');
  const copy = (text: string, name: string) => {
    navigator.clipboard.writeText(text).then(() => setTold(`${name} copied`), () => setTold(text));
  };
  const address = new URL(link('/explore', { lang, q, from: `${Math.round(range.start * 1000)}`, to: `${Math.round(range.end * 1000)}`, tenant: tenant.get() || undefined }), location.href).href;
  return (
    <span class="actions" style={{ marginLeft: 'auto' }}>
      {told && <small role="status">{told}</small>}
      <button type="button" onClick={() => copy(address, 'Link')}>Copy link</button>
      <button type="button" onClick={() => copy(curl(lang, q, range, location.origin), 'Command')}>Copy curl</button>
    </span>
  );
}
