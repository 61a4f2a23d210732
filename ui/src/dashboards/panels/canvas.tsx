// The panel `canvas`: texts, values and shapes at their places; connections between them.

import { inkOn, named } from '../../format/colours';
import { num, obj, objs, str, type Json } from '../../json';
import { title } from '../interpolate';
import type { StyledField } from '../fields';
import { reduce } from '../reduce';
import type { PanelProps } from './types';

interface Element_ {
  name: string;
  type: string;
  x: number;
  y: number;
  width: number;
  height: number;
  json: Json;
}

const ELEMENTS_MAX = 500;

/** Places from all four sides; what is not said is small. */
function elements(json: Json, width: number, height: number, left = 0, top = 0): Element_[] {
  return objs(json.elements).slice(0, ELEMENTS_MAX).flatMap((one) => {
    const place = obj(one.placement);
    const [w, h] = [num(place.width) ?? 100, num(place.height) ?? 30];
    const x = left + (num(place.left) ?? (num(place.right) !== undefined ? width - (num(place.right) ?? 0) - w : 0));
    const y = top + (num(place.top) ?? (num(place.bottom) !== undefined ? height - (num(place.bottom) ?? 0) - h : 0));
    const own = { name: str(one.name), type: str(one.type), x, y, width: w, height: h, json: one };
    return str(one.type) === 'frame' ? [own, ...elements(one, w, h, x, y)] : [own];
  });
}

function paint(value: unknown, fields: StyledField[]): string | undefined {
  const { field, fixed } = obj(value);
  const one = typeof field === 'string' && field ? fields.find((f) => f.name === field || f.field.name === field) : undefined;
  if (one) return one.show(reduce('lastNotNull', one.field.values)).colour;
  return named(str(fixed));
}

function words(value: unknown, fields: StyledField[]): string {
  const { mode, field, fixed } = obj(value);
  if (mode === 'field' || (field && mode !== 'fixed')) {
    const one = fields.find((f) => f.name === str(field) || f.field.name === str(field));
    return one ? one.show(reduce('lastNotNull', one.field.values)).text : '';
  }
  return str(fixed);
}

export function CanvasPanel({ panel, fields, width, height, time }: PanelProps) {
  const root = obj(panel.options.root);
  const all = elements(root, width, height);
  if (all.length === 0) return <p class="panel-note">Nothing stands on this canvas.</p>;
  const byName = new Map(all.map((one) => [one.name, one]));
  const lines = all.flatMap((from) => objs(from.json.connections).flatMap((connection) => {
    const to = byName.get(str(connection.targetName)) ?? byName.get(str(obj(connection.target).name));
    return to ? [{ from, to, colour: paint(connection.color, fields) ?? 'currentColor', width: num(obj(connection.size).fixed) ?? 2 }] : [];
  }));
  const middle = (one: Element_) => [one.x + one.width / 2, one.y + one.height / 2];
  return (
    <div class="canvas-panel" style={{ background: paint(obj(root.background).color, fields) }}>
      {lines.length > 0 && (
        <svg width={width} height={height} aria-hidden="true">
          {lines.map(({ from, to, colour, width: thick }, i) => {
            const [[x1, y1], [x2, y2]] = [middle(from), middle(to)];
            return <line key={i} x1={x1} y1={y1} x2={x2} y2={y2} stroke={colour} stroke-width={thick} />;
          })}
        </svg>
      )}
      {all.map((one, i) => <Placed key={i} element={one} fields={fields} say={(text) => title(text, time.values)} />)}
    </div>
  );
}

function Placed({ element, fields, say }: { element: Element_; fields: StyledField[]; say: (text: string) => string }) {
  const { x, y, width, height, type, json } = element;
  const config = obj(json.config);
  const border = obj(json.border);
  const align = { left: 'flex-start', right: 'flex-end' }[str(config.align)] ?? 'center';
  const valign = { top: 'flex-start', bottom: 'flex-end' }[str(config.valign)] ?? 'center';
  const edge = num(border.width) ? `${num(border.width)}px solid ${paint(border.color, fields) ?? 'currentColor'}` : undefined;
  const fill = paint(obj(json.background).color, fields) ?? paint(config.backgroundColor, fields) ?? (type === 'icon' || type === 'server' || type === 'cloud' ? 'var(--sunken)' : undefined);
  const text = say(words(config.text, fields) || (['icon', 'server', 'cloud', 'button', 'drone', 'windTurbine'].includes(type) ? str(config.label ?? element.name) : ''));
  return (
    <div class="canvas-element" style={{
      left: `${x}px`, top: `${y}px`, width: `${width}px`, height: `${height}px`, justifyContent: align, alignItems: valign, background: fill, border: edge,
      borderRadius: type === 'ellipse' ? '50%' : `${num(border.radius) ?? 2}px`, color: paint(config.color, fields) ?? (fill ? inkOn(fill) : undefined), fontSize: `${num(config.size) ?? 16}px`,
    }}>{text}</div>
  );
}
