// The editor of a workflow's document, which says what is wrong as one types.
import { html, useEffect, useMemo, useRef, useState } from "./vendor/preact.js";
import { post, Text } from "./client.js";
import { Doing, Told } from "./parts.js";
import { plural } from "./texts.js";

const WAIT_MS = 350;

const asDocument = (source) => new Text(source, source.trimStart().startsWith("{") ? "application/json" : "application/yaml");

// Diagnostics come from the compiler itself, a moment after the last key.
export function Editor({ text, isNew = false, onSaved }) {
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
    <${Doing} kind="main" act=${save} disabled=${!told?.ok || (source === text && !isNew)}>${isNew ? "Save" : "Save as a new version"}<//></div>`;
}
