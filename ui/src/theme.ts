// Light, dark, or as the system says. Charts read colours when they are drawn, and follow this.

import { Cell } from './cell';

export type Theme = 'system' | 'light' | 'dark';

const KEY = 'obs.theme';

function saved(): Theme {
  try {
    const found = localStorage.getItem(KEY);
    return found === 'light' || found === 'dark' ? found : 'system';
  } catch {
    return 'system';
  }
}

export const theme = new Cell<Theme>(typeof localStorage === 'undefined' ? 'system' : saved());

function apply(now: Theme): void {
  document.documentElement.style.colorScheme = now === 'system' ? 'light dark' : now;
}

/** What is drawn now. */
export function dark(): boolean {
  const now = theme.get();
  return now === 'system' ? matchMedia('(prefers-color-scheme: dark)').matches : now === 'dark';
}

export function start(): void {
  const asked = new URLSearchParams(location.search).get('theme');
  if (asked === 'light' || asked === 'dark') theme.set(asked);
  apply(theme.get());
  theme.follow((now) => {
    apply(now);
    try {
      localStorage.setItem(KEY, now);
    } catch {
      // Without storage the choice lasts as long as the page.
    }
  });
}
