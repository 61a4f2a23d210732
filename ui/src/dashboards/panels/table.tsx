// The panel `table`: sorted by its heads, filtered by a text, with coloured cells, bars and links.

import { useMemo, useState } from 'preact/hooks';
import { alpha, inkOn, readable } from '../../format/colours';
import { bool, list, num, obj, objs, str, strs } from '../../json';
import { useRoute } from '../../route';
import type { StyledField } from '../fields';
import { rowCount, toText } from '../frame';
import { dataLinks, safe, type Link } from '../links';
import { reduce, reducerLabel } from '../reduce';
import { compare } from '../transform/select';
import { Sparkline } from './stat';
import type { PanelProps } from './types';

/** Rows that are drawn at first; more on demand. */
const ROWS = 200;

interface Sort {
  name: string;
  desc: boolean;
}

function cellType(one: StyledField): string {
  const { custom } = one.config;
  return str(obj(custom.cellOptions).type) || { 'color-background': 'color-background', 'color-text': 'color-text', 'gradient-gauge': 'gauge', 'lcd-gauge': 'gauge', basic: 'gauge', 'json-view': 'json-view' }[str(custom.displayMode)] || 'auto';
}

export function TablePanel({ panel, fields, frames, context, height }: PanelProps) {
  const [which, setWhich] = useState(0);
  const [sort, setSort] = useState<Sort | undefined>(() => {
    const first = objs(panel.options.sortBy)[0];
    return first ? { name: str(first.displayName), desc: bool(first.desc) } : undefined;
  });
  const [most, setMost] = useState(ROWS);
  const frame = frames[Math.min(which, frames.length - 1)];
  const columns = useMemo(() => fields.filter((one) => one.frame === frame && !bool(one.config.custom.hidden) && !bool(obj(one.config.custom.hideFrom).viz)), [fields, frame]);
  const rows = useMemo(() => {
    const order = Array.from({ length: frame ? rowCount(frame) : 0 }, (_, i) => i);
    const by = sort && columns.find((one) => one.name === sort.name);
    if (by) order.sort((a, b) => compare(by.field.values[a], by.field.values[b]) * (sort.desc ? -1 : 1));
    return order;
  }, [frame, columns, sort]);
  const footer = obj(panel.options.footer);
  const click = (name: string) => setSort(sort?.name !== name ? { name, desc: false } : sort.desc ? undefined : { name, desc: true });
  return (
    <div class="table-panel" style={{ height: `${height}px` }}>
      {frames.length > 1 && (
        <select aria-label="Table" value={which} onChange={(e) => setWhich(Number(e.currentTarget.value))}>
          {frames.map((one, i) => <option key={i} value={i}>{one.name ?? fields.find((f) => f.frame === one && f.field.kind === 'number')?.name ?? one.refId}</option>)}
        </select>
      )}
      <div class="scroll">
        <table>
          {panel.options.showHeader !== false && (
            <thead>
              <tr>
                {columns.map((one, i) => (
                  <th key={i} class={alignOf(one)} style={widthOf(one)} aria-sort={sort?.name === one.name ? (sort.desc ? 'descending' : 'ascending') : undefined}>
                    <button type="button" onClick={() => click(one.name)}>{one.name}{sort?.name === one.name ? (sort.desc ? ' ↓' : ' ↑') : ''}</button>
                  </th>
                ))}
              </tr>
            </thead>
          )}
          <tbody>
            {rows.slice(0, most).map((row) => (
              <tr key={row}>{columns.map((one, i) => <Cell key={i} one={one} row={row} context={context} />)}</tr>
            ))}
          </tbody>
          {bool(footer.show) && <tfoot><tr>{columns.map((one, i) => <td key={i} class={alignOf(one)}>{footerText(one, strs(list(footer.reducer)), strs(list(footer.fields)), i)}</td>)}</tr></tfoot>}
        </table>
        {rows.length > most && <button type="button" class="more" onClick={() => setMost(most + 5 * ROWS)}>{rows.length - most} more rows</button>}
      </div>
    </div>
  );
}

function footerText(one: StyledField, reducers: string[], only: string[], place: number): string {
  const id = reducers[0] ?? 'sum';
  if (place === 0 && one.field.kind !== 'number') return reducerLabel(id);
  if (one.field.kind !== 'number' || (only.length > 0 && !only.includes(one.name))) return '';
  return one.show(reduce(id, one.field.values)).text;
}

function alignOf(one: StyledField): string {
  const asked = str(one.config.custom.align, 'auto');
  if (asked === 'right' || asked === 'center' || asked === 'left') return asked;
  return one.field.kind === 'number' ? 'number' : '';
}

function widthOf(one: StyledField) {
  const width = num(one.config.custom.width);
  return width ? { width: `${Math.min(2000, width)}px`, minWidth: `${Math.min(600, width)}px` } : undefined;
}

interface Trend {
  values?: (number | null)[];
  value?: number | null;
}

function Cell({ one, row, context }: { one: StyledField; row: number; context: PanelProps['context'] }) {
  const { params } = useRoute();
  const value = one.field.values[row];
  const type = cellType(one);
  const trend = one.field.kind === 'other' && Array.isArray(obj(value).values) ? (value as Trend) : undefined;
  if (trend) {
    const shown = one.show(trend.value ?? null);
    return <td class="trend"><Sparkline values={trend.values ?? []} colour={one.colour} width={120} height={22} /><span>{shown.text}</span></td>;
  }
  const shown = one.show(value);
  const links = dataLinks(one, row, context.values, params);
  const background = type === 'color-background' && shown.colour !== 'transparent';
  const style = background ? { background: shown.colour, color: inkOn(shown.colour) } : type === 'color-text' ? { color: readable(shown.colour) } : undefined;
  if (type === 'gauge' && shown.number !== null) {
    const part = Math.max(0, Math.min(1, (shown.number - one.min) / (one.max - one.min || 1)));
    return <td class={`gauge-cell ${alignOf(one)}`}><span style={{ background: `linear-gradient(90deg, ${alpha(shown.colour, 0.6)} ${(part * 100).toFixed(1)}%, transparent 0)` }}>{shown.text}</span></td>;
  }
  if (type === 'image') {
    const source = safe(toText(value));
    return <td>{source?.startsWith('data:image/') ? <img src={source} alt="" /> : shown.text}</td>;
  }
  return <td class={alignOf(one)} style={style}><Linked links={links} text={type === 'json-view' ? JSON.stringify(value) : shown.text} /></td>;
}

export function Linked({ links, text }: { links: Link[]; text: string }) {
  const [first] = links;
  if (!first) return <>{text}</>;
  return <a href={first.href} title={links.map((one) => one.text).join('\n')} target={first.blank ? '_blank' : undefined} rel="noopener noreferrer">{text}</a>;
}
