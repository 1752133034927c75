// One step of a run: its tries, input, output, error, logs, tokens and cost.
import { html, useEffect, useRef, useState } from "./vendor/preact.js";
import { get, query } from "./client.js";
import { CommandsOfStep } from "./commands.js";
import { RunLink, Time, Told, useEvery } from "./parts.js";
import { FoldedGiven, LONG } from "./given.js";
import { Payload } from "./payload.js";
import { OUTPUT } from "./run_parts.js";
import { Pill } from "./status.js";
import { listen } from "./streams.js";
import { between, clock, duration, plural } from "./texts.js";

export function StepPanel({ run, node, scope, steps, events, isPast, onScope, onClose, again }) {
  const step = steps.find((one) => one.scope === scope) || steps[steps.length - 1] || { id: node, scope: "", status: "PENDING" };
  const told = run.nodes?.find((one) => one.id === node);
  const own = events.filter((event) => event.node === node && (event.scope || "") === (step.scope || ""));
  const children = (run.children || []).filter((one) => one.step === node && one.scope === step.scope && own.length);
  return html`<aside class="side" aria-label=${`step ${node}`}>
    <header><h2>${node}</h2><button type="button" aria-label="close" title="close (Escape)" onClick=${onClose}>✕</button></header>
    <p class="facts">${told?.type}${told?.name && told.name !== node ? ` · ${told.name}` : ""}</p>
    ${steps.length > 1 && html`<p><label>Execution <select onChange=${(event) => onScope(event.target.value)}>
      ${steps.map((one) => html`<option value=${one.scope} selected=${one === step}>${one.scope || "-"} ${one.status}</option>`)}</select></label></p>`}
    <p><${Pill} status=${step.status} /> ${reasonOf(step)}
      ${step.started_at && html` <span class="quiet"><${Time} at=${step.started_at} isClock=${true} /> · ${duration(between(step.started_at, step.finished_at))}</span>`}</p>
    ${children.map((one) => html`<p key=${one.run_id}>Child run <${RunLink} id=${one.run_id} /> ${isPast ? "" : one.status || one.state}</p>`)}
    ${step.usage && html`<p>${plural(step.usage.total_tokens, "token")}${step.cost ? `, ${step.cost.amount} ${step.cost.currency}` : ""}${step.model ? `, ${step.model}` : ""}</p>`}
    ${!isPast && html`<${CommandsOfStep} run=${run} step=${step} again=${again} />`}
    <${Contents} run=${run} step=${step} own=${own} isLong=${events.length > LONG} />
    <${Logs} key=${node} run=${run} node=${node} steps=${steps} until=${isPast ? events[events.length - 1].at : ""} />
    <h3>Events</h3>${own.length ? html`<ol class="own">${own.map((event) => html`<li key=${event.seq}><span class="quiet">${event.seq} <${Time} at=${event.at} isClock=${true} /></span> ${event.type}
      ${event.attempt ? html` <span class="quiet">try ${event.attempt}</span>` : ""}${event.worker ? html` <span class="quiet">${event.worker}</span>` : ""}</li>`)}</ol>` : html`<p class="quiet">none yet</p>`}
  </aside>`;
}

// Why it is as it is; what a step waits for begins with the reason.
function reasonOf({ status, reason, waiting_for }) {
  return status === "WAITING" && waiting_for ? waiting_for : [reason, waiting_for].filter(Boolean).join(" ");
}

function Contents({ run, step, own, isLong }) {
  const input = own.filter((event) => event.type === "step.input_kept").pop();
  const output = own.filter((event) => OUTPUT.has(event.type)).pop();
  const failed = own.filter((event) => event.data?.error);
  return html`
    ${failed.map((event) => html`<div class="problem" key=${event.seq}><strong>${event.data.error.type}</strong> ${event.data.error.message}
      <span class="quiet"> try ${event.attempt}</span>
      ${event.data.error.traceback && html`<details open=${event === failed[failed.length - 1]}><summary>traceback</summary><pre tabindex="0">${event.data.error.traceback}</pre></details>`}</div>`)}
    ${input ? html`<h3>Input</h3><${Payload} runId=${run.run_id} seq=${input.seq} />`
      : own.length > 0 && html`<${FoldedGiven} key=${`${step.id} ${step.scope}`} title="Input" isOpen=${!isLong} runId=${run.run_id} step=${step.id} scope=${step.scope} at=${own[own.length - 1].seq} />`}
    ${output && html`<h3>Output</h3><${Payload} runId=${run.run_id} seq=${output.seq} />`}`;
}

const LIVE = new Set(["READY", "RUNNING", "RETRYING", "WAITING"]);
const LINES_MAX = 1000;
const POLL_MS = 2000; // while nothing tells what comes

// What a step has said, until a moment of the past or now; while it goes on, as it says it, with the answer of a model piece by piece.
function Logs({ run, node, steps, until }) {
  const path = `/v1/runs/${encodeURIComponent(run.run_id)}/logs${query({ step: node })}`;
  const isLive = steps.some((step) => LIVE.has(step.status));
  const [lines, setLines] = useState(null);
  const [error, setError] = useState(null);
  const isUp = useRef(false);
  const load = () => get(path).then((page) => (setLines(page.lines), setError(null)), setError);
  useEffect(() => {
    if (!isLive) {
      load();
      return undefined;
    }
    let known = [];
    let timer = 0;
    const show = () => {
      timer ||= setTimeout(() => {
        timer = 0;
        setLines([...known]);
      }, 100);
    };
    const hear = (said) => {
      if (!said.type) {
        isOver = true; // the run has ended
        return stop();
      }
      const last = known.findLastIndex((one) => one.scope === said.scope && one.attempt === said.attempt);
      if (said.type === "partial" && known[last]?.type === "partial") known[last] = { ...known[last], text: known[last].text + said.text };
      else known.push(said);
      known = known.slice(-LINES_MAX);
      return show();
    };
    let isOver = false;
    const tell = (isNow, isNew) => {
      isUp.current = isNow;
      if (isNow) known = isNew ? [] : known.filter((one) => one.type !== "partial"); // they are told again from their beginning
    };
    const stop = listen(() => path, hear, { tell, isOver: () => isOver, names: ["log", "text", "end"] });
    return () => {
      clearTimeout(timer);
      stop();
    };
  }, [path, isLive]);
  useEvery(POLL_MS, () => isLive && !isUp.current && load());
  if (error) return html`<h3>Logs</h3><${Told} error=${error} again=${load} />`;
  const shown = (lines || []).filter((line) => !until || line.at <= until);
  if (!shown.length) return null;
  return html`<h3>Logs</h3><pre class="logs" role="log" aria-label=${`what ${node} says`} tabindex="0">${shown.map(said).join("\n")}</pre>`;
}

function said(line) {
  const text = line.type === "lost" ? `${line.lines} lines are lost` : (line.text ?? "");
  const fields = Object.entries(line.fields || {}).map(([name, value]) => `  ${name}=${typeof value === "string" ? value : JSON.stringify(value)}`);
  return `${clock(line.at)} ${line.type === "partial" ? "│" : (line.level ?? "")} ${text}${fields.join("")}`;
}
