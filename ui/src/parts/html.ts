// HTML of others as a tree of plain values. No browser's parser sees it: that would look at handlers
// and styles in it, and complain of them, even where nothing of them is used.

export interface Element_ {
  name: string;
  attributes: Record<string, string>;
  children: HtmlNode[];
}

export type HtmlNode = string | Element_;

const VOID = new Set(['area', 'base', 'br', 'col', 'embed', 'hr', 'img', 'input', 'link', 'meta', 'source', 'track', 'wbr']);
/** What stands within these is not markup. */
const RAW = new Set(['script', 'style', 'textarea', 'title', 'xmp', 'iframe', 'noembed', 'noframes']);
/** These end one that is open beside them. */
const SIBLINGS = new Set(['li', 'p', 'td', 'th', 'tr', 'dt', 'dd']);
const DEPTH = 60;
const CHARACTERS_MAX = 200_000;

const TOKEN = /<!--[\s\S]*?(?:-->|$)|<!(?:[^>]*)>|<(\/?)([a-zA-Z][\w:-]*)((?:"[^"]*"|'[^']*'|[^"'<>])*)>/g;
const ATTRIBUTE = /([^\s"'<>/=]+)(?:\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s"'<>`]+)))?/g;

const ENTITIES: Record<string, string> = { amp: '&', lt: '<', gt: '>', quot: '"', apos: "'", nbsp: '\u00a0', copy: '©', mdash: '—', ndash: '–', hellip: '…', rarr: '→', larr: '←', times: '×', deg: '°', middot: '·' };

export function decode(text: string): string {
  return text.replace(/&(?:#(\d{1,7})|#x([0-9a-f]{1,6})|([a-z]+));/gi, (whole, decimal?: string, hex?: string, name?: string) => {
    if (name) return ENTITIES[name] ?? whole;
    const code = decimal ? Number(decimal) : parseInt(hex ?? '0', 16);
    return code > 0 && code <= 0x10ffff ? String.fromCodePoint(code) : '';
  });
}

function attributesOf(text: string): Record<string, string> {
  const out: Record<string, string> = {};
  for (const [, name = '', double, single, bare] of text.matchAll(ATTRIBUTE)) out[name.toLowerCase()] ??= decode(double ?? single ?? bare ?? '');
  return out;
}

export function parseHtml(html: string): HtmlNode[] {
  const text = html.slice(0, CHARACTERS_MAX);
  const root: Element_ = { name: '', attributes: {}, children: [] };
  const open: Element_[] = [root];
  const top = () => open[open.length - 1] ?? root;
  let at = 0;
  const say = (end: number) => {
    if (end > at) top().children.push(decode(text.slice(at, end)));
  };
  TOKEN.lastIndex = 0;
  for (let token = TOKEN.exec(text); token; token = TOKEN.exec(text)) {
    say(token.index);
    at = TOKEN.lastIndex;
    const [whole, close, tag = '', rest = ''] = token;
    const name = tag.toLowerCase();
    if (!name) continue;
    if (close) {
      const found = open.findLastIndex((one) => one.name === name);
      if (found > 0) open.length = found;
      continue;
    }
    if (SIBLINGS.has(name) && top().name === name) open.pop();
    const element: Element_ = { name, attributes: attributesOf(rest.replace(/\/\s*$/, '')), children: [] };
    top().children.push(element);
    if (RAW.has(name)) {
      const end = text.slice(at).search(new RegExp(`</${name}`, 'i'));
      const stop = end < 0 ? text.length : at + end;
      element.children.push(text.slice(at, stop));
      at = stop;
      TOKEN.lastIndex = stop;
    } else if (!VOID.has(name) && !whole.endsWith('/>') && open.length < DEPTH) open.push(element);
  }
  say(text.length);
  return root.children;
}
