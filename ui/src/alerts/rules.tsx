// Rules by group: state, what is active, how it went over time, and why.

import { useState } from 'preact/hooks';
import * as prometheus from '../api/prometheus';
import type { Rule, RuleAlert } from '../api/prometheus';
import { safe } from '../dashboards/links';
import { Markdown } from '../parts/markdown';
import { ago, count, moment, number, quoted } from '../format/text';
import { formatValue } from '../format/units';
import { useLoad } from '../load';
import { Labels, Show } from '../parts/show';
import { kept, link, setParams, useRoute } from '../route';
import { stepFor, useTime } from '../time/store';

const ORDER: Record<string, number> = { firing: 0, pending: 1, inactive: 2, unknown: 3 };

export function Rules({ q, state }: { q: string; state: string }) {
  const { tick } = useTime();
  const loaded = useLoad([tick], (signal) => prometheus.rules(signal));
  const text = q.toLowerCase();
  const fits = (rule: Rule) => (!state || rule.state === state) && `${rule.name} ${rule.query} ${JSON.stringify(rule.labels ?? {})} ${JSON.stringify(rule.annotations ?? {})}`.toLowerCase().includes(text);
  return (
    <Show of={loaded} empty={(groups) => groups.length === 0} whenEmpty="No rules are loaded. rule_files in the configuration names their files.">
      {(groups) => {
        const all = groups.flatMap((group) => group.rules.filter((rule) => rule.type === 'alerting'));
        const counts = ['firing', 'pending', 'inactive'].map((one) => [one, all.filter((rule) => rule.state === one).length] as const);
        return (
          <>
            <div class="numbers">
              {counts.map(([one, n]) => <a key={one} href={link('/alerts', { state: state === one ? undefined : one, q })} class={one === 'firing' && n > 0 ? 'bad' : ''}><b>{n}</b><small>{one}</small></a>)}
              <div><b>{groups.flatMap((group) => group.rules).filter((rule) => rule.health === 'err').length}</b><small>rules that fail</small></div>
            </div>
            {groups.map((group) => {
              const rules = group.rules.filter(fits).sort((a, b) => (ORDER[a.state ?? 'unknown'] ?? 3) - (ORDER[b.state ?? 'unknown'] ?? 3));
              if (rules.length === 0) return null;
              return (
                <section key={`${group.file}${group.name}`} class="card" style={{ marginBottom: '12px' }}>
                  <h2>{group.name} <small class="quiet">{group.file} · every {formatValue(group.interval, 's')}{group.lastEvaluation && ` · ${ago(group.lastEvaluation, Date.now())}`}{group.evaluationTime !== undefined && ` in ${formatValue(group.evaluationTime, 's')}`}</small></h2>
                  <ul class="list">{rules.map((rule, i) => <RuleItem key={i} rule={rule} />)}</ul>
                </section>
              );
            })}
          </>
        );
      }}
    </Show>
  );
}

function RuleItem({ rule }: { rule: Rule }) {
  const { params } = useRoute();
  const [open, setOpen] = useState(false);
  const alerts = rule.alerts ?? [];
  return (
    <li>
      <button type="button" class="plain" aria-expanded={open} onClick={() => setOpen(!open)}>{open ? '▾' : '▸'}</button>
      {rule.type === 'alerting' ? <span class={`badge ${rule.state}`}>{rule.state}</span> : <span class="badge">record</span>} <b>{rule.name}</b>{' '}
      {alerts.length > 0 && <small class="quiet">{count(alerts.length, 'alert')}</small>} {rule.health === 'err' && <span class="badge err">{rule.lastError}</span>}
      {(alerts[0]?.annotations.summary ?? rule.annotations?.summary) && <span class="quiet"> {alerts[0]?.annotations.summary ?? rule.annotations?.summary}</span>}
      {open && (
        <div class="details">
          <p><a href={link('/explore', { lang: 'promql', q: rule.query, ...kept(params) })}><code>{rule.query}</code></a>{rule.duration ? ` for ${formatValue(rule.duration, 's')}` : ''}</p>
          <p><Labels labels={rule.labels ?? {}} /></p>
          {rule.annotations?.description && <Markdown text={rule.annotations.description} />}
          {rule.annotations?.runbook_url && <p>Runbook: {safe(rule.annotations.runbook_url) ? <a href={safe(rule.annotations.runbook_url)} rel="noopener noreferrer">{rule.annotations.runbook_url}</a> : <code>{rule.annotations.runbook_url}</code>}</p>}
          {rule.type === 'alerting' && <History name={rule.name} />}
          {alerts.map((alert, i) => <Active key={i} alert={alert} />)}
        </div>
      )}
    </li>
  );
}

function Active({ alert }: { alert: RuleAlert }) {
  const matchers = Object.entries(alert.labels).map(([name, value]) => `${name}=${quoted(value)}`).join(', ');
  return (
    <div class="card" style={{ marginTop: '6px' }}>
      <p style={{ margin: 0 }}>
        <span class={`badge ${alert.state}`}>{alert.state}</span> <Labels labels={alert.labels} without={['alertname']} />
        <small class="quiet"> value {number(Number(alert.value))}{alert.activeAt && `, since ${moment(Date.parse(alert.activeAt) / 1000)}`}</small>
        <button type="button" onClick={() => setParams({ view: 'silences', matchers })}>Silence</button>
      </p>
      {alert.annotations.description && <Markdown text={alert.annotations.description} />}
    </div>
  );
}

/** When an alert was pending and firing, from ALERTS. */
function History({ name }: { name: string }) {
  const { range, tick } = useTime();
  const step = stepFor(range, 200, 15);
  const loaded = useLoad([name, range, tick], async (signal) => (await prometheus.queryRange(`count by (alertstate) (ALERTS{alertname=${quoted(name)}})`, { start: Math.floor(range.start / step) * step, end: range.end }, step, signal)).data.result);
  const x = (time: number) => ((time - range.start) / (range.end - range.start)) * 1000;
  return (
    <Show of={loaded} empty={(all) => all.length === 0} whenEmpty="Not active in this range.">
      {(all) => (
        <svg viewBox="0 0 1000 16" preserveAspectRatio="none" style={{ width: '100%', height: '16px', background: 'var(--line)' }} role="img" aria-label="State over time">
          {[...all].sort((a) => (a.metric.alertstate === 'firing' ? 1 : -1)).flatMap((one) => (one.values ?? []).map(([time, n]) => <rect key={`${one.metric.alertstate}${time}`} x={x(time)} y="0" width={Math.max(1, x(time + step) - x(time))} height="16" fill={one.metric.alertstate === 'firing' ? 'var(--bad)' : 'var(--warn)'}><title>{`${moment(time)}: ${n} ${one.metric.alertstate}`}</title></rect>))}
        </svg>
      )}
    </Show>
  );
}
