// What was changed and is not saved yet, as lines of the dashboard's JSON.

import { useEffect, useMemo, useRef } from 'preact/hooks';
import { diff, hunks } from './diff';
import { migrate } from './migrate';

const SIGNS = { same: ' ', added: '+', removed: '-' };

export function ChangesDialog({ before, after, close }: { before: unknown; after: unknown; close: () => void }) {
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => dialog.current?.showModal(), []);
  // Both in today's shape, so that only what the reader changed differs.
  const shown = useMemo(() => hunks(diff(JSON.stringify(migrate(before), null, 2), JSON.stringify(migrate(after), null, 2))), [before, after]);
  return (
    <dialog ref={dialog} class="inspector" aria-label="Changes" onClose={close}>
      <header><h2>Changes</h2><button type="button" class="plain" aria-label="Close" onClick={() => dialog.current?.close()}>×</button></header>
      <pre class="diff">{shown.map((line, i) => (line ? <span key={i} class={line.kind}>{`${SIGNS[line.kind]} ${line.text}\n`}</span> : <span key={i} class="quiet">{'…\n'}</span>))}</pre>
    </dialog>
  );
}
