// Markdown and HTML of others as elements that cannot run anything: nothing is ever set as markup.
// HTML is read into plain values, and only known elements and attributes of it are taken over.

import { marked, type Token, type Tokens } from 'marked';
import { createElement, type ComponentChildren } from 'preact';
import { safe } from '../dashboards/links';
import { parseHtml, type Element_, type HtmlNode } from './html';

const ELEMENTS = new Set(['a', 'b', 'blockquote', 'br', 'center', 'code', 'dd', 'del', 'details', 'div', 'dl', 'dt', 'em', 'h1', 'h2', 'h3', 'h4', 'h5', 'h6', 'hr', 'i', 'img', 'kbd', 'li', 'mark', 'ol', 'p', 'pre', 's', 'small', 'span', 'strong', 'sub', 'summary', 'sup', 'table', 'tbody', 'td', 'tfoot', 'th', 'thead', 'tr', 'u', 'ul']);
/** Their content is not text. */
const DROPPED = new Set(['script', 'style', 'iframe', 'object', 'embed', 'template', 'noscript', 'svg', 'math', 'form', 'input', 'button', 'textarea', 'select', 'link', 'meta', 'base', 'title', 'head']);
const STYLES = new Set(['color', 'background-color', 'font-size', 'font-weight', 'font-style', 'text-align', 'text-decoration', 'padding', 'margin', 'border', 'border-radius', 'width', 'max-width', 'height']);
const DEPTH = 60;

function style(text: string): Record<string, string> {
  const pairs = text.split(';').map((one) => one.split(':'));
  return Object.fromEntries(pairs.flatMap(([name = '', ...value]) => {
    const [key, content] = [name.trim().toLowerCase(), value.join(':').trim()];
    return STYLES.has(key) && !/url|expression|[\\<>@]/i.test(content) ? [[key.replace(/-(\w)/g, (_, c: string) => c.toUpperCase()), content]] : [];
  }));
}

function attributes({ name, attributes: given }: Element_): Record<string, unknown> {
  const out: Record<string, unknown> = {};
  const { href, style: styled } = given;
  if (name === 'a' && href && safe(href)) Object.assign(out, { href: safe(href), rel: 'noopener noreferrer', target: given.target === '_blank' ? '_blank' : undefined });
  if (name === 'img') Object.assign(out, { alt: given.alt ?? '', src: imageSource(given.src ?? null) });
  for (const attribute of ['title', 'colspan', 'rowspan', 'align', 'width', 'height']) if (given[attribute] !== undefined) out[attribute] = given[attribute];
  if (styled) out.style = style(styled);
  return out;
}

/** Images of this server only: others would tell who looks. */
function imageSource(source: string | null): string | undefined {
  if (!source) return undefined;
  if (/^data:image\/(png|jpeg|gif|webp);/i.test(source)) return source;
  return source.startsWith('/') ? safe(source) : undefined;
}

function elements(node: HtmlNode): ComponentChildren {
  if (typeof node === 'string') return node;
  const { name } = node;
  if (DROPPED.has(name)) return null;
  if (name === 'img' && !imageSource(node.attributes.src ?? null)) return node.attributes.alt;
  const children = node.children.map(elements);
  if (!ELEMENTS.has(name)) return children;
  return createElement(name, attributes(node), ...(['br', 'hr', 'img'].includes(name) ? [] : children));
}

export function Html({ text }: { text: string }) {
  return <>{parseHtml(text).map(elements)}</>;
}

function all(tokens: Token[] | undefined, depth: number): ComponentChildren {
  return (tokens ?? []).map((token) => one(token as Tokens.Generic, depth + 1));
}

function one(token: Tokens.Generic, depth: number): ComponentChildren {
  if (depth > DEPTH) return token.raw;
  const inner = () => (token.tokens ? all(token.tokens, depth) : plain(token));
  switch (token.type) {
    case 'heading':
      return createElement(`h${Math.min(6, Number(token.depth) || 1)}`, null, inner());
    case 'paragraph':
      return hasTags(token) ? <div class="paragraph"><Html text={String(marked.parser([token]))} /></div> : <p>{inner()}</p>;
    case 'strong': return <strong>{inner()}</strong>;
    case 'em': return <em>{inner()}</em>;
    case 'del': return <del>{inner()}</del>;
    case 'codespan': return <code>{String(token.text)}</code>;
    case 'code': return <pre><code>{String(token.text)}</code></pre>;
    case 'blockquote': return <blockquote>{inner()}</blockquote>;
    case 'br': return <br />;
    case 'hr': return <hr />;
    case 'space': case 'def': return null;
    case 'link': {
      const href = safe(String(token.href));
      return href ? <a href={href} rel="noopener noreferrer" title={token.title ? String(token.title) : undefined}>{inner()}</a> : <>{inner()}</>;
    }
    case 'image': return imageSource(String(token.href)) ? <img src={imageSource(String(token.href))} alt={String(token.text)} /> : String(token.text);
    case 'html': return <Html text={String(token.text)} />;
    case 'checkbox': return <input type="checkbox" checked={Boolean(token.checked)} disabled />;
    case 'list': {
      const items = (token as Tokens.List).items.map((item, i) => <li key={i}>{all(item.tokens, depth)}</li>);
      return token.ordered ? <ol start={Number(token.start) || 1}>{items}</ol> : <ul>{items}</ul>;
    }
    case 'table': {
      const table = token as Tokens.Table;
      return (
        <table>
          <thead><tr>{table.header.map((cell, i) => <th key={i}>{all(cell.tokens, depth)}</th>)}</tr></thead>
          <tbody>{table.rows.map((row, r) => <tr key={r}>{row.map((cell, i) => <td key={i}>{all(cell.tokens, depth)}</td>)}</tr>)}</tbody>
        </table>
      );
    }
    default:
      return token.tokens ? all(token.tokens, depth) : plain(token);
  }
}

/** The lexer escapes texts for markup; here they are set as texts. */
function plain(token: Tokens.Generic): string {
  const text = String(token.text ?? token.raw ?? '');
  return token.type === 'text' || token.type === 'escape' ? text.replace(/&(amp|lt|gt|quot|#39);/g, (_, name: string) => ({ amp: '&', lt: '<', gt: '>', quot: '"', '#39': "'" })[name] ?? '') : text;
}

/** Tags within a paragraph open and close in different tokens: the paragraph is read as one piece of HTML. */
function hasTags(token: Tokens.Generic): boolean {
  return (token.tokens ?? []).some((inner) => inner.type === 'html');
}

export function Markdown({ text }: { text: string }) {
  return <div class="markdown">{all(marked.lexer(text.slice(0, 200_000), { gfm: true }), 0)}</div>;
}
