// Old and new shapes of dashboards become today's one. Versions in the files lie: shapes decide.

import { bool, list, num, obj, objs, str, type Json } from '../json';
import { fromV2 } from './v2';

/** Wrappers of exports, of the API and of Kubernetes. */
function unwrap(value: unknown): Json {
  const json = obj(value);
  if (typeof json.dashboard === 'object' && !json.panels && !json.rows) return unwrap(json.dashboard);
  if (json.kind === 'Dashboard' && json.spec) {
    const inner = obj(json.spec);
    const uid = str(obj(json.metadata).name);
    const found = inner.elements ? fromV2(inner) : unwrap(inner);
    return uid && !found.uid ? { ...found, uid } : found;
  }
  if (json.elements && json.layout) return fromV2(json);
  return json;
}

export function migrate(value: unknown): Json {
  const json = unwrap(value);
  if (Object.keys(json).length === 0) return json;
  const elements = obj(json.__elements);
  const library = (panel: Json): Json => withLibrary(panel, elements);
  const panels = (json.panels ? list(json.panels).map(obj) : fromRows(objs(json.rows))).map((panel) => library(panel.panels ? { ...panel, panels: objs(panel.panels).map(library) } : panel));
  let next = 1 + Math.max(0, ...panels.flatMap((p) => [num(p.id) ?? 0, ...objs(p.panels).map((q) => num(q.id) ?? 0)]));
  const taken = new Set<number>();
  const numbered = (panel: Json): Json => {
    const id = num(panel.id);
    const fresh = id === undefined || taken.has(id) ? next++ : id;
    taken.add(fresh);
    const inside = panel.panels ? { panels: objs(panel.panels).map((one) => numbered(one)) } : {};
    return { ...migratePanel(panel), id: fresh, ...inside };
  };
  return { ...json, panels: panels.map(numbered) };
}

/** A library panel is what an export brings along under its uid; place, id and title stay the dashboard's. */
function withLibrary(panel: Json, elements: Json): Json {
  const library = obj(panel.libraryPanel);
  if (Object.keys(library).length === 0 || panel.type && panel.type !== 'library-panel-ref') return panel;
  const uid = str(library.uid);
  const stored = Array.isArray(elements) ? objs(elements).find((one) => str(one.uid) === uid) : obj(elements[uid]);
  const model = Object.keys(obj(library.model)).length > 0 ? obj(library.model) : obj(obj(stored).model);
  if (!model.type) return { ...panel, type: 'library-panel-ref', title: str(panel.title) || str(library.name) };
  return { ...model, id: panel.id, gridPos: panel.gridPos ?? model.gridPos, title: str(panel.title) || str(model.title) || str(library.name), libraryPanel: library, repeat: panel.repeat ?? model.repeat };
}

/** `rows[]` of dashboards before the grid: spans of twelve, heights in pixels. */
function fromRows(rows: Json[]): Json[] {
  const out: Json[] = [];
  let y = 0;
  for (const row of rows) {
    const pixels = num(str(row.height, '250').replace(/px$/, '')) ?? 250;
    const h = Math.max(3, Math.ceil(pixels / 38));
    const shown = bool(row.showTitle) || bool(row.collapse) || rows.some((r) => r.collapse || r.repeat);
    const title = { type: 'row', title: str(row.title), collapsed: bool(row.collapse), repeat: row.repeat, gridPos: { x: 0, y, w: 24, h: 1 } };
    if (shown) y += 1;
    let [x, top] = [0, y];
    const inside = objs(row.panels).map((panel) => {
      const w = Math.min(24, Math.max(1, Math.round((num(panel.span) ?? 4) * 2)));
      if (x + w > 24) [x, top] = [0, top + h];
      const placed = { ...panel, gridPos: { x, y: top, w, h } };
      x += w;
      return placed;
    });
    if (shown) out.push(bool(row.collapse) ? { ...title, panels: inside } : title);
    if (!bool(row.collapse)) {
      out.push(...inside);
      y = top + (inside.length > 0 ? h : 0);
    }
  }
  return out;
}

function migratePanel(panel: Json): Json {
  switch (str(panel.type)) {
    case 'graph':
      return graph(panel);
    case 'singlestat':
    case 'grafana-singlestat-panel':
      return singlestat(panel);
    case 'table-old':
      return { ...panel, type: 'table', fieldConfig: styles(panel) };
    case 'table':
      return panel.styles && !panel.fieldConfig ? { ...panel, fieldConfig: styles(panel) } : panel;
    case 'grafana-piechart-panel':
      return { ...panel, type: 'piechart', options: { pieType: panel.pieType ?? 'pie', ...obj(panel.options), reduceOptions: { calcs: [calc(str(panel.valueName))] } }, fieldConfig: panel.fieldConfig ?? { defaults: { unit: panel.format } } };
    case 'heatmap':
      return panel.dataFormat && !obj(panel.options).calculate ? heatmap(panel) : panel;
    case 'text':
      return panel.content !== undefined ? { ...panel, options: { mode: panel.mode, content: panel.content, ...obj(panel.options) } } : panel;
    default:
      return panel;
  }
}

const calc = (name: string) => ({ current: 'lastNotNull', avg: 'mean', total: 'sum', last_time: 'last' })[name] ?? (name || 'lastNotNull');

function graph(panel: Json): Json {
  const axes = objs(panel.yaxes);
  const legend = obj(panel.legend);
  const bars = bool(panel.bars);
  const lines = bool(panel.lines, true);
  const custom = {
    drawStyle: bars ? 'bars' : lines ? 'line' : 'points',
    lineWidth: num(panel.linewidth) ?? 1,
    fillOpacity: (num(panel.fill) ?? 1) * 10,
    showPoints: bool(panel.points) ? 'always' : 'never',
    pointSize: (num(panel.pointradius) ?? 2) * 2,
    spanNulls: panel.nullPointMode === 'connected',
    lineInterpolation: bool(panel.steppedLine) ? 'stepAfter' : 'linear',
    stacking: bool(panel.stack) ? { mode: bool(panel.percentage) ? 'percent' : 'normal', group: 'A' } : { mode: 'none' },
    axisLabel: str(axes[0]?.label),
    scaleDistribution: num(axes[0]?.logBase) && num(axes[0]?.logBase) !== 1 ? { type: 'log', log: num(axes[0]?.logBase) } : { type: 'linear' },
    thresholdsStyle: { mode: list(panel.thresholds).length > 0 ? 'line' : 'off' },
  };
  const steps = objs(panel.thresholds).map((one) => ({ value: num(one.value) ?? null, color: one.colorMode === 'warning' ? 'orange' : one.colorMode === 'ok' ? 'green' : 'red' }));
  const calcs = ['min', 'max', 'avg', 'current', 'total'].filter((name) => legend[name] === true).map(calc);
  return {
    ...panel,
    type: 'timeseries',
    fieldConfig: panel.fieldConfig && Object.keys(obj(obj(panel.fieldConfig).defaults)).length > 0 && !axes.length ? panel.fieldConfig : {
      defaults: {
        unit: str(axes[0]?.format) || undefined, min: num(axes[0]?.min), max: num(axes[0]?.max), decimals: num(panel.decimals), custom,
        thresholds: { mode: 'absolute', steps: [{ value: null, color: 'transparent' }, ...steps] },
        links: obj(panel.options).dataLinks ?? [],
      },
      overrides: [...aliasColours(panel), ...seriesOverrides(panel, axes)],
    },
    options: {
      legend: { showLegend: bool(legend.show, true), displayMode: legend.alignAsTable ? 'table' : 'list', placement: legend.rightSide ? 'right' : 'bottom', calcs },
      tooltip: { mode: bool(obj(panel.tooltip).shared, true) ? 'multi' : 'single', sort: { 1: 'asc', 2: 'desc' }[num(obj(panel.tooltip).sort) ?? 0] ?? 'none' },
    },
  };
}

function aliasColours(panel: Json): Json[] {
  return Object.entries(obj(panel.aliasColors)).map(([name, color]) => ({
    matcher: { id: 'byName', options: name }, properties: [{ id: 'color', value: { mode: 'fixed', fixedColor: color } }],
  }));
}

const OVERRIDES: Record<string, (value: unknown, axes: Json[]) => Json[]> = {
  fill: (value) => [{ id: 'custom.fillOpacity', value: (num(value) ?? 1) * 10 }],
  linewidth: (value) => [{ id: 'custom.lineWidth', value }],
  bars: (value) => (value ? [{ id: 'custom.drawStyle', value: 'bars' }] : []),
  lines: (value) => (value === false ? [{ id: 'custom.lineWidth', value: 0 }] : [{ id: 'custom.drawStyle', value: 'line' }]),
  points: (value) => [{ id: 'custom.showPoints', value: value ? 'always' : 'never' }],
  dashes: (value) => (value ? [{ id: 'custom.lineStyle', value: { fill: 'dash', dash: [10, 10] } }] : []),
  transform: (value) => [{ id: 'custom.transform', value }],
  color: (value) => [{ id: 'color', value: { mode: 'fixed', fixedColor: value } }],
  stack: (value) => [{ id: 'custom.stacking', value: value === false ? { mode: 'none' } : { mode: 'normal', group: str(value, 'A') } }],
  yaxis: (value, axes) => (value === 2 ? [{ id: 'custom.axisPlacement', value: 'right' }, { id: 'unit', value: str(axes[1]?.format, 'short') }] : []),
  legend: (value) => (value === false ? [{ id: 'custom.hideFrom', value: { legend: true } }] : []),
  hiddenSeries: (value) => (value ? [{ id: 'custom.hideFrom', value: { viz: true } }] : []),
};

function seriesOverrides(panel: Json, axes: Json[]): Json[] {
  return objs(panel.seriesOverrides).map(({ alias, ...rest }) => {
    const name = str(alias);
    const regex = /^\/.*\/[a-z]*$/.test(name);
    return {
      matcher: { id: regex ? 'byRegexp' : 'byName', options: name },
      properties: Object.entries(rest).flatMap(([key, value]) => OVERRIDES[key]?.(value, axes) ?? []),
    };
  });
}

function mappings(panel: Json): Json[] {
  const values = objs(panel.valueMaps).map((map) =>
    str(map.value) === 'null'
      ? { type: 'special', options: { match: 'null', result: { text: str(map.text) } } }
      : { type: 'value', options: { [str(map.value)]: { text: str(map.text) } } });
  const ranges = objs(panel.rangeMaps).filter((map) => num(map.from) !== undefined).map((map) => ({ type: 'range', options: { from: num(map.from), to: num(map.to), result: { text: str(map.text) } } }));
  return num(panel.mappingType) === 2 ? ranges : values;
}

function steps(limits: string, colours: unknown[]): Json[] {
  const bounds = limits.split(',').map((one) => num(one.trim())).filter((one): one is number => one !== undefined);
  return [null, ...bounds].map((value, i) => ({ value, color: str(colours[i], 'green') }));
}

function singlestat(panel: Json): Json {
  const gauge = obj(panel.gauge);
  const coloured = bool(panel.colorValue) || bool(panel.colorBackground);
  const fix = (value: unknown) => str(value).trim();
  const name = str(panel.valueName);
  return {
    ...panel,
    type: bool(gauge.show) ? 'gauge' : 'stat',
    options: {
      reduceOptions: { calcs: [calc(name)], fields: name === 'name' ? '' : '', values: false },
      colorMode: bool(panel.colorBackground) ? 'background' : coloured ? 'value' : 'none',
      graphMode: bool(obj(panel.sparkline).show) ? 'area' : 'none',
      textMode: name === 'name' ? 'name' : 'auto',
      prefix: fix(panel.prefix), postfix: fix(panel.postfix),
    },
    fieldConfig: {
      defaults: {
        unit: str(panel.format) || undefined, decimals: num(panel.decimals), noValue: str(panel.nullText) || undefined, mappings: mappings(panel),
        min: num(gauge.minValue), max: num(gauge.maxValue), links: objs(panel.links),
        thresholds: { mode: 'absolute', steps: steps(str(panel.thresholds), list(panel.colors)) },
      },
      overrides: [],
    },
  };
}

function styles(panel: Json): Json {
  const overrides = objs(panel.styles).map((style) => {
    const pattern = str(style.pattern);
    const regex = /^\/.*\/[a-z]*$/.test(pattern);
    const properties: Json[] = [];
    if (style.alias) properties.push({ id: 'displayName', value: str(style.alias) });
    if (style.type === 'hidden') properties.push({ id: 'custom.hidden', value: true });
    if (style.type === 'number' && style.unit) properties.push({ id: 'unit', value: str(style.unit) });
    if (style.type === 'number' && num(style.decimals) !== undefined) properties.push({ id: 'decimals', value: num(style.decimals) });
    if (style.colorMode) {
      properties.push({ id: 'thresholds', value: { mode: 'absolute', steps: steps(list(style.thresholds).join(','), list(style.colors)) } });
      properties.push({ id: 'custom.cellOptions', value: { type: style.colorMode === 'value' ? 'color-text' : 'color-background' } });
    }
    if (bool(style.link)) properties.push({ id: 'links', value: [{ url: str(style.linkUrl), title: str(style.linkTooltip), targetBlank: bool(style.linkTargetBlank) }] });
    return { matcher: { id: regex ? 'byRegexp' : 'byName', options: pattern }, properties };
  });
  return { defaults: {}, overrides };
}

function heatmap(panel: Json): Json {
  const axis = obj(panel.yAxis);
  return {
    ...panel,
    options: { calculate: panel.dataFormat !== 'tsbuckets', yAxis: { unit: str(axis.format), decimals: num(axis.decimals) }, color: obj(panel.color), ...obj(panel.options) },
  };
}
