// The panel `timeseries`, and what `graph` was.

import { useMemo, useState } from 'preact/hooks';
import type { Dot, Threshold } from '../../chart/overlays';
import { Plot } from '../../chart/plot';
import { colour } from '../../format/colours';
import { number } from '../../format/text';
import { obj, str } from '../../json';
import { link, useRoute } from '../../route';
import { stepValues, type StyledField } from '../fields';
import { isHidden } from '../fields';
import { dataLinks } from '../links';
import type { Exemplar } from '../queries';
import { Legend, legendOptions } from './legend';
import { plotted } from './series';
import type { PanelProps } from './types';

function thresholdsOf(fields: StyledField[]): Threshold[] {
  const found = fields.find((one) => one.field.kind === 'number' && !['', 'off'].includes(str(obj(one.config.custom.thresholdsStyle).mode)));
  if (!found) return [];
  const mode = str(obj(found.config.custom.thresholdsStyle).mode);
  const steps = stepValues(found.config, found.min, found.max);
  return steps.flatMap((step, i): Threshold[] => {
    const area = /area/.test(mode);
    const next = steps[i + 1]?.value ?? Infinity;
    if (step.colour === 'transparent') return [];
    return [{ value: step.value, colour: step.colour, line: /line|dashed/.test(mode) && Number.isFinite(step.value), dashed: /dashed/.test(mode), to: area ? next : undefined }];
  });
}

export function exemplarDots(exemplars: Exemplar[]): Dot[] {
  // The slowest of a long list are those that are looked for.
  const slowest = [...exemplars].sort((a, b) => b.value - a.value).slice(0, 100);
  return slowest.flatMap((one) => {
    const id = one.labels.trace_id ?? one.labels.traceID ?? one.labels.traceId;
    return id ? [{ time: one.time, value: one.value, title: `Trace ${id}: ${number(one.value)}`, href: link(`/trace/${id}`) }] : [];
  });
}

export function TimeseriesPanel({ panel, fields, data, width, height, context }: PanelProps) {
  const [hidden, setHidden] = useState<Set<string>>(new Set());
  const [pinned, setPinned] = useState<number>();
  const { params } = useRoute();
  const plot = useMemo(() => plotted(fields, data.interval, hidden), [fields, data.interval, hidden]);
  const thresholds = useMemo(() => thresholdsOf(fields), [fields]);
  const dots = useMemo(() => exemplarDots(data.exemplars), [data.exemplars]);
  const options = legendOptions(panel.options);
  const items = fields.filter((one) => one.field.kind === 'number' && !isHidden(one, 'viz') && !isHidden(one, 'legend')).map((field) => ({ name: field.name, colour: field.colour || colour(0), field }));
  const right = options.shown && options.right && width > 420;
  const legendHeight = !options.shown || right ? 0 : options.table ? Math.min(height * 0.4, 26 + items.length * 22) : Math.min(height * 0.35, Math.ceil((items.length * 130) / width) * 22 + 4);
  const tip = obj(panel.options.tooltip);
  const mode = str(tip.mode, 'single');
  const linked = fields.find((one) => one.config.links.length > 0 && one.field.kind === 'number');
  const links = linked && pinned !== undefined ? dataLinks(linked, pinned, context.values, params) : [];
  if (fields.length > 0 && !fields.some((one) => one.field.kind === 'time')) return <p class="panel-note">There is no column of times to draw over.</p>;
  return (
    <div class={right ? 'chart-panel beside' : 'chart-panel'}>
      <div class="chart-area">
        <Plot
          times={plot.times}
          series={plot.series}
          axes={plot.axes}
          range={data.range}
          height={Math.max(60, height - legendHeight)}
          sync={context.dashboard.tooltip > 0 ? `dashboard-${context.dashboard.uid}` : undefined}
          tip={{ mode: mode === 'none' ? 'none' : mode === 'multi' ? 'multi' : 'single', sort: tip.sort === 'asc' || tip.sort === 'desc' ? tip.sort : 'none', shared: context.dashboard.tooltip === 2 }}
          regions={context.regions}
          thresholds={thresholds}
          exemplars={dots}
          onClick={linked ? (seconds) => setPinned(nearest(plot.times, seconds)) : undefined}
        />
        {links.length > 0 && (
          <p class="pinned">
            {links.map((one) => <a key={one.href} href={one.href} target={one.blank ? '_blank' : undefined} rel="noopener noreferrer">{one.text}</a>)}
            <button type="button" class="plain" aria-label="Close" onClick={() => setPinned(undefined)}>×</button>
          </p>
        )}
      </div>
      {options.shown && (
        <div class="chart-legend" style={right ? { maxWidth: options.table ? '45%' : '30%' } : { height: `${legendHeight}px` }}>
          <Legend items={items} options={options} hidden={hidden} setHidden={setHidden} />
        </div>
      )}
    </div>
  );
}

function nearest(times: number[], seconds: number): number {
  return times.reduce((best, time, i) => (Math.abs(time - seconds) < Math.abs((times[best] ?? 0) - seconds) ? i : best), 0);
}
