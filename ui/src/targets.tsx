// The targets page: what is scraped, and what is wrong with it.

import { targets, type Target } from './api';
import { ago, duration } from './format';
import { useLoad, useTick } from './load';
import { Show } from './parts';

const REFRESH_SECONDS = 5;

export function TargetsPage() {
  const tick = useTick(REFRESH_SECONDS);
  const loaded = useLoad([tick], (signal) => targets(signal));
  return (
    <Show of={loaded} empty={(all) => all.length === 0} whenEmpty="No targets.">
      {(all) => {
        const pools = [...new Set(all.map((t) => t.scrapePool))].sort();
        return pools.map((pool) => <Pool key={pool} name={pool} targets={all.filter((t) => t.scrapePool === pool)} />);
      }}
    </Show>
  );
}

function Pool({ name, targets: list }: { name: string; targets: Target[] }) {
  const up = list.filter((t) => t.health === 'up').length;
  return (
    <section class="pool">
      <h2>{name} <small class={up === list.length ? 'up' : 'down'}>{up} of {list.length} up</small></h2>
      <table class="targets stack">
        <thead>
          <tr><th>target</th><th>health</th><th>labels</th><th>last scrape</th><th class="number">took</th><th>error</th></tr>
        </thead>
        <tbody>
          {list.map((t) => (
            <tr key={t.scrapeUrl} data-health={t.health}>
              <td><a href={t.scrapeUrl}>{t.scrapeUrl}</a></td>
              <td><span class={`badge ${t.health}`}>{t.health}</span></td>
              <td>{Object.entries(t.labels).map(([key, value]) => <code key={key} class="label">{key}="{value}"</code>)}</td>
              <td data-label="last scrape">{ago(t.lastScrape, Date.now())}</td>
              <td class="number" data-label="took">{duration(t.lastScrapeDuration * 1e9)}</td>
              <td class="error">{t.lastError}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </section>
  );
}
