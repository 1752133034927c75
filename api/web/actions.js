// What waits for a person, in all runs.
import { html } from "./vendor/preact.js";
import { Asked } from "./decisions.js";
import { Link, RunLink, Shown, useCall, useEvery } from "./parts.js";

const FEW = 5;

export function ActionsPage() {
  const found = useCall("/v1/approvals?limit=1000");
  useEvery(5000, found.again);
  return html`<div class="head"><h1>Actions</h1></div>
    <${Shown} call=${found}>${(page) => (page.approvals.length
      ? page.approvals.map((ask) => html`<section class="asks" key=${`${ask.run_id} ${ask.step} ${ask.scope}`}>
          <p class="facts"><${RunLink} id=${ask.run_id} /> ${ask.workflow && html`<${Link} to=${`/workflows/${encodeURIComponent(ask.workflow)}`}>${ask.workflow}<//>`}</p>
          <${Asked} ask=${ask} again=${found.again} isOpen=${page.approvals.length <= FEW} /></section>`)
      : html`<p class="quiet">Nothing waits for a decision. What does comes here by itself.</p>`)}<//>`;
}
