import { describe, expect, it } from 'vitest';
import { messageOf, type OtlpSpan } from './api';
import { align, lonely, rangeOf } from './chart';
import { ago, count, duration, marks, moment, number, seriesName } from './format';
import { format, parse } from './location';
import { rows, text } from './spans';

const span = (spanId: string, parentSpanId: string, start: number): OtlpSpan => ({
  traceId: 't', spanId, parentSpanId, name: spanId, startTimeUnixNano: `${start}`, endTimeUnixNano: `${start + 10}`,
});

describe('rows', () => {
  const order = (spans: OtlpSpan[]) => rows([{ scopeSpans: [{ spans }] }]).map((r) => `${r.depth}${r.span.name}`);

  it('puts children under their parents', () => {
    expect(order([span('c', 'a', 5), span('a', '', 0), span('b', 'a', 2), span('d', 'b', 3)])).toEqual(['0a', '1b', '2d', '1c']);
  });

  it('shows orphans and cycles once', () => {
    const found = order([span('a', 'b', 0), span('b', 'a', 1), span('c', 'gone', 2), span('d', 'd', 3)]);
    expect(found.map((f) => f.slice(1)).sort()).toEqual(['a', 'b', 'c', 'd']);
  });

  it('knows service and failure', () => {
    const [row] = rows([{
      resource: { attributes: [{ key: 'service.name', value: { stringValue: 'shop' } }] },
      scopeSpans: [{ spans: [{ ...span('a', '', 0), status: { code: 2 } }] }],
    }]);
    expect([row?.service, row?.failed, row?.nanos]).toEqual(['shop', true, 10]);
    expect(text({ intValue: '7' })).toBe('7');
  });
});

describe('align', () => {
  it('keeps the first and the last point of a range that starts between steps', () => {
    const values: [number, string][] = [[1007, '1'], [1022, 'NaN'], [1037, '3']];
    const [times, column] = align([{ metric: {}, values }], { start: 1007, end: 1037 }, 15);
    expect(times).toEqual([1007, 1022, 1037]);
    expect(column).toEqual([1, null, 3]);
  });
});

describe('chart', () => {
  it('ends now, whatever the step', () => {
    expect(rangeOf(900, 8, 1_000_000_500)).toEqual({ start: 1_000_001 - 904, end: 1_000_001 });
    expect(rangeOf(604800, 1680, 1_700_000_000_000)).toEqual({ start: 1_700_000_000 - 604800, end: 1_700_000_000 });
  });

  it('draws points without a neighbour', () => {
    expect(lonely([1, null, 2, 3, null, 4])).toEqual([0, 5]);
    expect(lonely([])).toEqual([]);
  });

  it('tells the time by a 24-hour clock and each day once', () => {
    const at = (...when: [number, number, number]) => new Date(2026, 10, ...when).getTime() / 1000;
    expect(marks([at(21, 23, 50), at(21, 23, 55), at(22, 0, 0)], 300)).toEqual(['23:50\n2026-11-21', '23:55', '00:00\n2026-11-22']);
    expect(marks([at(21, 14, 5)], 15)).toEqual(['14:05:00\n2026-11-21']);
    expect(marks([at(21, 0, 0), at(22, 0, 0)], 86400)).toEqual(['2026-11-21', '2026-11-22']);
    expect(moment(at(21, 14, 5))).toBe('2026-11-21 14:05:00');
  });
});

describe('address', () => {
  it('keeps a state', () => {
    const state = { page: 'logs' as const, q: '{a="b"} |= "x & y"', since: 60, trace: '' };
    expect(parse(format(state))).toEqual(state);
    expect(parse('')).toEqual({ page: 'graph', q: '', since: 1800, trace: '' });
    expect(parse('#/nonsense?since=-1').since).toBe(1800);
  });
});

describe('format', () => {
  it('writes for people', () => {
    expect([duration(999), duration(1_234_567), duration(2.5e9)]).toEqual(['999 ns', '1.23 ms', '2.5 s']);
    expect([number(0), number(12345), number(2.5e9)]).toEqual(['0', '12.35k', '2.5G']);
    expect(seriesName({ __name__: 'up', job: 'a' })).toBe('up{job="a"}');
    expect([count(1, 'span'), count(0, 'span')]).toEqual(['1 span', '0 spans']);
    expect(seriesName({})).toBe('{}');
    expect(ago('0001-01-01T00:00:00Z', 0)).toBe('never');
    expect(messageOf('{"status":"error","error":"no"}')).toBe('no');
    expect(messageOf('plain\n')).toBe('plain');
  });
});
