// Who acts: the name that silences and acknowledgements bear. It is asked for once.

const KEY = 'obs.name';

export function myName(): string {
  try {
    return localStorage.getItem(KEY) ?? '';
  } catch {
    return '';
  }
}

export function rememberName(name: string): void {
  try {
    localStorage.setItem(KEY, name);
  } catch {
    // Without storage it is asked for again.
  }
}
