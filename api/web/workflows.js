// Workflows: the list, and one of them with its versions, its graph, an editor that says what is wrong as one types, and
// how its runs have gone.
import { html, useEffect, useMemo, useRef, useState } from "./vendor/preact.js";
import { post, query, Text } from "./client.js";
import { GraphView } from "./graph.js";
import { Doing, go, Link, Shown, Told, useCall } from "./parts.js";
import { age, duration, plural } from "./texts.js";

const WAIT_MS = 350;
const FRESH = "courante: 1\nid: my-workflow\nnodes:\n  - id: hello\n    type: echo\n";

export function WorkflowsPage() {
  const found = useCall("/v1/workflows");
  const [isNew, setNew] = useState(false);
  return html`<div class="head"><h1>Workflows</h1><button type="button" onClick=${() => setNew(!isNew)}>New…</button></div>
    ${isNew && html`<${Editor} text=${FRESH} onSaved=${(told) => go(`/workflows/${encodeURIComponent(told.workflow)}`)} />`}
    <${Shown} call=${found}>${(page) => (page.workflows.length
      ? html`<div class="wide" tabindex="0" role="region" aria-label="workflows"><table><thead><tr><th>Workflow</th><th>Version</th><th>Steps</th><th>Changed</th><th></th></tr></thead>
        <tbody>${page.workflows.map((one) => html`<tr key=${one.id}><td><${Link} to=${`/workflows/${encodeURIComponent(one.id)}`}>${one.id}<//> <span class="quiet">${one.name === one.id ? "" : one.name}</span></td>
          <td>${one.version}</td><td>${one.nodes}</td><td>${age(one.updated_at)}</td>
          <td><${Link} to=${`/start/${encodeURIComponent(one.id)}`}>start…<//></td></tr>`)}</tbody></table></div>`
      : html`<p class="quiet">None is registered yet. <code>courante init FILE</code> registers one.</p>`)}<//>`;
}

export function WorkflowPage({ id }) {
  const [version, setVersion] = useState("");
  const found = useCall(`/v1/workflows/${encodeURIComponent(id)}${query({ version })}`);
  return html`<${Shown} call=${found}>${(shown) => html`<${WorkflowView} shown=${shown} onVersion=${setVersion} again=${found.again} />`}<//>`;
}

function WorkflowView({ shown, onVersion, again }) {
  const [tab, setTab] = useState("graph");
  const [step, setStep] = useState(null);
  const latest = Math.max(...shown.versions.map((one) => one.version));
  const node = shown.nodes.find((one) => one.id === step);
  const tabs = [["graph", "Graph"], ["document", "Document"], ["runs", "Runs"], ["changes", "Changes"]];
  return html`<div class="head"><h1>${shown.name || shown.id}</h1>
      <label>Version <select onChange=${(event) => onVersion(event.target.value)}>${shown.versions.map((one) => html`<option value=${one.version} selected=${one.version === shown.version}>${one.version}${one.version === latest ? " (latest)" : ""}</option>`)}</select></label>
      <${Link} class="button main" to=${`/start/${encodeURIComponent(shown.id)}`}>Start a run…<//></div>
    <p class="facts">${shown.id} · ${plural(shown.nodes.length, "step")} · <${Link} to=${`/?workflow=${encodeURIComponent(shown.id)}`}>its runs<//></p>
    <div class="tabs" role="tablist">${tabs.map(([name, title]) => html`<button type="button" role="tab" key=${name} id=${`tab-${name}`}
      aria-controls="panel" aria-selected=${tab === name} onClick=${() => setTab(name)}>${title}</button>`)}</div>
    <section id="panel" role="tabpanel" aria-labelledby=${`tab-${tab}`}>
      ${tab === "graph" && html`<${GraphView} nodes=${shown.nodes} edges=${shown.edges} selected=${step} onSelect=${setStep} />
        ${node && html`<p class="facts"><strong>${node.id}</strong> ${node.type} ${node.name === node.id ? "" : node.name}</p>`}`}
      ${tab === "document" && html`<${Editor} text=${shown.source || ""} onSaved=${() => { onVersion(""); again(); }} />`}
      ${tab === "runs" && html`<${Statistics} id=${shown.id} />`}
      ${tab === "changes" && html`<${Changes} changes=${shown.changes} />`}
    </section>`;
}

function Changes({ changes }) {
  const kinds = Object.entries(changes || {});
  if (!kinds.length) return html`<p class="quiet">Its document declares no kinds of change.</p>`;
  return html`<dl>${kinds.map(([kind, steps]) => html`<dt>${kind}</dt><dd>${steps.join(", ")}</dd>`)}</dl>`;
}

function Statistics({ id }) {
  const found = useCall(`/v1/statistics${query({ workflow: id })}`);
  return html`<${Shown} call=${found}>${(told) => {
    const row = told.workflows?.find((one) => one.workflow === id) || told;
    const counts = Object.entries(row.runs || row.statuses || row.by_status || {});
    return html`${counts.length ? html`<dl class="counts">${counts.map(([status, count]) => html`<div><dt>${status}</dt><dd>${count}</dd></div>`)}</dl>` : html`<p class="quiet">It has not run yet.</p>`}
      ${row.duration_ms && html`<p>Half of its runs take ${duration(row.duration_ms.p50)} or less, 99 of 100 ${duration(row.duration_ms.p99)}.</p>`}`;
  }}<//>`;
}

const asDocument = (source) => new Text(source, source.trimStart().startsWith("{") ? "application/json" : "application/yaml");

// Diagnostics come from the compiler itself, a moment after the last key; the graph follows the text while it is sound.
export function Editor({ text, onSaved }) {
  const [source, setSource] = useState(text);
  const [told, setTold] = useState(null);
  const [error, setError] = useState(null);
  const area = useRef(null);
  useEffect(() => setSource(text), [text]);
  useEffect(() => {
    let isHere = true;
    const timer = setTimeout(async () => {
      try {
        const found = await post("/v1/workflows/validate", asDocument(source));
        if (isHere) [setTold(found), setError(null)];
      } catch (problem) {
        if (isHere) setError(problem);
      }
    }, WAIT_MS);
    return () => {
      isHere = false;
      clearTimeout(timer);
    };
  }, [source]);
  const save = async () => onSaved(await post("/v1/workflows", asDocument(source)));
  const show = ({ line, column }) => {
    const lines = source.split("\n");
    const at = lines.slice(0, line - 1).reduce((sum, one) => sum + one.length + 1, 0) + Math.max(0, column - 1);
    area.current.focus();
    area.current.setSelectionRange(at, Math.min(source.length, at + 1));
    area.current.scrollTop = ((line - 3) / lines.length) * area.current.scrollHeight;
  };
  const lines = useMemo(() => source.split("\n").length, [source]);
  return html`<div class="editor">
    <label for="document">Document <span class="quiet">(YAML or JSON)</span></label>
    <textarea id="document" ref=${area} class="code" spellcheck="false" rows=${Math.min(36, Math.max(12, lines + 1))} value=${source}
      onInput=${(event) => setSource(event.target.value)} aria-describedby="diagnostics"></textarea>
    <div id="diagnostics" role="status">
      ${error && html`<${Told} error=${error} />`}
      ${told && !told.diagnostics.length && html`<p class="good">✓ ${plural(told.nodes, "step")}, ${plural(told.edges, "edge")}</p>`}
      ${told && html`<ul class="diagnostics">${told.diagnostics.map((one) => html`<li class=${one.severity}>
        ${one.line > 0 ? html`<button type="button" class="link" onClick=${() => show(one)}>${one.line}:${one.column}</button> ` : ""}<strong>${one.severity}</strong> ${one.message}
        ${one.hint && html` <span class="quiet">${one.hint}</span>`} <code>${one.code}</code></li>`)}</ul>`}
    </div>
    <${Doing} kind="main" act=${save} disabled=${!told?.ok || source === text}>Save as a new version<//></div>`;
}
