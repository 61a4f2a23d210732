// What this browser remembers for its reader; nothing of it is kept by the server.

import { useState } from 'preact/hooks';
import { myName, rememberName } from '../alerts/who';
import { useCell } from '../cell';
import { chooseTenant, isTenant, tenant } from '../tenant';
import { theme, type Theme } from '../theme';

const THEMES: [Theme, string][] = [['system', 'as the system'], ['light', 'light'], ['dark', 'dark']];

export function Settings() {
  const now = useCell(theme);
  const whose = useCell(tenant);
  const [name, setName] = useState(myName());
  const [typed, setTyped] = useState(whose);
  const [told, setTold] = useState('');
  const forget = () => {
    localStorage.clear();
    setName('');
    setTold('Forgotten: choices, name and history of queries.');
  };
  return (
    <form class="card form" onSubmit={(event) => {
      event.preventDefault();
      if (!isTenant(typed.trim())) return;
      rememberName(name.trim());
      chooseTenant(typed.trim());
      setTold('Kept in this browser.');
    }}>
      <label>Theme <select value={now} onChange={(e) => theme.set(e.currentTarget.value as Theme)}>{THEMES.map(([id, text]) => <option key={id} value={id}>{text}</option>)}</select></label>
      <label>Your name, for silences and acknowledgements <input value={name} onInput={(e) => setName(e.currentTarget.value)} /></label>
      <label>Tenant (X-Scope-OrgID) <input value={typed} placeholder="as the server says" aria-invalid={!isTenant(typed.trim())} onInput={(e) => setTyped(e.currentTarget.value)} /></label>
      <button type="submit" class="primary">Keep</button>
      <button type="button" onClick={forget}>Forget everything</button>
      {told && <p class="quiet wide" role="status">{told}</p>}
    </form>
  );
}
