// How the environment is: what is wrong and what to do about it, queues, workers, and who records.
import { html } from "./vendor/preact.js";
import { Shown, Table, Time, useCall, useEvery } from "./parts.js";
import { duration, plural } from "./texts.js";

const MARKS = { HEALTHY: "✓", WARNING: "!", CRITICAL: "✕" };

export function HealthPage() {
  const health = useCall("/v1/health");
  const workers = useCall("/v1/workers");
  useEvery(5000, () => [health.again(), workers.again()]);
  return html`<div class="head"><h1>Health</h1></div>
    <${Shown} call=${health}>${(told) => html`<p class=${`health h-${told.status}`} role="status"><strong>${MARKS[told.status] || ""} ${told.status}</strong>
      ${told.runs && html` <span class="quiet">${plural(told.runs.ended, "run")} ended in the last 15 minutes, ${told.runs.failed} of them not well</span>`}</p>
      <ul class="reasons">${(told.reasons || []).map((one) => html`<li key=${`${one.code} ${one.subject}`}><strong class=${`h-${one.severity}`}>${MARKS[one.severity]} ${one.severity}</strong> ${one.message} ${one.since && html`<span class="quiet">since <${Time} at=${one.since} /></span>`} ${one.hint && html`<br /><span class="quiet">${one.hint}</span>`} <code>${one.code}</code></li>`)}</ul>
      ${told.queues?.length > 0 && html`<h2>Queues</h2><${Table} name="queues" heads=${["Queue", "Waiting", "Oldest", "Workers", ""]} rows=${told.queues}
        row=${(one) => html`<tr key=${one.queue}><td>${one.queue}</td><td>${one.waiting}</td><td>${one.waiting ? duration(one.oldest_ms) : ""}</td><td>${one.workers}</td><td>${one.is_paused ? "‖ paused" : ""}</td></tr>`} />`}
      ${told.partitions?.length > 0 && html`<h2>Partitions</h2><${Table} name="partitions" heads=${["Partition", "Supervisor", "Not yet in the log", "Behind", "Redis"]} rows=${told.partitions}
        row=${(one) => html`<tr key=${one.partition}><td>${one.partition}</td><td>${one.is_watched ? "✓ watches" : "✕ none"}</td><td>${plural(one.outbox, "event")}</td>
          <td>${one.lag_ms === null ? "" : duration(one.lag_ms)}</td><td>${one.standing || ""}</td></tr>`} />`}`}<//>
    <h2>Workers</h2>
    <${Shown} call=${workers}>${(page) => (page.workers.length
      ? html`<${Table} name="workers" heads=${["Worker", "Host", "Build", "Queues", "Steps that it knows", "Up since", "Seen"]} rows=${page.workers} row=${(one) => html`<tr key=${one.worker}>
          <td class="id">${one.worker}</td><td>${one.host} <span class="quiet">${one.pid}</span></td><td>${one.build}</td>
          <td>${one.queues.join(", ")}</td><td class="says">${one.steps.join(", ")}</td><td><${Time} at=${one.started_at} /></td><td><${Time} at=${one.last_seen} /></td></tr>`} />`
      : html`<p class="quiet">None is alive. <code>courante worker</code> starts one.</p>`)}<//>`;
}
