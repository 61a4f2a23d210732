// Editing one panel: its kind, title and queries by a form, everything else as JSON, with the panel beside it.

import { useState } from 'preact/hooks';
import { objs, obj, str, strs, type Json } from '../json';
import { setParams } from '../route';
import { JsonDialog } from './jsonDialog';
import { migrate } from './migrate';
import { panelOf, type Panel } from './model';
import { PanelFrame } from './panel';
import { KINDS } from './panels/registry';

const UNITS = ['', 'short', 'none', 'percent', 'percentunit', 'bytes', 'decbytes', 'bps', 'Bps', 'binBps', 's', 'ms', 'ns', 'ops', 'reqps', 'pps', 'iops', 'hertz', 'celsius', 'dateTimeAsIso', 'bool_yes_no'];

/** The dashboard with one panel changed, wherever the panel stands. */
export function withPanel(json: unknown, id: number, change: (panel: Json) => Json): Json {
  const dashboard = migrate(json);
  const walk = (panels: unknown): Json[] => objs(panels).map((panel) => {
    const inside = panel.panels ? { ...panel, panels: walk(panel.panels) } : panel;
    return panel.id === id ? change(inside) : inside;
  });
  return { ...dashboard, panels: walk(dashboard.panels) };
}

export function PanelEditor({ panel, json, change }: { panel: Panel; json: unknown; change: (json: unknown) => void }) {
  const [raw, setRaw] = useState(false);
  const now = panel.json;
  const edit = (parts: Json) => change(withPanel(json, panel.id, (before) => ({ ...before, ...parts })));
  const defaults = obj(obj(now.fieldConfig).defaults);
  const setDefault = (parts: Json) => edit({ fieldConfig: { overrides: [], ...obj(now.fieldConfig), defaults: { ...defaults, ...parts } } });
  const targets = objs(now.targets);
  const setTarget = (index: number, parts: Json) => edit({ targets: targets.map((target, i) => (i === index ? { ...target, ...parts } : target)) });
  const textOf = (target: Json) => str(target.expr) || str(target.query);
  const letters = strs(targets.map((target) => target.refId));
  const next = String.fromCharCode(65 + Array.from({ length: 26 }, (_, i) => i).findIndex((i) => !letters.includes(String.fromCharCode(65 + i))));
  return (
    <div class="panel-editor">
      <p><button type="button" onClick={() => setParams({ editPanel: undefined })}>← back to the dashboard</button></p>
      <div class="alone-panel"><PanelFrame key={panel.key} panel={{ ...panelOf(now), key: panel.key, scoped: panel.scoped }} alone /></div>
      <form class="form" onSubmit={(event) => event.preventDefault()}>
        <label>Title <input value={str(now.title)} onInput={(e) => edit({ title: e.currentTarget.value })} /></label>
        <label>Kind <select value={panel.type} onChange={(e) => edit({ type: e.currentTarget.value })}>{[...new Set([panel.type, ...Object.keys(KINDS)])].map((kind) => <option key={kind}>{kind}</option>)}</select></label>
        <label>Unit <input list="units" value={str(defaults.unit)} onChange={(e) => setDefault({ unit: e.currentTarget.value || undefined })} /></label>
        <datalist id="units">{UNITS.map((unit) => <option key={unit} value={unit} />)}</datalist>
        <label>Decimals <input type="number" value={str(defaults.decimals)} onChange={(e) => setDefault({ decimals: e.currentTarget.value === '' ? undefined : Number(e.currentTarget.value) })} /></label>
        <label>Minimum <input type="number" value={str(defaults.min)} onChange={(e) => setDefault({ min: e.currentTarget.value === '' ? undefined : Number(e.currentTarget.value) })} /></label>
        <label>Maximum <input type="number" value={str(defaults.max)} onChange={(e) => setDefault({ max: e.currentTarget.value === '' ? undefined : Number(e.currentTarget.value) })} /></label>
        {panel.type === 'text' && <label class="wide">Text <textarea value={str(panel.options.content)} onChange={(e) => edit({ options: { ...panel.options, content: e.currentTarget.value } })} /></label>}
        {targets.map((target, i) => (
          <fieldset key={i} class="wide">
            <legend>Query {str(target.refId)}</legend>
            <label class="wide">Expression <textarea value={textOf(target)} spellcheck={false} onChange={(e) => setTarget(i, target.query !== undefined && target.expr === undefined ? { query: e.currentTarget.value } : { expr: e.currentTarget.value })} /></label>
            <label>Legend <input value={str(target.legendFormat)} onChange={(e) => setTarget(i, { legendFormat: e.currentTarget.value })} /></label>
            <label>Source <select value={str(obj(target.datasource).type) || 'prometheus'} onChange={(e) => setTarget(i, { datasource: { type: e.currentTarget.value, uid: `obs-${e.currentTarget.value}` } })}>{['prometheus', 'loki', 'tempo'].map((type) => <option key={type}>{type}</option>)}</select></label>
            <label class="switch"><input type="checkbox" checked={target.instant === true} onChange={(e) => setTarget(i, { instant: e.currentTarget.checked, range: !e.currentTarget.checked })} /> instant</label>
            <button type="button" onClick={() => edit({ targets: targets.filter((_, k) => k !== i) })}>Remove</button>
          </fieldset>
        ))}
        <p class="wide actions">
          <button type="button" onClick={() => edit({ targets: [...targets, { refId: next, expr: '' }] })}>Add a query</button>
          <button type="button" onClick={() => setRaw(true)}>Panel as JSON</button>
        </p>
      </form>
      {raw && <JsonDialog title="The panel as JSON" json={now} close={() => setRaw(false)} done={(value) => change(withPanel(json, panel.id, () => ({ ...obj(value), id: panel.id })))} />}
    </div>
  );
}
