// Label filters of an ad hoc variable, put into every selector of a query.

export interface Filter {
  key: string;
  operator: string;
  value: string;
}

const KEYWORDS = new Set(['by', 'without', 'on', 'ignoring', 'group_left', 'group_right', 'and', 'or', 'unless', 'atan2', 'bool', 'offset', 'start', 'end', 'inf', 'nan', 'fill', 'fill_left', 'fill_right']);
const LISTS = new Set(['by', 'without', 'on', 'ignoring', 'group_left', 'group_right']);

const TOKEN = /"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|`[^`]*`|#[^\n]*|[a-zA-Z_:][\w:]*|\d[\w.]*|\s+|\[[^\]]*\]|./gs;

function text({ key, operator, value }: Filter): string {
  const sign = operator === '=|' ? '=~' : operator === '!=|' ? '!~' : operator;
  return `${key}${sign}${JSON.stringify(value)}`;
}

/** The query with the filters in each of its selectors; grouping labels and functions stay as they are. */
export function withFilters(query: string, filters: Filter[]): string {
  const added = filters.filter((f) => f.key && /^(=~?|!=|!~|=\||!=\|)$/.test(f.operator)).map(text).join(',');
  if (!added) return query;
  const tokens = query.match(TOKEN) ?? [];
  const out: string[] = [];
  const next = (from: number) => tokens.slice(from + 1).find((token) => !/^(\s|#)/.test(token));
  let [depth, list, bound] = [0, false, false];
  tokens.forEach((token, i) => {
    out.push(token);
    if (/^(\s|#)/.test(token)) return;
    if (token === '{') {
      depth += 1;
      bound = false;
      const empty = next(i) === '}';
      out.push(added + (empty ? '' : ','));
    } else if (token === '}') depth -= 1;
    else if (token === ')' && list) list = false;
    else if (depth === 0 && !list && /^[a-zA-Z_:]/.test(token)) {
      const lower = token.toLowerCase();
      if (LISTS.has(lower) && next(i) === '(') list = true;
      else if (!KEYWORDS.has(lower) && !['(', '{', 'by', 'without'].includes(next(i) ?? '') && !bound) out.push(`{${added}}`);
    }
    bound = token === '@' || token === 'offset';
  });
  return out.join('');
}

/** `key|operator|value`, as addresses have it; bars within are `__gfp__`. */
export function parseFilter(parameter: string): Filter | undefined {
  const [key = '', operator = '', ...rest] = parameter.split('|').map((part) => part.replaceAll('__gfp__', '|'));
  return key && operator ? { key, operator, value: rest.join('|') } : undefined;
}

export function filterParameter({ key, operator, value }: Filter): string {
  return [key, operator, value].map((part) => part.replaceAll('|', '__gfp__')).join('|');
}
