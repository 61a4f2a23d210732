// The panels `state-timeline` and `status-history`: what was when.

import { useMemo } from 'preact/hooks';
import { inkOn } from '../../format/colours';
import { marks, moment } from '../../format/text';
import { bool, num, str } from '../../json';
import { colourOf } from '../../format/colours';
import type { StyledField } from '../fields';
import { timeField } from '../frame';
import type { PanelProps } from './types';

interface Piece {
  start: number;
  end: number;
  text: string;
  colour: string;
}

interface Lane {
  name: string;
  pieces: Piece[];
}

/** Equal neighbours become one piece when `join`; a piece lasts at most as long as values come. */
export function pieces(one: StyledField, interval: number, end: number, join: boolean): Piece[] {
  const times = (timeField(one.frame)?.values ?? []).map((value) => Number(value) / 1000);
  const out: Piece[] = [];
  one.field.values.forEach((value, i) => {
    if (value === null || value === undefined) return;
    const start = times[i] ?? 0;
    const next = Math.min(times[i + 1] ?? end, start + interval * 1.5, Math.max(end, start));
    const shown = one.show(value);
    const plain = one.field.kind !== 'number' && !shown.mapped && (!one.config.color.mode || str(one.config.color.mode).startsWith('palette'));
    const colour = plain ? colourOf(shown.text) : shown.colour;
    const last = out.at(-1);
    if (join && last && last.text === shown.text && start - last.end < interval) last.end = next;
    else out.push({ start, end: next, text: shown.text, colour });
  });
  return out;
}

const LANES = 200;

export function StatesPanel({ panel, fields, data, width, height }: PanelProps) {
  const history = panel.type === 'status-history';
  const lanes = useMemo((): Lane[] => fields.filter((one) => one.field.kind !== 'time' && timeField(one.frame)).slice(0, LANES)
    .map((one) => ({ name: one.name, pieces: pieces(one, data.interval, data.range.end, !history && bool(panel.options.mergeValues, true)) })), [fields]);
  const left = Math.min(width * 0.3, Math.max(40, ...lanes.map((lane) => lane.name.length * 6.6 + 12)));
  const plot = Math.max(10, width - left - 8);
  const laneHeight = Math.max(16, (height - 26) / Math.max(1, lanes.length));
  const thick = laneHeight * (num(panel.options.rowHeight) ?? 0.9);
  const { start, end } = data.range;
  const x = (time: number) => left + Math.max(0, Math.min(1, (time - start) / (end - start))) * plot;
  const gap = (end - start) / Math.max(2, Math.floor(plot / 110));
  const at = Array.from({ length: Math.max(2, Math.floor(plot / 110)) }, (_, i) => start + gap * (i + 0.5));
  const show = str(panel.options.showValue, 'auto');
  const total = laneHeight * lanes.length + 26;
  return (
    <div class="scroll" style={{ height: `${height}px` }}>
      <svg class="states" width={width - (total > height ? 12 : 0)} height={total} role="img" aria-label={panel.title || 'States over time'}>
        {lanes.map((lane, i) => (
          <g key={i}>
            <text x={left - 6} y={i * laneHeight + laneHeight / 2 + 4} text-anchor="end">{lane.name.slice(0, Math.floor(left / 6.6))}</text>
            {lane.pieces.map((piece, k) => {
              const [from, to] = [x(piece.start), x(piece.end)];
              const wide = Math.max(1, to - from - (history ? 1.5 : 0));
              return (
                <g key={k}>
                  <rect x={from} y={i * laneHeight + (laneHeight - thick) / 2} width={wide} height={thick} fill={piece.colour}><title>{`${lane.name}: ${piece.text}\n${moment(piece.start)} – ${moment(piece.end)}`}</title></rect>
                  {show !== 'never' && wide > piece.text.length * 7 + 6 && thick > 12 && <text x={from + 5} y={i * laneHeight + laneHeight / 2 + 4} fill={inkOn(piece.colour)} class="state-text">{piece.text}</text>}
                </g>
              );
            })}
          </g>
        ))}
        {marks(at, gap).map((text, i) => <text key={i} x={x(at[i] ?? 0)} y={total - 6} text-anchor="middle">{text.split('\n')[0]}</text>)}
      </svg>
    </div>
  );
}
