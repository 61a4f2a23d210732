// Cardinality: what the series are made of, and what could be given up.

import { series, tsdbStatus, type Counted, type TsdbStatus } from '../api/prometheus';
import { bytes, count } from '../format/text';
import { useLoad } from '../load';
import { Show } from '../parts/show';
import { link, setParams, useRoute } from '../route';
import { useTime } from '../time/store';

export default function CardinalityPage() {
  const { tick } = useTime();
  const { params } = useRoute();
  const loaded = useLoad([tick], (signal) => tsdbStatus(30, signal));
  const metric = params.get('metric');
  return (
    <>
      <div class="page-head"><h1>Cardinality</h1>{metric && <button type="button" onClick={() => setParams({ metric: undefined })}>All metrics</button>}</div>
      {metric ? <Metric name={metric} /> : <Show of={loaded}>{(status) => <Overview status={status} />}</Show>}
    </>
  );
}

/** What a reader could do, in words, with the rule to paste. */
export function advice(status: TsdbStatus): { text: string; rule?: string }[] {
  const total = status.headStats.numSeries ?? 0;
  const out: { text: string; rule?: string }[] = [];
  const [largest] = status.seriesCountByMetricName;
  if (largest && largest.value > 100 && largest.value > total * 0.1) {
    out.push({ text: `${largest.name} has ${Math.round((largest.value / total) * 100)}% of all series. If nobody asks for it, drop it when it is scraped.`, rule: `metric_relabel_configs:\n- source_labels: [__name__]\n  regex: ${largest.name}\n  action: drop` });
  }
  for (const label of status.labelValueCountByLabelName.filter((one) => one.name !== '__name__' && one.value > 1000).slice(0, 3)) {
    out.push({ text: `The label ${label.name} has ${label.value.toLocaleString('en-US')} values. Ids of requests, users or sessions belong into logs or traces.`, rule: `metric_relabel_configs:\n- regex: ${label.name}\n  action: labeldrop` });
  }
  const buckets = status.seriesCountByMetricName.filter((one) => one.name.endsWith('_bucket')).reduce((sum, one) => sum + one.value, 0);
  if (buckets > total * 0.4 && buckets > 200) out.push({ text: `${Math.round((buckets / total) * 100)}% of the series are buckets of classic histograms. Native histograms keep one series each: scrape_native_histograms.` });
  return out;
}

function Overview({ status }: { status: TsdbStatus }) {
  const total = status.headStats.numSeries ?? 0;
  const hints = advice(status);
  return (
    <>
      <div class="numbers">
        <div><b>{total.toLocaleString('en-US')}</b><small>series</small></div>
        <div><b>{(status.headStats.numLabelPairs ?? 0).toLocaleString('en-US')}</b><small>label pairs</small></div>
        <div><b>{(status.headStats.numSamples ?? 0).toLocaleString('en-US')}</b><small>samples</small></div>
      </div>
      <section class="card">
        <h2>Advice</h2>
        {hints.length === 0 ? <p class="quiet">Nothing stands out.</p> : <ul class="list">{hints.map((one, i) => <li key={i}>{one.text}{one.rule && <pre>{one.rule}</pre>}</li>)}</ul>}
      </section>
      <div class="columns" style={{ marginTop: '12px' }}>
        <Top title="Metrics by series" all={status.seriesCountByMetricName} total={total} onPick={(name) => setParams({ metric: name })} />
        <Top title="Labels by values" all={status.labelValueCountByLabelName} />
        <Top title="Pairs by series" all={status.seriesCountByLabelValuePair} total={total} />
        <Top title="Labels by memory" all={status.memoryInBytesByLabelName} show={bytes} />
      </div>
    </>
  );
}

function Top({ title, all, total, show = (n) => n.toLocaleString('en-US'), onPick }: { title: string; all: Counted[]; total?: number; show?: (n: number) => string; onPick?: (name: string) => void }) {
  const most = Math.max(1, ...all.map((one) => one.value));
  return (
    <section class="card">
      <h2>{title}</h2>
      <table>
        <tbody>
          {all.map((one) => (
            <tr key={one.name}>
              <td>{onPick ? <button type="button" class="plain" onClick={() => onPick(one.name)}><code>{one.name}</code></button> : <code>{one.name}</code>}<span class="meter" style={{ width: `${(one.value / most) * 100}%` }} /></td>
              <td class="number">{show(one.value)}{total ? <small class="quiet"> {((one.value / total) * 100).toFixed(1)}%</small> : ''}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </section>
  );
}

function Metric({ name }: { name: string }) {
  const { range } = useTime();
  const loaded = useLoad([name, range], async (signal) => {
    const all = await series([`{__name__=${JSON.stringify(name)}}`], range, signal);
    const labels = new Map<string, Map<string, number>>();
    for (const one of all) {
      for (const [label, value] of Object.entries(one)) {
        if (label === '__name__') continue;
        const values = labels.get(label) ?? new Map<string, number>();
        values.set(value, (values.get(value) ?? 0) + 1);
        labels.set(label, values);
      }
    }
    return { total: all.length, labels: [...labels].sort((a, b) => b[1].size - a[1].size) };
  });
  return (
    <>
      <h2><code>{name}</code> <a href={link('/explore', { lang: 'promql', q: name })}>Explore</a></h2>
      <Show of={loaded} empty={(found) => found.total === 0} whenEmpty="No series in this range.">
        {(found) => (
          <>
            <p>{found.total.toLocaleString('en-US')} series, by their labels:</p>
            <div class="columns">
              {found.labels.map(([label, values]) => <Top key={label} title={`${label}: ${count(values.size, 'value')}`} total={found.total} all={[...values].sort((a, b) => b[1] - a[1]).slice(0, 10).map(([value, n]) => ({ name: value, value: n }))} />)}
            </div>
          </>
        )}
      </Show>
    </>
  );
}
