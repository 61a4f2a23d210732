// Grid, marks and labels of charts that are drawn as SVG.

export interface Scale {
  min: number;
  max: number;
  show: (value: number) => string;
  label?: string;
}

export interface Area {
  left: number;
  top: number;
  width: number;
  height: number;
}

/** Round values between both ends, about `count` of them. */
export function ticks(min: number, max: number, count: number): number[] {
  const raw = (max - min) / Math.max(1, count) || 1;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = ([1, 2, 5, 10].find((one) => one * power >= raw) ?? 10) * power;
  const out: number[] = [];
  for (let value = Math.ceil(min / step) * step; value <= max + step * 1e-6 && out.length < 50; value += step) out.push(value);
  return out;
}

/** From the smallest to the largest of the values, with a little room; fixed ends stay. */
export function domain(values: number[], fixed: { min?: number; max?: number } = {}): { min: number; max: number } {
  let [low, high] = [Infinity, -Infinity];
  for (const value of values) {
    if (!Number.isFinite(value)) continue;
    if (value < low) low = value;
    if (value > high) high = value;
  }
  if (low > high) [low, high] = [0, 1];
  const pad = (high - low) * 0.05 || Math.abs(high) * 0.1 || 1;
  const min = fixed.min ?? (low >= 0 && low - pad < 0 ? 0 : low - pad);
  const max = fixed.max ?? high + pad;
  return max > min ? { min, max } : { min, max: min + 1 };
}

export function areaOf(width: number, height: number, x: Scale, y: Scale): Area {
  const longest = Math.max(3, ...ticks(y.min, y.max, height / 45).map((value) => y.show(value).length));
  const left = Math.min(width * 0.3, longest * 6.6 + 12 + (y.label ? 16 : 0));
  const bottom = 22 + (x.label ? 16 : 0);
  return { left, top: 8, width: Math.max(10, width - left - 12), height: Math.max(10, height - bottom - 8) };
}

export const placeX = (area: Area, { min, max }: Scale, value: number) => area.left + ((value - min) / (max - min)) * area.width;
export const placeY = (area: Area, { min, max }: Scale, value: number) => area.top + area.height - ((value - min) / (max - min)) * area.height;

/** `marks` stand on the x axis instead of round values: moments, for instance. */
export function Axes({ area, x, y, marks }: { area: Area; x: Scale; y: Scale; marks?: { at: number; text: string }[] }) {
  const bottom = area.top + area.height;
  const along = marks ?? ticks(x.min, x.max, area.width / 90).map((at) => ({ at, text: x.show(at) }));
  return (
    <g class="axes">
      {ticks(y.min, y.max, area.height / 45).map((value) => (
        <g key={value}><line x1={area.left} x2={area.left + area.width} y1={placeY(area, y, value)} y2={placeY(area, y, value)} class="grid" /><text x={area.left - 6} y={placeY(area, y, value) + 4} text-anchor="end">{y.show(value)}</text></g>
      ))}
      {along.map(({ at, text }) => (
        <g key={at}><line x1={placeX(area, x, at)} x2={placeX(area, x, at)} y1={area.top} y2={bottom} class="grid" /><text x={placeX(area, x, at)} y={bottom + 15} text-anchor="middle">{text}</text></g>
      ))}
      {x.label && <text x={area.left + area.width / 2} y={bottom + 31} text-anchor="middle">{x.label}</text>}
      {y.label && <text transform={`translate(12,${area.top + area.height / 2}) rotate(-90)`} text-anchor="middle">{y.label}</text>}
    </g>
  );
}
