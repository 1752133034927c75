// What a step was given: the server makes it again from the log, so it is asked for when it is looked at.
import { html, useState } from "./vendor/preact.js";
import { query } from "./client.js";
import { runPath, Shown, useCall } from "./parts.js";
import { Value } from "./values.js";

const REASONS = {
  not_begun: "not begun yet",
  taken_over: "taken over: the run that this one goes on from has it",
  emptied: "not stored any more",
  results: "the results of all items",
};

// at: the last event that counts, as the slider says.
export function Given({ runId, step, scope = "", at }) {
  const found = useCall(`/v1${runPath(runId)}/steps/${encodeURIComponent(step)}/input${query({ scope, at })}`, true);
  return html`<${Shown} call=${found}>${(given) => html`
    ${given.reason ? html`<p class="quiet">${REASONS[given.reason] || given.reason}</p>` : html`<${Value} value=${given.input} />`}
    ${given.config && html`<details><summary class="quiet">config, with its templates filled</summary><${Value} value=${given.config} /></details>`}`}<//>`;
}

export const LONG = 5000; // events; so many are not read unless somebody wants it

// The same of a run of which nothing is known yet.
export function GivenAtOnce({ runId, ...given }) {
  const beyond = useCall(`/v1${runPath(runId)}/events${query({ after: LONG, limit: 1 })}`);
  return (beyond.value || beyond.error) && html`<${FoldedGiven} isOpen=${beyond.value?.events.length === 0} runId=${runId} ...${given} />`;
}

// The same, behind a word that has to be opened where reading it takes long, or where many stand one below the other.
export function FoldedGiven({ title, isOpen, ...given }) {
  const [isShown, setShown] = useState(isOpen);
  return html`<details class="given" open=${isShown} onToggle=${(event) => setShown(event.target.open)}><summary>${title}</summary>
    ${isShown && html`<${Given} ...${given} />`}</details>`;
}
