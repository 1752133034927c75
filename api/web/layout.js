// Where the nodes of a graph stand: in layers, from left to right. Small graphs by dagre; for large ones, which would
// keep the page busy for seconds, each node stands in the layer of its longest way, in the order of its predecessors.
// The ways back of loops have no say in it: they are drawn beneath.
import { Graph, layout as dagre } from "./vendor/dagre.js";

export const WIDTH = 176;
export const HEIGHT = 46;
const LARGE = 120;
const MARGIN = 12;
const RANK = WIDTH + 64;
const ROW = HEIGHT + 18;
const ROWS_MIN = 30;

// nodes: [{id}], edges: [{from, to, kind}] -> {places: Map id -> {x, y}, lines: [{edge, way, box}], width, height}; x, y:
// middle of a node. way: of an SVG path.
export function layout(nodes, edges) {
  const onward = edges.filter((edge) => edge.kind !== "loop");
  const { places, points } = nodes.length > LARGE ? byLayers(nodes, onward) : byDagre(nodes, onward);
  const lines = [
    ...onward.map((edge, number) => curve(edge, joined(places, edge, points(edge, number)))),
    ...edges.filter((edge) => edge.kind === "loop").map((edge) => back(edge, places)),
  ];
  let width = 0;
  let height = 0;
  for (const { x, y } of places.values()) {
    width = Math.max(width, x + WIDTH / 2);
    height = Math.max(height, y + HEIGHT / 2);
  }
  for (const { box } of lines) height = Math.max(height, box.bottom);
  return { places, lines, width: width + MARGIN, height: height + MARGIN };
}

function byDagre(nodes, edges) {
  const graph = new Graph({ multigraph: true });
  graph.setGraph({ rankdir: "LR", nodesep: 22, ranksep: 56, marginx: MARGIN, marginy: MARGIN });
  graph.setDefaultEdgeLabel(() => ({}));
  for (const node of nodes) graph.setNode(node.id, { width: WIDTH, height: HEIGHT });
  edges.forEach((edge, number) => graph.setEdge(edge.from, edge.to, {}, String(number)));
  dagre(graph);
  const places = new Map(nodes.map(({ id }) => [id, { x: graph.node(id).x, y: graph.node(id).y }]));
  return { places, points: (edge, number) => graph.edge(edge.from, edge.to, String(number)).points };
}

function byLayers(nodes, edges) {
  const before = new Map(nodes.map(({ id }) => [id, []]));
  for (const edge of edges) before.get(edge.to).push(edge.from);
  const layers = [];
  const rank = ranks(nodes, edges);
  for (const { id } of nodes) (layers[rank.get(id)] ||= []).push(id);
  // a layer that is too high for a page that is twice as wide as high goes on in the column beside
  const rows = Math.max(ROWS_MIN, Math.ceil(Math.sqrt((2 * nodes.length * RANK) / ROW / 4)));
  const columns = [];
  const order = new Map();
  for (const layer of layers) {
    const wish = (id) => {
      const known = before.get(id).map((other) => order.get(other)).filter((at) => at !== undefined);
      return known.length ? known.reduce((sum, at) => sum + at, 0) / known.length : 0;
    };
    const wishes = new Map(layer.map((id) => [id, wish(id)]));
    layer.sort((one, other) => wishes.get(one) - wishes.get(other));
    layer.forEach((id, at) => order.set(id, at / layer.length));
    const parts = Math.ceil(layer.length / rows);
    const size = Math.ceil(layer.length / parts);
    for (let part = 0; part < parts; part += 1) columns.push(layer.slice(part * size, (part + 1) * size));
  }
  const highest = Math.max(...columns.map((column) => column.length));
  const places = new Map();
  columns.forEach((column, number) => {
    const top = MARGIN + HEIGHT / 2 + ((highest - column.length) * ROW) / 2;
    column.forEach((id, row) => places.set(id, { x: MARGIN + WIDTH / 2 + number * RANK, y: top + row * ROW }));
  });
  return { places, points: () => [] };
}

// The length of the longest way to each node.
function ranks(nodes, edges) {
  const after = new Map(nodes.map(({ id }) => [id, []]));
  const open = new Map(nodes.map(({ id }) => [id, 0]));
  for (const edge of edges) {
    after.get(edge.from).push(edge.to);
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
  return rank;
}

// From the middle of the right side of one node to that of the left side of the other, by what lies between the ends.
function joined(places, edge, points) {
  const from = places.get(edge.from);
  const to = places.get(edge.to);
  return [{ x: from.x + WIDTH / 2, y: from.y }, ...(points.length > 3 ? points.slice(1, -1) : []), { x: to.x - WIDTH / 2, y: to.y }];
}

// A smooth way through points: each pair is joined by a curve that leaves and comes in level.
function curve(edge, points) {
  const parts = [`M${points[0].x} ${points[0].y}`];
  for (let at = 1; at < points.length; at += 1) {
    const [from, to] = [points[at - 1], points[at]];
    const middle = (from.x + to.x) / 2;
    parts.push(`C${middle} ${from.y} ${middle} ${to.y} ${to.x} ${to.y}`);
  }
  return { edge, way: parts.join(" "), box: around(points) };
}

function back(edge, places) {
  const source = places.get(edge.from);
  const target = places.get(edge.to);
  const from = { x: source.x + 24, y: source.y + HEIGHT / 2 };
  const to = { x: target.x - 24, y: target.y + HEIGHT / 2 };
  const deep = Math.max(from.y, to.y) + 34 + Math.abs(from.x - to.x) / 16;
  const way = `M${from.x} ${from.y} C${from.x} ${deep} ${to.x} ${deep} ${to.x} ${to.y}`;
  return { edge, way, box: around([from, to, { x: from.x, y: deep }]) };
}

function around(points) {
  const xs = points.map(({ x }) => x);
  const ys = points.map(({ y }) => y);
  return { left: Math.min(...xs), right: Math.max(...xs), top: Math.min(...ys), bottom: Math.max(...ys) };
}
