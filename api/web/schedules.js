// Schedules: when each starts its next run, what became of the last ones, and starting one now.
import { html, useState } from "./vendor/preact.js";
import { post } from "./client.js";
import { Doing, Link, RunLink, Shown, Table, Time, useCall, useEvery } from "./parts.js";
import { moment, span } from "./texts.js";
import { Value } from "./values.js";

const path = (id, more = "") => `/v1/schedules/${encodeURIComponent(id)}${more}`;

export function SchedulesPage() {
  const found = useCall("/v1/schedules?limit=1000");
  const [open, setOpen] = useState(null);
  useEvery(10000, found.again);
  const act = (one, verb) => async () => {
    await post(path(one.id, `/${verb}`));
    found.again();
  };
  return html`<div class="head"><h1>Schedules</h1></div>
    <${Shown} call=${found}>${(page) => (page.schedules.length
      ? html`<${Table} name="schedules" heads=${["Schedule", "Workflow", "When", "Next", ""]} rows=${page.schedules} row=${(one) => html`<tr key=${one.id}>
          <td><button type="button" class="link" aria-expanded=${open === one.id} onClick=${() => setOpen(open === one.id ? null : one.id)}>${one.id}</button> <span class="quiet">${one.note}</span></td>
          <td><${Link} to=${`/workflows/${encodeURIComponent(one.workflow)}`}>${one.workflow}<//> <span class="quiet">${one.version || ""}</span></td>
          <td>${one.cron ? html`<code>${one.cron}</code>` : `every ${span(one.every_ms / 1000)}`} <span class="quiet">${one.timezone}</span></td>
          <td>${one.is_paused ? html`<span class="pill s-PAUSED">‖ PAUSED</span> <span class="quiet">${one.pause_note || ""} ${one.pause_by || ""}</span>` : html`<${Time} at=${one.next_tick} />`}</td>
          <td><div class="commands"><${Doing} act=${act(one, one.is_paused ? "resume" : "pause")}>${one.is_paused ? "Resume" : "Pause"}<//>
            <${Doing} title="start a run of it now" act=${act(one, "trigger")}>Start now<//></div></td></tr>
          ${open === one.id && html`<tr key=${`${one.id} more`}><td colspan="5"><${Ticks} id=${one.id} input=${one.input} /></td></tr>`}`} />`
      : html`<p class="quiet">Nothing starts by itself. <code>courante schedules create</code> makes one.</p>`)}<//>`;
}

function Ticks({ id, input }) {
  const found = useCall(path(id));
  useEvery(10000, found.again);
  return html`<${Shown} call=${found}>${({ next, ticks }) => html`
    <h3>Next</h3>${next.length ? html`<ol class="own">${next.map((at) => html`<li key=${at}>${moment(at)}</li>`)}</ol>` : html`<p class="quiet">never again</p>`}
    <h3>Last</h3>${ticks.length ? html`<ol class="own">${ticks.map((tick) => html`<li key=${tick.at}><${Time} at=${tick.at} /> ${tick.outcome || tick.state || ""}
      ${tick.run_id && html` <${RunLink} id=${tick.run_id} />`} <span class="quiet">${tick.reason || ""}</span></li>`)}</ol>` : html`<p class="quiet">none yet</p>`}
    <h3>Input</h3><${Value} value=${input} />`}<//>`;
}
