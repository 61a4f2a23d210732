// The panels `logs`, `traces` and `nodeGraph`.

import { useMemo } from 'preact/hooks';
import type { ResourceSpans } from '../../api/tempo';
import { colour } from '../../format/colours';
import { bool, obj, str } from '../../json';
import { NodeGraph } from '../../parts/graph';
import { Lines } from '../../parts/lines';
import { link } from '../../route';
import { rows } from '../../trace/rows';
import { Waterfall } from '../../trace/waterfall';
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
