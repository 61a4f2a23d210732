// Values with units, under the ids that Grafana's dashboards use. An unknown id is a suffix.

import { clock } from '../time/parse';

export interface Shown {
  text: string;
  /** The unit, apart from the number; it may begin with a space. */
  suffix: string;
  prefix?: string;
}

type Formatter = (value: number, decimals?: number) => Shown;

/** Decimals of three significant digits, as Grafana chooses them; none of whole numbers. */
export function decimalsFor(value: number): number {
  if (value === 0 || !Number.isFinite(value) || Number.isInteger(value)) return 0;
  return Math.max(0, Math.min(20, 2 - Math.floor(Math.log10(Math.abs(value)))));
}

export function fixed(value: number, decimals?: number): string {
  if (Number.isNaN(value)) return 'NaN';
  if (!Number.isFinite(value)) return value > 0 ? '∞' : '-∞';
  const digits = Math.max(0, Math.min(20, decimals ?? decimalsFor(value)));
  const text = value.toFixed(digits);
  // Without asked decimals, zeros at the end tell nothing.
  const clean = decimals === undefined && text.includes('.') ? text.replace(/\.?0+$/, '') : text;
  return clean === '-0' ? '0' : clean;
}

function scaled(factor: number, steps: string[], start = 0): Formatter {
  return (value, decimals) => {
    if (!Number.isFinite(value)) return { text: fixed(value), suffix: '' };
    let [size, index] = [value, start];
    while (Math.abs(size) >= factor && index < steps.length - 1) [size, index] = [size / factor, index + 1];
    return { text: fixed(size, decimals), suffix: steps[index] ?? '' };
  };
}

const SI = ['', 'K', 'M', 'G', 'T', 'P', 'E', 'Z', 'Y'];
const SMALL = ['n', 'µ', 'm'];

const count = (unit: string): Formatter => scaled(1000, ['', 'K', 'Mil', 'Bil', 'Tri'].map((p) => (p || unit ? ` ${p}${unit && p ? ' ' : ''}${unit}`.trimEnd() : '')));
const simple = (unit: string): Formatter => scaled(1000, ['', 'K', 'M', 'B', 'T'].map((p) => (unit ? `${p && ` ${p}`} ${unit}` : p && ` ${p}`)));
const si = (unit: string, offset = 0): Formatter => {
  const steps = [...SMALL, ...SI].map((p) => ` ${p === 'K' ? 'k' : p}${unit}`);
  return (value, decimals) => {
    let [size, index] = [value, SMALL.length + offset];
    while (size !== 0 && Math.abs(size) < 1 && index > 0) [size, index] = [size * 1000, index - 1];
    return scaled(1000, steps, index)(size, decimals);
  };
};
const binary = (unit: string, offset = 0): Formatter => scaled(1024, SI.map((p) => ` ${p && `${p}i`}${unit}`), offset);
const decimal = (unit: string, offset = 0): Formatter => scaled(1000, SI.map((p) => ` ${p === 'K' ? 'k' : p}${unit}`), offset);
const plain = (suffix: string): Formatter => (value, decimals) => ({ text: fixed(value, decimals), suffix });
const money = (prefix: string): Formatter => (value, decimals) => {
  const shown = scaled(1000, ['', 'K', 'M', 'B', 'T'])(value, decimals);
  return { ...shown, prefix };
};

const TIME: [number, string, string][] = [
  [31536000, 'year', 'years'], [604800, 'week', 'weeks'], [86400, 'day', 'days'], [3600, 'hour', 'hours'],
  [60, 'min', 'mins'], [1, 's', 's'], [1e-3, 'ms', 'ms'], [1e-6, 'µs', 'µs'], [1e-9, 'ns', 'ns'],
];

const time = (seconds: number): Formatter => (value, decimals) => {
  if (value === 0 || !Number.isFinite(value)) return { text: fixed(value, decimals), suffix: seconds >= 1 ? ' s' : ' ms' };
  const size = Math.abs(value * seconds);
  const [unit, one, many] = TIME.find(([least]) => size >= least * (1 - 1e-9)) ?? [1e-9, 'ns', 'ns'];
  const shown = (value * seconds) / unit;
  return { text: fixed(shown, decimals), suffix: ` ${Math.abs(shown) === 1 ? one : many}` };
};

/** `1 day, 2 hours`: as many parts as asked for. */
function inWords(seconds: number, parts: number): string {
  let rest = Math.abs(seconds);
  const out: string[] = [];
  for (const [size, one, many] of TIME) {
    if (out.length > parts) break;
    const n = Math.floor(rest / size + 1e-9);
    if (n > 0) out.push(`${n} ${n === 1 ? one : many}`);
    rest = Math.max(0, rest - n * size);
  }
  return (seconds < 0 ? '-' : '') + (out.join(', ') || '0 s');
}

const two = (n: number) => `${n}`.padStart(2, '0');
const hms = (seconds: number, days: boolean): string => {
  const s = Math.floor(Math.abs(seconds));
  const day = days && s >= 86400 ? `${Math.floor(s / 86400)} d ` : '';
  const hours = days ? Math.floor((s % 86400) / 3600) : Math.floor(s / 3600);
  return `${seconds < 0 ? '-' : ''}${day}${two(hours)}:${two(Math.floor((s % 3600) / 60))}:${two(s % 60)}`;
};

const texts = (make: (value: number) => string): Formatter => (value) => ({ text: make(value), suffix: '' });
const either = (yes: string, no: string): Formatter => texts((value) => (value ? yes : no));

/** `3 hours ago`, `in 2 days` */
export function fromNow(millis: number, now = Date.now()): string {
  const seconds = (millis - now) / 1000;
  const [unit, one, many] = TIME.find(([least]) => Math.abs(seconds) >= least && least >= 1) ?? [1, 's', 's'];
  const n = Math.round(Math.abs(seconds) / unit);
  const words = `${n} ${n === 1 ? one : many}`;
  return seconds > 0 ? `in ${words}` : `${words} ago`;
}

const rates: Record<string, string> = {
  cps: 'c/s', ops: 'ops/s', reqps: 'req/s', rps: 'rd/s', wps: 'wr/s', iops: 'io/s', eps: 'evt/s', mps: 'msg/s', recps: 'rec/s',
  rowsps: 'rows/s', cpm: 'c/m', opm: 'ops/m', reqpm: 'req/m', rpm: 'rd/m', wpm: 'wr/m', epm: 'evts/m', pps: 'p/s',
};

const PLAIN: Record<string, string> = {
  celsius: ' °C', fahrenheit: ' °F', kelvin: ' K', humidity: ' %H', degree: '°', percent: '%', dB: ' dB', dBm: ' dBm', ppm: ' ppm',
  rotrpm: ' rpm', rotrads: ' rad/s', cores: ' cores', lumens: ' lm', lux: ' lx', ph: ' pH', velocityms: ' m/s', velocitykmh: ' km/h',
  pixel: ' px', arcsec: ' arcsec', lengthmm: ' mm', lengthkm: ' km', massg: ' g', masskg: ' kg',
};

const SI_UNITS: Record<string, string> = {
  watt: 'W', volt: 'V', amp: 'A', voltamp: 'VA', joule: 'J', hertz: 'Hz', ohm: 'Ω', farad: 'F', henry: 'H', pressurepa: 'Pa', pressurebar: 'bar',
  lengthm: 'm', flowlpm: 'L/min', litre: 'L', watth: 'Wh', eV: 'eV', forceNm: 'Nm', dpm: 'Dp/m', bqps: 'Bq', sv: 'Sv', accMS2: 'm/s²',
};

const SIZES: [RegExp, number][] = [[/^k/, 1], [/^m/, 2], [/^g/, 3], [/^t/, 4], [/^p/, 5]];

const KNOWN: Record<string, Formatter> = {
  none: plain(''), short: simple(''), sishort: si(''), string: texts(String),
  percentunit: (value, decimals) => ({ text: fixed(value * 100, decimals), suffix: '%' }),
  hex0x: texts((v) => `0x${Math.trunc(v).toString(16).toUpperCase()}`), hex: texts((v) => Math.trunc(v).toString(16).toUpperCase()),
  sci: (value, decimals) => ({ text: value.toExponential(decimals), suffix: '' }),
  locale: (value, decimals) => ({ text: value.toLocaleString('en-US', { maximumFractionDigits: decimals ?? 3 }), suffix: '' }),
  bytes: binary('B'), bits: binary('b'), decbytes: decimal('B'), decbits: decimal('b'),
  binBps: binary('B/s'), binbps: binary('b/s'), Bps: decimal('B/s'), bps: decimal('b/s'),
  KBs: decimal('B/s', 1), MBs: decimal('B/s', 2), GBs: decimal('B/s', 3), KiBs: binary('B/s', 1), MiBs: binary('B/s', 2), GiBs: binary('B/s', 3),
  Kbits: decimal('b/s', 1), Mbits: decimal('b/s', 2), Gbits: decimal('b/s', 3), Kibits: binary('b/s', 1), Mibits: binary('b/s', 2), Gibits: binary('b/s', 3),
  kwatt: si('W', 1), megwatt: si('W', 2), kwatth: si('Wh', 1), mvolt: si('V', -1), mamp: si('A', -1), rothz: si('Hz'), khertz: si('Hz', 1),
  ns: time(1e-9), µs: time(1e-6), us: time(1e-6), ms: time(1e-3), s: time(1), m: time(60), h: time(3600), d: time(86400), jiffies: time(0.01), timeticks: time(0.01),
  dtdurationms: texts((v) => inWords(v / 1000, 1)), dtdurations: texts((v) => inWords(v, 1)),
  dthms: texts((v) => hms(v, false)), dtdhms: texts((v) => hms(v, true)), clocks: texts((v) => inWords(v, 2)), clockms: texts((v) => inWords(v / 1000, 2)),
  dateTimeAsIso: texts((v) => clock(v)), dateTimeAsIsoNoDateIfToday: texts((v) => clock(v)), dateTimeAsLocal: texts((v) => clock(v)),
  dateTimeAsSystem: texts((v) => clock(v)), dateTimeAsUS: texts((v) => new Date(v).toLocaleString('en-US')), dateTimeAsUSNoDateIfToday: texts((v) => new Date(v).toLocaleString('en-US')),
  dateTimeFromNow: texts((v) => fromNow(v)),
  bool: either('True', 'False'), bool_yes_no: either('Yes', 'No'), bool_on_off: either('On', 'Off'),
  currencyUSD: money('$'), currencyEUR: money('€'), currencyGBP: money('£'), currencyJPY: money('¥'), currencyCHF: money('CHF '),
  currencyBTC: money('₿'), currencyINR: money('₹'), currencyCNY: money('¥'),
};

function find(unit: string): Formatter {
  const known = KNOWN[unit];
  if (known) return known;
  const rate = rates[unit];
  if (rate) return simple(rate);
  const si_ = SI_UNITS[unit];
  if (si_) return si(si_);
  const fixedUnit = PLAIN[unit];
  if (fixedUnit) return plain(fixedUnit);
  const size = /^(dec)?([kmgtp])(bytes|bits)$/.exec(unit);
  if (size) {
    const offset = SIZES.find(([pattern]) => pattern.test(size[2] ?? ''))?.[1] ?? 0;
    return (size[1] ? decimal : binary)(size[3] === 'bytes' ? 'B' : 'b', offset);
  }
  const custom = /^(prefix|suffix|time|si|count|currency|bool|binary):(.*)$/s.exec(unit);
  if (!custom) return plain(unit ? ` ${unit}` : '');
  const [, kind, rest = ''] = custom;
  if (kind === 'prefix') return (value, decimals) => ({ text: fixed(value, decimals), suffix: '', prefix: rest });
  if (kind === 'time') return texts((v) => dateFormat(v, rest));
  if (kind === 'currency') return money(rest.replace(/^financial:/, ''));
  if (kind === 'count') return count(rest);
  if (kind === 'si') {
    const prefix = rest.length > 1 ? ['n', 'µ', 'm', '', 'K', 'M', 'G', 'T', 'P'].findIndex((p) => p && (p === rest[0] || p.toLowerCase() === rest[0])) - 3 : 0;
    return prefix > -4 && prefix !== 0 ? si(rest.slice(1), prefix) : si(rest);
  }
  if (kind === 'bool') return either(rest.split('/')[0] ?? 'true', rest.split('/')[1] ?? 'false');
  return plain(rest);
}

const formatters = new Map<string, Formatter>();

/** A formatter is found once: tables show many values of one unit. */
export function formatter(unit = 'none'): Formatter {
  const found = formatters.get(unit) ?? find(unit);
  formatters.set(unit, found);
  return found;
}

export function formatValue(value: number, unit?: string, decimals?: number): string {
  const { prefix = '', text, suffix } = formatter(unit)(value, decimals);
  return `${prefix}${text}${suffix}`;
}

/** A date by the letters of moment.js, as far as dashboards use them. */
export function dateFormat(millis: number, format: string): string {
  const d = new Date(millis);
  const parts: Record<string, string> = {
    YYYY: `${d.getFullYear()}`, YY: `${d.getFullYear() % 100}`, MMMM: d.toLocaleString('en', { month: 'long' }), MMM: d.toLocaleString('en', { month: 'short' }),
    MM: two(d.getMonth() + 1), M: `${d.getMonth() + 1}`, DD: two(d.getDate()), D: `${d.getDate()}`, dddd: d.toLocaleString('en', { weekday: 'long' }),
    ddd: d.toLocaleString('en', { weekday: 'short' }), HH: two(d.getHours()), H: `${d.getHours()}`, hh: two(((d.getHours() + 11) % 12) + 1),
    h: `${((d.getHours() + 11) % 12) + 1}`, mm: two(d.getMinutes()), m: `${d.getMinutes()}`, ss: two(d.getSeconds()), s: `${d.getSeconds()}`,
    SSS: `${d.getMilliseconds()}`.padStart(3, '0'), A: d.getHours() < 12 ? 'AM' : 'PM', a: d.getHours() < 12 ? 'am' : 'pm', X: `${Math.floor(millis / 1000)}`, x: `${millis}`,
  };
  return format.replace(/\[([^\]]*)\]|YYYY|YY|MMMM|MMM|MM|M|DD|D|dddd|ddd|HH|H|hh|h|mm|m|SSS|ss|s|A|a|X|x/g, (token, literal?: string) => literal ?? parts[token] ?? token);
}

/** Units whose prefixes are powers of 1024: their axes have marks at round numbers of those. */
export function isBinary(unit: string | undefined): boolean {
  return ['bytes', 'bits', 'kbytes', 'mbytes', 'gbytes', 'tbytes', 'binBps', 'binbps', 'KiBs', 'MiBs', 'GiBs'].includes(unit ?? '');
}
