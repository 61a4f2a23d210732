// The traces that were found as one flame graph: where their time goes, together.

import { useEffect, useMemo, useRef, useState } from 'preact/hooks';
import { search, trace } from '../api/tempo';
import { FlameBoxes } from '../dashboards/panels/flamegraph';
import { count, duration } from '../format/text';
import { useLoad } from '../load';
import { Show } from '../parts/show';
import type { Range } from '../time/parse';
import { aggregate } from '../trace/aggregate';
import { rows } from '../trace/rows';

/** Whole traces that are read for one picture. */
const TRACES = 40;

export function FlamesView({ q, range, tick }: { q: string; range: Range; tick: number }) {
  const loaded = useLoad([q, range, tick], async (signal) => {
    const { traces } = await search(q, range, TRACES, signal);
    return Promise.all(traces.map(async (one) => rows(await trace(one.traceID, signal))));
  });
  const made = useMemo(() => aggregate(loaded.value ?? []), [loaded.value]);
  const box = useRef<HTMLDivElement>(null);
  const [width, setWidth] = useState(0);
  useEffect(() => {
    if (!box.current) return;
    const observer = new ResizeObserver(([entry]) => setWidth(Math.floor(entry?.contentRect.width ?? 0)));
    observer.observe(box.current);
    return () => observer.disconnect();
  }, []);
  return (
    <div ref={box}>
      <Show of={loaded} empty={(all) => all.length === 0} whenEmpty="No traces in this range.">
        {(all) => (
          <div class="card">
            <p class="quiet">{count(all.length, 'trace')} added up{all.length === TRACES ? ', the newest' : ''}: a box is as wide as the time of its span and all below it.</p>
            {width > 0 && <FlameBoxes all={made.boxes} width={width - 30} label="Where the time of these traces goes" show={(nanos) => duration(nanos)} more={(one) => count(made.counts.get(one) ?? 0, 'span')} />}
          </div>
        )}
      </Show>
    </div>
  );
}
