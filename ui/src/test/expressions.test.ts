import { describe, expect, it } from 'vitest';
import { express, framesOf, inputsOf, itemsOf } from '../dashboards/expressions';
import { parseMath, type Item } from '../dashboards/math';
import type { Json } from '../json';

const a: Item[] = [{ labels: { pod: 'x' }, times: [0, 1000, 2000], values: [1, null, 3] }, { labels: { pod: 'y' }, times: [0, 1000, 2000], values: [10, 20, 30] }];
const b: Item[] = [{ labels: { pod: 'x', node: 'n' }, times: [0, 2000], values: [2, 4] }];
const n: Item[] = [{ labels: {}, values: [5] }];
const run = (json: Json) => express(json, new Map([['A', a], ['B', b], ['N', n]]), { start: 0, end: 2 }).map((item) => ({ ...item.labels, at: item.times, is: item.values }));

describe('expressions', () => {
  it.each<[string, Json, unknown]>([
    ['a number meets every series', { type: 'math', expression: '$A * 2 + ${N}' }, [{ pod: 'x', at: [0, 1000, 2000], is: [7, null, 11] }, { pod: 'y', at: [0, 1000, 2000], is: [25, 45, 65] }]],
    ['series meet by their labels', { type: 'math', expression: '$A / $B' }, [{ pod: 'x', node: 'n', at: [0, 2000], is: [0.5, 0.75] }]],
    ['powers, comparisons, logic', { type: 'math', expression: '2 ** 3 == 8 && !0 || nan()' }, [{ is: [1] }]],
    ['functions', { type: 'math', expression: 'abs(-$N) + floor(1.7) - is_null(null())' }, [{ is: [5] }]],
    ['the newest value', { type: 'reduce', expression: 'A', reducer: 'last' }, [{ pod: 'x', is: [3] }, { pod: 'y', is: [30] }]],
    ['strictly, a gap spoils the mean', { type: 'reduce', expression: '$A', reducer: 'mean' }, [{ pod: 'x', is: [NaN] }, { pod: 'y', is: [20] }]],
    ['gaps are left out', { type: 'reduce', expression: 'A', reducer: 'mean', settings: { mode: 'dropNN' } }, [{ pod: 'x', is: [2] }, { pod: 'y', is: [20] }]],
    ['gaps are replaced', { type: 'reduce', expression: 'A', reducer: 'sum', settings: { mode: 'replaceNN', replaceWithValue: 6 } }, [{ pod: 'x', is: [10] }, { pod: 'y', is: [60] }]],
    ['fewer moments', { type: 'resample', expression: 'A', window: '2s', downsampler: 'sum' }, [{ pod: 'x', at: [0, 2000], is: [1, 3] }, { pod: 'y', at: [0, 2000], is: [10, 50] }]],
    ['more moments', { type: 'resample', expression: 'B', window: '1s', downsampler: 'last', upsampler: 'pad' }, [{ pod: 'x', node: 'n', at: [0, 1000, 2000], is: [2, 2, 4] }]],
    ['a threshold', { type: 'threshold', expression: 'A', conditions: [{ evaluator: { type: 'gt', params: [2] } }] }, [{ pod: 'x', at: [0, 1000, 2000], is: [0, null, 1] }, { pod: 'y', at: [0, 1000, 2000], is: [1, 1, 1] }]],
    ['a range', { type: 'threshold', expression: 'N', conditions: [{ evaluator: { type: 'within_range', params: [1, 9] } }] }, [{ is: [1] }]],
    ['conditions of old alerts', { type: 'classic_conditions', conditions: [{ query: { params: ['A'] }, reducer: { type: 'max' }, evaluator: { type: 'gt', params: [29] } }, { operator: { type: 'and' }, query: { params: ['N'] }, reducer: { type: 'last' }, evaluator: { type: 'lt', params: [1] } }] }, [{ is: [0] }]],
  ])('%s', (_, json, expected) => expect(run(json)).toEqual(expected));

  it.each<[string, Json]>([
    ['1:? expected', { type: 'math', expression: '$A +' }], ['no such query', { type: 'reduce', expression: 'Z' }], ['not supported', { type: 'sql', expression: 'select 1' }],
    ['there is no function', { type: 'math', expression: 'system(1)' }], ['not understood', { type: 'math', expression: '$A ; 1' }], ['a duration', { type: 'resample', expression: 'A', window: 'x' }],
    ['deeply', { type: 'math', expression: `${'('.repeat(5000)}1` }], ['deeply', { type: 'math', expression: `${'-'.repeat(5000)}1` }],
  ])('says what is wrong: %s', (text, json) => expect(() => run({ ...json })).toThrow(text === '1:? expected' ? 'expected a number' : text));

  it('bounds its points', () => expect(() => express({ type: 'resample', expression: 'A', window: '1s' }, new Map([['A', a]]), { start: 0, end: 1e6 })).toThrow('at most'));
  it('reads what it needs', () => expect(inputsOf({ type: 'math', expression: '$A + ${B} - $A' })).toEqual(['A', 'B', 'A']));
  it('binds as arithmetic does', () => expect(parseMath('1 + 2 * 3 ** 2')).toMatchObject({ operator: '+', right: { operator: '*', right: { operator: '**' } } }));
  it('reads tables row by row', () => expect(itemsOf([{ refId: 'A', fields: [{ name: 'host', kind: 'string', values: ['a', 'b'] }, { name: 'Value', kind: 'number', values: [1, 2] }] }])).toEqual([{ labels: { host: 'a' }, values: [1] }, { labels: { host: 'b' }, values: [2] }]));
  it('names what has no labels', () => expect(framesOf(n, 'C')).toEqual([{ refId: 'C', name: 'C', fields: [{ name: 'C', kind: 'number', values: [5], labels: undefined, displayName: undefined }] }]));
});
