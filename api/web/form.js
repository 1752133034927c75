// A form made of a JSON Schema, for a run's input and for what an approval asks for: objects, lists, choices, values that
// may be null, references to its own definitions. What a form cannot show is JSON text.
import { html, useState } from "./vendor/preact.js";
import { exact, numberOf } from "./numbers.js";
import { fresh, names, plain, start, suits, titleOf } from "./schema.js";

export { initial } from "./schema.js";

let forms = 0; // on one page there may be several with the same fields

// name: what a value is called that is no object with fields of its own.
export function Form({ schema, value, onChange, name = "input" }) {
  const [own] = useState(() => `form${(forms += 1)}`);
  const shape = plain(schema);
  if (shape.type === "object" && shape.properties) return html`<div class="form">${fields(shape, value, onChange, own)}</div>`;
  return html`<div class="form">${part(shape, name, value, onChange, own, false)}</div>`;
}

// What was typed and cannot be read: whatever has it in it is not sent, and says so.
class Unreadable {
  constructor(name) {
    this.name = name;
  }

  toJSON() {
    throw new Error(`what stands in '${this.name}' cannot be read: nothing was sent`);
  }
}

function fields(schema, value, onChange, at) {
  const required = new Set(schema.required || []);
  const isGiven = value && typeof value === "object";
  return names(schema).map((name) => {
    const inner = schema.properties[name];
    const change = (changed) => {
      const next = { ...(isGiven ? value : start(schema, true)), [name]: changed };
      if (changed === undefined) delete next[name];
      onChange(next);
    };
    return part(inner, inner.title || name, isGiven ? value[name] : undefined, change, `${at}/${name}`, required.has(name));
  });
}

// isRequired: whether it is there even where nothing is in it. isMarked: whether that is said.
function part(schema, name, value, onChange, id, isRequired, isMarked = isRequired) {
  const told = { id, name, schema, value, onChange, isRequired, isMarked };
  if (schema.choices) return html`<${Choice} key=${id} ...${told} />`;
  if (schema.type === "object" && schema.properties) {
    const bare = start(schema, true); // an object that need not be there is not, where nobody has put anything into it
    const isBare = (changed) => Object.keys(changed).length === Object.keys(bare).length && Object.keys(bare).every((field) => changed[field] === bare[field]);
    const change = (changed) => onChange(!isRequired && isBare(changed) ? undefined : changed);
    return html`<${Group} key=${id} id=${id} name=${name} schema=${schema} isMarked=${isMarked}>${fields(schema, value, change, id)}<//>`;
  }
  if (schema.type === "array" && (schema.items?.type || schema.items?.enum || schema.items?.choices)) {
    return html`<${Items} key=${id} ...${told} />`;
  }
  return html`<${Field} key=${id} ...${told} />`;
}

const Needed = ({ isMarked }) => isMarked && html` <span class="quiet">(required)</span>`;

const Group = ({ id, name, schema, isMarked, children }) => html`<fieldset id=${id}><legend>${name}<${Needed} isMarked=${isMarked} /></legend>
  ${schema.description && html`<small>${schema.description}</small>`}${children}</fieldset>`;

// One of several: which, and then that. Another choice begins anew.
function Choice({ id, name, schema, value, onChange, isMarked }) {
  const [at, setAt] = useState(() => (value === undefined ? -1 : schema.choices.findIndex((one) => suits(one, value))));
  const pick = (event) => {
    const chosen = Number(event.target.value);
    setAt(chosen);
    onChange(chosen < 0 ? undefined : start(schema.choices[chosen], true));
  };
  return html`<${Group} id=${id} name=${name} schema=${schema} isMarked=${isMarked}>
    <select aria-label=${`kind of ${name}`} onChange=${pick}><option value="-1">–</option>
      ${schema.choices.map((one, number) => html`<option value=${number} selected=${number === at}>${titleOf(one, number)}</option>`)}</select>
    ${at >= 0 && part(schema.choices[at], schema.choices[at].properties ? titleOf(schema.choices[at], at) : name, value, onChange, `${id}/choice${at}`, true, false)}<//>`;
}

// A list: each item as its schema says, with buttons that add one and take one away.
function Items({ id, name, schema, value, onChange, isRequired, isMarked }) {
  const items = Array.isArray(value) ? value : [];
  const [marks, setMarks] = useState(() => items.map((_, at) => at)); // who is who when one is taken away
  const change = (at) => (changed) => onChange(items.map((item, one) => (one === at ? (changed ?? fresh(schema.items)) : item)));
  const add = () => [setMarks([...marks, Math.max(-1, ...marks) + 1]), onChange([...items, fresh(schema.items)])];
  const without = (list, at) => list.filter((_, one) => one !== at);
  const take = (at) => {
    setMarks(without(marks, at));
    onChange(items.length === 1 && !isRequired ? undefined : without(items, at));
  };
  return html`<${Group} id=${id} name=${name} schema=${schema} isMarked=${isMarked}>
    ${items.map((item, at) => html`<div class="item" key=${marks[at]}>${part(schema.items, `${name} ${at + 1}`, item, change(at), `${id}/${marks[at]}`, true, false)}
      <button type="button" aria-label=${`take ${name} ${at + 1} away`} onClick=${() => take(at)}>✕</button></div>`)}
    <div><button type="button" disabled=${items.length >= (schema.maxItems ?? Infinity)} onClick=${add}>add to ${name}</button></div><//>`;
}

function Field({ id, name, schema, value, onChange, isMarked }) {
  const told = schema.description && html`<small id=${`${id}-told`}>${schema.description}</small>`;
  const common = { id, required: isMarked, "aria-describedby": schema.description ? `${id}-told` : undefined };
  return html`<div class="field"><label for=${id}>${name}<${Needed} isMarked=${isMarked} /></label>${control(schema, name, value, onChange, common)}${told}</div>`;
}

const AS = { "date-time": "2026-01-31T12:00:00Z", time: "12:00:00Z", duration: "PT1H30M", email: "name@example.org", uri: "https://example.org", uuid: "00000000-0000-0000-0000-000000000000" };

function control(schema, name, value, onChange, common) {
  if (Array.isArray(schema.enum)) {
    const now = JSON.stringify(value);
    const pick = (event) => onChange(event.target.value === "" ? undefined : exact(event.target.value));
    return html`<select ...${common} onChange=${pick}><option value="">–</option>
      ${schema.enum.map((one, at) => html`<option value=${JSON.stringify(one)} selected=${JSON.stringify(one) === now}>${schema.titles?.[at] || (typeof one === "string" ? one : JSON.stringify(one))}</option>`)}</select>`;
  }
  if (schema.const !== undefined) return html`<input ...${common} readonly value=${typeof schema.const === "string" ? schema.const : JSON.stringify(schema.const)} />`;
  if (schema.type === "boolean") {
    return html`<input ...${common} required=${false} type="checkbox" checked=${value === true} onChange=${(event) => onChange(event.target.checked)} />`;
  }
  if (schema.type === "integer" || schema.type === "number") {
    return html`<${NumberText} ...${{ name, schema, value, onChange, common }} />`;
  }
  if (schema.type === "string") {
    const text = (event) => onChange(event.target.value === "" ? undefined : event.target.value);
    const isLong = (schema.maxLength || 0) > 200 || schema.format === "textarea";
    return isLong
      ? html`<textarea ...${common} rows="4" value=${value ?? ""} onInput=${text}></textarea>`
      : html`<input ...${common} type=${schema.format === "date" ? "date" : "text"} placeholder=${AS[schema.format]} value=${value ?? ""} onInput=${text} />`;
  }
  return html`<${JsonText} ...${{ name, value, onChange, common }} />`;
}

// The text is what was typed: of what a browser makes of it, digits may be missing.
function NumberText({ name, schema, value, onChange, common }) {
  const [text, setText] = useState(() => (value === undefined || value === null ? "" : JSON.stringify(value)));
  const read = (event) => {
    setText(event.target.value);
    const isBad = event.target.validity.badInput;
    onChange(isBad ? new Unreadable(name) : event.target.value === "" ? undefined : numberOf(event.target.value));
  };
  return html`<input ...${common} type="number" step=${schema.type === "integer" ? 1 : "any"} min=${JSON.stringify(schema.minimum)} max=${JSON.stringify(schema.maximum)} value=${text} onInput=${read} />`;
}

function JsonText({ name, value, onChange, common }) {
  const [text, setText] = useState(() => (value === undefined ? "" : JSON.stringify(value, null, 2)));
  const [wrong, setWrong] = useState("");
  const read = (event) => {
    const typed = event.target.value;
    setText(typed);
    try {
      onChange(typed.trim() ? exact(typed) : undefined);
      setWrong("");
    } catch (error) {
      onChange(new Unreadable(name));
      setWrong(error.message);
    }
  };
  return html`<textarea ...${common} rows="5" class="code" spellcheck="false" placeholder="JSON" value=${text} onInput=${read}
      aria-invalid=${Boolean(wrong)}></textarea>
    ${wrong && html`<small class="wrong" role="alert">${wrong}</small>`}`;
}
