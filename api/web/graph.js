// The graph of a workflow, with what became of its steps. Wheel, drag, pinch or the buttons move it; Tab and Enter
// reach each node.
import { html, useEffect, useMemo, useRef, useState } from "./vendor/preact.js";
import { HEIGHT, layout, WIDTH } from "./layout.js";
import { glyph, summary } from "./status.js";

const STEP = 1.25;
const LEGIBLE = 2600; // of the plane at once, when a graph is first shown
const SMALL = 900; // and no less than this, so that few steps do not fill it

// nodes: [{id, type, name}], edges: [{from, to, kind, when}], steps: what a run has of them, or null.
export function GraphView({ nodes, edges, steps, selected, onSelect }) {
  const plan = useMemo(() => layout(nodes, edges), [nodes, edges]);
  const byNode = useMemo(() => group(steps || []), [steps]);
  const frame = useRef(null);
  const [view, setView] = useState(null);
  const whole = { x: 0, y: 0, width: plan.width, height: plan.height };
  const first = () => legible(fit(whole, frame.current));
  const shown = view || first();
  useEffect(() => setView(null), [plan]);
  const zoom = (factor, middle) => setView(zoomed(shown, factor, middle));
  useEffect(() => {
    const element = frame.current;
    const onWheel = (event) => {
      event.preventDefault();
      setView((now) => zoomed(now || first(), event.deltaY < 0 ? 1 / STEP : STEP, place(event, element, now || first())));
    };
    element.addEventListener("wheel", onWheel, { passive: false });
    return () => element.removeEventListener("wheel", onWheel);
  }, [plan]);
  const drag = useDrag(frame, shown, setView);
  const onKey = (event) => {
    const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    if (event.key === "+" || event.key === "=") zoom(1 / STEP);
    else if (event.key === "-") zoom(STEP);
    else if (event.key === "0") setView(fit(whole, frame.current));
    else if (moves[event.key]) {
      const [x, y] = moves[event.key];
      event.preventDefault();
      setView({ ...shown, x: shown.x + (x * shown.width) / 8, y: shown.y + (y * shown.height) / 8 });
    }
  };
  return html`
    <div class="graph" onKeyDown=${onKey}>
      <div class="graph-buttons" role="group" aria-label="zoom">
        <button type="button" title="zoom in (+)" aria-label="zoom in" onClick=${() => zoom(1 / STEP)}>+</button>
        <button type="button" title="zoom out (-)" aria-label="zoom out" onClick=${() => zoom(STEP)}>−</button>
        <button type="button" title="show all (0)" onClick=${() => setView(fit(whole, frame.current))}>all</button>
      </div>
      <svg ref=${frame} viewBox=${`${shown.x} ${shown.y} ${shown.width} ${shown.height}`} ...${drag}
           role="group" aria-label=${`graph of ${nodes.length} steps`}>
        <defs>
          <marker id="arrow" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">
            <path d="M0 0 L8 4 L0 8 z" class="arrow" />
          </marker>
        </defs>
        ${plan.lines.map((line, number) => html`<${Line} key=${number} ...${line} />`)}
        ${nodes.map((node) => html`<${NodeView} key=${node.id} node=${node} place=${plan.places.get(node.id)}
          steps=${byNode.get(node.id)} hasRun=${Boolean(steps)} isSelected=${node.id === selected} onSelect=${onSelect} />`)}
      </svg>
    </div>`;
}

function group(steps) {
  const found = new Map();
  for (const step of steps) {
    if (!found.has(step.id)) found.set(step.id, []);
    found.get(step.id).push(step);
  }
  return found;
}

function Line({ edge, points }) {
  const label = edge.when || (edge.kind === "normal" ? "" : edge.kind);
  return html`<path d=${way(points)} class=${`edge e-${edge.kind}`} marker-end="url(#arrow)">
    ${label && html`<title>${edge.from} → ${edge.to}: ${label}</title>`}</path>`;
}

// A smooth way through points: each pair is joined by a curve that leaves and comes in level.
function way(points) {
  const parts = [`M${points[0].x} ${points[0].y}`];
  for (let at = 1; at < points.length; at += 1) {
    const [from, to] = [points[at - 1], points[at]];
    const middle = (from.x + to.x) / 2;
    parts.push(`C${middle} ${from.y} ${middle} ${to.y} ${to.x} ${to.y}`);
  }
  return parts.join(" ");
}

function NodeView({ node, place, steps, hasRun, isSelected, onSelect }) {
  const { status, count, done } = summary(steps || []);
  const shown = hasRun ? status : "NONE";
  const said = `${node.id}, ${node.type}${hasRun ? `, ${status}${count > 1 ? ` ${done} of ${count} done` : ""}` : ""}`;
  const onKey = (event) => {
    if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      onSelect(node.id);
    }
  };
  return html`
    <g class=${`node s-${shown} ${isSelected ? "is-selected" : ""}`} tabindex="0" role="button" aria-label=${said}
       aria-pressed=${isSelected} transform=${`translate(${place.x - WIDTH / 2} ${place.y - HEIGHT / 2})`} data-node=${node.id}
       data-status=${shown} onClick=${() => onSelect(node.id)} onKeyDown=${onKey}>
      <title>${said}</title>
      <rect width=${WIDTH} height=${HEIGHT} rx="7" />
      <text x="10" y="19" class="node-id">${cut(node.id, 21)}</text>
      <text x="10" y="36" class="node-type">${cut(node.type, 14)}</text>
      ${hasRun && html`<text x=${WIDTH - 10} y="36" class="node-status" text-anchor="end">
        ${count > 1 ? `${done}/${count} ` : ""}${glyph(status)}</text>`}
    </g>`;
}

const cut = (text, most) => (text.length > most ? `${text.slice(0, most - 1)}…` : text);

// The part of the plane that is shown has the shape of the frame, so that nothing is bent.
function fit(whole, element) {
  const box = element?.getBoundingClientRect();
  const shape = box && box.height ? box.width / box.height : 2;
  const width = Math.max(whole.width, whole.height * shape, SMALL);
  const height = width / shape;
  return { x: (whole.width - width) / 2, y: (whole.height - height) / 2, width, height };
}

// A large graph is not shown whole at first, where nobody could read it.
function legible(view) {
  if (view.width <= LEGIBLE) return view;
  const height = (view.height * LEGIBLE) / view.width;
  return { x: Math.max(0, view.x), y: Math.max(0, view.y), width: LEGIBLE, height };
}

function place(event, element, view) {
  const box = element.getBoundingClientRect();
  return {
    x: view.x + ((event.clientX - box.left) / box.width) * view.width,
    y: view.y + ((event.clientY - box.top) / box.height) * view.height,
  };
}

function zoomed(view, factor, middle) {
  const at = middle || { x: view.x + view.width / 2, y: view.y + view.height / 2 };
  return {
    x: at.x - (at.x - view.x) * factor,
    y: at.y - (at.y - view.y) * factor,
    width: view.width * factor,
    height: view.height * factor,
  };
}

function useDrag(frame, view, setView) {
  const held = useRef(null);
  return {
    onPointerDown: (event) => {
      if (event.target.closest(".node")) return;
      held.current = { x: event.clientX, y: event.clientY, view };
      event.currentTarget.setPointerCapture(event.pointerId);
    },
    onPointerMove: (event) => {
      if (!held.current) return;
      const box = frame.current.getBoundingClientRect();
      const { x, y, view: from } = held.current;
      setView({
        ...from,
        x: from.x - ((event.clientX - x) / box.width) * from.width,
        y: from.y - ((event.clientY - y) / box.height) * from.height,
      });
    },
    onPointerUp: () => {
      held.current = null;
    },
  };
}
