// The panel `piechart`: parts of a whole.

import { useState } from 'preact/hooks';
import { formatValue } from '../../format/units';
import { list, obj, str, strs } from '../../json';
import { colour } from '../../format/colours';
import { singles } from './single';
import type { PanelProps } from './types';

function slice(from: number, to: number, inner: number): string {
  const point = (part: number, radius: number) => {
    const angle = part * 2 * Math.PI - Math.PI / 2;
    return `${(100 + radius * Math.cos(angle)).toFixed(3)},${(100 + radius * Math.sin(angle)).toFixed(3)}`;
  };
  // A full circle has no distinct ends.
  const end = to - from >= 1 ? from + 0.99999 : to;
  const large = end - from > 0.5 ? 1 : 0;
  const outer = `M${point(from, 95)}A95,95 0 ${large} 1 ${point(end, 95)}`;
  return inner > 0 ? `${outer}L${point(end, inner)}A${inner},${inner} 0 ${large} 0 ${point(from, inner)}Z` : `${outer}L100,100Z`;
}

export function PiePanel({ panel, fields, width }: PanelProps) {
  const [hidden, setHidden] = useState<Set<string>>(new Set());
  const values = obj(panel.options.reduceOptions).values === true;
  const all = singles(fields, panel.options).filter((one) => one.value !== null && one.value > 0)
    .map((one, i) => ({ ...one, colour: str(one.field.config.color.mode).startsWith('palette') || !one.field.config.color.mode ? (values ? colour(i) : one.field.colour) : one.shown.colour }));
  const seen = all.filter((one) => !hidden.has(one.name));
  const total = seen.reduce((sum, one) => sum + (one.value ?? 0), 0);
  const legend = obj(panel.options.legend);
  const show = strs(list(legend.values));
  const labels = strs(list(panel.options.displayLabels));
  const right = legend.placement === 'right' && width > 300;
  let from = 0;
  return (
    <div class={right ? 'pie beside' : 'pie'}>
      <svg viewBox="0 0 200 200" role="img" aria-label={panel.title || panel.type}>
        {seen.map((one, i) => {
          const part = (one.value ?? 0) / (total || 1);
          const begin = from;
          from += part;
          const middle = (begin + part / 2) * 2 * Math.PI - Math.PI / 2;
          const percent = formatValue(part * 100, 'percent', 0);
          return (
            <g key={`${one.name}${i}`}>
              <path d={slice(begin, begin + part, panel.options.pieType === 'donut' ? 60 : 0)} fill={one.colour} class="slice"><title>{`${one.name}: ${one.shown.text} (${percent})`}</title></path>
              {labels.length > 0 && part > 0.05 && (
                <text x={100 + 72 * Math.cos(middle)} y={104 + 72 * Math.sin(middle)} text-anchor="middle" class="slice-label">
                  {labels.includes('percent') ? percent : labels.includes('value') ? one.shown.text : one.name.slice(0, 14)}
                </text>
              )}
            </g>
          );
        })}
      </svg>
      {legend.showLegend !== false && legend.displayMode !== 'hidden' && (
        <ul class="legend scroll" aria-label="Parts">
          {all.map((one, i) => (
            <li key={`${one.name}${i}`}>
              <button type="button" class={hidden.has(one.name) ? 'off' : ''} onClick={() => { const next = new Set(hidden); if (!next.delete(one.name)) next.add(one.name); setHidden(next); }}>
                <i style={{ background: one.colour }} /><span>{one.name}</span>
                {show.includes('value') && <small> {one.shown.text}</small>}
                {show.includes('percent') && <small> {formatValue(((one.value ?? 0) / (total || 1)) * 100, 'percent', 0)}</small>}
              </button>
            </li>
          ))}
        </ul>
      )}
    </div>
  );
}
