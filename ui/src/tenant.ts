// Whose data the pages show: sent with every request as X-Scope-OrgID. Without a choice the server decides.

import { Cell } from './cell';

const KEY = 'obs.tenant';

function saved(): string {
  try {
    return new URLSearchParams(location.search).get('tenant') ?? localStorage.getItem(KEY) ?? '';
  } catch {
    return '';
  }
}

export const tenant = new Cell<string>(typeof location === 'undefined' ? '' : saved());

/** What the server takes as a tenant's name; several are joined by `|` and can only be read. */
export function isTenant(name: string): boolean {
  return name === '' || name.split('|').every((one) => /^[a-zA-Z0-9!\-_.*'()]{1,150}$/.test(one) && one !== '.' && one !== '..');
}

export function chooseTenant(name: string): void {
  try {
    if (name) localStorage.setItem(KEY, name);
    else localStorage.removeItem(KEY);
  } catch {
    // Without storage the choice lasts as long as the page.
  }
  tenant.set(name);
}

export function tenantHeaders(): Record<string, string> {
  const now = tenant.get();
  return now && isTenant(now) ? { 'x-scope-orgid': now } : {};
}
