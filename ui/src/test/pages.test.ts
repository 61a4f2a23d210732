import { describe, expect, it } from 'vitest';
import { fits } from '../api/alertmanager';
import { messageOf } from '../api/http';
import { selectorOf } from '../api/loki';
import { hexId, type OtlpSpan } from '../api/tempo';
import { parseMatchers } from '../alerts/silences';
import { routePart } from '../alerts/routes';
import { closed, lonely } from '../chart/plot';
import { detect } from '../explore/language';
import { filtered } from '../explore/logs';
import { align } from '../explore/metrics';
import { curl } from '../explore/share';
import { fieldsOf, traceOf } from '../parts/lines';
import { changed, modern, parse } from '../route';
import { compare } from '../trace/compare';
import { criticalPath } from '../trace/critical';
import { rows } from '../trace/rows';
import { visibleRows } from '../trace/waterfall';

const span = (spanId: string, parentSpanId: string, start: number, end = start + 10): OtlpSpan => ({ traceId: 't', spanId, parentSpanId, name: spanId, startTimeUnixNano: `${start}`, endTimeUnixNano: `${end}` });
const walk = (spans: OtlpSpan[]) => rows([{ scopeSpans: [{ spans }] }]);

describe('traces', () => {
  const order = (spans: OtlpSpan[]) => walk(spans).map((r) => `${r.depth}${r.span.name}`);
  it('puts children under their parents', () => expect(order([span('c', 'a', 5), span('a', '', 0), span('b', 'a', 2), span('d', 'b', 3)])).toEqual(['0a', '1b', '2d', '1c']));
  it('shows orphans and cycles once', () => expect(order([span('a', 'b', 0), span('b', 'a', 1), span('c', 'gone', 2), span('d', 'd', 3)]).map((f) => f.slice(1)).sort()).toEqual(['a', 'b', 'c', 'd']));
  it('finds the critical path', () => {
    const path = criticalPath(walk([span('a', '', 0, 100), span('b', 'a', 10, 40), span('c', 'a', 20, 90)]));
    expect([...path].map(([row, parts]) => [row.span.name, parts.map((p) => `${p.start}-${p.end}`)])).toEqual([['a', ['90-100', '0-20']], ['c', ['20-90']]]);
  });
  it('closes what is below', () => expect(visibleRows(walk([span('a', '', 0), span('b', 'a', 1), span('c', 'b', 2), span('d', 'a', 3)]), new Set(['b'])).map((r) => r.span.name)).toEqual(['a', 'b', 'd']));
  it('compares by path', () => expect(compare(walk([span('a', '', 0), span('b', 'a', 1)]), walk([span('a', '', 0), span('c', 'a', 1)])).map((c) => [c.name, c.counts])).toEqual([['a', [1, 1]], ['b', [1, 0]], ['c', [0, 1]]]));
  it('reads ids in both forms', () => expect([hexId('IsuNofvVpPA=', 8), hexId('00000000000000A1', 8), hexId('', 8)]).toEqual(['22cb8da1fbd5a4f0', '00000000000000a1', '']));
});

describe('languages', () => {
  it.each([['up', 'promql'], ['{app="x"}', 'logql'], ['{app="x"} |= "y"', 'logql'], ['rate({a="b"}[5m])', 'logql'], ['{}', 'traceql'], ['{ status = error }', 'traceql'], ['{ resource.service.name = "a" }', 'traceql'], ['{ span.x > 1 } | rate()', 'traceql'], ['sum(rate(x{a="b"}[5m]))', 'promql'], ['{__name__="x"}[5m]', 'promql']])('%s', (query, lang) => expect(detect(query)).toBe(lang));
  it('selectors', () => expect([selectorOf('rate({a="}", b="c"} |= "x"[5m])'), selectorOf('x')]).toEqual(['{a="}", b="c"}', undefined]));
  it('filters', () => expect([filtered('{a="b"} |= "x"', 'c', 'd"', true, false), filtered('{a="b"}', 'user', '5', false, true)]).toEqual(['{a="b", c="d\\""} |= "x"', '{a="b"} | json | logfmt | user!="5"']));
  it('commands are quoted', () => expect(curl('promql', "a'b", { start: 0, end: 10 }, 'http://h')).toContain(`'query=a'\\''b'`));
});

describe('lines', () => {
  const line = (text: string, labels = {}) => ({ nanos: 0n, labels, metadata: {}, line: text });
  it('know their trace', () => expect([traceOf(line('x', { trace_id: 'a'.repeat(32) })), traceOf(line('traceID=5b8efff798038103d269b633813fc60c ok')), traceOf(line('{"trace_id": "5b8efff798038103"}')), traceOf(line('nothing'))]).toEqual(['a'.repeat(32), '5b8efff798038103d269b633813fc60c', '5b8efff798038103', undefined]));
  it('have fields', () => expect([fieldsOf('{"a":1,"b":"x"}'), fieldsOf('a=1 b="x y"'), fieldsOf('plain text')]).toEqual([[['a', '1'], ['b', 'x']], [['a', '1'], ['b', 'x y']], []]));
});

describe('addresses', () => {
  it('old ones lead to new ones', () => {
    expect(modern('/', '', '#/logs?q=%7Ba%3D%22b%22%7D&since=300')).toBe('/explore?q=%7Ba%3D%22b%22%7D&lang=logql&from=now-300s');
    expect(modern('/', '', '#/traces?trace=abc')).toBe('/trace/abc');
    expect(modern('/graph', '?g0.expr=up&g0.tab=1', '')).toBe('/explore?q=up&lang=promql&view=table');
    expect(modern('/explore', '?q=1', '')).toBeUndefined();
  });
  it('bad encodings stay', () => expect(parse('/d/%ff', '', '/').path).toEqual(['d', '%ff']));
  it('change', () => expect(changed(new URLSearchParams('a=1&b=2'), { a: undefined, c: ['3', '4'] }).toString()).toBe('b=2&c=3&c=4'));
});

describe('charts', () => {
  it('puts points on the clock', () => expect(align([{ metric: {}, values: [[10, '1'], [30, 'NaN'], [31, '5']] }], { start: 10, end: 40 }, 10).columns).toEqual([[1, null, 5, null]]));
  it('finds lonely points', () => expect([lonely([1, null, 2, 3, null, 4]), lonely([1, undefined, 2, null])]).toEqual([[0, 5], []]));
  it('closes short gaps', () => expect(closed([0, 10, 20, 30, 40], [1, null, 2, null, null], 25)).toEqual([1, undefined, 2, null, null]));
});

describe('alerts', () => {
  it('matchers', () => expect(parseMatchers('{a="x\\"y", b=~"c.*", "d e"!=f}')).toEqual([{ name: 'a', value: 'x"y', isRegex: false, isEqual: true }, { name: 'b', value: 'c.*', isRegex: true, isEqual: true }, { name: 'd e', value: 'f', isRegex: false, isEqual: false }]));
  it('what is no matcher', () => expect([parseMatchers('a'), parseMatchers(''), parseMatchers('a="b" c')]).toEqual([undefined, undefined, undefined]));
  it('fit whole values', () => expect([fits([{ name: 'a', value: 'x', isRegex: true, isEqual: true }], { a: 'xy' }), fits([{ name: 'a', value: '', isRegex: false, isEqual: true }], {}), fits([{ name: 'a', value: '(', isRegex: true, isEqual: true }], { a: '(' })]).toEqual([false, true, false]));
  it('the route of a file', () => expect(routePart('global: {}\nroute:\n  receiver: a\nreceivers:\n- name: a')).toBe('route:\n  receiver: a'));
});

it('errors of all kinds', () => expect([messageOf('{"status":"error","error":"bad"}'), messageOf('{"message":"m"}'), messageOf('plain '), messageOf('null')]).toEqual(['bad', 'm', 'plain', 'null']));
