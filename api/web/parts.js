// What all pages use: calls that are shown while they last, dialogs, and links.
import { html, useCallback, useEffect, useRef, useState } from "./vendor/preact.js";
import { get } from "./client.js";

// Calls `path` whenever it changes; returns {value, error, again}. The last value stays while the next one comes.
export function useCall(path) {
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
  }, [again]);
  const isOwn = state.path === path;
  return { value: isOwn ? state.value : null, error: isOwn ? state.error : null, again };
}

// Calls `act` every `ms`, while the page is looked at.
export function useEvery(ms, act) {
  const latest = useRef(act);
  latest.current = act;
  useEffect(() => {
    const timer = setInterval(() => document.visibilityState === "visible" && latest.current(), ms);
    return () => clearInterval(timer);
  }, [ms]);
}

export function useNow(isLive) {
  const [now, setNow] = useState(Date.now());
  useEver(isLive, setNow);
  return now;
}

function useEver(isLive, setNow) {
  useEffect(() => {
    if (!isLive) return undefined;
    const timer = setInterval(() => setNow(Date.now()), 1000);
    return () => clearInterval(timer);
  }, [isLive]);
}

export function Told({ error, again }) {
  return html`<div class="problem" role="alert"><strong>${error.message}</strong>
    ${error.hint && html`<p>${error.hint}</p>`}
    ${error.errors?.length > 0 && html`<ul>${error.errors.map((one) => html`<li>${typeof one === "string" ? one : `${one.path || one.field || ""} ${one.message || one.detail || ""}`}</li>`)}</ul>`}
    ${again && html`<button type="button" onClick=${again}>try again</button>`}</div>`;
}

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
    ${state.error && html`<span class="wrong" role="alert">${state.error.message}${state.error.hint ? ` (${state.error.hint})` : ""}</span>`}</span>`;
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

export const go = (path) => {
  location.hash = `#${path}`;
};

export const Link = ({ to, children, ...rest }) => html`<a href=${`#${to}`} ...${rest}>${children}</a>`;
