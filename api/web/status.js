// Statuses of runs and steps: how each is shown. A letter form beside the colour, for those who cannot tell colours.
import { html } from "./vendor/preact.js";

const GLYPHS = {
  PENDING: "·", READY: "»", RUNNING: "▸", WAITING: "…", RETRYING: "↻", SUCCEEDED: "✓", COMPLETED: "✓", FAILED: "✕",
  SKIPPED: "–", CANCELLED: "⊘", PAUSED: "‖", TIMED_OUT: "!",
};

export const RUN_STATUSES = ["PENDING", "RUNNING", "WAITING", "PAUSED", "COMPLETED", "FAILED", "CANCELLED", "TIMED_OUT"];
export const FINAL = new Set(["COMPLETED", "FAILED", "CANCELLED", "TIMED_OUT"]);
export const ENDED = new Set(["SUCCEEDED", "FAILED", "SKIPPED", "CANCELLED"]);

export const glyph = (status) => GLYPHS[status] || "·";

export function Pill({ status }) {
  return html`<span class=${`pill s-${status}`}><span aria-hidden="true">${glyph(status)}</span> ${status}</span>`;
}

// What is said of a node that has run several times, in loops and maps: what is under way or went wrong comes first.
export const ORDER = ["RUNNING", "RETRYING", "WAITING", "READY", "FAILED", "CANCELLED", "SUCCEEDED", "SKIPPED", "PENDING"];

export function summary(steps) {
  const counts = new Map();
  for (const step of steps) counts.set(step.status, (counts.get(step.status) || 0) + 1);
  const status = ORDER.find((name) => counts.has(name)) || "PENDING";
  return { status, count: steps.length, done: steps.filter((step) => ENDED.has(step.status)).length };
}
