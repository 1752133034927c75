// What waits for a person, in all runs.
import { html } from "./vendor/preact.js";
import { Asked } from "./decisions.js";
import { Link, Shown, useCall, useEvery } from "./parts.js";

export function ActionsPage() {
  const found = useCall("/v1/approvals");
  useEvery(5000, found.again);
  return html`<div class="head"><h1>Actions</h1></div>
    <${Shown} call=${found}>${(page) => (page.approvals.length
      ? page.approvals.map((ask) => html`<section class="asks" key=${`${ask.run_id} ${ask.step} ${ask.scope}`}>
          <p class="facts"><${Link} to=${`/runs/${encodeURIComponent(ask.run_id)}`} class="id">${ask.run_id}<//> ${ask.workflow || ""}</p>
          <${Asked} ask=${ask} again=${found.again} /></section>`)
      : html`<p class="quiet">Nothing waits for a decision.</p>`)}<//>`;
}
