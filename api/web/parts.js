// What all pages use: calls that are shown while they last, dialogs, and links.
import { html, useCallback, useEffect, useRef, useState } from "./vendor/preact.js";
import { get, ping, post, watch, whyAway } from "./client.js";
import { now } from "./now.js";
import { age, clock, moment } from "./texts.js";

const ROWS = 300;

// Calls `path` whenever it changes, and when the server is back; returns {value, error, again}. keeps: the last value
// stays while that of another path comes.
export function useCall(path, keeps = false) {
  const [state, setState] = useState({ value: null, error: null, path: null });
  const asked = useRef(0);
  const again = useCallback(async () => {
    if (!path) return;
    asked.current += 1;
    const own = asked.current;
    try {
      const value = await get(path);
      if (own === asked.current) setState({ value, error: null, path });
    } catch (error) {
      if (own === asked.current) setState((before) => ({ ...before, error, path }));
    }
  }, [path]);
  useEffect(() => {
    again();
    return watch((why) => why || again());
  }, [again]);
  const isOwn = keeps || state.path === path;
  return { value: isOwn ? state.value : null, error: isOwn ? state.error : null, again };
}

// Calls `act` every `ms`, while the page is looked at, and not before it has done what it was called for before.
export function useEvery(ms, act) {
  const latest = useRef(act);
  latest.current = act;
  useEffect(() => {
    let isBusy = false;
    const timer = setInterval(async () => {
      if (isBusy || document.visibilityState !== "visible") return;
      isBusy = true;
      await Promise.allSettled([latest.current()].flat());
      isBusy = false;
    }, ms);
    return () => clearInterval(timer);
  }, [ms]);
}

// What a command would do, asked before it is given: {plan} or {error}, nothing while it is not known.
export function useDryRun(path, body, isReady = true) {
  const [told, setTold] = useState({});
  const key = JSON.stringify(body);
  useEffect(() => {
    let isHere = true;
    setTold({});
    if (isReady) post(path, { ...body, dry_run: true }).then((plan) => isHere && setTold({ plan }), (error) => isHere && setTold({ error }));
    return () => {
      isHere = false;
    };
  }, [path, key, isReady]);
  return told;
}

export function useNow(isLive, ms = 1000) {
  const [at, setAt] = useState(now);
  useEffect(() => {
    if (!isLive) return undefined;
    const timer = setInterval(() => setAt(now()), ms);
    return () => clearInterval(timer);
  }, [isLive, ms]);
  return at;
}

export function Told({ error, again }) {
  return html`<div class="problem" role="alert"><strong>${error.message}</strong>
    ${error.hint && html`<p>${error.hint}</p>`}
    <${Faults} errors=${error.errors} />
    ${again && html`<button type="button" onClick=${again}>try again</button>`}</div>`;
}

const Faults = ({ errors }) => errors?.length > 0 && html`<ul>${errors.map((one) => html`<li>${typeof one === "string" ? one : `${one.path || one.field || ""} ${one.message || one.detail || ""}`}</li>`)}</ul>`;

export function Shown({ call, children }) {
  if (call.error && !call.value) return html`<${Told} error=${call.error} again=${call.again} />`;
  if (!call.value) return html`<p class="quiet" role="status">loading…</p>`;
  return children(call.value);
}

// A button that does something on the server: disabled while it lasts, and what goes wrong is told beside it.
export function Doing({ act, children, kind = "", disabled = false, title }) {
  const [state, setState] = useState({ isBusy: false, error: null });
  const click = async () => {
    setState({ isBusy: true, error: null });
    try {
      await act();
      setState({ isBusy: false, error: null });
    } catch (error) {
      setState({ isBusy: false, error });
    }
  };
  return html`<span class="doing"><button type="button" class=${kind} disabled=${disabled || state.isBusy} title=${title} onClick=${click}>${children}</button>
    ${state.error && html`<span class="wrong" role="alert">${state.error.message}${state.error.hint ? ` (${state.error.hint})` : ""}
      ${state.error.errors?.length > 1 && html`<${Faults} errors=${state.error.errors} />`}</span>`}</span>`;
}

export function Dialog({ title, onClose, children }) {
  const frame = useRef(null);
  useEffect(() => {
    const element = frame.current;
    element.showModal();
    return () => element.close();
  }, []);
  return html`<dialog ref=${frame} aria-label=${title} onCancel=${(event) => { event.preventDefault(); onClose(); }}>
    <header><h2>${title}</h2><button type="button" aria-label="close" onClick=${onClose}>✕</button></header>${children}</dialog>`;
}

// A moment, as its age or its time of day; the whole of it, with the zone, when one points at it.
export function Time({ at, now: then, isClock = false }) {
  if (!at) return null;
  return html`<time datetime=${at} title=${moment(at)}>${isClock ? clock(at) : age(at, then)}</time>`;
}

// Something to be copied, as an id. Where a browser gives no clipboard, at a plain address, the old way does it.
export function Copy({ text, what = "copy" }) {
  const [isDone, setDone] = useState(false);
  const copy = async () => {
    if (navigator.clipboard) await navigator.clipboard.writeText(text);
    else {
      const area = document.body.appendChild(Object.assign(document.createElement("textarea"), { value: text }));
      area.select();
      document.execCommand("copy");
      area.remove();
    }
    setDone(true);
    setTimeout(() => setDone(false), 1500);
  };
  return html`<button type="button" class="copy" title=${`${what}: ${text}`} onClick=${copy}>${isDone ? "✓ copied" : what}</button>`;
}

// Tabs of one panel. Arrow keys go from one to the next, as in any list of tabs.
export function Tabs({ tabs, tab, onTab }) {
  const onKey = (event) => {
    const at = tabs.findIndex(([name]) => name === tab);
    const to = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: tabs.length - 1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    const [name] = tabs[(to + tabs.length) % tabs.length];
    onTab(name);
    document.getElementById(`tab-${name}`).focus();
  };
  return html`<div class="tabs" role="tablist" onKeyDown=${onKey}>${tabs.map(([name, title]) => html`<button type="button" role="tab"
    id=${`tab-${name}`} key=${name} aria-selected=${tab === name} aria-controls="panel" tabindex=${tab === name ? 0 : -1}
    onClick=${() => onTab(name)}>${title}</button>`)}</div>`;
}

// A wide table that scrolls within itself. More rows than `ROWS` are shown when they are asked for.
export function Table({ name, heads, rows, row, most = ROWS }) {
  const [shown, setShown] = useState(most);
  return html`<div class="wide" tabindex="0" role="region" aria-label=${name}><table>
    <thead><tr>${heads.map((head) => (head ? html`<th scope="col">${head}</th>` : html`<td></td>`))}</tr></thead>
    <tbody>${rows.slice(0, shown).map(row)}</tbody></table>
    ${rows.length > shown && html`<button type="button" onClick=${() => setShown(shown + most)}>${rows.length - shown} more</button>`}</div>`;
}

// Words that stay in the address while the page stays: filters, tabs. Returns [values, set(changes)].
export function useWords(defaults) {
  const read = () => ({ ...defaults, ...Object.fromEntries(new URLSearchParams(location.hash.split("?")[1] || "")) });
  const [words, setWords] = useState(read);
  const latest = useRef(words);
  const set = useCallback((changes) => {
    latest.current = { ...latest.current, ...changes };
    const said = Object.entries(latest.current).filter(([name, value]) => value !== (defaults[name] ?? ""));
    const path = location.hash.split("?")[0] || "#/";
    history.replaceState(null, "", said.length ? `${path}?${new URLSearchParams(said)}` : path);
    setWords(latest.current);
  }, []);
  useEffect(() => {
    const hear = () => setWords((latest.current = read()));
    window.addEventListener("hashchange", hear);
    return () => window.removeEventListener("hashchange", hear);
  }, []);
  return [words, set];
}

const TRY_MS = 2000;

// Says that the server is away, for as long as it is, and asks whether it is back.
export function Reach() {
  const [why, setWhy] = useState(whyAway);
  useEffect(() => watch(setWhy), []);
  useEffect(() => {
    if (!why) return undefined;
    const timer = setInterval(ping, TRY_MS);
    return () => clearInterval(timer);
  }, [why]);
  return html`<div role="status">${why && html`<div class="away"><strong>${why}</strong> What is shown is as it was; the page goes on by itself as soon as it answers.</div>`}</div>`;
}

export const runPath = (id, more = "") => `/runs/${encodeURIComponent(id)}${more}`;
export const RunLink = ({ id, ...rest }) => html`<${Link} to=${runPath(id)} class="id" ...${rest}>${id}<//>`;

export const go = (path) => {
  location.hash = `#${path}`;
};

export const Link = ({ to, children, ...rest }) => html`<a href=${`#${to}`} ...${rest}>${children}</a>`;
