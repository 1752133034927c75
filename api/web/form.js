// A form made of a JSON Schema, for a run's input and for what an approval asks for. What a form cannot show is JSON text.
import { html, useState } from "./vendor/preact.js";

// Returns the value that a fresh form has.
export function initial(schema) {
  if (!schema || typeof schema !== "object") return undefined;
  if (schema.default !== undefined) return schema.default;
  if (schema.const !== undefined) return schema.const;
  if (schema.type === "object" && schema.properties) {
    const fields = Object.entries(schema.properties).map(([name, inner]) => [name, initial(inner)]);
    return Object.fromEntries(fields.filter(([, value]) => value !== undefined));
  }
  return undefined;
}

export function Form({ schema, value, onChange, errors = [] }) {
  if (schema && schema.type === "object" && schema.properties) {
    return html`<div class="form">${fields(schema, value, onChange, "", errors)}</div>`;
  }
  return html`<div class="form"><${Field} id="input" name="input" schema=${schema || {}} value=${value} onChange=${onChange} /></div>`;
}

function fields(schema, value, onChange, at, errors) {
  const required = new Set(schema.required || []);
  const now = value && typeof value === "object" ? value : {};
  return Object.entries(schema.properties).map(([name, inner]) => {
    const change = (changed) => {
      const next = { ...now, [name]: changed };
      if (changed === undefined) delete next[name];
      onChange(next);
    };
    const id = `${at}/${name}`;
    if (inner.type === "object" && inner.properties) {
      return html`<fieldset key=${id}><legend>${inner.title || name}</legend>${fields(inner, now[name], change, id, errors)}</fieldset>`;
    }
    return html`<${Field} key=${id} id=${id} name=${inner.title || name} schema=${inner} value=${now[name]} onChange=${change}
      isRequired=${required.has(name)} />`;
  });
}

function Field({ id, name, schema, value, onChange, isRequired }) {
  const label = html`<label for=${id}>${name}${isRequired && html` <span class="quiet">(required)</span>`}</label>`;
  const told = schema.description && html`<small id=${`${id}-told`}>${schema.description}</small>`;
  const common = { id, required: isRequired, "aria-describedby": schema.description ? `${id}-told` : undefined };
  return html`<div class="field">${label}${control(schema, value, onChange, common)}${told}</div>`;
}

function control(schema, value, onChange, common) {
  const text = (event) => onChange(event.target.value === "" ? undefined : event.target.value);
  if (Array.isArray(schema.enum)) {
    const pick = (event) => onChange(event.target.value === "" ? undefined : JSON.parse(event.target.value));
    return html`<select ...${common} onChange=${pick}><option value="">–</option>
      ${schema.enum.map((one) => html`<option value=${JSON.stringify(one)} selected=${one === value}>${String(one)}</option>`)}</select>`;
  }
  if (schema.type === "boolean") {
    return html`<input ...${common} required=${false} type="checkbox" checked=${value === true} onChange=${(event) => onChange(event.target.checked)} />`;
  }
  if (schema.type === "integer" || schema.type === "number") {
    const number = (event) => onChange(event.target.value === "" ? undefined : Number(event.target.value));
    return html`<input ...${common} type="number" step=${schema.type === "integer" ? 1 : "any"} min=${schema.minimum} max=${schema.maximum}
      value=${value ?? ""} onInput=${number} />`;
  }
  if (schema.type === "string") {
    const isLong = (schema.maxLength || 0) > 200 || schema.format === "textarea";
    return isLong
      ? html`<textarea ...${common} rows="4" value=${value ?? ""} onInput=${text}></textarea>`
      : html`<input ...${common} type=${schema.format === "date" ? "date" : "text"} value=${value ?? ""} minlength=${schema.minLength}
          maxlength=${schema.maxLength} pattern=${schema.pattern} onInput=${text} />`;
  }
  return html`<${JsonText} common=${common} value=${value} onChange=${onChange} />`;
}

function JsonText({ common, value, onChange }) {
  const [text, setText] = useState(value === undefined ? "" : JSON.stringify(value, null, 2));
  const [wrong, setWrong] = useState("");
  const read = (event) => {
    setText(event.target.value);
    try {
      onChange(event.target.value.trim() ? JSON.parse(event.target.value) : undefined);
      setWrong("");
    } catch (error) {
      setWrong(error.message);
    }
  };
  return html`<textarea ...${common} rows="5" class="code" spellcheck="false" placeholder="JSON" value=${text} onInput=${read}
      aria-invalid=${Boolean(wrong)}></textarea>
    ${wrong && html`<small class="wrong" role="alert">${wrong}</small>`}`;
}
