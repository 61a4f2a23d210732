// What leaves the page as a file.

import { fieldName, rowCount, timeField, toText, type Frame } from './frame';
import { joinByField } from './transform/shape';

/** A cell that spreadsheets neither split nor run. */
function cell(value: unknown): string {
  const text = toText(value);
  const quiet = /^[=+\-@\t\r]/.test(text) && Number.isNaN(Number(text)) ? `'${text}` : text;
  return /[",\n\r]/.test(quiet) ? `"${quiet.replaceAll('"', '""')}"` : quiet;
}

export function toCsv(frames: Frame[]): string {
  const [frame] = frames.length > 1 && frames.every((one) => timeField(one)) ? joinByField(frames, {}) : frames;
  if (!frame) return '';
  const head = frame.fields.map((field) => cell(fieldName(field, frame))).join(',');
  const rows = Array.from({ length: rowCount(frame) }, (_, row) =>
    frame.fields.map((field) => (field.kind === 'time' ? new Date(Number(field.values[row])).toISOString() : cell(field.values[row]))).join(','));
  return [head, ...rows, ''].join('\n');
}

export function download(name: string, type: string, content: string | Blob): void {
  const url = URL.createObjectURL(new Blob([content], { type }));
  const anchor = document.createElement('a');
  anchor.href = url;
  anchor.download = name.replace(/[\\/:*?"<>|]/g, '_');
  anchor.click();
  URL.revokeObjectURL(url);
}
