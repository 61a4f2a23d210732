// The frame of all pages: navigation, the range of time, the theme, keys, and the page itself.

import type { ComponentType } from 'preact';
import { useEffect, useState } from 'preact/hooks';
import { useCell } from './cell';
import { errorText } from './load';
import { PAGES, type Page, type PageProps } from './pages';
import { Palette } from './palette';
import { go, kept, link, route, useRoute } from './route';
import { chooseTenant, isTenant, tenant } from './tenant';
import { theme, type Theme } from './theme';
import { TimePicker } from './time/picker';
import { refresh } from './time/store';

const loaded = new Map<string, ComponentType<PageProps>>();

function usePage(page: Page | undefined): { draw?: ComponentType<PageProps>; error?: string } {
  const [, setLoads] = useState(0);
  const [error, setError] = useState<string>();
  useEffect(() => {
    setError(undefined);
    if (!page || loaded.has(page.name)) return;
    let gone = false;
    page.load().then(
      ({ default: draw }) => {
        loaded.set(page.name, draw);
        if (!gone) setLoads((n) => n + 1);
      },
      (failed: unknown) => { if (!gone) setError(errorText(failed)); },
    );
    return () => { gone = true; };
  }, [page]);
  return { draw: page && loaded.get(page.name), error };
}

/** `g` and a letter lead to a page, as in many tools; `/` to the first input. */
const KEYS: Record<string, string> = { h: '', e: 'explore', d: 'dashboards', s: 'service-map', k: 'kubernetes', a: 'alerts', t: 'targets', c: 'cardinality', x: 'errors' };

function useKeys(openPalette: () => void): void {
  useEffect(() => {
    let before = '';
    const press = (event: KeyboardEvent) => {
      if ((event.metaKey || event.ctrlKey) && event.key.toLowerCase() === 'k') {
        event.preventDefault();
        openPalette();
        return;
      }
      const typing = event.target instanceof HTMLElement && (event.target.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(event.target.tagName));
      if (typing || event.metaKey || event.ctrlKey || event.altKey) return;
      const page = before === 'g' ? KEYS[event.key] : undefined;
      before = event.key;
      if (page !== undefined) go(link(`/${page}`, kept(route.get().params)));
      else if (event.key === 'r') refresh();
      else if (event.key === '?') openPalette();
      else if (event.key === '/') {
        const input = document.querySelector<HTMLElement>('main .cm-content, main input, main textarea');
        if (input) {
          event.preventDefault();
          input.focus();
        }
      }
    };
    addEventListener('keydown', press);
    return () => removeEventListener('keydown', press);
  }, []);
}

function ThemeButton() {
  const now = useCell(theme);
  const next: Record<Theme, Theme> = { system: 'light', light: 'dark', dark: 'system' };
  const names: Record<Theme, string> = { system: 'as the system', light: 'light', dark: 'dark' };
  const signs: Record<Theme, string> = { system: '◐', light: '☀', dark: '☾' };
  return <button type="button" class="plain" aria-label={`Theme: ${names[now]}`} title={`Theme: ${names[now]}`} onClick={() => theme.set(next[now])}>{signs[now]}</button>;
}

/** The tenant, shown where one was chosen; a click lets choose another. */
function TenantButton() {
  const now = useCell(tenant);
  const [open, setOpen] = useState(false);
  const [text, setText] = useState(now);
  useEffect(() => setText(now), [now, open]);
  useEffect(() => {
    if (!open) return;
    const away = (event: Event) => {
      if (event instanceof KeyboardEvent ? event.key === 'Escape' : !(event.target instanceof Element && event.target.closest('.tenant'))) setOpen(false);
    };
    addEventListener('pointerdown', away);
    addEventListener('keydown', away);
    return () => {
      removeEventListener('pointerdown', away);
      removeEventListener('keydown', away);
    };
  }, [open]);
  const take = () => {
    if (!isTenant(text.trim())) return;
    chooseTenant(text.trim());
    setOpen(false);
    refresh();
  };
  return (
    <div class="tenant">
      <button type="button" class="plain" aria-expanded={open} aria-label={`Tenant: ${now || 'as the server says'}`} title="Whose data is shown" onClick={() => setOpen(!open)}>{now || '⚇'}</button>
      {open && (
        <form class="popover" onSubmit={(event) => { event.preventDefault(); take(); }}>
          <label>Tenant (X-Scope-OrgID) <input autofocus value={text} placeholder="as the server says" onInput={(e) => setText(e.currentTarget.value)} /></label>
          {!isTenant(text.trim()) && <p class="error" role="alert">letters, digits and !-_.*'() ; several joined by |</p>}
          <button type="submit" class="primary">Show</button>
        </form>
      )}
    </div>
  );
}

export function Shell() {
  const { path, params } = useRoute();
  const [palette, setPalette] = useState(false);
  const page = PAGES.find((one) => one.name === (path[0] ?? ''));
  const { draw: Draw, error } = usePage(page);
  useKeys(() => setPalette(true));
  const whose = useCell(tenant);
  const kiosk = params.has('kiosk');
  useEffect(() => {
    if (page?.name !== 'd') document.title = page && page.name ? `${page.title} · obs` : 'obs';
  }, [page]);
  return (
    <>
      <a class="skip" href="#main" onClick={(event) => { event.preventDefault(); document.getElementById('main')?.focus(); }}>To the content</a>
      {!kiosk && (
        <header class="top">
          <a class="brand" href={link('/', kept(params))}>obs</a>
          <nav aria-label="Pages">
            {PAGES.filter((one) => one.nav).map((one) => (
              <a key={one.name} href={link(`/${one.name}`, kept(params))} aria-current={one === page || (one.name === 'dashboards' && page?.name === 'd') ? 'page' : undefined}>{one.nav}</a>
            ))}
          </nav>
          <button type="button" class="plain" aria-label="Find pages and dashboards" title="Find (Ctrl K)" onClick={() => setPalette(true)}>⌕</button>
          {!page?.timeless && <TimePicker />}
          <TenantButton />
          <ThemeButton />
        </header>
      )}
      <main id="main" tabIndex={-1} data-page={page ? page.name || 'home' : 'unknown'} class={kiosk ? 'kiosk' : page?.name === 'd' ? 'wide' : ''}>
        {error && <p class="error" role="alert">{error}</p>}
        {!page && <p class="quiet">There is no page at this address.</p>}
        {page && Draw && <Draw key={`${whose}/${page.name === 'd' ? path[1] : page.name}`} path={path.slice(1)} />}
      </main>
      {palette && <Palette close={() => setPalette(false)} />}
    </>
  );
}
