// Alerts: rules and their state, what Alertmanager does with them, what was, silences, and routes.

import { Tabs } from '../parts/show';
import { setParams, useRoute } from '../route';
import { AlertHistory } from './history';
import { Managed } from './managed';
import { Routes } from './routes';
import { Rules } from './rules';
import { Silences } from './silences';

const VIEWS: [string, string][] = [['rules', 'Rules'], ['alerts', 'Notifications'], ['history', 'History'], ['silences', 'Silences'], ['routes', 'Routes']];

export default function AlertsPage() {
  const { params } = useRoute();
  const view = VIEWS.find(([id]) => id === params.get('view'))?.[0] ?? 'rules';
  return (
    <>
      <div class="page-head">
        <h1>Alerts</h1>
        <input aria-label="Find" placeholder="Find by name, label or text …" value={params.get('q') ?? ''} onInput={(e) => setParams({ q: e.currentTarget.value }, 'replace')} />
      </div>
      <Tabs label="What to show" all={VIEWS} now={view} onPick={(id) => setParams({ view: id })} />
      {view === 'rules' && <Rules q={params.get('q') ?? ''} state={params.get('state') ?? ''} />}
      {view === 'alerts' && <Managed q={params.get('q') ?? ''} />}
      {view === 'history' && <AlertHistory q={params.get('q') ?? ''} />}
      {view === 'silences' && <Silences start={params.get('matchers') ?? ''} />}
      {view === 'routes' && <Routes labels={params.get('labels') ?? ''} />}
    </>
  );
}
