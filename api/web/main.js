// The page: one header, and what the part of the address behind the # names.
import { html, render, useEffect, useState } from "./vendor/preact.js";
import { login, logout, whoami } from "./client.js";
import { Link, Told } from "./parts.js";
import { ActionsPage } from "./actions.js";
import { DeadLettersPage } from "./dead_letters.js";
import { HealthPage } from "./health.js";
import { RunPage } from "./run.js";
import { RunsPage } from "./runs.js";
import { SchedulesPage } from "./schedules.js";
import { StartPage } from "./start.js";
import { WorkflowPage, WorkflowsPage } from "./workflows.js";

const PAGES = [
  [/^\/$/, RunsPage],
  [/^\/runs\/([^/]+)$/, RunPage],
  [/^\/workflows$/, WorkflowsPage],
  [/^\/workflows\/([^/]+)$/, WorkflowPage],
  [/^\/start\/([^/]+)$/, StartPage],
  [/^\/actions$/, ActionsPage],
  [/^\/dead-letters$/, DeadLettersPage],
  [/^\/schedules$/, SchedulesPage],
  [/^\/health$/, HealthPage],
];
const LINKS = [
  ["/", "Runs"], ["/workflows", "Workflows"], ["/actions", "Actions"], ["/dead-letters", "Dead letters"],
  ["/schedules", "Schedules"], ["/health", "Health"],
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

function App() {
  const place = usePlace();
  const [who, setWho] = useState(undefined);
  useEffect(() => {
    whoami().then(setWho, (error) => setWho({ error }));
  }, []);
  if (who === undefined) return html`<p class="quiet" role="status">loading…</p>`;
  const isOut = who.error && (who.error.status === 401 || who.error.status === 403);
  if (isOut) return html`<${Login} onDone=${setWho} />`;
  const path = place.split("?")[0];
  const found = PAGES.map(([pattern, Page]) => [path.match(pattern), Page]).find(([match]) => match);
  return html`
    <header class="top">
      <a class="skip" href="#main" onClick=${(event) => { event.preventDefault(); document.getElementById("main").focus(); }}>to the content</a>
      <${Link} to="/" class="brand">Courante<//>
      <nav aria-label="pages">${LINKS.map(([to, name]) => html`<${Link} to=${to} key=${to} aria-current=${to === path ? "page" : undefined}>${name}<//>`)}</nav>
      ${who.name && html`<span class="who">${who.name}${who.env ? ` · ${who.env}` : ""}
        ${who.is_session && html`<button type="button" class="link" onClick=${() => logout().then(() => location.reload())}>log out</button>`}</span>`}
    </header>
    <main id="main" tabindex="-1">
      ${who.error && html`<${Told} error=${who.error} />`}
      ${found ? html`<${found[1]} key=${path} id=${found[0][1] && decodeURIComponent(found[0][1])} place=${place} />` : html`<p>There is no such page.</p>`}
    </main>`;
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
  return html`<main id="main" class="login"><h1>Courante</h1><form onSubmit=${send}>
    <label for="key">Key</label>
    <input id="key" type="password" autocomplete="current-password" required value=${key} onInput=${(event) => setKey(event.target.value)} />
    <button class="main">log in</button>
    <p class="quiet">An operator makes one with <code>courante keys create</code>.</p>
    ${error && html`<${Told} error=${error} />`}</form></main>`;
}

render(html`<${App} />`, document.getElementById("page"));
