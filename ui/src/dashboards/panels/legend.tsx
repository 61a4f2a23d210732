// The legend of a chart: a list or a table with calculations; a click shows one series alone.

import { list, obj, str, strs, type Json } from '../../json';
import type { StyledField } from '../fields';
import { reduce, reducerLabel } from '../reduce';

export interface LegendOptions {
  shown: boolean;
  table: boolean;
  right: boolean;
  calcs: string[];
  sortBy: string;
  sortDesc: boolean;
}

export function legendOptions(options: Json): LegendOptions {
  const legend = obj(options.legend);
  const mode = str(legend.displayMode, 'list');
  return {
    shown: legend.showLegend !== false && mode !== 'hidden',
    table: mode === 'table',
    right: legend.placement === 'right',
    calcs: strs(list(legend.calcs)),
    sortBy: str(legend.sortBy),
    sortDesc: legend.sortDesc === true,
  };
}

export interface LegendItem {
  name: string;
  colour: string;
  field: StyledField;
}

export function toggle(hidden: Set<string>, names: string[], name: string, add: boolean): Set<string> {
  if (add) {
    const next = new Set(hidden);
    if (!next.delete(name)) next.add(name);
    return next;
  }
  const alone = names.every((other) => other === name || hidden.has(other)) && !hidden.has(name);
  return alone ? new Set() : new Set(names.filter((other) => other !== name));
}

export function Legend(props: { items: LegendItem[]; options: LegendOptions; hidden: Set<string>; setHidden: (hidden: Set<string>) => void }) {
  const { items, options, hidden, setHidden } = props;
  const names = items.map((item) => item.name);
  const click = (name: string) => (event: MouseEvent) => setHidden(toggle(hidden, names, name, event.ctrlKey || event.metaKey || event.shiftKey));
  const calculated = items.map((item) => ({ item, values: options.calcs.map((id) => reduce(id, item.field.field.values)) }));
  const column = options.calcs.findIndex((id) => reducerLabel(id) === options.sortBy || id === options.sortBy);
  if (column >= 0) calculated.sort((a, b) => (Number(a.values[column]) - Number(b.values[column])) * (options.sortDesc ? -1 : 1));
  const shown = (item: LegendItem, id: string, value: unknown) => (/count|distinct|changes/i.test(id) ? `${value as number}` : item.field.show(value).text);
  if (!options.table) {
    return (
      <ul class="legend" aria-label="Series">
        {calculated.map(({ item, values }) => (
          <li key={item.name}>
            <button type="button" class={hidden.has(item.name) ? 'off' : ''} onClick={click(item.name)} title={item.name}>
              <i style={{ background: item.colour }} />
              <span>{item.name}</span>
              {options.calcs.map((id, i) => <small key={id}> {reducerLabel(id)}: {shown(item, id, values[i])}</small>)}
            </button>
          </li>
        ))}
      </ul>
    );
  }
  return (
    <div class="legend scroll">
      <table>
        <thead><tr><th>Name</th>{options.calcs.map((id) => <th key={id} class="number">{reducerLabel(id)}</th>)}</tr></thead>
        <tbody>
          {calculated.map(({ item, values }) => (
            <tr key={item.name} class={hidden.has(item.name) ? 'off' : ''}>
              <td><button type="button" onClick={click(item.name)} title={item.name}><i style={{ background: item.colour }} /><span>{item.name}</span></button></td>
              {options.calcs.map((id, i) => <td key={id} class="number">{shown(item, id, values[i])}</td>)}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
