// Every state of a page lives in the address, so that it can be sent to a colleague.

import { useEffect, useState } from 'preact/hooks';

export type Page = 'targets' | 'graph' | 'logs' | 'traces';

const PAGES: Page[] = ['targets', 'graph', 'logs', 'traces'];

export interface State {
  page: Page;
  /** The query of the page. */
  q: string;
  /** Seconds back from now. */
  since: number;
  /** The trace that is shown. */
  trace: string;
}

const SINCE_DEFAULT = 1800;

export function parse(hash: string): State {
  const [path = '', query = ''] = hash.replace(/^#\/?/, '').split('?');
  const params = new URLSearchParams(query);
  const page = PAGES.find((p) => p === path) ?? 'graph';
  const since = Number(params.get('since'));
  return {
    page,
    q: params.get('q') ?? '',
    since: Number.isFinite(since) && since > 0 ? since : SINCE_DEFAULT,
    trace: params.get('trace') ?? '',
  };
}

export function format(state: State): string {
  const params = new URLSearchParams();
  if (state.q) params.set('q', state.q);
  if (state.since !== SINCE_DEFAULT) params.set('since', `${state.since}`);
  if (state.trace) params.set('trace', state.trace);
  const query = params.toString();
  return `#/${state.page}${query ? `?${query}` : ''}`;
}

export function useLocation(): [State, (change: Partial<State>) => void] {
  const [state, setState] = useState(() => parse(location.hash));
  useEffect(() => {
    const listen = () => setState(parse(location.hash));
    addEventListener('hashchange', listen);
    return () => removeEventListener('hashchange', listen);
  }, []);
  const change = (part: Partial<State>) => {
    location.hash = format({ ...parse(location.hash), ...part });
  };
  return [state, change];
}
