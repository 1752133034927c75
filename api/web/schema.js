// JSON Schema, as a form reads it: without references, and with what a value may be in place of "this or null".
import { isKept } from "./numbers.js";

const DEEP = 6; // a schema that refers to itself goes on as JSON text

// The same schema, all of it plain. choices: what stands in oneOf or anyOf, where that is more than one thing.
export const plain = (schema) => resolved(schema || {}, schema || {}, 0);

// Returns the value that a fresh form has. What is optional is left out, unless the schema says what it is.
export const initial = (schema) => start(plain(schema), true);

function resolved(schema, root, deep) {
  if (typeof schema !== "object" || schema === null || deep > DEEP) return {};
  let found = joined(referred(schema, root), root);
  const all = found.oneOf || found.anyOf;
  if (Array.isArray(all) && !found.properties) {
    const { oneOf, anyOf, ...base } = found;
    const choices = all.filter((one) => one?.type !== "null").map((one) => ({ ...base, ...referred(one, root) }));
    if (choices.length === 1) found = choices[0];
    else if (choices.every((one) => one.const !== undefined)) found = { ...base, enum: choices.map((one) => one.const), titles: choices.map((one) => one.title) };
    else found = { ...base, type: undefined, choices: choices.map((one) => resolved(one, root, deep + 1)) };
  }
  if (Array.isArray(found.type)) {
    const types = found.type.filter((one) => one !== "null");
    found.type = types.length === 1 ? types[0] : undefined;
  }
  if (found.properties) {
    found.properties = Object.fromEntries(Object.entries(found.properties).map(([name, inner]) => [name, resolved(inner, root, deep + 1)]));
  }
  if (found.items && !Array.isArray(found.items)) found.items = resolved(found.items, root, deep + 1);
  return found;
}

function referred(schema, root) {
  const { $ref, ...rest } = schema;
  return typeof $ref === "string" && $ref.startsWith("#/") ? { ...reference(root, $ref), ...rest } : { ...schema };
}

// All that has to hold at once, as one schema.
function joined({ allOf, ...base }, root) {
  const parts = (Array.isArray(allOf) ? allOf : []).map((one) => referred(one, root));
  return parts.reduce((own, more) => ({
    ...more,
    ...own,
    ...(own.properties && more.properties ? { properties: { ...more.properties, ...own.properties } } : {}),
    ...(own.required && more.required ? { required: [...own.required, ...more.required] } : {}),
  }), base);
}

const reference = (root, ref) =>
  ref.split("/").slice(1).reduce((at, part) => at?.[decodeURIComponent(part).replaceAll("~1", "/").replaceAll("~0", "~")], root) || {};

// schema: plain. Returns the value it has before anybody has said anything, undefined for none.
export function start(schema, isRequired) {
  if (schema.default !== undefined) return schema.default;
  if (schema.const !== undefined) return schema.const;
  if (schema.type === "boolean" && isRequired) return false;
  if (schema.type === "array" && isRequired) return [];
  if (schema.type !== "object" || !schema.properties) return undefined;
  const needed = new Set(schema.required || []);
  const fields = Object.entries(schema.properties).map(([name, inner]) => [name, start(inner, needed.has(name))]);
  const found = Object.fromEntries(fields.filter(([, value]) => value !== undefined));
  const isWhole = Object.keys(found).length > 0 && [...needed].every((name) => found[name] !== undefined);
  return isRequired || isWhole ? found : undefined;
}

// What a new item of a list is: something, so that it has a place.
export const fresh = (schema) => start(schema, true) ?? { string: "", object: {} }[schema.type] ?? null;

// The names of an object's fields, those that have to be given first, in the order that the schema says.
export function names(schema) {
  const own = Object.keys(schema.properties);
  const needed = (schema.required || []).filter((name) => own.includes(name));
  return [...needed, ...own.filter((name) => !needed.includes(name))];
}

// What a choice is called.
export const titleOf = (schema, number) => schema.title || (schema.const !== undefined ? JSON.stringify(schema.const) : schema.type) || `choice ${number + 1}`;

// Whether a value could be meant by a schema, as far as a form has to know to show it there.
export function suits(schema, value) {
  if (schema.const !== undefined) return JSON.stringify(schema.const) === JSON.stringify(value);
  if (schema.enum) return schema.enum.some((one) => JSON.stringify(one) === JSON.stringify(value));
  const kind = Array.isArray(value) ? "array" : value === null ? "null" : isKept(value) ? "integer" : typeof value;
  const isNumber = kind === "integer" ? schema.type === "number" : schema.type === "integer" && Number.isInteger(value);
  if (schema.type && schema.type !== kind && !isNumber) return false;
  if (kind !== "object") return true;
  return (schema.required || []).every((name) => name in value) && Object.entries(schema.properties || {}).every(([name, inner]) => inner.const === undefined || !(name in value) || suits(inner, value[name]));
}
