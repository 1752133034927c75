"""Steps by the log: what became of every execution, told by the events alone.

A second reading of what the projection ``node_executions`` says, so that the two can be held against each other.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import msgspec

from ..sdk.caching.cached import CACHE_HIT
from ..sdk.events import Facts, RecordedEvent
from ..sdk.spending.spent import SPENT, Spent, kept_spent

OPEN = frozenset({"READY", "RUNNING", "WAITING", "RETRYING"})
PARKED = frozenset({"WAITING", "RETRYING"})
STATUS = {
    "step.started": "RUNNING",
    "step.succeeded": "SUCCEEDED",
    "step.failed": "FAILED",
    "step.retried": "FAILED",
    "step.skipped": "SKIPPED",
    "step.waiting": "WAITING",
    "path.died": "SKIPPED",
    "step.reused": "SKIPPED",
}
"""What an event makes of its execution."""
GONE = frozenset({"token.dropped", "token.withdrawn", "step.withdrawn"})
"""Events that end what is open at their place."""
BUDGET = frozenset({"budget.granted", "budget.refused"})
RELEASED = frozenset({"timer.released", "token.released", "token.forced", "mutex.granted", "slot.granted", *BUDGET})
"""Events that queue again what was parked at their place."""


class StepKey(NamedTuple):
    """``scope``: as in the log, ``1.3``. ``attempt``: 0 where nothing was tried."""

    node: str
    scope: str
    attempt: int


@dataclass(slots=True)
class StepState:
    """``seq``: of the last event that changed it. ``output_seq``: of the event whose payload is its output, or None."""

    status: str
    seq: int
    reason: str = ""
    output_seq: int | None = None


FINAL = frozenset({"SUCCEEDED", "FAILED", "SKIPPED"})
"""Statuses after which no more is heard of an execution, for all that the rules say."""


class StepStates:
    """The executions of one run, in the order in which they were first heard of.

    on_final: told of each that has come to its end, which then is no more among them.
    """

    def __init__(self, on_final: Callable[[StepKey, StepState], None] | None = None) -> None:
        self._on_final = on_final
        self.all: dict[StepKey, StepState] = {}
        self._at: dict[tuple[str, str], StepState] = {}
        self.spent: dict[tuple[StepKey, str], Spent] = {}
        """What attempts have taken, by currency."""

    def add(self, event: RecordedEvent) -> None:
        facts = event.facts
        if SPENT in facts.data:
            self._spend(StepKey(facts.node, facts.scope, facts.attempt), kept_spent(facts.data))
        status = "SKIPPED" if facts.reason == CACHE_HIT else STATUS.get(facts.type)
        if status is not None:
            state = self._state(event.seq, facts, status)
            if "SUCCEEDED" in (status, facts.data.get("status")) or facts.reason == CACHE_HIT:
                state.output_seq = event.seq
            if self._on_final is not None and status in FINAL:
                self._let_go(StepKey(facts.node, facts.scope, facts.attempt), state, self._on_final)
            if facts.type == "step.retried":
                following = msgspec.structs.replace(facts, attempt=facts.attempt + 1)
                self._state(event.seq, following, "RETRYING")
        elif facts.type in RELEASED:
            self._release(event.seq, facts)
        elif facts.type in GONE:
            self._end(event.seq, facts)

    def at(self, node: str, scope: str) -> StepState | None:
        """Return the last attempt at a place."""
        return self._at.get((node, scope))

    def _let_go(self, key: StepKey, state: StepState, on_final: Callable[[StepKey, StepState], None]) -> None:
        on_final(key, state)
        del self.all[key]
        del self._at[key.node, key.scope]

    def _spend(self, key: StepKey, spent: Spent) -> None:
        if spent.calls:
            known = self.spent.get((key, spent.currency))
            self.spent[key, spent.currency] = spent if known is None else known.plus(spent)

    def _state(self, seq: int, facts: Facts, status: str) -> StepState:
        key = StepKey(facts.node, facts.scope, facts.attempt)
        state = self.all.get(key)
        if state is None:
            state = self.all[key] = StepState(status, seq)
        self._at[facts.node, facts.scope] = state
        state.status, state.seq, state.reason = status, seq, facts.reason
        return state

    def _release(self, seq: int, facts: Facts) -> None:
        state = self._at.get((facts.node, facts.scope))
        if state is not None and state.status in PARKED:
            state.status, state.seq, state.reason = "READY", seq, ""

    def _end(self, seq: int, facts: Facts) -> None:
        state = self._at.get((facts.node, facts.scope))
        if state is not None and state.status in OPEN:
            state.status, state.seq = "CANCELLED", seq
            state.reason = facts.reason or facts.type.partition(".")[2]
