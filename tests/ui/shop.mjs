// An hour in the life of a small shop in a cluster of three nodes, for pictures and for looking at the pages:
// metrics, logs and traces that fit together, with one thing wrong in each. The same numbers every time.

import { post } from './harness.mjs';

export const RULES = `
groups:
- name: shop
  interval: 1s
  rules:
  - {record: 'service:requests:rate5m', expr: 'sum by (service) (rate(traces_spanmetrics_calls_total[5m]))'}
  - alert: NodeMemoryNearlyFull
    expr: 1 - node_memory_MemAvailable_bytes / node_memory_MemTotal_bytes > 0.9
    labels: {severity: critical}
    annotations: {summary: 'The memory of {{ $labels.instance }} is {{ $value | humanizePercentage }} full', runbook_url: 'https://example.org/runbooks/memory'}
  - alert: PodCrashLooping
    expr: kube_pod_container_status_waiting_reason{reason="CrashLoopBackOff"} == 1
    labels: {severity: warning}
    annotations: {summary: '{{ $labels.namespace }}/{{ $labels.pod }} starts again and again'}
  - alert: PaymentsFail
    expr: sum by (service) (rate(traces_spanmetrics_calls_total{service="payment", status_code="STATUS_CODE_ERROR"}[5m])) / sum by (service) (rate(traces_spanmetrics_calls_total{service="payment"}[5m])) > 0.05
    for: 10m
    labels: {severity: critical}
    annotations: {summary: '{{ $value | humanizePercentage }} of the payments fail', description: 'Look at the **traces** of \`payment\` first.'}
  - alert: DiskFillsInADay
    expr: predict_linear(node_filesystem_avail_bytes[1h], 86400) < 0
    labels: {severity: warning}
    annotations: {summary: 'The disk of {{ $labels.instance }} is full within a day'}
`;

export const ALERTMANAGER = `
    route:
      receiver: team
      group_by: [alertname]
      group_wait: 1s
      routes:
      - {matchers: ['severity = critical'], receiver: on-call, group_by: [alertname, instance]}
      - {matchers: ['severity = warning'], receiver: team}
    receivers:
    - {name: team}
    - {name: on-call}
`;

const STEP = 15;
const AHEAD = 180;
const text = (key, value) => ({ key, value: { stringValue: `${value}` } });
const attributes = (labels) => Object.entries(labels).map(([key, value]) => text(key, value));

/** Numbers that look like chance and are the same every time. */
function dice(seed) {
  let state = seed;
  return () => {
    state = (state * 1_664_525 + 1_013_904_223) % 4_294_967_296;
    return state / 4_294_967_296;
  };
}

const wave = (at, period, phase = 0) => (1 + Math.sin((at / period) * 2 * Math.PI + phase)) / 2;

const NODES = ['node-a', 'node-b', 'node-c'];
const WORKLOADS = [
  ['shop', 'frontend', 'Deployment', 3], ['shop', 'cart', 'Deployment', 2], ['shop', 'checkout', 'Deployment', 2], ['shop', 'payment', 'Deployment', 2], ['shop', 'recommendation', 'Deployment', 1],
  ['shop', 'postgres', 'StatefulSet', 1], ['monitoring', 'obs', 'StatefulSet', 1], ['monitoring', 'obs-agent', 'DaemonSet', 3], ['kube-system', 'coredns', 'Deployment', 2], ['kube-system', 'kube-proxy', 'DaemonSet', 3],
];

function podsOf() {
  let n = 0;
  return WORKLOADS.flatMap(([namespace, workload, kind, count]) => Array.from({ length: count }, (_, i) => {
    const node = NODES[n++ % 3];
    const set = kind === 'Deployment' ? `${workload}-7d9f8c6b5` : workload;
    return { namespace, workload, kind, node, set, pod: kind === 'StatefulSet' ? `${workload}-${i}` : `${set}-${'x4k2p'.slice(i)}${'9zq7b'.slice(0, i)}` };
  }));
}

const PODS = podsOf();
const bad = ({ workload }) => workload === 'recommendation';

/** name, kind (gauge or sum), labels and the value at a time. */
function* series(from) {
  const gauge = (name, labels, value) => ({ name, labels, value, sum: false });
  const sum = (name, labels, rate) => ({ name, labels, sum: true, rate });
  for (const [i, node] of NODES.entries()) {
    const instance = { instance: `${node}:9100`, job: 'node' };
    const busy = (at) => 0.15 + 0.25 * i + 0.2 * wave(at, 900, i);
    for (let cpu = 0; cpu < 4; cpu += 1) {
      yield sum('node_cpu_seconds', { ...instance, cpu, mode: 'idle' }, (at) => 1 - busy(at));
      yield sum('node_cpu_seconds', { ...instance, cpu, mode: 'user' }, (at) => busy(at) * 0.7);
      yield sum('node_cpu_seconds', { ...instance, cpu, mode: 'system' }, (at) => busy(at) * 0.25);
      yield sum('node_cpu_seconds', { ...instance, cpu, mode: 'iowait' }, (at) => busy(at) * 0.05);
    }
    const memory = 16 * 2 ** 30;
    yield gauge('node_memory_MemTotal_bytes', instance, () => memory);
    yield gauge('node_memory_MemAvailable_bytes', instance, (at) => memory * (i === 2 ? 0.06 + 0.02 * wave(at, 700) : 0.45 + 0.1 * wave(at, 1100, i)));
    yield gauge('node_filesystem_size_bytes', { ...instance, mountpoint: '/', device: '/dev/vda1', fstype: 'ext4' }, () => 100 * 2 ** 30);
    yield gauge('node_filesystem_avail_bytes', { ...instance, mountpoint: '/', device: '/dev/vda1', fstype: 'ext4' }, (at) => 2 ** 30 * (i === 1 ? 12 - (at - from) / 600 : 60));
    yield gauge('node_load1', instance, (at) => 4 * busy(at));
    for (const way of ['receive', 'transmit']) yield sum(`node_network_${way}_bytes`, { ...instance, device: 'eth0' }, (at) => 2e6 * (1 + i) * (0.5 + wave(at, 1200, i)));
    yield gauge('kube_node_info', { node, kubelet_version: 'v1.34.2', os_image: 'Debian GNU/Linux 12' }, () => 1);
    yield gauge('kube_node_status_condition', { node, condition: 'Ready', status: 'true' }, () => 1);
    if (i === 2) yield gauge('kube_node_status_condition', { node, condition: 'MemoryPressure', status: 'true' }, () => 1);
    for (const [resource, room] of [['cpu', 4], ['memory', memory], ['pods', 110]]) yield gauge('kube_node_status_allocatable', { node, resource }, () => room);
  }
  for (const [i, one] of PODS.entries()) {
    const { namespace, pod, node, set, kind } = one;
    const of = { namespace, pod };
    yield gauge('kube_pod_info', { ...of, node }, () => 1);
    yield gauge('kube_pod_status_phase', { ...of, phase: bad(one) ? 'Pending' : 'Running' }, () => 1);
    yield gauge('kube_pod_owner', { ...of, owner_kind: kind === 'Deployment' ? 'ReplicaSet' : kind, owner_name: set }, () => 1);
    if (kind === 'Deployment') yield gauge('kube_replicaset_owner', { namespace, replicaset: set, owner_kind: 'Deployment', owner_name: one.workload }, () => 1);
    yield gauge('kube_pod_container_status_restarts_total', { ...of, container: one.workload }, (at) => (bad(one) ? Math.floor((at - from) / 300) : i % 7 === 0 ? 1 : 0));
    if (bad(one)) yield gauge('kube_pod_container_status_waiting_reason', { ...of, container: one.workload, reason: 'CrashLoopBackOff' }, () => 1);
    yield gauge('kube_pod_container_info', { ...of, container: one.workload, image: `registry.example/${one.workload}:2.4.1` }, () => 1);
    yield gauge('kube_pod_container_status_running', { ...of, container: one.workload }, () => (bad(one) ? 0 : 1));
    yield gauge('kube_pod_container_status_ready', { ...of, container: one.workload }, () => (bad(one) ? 0 : 1));
    yield gauge('kube_pod_container_resource_requests', { ...of, container: one.workload, resource: 'cpu' }, () => 0.25);
    yield gauge('kube_pod_container_resource_requests', { ...of, container: one.workload, resource: 'memory' }, () => 256 * 2 ** 20);
    yield sum('container_cpu_usage_seconds', { ...of, container: one.workload, node }, (at) => 0.03 + 0.03 * (i % 5) + 0.05 * wave(at, 600 + 40 * i, i));
    yield gauge('container_memory_working_set_bytes', { ...of, container: one.workload, node }, (at) => 2 ** 20 * (60 + 35 * (i % 6) + 25 * wave(at, 1500, i)));
  }
  yield gauge('kube_deployment_status_observed_generation', { namespace: 'shop', deployment: 'payment' }, (at) => (broken(at, from) ? 8 : 7));
  yield gauge('payment_build_info', { job: 'payment', version: '2.4.0' }, (at) => (broken(at, from) ? NaN : 1));
  yield gauge('payment_build_info', { job: 'payment', version: '2.4.1' }, (at) => (broken(at, from) ? 1 : NaN));
  yield* spanSeries(from);
}

const CALLS = [['user', 'frontend', 12], ['frontend', 'cart', 8], ['frontend', 'recommendation', 5], ['frontend', 'checkout', 3], ['checkout', 'payment', 3], ['checkout', 'cart', 3], ['cart', 'postgres', 11], ['payment', 'bank', 3]];
const SECONDS = { frontend: 0.09, cart: 0.03, recommendation: 0.12, checkout: 0.15, payment: 0.11, postgres: 0.006, bank: 0.08 };
const BOUNDS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5];

/** From the middle of the hour on, payments fail more often and take longer. */
const broken = (at, from) => at - from > 2100;

function* spanSeries(from) {
  for (const [client, server, rate] of CALLS) {
    const seconds = (at) => SECONDS[server] * (server === 'payment' && broken(at, from) ? 3 : 1);
    const failing = (at) => (server === 'payment' || server === 'bank' ? (broken(at, from) ? 0.18 : 0.01) : 0.002);
    const now = (at) => rate * (0.8 + 0.4 * wave(at, 1700));
    const edge = { client, server, connection_type: server === 'postgres' ? 'database' : '' };
    yield { name: 'traces_service_graph_request', labels: edge, sum: true, rate: now };
    yield { name: 'traces_service_graph_request_failed', labels: edge, sum: true, rate: (at) => now(at) * failing(at) };
    yield { name: 'traces_service_graph_request_server_seconds_sum', labels: edge, sum: true, rate: (at) => now(at) * seconds(at), bare: true };
    const of = { service: server, span_name: `${server} work`, span_kind: 'SPAN_KIND_SERVER' };
    for (const [status, share] of [['STATUS_CODE_UNSET', (at) => 1 - failing(at)], ['STATUS_CODE_ERROR', failing]]) {
      yield { name: 'traces_spanmetrics_calls', labels: { ...of, client, status_code: status }, sum: true, rate: (at) => now(at) * share(at) };
    }
    for (const le of [...BOUNDS, '+Inf']) {
      const below = (at) => (le === '+Inf' ? 1 : 1 / (1 + (seconds(at) / le) ** 3));
      yield { name: 'traces_spanmetrics_latency_bucket', labels: { ...of, client, status_code: 'STATUS_CODE_UNSET', le }, sum: true, rate: (at) => now(at) * below(at), bare: true };
    }
  }
}

async function metrics(url, from, to) {
  const all = [...series(from)];
  const totals = all.map(() => 0);
  for (let start = from; start < to; start += 600) {
    const times = [];
    for (let at = start; at < Math.min(to, start + 600); at += STEP) times.push(at);
    const made = all.map((one, i) => {
      const dataPoints = times.filter((at) => one.sum || !Number.isNaN(one.value(at))).map((at) => {
        if (one.sum) totals[i] += one.rate(at) * STEP;
        return { timeUnixNano: `${at}000000000`, startTimeUnixNano: `${from - 60}000000000`, asDouble: one.sum ? totals[i] : one.value(at), attributes: attributes(one.labels) };
      });
      const name = one.sum && !one.bare ? `${one.name}_total` : one.name;
      return { name, gauge: { dataPoints } };
    });
    await post(url, '/v1/metrics', { resourceMetrics: [{ resource: { attributes: [] }, scopeMetrics: [{ metrics: made.filter((one) => one.gauge.dataPoints.length > 0) }] }] });
  }
}

const hex = (number, length) => number.toString(16).padStart(length, '0');

/** One purchase: the tree of its spans, with a payment that fails in the second half. */
function purchase(index, at, roll, from) {
  const id = hex(0x5a0b0000 + index, 8).repeat(4);
  let next = 0;
  const spans = [];
  const region = roll() > 0.5 ? 'eu' : 'us';
  const failed = roll() < (broken(at, from) ? 0.3 : 0.02);
  const version = failed || roll() > 0.6 ? '2.4.1' : '2.4.0';
  const span = (service, name, parent, offset, millis, more = {}) => {
    next += 1;
    const spanId = hex(index * 64 + next, 16);
    const start = BigInt(Math.round(at * 1e6 + offset * 1000)) * 1000n;
    const own = { ...more.attributes, 'customer.region': region };
    spans.push({ service, span: { traceId: id, spanId, parentSpanId: parent, name, kind: more.kind ?? 2, startTimeUnixNano: `${start}`, endTimeUnixNano: `${start + BigInt(Math.round(millis * 1e6))}`, attributes: attributes(own), status: more.status, events: more.events?.(start) } });
    return spanId;
  };
  const slow = broken(at, from) ? 3 : 1;
  const pay = (60 + 80 * roll()) * slow;
  const cart = 12 + 20 * roll();
  const root = span('frontend', 'POST /checkout', '', 0, cart + pay + 70, { attributes: { 'http.request.method': 'POST', 'http.route': '/checkout', 'http.response.status_code': failed ? 502 : 200 }, status: failed ? { code: 2 } : undefined });
  const asked = span('frontend', 'cart.Get', root, 4, cart, { kind: 3 });
  const held = span('cart', 'cart.Get', asked, 5, cart - 2);
  span('cart', 'SELECT items', held, 8, cart / 2, { kind: 3, attributes: { 'db.system.name': 'postgresql', 'db.query.text': 'SELECT * FROM items WHERE cart = $1' } });
  const placing = span('checkout', 'PlaceOrder', root, cart + 10, pay + 50, { status: failed ? { code: 2, message: 'payment failed' } : undefined });
  span('checkout', 'reserve stock', placing, cart + 14, 18, { kind: 1 });
  const exception = (start) => [{ name: 'exception', timeUnixNano: `${start + 30_000_000n}`, attributes: attributes({ 'exception.type': 'CardDeclined', 'exception.message': `the bank declined the card of order ${index}`, 'exception.stacktrace': 'CardDeclined: declined\n    at charge (payment/charge.js:41:11)\n    at handle (payment/server.js:17:5)' }) }];
  const paid = span('payment', 'Charge', placing, cart + 36, pay, { attributes: { 'payment.version': version }, status: failed ? { code: 2, message: 'card declined' } : undefined, events: failed ? exception : undefined });
  span('payment', 'POST bank', paid, cart + 40, pay - 8, { kind: 3, attributes: { 'server.address': 'bank.example', 'payment.version': version } });
  return { id, spans, failed, version };
}

async function traces(url, from, to) {
  const roll = dice(7);
  const found = [];
  for (let at = from + 5, index = 1; at < to - 4; at += 14, index += 1) found.push({ at, ...purchase(index, at + roll(), roll, from) });
  for (let i = 0; i < found.length; i += 50) {
    const services = new Map();
    for (const { spans } of found.slice(i, i + 50)) for (const { service, span } of spans) services.set(service, [...(services.get(service) ?? []), span]);
    await post(url, '/v1/traces', { resourceSpans: [...services].map(([service, spans]) => {
      const pod = PODS.find((one) => one.workload === service) ?? PODS[0];
      return { resource: { attributes: attributes({ 'service.name': service, 'k8s.namespace.name': pod.namespace, 'k8s.pod.name': pod.pod, 'k8s.node.name': pod.node }) }, scopeSpans: [{ scope: { name: 'shop' }, spans }] };
    }) });
  }
  return found;
}

async function logs(url, from, to, orders) {
  const roll = dice(11);
  const streams = new Map();
  const say = (service, level, at, line) => {
    const pod = PODS.find((one) => one.workload === service) ?? PODS[0];
    const stream = { service_name: service, namespace: pod.namespace, pod: pod.pod, node: pod.node };
    const key = JSON.stringify(stream);
    if (!streams.has(key)) streams.set(key, { stream, values: [] });
    streams.get(key).values.push([`${BigInt(Math.round(at * 1e6)) * 1000n}`, JSON.stringify({ level, ...line })]);
  };
  for (const { at, id, failed } of orders) {
    say('frontend', 'info', at, { msg: 'request', method: 'POST', path: '/checkout', status: failed ? 502 : 200, took_ms: Math.round(90 + 200 * roll()), trace_id: id });
    say('checkout', failed ? 'warn' : 'info', at + 0.1, { msg: failed ? 'order was not placed' : 'order placed', order: Math.round(roll() * 1e5), trace_id: id });
    say('payment', failed ? 'error' : 'debug', at + 0.2, { msg: failed ? 'card declined' : 'card charged', amount: Math.round(roll() * 9000) / 100, trace_id: id });
  }
  for (let at = from; at < to; at += 4) {
    say('cart', 'debug', at, { msg: 'cache hit', key: `cart:${Math.floor(roll() * 900)}` });
    if (roll() > 0.6) say('frontend', 'info', at + 1, { msg: 'request', method: 'GET', path: `/product/${Math.floor(roll() * 60)}`, status: 200, took_ms: Math.round(8 + 40 * roll()) });
    if (roll() > 0.93) say('cart', 'warn', at + 2, { msg: 'slow query', took_ms: Math.round(200 + 400 * roll()) });
  }
  for (let at = from; at < to; at += 300) say('recommendation', 'error', at, { msg: 'cannot load the model: out of memory' });
  for (const one of streams.values()) {
    one.values.sort(([a], [b]) => (BigInt(a) < BigInt(b) ? -1 : 1));
    await post(url, '/loki/api/v1/push', { streams: [one] });
  }
}

/** Writes the hour before now; gives the orders with the ids of their traces. */
export async function shop(url) {
  const to = Math.floor(Date.now() / 1000);
  const from = to - 3600;
  // A little further than now, so that the newest rates do not fall while the pages are looked at.
  await metrics(url, from - (from % STEP), to + AHEAD);
  const orders = await traces(url, from, to);
  await logs(url, from, to, orders);
  return { from, to, orders };
}
