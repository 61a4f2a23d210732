// The queries that were asked in this browser, the newest first.

import type { Language } from './language';

export interface Asked {
  lang: Language;
  q: string;
  at: number;
}

const KEY = 'obs.history';
const MOST = 60;

export function history(): Asked[] {
  try {
    const found: unknown = JSON.parse(localStorage.getItem(KEY) ?? '[]');
    return Array.isArray(found) ? (found as Asked[]).filter((one) => typeof one?.q === 'string') : [];
  } catch {
    return [];
  }
}

export function remember(lang: Language, q: string): void {
  if (!q.trim()) return;
  const rest = history().filter((one) => one.q !== q);
  try {
    localStorage.setItem(KEY, JSON.stringify([{ lang, q, at: Date.now() }, ...rest].slice(0, MOST)));
  } catch {
    // Without storage there is no history; everything else works.
  }
}
