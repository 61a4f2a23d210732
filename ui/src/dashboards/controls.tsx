// What stands above the panels: variables, annotations, links, and what to do with the dashboard.

import { useEffect, useRef, useState } from 'preact/hooks';
import { dashboards } from '../api/server';
import { bool, str, type Json } from '../json';
import { useLoad } from '../load';
import { kept, link, setParams, useRoute } from '../route';
import { isOn } from './annotations';
import type { Values } from './interpolate';
import { dashboardLinkTarget, linkValues, urlOf } from './links';
import { filterParameter, type Filter } from './matchers';
import type { Dashboard, Variable } from './model';
import { ALL, type Resolved } from './variables';

/** Options that a list shows; typing finds the others. */
const SHOWN = 300;
/** Links beside each other; more become a menu. */
const MENU = 6;

export function Variables({ dashboard, resolved }: { dashboard: Dashboard; resolved: Resolved }) {
  return (
    <>
      {dashboard.variables.filter((one) => one.hide !== 2 && one.type !== 'constant').map((one) => (
        <div class="variable" key={one.name}>
          {one.hide !== 1 && <span class="variable-label" title={str(one.json.description)}>{one.label}</span>}
          <Control variable={one} resolved={resolved} />
          {resolved.errors[one.name] && <span class="notice" title={resolved.errors[one.name]} role="img" aria-label={resolved.errors[one.name]}>!</span>}
        </div>
      ))}
    </>
  );
}

function Control({ variable, resolved }: { variable: Variable; resolved: Resolved }) {
  const set = (values: string[]) => setParams({ [`var-${variable.name}`]: values });
  if (variable.type === 'adhoc') return <Filters name={variable.name} filters={resolved.filters} />;
  const value = resolved.values[variable.name];
  if (variable.type === 'textbox') {
    return <input aria-label={variable.label} value={value?.values[0] ?? ''} onChange={(e) => set([e.currentTarget.value])} />;
  }
  return <Picker variable={variable} options={resolved.options[variable.name] ?? []} chosen={value?.all ? [ALL] : (value?.values ?? [])} texts={value?.texts ?? []} set={set} />;
}

function Picker(props: { variable: Variable; options: { text: string; value: string }[]; chosen: string[]; texts: string[]; set: (values: string[]) => void }) {
  const { variable, options, chosen, set } = props;
  const [open, setOpen] = useState(false);
  const [text, setText] = useState('');
  const [picked, setPicked] = useState(chosen);
  const box = useRef<HTMLDivElement>(null);
  const close = () => {
    setOpen(false);
    setText('');
    if (variable.multi && picked.join('\n') !== chosen.join('\n')) set(picked.length > 0 ? picked : variable.includeAll ? [ALL] : chosen);
  };
  const latest = useRef(close);
  latest.current = close;
  useEffect(() => setPicked(chosen), [chosen.join('\n')]);
  useEffect(() => {
    if (!open) return;
    const away = (event: Event) => {
      if (event instanceof KeyboardEvent ? event.key === 'Escape' : !box.current?.contains(event.target as Node)) latest.current();
    };
    addEventListener('pointerdown', away);
    addEventListener('keydown', away);
    return () => {
      removeEventListener('pointerdown', away);
      removeEventListener('keydown', away);
    };
  }, [open]);
  const pick = (value: string) => {
    if (!variable.multi) {
      setOpen(false);
      set([value]);
    } else if (value === ALL) setPicked(picked.includes(ALL) ? [] : [ALL]);
    else {
      const without = picked.filter((one) => one !== ALL);
      setPicked(without.includes(value) ? without.filter((one) => one !== value) : [...without, value]);
    }
  };
  const all = [...(variable.includeAll ? [{ text: 'All', value: ALL }] : []), ...options];
  const found = all.filter((one) => one.text.toLowerCase().includes(text.toLowerCase()));
  const label = chosen.includes(ALL) ? 'All' : props.texts.join(' + ') || 'None';
  return (
    <div class="picker" ref={box}>
      <button type="button" aria-expanded={open} aria-label={`${variable.label}: ${label}`} onClick={() => (open ? close() : setOpen(true))}><span>{label}</span> ▾</button>
      {open && (
        <div class="popover">
          <input autofocus aria-label={`Find in ${variable.label}`} value={text} placeholder="Find …" onInput={(e) => setText(e.currentTarget.value)}
            onKeyDown={(event) => { if (event.key === 'Enter' && found[0]) pick(found[0].value); }} />
          <ul>
            {found.slice(0, SHOWN).map((one) => (
              <li key={one.value}><button type="button" aria-pressed={picked.includes(one.value)} onClick={() => pick(one.value)}>{variable.multi && (picked.includes(one.value) ? '☑ ' : '☐ ')}{one.text}</button></li>
            ))}
          </ul>
          {found.length > SHOWN && <p class="quiet">{found.length - SHOWN} more</p>}
        </div>
      )}
    </div>
  );
}

function Filters({ name, filters }: { name: string; filters: Filter[] }) {
  const [text, setText] = useState('');
  const set = (all: Filter[]) => setParams({ [`var-${name}`]: all.map(filterParameter) });
  return (
    <div class="filters">
      {filters.map((one, i) => <button type="button" key={i} title="Remove" onClick={() => set(filters.filter((_, k) => k !== i))}>{one.key} {one.operator} {one.value} ×</button>)}
      <form onSubmit={(event) => {
        event.preventDefault();
        const parts = /^\s*([\w.]+)\s*(=~|!~|!=|=)\s*"?(.*?)"?\s*$/.exec(text);
        if (!parts) return;
        set([...filters, { key: parts[1] ?? '', operator: parts[2] ?? '=', value: parts[3] ?? '' }]);
        setText('');
      }}>
        <input aria-label="Add a filter" placeholder="label = value" value={text} onInput={(e) => setText(e.currentTarget.value)} />
      </form>
    </div>
  );
}

export function Annotations({ all, switched, toggle }: { all: Json[]; switched: Set<string>; toggle: (name: string) => void }) {
  return (
    <>
      {all.filter((json) => !json.builtIn && !bool(json.hide)).map((json) => (
        <label key={str(json.name)} class="switch"><input type="checkbox" checked={isOn(json, switched)} onChange={() => toggle(str(json.name))} /> {str(json.name)}</label>
      ))}
    </>
  );
}

export function DashboardLinks({ links, values }: { links: Json[]; values: Values }) {
  const { params } = useRoute();
  const byTag = links.some((json) => str(json.type) === 'dashboards');
  const all = useLoad([byTag], (signal) => (byTag ? dashboards(signal) : Promise.resolve([])));
  return (
    <nav class="dashboard-links" aria-label="Links of the dashboard">
      {links.flatMap((json, i) => {
        const { tags, keepTime, includeVars } = dashboardLinkTarget(json);
        const carried = new URLSearchParams();
        if (keepTime) for (const name of ['from', 'to']) if (params.get(name)) carried.set(name, params.get(name) ?? '');
        const variables = includeVars ? (linkValues(values, params).__all_variables?.values[0] ?? '') : '';
        const more = [carried.toString(), variables].filter(Boolean).join('&');
        const add = (href: string) => (more ? `${href}${href.includes('?') ? '&' : '?'}${more}` : href);
        if (str(json.type) !== 'dashboards') {
          const found = urlOf(json, values, params);
          return found ? [<a key={i} href={add(found.href)} target={found.blank ? '_blank' : undefined} rel="noopener noreferrer" title={str(json.tooltip)}>{found.text}</a>] : [];
        }
        const found = (all.value ?? []).filter((one) => tags.length === 0 || tags.some((tag) => one.tags.includes(tag)))
          .map((one) => <a key={`${i}${one.uid}`} href={add(link(`/d/${encodeURIComponent(one.uid)}`, keepTime ? {} : kept(new URLSearchParams())))}>{one.title}</a>);
        // A long row of links is a menu, also where nobody asked for one.
        return bool(json.asDropdown) || found.length > MENU ? [<details key={i} class="link-menu"><summary>{str(json.title) || 'Dashboards'} ▾</summary><div class="popover">{found}</div></details>] : found;
      })}
    </nav>
  );
}
