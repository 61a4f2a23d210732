// The panel `text`: markdown, HTML without anything that runs, or code.

import { Html, Markdown } from '../../parts/markdown';
import { str } from '../../json';
import { interpolate, single } from '../interpolate';
import type { PanelProps } from './types';

export function TextPanel({ panel, time }: PanelProps) {
  const values = Object.fromEntries(Object.entries(time.values).map(([name, value]) => [name, value.values.length > 1 ? single(value.values.join(', ')) : value]));
  const text = interpolate(str(panel.options.content), { values, style: 'text' });
  const mode = str(panel.options.mode, 'markdown');
  if (mode === 'code' || mode === 'text') return <pre class="scroll text-panel">{text}</pre>;
  return <div class="scroll text-panel">{mode === 'html' ? <div class="markdown"><Html text={text} /></div> : <Markdown text={text} />}</div>;
}
