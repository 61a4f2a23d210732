// Shows what was loaded, or why not.

import type { ComponentChildren } from 'preact';
import type { Loaded } from '../load';

export function Show<T>(props: {
  of: Loaded<T>;
  empty?: (value: T) => boolean;
  whenEmpty?: ComponentChildren;
  children: (value: T) => ComponentChildren;
}) {
  const { value, error, loading } = props.of;
  const state = error ? 'error' : value === undefined ? 'loading' : props.empty?.(value) ? 'empty' : 'ok';
  return (
    <section class="result" data-state={state} aria-busy={loading}>
      {state === 'error' && <p class="error" role="alert">{error}</p>}
      {state === 'loading' && <p class="quiet">Loading …</p>}
      {state === 'empty' && <p class="quiet">{props.whenEmpty}</p>}
      {state === 'ok' && value !== undefined && props.children(value)}
    </section>
  );
}

/** Name and value pairs. */
export function Pairs({ pairs }: { pairs: [string, ComponentChildren][] }) {
  return <dl>{pairs.map(([name, value]) => <div key={name}><dt>{name}</dt><dd>{value}</dd></div>)}</dl>;
}

export function Labels({ labels, without = [] }: { labels: Record<string, string>; without?: string[] }) {
  return <>{Object.entries(labels).filter(([name]) => !without.includes(name)).map(([name, value]) => <code key={name} class="label">{name}="{value}"</code>)}</>;
}

export function Tabs({ all, now, onPick, label }: { all: [string, string][]; now: string; onPick: (id: string) => void; label: string }) {
  return (
    <div class="tabs" role="tablist" aria-label={label}>
      {all.map(([id, name]) => <button key={id} type="button" role="tab" aria-selected={id === now} onClick={() => onPick(id)}>{name}</button>)}
    </div>
  );
}
