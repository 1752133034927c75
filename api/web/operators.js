// The operator log: who did what that stands in the log of no run.
import { html } from "./vendor/preact.js";
import { query } from "./client.js";
import { Shown, Table, Time, useCall, useWords } from "./parts.js";

const LIMIT = 100;

export function OperatorsPage() {
  const [words, set] = useWords({ by: "", cursor: "" });
  const found = useCall(`/v1/operators${query({ ...words, limit: LIMIT })}`);
  return html`<div class="head"><h1>Operator log</h1></div>
    <form class="filters" role="search" onSubmit=${(event) => event.preventDefault()}>
      <label>By <input type="search" value=${words.by} placeholder="anybody" onChange=${(event) => set({ by: event.target.value, cursor: "" })} /></label></form>
    <${Shown} call=${found}>${(page) => html`${page.operations.length
      ? html`<${Table} name="operations" heads=${["Time", "By", "Did", "To", "Answer", "From"]} rows=${page.operations} row=${(one) => html`<tr>
          <td><${Time} at=${one.at} /></td><td>${one.by || html`<span class="quiet">nobody</span>`} ${one.key_id && html`<span class="quiet id">${one.key_id}</span>`}</td>
          <td class="says">${one.action}</td><td class="says id">${one.target}</td><td>${one.result}</td><td class="quiet">${one.address || "command line"}</td></tr>`} />`
      : html`<p class="quiet">Nothing is told of ${words.by || "anybody"} here. What is asked of runs stands in the log of each run.</p>`}
      <div class="paging"><button type="button" disabled=${!words.cursor} onClick=${() => set({ cursor: "" })}>newest</button>
        <button type="button" disabled=${!page.next} onClick=${() => set({ cursor: page.next })}>older</button></div>`}<//>`;
}
