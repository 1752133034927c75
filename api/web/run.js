// One run: its graph, its attempts in time, its steps, its events, and what can be done with it. The slider takes the
// whole page back to what was after any event. Tab, step and event stand in the address.
import { html, useMemo } from "./vendor/preact.js";
import { CommandBar } from "./commands.js";
import { Approvals } from "./decisions.js";
import { GraphView } from "./graph.js";
import { stateAt } from "./history.js";
import { Copy, Link, RunLink, Shown, Tabs, Time, useCall, useEvery, useNow, useWords } from "./parts.js";
import { useEvents } from "./run_log.js";
import { Data, Events, Steps } from "./run_parts.js";
import { Slider } from "./slider.js";
import { FINAL, Pill } from "./status.js";
import { StepPanel } from "./step.js";
import { between, duration, plural } from "./texts.js";
import { Timeline } from "./timeline.js";

const TABS = [["graph", "Graph"], ["timeline", "Timeline"], ["steps", "Steps"], ["events", "Events"], ["data", "Input and output"]];

export function RunPage({ id }) {
  const path = `/v1/runs/${encodeURIComponent(id)}`;
  const run = useCall(path);
  if (!run.value) return html`<h1 class="id">${id}</h1><${Shown} call=${run} />`;
  return html`<${RunView} run=${run.value} path=${path} again=${run.again} />`;
}

function RunView({ run, path, again }) {
  const [events, isLive] = useEvents(path, again);
  useEvery(isLive || FINAL.has(run.status) ? 30000 : 2000, again);
  const [words, set] = useWords({ tab: "graph", step: "", scope: "", at: "" });
  const now = useNow(!FINAL.has(run.status));
  const last = events.length ? events[events.length - 1].seq : 0;
  // the graph of a run changes with its version alone: it keeps its place while the run goes on
  const drawn = useMemo(() => ({ nodes: run.nodes || [], edges: run.edges || [] }), [run.run_id, run.version, run.nodes?.length]);
  const seq = Number(words.at) > 0 && Number(words.at) < last ? Number(words.at) : null;
  const isPast = seq !== null;
  const past = useMemo(() => (isPast ? stateAt(events, seq, drawn.nodes) : null), [isPast, events, seq, drawn]);
  const shown = past || run;
  const seen = isPast ? events.filter((event) => event.seq <= seq) : events;
  const then = isPast ? Date.parse(seen[seen.length - 1].at) : now;
  const onSeq = (wanted) => set({ at: wanted === null ? "" : String(wanted) });
  const onSelect = (step, scope = "") => set({ step, scope });
  const { tab, step } = words;
  const onClose = () => {
    onSelect("");
    document.querySelector(`.node[data-node="${CSS.escape(step)}"]`)?.focus(); // where it was opened
  };
  return html`
    <div class="head"><h1 class="id">${run.run_id}</h1><${Copy} text=${run.run_id} /><${Pill} status=${shown.status} />
      <span class=${isPast ? "past" : "quiet"} role="status">${isPast ? `as it was after event ${seq}` : FINAL.has(run.status) ? "" : isLive ? "● live" : "○ looked at every 2 s"}</span></div>
    <${Facts} run=${run} isPast=${isPast} then=${then} />
    ${!isPast && (run.alerts || []).map((alert) => html`<div class="problem" role="alert">${alert.message} <span class="quiet">since <${Time} at=${alert.since} /></span></div>`)}
    ${run.error && !isPast && html`<div class="problem" role="alert"><strong>${run.error.node ? html`<button type="button" class="link" onClick=${() => onSelect(run.error.node)}>${run.error.node}</button>: ` : ""}${run.error.type}</strong> ${run.error.message}</div>`}
    <${CommandBar} run=${run} seq=${isPast ? seq : last} isPast=${isPast} again=${again} />
    ${!isPast && html`<${Approvals} run=${run} again=${again} />`}
    <${Slider} events=${events} seq=${seq} onSeq=${onSeq} />
    <${Tabs} tabs=${TABS} tab=${tab} onTab=${(name) => set({ tab: name })} />
    <div class="split ${step ? "has-side" : ""}" onKeyDown=${(event) => event.key === "Escape" && step && !event.target.closest("dialog") && onClose()}>
      <section id="panel" role="tabpanel" aria-labelledby=${`tab-${tab}`}>
        ${tab === "graph" && html`<${GraphView} nodes=${drawn.nodes} edges=${drawn.edges} steps=${shown.steps} selected=${step} onSelect=${onSelect} />`}
        ${tab === "timeline" && html`<${Timeline} events=${seen} now=${then} onSelect=${onSelect} />`}
        ${tab === "steps" && html`<${Steps} steps=${shown.steps} now=${then} onSelect=${onSelect} />`}
        ${tab === "events" && html`<${Events} run=${run} events=${seen} onSeq=${onSeq} onSelect=${onSelect} />`}
        ${tab === "data" && html`<${Data} run=${run} events=${seen} isPast=${isPast} />`}
      </section>
      ${step && html`<${StepPanel} key=${step} run=${run} node=${step} scope=${words.scope} steps=${shown.steps.filter((one) => one.id === step)} events=${seen}
        isPast=${isPast} onScope=${(scope) => set({ scope })} onClose=${onClose} again=${again} />`}
    </div>`;
}

// Where a run stands among others, and what it has taken. What was spent is known of the end alone.
function Facts({ run, isPast, then }) {
  const ended = isPast ? null : run.finished_at;
  return html`<p class="facts"><${Link} to=${`/workflows/${encodeURIComponent(run.workflow)}?version=${run.version}`}>${run.workflow}<//> version ${run.version}
    ${run.started_at ? html` · started <${Time} at=${run.started_at} />` : html` · accepted <${Time} at=${run.created_at} />`}
    ${run.started_at && html` · ${duration(Math.max(0, between(run.started_at, ended, then)))}`}
    ${run.by && html` · by ${run.by}`}
    ${(run.tags || []).map((tag) => html` <${Link} to=${`/?tag=${encodeURIComponent(tag)}`} class="tag" key=${tag}>${tag}<//>`)}
    ${run.base_run_id && html` · ${run.trigger} of <${RunLink} id=${run.base_run_id} />`}
    ${run.parent && html` · step ${run.parent.step || ""} of <${RunLink} id=${run.parent.run_id} />`}
    ${run.children?.length > 0 && html` · <${Link} to=${`/?parent=${encodeURIComponent(run.run_id)}`}>${plural(run.children.length, "child run")}<//>`}
    ${!isPast && run.usage?.total_tokens > 0 && html` · ${plural(run.usage.total_tokens, "token")}`}
    ${!isPast && run.cost?.amount > 0 && html` · ${run.cost.amount} ${run.cost.currency}`}
    ${run.archived && html` · its log was archived <${Time} at=${run.archived.at} /> ${run.archived.path || ""}`}
    ${run.forgotten && html` · its values were forgotten <${Time} at=${run.forgotten.at} />${run.forgotten.by ? ` by ${run.forgotten.by}` : ""}`}</p>`;
}
