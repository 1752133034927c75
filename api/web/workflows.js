// Workflows: the list, and one of them with its versions and what has changed between them, its graph, its document in an
// editor, and how its runs have gone.
import { html, useMemo, useState } from "./vendor/preact.js";
import { query } from "./client.js";
import { diff, near } from "./diff.js";
import { Editor } from "./editor.js";
import { GraphView } from "./graph.js";
import { Copy, go, Link, Shown, Table, Tabs, Time, useCall, useWords } from "./parts.js";
import { Statistics } from "./statistics.js";
import { plural } from "./texts.js";
import { Value } from "./values.js";

const FRESH = "courante: 1\nid: my-workflow\nnodes:\n  - id: hello\n    type: echo\n";
const TABS = [["graph", "Graph"], ["document", "Document"], ["statistics", "Statistics"], ["versions", "Versions"], ["changes", "Changes and input"]];
const place = (id, more = "") => `/workflows/${encodeURIComponent(id)}${more}`;

export function WorkflowsPage() {
  const found = useCall("/v1/workflows?limit=1000");
  const [isNew, setNew] = useState(false);
  const [words, set] = useWords({ search: "" });
  const wanted = words.search.toLowerCase();
  return html`<div class="head"><h1>Workflows</h1><button type="button" aria-expanded=${isNew} onClick=${() => setNew(!isNew)}>New…</button></div>
    ${isNew && html`<${Editor} text=${FRESH} isNew=${true} onSaved=${(told) => go(place(told.workflow))} />`}
    <${Shown} call=${found}>${(page) => {
      const shown = page.workflows.filter((one) => `${one.id} ${one.name}`.toLowerCase().includes(wanted));
      if (!page.workflows.length) return html`<p class="quiet">None is registered yet. <em>New…</em> writes one here; <code>courante init FILE</code> makes a first one.</p>`;
      return html`<form class="filters" role="search" onSubmit=${(event) => event.preventDefault()}><label>Find <input type="search" value=${words.search} onInput=${(event) => set({ search: event.target.value })} /></label></form>
        ${shown.length ? html`<${Table} name="workflows" heads=${["Workflow", "Version", "Steps", "Changed", ""]} rows=${shown} row=${(one) => html`<tr key=${one.id}>
          <td><${Link} to=${place(one.id)}>${one.id}<//> <span class="quiet">${one.name === one.id ? "" : one.name}</span></td>
          <td>${one.version}</td><td>${one.nodes}</td><td><${Time} at=${one.updated_at} /></td>
          <td><${Link} to=${`/start/${encodeURIComponent(one.id)}`}>start…<//> <${Link} to=${`/?workflow=${encodeURIComponent(one.id)}`}>runs<//></td></tr>`} />` : html`<p class="quiet">None is called so.</p>`}`;
    }}<//>`;
}

export function WorkflowPage({ id }) {
  const [words, set] = useWords({ version: "", tab: "graph", from: "" });
  const found = useCall(`/v1/workflows/${encodeURIComponent(id)}${query({ version: words.version })}`, true);
  return html`<${Shown} call=${found}>${(shown) => html`<${WorkflowView} shown=${shown} words=${words} set=${set} again=${found.again} />`}<//>`;
}

function WorkflowView({ shown, words, set, again }) {
  const [step, setStep] = useState(null);
  const latest = Math.max(...shown.versions.map((one) => one.version));
  const node = shown.nodes.find((one) => one.id === step);
  const { tab } = words;
  return html`<div class="head"><h1>${shown.name || shown.id}</h1>
      <label>Version <select onChange=${(event) => set({ version: event.target.value === String(latest) ? "" : event.target.value })}>${shown.versions.map((one) => html`<option value=${one.version} selected=${one.version === shown.version}>${one.version}${one.version === latest ? " (latest)" : ""}</option>`)}</select></label>
      <${Link} class="button main" to=${`/start/${encodeURIComponent(shown.id)}`}>Start a run…<//></div>
    <p class="facts"><span class="id">${shown.id}</span> <${Copy} text=${shown.id} /> · ${plural(shown.nodes.length, "step")} · <${Link} to=${`/?workflow=${encodeURIComponent(shown.id)}`}>its runs<//></p>
    <${Tabs} tabs=${TABS} tab=${tab} onTab=${(name) => set({ tab: name })} />
    <section id="panel" role="tabpanel" aria-labelledby=${`tab-${tab}`}>
      ${tab === "graph" && html`<${GraphView} nodes=${shown.nodes} edges=${shown.edges} selected=${step} onSelect=${setStep} />
        ${node && html`<p class="facts" role="status"><strong>${node.id}</strong> ${node.type} ${node.name === node.id ? "" : node.name}</p>`}`}
      ${tab === "document" && html`<${Editor} text=${shown.source || ""} onSaved=${() => { set({ version: "" }); again(); }} />`}
      ${tab === "statistics" && html`<${Statistics} id=${shown.id} />`}
      ${tab === "versions" && html`<${Versions} shown=${shown} from=${words.from} onFrom=${(from) => set({ from })} />`}
      ${tab === "changes" && html`<${Changes} shown=${shown} />`}
    </section>`;
}

// What the version that is shown has changed, against the one before or any other.
function Versions({ shown, from, onFrom }) {
  const others = shown.versions.map((one) => one.version).filter((one) => one !== shown.version);
  const before = others.filter((one) => one < shown.version);
  const base = from || String(before.length ? Math.max(...before) : "");
  const other = useCall(base ? `/v1/workflows/${encodeURIComponent(shown.id)}?version=${base}` : null);
  return html`<ol class="own">${[...shown.versions].sort((one, two) => two.version - one.version).map((one) => html`<li key=${one.version}>
      version ${one.version}${one.version === shown.version ? html` <strong>(shown)</strong>` : ""} <span class="quiet"><${Time} at=${one.created_at} /> <code>${one.ir.slice(0, 12)}</code></span></li>`)}</ol>
    ${others.length > 0 && html`<label>Compare version ${shown.version} with <select onChange=${(event) => onFrom(event.target.value)}><option value="">${before.length ? "the one before" : "–"}</option>
      ${others.map((one) => html`<option value=${one} selected=${String(one) === from}>${one}</option>`)}</select></label>`}
    ${base && html`<${Shown} call=${other}>${(old) => html`<${Difference} old=${old} fresh=${shown} />`}<//>`}`;
}

function Difference({ old, fresh }) {
  const lines = useMemo(() => near(diff(old.source, fresh.source)), [old.source, fresh.source]);
  const ids = (one) => new Set(one.nodes.map(({ id }) => id));
  const [before, after] = [ids(old), ids(fresh)];
  const added = [...after].filter((id) => !before.has(id));
  const gone = [...before].filter((id) => !after.has(id));
  return html`${added.length > 0 && html`<p>New steps: <strong>${added.join(", ")}</strong></p>`}${gone.length > 0 && html`<p>Steps that are gone: <strong>${gone.join(", ")}</strong></p>`}
    ${lines.length ? html`<pre class="diff" tabindex="0" aria-label="what has changed in the document">${lines.map((line) => (line === null
      ? html`<span class="quiet">⋯</span>`
      : html`<span class=${{ "+": "added", "-": "gone" }[line[0]]}>${`${line[0]} ${String(line[2]).padStart(4)}  ${line[1]}`}</span>`))}</pre>` : html`<p class="quiet">The documents are the same.</p>`}`;
}

function Changes({ shown }) {
  const kinds = Object.entries(shown.changes || {});
  return html`<h2>Kinds of change</h2>${kinds.length ? html`<p class="quiet">What is done again when a run is rebuilt for one of them.</p><dl>${kinds.map(([kind, steps]) => html`<dt>${kind}</dt><dd>${steps.join(", ")}</dd>`)}</dl>`
      : html`<p class="quiet">Its document declares none.</p>`}
    <h2>Input</h2>${shown.input_schema ? html`<${Value} value=${shown.input_schema} />` : html`<p class="quiet">It declares none: a run takes any JSON.</p>`}`;
}
