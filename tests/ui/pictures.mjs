// The pictures of docs/ui: a server with an hour of the small shop, and pages as somebody sees them who looks for
// what is wrong. `OBS_BIN=… node tests/ui/pictures.mjs`; OBS_TEST is a part of the names, OBS_FRONT a module
// that serves ui/dist before the server, where the binary has other pages built in.

import { mkdirSync, mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { demo } from './demo.mjs';
import { browse, DEADLINE, query, stored, until } from './harness.mjs';

const BYTES_MAX = 200_000;

const DARK = { theme: 'dark' };

function pages({ orders }) {
  const failed = orders.findLast((order) => order.failed);
  const explore = (lang, q, more = '') => `/explore?lang=${lang}&q=${query(q)}&from=now-45m${more}`;
  return {
    home: ['/?from=now-45m', { height: 860 }],
    metrics: [explore('promql', 'histogram_quantile(0.95, sum by (service, le) (rate(traces_spanmetrics_latency_bucket[5m])))')],
    explain: [explore('promql', 'sum by (service) (rate(traces_spanmetrics_calls_total{status_code="STATUS_CODE_ERROR"}[5m])) / sum by (service) (rate(traces_spanmetrics_calls_total[5m])) > 0.05', '&view=explain')],
    logs: [explore('logql', '{namespace="shop"} |= "card" | json'), { ...DARK, click: 'ol.lines > li:nth-child(2) button.line' }],
    traces: [explore('traceql', '{ resource.service.name = "frontend" }', '&limit=500'), { height: 640 }],
    differences: [explore('traceql', '{ resource.service.name = "payment" }', '&view=compare')],
    trace: [`/trace/${failed.id}`, { click: 'ol.waterfall > li:nth-child(7) button.span' }],
    services: ['/service-map?from=now-45m'],
    dashboard: ['/d/obs-cluster?from=now-45m', DARK],
    kubernetes: ['/kubernetes?from=now-45m'],
    alerts: ['/alerts?view=alerts', { act: acknowledge }],
    history: ['/alerts?view=history&from=now-45m'],
    targets: ['/targets'],
    cardinality: ['/cardinality'],
    phone: ['/?from=now-45m', { ...DARK, width: 400, height: 800 }],
  };
}

async function acknowledge(page) {
  const held = page.locator('main li[data-fingerprint]', { hasText: 'NodeMemoryNearlyFull' }).first();
  await held.waitFor({ timeout: DEADLINE });
  if (await held.locator('.badge', { hasText: 'acknowledged' }).isVisible()) return;
  await held.locator('button', { hasText: 'Acknowledge' }).click();
  await held.locator('form input').nth(0).fill('Ada');
  await held.locator('form input').nth(1).fill('moving the cache to node-a');
  await held.locator('form button[type=submit]').click();
  await held.locator('.badge', { hasText: 'acknowledged by Ada' }).waitFor({ timeout: DEADLINE });
}

/** Charts fill their time at once, and nothing is still on its way. */
async function quiet(page) {
  await page.locator('main > *').first().waitFor({ timeout: DEADLINE });
  const busy = () => page.evaluate(() => document.querySelector('main [data-state=loading], main [aria-busy=true]') !== null);
  await until('a page at rest', async () => !(await busy()) && !(await page.waitForLoadState('networkidle').then(busy)));
  await page.evaluate(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))));
}

const folder = mkdtempSync(join(tmpdir(), 'obs-pictures-'));
const { server, ...found } = await demo(join(folder, 'demo'));
const url = process.env.OBS_FRONT ? await (await import(process.env.OBS_FRONT)).front(server.url, resolve('ui/dist')).then((one) => one.url) : server.url;
await stored(server.url, 'ALERTS{alertstate="firing"}', 3);
const browser = await browse(folder);
const page = await browser.newPage();
const out = resolve('docs/ui');
mkdirSync(out, { recursive: true });
const large = [];
try {
  for (const [name, [path, { theme = 'light', width = 1400, height = 900, click, act } = {}]] of Object.entries(pages(found))) {
    if (process.env.OBS_TEST && !name.includes(process.env.OBS_TEST)) continue;
    await page.emulateMedia({ colorScheme: theme });
    await page.setViewportSize({ width, height });
    await page.goto(url + path);
    await quiet(page);
    if (click) await page.locator(`main ${click}`).first().click();
    if (act) await act(page);
    await quiet(page);
    const file = join(out, `${name}.png`);
    await page.screenshot({ path: file });
    const { size } = statSync(file);
    console.log(`${name}: ${size} bytes`);
    if (size > BYTES_MAX) large.push(name);
  }
} finally {
  await browser.close();
  await server.stop();
  rmSync(folder, { recursive: true, force: true });
}
if (large.length > 0) console.log(`larger than ${BYTES_MAX} bytes: ${large.join(', ')}`);
process.exit(large.length > 0 ? 1 : 0);
