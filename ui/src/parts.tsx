// Pieces that several pages use.

import type { ComponentChildren } from 'preact';
import { useEffect, useState } from 'preact/hooks';
import type { Loaded } from './load';

/** A query in one line; Enter asks. */
export function QueryBar(props: {
  label: string;
  value: string;
  placeholder: string;
  suggestions?: string[];
  onAsk: (query: string) => void;
  onRefresh: () => void;
}) {
  const [text, setText] = useState(props.value);
  useEffect(() => setText(props.value), [props.value]);
  const list = `list-${props.label.replace(/\W/g, '')}`;
  return (
    <form
      class="query"
      onSubmit={(event) => {
        event.preventDefault();
        if (text === props.value) props.onRefresh();
        else props.onAsk(text);
      }}
    >
      <input
        aria-label={props.label}
        name="query"
        value={text}
        placeholder={props.placeholder}
        list={props.suggestions ? list : undefined}
        spellcheck={false}
        autocomplete="off"
        autocapitalize="off"
        onInput={(event) => setText(event.currentTarget.value)}
      />
      {props.suggestions && (
        <datalist id={list}>
          {props.suggestions.map((name) => <option key={name} value={name} />)}
        </datalist>
      )}
      <button type="submit">Run</button>
    </form>
  );
}

/** Shows what was loaded, or why not. */
export function Show<T>(props: {
  of: Loaded<T>;
  empty: (value: T) => boolean;
  whenEmpty: ComponentChildren;
  children: (value: T) => ComponentChildren;
}) {
  const { value, error, loading } = props.of;
  const state = error ? 'error' : value === undefined ? 'loading' : props.empty(value) ? 'empty' : 'ok';
  return (
    <section class="result" data-state={state} aria-busy={loading}>
      {state === 'error' && <p class="error" role="alert">{error}</p>}
      {state === 'loading' && <p class="quiet">Loading …</p>}
      {state === 'empty' && <p class="quiet">{props.whenEmpty}</p>}
      {state === 'ok' && value !== undefined && props.children(value)}
    </section>
  );
}

export const COLOURS = ['#3b9eff', '#f5a524', '#3dd68c', '#e5484d', '#b07cff', '#29c7c7', '#ff7ac3', '#a0b13c'];

export function colour(index: number): string {
  return COLOURS[index % COLOURS.length] ?? '#888';
}

/** A colour that a name always gets. */
export function colourOf(name: string): string {
  let hash = 0;
  for (const c of name) hash = (hash * 31 + (c.codePointAt(0) ?? 0)) >>> 0;
  return colour(hash);
}
