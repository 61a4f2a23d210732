// What is drawn over the series: thresholds, regions of annotations, exemplars.

import type uPlot from 'uplot';
import { alpha } from '../format/colours';

export interface Threshold {
  value: number;
  colour: string;
  line: boolean;
  dashed?: boolean;
  /** Filled from here to this value. */
  to?: number;
}

export interface Region {
  start: number;
  /** The same as `start` for a moment. */
  end: number;
  colour: string;
  title: string;
}

export interface Dot {
  time: number;
  value: number;
  title: string;
  href: string;
  colour?: string;
}

export function thresholdPlugin(thresholds: Threshold[], scale: string): uPlot.Plugin {
  const draw = (plot: uPlot) => {
    const { ctx } = plot;
    const { left, top, width, height } = plot.bbox;
    const y = (value: number) => Math.max(top, Math.min(top + height, plot.valToPos(value, scale, true)));
    ctx.save();
    for (const one of thresholds) {
      if (one.to !== undefined) {
        ctx.fillStyle = alpha(one.colour, 0.1);
        const [a, b] = [y(one.value), y(one.to)];
        ctx.fillRect(left, Math.min(a, b), width, Math.abs(a - b));
      }
      const at = plot.valToPos(one.value, scale, true);
      if (!one.line || !Number.isFinite(at) || at < top || at > top + height) continue;
      ctx.strokeStyle = alpha(one.colour, 0.8);
      ctx.lineWidth = devicePixelRatio;
      ctx.setLineDash(one.dashed ? [8, 6] : []);
      ctx.beginPath();
      ctx.moveTo(left, at);
      ctx.lineTo(left + width, at);
      ctx.stroke();
    }
    ctx.restore();
  };
  return { hooks: { drawClear: draw } };
}

export function regionPlugin(regions: Region[]): uPlot.Plugin {
  const draw = (plot: uPlot) => {
    const { ctx } = plot;
    const { left, top, width, height } = plot.bbox;
    ctx.save();
    ctx.beginPath();
    ctx.rect(left, top, width, height);
    ctx.clip();
    for (const { start, end, colour } of regions) {
      const [a, b] = [plot.valToPos(start, 'x', true), plot.valToPos(end, 'x', true)];
      ctx.fillStyle = alpha(colour, 0.12);
      ctx.fillRect(a, top, Math.max(0, b - a), height);
      ctx.strokeStyle = alpha(colour, 0.9);
      ctx.setLineDash([4, 4]);
      ctx.beginPath();
      ctx.moveTo(a, top);
      ctx.lineTo(a, top + height);
      ctx.stroke();
    }
    ctx.restore();
  };
  const flags = (plot: uPlot) => {
    plot.over.querySelectorAll('.annotation').forEach((old) => old.remove());
    for (const { start, colour, title } of regions) {
      const left = plot.valToPos(start, 'x');
      if (left < 0 || left > plot.over.clientWidth) continue;
      const flag = document.createElement('span');
      flag.className = 'annotation';
      flag.style.left = `${left}px`;
      flag.style.borderBottomColor = colour;
      flag.title = title;
      plot.over.append(flag);
    }
  };
  return { hooks: { draw, ready: flags, setSize: flags } };
}

/** Exemplars are links: one click leads to the trace. */
export function exemplarPlugin(dots: Dot[], scale: string): uPlot.Plugin {
  const place = (plot: uPlot) => {
    plot.over.querySelectorAll('a.exemplar').forEach((old) => old.remove());
    const { min = 0, max = 1 } = plot.scales[scale] ?? {};
    for (const dot of dots) {
      const left = plot.valToPos(dot.time, 'x');
      if (left < 0 || left > plot.over.clientWidth) continue;
      // An exemplar may lie far beyond what the query computes: it is shown at the border.
      const value = Math.max(min ?? 0, Math.min(max ?? 1, dot.value));
      const anchor = document.createElement('a');
      anchor.className = 'exemplar';
      anchor.href = dot.href;
      anchor.title = dot.title;
      anchor.setAttribute('aria-label', dot.title);
      anchor.style.left = `${left}px`;
      anchor.style.top = `${plot.valToPos(value, scale)}px`;
      anchor.addEventListener('mousedown', (event) => event.stopPropagation());
      plot.over.append(anchor);
    }
  };
  return { hooks: { ready: place, setSize: place, setScale: place } };
}
