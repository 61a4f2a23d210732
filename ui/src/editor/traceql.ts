// TraceQL in the editor: colours from the grammar; attributes, values and functions to complete.

import type { Completion, CompletionContext, CompletionResult } from '@codemirror/autocomplete';
import { LRLanguage, LanguageSupport } from '@codemirror/language';
import { parser } from '@grafana/lezer-traceql';
import { styleTags, tags } from '@lezer/highlight';
import * as tempo from '../api/tempo';
import { time } from '../time/store';

const language = LRLanguage.define({
  parser: parser.configure({
    props: [
      styleTags({
        String: tags.string, Integer: tags.integer, Float: tags.float, Duration: tags.number, Identifier: tags.labelName, AttributeField: tags.labelName,
        'IntrinsicField/...': tags.keyword, 'Static/...': tags.string, 'Aggregate/...': tags.function(tags.variableName),
      }),
    ],
  }),
});

const INTRINSICS = ['name', 'status', 'kind', 'duration', 'traceDuration', 'rootName', 'rootServiceName', 'statusMessage', 'nestedSetParent'];
const FUNCTIONS = ['rate()', 'count_over_time()', 'histogram_over_time(duration)', 'quantile_over_time(duration, .95)', 'avg_over_time(duration)', 'max_over_time(duration)', 'min_over_time(duration)', 'by(resource.service.name)', 'select(', 'count()', 'avg(duration)'];
const FIXED: Record<string, string[]> = { status: ['error', 'ok', 'unset'], kind: ['server', 'client', 'internal', 'producer', 'consumer'] };

const option = (type: string) => (label: string): Completion => ({ label, type });

export async function complete(context: CompletionContext): Promise<CompletionResult | null> {
  const before = context.state.doc.sliceString(0, context.pos);
  const { range } = time.get();
  const value = /([a-zA-Z_][\w.:-]*)\s*(?:=~|!~|!=|=)\s*("?)([^"\s{}&|]*)$/.exec(before);
  if (value) {
    const [, name = '', quote = '', typed = ''] = value;
    const fixed = FIXED[name];
    if (fixed) return { from: context.pos - typed.length, options: fixed.map(option('constant')) };
    const found = await tempo.tagValues(name, range);
    const text = (one: { type: string; value: string }) => (one.type === 'string' && !quote ? JSON.stringify(one.value) : one.value);
    return { from: context.pos - typed.length, options: found.map((one) => ({ label: text(one), type: 'constant' })) };
  }
  const piped = /\|\s*(\w*)$/.exec(before);
  if (piped && !/\|\|\s*\w*$/.test(before)) return { from: context.pos - (piped[1] ?? '').length, options: FUNCTIONS.map(option('function')) };
  const word = /(?:[{(,]|&&|\|\||\s)\s*([\w.:-]*)$/.exec(before);
  if (!word || (!word[1] && !context.explicit && !/[{(]\s*$/.test(before))) return null;
  const scopes = await tempo.tags(range);
  const names = scopes.flatMap((scope) => (scope.name === 'intrinsic' ? [] : scope.tags.map((tag) => `${scope.name}.${tag}`)));
  return { from: context.pos - (word[1] ?? '').length, options: [...INTRINSICS.map(option('keyword')), ...names.map(option('property'))] };
}

export function traceql(): LanguageSupport {
  return new LanguageSupport(language, language.data.of({ autocomplete: complete }));
}
