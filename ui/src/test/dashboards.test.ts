import { describe, expect, it } from 'vitest';
import { styled } from '../dashboards/fields';
import type { Frame } from '../dashboards/frame';
import { builtin, interpolate, title, type Values } from '../dashboards/interpolate';
import { layout } from '../dashboards/layout';
import { safe } from '../dashboards/links';
import { filterParameter, parseFilter, withFilters } from '../dashboards/matchers';
import { migrate } from '../dashboards/migrate';
import { customOptions, panelOf, read, variableOf } from '../dashboards/model';
import { legend } from '../dashboards/queries';
import { reduce } from '../dashboards/reduce';
import { sourceOf } from '../dashboards/sources';
import { applyRegex, choose, ordered, sorted } from '../dashboards/variables';
import { toCsv } from '../dashboards/export';
import { heatmapFrames, tableFrame } from '../dashboards/fromSeries';

const values: Values = {
  one: { values: ['a.b'], texts: ['a.b'], multi: false },
  many: { values: ['a.b', 'c"d'], texts: ['A', 'C'], multi: true },
  single: { values: ['x/y'], texts: ['x/y'], multi: true },
  all: { values: ['p', 'q'], texts: ['p', 'q'], multi: true, all: true, allValue: '.*' },
  __interval: builtin('1m'),
};

describe('interpolation', () => {
  it.each([
    ['$one', 'a.b'], ['${one}', 'a.b'], ['[[one]]', 'a.b'], ['$many', '(a\\\\.b|c\\"d)'], ['$single', 'x/y'], ['$all', '.*'], ['[$__interval]', '[1m]'], ['$unknown $1', '$unknown $1'],
    ['${many:csv}', 'a.b,c"d'], ['${many:pipe}', 'a.b|c"d'], ['${many:regex}', '(a\\.b|c"d)'], ['${many:json}', '["a.b","c\\"d"]'], ['${many:glob}', '{a.b,c"d}'], ['${many:text}', 'A + C'],
    ['${many:queryparam}', 'var-many=a.b&var-many=c%22d'], ['${all:queryparam}', 'var-all=%24__all'], ['${many:singlequote}', "'a.b','c\"d'"], ['${many:doublequote}', '"a.b","c\\"d"'], ['[[many:pipe]]', 'a.b|c"d'],
    ['${one:percentencode}', 'a.b'], ['${many:raw}', 'a.b,c"d'],
  ])('%s', (text, expected) => expect(interpolate(text, { values, style: 'promql' })).toBe(expected));
  it('titles are for people', () => expect(title('$many of $all', values)).toBe('A + C of p + q'));
  it('legends', () => expect([legend('{{a}}-{{ b }}', { a: '1' }), legend('__auto', {}), legend('', {})]).toEqual(['1-', undefined, undefined]));
});

describe('ad hoc filters', () => {
  const filter = [{ key: 'a', operator: '=', value: 'x"y' }];
  it.each([
    ['up', 'up{a="x\\"y"}'], ['up{}', 'up{a="x\\"y"}'], ['up{b="1"}', 'up{a="x\\"y",b="1"}'], ['sum by (b) (rate(x[5m]))', 'sum by (b) (rate(x{a="x\\"y"}[5m]))'],
    ['a / on (b) group_left (c) d', 'a{a="x\\"y"} / on (b) group_left (c) d{a="x\\"y"}'], ['x offset 5m > bool 1', 'x{a="x\\"y"} offset 5m > bool 1'], ['label_replace(up, "q", "$1", "r", "(.*)")', 'label_replace(up{a="x\\"y"}, "q", "$1", "r", "(.*)")'],
  ])('%s', (query, expected) => expect(withFilters(query, filter)).toBe(expected));
  it('survive the address', () => expect(parseFilter(filterParameter({ key: 'a', operator: '=~', value: 'b|c' }))).toEqual({ key: 'a', operator: '=~', value: 'b|c' }));
});

describe('variables', () => {
  const variable = (json: Record<string, unknown>) => variableOf({ name: 'v', ...json });
  const options = [{ text: 'A', value: 'a' }, { text: 'B', value: 'b' }];
  it('custom options', () => expect(customOptions('a, b : c, d\\,e')).toEqual([{ text: 'a', value: 'a' }, { text: 'b', value: 'c' }, { text: 'd,e', value: 'd,e' }]));
  it('are chosen by address, saved value, All, first', () => {
    expect(choose(variable({ current: { value: 'b' } }), options, ['a'])).toEqual(['a']);
    expect(choose(variable({ current: { value: 'b' } }), options, [])).toEqual(['b']);
    expect(choose(variable({ current: { value: 'gone' }, includeAll: true }), options, [])).toEqual(['$__all']);
    expect(choose(variable({ current: { value: 'gone' } }), options, [])).toEqual(['a']);
    expect(choose(variable({ multi: true }), options, ['a', 'b'])).toEqual(['a', 'b']);
    expect(choose(variable({ includeAll: true }), options, ['All'])).toEqual(['$__all']);
  });
  it('regular expressions take groups', () => {
    const all = [{ text: 'x{i="1"} 5', value: 'x{i="1"} 5' }, { text: 'y', value: 'y' }];
    expect(applyRegex(all, '/i="(.*?)"/')).toEqual([{ text: '1', value: '1' }]);
    expect(applyRegex(all, '/(?<text>x).*(?<value>5)/')).toEqual([{ text: 'x', value: '5' }]);
  });
  it('sort', () => expect(sorted([{ text: 'n10', value: '' }, { text: 'n9', value: '' }], 3).map((o) => o.text)).toEqual(['n9', 'n10']));
  it('come after what they mention', () => expect(ordered([variableOf({ name: 'b', query: 'label_values(x{a="$a"}, b)' }), variableOf({ name: 'a', query: 'q' })]).map((v) => v.name)).toEqual(['a', 'b']));
});

describe('old shapes', () => {
  it('rows, graph, singlestat', () => {
    const found = migrate({ rows: [{ title: 'R', showTitle: true, height: '250px', panels: [
      { type: 'graph', span: 6, lines: true, stack: true, yaxes: [{ format: 'bytes' }, {}], seriesOverrides: [{ alias: '/x/', yaxis: 2, transform: 'negative-Y' }] },
      { type: 'singlestat', span: 6, format: 's', valueName: 'avg', thresholds: '1,2', colors: ['red', 'orange', 'green'], gauge: { show: true } },
    ] }] });
    const all = read(found).panels;
    expect(all.map((p) => [p.type, p.grid.x, p.grid.w])).toEqual([['row', 0, 24], ['timeseries', 0, 12], ['gauge', 12, 12]]);
    expect(all[1]?.fieldConfig.defaults.unit).toBe('bytes');
    expect(all[1]?.fieldConfig.overrides[0]?.properties.map((p) => p.id)).toEqual(['custom.axisPlacement', 'unit', 'custom.transform']);
  });
  it('wrappers and schema v2', () => {
    const v2 = { kind: 'Dashboard', metadata: { name: 'uid' }, spec: { title: 'T', elements: { p: { kind: 'Panel', spec: { id: 7, title: 'P', vizConfig: { kind: 'stat', spec: { options: {}, fieldConfig: {} } }, data: { spec: { queries: [{ spec: { refId: 'A', query: { kind: 'prometheus', spec: { expr: 'up' } } } }] } } } } }, layout: { kind: 'GridLayout', spec: { items: [{ spec: { x: 2, y: 0, width: 5, height: 4, element: { name: 'p' } } }] } } } };
    const found = read(v2);
    expect([found.uid, found.title, found.panels[0]?.type, found.panels[0]?.grid.x, found.panels[0]?.targets[0]?.json.expr]).toEqual(['uid', 'T', 'stat', 2, 'up']);
    expect(read({ dashboard: { title: 'X', panels: [] } }).title).toBe('X');
  });
  it('refuses what is none', () => expect(() => read([])).toThrow('expected a JSON object'));
  it('repairs ids', () => expect(read({ panels: [{ id: 1 }, { id: 1 }, {}] }).panels.map((p) => p.id)).toEqual([1, 2, 3]));
});

it('repeats panels and closes rows', () => {
  const panel = (json: Record<string, unknown>) => panelOf({ type: 'stat', ...json });
  const all = [panel({ id: 1, repeat: 'many', maxPerRow: 2, gridPos: { x: 0, y: 0, w: 24, h: 4 } }), panel({ id: 2, type: 'row', collapsed: true, gridPos: { x: 0, y: 4, w: 24, h: 1 }, panels: [{ id: 3, gridPos: { x: 0, y: 5, w: 6, h: 4 } }] }), panel({ id: 4, type: 'row', gridPos: { x: 0, y: 9, w: 24, h: 1 } }), panel({ id: 5, gridPos: { x: 0, y: 10, w: 6, h: 4 } })];
  const keys = (open: boolean) => layout(all, values, new Set(), open).map((item) => `${item.panel.key}@${item.panel.grid.x},${item.panel.grid.y}`);
  expect(keys(false)).toEqual(['1@0,0', '1-clone-1@12,0', '2@0,4', '4@0,5', '5@0,6']);
  expect(keys(true)).toEqual(['1@0,0', '1-clone-1@12,0', '2@0,4', '3@0,5', '4@0,9', '5@0,10']);
});

describe('fields', () => {
  const frame: Frame = { refId: 'A', fields: [{ name: 'Time', kind: 'time', values: [1000] }, { name: 'Value', kind: 'number', values: [0.5], labels: { job: 'x' } }] };
  const panel = panelOf({ fieldConfig: { defaults: { unit: 'percentunit', mappings: [{ type: 'range', options: { from: 0.9, to: 1, result: { text: 'full', color: 'red' } } }, { type: 'special', options: { match: 'null', result: { text: 'none' } } }] }, overrides: [{ matcher: { id: 'byName', options: 'x' }, properties: [{ id: 'displayName', value: 'named ${__field.labels.job}' }, { id: 'custom.width', value: 5 }] }] } });
  it('names, units, mappings, overrides', () => {
    const one = styled(panel, [frame])[1];
    expect([one?.name, one?.show(0.5).text, one?.show(0.95).text, one?.show(null).text, one?.config.custom.width]).toEqual(['named x', '50%', 'full', 'none', 5]);
  });
  it('names cannot reach prototypes', () => {
    const evil = panelOf({ fieldConfig: { defaults: {}, overrides: [{ matcher: { id: 'numeric' }, properties: [{ id: '__proto__.polluted', value: 1 }] }] } });
    styled(evil, [frame]);
    expect(({} as Record<string, unknown>).polluted).toBeUndefined();
  });
});

describe('reducers', () => {
  it.each<[string, unknown[], unknown]>([['lastNotNull', [1, 2, null], 2], ['mean', [1, 2, null], 1.5], ['delta', [1, 3, 1], 3], ['p50', [1, 2, 3], 2], ['changeCount', [1, 1, 2], 1], ['max', [], null], ['current', [4], 4], ['count', [1, null], 2]])('%s', (id, all, expected) => expect(reduce(id, all)).toBe(expected));
});

it('links are safe', () => expect(['javascript:alert(1)', ' JaVaScript:x', 'java\nscript:x', 'data:text/html,x', '//evil.org', 'https://a.b/c', '/d/x', 'mailto:a@b'].map(safe)).toEqual([undefined, undefined, undefined, undefined, undefined, 'https://a.b/c', '/d/x', 'mailto:a@b']));
it('sources are found by type, name and shape', () => expect([sourceOf({ type: 'loki', uid: '$x' }, {}), sourceOf('My Tempo', {}), sourceOf(null, {}, { expr: 'up' }), sourceOf({ type: 'mysql' }, {}), sourceOf('-- Mixed --', {}), sourceOf('${DS_PROMETHEUS}', {})].map((s) => s.kind)).toEqual(['loki', 'tempo', 'prometheus', 'unknown', 'mixed', 'prometheus']));
it('spreadsheets run nothing', () => expect(toCsv([{ refId: 'A', fields: [{ name: 'a,b', kind: 'string', values: ['=1+1', 'x"y'] }, { name: 'n', kind: 'number', values: [-1, null] }] }])).toBe('"a,b",n\n\'=1+1,-1\n"x""y",\n'));
it('buckets become counts of their own', () => {
  const [frame] = heatmapFrames([{ labels: { le: '+Inf' }, values: [[1, '7']] }, { labels: { le: '0.5' }, values: [[1, '3']] }, { labels: { le: '1' }, values: [[1, '5']] }], 'A');
  expect(frame?.fields.map((f) => [f.name, f.values[0]])).toEqual([['Time', 1000], ['0.5', 3], ['1', 2], ['+Inf', 2]]);
});
it('tables name values by query', () => expect(tableFrame([{ labels: { b: '1', a: '2' }, values: [[1, '3']] }], 'B', true).fields.map((f) => f.name)).toEqual(['Time', 'a', 'b', 'Value #B']));
