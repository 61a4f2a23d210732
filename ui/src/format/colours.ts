// Colours of series, by Grafana's names too; both themes show them well.

import { dark } from '../theme';

export const PALETTE = [
  '#3fa66b', '#d9a514', '#4f8fea', '#e27d2f', '#dd4b55', '#7a6ff0', '#b75bb8', '#2ba6a6', '#8f9d2c', '#c46a8f',
  '#3c7fb1', '#a9743c', '#5fb35f', '#c7577a', '#9184d8', '#e09a5b',
];

export function colour(index: number): string {
  return PALETTE[((index % PALETTE.length) + PALETTE.length) % PALETTE.length] ?? '#888888';
}

/** Names that have a colour already, by their place in the palette. */
const held = new Map<string, number>();
const taken = new Set<number>();

/** A colour that a name keeps; two names share one only when more are shown than there are colours. */
export function colourOf(name: string): string {
  const known = held.get(name);
  if (known !== undefined) return colour(known);
  let hash = 0;
  for (const c of name) hash = (hash * 31 + (c.codePointAt(0) ?? 0)) >>> 0;
  if (taken.size >= PALETTE.length) taken.clear();
  let place = hash % PALETTE.length;
  while (taken.has(place)) place = (place + 1) % PALETTE.length;
  taken.add(place);
  if (held.size > 10_000) held.clear();
  held.set(name, place);
  return colour(place);
}

const LEVELS: Record<string, string> = {
  critical: '#a35bd6', fatal: '#a35bd6', emergency: '#a35bd6', alert: '#a35bd6', error: '#dd4b55', err: '#dd4b55', warn: '#d9a514', warning: '#d9a514',
  info: '#3fa66b', notice: '#3fa66b', debug: '#4f8fea', trace: '#2ba6a6', unknown: '#8b929c',
};

export function levelColour(level: string): string {
  return LEVELS[level.toLowerCase()] ?? LEVELS.unknown ?? '#8b929c';
}

const HUES: Record<string, [string, string, string, string, string]> = {
  // super-light, light, plain, semi-dark, dark
  red: ['#ffa6b0', '#ff7383', '#f2495c', '#e02f44', '#c4162a'],
  orange: ['#ffcb7d', '#ffb357', '#ff9830', '#ff780a', '#fa6400'],
  yellow: ['#fff899', '#ffee52', '#fade2a', '#f2cc0c', '#e0b400'],
  green: ['#c8f2c2', '#96d98d', '#73bf69', '#56a64b', '#37872d'],
  blue: ['#c0d8ff', '#8ab8ff', '#5794f2', '#3274d9', '#1f60c4'],
  purple: ['#deb6f2', '#ca95e5', '#b877d9', '#a352cc', '#8f3bb8'],
};
const SHADES = ['super-light-', 'light-', '', 'semi-dark-', 'dark-'];

/** A colour of the style sheet as canvases understand it: `light-dark()` is resolved. */
export function cssColour(element: Element, name: string): string {
  const probe = document.createElement('span');
  probe.style.color = `var(${name})`;
  element.append(probe);
  const found = getComputedStyle(probe).color;
  probe.remove();
  return found;
}

/** A colour by Grafana's name, or any CSS colour that is a plain name, hex or function. */
export function named(name: string | undefined): string | undefined {
  if (!name) return undefined;
  if (name === 'transparent') return 'transparent';
  if (name === 'text') return dark() ? '#d5d9de' : '#24292e';
  const shade = /^(super-light-|light-|semi-dark-|dark-)?(red|orange|yellow|green|blue|purple)$/.exec(name);
  if (shade) return HUES[shade[2] ?? 'green']?.[SHADES.indexOf(shade[1] ?? '')];
  if (/^(#[0-9a-f]{3,8}|[a-z]{3,24}|(rgb|rgba|hsl|hsla|oklch)\([\d\s.,%/a-z-]{1,60}\))$/i.test(name)) return name;
  return undefined;
}

function channels(hex: string): [number, number, number] | undefined {
  const long = /^#([0-9a-f]{2})([0-9a-f]{2})([0-9a-f]{2})/i.exec(hex);
  if (long) return [parseInt(long[1] ?? '0', 16), parseInt(long[2] ?? '0', 16), parseInt(long[3] ?? '0', 16)];
  const short = /^#([0-9a-f])([0-9a-f])([0-9a-f])$/i.exec(hex);
  if (short) return [1, 2, 3].map((i) => parseInt(`${short[i]}${short[i]}`, 16)) as [number, number, number];
  const rgb = /^rgba?\((\d+)[,\s]+(\d+)[,\s]+(\d+)/.exec(hex);
  return rgb ? [Number(rgb[1]), Number(rgb[2]), Number(rgb[3])] : undefined;
}

/** The colour with an opacity between 0 and 1. */
export function alpha(colour_: string, opacity: number): string {
  const rgb = channels(colour_);
  return rgb ? `rgba(${rgb.join(', ')}, ${opacity})` : colour_;
}

/** Black or white, whichever is read better on the colour. */
export function inkOn(colour_: string): string {
  const rgb = channels(colour_);
  if (!rgb) return 'inherit';
  return luminance(rgb) > 0.2 ? '#16181b' : '#ffffff';
}

/** How bright a colour is to the eye, between 0 and 1 (WCAG's relative luminance). */
function luminance(rgb: [number, number, number]): number {
  const [r, g, b] = rgb.map((c) => (c / 255 <= 0.04045 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4)) as [number, number, number];
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}

/** The colour for texts: on a light ground it is darkened until it can be read. */
export function readable(colour_: string): string {
  const rgb = channels(colour_);
  if (!rgb) return colour_;
  let [dark_, part] = [colour_, 0];
  while (part < 0.9 && 1.05 / (luminance(channels(dark_) ?? rgb) + 0.05) < 4.6) {
    part += 0.05;
    dark_ = mix(colour_, '#000000', part);
  }
  return part === 0 ? colour_ : `light-dark(${dark_}, ${colour_})`;
}

export function mix(from: string, to: string, part: number): string {
  const [a, b] = [channels(from), channels(to)];
  if (!a || !b) return from;
  return `rgb(${a.map((c, i) => Math.round(c + ((b[i] ?? c) - c) * part)).join(', ')})`;
}

export const GRADIENTS: Record<string, string[]> = {
  'continuous-GrYlRd': ['#73bf69', '#fade2a', '#f2495c'], 'continuous-RdYlGr': ['#f2495c', '#fade2a', '#73bf69'],
  'continuous-BlYlRd': ['#5794f2', '#fade2a', '#f2495c'], 'continuous-YlRd': ['#fade2a', '#f2495c'], 'continuous-BlPu': ['#5794f2', '#b877d9'],
  'continuous-YlBl': ['#fade2a', '#5794f2'], 'continuous-blues': ['#16233a', '#5794f2'], 'continuous-reds': ['#3a161c', '#f2495c'],
  'continuous-greens': ['#163a1c', '#73bf69'], 'continuous-purples': ['#2c163a', '#b877d9'],
};

/** A colour of a gradient at a part between 0 and 1. */
export function gradient(stops: string[], part: number): string {
  const at = Math.max(0, Math.min(1, Number.isFinite(part) ? part : 0)) * (stops.length - 1);
  const index = Math.min(stops.length - 2, Math.floor(at));
  return stops.length < 2 ? (stops[0] ?? '#888888') : mix(stops[index] ?? '#888888', stops[index + 1] ?? '#888888', at - index);
}

/** The scale of heatmaps: from the ground over blue-violet to bright yellow. */
export function heat(part: number): string {
  return gradient(dark() ? ['#1b1f2b', '#3b2f80', '#a23a7d', '#ef7d4f', '#fbe37a'] : ['#f1f3f8', '#b9b6e8', '#a05fb8', '#d9483f', '#5b0f1f'], part);
}
