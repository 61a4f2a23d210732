// The pages as a person uses them.

import { ask, check, coloured, counted, DEADLINE, filled, open, OTHER, picture, pointAtEnd, post, query, state, stored, TRACE, unharmed, until } from './harness.mjs';

export const PAGES = {
  async 'home says what is wrong'(page, { url, api }) {
    await stored(api, 'up{job="gone"} == 0');
    await open(page, url, '/');
    await page.locator('main .numbers a', { hasText: 'targets down' }).waitFor({ timeout: DEADLINE });
    await picture(page, 'home');
  },

  async 'targets are up, and a dead one says why'(page, { url }) {
    const row = (job, health) => page.locator(`main section.pool:has(h2:has-text("${job}")) tr[data-health="${health}"]`);
    // A target may be down for once, where a scrape had not enough time.
    await until('targets that are up and down', async () => {
      await open(page, url, '/targets');
      await state(page, 'ok');
      const seen = [row('node', 'up'), row('obs', 'up'), row('gone', 'down')].map((one) => one.first().isVisible());
      return (await Promise.all(seen)).every(Boolean);
    });
    const error = await row('gone', 'down').first().locator('td.error').innerText();
    check(error.length > 5, `no reason: ${error}`);
    await row('gone', 'down').first().locator('button', { hasText: 'Relabelling' }).click();
    await page.locator('main .details', { hasText: '__address__' }).waitFor({ timeout: DEADLINE });
    await picture(page, 'targets');
  },

  async 'a PromQL query is a graph with a legend'(page, { url }) {
    const text = 'sum by (mode) (rate(node_cpu_seconds_total[1m]))';
    await until('five points', async () => {
      const answer = await (await fetch(`${url}/api/v1/query?query=${query('count_over_time(up{job="node"}[1m])')}`)).json();
      return Number(answer.data.result[0]?.value[1] ?? 0) >= 5;
    });
    await filled(page, url, `/explore?q=${query(text)}&from=now-5m`);
    await coloured(page.locator('main .chart canvas').first(), 20);
    for (const mode of ['idle', 'user', 'system']) await page.locator('table.legend tbody tr', { hasText: `mode="${mode}"` }).first().waitFor({ timeout: DEADLINE });
    const tip = await (await pointAtEnd(page)).innerText();
    check(/^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d/.test(tip) && tip.includes('mode="idle"'), `the tip says ${tip}`);
    await picture(page, 'graph');
    await page.locator('[role=tab]', { hasText: 'Table' }).click();
    await page.locator('main td', { hasText: 'idle' }).first().waitFor({ timeout: DEADLINE });
    await page.locator('[role=tab]', { hasText: 'Plan' }).click();
    await page.locator('main pre', { hasText: 'rate' }).waitFor({ timeout: DEADLINE });
  },

  async 'a query is typed, completed, kept in the address, and its error is shown'(page, { url, api }) {
    await stored(api, 'node_cpu_seconds_total');
    await filled(page, url, '/explore?q=up');
    await open(page, url, '/explore');
    await ask(page, 'up');
    await until('the query in the address', () => new URL(page.url()).searchParams.get('q') === 'up');
    await state(page, 'ok');
    await ask(page, 'sum(');
    await state(page, 'error');
    const error = await page.locator('main [role=alert]').first().innerText();
    check(error.includes('1:5'), error);
    await page.goBack();
    await state(page, 'ok');
    await until('the query that going back brings', async () => (await page.locator('main .cm-content').innerText()).trim() === 'up');
    await page.locator('main .cm-content').click();
    await page.keyboard.press('Control+a');
    await page.keyboard.type('node_cp');
    await page.locator('.cm-tooltip-autocomplete li', { hasText: 'node_cpu_seconds_total' }).first().waitFor({ timeout: DEADLINE });
    await page.keyboard.press('Escape');
  },

  async 'who does not know what to ask is shown what there is'(page, { url, api }) {
    await stored(api, 'seed');
    await open(page, url, '/explore');
    await page.locator('main input[aria-label="Find metrics"]').fill('seed_pl');
    await page.locator('main ul.list a', { hasText: /^seed_place$/ }).click();
    await state(page, 'ok');
    await page.locator('table.legend td', { hasText: 'Berlin' }).first().waitFor({ timeout: DEADLINE });
    await open(page, url, '/explore?lang=logql');
    await page.locator('main ul.list a', { hasText: /^pay$/ }).click();
    await page.locator('main ol.lines', { hasText: 'card declined' }).waitFor({ timeout: DEADLINE });
    await open(page, url, '/explore?lang=traceql');
    await page.locator('main ul.list li', { hasText: 'front' }).locator('a').first().click();
    await page.locator('main table.traces tbody tr').first().waitFor({ timeout: DEADLINE });
  },

  async 'what a browser remembers is set in one place'(page, { url }) {
    await open(page, url, '/status?view=settings');
    await page.locator('main form input').first().fill('Grace');
    await page.locator('main form button.primary').click();
    await page.locator('main [role=status]').waitFor({ timeout: DEADLINE });
    await open(page, url, '/alerts?view=silences');
    await until('the name in the form', async () => (await page.locator('main form input').nth(2).inputValue().catch(() => '')) === 'Grace');
    await page.evaluate(() => localStorage.clear());
  },

  async 'the range is chosen in words, and a drag zooms'(page, { url }) {
    await filled(page, url, '/explore?q=up&from=now-5m');
    await page.locator('.timepicker .range').click();
    await page.locator('[aria-label="Range in words"]').fill('last 10 minutes');
    await page.keyboard.press('Enter');
    await page.locator('.timepicker .range', { hasText: 'Last 10 minutes' }).waitFor({ timeout: DEADLINE });
    const over = page.locator('main .chart .u-over').first();
    await over.waitFor({ timeout: DEADLINE });
    await page.locator('main section.result[aria-busy=false]').first().waitFor({ timeout: DEADLINE });
    const { x, y, width, height } = await until('the size of the chart', () => over.boundingBox().catch(() => undefined));
    await page.mouse.move(x + width * 0.3, y + height / 2);
    await page.mouse.down();
    await page.mouse.move(x + width * 0.6, y + height / 2, { steps: 5 });
    await page.mouse.up();
    await until('the zoomed range', () => /^\d{13}$/.test(new URL(page.url()).searchParams.get('from') ?? ''));
  },

  async 'logs show lines, their volume, fields and patterns'(page, { url }) {
    await filled(page, url, `/explore?lang=logql&q=${query('{service_name="obs"}')}`);
    const lines = page.locator('main ol.lines > li');
    await lines.first().waitFor({ timeout: DEADLINE });
    await coloured(page.locator('main .chart canvas').first(), 20);
    await lines.first().locator('button.line').click();
    const labels = await lines.first().locator('dl').first().innerText();
    check(labels.includes('service_name') && labels.includes('obs'), labels);
    await page.locator('aside[aria-label=Fields] button', { hasText: 'service_name' }).first().waitFor({ timeout: DEADLINE });
    await picture(page, 'logs');
    await page.locator('[role=tab]', { hasText: 'Patterns' }).click();
    await state(page, 'ok');
    await open(page, url, `/explore?lang=logql&q=${query('{service_name="nobody"}')}`);
    await state(page, 'empty');
  },

  async 'lines appear while they are followed'(page, { url, api }) {
    await open(page, url, `/explore?lang=logql&q=${query('{app="live"}')}`);
    await state(page, 'empty');
    await page.locator('label.live input').check();
    // The tail may begin after the first line: they are sent until one is seen.
    await until('a line', async () => {
      const now = `${BigInt(Date.now()) * 1_000_000n}`;
      await post(api, '/loki/api/v1/push', { streams: [{ stream: { app: 'live' }, values: [[now, 'just now']] }] });
      return page.locator('main ol.lines > li', { hasText: 'just now' }).first().isVisible();
    });
  },

  async 'from a line to its trace, its spans, and back to the lines'(page, { url }) {
    await filled(page, url, `/explore?lang=logql&q=${query('{app="shop"} |= "declined"')}`);
    await page.locator('main ol.lines > li button.line').first().click();
    await page.locator('main .details a', { hasText: 'Trace' }).click();
    const rows = page.locator('main ol.waterfall > li');
    await rows.first().waitFor({ timeout: DEADLINE });
    await counted('spans', rows, 4);
    await page.locator('main .critical').first().waitFor({ timeout: DEADLINE });
    const bar = await rows.first().locator('.bar').boundingBox();
    check(bar && bar.width > 100, 'the bar has no size');
    await rows.locator('button.span', { hasText: 'pay' }).click();
    const details = page.locator('aside.details-of-span');
    await details.locator('dd', { hasText: 'PaymentError' }).first().waitFor({ timeout: DEADLINE });
    await details.locator('ol.lines', { hasText: 'card declined' }).waitFor({ timeout: DEADLINE });
    await picture(page, 'trace');
    await page.locator('[role=tab]', { hasText: 'Flame' }).click();
    await counted('spans in the flame graph', page.locator('svg.flame rect'), 4);
    await open(page, url, `/compare/${TRACE}/${OTHER}`);
    await page.locator('main td', { hasText: '+80 ms' }).first().waitFor({ timeout: DEADLINE });
    await picture(page, 'compare');
  },

  async 'traces are listed, with their durations'(page, { url }) {
    await filled(page, url, `/explore?lang=traceql&q=${query('{ resource.service.name = "front" }')}`);
    await page.locator('svg.scatter circle').nth(1).waitFor({ timeout: DEADLINE });
    await picture(page, 'traces');
    await page.locator('main table.traces tbody a').first().click();
    await page.locator('main ol.waterfall > li').first().waitFor({ timeout: DEADLINE });
  },

  async 'services, errors, Kubernetes, cardinality and status are filled'(page, { url }) {
    await filled(page, url, '/service-map');
    await page.locator('svg.node-graph .node', { hasText: 'cart' }).waitFor({ timeout: DEADLINE });
    await picture(page, 'services');
    await filled(page, url, '/errors');
    await page.locator('main td a', { hasText: 'PaymentError' }).click();
    await page.locator('main pre', { hasText: 'charge' }).waitFor({ timeout: DEADLINE });
    await filled(page, url, '/kubernetes');
    await page.locator('main td a', { hasText: 'shop' }).nth(1).click();
    await page.locator('main td a', { hasText: 'shop-0' }).click();
    await page.locator('main ol.lines', { hasText: 'card declined' }).waitFor({ timeout: DEADLINE });
    await picture(page, 'pod');
    await filled(page, url, '/cardinality');
    await picture(page, 'cardinality');
    await filled(page, url, '/status');
    await page.locator('[role=tab]', { hasText: 'Configuration' }).click();
    await page.locator('main pre', { hasText: 'scrape_configs' }).waitFor({ timeout: DEADLINE });
  },

  async 'alerts are acknowledged, silenced, routed, and remembered'(page, { url, api }) {
    await stored(api, 'ALERTS{alertname="SeedIsLarge", alertstate="firing"}');
    await open(page, url, '/alerts');
    await state(page, 'ok');
    await page.locator('main li', { hasText: 'The seed is 42' }).first().waitFor({ timeout: DEADLINE });
    await until('the notification', async () => {
      await open(page, url, '/alerts?view=alerts');
      await page.waitForSelector('main section.result:not([data-state="loading"])', { timeout: DEADLINE });
      return page.locator('main li[data-fingerprint]', { hasText: 'SeedIsLarge' }).first().isVisible();
    });
    const held = page.locator('main li[data-fingerprint]', { hasText: 'SeedIsLarge' }).first();
    await held.locator('button', { hasText: 'Acknowledge' }).click();
    await held.locator('form input').nth(0).fill('Ada');
    await held.locator('form input').nth(1).fill('I look at it');
    await held.locator('form button[type=submit]').click();
    await held.locator('.badge', { hasText: 'acknowledged by Ada' }).waitFor({ timeout: DEADLINE });
    await picture(page, 'alerts');
    check((await (await fetch(`${api}/api/v1/alertmanager/acks`)).json()).some((one) => one.createdBy === 'Ada' && one.comment === 'I look at it'), 'the server knows of no acknowledgement');
    await held.locator('button', { hasText: 'Take back' }).click();
    await held.locator('button', { hasText: 'Acknowledge' }).waitFor({ timeout: DEADLINE });
    await held.locator('button', { hasText: 'Where it goes' }).click();
    await page.locator('main .routes-found li', { hasText: 'on-call' }).waitFor({ timeout: DEADLINE });
    await open(page, url, `/alerts?view=silences&matchers=${query('alertname="SeedIsLarge"')}`);
    await page.locator('main form', { hasText: 'Silences 1 alert now' }).waitFor({ timeout: DEADLINE });
    await page.locator('main form input').nth(3).fill('known');
    await page.locator('main form button[type=submit]').click();
    await page.locator('main .badge', { hasText: 'active' }).waitFor({ timeout: DEADLINE });
    await until('the silenced alert', async () => {
      await open(page, url, '/alerts?view=alerts');
      await page.waitForSelector('main section.result:not([data-state="loading"])', { timeout: DEADLINE });
      return page.locator('main li[data-fingerprint]', { hasText: 'silenced by Ada' }).first().isVisible();
    });
    await open(page, url, '/alerts?view=silences');
    await page.locator('main li', { hasText: 'SeedIsLarge' }).locator('button', { hasText: 'Expire' }).click();
    await page.locator('main .badge', { hasText: 'expired' }).waitFor({ timeout: DEADLINE });
    await filled(page, url, '/alerts?view=history&from=now-15m');
    await page.locator('main table.alert-history tr', { hasText: 'SeedIsLargeForLong' }).locator('rect').first().waitFor({ timeout: DEADLINE, state: 'attached' });
    await page.evaluate(() => localStorage.clear());
  },

  async 'a tenant sees its own data'(page, { url, api }) {
    const line = { streams: [{ stream: { app: 'theirs' }, values: [[`${BigInt(Date.now()) * 1_000_000n}`, 'of team blue']] }] };
    const sent = await fetch(`${api}/loki/api/v1/push`, { method: 'POST', headers: { 'content-type': 'application/json', 'x-scope-orgid': 'blue' }, body: JSON.stringify(line) });
    check(sent.ok, `the line was not taken: ${sent.status}`);
    const address = `/explore?lang=logql&q=${query('{app="theirs"}')}`;
    await open(page, url, address);
    await state(page, 'empty');
    await page.locator('button[aria-label^="Tenant"]').click();
    await page.locator('.tenant input').fill('no/name');
    await page.locator('.tenant [role=alert]').waitFor({ timeout: DEADLINE });
    await page.locator('.tenant input').fill('blue');
    await page.keyboard.press('Enter');
    await page.locator('main ol.lines > li', { hasText: 'of team blue' }).waitFor({ timeout: DEADLINE });
    check((await page.locator('button[aria-label^="Tenant"]').innerText()) === 'blue', 'the tenant is not shown');
    await page.evaluate(() => localStorage.clear());
    await open(page, url, `${address}&tenant=blue`);
    await state(page, 'ok');
    await page.evaluate(() => localStorage.clear());
    await open(page, url, address);
    await state(page, 'empty');
  },

  async 'home tells what changed'(page, { url, api }) {
    await stored(api, 'ALERTS{alertname="SeedIsLarge", alertstate="firing"}');
    await until('the alert among what changed', async () => {
      await open(page, url, '/');
      const card = page.locator('main section.card', { has: page.locator('h2', { hasText: 'What changed' }) });
      await card.locator('section.result:not([data-state=loading])').waitFor({ timeout: DEADLINE });
      return card.locator('ul.changes li', { hasText: 'SeedIsLarge' }).first().isVisible();
    });
    await page.locator('main ul.changes li', { hasText: 'PaymentError' }).waitFor({ timeout: DEADLINE });
  },

  async 'what sets traces apart, and where their time goes'(page, { url }) {
    await filled(page, url, `/explore?lang=traceql&q=${query('{}')}&view=compare&select=${query('status = error')}`);
    const status = page.locator('main .differences section', { has: page.locator('h3', { hasText: /^status$/ }) });
    await status.locator('button', { hasText: 'error' }).waitFor({ timeout: DEADLINE });
    await picture(page, 'differences');
    await page.locator('main .differences button.difference', { hasText: 'POST /pay' }).first().click();
    await until('the condition in the query', () => (new URL(page.url()).searchParams.get('q') ?? '').includes('POST /pay'));
    await filled(page, url, `/explore?lang=traceql&q=${query('{ resource.service.name = "front" }')}&view=flames`);
    await page.locator('main svg.flame rect title', { hasText: 'pay: POST /pay' }).first().waitFor({ timeout: DEADLINE, state: 'attached' });
    await filled(page, url, `/explore?lang=traceql&q=${query('{ resource.service.name = "front" }')}`);
    const { x, y, width, height } = await until('the size of the scatter', () => page.locator('svg.scatter').boundingBox());
    await page.mouse.move(x + 70, y + 3);
    await page.mouse.down();
    await page.mouse.move(x + width - 14, y + height - 30, { steps: 4 });
    await page.mouse.up();
    await until('the selection in the address', () => (new URL(page.url()).searchParams.get('select') ?? '').includes('traceDuration'));
    await state(page, 'ok');
  },

  async 'a query is explained part by part'(page, { url, api }) {
    const text = 'sum(seed) + sum(nothing_at_all)';
    await open(page, url, `/explore?lang=promql&q=${query(text)}&view=explain`);
    await state(page, 'ok');
    const told = await (await fetch(`${api}/api/v1/explain?intermediate=true&query=${query(text)}`)).json();
    if (!told.data.tree) {
      await page.locator('main pre', { hasText: 'sum' }).first().waitFor({ timeout: DEADLINE });
      return;
    }
    const part = (name) => page.locator('main table.explain tr', { has: page.locator('code', { hasText: name }) });
    await part(/^seed$/).locator('td.number', { hasText: '3' }).first().waitFor({ timeout: DEADLINE });
    await part(/^nothing_at_all$/).locator('.badge.err', { hasText: '0' }).waitFor({ timeout: DEADLINE });
    await part(/^seed$/).locator('button').click();
    await page.locator('main mark', { hasText: /^seed$/ }).waitFor({ timeout: DEADLINE });
    await page.locator('main section[aria-label="The chosen part"] td', { hasText: 'kind="a"' }).waitFor({ timeout: DEADLINE });
    await picture(page, 'explain');
  },

  async 'markup in data stays text'(page, { url, evil }) {
    const shows = async (path, selector) => {
      await filled(page, url, path);
      const found = page.locator(selector).filter({ hasText: '<img src=x' });
      await found.first().waitFor({ timeout: DEADLINE });
      await unharmed(page, path);
      return found.first();
    };
    await shows('/explore?q=seed', 'table.legend td');
    const line = await shows(`/explore?lang=logql&q=${query('{app="markup"}')}`, 'ol.lines > li');
    await line.locator('button.line').click();
    await line.locator('dd', { hasText: '<img src=x' }).first().waitFor({ timeout: DEADLINE });
    await shows(`/explore?lang=traceql&q=${query('{ status = error && span.evil != "" }')}`, 'table.traces td');
    await shows(`/trace/${evil}?span=00000000000000d1`, 'aside.details-of-span');
    await shows('/errors', 'main td');
    await shows('/service-map', 'main td');
    await unharmed(page, 'the last page');
  },

  async 'keys lead to pages, the palette finds them, the theme changes'(page, { url }) {
    await open(page, url, '/');
    await page.locator('main[data-page="home"]').waitFor({ timeout: DEADLINE });
    await page.keyboard.press('g');
    await page.keyboard.press('t');
    await page.locator('main[data-page="targets"]').waitFor({ timeout: DEADLINE });
    await page.keyboard.press('Control+k');
    await page.locator('dialog.palette input').fill('cardin');
    await page.keyboard.press('Enter');
    await page.locator('main[data-page="cardinality"]').waitFor({ timeout: DEADLINE });
    const ground = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
    const before = await ground();
    await page.locator('button[aria-label^="Theme"]').click();
    await page.locator('button[aria-label^="Theme"]').click();
    await until('another theme', async () => (await ground()) !== before);
    await page.evaluate(() => localStorage.clear());
  },

  async 'every page is reached by its link, also on a small screen'(page, { url }) {
    await page.setViewportSize({ width: 390, height: 800 });
    await open(page, url, '/');
    for (const name of ['Explore', 'Dashboards', 'Services', 'Kubernetes', 'Alerts', 'Errors', 'Targets', 'Cardinality', 'Status', 'Home']) {
      await page.locator('header nav a', { hasText: name }).click();
      await page.locator('header nav a[aria-current=page]', { hasText: name }).waitFor({ timeout: DEADLINE });
      await page.locator('main > *').first().waitFor({ timeout: DEADLINE });
      await unharmed(page, name);
    }
    await filled(page, url, `/trace/${TRACE}`);
    await unharmed(page, 'a trace');
    await picture(page, 'small-trace');
    await page.setViewportSize({ width: 1400, height: 900 });
  },

  async 'old addresses lead on'(page, { url }) {
    await open(page, url, '/#/graph?q=up&since=300');
    await state(page, 'ok');
    check(page.url().includes('/explore?q=up'), page.url());
    await open(page, url, '/graph?g0.expr=up&g0.tab=1');
    await state(page, 'ok');
    check(page.url().includes('view=table'), page.url());
  },
};
