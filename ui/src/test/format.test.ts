import { describe, expect, it } from 'vitest';
import { alpha, gradient, inkOn, named } from '../format/colours';
import { ago, count, duration, marks, moment, number, quoted, seriesName } from '../format/text';
import { dateFormat, decimalsFor, formatValue, fromNow } from '../format/units';

describe('units', () => {
  it.each<[number, string, number | undefined, string]>([
    [0, 'short', undefined, '0'], [1234, 'short', undefined, '1.23 K'], [1234567, 'short', undefined, '1.23 M'], [0.001234, 'short', undefined, '0.00123'],
    [1536, 'bytes', undefined, '1.5 KiB'], [1536, 'decbytes', undefined, '1.54 kB'], [3 * 1024 ** 3, 'bytes', 1, '3.0 GiB'], [2048, 'kbytes', undefined, '2 MiB'],
    [0.1234, 'percentunit', undefined, '12.3%'], [12.34, 'percent', 1, '12.3%'], [1500, 'Bps', undefined, '1.5 kB/s'], [1500, 'binBps', undefined, '1.46 KiB/s'], [8e6, 'bps', undefined, '8 Mb/s'],
    [0.0015, 's', undefined, '1.5 ms'], [90, 's', undefined, '1.5 mins'], [3600, 's', undefined, '1 hour'], [1500, 'ms', undefined, '1.5 s'], [2e6, 'ns', undefined, '2 ms'], [0, 's', undefined, '0 s'],
    [12.5, 'reqps', undefined, '12.5 req/s'], [25000, 'ops', undefined, '25 K ops/s'], [5, 'iops', undefined, '5 io/s'], [21.5, 'celsius', undefined, '21.5 °C'], [2.4e9, 'hertz', undefined, '2.4 GHz'], [0.002, 'watt', undefined, '2 mW'],
    [1, 'bool_yes_no', undefined, 'Yes'], [0, 'bool_on_off', undefined, 'Off'], [3661, 'dthms', undefined, '01:01:01'], [90061, 'dtdurations', undefined, '1 day, 1 hour'],
    [5, 'cores', undefined, '5 cores'], [5, 'apples', undefined, '5 apples'], [5, 'suffix:x', undefined, '5x'], [5, 'prefix:#', undefined, '#5'], [1234.5, 'currencyUSD', undefined, '$1.23K'],
    [255, 'hex0x', undefined, '0xFF'], [1500, 'si:W', undefined, '1.5 kW'], [Infinity, 'bytes', undefined, '∞'], [NaN, 'short', undefined, 'NaN'], [-1536, 'bytes', undefined, '-1.5 KiB'],
  ])('%d as %s', (value, unit, decimals, expected) => expect(formatValue(value, unit, decimals)).toBe(expected));

  it('chooses three significant digits', () => expect([0.123456, 1.5, 12.345, 123.4, 5].map(decimalsFor)).toEqual([3, 2, 1, 0, 0]));
  it('writes dates by letters', () => expect(dateFormat(new Date(2026, 10, 2, 3, 4, 5).getTime(), 'YYYY-MM-DD HH:mm:ss [at] h A')).toBe('2026-11-02 03:04:05 at 3 AM'));
  it('tells how far off', () => expect([fromNow(0, 7_200_000), fromNow(180_000, 0)]).toEqual(['2 hours ago', 'in 3 mins']));
});

describe('text', () => {
  it('durations', () => expect([999, 1500, 2_000_000, 12_345_678_900].map(duration)).toEqual(['999 ns', '1.5 µs', '2 ms', '12.3 s']));
  it('numbers', () => expect([0.5, 1234, 12345, 1.5e9, 1e-9].map(number)).toEqual(['0.5', '1234', '12.35k', '1.5G', '1.00e-9']));
  it('counts', () => expect([count(1, 'span'), count(2, 'query'), count(1200, 'line')]).toEqual(['1 span', '2 queries', '1,200 lines']));
  it('marks a day once', () => {
    const noon = new Date(2026, 0, 1, 12).getTime() / 1000;
    expect(marks([noon, noon + 3600], 3600)).toEqual(['12:00\n2026-01-01', '13:00']);
    expect(moment(noon)).toBe('2026-01-01 12:00:00');
  });
  it('names series', () => expect(seriesName({ __name__: 'up', job: 'a"b' })).toBe('up{job="a\\"b"}'));
  it('quotes', () => expect(quoted('a"\\\n')).toBe('"a\\"\\\\\\n"'));
  it('tells when', () => expect([ago('1970-01-01T00:00:00Z', 30_000), ago('nonsense', 0)]).toEqual(['30 s ago', 'never']));
});

describe('colours', () => {
  it('takes names and safe values only', () => expect(['dark-red', '#abc', 'rgba(1, 2, 3, 0.5)', 'url(x)', 'red;x'].map(named)).toEqual(['#c4162a', '#abc', 'rgba(1, 2, 3, 0.5)', undefined, undefined]));
  it('mixes', () => expect([alpha('#ff0000', 0.5), gradient(['#000000', '#ffffff'], 0.5), inkOn('#ffffff')]).toEqual(['rgba(255, 0, 0, 0.5)', 'rgb(128, 128, 128)', '#16181b']));
});
