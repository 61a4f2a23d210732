// The panels `gauge` and `bargauge`: values within their range.

import { alpha, readable } from '../../format/colours';
import { bool, obj, str } from '../../json';
import { stepAt, stepValues } from '../fields';
import { part, singles, type Single } from './single';
import type { PanelProps } from './types';

const RADIUS = 80;
const SWEEP = 240;

/** A point of the dial; zero is its left end. */
function at(fraction: number, radius: number): [number, number] {
  const angle = ((150 + fraction * SWEEP) * Math.PI) / 180;
  return [100 + radius * Math.cos(angle), 95 + radius * Math.sin(angle)];
}

export function arc(from: number, to: number, radius: number): string {
  const [x1, y1] = at(from, radius);
  const [x2, y2] = at(to, radius);
  return `M${x1.toFixed(2)},${y1.toFixed(2)}A${radius},${radius} 0 ${(to - from) * SWEEP > 180 ? 1 : 0} 1 ${x2.toFixed(2)},${y2.toFixed(2)}`;
}

function Dial({ one, markers, labels, name }: { one: Single; markers: boolean; labels: boolean; name: boolean }) {
  const { min, max, config } = one.field;
  const steps = stepValues(config, min, max);
  const place = (value: number) => Math.max(0, Math.min(1, (value - min) / (max - min || 1)));
  const size = Math.min(34, 260 / Math.max(4, one.shown.text.length));
  return (
    <figure class="dial">
      <svg viewBox="0 0 200 150" role="img" aria-label={`${one.name}: ${one.shown.text}`}>
        <path d={arc(0, 1, RADIUS)} class="dial-track" />
        {part(one) > 0 && <path d={arc(0, part(one), RADIUS)} class="dial-value" stroke={one.shown.colour} />}
        {markers && steps.map((step, i) => {
          const [from, to] = [place(Math.max(min, step.value)), place(steps[i + 1]?.value ?? max)];
          return to > from ? <path key={i} d={arc(from, to, RADIUS + 13)} class="dial-mark" stroke={step.colour} /> : null;
        })}
        {labels && [min, max].map((value, i) => {
          const [x, y] = at(i, RADIUS);
          return <text key={i} x={x} y={y + 16} class="dial-label" text-anchor="middle">{one.field.show(value).text}</text>;
        })}
        <text x="100" y="108" text-anchor="middle" class="dial-text" style={{ fontSize: `${size}px`, fill: one.shown.colour === 'transparent' ? 'currentcolor' : readable(one.shown.colour) }}>{one.shown.text}</text>
      </svg>
      {name && <figcaption title={one.name}>{one.name}</figcaption>}
    </figure>
  );
}

export function GaugePanel({ panel, fields, width, height }: PanelProps) {
  const all = singles(fields, panel.options);
  const n = Math.max(1, Math.min(all.length, Math.round(Math.sqrt((all.length * width) / Math.max(1, height) / 1.2)) || 1));
  return (
    <div class="dials" style={{ gridTemplateColumns: `repeat(${n}, 1fr)`, gridAutoRows: `${Math.floor(height / Math.ceil(all.length / n))}px` }}>
      {all.map((one, i) => (
        <Dial key={`${one.name}${i}`} one={one} markers={bool(panel.options.showThresholdMarkers, true)} labels={bool(panel.options.showThresholdLabels)} name={all.length > 1} />
      ))}
    </div>
  );
}

function fillOf(one: Single, mode: string, vertical: boolean): string {
  if (mode === 'basic') return one.shown.colour;
  if (mode === 'lcd') return `repeating-linear-gradient(${vertical ? 0 : 90}deg, ${one.shown.colour} 0 6px, transparent 6px 8px)`;
  const steps = stepValues(one.field.config, one.field.min, one.field.max).filter((step) => step.value <= (one.value ?? 0));
  const first = stepAt(one.field.config, one.field.min, one.field.min, one.field.max).colour;
  return steps.length > 1 ? `linear-gradient(${vertical ? 0 : 90}deg, ${first}, ${one.shown.colour})` : `linear-gradient(${vertical ? 0 : 90}deg, ${alpha(one.shown.colour, 0.55)}, ${one.shown.colour})`;
}

export function BarGaugePanel({ panel, fields, width, height }: PanelProps) {
  const all = singles(fields, panel.options);
  const orientation = str(panel.options.orientation, 'auto');
  const vertical = orientation === 'vertical' || (orientation === 'auto' && width > height * 1.6 && all.length < 12 && all.length > 1);
  const mode = str(panel.options.displayMode, 'gradient');
  const unfilled = panel.options.showUnfilled !== false;
  const textColour = obj(panel.options.text).titleSize;
  return (
    <ul class={vertical ? 'bars vertical' : 'bars'} data-titles={textColour ? 'sized' : undefined}>
      {all.map((one, i) => {
        const percent = `${(part(one) * 100).toFixed(1)}%`;
        return (
          <li key={`${one.name}${i}`}>
            {(all.length > 1 || one.name !== panel.title) && <span class="bar-name" title={one.name}>{one.name}</span>}
            <span class={unfilled ? 'bar-track filled' : 'bar-track'}>
              <span class="bar-fill" style={{ [vertical ? 'height' : 'width']: percent, background: fillOf(one, mode, vertical) }} />
            </span>
            <b style={{ color: one.shown.colour === 'transparent' ? undefined : readable(one.shown.colour) }}>{one.shown.text}</b>
          </li>
        );
      })}
    </ul>
  );
}
