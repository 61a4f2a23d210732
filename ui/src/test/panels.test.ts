import { describe, expect, it } from 'vitest';
import { linesOf } from '../alerts/history';
import type { ExplainNode } from '../api/server';
import { condition, differences, spansOf } from '../explore/compare';
import { ordered } from '../explore/explain';
import { overTime } from '../explore/logs';
import { firstQuery } from '../explore/start';
import { aggregate, selfTime } from '../trace/aggregate';
import type { Row } from '../trace/rows';
import { styled } from '../dashboards/fields';
import type { Frame } from '../dashboards/frame';
import { diff, hunks } from '../dashboards/diff';
import { migrate } from '../dashboards/migrate';
import { panelOf } from '../dashboards/model';
import { domain, ticks } from '../dashboards/panels/axes';
import { boxes } from '../dashboards/panels/flamegraph';
import { geohash } from '../dashboards/panels/geomap';
import { seriesOf } from '../dashboards/panels/xy';
import { colourOf, inkOn, readable } from '../format/colours';
import { secondsOf, shifted } from '../pages/changes';
import { path } from '../parts/graph';
import { isTenant } from '../tenant';

describe('flame graphs', () => {
  it('children stand above their parents, one after the other', () => {
    const found = boxes([0, 1, 2, 1, 0], [10, 4, 3, 5, 2], ['root', 'a', 'a.b', 'c', 'other'], []);
    expect(found.map((box) => [box.label, box.level, box.start])).toEqual([['root', 0, 0], ['a', 1, 0], ['a.b', 2, 0], ['c', 1, 4], ['other', 0, 10]]);
  });
  it('levels that jump or are none do no harm', () => expect(boxes([9, -3, 'x', 1e9], [1, 1, null, 1], ['a'], []).map((box) => box.level)).toEqual([0, 0, 0, 1]));
});

describe('maps', () => {
  it.each([['u33db', 52.5, 13.4], ['9q8yy', 37.8, -122.4]])('geohash %s', (text, lat, lon) => {
    const [a = 0, b = 0] = geohash(text) ?? [];
    expect([Number(a.toFixed(1)), Number(b.toFixed(1))]).toEqual([lat, lon]);
  });
  it('knows what is none', () => expect([geohash(''), geohash('a!')]).toEqual([undefined, undefined]));
});

describe('points by two columns', () => {
  const frame: Frame = { refId: 'A', fields: [{ name: 'host', kind: 'string', values: ['a'] }, { name: 'cpu', kind: 'number', values: [1] }, { name: 'memory', kind: 'number', values: [2] }, { name: 'disk', kind: 'number', values: [3] }] };
  const fields = styled(panelOf({}), [frame]);
  const shown = (options: Record<string, unknown>) => seriesOf(fields, options).map((one) => `${one.x.name}/${one.y.name}/${one.name}`);
  it.each([
    [{}, ['cpu/memory/memory', 'cpu/disk/disk']],
    [{ dims: { x: 'disk', exclude: ['cpu'] } }, ['disk/memory/memory']],
    [{ seriesMapping: 'manual', series: [{ x: 'memory', y: 'disk', name: 'S' }] }, ['memory/disk/S']],
    [{ mapping: 'manual', series: [{ x: { matcher: { id: 'byName', options: 'disk' } }, y: { matcher: { id: 'byName', options: 'cpu' } }, name: { fixed: 'N' } }] }, ['disk/cpu/N']],
  ])('%#', (options, expected) => expect(shown(options)).toEqual(expected));
});

it('marks are round', () => expect(ticks(0, 100, 4)).toEqual([0, 50, 100]));
it('domains have room', () => expect([domain([5, 10]), domain([]), domain([3, 3], { min: 0 })]).toEqual([{ min: 4.75, max: 10.25 }, { min: 0, max: 1.05 }, { min: 0, max: 3.3 }]));

it('library panels come with the export', () => {
  const { panels } = migrate({ __elements: { lib: { model: { type: 'stat', title: 'Shared', targets: [{ expr: 'up' }] } } }, panels: [{ id: 3, gridPos: { x: 1, y: 2, w: 3, h: 4 }, libraryPanel: { uid: 'lib', name: 'Shared' } }, { id: 4, libraryPanel: { uid: 'gone', name: 'Gone' } }] });
  expect(panels).toMatchObject([{ id: 3, type: 'stat', title: 'Shared', gridPos: { w: 3 } }, { id: 4, type: 'library-panel-ref', title: 'Gone' }]);
});

it('samples of ALERTS become spans', () => {
  const lines = linesOf([
    { metric: { __name__: 'ALERTS', alertname: 'A', alertstate: 'firing', pod: 'x' }, values: [[10, '1'], [20, '1'], [50, '1']] },
    { metric: { __name__: 'ALERTS', alertname: 'A', alertstate: 'pending', pod: 'x' }, values: [[0, '1']] },
  ], 10);
  expect(lines).toEqual([{ name: 'A', labels: { pod: 'x' }, firing: 30, spans: [{ start: 0, end: 10, firing: false }, { start: 10, end: 30, firing: true }, { start: 50, end: 60, firing: true }] }]);
});

it('what doubled or halved has changed', () => {
  const at = (service: string, value: number) => ({ metric: { service }, value });
  expect(shifted([at('a', 4), at('b', 3), at('c', 1), at('d', 0.001), at('e', 9)], [at('a', 2), at('b', 2), at('c', 2), at('d', 0)], 0.01)).toEqual([{ service: 'a', now: 4, before: 2 }, { service: 'c', now: 1, before: 2 }]);
});
it('times of either form', () => expect([secondsOf('1795330095218000000'), secondsOf('2026-11-22T06:48:15Z')]).toEqual([1795330095.218, 1795330095]));
it('names of services keep their colours and differ', () => {
  const found = ['a', 'q', 'checkout', 'payment', 'cart'].map(colourOf);
  expect(new Set(found).size).toBe(5);
  expect(colourOf('a')).toBe(found[0]);
});
it('edges end at the rings of their nodes', () => expect(path([{ x: 0, y: 0 }, { x: 100, y: 0 }], { x: 0, y: 0 }, { x: 100, y: 0 })).toBe('M33.0,0.0L66.0,0.0'));
it.each([['', true], ['team-a', true], ['a|b', true], ['..', false], ['a/b', false], ['ä', false]])('tenant %s', (name, good) => expect(isTenant(name)).toBe(good));

describe('what sets traces apart', () => {
  const at = (type: string, attribute: string, value: string, total: number) => ({ labels: { __meta_type: type, [attribute]: value }, total });
  it('compares parts, not counts', () => {
    const { selected, others, found } = differences([
      at('selection', 'version', '2', 9), at('selection', 'version', '1', 1), at('baseline', 'version', '2', 10), at('baseline', 'version', '1', 90), at('selection', 'zone', 'a', 10), at('baseline', 'zone', 'a', 100),
      at('selection_total', 'version', 'nil', 10), at('baseline_total', 'version', 'nil', 100), at('selection_total', 'zone', 'nil', 10), at('baseline_total', 'zone', 'nil', 100),
    ]);
    expect([selected, others]).toEqual([10, 100]);
    expect(found.map((one) => [one.attribute, Number(one.most.toFixed(3))])).toEqual([['version', 0.8], ['zone', 0]]);
    expect(found[0]?.values[0]).toEqual({ value: '2', selected: 0.9, others: 0.1 });
  });
  it.each([['{ a = 1 } | rate() by (b)', '{ a = 1 }'], ['{ .x = "a|b" || .y = `|` }', '{ .x = "a|b" || .y = `|` }'], ['{ a } || { b } | count() > 1', '{ a } || { b }'], ['', '{}']])('spans of %s', (q, expected) => expect(spansOf(q)).toBe(expected));
  it.each([['span.http.status', '500', 'span.http.status = 500'], ['status', 'error', 'status = error'], ['name', 'GET "x"', 'name = "GET \\"x\\""'], ['x', 'true', '.x = true']])('condition %s', (attribute, value, expected) => expect(condition(attribute, value)).toBe(expected));
});

describe('traces added up', () => {
  const row = (depth: number, name: string, start: number, nanos: number): Row => ({ depth, service: 's', resource: [], scope: '', span: { traceId: '', spanId: '', name, startTimeUnixNano: '', endTimeUnixNano: '' }, start: BigInt(start), nanos, failed: false });
  it('time of a span without its children, which may overlap', () => expect(selfTime(row(0, 'a', 0, 100), [row(1, 'b', 10, 30), row(1, 'c', 20, 40), row(1, 'd', 90, 50)])).toBe(40));
  it('the same steps are one box', () => {
    const one = [row(0, 'a', 0, 100), row(1, 'b', 10, 30), row(1, 'b', 50, 10)];
    const { boxes: found, counts } = aggregate([one, one]);
    expect(found.map((box) => [box.label, box.level, box.start, box.value, counts.get(box)])).toEqual([['s: a', 0, 0, 200, 2], ['s: b', 1, 0, 80, 4]]);
  });
});

it('parts of a query stand below what holds them, and circles end', () => {
  const node = (id: number, children: number[]): ExplainNode => ({ id, children, kind: '', head: `${id}`, expr: '', start: 0, end: 0 });
  expect(ordered([node(0, [1, 2]), node(1, [3]), node(2, []), node(3, [0, 9])]).map((one) => `${one.depth}:${one.node.head}`)).toEqual(['0:0', '1:1', '2:3', '1:2']);
  expect(ordered([])).toEqual([]);
});

it('texts in colours can be read on white', () => {
  expect(readable('#73bf69')).toMatch(/^light-dark\(rgb\(.*\), #73bf69\)$/);
  expect([readable('#1f1f1f'), readable('transparent'), inkOn('#fade2a'), inkOn('#8f3bb8')]).toEqual(['#1f1f1f', 'transparent', '#16181b', '#ffffff']);
});

it('patterns are drawn over the whole range', () => expect(overTime([[0, 1], [25, 2], [100, 3], [-5, 9]], { start: 0, end: 100 }, 4)).toEqual([1, 2, 0, 3]));
it.each([['http_requests_total', '', 'rate(http_requests_total[5m])'], ['up', 'gauge', 'up'], ['odd.name', '', '{"odd.name"}'], ['a_bucket', 'histogram', 'histogram_quantile(0.95, sum by (le) (rate(a_bucket[5m])))']])('the first query of %s', (name, type, expected) => expect(firstQuery(name, type)).toBe(expected));

describe('what was changed', () => {
  const shown = (a: string, b: string) => diff(a.split('').join('\n'), b.split('').join('\n')).map(({ kind, text }) => `${{ same: '', added: '+', removed: '-' }[kind]}${text}`).join(' ');
  it.each([['abc', 'abc', 'a b c'], ['abc', 'axc', 'a -b +x c'], ['abcd', 'acd', 'a -b c d'], ['ac', 'abc', 'a +b c'], ['abcdef', 'axcdyf', 'a -b +x c d -e +y f']])('%s to %s', (a, b, expected) => expect(shown(a, b)).toBe(expected));
  it('is shown with its surroundings', () => expect(hunks(diff('1\n2\n3\n4\n5\n6', '1\n2\n3\n4\n5\nx'), 1).map((line) => line?.text ?? '…')).toEqual(['…', '5', '6', 'x']));
});
