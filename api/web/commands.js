// What a person may do with a run or a step.
import { html, useState } from "./vendor/preact.js";
import { post } from "./client.js";
import { Forget, Migrate } from "./moves.js";
import { Dialog, Doing, runPath } from "./parts.js";
import { Rebuild, Restart, Retry } from "./restarts.js";
import { ENDED, FINAL } from "./status.js";
import { Form } from "./form.js";

const path = (run) => `/v1${runPath(run.run_id)}`;

export function CommandBar({ run, seq, isPast, again }) {
  const [open, setOpen] = useState("");
  const close = () => setOpen("");
  const isOver = FINAL.has(run.status);
  const act = (name, body) => async () => {
    await post(`${path(run)}/${name}`, body);
    again();
  };
  return html`<div class="commands" role="group" aria-label="what can be done with the run">
    ${!isPast && !isOver && run.status !== "PAUSED" && html`<${Doing} act=${act("pause")}>Pause<//>`}
    ${!isPast && run.status === "PAUSED" && html`<${Doing} kind="main" act=${act("resume")}>Resume<//>`}
    ${!isPast && !isOver && html`<button type="button" onClick=${() => setOpen("signal")}>Signal…</button>`}
    ${!isPast && !isOver && html`<button type="button" title="let it go on with another version of its workflow" onClick=${() => setOpen("migrate")}>Move…</button>`}
    ${!isPast && !isOver && html`<button type="button" class="danger" onClick=${() => setOpen("cancel")}>Cancel…</button>`}
    ${!isPast && isOver && run.status !== "COMPLETED" && html`<button type="button" class="main" title="a new run goes on from where this one was" onClick=${() => setOpen("retry")}>Retry…</button>`}
    ${!isPast && run.status === "COMPLETED" && html`<button type="button" title="do again what has gone out of date" onClick=${() => setOpen("rebuild")}>Rebuild…</button>`}
    ${seq > 0 && html`<button type="button" title="a new run goes on from that event" onClick=${() => setOpen("fork")}>Fork at ${seq}…</button>`}
    ${!isPast && isOver && !run.forgotten && html`<button type="button" class="danger" title="empty what it has said and made, for good" onClick=${() => setOpen("forget")}>Forget…</button>`}
    ${open === "migrate" && html`<${Migrate} run=${run} onClose=${close} again=${again} />`}
    ${open === "forget" && html`<${Forget} run=${run} onClose=${close} />`}
    ${open === "cancel" && html`<${Reason} title="Cancel the run" onClose=${close} act=${(reason) => act("cancel", { reason })()} />`}
    ${open === "signal" && html`<${Signal} onClose=${close} act=${(name, data) => act("signal", { name, data })()} />`}
    ${open === "retry" && html`<${Retry} run=${run} onClose=${close} />`}
    ${open === "rebuild" && html`<${Rebuild} run=${run} onClose=${close} />`}
    ${open === "fork" && html`<${Restart} run=${run} title=${`Fork at event ${seq}`} verb="fork" body=${{ at: seq }} onClose=${close}>
      <p>A new run goes on from what this one had come to ${isPast ? "then" : "now"}.</p><//>`}
  </div>`;
}

export function CommandsOfStep({ run, step, again }) {
  const [open, setOpen] = useState("");
  const close = () => setOpen("");
  const at = `${path(run)}/steps/${encodeURIComponent(step.id)}`;
  if (FINAL.has(run.status)) {
    if (step.status === "PENDING") return null;
    return html`<div class="commands"><button type="button" onClick=${() => setOpen("rerun")}>Rerun from here…</button>
      ${open === "rerun" && html`<${Restart} run=${run} title=${`Rerun from ${step.id}`} verb="rerun" body=${{ steps: [step.id] }} onClose=${close}>
        <p>A new run executes this step and all that follows again, and takes over the rest.</p><//>`}</div>`;
  }
  if (step.status === "PENDING" || ENDED.has(step.status)) return null;
  const act = (name, body) => async () => {
    await post(`${at}/${name}`, { scope: step.scope, ...body });
    again();
  };
  return html`<div class="commands">
    <button type="button" onClick=${() => setOpen("succeed")}>Say its output…</button>
    <button type="button" onClick=${() => setOpen("skip")}>Skip…</button>
    <button type="button" class="danger" onClick=${() => setOpen("cancel")}>Cancel the step…</button>
    ${open === "succeed" && html`<${Output} step=${step} onClose=${close} act=${(output, reason) => act("force", { end: "succeed", output, reason })()} />`}
    ${open === "skip" && html`<${Reason} title=${`Skip ${step.id}`} onClose=${close} act=${(reason) => act("force", { end: "skip", reason })()} />`}
    ${open === "cancel" && html`<${Reason} title=${`Cancel ${step.id}`} onClose=${close} act=${(reason) => act("cancel", { reason })()} />`}</div>`;
}

function Reason({ title, onClose, act }) {
  const [reason, setReason] = useState("");
  const send = async () => {
    await act(reason);
    onClose();
  };
  return html`<${Dialog} title=${title} onClose=${onClose}><label for="reason">Reason</label>
    <input id="reason" value=${reason} onInput=${(event) => setReason(event.target.value)} />
    <footer><${Doing} kind="danger" act=${send}>${title}<//></footer><//>`;
}

function Output({ step, onClose, act }) {
  const [output, setOutput] = useState(undefined);
  const [reason, setReason] = useState("");
  const send = async () => {
    await act(output ?? null, reason);
    onClose();
  };
  return html`<${Dialog} title=${`${step.id} has succeeded`} onClose=${onClose}>
    <${Form} name="Its output" schema=${{}} value=${output} onChange=${setOutput} />
    <label for="reason">Reason</label><input id="reason" value=${reason} onInput=${(event) => setReason(event.target.value)} />
    <footer><${Doing} kind="main" act=${send}>Let it go on<//></footer><//>`;
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
    <${Form} name="Data" schema=${{}} value=${data} onChange=${setData} />
    <footer><${Doing} kind="main" disabled=${!name} act=${send}>Send<//></footer><//>`;
}
