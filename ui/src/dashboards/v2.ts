// Dashboards of schema v2: elements and a layout become panels on the grid.

import { bool, list, num, obj, objs, str, type Json } from '../json';

interface Place {
  x: number;
  y: number;
  w: number;
  h: number;
}

function query(one: Json): Json {
  const spec = obj(one.spec);
  const inner = obj(spec.query);
  const source = obj(spec.datasource ?? inner.datasource);
  const type = str(inner.group) || str(inner.kind);
  const datasource = { type: str(source.type) || (type === 'DataQuery' ? '' : type), uid: str(source.uid) || str(source.name) };
  return { ...obj(inner.spec), refId: spec.refId, hide: spec.hidden, datasource };
}

function panel(element: Json, place: Place): Json {
  const spec = obj(element.spec);
  const viz = obj(spec.vizConfig);
  const config = obj(viz.spec);
  const data = obj(obj(spec.data).spec);
  const options = obj(data.queryOptions);
  const queries = objs(data.queries).map(query);
  return {
    id: spec.id, title: spec.title, description: spec.description, transparent: spec.transparent, links: spec.links,
    type: viz.kind === 'VizConfig' ? str(viz.group) : str(viz.kind), gridPos: place, options: config.options, fieldConfig: config.fieldConfig,
    targets: queries, datasource: queries[0]?.datasource, interval: options.interval, maxDataPoints: options.maxDataPoints, timeFrom: options.timeFrom, timeShift: options.timeShift,
    transformations: objs(data.transformations).map((one) => ({ id: str(one.group) || str(one.kind), ...obj(one.spec) })),
  };
}

class Layout {
  readonly panels: Json[] = [];

  constructor(private readonly elements: Json) {}

  private element(item: Json, place: Place): void {
    const found = obj(this.elements[str(obj(item.element).name)]);
    if (found.kind) this.panels.push({ ...panel(found, place), ...repeat(obj(item.repeat)) });
  }

  /** Places a layout from row `top`; gives the row below it. */
  place(layout: Json, top: number): number {
    const spec = obj(layout.spec);
    switch (layout.kind) {
      case 'GridLayout': {
        let bottom = top;
        for (const item of objs(spec.items).map((one) => obj(one.spec))) {
          const place = { x: num(item.x) ?? 0, y: top + (num(item.y) ?? 0), w: num(item.width) ?? 12, h: num(item.height) ?? 8 };
          this.element(item, place);
          bottom = Math.max(bottom, place.y + place.h);
        }
        return bottom;
      }
      case 'AutoGridLayout': {
        const columns = Math.max(1, Math.min(24, num(spec.maxColumnCount) ?? 3));
        const [w, items] = [Math.floor(24 / columns), objs(spec.items)];
        items.forEach((one, i) => this.element(obj(one.spec), { x: (i % columns) * w, y: top + Math.floor(i / columns) * 9, w, h: 9 }));
        return top + Math.ceil(items.length / columns) * 9;
      }
      case 'RowsLayout':
      case 'TabsLayout':
        return [...objs(spec.rows), ...objs(spec.tabs)].reduce((at, one) => this.row(obj(one.spec), at), top);
      default:
        return top;
    }
  }

  private row(spec: Json, top: number): number {
    const from = this.panels.length;
    const bottom = this.place(obj(spec.layout), top + 1);
    const collapsed = bool(spec.collapse);
    const inside = collapsed ? this.panels.splice(from) : [];
    this.panels.splice(from, 0, { type: 'row', title: spec.title, collapsed, panels: inside, gridPos: { x: 0, y: top, w: 24, h: 1 }, ...repeat(obj(spec.repeat)) });
    return collapsed ? top + 1 : bottom;
  }
}

function repeat(json: Json): Json {
  return json.value ? { repeat: json.value, repeatDirection: json.direction, maxPerRow: json.maxPerRow } : {};
}

function variable(json: Json): Json {
  const spec = obj(json.spec);
  const inner = obj(spec.query);
  const type = str(json.kind).replace(/Variable$/, '').toLowerCase();
  const text = typeof spec.query === 'string' ? spec.query : str(obj(inner.spec).query) || str(obj(inner.spec).__legacyStringValue);
  const hide = { hideLabel: 1, hideVariable: 2 }[str(spec.hide)] ?? 0;
  return { ...spec, type, hide, query: type === 'datasource' ? str(spec.pluginId) : text, datasource: spec.datasource ?? inner.datasource, refresh: spec.refresh === 'onTimeRangeChanged' ? 2 : 1 };
}

export function fromV2(spec: Json): Json {
  const layout = new Layout(obj(spec.elements));
  layout.place(obj(spec.layout), 0);
  const time = obj(spec.timeSettings);
  return {
    uid: spec.uid, title: spec.title, description: spec.description, tags: spec.tags, links: spec.links,
    time: { from: time.from, to: time.to }, refresh: time.autoRefresh,
    templating: { list: list(spec.variables).map((one) => variable(obj(one))) },
    annotations: { list: objs(spec.annotations).map((one) => obj(one.spec)) },
    panels: layout.panels,
  };
}
