import { describe, expect, it } from 'vitest';
import { decode, parseHtml, type HtmlNode } from '../parts/html';

const shown = (nodes: HtmlNode[]): string => nodes.map((node) => (typeof node === 'string' ? node : `(${node.name}${Object.entries(node.attributes).map(([k, v]) => ` ${k}=${v}`).join('')}|${shown(node.children)})`)).join('');

describe('HTML', () => {
  it.each([
    ['a <b>bold</b> c', 'a (b|bold) c'], ['<p>a<p>b', '(p|a)(p|b)'], ['<ul><li>a<li>b</ul>c', '(ul|(li|a)(li|b))c'], ['<br/>x<hr>y', '(br|)x(hr|)y'],
    ['<script>if (a<b) {}</script>z', '(script|if (a<b) {})z'], ['<script>never ends', '(script|never ends)'], ['<!-- <b> -->x', 'x'], ['a < b > c', 'a < b > c'], ['</b>x', 'x'],
    ['<a href="x?a=1&amp;b" TITLE=\'q"\' checked>y</a>', '(a href=x?a=1&b title=q" checked=|y)'], ['<img src=x onerror="a>b">', '(img src=x onerror=a>b|)'], ['<b', '<b'],
  ])('%s', (text, expected) => expect(shown(parseHtml(text))).toBe(expected));
  it('is not deep without end', () => expect(() => shown(parseHtml('<div>'.repeat(10_000)))).not.toThrow());
  it('entities', () => expect(decode('&lt;&#65;&#x42;&nope;&amp;lt;&#0;')).toBe('<AB&nope;&lt;'));
});
