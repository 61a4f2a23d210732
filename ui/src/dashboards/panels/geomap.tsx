// The panel `geomap`: points of latitude and longitude on a plain map (meridians and parallels, no tiles: those
// would come from elsewhere).

import { useMemo } from 'preact/hooks';
import { num, obj, objs, str } from '../../json';
import type { StyledField } from '../fields';
import { toNumber, toText } from '../frame';
import { domain } from './axes';
import type { PanelProps } from './types';

const POINTS_MAX = 5000;

interface Place {
  latitude: number;
  longitude: number;
  row: number;
}

const BASE32 = '0123456789bcdefghjkmnpqrstuvwxyz';

/** The middle of a geohash. */
export function geohash(text: string): [number, number] | undefined {
  const [lat, lon]: [[number, number], [number, number]] = [[-90, 90], [-180, 180]];
  let even = true;
  for (const c of text.toLowerCase()) {
    const index = BASE32.indexOf(c);
    if (index < 0) return undefined;
    for (let bit = 4; bit >= 0; bit -= 1) {
      const side = even ? lon : lat;
      const middle = (side[0] + side[1]) / 2;
      side[(index >> bit) & 1 ? 0 : 1] = middle;
      even = !even;
    }
  }
  return text ? [(lat[0] + lat[1]) / 2, (lon[0] + lon[1]) / 2] : undefined;
}

function places(fields: StyledField[], location: Record<string, unknown>): Place[] {
  const named = (asked: unknown, ...names: string[]) => fields.find((one) => one.name === str(asked) || one.field.name === str(asked)) ?? fields.find((one) => names.includes(one.field.name.toLowerCase()));
  const lat = named(location.latitude, 'latitude', 'lat');
  const lon = named(location.longitude, 'longitude', 'lon', 'lng', 'long');
  const hash = named(location.geohash, 'geohash');
  const rows = (lat ?? hash)?.field.values.slice(0, POINTS_MAX) ?? [];
  return rows.flatMap((_, row): Place[] => {
    const found = lat && lon ? [toNumber(lat.field.values[row]), toNumber(lon.field.values[row])] : geohash(toText(hash?.field.values[row]));
    const [latitude, longitude] = found ?? [];
    return latitude != null && longitude != null && Math.abs(latitude) <= 90 && Math.abs(longitude) <= 180 ? [{ latitude, longitude, row }] : [];
  });
}

export function GeomapPanel({ panel, fields, width, height }: PanelProps) {
  const layer = obj(objs(panel.options.layers)[0]);
  const style = obj(obj(layer.config).style);
  const all = useMemo(() => places(fields, obj(layer.location)), [fields]);
  const value = fields.find((one) => one.name === str(obj(style.size).field) || one.name === str(obj(style.color).field)) ?? fields.find((one) => one.field.kind === 'number' && !/^(lat|lon|lng)/i.test(one.field.name));
  const names = fields.filter((one) => one.field.kind === 'string');
  if (all.length === 0) return <p class="panel-note">A map needs the columns latitude and longitude, or geohash.</p>;
  const fits = obj(panel.options.view).id === 'fit' || all.length < 500;
  const [lats, lons] = fits ? [domain(all.map((one) => one.latitude)), domain(all.map((one) => one.longitude))] : [{ min: -85, max: 85 }, { min: -180, max: 180 }];
  // A degree is as long both ways, as far as the middle goes.
  const squeeze = Math.max(0.2, Math.cos((((lats.min + lats.max) / 2) * Math.PI) / 180));
  const scale = Math.min(width / ((lons.max - lons.min) * squeeze || 1), height / (lats.max - lats.min || 1)) * 0.94;
  const [midLat, midLon] = [(lats.min + lats.max) / 2, (lons.min + lons.max) / 2];
  const x = (longitude: number) => width / 2 + (longitude - midLon) * squeeze * scale;
  const y = (latitude: number) => height / 2 - (latitude - midLat) * scale;
  const degrees = 90 / scale;
  const step = [0.01, 0.05, 0.1, 0.5, 1, 5, 10, 15, 30, 60].find((one) => one >= degrees) ?? 60;
  const lines = (low: number, high: number) => Array.from({ length: Math.min(60, Math.floor(high / step) - Math.ceil(low / step) + 1) }, (_, i) => (Math.ceil(low / step) + i) * step);
  const numbers = domain((value?.field.values ?? []).map((one) => toNumber(one) ?? NaN));
  const [least, most] = [num(obj(style.size).min) ?? 4, num(obj(style.size).max) ?? 15];
  const spanLat = height / scale / 2;
  const spanLon = width / scale / squeeze / 2;
  return (
    <svg class="bars-chart geomap" width={width} height={height} role="img" aria-label={panel.title || panel.type}>
      {lines(Math.max(-180, midLon - spanLon), Math.min(180, midLon + spanLon)).map((at) => <g key={`x${at}`}><line x1={x(at)} x2={x(at)} y1={0} y2={height} class="grid" /><text x={x(at) + 3} y={height - 4}>{`${Number(Math.abs(at).toFixed(2))}°${at < 0 ? 'W' : 'E'}`}</text></g>)}
      {lines(Math.max(-90, midLat - spanLat), Math.min(90, midLat + spanLat)).map((at) => <g key={`y${at}`}><line x1={0} x2={width} y1={y(at)} y2={y(at)} class="grid" /><text x={3} y={y(at) - 3}>{`${Number(Math.abs(at).toFixed(2))}°${at < 0 ? 'S' : 'N'}`}</text></g>)}
      {all.map(({ latitude, longitude, row }) => {
        const number = toNumber(value?.field.values[row]);
        const shown = value?.show(value.field.values[row]);
        const part = number === null ? 0 : (number - numbers.min) / (numbers.max - numbers.min);
        return (
          <circle key={row} cx={x(longitude)} cy={y(latitude)} r={least + (most - least) * Math.max(0, Math.min(1, part))} fill={shown?.colour ?? 'var(--accent)'} fill-opacity="0.6" stroke={shown?.colour ?? 'var(--accent)'}>
            <title>{[...names.map((one) => `${one.name}: ${toText(one.field.values[row])}`), shown && value ? `${value.name}: ${shown.text}` : `${latitude}, ${longitude}`].join('\n')}</title>
          </circle>
        );
      })}
    </svg>
  );
}
