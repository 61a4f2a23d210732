// Nodes and edges, laid out in layers; the layout is loaded when first wanted.

import { useEffect, useMemo, useState } from 'preact/hooks';
import { errorText } from '../load';

export interface GraphNode {
  id: string;
  title: string;
  main?: string;
  second?: string;
  /** Parts of the ring: how much of it, in which colour. */
  arcs?: { part: number; colour: string }[];
  href?: string;
}

export interface GraphEdge {
  source: string;
  target: string;
  text?: string;
  /** Between 0 and 1: how thick. */
  weight?: number;
  colour?: string;
}

interface Placed {
  width: number;
  height: number;
  nodes: Map<string, { x: number; y: number }>;
  edges: { points: { x: number; y: number }[]; edge: GraphEdge }[];
}

const RADIUS = 30;

type Engine = (typeof import('@dagrejs/dagre'))['default'];
let engine: Engine | undefined;

/** Loads the layout; a graph that is drawn after this is drawn at once. */
export async function loadLayout(): Promise<Engine> {
  engine ??= (await import('@dagrejs/dagre')).default;
  return engine;
}

function layout(dagre: Engine, nodes: GraphNode[], edges: GraphEdge[]): Placed {
  const graph = new dagre.graphlib.Graph({ multigraph: true });
  graph.setGraph({ rankdir: 'LR', nodesep: 40, ranksep: 110, marginx: 60, marginy: 48 });
  graph.setDefaultEdgeLabel(() => ({}));
  for (const node of nodes) graph.setNode(node.id, { width: 2 * RADIUS, height: 2 * RADIUS + 34 });
  edges.forEach((edge, i) => graph.setEdge(edge.source, edge.target, {}, `${i}`));
  dagre.layout(graph);
  const size = graph.graph() as { width?: number; height?: number };
  return {
    width: Math.max(200, size.width ?? 200),
    height: Math.max(140, size.height ?? 140),
    nodes: new Map(nodes.map((node) => [node.id, graph.node(node.id) as { x: number; y: number }])),
    edges: edges.map((edge, i) => ({ edge, points: (graph.edge(edge.source, edge.target, `${i}`) as { points: { x: number; y: number }[] }).points })),
  };
}

function ring(part: number, from: number, radius: number): string {
  const point = (at: number) => `${(radius * Math.sin(at * 2 * Math.PI)).toFixed(2)},${(-radius * Math.cos(at * 2 * Math.PI)).toFixed(2)}`;
  const end = Math.min(part, 0.9999) + from;
  return `M${point(from)}A${radius},${radius} 0 ${part > 0.5 ? 1 : 0} 1 ${point(end)}`;
}

interface Point {
  x: number;
  y: number;
}

/** The point of a node's ring that looks to `to`. */
function onRing(node: Point | undefined, to: Point | undefined, gap: number): Point | undefined {
  if (!node || !to) return node;
  const length = Math.hypot(to.x - node.x, to.y - node.y) || 1;
  const part = (RADIUS + gap) / length;
  return { x: node.x + (to.x - node.x) * part, y: node.y + (to.y - node.y) * part };
}

/** A smooth path from ring to ring. */
export function path(points: Point[], source: Point | undefined, target: Point | undefined): string {
  const inner = points.slice(1, -1);
  const first = onRing(source, inner[0] ?? target, 3);
  const last = onRing(target, inner.at(-1) ?? source, 4);
  if (!first || !last) return '';
  const all = [first, ...inner, last];
  const at = (p: Point) => `${p.x.toFixed(1)},${p.y.toFixed(1)}`;
  if (all.length === 2) return `M${at(first)}L${at(last)}`;
  const bends = all.slice(1, -1).map((p, i) => {
    const next = all[i + 2] ?? last;
    const end = i === all.length - 3 ? last : { x: (p.x + next.x) / 2, y: (p.y + next.y) / 2 };
    return `Q${at(p)} ${at(end)}`;
  });
  return `M${at(first)}${bends.join('')}`;
}

export function NodeGraph({ nodes, edges, height, picked, onPick }: { nodes: GraphNode[]; edges: GraphEdge[]; height: number; picked?: string; onPick?: (id: string) => void }) {
  const [loaded, setLoaded] = useState(() => engine);
  const [error, setError] = useState<string>();
  useEffect(() => {
    if (!loaded) loadLayout().then((found) => setLoaded(() => found), (why: unknown) => setError(errorText(why)));
  }, []);
  const key = useMemo(() => JSON.stringify([nodes.map((n) => n.id), edges.map((e) => [e.source, e.target])]), [nodes, edges]);
  const placed = useMemo(() => {
    const known = new Set(nodes.map((node) => node.id));
    return loaded && layout(loaded, nodes, edges.filter((edge) => known.has(edge.source) && known.has(edge.target)));
  }, [key, loaded]);
  if (error) return <p class="error" role="alert">{error}</p>;
  if (!placed) return <p class="quiet">Drawing …</p>;
  const near = picked ? new Set(edges.filter((e) => e.source === picked || e.target === picked).flatMap((e) => [e.source, e.target])) : undefined;
  const current = new Map(edges.map((edge) => [`${edge.source}\n${edge.target}`, edge]));
  return (
    <svg class="node-graph" viewBox={`0 0 ${placed.width} ${placed.height}`} style={{ height: `${Math.min(height, placed.height * 1.4)}px` }} role="group" aria-label="Graph of services">
      <defs><marker id="arrow" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="9" markerHeight="9" markerUnits="userSpaceOnUse" orient="auto-start-reverse"><path d="M0,1L9,5L0,9Z" class="arrow" /></marker></defs>
      {placed.edges.map(({ points, edge: drawn }, i) => {
        const edge = current.get(`${drawn.source}\n${drawn.target}`) ?? drawn;
        const middle = points[Math.floor(points.length / 2)] ?? { x: 0, y: 0 };
        const faint = picked && edge.source !== picked && edge.target !== picked;
        return (
          <g key={i} class={faint ? 'edge faint' : 'edge'} transform="translate(0,-14)">
            <path d={path(points, placed.nodes.get(drawn.source), placed.nodes.get(drawn.target))} style={{ strokeWidth: 1 + 4 * (edge.weight ?? 0), stroke: edge.colour }} marker-end="url(#arrow)" />
            {edge.text && <text x={middle.x} y={middle.y - 6} text-anchor="middle">{edge.text}</text>}
          </g>
        );
      })}
      {nodes.map((node) => {
        const at = placed.nodes.get(node.id);
        if (!at) return null;
        let from = 0;
        return (
          <g key={node.id} class={near && !near.has(node.id) && node.id !== picked ? 'node faint' : 'node'} transform={`translate(${at.x},${at.y - 14})`} tabIndex={0} role="button"
            onClick={() => onPick?.(node.id)} onKeyDown={(event) => event.key === 'Enter' && onPick?.(node.id)}>
            <circle r={RADIUS} class={node.id === picked ? 'node-ring picked' : 'node-ring'} />
            {(node.arcs ?? []).map((arc, i) => {
              const begin = from;
              from += arc.part;
              return arc.part > 0 ? <path key={i} d={ring(arc.part, begin, RADIUS)} stroke={arc.colour} class="node-arc" /> : null;
            })}
            <text y={-1} text-anchor="middle" class="node-main">{node.main}</text>
            <text y={13} text-anchor="middle" class="node-second">{node.second}</text>
            <text y={RADIUS + 17} text-anchor="middle" class="node-title">{node.title.slice(0, 26)}</text>
          </g>
        );
      })}
    </svg>
  );
}
