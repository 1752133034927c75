"""Spans: the log of a run that has ended, as a trace. Pure, but for the classes of the extra ``otel``.

The run is the root; each attempt that ended is a span below it, from its end and how long it took. All other events
stand at the run's span, at most ``EVENTS_MAX`` of them. Of an error its type is told, not its text: that may be
encrypted in the log, and is sent to another system here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ...sdk.events import Facts, RecordedEvent
from ...sdk.fold.fold_ends import FINAL
from ...sdk.spending.spent import SPENT, kept_spent
from ...sdk.trace_context import attempt_span_of, read_traceparent, run_span_of, trace_id_of

if TYPE_CHECKING:
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.trace import SpanContext

EVENTS_MAX = 128
NS = 1_000_000
"""Of a millisecond."""
ATTEMPTS = frozenset({"step.succeeded", "step.failed", "step.retried"})
_LEFT_OUT = frozenset({"run.started", "step.started", "step.input_kept"})
Value = str | int | float | bool


def wants_trace(started: Facts) -> bool:
    """Whether a run is traced: not where its caller has said that it records nothing."""
    parent = read_traceparent(str(started.data.get("traceparent", "")))
    return parent is None or parent.is_sampled


def spans_of(events: Sequence[RecordedEvent], env: str, resource: Resource) -> list[ReadableSpan]:
    """Return the spans of a run, the root first. events: all of them, from the first to the last."""
    from opentelemetry.sdk.trace import Event, ReadableSpan
    from opentelemetry.trace import Link, SpanKind, Status, StatusCode

    first, last = events[0], events[-1]
    run_id, started = first.run_id, first.facts.data
    parent = read_traceparent(str(started.get("traceparent", "")))
    context = _context(trace_id_of(run_id), run_span_of(run_id))
    status = FINAL.get(last.facts.type, "")
    workflow = str(started.get("workflow", ""))
    shared: dict[str, Value] = {"courante.run_id": run_id, "courante.workflow": workflow, "courante.env": env}
    said = [
        Event(event.facts.type, attributes=_words(event.facts), timestamp=event.at_ms * NS)
        for event in events
        if event.facts.type not in ATTEMPTS | _LEFT_OUT
    ]
    version = started.get("version")
    has_failed = status in ("FAILED", "TIMED_OUT")
    root = ReadableSpan(
        name=f"run {workflow}",
        context=context,
        resource=resource,
        attributes=shared
        | {"courante.status": status, "courante.version": version if isinstance(version, int) else 0}
        | _error(last.facts),
        events=said[-EVENTS_MAX:],
        links=[] if parent is None else [Link(_context(parent.trace_id, parent.span_id))],
        kind=SpanKind.CONSUMER,
        status=Status(StatusCode.ERROR) if has_failed else Status(StatusCode.OK),
        start_time=first.at_ms * NS,
        end_time=last.at_ms * NS,
    )
    spans = [root]
    for event in events:
        facts = event.facts
        if facts.type not in ATTEMPTS:
            continue
        is_well = facts.type == "step.succeeded"
        spans.append(
            ReadableSpan(
                name=f"step {facts.node}",
                context=_context(context.trace_id, attempt_span_of(run_id, facts.node, facts.scope, facts.attempt)),
                parent=context,
                resource=resource,
                attributes=shared
                | _words(facts)
                | {"courante.outcome": facts.type.removeprefix("step.")}
                | _error(facts),
                kind=SpanKind.INTERNAL,
                status=Status(StatusCode.OK if is_well else StatusCode.ERROR),
                start_time=(event.at_ms - facts.ms) * NS,
                end_time=event.at_ms * NS,
            )
        )
    return spans


def _context(trace_id: int, span_id: int) -> SpanContext:
    from opentelemetry.trace import SpanContext, TraceFlags

    return SpanContext(trace_id, span_id, is_remote=False, trace_flags=TraceFlags(TraceFlags.SAMPLED))


def _words(facts: Facts) -> dict[str, Value]:
    words: dict[str, Value] = {
        "courante.step": facts.node,
        "courante.scope": facts.scope,
        "courante.attempt": facts.attempt,
        "courante.worker": facts.worker,
    }
    if SPENT in facts.data:
        spent = kept_spent(facts.data)
        words |= {
            "gen_ai.request.model": spent.model,
            "gen_ai.usage.input_tokens": spent.input_tokens,
            "gen_ai.usage.output_tokens": spent.output_tokens,
        }
    return {name: word for name, word in words.items() if word not in ("", 0)}


def _error(facts: Facts) -> dict[str, Value]:
    return {} if facts.error is None else {"error.type": facts.error.type}
