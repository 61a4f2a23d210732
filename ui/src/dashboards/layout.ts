// Where panels stand: rows open and closed, panels and rows repeated by variables.

import { title, type Values } from './interpolate';
import type { Panel } from './model';

export interface RowItem {
  kind: 'row';
  panel: Panel;
  open: boolean;
  title: string;
  count: number;
}

export interface PanelItem {
  kind: 'panel';
  panel: Panel;
}

export type Item = RowItem | PanelItem;

interface Section {
  row?: Panel;
  panels: Panel[];
}

/** The panels behind a row belong to it until the next row. */
function sections(panels: Panel[]): Section[] {
  const sorted = [...panels].sort((a, b) => a.grid.y - b.grid.y || a.grid.x - b.grid.x);
  const out: Section[] = [{ panels: [] }];
  for (const panel of sorted) {
    if (panel.type === 'row') out.push({ row: panel, panels: panel.collapsed || panel.inside.length > 0 ? [...panel.inside].sort((a, b) => a.grid.y - b.grid.y || a.grid.x - b.grid.x) : [] });
    else out[out.length - 1]?.panels.push(panel);
  }
  return out;
}

interface Choice {
  text: string;
  value: string;
}

function choices(name: string, values: Values): Choice[] {
  const value = values[name];
  return value ? value.values.map((one, i) => ({ value: one, text: value.texts[i] ?? one })) : [];
}

function clone(panel: Panel, name: string, choice: Choice, index: number, grid: Panel['grid']): Panel {
  return { ...panel, grid, key: index === 0 ? panel.key : `${panel.key}-clone-${index}`, scoped: { ...panel.scoped, [name]: choice } };
}

/** Clones of a panel beside each other, or below each other; the panels below move down. */
function repeatPanels(panels: Panel[], values: Values): Panel[] {
  const out: Panel[] = [];
  let moved = 0;
  for (const panel of panels) {
    const all = panel.repeat && !(panel.repeat in panel.scoped) ? choices(panel.repeat, values) : [];
    const grid = { ...panel.grid, y: panel.grid.y + moved };
    if (all.length === 0) {
      out.push({ ...panel, grid });
      continue;
    }
    if (panel.repeatDirection === 'v') {
      all.forEach((one, i) => out.push(clone(panel, panel.repeat, one, i, { ...grid, y: grid.y + i * grid.h })));
      moved += (all.length - 1) * grid.h;
      continue;
    }
    const perRow = Math.max(1, Math.min(panel.maxPerRow, all.length, 24));
    const w = Math.floor(24 / perRow);
    all.forEach((one, i) => out.push(clone(panel, panel.repeat, one, i, { x: (i % perRow) * w, y: grid.y + Math.floor(i / perRow) * grid.h, w, h: grid.h })));
    moved += (Math.ceil(all.length / perRow) - 1) * grid.h;
  }
  return out;
}

/** Panels keep their places within their section; sections stand below each other. */
export function layout(panels: Panel[], values: Values, toggled: Set<string>, openAll = false): Item[] {
  const out: Item[] = [];
  let y = 0;
  for (const section of sections(panels)) {
    const { row } = section;
    const all = row?.repeat ? choices(row.repeat, values) : [];
    const rows: (Panel | undefined)[] = row && all.length > 0 ? all.map((one, i) => clone(row, row.repeat, one, i, row.grid)) : [row];
    rows.forEach((one, copy) => {
      let open = true;
      if (one) {
        open = openAll || one.collapsed === toggled.has(one.key);
        const scoped = Object.fromEntries(Object.entries(one.scoped).map(([name, choice]) => [name, { values: [choice.value], texts: [choice.text], multi: false }]));
        out.push({ kind: 'row', panel: { ...one, grid: { x: 0, y, w: 24, h: 1 } }, open, title: title(one.title, { ...values, ...scoped }), count: section.panels.length });
        y += 1;
      }
      if (!open) return;
      const own = section.panels.map((panel) => ({ ...panel, key: copy > 0 ? `${panel.key}-row-${copy}` : panel.key, scoped: { ...one?.scoped } }));
      const placed = repeatPanels(own, values);
      const top = Math.min(...placed.map((panel) => panel.grid.y));
      let bottom = y;
      for (const panel of placed) {
        const grid = { ...panel.grid, y: panel.grid.y - top + y };
        bottom = Math.max(bottom, grid.y + grid.h);
        out.push({ kind: 'panel', panel: { ...panel, grid } });
      }
      y = bottom;
    });
  }
  return out;
}
