// The one bar for queries: a text area at once, the editor with completion as soon as it is loaded.

import { useEffect, useRef, useState } from 'preact/hooks';
import type { Editor } from '../editor';
import { history } from './history';
import { EXAMPLES, LANGUAGES, type Language } from './language';

interface Props {
  lang: Language;
  auto: boolean;
  q: string;
  onAsk: (q: string) => void;
  onLanguage: (lang: Language) => void;
}

export function QueryBar({ lang, auto, q, onAsk, onLanguage }: Props) {
  const [text, setText] = useState(q);
  const [ready, setReady] = useState(false);
  const box = useRef<HTMLDivElement>(null);
  const editor = useRef<Editor>(undefined);
  const ask = useRef(onAsk);
  ask.current = onAsk;
  useEffect(() => {
    setText(q);
    editor.current?.setText(q);
  }, [q]);
  useEffect(() => {
    let gone = false;
    // A failed load leaves the text area, which does everything but complete.
    import('../editor').then(({ createEditor }) => {
      const parent = box.current;
      if (gone || !parent) return;
      const before = parent.querySelector('textarea');
      const typed = before?.value ?? q;
      const focused = document.activeElement === before;
      setReady(true);
      editor.current?.destroy();
      editor.current = createEditor(parent, lang, typed, { onChange: setText, onAsk: (all) => ask.current(all) });
      if (focused) editor.current.focus();
    }, () => undefined);
    return () => {
      gone = true;
      editor.current?.destroy();
      editor.current = undefined;
    };
  }, [lang]);
  const past = history();
  return (
    <>
      <form class="query" onSubmit={(event) => { event.preventDefault(); onAsk(editor.current?.text() ?? text); }}>
        <select aria-label="Language" value={lang} title={auto ? 'found from the query' : ''} onChange={(e) => onLanguage(e.currentTarget.value as Language)}>
          {LANGUAGES.map(([id, name]) => <option key={id} value={id}>{name}</option>)}
        </select>
        <div class="editor" ref={box}>
          {!ready && (
            <textarea aria-label="Query" rows={1} value={text} spellcheck={false} autocapitalize="off" autocomplete="off" placeholder={`For example ${EXAMPLES[lang][1]}`}
              onInput={(e) => setText(e.currentTarget.value)}
              onKeyDown={(event) => { if (event.key === 'Enter' && !event.shiftKey) { event.preventDefault(); onAsk(event.currentTarget.value); } }} />
          )}
        </div>
        {past.length > 0 && (
          <select aria-label="History" value="" onChange={(e) => { const found = past[Number(e.currentTarget.value)]; if (found) { onLanguage(found.lang); onAsk(found.q); } }} style={{ width: '92px' }}>
            <option value="">History</option>
            {past.map((one, i) => <option key={i} value={i}>{one.q.slice(0, 120)}</option>)}
          </select>
        )}
        <button type="submit" class="primary">Run</button>
      </form>
      {q === '' && (
        <p class="explore-bar">Try {EXAMPLES[lang].map((one) => <button key={one} type="button" onClick={() => onAsk(one)}><code>{one}</code></button>)}</p>
      )}
    </>
  );
}
