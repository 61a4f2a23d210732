// Writes the bundled dashboards: `node dashboards/generate.mjs`. The JSON beside this file is what is
// embedded and what Grafana loads; change it here, run this, commit both.
import { writeFileSync } from 'node:fs';

const prometheus = { type: 'prometheus', uid: '${datasource}' };
const loki = { type: 'loki', uid: '${loki}' };
const tempo = { type: 'tempo', uid: '${tempo}' };

// ---- variables

const source = (name, type, label, hide = 0) => ({
  name, type: 'datasource', label, query: type, hide, current: {}, options: [], regex: '', refresh: 1,
  multi: false, includeAll: false, skipUrlSync: false,
});
const common = [source('datasource', 'prometheus', 'Metrics')];
const variable = (name, label, query, options = {}) => ({
  name, label, type: 'query', datasource: options.datasource ?? prometheus,
  definition: query,
  query: options.datasource ? query : { query, refId: 'Variable', qryType: 1 },
  refresh: 2, sort: 5, hide: options.hide ?? 0, regex: options.regex ?? '', skipUrlSync: false,
  multi: options.multi ?? false, includeAll: options.all ?? false,
  ...(options.all ? { allValue: options.allValue ?? '.*', current: { text: 'All', value: '$__all' } } : { current: {} }),
  options: [],
});
const cluster = (metric) => variable('cluster', 'Cluster', `label_values(${metric}, cluster)`, { all: true });
const textbox = (name, label, value = '') => ({
  name, label, type: 'textbox', query: value, hide: 0, skipUrlSync: false,
  current: { text: value, value }, options: [{ selected: true, text: value, value }],
});
const custom = (name, label, values, current) => ({
  name, label, type: 'custom', query: values.join(','), hide: 0, skipUrlSync: false, multi: false, includeAll: false,
  current: { text: current, value: current },
  options: values.map((v) => ({ selected: v === current, text: v, value: v })),
});

// ---- panels

const thresholds = (steps) => ({
  mode: 'absolute',
  steps: (steps ?? [['green', null]]).map(([color, value]) => ({ color, value })),
});
const refs = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ';
const targets = (queries, more = {}) => queries.map(([expr, legendFormat], index) => ({
  refId: refs[index], datasource: prometheus, editorMode: 'code', expr, legendFormat: legendFormat ?? '__auto', range: true,
  instant: false, ...more,
}));
const panel = (type, title, width, height, rest) => ({ type, title, width, height, datasource: prometheus, ...rest });

const graph = (title, queries, o = {}) => panel('timeseries', title, o.w ?? 8, o.h ?? 8, {
  description: o.about,
  targets: targets(queries, o.exemplars ? { exemplar: true } : {}),
  fieldConfig: {
    defaults: {
      unit: o.unit ?? 'short', min: o.min === undefined ? 0 : o.min ?? undefined, max: o.max, decimals: o.decimals,
      color: { mode: 'palette-classic' }, thresholds: thresholds(o.steps), links: o.links ?? [],
      custom: {
        drawStyle: o.bars ? 'bars' : 'line', lineWidth: 1, fillOpacity: o.stack ? 30 : 10, gradientMode: 'none', showPoints: 'never',
        spanNulls: false, lineInterpolation: 'linear', pointSize: 5, axisPlacement: 'auto',
        stacking: { mode: o.stack ? 'normal' : 'none', group: 'A' },
        scaleDistribution: o.log ? { type: 'log', log: 10 } : { type: 'linear' },
        thresholdsStyle: { mode: o.steps ? 'dashed' : 'off' },
      },
    },
    overrides: (o.dashed ?? []).map((pattern) => ({
      matcher: { id: 'byRegexp', options: pattern },
      properties: [
        { id: 'custom.lineStyle', value: { fill: 'dash', dash: [8, 8] } },
        { id: 'custom.fillOpacity', value: 0 },
        { id: 'custom.stacking', value: { mode: 'none', group: 'limits' } },
      ],
    })).concat((o.negative ?? []).map((pattern) => ({
      matcher: { id: 'byRegexp', options: pattern },
      properties: [{ id: 'custom.transform', value: 'negative-Y' }],
    }))),
  },
  options: {
    legend: { displayMode: 'list', placement: 'bottom', showLegend: true, calcs: [] },
    tooltip: { mode: 'multi', sort: 'desc' },
  },
});
const number = (type, title, query, o = {}) => panel(type, title, o.w ?? 4, o.h ?? 4, {
  description: o.about,
  targets: targets([[query, o.legend]], { range: false, instant: true }),
  fieldConfig: {
    defaults: {
      unit: o.unit ?? 'short', min: o.min, max: o.max, decimals: o.decimals, noValue: o.none ?? '–', mappings: o.mappings ?? [],
      color: { mode: 'thresholds' }, thresholds: thresholds(o.steps), links: o.links ?? [],
    },
    overrides: [],
  },
  options: {
    reduceOptions: { values: false, calcs: ['lastNotNull'], fields: '' }, orientation: 'auto', textMode: 'auto',
    ...(type === 'stat' ? { colorMode: o.steps ? 'value' : 'none', graphMode: 'none', justifyMode: 'auto', wideLayout: true } : {}),
    ...(type === 'gauge' ? { showThresholdLabels: false, showThresholdMarkers: true } : {}),
    ...(type === 'bargauge' ? { displayMode: 'basic', valueMode: 'color', showUnfilled: true, orientation: 'horizontal' } : {}),
  },
});
const stat = (title, query, o) => number('stat', title, query, o);
const gauge = (title, query, o = {}) => number('gauge', title, query, {
  unit: 'percentunit', min: 0, max: 1, steps: [['green', null], ['orange', 0.75], ['red', 0.9]], ...o,
});
const bars = (title, query, o) => number('bargauge', title, query, { w: 8, h: 8, ...o });

// A table of several queries, joined by their labels. Columns: label → [title, link]; values: [query, title, unit].
const table = (title, labels, values, o = {}) => panel('table', title, o.w ?? 24, o.h ?? 9, {
  description: o.about,
  targets: targets(values.map(([expr]) => [expr, '']), { format: 'table', instant: true, range: false }),
  transformations: [
    ...(values.length > 1 ? [{ id: 'merge', options: {} }] : []),
    {
      id: 'organize',
      options: {
        excludeByName: { Time: true },
        indexByName: Object.fromEntries([...Object.keys(labels), ...values.map((_, i) => name(values, i))].map((k, i) => [k, i])),
        renameByName: Object.fromEntries([
          ...Object.entries(labels).map(([k, [shown]]) => [k, shown]),
          ...values.map(([, shown], i) => [name(values, i), shown]),
        ]),
      },
    },
  ],
  fieldConfig: {
    defaults: {
      custom: { align: 'auto', cellOptions: { type: 'auto' }, filterable: false }, color: { mode: 'thresholds' },
      thresholds: thresholds(), unit: 'short', mappings: [],
    },
    overrides: [
      ...values.map(([, shown, unit, steps]) => ({
        matcher: { id: 'byName', options: shown },
        properties: [
          { id: 'unit', value: unit ?? 'short' },
          ...(unit === 'short' || !unit ? [] : [{ id: 'decimals', value: 2 }]),
          ...(steps ? [{ id: 'thresholds', value: thresholds(steps) }, { id: 'custom.cellOptions', value: { type: 'color-text' } }] : []),
        ],
      })),
      ...Object.values(labels).filter(([, link]) => link).map(([shown, link]) => ({
        matcher: { id: 'byName', options: shown },
        properties: [{ id: 'links', value: [{ title: 'Show', url: link }] }],
      })),
    ],
  },
  options: { showHeader: true, cellHeight: 'sm', footer: { show: false, reducer: ['sum'], fields: '' }, sortBy: o.sort ? [{ displayName: o.sort, desc: true }] : [] },
});
const name = (values, index) => (values.length > 1 ? `Value #${refs[index]}` : 'Value');

const logs = (title, expr, o = {}) => panel('logs', title, o.w ?? 24, o.h ?? 10, {
  datasource: loki,
  targets: [{ refId: 'A', datasource: loki, editorMode: 'code', expr, queryType: 'range', maxLines: o.lines ?? 200 }],
  fieldConfig: { defaults: {}, overrides: [] },
  options: {
    showTime: true, showLabels: false, showCommonLabels: false, wrapLogMessage: true, prettifyLogMessage: false,
    enableLogDetails: true, dedupStrategy: 'none', sortOrder: 'Descending',
  },
});
// Numbers that are computed from lines.
const logGraph = (title, queries, o = {}) => {
  const made = graph(title, queries, { stack: true, bars: true, ...o });
  made.datasource = loki;
  made.targets = queries.map(([expr, legendFormat], i) => ({
    refId: refs[i], datasource: loki, editorMode: 'code', expr, legendFormat, queryType: 'range',
  }));
  made.fieldConfig.overrides = o.levels ? [
    ['critical|fatal', 'purple'], ['error', 'red'], ['warn.*', 'orange'], ['info', 'green'], ['debug|trace', 'blue'], ['unknown', 'text'],
  ].map(([pattern, color]) => ({
    matcher: { id: 'byRegexp', options: pattern },
    properties: [{ id: 'color', value: { mode: 'fixed', fixedColor: color } }],
  })) : [];
  return made;
};
const traces = (title, query, o = {}) => panel('table', title, o.w ?? 24, o.h ?? 9, {
  datasource: tempo,
  targets: [{ refId: 'A', datasource: tempo, queryType: 'traceql', query, limit: 20, tableType: 'traces' }],
  fieldConfig: { defaults: { custom: { align: 'auto', cellOptions: { type: 'auto' } } }, overrides: [] },
  options: { showHeader: true, cellHeight: 'sm', footer: { show: false, reducer: ['sum'], fields: '' } },
});
const heatmap = (title, query, o = {}) => panel('heatmap', title, o.w ?? 12, o.h ?? 8, {
  targets: targets([[query, '{{le}}']], { format: 'heatmap' }),
  fieldConfig: { defaults: { custom: { hideFrom: { legend: false, tooltip: false, viz: false }, scaleDistribution: { type: 'linear' } } }, overrides: [] },
  options: {
    calculate: false, cellGap: 1, color: { mode: 'scheme', scheme: 'Oranges', steps: 64, exponent: 0.5, fill: 'dark-orange', reverse: false },
    exemplars: { color: 'rgba(255,0,255,0.7)' }, filterValues: { le: 1e-9 }, legend: { show: true }, rowsFrame: { layout: 'auto' },
    showValue: 'never', tooltip: { mode: 'single', yHistogram: false }, yAxis: { axisPlacement: 'left', unit: o.unit ?? 's', reverse: false },
  },
});
const text = (content, o = {}) => panel('text', o.title ?? '', o.w ?? 24, o.h ?? 3, {
  options: { mode: 'markdown', content }, transparent: true,
});
const row = (title) => ({ type: 'row', title, row: true });

// ---- dashboards

// Links from one dashboard to another keep time and data source.
const to = (uid, variables) =>
  `/d/${uid}?${Object.entries(variables).map(([k, v]) => `var-${k}=${v}`).join('&')}&\${datasource:queryparam}&\${__url_time_range}`;
const field = (label) => `\${__data.fields["${label}"]}`;

function dashboard(uid, title, about, variables, panels, o = {}) {
  let [x, y, line, id] = [0, 0, 0, 1];
  const laid = [];
  for (const { width, height, row: isRow, ...rest } of panels.flat()) {
    const w = isRow ? 24 : width;
    const h = isRow ? 1 : height;
    if (x + w > 24) [x, y, line] = [0, y + line, 0];
    laid.push({ id: id++, ...rest, gridPos: { x, y, w, h }, ...(isRow ? { collapsed: false, panels: [] } : {}) });
    line = Math.max(line, h);
    x += w;
    if (isRow) [x, y, line] = [0, y + 1, 0];
  }
  const json = {
    uid, title: `obs / ${title}`, description: about, tags: ['obs', ...(o.tags ?? [])], schemaVersion: 39, version: 1, editable: true,
    timezone: 'browser', weekStart: '', graphTooltip: 1, refresh: '30s', fiscalYearStartMonth: 0, liveNow: false,
    time: { from: o.from ?? 'now-1h', to: 'now' }, timepicker: {},
    annotations: { list: [{
      builtIn: 1, datasource: { type: 'grafana', uid: '-- Grafana --' }, enable: true, hide: true, iconColor: 'rgba(0, 211, 255, 1)',
      name: 'Annotations & Alerts', type: 'dashboard',
    }] },
    links: [{ type: 'dashboards', title: 'Dashboards', tags: ['obs'], asDropdown: true, includeVars: false, keepTime: true, targetBlank: false, icon: 'external link', tooltip: '', url: '' }],
    templating: { list: [...common, ...variables] },
    panels: laid,
  };
  const file = new URL(`./${uid.replace(/^obs-/, '')}.json`, import.meta.url);
  writeFileSync(file, `${JSON.stringify(json, null, 1)}\n`);
}

// ---- expressions

const R = '[$__rate_interval]';
const once = 'cluster, namespace, pod, container';
// A container may be told of twice (by the kubelet and by obs' own exporter): it counts once.
const cpu = (by, s) => `sum by (${by}) (max by (${once}) (rate(container_cpu_usage_seconds_total{container!="", ${s}}${R})))`;
const memory = (by, s) => `sum by (${by}) (max by (${once}) (container_memory_working_set_bytes{container!="", ${s}}))`;
const asked = (kind, resource, by, s) =>
  `sum by (${by}) (max by (${once}) (kube_pod_container_resource_${kind}{resource="${resource}", ${s}}))`;
const network = (direction, by, s) =>
  `sum by (${by}) (max by (cluster, namespace, pod, interface) (rate(container_network_${direction}_bytes_total{${s}}${R})))`;
const quantile = (q, metric, by, s, window = R) =>
  `histogram_quantile(${q}, sum by (${by ? `${by}, ` : ''}le) (rate(${metric}{${s}}${window})))`;
const used = [['green', null], ['orange', 0.8], ['red', 0.95]];
const bad = [['green', null], ['red', 1]];
const C = 'cluster=~"$cluster"';
const N = `${C}, namespace=~"$namespace"`;

// ---- cluster

dashboard('obs-cluster', 'Kubernetes / Cluster', 'What the cluster has, what is asked for and what is used.', [
  cluster('kube_node_info'),
], [
  stat('Nodes', `count(kube_node_info{${C}})`),
  stat('Nodes not ready', `count(kube_node_status_condition{${C}, condition="Ready", status="true"} == 0) or vector(0)`, { steps: bad }),
  stat('Pods', `sum(kube_pod_status_phase{${C}, phase="Running"})`),
  stat('Pods pending or failed', `sum(kube_pod_status_phase{${C}, phase=~"Pending|Failed|Unknown"}) or vector(0)`, { steps: [['green', null], ['orange', 1]] }),
  stat('Restarts, last hour', `sum(increase(kube_pod_container_status_restarts_total{${C}}[1h]))`, { decimals: 0, steps: [['green', null], ['orange', 5], ['red', 50]] }),
  stat('Alerts firing', `count(ALERTS{${C}, alertstate="firing", severity=~"warning|critical"}) or vector(0)`, { steps: bad, links: [{ title: 'Alerts', url: '/d/obs-alerts' }] }),
  gauge('CPU used', `sum(rate(node_cpu_seconds_total{${C}, mode!~"idle|iowait|steal"}${R})) / sum(rate(node_cpu_seconds_total{${C}}${R}))`),
  gauge('CPU requested', `${asked('requests', 'cpu', 'cluster', C)} / sum by (cluster) (kube_node_status_allocatable{${C}, resource="cpu"})`),
  gauge('CPU limits', `${asked('limits', 'cpu', 'cluster', C)} / sum by (cluster) (kube_node_status_allocatable{${C}, resource="cpu"})`, { max: 2, steps: [['green', null], ['orange', 1.5]] }),
  gauge('Memory used', `1 - sum(node_memory_MemAvailable_bytes{${C}}) / sum(node_memory_MemTotal_bytes{${C}})`),
  gauge('Memory requested', `${asked('requests', 'memory', 'cluster', C)} / sum by (cluster) (kube_node_status_allocatable{${C}, resource="memory"})`),
  gauge('Pods of those possible', `sum(kube_pod_status_phase{${C}, phase="Running"}) / sum(kube_node_status_allocatable{${C}, resource="pods"})`),
  row('By namespace'),
  graph('CPU', [[cpu('namespace', C), '{{namespace}}']], { w: 12, stack: true, unit: 'cores' }),
  graph('Memory', [[memory('namespace', C), '{{namespace}}']], { w: 12, stack: true, unit: 'bytes' }),
  table('Namespaces', { namespace: ['Namespace', to('obs-namespaces', { namespace: field('Namespace') })] }, [
    [`count by (namespace) (kube_pod_info{${C}})`, 'Pods'],
    [cpu('namespace', C), 'CPU', 'cores'],
    [asked('requests', 'cpu', 'namespace', C), 'CPU requested', 'cores'],
    [`${cpu('namespace', C)} / ${asked('requests', 'cpu', 'namespace', C)}`, 'CPU of requests', 'percentunit', [['green', null], ['orange', 1]]],
    [memory('namespace', C), 'Memory', 'bytes'],
    [asked('requests', 'memory', 'namespace', C), 'Memory requested', 'bytes'],
    [`${memory('namespace', C)} / ${asked('requests', 'memory', 'namespace', C)}`, 'Memory of requests', 'percentunit', [['green', null], ['orange', 1]]],
  ], { sort: 'Memory' }),
  row('Nodes'),
  table('Nodes', { node: ['Node', to('obs-node', { node: field('Node') })] }, [
    [`max by (node) (kube_node_status_condition{${C}, condition="Ready", status="true"})`, 'Ready', 'bool_yes_no'],
    [`count by (node) (kube_pod_info{${C}, node!=""})`, 'Pods'],
    [`sum by (node) (kube_node_status_allocatable{${C}, resource="cpu"})`, 'CPU', 'cores'],
    [asked('requests', 'cpu', 'node', C).replaceAll(once, `${once}, node`), 'CPU requested', 'cores'],
    [`sum by (node) (kube_node_status_allocatable{${C}, resource="memory"})`, 'Memory', 'bytes'],
    [asked('requests', 'memory', 'node', C).replaceAll(once, `${once}, node`), 'Memory requested', 'bytes'],
  ]),
  row('Network and storage'),
  graph('Network', [[`sum(rate(node_network_receive_bytes_total{${C}, device!~"lo|veth.+|cali.+|lxc.+"}${R}))`, 'received'], [`sum(rate(node_network_transmit_bytes_total{${C}, device!~"lo|veth.+|cali.+|lxc.+"}${R}))`, 'sent']], { w: 12, unit: 'Bps', min: null, negative: ['sent'] }),
  graph('Volumes by use', [[`topk(10, kubelet_volume_stats_used_bytes{${C}} / kubelet_volume_stats_capacity_bytes{${C}})`, '{{namespace}}/{{persistentvolumeclaim}}']], { w: 12, unit: 'percentunit', max: 1, steps: used }),
], { tags: ['kubernetes'] });

// ---- node

const I = 'instance=~"$instance"';
dashboard('obs-node', 'Node', 'One machine: processors, memory, disks, network, and the pods on it.', [
  cluster('node_uname_info'),
  variable('node', 'Name', `label_values(node_uname_info{${C}}, nodename)`, { all: true }),
  variable('instance', 'Instance', `label_values(node_uname_info{${C}, nodename=~"$node"}, instance)`),
], [
  stat('Up since', `node_boot_time_seconds{${I}} * 1000`, { unit: 'dateTimeFromNow' }),
  stat('Processors', `count(node_cpu_seconds_total{${I}, mode="idle"})`),
  stat('Memory', `node_memory_MemTotal_bytes{${I}}`, { unit: 'bytes' }),
  gauge('CPU', `1 - avg(sum without (mode) (rate(node_cpu_seconds_total{${I}, mode=~"idle|iowait|steal"}${R})))`),
  gauge('Memory used', `1 - node_memory_MemAvailable_bytes{${I}} / node_memory_MemTotal_bytes{${I}}`),
  gauge('Root filesystem', `1 - node_filesystem_avail_bytes{${I}, mountpoint="/", fstype!="rootfs"} / node_filesystem_size_bytes{${I}, mountpoint="/", fstype!="rootfs"}`),
  row('Processors and memory'),
  graph('CPU by mode', [[`sum by (mode) (rate(node_cpu_seconds_total{${I}, mode!="idle"}${R}))`, '{{mode}}']], { stack: true, unit: 'cores' }),
  graph('Load', [[`node_load1{${I}}`, '1 minute'], [`node_load5{${I}}`, '5 minutes'], [`node_load15{${I}}`, '15 minutes'], [`count(node_cpu_seconds_total{${I}, mode="idle"})`, 'processors']], { dashed: ['processors'] }),
  graph('Waiting (pressure)', [[`rate(node_pressure_cpu_waiting_seconds_total{${I}}${R})`, 'CPU'], [`rate(node_pressure_memory_waiting_seconds_total{${I}}${R})`, 'memory'], [`rate(node_pressure_io_waiting_seconds_total{${I}}${R})`, 'disk']], { unit: 'percentunit', about: 'Share of time in which something waited for it.' }),
  graph('Memory', [
    [`node_memory_MemTotal_bytes{${I}} - node_memory_MemFree_bytes{${I}} - node_memory_Buffers_bytes{${I}} - node_memory_Cached_bytes{${I}} - node_memory_SReclaimable_bytes{${I}}`, 'programs'],
    [`node_memory_Buffers_bytes{${I}} + node_memory_Cached_bytes{${I}} + node_memory_SReclaimable_bytes{${I}}`, 'caches'],
    [`node_memory_MemFree_bytes{${I}}`, 'free'],
  ], { stack: true, unit: 'bytes' }),
  graph('Swap', [[`node_memory_SwapTotal_bytes{${I}} - node_memory_SwapFree_bytes{${I}}`, 'used'], [`node_memory_SwapTotal_bytes{${I}}`, 'size']], { unit: 'bytes', dashed: ['size'] }),
  graph('Page faults, kills', [[`rate(node_vmstat_pgmajfault{${I}}${R})`, 'major faults'], [`rate(node_vmstat_oom_kill{${I}}${R})`, 'killed for memory']], { unit: 'ops' }),
  row('Disks'),
  graph('Filesystems', [[`1 - node_filesystem_avail_bytes{${I}, fstype!~"tmpfs|ramfs|squashfs"} / node_filesystem_size_bytes{${I}, fstype!~"tmpfs|ramfs|squashfs"}`, '{{mountpoint}}']], { unit: 'percentunit', max: 1, steps: used }),
  graph('Inodes', [[`1 - node_filesystem_files_free{${I}, fstype!~"tmpfs|ramfs|squashfs"} / (node_filesystem_files{${I}, fstype!~"tmpfs|ramfs|squashfs"} > 0)`, '{{mountpoint}}']], { unit: 'percentunit', max: 1, steps: used }),
  graph('Busy', [[`rate(node_disk_io_time_seconds_total{${I}, device!~"(loop|ram|sr|zram).*"}${R})`, '{{device}}']], { unit: 'percentunit', max: 1 }),
  graph('Bytes', [[`rate(node_disk_read_bytes_total{${I}, device!~"(loop|ram|sr|zram).*"}${R})`, '{{device}} read'], [`rate(node_disk_written_bytes_total{${I}, device!~"(loop|ram|sr|zram).*"}${R})`, '{{device}} written']], { unit: 'Bps', min: null, negative: ['written'] }),
  graph('Requests', [[`rate(node_disk_reads_completed_total{${I}, device!~"(loop|ram|sr|zram).*"}${R})`, '{{device}} read'], [`rate(node_disk_writes_completed_total{${I}, device!~"(loop|ram|sr|zram).*"}${R})`, '{{device}} written']], { unit: 'iops', min: null, negative: ['written'] }),
  graph('Time of a request', [[`rate(node_disk_read_time_seconds_total{${I}, device!~"(loop|ram|sr|zram).*"}${R}) / rate(node_disk_reads_completed_total{${I}}${R})`, '{{device}} read'], [`rate(node_disk_write_time_seconds_total{${I}, device!~"(loop|ram|sr|zram).*"}${R}) / rate(node_disk_writes_completed_total{${I}}${R})`, '{{device}} written']], { unit: 's' }),
  row('Network'),
  graph('Bytes', [[`rate(node_network_receive_bytes_total{${I}, device!~"lo|veth.+|cali.+|lxc.+"}${R})`, '{{device}} received'], [`rate(node_network_transmit_bytes_total{${I}, device!~"lo|veth.+|cali.+|lxc.+"}${R})`, '{{device}} sent']], { unit: 'Bps', min: null, negative: ['sent'] }),
  graph('Errors and drops', [[`rate(node_network_receive_errs_total{${I}}${R}) + rate(node_network_transmit_errs_total{${I}}${R})`, '{{device}} errors'], [`rate(node_network_receive_drop_total{${I}}${R}) + rate(node_network_transmit_drop_total{${I}}${R})`, '{{device}} drops']], { unit: 'pps' }),
  graph('TCP', [[`node_netstat_Tcp_CurrEstab{${I}}`, 'established'], [`node_sockstat_TCP_tw{${I}}`, 'time wait'], [`rate(node_netstat_Tcp_RetransSegs{${I}}${R})`, 'sent again, a second']], {}),
  graph('Tables of the kernel', [[`node_filefd_allocated{${I}} / node_filefd_maximum{${I}}`, 'file descriptors'], [`node_nf_conntrack_entries{${I}} / node_nf_conntrack_entries_limit{${I}}`, 'connections']], { unit: 'percentunit', max: 1, steps: used }),
  graph('Clock', [[`node_timex_offset_seconds{${I}}`, 'offset'], [`node_timex_maxerror_seconds{${I}}`, 'largest error']], { unit: 's', min: null }),
  graph('Units that failed', [[`count by (name) (node_systemd_unit_state{${I}, state="failed"} == 1)`, '{{name}}']], {}),
  row('Pods on this node'),
  graph('CPU', [[`topk(15, ${cpu('namespace, pod', C)} and on (namespace, pod) kube_pod_info{${C}, node=~"$node"})`, '{{namespace}}/{{pod}}']], { w: 12, stack: true, unit: 'cores' }),
  graph('Memory', [[`topk(15, ${memory('namespace, pod', C)} and on (namespace, pod) kube_pod_info{${C}, node=~"$node"})`, '{{namespace}}/{{pod}}']], { w: 12, stack: true, unit: 'bytes' }),
], { tags: ['node'] });

// ---- node exporter: utilisation, saturation, errors

dashboard('obs-use', 'Node exporter / USE', 'Utilisation, saturation and errors of all machines, side by side.', [
  cluster('node_uname_info'),
  variable('instance', 'Instance', `label_values(node_uname_info{${C}}, instance)`, { all: true, multi: true }),
], [
  row('Processors'),
  graph('Utilisation', [[`1 - avg by (instance) (sum without (mode) (rate(node_cpu_seconds_total{${C}, ${I}, mode=~"idle|iowait|steal"}${R})))`, '{{instance}}']], { w: 12, unit: 'percentunit', max: 1 }),
  graph('Saturation (load per processor)', [[`max by (instance) (node_load1{${C}, ${I}}) / count by (instance) (node_cpu_seconds_total{${C}, ${I}, mode="idle"})`, '{{instance}}']], { w: 12, unit: 'percentunit' }),
  row('Memory'),
  graph('Utilisation', [[`1 - node_memory_MemAvailable_bytes{${C}, ${I}} / node_memory_MemTotal_bytes{${C}, ${I}}`, '{{instance}}']], { w: 12, unit: 'percentunit', max: 1 }),
  graph('Saturation (major page faults)', [[`rate(node_vmstat_pgmajfault{${C}, ${I}}${R})`, '{{instance}}']], { w: 12, unit: 'ops' }),
  row('Disks'),
  graph('Utilisation', [[`rate(node_disk_io_time_seconds_total{${C}, ${I}, device!~"(dm-|loop|ram|sr|zram).*"}${R})`, '{{instance}} {{device}}']], { w: 12, unit: 'percentunit', max: 1 }),
  graph('Saturation (requests that wait)', [[`rate(node_disk_io_time_weighted_seconds_total{${C}, ${I}, device!~"(dm-|loop|ram|sr|zram).*"}${R})`, '{{instance}} {{device}}']], { w: 12 }),
  graph('Space used', [[`max by (instance, device) (1 - node_filesystem_avail_bytes{${C}, ${I}, fstype!~"tmpfs|ramfs|squashfs"} / node_filesystem_size_bytes{${C}, ${I}, fstype!~"tmpfs|ramfs|squashfs"})`, '{{instance}} {{device}}']], { w: 24, unit: 'percentunit', max: 1, steps: used }),
  row('Network'),
  graph('Utilisation', [[`sum by (instance) (rate(node_network_receive_bytes_total{${C}, ${I}, device!="lo"}${R}))`, '{{instance}} received'], [`sum by (instance) (rate(node_network_transmit_bytes_total{${C}, ${I}, device!="lo"}${R}))`, '{{instance}} sent']], { unit: 'Bps', min: null, negative: ['sent'] }),
  graph('Saturation (drops)', [[`sum by (instance) (rate(node_network_receive_drop_total{${C}, ${I}, device!="lo"}${R}) + rate(node_network_transmit_drop_total{${C}, ${I}, device!="lo"}${R}))`, '{{instance}}']], { unit: 'pps' }),
  graph('Errors', [[`sum by (instance) (rate(node_network_receive_errs_total{${C}, ${I}, device!="lo"}${R}) + rate(node_network_transmit_errs_total{${C}, ${I}, device!="lo"}${R}))`, '{{instance}}']], { unit: 'pps' }),
], { tags: ['node'] });

// ---- namespaces

const ns = variable('namespace', 'Namespace', `label_values(kube_pod_info{${C}}, namespace)`);
const nss = variable('namespace', 'Namespace', `label_values(kube_pod_info{${C}}, namespace)`, { all: true });
const podLink = { pod: ['Pod', to('obs-pod', { namespace: '$namespace', pod: field('Pod') })] };
dashboard('obs-namespaces', 'Kubernetes / Namespace', 'What runs in a namespace, what it uses, what it may.', [cluster('kube_pod_info'), ns], [
  stat('Pods running', `sum(kube_pod_status_phase{${N}, phase="Running"})`),
  stat('Pods not running', `sum(kube_pod_status_phase{${N}, phase=~"Pending|Failed|Unknown"}) or vector(0)`, { steps: [['green', null], ['orange', 1]] }),
  stat('Restarts, last hour', `sum(increase(kube_pod_container_status_restarts_total{${N}}[1h]))`, { decimals: 0, steps: [['green', null], ['orange', 3], ['red', 20]] }),
  gauge('CPU of requests', `${cpu('namespace', N)} / ${asked('requests', 'cpu', 'namespace', N)}`, { max: 1.5, steps: [['green', null], ['orange', 1]] }),
  gauge('Memory of requests', `${memory('namespace', N)} / ${asked('requests', 'memory', 'namespace', N)}`, { max: 1.5, steps: [['green', null], ['orange', 1]] }),
  gauge('Memory of limits', `${memory('namespace', N)} / ${asked('limits', 'memory', 'namespace', N)}`),
  row('Use'),
  graph('CPU', [[cpu('pod', N), '{{pod}}']], { w: 12, stack: true, unit: 'cores' }),
  graph('Memory', [[memory('pod', N), '{{pod}}']], { w: 12, stack: true, unit: 'bytes' }),
  graph('Network received', [[network('receive', 'pod', N), '{{pod}}']], { w: 12, stack: true, unit: 'Bps' }),
  graph('Network sent', [[network('transmit', 'pod', N), '{{pod}}']], { w: 12, stack: true, unit: 'Bps' }),
  table('Pods', podLink, [
    [cpu('pod', N), 'CPU', 'cores'],
    [asked('requests', 'cpu', 'pod', N), 'CPU requested', 'cores'],
    [asked('limits', 'cpu', 'pod', N), 'CPU limit', 'cores'],
    [memory('pod', N), 'Memory', 'bytes'],
    [asked('requests', 'memory', 'pod', N), 'Memory requested', 'bytes'],
    [asked('limits', 'memory', 'pod', N), 'Memory limit', 'bytes'],
    [`sum by (pod) (kube_pod_container_status_restarts_total{${N}})`, 'Restarts'],
  ], { sort: 'Memory' }),
  row('Quotas, volumes, jobs, autoscalers'),
  table('Quotas', { resourcequota: ['Quota'], resource: ['Resource'] }, [
    [`sum by (resourcequota, resource) (kube_resourcequota{${N}, type="used"})`, 'Used'],
    [`sum by (resourcequota, resource) (kube_resourcequota{${N}, type="hard"})`, 'Hard'],
    [`sum by (resourcequota, resource) (kube_resourcequota{${N}, type="used"}) / (sum by (resourcequota, resource) (kube_resourcequota{${N}, type="hard"}) > 0)`, 'Share', 'percentunit', used],
  ], { w: 12 }),
  table('Volumes', { persistentvolumeclaim: ['Claim'] }, [
    [`max by (persistentvolumeclaim) (kubelet_volume_stats_used_bytes{${N}})`, 'Used', 'bytes'],
    [`max by (persistentvolumeclaim) (kubelet_volume_stats_capacity_bytes{${N}})`, 'Size', 'bytes'],
    [`max by (persistentvolumeclaim) (kubelet_volume_stats_used_bytes{${N}} / kubelet_volume_stats_capacity_bytes{${N}})`, 'Share', 'percentunit', used],
  ], { w: 12 }),
  table('Jobs', { job_name: ['Job'] }, [
    [`sum by (job_name) (kube_job_status_active{${N}})`, 'Active'],
    [`sum by (job_name) (kube_job_status_succeeded{${N}})`, 'Succeeded'],
    [`sum by (job_name) (kube_job_status_failed{${N}})`, 'Failed', 'short', bad],
  ], { w: 12 }),
  graph('Replicas of autoscalers', [[`kube_horizontalpodautoscaler_status_current_replicas{${N}}`, '{{horizontalpodautoscaler}}'], [`kube_horizontalpodautoscaler_spec_max_replicas{${N}}`, '{{horizontalpodautoscaler}} most']], { w: 12, h: 9, dashed: ['.* most'] }),
], { tags: ['kubernetes'] });

// ---- workloads

const relabel = 'namespace_workload_pod:kube_pod_owner:relabel';
const W = `${N}, workload=~"$workload"`;
const of = (expr, by = 'workload, workload_type') =>
  `sum by (${by}) (${expr} * on (namespace, pod) group_left (workload, workload_type) max by (namespace, pod, workload, workload_type) (${relabel}{${W}}))`;
dashboard('obs-workloads', 'Kubernetes / Workloads', 'Deployments, StatefulSets, DaemonSets and jobs with what their pods use.', [
  cluster('kube_pod_info'), nss, variable('workload', 'Workload', `label_values(${relabel}{${N}}, workload)`, { all: true }),
], [
  text('Pods are joined to their workloads by the recorded series `namespace_workload_pod:kube_pod_owner:relabel`: it needs `obs: {rules: {bundled: true}}`.', { h: 2 }),
  graph('CPU', [[of(cpu('namespace, pod', N)), '{{workload}}']], { w: 12, stack: true, unit: 'cores' }),
  graph('Memory', [[of(memory('namespace, pod', N)), '{{workload}}']], { w: 12, stack: true, unit: 'bytes' }),
  table('Workloads', { namespace: ['Namespace'], workload: ['Workload'], workload_type: ['Kind'] }, [
    [`count by (namespace, workload, workload_type) (max by (namespace, pod, workload, workload_type) (${relabel}{${W}}))`, 'Pods'],
    [of(cpu('namespace, pod', N), 'namespace, workload, workload_type'), 'CPU', 'cores'],
    [of(asked('requests', 'cpu', 'namespace, pod', N), 'namespace, workload, workload_type'), 'CPU requested', 'cores'],
    [of(memory('namespace, pod', N), 'namespace, workload, workload_type'), 'Memory', 'bytes'],
    [of(asked('requests', 'memory', 'namespace, pod', N), 'namespace, workload, workload_type'), 'Memory requested', 'bytes'],
  ], { sort: 'Memory' }),
  graph('Network received', [[of(network('receive', 'namespace, pod', N)), '{{workload}}']], { w: 12, stack: true, unit: 'Bps' }),
  graph('Network sent', [[of(network('transmit', 'namespace, pod', N)), '{{workload}}']], { w: 12, stack: true, unit: 'Bps' }),
  row('State'),
  table('StatefulSets', { namespace: ['Namespace'], statefulset: ['StatefulSet'] }, [
    [`sum by (namespace, statefulset) (kube_statefulset_replicas{${N}})`, 'Wanted'],
    [`sum by (namespace, statefulset) (kube_statefulset_status_replicas_ready{${N}})`, 'Ready'],
    [`sum by (namespace, statefulset) (kube_statefulset_status_replicas_updated{${N}})`, 'Updated'],
  ], { w: 12 }),
  table('DaemonSets', { namespace: ['Namespace'], daemonset: ['DaemonSet'] }, [
    [`sum by (namespace, daemonset) (kube_daemonset_status_desired_number_scheduled{${N}})`, 'Wanted'],
    [`sum by (namespace, daemonset) (kube_daemonset_status_number_available{${N}})`, 'Available'],
    [`sum by (namespace, daemonset) (kube_daemonset_status_updated_number_scheduled{${N}})`, 'Updated'],
  ], { w: 12 }),
], { tags: ['kubernetes'] });

// ---- deployment

const D = `${N}, deployment=~"$deployment"`;
// The pods of a deployment, by its name and the hashes that the ReplicaSet adds.
const P = `${N}, pod=~"$deployment-[a-z0-9]+-[a-z0-9]+"`;
dashboard('obs-deployment', 'Kubernetes / Deployment', 'One deployment: replicas, rollout, use, logs.', [
  source('loki', 'loki', 'Logs'),
  cluster('kube_deployment_spec_replicas'), ns, variable('deployment', 'Deployment', `label_values(kube_deployment_spec_replicas{${N}}, deployment)`),
], [
  stat('Wanted', `sum(kube_deployment_spec_replicas{${D}})`),
  stat('Available', `sum(kube_deployment_status_replicas_available{${D}})`),
  stat('Updated', `sum(kube_deployment_status_replicas_updated{${D}})`),
  stat('Unavailable', `sum(kube_deployment_status_replicas_unavailable{${D}})`, { steps: bad }),
  stat('Restarts, last hour', `sum(increase(kube_pod_container_status_restarts_total{${P}}[1h]))`, { decimals: 0, steps: [['green', null], ['orange', 1], ['red', 10]] }),
  stat('Generation seen', `max(kube_deployment_status_observed_generation{${D}} == kube_deployment_metadata_generation{${D}}) or vector(0)`, { none: 'no' }),
  row('Use'),
  graph('Replicas', [[`sum(kube_deployment_spec_replicas{${D}})`, 'wanted'], [`sum(kube_deployment_status_replicas_available{${D}})`, 'available'], [`sum(kube_deployment_status_replicas_updated{${D}})`, 'updated']], { dashed: ['wanted'] }),
  graph('CPU', [[cpu('pod', P), '{{pod}}'], [`max(${asked('requests', 'cpu', 'pod', P)})`, 'requested by one'], [`max(${asked('limits', 'cpu', 'pod', P)})`, 'limit of one']], { unit: 'cores', dashed: ['requested.*', 'limit.*'] }),
  graph('Memory', [[memory('pod', P), '{{pod}}'], [`max(${asked('requests', 'memory', 'pod', P)})`, 'requested by one'], [`max(${asked('limits', 'memory', 'pod', P)})`, 'limit of one']], { unit: 'bytes', dashed: ['requested.*', 'limit.*'] }),
  graph('CPU throttled', [[`sum by (pod) (rate(container_cpu_cfs_throttled_periods_total{container!="", ${P}}${R})) / sum by (pod) (rate(container_cpu_cfs_periods_total{container!="", ${P}}${R}))`, '{{pod}}']], { unit: 'percentunit', max: 1 }),
  graph('Network', [[network('receive', 'pod', P), '{{pod}} received'], [network('transmit', 'pod', P), '{{pod}} sent']], { unit: 'Bps', min: null, negative: ['.*sent'] }),
  graph('Restarts', [[`sum by (pod, container) (increase(kube_pod_container_status_restarts_total{${P}}[10m]))`, '{{pod}} {{container}}']], { bars: true }),
  table('Pods', podLink, [
    [`max by (pod) (kube_pod_status_ready{${P}, condition="true"})`, 'Ready', 'bool_yes_no'],
    [cpu('pod', P), 'CPU', 'cores'],
    [memory('pod', P), 'Memory', 'bytes'],
    [`sum by (pod) (kube_pod_container_status_restarts_total{${P}})`, 'Restarts'],
  ], { h: 8 }),
  row('Logs'),
  logGraph('Lines by level', [['sum by (detected_level) (count_over_time({namespace=~"$namespace", pod=~"$deployment-.+"} [$__auto]))', '{{detected_level}}']], { w: 24, h: 6, levels: true }),
  logs('Errors', '{namespace=~"$namespace", pod=~"$deployment-.+"} | detected_level=~"error|fatal|critical"'),
], { tags: ['kubernetes'] });

// ---- pod

const PC = `${N}, pod=~"$pod"`;
const K = `${PC}, container=~"$container"`;
const container = 'container';
dashboard('obs-pod', 'Kubernetes / Pod', 'One pod and its containers: state, use against requests and limits, logs.', [
  source('loki', 'loki', 'Logs'),
  cluster('kube_pod_info'), ns, variable('pod', 'Pod', `label_values(kube_pod_info{${N}}, pod)`),
  variable('container', 'Container', `label_values(kube_pod_container_info{${PC}}, container)`, { all: true, multi: true, allValue: '.+' }),
], [
  stat('Phase', `kube_pod_status_phase{${PC}} == 1`, { legend: '{{phase}}', about: 'Shown as the name of the series.' }),
  stat('Ready', `max(kube_pod_status_ready{${PC}, condition="true"})`, { unit: 'bool_yes_no', steps: [['red', null], ['green', 1]] }),
  stat('Restarts', `sum(kube_pod_container_status_restarts_total{${PC}})`, { steps: [['green', null], ['orange', 1], ['red', 10]] }),
  stat('Started', `min(kube_pod_start_time{${PC}}) * 1000`, { unit: 'dateTimeFromNow' }),
  gauge('CPU of limit', `${cpu('pod', PC)} / ${asked('limits', 'cpu', 'pod', PC)}`),
  gauge('Memory of limit', `${memory('pod', PC)} / ${asked('limits', 'memory', 'pod', PC)}`),
  table('Containers', { container: ['Container'] }, [
    [cpu(container, K), 'CPU', 'cores'],
    [asked('requests', 'cpu', container, K), 'CPU requested', 'cores'],
    [asked('limits', 'cpu', container, K), 'CPU limit', 'cores'],
    [memory(container, K), 'Memory', 'bytes'],
    [asked('requests', 'memory', container, K), 'Memory requested', 'bytes'],
    [asked('limits', 'memory', container, K), 'Memory limit', 'bytes'],
    [`max by (container) (kube_pod_container_status_restarts_total{${K}})`, 'Restarts'],
    [`max by (container) (kube_pod_container_status_last_terminated_exitcode{${K}})`, 'Last exit code'],
  ], { h: 6 }),
  row('Use'),
  graph('CPU', [[cpu(container, K), '{{container}}'], [asked('requests', 'cpu', container, K), '{{container}} requested'], [asked('limits', 'cpu', container, K), '{{container}} limit']], { unit: 'cores', dashed: ['.* requested', '.* limit'] }),
  graph('Memory', [[memory(container, K), '{{container}}'], [asked('requests', 'memory', container, K), '{{container}} requested'], [asked('limits', 'memory', container, K), '{{container}} limit']], { unit: 'bytes', dashed: ['.* requested', '.* limit'] }),
  graph('CPU throttled', [[`sum by (container) (rate(container_cpu_cfs_throttled_periods_total{${K}}${R})) / sum by (container) (rate(container_cpu_cfs_periods_total{${K}}${R}))`, '{{container}}']], { unit: 'percentunit', max: 1 }),
  graph('Memory by kind', [[`sum(max by (${once}) (container_memory_rss{${K}}))`, 'programs'], [`sum(max by (${once}) (container_memory_cache{${K}}))`, 'caches'], [`sum(max by (${once}) (container_memory_swap{${K}}))`, 'swap']], { unit: 'bytes', stack: true }),
  graph('Network', [[network('receive', 'pod', PC), 'received'], [network('transmit', 'pod', PC), 'sent']], { unit: 'Bps', min: null, negative: ['sent'] }),
  graph('Disk', [[`sum by (container) (rate(container_fs_reads_bytes_total{${K}}${R}))`, '{{container}} read'], [`sum by (container) (rate(container_fs_writes_bytes_total{${K}}${R}))`, '{{container}} written']], { unit: 'Bps', min: null, negative: ['.*written'] }),
  row('Logs'),
  logGraph('Lines by level', [['sum by (detected_level) (count_over_time({namespace=~"$namespace", pod=~"$pod", container=~"$container"} [$__auto]))', '{{detected_level}}']], { w: 24, h: 6, levels: true }),
  logs('Logs', '{namespace=~"$namespace", pod=~"$pod", container=~"$container"}'),
], { tags: ['kubernetes'] });

// ---- API server

const A = `${C}, job="apiserver"`;
const short = `${A}, subresource!~"proxy|attach|log|exec|portforward", verb!~"WATCH|CONNECT"`;
dashboard('obs-apiserver', 'Kubernetes / API server', 'Requests, errors, latency and budget of the API server.', [cluster('apiserver_request_total')], [
  stat('Up', `sum(up{${A}})`),
  stat('Requests', `sum(rate(apiserver_request_total{${A}}${R}))`, { unit: 'reqps' }),
  stat('Errors', `sum(rate(apiserver_request_total{${A}, code=~"5.."}${R})) / sum(rate(apiserver_request_total{${A}}${R}))`, { unit: 'percentunit', decimals: 3, steps: [['green', null], ['red', 0.001]] }),
  stat('99th percentile', quantile(0.99, 'apiserver_request_sli_duration_seconds_bucket', '', short), { unit: 's', steps: [['green', null], ['orange', 1]] }),
  stat('In flight', `sum(apiserver_current_inflight_requests{${A}})`),
  stat('Budget left, 30 days', `min(slo:period_error_budget_remaining:ratio{sloth_id="kubernetes-api-availability", ${C}})`, { unit: 'percentunit', steps: [['red', null], ['orange', 0.1], ['green', 0.3]], links: [{ title: 'Objective', url: '/d/obs-slo?var-slo=kubernetes-api-availability' }] }),
  row('Requests'),
  graph('By code', [[`sum by (code) (rate(apiserver_request_total{${A}}${R}))`, '{{code}}']], { unit: 'reqps', stack: true }),
  graph('By verb', [[`sum by (verb) (rate(apiserver_request_total{${A}}${R}))`, '{{verb}}']], { unit: 'reqps', stack: true }),
  graph('Errors by resource', [[`topk(10, sum by (resource) (rate(apiserver_request_total{${A}, code=~"5.."}${R})))`, '{{resource}}']], { unit: 'reqps' }),
  graph('Latency of reads, 99th percentile', [[quantile(0.99, 'apiserver_request_sli_duration_seconds_bucket', 'resource', `${short}, verb=~"GET|LIST"`), '{{resource}}']], { w: 12, unit: 's' }),
  graph('Latency of writes, 99th percentile', [[quantile(0.99, 'apiserver_request_sli_duration_seconds_bucket', 'resource', `${short}, verb=~"POST|PUT|PATCH|DELETE"`), '{{resource}}']], { w: 12, unit: 's' }),
  row('Inside'),
  graph('Work queues: depth', [[`topk(10, sum by (name) (workqueue_depth{${A}}))`, '{{name}}']]),
  graph('Work queues: time, 99th percentile', [[`topk(10, ${quantile(0.99, 'workqueue_queue_duration_seconds_bucket', 'name', A)})`, '{{name}}']], { unit: 's' }),
  graph('etcd, 99th percentile', [[quantile(0.99, 'etcd_request_duration_seconds_bucket', 'operation', C), '{{operation}}']], { unit: 's' }),
  graph('Refused or given up', [[`sum by (priority_level) (rate(apiserver_flowcontrol_rejected_requests_total{${A}}${R}))`, 'refused: {{priority_level}}'], [`sum(rate(apiserver_request_terminations_total{${A}}${R}))`, 'given up']], { unit: 'reqps' }),
  graph('Memory', [[`process_resident_memory_bytes{${A}}`, '{{instance}}']], { unit: 'bytes' }),
  graph('CPU', [[`rate(process_cpu_seconds_total{${A}}${R})`, '{{instance}}']], { unit: 'cores' }),
], { tags: ['kubernetes'] });

// ---- kubelet

const KU = `${C}, job="kubelet", node=~"$node"`;
dashboard('obs-kubelet', 'Kubernetes / Kubelet', 'Kubelets: pods, runtime, volumes, certificates.', [
  cluster('kubelet_running_pods'), variable('node', 'Node', `label_values(kubelet_running_pods{${C}}, node)`, { all: true, multi: true }),
], [
  stat('Up', `sum(up{${C}, job="kubelet", metrics_path!~"/metrics/.+"})`),
  stat('Pods', `sum(kubelet_running_pods{${KU}})`),
  stat('Containers', `sum(kubelet_running_containers{${KU}, container_state="running"})`),
  stat('Volumes', `sum(volume_manager_total_volumes{${KU}, state="actual_state_of_world"})`),
  stat('Evictions, last hour', `sum(increase(kubelet_evictions{${KU}}[1h])) or vector(0)`, { decimals: 0, steps: bad }),
  stat('First certificate ends', `min(kubelet_certificate_manager_client_ttl_seconds{${KU}})`, { unit: 's', steps: [['red', null], ['orange', 86400], ['green', 604800]] }),
  row('Runtime'),
  graph('Operations', [[`sum by (operation_type) (rate(kubelet_runtime_operations_total{${KU}}${R}))`, '{{operation_type}}']], { unit: 'ops' }),
  graph('Operations that fail', [[`sum by (operation_type) (rate(kubelet_runtime_operations_errors_total{${KU}}${R}))`, '{{operation_type}}']], { unit: 'ops' }),
  graph('Time of operations, 99th percentile', [[quantile(0.99, 'kubelet_runtime_operations_duration_seconds_bucket', 'operation_type', KU), '{{operation_type}}']], { unit: 's' }),
  row('Pods'),
  graph('Start, 99th percentile', [[quantile(0.99, 'kubelet_pod_start_sli_duration_seconds_bucket', 'node', KU), '{{node}}']], { unit: 's', steps: [['green', null], ['red', 5]] }),
  graph('Worker, 99th percentile', [[quantile(0.99, 'kubelet_pod_worker_duration_seconds_bucket', 'operation_type', KU), '{{operation_type}}']], { unit: 's' }),
  graph('Relist (PLEG), 99th percentile', [[quantile(0.99, 'kubelet_pleg_relist_duration_seconds_bucket', 'node', KU), '{{node}}']], { unit: 's', steps: [['green', null], ['red', 10]] }),
  row('Storage, API server, process'),
  graph('Storage operations that fail', [[`sum by (operation_name, volume_plugin) (rate(storage_operation_duration_seconds_count{${KU}, status!="success"}${R}))`, '{{volume_plugin}} {{operation_name}}']], { unit: 'ops' }),
  graph('Requests to the API server', [[`sum by (code) (rate(rest_client_requests_total{${KU}}${R}))`, '{{code}}']], { unit: 'reqps' }),
  graph('Memory', [[`process_resident_memory_bytes{${KU}}`, '{{node}}']], { unit: 'bytes' }),
], { tags: ['kubernetes'] });

// ---- CoreDNS

const DN = `${C}, instance=~"$instance"`;
dashboard('obs-coredns', 'Kubernetes / CoreDNS', 'Questions, answers, latency and cache of CoreDNS.', [
  cluster('coredns_build_info'), variable('instance', 'Instance', `label_values(coredns_build_info{${C}}, instance)`, { all: true, multi: true }),
], [
  stat('Up', `count(coredns_build_info{${DN}})`),
  stat('Questions', `sum(rate(coredns_dns_requests_total{${DN}}${R}))`, { unit: 'reqps' }),
  stat('SERVFAIL', `sum(rate(coredns_dns_responses_total{${DN}, rcode="SERVFAIL"}${R})) / sum(rate(coredns_dns_responses_total{${DN}}${R}))`, { unit: 'percentunit', steps: [['green', null], ['red', 0.01]], none: '0' }),
  stat('99th percentile', quantile(0.99, 'coredns_dns_request_duration_seconds_bucket', '', DN), { unit: 's', steps: [['green', null], ['orange', 0.5], ['red', 4]] }),
  gauge('From the cache', `sum(rate(coredns_cache_hits_total{${DN}}${R})) / (sum(rate(coredns_cache_hits_total{${DN}}${R})) + sum(rate(coredns_cache_misses_total{${DN}}${R})))`, { steps: [['orange', null], ['green', 0.5]] }),
  stat('Panics', `sum(coredns_panics_total{${DN}})`, { steps: bad }),
  row('Questions and answers'),
  graph('By type', [[`sum by (type) (rate(coredns_dns_requests_total{${DN}}${R}))`, '{{type}}']], { unit: 'reqps', stack: true }),
  graph('By zone', [[`sum by (zone) (rate(coredns_dns_requests_total{${DN}}${R}))`, '{{zone}}']], { unit: 'reqps', stack: true }),
  graph('By answer', [[`sum by (rcode) (rate(coredns_dns_responses_total{${DN}}${R}))`, '{{rcode}}']], { unit: 'reqps', stack: true }),
  graph('Latency', [[quantile(0.5, 'coredns_dns_request_duration_seconds_bucket', '', DN), 'median'], [quantile(0.9, 'coredns_dns_request_duration_seconds_bucket', '', DN), '90%'], [quantile(0.99, 'coredns_dns_request_duration_seconds_bucket', '', DN), '99%']], { unit: 's' }),
  graph('Forwarded, 99th percentile', [[quantile(0.99, 'coredns_forward_request_duration_seconds_bucket', 'to', DN), '{{to}}']], { unit: 's' }),
  graph('Forwarded, by answer', [[`sum by (to, rcode) (rate(coredns_forward_responses_total{${DN}}${R}))`, '{{to}} {{rcode}}']], { unit: 'reqps' }),
  graph('Cache', [[`sum by (type) (coredns_cache_entries{${DN}})`, '{{type}}']]),
  graph('Memory', [[`process_resident_memory_bytes{${C}, job=~"coredns|kube-dns"}`, '{{instance}}']], { unit: 'bytes' }),
  graph('CPU', [[`rate(process_cpu_seconds_total{${C}, job=~"coredns|kube-dns"}${R})`, '{{instance}}']], { unit: 'cores' }),
], { tags: ['kubernetes'] });

// ---- logs

const lines = '{service_name=~"$service"}';
dashboard('obs-logs', 'Logs', 'Lines of all services: how many, which levels, what they say.', [
  source('loki', 'loki', 'Logs'),
  variable('service', 'Service', 'label_values(service_name)', { datasource: loki, all: true, multi: true, allValue: '.+' }),
  custom('level', 'Level', ['.*', 'debug', 'info', 'warn', 'error', 'fatal'], '.*'),
  textbox('search', 'Search'),
], [
  logGraph('Lines by level', [[`sum by (detected_level) (count_over_time(${lines} | detected_level=~"$level" |~ "$search" [$__auto]))`, '{{detected_level}}']], { w: 16, h: 8, levels: true }),
  logGraph('Bytes by service', [[`topk(10, sum by (service_name) (bytes_over_time(${lines} [$__auto])))`, '{{service_name}}']], { w: 8, h: 8, unit: 'bytes' }),
  logGraph('Errors by service', [[`topk(10, sum by (service_name) (count_over_time(${lines} | detected_level=~"error|fatal|critical" [$__auto])))`, '{{service_name}}']], { w: 12, h: 7 }),
  logGraph('Lines by service', [[`topk(10, sum by (service_name) (count_over_time(${lines} [$__auto])))`, '{{service_name}}']], { w: 12, h: 7 }),
  logs('Logs', `${lines} | detected_level=~"$level" |~ "$search"`, { h: 16, lines: 500 }),
], { tags: ['logs'] });

// ---- services

const S = 'service=~"$service", span_kind=~"SPAN_KIND_SERVER|SPAN_KIND_CONSUMER"';
const calls = (by, s = '') => `sum by (${by}) (rate(traces_spanmetrics_calls_total{${S}${s}}${R}))`;
const failed = ', status_code="STATUS_CODE_ERROR"';
dashboard('obs-services', 'Services (RED)', 'Rate, errors and duration of services, from their spans.', [
  source('tempo', 'tempo', 'Traces'), source('loki', 'loki', 'Logs'),
  variable('service', 'Service', 'label_values(traces_spanmetrics_calls_total, service)', { all: true, multi: true, allValue: '.+' }),
], [
  stat('Requests', `sum(rate(traces_spanmetrics_calls_total{${S}}${R}))`, { w: 6, unit: 'reqps' }),
  stat('Errors', `sum(rate(traces_spanmetrics_calls_total{${S}${failed}}${R})) / sum(rate(traces_spanmetrics_calls_total{${S}}${R})) or vector(0)`, { w: 6, unit: 'percentunit', steps: [['green', null], ['orange', 0.01], ['red', 0.05]] }),
  stat('Median', quantile(0.5, 'traces_spanmetrics_latency_bucket', '', S), { w: 6, unit: 's' }),
  stat('99th percentile', quantile(0.99, 'traces_spanmetrics_latency_bucket', '', S), { w: 6, unit: 's' }),
  graph('Rate', [[calls('service'), '{{service}}']], { unit: 'reqps', exemplars: true }),
  graph('Errors', [[`${calls('service', failed)} / ${calls('service')}`, '{{service}}']], { unit: 'percentunit', exemplars: true }),
  graph('Duration, 95th percentile', [[quantile(0.95, 'traces_spanmetrics_latency_bucket', 'service', S), '{{service}}']], { unit: 's', exemplars: true }),
  heatmap('Durations', `sum by (le) (increase(traces_spanmetrics_latency_bucket{${S}}${R}))`, { w: 24 }),
  table('Operations', { service: ['Service', to('obs-services', { service: field('Service') })], span_name: ['Operation'] }, [
    [calls('service, span_name'), 'Rate', 'reqps'],
    [`${calls('service, span_name', failed)} / ${calls('service, span_name')}`, 'Errors', 'percentunit', [['green', null], ['red', 0.01]]],
    [quantile(0.5, 'traces_spanmetrics_latency_bucket', 'service, span_name', S), 'Median', 's'],
    [quantile(0.99, 'traces_spanmetrics_latency_bucket', 'service, span_name', S), '99%', 's'],
  ], { sort: 'Rate' }),
  row('Look closer'),
  traces('Failed traces', '{ resource.service.name =~ "$service" && status = error }', { w: 12 }),
  traces('Slow traces', '{ resource.service.name =~ "$service" && kind = server && duration > 500ms }', { w: 12 }),
  logs('Errors in logs', '{service_name=~"$service"} | detected_level=~"error|fatal|critical"'),
], { tags: ['traces'] });

// ---- service graph

const G = 'client=~"$client", server=~"$server"';
dashboard('obs-service-graph', 'Service graph', 'Who calls whom, how often, how well and how fast.', [
  source('tempo', 'tempo', 'Traces'),
  variable('client', 'Caller', 'label_values(traces_service_graph_request_total, client)', { all: true, multi: true }),
  variable('server', 'Called', 'label_values(traces_service_graph_request_total, server)', { all: true, multi: true }),
], [
  panel('nodeGraph', 'Services', 24, 14, {
    datasource: tempo, targets: [{ refId: 'A', datasource: tempo, queryType: 'serviceMap', serviceMapQuery: '' }],
    fieldConfig: { defaults: {}, overrides: [] }, options: { nodes: {}, edges: {} },
  }),
  table('Calls', { client: ['Caller', to('obs-services', { service: field('Caller') })], server: ['Called', to('obs-services', { service: field('Called') })], connection_type: ['Kind'] }, [
    [`sum by (client, server, connection_type) (rate(traces_service_graph_request_total{${G}}${R}))`, 'Rate', 'reqps'],
    [`sum by (client, server, connection_type) (rate(traces_service_graph_request_failed_total{${G}}${R})) / sum by (client, server, connection_type) (rate(traces_service_graph_request_total{${G}}${R}))`, 'Errors', 'percentunit', [['green', null], ['red', 0.01]]],
    [quantile(0.95, 'traces_service_graph_request_server_seconds_bucket', 'client, server, connection_type', G), '95%', 's'],
  ], { sort: 'Rate' }),
  graph('Rate', [[`sum by (client, server) (rate(traces_service_graph_request_total{${G}}${R}))`, '{{client}} → {{server}}']], { unit: 'reqps' }),
  graph('Failed', [[`sum by (client, server) (rate(traces_service_graph_request_failed_total{${G}}${R}))`, '{{client}} → {{server}}']], { unit: 'reqps' }),
  graph('95th percentile, seen by the called', [[quantile(0.95, 'traces_service_graph_request_server_seconds_bucket', 'client, server', G), '{{client}} → {{server}}']], { unit: 's' }),
], { tags: ['traces'] });

// ---- alerts

const AL = 'severity=~"$severity", alertname=~"$alertname"';
dashboard('obs-alerts', 'Alerts', 'What fires, what fired, and whether somebody is told.', [
  variable('severity', 'Severity', 'label_values(ALERTS, severity)', { all: true, multi: true }),
  variable('alertname', 'Alert', 'label_values(ALERTS{severity=~"$severity"}, alertname)', { all: true, multi: true }),
], [
  stat('Critical', 'count(ALERTS{alertstate="firing", severity="critical"}) or vector(0)', { w: 6, steps: bad }),
  stat('Warning', 'count(ALERTS{alertstate="firing", severity="warning"}) or vector(0)', { w: 6, steps: [['green', null], ['orange', 1]] }),
  stat('Pending', 'count(ALERTS{alertstate="pending"}) or vector(0)', { w: 6 }),
  stat('Notifications failed, last hour', 'sum(increase(alertmanager_notifications_failed_total[1h])) or vector(0)', { w: 6, decimals: 0, steps: bad }),
  panel('table', 'Firing', 24, 10, {
    targets: targets([[`ALERTS{alertstate="firing", ${AL}}`, '']], { format: 'table', instant: true, range: false }),
    transformations: [{ id: 'organize', options: { excludeByName: { Time: true, Value: true, __name__: true, alertstate: true }, indexByName: { alertname: 0, severity: 1 }, renameByName: {} } }],
    fieldConfig: { defaults: { custom: { align: 'auto', cellOptions: { type: 'auto' } } }, overrides: [{ matcher: { id: 'byName', options: 'alertname' }, properties: [{ id: 'links', value: [{ title: 'Runbook', url: '/runbooks/${__value.raw}' }] }] }] },
    options: { showHeader: true, cellHeight: 'sm', footer: { show: false, reducer: ['sum'], fields: '' } },
  }),
  graph('Firing by name', [[`count by (alertname) (ALERTS{alertstate="firing", ${AL}})`, '{{alertname}}']], { w: 24, stack: true }),
  panel('state-timeline', 'When', 24, 12, {
    targets: targets([[`max by (alertname) (ALERTS{alertstate="firing", ${AL}})`, '{{alertname}}']]),
    fieldConfig: { defaults: { color: { mode: 'fixed', fixedColor: 'red' }, custom: { fillOpacity: 80, lineWidth: 0 }, mappings: [{ type: 'value', options: { 1: { text: 'firing', color: 'red', index: 0 } } }] }, overrides: [] },
    options: { mergeValues: true, showValue: 'never', alignValue: 'left', rowHeight: 0.8, legend: { displayMode: 'list', placement: 'bottom', showLegend: false }, tooltip: { mode: 'single', sort: 'none' } },
  }),
  row('Notifications and rules'),
  graph('Notifications', [['sum by (integration) (rate(alertmanager_notifications_total[5m]))', '{{integration}}'], ['sum by (integration) (rate(alertmanager_notifications_failed_total[5m]))', '{{integration}} failed']], { unit: 'ops' }),
  graph('Evaluations that fail', [[`sum(rate(prometheus_rule_evaluation_failures_total${R}))`, 'failed']], { unit: 'ops' }),
  graph('Longest evaluations', [['topk(10, prometheus_rule_group_last_duration_seconds)', '{{rule_group}}']], { unit: 's' }),
], { tags: ['alerts'], from: 'now-6h' });

// ---- SLO

const O = 'sloth_id=~"$slo"';
dashboard('obs-slo', 'SLO', 'Objectives, what is left of their budgets, and how fast it goes.', [
  variable('service', 'Service', 'label_values(sloth_slo_info, sloth_service)', { all: true, multi: true }),
  variable('slo', 'Objective', 'label_values(sloth_slo_info{sloth_service=~"$service"}, sloth_id)', { all: true, multi: true }),
], [
  stat('Objectives', `count(sloth_slo_info{${O}})`, { w: 6 }),
  stat('Budgets used up', `count(slo:period_error_budget_remaining:ratio{${O}} < 0) or vector(0)`, { w: 6, steps: bad }),
  stat('Least budget left', `min(slo:period_error_budget_remaining:ratio{${O}})`, { w: 6, unit: 'percentunit', steps: [['red', null], ['orange', 0.1], ['green', 0.3]] }),
  stat('Fastest burn rate now', `max(slo:current_burn_rate:ratio{${O}})`, { w: 6, decimals: 2, steps: [['green', null], ['orange', 1], ['red', 14.4]] }),
  table('Objectives', { sloth_service: ['Service'], sloth_slo: ['Objective'], sloth_id: ['Id'] }, [
    [`max by (sloth_service, sloth_slo, sloth_id) (slo:objective:ratio{${O}})`, 'Target', 'percentunit'],
    [`max by (sloth_service, sloth_slo, sloth_id) (slo:time_period:days{${O}})`, 'Days'],
    [`1 - max by (sloth_service, sloth_slo, sloth_id) (slo:period_burn_rate:ratio{${O}} * on (sloth_id) group_left () slo:error_budget:ratio{${O}})`, 'Good events', 'percentunit'],
    [`min by (sloth_service, sloth_slo, sloth_id) (slo:period_error_budget_remaining:ratio{${O}})`, 'Budget left', 'percentunit', [['red', null], ['orange', 0.1], ['green', 0.3]]],
    [`max by (sloth_service, sloth_slo, sloth_id) (slo:current_burn_rate:ratio{${O}})`, 'Burn rate', 'short', [['green', null], ['orange', 1], ['red', 14.4]]],
  ], { sort: 'Burn rate' }),
  graph('Budget left', [[`min by (sloth_id) (slo:period_error_budget_remaining:ratio{${O}})`, '{{sloth_id}}']], { w: 12, unit: 'percentunit', min: null, max: 1, steps: [['red', null], ['green', 0]] }),
  graph('Burn rate', [[`max by (sloth_id) (slo:current_burn_rate:ratio{${O}})`, '{{sloth_id}}']], { w: 12, steps: [['green', null], ['orange', 1], ['red', 14.4]] }),
  graph('Share of failures by window', [[`max by (sloth_id, sloth_window) ({__name__=~"slo:sli_error:ratio_rate.+", ${O}})`, '{{sloth_id}} {{sloth_window}}']], { w: 24, unit: 'percentunit' }),
], { tags: ['slo'], from: 'now-7d' });

// ---- cost

const NS = 'namespace=~"$namespace"';
const node_price = (metric) => `on (node) group_left () max by (node) (${metric})`;
const cpu_cost = `container_cpu_allocation{${NS}} * ${node_price('node_cpu_hourly_cost')}`;
const ram_cost = `container_memory_allocation_bytes{${NS}} / 2^30 * ${node_price('node_ram_hourly_cost')}`;
const gpu_cost = `container_gpu_allocation{${NS}} * ${node_price('node_gpu_hourly_cost')}`;
const volume_cost = `pod_pvc_allocation{${NS}} / 2^30 * on (persistentvolume) group_left () max by (persistentvolume) (pv_hourly_cost)`;
const by_namespace = (cost) => `sum by (namespace) (${cost}) * 730`;
const usd = { unit: 'currencyUSD', decimals: 2 };
dashboard('obs-cost', 'Cost', 'What nodes cost, who is charged for them, and what is idle, at the prices of obs.cost.', [
  variable('namespace', 'Namespace', 'label_values(container_cpu_allocation, namespace)', { all: true, multi: true }),
], [
  stat('Nodes, a month', 'sum(node_total_hourly_cost) * 730', { ...usd, w: 6 }),
  stat('Charged for CPU and memory, a month', `sum((${cpu_cost}) + on (namespace, pod, container, node) group_left () (${ram_cost})) * 730`, { ...usd, w: 6 }),
  stat('Volumes, a month', `sum(${volume_cost}) * 730`, { ...usd, w: 6 }),
  stat('Load balancers, a month', 'sum(kubecost_load_balancer_cost) * 730', { ...usd, w: 6 }),
  table('By namespace, dollars a month', { namespace: ['Namespace', to('obs-namespaces', { namespace: field('Namespace') })] }, [
    [by_namespace(cpu_cost), 'CPU', 'currencyUSD'],
    [by_namespace(ram_cost), 'Memory', 'currencyUSD'],
    [by_namespace(gpu_cost), 'GPU', 'currencyUSD'],
    [by_namespace(volume_cost), 'Volumes', 'currencyUSD'],
  ], { sort: 'CPU' }),
  graph('CPU, dollars a month', [[by_namespace(cpu_cost), '{{namespace}}']], { ...usd, w: 12, stack: true }),
  graph('Memory, dollars a month', [[by_namespace(ram_cost), '{{namespace}}']], { ...usd, w: 12, stack: true }),
  graph('Nodes, dollars an hour', [['max by (node, instance_type) (node_total_hourly_cost)', '{{node}} {{instance_type}}']], { ...usd, w: 12, stack: true }),
  graph('Spot nodes', [['sum(kubecost_node_is_spot)', 'spot'], ['count(kubecost_node_is_spot)', 'all']], { w: 12 }),
], { tags: ['kubernetes', 'cost'], from: 'now-24h' });

// ---- obs itself

const X = 'instance=~"$instance"';
dashboard('obs-self', 'obs itself', 'What obs takes in, keeps, answers and sends, and what it costs.', [
  variable('instance', 'Instance', 'label_values(obs_build_info, instance)', { all: true, multi: true }),
], [
  stat('Version', `obs_build_info{${X}}`, { legend: '{{version}}' }),
  stat('Running for', `min(obs_uptime_seconds{${X}})`, { unit: 's' }),
  stat('Memory', `sum(process_resident_memory_bytes{job="obs", ${X}})`, { unit: 'bytes' }),
  stat('CPU', `sum(rate(process_cpu_seconds_total{job="obs", ${X}}${R}))`, { unit: 'cores', decimals: 2 }),
  stat('On disk', `sum(obs_store_part_bytes{${X}}) + sum(obs_store_journal_bytes{${X}})`, { unit: 'bytes' }),
  stat('Something is wrong', `sum(obs_store_poisoned{${X}}) + sum(obs_store_quarantined{${X}})`, { steps: bad }),
  row('Taken in'),
  graph('Samples, lines, spans', [[`sum by (signal) (rate(obs_sink_items_total{${X}}${R}))`, '{{signal}}']], { unit: 'ops' }),
  graph('Requests', [[`sum by (protocol) (rate(obs_receive_requests_total{${X}}${R}))`, '{{protocol}}']], { unit: 'reqps' }),
  graph('Bytes', [[`sum by (protocol) (rate(obs_receive_bytes_total{${X}}${R}))`, '{{protocol}}']], { unit: 'Bps' }),
  graph('Refused or failed', [[`sum by (signal) (rate(obs_sink_items_refused_total{${X}}${R}))`, '{{signal}} refused'], [`sum by (signal) (rate(obs_sink_full_total{${X}}${R}))`, '{{signal}} busy'], [`sum by (signal) (rate(obs_sink_failed_total{${X}}${R}))`, '{{signal}} failed'], [`sum by (protocol) (rate(obs_receive_refused_total{${X}}${R}))`, '{{protocol}} refused']], { unit: 'ops' }),
  graph('Queues before the stores', [[`max by (signal) (obs_sink_queue_depth{${X}} / obs_sink_queue_bound{${X}})`, '{{signal}}']], { unit: 'percentunit', max: 1, steps: used }),
  graph('Targets', [[`count by (job) (up{} == 1)`, '{{job}} up'], [`count by (job) (up{} == 0)`, '{{job}} down']], {}),
  graph('Scrapes, 95th percentile', [[quantile(0.95, 'obs_scrape_duration_seconds_bucket', '', X), 'seconds']], { unit: 's' }),
  graph('Lines from files', [[`sum(rate(obs_tail_lines_total{${X}}${R}))`, 'lines'], [`sum(rate(obs_tail_faults_total{${X}}${R}))`, 'faults']], { unit: 'ops' }),
  graph('Forwarded: what waits', [[`max by (destination) (obs_ship_queue_bytes{${X}})`, '{{destination}}']], { unit: 'bytes' }),
  row('Kept'),
  graph('Parts', [[`sum by (store) (obs_store_part_bytes{${X}})`, '{{store}}']], { unit: 'bytes', stack: true }),
  graph('Rows', [[`sum by (store) (obs_store_part_rows{${X}})`, '{{store}}']], { log: true, min: null }),
  graph('Bytes a row', [[`sum by (store) (obs_store_part_bytes{${X}}) / (sum by (store) (obs_store_part_rows{${X}}) > 0)`, '{{store}}']], { unit: 'bytes' }),
  graph('Memory of the stores', [[`sum by (store) (obs_store_active_bytes{${X}} + obs_store_sealed_bytes{${X}})`, '{{store}}']], { unit: 'bytes', stack: true }),
  graph('Journal', [[`sum by (store) (obs_store_journal_bytes{${X}})`, '{{store}}']], { unit: 'bytes', stack: true }),
  graph('Upkeep', [[`sum(rate(obs_store_flushes_total{${X}}${R}))`, 'flushes'], [`sum(rate(obs_store_merges_total{${X}}${R}))`, 'merges'], [`sum(rate(obs_store_drops_total{${X}}${R}))`, 'removals'], [`sum(rate(obs_store_failed_jobs_total{${X}}${R}))`, 'failed']], { unit: 'ops' }),
  row('Answered and told'),
  graph('Queries', [[`sum by (outcome) (rate(obs_queries_total{${X}}${R}))`, '{{outcome}}']], { unit: 'reqps' }),
  graph('Read by queries', [[`sum(rate(obs_query_samples_total{${X}}${R}))`, 'samples, lines, spans']], { unit: 'ops' }),
  graph('Steps from the cache', [[`sum(rate(obs_query_cache_steps_total{${X}, from="cache"}${R})) / sum(rate(obs_query_cache_steps_total{${X}}${R}))`, 'share']], { unit: 'percentunit', max: 1 }),
  graph('Rules', [[`sum(rate(prometheus_rule_evaluations_total{${X}}${R}))`, 'evaluations'], [`sum(rate(prometheus_rule_evaluation_failures_total{${X}}${R}))`, 'failed'], [`sum(rate(prometheus_rule_group_iterations_missed_total{${X}}${R}))`, 'left out']], { unit: 'ops' }),
  graph('Notifications', [[`sum by (integration) (rate(alertmanager_notifications_total{${X}}${R}))`, '{{integration}}'], [`sum by (integration) (rate(alertmanager_notifications_failed_total{${X}}${R}))`, '{{integration}} failed']], { unit: 'ops' }),
  graph('Process', [[`process_open_fds{job="obs", ${X}}`, '{{instance}} files'], [`process_threads{job="obs", ${X}}`, '{{instance}} threads']], {}),
], { tags: ['obs'] });
