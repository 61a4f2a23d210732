// Where the UI is mounted. The server writes `<base href>` relative to the page that it answers, so
// that everything works below any path; here it becomes absolute once, before addresses change.

function mounted(): string {
  if (typeof document === 'undefined') return '/';
  return new URL('.', document.baseURI).pathname;
}

/** The path of the UI's root; it begins and ends with a slash. */
export const BASE = mounted();

/** The address on this server of `path`, which begins with a slash. */
export function at(path: string): string {
  return BASE + path.replace(/^\//, '');
}
