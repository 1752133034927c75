// The list of runs: filters, search, and live.
import { html, useEffect, useRef, useState } from "./vendor/preact.js";
import { listen, query } from "./client.js";
import { Link, Shown, useCall, useEvery, useNow } from "./parts.js";
import { FINAL, Pill, RUN_STATUSES } from "./status.js";
import { age, between, duration } from "./texts.js";

const LIMIT = 50;
const SINCE = [["", "any time"], ["1h", "last hour"], ["1d", "last day"], ["7d", "last week"]];

export function RunsPage({ place }) {
  const said = new URLSearchParams(place.split("?")[1] || "");
  const [filters, setFilters] = useState({
    workflow: said.get("workflow") || "", status: said.get("status") || "", since: said.get("since") || "", search: said.get("search") || "",
  });
  const [after, setAfter] = useState([]); // cursors of the pages before
  const { search, ...asked } = filters;
  const runs = useCall(`/v1/runs${query({ ...asked, limit: LIMIT, cursor: after[after.length - 1] || "" })}`);
  const now = useNow(true);
  const isLive = useChanges(runs.again);
  useEvery(isLive ? 30000 : 2000, runs.again);
  const change = (name) => (event) => {
    setAfter([]);
    setFilters({ ...filters, [name]: event.target.value });
  };
  return html`
    <div class="head"><h1>Runs</h1><span class="quiet" role="status">${isLive ? "live" : "looked at every 2 s"}</span></div>
    <form class="filters" role="search" onSubmit=${(event) => event.preventDefault()}>
      <label>Workflow <input value=${filters.workflow} onChange=${change("workflow")} placeholder="any" /></label>
      <label>Status <select value=${filters.status} onChange=${change("status")}><option value="">any</option>
        ${RUN_STATUSES.map((status) => html`<option value=${status}>${status}</option>`)}</select></label>
      <label>Started <select value=${filters.since} onChange=${change("since")}>${SINCE.map(([value, name]) => html`<option value=${value}>${name}</option>`)}</select></label>
      <label>Find <input type="search" value=${filters.search} onInput=${change("search")} placeholder="run or tag" /></label>
    </form>
    <${Shown} call=${runs}>${(page) => html`<${Table} runs=${page.runs.filter((run) => matches(run, search))} now=${now} />
      <div class="paging">
        <button type="button" disabled=${!after.length} onClick=${() => setAfter(after.slice(0, -1))}>newer</button>
        <button type="button" disabled=${!page.next} onClick=${() => setAfter([...after, page.next])}>older</button>
      </div>`}<//>`;
}

const matches = (run, search) => !search || run.run_id.includes(search) || run.workflow.includes(search) || (run.tags || []).some((tag) => tag.includes(search));

function Table({ runs, now }) {
  if (!runs.length) {
    return html`<p class="quiet">No runs here. Start one on the page of <${Link} to="/workflows">a workflow<//>, or with <code>courante run</code>.</p>`;
  }
  return html`<div class="wide" tabindex="0" role="region" aria-label="runs"><table>
    <thead><tr><th>Run</th><th>Workflow</th><th>Status</th><th>Started</th><th>Took</th></tr></thead>
    <tbody>${runs.map((run) => html`<tr key=${run.run_id}>
      <td><${Link} to=${`/runs/${encodeURIComponent(run.run_id)}`} class="id">${run.run_id}<//>${(run.tags || []).map((tag) => html` <span class="tag">${tag}</span>`)}</td>
      <td><${Link} to=${`/workflows/${encodeURIComponent(run.workflow)}`}>${run.workflow}<//> <span class="quiet">${run.version}</span></td>
      <td><${Pill} status=${run.status} /></td>
      <td title=${run.started_at || ""}>${age(run.started_at, now)}</td>
      <td>${duration(between(run.started_at, run.finished_at, FINAL.has(run.status) ? undefined : now))}</td></tr>`)}</tbody></table></div>`;
}

// Calls `again` soon after something has happened in any run; returns whether the stream is up.
function useChanges(again) {
  const [isLive, setLive] = useState(false);
  const latest = useRef(again);
  latest.current = again;
  useEffect(() => {
    let timer = 0;
    const hear = () => {
      timer ||= setTimeout(() => {
        timer = 0;
        latest.current();
      }, 500);
    };
    const stop = listen("/v1/events", hear, setLive);
    return () => {
      clearTimeout(timer);
      stop();
    };
  }, []);
  return isLive;
}
