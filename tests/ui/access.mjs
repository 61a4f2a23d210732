// For everybody: names, contrast and structure by axe on every page in both themes, and all by keyboard.

import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { resolve } from 'node:path';
import { check, DEADLINE, open, post, query, TRACE, until } from './harness.mjs';
import { everyKind } from './seed.mjs';

const AXE = readFileSync(createRequire(resolve('ui/package.json')).resolve('axe-core/axe.min.js'), 'utf8');

const LOOKED_AT = {
  home: '/', explore: '/explore', metrics: `/explore?lang=promql&q=${query('sum by (mode) (rate(node_cpu_seconds_total[1m]))')}`, table: '/explore?lang=promql&q=seed&view=table',
  explain: `/explore?lang=promql&q=${query('sum(seed)')}&view=explain`, logs: `/explore?lang=logql&q=${query('{app="shop"}')}`, traces: `/explore?lang=traceql&q=${query('{ resource.service.name = "front" }')}`,
  compare: `/explore?lang=traceql&q=${query('{}')}&view=compare`, trace: `/trace/${TRACE}?span=00000000000000c1`, dashboards: '/dashboards', dashboard: '/d/kinds?render=all', edited: '/d/kinds?editPanel=2', services: '/service-map?service=cart',
  kubernetes: '/kubernetes', nodes: '/kubernetes/nodes', pod: '/kubernetes/pod/shop/shop-0', alerts: '/alerts', notifications: '/alerts?view=alerts', history: '/alerts?view=history', silences: '/alerts?view=silences', routes: '/alerts?view=routes',
  errors: '/errors', targets: '/targets', cardinality: '/cardinality', status: '/status', settings: '/status?view=settings', streams: '/explore?lang=logql', flames: `/explore?lang=traceql&q=${query('{}')}&view=flames`,
};

async function quiet(page) {
  await page.locator('main > *').first().waitFor({ timeout: DEADLINE });
  await page.waitForFunction(() => !document.querySelector('main [data-state=loading], main [aria-busy=true]'), undefined, { timeout: DEADLINE });
}

export const ACCESS = {
  async 'axe finds no fault on any page, light and dark'(page, { url, api }) {
    await post(api, '/api/v1/dashboards/kinds', everyKind(), 'PUT');
    const found = [];
    for (const colorScheme of ['light', 'dark']) {
      await page.emulateMedia({ colorScheme });
      for (const [name, path] of Object.entries(LOOKED_AT)) {
        await open(page, url, path);
        await quiet(page);
        // Evaluated by the debugger: the policy of the page forbids scripts in it.
        await page.evaluate(AXE);
        const { violations } = await page.evaluate(() => window.axe.run(document, { runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa'], resultTypes: ['violations'] }));
        for (const one of violations) found.push(`${colorScheme} ${name}: ${one.id}: ${one.nodes.slice(0, 3).map((node) => `${node.target.join(' ')} ${node.any[0]?.message ?? ''}`).join(' | ')}`);
      }
    }
    await page.emulateMedia({ colorScheme: null });
    for (const one of found) console.log(`     ${one}`);
    check(found.length === 0, `${found.length} faults`);
  },

  async 'everything is reached by keyboard, in order, and seen when it is'(page, { url, api }) {
    await post(api, '/api/v1/dashboards/kinds', everyKind(), 'PUT');
    await open(page, url, '/alerts');
    await quiet(page);
    const focused = () => page.evaluate(() => {
      const one = document.activeElement;
      const { outlineStyle } = getComputedStyle(one);
      return { text: (one.getAttribute('aria-label') ?? one.textContent ?? '').trim(), seen: outlineStyle !== 'none', tag: one.tagName };
    });
    await page.keyboard.press('Tab');
    check((await focused()).text === 'To the content', `the first is ${JSON.stringify(await focused())}`);
    const order = [];
    for (let i = 0; i < 40; i += 1) {
      await page.keyboard.press('Tab');
      const now = await focused();
      if (now.tag === 'BODY') break;
      check(now.seen, `${now.text} does not show that it has the focus`);
      order.push(now.text);
    }
    const places = ['Home', 'Explore', 'Status', 'Find', 'Rules', 'Silences'].map((name) => order.indexOf(name));
    check(places.every((place, i) => place >= 0 && (i === 0 || place > (places[i - 1] ?? 0)) || place === order.indexOf('Find')), `the order is ${order.join(', ')}`);
    await page.locator('[role=tab]', { hasText: 'Silences' }).focus();
    await page.keyboard.press('Enter');
    await until('the silences', () => new URL(page.url()).searchParams.get('view') === 'silences');
    await open(page, url, '/d/kinds');
    await page.waitForSelector('html[data-dashboard-ready="true"]', { timeout: DEADLINE, state: 'attached' });
    await page.locator('[data-panel-id="1"] .panel-menu > button').focus();
    await page.keyboard.press('Enter');
    await page.locator('[data-panel-id="1"] .menu').waitFor({ timeout: DEADLINE });
    await page.keyboard.press('Tab');
    await page.keyboard.press('Enter');
    await until('the panel alone', () => new URL(page.url()).searchParams.get('viewPanel') === '1');
  },
};
