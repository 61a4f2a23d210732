// JSON that is typed or pasted; it is only taken over when it can be read.

import { useEffect, useRef, useState } from 'preact/hooks';
import { errorText } from '../load';

export function JsonDialog(props: { title: string; json?: unknown; close: () => void; done: (json: unknown) => void }) {
  const [text, setText] = useState(() => (props.json === undefined ? '' : JSON.stringify(props.json, null, 2)));
  const [error, setError] = useState('');
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => dialog.current?.showModal(), []);
  const take = () => {
    try {
      props.done(JSON.parse(text) as unknown);
      dialog.current?.close();
    } catch (failed) {
      setError(errorText(failed));
    }
  };
  const read = async (file: File | undefined) => {
    if (file) setText(await file.text());
  };
  return (
    <dialog ref={dialog} class="json-dialog" aria-label={props.title} onClose={props.close}>
      <header><h2>{props.title}</h2><button type="button" class="plain" aria-label="Close" onClick={() => dialog.current?.close()}>×</button></header>
      <textarea aria-label="JSON" spellcheck={false} value={text} onInput={(e) => setText(e.currentTarget.value)} />
      {error && <p class="error" role="alert">{error}</p>}
      <p class="actions">
        <input type="file" accept=".json,application/json" aria-label="Read a file" onChange={(e) => void read(e.currentTarget.files?.[0])} />
        <button type="button" class="primary" onClick={take}>Apply</button>
      </p>
    </dialog>
  );
}
