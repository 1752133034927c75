// The page: one header, and what the part of the address behind the # names.
import { html, render, useEffect, useErrorBoundary, useRef, useState } from "./vendor/preact.js";
import { login, logout, watch, whenDenied, whoami } from "./client.js";
import { Link, Reach, Told } from "./parts.js";
import { ActionsPage } from "./actions.js";
import { DeadLettersPage } from "./dead_letters.js";
import { HealthPage } from "./health.js";
import { RunPage } from "./run.js";
import { RunsPage } from "./runs.js";
import { OperatorsPage } from "./operators.js";
import { SchedulesPage } from "./schedules.js";
import { StartPage } from "./start.js";
import { WebhooksPage } from "./webhooks.js";
import { WorkflowPage, WorkflowsPage } from "./workflows.js";

// What an address shows, and what the browser calls it.
const PAGES = [
  [/^\/(?:runs)?$/, RunsPage, () => "Runs"],
  [/^\/runs\/([^/]+)$/, RunPage, (id) => id],
  [/^\/workflows$/, WorkflowsPage, () => "Workflows"],
  [/^\/workflows\/([^/]+)$/, WorkflowPage, (id) => id],
  [/^\/start\/([^/]+)$/, StartPage, (id) => `Start ${id}`],
  [/^\/actions$/, ActionsPage, () => "Actions"],
  [/^\/dead-letters$/, DeadLettersPage, () => "Dead letters"],
  [/^\/schedules$/, SchedulesPage, () => "Schedules"],
  [/^\/webhooks$/, WebhooksPage, () => "Webhooks"],
  [/^\/operators$/, OperatorsPage, () => "Operator log"],
  [/^\/health$/, HealthPage, () => "Health"],
];
// The third: the scope without which there is nothing to see.
const LINKS = [
  ["/", "Runs"], ["/workflows", "Workflows"], ["/actions", "Actions"], ["/dead-letters", "Dead letters"],
  ["/schedules", "Schedules"], ["/webhooks", "Webhooks"], ["/operators", "Operator log", "admin"], ["/health", "Health"],
];

function usePlace() {
  const read = () => location.hash.slice(1) || "/";
  const [place, setPlace] = useState(read());
  useEffect(() => {
    const hear = () => {
      setPlace(read());
      window.scrollTo(0, 0);
    };
    window.addEventListener("hashchange", hear);
    return () => window.removeEventListener("hashchange", hear);
  }, []);
  return place;
}

function decoded(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part; // no name of ours is written so: the page says that there is no such thing
  }
}

function App() {
  const place = usePlace();
  const [who, setWho] = useState(undefined);
  const before = useRef(null); // who it was until now
  // whoever comes back finds what was being typed; somebody else finds nothing of it
  const become = (told) => (before.current && before.current.name !== told.name ? location.reload() : setWho(told));
  useEffect(() => {
    const ask = () => whoami().then(become, (error) => setWho({ error }));
    ask();
    whenDenied(ask);
    return watch((why) => why || ask());
  }, []);
  const path = place.split("?")[0];
  const [match, Page, title] = PAGES.map(([pattern, ...rest]) => [path.match(pattern), ...rest]).find(([one]) => one) || [];
  const id = match?.[1] && decoded(match[1]);
  const first = useRef(path);
  useEffect(() => {
    document.title = match ? `${title(id)} · Courante` : "Courante";
    if (first.current !== path) document.getElementById("main")?.focus({ preventScroll: true });
    first.current = path;
  }, [path]);
  if (who === undefined) return html`<p class="quiet" role="status">loading…</p>`;
  const isOut = Boolean(who.error) && (who.error.status === 401 || who.error.status === 403);
  if (!who.error) before.current = who;
  return html`${isOut && html`<${Login} key="login" onDone=${become} />`}
    ${(!isOut || before.current) && html`<div key="page" hidden=${isOut}>
      <${Frame} path=${path} match=${match} who=${isOut ? before.current : who}>${match && html`<${Page} id=${id} who=${isOut ? before.current : who} />`}<//></div>`}`;
}

// What is around every page.
function Frame({ path, match, who, children }) {
  const links = LINKS.filter(([, , scope]) => !scope || !who.scopes || who.scopes.includes(scope));
  return html`
    <header class="top">
      <a class="skip" href="#main" onClick=${(event) => { event.preventDefault(); document.getElementById("main").focus(); }}>to the content</a>
      <${Link} to="/" class="brand">Courante<//>
      <nav aria-label="pages">${links.map(([to, name]) => html`<${Link} to=${to} key=${to} aria-current=${to === path ? "page" : undefined}>${name}<//>`)}</nav>
      ${who.name && html`<span class="who">${who.name}${who.env ? ` · ${who.env}` : ""}
        ${who.is_session && html`<button type="button" class="link" onClick=${() => logout().then(() => location.reload())}>log out</button>`}</span>`}
    </header>
    <${Reach} />
    <main id="main" tabindex="-1">
      ${who.error && who.error.status > 0 && html`<${Told} error=${who.error} />`}
      ${match ? html`<${Whole} key=${path}>${children}<//>` : html`<h1>There is no such page</h1><p><${Link} to="/">All runs<//></p>`}
    </main>`;
}

// A page in which something cannot be drawn says so; the others are still there.
function Whole({ children }) {
  const [error] = useErrorBoundary((thrown) => console.error(thrown));
  return error ? html`<${Told} error=${{ message: "this cannot be shown", hint: String(error) }} again=${() => location.reload()} />` : children;
}

function Login({ onDone }) {
  const [key, setKey] = useState("");
  const [error, setError] = useState(null);
  const send = async (event) => {
    event.preventDefault();
    try {
      await login(key);
      onDone(await whoami());
    } catch (problem) {
      setError(problem);
    }
  };
  return html`<main class="login"><h1>Courante</h1><form onSubmit=${send}>
    <label for="key">Key</label>
    <input id="key" type="password" autocomplete="current-password" required value=${key} onInput=${(event) => setKey(event.target.value)} />
    <button class="main">log in</button>
    <p class="quiet">An operator makes one with <code>courante keys create</code>.</p>
    ${error && html`<${Told} error=${error} />`}</form></main>`;
}

render(html`<${App} />`, document.getElementById("page"));
