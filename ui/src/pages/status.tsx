// Status: the server itself, its configuration and flags, and what this browser remembers.

import { status } from '../api/prometheus';
import { managerStatus } from '../api/alertmanager';
import { str } from '../json';
import { useLoad } from '../load';
import { Pairs, Show, Tabs } from '../parts/show';
import { setParams, useRoute } from '../route';
import { Settings } from './settings';

const VIEWS: [string, string][] = [['runtime', 'Runtime'], ['config', 'Configuration'], ['flags', 'Flags'], ['alertmanager', 'Alertmanager'], ['settings', 'Settings']];

export default function StatusPage() {
  const { params } = useRoute();
  const view = VIEWS.find(([id]) => id === params.get('view'))?.[0] ?? 'runtime';
  return (
    <>
      <div class="page-head"><h1>Status</h1></div>
      <Tabs label="What to show" all={VIEWS} now={view} onPick={(id) => setParams({ view: id })} />
      {view === 'runtime' && <div class="columns"><Told title="Runtime" what="runtimeinfo" /><Told title="Build" what="buildinfo" /></div>}
      {view === 'flags' && <Told title="Flags" what="flags" />}
      {view === 'config' && <Configuration />}
      {view === 'alertmanager' && <Manager />}
      {view === 'settings' && <Settings />}
    </>
  );
}

function Told({ title, what }: { title: string; what: string }) {
  const loaded = useLoad([what], (signal) => status<Record<string, unknown>>(what, signal));
  return <section class="card"><h2>{title}</h2><Show of={loaded}>{(all) => <Pairs pairs={Object.entries(all).map(([name, value]): [string, string] => [name, str(value) || (typeof value === 'object' && value !== null ? JSON.stringify(value) : '')]).filter(([, value]) => value !== '')} />}</Show></section>;
}

function Configuration() {
  const loaded = useLoad([], (signal) => status<{ yaml: string }>('config', signal));
  return <section class="card"><Show of={loaded} empty={(all) => all.yaml === ''} whenEmpty="The server runs without a configuration file.">{(all) => <pre>{all.yaml}</pre>}</Show></section>;
}

function Manager() {
  const loaded = useLoad([], async (signal) => (await managerStatus(signal)) ?? null);
  return (
    <section class="card">
      <Show of={loaded} empty={(found) => found === null} whenEmpty="This server runs no Alertmanager.">
        {(found) => found && <><Pairs pairs={[['cluster', found.cluster.status], ['since', found.uptime]]} /><pre>{found.config.original}</pre></>}
      </Show>
    </section>
  );
}
