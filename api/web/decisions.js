// Decisions that a run waits for: approve or reject, with the form that the step asks for.
import { html, useState } from "./vendor/preact.js";
import { post } from "./client.js";
import { Doing, Time } from "./parts.js";
import { Form, initial } from "./form.js";
import { FoldedGiven, GivenAtOnce } from "./given.js";

export function Approvals({ run, again }) {
  const asked = run.approvals || [];
  if (!asked.length) return null;
  return html`<section class="asks" aria-label="decisions">${asked.map((one) => html`<${Asked} key=${`${one.step} ${one.scope}`} ask=${{ ...one, run_id: run.run_id }} again=${again} isOpen=${true} />`)}</section>`;
}

// ask: {run_id, step, scope, form (JSON Schema) or null, since, expires_at, escalated_to}.
// isOpen: whether what is decided about shows by itself, unless that takes long.
export function Asked({ ask, again, isOpen = false }) {
  const schema = ask.form;
  const [data, setData] = useState(schema ? initial(schema) : undefined);
  const [comment, setComment] = useState("");
  const id = `comment-${ask.run_id}-${ask.step}-${ask.scope || ""}`;
  const decide = (verb) => async () => {
    const body = { step: ask.step, scope: ask.scope || "", comment };
    if (verb === "reject") body.reason = comment;
    if (verb === "approve" && data !== undefined) body.data = data;
    await post(`/v1/runs/${encodeURIComponent(ask.run_id)}/${verb}`, body);
    again();
  };
  return html`<div class="ask">
    <h2>${ask.step} ${ask.scope ? html`<span class="quiet">${ask.scope}</span>` : ""} waits for a decision</h2>
    <p class="quiet">asked <${Time} at=${ask.since} />${ask.expires_at && html`, expires <${Time} at=${ask.expires_at} />`}${ask.escalated_to ? `, escalated to ${ask.escalated_to}` : ""}${ask.separate_approver ? "; who has started the run may not decide" : ""}</p>
    <${isOpen ? GivenAtOnce : FoldedGiven} title="What it was given" runId=${ask.run_id} step=${ask.step} scope=${ask.scope || ""} />
    ${schema && html`<${Form} schema=${schema} value=${data} onChange=${setData} />`}
    <label for=${id}>Comment</label><input id=${id} value=${comment} onInput=${(event) => setComment(event.target.value)} />
    <div class="commands"><${Doing} kind="main" act=${decide("approve")}>Approve<//><${Doing} kind="danger" act=${decide("reject")}>Reject<//></div></div>`;
}
