// The panels `alertlist`, `dashlist` and `annolist`.

import { rules, type RuleGroup } from '../../api/prometheus';
import { dashboards, type DashboardSummary } from '../../api/server';
import { colourOf } from '../../format/colours';
import { ago, moment } from '../../format/text';
import { bool, num, obj, str, strs } from '../../json';
import { Labels } from '../../parts/show';
import { kept, link, useRoute } from '../../route';
import { zoom } from '../../time/store';
import type { DashboardContext } from '../context';
import type { Panel } from '../model';
import type { PanelProps } from './types';

export const loadAlerts = (_: Panel, __: DashboardContext, signal: AbortSignal): Promise<RuleGroup[]> => rules(signal);

export function AlertListPanel({ panel, data, height }: PanelProps) {
  const filter = obj(panel.options.stateFilter);
  const wanted = (state: string) => Object.keys(filter).length === 0 || bool(filter[state === 'inactive' ? 'normal' : state]);
  const name = str(panel.options.alertName).toLowerCase();
  const found = ((data.extra ?? []) as RuleGroup[]).flatMap((group) => group.rules)
    .filter((rule) => rule.type === 'alerting' && wanted(rule.state ?? 'inactive') && rule.name.toLowerCase().includes(name));
  const order = ['firing', 'pending', 'inactive'];
  found.sort((a, b) => order.indexOf(a.state ?? 'inactive') - order.indexOf(b.state ?? 'inactive'));
  if (found.length === 0) return <p class="panel-note">No alerts in these states.</p>;
  return (
    <div class="scroll" style={{ height: `${height}px` }}>
      <ul class="list">
        {found.slice(0, num(panel.options.maxItems) ?? 20).map((rule, i) => (
          <li key={i}>
            <span class={`badge ${rule.state}`}>{rule.state}</span> <a href={link('/alerts', { q: rule.name })}>{rule.name}</a>
            {(rule.alerts ?? []).slice(0, 5).map((alert, k) => <div key={k} class="quiet"><Labels labels={alert.labels} without={['alertname']} /> {alert.activeAt && ago(alert.activeAt, Date.now())}</div>)}
          </li>
        ))}
      </ul>
    </div>
  );
}

export const loadDashboards = (_: Panel, __: DashboardContext, signal: AbortSignal): Promise<DashboardSummary[]> => dashboards(signal);

export function DashListPanel({ panel, data, height }: PanelProps) {
  const { params } = useRoute();
  const tags = strs(panel.options.tags);
  const text = str(panel.options.query).toLowerCase();
  const found = ((data.extra ?? []) as DashboardSummary[]).filter((one) => tags.every((tag) => one.tags.includes(tag)) && one.title.toLowerCase().includes(text));
  if (found.length === 0) return <p class="panel-note">No dashboards.</p>;
  return (
    <div class="scroll" style={{ height: `${height}px` }}>
      <ul class="list">
        {found.slice(0, num(panel.options.maxItems) ?? 50).map((one) => <li key={one.uid}><i style={{ background: colourOf(one.title) }} /><a href={link(`/d/${encodeURIComponent(one.uid)}`, bool(panel.options.keepTime) ? kept(params) : {})}>{one.title}</a></li>)}
      </ul>
    </div>
  );
}

/** The annotations of the dashboard, the newest first. */
export function AnnotationListPanel({ panel, context, height }: PanelProps) {
  const found = [...context.regions].sort((a, b) => b.start - a.start).slice(0, num(panel.options.limit) ?? 10);
  if (found.length === 0) return <p class="panel-note">No annotations.</p>;
  const back = (context.range.end - context.range.start) / 20;
  return (
    <div class="scroll" style={{ height: `${height}px` }}>
      <ul class="list">
        {found.map((one, i) => (
          <li key={i}>
            <i style={{ background: one.colour }} /><button type="button" class="plain" title="Show this time" onClick={() => zoom({ start: one.start - back, end: one.end + back })}>{one.title}</button>
            {bool(panel.options.showTime, true) && <small class="quiet"> {moment(one.start)}{one.end > one.start ? ` – ${moment(one.end)}` : ''}</small>}
          </li>
        ))}
      </ul>
    </div>
  );
}
