// Which of the three languages a query is written in.

import { isMetrics } from '../api/tempo';

export type Language = 'promql' | 'logql' | 'traceql';

export const LANGUAGES: [Language, string][] = [['promql', 'Metrics'], ['logql', 'Logs'], ['traceql', 'Traces']];

export const EXAMPLES: Record<Language, string[]> = {
  promql: ['up', 'sum by (job) (rate(http_requests_total[5m]))', 'histogram_quantile(0.95, sum by (le, service) (rate(traces_spanmetrics_latency_bucket[5m])))'],
  logql: ['{service_name=~".+"}', '{service_name=~".+"} |= "error"', 'sum by (service_name) (rate({service_name=~".+"}[5m]))'],
  traceql: ['{}', '{ status = error }', '{ duration > 100ms }', '{} | rate() by (resource.service.name)'],
};

const TRACE_WORDS = /\b(resource|span|event|link|instrumentation|trace|parent)\.[\w.]+|\b(status|kind|duration|name|rootName|rootServiceName|traceDuration|nestedSetParent)\s*(=|!=|>|<|=~|!~)|>>|&&/;

/** A guess from how the query looks; `{a="b"}` alone selects streams of logs. */
export function detect(query: string): Language {
  const text = query.trim();
  if (/^\{\s*\}/.test(text)) return 'traceql';
  if (/^[({]/.test(text) && (TRACE_WORDS.test(text.replace(/"(?:[^"\\]|\\.)*"|`[^`]*`/g, '')) || isMetrics(text))) return 'traceql';
  if (/^\{[^}]*[=~]/.test(text) && !/^\{[^}]*\}\s*\[/.test(text)) return 'logql';
  if (/\|=|\|~|\|>|\|\s*(json|logfmt|pattern|regexp|line_format|label_format|unwrap|decolorize|drop|keep)\b|\b(rate|count_over_time|bytes_rate|bytes_over_time)\s*\(\s*\{/.test(text)) return 'logql';
  return 'promql';
}

/** Whether a LogQL query computes numbers instead of finding lines. */
export function isLogMetric(query: string): boolean {
  return !/^\s*\{/.test(query);
}
