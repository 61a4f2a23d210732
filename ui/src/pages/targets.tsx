// Targets: what is scraped, what was found and left out, and what relabelling made of each.

import { useState } from 'preact/hooks';
import { relabelSteps, targets, type Labels as LabelSet, type Target } from '../api/prometheus';
import { ago, count, duration } from '../format/text';
import { useLoad, useTick } from '../load';
import { Labels, Show } from '../parts/show';
import { safe } from '../dashboards/links';
import { link, setParams, useRoute } from '../route';

export default function TargetsPage() {
  const { params } = useRoute();
  const tick = useTick(5);
  const loaded = useLoad([tick], (signal) => targets('any', signal));
  const q = (params.get('q') ?? '').toLowerCase();
  const health = params.get('health') ?? '';
  const fits = (target: Target) => (!health || target.health === health) && `${target.scrapePool} ${target.scrapeUrl} ${JSON.stringify(target.labels)} ${target.lastError}`.toLowerCase().includes(q);
  return (
    <>
      <div class="page-head">
        <h1>Targets</h1>
        <input aria-label="Find" placeholder="Find by label, address or error …" value={q} onInput={(e) => setParams({ q: e.currentTarget.value }, 'replace')} />
        <select aria-label="Health" value={health} onChange={(e) => setParams({ health: e.currentTarget.value })}><option value="">all</option><option>up</option><option>down</option><option>unknown</option></select>
      </div>
      <Show of={loaded} empty={(found) => found.activeTargets.length === 0} whenEmpty="Nothing is scraped. scrape_configs in the configuration says what should be.">
        {(found) => {
          const shown = found.activeTargets.filter(fits);
          const pools = [...new Set(shown.map((target) => target.scrapePool))].sort();
          return (
            <>
              {pools.map((pool) => <Pool key={pool} name={pool} all={shown.filter((target) => target.scrapePool === pool)} dropped={found.droppedTargetCounts?.[pool] ?? 0} />)}
              <Dropped all={found.droppedTargets ?? []} />
            </>
          );
        }}
      </Show>
    </>
  );
}

function Pool({ name, all, dropped }: { name: string; all: Target[]; dropped: number }) {
  const up = all.filter((target) => target.health === 'up').length;
  const [open, setOpen] = useState<string>();
  return (
    <section class="pool">
      <h2>{name} <small class={up === all.length ? 'quiet' : 'error'}>{up} of {all.length} up{dropped > 0 ? `, ${dropped} dropped` : ''}</small></h2>
      <div class="card scroll">
        <table class="targets">
          <thead><tr><th>Address</th><th>Health</th><th>Labels</th><th>Last scrape</th><th class="number">Took</th><th>Error</th><th /></tr></thead>
          <tbody>
            {all.map((target, i) => {
              const key = `${i}${target.scrapeUrl}`;
              return [
                <tr key={key} data-health={target.health}>
                  <td><a href={safe(target.scrapeUrl)} rel="noopener noreferrer">{target.scrapeUrl}</a></td>
                  <td><span class={`badge ${target.health}`}>{target.health}</span></td>
                  <td class="wide-cell"><Labels labels={target.labels} /></td>
                  <td>{ago(target.lastScrape, Date.now())}</td>
                  <td class="number">{duration(target.lastScrapeDuration * 1e9)}</td>
                  <td class="error">{target.lastError}</td>
                  <td><button type="button" class="plain" aria-expanded={open === key} onClick={() => setOpen(open === key ? undefined : key)}>Relabelling</button> <a href={link('/explore', { lang: 'promql', q: `up{${Object.entries(target.labels).map(([k, v]) => `${k}=${JSON.stringify(v)}`).join(', ')}}` })}>Graph</a></td>
                </tr>,
                open === key && <tr key={`${key}-open`}><td colSpan={7}><Relabelling pool={name} labels={target.discoveredLabels} /></td></tr>,
              ];
            })}
          </tbody>
        </table>
      </div>
    </section>
  );
}

function Relabelling({ pool, labels }: { pool: string; labels: LabelSet }) {
  const loaded = useLoad([pool, JSON.stringify(labels)], (signal) => relabelSteps(pool, labels, signal));
  return (
    <div class="details">
      <h3>Discovered</h3>
      <p><Labels labels={labels} /></p>
      <Show of={loaded} empty={(steps) => steps.length === 0} whenEmpty="No relabelling is configured here.">
        {(steps) => (
          <ol>
            {steps.map((step, i) => {
              const before = i === 0 ? labels : (steps[i - 1]?.output ?? {});
              const after = step.output ?? {};
              const changed = Object.keys({ ...before, ...after }).filter((name) => before[name] !== after[name]);
              return (
                <li key={i}>
                  <code>{JSON.stringify(step.rule)}</code><br />
                  {step.keep === false ? <em class="failed">dropped here</em> : changed.length === 0 ? <span class="quiet">changes nothing</span> : changed.map((name) => <span key={name} class="label">{name}: {before[name] ?? '–'} → {after[name] ?? '–'}</span>)}
                </li>
              );
            })}
          </ol>
        )}
      </Show>
    </div>
  );
}

function Dropped({ all }: { all: { discoveredLabels: LabelSet; scrapePool?: string }[] }) {
  const [open, setOpen] = useState<number>();
  if (all.length === 0) return null;
  return (
    <section>
      <h2>Found and left out <small class="quiet">{count(all.length, 'target')}</small></h2>
      <ul class="list card">
        {all.slice(0, 200).map((one, i) => {
          const pool = one.scrapePool ?? one.discoveredLabels.job ?? '';
          return <li key={i}><b>{pool}</b> <Labels labels={one.discoveredLabels} /> <button type="button" class="plain" aria-expanded={open === i} onClick={() => setOpen(open === i ? undefined : i)}>Why?</button>{open === i && <Relabelling pool={pool} labels={one.discoveredLabels} />}</li>;
        })}
      </ul>
    </section>
  );
}
