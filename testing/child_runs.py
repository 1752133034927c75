"""Child runs in a rehearsal: what a step asks for, and what it is told of a run that was rehearsed to its end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import msgspec

from ..sdk.events import RecordedEvent
from ..sdk.marking.plan import Plan
from ..sdk.outcomes.outcomes import Outcome, Waits
from ..sdk.outcomes.subflows import ChildEnd, ChildStatus, told_of, too_deep
from ..sdk.schema_checks import SchemaChecks
from ..sdk.settings import SUBFLOW_DEPTH_MAX
from .results import Rehearsed
from .script import Cue


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What the log says of a step that waits for its child run."""

    workflow: str
    version: int | None = None
    detached: bool = False


def asked_of(outcome: Outcome) -> Asked:
    assert isinstance(outcome, Waits)
    return msgspec.convert(outcome.said["child"], Asked)


def asked_in(event: RecordedEvent) -> Asked:
    return msgspec.convert(event.facts.data["child"], Asked)


def refusal(plan: Plan, given: bytes, depth: int) -> str:
    """Return why a child run would not be accepted, or nothing. depth: how many runs stand above it."""
    told = too_deep(depth, SUBFLOW_DEPTH_MAX)
    if told or plan.ir.input_schema is None:
        return told
    problems = SchemaChecks().problems(plan.hash, plan.ir.input_schema, msgspec.json.decode(given), "input")
    return f"the input does not fit {plan.ir.workflow!r}: {problems[0]}" if problems else ""


def end_of(run_id: str, run: Rehearsed) -> ChildEnd:
    """Return what the step is told."""
    status = ChildStatus(run.status)
    error = "" if status is ChildStatus.COMPLETED else told_of(run.error, run.status)
    return ChildEnd(run_id=run_id, status=status, output=run.output, error=error)


def cues_below(cues: Sequence[Cue], step: str) -> list[Cue]:
    """Return the cues for the child runs of a step: ``bill/review`` is the step ``review`` of what ``bill`` runs."""
    prefix = f"{step}/"
    return [replace(cue, step=cue.step.removeprefix(prefix)) for cue in cues if cue.step.startswith(prefix)]
