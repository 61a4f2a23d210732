// The panels `logs`, `traces`, `nodeGraph`, `alertlist` and `dashlist`.

import { useMemo } from 'preact/hooks';
import type { ResourceSpans } from '../../api/tempo';
import { dashboards } from '../../api/server';
import { rules } from '../../api/prometheus';
import { colour, colourOf } from '../../format/colours';
import { ago } from '../../format/text';
import { bool, num, obj, str, strs, type Json } from '../../json';
import { useLoad } from '../../load';
import { NodeGraph } from '../../parts/graph';
import { Lines } from '../../parts/lines';
import { Labels, Show } from '../../parts/show';
import { kept, link, useRoute } from '../../route';
import { rows } from '../../trace/rows';
import { Waterfall } from '../../trace/waterfall';
import { useDashboard } from '../context';
import { toText, type Frame } from '../frame';
import { TablePanel } from './table';
import type { PanelProps } from './types';

function linesOf(frames: Frame[]) {
  return frames.filter((frame) => frame.meta === 'logs').flatMap((frame) => {
    const values = (name: string) => frame.fields.find((field) => field.name === name)?.values ?? [];
    const [texts, labels, nanos] = [values('Line'), values('labels'), values('tsNs')];
    return nanos.map((time, i) => ({ nanos: BigInt(toText(time)), line: toText(texts[i]), labels: obj(labels[i]) as Record<string, string>, metadata: {} }));
  });
}

export function LogsPanel(props: PanelProps) {
  const { panel, frames, height } = props;
  const lines = useMemo(() => {
    const all = linesOf(frames);
    return str(panel.options.sortOrder) === 'Ascending' ? all.sort((a, b) => (a.nanos < b.nanos ? -1 : 1)) : all;
  }, [frames, panel]);
  if (lines.length === 0) return <TablePanel {...props} />;
  return <div class="scroll" style={{ height: `${height}px` }}><Lines lines={lines} wrap={bool(panel.options.wrapLogMessage, true)} showLabels={bool(panel.options.showLabels)} /></div>;
}

export function TracesPanel(props: PanelProps) {
  const found = props.frames.find((frame) => frame.meta === 'trace');
  const all = useMemo(() => rows((found?.fields[0]?.values[0] ?? []) as ResourceSpans[]), [found]);
  if (!found) return <TablePanel {...props} />;
  const id = all[0]?.span.traceId;
  return <Waterfall rows={all} height={props.height - 30} onPick={() => id && window.open(link(`/trace/${id}`), '_self')} />;
}

export function NodeGraphPanel({ frames, fields, height }: PanelProps) {
  const { nodes, edges } = useMemo(() => {
    const column = (frame: Frame | undefined, name: string) => frame?.fields.find((field) => field.name.toLowerCase() === name);
    const edgeFrame = frames.find((frame) => frame.meta === 'edges' || (column(frame, 'source') && column(frame, 'target')));
    const nodeFrame = frames.find((frame) => frame !== edgeFrame && (frame.meta === 'nodes' || column(frame, 'id')));
    const show = (frame: Frame | undefined, name: string, row: number) => {
      const one = fields.find((f) => f.frame === frame && f.field.name.toLowerCase() === name);
      return one ? one.show(one.field.values[row]).text : undefined;
    };
    const ends = (name: string) => (column(edgeFrame, name)?.values ?? []).map(toText);
    const [sources, targets] = [ends('source'), ends('target')];
    const ids = nodeFrame ? (column(nodeFrame, 'id')?.values ?? []).map(toText) : [...new Set([...sources, ...targets])];
    const arcs = (nodeFrame?.fields ?? []).filter((field) => /^arc__/i.test(field.name));
    return {
      nodes: ids.map((id, i) => ({
        id, title: toText(column(nodeFrame, 'title')?.values[i]) || id, main: show(nodeFrame, 'mainstat', i), second: show(nodeFrame, 'secondarystat', i),
        arcs: arcs.map((field, k) => ({ part: Math.max(0, Math.min(1, Number(field.values[i]) || 0)), colour: /fail|error/i.test(field.name) ? '#dd4b55' : colour(k) })),
      })),
      edges: sources.map((source, i) => ({ source, target: targets[i] ?? '', text: show(edgeFrame, 'mainstat', i) })),
    };
  }, [frames, fields]);
  return <div class="scroll" style={{ height: `${height}px` }}><NodeGraph nodes={nodes} edges={edges} height={height} /></div>;
}

export function AlertListPanel({ panel, height }: PanelProps) {
  const { tick } = useDashboard();
  const loaded = useLoad([tick], (signal) => rules(signal));
  const filter = obj(panel.options.stateFilter);
  const wanted = (state: string) => Object.keys(filter).length === 0 || bool(filter[state === 'inactive' ? 'normal' : state]);
  return (
    <div class="scroll" style={{ height: `${height}px` }}>
      <Show of={loaded} empty={(groups) => groups.flatMap((g) => g.rules).every((rule) => rule.type !== 'alerting' || !wanted(rule.state ?? 'inactive'))} whenEmpty="No alerts in these states.">
        {(groups) => (
          <ul class="list">
            {groups.flatMap((group) => group.rules).filter((rule) => rule.type === 'alerting' && wanted(rule.state ?? 'inactive')).slice(0, num(panel.options.maxItems) ?? 20).map((rule, i) => (
              <li key={i}>
                <span class={`badge ${rule.state}`}>{rule.state}</span> <a href={link('/alerts', { q: rule.name })}>{rule.name}</a>
                {(rule.alerts ?? []).slice(0, 5).map((alert, k) => <div key={k} class="quiet"><Labels labels={alert.labels} without={['alertname']} /> {alert.activeAt && ago(alert.activeAt, Date.now())}</div>)}
              </li>
            ))}
          </ul>
        )}
      </Show>
    </div>
  );
}

export function DashListPanel({ panel, height }: PanelProps) {
  const { params } = useRoute();
  const loaded = useLoad([], (signal) => dashboards(signal));
  const tags = strs((panel.options as Json).tags);
  const text = str(panel.options.query).toLowerCase();
  return (
    <div class="scroll" style={{ height: `${height}px` }}>
      <Show of={loaded} empty={(all) => all.length === 0} whenEmpty="No dashboards.">
        {(all) => (
          <ul class="list">
            {all.filter((one) => tags.every((tag) => one.tags.includes(tag)) && one.title.toLowerCase().includes(text)).slice(0, num(panel.options.maxItems) ?? 50)
              .map((one) => <li key={one.uid}><i style={{ background: colourOf(one.title) }} /><a href={link(`/d/${encodeURIComponent(one.uid)}`, bool(panel.options.keepTime) ? kept(params) : {})}>{one.title}</a></li>)}
          </ul>
        )}
      </Show>
    </div>
  );
}
