// What the tabs of a run show beside its graph and its timeline: steps, events, and values.
import { html, useState } from "./vendor/preact.js";
import { Table, Time, useCall } from "./parts.js";
import { Payload } from "./payload.js";
import { Pill } from "./status.js";
import { between, duration, short } from "./texts.js";
import { Value } from "./values.js";

export const OUTPUT = new Set(["step.succeeded", "step.reused"]);

export function Steps({ steps, now, onSelect }) {
  return html`<${Table} name="steps" heads=${["Step", "Status", "Tries", "Took", "Tokens", "Cost"]} rows=${steps} row=${(step) => html`<tr key=${`${step.id} ${step.scope}`}>
    <td class="names"><button type="button" class="link" onClick=${() => onSelect(step.id, step.scope)}>${step.id}</button> <span class="quiet">${step.scope}</span></td>
    <td><${Pill} status=${step.status} /> <span class="quiet">${step.reason || step.waiting_for || ""}</span></td>
    <td>${step.attempts || ""}</td><td>${duration(between(step.started_at, step.finished_at, now))}</td>
    <td>${step.usage?.total_tokens || ""}</td><td>${step.cost?.amount > 0 ? `${step.cost.amount} ${step.cost.currency}` : ""}</td></tr>`} />`;
}

export function Events({ run, events, onSeq, onSelect }) {
  const [text, setText] = useState("");
  const wanted = text.toLowerCase();
  const found = events.filter((event) => !wanted || `${event.type} ${event.node || ""} ${event.scope || ""}`.toLowerCase().includes(wanted)).reverse();
  return html`<form class="filters" role="search" onSubmit=${(event) => event.preventDefault()}>
      <label>Find <input type="search" value=${text} placeholder="event or step" onInput=${(event) => setText(event.target.value)} /></label>
      <span class="quiet" role="status">${found.length} of ${events.length}</span>
      <a class="button" href=${`/v1/runs/${encodeURIComponent(run.run_id)}/audit`} download=${`${run.run_id}.jsonl`} title="the log with its hashes, which 'courante audit verify' checks anywhere">Audit bundle</a></form>
    <${Table} name="events" heads=${["No", "Time", "Event", "Step", "Says"]} rows=${found} row=${(event) => html`<tr key=${event.seq}>
      <td><button type="button" class="link" title="show the run as it was then" onClick=${() => onSeq(event.seq)}>${event.seq}</button></td>
      <td class="quiet"><${Time} at=${event.at} isClock=${true} /></td><td>${event.type}</td>
      <td class="names">${event.node && html`<button type="button" class="link" onClick=${() => onSelect(event.node, event.scope)}>${event.node}</button> <span class="quiet">${event.scope}</span>`}</td>
      <td class="says">${says(event.data)}</td></tr>`} />`;
}

function says(data) {
  const { payload, error, ...rest } = data || {};
  const words = Object.entries(rest).map(([name, value]) => `${name}=${typeof value === "string" ? value : JSON.stringify(value)}`);
  if (error) words.push(`${error.type}: ${error.message}`);
  return short(words.join(", "));
}

// The input, what each step has given until then, and the output.
export function Data({ run, events, isPast }) {
  const given = new Map();
  for (const event of events) if (OUTPUT.has(event.type)) given.set(`${event.node} ${event.scope || ""}`, event);
  const rows = [...given.values()];
  return html`<h2>Input</h2>${events.length ? html`<${Payload} runId=${run.run_id} seq=${events[0].seq} />` : html`<p class="quiet">not begun</p>`}
    <h2>Outputs of steps</h2>${rows.length ? html`<${Table} name="outputs" heads=${["Step", "Output"]} rows=${rows} row=${(event) => html`<tr key=${event.seq}>
      <td>${event.node} <span class="quiet">${event.scope}</span></td><td><${Folded} runId=${run.run_id} seq=${event.seq} /></td></tr>`} />` : html`<p class="quiet">none yet</p>`}
    <h2>Output of the run</h2>${isPast || run.status !== "COMPLETED" ? html`<p class="quiet">not yet</p>` : html`<${Value} value=${run.output} />`}
    <${Artifacts} run=${run} last=${events.length ? events[events.length - 1].seq : 0} />`;
}

function Folded({ runId, seq }) {
  const [isOpen, setOpen] = useState(false);
  return html`<details onToggle=${(event) => setOpen(event.target.open)}><summary class="quiet">event ${seq}</summary>
    ${isOpen && html`<${Payload} runId=${runId} seq=${seq} />`}</details>`;
}

function Artifacts({ run, last }) {
  const path = `/v1/runs/${encodeURIComponent(run.run_id)}/artifacts`;
  const found = useCall(path);
  const shown = (found.value?.artifacts || []).filter((one) => one.seq <= last);
  if (!shown.length) return null;
  return html`<h2>Artifacts</h2><${Table} name="artifacts" heads=${["Content", "Step", "Type", "Bytes"]} rows=${shown} row=${(one) => html`<tr key=${`${one.digest} ${one.seq}`}>
    <td class="id"><a href=${`${path}/${one.digest}`} download>${one.digest}</a></td><td>${one.step} <span class="quiet">${one.scope}</span></td>
    <td>${one.content_type}</td><td>${one.size_bytes.toLocaleString("en")}</td></tr>`} />`;
}
