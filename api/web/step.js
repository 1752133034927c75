// One step of a run: its tries, input, output, error, logs, tokens and cost.
import { html, useEffect, useState } from "./vendor/preact.js";
import { get, query } from "./client.js";
import { CommandsOfStep } from "./commands.js";
import { Link, Told } from "./parts.js";
import { Pill } from "./status.js";
import { between, duration, plural } from "./texts.js";
import { Value } from "./values.js";

export function StepPanel({ run, node, steps, events, onClose, again }) {
  const [scope, setScope] = useState(null);
  const step = steps.find((one) => one.scope === scope) || steps[steps.length - 1] || { id: node, scope: "", status: "PENDING" };
  const own = events.filter((event) => event.node === node && (event.scope || "") === (step.scope || ""));
  return html`<aside class="side" aria-label=${`step ${node}`}>
    <header><h2>${node}</h2><button type="button" aria-label="close" onClick=${onClose}>✕</button></header>
    ${steps.length > 1 && html`<label>Execution <select onChange=${(event) => setScope(event.target.value)}>
      ${steps.map((one) => html`<option value=${one.scope} selected=${one === step}>${one.scope || "-"} ${one.status}</option>`)}</select></label>`}
    <p><${Pill} status=${step.status} /> ${step.reason || ""} ${step.waiting_for || ""}
      ${step.started_at && html`<span class="quiet">${duration(between(step.started_at, step.finished_at))}</span>`}</p>
    ${(run.children || []).filter((one) => one.step === node && one.scope === step.scope).map((one) => html`<p key=${one.run_id}>Child run
      <${Link} to=${`/runs/${encodeURIComponent(one.run_id)}`}>${one.run_id}<//> ${one.status || one.state}</p>`)}
    ${step.usage && html`<p>${plural(step.usage.total_tokens, "token")}${step.cost ? `, ${step.cost.amount} ${step.cost.currency}` : ""}${step.model ? `, ${step.model}` : ""}</p>`}
    <${CommandsOfStep} run=${run} step=${step} again=${again} />
    <${Contents} run=${run} own=${own} />
    <${Logs} run=${run} node=${node} status=${step.status} />
    <h3>Events</h3><ol class="own">${own.map((event) => html`<li key=${event.seq}><span class="quiet">${event.seq}</span> ${event.type}
      ${event.attempt ? html` <span class="quiet">try ${event.attempt}</span>` : ""}${event.worker ? html` <span class="quiet">${event.worker}</span>` : ""}</li>`)}</ol>
  </aside>`;
}

const OUTPUT = new Set(["step.succeeded", "step.reused"]);

// Payloads do not travel with the list of events: those of this step are asked for.
function Contents({ run, own }) {
  const [values, setValues] = useState({});
  const wanted = own.filter((event) => OUTPUT.has(event.type) || event.type === "step.input_kept").map((event) => event.seq);
  const failed = own.filter((event) => event.data?.error);
  useEffect(() => {
    let isHere = true;
    const load = async (seq) => {
      const page = await get(`/v1/runs/${encodeURIComponent(run.run_id)}/events${query({ after: seq - 1, limit: 1, payloads: true })}`);
      if (isHere && page.events[0]?.seq === seq) setValues((before) => ({ ...before, [seq]: page.events[0] }));
    };
    wanted.filter((seq) => !values[seq]).forEach((seq) => load(seq).catch(() => {}));
    return () => {
      isHere = false;
    };
  }, [wanted.join()]);
  const shown = wanted.map((seq) => values[seq]).filter(Boolean);
  const input = shown.filter((event) => event.type === "step.input_kept").pop();
  const output = shown.filter((event) => OUTPUT.has(event.type)).pop();
  return html`
    ${failed.map((event) => html`<div class="problem" key=${event.seq}><strong>${event.data.error.type}</strong> ${event.data.error.message}
      <span class="quiet">try ${event.attempt}</span>
      ${event.data.error.traceback && html`<details open=${event === failed[failed.length - 1]}><summary>traceback</summary><pre tabindex="0">${event.data.error.traceback}</pre></details>`}</div>`)}
    ${input && html`<h3>Input</h3><${Value} value=${input.data?.payload} />`}
    ${output && html`<h3>Output</h3><${Value} value=${output.data?.payload} />`}`;
}

function Logs({ run, node, status }) {
  const [lines, setLines] = useState(null);
  const [error, setError] = useState(null);
  const load = async () => {
    try {
      setLines((await get(`/v1/runs/${encodeURIComponent(run.run_id)}/logs${query({ step: node })}`)).lines);
      setError(null);
    } catch (problem) {
      setError(problem);
    }
  };
  useEffect(() => {
    load();
  }, [run.run_id, node, status]);
  if (error) return html`<h3>Logs</h3><${Told} error=${error} again=${load} />`;
  if (!lines?.length) return null;
  return html`<h3>Logs</h3><pre class="logs" tabindex="0">${lines.map((line) => `${line.at ? `${line.at.slice(11, 23)} ` : ""}${line.level ? `${line.level} ` : ""}${line.type === "lost" ? `${line.lines} lines are lost` : line.text ?? ""}`).join("\n")}</pre>`;
}
