// The range of time in the frame: words, quick ranges, shifting, zooming out, refreshing.

import { useEffect, useRef, useState } from 'preact/hooks';
import { setParams, useRoute } from '../route';
import { clock, describe, durationSeconds, resolve, words } from './parse';
import { refresh, setTime, shift, useTime, zoomOut } from './store';

const QUICK = ['5m', '15m', '30m', '1h', '3h', '6h', '12h', '24h', '2d', '7d', '30d'];
const REFRESH = ['', '5s', '10s', '30s', '1m', '5m', '15m'];

/** Refreshes as often as the address says, while the page is visible. */
function useAutoRefresh(every: string | null): void {
  useEffect(() => {
    const seconds = every ? durationSeconds(every) : undefined;
    if (!seconds || seconds < 1) return;
    const timer = setInterval(() => document.visibilityState === 'visible' && refresh(), seconds * 1000);
    return () => clearInterval(timer);
  }, [every]);
}

export function TimePicker() {
  const { raw, range } = useTime();
  const { params } = useRoute();
  const [open, setOpen] = useState(false);
  const box = useRef<HTMLDivElement>(null);
  const every = params.get('refresh');
  useAutoRefresh(every);
  useEffect(() => {
    if (!open) return;
    const away = (event: Event) => {
      if (event instanceof KeyboardEvent ? event.key === 'Escape' : !box.current?.contains(event.target as Node)) setOpen(false);
    };
    addEventListener('pointerdown', away);
    addEventListener('keydown', away);
    return () => {
      removeEventListener('pointerdown', away);
      removeEventListener('keydown', away);
    };
  }, [open]);
  const title = `${clock(range.start * 1000)} to ${clock(range.end * 1000)}`;
  return (
    <div class="timepicker" ref={box} role="group" aria-label="Time range">
      <button type="button" class="plain" aria-label="Earlier" title="Earlier" onClick={() => shift(-0.5)}>‹</button>
      <button type="button" class="range" aria-expanded={open} title={title} onClick={() => setOpen(!open)}>{describe(raw, Date.now())}</button>
      <button type="button" class="plain" aria-label="Later" title="Later" onClick={() => shift(0.5)}>›</button>
      <button type="button" class="plain" aria-label="Zoom out" title="Zoom out" onClick={zoomOut}>⊖</button>
      <button type="button" class="plain" aria-label="Refresh" title="Refresh (r)" onClick={refresh}>⟳</button>
      <select aria-label="Refresh every" value={every ?? ''} onChange={(e) => setParams({ refresh: e.currentTarget.value || undefined }, 'replace')}>
        {[...new Set([...REFRESH, every ?? ''])].map((one) => <option key={one} value={one}>{one || 'off'}</option>)}
      </select>
      {open && <Choice close={() => setOpen(false)} />}
    </div>
  );
}

function Choice({ close }: { close: () => void }) {
  const { raw } = useTime();
  const [text, setText] = useState('');
  const [bad, setBad] = useState(false);
  const input = useRef<HTMLInputElement>(null);
  useEffect(() => input.current?.focus(), []);
  const now = Date.now();
  const understood = text ? words(text, now) : undefined;
  const told = understood ? resolve(understood, now) : undefined;
  return (
    <div class="popover" role="dialog" aria-label="Choose a time range">
      <form
        onSubmit={(event) => {
          event.preventDefault();
          const found = words(text, Date.now());
          setBad(!found);
          if (!found) return;
          setTime(found);
          close();
        }}
      >
        <input
          ref={input}
          aria-label="Range in words"
          value={text}
          placeholder="3h, yesterday, 10:00 to 11:30, 2026-11-21 …"
          onInput={(e) => setText(e.currentTarget.value)}
        />
        <p class={bad && !understood ? 'error' : 'quiet'}>
          {told ? `${clock(told.start * 1000)} to ${clock(told.end * 1000)}` : text ? 'not understood yet' : `${raw.from} to ${raw.to}`}
        </p>
      </form>
      <ul>
        {QUICK.map((quick) => (
          <li key={quick}>
            <button type="button" aria-pressed={raw.from === `now-${quick}`} onClick={() => { setTime({ from: `now-${quick}`, to: 'now' }); close(); }}>
              {describe({ from: `now-${quick}`, to: 'now' }, now)}
            </button>
          </li>
        ))}
        {['Today', 'Yesterday', 'This week'].map((name) => (
          <li key={name}>
            <button type="button" onClick={() => { const found = words(name, now); if (found) setTime(found); close(); }}>{name}</button>
          </li>
        ))}
      </ul>
    </div>
  );
}
