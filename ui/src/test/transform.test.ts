import { expect, it } from 'vitest';
import type { Frame } from '../dashboards/frame';
import { transform } from '../dashboards/transform';
import { fit } from '../dashboards/transform/model';
import type { Json } from '../json';

const series = (name: string, values: number[], labels: Record<string, string> = {}): Frame => ({
  refId: name, name, fields: [{ name: 'Time', kind: 'time', values: values.map((_, i) => i) }, { name: 'Value', kind: 'number', values, labels, displayName: name }],
});
const table = (columns: Record<string, unknown[]>): Frame => ({ refId: 'T', fields: Object.entries(columns).map(([name, values]) => ({ name, kind: name === 'Time' ? 'time' : typeof values[0] === 'number' ? 'number' : 'string', values })) });
const shown = (frames: Frame[]) => frames.map((frame) => Object.fromEntries(frame.fields.map((field) => [field.displayName ?? field.name, field.values])));

it.each<[string, Json, Frame[], Record<string, unknown[]>[]]>([
  ['organize', { excludeByName: { b: true }, renameByName: { a: 'A' }, indexByName: { c: 0, a: 1 } }, [table({ a: [1], b: [2], c: [3] })], [{ c: [3], A: [1] }]],
  ['joinByField', {}, [series('x', [1, 2]), series('y', [3])], [{ Time: [0, 1], x: [1, 2], y: [3, null] }]],
  ['joinByField', { byField: 'k', mode: 'inner' }, [table({ k: ['a', 'b'], v: [1, 2] }), table({ k: ['b'], w: [3] })], [{ k: ['b'], v: [2], w: [3] }]],
  ['merge', {}, [table({ k: ['a', 'b'], v: [1, 2] }), table({ k: ['b', 'c'], w: [3, 4] })], [{ k: ['a', 'b', 'c'], v: [1, 2, null], w: [null, 3, 4] }]],
  ['groupBy', { fields: { k: { operation: 'groupby' }, v: { operation: 'aggregate', aggregations: ['sum', 'count'] } } }, [table({ k: ['a', 'b', 'a'], v: [1, 2, 3] })], [{ k: ['a', 'b'], 'v (sum)': [4, 2], 'v (count)': [2, 1] }]],
  ['calculateField', { mode: 'binary', binary: { left: 'a', operator: '/', right: 'b' }, alias: 'r' }, [table({ a: [4], b: [2] })], [{ a: [4], b: [2], r: [2] }]],
  ['calculateField', { mode: 'reduceRow', reduce: { reducer: 'sum' }, replaceFields: true }, [table({ a: [4], b: [2] })], [{ Total: [6] }]],
  ['filterFieldsByName', { include: { pattern: '^a' } }, [table({ a: [1], ab: [2], b: [3] })], [{ a: [1], ab: [2] }]],
  ['sortBy', { sort: [{ field: 'a', desc: true }] }, [table({ a: [1, 3, 2] })], [{ a: [3, 2, 1] }]],
  ['filterByValue', { type: 'include', match: 'all', filters: [{ fieldName: 'a', config: { id: 'greater', options: { value: 1 } } }] }, [table({ a: [1, 3, 2] })], [{ a: [3, 2] }]],
  ['extractFields', { source: 'j', format: 'json', replace: true }, [table({ j: ['{"x":1}', '{"x":2,"y":"z"}'] })], [{ x: [1, 2], y: [null, 'z'] }]],
  ['reduce', { reducers: ['max', 'mean'] }, [series('x', [1, 3]), series('y', [5])], [{ Field: ['x', 'y'], Max: [3, 5], Mean: [2, 5] }]],
  ['renameByRegex', { regex: '(.)$', renamePattern: 'z$1' }, [table({ a: [1] })], [{ za: [1] }]],
  ['limit', { limitField: 1 }, [table({ a: [1, 2] })], [{ a: [1] }]],
  ['convertFieldType', { conversions: [{ targetField: 'a', destinationType: 'number' }] }, [table({ a: ['1', 'x'] })], [{ a: [1, null] }]],
  ['filterByRefId', { include: 'x' }, [series('x', [1]), series('y', [2])], [{ Time: [0], x: [1] }]],
  ['seriesToRows', {}, [series('x', [1]), series('y', [2])], [{ Time: [0, 0], Metric: ['x', 'y'], Value: [1, 2] }]],
  ['rowsToFields', {}, [table({ n: ['p', 'q'], v: [1, 2] })], [{ p: [1], q: [2] }]],
  ['transpose', {}, [table({ k: ['a', 'b'], v: [1, 2] })], [{ k: ['v'], a: [1], b: [2] }]],
  ['groupingToMatrix', { columnField: 'c', rowField: 'r', valueField: 'v' }, [table({ c: ['x', 'y'], r: ['1', '1'], v: [5, 6] })], [{ 'r\\c': ['1'], x: [5], y: [6] }]],
  ['histogram', { bucketSize: 1, combine: true }, [table({ v: [0.5, 1.5, 1.6] })], [{ xMin: [0, 1], xMax: [1, 2], Count: [1, 2] }]],
  ['concatenate', { frameNameMode: 'drop' }, [table({ a: [1] }), table({ b: [2, 3] })], [{ a: [1, null], b: [2, 3] }]],
  ['labelsToFields', {}, [series('x', [1], { l: 'p' }), series('y', [2], { l: 'q' })], [{ Time: [0, 0], l: ['p', 'q'], Value: [1, 2] }]],
  ['joinByLabels', { value: 'what', join: ['pod'] }, [series('x', [1], { what: 'used', pod: 'a' }), series('y', [2], { what: 'limit', pod: 'a' }), series('z', [3], { what: 'used', pod: 'b' })], [{ pod: ['a', 'b'], used: [1, 3], limit: [2, null] }]],
  ['regression', { predictionCount: 2 }, [table({ Time: [0, 1, 2], v: [1, 3, 5] })], [{ Time: [0, 1, 2], v: [1, 3, 5] }, { Time: [0, 2], 'Linear regression': [1, 5] }]],
  ['heatmap', { xBuckets: { mode: 'size', value: '1s' }, yBuckets: { mode: 'size', value: '10' } }, [table({ Time: [0, 500, 1000], v: [1, 2, 15] })], [{ Time: [1000, 2000], 10: [2, null], 20: [null, 1] }]],
  ['prepareTimeSeries', { format: 'many' }, [table({ Time: [0, 0], host: ['a', 'b'], v: [1, 2] })], [{ Time: [0], v: [1] }, { Time: [0], v: [2] }]],
  ['prepareTimeSeries', { format: 'wide' }, [series('x', [1]), series('y', [2])], [{ Time: [0], x: [1], y: [2] }]],
  ['formatString', { stringField: 'a', outputFormat: 'Snake Case' }, [table({ a: ['CPU usage', 'memUsed'] })], [{ a: ['cpu_usage', 'mem_used'] }]],
  ['smoothing', { resolution: 1 }, [table({ Time: [0, 1, 2], v: [1, 2, 6] })], [{ Time: [0, 1, 2], v: [1.5, 3, 4] }]],
])('%s %#', (id, options, frames, expected) => expect(shown(transform(frames, [{ id, options }]))).toEqual(expected));

it('takes configuration from data', () => {
  const frames = transform([{ ...table({ max: [5, 9], threshold1: [7, 7], color: ['x', '#123456'] }), refId: 'config' }, series('x', [1])], [{ id: 'configFromData', options: { configRefId: 'config' } }]);
  expect(frames).toHaveLength(1);
  expect(frames[0]?.fields[1]?.config).toEqual({ max: 9, color: { mode: 'fixed', fixedColor: '#123456' }, thresholds: { mode: 'absolute', steps: [{ value: null, color: 'green' }, { value: 7, color: 'orange' }] } });
  expect(frames[0]?.fields[0]?.config).toBeUndefined();
});
it.each([[1, [[0, 1], [1, 3]], [1, 2]], [2, [[0, 0], [1, 1], [2, 4]], [0, 0, 1]], [1, [[1, 1], [1, 2]], undefined]] as const)('fits polynomials %#', (degree, points, expected) => {
  const found = fit(points.map(([x, y]) => [x, y]), degree)?.map((c) => Number(c.toFixed(9)) + 0);
  expect(found).toEqual(expected);
});

it('tells what it does not know', () => expect(() => transform([], [{ id: 'magic' }])).toThrow('transformation magic is not supported'));
it('leaves out what is disabled', () => expect(transform([table({ a: [1] })], [{ id: 'magic', disabled: true }])).toHaveLength(1));
