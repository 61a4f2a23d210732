// Pictures of pages: `node tests/ui/look.mjs URL FOLDER [light,dark] [1400,400] NAME=PATH …`.

import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { browse } from './harness.mjs';

const [url, folder, themes, widths, ...pages] = process.argv.slice(2);
mkdirSync(folder, { recursive: true });
const browser = await browse(join(folder, '.browser'));
const page = await browser.newPage();
page.on('console', (message) => { if (message.type() === 'error') console.log(page.url(), message.text()); });
page.on('pageerror', (error) => console.log(page.url(), error.message));
for (const theme of themes.split(',')) {
  await page.emulateMedia({ colorScheme: theme });
  for (const width of widths.split(',')) {
    await page.setViewportSize({ width: Number(width), height: width < 600 ? 800 : 900 });
    for (const one of pages) {
      const [name, path] = [one.slice(0, one.indexOf('=')), one.slice(one.indexOf('=') + 1)];
      await page.goto(url + path);
      await page.waitForSelector('main > *', { timeout: 20_000 }).catch(() => console.log(`${name}: nothing`));
      await page.waitForLoadState('networkidle').catch(() => undefined);
      await page.waitForFunction(() => !document.querySelector('[aria-busy=true], [data-state=loading]'), undefined, { timeout: 15_000 }).catch(() => console.log(`${name}: still loading`));
      await page.evaluate(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))));
      await page.screenshot({ path: join(folder, `${name}-${theme}-${width}.png`) });
    }
  }
}
await browser.close();
