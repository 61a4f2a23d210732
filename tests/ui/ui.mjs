// The pages in a real browser against a real server on free ports. Each test is a function below;
// all of them share one server, and one page whose console must stay free of errors.
//
// Nothing waits blindly: every wait is for a condition and has a deadline.

import { spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';

const { chromium } = createRequire(resolve('ui/package.json'))('playwright-core');

const DEADLINE = 60_000;
const PICTURES = resolve('target/ui');
const HACK = '<img src=x onerror="window.hacked=1"><script>window.hacked=1</script>';
const TRACE = '5b8efff798038103d269b633813fc60c';
const CONFIG = `
global: {scrape_interval: 1s, scrape_timeout: 1s}
scrape_configs:
- job_name: gone
  static_configs: [{targets: ['127.0.0.1:1']}]
obs:
  node_exporter: {listen: '127.0.0.1:0'}
  telemetry: {logs: true, traces: true}
`;

class Failure extends Error {}

function check(truth, what) {
  if (!truth) throw new Failure(what);
}

async function until(what, look) {
  const end = Date.now() + DEADLINE;
  for (;;) {
    const found = await look();
    if (found) return found;
    if (Date.now() > end) throw new Failure(`gave up waiting for ${what}`);
    await pause(50);
  }
}

/** Starts the server; gives its URL and how to end it. */
async function serve(folder) {
  const data = join(folder, 'data');
  const log = join(folder, 'stderr.log');
  writeFileSync(join(folder, 'obs.yml'), CONFIG);
  const listen = ['--listen', '--otlp-grpc-listen', '--otlp-http-listen'].flatMap((flag) => [flag, '127.0.0.1:0']);
  const arguments_ = ['serve', '--config', join(folder, 'obs.yml'), '--data', data, ...listen];
  const child = spawn(resolve(process.env.OBS_BIN), arguments_, { stdio: ['ignore', 'ignore', openSync(log, 'w')] });
  const ended = new Promise((done) => child.once('exit', done));
  const address = await until('the server', () => {
    check(child.exitCode === null, `obs ended:\n${readFileSync(log, 'utf8')}`);
    try {
      return JSON.parse(readFileSync(join(data, 'addresses.json'), 'utf8')).http;
    } catch {
      return undefined;
    }
  });
  const url = `http://${address}`;
  await until('readiness', async () => (await fetch(`${url}/-/ready`)).ok);
  return { url, log: () => readFileSync(log, 'utf8'), stop: () => (child.kill('SIGTERM'), ended) };
}

async function post(url, path, body) {
  const headers = { 'content-type': 'application/json' };
  const answer = await fetch(url + path, { method: 'POST', headers, body: JSON.stringify(body) });
  check(answer.ok, `${path}: ${answer.status} ${await answer.text()}`);
}

/** Markup in a line, in labels, in names of series, spans and services. */
async function sendMarkup(url) {
  const nanos = `${BigInt(Date.now()) * 1_000_000n}`;
  const resource = { attributes: [{ key: 'service.name', value: { stringValue: HACK } }] };
  const attributes = [{ key: 'evil', value: { stringValue: HACK } }];
  await post(url, '/loki/api/v1/push', { streams: [{ stream: { app: 'markup', evil: HACK }, values: [[nanos, HACK]] }] });
  const points = [{ timeUnixNano: nanos, asDouble: 1, attributes }];
  await post(url, '/v1/metrics', { resourceMetrics: [{ resource, scopeMetrics: [{ metrics: [{ name: 'markup', gauge: { dataPoints: points } }] }] }] });
  const span = { traceId: TRACE, spanId: '00000000000000a1', name: HACK, startTimeUnixNano: nanos, endTimeUnixNano: nanos, attributes, status: { code: 2, message: HACK } };
  await post(url, '/v1/traces', { resourceSpans: [{ resource, scopeSpans: [{ scope: { name: HACK }, spans: [span] }] }] });
}

/** Opens a page of the UI; a change of the fragment alone would not load it anew. */
async function open(page, url, hash) {
  await page.goto('about:blank');
  await page.goto(`${url}/${hash}`);
}

async function state(page, want) {
  const selector = 'main section.result';
  await page.waitForSelector(`${selector}[data-state="${want}"]`, { timeout: DEADLINE }).catch(async () => {
    const found = await page.locator(selector).first().innerText().catch(() => 'nothing');
    throw new Failure(`the result is not ${want} but: ${found.slice(0, 300)}`);
  });
}

/** Reloads until the result is there: data of the first seconds may be missing still. */
async function filled(page, url, hash) {
  await until(`data at ${hash}`, async () => {
    await open(page, url, hash);
    await page.waitForSelector('main section.result:not([data-state="loading"])', { timeout: DEADLINE });
    const now = await page.locator('main section.result').first().getAttribute('data-state');
    check(now !== 'error', await page.locator('main section.result').first().innerText());
    return now === 'ok';
  });
}

/** Lines and bars are in colours; axes and grids are grey. */
async function coloured(canvas, atLeast) {
  await canvas.waitFor({ timeout: DEADLINE });
  await until('colours on the canvas', async () => {
    const dots = await canvas.evaluate((element) => {
      const { data } = element.getContext('2d').getImageData(0, 0, element.width, element.height);
      let count = 0;
      for (let i = 0; i < data.length; i += 4) {
        const [r, g, b] = [data[i], data[i + 1], data[i + 2]];
        if (data[i + 3] > 100 && Math.max(r, g, b) - Math.min(r, g, b) > 60) count += 1;
      }
      return count;
    });
    return dots >= atLeast;
  });
}

/** Points at the end of the first chart; gives what the tip says. */
async function pointAtEnd(page) {
  const over = page.locator('main .chart .u-over').first();
  const { x, y, width, height } = await over.boundingBox();
  const tip = page.locator('main .chart .tip').first();
  await until('the tip of the chart', async () => {
    // A pointer that does not move tells nothing: it comes from elsewhere each time.
    await page.mouse.move(x + width / 2, y + height / 2);
    await page.mouse.move(x + width - 1, y + height / 2);
    return tip.isVisible();
  });
  return tip;
}

async function picture(page, name) {
  await page.screenshot({ path: join(PICTURES, `${name}.png`) });
}

const query = (text) => encodeURIComponent(text);

const TESTS = {
  async 'targets are up, and a dead one says why'(page, url) {
    await open(page, url, '#/targets');
    await state(page, 'ok');
    const row = (job, health) =>
      page.locator(`main section.pool:has(h2:has-text("${job}")) tr[data-health="${health}"]`);
    for (const job of ['node', 'obs']) {
      await row(job, 'up').first().waitFor({ timeout: DEADLINE });
    }
    await row('gone', 'down').first().waitFor({ timeout: DEADLINE });
    const error = await row('gone', 'down').first().locator('td.error').innerText();
    check(error.length > 5, `no reason: ${error}`);
    await picture(page, 'targets');
  },

  async 'a PromQL query is a graph with a legend'(page, url) {
    const text = 'sum by (mode) (rate(node_cpu_seconds_total[10s]))';
    await until('five points', async () => {
      const answer = await (await fetch(`${url}/api/v1/query?query=${query('count_over_time(up{job="node"}[1m])')}`)).json();
      return Number(answer.data.result[0]?.value[1] ?? 0) >= 5;
    });
    await filled(page, url, `#/graph?q=${query(text)}&since=300`);
    const canvas = page.locator('main .chart canvas').first();
    await coloured(canvas, 20);
    const names = await page.locator('table.legend tbody tr').allInnerTexts();
    for (const mode of ['idle', 'user', 'system']) {
      check(names.some((name) => name.includes(`mode="${mode}"`)), `${mode} is not in ${names}`);
    }
    const tip = await (await pointAtEnd(page)).innerText();
    check(/^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\b/.test(tip) && tip.includes('mode="idle"'), `the tip says ${tip}`);
    await picture(page, 'graph');
  },

  async 'a query is typed, kept in the address, and its error is shown'(page, url) {
    await open(page, url, '#/graph');
    const input = page.locator('main form.query input');
    await input.fill('up');
    await input.press('Enter');
    await state(page, 'ok');
    check(page.url().endsWith('#/graph?q=up'), page.url());
    await input.fill('sum(');
    await input.press('Enter');
    await state(page, 'error');
    const error = await page.locator('main [role=alert]').innerText();
    check(error.includes('1:5'), error);
    await page.goBack();
    await state(page, 'ok');
    check((await input.inputValue()) === 'up', 'going back brings the query back');
  },

  async 'logs show lines of obs, their volume and their labels'(page, url) {
    await filled(page, url, `#/logs?q=${query('{service_name="obs"}')}`);
    const lines = page.locator('main ol.lines > li');
    check((await lines.count()) > 0, 'no lines');
    const all = await lines.allInnerTexts();
    check(all.some((line) => line.includes('ready')), all.join('\n').slice(0, 500));
    await coloured(page.locator('main .chart canvas').first(), 20);
    await lines.first().locator('button.line').click();
    const labels = await lines.first().locator('dl').innerText();
    check(labels.includes('service_name') && labels.includes('obs'), labels);
    await picture(page, 'logs');
    await open(page, url, `#/logs?q=${query('{service_name="nobody"}')}`);
    await state(page, 'empty');
  },

  async 'lines appear while they are followed'(page, url) {
    await open(page, url, `#/logs?q=${query('{app="live"}')}`);
    await state(page, 'empty');
    await page.locator('label.live input').check();
    const now = `${BigInt(Date.now()) * 1_000_000n}`;
    await post(url, '/loki/api/v1/push', { streams: [{ stream: { app: 'live' }, values: [[now, 'just now']] }] });
    await page.locator('main ol.lines > li', { hasText: 'just now' }).waitFor({ timeout: DEADLINE });
  },

  async 'traces are listed, and one is a waterfall'(page, url) {
    await filled(page, url, `#/traces?q=${query('{ resource.service.name = "obs" }')}`);
    const links = page.locator('main table.traces tbody a');
    check((await links.count()) > 0, 'no traces');
    await picture(page, 'traces');
    await links.first().click();
    const rows = page.locator('main ol.waterfall > li');
    await rows.first().waitFor({ timeout: DEADLINE });
    const bar = await rows.first().locator('.bar').boundingBox();
    check(bar && bar.width > 0 && bar.height > 0, 'the bar has no size');
    await rows.first().locator('button.span').click();
    const details = await rows.first().locator('.details').innerText();
    check(details.includes('service.name'), details);
    await picture(page, 'trace');
    await page.locator('p.crumbs button').click();
    await links.first().waitFor({ timeout: DEADLINE });
  },

  async 'markup in data stays text'(page, url) {
    await sendMarkup(url);
    const shows = async (hash, selector) => {
      await filled(page, url, hash);
      const found = page.locator(selector).filter({ hasText: '<img src=x' });
      await found.first().waitFor({ timeout: DEADLINE });
      return found.first();
    };
    await shows('#/graph?q=markup', 'table.legend td');
    const tip = await (await pointAtEnd(page)).innerText();
    check(tip.includes('<img src=x'), `the tip says ${tip}`);
    const line = await shows(`#/logs?q=${query('{app="markup"}')}`, 'ol.lines > li');
    await line.locator('button.line').click();
    await line.locator('dd', { hasText: '<img src=x' }).first().waitFor({ timeout: DEADLINE });
    await shows(`#/traces?q=${query('{ status = error && span.evil != "" }')}`, 'table.traces td');
    await shows(`#/traces?trace=${TRACE}`, 'ol.waterfall > li');
    await page.locator('ol.waterfall button.span').first().click();
    await page.locator('ol.waterfall .details').first().waitFor({ timeout: DEADLINE });
    await open(page, url, '#/graph');
    await page.locator('main form.query input').waitFor({ timeout: DEADLINE });
    check((await page.evaluate(() => window.hacked)) === undefined, 'markup from data ran');
    check((await page.locator('main img, main script').count()) === 0, 'markup from data is in the page');
  },

  async 'every page is reached by its link, also on a small screen'(page, url) {
    await page.setViewportSize({ width: 390, height: 800 });
    await open(page, url, '');
    for (const name of ['Logs', 'Traces', 'Targets', 'Graph']) {
      await page.locator('header nav a', { hasText: name }).click();
      await page.locator(`main[data-page="${name.toLowerCase()}"]`).waitFor({ timeout: DEADLINE });
      if (name !== 'Graph') await state(page, 'ok');
      const wider = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
      check(wider <= 0, `${name} is ${wider} px wider than the screen`);
      await picture(page, `small-${name.toLowerCase()}`);
    }
    await filled(page, url, `#/graph?q=up`);
    await picture(page, 'small-graph-up');
    await filled(page, url, `#/traces?trace=${TRACE}`);
    await picture(page, 'small-trace');
    await page.setViewportSize({ width: 1280, height: 800 });
  },
};

async function main() {
  const folder = mkdtempSync(join(tmpdir(), 'obs-ui-'));
  mkdirSync(PICTURES, { recursive: true });
  const server = await serve(folder);
  const browser = await chromium.launchPersistentContext(join(folder, 'browser'), {
    executablePath: process.env.OBS_CHROMIUM ?? '/usr/bin/chromium',
    headless: true,
    viewport: { width: 1280, height: 800 },
    args: [
      '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
      '--disable-component-update', '--disable-sync',
    ],
  });
  const page = await browser.newPage();
  let faults = [];
  page.on('pageerror', (error) => faults.push(`uncaught: ${error.message}`));
  page.on('console', (message) => {
    // What a server refuses is told as an error by the browser itself; the page shows it.
    const refused = message.text().startsWith('Failed to load resource') && /\b4\d\d\b/.test(message.text());
    if (message.type() === 'error' && !refused) faults.push(`console: ${message.text()}`);
  });
  let [passed, failed] = [0, 0];
  for (const [name, test] of Object.entries(TESTS)) {
    faults = [];
    try {
      await test(page, server.url);
      check(faults.length === 0, faults.join('\n'));
      passed += 1;
      console.log(`ok      ${name}`);
    } catch (error) {
      failed += 1;
      console.log(`FAILED  ${name}\n        ${error instanceof Failure ? error.message : error.stack}`);
      await picture(page, `failed-${failed}`).catch(() => undefined);
    }
  }
  await browser.close();
  const code = await server.stop();
  if (code !== 0 || server.log().includes('panicked')) {
    failed += 1;
    console.log(`FAILED  the server ends in peace\n${server.log().split('\n').slice(-40).join('\n')}`);
  }
  rmSync(folder, { recursive: true, force: true });
  console.log(`pictures are in ${PICTURES}`);
  console.log(`${passed} passed, ${failed} failed`);
  process.exitCode = failed === 0 ? 0 : 1;
}

await main();
