// How the environment is, and which workers live.
import { html } from "./vendor/preact.js";
import { Shown, useCall, useEvery } from "./parts.js";
import { age } from "./texts.js";

const MARKS = { HEALTHY: "✓", WARNING: "!", CRITICAL: "✕" };

export function HealthPage() {
  const health = useCall("/v1/health");
  const workers = useCall("/v1/workers");
  useEvery(5000, () => [health.again(), workers.again()]);
  return html`<div class="head"><h1>Health</h1></div>
    <${Shown} call=${health}>${(told) => html`<p class=${`health h-${told.status}`}><strong>${MARKS[told.status] || ""} ${told.status}</strong></p>
      <ul>${(told.reasons || []).map((one) => html`<li>${typeof one === "string" ? one : one.message || one.text || JSON.stringify(one)}</li>`)}</ul>`}<//>
    <h2>Workers</h2>
    <${Shown} call=${workers}>${(page) => (page.workers.length
      ? html`<div class="wide" tabindex="0" role="region" aria-label="workers"><table><thead><tr><th>Worker</th><th>Host</th><th>Queues</th><th>Steps that it knows</th><th>Seen</th></tr></thead>
        <tbody>${page.workers.map((one) => html`<tr key=${one.worker}><td class="id">${one.worker}</td><td>${one.host}</td>
          <td>${one.queues.join(", ")}</td><td>${one.steps.join(", ")}</td><td>${age(one.last_seen)}</td></tr>`)}</tbody></table></div>`
      : html`<p class="quiet">None is alive. <code>courante worker</code> starts one.</p>`)}<//>`;
}
