"""Crew: what a worker makes of a token, without a worker. The engine's own gates, nodes and settling."""

from __future__ import annotations

from collections.abc import Callable

from ..runner.execution import read_token
from ..runner.nodes import INLINE
from ..runner.settling import Settler, Transition
from ..runner.work import Work
from ..sdk.gates import before_node
from ..sdk.node_code import NodeCode, compile_node
from ..sdk.outcomes import Outcome, failed
from ..sdk.plan import Plan

Handler = Callable[[Work], Outcome]
"""Runs a node that is not run inline; may raise what a step raises."""


class Crew:
    """``name``: of the worker, as the log has it. ``handler``: see ``Handler``."""

    def __init__(self, plan: Plan, handler: Handler, name: str = "crew") -> None:
        self.plan = plan
        self.name = name
        self._handler = handler
        self._settler = Settler(name)
        self._code: dict[int, NodeCode] = {}

    def open(self, token: list[bytes], now_ms: int) -> Work:
        work = read_token(token, self.plan)
        work.now_ms = now_ms
        return work

    def settle(self, work: Work) -> Transition:
        """Return the transition of a token, by its gates, its node and the rules."""
        transition = self._settler.settle_engine_token(work)
        if transition is not None:
            return transition
        return self._settler.settle(work, self._outcome(work))

    def give_back(self, work: Work, outcome: Outcome) -> Transition:
        return self._settler.settle(work, outcome)

    def announce(self, work: Work) -> Transition:
        return self._settler.announce(work)

    def prepare(self, work: Work) -> None:
        """Compile the expressions of the work's node, if it has one."""
        if work.number >= 0:
            if work.number not in self._code:
                self._code[work.number] = compile_node(self.plan.ir, work.node)
            work.code = self._code[work.number]

    def _outcome(self, work: Work) -> Outcome:
        self.prepare(work)
        try:
            before = before_node(work)
            if before is not None:
                return before
            return INLINE.get(work.node.type, self._handler)(work)
        except Exception as error:  # noqa: BLE001 - as a worker does: whatever a step raises has failed it
            return failed(error, work.node.id, work.attempt, self.name)
