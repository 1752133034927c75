// Values as a tree that can be folded. Everything is text: nothing that a run says is ever taken for markup.
import { html, useState } from "./vendor/preact.js";
import { isKept } from "./numbers.js";

const INLINE = 80;
const ITEMS = 100;
const SMALL = 4; // fields; so few are not folded

export function Value({ value, name, isOpen = true }) {
  if (value === undefined) return html`<span class="quiet">nothing</span>`;
  if (value === null || typeof value !== "object" || isKept(value)) return html`<${Leaf} value=${value} name=${name} />`;
  return html`<${Branch} value=${value} name=${name} isOpen=${isOpen} />`;
}

function Leaf({ value, name }) {
  const text = typeof value === "string" ? value : JSON.stringify(value);
  const isLong = text.length > INLINE || text.includes("\n");
  return html`<span class="leaf">${name !== undefined && html`<span class="name">${name}: </span>`}
    ${isLong ? html`<pre tabindex="0">${text}</pre>` : html`<span class=${`v-${value === null ? "null" : isKept(value) ? "number" : typeof value}`}>${text}</span>`}</span>`;
}

function Branch({ value, name, isOpen }) {
  const [most, setMost] = useState(ITEMS);
  const fields = Array.isArray(value) ? value.map((item, index) => [index, item]) : Object.entries(value);
  const size = Array.isArray(value) ? `[${fields.length}]` : `{${fields.length}}`;
  return html`<details class="branch" open=${(isOpen && fields.length <= ITEMS) || fields.length <= SMALL}>
    <summary>${name !== undefined && html`<span class="name">${name} </span>`}<span class="quiet">${size}</span></summary>
    <ul>${fields.slice(0, most).map(([key, item]) => html`<li key=${key}><${Value} value=${item} name=${String(key)} isOpen=${false} /></li>`)}</ul>
    ${fields.length > most && html`<button type="button" class="link" onClick=${() => setMost(most + ITEMS)}>${fields.length - most} more</button>`}
  </details>`;
}
