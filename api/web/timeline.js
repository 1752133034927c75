// When each attempt ran: one bar an attempt, one row a step, from the run's start to its end, or to now.
import { html, useMemo, useState } from "./vendor/preact.js";
import { clock, duration } from "./texts.js";
import { glyph } from "./status.js";

const ROWS = 300;
const OPENS = { "step.started": "RUNNING", "step.waiting": "WAITING" };
const ENDS = {
  "step.succeeded": "SUCCEEDED", "step.failed": "FAILED", "step.retried": "FAILED", "step.skipped": "SKIPPED",
  "step.reused": "SKIPPED", "path.died": "SKIPPED", "token.dropped": "CANCELLED", "token.withdrawn": "CANCELLED",
};

// Bars by the log: [{key, node, scope, bars: [{from, to, status, attempt}]}], times in ms since the epoch.
export function bars(events) {
  const rows = new Map();
  const open = new Map();
  for (const event of events) {
    if (!event.node) continue;
    const key = `${event.node} ${event.scope || ""}`.trim();
    const at = Date.parse(event.at);
    if (OPENS[event.type]) {
      close(rows, open, key, at);
      open.set(key, { event, from: at - (event.data?.ms || 0), status: OPENS[event.type] });
    } else if (ENDS[event.type]) {
      const before = open.get(key);
      if (before && before.status === "RUNNING") before.status = ENDS[event.type];
      else {
        close(rows, open, key, at);
        open.set(key, { event, from: at - (event.data?.ms || 0), status: ENDS[event.type] });
      }
      close(rows, open, key, at);
    }
  }
  for (const key of [...open.keys()]) close(rows, open, key, null);
  return [...rows.values()];
}

function close(rows, open, key, at) {
  const bar = open.get(key);
  if (!bar) return;
  open.delete(key);
  if (!rows.has(key)) rows.set(key, { key, node: bar.event.node, scope: bar.event.scope || "", bars: [] });
  rows.get(key).bars.push({ from: bar.from, to: at, status: bar.status, attempt: bar.event.attempt });
}

export function Timeline({ events, now, onSelect }) {
  const [most, setMost] = useState(ROWS);
  const rows = useMemo(() => bars(events), [events]);
  if (!rows.length) return html`<p class="quiet">No step has begun.</p>`;
  const first = Math.min(Date.parse(events[0].at), ...rows.map((row) => row.bars[0].from));
  const last = rows.reduce((late, row) => Math.max(late, ...row.bars.map((bar) => bar.to ?? now)), first + 1);
  const share = (ms) => `${(100 * ms) / (last - first)}%`;
  return html`
    <div class="wide timeline" tabindex="0" role="region" aria-label="attempts in time"><div role="list">
      <div class="timeline-row timeline-head" role="presentation"><span></span><span class="timeline-scale">${[0, 0.25, 0.5, 0.75, 1].map((part) => html`<span key=${part}>${duration((last - first) * part) || "0"}</span>`)}</span></div>
      ${rows.slice(0, most).map(
        (row) => html`<div class="timeline-row" role="listitem" key=${row.key}>
          <button type="button" class="link" onClick=${() => onSelect(row.node, row.scope)}>${row.key}</button>
          <span class="timeline-bars">${row.bars.map((bar) => {
            const to = bar.to ?? now;
            const said = `${row.key}: ${bar.status}${bar.attempt ? `, attempt ${bar.attempt}` : ""}, ${duration(to - bar.from)}, from ${clock(bar.from)}`;
            return html`<span class=${`bar s-${bar.status}`} role="img" aria-label=${said} title=${said}
              style=${{ left: `min(${share(bar.from - first)}, 100% - 1.1em)`, width: share(Math.max(to - bar.from, 0)) }}>${glyph(bar.status)}${bar.attempt > 1 || row.bars.length > 1 ? html`<small>${bar.attempt}</small>` : ""}</span>`;
          })}</span></div>`,
      )}</div>
      ${rows.length > most && html`<button type="button" onClick=${() => setMost(most + ROWS)}>${rows.length - most} more</button>`}
    </div>`;
}
