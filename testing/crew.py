"""Crew: what a worker makes of a token, without a worker. The engine's own gates, nodes and settling."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from types import MappingProxyType
from typing import Any, TypeVar

from ..runner.nodes import INLINE
from ..runner.settling import Settler
from ..runner.transition import Transition
from ..runner.work import Work, read_token
from ..sdk.floor.payloads import PayloadMissing
from ..sdk.json_values import encode_value
from ..sdk.marking.marking import TokenKind
from ..sdk.marking.plan import Plan
from ..sdk.outcomes.early_signals import look_for_more
from ..sdk.outcomes.gates import before_node
from ..sdk.outcomes.gathering import Gatherer
from ..sdk.outcomes.item_values import cut_items
from ..sdk.outcomes.map_openings import forced_items
from ..sdk.outcomes.node_code import NodeCode, compile_node
from ..sdk.outcomes.outcomes import Cached, Outcome, Succeeded, failed
from ..sdk.outcomes.step_context import StepContext, StepError

Handler = Callable[[Work], Outcome]
"""Runs a node that is not run inline; may raise what a step raises."""
Look = Callable[[list[str]], list[bytes | None]]
"""Reads fields of the run."""
Recorded = Callable[[StepContext], Mapping[int, bytes]]
"""Returns the results of a map that only the log has, by chunk, for its aggregate's token."""
KEPT_BY = "run_before"
"""The run that made what is kept."""
NO_OUTPUTS: Mapping[str, bytes] = MappingProxyType({})
T = TypeVar("T")


class Crew:
    """``name``: of the worker, as the log has it. ``handler``: see ``Handler``. ``look``: see ``Look``.

    ``aside``: node types that run inline and are left to the handler all the same. ``cached``: outputs that are kept,
    as JSON by the ids of steps. ``recorded``: see ``Recorded``.
    """

    def __init__(
        self,
        plan: Plan,
        handler: Handler,
        look: Look,
        name: str = "crew",
        aside: frozenset[str] = frozenset(),
        cached: Mapping[str, bytes] = NO_OUTPUTS,
        recorded: Recorded = lambda _: {},
    ) -> None:
        self.plan = plan
        self.name = name
        self._handler = handler
        self._settler = Settler(name)
        self._code: dict[tuple[str, int], NodeCode] = {}
        self._look = look
        self._aside = aside
        self._cached = cached
        self._gatherer = Gatherer(self._read, _nothing_apart, self._read_log)
        self._recorded = recorded

    def open(self, token: list[bytes], now_ms: int) -> Work:
        work = read_token(token, self.plan)
        work.now_ms = now_ms
        work.values = cut_items(self.plan, work.number, work.scope, work.values)
        return work

    def settle(self, work: Work) -> Transition:
        """Return the transition of a token, by its gates, its node and the rules."""
        transition = self._settler.settle_engine_token(work)
        if transition is not None:
            return transition
        if work.is_below_closed_map:
            return self._settler.drop(work)
        if work.kind is TokenKind.COLLECT:
            return self._settler.collect(work, run_now(self._gatherer.ready(work)))
        work.early, values = run_now(look_for_more(self._read, work))
        work.values += values
        outcome = self._gather(work) or self._outcome(work)
        if work.node.is_map and isinstance(outcome, Succeeded):
            outcome = forced_items(work, outcome.output)
        return self._settler.settle(work, outcome)

    def _gather(self, work: Work) -> Outcome | None:
        """Bring the results for an aggregate. Who comes late may find none: what it makes of that is refused."""
        try:
            if work.node.is_aggregate and work.live:
                work.results = run_now(self._gatherer.results(work))
        except PayloadMissing as error:
            return failed(StepError("PAYLOAD_MISSING", str(error)), work.node.id, work.attempt, self.name)
        return None

    async def _read(self, run_id: str, fields: list[str]) -> list[bytes | None]:
        del run_id
        return self._look(fields)

    async def _read_log(self, step: StepContext) -> Mapping[int, bytes]:
        return self._recorded(step)

    def give_back(self, work: Work, outcome: Outcome) -> Transition:
        return self._settler.settle(work, outcome)

    def announce(self, work: Work) -> Transition:
        return self._settler.announce(work)

    def prepare(self, work: Work) -> None:
        """Compile the expressions of the work's node, if it has one; it may have been taken by another version."""
        if work.number >= 0:
            key = (work.plan.hash, work.number)
            if key not in self._code:
                self._code[key] = compile_node(work.plan.ir, work.node)
            work.code = self._code[key]

    def _outcome(self, work: Work) -> Outcome:
        self.prepare(work)
        try:
            before = before_node(work)
            if before is not None:
                return before
            kept = self._cached.get(work.node.id)
            if kept is not None:
                return Cached(kept, kept, f"{work.plan.ir.workflow}:{work.node.id}:kept", KEPT_BY)
            run = None if work.node.type in self._aside else INLINE.get(work.node.type)
            return (run or self._handler)(work)
        except Exception as error:  # noqa: BLE001 - as a worker does: whatever a step raises has failed it
            return failed(error, work.node.id, work.attempt, self.name)


def cached_outputs(plan: Plan, outputs: Mapping[str, Any]) -> Mapping[str, bytes]:
    """Return outputs as they are kept. Raises ValueError for what is no step with a cache."""
    for name in outputs:
        if plan.numbers.get(name, -1) not in plan.caches:
            raise ValueError(f"{name!r} is no step with a cache")
    return {name: encode_value(output) for name, output in outputs.items()}


async def _nothing_apart(references: list[bytes]) -> Mapping[bytes, bytes]:
    raise AssertionError(f"nothing is stored apart, and {references} is asked for")


def run_now(coroutine: Coroutine[Any, Any, T]) -> T:
    """Return what a coroutine comes to that waits for nothing."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]  # what the coroutine returns
    raise AssertionError("it waits for something")
