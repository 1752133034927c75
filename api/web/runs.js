// The list of runs: filters and search, which stand in the address, and live.
import { html, useEffect, useRef, useState } from "./vendor/preact.js";
import { query } from "./client.js";
import { Link, RunLink, Shown, Table, Time, useCall, useEvery, useNow, useWords } from "./parts.js";
import { FINAL, Pill, RUN_STATUSES } from "./status.js";
import { listen } from "./streams.js";
import { between, duration } from "./texts.js";

const SINCE = [["", "any time"], ["1h", "last hour"], ["1d", "last day"], ["7d", "last week"]];
const LIMITS = ["50", "200", "1000"];
const WAIT_MS = 250;
const NONE = { workflow: "", status: "", since: "", tag: "", parent: "", search: "", limit: "50" };

export function RunsPage() {
  const [words, set] = useWords(NONE);
  const [after, setAfter] = useState([]); // cursors of the pages before
  const runs = useCall(`/v1/runs${query({ ...words, search: words.search.trim(), cursor: after[after.length - 1] || "" })}`, true);
  useEffect(() => setAfter([]), [words]);
  const now = useNow(true, words.limit === NONE.limit ? 1000 : 10000);
  const isLive = useChanges(runs.again);
  useEvery(isLive ? 30000 : 2000, runs.again);
  const change = (name) => (event) => set({ [name]: event.target.value });
  const isFiltered = Object.keys(NONE).some((name) => name !== "limit" && words[name]);
  return html`
    <div class="head"><h1>Runs</h1><span class="quiet" role="status">${isLive ? "● live" : "○ looked at every 2 s"}</span></div>
    <form class="filters" role="search" onSubmit=${(event) => event.preventDefault()}>
      <${Search} value=${words.search} onChange=${change("search")} />
      <label>Workflow <input value=${words.workflow} onChange=${change("workflow")} placeholder="any" /></label>
      <label>Status <select onChange=${change("status")}><option value="">any</option>
        ${RUN_STATUSES.map((status) => html`<option value=${status} selected=${status === words.status}>${status}</option>`)}</select></label>
      <label>Started <select onChange=${change("since")}>${SINCE.map(([value, name]) => html`<option value=${value} selected=${value === words.since}>${name}</option>`)}</select></label>
      ${["tag", "parent"].filter((name) => words[name]).map((name) => html`<span class="tag" key=${name}>${name} ${words[name]}
        <button type="button" class="link" aria-label=${`without this ${name}`} onClick=${() => set({ [name]: "" })}>✕</button></span>`)}
      ${isFiltered && html`<button type="button" onClick=${() => set(NONE)}>all runs</button>`}
    </form>
    <${Shown} call=${runs}>${(page) => html`
      ${page.runs.length ? html`<${List} runs=${page.runs} now=${now} onTag=${(tag) => set({ tag })} />` : html`<${Empty} isFiltered=${isFiltered} />`}
      <div class="paging">
        <button type="button" disabled=${!after.length} onClick=${() => setAfter(after.slice(0, -1))}>newer</button>
        <button type="button" disabled=${!page.next} onClick=${() => setAfter([...after, page.next])}>older</button>
        <label class="quiet">at once <select onChange=${change("limit")}>${LIMITS.map((limit) => html`<option selected=${limit === words.limit}>${limit}</option>`)}</select></label>
      </div>`}<//>`;
}

// What is typed is asked for a moment after the last key.
function Search({ value, onChange }) {
  const [text, setText] = useState(value);
  useEffect(() => setText(value), [value]);
  useEffect(() => {
    if (text === value) return undefined;
    const timer = setTimeout(() => onChange({ target: { value: text } }), WAIT_MS);
    return () => clearTimeout(timer);
  }, [text]);
  return html`<label>Find <input type="search" value=${text} onInput=${(event) => setText(event.target.value)} placeholder="run, key, tag or workflow"
    title="the beginning of a run's id, an idempotency key, a tag, or a part of a workflow's id or name" /></label>`;
}

function Empty({ isFiltered }) {
  if (isFiltered) return html`<p class="quiet">No run is as you ask.</p>`;
  return html`<p class="quiet">No runs yet. Start one on the page of <${Link} to="/workflows">a workflow<//>, or with <code>courante run</code>.</p>`;
}

function List({ runs, now, onTag }) {
  const hasCost = runs.some((run) => run.cost?.amount > 0);
  return html`<${Table} name="runs" heads=${["Status", "Run", "Workflow", "Started", "Took", ...(hasCost ? ["Cost"] : [])]} rows=${runs} most=${1000} row=${(run) => html`<tr key=${run.run_id}>
    <td><${Pill} status=${run.status} /></td>
    <td><${RunLink} id=${run.run_id} />${(run.tags || []).map((tag) => html` <button type="button" class="tag" title="only runs with this tag" onClick=${() => onTag(tag)}>${tag}</button>`)}
      ${run.parent && html`<br /><span class="quiet">step ${run.parent.step} of <${RunLink} id=${run.parent.run_id} /></span>`}</td>
    <td><${Link} to=${`/workflows/${encodeURIComponent(run.workflow)}`}>${run.workflow}<//> <span class="quiet">${run.version}</span></td>
    <td><${Time} at=${run.started_at} now=${now} /></td>
    <td>${duration(between(run.started_at, run.finished_at, FINAL.has(run.status) ? undefined : now))}</td>
    ${hasCost && html`<td>${run.cost?.amount > 0 ? `${run.cost.amount} ${run.cost.currency}` : ""}</td>`}</tr>`} />`;
}

const SOON_MS = 500;

// Calls `again` soon after something has happened in any run, and less often where that takes long; returns whether the
// stream is up.
function useChanges(again) {
  const [isLive, setLive] = useState(false);
  const latest = useRef(again);
  latest.current = again;
  useEffect(() => {
    let timer = 0;
    let pause = SOON_MS;
    const hear = () => {
      timer ||= setTimeout(async () => {
        const begun = performance.now();
        await latest.current();
        pause = Math.max(SOON_MS, 4 * (performance.now() - begun));
        timer = 0;
      }, pause);
    };
    const tell = (isUp, isNew) => {
      setLive(isUp);
      if (isNew) hear(); // what came before the line began
    };
    const stop = listen(() => "/v1/events", hear, { tell });
    return () => {
      clearTimeout(timer);
      stop();
    };
  }, []);
  return isLive;
}
