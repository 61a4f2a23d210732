// Dashboards: every kind of panel with the values that were sent, variables, saving, many panels.

import { readFileSync } from 'node:fs';
import { check, coloured, counted, DEADLINE, open, picture, post, stored, unharmed, until } from './harness.mjs';
import { everyKind } from './seed.mjs';

/** On the machine of the figures, which takes [`YARD_MILLIS`] for a fixed loop. */
const PANELS_MILLIS_MAX = 2_000;
const YARD_MILLIS = 34;

/** How much slower than that this machine is; at least 1. */
async function slowness(page) {
  const took = await page.evaluate(() => {
    let best = Infinity;
    for (let round = 0; round < 5; round += 1) {
      const began = performance.now();
      let x = 1;
      for (let i = 0; i < 2e7; i += 1) {
        x ^= x << 13;
        x ^= x >>> 17;
        x ^= x << 5;
      }
      best = Math.min(best, performance.now() - began + (x === 0 ? 1 : 0));
    }
    return best;
  });
  return Math.max(1, took / YARD_MILLIS);
}

const ready = (page) => page.waitForSelector('html[data-dashboard-ready="true"]', { timeout: DEADLINE, state: 'attached' });
const panel = (page, id) => page.locator(`[data-panel-id="${id}"]`);

async function texts(page, id, wanted) {
  let found = '';
  await until('texts', async () => {
    found = await panel(page, id).innerText();
    return wanted.every((one) => found.includes(one));
  }).catch(() => check(false, `panel ${id} lacks one of ${wanted}: ${found.slice(0, 200)}`));
}

/** The dashboard as it was, whatever another test made of it; its data is there. */
async function kinds(api) {
  await stored(api, 'seed', 3);
  await post(api, '/api/v1/dashboards/kinds', everyKind(), 'PUT');
}

export const DASHBOARDS = {
  async 'every kind of panel draws what was sent'(page, { url, api }) {
    await stored(api, 'rate(traces_service_graph_request_total{client!="", server!=""}[15m])', 2);
    await stored(api, 'ALERTS{alertname="SeedIsLarge", alertstate="firing"}');
    await kinds(api);
    await open(page, url, '/d/kinds?render=all');
    await ready(page);
    const states = Object.fromEntries(await page.$$eval('[data-panel-id]', (all) => all.map((one) => [one.dataset.panelId, `${one.dataset.state} ${one.dataset.error ?? ''}`])));
    const expected = { 20: 'error', 21: 'empty', 22: 'unsupported', 33: 'error', 38: 'unsupported' };
    for (let id = 1; id <= 38; id += 1) check(states[id]?.startsWith(`${expected[id] ?? 'ok'} `), `panel ${id} is ${states[id]}`);
    check(states[20].includes('1:5'), states[20]);
    check(states[33].includes('Z'), states[33]);
    check(states[38].includes('library panel'), states[38]);
    check(states[22].includes('no-such-panel'), states[22]);
    await coloured(panel(page, 1).locator('canvas').first(), 5);
    await coloured(panel(page, 8).locator('canvas').first(), 5);
    await coloured(panel(page, 18).locator('canvas').first(), 5);
    await texts(page, 1, ['a']);
    await texts(page, 2, ['42']);
    await texts(page, 3, ['42%']);
    await texts(page, 4, ['42', '21', '7', '<img']);
    await texts(page, 5, ['Kind of seed', '42', '21']);
    await texts(page, 6, ['Head', 'bad', 'good']);
    await texts(page, 7, ['card declined']);
    await texts(page, 9, ['a', 'b']);
    await counted('slices', panel(page, 9).locator('path.slice'), 3);
    await counted('bars', panel(page, 10).locator('rect'), 3);
    await panel(page, 11).locator('rect').first().waitFor({ timeout: DEADLINE });
    await panel(page, 12).locator('rect').first().waitFor({ timeout: DEADLINE });
    await panel(page, 13).locator('rect').first().waitFor({ timeout: DEADLINE });
    await counted('spans', panel(page, 14).locator('ol.waterfall li'), 4);
    await until('the nodes of the graph', async () => (await panel(page, 15).locator('.node').count()) >= 3);
    await texts(page, 17, ['Every kind']);
    await texts(page, 19, ['21']);
    await texts(page, 24, ['21']);
    await counted('points', panel(page, 25).locator('circle'), 2);
    await panel(page, 26).locator('.candle rect').first().waitFor({ timeout: DEADLINE });
    check((await panel(page, 26).locator('.candle title').first().innerHTML()).includes('high 14'), 'the candle is another');
    await counted('boxes', panel(page, 27).locator('svg.flame rect'), 4);
    await texts(page, 27, ['main', 'idle']);
    await counted('places', panel(page, 28).locator('circle'), 2);
    await texts(page, 29, ['42', '<img']);
    await texts(page, 30, ['<img']);
    await panel(page, 31).locator('path[fill=none]').first().waitFor({ timeout: DEADLINE, state: 'attached' });
    await texts(page, 32, ['4.2', '701']);
    await texts(page, 34, ['42', '21']);
    await texts(page, 35, ['42']);
    await texts(page, 36, ['SeedIsLarge', 'firing']);
    await texts(page, 37, ['Shared panel', '121']);
    check((await panel(page, 6).locator('a[href^="javascript"]').count()) === 0, 'a link that runs');
    await unharmed(page, 'the dashboard');
    await picture(page, 'dashboard');
  },

  async 'variables come from the address, and choosing changes it'(page, { url, api }) {
    await kinds(api);
    await open(page, url, '/d/kinds?var-kind=b&kiosk');
    await ready(page);
    check((await page.locator('header.top').count()) === 0, 'a kiosk has no frame');
    await texts(page, 1, ['b']);
    await page.locator('.picker button[aria-label^="Kind"]').click();
    await page.locator('.picker li button', { hasText: /\ba$/ }).first().click();
    await page.keyboard.press('Escape');
    await until('both values in the address', () => new URL(page.url()).searchParams.getAll('var-kind').join() === 'b,a');
    await until('both series', async () => (await panel(page, 1).locator('.legend li').count()) === 2);
  },

  async 'only what is seen is asked'(page, { url, api }) {
    await kinds(api);
    await open(page, url, '/d/kinds');
    await ready(page);
    check((await panel(page, 2).getAttribute('data-state')) === 'ok', 'the first row is drawn');
    check((await panel(page, 19).getAttribute('data-state')) === 'idle', 'the last row has not been asked');
    await panel(page, 19).scrollIntoViewIfNeeded();
    await panel(page, 19).locator('.stat-value', { hasText: '21' }).waitFor({ timeout: DEADLINE });
  },

  async 'a panel is edited, saved, inspected and seen alone'(page, { url, api }) {
    await kinds(api);
    await open(page, url, '/d/kinds?editPanel=2');
    await panel(page, 2).locator('.stat-value', { hasText: '42' }).waitFor({ timeout: DEADLINE });
    await page.locator('.panel-editor textarea').first().fill('seed{kind="b"} * 2 + 1');
    await page.locator('.panel-editor input').first().fill('Doubled');
    await page.locator('.panel-editor input').nth(1).focus();
    await panel(page, 2).locator('.stat-value', { hasText: '43' }).waitFor({ timeout: DEADLINE });
    await page.locator('.dashboard-actions button', { hasText: 'Changes' }).click();
    await page.locator('dialog .diff .added', { hasText: 'Doubled' }).waitFor({ timeout: DEADLINE });
    await page.locator('dialog .diff .removed', { hasText: 'stat 2' }).waitFor({ timeout: DEADLINE });
    await page.keyboard.press('Escape');
    await page.locator('.dashboard-actions button', { hasText: 'Save' }).click();
    await page.locator('[role=status]', { hasText: 'Saved' }).waitFor({ timeout: DEADLINE });
    await page.locator('.dashboard-actions button', { hasText: 'Save' }).waitFor({ timeout: DEADLINE, state: 'detached' });
    const saved = await (await fetch(`${api}/api/v1/dashboards/kinds`)).json();
    check(saved.panels[1].title === 'Doubled' && saved.panels[1].targets[0].expr.includes('* 2'), JSON.stringify(saved.panels[1]));
    await open(page, url, '/d/kinds?viewPanel=1');
    await coloured(panel(page, 1).locator('canvas').first(), 5);
    await counted('panels', page.locator('[data-panel-id]'), 1);
  },

  async 'a panel is kept as a picture and as a table'(page, { url, api }) {
    await kinds(api);
    await open(page, url, '/d/kinds?viewPanel=1');
    await coloured(panel(page, 1).locator('canvas').first(), 5);
    await open(page, url, '/d/kinds');
    await ready(page);
    const download = async (what) => {
      await panel(page, 1).locator('.panel-menu > button').click();
      const [file] = await Promise.all([page.waitForEvent('download', { timeout: DEADLINE }), page.locator('.panel-menu .menu button', { hasText: what }).click()]);
      return { name: file.suggestedFilename(), bytes: readFileSync(await file.path()) };
    };
    const csv = await download('CSV');
    check(csv.name.endsWith('.csv') && csv.bytes.toString().includes('42'), `${csv.name}: ${csv.bytes.toString().slice(0, 100)}`);
    const png = await download('PNG');
    check(png.name.endsWith('.png') && png.bytes.subarray(1, 4).toString() === 'PNG' && png.bytes.length > 5000, `${png.name}: ${png.bytes.length} bytes`);
    const colours = await page.evaluate(async (data) => {
      const image = new Image();
      image.src = `data:image/png;base64,${data}`;
      await image.decode();
      const canvas = document.createElement('canvas');
      [canvas.width, canvas.height] = [image.width, image.height];
      const context = canvas.getContext('2d');
      context.drawImage(image, 0, 0);
      const { data: dots } = context.getImageData(0, 0, image.width, image.height);
      let count = 0;
      for (let i = 0; i < dots.length; i += 4) if (Math.max(dots[i], dots[i + 1], dots[i + 2]) - Math.min(dots[i], dots[i + 1], dots[i + 2]) > 60) count += 1;
      return count;
    }, png.bytes.toString('base64'));
    check(colours > 20, `the picture has ${colours} coloured dots`);
  },

  async 'a dashboard is imported and found'(page, { url }) {
    await open(page, url, '/dashboards');
    await page.locator('button', { hasText: 'Import' }).click();
    await page.locator('dialog textarea').fill('not json');
    await page.locator('dialog button.primary').click();
    await page.locator('dialog [role=alert]').waitFor({ timeout: DEADLINE });
    await page.locator('dialog textarea').fill(JSON.stringify({ uid: 'imported', title: 'Imported one', panels: [{ id: 1, type: 'stat', title: 'x', gridPos: { x: 0, y: 0, w: 6, h: 5 }, targets: [{ refId: 'A', expr: 'vector(5)' }] }] }));
    await page.locator('dialog button.primary').click();
    await panel(page, 1).locator('.stat-value', { hasText: '5' }).waitFor({ timeout: DEADLINE });
    await page.locator('header nav a', { hasText: 'Dashboards' }).click();
    await page.locator('main .cards a', { hasText: 'Imported one' }).waitFor({ timeout: DEADLINE });
    await picture(page, 'dashboards');
  },

  async 'a hundred and forty panels are ready soon'(page, { url, api }) {
    const panels = Array.from({ length: 140 }, (_, i) => ({ id: i + 1, type: i % 3 ? 'timeseries' : 'stat', title: `Panel ${i}`, gridPos: { x: (i % 4) * 6, y: Math.floor(i / 4) * 6, w: 6, h: 6 }, targets: [{ refId: 'A', expr: `seed{kind="a"} + ${i}` }] }));
    await stored(api, 'seed', 3);
    await post(api, '/api/v1/dashboards/many', { uid: 'many', title: 'Many', time: { from: 'now-15m', to: 'now' }, panels }, 'PUT');
    // Where the machine stands still, that says nothing about the page: it is opened again.
    const limit = PANELS_MILLIS_MAX * (await slowness(page));
    let took = Infinity;
    for (let round = 0; round < 10 && took > limit; round += 1) {
      const began = Date.now();
      await open(page, url, '/d/many');
      await ready(page);
      took = Date.now() - began;
      console.log(`     140 panels: ready after ${took} ms`);
    }
    check(took <= limit, `it took ${took} ms, at most ${Math.round(limit)}`);
  },

  async 'a dashboard that is none says so'(page, { url, api }) {
    await open(page, url, '/d/missing');
    await page.locator('main [role=alert]').waitFor({ timeout: DEADLINE });
    for (const [uid, json] of [['odd', { panels: [null, 5, { type: 'timeseries', targets: 'x', gridPos: { x: 1e9, w: -5, h: 'y' }, fieldConfig: [], options: 7 }], templating: { list: [{}, null, { name: '__proto__', type: 'custom', query: 'a' }] } }]]) {
      await post(api, `/api/v1/dashboards/${uid}`, { uid, title: uid, ...json }, 'PUT');
      await open(page, url, `/d/${uid}`);
      await ready(page);
      await unharmed(page, uid);
    }
  },
};
