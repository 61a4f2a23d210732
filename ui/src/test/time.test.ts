import { describe, expect, it } from 'vitest';
import { describe as told, durationSeconds, durationText, moment, resolve, words } from '../time/parse';
import { stepFor } from '../time/store';

const now = new Date(2026, 10, 18, 10, 30, 15).getTime();
const at = (...parts: [number, number, number, number?, number?]) => new Date(...parts).getTime();

describe('moments', () => {
  it.each<[string, boolean, number | undefined]>([
    ['now', false, now], ['now-1h', false, now - 3_600_000], ['now/d', false, at(2026, 10, 18)], ['now-1d/d', false, at(2026, 10, 17)], ['now/d', true, at(2026, 10, 19) - 1],
    ['now/w', false, at(2026, 10, 16)], ['now-1M/M', false, at(2026, 9, 1)], ['1700000000', false, 1_700_000_000_000], ['1700000000123', false, 1_700_000_000_123],
    ['2026-11-18', false, at(2026, 10, 18)], ['2026-11-18 09:00:00', false, at(2026, 10, 18, 9, 0)], ['now-1x', false, undefined], ['rubbish', false, undefined],
  ])('%s', (text, up, expected) => expect(moment(text, up, now)).toBe(expected));
});

describe('words', () => {
  it.each<[string, { from: string; to: string } | undefined]>([
    ['3h', { from: 'now-3h', to: 'now' }], ['last 3 hours', { from: 'now-3h', to: 'now' }], ['15 min', { from: 'now-15m', to: 'now' }], ['yesterday', { from: 'now-1d/d', to: 'now-1d/d' }],
    ['this week', { from: 'now/w', to: 'now' }], ['2h ago to now', { from: 'now-2h', to: 'now' }], ['10:00 to 11:30', { from: `${at(2026, 10, 18, 10, 0)}`, to: `${at(2026, 10, 18, 11, 30)}` }],
    ['now-6h to now-1h', { from: 'now-6h', to: 'now-1h' }], ['what', undefined],
  ])('%s', (text, expected) => expect(words(text, now)).toEqual(expected));
});

it('ranges that are upside down are the last half hour', () => {
  const { start, end } = resolve({ from: 'now', to: 'now-1h' }, now);
  expect(end - start).toBe(1800);
});
it('is told in words', () => expect([told({ from: 'now-60m', to: 'now' }, now), told({ from: 'now-1800s', to: 'now' }, now), told({ from: 'now/d', to: 'now' }, now)]).toEqual(['Last 1 hour', 'Last 30 minutes', 'Today']));
it('durations', () => expect([durationSeconds('1m30s'), durationSeconds('250ms'), durationSeconds('5'), durationText(90), durationText(0.25), durationText(86400)]).toEqual([90, 0.25, undefined, '1m30s', '250ms', '1d']));
it('steps are round', () => expect([stepFor({ start: 0, end: 3600 }, 100), stepFor({ start: 0, end: 60 }, 1000, 15), stepFor({ start: 0, end: 1e9 }, 10)]).toEqual([60, 15, 100_396_800]));
