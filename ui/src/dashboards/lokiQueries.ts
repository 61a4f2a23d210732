// LogQL queries of panels: lines as one frame of logs, metrics as series.

import * as loki from '../api/loki';
import { num, str } from '../json';
import { fill } from './context';
import type { Frame } from './frame';
import { seriesFrames, tableFrame, type NamedSeries } from './fromSeries';
import { withFilters } from './matchers';
import { legend, type Asking } from './queries';

const LINES_DEFAULT = 1000;

export function logsFrame(lines: loki.LogLine[], refId: string): Frame {
  return {
    refId,
    meta: 'logs',
    fields: [
      { name: 'Time', kind: 'time', values: lines.map((one) => Number(one.nanos / 1_000_000n)) },
      { name: 'Line', kind: 'string', values: lines.map((one) => one.line) },
      { name: 'labels', kind: 'other', values: lines.map((one) => ({ ...one.labels, ...one.metadata })) },
      { name: 'tsNs', kind: 'string', values: lines.map((one) => `${one.nanos}`) },
    ],
  };
}

export async function lokiFrames(asking: Asking): Promise<Frame[]> {
  const { target, values, range, interval, signal, data, context, several } = asking;
  const text = withFilters(fill(str(target.json.expr), values, 'promql'), context.filters);
  if (!text.trim()) return [];
  const began = performance.now();
  const instant = str(target.json.queryType) === 'instant' || target.json.instant === true;
  const direction = str(target.json.direction) === 'forward' ? 'forward' : 'backward';
  const limit = num(target.json.maxLines) ?? num(target.json.limit) ?? LINES_DEFAULT;
  const answer = instant
    ? await loki.query(text, range.end, signal)
    : await loki.queryRange(text, range, { limit, step: Math.max(interval, 1), direction }, signal);
  data.log.push({ refId: target.refId, query: text, millis: performance.now() - began, series: answer.result.length, stats: answer.stats });
  if (answer.resultType === 'streams') {
    const lines = loki.linesOf(answer.result, direction === 'forward');
    return lines.length > 0 ? [logsFrame(lines, target.refId)] : [];
  }
  const named = (metric: Record<string, string>) => legend(fill(str(target.json.legendFormat), values, 'text'), metric);
  const series: NamedSeries[] = answer.resultType === 'matrix'
    ? answer.result.map((one) => ({ labels: one.metric, name: named(one.metric), values: one.values ?? [] }))
    : answer.result.map((one) => ({ labels: one.metric, name: named(one.metric), values: one.value ? [one.value] : [] }));
  const isTable = str(target.json.format) === 'table' || (asking.panel.type === 'table' && instant);
  return isTable ? [tableFrame(series, target.refId, several)] : seriesFrames(series, target.refId, text);
}
