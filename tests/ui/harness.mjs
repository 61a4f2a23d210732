// A real server on free ports, a real browser, and waiting for conditions with a deadline.

import { spawn } from 'node:child_process';
import { mkdirSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join, resolve } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';

const { chromium } = createRequire(resolve('ui/package.json'))('playwright-core');

/** How long anything may take before a test gives up. Long, because machines may be busy. */
export const DEADLINE = 180_000;
export const PICTURES = resolve('target/ui');
export const HACK = '<img src=x onerror="window.hacked=1"><script>window.hacked=1</script>';
export const TRACE = '5b8efff798038103d269b633813fc60c';
export const OTHER = '5b8efff798038103d269b633813fc60d';

const RULES = `
groups:
- name: always
  interval: 1s
  rules:
  - {alert: SeedIsLarge, expr: 'seed{kind="a"} > 40', labels: {severity: page}, annotations: {summary: 'The seed is {{ $value }}'}}
  - {alert: SeedIsLargeForLong, expr: 'seed{kind="a"} > 40', for: 1h, labels: {severity: ticket}}
`;

const CONFIG = `
global: {scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}
rule_files: [rules.yml]
scrape_configs:
- job_name: gone
  static_configs: [{targets: ['127.0.0.1:1']}]
  relabel_configs: [{target_label: team, replacement: blue}]
obs:
  node_exporter: {listen: '127.0.0.1:0'}
  telemetry: {logs: true, traces: true}
  traces: {collection_interval: 1s}
  alertmanager:
    route:
      receiver: team
      group_by: [alertname]
      group_wait: 1s
      routes:
      - {matchers: ['severity = page'], receiver: on-call}
    receivers: [{name: team}, {name: on-call}]
`;

export class Failure extends Error {}

export function check(truth, what) {
  if (!truth) throw new Failure(what);
}

export async function until(what, look) {
  const end = Date.now() + DEADLINE;
  for (;;) {
    const found = await look();
    if (found) return found;
    if (Date.now() > end) throw new Failure(`gave up waiting for ${what}`);
    await pause(50);
  }
}

/** Starts the server; gives its URL and how to end it. */
export async function serve(folder, more = [], config = CONFIG) {
  const data = join(folder, 'data');
  const log = join(folder, 'stderr.log');
  mkdirSync(folder, { recursive: true });
  if (config === CONFIG) writeFileSync(join(folder, 'rules.yml'), RULES);
  writeFileSync(join(folder, 'obs.yml'), config);
  const listen = ['--listen', '--otlp-grpc-listen', '--otlp-http-listen'].filter((flag) => !more.includes(flag)).flatMap((flag) => [flag, '127.0.0.1:0']);
  const arguments_ = ['serve', '--config', join(folder, 'obs.yml'), '--data', data, ...listen, ...more];
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

export async function browse(folder) {
  mkdirSync(PICTURES, { recursive: true });
  const browser = await chromium.launchPersistentContext(join(folder, 'browser'), {
    timeout: DEADLINE,
    executablePath: process.env.OBS_CHROMIUM ?? '/usr/bin/chromium',
    headless: true,
    viewport: { width: 1400, height: 900 },
    args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'],
  });
  browser.setDefaultTimeout(DEADLINE);
  return browser;
}

/** Waits until that many are there. */
export async function counted(what, locator, number) {
  let found;
  await until(`${number} ${what}`, async () => (found = await locator.count()) === number).catch(() => {
    throw new Failure(`${found} ${what} instead of ${number}`);
  });
}

export async function post(url, path, body, method = 'POST') {
  const answer = await fetch(url + path, { method, headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) });
  check(answer.ok, `${path}: ${answer.status} ${await answer.text()}`);
}

/** Waits until a PromQL query gives at least so many series: what the pages show is there then. */
export async function stored(api, promql, least = 1) {
  await until(`${least} series of ${promql}`, async () => {
    const answer = await (await fetch(`${api}/api/v1/query?query=${encodeURIComponent(promql)}`)).json();
    return (answer.data?.result?.length ?? 0) >= least;
  });
}

export async function open(page, url, path) {
  await page.goto('about:blank');
  await page.goto(url + path);
}

export async function state(page, want, within = 'main') {
  const selector = `${within} section.result`;
  await page.waitForSelector(`${selector}[data-state="${want}"]`, { timeout: DEADLINE }).catch(async () => {
    const found = await page.locator(selector).first().innerText({ timeout: 5_000 }).catch(() => 'nothing');
    throw new Failure(`the result is not ${want} but: ${found.slice(0, 300)}`);
  });
}

/** Reloads until the result is there: data of the first seconds may be missing still. */
export async function filled(page, url, path) {
  await until(`data at ${path}`, async () => {
    await open(page, url, path);
    const selector = 'main section.result';
    await page.waitForSelector(`${selector}:not([data-state="loading"])`, { timeout: DEADLINE });
    const now = await page.locator(selector).first().getAttribute('data-state');
    check(now !== 'error', await page.locator(selector).first().innerText());
    return now === 'ok';
  });
}

/** Lines and bars are in colours; axes and grids are grey. */
export async function coloured(canvas, atLeast) {
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

/** Points at the end of the first chart; gives the tip. */
export async function pointAtEnd(page) {
  const over = page.locator('main .chart .u-over').first();
  await over.waitFor({ timeout: DEADLINE });
  const { x, y, width, height } = await over.boundingBox();
  const tip = page.locator('main .chart .tip').first();
  await until('the tip of the chart', async () => {
    // A pointer that does not move tells nothing: it comes from elsewhere each time.
    await page.mouse.move(x + width / 2, y + height / 2);
    await page.mouse.move(x + width - 2, y + height / 2);
    return tip.isVisible();
  });
  return tip;
}

export async function picture(page, name) {
  await page.screenshot({ path: join(PICTURES, `${name}.png`) });
}

/** Nothing of the data ran, nothing of it became an element, and nothing is wider than the screen. */
export async function unharmed(page, where) {
  check((await page.evaluate(() => window.hacked)) === undefined, `${where}: markup from data ran`);
  check((await page.locator('main img:not(.cm-widgetBuffer), main script, main iframe').count()) === 0, `${where}: markup from data is in the page`);
  const wider = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
  check(wider <= 0, `${where} is ${wider} px wider than the screen`);
}

export const query = encodeURIComponent;

/** Types into the bar of Explore, whichever of its two forms is there, and asks. */
export async function ask(page, text) {
  const editor = page.locator('main form.query .cm-content');
  await editor.waitFor({ timeout: DEADLINE });
  await editor.click();
  await page.keyboard.press('Control+a');
  await page.keyboard.insertText(text);
  await page.locator('main form.query button[type=submit]').click();
}
