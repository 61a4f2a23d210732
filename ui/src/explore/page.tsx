// Explore: one question in any of the three languages, and every way on from its answer.

import { useEffect, useState } from 'preact/hooks';
import { isMetrics } from '../api/tempo';
import { setParams, useRoute } from '../route';
import { Tabs } from '../parts/show';
import { refresh, useTime } from '../time/store';
import { QueryBar } from './bar';
import { remember } from './history';
import { detect, isLogMetric, type Language } from './language';
import { LogsView } from './logs';
import { MetricsView } from './metrics';
import { CompareView } from './compare';
import { ExplainView } from './explain';
import { FlamesView } from './flames';
import { PlanView } from './plan';
import { Start } from './start';
import { Share } from './share';
import { TracesView } from './traces';

const isLanguage = (text: string | null): text is Language => text === 'promql' || text === 'logql' || text === 'traceql';

function viewsOf(lang: Language, q: string): [string, string][] {
  const plan: [string, string] = ['plan', 'Plan and cost'];
  if (lang === 'logql' && !isLogMetric(q)) return [['logs', 'Logs'], ['patterns', 'Patterns'], plan];
  if (lang === 'traceql' && !isMetrics(q)) return [['traces', 'Traces'], ['spans', 'Spans'], ['flames', 'Flame graph'], ['compare', 'What differs'], plan];
  return [['graph', 'Graph'], ['table', 'Table'], ['heatmap', 'Heatmap'], ['explain', 'Explain'], plan];
}

export default function ExplorePage() {
  const { params } = useRoute();
  const { range, tick } = useTime();
  const q = params.get('q') ?? '';
  const asked = params.get('lang');
  const [preferred, setPreferred] = useState<Language>('promql');
  const lang = isLanguage(asked) ? asked : q ? detect(q) : preferred;
  const views = viewsOf(lang, q);
  const view = views.find(([id]) => id === params.get('view'))?.[0] ?? views[0]?.[0] ?? 'graph';
  useEffect(() => remember(lang, q), [lang, q]);
  const ask = (text: string) => {
    if (text === q) refresh();
    else setParams({ q: text, lang: isLanguage(asked) && (detect(text) === asked || asked !== 'promql') ? asked : detect(text), view: undefined });
  };
  const key = `${lang}|${q}`;
  return (
    <>
      <QueryBar lang={lang} auto={!isLanguage(asked)} q={q} onAsk={ask} onLanguage={(next) => { setPreferred(next); setParams({ lang: next, view: undefined }); }} />
      {q === '' && <Start lang={lang} range={range} tick={tick} />}
      {q !== '' && (
        <>
          <div class="explore-bar">
            <Tabs label="View" all={views} now={view} onPick={(id) => setParams({ view: id })} />
            <Share lang={lang} q={q} range={range} />
          </div>
          {view === 'plan' && <PlanView lang={lang} q={q} range={range} tick={tick} />}
          {view === 'explain' && <ExplainView key={key} q={q} range={range} tick={tick} />}
          {view === 'flames' && <FlamesView key={key} q={q} range={range} tick={tick} />}
          {view === 'compare' && <CompareView key={key} q={q} range={range} tick={tick} />}
          {(view === 'logs' || view === 'patterns') && <LogsView key={key} q={q} range={range} tick={tick} patterns={view === 'patterns'} />}
          {(view === 'traces' || view === 'spans') && <TracesView key={key} q={q} range={range} tick={tick} spans={view === 'spans'} />}
          {(view === 'graph' || view === 'table' || view === 'heatmap') && <MetricsView key={key} lang={lang} q={q} range={range} tick={tick} view={view} />}
        </>
      )}
    </>
  );
}
