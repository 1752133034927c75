// New runs that go on from another one.
import { html, useState } from "./vendor/preact.js";
import { post } from "./client.js";
import { Dialog, Doing, go, runPath, Shown, Told, useCall, useDryRun } from "./parts.js";
import { Form } from "./form.js";

const path = (run) => `/v1${runPath(run.run_id)}`;

// From where the run was before it came to a bad end; by the version that it has, or by the latest, where that is mended.
export function Retry({ run, onClose }) {
  const found = useCall(`/v1/workflows/${encodeURIComponent(run.workflow)}`);
  const [isLatest, setLatest] = useState(false);
  return html`<${Restart} run=${run} title="Retry" verb="retry" body=${isLatest ? { version: "latest" } : {}} takesInput=${false} onClose=${onClose}>
    <p>A new run takes over what was done, and goes on from there.</p>
    ${found.value?.version > run.version && html`<label><input type="checkbox" checked=${isLatest} onChange=${(event) => setLatest(event.target.checked)} /> by version ${found.value.version}, the latest</label>`}<//>`;
}

// Kinds of change that the workflow names steps for, at the version that the run has.
export function Rebuild({ run, onClose }) {
  const found = useCall(`/v1/workflows/${encodeURIComponent(run.workflow)}?version=${run.version}`);
  const [changes, setChanges] = useState([]);
  const [isAny, setAny] = useState(false);
  const toggle = (kind) => setChanges(changes.includes(kind) ? changes.filter((one) => one !== kind) : [...changes, kind]);
  const isOld = found.value && Math.max(...found.value.versions.map((one) => one.version)) > run.version;
  return html`<${Restart} run=${run} title="Rebuild" verb="rebuild" isReady=${changes.length > 0} body=${{ changes, ...(isAny ? { version: "base" } : {}) }} onClose=${onClose}>
    <${Shown} call=${found}>${(shown) => (Object.keys(shown.changes).length
      ? html`<fieldset><legend>What has changed</legend>${Object.entries(shown.changes).map(([kind, steps]) => html`<label key=${kind}><input type="checkbox" checked=${changes.includes(kind)} onChange=${() => toggle(kind)} /> ${kind} <span class="quiet">${steps.join(", ")}</span></label>`)}</fieldset>
        ${isOld && html`<label><input type="checkbox" checked=${isAny} onChange=${(event) => setAny(event.target.checked)} /> by version ${run.version}, though there is a newer one</label>`}`
      : html`<p>The document of this workflow declares no kinds of change (<code>changes:</code>). Any step can be rerun: choose it in the graph.</p>`)}<//><//>`;
}

// A new run that goes on from this one. What it would do is asked for first, and shown before it is started.
export function Restart({ run, title, verb, body, isReady = true, takesInput = true, onClose, children }) {
  const [hasInput, setHasInput] = useState(false);
  const [input, setInput] = useState(undefined);
  const { plan, error } = useDryRun(`${path(run)}/${verb}`, body, isReady);
  const send = async () => go(runPath((await post(`${path(run)}/${verb}`, { ...body, ...(hasInput ? { input: input ?? null } : {}) })).run_id));
  return html`<${Dialog} title=${title} onClose=${onClose}>${children}
    <div role="status">${error && html`<${Told} error=${error} />`}
      ${plan && html`<p>${plan.impacted.length ? html`Executed: ${plan.impacted.map((step, at) => html`${at ? ", " : " "}<strong>${step}</strong>${plan.why?.[step] && ` (${plan.why[step].replaceAll("_", " ")})`}`)}` : "No step is executed again."}</p>
        ${plan.reused.length > 0 && html`<p class="quiet">Taken over: ${plan.reused.join(", ")}</p>`}`}</div>
    ${takesInput && html`<label><input type="checkbox" checked=${hasInput} onChange=${(event) => setHasInput(event.target.checked)} /> with another input</label>`}
    ${hasInput && html`<${Form} schema=${{}} value=${input} onChange=${setInput} />`}
    <footer><${Doing} kind="main" disabled=${!isReady || Boolean(error)} act=${send}>${title}<//></footer><//>`;
}
