// Every state of a page lives in its address, so that it can be sent to a colleague.

import { BASE, at } from './base';
import { Cell, useCell } from './cell';
import { PAGES } from './pages';

export interface Route {
  /** The parts of the path below the root of the UI, decoded. */
  path: string[];
  params: URLSearchParams;
}

export type Changes = Record<string, string | string[] | undefined>;

/** A path's part as it was meant; what is not well encoded stays as it is. */
function decoded(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

export function parse(pathname: string, search: string, base = BASE): Route {
  const below = pathname.startsWith(base) ? pathname.slice(base.length) : pathname;
  return { path: below.split('/').filter(Boolean).map(decoded), params: new URLSearchParams(search) };
}

/** The address of a page; parameters without a value are left out. */
export function link(path: string, params: Changes = {}): string {
  const query = changed(new URLSearchParams(), params).toString();
  return at(path) + (query ? `?${query}` : '');
}

/** A copy with some parameters set, repeated or taken away. */
export function changed(before: URLSearchParams, changes: Changes): URLSearchParams {
  const after = new URLSearchParams(before);
  for (const [name, value] of Object.entries(changes)) {
    after.delete(name);
    const all = value === undefined || value === '' ? [] : Array.isArray(value) ? value : [value];
    for (const one of all) after.append(name, one);
  }
  return after;
}

const here = () => parse(location.pathname, location.search);

export const route = new Cell<Route>(typeof location === 'undefined' ? { path: [], params: new URLSearchParams() } : here());

export function useRoute(): Route {
  return useCell(route);
}

export function go(address: string, how: 'push' | 'replace' = 'push'): void {
  if (address === location.pathname + location.search) return;
  history[how === 'push' ? 'pushState' : 'replaceState'](null, '', address);
  route.set(here());
}

/** Changes parameters of the page that is shown. */
export function setParams(changes: Changes, how: 'push' | 'replace' = 'push'): void {
  const query = changed(new URLSearchParams(location.search), changes).toString();
  go(location.pathname + (query ? `?${query}` : ''), how);
}

/** Parameters that follow the reader from page to page. */
export function kept(params: URLSearchParams): Changes {
  return Object.fromEntries(['from', 'to', 'refresh'].map((name) => [name, params.get(name) ?? undefined]));
}

/** What older addresses (`#/logs?q=…`, `/graph?g0.expr=…`) are now; nothing for today's. */
export function modern(pathname: string, search: string, hash: string): string | undefined {
  const old = /^#\/(\w+)\??(.*)$/.exec(hash);
  if (old) {
    const params = new URLSearchParams(old[2]);
    const since = params.get('since');
    const from = since ? `now-${since}s` : undefined;
    if (params.get('trace')) return link(`/trace/${params.get('trace')}`);
    if (old[1] === 'targets') return link('/targets');
    const lang = { logs: 'logql', traces: 'traceql' }[old[1] ?? ''];
    return link('/explore', { q: params.get('q') ?? undefined, lang, from });
  }
  const { path, params } = parse(pathname, search);
  if (path[0] === 'graph') {
    const tab = params.get('g0.tab') === '1' ? 'table' : undefined;
    return link('/explore', { q: params.get('g0.expr') ?? undefined, lang: 'promql', view: tab });
  }
  return undefined;
}

/** Follows the browser's back and forward, and takes clicks on links to pages of the UI. */
export function listen(): void {
  const old = modern(location.pathname, location.search, location.hash);
  if (old) history.replaceState(null, '', old);
  route.set(here());
  addEventListener('popstate', () => route.set(here()));
  document.addEventListener('click', (event) => {
    if (event.defaultPrevented || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
    const anchor = event.target instanceof Element ? event.target.closest('a') : null;
    if (!anchor || anchor.target || anchor.origin !== location.origin || anchor.hasAttribute('download')) return;
    // Runbooks, metrics and the APIs are pages of the server.
    const { path } = parse(anchor.pathname, '');
    if (!anchor.pathname.startsWith(BASE) || !PAGES.some((page) => page.name === (path[0] ?? ''))) return;
    event.preventDefault();
    go(anchor.pathname + anchor.search);
  });
}
