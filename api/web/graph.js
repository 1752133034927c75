// The graph of a workflow, with what became of its steps. Only what is seen is drawn; from afar, nodes are marks of
// their status. One Tab reaches the graph and one the steps, between which the arrows go.
import { html, useEffect, useLayoutEffect, useMemo, useRef, useState } from "./vendor/preact.js";
import { HEIGHT, layout, WIDTH } from "./layout.js";
import { glyph, ORDER, summary } from "./status.js";
import { cell, closer, farther, fit, meets, showing, useHands, useSize } from "./view.js";

const TOLD = 0.35; // at less, the words of a node cannot be read
const MANY = 300; // nodes; so many are drawn with their words however far away
const FINDER = 12; // nodes; with more there is a field to find one
const HEIGHT_MIN = 190;

// nodes: [{id, type, name}], edges: [{from, to, kind, when}], steps: what a run has of them, or null.
export function GraphView({ nodes, edges, steps, selected, onSelect }) {
  const plan = useMemo(() => layout(nodes, edges), [nodes, edges]);
  const marks = useMemo(() => marksOf(nodes, steps), [nodes, steps]);
  const svg = useRef(null);
  const frame = useSize(svg);
  const [view, setView] = useState(null);
  const [at, setAt] = useState(null); // the node that Tab comes to
  const wanted = useRef(null); // the node that is to have the focus as soon as it is drawn
  useLayoutEffect(() => setView(null), [plan]);
  const begin = plan.places.get(nodes[0]?.id) || { x: 0, y: 0 };
  const shown = view || (frame && fit(plan, frame, begin, false));
  const move = (change) => frame && setView((now) => change(now || fit(plan, frame, begin, false)));
  const bring = (id) => frame && setView((now) => {
    const from = now || fit(plan, frame, begin, false);
    const to = showing(from, frame, plan.places.get(id), WIDTH);
    return to.x === from.x && to.y === from.y ? now : to; // what fits goes on to fit when the frame changes
  });
  const hands = useHands(svg, move, (point, event) => {
    const own = event.target.closest?.(".node")?.dataset.node;
    const near = own || (shown.scale < TOLD && nearest(plan, { x: shown.x + point.x / shown.scale, y: shown.y + point.y / shown.scale }));
    if (near) onSelect(near);
  });
  useEffect(() => {
    if (selected && plan.places.has(selected)) [setAt(selected), bring(selected)];
  }, [selected, plan, frame]);
  useEffect(() => {
    const element = wanted.current && svg.current.querySelector(`[data-node="${CSS.escape(wanted.current)}"]`);
    if (element) [element.focus({ preventScroll: true }), (wanted.current = null)];
  });
  const stop = at && plan.places.has(at) ? at : nodes[0]?.id;
  const onKey = (event) => {
    const way = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    const node = event.target.closest(".node")?.dataset.node;
    if (event.target.closest("button, input") || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "+" || event.key === "=") move(closer(frame));
    else if (event.key === "-") move(farther(frame));
    else if (event.key === "0") setView(fit(plan, frame, begin, true));
    else if (node && (event.key === "Enter" || event.key === " ")) onSelect(node);
    else if (way && node) {
      const next = beside(plan, node, way);
      if (next) [(wanted.current = next), setAt(next), bring(next)];
    } else if (way) move((now) => ({ ...now, x: now.x + (way[0] * frame.width) / 8 / now.scale, y: now.y + (way[1] * frame.height) / 8 / now.scale }));
    else return;
    event.preventDefault();
  };
  const visit = (id) => [setAt(id), onSelect(id), bring(id)];
  return html`
    <div class="graph" onKeyDown=${onKey}>
      <div class="graph-buttons" role="group" aria-label="zoom">
        <button type="button" title="zoom in (+)" aria-label="zoom in" onClick=${() => move(closer(frame))}>+</button>
        <button type="button" title="zoom out (-)" aria-label="zoom out" onClick=${() => move(farther(frame))}>−</button>
        <button type="button" title="show all (0)" onClick=${() => setView(fit(plan, frame, begin, true))}>all</button>
      </div>
      <svg ref=${svg} tabindex="0" role="group" aria-label=${`graph of ${nodes.length} steps; arrow keys move it`} ...${hands}
           style=${{ height: `min(62vh, 640px, ${Math.max(HEIGHT_MIN, Math.round(plan.height * 1.1))}px)` }}>
        <defs><marker id="arrow" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">
          <path d="M0 0 L8 4 L0 8 z" class="arrow" /></marker></defs>
        ${shown && html`<g transform=${`scale(${shown.scale}) translate(${-shown.x} ${-shown.y})`}>
          <${Drawn} plan=${plan} nodes=${nodes} marks=${marks} hasRun=${Boolean(steps)} isFar=${shown.scale < TOLD && nodes.length > MANY}
            cell=${cell(shown, frame)} stop=${stop} selected=${selected} onSelect=${onSelect} /></g>`}
      </svg>
      <${Legend} nodes=${nodes} marks=${marks} hasRun=${Boolean(steps)} selected=${selected} onVisit=${visit} />
    </div>`;
}

// What a run has of each node: Map id -> {status, count, done}.
function marksOf(nodes, steps) {
  const found = new Map(nodes.map(({ id }) => [id, []]));
  for (const step of steps || []) found.get(step.id)?.push(step);
  return new Map([...found].map(([id, own]) => [id, summary(own)]));
}

// The same objects are given again while nothing has changed, so that a movement draws nothing anew.
function Drawn({ plan, nodes, marks, hasRun, isFar, cell: seen, stop, selected }) {
  const key = isFar ? "" : Object.values(seen).join();
  const lines = useMemo(() => (isFar
    ? html`<path d=${plan.lines.map(({ way }) => way).join("")} class="edge" />`
    : plan.lines.filter(({ box }) => meets(box, seen)).map((line) => html`<${Line} key=${line.way} ...${line} />`)), [plan, isFar, key]);
  const boxes = useMemo(() => {
    if (isFar) return far(plan, marks, hasRun);
    const isSeen = ({ x, y }) => meets({ left: x - WIDTH / 2, right: x + WIDTH / 2, top: y - HEIGHT / 2, bottom: y + HEIGHT / 2 }, seen);
    return nodes.filter(({ id }) => isSeen(plan.places.get(id))).map((node) => html`<${NodeView} key=${node.id} node=${node}
      place=${plan.places.get(node.id)} mark=${marks.get(node.id)} hasRun=${hasRun} isStop=${node.id === stop} isSelected=${node.id === selected} />`);
  }, [plan, nodes, marks, hasRun, isFar, key, stop, selected]);
  return html`${lines}${boxes}${isFar && selected && html`<${Ring} place=${plan.places.get(selected)} />`}`;
}

function far(plan, marks, hasRun) {
  const ways = new Map();
  for (const [id, { x, y }] of plan.places) {
    const status = hasRun ? marks.get(id).status : "NONE";
    ways.set(status, `${ways.get(status) || ""}M${x - WIDTH / 2} ${y - HEIGHT / 2}h${WIDTH}v${HEIGHT}h${-WIDTH}z`);
  }
  return [...ways].map(([status, way]) => html`<path key=${status} d=${way} class=${`far s-${status}`} />`);
}

const Ring = ({ place }) => place && html`<rect class="ring" x=${place.x - WIDTH / 2} y=${place.y - HEIGHT / 2} width=${WIDTH} height=${HEIGHT} />`;

function Line({ edge, way }) {
  const label = edge.when ? `${edge.kind === "loop" ? "while " : ""}${edge.when}` : edge.kind === "normal" ? "" : edge.kind;
  return html`<path d=${way} class=${`edge e-${edge.kind}`} marker-end="url(#arrow)">
    ${label && html`<title>${edge.from} → ${edge.to}: ${label}</title>`}</path>`;
}

function NodeView({ node, place, mark, hasRun, isStop, isSelected }) {
  const { status, count, done } = mark;
  const shown = hasRun ? status : "NONE";
  const said = `${node.id}, ${node.type}${hasRun ? `, ${status}${count > 1 ? ` ${done} of ${count} done` : ""}` : ""}`;
  return html`
    <g class=${`node s-${shown} ${isSelected ? "is-selected" : ""}`} tabindex=${isStop ? 0 : -1} role="button" aria-label=${said}
       aria-pressed=${isSelected} transform=${`translate(${place.x - WIDTH / 2} ${place.y - HEIGHT / 2})`} data-node=${node.id} data-status=${shown}>
      <title>${said}</title>
      <rect width=${WIDTH} height=${HEIGHT} rx="7" />
      <text x="10" y="19" class="node-id">${cut(node.id, 21)}</text>
      <text x="10" y="36" class="node-type">${cut(node.type, 14)}</text>
      ${hasRun && html`<text x=${WIDTH - 10} y="36" class="node-status" text-anchor="end">
        ${count > 1 ? `${done}/${count} ` : ""}${glyph(status)}</text>`}
    </g>`;
}

const cut = (text, most) => (text.length > most ? `${text.slice(0, most - 1)}…` : text);

// How many steps have which status, each a button that goes from one of them to the next; and a field to find a step.
function Legend({ nodes, marks, hasRun, selected, onVisit }) {
  const [text, setText] = useState("");
  const counts = new Map();
  for (const { status } of hasRun ? marks.values() : []) counts.set(status, (counts.get(status) || 0) + 1);
  const next = (found) => found.length && onVisit(found[(found.indexOf(selected) + 1) % found.length]);
  const found = text ? nodes.filter(({ id, name }) => `${id} ${name}`.toLowerCase().includes(text.toLowerCase())).map(({ id }) => id) : [];
  const search = (event) => {
    event.preventDefault();
    next(found);
  };
  if (!hasRun && nodes.length <= FINDER) return null;
  return html`<div class="legend">
    ${ORDER.filter((status) => counts.has(status)).map((status) => html`<button type="button" key=${status} class=${`pill s-${status}`}
      title="go to the next of them" onClick=${() => next(nodes.filter(({ id }) => marks.get(id).status === status).map(({ id }) => id))}>
      <span aria-hidden="true">${glyph(status)}</span> ${status} ${counts.get(status)}</button>`)}
    ${nodes.length > FINDER && html`<form onSubmit=${search}><input type="search" aria-label="find a step" placeholder="find a step" value=${text}
      onInput=${(event) => setText(event.target.value)} /> <span class="quiet" role="status">${text && `${found.length} of ${nodes.length}`}</span></form>`}
  </div>`;
}

function nearest(plan, { x, y }) {
  let best = null;
  for (const [id, place] of plan.places) {
    const far = Math.hypot(place.x - x, place.y - y);
    if (!best || far < best.far) best = { id, far };
  }
  return best?.id;
}

// The node that stands next in a direction; what lies aside counts as farther away.
function beside(plan, from, [right, down]) {
  const own = plan.places.get(from);
  let best = null;
  for (const [id, { x, y }] of plan.places) {
    const along = (x - own.x) * right + (y - own.y) * down;
    const aside = Math.abs((x - own.x) * down) + Math.abs((y - own.y) * right);
    if (along <= 1 || (right ? aside > 4 * along : aside > along)) continue;
    const far = along + 2 * aside;
    if (!best || far < best.far) best = { id, far };
  }
  return best?.id;
}
