// The arithmetic of Grafana's expressions: numbers, `$A`, operators and functions over sets of labelled values.

/** A series (with times) or a number (without), and its labels. */
export interface Item {
  labels: Record<string, string>;
  times?: number[];
  values: (number | null)[];
  name?: string;
}

export type Node =
  | { kind: 'number'; value: number | null }
  | { kind: 'variable'; name: string }
  | { kind: 'call'; name: string; arguments: Node[] }
  | { kind: 'unary'; operator: string; of: Node }
  | { kind: 'binary'; operator: string; left: Node; right: Node };

export class MathError extends Error {}

const TOKEN = /\s*(?:(0x[0-9a-f]+|\d+(?:\.\d+)?(?:e[+-]?\d+)?)|\$(?:\{([^}]+)\}|(\w+))|([a-z_]+)|(\*\*|&&|\|\||[=!<>]=|[-+*/%!<>(),]))/giy;

interface Token {
  kind: 'number' | 'variable' | 'name' | 'sign' | 'end';
  text: string;
  at: number;
}

function tokens(text: string): Token[] {
  const out: Token[] = [];
  let at = 0;
  while (text.slice(at).trim() !== '') {
    TOKEN.lastIndex = at;
    const found = TOKEN.exec(text);
    if (!found) throw new MathError(`${at + 1}: "${text.slice(at).trim().slice(0, 12)}" is not understood`);
    const [, number, braced, plain, name, sign] = found;
    out.push({ kind: number ? 'number' : braced ?? plain ? 'variable' : name ? 'name' : 'sign', text: number ?? braced ?? plain ?? name ?? sign ?? '', at });
    at = TOKEN.lastIndex;
  }
  return [...out, { kind: 'end', text: '', at: text.length }];
}

/** From what binds least to what binds most. */
const LEVELS = [['||'], ['&&'], ['==', '!=', '<', '>', '<=', '>='], ['+', '-'], ['*', '/', '%'], ['**']];
const DEPTH = 100;

export function parseMath(text: string): Node {
  const all = tokens(text);
  let at = 0;
  const peek = () => all[at] ?? { kind: 'end' as const, text: '', at: text.length };
  const fail = (what: string): never => { throw new MathError(`${peek().at + 1}: expected ${what}, found ${peek().kind === 'end' ? 'the end' : `"${peek().text}"`}`); };
  const expect = (sign: string) => {
    if (peek().text !== sign) fail(`"${sign}"`);
    at += 1;
  };
  const level = (n: number, depth: number): Node => {
    if (depth > DEPTH) throw new MathError('the expression is nested too deeply');
    if (n >= LEVELS.length) return unary(depth + 1);
    let left = level(n + 1, depth);
    while (peek().kind === 'sign' && LEVELS[n]?.includes(peek().text)) {
      const operator = peek().text;
      at += 1;
      left = { kind: 'binary', operator, left, right: level(n + 1, depth) };
    }
    return left;
  };
  const unary = (depth: number): Node => {
    const { text: operator, kind } = peek();
    if (kind === 'sign' && (operator === '-' || operator === '!')) {
      if (depth > DEPTH) throw new MathError('the expression is nested too deeply');
      at += 1;
      return { kind: 'unary', operator, of: unary(depth + 1) };
    }
    return atom(depth);
  };
  const atom = (depth: number): Node => {
    const token = peek();
    at += 1;
    if (token.kind === 'number') return { kind: 'number', value: Number(token.text) };
    if (token.kind === 'variable') return { kind: 'variable', name: token.text };
    if (token.kind === 'name') {
      expect('(');
      const given: Node[] = [];
      while (peek().text !== ')') {
        given.push(level(0, depth + 1));
        if (peek().text === ',') at += 1;
        else break;
      }
      expect(')');
      return { kind: 'call', name: token.text.toLowerCase(), arguments: given };
    }
    if (token.text === '(') {
      const inner = level(0, depth + 1);
      expect(')');
      return inner;
    }
    at -= 1;
    return fail('a number, $A, a function or "("');
  };
  const found = level(0, 0);
  if (peek().kind !== 'end') fail('an operator or the end');
  return found;
}

type Value = number | null;

const truth = (value: boolean): number => (value ? 1 : 0);

const BINARY: Record<string, (a: number, b: number) => number> = {
  '+': (a, b) => a + b, '-': (a, b) => a - b, '*': (a, b) => a * b, '/': (a, b) => a / b, '%': (a, b) => a % b, '**': (a, b) => a ** b,
  '==': (a, b) => truth(a === b), '!=': (a, b) => truth(a !== b), '<': (a, b) => truth(a < b), '>': (a, b) => truth(a > b), '<=': (a, b) => truth(a <= b), '>=': (a, b) => truth(a >= b),
  '&&': (a, b) => truth(a !== 0 && b !== 0), '||': (a, b) => truth(a !== 0 || b !== 0),
};

const CALLS: Record<string, (value: Value) => Value> = {
  abs: (v) => (v === null ? null : Math.abs(v)), log: (v) => (v === null ? null : Math.log(v)), round: (v) => (v === null ? null : Math.round(v)), ceil: (v) => (v === null ? null : Math.ceil(v)), floor: (v) => (v === null ? null : Math.floor(v)),
  is_nan: (v) => truth(v !== null && Number.isNaN(v)), is_inf: (v) => truth(v === Infinity || v === -Infinity), is_null: (v) => truth(v === null), is_number: (v) => truth(v !== null && Number.isFinite(v)),
};

const CONSTANTS: Record<string, Value> = { nan: NaN, inf: Infinity, infn: -Infinity, null: null };

const bare = (value: Value): Item[] => [{ labels: {}, values: [value] }];

export function evaluate(node: Node, of: (name: string) => Item[]): Item[] {
  switch (node.kind) {
    case 'number': return bare(node.value);
    case 'variable': return of(node.name);
    case 'unary': return evaluate(node.of, of).map((item) => ({ ...item, values: item.values.map((v) => (v === null ? null : node.operator === '-' ? -v : truth(v === 0))) }));
    case 'call': return call(node.name, node.arguments, of);
    case 'binary': return binary(node.operator, evaluate(node.left, of), evaluate(node.right, of));
  }
}

function call(name: string, given: Node[], of: (name: string) => Item[]): Item[] {
  if (Object.hasOwn(CONSTANTS, name) && given.length === 0) return bare(CONSTANTS[name] ?? null);
  const make = CALLS[name];
  if (!make || given.length !== 1 || !given[0]) throw new MathError(`there is no function ${name} with ${given.length} arguments`);
  return evaluate(given[0], of).map((item) => ({ ...item, values: item.values.map(make) }));
}

/** Whether one's labels are among the other's. */
function within(a: Record<string, string>, b: Record<string, string>): boolean {
  return Object.entries(a).every(([name, value]) => b[name] === value);
}

function binary(operator: string, left: Item[], right: Item[]): Item[] {
  const out: Item[] = [];
  for (const a of left) {
    for (const b of right) {
      const fits = left.length === 1 && right.length === 1 || within(a.labels, b.labels) || within(b.labels, a.labels);
      if (fits) out.push(joined(operator, a, b));
    }
  }
  return out;
}

/** Two items; of two series the moments that both have. */
function joined(operator: string, a: Item, b: Item): Item {
  const apply = BINARY[operator] ?? (() => NaN);
  const both = (x: Value | undefined, y: Value | undefined): Value => (x === null || y === null || x === undefined || y === undefined ? null : apply(x, y));
  const labels = Object.keys(a.labels).length >= Object.keys(b.labels).length ? a.labels : b.labels;
  if (a.times && b.times) {
    const other = new Map(b.times.map((time, i) => [time, b.values[i] ?? null]));
    const rows = a.times.flatMap((time, i) => (other.has(time) ? [{ time, value: both(a.values[i], other.get(time)) }] : []));
    return { labels, times: rows.map((row) => row.time), values: rows.map((row) => row.value) };
  }
  if (a.times) return { labels, times: a.times, values: a.values.map((value) => both(value, b.values[0])) };
  if (b.times) return { labels, times: b.times, values: b.values.map((value) => both(a.values[0], value)) };
  return { labels, values: [both(a.values[0], b.values[0])] };
}
