// A server with an hour of the small shop, until it is told to end: `OBS_BIN=… node tests/ui/demo.mjs FOLDER [flags of serve]`.

import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { serve } from './harness.mjs';
import { ALERTMANAGER, RULES, shop } from './shop.mjs';

export async function demo(folder, more = []) {
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, 'rules.yml'), RULES);
  const config = `
global: {scrape_interval: 2s, scrape_timeout: 1s, evaluation_interval: 5s}
rule_files: [rules.yml]
scrape_configs:
- job_name: shop
  static_configs: [{targets: ['127.0.0.1:1', '127.0.0.1:2'], labels: {namespace: shop}}]
obs:
  telemetry: {logs: true}
  traces: {span_metrics: {enabled: false}, service_graph: {enabled: false}}
  alertmanager:${ALERTMANAGER}`;
  const server = await serve(folder, more, config);
  return { server, ...await shop(server.url) };
}

if (process.argv[1]?.endsWith('demo.mjs')) {
  const { server } = await demo(process.argv[2], process.argv.slice(3));
  console.log(server.url);
  for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => void server.stop().then(() => process.exit(0)));
}
