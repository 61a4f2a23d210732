// LogQL in the editor: colours from the grammar; labels, values and stages to complete.

import type { Completion, CompletionContext, CompletionResult } from '@codemirror/autocomplete';
import { LRLanguage, LanguageSupport } from '@codemirror/language';
import { parser } from '@grafana/lezer-logql';
import { styleTags, tags } from '@lezer/highlight';
import * as loki from '../api/loki';
import { time } from '../time/store';

const language = LRLanguage.define({
  parser: parser.configure({
    props: [
      styleTags({
        String: tags.string, Number: tags.number, Duration: tags.number, Bytes: tags.number, LineComment: tags.lineComment, Identifier: tags.labelName,
        'Json Logfmt Unpack Pattern Regexp LineFormat LabelFormat Unwrap By Without On Ignoring GroupLeft GroupRight Bool Offset Drop Keep Decolorize Distinct': tags.keyword,
        'RangeOp/... VectorOp/... LabelReplace': tags.function(tags.variableName),
      }),
    ],
  }),
});

const STAGES = ['json', 'logfmt', 'pattern', 'regexp', 'unpack', 'line_format', 'label_format', 'unwrap', 'decolorize', 'drop', 'keep'];
const FUNCTIONS = ['rate', 'count_over_time', 'bytes_rate', 'bytes_over_time', 'sum_over_time', 'avg_over_time', 'max_over_time', 'min_over_time', 'quantile_over_time', 'first_over_time', 'last_over_time', 'absent_over_time', 'sum', 'avg', 'min', 'max', 'count', 'topk', 'bottomk', 'sort', 'sort_desc', 'by', 'without'];

const option = (type: string) => (label: string): Completion => ({ label, type });

export async function complete(context: CompletionContext): Promise<CompletionResult | null> {
  const before = context.state.doc.sliceString(0, context.pos);
  const { range } = time.get();
  const inside = before.lastIndexOf('{') > before.lastIndexOf('}');
  if (inside) {
    const selector = before.slice(before.lastIndexOf('{'));
    const value = /([a-zA-Z_]\w*)\s*(?:=~|!~|!=|=)\s*"((?:[^"\\]|\\.)*)$/.exec(selector);
    if (value) {
      const values = await loki.labelValues(value[1] ?? '', range);
      return { from: context.pos - (value[2] ?? '').length, options: values.map(option('constant')) };
    }
    const name = /(?:\{|,)\s*(\w*)$/.exec(selector);
    if (name) return { from: context.pos - (name[1] ?? '').length, options: (await loki.labels(range)).map((label) => ({ label, type: 'property', apply: `${label}="` })) };
    return null;
  }
  const stage = /\|\s*(\w*)$/.exec(before);
  if (stage) return { from: context.pos - (stage[1] ?? '').length, options: STAGES.map(option('keyword')) };
  const word = context.matchBefore(/\w+/);
  return word || context.explicit ? { from: word?.from ?? context.pos, options: FUNCTIONS.map(option('function')) } : null;
}

export function logql(): LanguageSupport {
  return new LanguageSupport(language, language.data.of({ autocomplete: complete }));
}
