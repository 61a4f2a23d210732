// Loading with a state that a page can show: nothing yet, an answer, or an error in words.

import { useEffect, useState } from 'preact/hooks';

export interface Loaded<T> {
  value?: T;
  error?: string;
  loading: boolean;
}

export function errorText(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** Loads whenever a key changes; what is under way for an older key is given up. */
export function useLoad<T>(keys: unknown[], load: (signal: AbortSignal) => Promise<T>): Loaded<T> {
  const [state, setState] = useState<Loaded<T>>({ loading: true });
  useEffect(() => {
    const abort = new AbortController();
    setState((before) => ({ value: before.value, loading: true }));
    load(abort.signal).then(
      (value) => {
        if (!abort.signal.aborted) setState({ value, loading: false });
      },
      (error: unknown) => {
        if (!abort.signal.aborted) setState({ error: errorText(error), loading: false });
      },
    );
    return () => abort.abort();
  }, keys);
  return state;
}

/** A number that counts up every `seconds`, as a key for `useLoad`. */
export function useTick(seconds: number): number {
  const [tick, setTick] = useState(0);
  useEffect(() => {
    const timer = setInterval(() => setTick((t) => t + 1), seconds * 1000);
    return () => clearInterval(timer);
  }, [seconds]);
  return tick;
}
