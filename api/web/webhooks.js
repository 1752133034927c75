// Webhooks: who is told of what by signed requests, and what could not be sent.
import { html, useState } from "./vendor/preact.js";
import { call, post, query } from "./client.js";
import { Copy, Dialog, Doing, Link, Shown, Table, Time, useCall, useEvery } from "./parts.js";
import { plural } from "./texts.js";
import { Value } from "./values.js";

const KINDS = [
  ["run.ended", "a run has ended"], ["run.failed", "a run has failed"],
  ["approval.needed", "a step waits for a decision"], ["alert", "something only a person can change"],
];
const path = (one, more = "") => `/v1/webhooks/${encodeURIComponent(one.name)}${more}`;

export function WebhooksPage() {
  const found = useCall("/v1/webhooks");
  const [open, setOpen] = useState(null); // "add", a webhook whose dead requests are shown, or {secret}
  useEvery(10000, found.again);
  const close = () => [setOpen(null), found.again()];
  return html`<div class="head"><h1>Webhooks</h1><button type="button" onClick=${() => setOpen("add")}>New…</button></div>
    <${Shown} call=${found}>${(page) => (page.webhooks.length
      ? html`<${Table} name="webhooks" heads=${["Webhook", "Is told of", "Workflow", "To be sent", "Given up", ""]} rows=${page.webhooks}
          row=${(one) => html`<${Row} key=${one.name} one=${one} again=${found.again} onDead=${() => setOpen(one)} />`} />`
      : html`<p class="quiet">Nobody is told. A webhook sends a signed request when a run ends or fails, when a decision is needed, and of alerts.</p>`)}<//>
    ${open === "add" && html`<${Add} onClose=${close} onMade=${(made) => [setOpen(made), found.again()]} />`}
    ${open?.secret && html`<${Dialog} title=${`${open.name}: the key of its signatures`} onClose=${close}>
      <p>It is shown this once: whoever receives the requests verifies with it who sent them.</p>
      <p><code class="secret">${open.secret}</code> <${Copy} text=${open.secret} /></p><//>`}
    ${open?.name && !open.secret && html`<${Dead} one=${open} onClose=${close} />`}`;
}

function Row({ one, again, onDead }) {
  const [told, setTold] = useState(null);
  const test = async () => {
    setTold(null);
    setTold(await post(path(one, "/test")));
  };
  const [isSure, setSure] = useState(false);
  const remove = async () => {
    if (!isSure) return setSure(true);
    await call("DELETE", path(one));
    return again();
  };
  return html`<tr><td><strong>${one.name}</strong><br /><span class="quiet says">${one.url}</span><br />
      <span class="quiet">made <${Time} at=${one.created_at} />${one.by ? ` by ${one.by}` : ""}</span></td>
    <td>${one.on.join(", ")}</td>
    <td>${one.workflow ? html`<${Link} to=${`/workflows/${encodeURIComponent(one.workflow)}`}>${one.workflow}<//>` : "all"}</td>
    <td>${one.due}</td>
    <td>${one.dead ? html`<button type="button" class="link" onClick=${onDead}>${one.dead}</button>` : 0}</td>
    <td><div class="commands"><${Doing} act=${test}>Test<//>
      <${Doing} kind="danger" act=${remove}>${isSure ? `Remove ${one.name} for good` : "Remove…"}<//></div>
      <span role="status">${told && (told.is_sent ? html`<span class="good">✓ it was received</span>` : html`<span class="wrong">✕ ${told.error || "not sent yet"}${told.state === "due" ? "; it is tried again" : ""}</span>`)}</span></td></tr>`;
}

function Add({ onClose, onMade }) {
  const [name, setName] = useState("");
  const [url, setUrl] = useState("");
  const [workflow, setWorkflow] = useState("");
  const [on, setOn] = useState(["run.failed"]);
  const toggle = (kind) => setOn(on.includes(kind) ? on.filter((one) => one !== kind) : [...on, kind]);
  const send = async () => onMade(await post("/v1/webhooks", { name, url, on, ...(workflow ? { workflow } : {}) }));
  return html`<${Dialog} title="A new webhook" onClose=${onClose}><div class="form">
    <div class="field"><label for="webhook-name">Name</label><input id="webhook-name" required value=${name} onInput=${(event) => setName(event.target.value)} /></div>
    <div class="field"><label for="webhook-url">URL</label><input id="webhook-url" type="url" required value=${url} placeholder="https://" onInput=${(event) => setUrl(event.target.value)} /></div>
    <fieldset><legend>It is told when</legend>${KINDS.map(([kind, told]) => html`<label key=${kind}><input type="checkbox" checked=${on.includes(kind)} onChange=${() => toggle(kind)} /> ${told} <code>${kind}</code></label>`)}</fieldset>
    <div class="field"><label for="webhook-workflow">Only of this workflow</label><input id="webhook-workflow" value=${workflow} placeholder="all" onInput=${(event) => setWorkflow(event.target.value)} /></div></div>
    <footer><${Doing} kind="main" disabled=${!name || !url || !on.length} act=${send}>Add<//></footer><//>`;
}

function Dead({ one, onClose }) {
  const found = useCall(`/v1/webhooks/dead${query({ webhook: one.name })}`);
  const act = (verb) => async () => {
    await post(path(one, `/dead/${verb}`));
    onClose();
  };
  return html`<${Dialog} title=${`${one.name}: given up`} onClose=${onClose}>
    <${Shown} call=${found}>${({ dead }) => html`<p>${plural(dead.length, "request")} could not be sent.</p>
      <ul class="own">${dead.map((each) => html`<li key=${each.id}><details><summary>${each.body?.type} <${Time} at=${each.created_at} />, ${plural(each.attempts, "attempt")}: ${each.error}</summary>
        <${Value} value=${each.body} /></details></li>`)}</ul>
      <footer class="commands"><${Doing} kind="main" act=${act("retry")}>Send all again<//><${Doing} kind="danger" act=${act("drop")}>Forget all<//></footer>`}<//><//>`;
}
