// What the tests look at: a trace of three services with logs, metrics of known values, and markup in everything.

import { HACK, OTHER, post, TRACE } from './harness.mjs';

const text = (key, value) => ({ key, value: { stringValue: value } });

function span(traceId, id, parent, name, start, millis, more = {}) {
  return { traceId, spanId: id, parentSpanId: parent, name, kind: 2, startTimeUnixNano: `${start}`, endTimeUnixNano: `${start + BigInt(millis) * 1_000_000n}`, ...more };
}

async function trace(url, id, now, slow) {
  const of = (service, ...spans) => ({ resource: { attributes: [text('service.name', service), text('k8s.pod.name', 'shop-0'), text('k8s.namespace.name', 'shop')] }, scopeSpans: [{ spans }] });
  const exception = { name: 'exception', timeUnixNano: `${now}`, attributes: [text('exception.type', 'PaymentError'), text('exception.message', 'card declined'), text('exception.stacktrace', 'PaymentError: no\n    at charge (pay.js:1:2)')] };
  await post(url, '/v1/traces', { resourceSpans: [
    of('front', span(id, '00000000000000a1', '', 'GET /', now, 100 + slow), span(id, '00000000000000a2', '00000000000000a1', 'call cart', now + 10_000_000n, 50, { kind: 3 })),
    of('cart', span(id, '00000000000000b1', '00000000000000a2', 'GET /cart', now + 12_000_000n, 40)),
    of('pay', span(id, '00000000000000c1', '00000000000000a1', 'POST /pay', now + 70_000_000n, 20 + slow, { status: { code: 2, message: 'card declined' }, events: [exception] })),
  ] });
}

/**
 * Seconds from two minutes ago, so that a query whose last step is a quarter of a minute ago finds them too, to an
 * hour ahead: values are known for five minutes, and the tests take longer where the machine is slow.
 */
const TIMES = Array.from({ length: 249 }, (_, i) => BigInt(15 * (i - 8)));

async function metrics(url, now) {
  const gauge = (name, points) => ({ name, gauge: { dataPoints: points.flatMap(([value, attributes]) => TIMES.map((seconds) => ({ timeUnixNano: `${now + seconds * 1_000_000_000n}`, asDouble: value, attributes: Object.entries(attributes).map(([k, v]) => text(k, v)) }))) } });
  const pod = { namespace: 'shop', pod: 'shop-0' };
  await post(url, '/v1/metrics', { resourceMetrics: [{ resource: { attributes: [] }, scopeMetrics: [{ metrics: [
    gauge('seed', [[42, { kind: 'a' }], [21, { kind: 'b' }], [7, { kind: HACK }]]),
    gauge('seed_flame', [['0', 0, 'all', 10], ['1', 1, 'main', 6], ['2', 2, 'main.work', 4], ['3', 1, 'idle', 4]].map(([order, level, label, value]) => [value, { order, level: `${level}`, label }])),
    gauge('seed_place', [[3, { city: 'Berlin', latitude: '52.5', longitude: '13.4' }], [5, { city: 'Lisbon', latitude: '38.7', longitude: '-9.1' }]]),
    gauge('seed_price', ['open', 'high', 'low', 'close'].map((part, i) => [[10, 14, 8, 12][i], { part }])),
    gauge('seed_bucket', [[3, { le: '1' }], [5, { le: '2' }], [9, { le: '+Inf' }]]),
    gauge('kube_pod_info', [[1, { ...pod, node: 'node-0' }]]), gauge('kube_pod_status_phase', [[1, { ...pod, phase: 'Running' }]]), gauge('kube_pod_owner', [[1, { ...pod, owner_kind: 'StatefulSet', owner_name: 'shop' }]]),
    gauge('kube_node_info', [[1, { node: 'node-0', kubelet_version: 'v1.34.0' }]]),
  ] }] }] });
}

/** Markup in a line, in labels, in names of spans and services. */
async function markup(url, now) {
  const resource = { attributes: [text('service.name', HACK)] };
  await post(url, '/loki/api/v1/push', { streams: [{ stream: { app: 'markup', evil: HACK }, values: [[`${now}`, HACK]] }] });
  const attributes = [text('evil', HACK)];
  const id = TRACE.replace(/c$/, 'f');
  await post(url, '/v1/traces', { resourceSpans: [{ resource, scopeSpans: [{ scope: { name: HACK }, spans: [span(id, '00000000000000d1', '', HACK, now, 1, { attributes, status: { code: 2, message: HACK }, events: [{ name: 'exception', timeUnixNano: `${now}`, attributes: [text('exception.type', HACK), text('exception.message', HACK)] }] })] }] }] });
  return id;
}

export async function seed(url) {
  const now = BigInt(Date.now()) * 1_000_000n;
  await trace(url, TRACE, now - 2_000_000_000n, 0);
  await trace(url, OTHER, now - 1_000_000_000n, 80);
  await metrics(url, now);
  const line = (level, message) => JSON.stringify({ level, msg: message, trace_id: TRACE });
  await post(url, '/loki/api/v1/push', { streams: [{ stream: { app: 'shop', service_name: 'pay', namespace: 'shop', pod: 'shop-0' }, values: [[`${now}`, line('error', 'card declined')], [`${now - 1n}`, line('info', 'ok')]] }] });
  const evil = await markup(url, now);
  return { evil };
}

const panel = (id, type, expr, more = {}) => ({
  id, type, title: `${type} ${id}`, gridPos: { x: ((id - 1) % 3) * 8, y: Math.floor((id - 1) / 3) * 7, w: 8, h: 7 },
  targets: expr ? [{ refId: 'A', expr, datasource: { type: 'prometheus', uid: '${ds}' }, ...more.target }] : [], options: {}, fieldConfig: { defaults: {}, overrides: [] }, ...more,
});

/** A panel of every kind over data whose values are known. */
export function everyKind() {
  const logs = { type: 'loki', uid: 'any' };
  const traces = { type: 'tempo', uid: 'any' };
  const instant = { target: { instant: true, range: false } };
  const numbers = (...names) => ({ id: 'convertFieldType', options: { conversions: names.map((targetField) => ({ targetField, destinationType: 'number' })) } });
  const table = { target: { instant: true, range: false, format: 'table' } };
  const all = [
    panel(1, 'timeseries', 'seed{kind=~"$kind"}', { target: { legendFormat: '{{kind}}' } }), panel(2, 'stat', 'seed{kind="a"}', instant),
    panel(3, 'gauge', 'seed{kind="a"}', { fieldConfig: { defaults: { unit: 'percent', min: 0, max: 100 }, overrides: [] } }),
    panel(4, 'bargauge', 'seed', { target: { legendFormat: '{{kind}}' } }),
    panel(5, 'table', 'seed', { ...table, transformations: [{ id: 'organize', options: { renameByName: { kind: 'Kind of seed' }, excludeByName: { Time: true } } }] }),
    panel(6, 'text', '', { options: { mode: 'markdown', content: `# Head\n\n${HACK}\n\n[bad](javascript:window.hacked=1) [good](https://example.org/)` } }),
    panel(7, 'logs', '{app="shop"}', { datasource: logs, targets: [{ refId: 'A', expr: '{app="shop"}', datasource: logs }] }),
    panel(8, 'heatmap', 'seed_bucket', { target: { format: 'heatmap', legendFormat: '{{le}}' } }), panel(9, 'piechart', 'seed', { target: { instant: true, legendFormat: '{{kind}}' } }),
    panel(10, 'barchart', 'seed', table), panel(11, 'histogram', 'seed'), panel(12, 'state-timeline', 'seed{kind="a"}'), panel(13, 'status-history', 'seed{kind="a"}'),
    panel(14, 'traces', '', { targets: [{ refId: 'A', query: TRACE, queryType: 'traceql', datasource: traces }] }),
    panel(15, 'nodeGraph', '', { targets: [{ refId: 'A', queryType: 'serviceMap', datasource: traces }] }),
    panel(16, 'alertlist', ''), panel(17, 'dashlist', ''),
    { id: 18, type: 'graph', title: 'graph 18', gridPos: { x: 16, y: 35, w: 8, h: 7 }, targets: [{ refId: 'A', expr: 'seed' }], yaxes: [{ format: 'short' }, {}] },
    { id: 19, type: 'singlestat', title: 'singlestat 19', gridPos: { x: 0, y: 42, w: 8, h: 7 }, targets: [{ refId: 'A', expr: 'seed{kind="b"}' }], format: 'short', valueName: 'current' },
    panel(20, 'timeseries', 'sum('), panel(21, 'timeseries', 'nothing_at_all'), panel(22, 'no-such-panel', 'seed'),
    panel(25, 'xychart', 'seed_place', { ...table, transformations: [numbers('latitude', 'longitude')], options: { seriesMapping: 'manual', series: [{ x: 'longitude', y: 'latitude', name: 'cities' }] } }),
    panel(26, 'candlestick', 'seed_price', { target: { legendFormat: '{{part}}' } }),
    panel(27, 'flamegraph', 'seed_flame', { ...table, transformations: [numbers('level', 'order'), { id: 'sortBy', options: { sort: [{ field: 'order' }] } }, { id: 'organize', options: { renameByName: { Value: 'value' } } }] }),
    panel(28, 'geomap', 'seed_place', { ...table, transformations: [numbers('latitude', 'longitude')] }),
    panel(29, 'canvas', 'seed{kind="a"}', { target: { legendFormat: 'a' }, options: { root: { elements: [
      { type: 'metric-value', name: 'value', placement: { left: 10, top: 10, width: 120, height: 40 }, config: { text: { mode: 'field', field: 'a' } }, connections: [{ targetName: 'box' }] },
      { type: 'rectangle', name: 'box', placement: { left: 10, top: 80, width: 160, height: 40 }, background: { color: { fixed: 'red' } }, config: { text: { fixed: HACK } } },
    ] } } }),
    panel(30, 'annolist', ''),
    panel(31, 'trend', 'seed_place', { ...table, transformations: [numbers('latitude', 'longitude'), { id: 'sortBy', options: { sort: [{ field: 'longitude' }] } }], options: { xField: 'longitude' } }),
    panel(32, 'stat', '', { targets: [
      { refId: 'A', expr: 'seed', hide: true, datasource: { type: 'prometheus' } }, { refId: 'B', type: 'reduce', expression: 'A', reducer: 'last', hide: true, datasource: { type: '__expr__', uid: '__expr__' } },
      { refId: 'C', type: 'math', expression: '$B * 100 + 1', datasource: { type: '__expr__', uid: '__expr__' } }, { refId: 'D', type: 'threshold', expression: 'B', hide: true, datasource: { type: '__expr__', uid: '__expr__' }, conditions: [{ evaluator: { type: 'gt', params: [30] } }] },
    ] }),
    panel(33, 'stat', '', { targets: [{ refId: 'A', expr: 'seed', datasource: { type: 'prometheus' }, hide: true }, { refId: 'B', type: 'math', expression: '$A + $Z', datasource: { type: '__expr__' } }] }),
    panel(34, 'datagrid', 'seed', table),
    panel(35, 'gauge', 'seed{kind="a"}', { targets: [{ refId: 'A', expr: 'seed{kind="a"}', instant: true }, { refId: 'config', expr: 'vector(84)', instant: true }], transformations: [{ id: 'configFromData', options: { configRefId: 'config', mappings: [{ fieldName: 'Value', handlerKey: 'max' }, { fieldName: 'Time', handlerKey: '__ignore' }] } }], fieldConfig: { defaults: { min: 0 }, overrides: [] } }),
    { id: 36, type: 'alertlist', title: 'firing', gridPos: { x: 16, y: 84, w: 8, h: 7 }, options: { stateFilter: { firing: true } } },
    { id: 37, gridPos: { x: 0, y: 91, w: 8, h: 7 }, libraryPanel: { uid: 'shared', name: 'Shared' } },
    { id: 38, title: 'gone', gridPos: { x: 8, y: 91, w: 8, h: 7 }, libraryPanel: { uid: 'gone', name: 'Gone' } },
    { id: 23, type: 'row', title: 'Closed', collapsed: true, gridPos: { x: 0, y: 99, w: 24, h: 1 }, panels: [panel(24, 'stat', 'seed{kind="b"}')] },
  ];
  const list = [
    { name: 'ds', type: 'datasource', query: 'prometheus' },
    { name: 'kind', type: 'query', label: 'Kind', datasource: { type: 'prometheus' }, query: 'label_values(seed, kind)', refresh: 1, multi: true, includeAll: true, current: { value: 'a' } },
  ];
  const __elements = { shared: { uid: 'shared', name: 'Shared', kind: 1, model: panel(99, 'stat', 'seed{kind="b"} + 100', { title: 'Shared panel' }) } };
  return { uid: 'kinds', __elements, title: `Every kind ${HACK}`, time: { from: 'now-15m', to: 'now' }, panels: all, templating: { list }, annotations: { list: [{ name: HACK, enable: true, datasource: { type: 'prometheus' }, expr: 'seed > 40' }] } };
}
