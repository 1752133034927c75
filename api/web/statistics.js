// How the runs of a workflow have gone: how many with which status, how long they took, and each of its steps.
import { html, useState } from "./vendor/preact.js";
import { query } from "./client.js";
import { Link, Shown, Table, useCall, useEvery } from "./parts.js";
import { Pill, RUN_STATUSES } from "./status.js";
import { duration } from "./texts.js";

const SINCE = [["1h", "last hour"], ["24h", "last day"], ["7d", "last week"], ["30d", "last 30 days"]];
const seconds = (value) => (value === null || value === undefined ? "" : duration(value * 1000));
const percent = (share) => (share === null ? "–" : `${Math.round(share * 1000) / 10} %`);

export function Statistics({ id }) {
  const [since, setSince] = useState("24h");
  const found = useCall(`/v1/statistics${query({ workflow: id, since })}`, true);
  useEvery(10000, found.again);
  return html`<form class="filters" onSubmit=${(event) => event.preventDefault()}><label>Runs of the <select onChange=${(event) => setSince(event.target.value)}>
      ${SINCE.map(([value, name]) => html`<option value=${value} selected=${value === since}>${name}</option>`)}</select></label></form>
    <${Shown} call=${found}>${(told) => (told.runs.total ? html`<${Told} id=${id} since=${since} told=${told} />` : html`<p class="quiet">It has not run in that time.</p>`)}<//>`;
}

function Told({ id, since, told }) {
  const { runs, retries } = told;
  return html`
    <dl class="counts">
      <div><dt>Runs</dt><dd>${runs.total.toLocaleString("en")}${told.is_cut ? "+" : ""}</dd></div>
      <div><dt>Went well</dt><dd>${percent(runs.success_rate)}</dd></div>
      ${runs.seconds && html`<div><dt>Half take at most</dt><dd>${seconds(runs.seconds.median)}</dd></div>
        <div><dt>95 of 100</dt><dd>${seconds(runs.seconds.p95)}</dd></div><div><dt>The longest</dt><dd>${seconds(runs.seconds.longest)}</dd></div>`}
      ${retries.steps > 0 && html`<div><dt>Steps tried again</dt><dd>${retries.steps} <span class="quiet">${percent(retries.success_rate)} recovered</span></dd></div>`}
    </dl>
    <ul class="shares" aria-label="runs by status">${RUN_STATUSES.filter((status) => runs.by_status[status]).map((status) => html`<li key=${status}>
      <${Link} to=${`/${query({ workflow: id, status, since })}`}><${Pill} status=${status} /><//>
      <span class="share"><span class=${`bar s-${status}`} style=${{ width: `${(100 * runs.by_status[status]) / runs.total}%` }}></span></span>
      <span>${runs.by_status[status].toLocaleString("en")}</span></li>`)}</ul>
    <h2>Steps</h2>
    <${Table} name="steps" heads=${["Step", "Executed", "Succeeded", "Failed", "Skipped", "Attempts", "Half take at most", "95 of 100"]} rows=${told.steps}
      row=${(one) => html`<tr key=${one.step}><td>${one.step}</td><td>${one.total}</td><td>${one.succeeded}</td>
        <td>${one.failed ? html`<span class="wrong">✕ ${one.failed}</span>` : 0}</td><td>${one.skipped}</td><td>${one.attempts}</td>
        <td>${seconds(one.seconds?.median)}</td><td>${seconds(one.seconds?.p95)}</td></tr>`} />`;
}
