// Which API answers a data source of a dashboard. obs itself is all of them; their uids in files mean
// nothing here, only their types do.

import { obj, str, type Json } from '../json';
import { interpolate, type Values } from './interpolate';

export type SourceKind = 'prometheus' | 'loki' | 'tempo' | 'alertmanager' | 'dashboard' | 'grafana' | 'mixed' | 'expression' | 'unknown';

export interface Source {
  kind: SourceKind;
  /** What the file says, for words of errors. */
  type: string;
}

export const BUILT_IN: { type: string; uid: string; name: string }[] = [
  { type: 'prometheus', uid: 'obs-prometheus', name: 'obs metrics' },
  { type: 'loki', uid: 'obs-loki', name: 'obs logs' },
  { type: 'tempo', uid: 'obs-tempo', name: 'obs traces' },
  { type: 'alertmanager', uid: 'obs-alertmanager', name: 'obs alerts' },
];

const TYPES: Record<string, SourceKind> = {
  prometheus: 'prometheus', 'grafana-amazonprometheus-datasource': 'prometheus', 'victoriametrics-metrics-datasource': 'prometheus', mimir: 'prometheus',
  loki: 'loki', tempo: 'tempo', jaeger: 'tempo', alertmanager: 'alertmanager',
  datasource: 'grafana', grafana: 'grafana', '-- Grafana --': 'grafana', '-- Dashboard --': 'dashboard', dashboard: 'dashboard', '-- Mixed --': 'mixed', mixed: 'mixed', __expr__: 'expression',
};

function byName(name: string): SourceKind | undefined {
  const known = BUILT_IN.find((one) => one.uid === name || one.name === name || one.type === name.toLowerCase());
  if (known) return TYPES[known.type];
  if (TYPES[name]) return TYPES[name];
  const lower = name.toLowerCase();
  if (/loki|logs/.test(lower)) return 'loki';
  if (/tempo|jaeger|traces/.test(lower)) return 'tempo';
  if (/prom|mimir|thanos|metrics/.test(lower)) return 'prometheus';
  return undefined;
}

/** What a query looks like, for references that do not say their type. */
function byShape(query: Json, panelType: string): SourceKind {
  const text = str(query.expr) || str(query.query);
  if (['traceql', 'traceId', 'traceqlSearch', 'serviceMap'].includes(str(query.queryType)) || panelType === 'traces') return 'tempo';
  if (panelType === 'logs') return 'loki';
  if (/^\s*\{[^}]*\}\s*(\||$)/.test(text) && /\|=|\|~|\| *(json|logfmt|pattern|line_format)/.test(text)) return 'loki';
  return 'prometheus';
}

export function sourceOf(reference: unknown, values: Values, query: Json = {}, panelType = ''): Source {
  if (typeof reference === 'string' && reference !== '') {
    const name = interpolate(reference, { values, style: 'text' });
    if (name === 'default' || name.startsWith('$')) return { kind: byShape(query, panelType), type: name };
    return { kind: byName(name) ?? byShape(query, panelType), type: name };
  }
  const { type, uid } = obj(reference);
  const name = interpolate(str(uid), { values, style: 'text' });
  if (name === '__expr__') return { kind: 'expression', type: name };
  if (name === '-- Mixed --') return { kind: 'mixed', type: name };
  if (name === '-- Dashboard --') return { kind: 'dashboard', type: name };
  if (name === '-- Grafana --' || name === 'grafana') return { kind: 'grafana', type: 'grafana' };
  const told = interpolate(str(type), { values, style: 'text' });
  const kind = TYPES[told];
  if (kind) return { kind, type: told };
  if (told && !told.startsWith('$')) return { kind: 'unknown', type: told };
  return { kind: (name && byName(name)) || byShape(query, panelType), type: name };
}

export function typeOfQuery(query: string): string {
  return query.trim().toLowerCase();
}
