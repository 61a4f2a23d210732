// Kubernetes' events, which are stored as logs.

import * as loki from '../api/loki';
import { quoted } from '../format/text';
import { useLoad } from '../load';
import { Lines } from '../parts/lines';
import { Show } from '../parts/show';
import { useTime } from '../time/store';

/** Streams under which collectors keep events. */
const STREAMS = '{job=~"kubernetes-events|k8s_events|integrations/kubernetes/eventhandler"}';

export function Events({ namespace, name }: { namespace?: string; name?: string }) {
  const { range, tick } = useTime();
  const loaded = useLoad([namespace, name, range, tick], async (signal) => {
    const query = [STREAMS, ...(namespace ? [`|= ${quoted(namespace)}`] : []), ...(name ? [`|= ${quoted(name)}`] : [])].join(' ');
    const data = await loki.queryRange(query, range, { limit: 100 }, signal);
    return data.resultType === 'streams' ? loki.linesOf(data.result) : [];
  });
  return <Show of={loaded} empty={(lines) => lines.length === 0} whenEmpty="No events in this range.">{(lines) => <Lines lines={lines} />}</Show>;
}
