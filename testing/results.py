"""Results: what happened in a rehearsal, step by step and by the simulated clock."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from ..compiler.ir import Ir
from ..sdk.caching.cached import CACHE_HIT
from ..sdk.events import ErrorInfo, RecordedEvent
from ..sdk.fold.fold import fold
from ..sdk.fold.fold_ends import FINAL

ENDS = {
    "step.succeeded": "SUCCEEDED",
    "step.failed": "FAILED",
    "step.retried": "FAILED",
    "step.skipped": "SKIPPED",
    "path.died": "SKIPPED",
    "token.dropped": "CANCELLED",
    "token.withdrawn": "CANCELLED",
}


@dataclass(frozen=True, kw_only=True)
class StepRehearsed:
    """One attempt of a step that came to an end. ``at_s``: seconds from the beginning of the run."""

    id: str
    scope: str
    attempt: int
    status: str
    at_s: float
    output: Any = None
    error: ErrorInfo | None = None
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class ChildRehearsed:
    """The child run of one attempt of a ``subflow``."""

    step: str
    scope: str
    attempt: int
    run: Rehearsed


@dataclass(frozen=True, kw_only=True)
class Rehearsed:
    """A run that has ended. ``steps``: ends of attempts in the order of the log. ``elapsed_s``: simulated.

    ``children``: its child runs that were rehearsed too, in the order in which they began.
    """

    status: str
    output: Any
    error: ErrorInfo | None
    steps: Sequence[StepRehearsed]
    events: Sequence[RecordedEvent]
    elapsed_s: float
    children: Sequence[ChildRehearsed] = ()

    @property
    def succeeded(self) -> list[str]:
        """The ids of the steps that succeeded, in order, once per scope."""
        return [step.id for step in self.steps if step.status == "SUCCEEDED"]

    def attempts(self, id: str, scope: str = "") -> list[StepRehearsed]:
        """All attempts of a step; empty where it was never reached."""
        return [step for step in self.steps if step.id == id and step.scope == scope]

    def step(self, id: str, scope: str = "") -> StepRehearsed:
        """The last attempt of a step. Raises AssertionError, with the timeline, where it has none."""
        found = self.attempts(id, scope)
        if not found:
            raise AssertionError(f"step {id!r} has come to no end\n{self.timeline()}")
        return found[-1]

    def child(self, step: str, scope: str = "") -> Rehearsed:
        """The child run of the last attempt of a step. Raises AssertionError, with the timeline, where it has none."""
        found = [each.run for each in self.children if (each.step, each.scope) == (step, scope)]
        if not found:
            raise AssertionError(f"step {step!r} has had no child run\n{self.timeline()}")
        return found[-1]

    def require(self, status: str = "COMPLETED") -> Rehearsed:
        """Return this; raises AssertionError, with the timeline, where the run ended otherwise."""
        if self.status != status:
            raise AssertionError(f"the run is {self.status}, not {status}\n{self.timeline()}")
        return self

    def timeline(self) -> str:
        """What happened, a line each: seconds, status, step, and why."""
        lines = [_line(step) for step in self.steps]
        end = f"{self.elapsed_s:10.3f} s  {self.status}"
        if self.error is not None:
            end += f": {self.error.type}: {self.error.message}"
        return "\n".join([*lines, end])


def collect(
    ir: Ir,
    events: Sequence[RecordedEvent],
    output: bytes | None,
    began_ms: int,
    children: Sequence[ChildRehearsed] = (),
) -> Rehearsed:
    """Read a whole log; it folds, or the rehearsal itself is wrong."""
    fold(ir, events)
    last = events[-1]
    steps = [
        StepRehearsed(
            id=event.facts.node,
            scope=event.facts.scope,
            attempt=event.facts.attempt,
            status="SKIPPED" if event.facts.reason == CACHE_HIT else ENDS[event.facts.type],
            at_s=(event.at_ms - began_ms) / 1000,
            output=None if event.payload is None else msgspec.json.decode(event.payload),
            error=event.facts.error,
            reason=event.facts.reason,
        )
        for event in events
        if event.facts.type in ENDS and event.facts.node and not event.facts.node.startswith("(")
    ]
    return Rehearsed(
        status=FINAL[last.facts.type],
        output=None if output is None else msgspec.json.decode(output),
        error=last.facts.error,
        steps=steps,
        events=events,
        elapsed_s=(last.at_ms - began_ms) / 1000,
        children=tuple(children),
    )


def _line(step: StepRehearsed) -> str:
    name = f"{step.id}[{step.scope}]" if step.scope else step.id
    tried = f" (attempt {step.attempt})" if step.attempt > 1 else ""
    why = f": {step.error.type}: {step.error.message}" if step.error is not None else ""
    why = why or (f": {step.reason}" if step.reason else "")
    return f"{step.at_s:10.3f} s  {step.status:9} {name}{tried}{why}"
