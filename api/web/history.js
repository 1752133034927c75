// What the page shows of a run after any of its events, from the log alone. The same reading of the events as the
// engine's own projection of steps; the API says the same of the last event.

const STATUS = {
  "step.started": "RUNNING", "step.succeeded": "SUCCEEDED", "step.failed": "FAILED", "step.retried": "RETRYING",
  "step.skipped": "SKIPPED", "step.waiting": "WAITING", "path.died": "SKIPPED", "step.reused": "SKIPPED",
};
const GONE = new Set(["token.dropped", "token.withdrawn", "step.withdrawn"]);
const RELEASED = new Set([
  "timer.released", "token.released", "token.forced", "mutex.granted", "slot.granted", "budget.granted", "budget.refused",
]);
const OPEN = new Set(["READY", "RUNNING", "WAITING", "RETRYING"]);
const BUSY = ["READY", "RUNNING", "RETRYING"]; // nothing of these, and something waits: the run does
const RUN = {
  "run.started": "RUNNING", "run.entered": "RUNNING", "run.completed": "COMPLETED", "run.failed": "FAILED",
  "run.cancelled": "CANCELLED", "run.timed_out": "TIMED_OUT",
};

// nodes: of the workflow, those that were not reached are PENDING. Returns {status, steps} after event `seq`.
export function stateAt(events, seq, nodes) {
  const found = new Map();
  let status = "PENDING";
  for (const event of events) {
    if (event.seq > seq) break;
    status = RUN[event.type] || status;
    if (event.type === "command.applied" && event.data?.type === "pause") status = "PAUSED";
    if (event.type === "command.applied" && event.data?.type === "resume") status = "RUNNING";
    if (event.node) apply(found, event);
  }
  const at = new Set([...found.values()].map((step) => step.status));
  if (status === "RUNNING" && at.has("WAITING") && !BUSY.some((one) => at.has(one))) status = "WAITING";
  const known = new Set([...found.values()].map((step) => step.id));
  const rest = nodes.filter((node) => !known.has(node.id)).map((node) => ({ id: node.id, scope: "", status: "PENDING", attempts: 0 }));
  return { status, steps: [...found.values(), ...rest] };
}

function apply(found, event) {
  const key = `${event.node} ${event.scope || ""}`;
  const step = found.get(key);
  if (STATUS[event.type]) {
    const reason = event.data?.reason || "";
    const hit = event.type === "step.succeeded" && reason === "cache_hit";
    found.set(key, {
      id: event.node,
      scope: event.scope || "",
      status: hit ? "SKIPPED" : STATUS[event.type],
      reason,
      attempts: Math.max(event.attempt || 0, step?.attempts || 0),
      started_at: step?.started_at || event.at,
      finished_at: event.at,
    });
  } else if (step && RELEASED.has(event.type) && (step.status === "WAITING" || step.status === "RETRYING")) {
    step.status = "READY";
  } else if (step && GONE.has(event.type) && OPEN.has(step.status)) {
    step.status = "CANCELLED";
  }
}
