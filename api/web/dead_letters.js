// Steps that failed for good and that nobody has dealt with.
import { html } from "./vendor/preact.js";
import { post, Problem } from "./client.js";
import { Doing, go, Link, Shown, useCall, useEvery } from "./parts.js";
import { age } from "./texts.js";

export function DeadLettersPage() {
  const found = useCall("/v1/dead-letters");
  useEvery(10000, found.again);
  const requeue = (letter) => async () => {
    const told = await post("/v1/dead-letters/requeue", { runs: [letter.run_id] });
    if (told.refused.length) throw new Problem(409, { detail: told.refused[0].message, hint: told.refused[0].hint });
    go(`/runs/${encodeURIComponent(told.requeued[0].run_id)}`);
  };
  const drop = (letter) => async () => {
    await post("/v1/dead-letters/drop", { places: [{ run_id: letter.run_id, step: letter.step }] });
    found.again();
  };
  return html`<div class="head"><h1>Dead letters</h1></div>
    <${Shown} call=${found}>${(page) => (page.dead_letters.length
      ? html`<div class="wide" tabindex="0" role="region" aria-label="dead letters"><table><thead><tr><th>Run</th><th>Step</th><th>Error</th><th>Failed</th><th></th></tr></thead>
        <tbody>${page.dead_letters.map((letter) => html`<tr key=${`${letter.run_id} ${letter.step} ${letter.scope}`}>
          <td><${Link} to=${`/runs/${encodeURIComponent(letter.run_id)}`} class="id">${letter.run_id}<//> <span class="quiet">${letter.workflow}</span></td>
          <td>${letter.step} <span class="quiet">${letter.scope || ""}</span></td>
          <td class="says">${letter.error ? `${letter.error.type}: ${letter.error.message}` : ""}</td>
          <td>${age(letter.failed_at)}</td>
          <td class="commands"><${Doing} kind="main" act=${requeue(letter)}>Requeue<//><${Doing} act=${drop(letter)}>Drop<//></td></tr>`)}</tbody></table></div>`
      : html`<p class="quiet">None.</p>`)}<//>`;
}
