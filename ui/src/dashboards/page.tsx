// One dashboard: `/d/{uid}?from=…&to=…&var-NAME=…`. `kiosk` hides the frame, `render=all` asks for
// what is off screen too. The document element says when nothing is loading.

import { useCallback, useEffect, useMemo, useRef, useState } from 'preact/hooks';
import { dashboard as load } from '../api/server';
import type { Region } from '../chart/overlays';
import { errorText, useLoad } from '../load';
import { route, setParams, useRoute } from '../route';
import { FALLBACK, setFallback, useTime } from '../time/store';
import { Actions } from './actions';
import { regions as findRegions } from './annotations';
import { Context, panelTime, type DashboardContext } from './context';
import { Annotations, DashboardLinks, Variables } from './controls';
import { PanelEditor } from './editor';
import { layout, type Item } from './layout';
import { panelOf, read, type Dashboard, type Panel } from './model';
import { PanelFrame } from './panel';
import { resolveVariables, type Resolved } from './variables';

export default function DashboardPage({ uid }: { uid: string }) {
  const [changed, setChanged] = useState<unknown>();
  const [kept, setKept] = useState<unknown>();
  const loaded = useLoad([uid], (signal) => load(uid, signal));
  useEffect(() => {
    setChanged(undefined);
    setKept(undefined);
  }, [uid]);
  const saved = kept ?? loaded.value;
  const json = changed ?? saved;
  const found = useMemo((): { dashboard?: Dashboard; error?: string } => {
    if (json === undefined) return {};
    try {
      return { dashboard: { ...read(json), uid } };
    } catch (error) {
      return { error: errorText(error) };
    }
  }, [json, uid]);
  useEffect(() => {
    if (loaded.error || found.error) document.documentElement.dataset.dashboardReady = 'true';
    return () => { delete document.documentElement.dataset.dashboardReady; };
  }, [loaded.error, found.error]);
  if (loaded.error || found.error) return <p class="error" role="alert">{loaded.error ?? found.error}</p>;
  if (!found.dashboard) return <p class="quiet">Loading …</p>;
  return <Shown dashboard={found.dashboard} json={json} saved={saved} isChanged={changed !== undefined} change={setChanged} keep={(now) => { setKept(now); setChanged(undefined); }} />;
}

/** Variables with their values; while they load anew, the old ones stay. */
function useVariables(dashboard: Dashboard, search: string): { resolved?: Resolved; error?: string } {
  const { range, tick } = useTime();
  const [state, setState] = useState<{ resolved?: Resolved; error?: string }>({});
  // Queries of variables that only look once do not depend on the time.
  const onTime = dashboard.variables.some((one) => one.refresh === 2 || one.type === 'interval');
  useEffect(() => {
    const abort = new AbortController();
    const base = panelTime({ values: {}, range, dashboard }, panelOf({}), 1000).values;
    resolveVariables(dashboard.variables, route.get().params, base, range, abort.signal).then(
      (resolved) => { if (!abort.signal.aborted) setState({ resolved }); },
      (error: unknown) => { if (!abort.signal.aborted) setState({ error: errorText(error) }); },
    );
    return () => abort.abort();
  }, [dashboard, search, onTime ? range.start : 0, onTime ? tick : 0]);
  return state;
}

/** Says in the document element when no panel is loading: each has told that it has nothing to do. */
function useReady(items: Item[], ready: boolean): (key: string, busy: boolean) => void {
  const busy = useRef(new Map<string, boolean>());
  const wanted = useRef<string[]>([]);
  const check = useCallback(() => {
    const done = wanted.current.every((key) => busy.current.get(key) === false);
    if (done && isReady.current) document.documentElement.dataset.dashboardReady = 'true';
    else delete document.documentElement.dataset.dashboardReady;
  }, []);
  const isReady = useRef(ready);
  isReady.current = ready;
  const keys = items.filter((item) => item.kind === 'panel').map((item) => item.panel.key).join('\n');
  useEffect(() => {
    wanted.current = keys ? keys.split('\n') : [];
    check();
  }, [keys, ready]);
  return useCallback((key, now) => {
    busy.current.set(key, now);
    check();
  }, []);
}

/** One list, so that nothing is drawn anew for another empty one. */
const NO_REGIONS: Region[] = [];

function Shown(props: { dashboard: Dashboard; json: unknown; saved: unknown; isChanged: boolean; change: (json: unknown) => void; keep: (json: unknown) => void }) {
  const { dashboard } = props;
  const { params } = useRoute();
  const { raw, range, tick } = useTime();
  const [toggled, setToggled] = useState<Set<string>>(new Set());
  const [switched, setSwitched] = useState<Set<string>>(new Set());
  const [regions, setRegions] = useState<Region[]>();
  useEffect(() => {
    document.title = `${dashboard.title} · obs`;
    setFallback(dashboard.time);
    if (dashboard.refresh && !params.has('refresh')) setParams({ refresh: dashboard.refresh }, 'replace');
    return () => setFallback(FALLBACK);
  }, [dashboard.uid, dashboard.time.from, dashboard.time.to]);
  const search = [...params].filter(([name]) => name.startsWith('var-')).map((pair) => pair.join('=')).join('&');
  const { resolved, error } = useVariables(dashboard, search);
  const renderAll = params.get('render') === 'all';
  useEffect(() => {
    if (!resolved) return;
    if (dashboard.annotations.length === 0) {
      setRegions([]);
      return;
    }
    const abort = new AbortController();
    const { values } = panelTime({ values: resolved.values, range, dashboard }, panelOf({}), 1000);
    // Annotations are an addition: without them the charts are still right.
    findRegions(dashboard.annotations, switched, values, range, abort.signal).then((found) => { if (!abort.signal.aborted) setRegions(found); }, () => { if (!abort.signal.aborted) setRegions([]); });
    return () => abort.abort();
  }, [resolved, range, switched, dashboard]);
  const items = useMemo(() => (resolved ? layout(dashboard.panels, resolved.values, toggled, renderAll) : []), [dashboard, resolved, toggled, renderAll]);
  const only = params.get('viewPanel')?.replace(/^panel-/, '') ?? params.get('editPanel')?.replace(/^panel-/, '');
  const report = useReady(only ? items.filter((item) => item.panel.key === only) : items, resolved !== undefined && regions !== undefined);
  if (error) return <p class="error" role="alert">{error}</p>;
  if (!resolved) return <p class="quiet">Loading …</p>;
  const kiosk = params.has('kiosk');
  const context: DashboardContext = { dashboard, values: resolved.values, filters: resolved.filters, raw, range, tick, regions: regions ?? NO_REGIONS, renderAll, report, kiosk, editing: props.isChanged };
  const alone = params.get('viewPanel')?.replace(/^panel-/, '');
  const edited = params.get('editPanel')?.replace(/^panel-/, '');
  const toggle = (set: Set<string>, key: string) => {
    const next = new Set(set);
    if (!next.delete(key)) next.add(key);
    return next;
  };
  const one = findPanel(items, dashboard, alone ?? edited);
  return (
    <Context.Provider value={context}>
      <div class="dashboard-head">
        {!kiosk && <h1>{dashboard.title}</h1>}
        {!kiosk && <Actions dashboard={dashboard} json={props.json} saved={props.saved} isChanged={props.isChanged} change={props.change} keep={props.keep} />}
        <div class="controls">
          <Variables dashboard={dashboard} resolved={resolved} />
          <Annotations all={dashboard.annotations} switched={switched} toggle={(name) => setSwitched(toggle(switched, name))} />
          <DashboardLinks links={dashboard.links} values={resolved.values} />
        </div>
      </div>
      {edited && one ? (
        <PanelEditor panel={one} json={props.json} change={props.change} />
      ) : alone && one ? (
        <div class="alone"><p><button type="button" onClick={() => setParams({ viewPanel: undefined })}>← all panels</button></p><div class="alone-panel"><PanelFrame key={one.key} panel={one} alone /></div></div>
      ) : (
        <Grid items={items} toggle={(key) => setToggled(toggle(toggled, key))} />
      )}
      {items.length === 0 && <p class="quiet">This dashboard has no panels.</p>}
    </Context.Provider>
  );
}

function findPanel(items: Item[], dashboard: Dashboard, key: string | undefined): Panel | undefined {
  if (!key) return undefined;
  const shown = items.find((item) => item.kind === 'panel' && item.panel.key === key)?.panel;
  return shown ?? dashboard.panels.flatMap((panel) => [panel, ...panel.inside]).find((panel) => `${panel.id}` === key);
}

/** Two of these stand beside each other on a narrow screen. */
const SMALL = new Set(['stat', 'gauge', 'singlestat']);

function Grid({ items, toggle }: { items: Item[]; toggle: (key: string) => void }) {
  return (
    <div class="grid">
      {items.map((item) => {
        const { x, y, w, h } = item.panel.grid;
        const style = { gridColumn: `${x + 1} / span ${Math.min(w, 24 - x)}`, gridRow: `${y + 1} / span ${h}` };
        return (
          <div key={item.panel.key} style={style} class={item.kind === 'row' ? 'cell row-cell' : item.panel.grid.w <= 8 && SMALL.has(item.panel.type) ? 'cell small' : 'cell'}>
            {item.kind === 'row' ? (
              <div class="row-head" data-panel-id={item.panel.key} data-panel-type="row" data-state="ok">
                <button type="button" aria-expanded={item.open} onClick={() => toggle(item.panel.key)}>{item.open ? '▾' : '▸'} {item.title || 'Row'} {!item.open && <small class="quiet">({item.count})</small>}</button>
              </div>
            ) : <PanelFrame panel={item.panel} />}
          </div>
        );
      })}
    </div>
  );
}
