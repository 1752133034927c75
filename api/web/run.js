// One run: its graph, its attempts in time, its steps, its events, and what can be done with it. The slider takes the
// whole page back to what was after any event.
import { html, useEffect, useMemo, useRef, useState } from "./vendor/preact.js";
import { get, listen, query } from "./client.js";
import { CommandBar } from "./commands.js";
import { Approvals } from "./decisions.js";
import { GraphView } from "./graph.js";
import { stateAt } from "./history.js";
import { Link, Shown, useCall, useEvery, useNow } from "./parts.js";
import { FINAL, Pill } from "./status.js";
import { StepPanel } from "./step.js";
import { between, clock, duration, plural } from "./texts.js";
import { Timeline } from "./timeline.js";
import { Value } from "./values.js";

const PAGE = 1000;
const POLL_MS = 2000; // while the stream is down
const EVENTS_MAX = 50000;
const ROWS_MAX = 300;
const TABS = [["graph", "Graph"], ["timeline", "Timeline"], ["steps", "Steps"], ["events", "Events"], ["data", "Input and output"]];

export function RunPage({ id }) {
  const path = `/v1/runs/${encodeURIComponent(id)}`;
  const run = useCall(path);
  const [events, isLive] = useEvents(path, run.again);
  const isOver = run.value && FINAL.has(run.value.status);
  useEvery(isLive || isOver ? 30000 : 2000, run.again);
  return html`<${Shown} call=${run}>${(found) => html`<${RunView} run=${found} events=${events} isLive=${isLive} again=${run.again} />`}<//>`;
}

function RunView({ run, events, isLive, again }) {
  const [tab, setTab] = useState("graph");
  const [step, setStep] = useState(null);
  const [seq, setSeq] = useState(null);
  const now = useNow(!FINAL.has(run.status));
  const last = events.length ? events[events.length - 1].seq : 0;
  const nodes = run.nodes || [];
  const edges = run.edges || [];
  const isPast = seq !== null && seq < last;
  const past = useMemo(() => (isPast ? stateAt(events, seq, nodes) : null), [isPast, events, seq, nodes]);
  const shown = past || run;
  const seen = isPast ? events.filter((event) => event.seq <= seq) : events;
  return html`
    <div class="head"><h1 class="id">${run.run_id}</h1><${Pill} status=${shown.status} />
      <span class="quiet" role="status">${isPast ? `as it was after event ${seq}` : FINAL.has(run.status) ? "" : isLive ? "live" : "looked at every 2 s"}</span></div>
    <p class="facts"><${Link} to=${`/workflows/${encodeURIComponent(run.workflow)}`}>${run.workflow}<//> version ${run.version}
      ${run.started_at && html` · started ${run.started_at}`} · ${duration(between(run.started_at, run.finished_at, now))}
      ${run.base_run_id && html` · goes on from <${Link} to=${`/runs/${encodeURIComponent(run.base_run_id)}`}>${run.base_run_id}<//> (${run.trigger})`}
      ${run.parent && html` · step ${run.parent.step || ""} of <${Link} to=${`/runs/${encodeURIComponent(run.parent.run_id)}`}>${run.parent.run_id}<//>`}
      ${run.usage?.total_tokens > 0 && html` · ${plural(run.usage.total_tokens, "token")}`}
      ${run.cost?.amount > 0 ? html` · ${run.cost.amount} ${run.cost.currency}` : ""}</p>
    ${(run.alerts || []).map((alert) => html`<div class="problem" role="alert">${alert.message}</div>`)}
    ${run.error && !isPast && html`<div class="problem" role="alert"><strong>${run.error.node ? `${run.error.node}: ` : ""}${run.error.type}</strong> ${run.error.message}</div>`}
    <${CommandBar} run=${run} seq=${isPast ? seq : last} isPast=${isPast} step=${step} again=${again} />
    ${!isPast && html`<${Approvals} run=${run} again=${again} />`}
    <${Slider} events=${events} seq=${seq} last=${last} onSeq=${setSeq} />
    <div class="tabs" role="tablist">${TABS.map(([name, title]) => html`<button type="button" role="tab" id=${`tab-${name}`} key=${name}
      aria-selected=${tab === name} aria-controls="panel" onClick=${() => setTab(name)}>${title}</button>`)}</div>
    <div class="split ${step ? "has-side" : ""}">
      <section id="panel" role="tabpanel" aria-labelledby=${`tab-${tab}`}>
        ${tab === "graph" && html`<${GraphView} nodes=${nodes} edges=${edges} steps=${shown.steps} selected=${step} onSelect=${setStep} />`}
        ${tab === "timeline" && html`<${Timeline} events=${seen} now=${isPast ? Date.parse(seen[seen.length - 1].at) : now} onSelect=${setStep} />`}
        ${tab === "steps" && html`<${Steps} steps=${shown.steps} now=${now} onSelect=${setStep} />`}
        ${tab === "events" && html`<${Events} events=${seen} onSeq=${setSeq} onSelect=${setStep} />`}
        ${tab === "data" && html`<${Data} run=${run} isPast=${isPast} />`}
      </section>
      ${step && html`<${StepPanel} run=${run} node=${step} steps=${shown.steps.filter((one) => one.id === step)} events=${seen} onClose=${() => setStep(null)} again=${again} />`}
    </div>`;
}

// All events of a run, kept up to date by its stream; with each new one `again` is called soon.
function useEvents(path, again) {
  const [events, setEvents] = useState([]);
  const [isLive, setLive] = useState(false);
  const latest = useRef(again);
  latest.current = again;
  useEffect(() => {
    let isHere = true;
    let timer = 0;
    let stop = () => {};
    const known = [];
    const show = () => {
      timer ||= setTimeout(() => {
        timer = 0;
        setEvents([...known]);
        latest.current();
      }, 200);
    };
    let isUp = false;
    const last = () => (known.length ? known[known.length - 1].seq : 0);
    const hear = (event) => {
      if (event.seq <= last()) return;
      known.push(event);
      show();
    };
    const load = async () => {
      while (isHere && known.length < EVENTS_MAX) {
        const page = await get(`${path}/events${query({ after: last(), limit: PAGE })}`);
        if (isHere) page.events.forEach(hear);
        if (page.events.length < PAGE) return;
      }
    };
    const tell = (isNow) => {
      isUp = isNow;
      setLive(isNow);
    };
    const follow = () => isHere && (stop = listen(`${path}/events${query({ after: last() })}`, hear, tell));
    load().then(follow, () => tell(false));
    const poll = setInterval(() => isUp || document.visibilityState !== "visible" || load().catch(() => {}), POLL_MS);
    return () => {
      isHere = false;
      clearTimeout(timer);
      clearInterval(poll);
      stop();
    };
  }, [path]);
  return [events, isLive];
}

function Slider({ events, seq, last, onSeq }) {
  if (last < 2) return null;
  const at = seq === null ? last : seq;
  const event = events.find((one) => one.seq === at);
  return html`<div class="slider">
    <label for="slider">Event</label>
    <button type="button" aria-label="one event back" disabled=${at <= 1} onClick=${() => onSeq(at - 1)}>‹</button>
    <input id="slider" type="range" min="1" max=${last} value=${at} aria-valuetext=${event ? `${at}: ${event.type} ${event.node || ""}` : String(at)}
      onInput=${(moved) => onSeq(Number(moved.target.value) >= last ? null : Number(moved.target.value))} />
    <button type="button" aria-label="one event on" disabled=${at >= last} onClick=${() => onSeq(at + 1 >= last ? null : at + 1)}>›</button>
    <output for="slider">${at} of ${last}${event ? `: ${event.type}${event.node ? ` ${event.node}` : ""}` : ""}</output>
    ${seq !== null && html`<button type="button" onClick=${() => onSeq(null)}>now</button>`}</div>`;
}

function Steps({ steps, now, onSelect }) {
  const [most, setMost] = useState(ROWS_MAX);
  return html`<div class="wide" tabindex="0" role="region" aria-label="steps"><table>
    <thead><tr><th>Step</th><th>Status</th><th>Tries</th><th>Took</th><th>Tokens</th></tr></thead>
    <tbody>${steps.slice(0, most).map((step) => html`<tr key=${`${step.id} ${step.scope}`}>
      <td><button type="button" class="link" onClick=${() => onSelect(step.id)}>${step.id}</button> <span class="quiet">${step.scope}</span></td>
      <td><${Pill} status=${step.status} /> <span class="quiet">${step.reason || step.waiting_for || ""}</span></td>
      <td>${step.attempts || ""}</td><td>${duration(between(step.started_at, step.finished_at, now))}</td>
      <td>${step.usage ? step.usage.total_tokens : ""}</td></tr>`)}</tbody></table>
    ${steps.length > most && html`<button type="button" onClick=${() => setMost(most + ROWS_MAX)}>${steps.length - most} more</button>`}</div>`;
}

function Events({ events, onSeq, onSelect }) {
  const [most, setMost] = useState(ROWS_MAX);
  const rows = events.slice(-most).reverse();
  return html`<div class="wide" tabindex="0" role="region" aria-label="events"><table class="events">
    <thead><tr><th>No</th><th>Time</th><th>Event</th><th>Step</th><th>Says</th></tr></thead>
    <tbody>${rows.map((event) => html`<tr key=${event.seq}>
      <td><button type="button" class="link" title="show the run as it was then" onClick=${() => onSeq(event.seq)}>${event.seq}</button></td>
      <td class="quiet">${clock(event.at)}</td><td>${event.type}</td>
      <td>${event.node && html`<button type="button" class="link" onClick=${() => onSelect(event.node)}>${event.node}</button> <span class="quiet">${event.scope}</span>`}</td>
      <td class="says">${says(event.data)}</td></tr>`)}</tbody></table>
    ${events.length > most && html`<button type="button" onClick=${() => setMost(most + ROWS_MAX)}>${events.length - most} more</button>`}</div>`;
}

function says(data) {
  const { payload, error, ...rest } = data || {};
  const words = Object.entries(rest).map(([name, value]) => `${name}=${typeof value === "string" ? value : JSON.stringify(value)}`);
  if (error) words.push(`${error.type}: ${error.message}`);
  const text = words.join(", ");
  return text.length > 300 ? `${text.slice(0, 299)}…` : text;
}

// The input travels with the first event of the run.
function Data({ run, isPast }) {
  const first = useCall(`/v1/runs/${encodeURIComponent(run.run_id)}/events${query({ limit: 1, payloads: true })}`);
  return html`<h2>Input</h2><${Shown} call=${first}>${(page) => html`<${Value} value=${page.events[0]?.data.payload} />`}<//>
    <h2>Output</h2>${isPast || run.status !== "COMPLETED" ? html`<p class="quiet">not yet</p>` : html`<${Value} value=${run.output} />`}`;
}
