// The API, as the page calls it: JSON in and out, problems as errors, and events as they come.

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

export async function call(method, path, body) {
  const headers = { Accept: "application/json" };
  const request = { method, headers, credentials: "same-origin" };
  if (body instanceof Text) {
    headers["Content-Type"] = body.type;
    request.body = body.content;
  } else if (body !== undefined) {
    headers["Content-Type"] = "application/json";
    request.body = JSON.stringify(body);
  }
  if (csrf && method !== "GET") headers["X-CSRF-Token"] = csrf;
  let answer;
  try {
    answer = await fetch(path, request);
  } catch {
    throw new Problem(0, { code: "unreachable", detail: "the server cannot be reached", hint: "is 'courante up' running?" });
  }
  const text = await answer.text();
  let value = null;
  try {
    value = text ? JSON.parse(text) : null;
  } catch {
    value = text;
  }
  if (!answer.ok) throw new Problem(answer.status, value && typeof value === "object" ? value : {});
  return value;
}

export const get = (path) => call("GET", path);
export const post = (path, body = {}) => call("POST", path, body);

// Become the one whom a key belongs to: a session in a cookie that no script can read.
export async function login(key) {
  const told = await post("/v1/login", { key });
  csrf = told.csrf || "";
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

// Calls `hear` for what a path streams, from after `last` on; returns what ends it. The browser connects again by itself,
// with the number of the last event. `tell(isLive)` says how it stands.
export function listen(path, hear, tell = () => {}) {
  const source = new EventSource(path);
  source.onopen = () => tell(true);
  source.onerror = () => tell(false);
  source.onmessage = (message) => hear(JSON.parse(message.data), message.lastEventId);
  return () => source.close();
}

export function query(values) {
  const said = Object.entries(values).filter(([, value]) => value !== "" && value !== null && value !== undefined);
  return said.length ? `?${new URLSearchParams(said)}` : "";
}
