// Ctrl K: pages, dashboards, traces by id, and queries, found by typing.

import { useEffect, useMemo, useRef, useState } from 'preact/hooks';
import { dashboards } from './api/server';
import { useLoad } from './load';
import { PAGES } from './pages';
import { go, kept, link, route } from './route';

interface Entry {
  name: string;
  hint: string;
  href: string;
}

export function Palette({ close }: { close: () => void }) {
  const [text, setText] = useState('');
  const [at, setAt] = useState(0);
  const dialog = useRef<HTMLDialogElement>(null);
  const loaded = useLoad([], (signal) => dashboards(signal));
  useEffect(() => dialog.current?.showModal(), []);
  const entries = useMemo(() => {
    const params = kept(route.get().params);
    const typed = text.trim();
    const special: Entry[] = [];
    if (/^[0-9a-f]{16,32}$/i.test(typed)) special.push({ name: `Trace ${typed}`, hint: 'trace', href: link(`/trace/${typed}`) });
    if (typed) special.push({ name: `Explore ${typed}`, hint: 'query', href: link('/explore', { q: typed, ...params }) });
    const pages = PAGES.filter((page) => page.nav).map((page) => ({ name: page.title, hint: 'page', href: link(`/${page.name}`, params) }));
    const boards = (loaded.value ?? []).map((one) => ({ name: one.title, hint: 'dashboard', href: link(`/d/${encodeURIComponent(one.uid)}`, params) }));
    const fits = (entry: Entry) => typed.toLowerCase().split(/\s+/).every((word) => entry.name.toLowerCase().includes(word));
    return [...[...pages, ...boards].filter(fits), ...special].slice(0, 30);
  }, [text, loaded.value]);
  const follow = (entry: Entry | undefined) => {
    if (!entry) return;
    dialog.current?.close();
    go(entry.href);
  };
  const press = (event: KeyboardEvent) => {
    if (event.key === 'ArrowDown') setAt(Math.min(entries.length - 1, at + 1));
    else if (event.key === 'ArrowUp') setAt(Math.max(0, at - 1));
    else if (event.key === 'Enter') follow(entries[at]);
    else return;
    event.preventDefault();
  };
  return (
    <dialog ref={dialog} class="palette" aria-label="Find" onClose={close}>
      <input autofocus aria-label="Find pages, dashboards and traces" placeholder="Page, dashboard, trace id or query" value={text}
        onInput={(e) => { setText(e.currentTarget.value); setAt(0); }} onKeyDown={press} />
      <ul>
        {entries.map((entry, i) => (
          <li key={`${entry.hint}${entry.href}`}><button type="button" aria-current={i === at} onClick={() => follow(entry)}><span>{entry.name}</span><small>{entry.hint}</small></button></li>
        ))}
      </ul>
      <p class="quiet">g e Explore · g d Dashboards · g a Alerts · r refresh · / query</p>
    </dialog>
  );
}
