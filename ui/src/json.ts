// Reading JSON that anybody may have written: every access says what it takes when it is not there.

export type Json = Record<string, unknown>;

export function obj(value: unknown): Json {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Json) : {};
}

export function list(value: unknown): unknown[] {
  return Array.isArray(value) ? value : [];
}

export function objs(value: unknown): Json[] {
  return list(value).map(obj);
}

export function str(value: unknown, otherwise = ''): string {
  return typeof value === 'string' ? value : typeof value === 'number' || typeof value === 'boolean' ? `${value}` : otherwise;
}

export function strs(value: unknown): string[] {
  return list(value).filter((one) => one !== null && one !== undefined).map((one) => str(one));
}

export function num(value: unknown): number | undefined {
  const found = typeof value === 'string' && value.trim() !== '' ? Number(value) : value;
  return typeof found === 'number' && Number.isFinite(found) ? found : undefined;
}

export function bool(value: unknown, otherwise = false): boolean {
  return typeof value === 'boolean' ? value : otherwise;
}
