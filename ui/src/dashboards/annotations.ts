// Annotations: moments and spans of time that queries tell, drawn in all charts.

import * as loki from '../api/loki';
import * as prometheus from '../api/prometheus';
import type { Region } from '../chart/overlays';
import { named } from '../format/colours';
import { bool, num, obj, str, type Json } from '../json';
import { durationSeconds, type Range } from '../time/parse';
import { stepFor } from '../time/store';
import { interpolate, type Values } from './interpolate';
import { annotationQuery, legend } from './queries';
import { sourceOf } from './sources';

const MOST = 200;

/** Whether an annotation is on: as saved, unless the reader switched it. */
export function isOn(json: Json, switched: Set<string>): boolean {
  return bool(json.enable, true) !== switched.has(str(json.name));
}

async function prometheusRegions(json: Json, query: string, range: Range, colour: string, signal: AbortSignal): Promise<Region[]> {
  const step = stepFor(range, 200, durationSeconds(str(json.step)) ?? 15);
  const aligned = { start: Math.floor(range.start / step) * step, end: Math.ceil(range.end / step) * step };
  const { data } = await prometheus.queryRange(query, aligned, step, signal);
  return data.result.flatMap((series) => {
    const text = [legend(str(json.titleFormat) || '{{alertname}}', series.metric), legend(str(json.textFormat), series.metric)].filter(Boolean).join(': ') || str(json.name);
    if (bool(json.useValueForTime)) return (series.values ?? []).map(([, value]): Region => ({ start: Number(value) / 1000, end: Number(value) / 1000, colour, title: text }));
    // One region per run of points.
    const out: Region[] = [];
    for (const [time, value] of series.values ?? []) {
      if (Number(value) === 0) continue;
      const last = out.at(-1);
      if (last && time - last.end <= step) last.end = time;
      else out.push({ start: time, end: time, colour, title: text });
    }
    return out;
  });
}

export async function regions(all: Json[], switched: Set<string>, values: Values, range: Range, signal: AbortSignal): Promise<Region[]> {
  const found = await Promise.all(all.filter((json) => isOn(json, switched) && !json.builtIn).map(async (json) => {
    const query = interpolate(annotationQuery(json), { values, style: 'promql' });
    if (!query) return [];
    const colour = named(str(json.iconColor)) ?? '#4f8fea';
    const source = sourceOf(json.datasource, values, { expr: query });
    if (source.kind === 'loki') {
      const data = await loki.queryRange(query, range, { limit: num(json.maxLines) ?? 100 }, signal);
      return data.resultType === 'streams' ? loki.linesOf(data.result).map((line): Region => {
        const time = Number(line.nanos / 1_000_000n) / 1000;
        return { start: time, end: time, colour, title: line.line.slice(0, 300) };
      }) : [];
    }
    return source.kind === 'prometheus' ? prometheusRegions(obj(json), query, range, colour, signal) : [];
  }));
  return found.flat().slice(0, MOST);
}
