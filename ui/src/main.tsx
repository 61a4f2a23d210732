import { render } from 'preact';
import 'uplot/dist/uPlot.min.css';
import './style.css';
import { GraphPage } from './graph';
import { useLocation, type Page } from './location';
import { LogsPage } from './logs';
import { TargetsPage } from './targets';
import { TracesPage } from './traces';

const PAGES: [Page, string][] = [
  ['graph', 'Graph'],
  ['logs', 'Logs'],
  ['traces', 'Traces'],
  ['targets', 'Targets'],
];

const RANGES: [number, string][] = [
  [300, '5 min'],
  [900, '15 min'],
  [1800, '30 min'],
  [3600, '1 h'],
  [21600, '6 h'],
  [86400, '1 day'],
  [604800, '7 days'],
];

function App() {
  const [state, change] = useLocation();
  return (
    <>
      <header>
        <a class="brand" href="#/graph">obs</a>
        <nav aria-label="Pages">
          {PAGES.map(([page, name]) => (
            <a key={page} href={`#/${page}`} aria-current={state.page === page ? 'page' : undefined}>
              {name}
            </a>
          ))}
        </nav>
        {state.page !== 'targets' && (
          <label class="range">
            <span>last</span>
            <select value={state.since} onChange={(e) => change({ since: Number(e.currentTarget.value) })}>
              {RANGES.map(([seconds, name]) => (
                <option key={seconds} value={seconds}>{name}</option>
              ))}
            </select>
          </label>
        )}
      </header>
      <main data-page={state.page}>
        {state.page === 'graph' && <GraphPage state={state} change={change} />}
        {state.page === 'logs' && <LogsPage state={state} change={change} />}
        {state.page === 'traces' && <TracesPage state={state} change={change} />}
        {state.page === 'targets' && <TargetsPage />}
      </main>
    </>
  );
}

const root = document.getElementById('app');
if (root) render(<App />, root);
