// The editor: CodeMirror with the three languages, completion from the API, Enter to ask.

import { autocompletion, closeBrackets, closeBracketsKeymap, completionKeymap, completionStatus } from '@codemirror/autocomplete';
import { defaultKeymap, history, historyKeymap } from '@codemirror/commands';
import { HighlightStyle, bracketMatching, syntaxHighlighting } from '@codemirror/language';
import { EditorState, Prec, type Extension } from '@codemirror/state';
import { EditorView, keymap, placeholder } from '@codemirror/view';
import { PromQLExtension } from '@prometheus-io/codemirror-promql';
import { tags } from '@lezer/highlight';
import { BASE } from '../base';
import { logql } from './logql';
import { traceql } from './traceql';

export interface Editor {
  text: () => string;
  setText: (text: string) => void;
  focus: () => void;
  destroy: () => void;
}

const colours = HighlightStyle.define([
  { tag: [tags.keyword, tags.operatorKeyword, tags.modifier], color: 'light-dark(#9b2393, #c792ea)' },
  { tag: [tags.function(tags.variableName), tags.standard(tags.variableName)], color: 'light-dark(#0b5fb5, #79b8ff)' },
  { tag: [tags.string, tags.special(tags.string)], color: 'light-dark(#18743c, #8fd694)' },
  { tag: [tags.number, tags.integer, tags.float], color: 'light-dark(#b0540a, #f0a35e)' },
  { tag: [tags.labelName, tags.propertyName], color: 'light-dark(#8a5a00, #e6c384)' },
  { tag: [tags.comment, tags.lineComment], color: 'var(--quiet)', fontStyle: 'italic' },
  { tag: tags.invalid, color: 'var(--bad)' },
]);

function language(lang: string): Extension {
  if (lang === 'logql') return logql();
  if (lang === 'traceql') return traceql();
  const url = new URL(BASE, location.href).href.replace(/\/$/, '');
  return new PromQLExtension().activateLinter(true).setComplete({ remote: { url, httpMethod: 'GET', cache: { initialMetricList: [] } } }).asExtension();
}

export function createEditor(parent: HTMLElement, lang: string, doc: string, on: { onChange: (text: string) => void; onAsk: (text: string) => void }): Editor {
  const ask = (view: EditorView) => {
    if (completionStatus(view.state) === 'active') return false;
    on.onAsk(view.state.doc.toString());
    return true;
  };
  const view = new EditorView({
    parent,
    state: EditorState.create({
      doc,
      extensions: [
        history(), bracketMatching(), closeBrackets(), autocompletion({ activateOnTyping: true, maxRenderedOptions: 200 }),
        Prec.high(keymap.of([{ key: 'Enter', run: ask }, { key: 'Mod-Enter', run: ask }, { key: 'Shift-Enter', run: (v) => { v.dispatch(v.state.replaceSelection('\n')); return true; } }])),
        keymap.of([...closeBracketsKeymap, ...completionKeymap, ...historyKeymap, ...defaultKeymap]),
        syntaxHighlighting(colours), EditorView.lineWrapping, placeholder('Query'),
        EditorView.contentAttributes.of({ 'aria-label': 'Query', autocapitalize: 'off', spellcheck: 'false' }),
        EditorView.theme({ '.cm-content': { padding: '8px 4px', caretColor: 'var(--ink)' }, '.cm-cursor': { borderLeftColor: 'var(--ink)' }, '&.cm-focused .cm-matchingBracket': { backgroundColor: 'color-mix(in srgb, var(--accent) 25%, transparent)' } }),
        language(lang),
        EditorView.updateListener.of((update) => { if (update.docChanged) on.onChange(update.state.doc.toString()); }),
      ],
    }),
  });
  return {
    text: () => view.state.doc.toString(),
    setText: (text) => {
      if (text !== view.state.doc.toString()) view.dispatch({ changes: { from: 0, to: view.state.doc.length, insert: text } });
    },
    focus: () => view.focus(),
    destroy: () => view.destroy(),
  };
}
