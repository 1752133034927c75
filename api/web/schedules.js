// Schedules: when each starts its next run.
import { html } from "./vendor/preact.js";
import { post } from "./client.js";
import { Doing, Link, Shown, useCall, useEvery } from "./parts.js";
import { age, span } from "./texts.js";

export function SchedulesPage() {
  const found = useCall("/v1/schedules");
  useEvery(10000, found.again);
  const act = (one, verb) => async () => {
    await post(`/v1/schedules/${encodeURIComponent(one.id)}/${verb}`);
    found.again();
  };
  return html`<div class="head"><h1>Schedules</h1></div>
    <${Shown} call=${found}>${(page) => (page.schedules.length
      ? html`<div class="wide" tabindex="0" role="region" aria-label="schedules"><table><thead><tr><th>Schedule</th><th>Workflow</th><th>When</th><th>Next</th><th></th></tr></thead>
        <tbody>${page.schedules.map((one) => {
          const isPaused = one.is_paused;
          return html`<tr key=${one.id}><td>${one.id}</td>
            <td><${Link} to=${`/workflows/${encodeURIComponent(one.workflow)}`}>${one.workflow}<//></td>
            <td>${one.cron || `every ${span(one.every_ms / 1000)}`} <span class="quiet">${one.timezone}</span></td>
            <td title=${one.next_tick || ""}>${isPaused ? "paused" : age(one.next_tick)}</td>
            <td class="commands"><${Doing} act=${act(one, isPaused ? "resume" : "pause")}>${isPaused ? "Resume" : "Pause"}<//></td></tr>`;
        })}</tbody></table></div>`
      : html`<p class="quiet">None. <code>courante schedules</code> makes one.</p>`)}<//>`;
}
