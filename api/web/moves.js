// What is done to a run itself: it goes on with another version of its workflow, or is emptied. Both are tried first.
import { html, useState } from "./vendor/preact.js";
import { post } from "./client.js";
import { Dialog, Doing, RunLink, runPath, Shown, Told, useCall, useDryRun } from "./parts.js";
import { plural } from "./texts.js";

export function Migrate({ run, onClose, again }) {
  const found = useCall(`/v1/workflows/${encodeURIComponent(run.workflow)}`);
  const [to, setTo] = useState("");
  const [reason, setReason] = useState("");
  const others = (found.value?.versions || []).map((one) => one.version).filter((version) => version !== run.version);
  const path = `/v1${runPath(run.run_id)}/migrate`;
  const { plan, error } = useDryRun(path, { to: Number(to) }, to !== "");
  const send = async () => {
    await post(path, { to: Number(to), reason });
    again();
    onClose();
  };
  return html`<${Dialog} title="Move to another version" onClose=${onClose}>
    <p>What is done stays done; what is still to come is done by the other version. The run moves only where it is proved that it can.</p>
    <${Shown} call=${found}>${() => (others.length ? html`<label for="to">Version</label><select id="to" value=${to} onChange=${(event) => setTo(event.target.value)}>
        <option value="">choose one</option>${others.map((version) => html`<option value=${String(version)}>${version}</option>`)}</select>
      <label for="reason">Reason</label><input id="reason" value=${reason} onInput=${(event) => setReason(event.target.value)} />`
      : html`<p>The workflow has no other version.</p>`)}<//>
    <div role="status">${error && html`<${Told} error=${error} />`}${plan && (plan.ok ? html`<p class="good">✓ It can move.</p>` : html`<p>${plural(plan.blockers.length, "thing")} in the way:</p>
      <ul>${plan.blockers.map((one) => html`<li><strong>${one.node} ${one.scope}</strong> ${one.message}${one.hint && html` <span class="quiet">(${one.hint})</span>`}</li>`)}</ul>`)}</div>
    <footer><${Doing} kind="main" disabled=${!plan?.ok} act=${send}>Move<//></footer><//>`;
}

export function Forget({ run, onClose }) {
  const [reason, setReason] = useState("");
  const path = `/v1${runPath(run.run_id)}/forget`;
  const { plan, error } = useDryRun(path, {});
  const send = async () => {
    await post(path, { reason });
    location.reload(); // nor does the page keep anything
  };
  return html`<${Dialog} title="Forget the run" onClose=${onClose}>
    <p>Its inputs, outputs, artifacts, logs and texts of errors are emptied. The events stay, and that it was done. <strong>Nobody can undo it.</strong></p>
    <div role="status">${error && html`<${Told} error=${error} />`}${plan && html`<p>${plural(plan.forgotten.length, "run")} would be emptied: ${plural(plan.events, "event")} with a payload.</p>
      ${plan.related.length > 0 && html`<p>Copies may be in: ${plan.related.map((one) => html`<${RunLink} id=${one.run_id} /> `)}</p>`}`}</div>
    <label for="reason">Reason</label><input id="reason" value=${reason} onInput=${(event) => setReason(event.target.value)} />
    <footer><${Doing} kind="danger" disabled=${!plan} act=${send}>Forget for good<//></footer><//>`;
}
