// What an event carries. Payloads do not travel with the list of events: each is asked for when it is looked at, once.
import { html, useEffect, useState } from "./vendor/preact.js";
import { get, query } from "./client.js";
import { Told } from "./parts.js";
import { Value } from "./values.js";

const KEPT_MAX = 200;
const kept = new Map(); // run and event -> data; they never change

async function load(runId, seq) {
  const page = await get(`/v1/runs/${encodeURIComponent(runId)}/events${query({ after: seq - 1, limit: 1, payloads: true })}`);
  return page.events[0]?.seq === seq ? page.events[0].data : {};
}

export function Payload({ runId, seq }) {
  const key = `${runId} ${seq}`;
  const [found, setFound] = useState({});
  const [asked, setAsked] = useState(0);
  useEffect(() => {
    let isHere = true;
    if (!kept.has(key)) {
      load(runId, seq).then(
        (data) => {
          kept.set(key, data);
          if (kept.size > KEPT_MAX) kept.delete(kept.keys().next().value);
          if (isHere) setFound({ key });
        },
        (error) => isHere && setFound({ key, error }),
      );
    }
    return () => {
      isHere = false;
    };
  }, [key, asked]);
  if (kept.has(key)) return html`<${Value} value=${kept.get(key).payload} />`;
  if (found.error && found.key === key) return html`<${Told} error=${found.error} again=${() => [setFound({}), setAsked(asked + 1)]} />`;
  return html`<span class="quiet" role="status">loading…</span>`;
}
