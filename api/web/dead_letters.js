// Steps that failed for good and that nobody has dealt with.
import { html } from "./vendor/preact.js";
import { post, Problem, query } from "./client.js";
import { Doing, go, Link, RunLink, runPath, Shown, Table, Time, useCall, useEvery, useWords } from "./parts.js";
import { short } from "./texts.js";

const LIMIT = 100;

export function DeadLettersPage() {
  const [words, set] = useWords({ workflow: "", error: "", cursor: "" });
  const found = useCall(`/v1/dead-letters${query({ ...words, limit: LIMIT })}`);
  useEvery(10000, found.again);
  const change = (name) => (event) => set({ [name]: event.target.value, cursor: "" });
  const requeue = (letter) => async () => {
    const told = await post("/v1/dead-letters/requeue", { runs: [letter.run_id] });
    if (told.refused.length) throw new Problem(409, { detail: told.refused[0].message, hint: told.refused[0].hint });
    go(runPath(told.requeued[0].run_id));
  };
  const drop = (letter) => async () => {
    await post("/v1/dead-letters/drop", { places: [{ run_id: letter.run_id, step: letter.step }] });
    found.again();
  };
  return html`<div class="head"><h1>Dead letters</h1></div>
    <form class="filters" role="search" onSubmit=${(event) => event.preventDefault()}>
      <label>Workflow <input value=${words.workflow} placeholder="any" onChange=${change("workflow")} /></label>
      <label>Error <input value=${words.error} placeholder="any type" onChange=${change("error")} /></label></form>
    <${Shown} call=${found}>${(page) => html`${page.dead_letters.length
      ? html`<${Table} name="dead letters" heads=${["Run", "Step", "Error", "Failed", ""]} rows=${page.dead_letters} row=${(letter) => html`<tr key=${`${letter.run_id} ${letter.step} ${letter.scope}`}>
          <td><${RunLink} id=${letter.run_id} /> <${Link} to=${`/workflows/${encodeURIComponent(letter.workflow)}`}>${letter.workflow}<//></td>
          <td class="names"><${Link} to=${runPath(letter.run_id, query({ step: letter.step }))}>${letter.step}<//> <span class="quiet">${letter.scope || ""}</span></td>
          <td class="says">${letter.error ? short(`${letter.error.type}: ${letter.error.message}`) : ""}</td>
          <td><${Time} at=${letter.failed_at} /></td>
          <td><div class="commands"><${Doing} kind="main" title="a new run goes on from before this failure" act=${requeue(letter)}>Requeue<//>
            <${Doing} title="say that it is dealt with" act=${drop(letter)}>Drop<//></div></td></tr>`} />`
      : html`<p class="quiet">None: no step has failed for good that nobody has dealt with.</p>`}
      ${(words.cursor || page.next) && html`<div class="paging"><button type="button" disabled=${!words.cursor} onClick=${() => set({ cursor: "" })}>newest</button>
        <button type="button" disabled=${!page.next} onClick=${() => set({ cursor: page.next })}>older</button></div>`}`}<//>`;
}
