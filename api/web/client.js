// The API, as the page calls it: JSON in and out, problems as errors, and events as they come.
import { heed } from "./now.js";
import { exact } from "./numbers.js";

export class Problem extends Error {
  // code: stable, see docs/reference/errors.md. hint: what to do, or "".
  constructor(status, body) {
    super(body.detail || body.title || `the server answered ${status}`);
    this.status = status;
    this.code = body.code || "";
    this.hint = body.hint || "";
    this.errors = body.errors || [];
  }
}

// A body that is sent as it is.
export class Text {
  constructor(content, type) {
    this.content = content;
    this.type = type;
  }
}

let csrf = "";
let away = ""; // why nothing can be asked now
let onDenied = () => {};
const watchers = new Set();

const GONE = "The server cannot be reached.";
const MUTE = "The server does not answer.";
const UNABLE = "The server cannot use its database or Redis now.";

// Calls `tell(why)` whenever nothing can be asked any more, and with "" when that is over; returns what ends it.
export function watch(tell) {
  watchers.add(tell);
  return () => watchers.delete(tell);
}

export const whyAway = () => away;

export function reached(why = "") {
  if (why === away) return;
  away = why;
  watchers.forEach((tell) => tell(why));
}

// Why a server that has answered so cannot be asked, or "". The others are said by a proxy before it.
const refusal = (status) => ({ 502: GONE, 503: UNABLE, 504: MUTE })[status] || "";
const silence = (error) => (error.name === "TimeoutError" ? MUTE : GONE);

const PING_MS = 3000;
const GET_MS = 30000;
const POST_MS = 120000;

// Asks whether the server can be asked. One that has died may leave a socket behind, at which everybody waits.
export async function ping() {
  try {
    const answer = await fetch("/v1/health/ready", { signal: AbortSignal.timeout(PING_MS), cache: "no-store" });
    reached(refusal(answer.status));
  } catch (error) {
    reached(silence(error));
  }
}

// Calls `tell` when the server does not know any more who we are.
export function whenDenied(tell) {
  onDenied = tell;
}

export async function call(method, path, body) {
  const headers = { Accept: "application/json" };
  const request = { method, headers, credentials: "same-origin", signal: AbortSignal.timeout(method === "GET" ? GET_MS : POST_MS) };
  if (body instanceof Text) {
    headers["Content-Type"] = body.type;
    request.body = body.content;
  } else if (body !== undefined) {
    headers["Content-Type"] = "application/json";
    request.body = JSON.stringify(body);
  }
  if (csrf && method !== "GET") headers["X-CSRF-Token"] = csrf;
  const asked = Date.now();
  let answer;
  try {
    answer = await fetch(path, request);
    heed(answer.headers.get("date"), asked, Date.now());
  } catch (error) {
    reached(silence(error));
    throw new Problem(0, { code: "unreachable", detail: "the server cannot be reached", hint: "is 'courante up' running?" });
  }
  reached(refusal(answer.status));
  const text = await answer.text();
  let value = null;
  try {
    value = text ? exact(text) : null;
  } catch {
    value = text;
  }
  if (answer.status === 401 && path !== "/v1/session" && path !== "/v1/login") onDenied();
  if (!answer.ok) throw new Problem(answer.status, value && typeof value === "object" ? value : {});
  return value;
}

export const get = (path) => call("GET", path);
export const post = (path, body = {}) => call("POST", path, body);

// Become the one whom a key belongs to: a session in a cookie that no script can read.
export async function login(key) {
  const told = await post("/v1/login", { key });
  csrf = told.csrf || "";
  watchers.forEach((tell) => tell("")); // what was refused in the meantime is asked again
  return told;
}

export async function logout() {
  await post("/v1/logout");
  csrf = "";
}

// Who we are, if anybody; also brings back the token that unsafe requests need after a reload.
export async function whoami() {
  const told = await get("/v1/session");
  csrf = told.csrf || "";
  return told;
}

export function query(values) {
  const said = Object.entries(values).filter(([, value]) => value !== "" && value !== null && value !== undefined);
  return said.length ? `?${new URLSearchParams(said)}` : "";
}
