// What queries answer and transformations change: tables of named columns.

export type Kind = 'time' | 'number' | 'string' | 'boolean' | 'other';

export interface Field {
  name: string;
  kind: Kind;
  values: unknown[];
  labels?: Record<string, string>;
  /** The name for people, from a legend or an override; it stands before the made-up one. */
  displayName?: string;
  /** What transformations wrote into the configuration: unit, min, max, … */
  config?: Record<string, unknown>;
}

export interface Frame {
  refId: string;
  name?: string;
  fields: Field[];
  /** What kind of answer it was, for panels that draw only one: logs, trace, nodes, edges, heatmap. */
  meta?: string;
}

export function rowCount(frame: Frame): number {
  return frame.fields.reduce((most, field) => Math.max(most, field.values.length), 0);
}

export function timeField(frame: Frame): Field | undefined {
  return frame.fields.find((field) => field.kind === 'time');
}

export function numberFields(frame: Frame): Field[] {
  return frame.fields.filter((field) => field.kind === 'number');
}

function labelsText(labels: Record<string, string>): string {
  const { __name__: name = '', ...rest } = labels;
  const pairs = Object.entries(rest).map(([key, value]) => `${key}=${JSON.stringify(value)}`);
  return pairs.length > 0 ? `${name}{${pairs.join(', ')}}` : name;
}

/** The name of a column for people: as configured, else its labels, else its name. */
export function fieldName(field: Field, frame: Frame, all: Frame[] = [frame]): string {
  if (field.displayName) return field.displayName;
  if (field.kind === 'time') return field.name;
  const labels = field.labels ?? {};
  const generic = /^value$/i.test(field.name);
  if (Object.keys(labels).length === 0) {
    if (frame.name && generic) return frame.name;
    return field.name;
  }
  if (Object.keys(labels).length === 1 && !labels.__name__ && generic) return Object.values(labels)[0] ?? field.name;
  const text = labelsText(labels);
  if (!generic && !labels.__name__) {
    const several = all.some((f) => f.fields.some((other) => other !== field && other.name === field.name));
    return several ? `${field.name} ${text}` : field.name;
  }
  return text || field.name;
}

export function kindOf(values: unknown[]): Kind {
  const first = values.find((value) => value !== null && value !== undefined && value !== '');
  if (typeof first === 'number') return 'number';
  if (typeof first === 'boolean') return 'boolean';
  if (typeof first === 'object') return 'other';
  return 'string';
}

/** The value as a number for arithmetic and charts. */
export function toNumber(value: unknown): number | null {
  if (typeof value === 'number') return value;
  if (typeof value === 'boolean') return value ? 1 : 0;
  if (typeof value === 'string' && value.trim() !== '' && !Number.isNaN(Number(value))) return Number(value);
  return null;
}

export function toText(value: unknown): string {
  if (value === null || value === undefined) return '';
  if (typeof value === 'string') return value;
  if (typeof value === 'number' || typeof value === 'boolean' || typeof value === 'bigint') return `${value}`;
  return JSON.stringify(value) ?? '';
}

/** A key for grouping that tells texts from numbers. */
export function keyOf(values: unknown[]): string {
  return JSON.stringify(values.map((value) => (value === undefined ? null : typeof value === 'bigint' ? `${value}` : value)));
}
