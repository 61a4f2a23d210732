// What differs between two texts, line by line.

export interface DiffLine {
  kind: 'same' | 'added' | 'removed';
  text: string;
}

/** Lines that are compared one by one; of more, all count as changed. */
const LINES_MAX = 2000;

/** The longest common part stays, what is around it was removed or added. */
function middle(a: string[], b: string[]): DiffLine[] {
  const removed = a.map((text): DiffLine => ({ kind: 'removed', text }));
  const added = b.map((text): DiffLine => ({ kind: 'added', text }));
  if (a.length > LINES_MAX || b.length > LINES_MAX || a.length === 0 || b.length === 0) return [...removed, ...added];
  const width = b.length + 1;
  const longest = new Uint16Array((a.length + 1) * width);
  const at = (i: number, j: number) => longest[i * width + j] ?? 0;
  for (let i = a.length - 1; i >= 0; i -= 1) {
    for (let j = b.length - 1; j >= 0; j -= 1) longest[i * width + j] = a[i] === b[j] ? at(i + 1, j + 1) + 1 : Math.max(at(i + 1, j), at(i, j + 1));
  }
  const out: DiffLine[] = [];
  let [i, j] = [0, 0];
  while (i < a.length && j < b.length) {
    if (a[i] === b[j]) {
      out.push({ kind: 'same', text: a[i] ?? '' });
      i += 1;
      j += 1;
    } else if (at(i + 1, j) >= at(i, j + 1)) out.push(removed[i++] as DiffLine);
    else out.push(added[j++] as DiffLine);
  }
  return [...out, ...removed.slice(i), ...added.slice(j)];
}

export function diff(before: string, after: string): DiffLine[] {
  const [a, b] = [before.split('\n'), after.split('\n')];
  let start = 0;
  while (start < a.length && start < b.length && a[start] === b[start]) start += 1;
  let end = 0;
  while (end < a.length - start && end < b.length - start && a[a.length - 1 - end] === b[b.length - 1 - end]) end += 1;
  const same = (text: string): DiffLine => ({ kind: 'same', text });
  return [...a.slice(0, start).map(same), ...middle(a.slice(start, a.length - end), b.slice(start, b.length - end)), ...a.slice(a.length - end).map(same)];
}

/** The changes with `around` lines beside each; `null` stands for what is left out. */
export function hunks(lines: DiffLine[], around = 3): (DiffLine | null)[] {
  const near = lines.map((_, i) => lines.slice(Math.max(0, i - around), i + around + 1).some((one) => one.kind !== 'same'));
  return lines.flatMap((line, i): (DiffLine | null)[] => (near[i] ? [line] : i > 0 && !near[i - 1] ? [] : [null]));
}
