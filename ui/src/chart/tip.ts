// Time and values under the pointer. Names are set as text, never as markup.

import type uPlot from 'uplot';
import { moment, number } from '../format/text';
import type { PlotSeries } from './plot';

export interface TipOptions {
  mode?: 'single' | 'multi' | 'none';
  sort?: 'none' | 'asc' | 'desc';
  /** Also where the pointer is over another chart of the page. */
  shared?: boolean;
}

/** Rows of the tip: those nearest to the pointer. */
const ROWS = 12;

function element<K extends keyof HTMLElementTagNameMap>(name: K, text: string): HTMLElementTagNameMap[K] {
  const made = document.createElement(name);
  made.textContent = text;
  return made;
}

interface Found {
  name: string;
  value: number;
  colour: string;
  far: number;
  text: string;
}

function found(plot: uPlot, series: PlotSeries[], index: number, top: number): Found[] {
  return series.flatMap((one, i) => {
    const drawn = plot.data[i + 1]?.[index];
    if (drawn == null || one.hidden || one.hideFromTip) return [];
    const value = one.told?.[index] ?? drawn;
    const far = Math.abs(plot.valToPos(drawn, one.axis ?? 'y') - top);
    return [{ name: one.name, value, colour: one.colour, far, text: (one.show ?? number)(value) }];
  });
}

export function tipPlugin(series: PlotSeries[], options: TipOptions): uPlot.Plugin {
  const box = document.createElement('div');
  box.className = 'tip';
  box.hidden = true;
  const show = (plot: uPlot) => {
    const { idx, left = -1, top = -1 } = plot.cursor;
    const hovered = options.shared || plot.over.matches(':hover');
    box.hidden = options.mode === 'none' || idx == null || left < 0 || !hovered;
    if (box.hidden || idx == null) return;
    const all = found(plot, series, idx, top).sort((a, b) => a.far - b.far);
    box.hidden = all.length === 0;
    const near = all.slice(0, options.mode === 'single' ? 1 : ROWS);
    if (options.sort !== 'none') near.sort((a, b) => (options.sort === 'asc' ? a.value - b.value : b.value - a.value));
    const rows = near.map((one) => {
      const row = element('p', '');
      const dot = element('i', '');
      dot.style.background = one.colour;
      if (one === all[0]) row.className = 'nearest';
      row.append(dot, element('span', one.name), element('b', one.text));
      return row;
    });
    const more = all.length > near.length && options.mode !== 'single' ? [element('small', `and ${all.length - near.length} more`)] : [];
    box.replaceChildren(element('time', moment(plot.data[0][idx] ?? 0)), ...rows, ...more);
    const over = plot.over.clientWidth;
    const right = left > over / 2;
    box.style.left = right ? '' : `${left + 14}px`;
    box.style.right = right ? `${over - left + 14}px` : '';
  };
  return { hooks: { init: (plot) => plot.over.append(box), setCursor: show } };
}
