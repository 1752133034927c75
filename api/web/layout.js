// Where the nodes of a graph stand: in layers, from left to right. Small graphs by dagre; for large ones, which would
// keep the page busy for seconds, each node stands in the layer of its longest way, in the order of its predecessors.
import { Graph, layout as dagre } from "./vendor/dagre.js";

export const WIDTH = 176;
export const HEIGHT = 46;
const LARGE = 120;

// nodes: [{id}], edges: [{from, to}] -> {places: Map id -> {x, y}, lines: [{edge, points}], width, height}; x, y: middle.
export function layout(nodes, edges) {
  const found = nodes.length > LARGE ? byLayers(nodes, edges) : byDagre(nodes, edges);
  let width = 0;
  let height = 0;
  for (const { x, y } of found.places.values()) {
    width = Math.max(width, x + WIDTH / 2);
    height = Math.max(height, y + HEIGHT / 2);
  }
  return { ...found, width: width + 12, height: height + 12 };
}

function byDagre(nodes, edges) {
  const graph = new Graph({ multigraph: true });
  graph.setGraph({ rankdir: "LR", nodesep: 22, ranksep: 56, marginx: 12, marginy: 12 });
  graph.setDefaultEdgeLabel(() => ({}));
  for (const node of nodes) graph.setNode(node.id, { width: WIDTH, height: HEIGHT });
  edges.forEach((edge, number) => graph.setEdge(edge.from, edge.to, {}, String(number)));
  dagre(graph);
  const places = new Map(nodes.map(({ id }) => [id, { x: graph.node(id).x, y: graph.node(id).y }]));
  const lines = edges.map((edge, number) => ({ edge, points: joined(places, edge, graph.edge(edge.from, edge.to, String(number)).points) }));
  return { places, lines };
}

function byLayers(nodes, edges) {
  const after = new Map(nodes.map(({ id }) => [id, []]));
  const before = new Map(nodes.map(({ id }) => [id, []]));
  const open = new Map(nodes.map(({ id }) => [id, 0]));
  for (const edge of edges) {
    after.get(edge.from).push(edge.to);
    before.get(edge.to).push(edge.from);
    open.set(edge.to, open.get(edge.to) + 1);
  }
  const rank = new Map(nodes.map(({ id }) => [id, 0]));
  const ready = nodes.filter(({ id }) => !open.get(id)).map(({ id }) => id);
  for (let at = 0; at < ready.length; at += 1) {
    for (const next of after.get(ready[at])) {
      rank.set(next, Math.max(rank.get(next), rank.get(ready[at]) + 1));
      open.set(next, open.get(next) - 1);
      if (!open.get(next)) ready.push(next);
    }
  }
  const layers = [];
  for (const { id } of nodes) (layers[rank.get(id)] ||= []).push(id);
  const places = new Map();
  for (const [number, layer] of layers.entries()) {
    const wish = (id) => {
      const known = before.get(id).map((other) => places.get(other)?.y).filter((y) => y !== undefined);
      return known.length ? known.reduce((sum, y) => sum + y, 0) / known.length : 0;
    };
    const wishes = new Map(layer.map((id) => [id, wish(id)]));
    layer.sort((one, other) => wishes.get(one) - wishes.get(other));
    layer.forEach((id, row) => {
      places.set(id, { x: 12 + WIDTH / 2 + number * (WIDTH + 64), y: 12 + HEIGHT / 2 + row * (HEIGHT + 18) });
    });
  }
  return { places, lines: edges.map((edge) => ({ edge, points: joined(places, edge, []) })) };
}

// From the middle of the right side of one node to that of the left side of the other, by what lies between the ends.
function joined(places, edge, points) {
  const from = places.get(edge.from);
  const to = places.get(edge.to);
  return [{ x: from.x + WIDTH / 2, y: from.y }, ...(points.length > 3 ? points.slice(1, -1) : []), { x: to.x - WIDTH / 2, y: to.y }];
}
