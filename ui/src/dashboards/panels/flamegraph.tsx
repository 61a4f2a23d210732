// The panel `flamegraph`: a profile as rows of depth, from the columns level, value and label, each parent
// before its children.

import { useMemo, useState } from 'preact/hooks';
import { colourOf } from '../../format/colours';
import { toNumber, toText } from '../frame';
import type { StyledField } from '../fields';
import type { PanelProps } from './types';

export interface Box {
  label: string;
  level: number;
  start: number;
  value: number;
  self: number;
}

const BOXES_MAX = 50_000;
const LEVELS_MAX = 512;

/** Boxes beside and above each other: a child begins where its elder sibling ends. */
export function boxes(levels: unknown[], values: unknown[], labels: unknown[], selfs: unknown[]): Box[] {
  const out: Box[] = [];
  const ends: number[] = [];
  levels.slice(0, BOXES_MAX).forEach((raw, row) => {
    const level = Math.max(0, Math.min(LEVELS_MAX, Math.floor(toNumber(raw) ?? 0), ends.length - 1));
    const value = Math.max(0, toNumber(values[row]) ?? 0);
    const start = ends[level] ?? 0;
    out.push({ label: toText(labels[row]), level, start, value, self: toNumber(selfs[row]) ?? 0 });
    ends[level] = start + value;
    ends.length = level + 1;
    ends.push(start);
  });
  return out;
}

const ROW = 18;

export function FlamePanel({ fields, width, height, panel }: PanelProps) {
  const column = (name: string): StyledField | undefined => fields.find((one) => one.field.name.toLowerCase() === name || one.name.toLowerCase() === name);
  const value = column('value') ?? fields.find((one) => one.field.kind === 'number' && !['level', 'self'].includes(one.field.name.toLowerCase()));
  const all = useMemo(() => boxes(column('level')?.field.values ?? [], value?.field.values ?? [], column('label')?.field.values ?? [], column('self')?.field.values ?? []), [fields]);
  if (all.length === 0 || !value) return <p class="panel-note">A flame graph needs the columns level, value and label.</p>;
  return <div class="scroll" style={{ height: `${height}px` }}><FlameBoxes all={all} width={width} label={panel.title || 'Flame graph'} show={(number) => value.show(number).text} /></div>;
}

export function FlameBoxes({ all, width, label, show, more }: { all: Box[]; width: number; label: string; show: (value: number) => string; more?: (box: Box) => string }) {
  const [focus, setFocus] = useState<Box>();
  const total = all.filter((box) => box.level === 0).reduce((sum, box) => sum + box.value, 0) || 1;
  const chosen = focus && all.includes(focus) ? focus : undefined;
  const [from, length] = chosen ? [chosen.start, chosen.value || 1] : [0, total];
  const depth = all.reduce((most, box) => Math.max(most, box.level), 0) + 1;
  return (
    <>
      {chosen && <button type="button" class="plain" onClick={() => setFocus(undefined)}>← all</button>}
      <svg class="flame" width={width} height={depth * ROW} role="img" aria-label={label}>
        {all.map((box, i) => {
          const [x, w] = [((box.start - from) / length) * width, (box.value / length) * width];
          if (w < 0.5 || x > width || x + w <= 0) return null;
          const [left, right] = [Math.max(0, x), Math.min(width, x + w)];
          return (
            <g key={i} onClick={() => setFocus(box === chosen ? undefined : box)}>
              <rect x={left} y={box.level * ROW} width={Math.max(0.5, right - left - 0.5)} height={ROW - 1} rx="2" fill={colourOf(box.label.split(/[./:(]/)[0] ?? '')}>
                <title>{`${box.label}\n${show(box.value)} (${((box.value / total) * 100).toFixed(1)}%)${box.self ? `, self ${show(box.self)}` : ''}${more ? `, ${more(box)}` : ''}`}</title>
              </rect>
              {right - left > 36 && <text x={left + 4} y={box.level * ROW + 13}>{box.label.slice(0, Math.floor((right - left - 6) / 6.2))}</text>}
            </g>
          );
        })}
      </svg>
    </>
  );
}
