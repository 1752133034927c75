// What a person may do with a run or a step.
import { html, useState } from "./vendor/preact.js";
import { post } from "./client.js";
import { Dialog, Doing, go } from "./parts.js";
import { FINAL } from "./status.js";
import { Form } from "./form.js";

const path = (run) => `/v1/runs/${encodeURIComponent(run.run_id)}`;
const follow = (told) => go(`/runs/${encodeURIComponent(told.run_id)}`);

export function CommandBar({ run, seq, isPast, again }) {
  const [open, setOpen] = useState("");
  const isOver = FINAL.has(run.status);
  const act = (name, body) => async () => {
    await post(`${path(run)}/${name}`, body);
    again();
  };
  return html`<div class="commands" role="group" aria-label="what can be done with the run">
    ${!isOver && run.status !== "PAUSED" && html`<${Doing} act=${act("pause")}>Pause<//>`}
    ${run.status === "PAUSED" && html`<${Doing} act=${act("resume")}>Resume<//>`}
    ${!isOver && html`<button type="button" onClick=${() => setOpen("signal")}>Signal…</button>`}
    ${!isOver && html`<button type="button" class="danger" onClick=${() => setOpen("cancel")}>Cancel…</button>`}
    ${isOver && run.status !== "COMPLETED" && html`<${Doing} kind="main" title="a new run goes on from where this one was"
      act=${async () => follow(await post(`${path(run)}/retry`))}>Retry<//>`}
    ${seq > 0 && html`<button type="button" onClick=${() => setOpen("fork")}>Fork at ${seq}…</button>`}
    ${open === "cancel" && html`<${Reason} title="Cancel the run" verb="Cancel the run" onClose=${() => setOpen("")} act=${(reason) => act("cancel", { reason })()} />`}
    ${open === "signal" && html`<${Signal} onClose=${() => setOpen("")} act=${(name, data) => act("signal", { name, data })()} />`}
    ${open === "fork" && html`<${Fork} run=${run} seq=${seq} isPast=${isPast} onClose=${() => setOpen("")} />`}
  </div>`;
}

export function CommandsOfStep({ run, step }) {
  const isOver = FINAL.has(run.status);
  const rerun = async () => follow(await post(`${path(run)}/rerun`, { steps: [step.id] }));
  if (!isOver || step.status === "PENDING") return null;
  return html`<div class="commands"><${Doing} act=${rerun} title="a new run: this step and all that follows are executed again">Rerun from here<//></div>`;
}

function Reason({ title, verb, onClose, act }) {
  const [reason, setReason] = useState("");
  const send = async () => {
    await act(reason);
    onClose();
  };
  return html`<${Dialog} title=${title} onClose=${onClose}><label for="reason">Reason</label>
    <input id="reason" value=${reason} onInput=${(event) => setReason(event.target.value)} />
    <footer><${Doing} kind="danger" act=${send}>${verb}<//></footer><//>`;
}

function Signal({ onClose, act }) {
  const [name, setName] = useState("");
  const [data, setData] = useState(undefined);
  const send = async () => {
    await act(name, data ?? null);
    onClose();
  };
  return html`<${Dialog} title="Send a signal" onClose=${onClose}><label for="name">Name</label>
    <input id="name" required value=${name} onInput=${(event) => setName(event.target.value)} />
    <p>Data</p><${Form} schema=${{}} value=${data} onChange=${setData} />
    <footer><${Doing} kind="main" disabled=${!name} act=${send}>Send<//></footer><//>`;
}

function Fork({ run, seq, isPast, onClose }) {
  const [hasInput, setHasInput] = useState(false);
  const [input, setInput] = useState(undefined);
  const send = async () => follow(await post(`${path(run)}/fork`, { at: seq, ...(hasInput ? { input: input ?? null } : {}) }));
  return html`<${Dialog} title=${`Fork at event ${seq}`} onClose=${onClose}>
    <p>A new run goes on from what this one had come to ${isPast ? "then" : "now"}.</p>
    <label><input type="checkbox" checked=${hasInput} onChange=${(event) => setHasInput(event.target.checked)} /> with another input</label>
    ${hasInput && html`<${Form} schema=${{}} value=${input} onChange=${setInput} />`}
    <footer><${Doing} kind="main" act=${send}>Fork<//></footer><//>`;
}
