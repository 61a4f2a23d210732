// What can be done with one panel: see it alone, ask further, look at queries and data, edit.

import { useEffect, useRef, useState } from 'preact/hooks';
import { formatValue } from '../format/units';
import { str } from '../json';
import { errorText } from '../load';
import { Tabs } from '../parts/show';
import { link, route, setParams } from '../route';
import { useDashboard, type PanelTime } from './context';
import { download, toCsv } from './export';
import { picture } from './png';
import type { StyledField } from './fields';
import { fieldName, rowCount } from './frame';
import type { Panel } from './model';
import type { PanelData } from './queries';
import { sourceOf } from './sources';

interface Props {
  panel: Panel;
  data?: PanelData;
  fields: StyledField[];
  time: PanelTime;
}

const LANGUAGES: Record<string, string> = { prometheus: 'promql', loki: 'logql', tempo: 'traceql' };

export function PanelMenu({ panel, data, fields, time }: Props) {
  const { kiosk, editing } = useDashboard();
  const [open, setOpen] = useState(false);
  const [inspect, setInspect] = useState(false);
  const [failed, setFailed] = useState('');
  const box = useRef<HTMLDivElement>(null);
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
  if (kiosk) return null;
  const save = async () => {
    const element = box.current?.closest<HTMLElement>('.panel');
    if (!element) return;
    try {
      download(`${panel.title || 'panel'}.png`, 'image/png', await picture(element));
    } catch (error) {
      setFailed(errorText(error));
    }
  };
  const choose = (act: () => void) => {
    setOpen(false);
    act();
  };
  const [first] = data?.log ?? [];
  const target = panel.targets[0];
  const lang = target ? LANGUAGES[sourceOf(target.datasource ?? panel.datasource, time.values, target.json, panel.type).kind] : undefined;
  const { from, to } = Object.fromEntries(route.get().params);
  return (
    <div class="panel-menu" ref={box}>
      <button type="button" class="plain" aria-label={`Menu of ${panel.title || panel.type}`} aria-expanded={open} onClick={() => setOpen(!open)}>⋮</button>
      {open && (
        <ul class="popover menu">
          <li><button type="button" onClick={() => choose(() => setParams({ viewPanel: panel.key }))}>View alone</button></li>
          {first && lang && <li><a href={link('/explore', { lang, q: first.query, from, to })}>Explore</a></li>}
          <li><button type="button" onClick={() => choose(() => setInspect(true))}>Inspect</button></li>
          <li><button type="button" onClick={() => choose(() => setParams({ editPanel: `${panel.id}` }))}>{editing ? 'Edit' : 'Edit …'}</button></li>
          {data && <li><button type="button" onClick={() => choose(() => download(`${panel.title || 'panel'}.csv`, 'text/csv', toCsv(data.frames)))}>Download CSV</button></li>}
          <li><button type="button" onClick={() => choose(() => void save())}>Download PNG</button></li>
        </ul>
      )}
      {failed && <span class="notice" role="alert" title={failed}>!</span>}
      {inspect && <Inspector panel={panel} data={data} fields={fields} close={() => setInspect(false)} />}
    </div>
  );
}

const ROWS = 100;

function Inspector({ panel, data, fields, close }: { panel: Panel; data?: PanelData; fields: StyledField[]; close: () => void }) {
  const [tab, setTab] = useState('queries');
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => dialog.current?.showModal(), []);
  return (
    <dialog ref={dialog} class="inspector" aria-label={`Inspect ${panel.title}`} onClose={close}>
      <header><h2>{panel.title || panel.type}</h2><button type="button" class="plain" aria-label="Close" onClick={() => dialog.current?.close()}>×</button></header>
      <Tabs label="What to inspect" all={[['queries', 'Queries'], ['data', 'Data'], ['json', 'JSON']]} now={tab} onPick={setTab} />
      {tab === 'queries' && (data?.log ?? []).map((one) => (
        <section key={one.refId}>
          <h3>{one.refId} <small class="quiet">{formatValue(one.millis, 'ms')}, {one.series} series</small></h3>
          <pre>{one.query}</pre>
          {one.stats !== undefined && <details><summary>Statistics</summary><pre>{JSON.stringify(one.stats, null, 2)}</pre></details>}
        </section>
      ))}
      {tab === 'data' && (data?.frames ?? []).slice(0, 20).map((frame, i) => (
        <div key={i} class="scroll">
          <table>
            <thead><tr>{frame.fields.map((field, k) => <th key={k}>{fields.find((one) => one.field === field)?.name ?? fieldName(field, frame)}</th>)}</tr></thead>
            <tbody>{Array.from({ length: Math.min(ROWS, rowCount(frame)) }, (_, row) => <tr key={row}>{frame.fields.map((field, k) => <td key={k}>{str(fields.find((one) => one.field === field)?.show(field.values[row]).text)}</td>)}</tr>)}</tbody>
          </table>
        </div>
      ))}
      {tab === 'json' && <pre>{JSON.stringify(panel.json, null, 2)}</pre>}
    </dialog>
  );
}
