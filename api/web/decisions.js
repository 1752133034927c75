// Decisions that a run waits for: approve or reject, with the form that the step asks for.
import { html, useState } from "./vendor/preact.js";
import { post } from "./client.js";
import { Doing } from "./parts.js";
import { Form, initial } from "./form.js";
import { age } from "./texts.js";

export function Approvals({ run, again }) {
  const asked = run.approvals || [];
  if (!asked.length) return null;
  return html`<section class="asks" aria-label="decisions">${asked.map((one) => html`<${Asked} key=${`${one.step} ${one.scope}`} ask=${{ ...one, run_id: run.run_id }} again=${again} />`)}</section>`;
}

// ask: {run_id, step, scope, form (JSON Schema) or null, since, expires_at, escalated_to}.
export function Asked({ ask, again }) {
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
    <h3>${ask.step} ${ask.scope ? html`<span class="quiet">${ask.scope}</span>` : ""} waits for a decision</h3>
    <p class="quiet">asked ${age(ask.since)}${ask.expires_at ? `, expires ${age(ask.expires_at)}` : ""}${ask.escalated_to ? `, escalated to ${ask.escalated_to}` : ""}</p>
    ${schema && html`<${Form} schema=${schema} value=${data} onChange=${setData} />`}
    <label for=${id}>Comment</label><input id=${id} value=${comment} onInput=${(event) => setComment(event.target.value)} />
    <div class="commands"><${Doing} kind="main" act=${decide("approve")}>Approve<//><${Doing} kind="danger" act=${decide("reject")}>Reject<//></div></div>`;
}
