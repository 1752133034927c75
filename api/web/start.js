// Start a run: a form made of the input schema that the workflow declares.
import { html, useState } from "./vendor/preact.js";
import { post } from "./client.js";
import { Form, initial } from "./form.js";
import { Doing, go, Link, Shown, useCall } from "./parts.js";

export function StartPage({ id }) {
  const found = useCall(`/v1/workflows/${encodeURIComponent(id)}`);
  return html`<div class="head"><h1>Start <${Link} to=${`/workflows/${encodeURIComponent(id)}`}>${id}<//></h1></div>
    <${Shown} call=${found}>${(shown) => html`<${StartForm} id=${id} schema=${shown.input_schema} />`}<//>`;
}

function StartForm({ id, schema }) {
  const [input, setInput] = useState(schema ? initial(schema) : undefined);
  const [key, setKey] = useState("");
  const send = async () => {
    const told = await post("/v1/runs", { workflow: id, input: input ?? null, ...(key ? { key } : {}) });
    go(`/runs/${encodeURIComponent(told.run_id)}`);
  };
  return html`<form class="start" onSubmit=${(event) => event.preventDefault()}>
    <h2>Input</h2>${!schema && html`<p class="quiet">The workflow declares no input: give any JSON, or nothing.</p>`}
    <${Form} schema=${schema || {}} value=${input} onChange=${setInput} />
    <details><summary>more</summary><div class="field"><label for="key">Idempotency key</label>
      <input id="key" value=${key} onInput=${(event) => setKey(event.target.value)} /><small>The same key again gives the same run.</small></div></details>
    <${Doing} kind="main" act=${send}>Start<//></form>`;
}
