"""Re-enacting: a run is played again by its rules, and its steps are answered from what its base run's log says. Pure.

The tokens go through the graph as they did, in the order in which their steps were settled then, so that joins fire,
loops turn and maps open as they did. What stays on the floor is what is to be executed: tokens of steps that are to run
again, of those of which the log knows nothing, and of failures that nobody handled. No handler is called. The result is
a ``Cut`` as of any other run, from which ``restart_plan`` makes what a new one begins with.

- a step that a reused one has cancelled runs if it is one of those that are to run again
- waits, approvals and child runs that were over are over; what was being waited for is asked for anew
- the items of a map for which there was no room yet begin at their beginning
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import NamedTuple, TypeAlias

from ..compiler.ir import Ir
from . import fold_maps, maps
from .cuts import Cut, Settled
from .marking import Marking, Place, Token, TokenKind
from .oracle import Answer, Oracle
from .plan import Plan
from .redeciding import Decisions
from .restarting import GIVEN
from .room import room_of
from .rules import (
    Collected,
    Effect,
    died,
    failed,
    failing_item,
    is_decision,
    opened,
    parked,
    settle,
    start,
    succeeded,
    taken,
)
from .scopes import Scope
from .step_context import StepError

At: TypeAlias = tuple[int, Scope]
SETTLES, PARKS = 1, 0


class Enacted(NamedTuple):
    """``cut``: the run at the end. ``rerouted``: where it went otherwise than its base (``Decisions``)."""

    cut: Cut
    rerouted: list[tuple[At, str, str]]


def reenact(
    plan: Plan,
    oracle: Oracle,
    *,
    stop: Collection[int] = (),
    given: Mapping[At, bytes] | None = None,
    reroute: bool = False,
    input: bytes | None = None,
    contents: Mapping[bytes, bytes] | None = None,
) -> Enacted:
    """Play a run again up to where something is to be executed. Deterministic.

    plan: of the new run. stop: nodes that are not answered for (``impact.downstream``). given: outputs that stand for
    steps, whatever became of these. reroute: decisions are made again with the plan's expressions, not taken from the
    log; those behind a given output always are. input: of the new run, None where it is the base's. contents: payloads
    that are stored apart, by reference. Raises Unloaded, where decisions are made again.
    """
    enacting = _Enacting(plan, oracle, frozenset(stop), given or {}, contents or {}, is_rerouting=reroute)
    enacting.marking.input = oracle.input if input is None else input
    enacting.run()
    return Enacted(enacting.cut(), enacting.decisions.rerouted)


class _Stage(Marking):
    """A marking that remembers which tokens came into being, and in which some cannot be withdrawn."""

    def __init__(self, kept: Collection[int]) -> None:
        super().__init__()
        self.kept = kept
        self.born: list[At] = []

    def put(self, node: int, scope: Scope, token: Token) -> None:
        super().put(node, scope, token)
        self.born.append((node, scope))

    def withdraw(self, node: int, scope: Scope) -> list[str]:
        if node in self.kept:
            return []
        codes = super().withdraw(node, scope)
        if codes:
            self.born.append((node, scope))
        return codes


@dataclass
class _Enacting:
    plan: Plan
    oracle: Oracle
    stop: frozenset[int]
    given: Mapping[At, bytes]
    contents: Mapping[bytes, bytes]
    is_rerouting: bool
    settled: dict[At, Settled] = field(default_factory=dict[At, Settled])
    _turns: list[tuple[int, int, At]] = field(default_factory=list[tuple[int, int, At]])

    def __post_init__(self) -> None:
        self.ir: Ir = self.plan.ir
        self.marking = _Stage(self.stop)
        self.marking.signals = {name: [*kept] for name, kept in self.oracle.signals.items()}
        self.decisions = Decisions(
            self.plan, self.oracle, self.marking, self.given, self.contents, is_again=self.is_rerouting
        )

    def run(self) -> None:
        position = 0
        while position >= 0:
            effects, position = start(self.ir, position)
            self._apply(effects)
        while self._turns:
            _, what, at = heappop(self._turns)
            if at in self.marking.tokens:
                self._move(at, what)

    def cut(self) -> Cut:
        for token in self.marking.tokens.values():
            token.place, token.due = Place.FLOOR, 0  # of a loop whose next pass has to wait
        self.marking.room = room_of(self.ir)
        self.marking.born = []
        return Cut(
            seq=self.oracle.seq,
            at_ms=self.oracle.at_ms,
            marking=self.marking,
            settled=self.settled,
            parked={},
            emptied={at for at in self.oracle.emptied if at in self.settled and at not in self.given},
        )

    def _apply(self, effects: Iterable[Effect]) -> None:
        self.marking.apply(self.ir, effects)
        self._call()

    def _call(self) -> None:
        """Give those that came into being their turn."""
        for at in self.marking.born:
            token = self.marking.tokens.get(at)
            if token is None:
                continue
            if token.kind is TokenKind.NORMAL and not self.ir.nodes[at[0]].is_gate:
                answer = self._answer(at)
                if answer is None:
                    continue
                heappush(self._turns, (answer.seq, SETTLES, at))
                if at in self.oracle.parked and self.ir.nodes[at[0]].milestones:
                    heappush(self._turns, (self.oracle.parked[at], PARKS, at))
                continue
            heappush(self._turns, (self._turn_of(at, token), SETTLES, at))
        self.marking.born.clear()

    def _turn_of(self, at: At, token: Token) -> int:
        """Of what the engine does by itself. What it never came to comes last; maps are filled and emptied at once."""
        last = self.oracle.seq + 1
        if token.kind is TokenKind.SKIP:
            known = self.oracle.answers.get(at)
            return last if known is None else known.seq
        return self.oracle.gates.get(at, last) if token.kind is TokenKind.NORMAL else 0

    def _answer(self, at: At) -> Answer | None:
        """Return what is known of a step that is not to be executed."""
        known = self.oracle.answers.get(at)
        if at in self.given:
            seq = 0 if known is None else known.seq
            return Answer(seq, Settled("SUCCEEDED", 1, GIVEN, output=self.given[at]))
        if at[0] in self.stop or known is None or not self._holds(at, known.settled):
            return None
        return known

    def _holds(self, at: At, settled: Settled) -> bool:
        node = self.ir.nodes[at[0]]
        if settled.status == "FAILED":
            return self._is_handled(at)
        if settled.status == "SKIPPED":
            return bool(settled.attempt) or settled.is_withdrawn
        if node.is_map:
            return settled.items >= 0
        return not settled.edges or is_decision(node, settled.edges)

    def _is_handled(self, at: At) -> bool:
        """Whether a failure led on: by an error edge, or as that of an item whose aggregate did not fail by it."""
        node = self.ir.nodes[at[0]]
        if failed(self.ir, node)[1] is not None:
            return False
        item = failing_item(self.ir, *at)
        if item is None:
            return True
        aggregate = self.ir.regions[self.ir.nodes[item[0]].map_region].aggregate, item[1][:-1]
        known = self.oracle.answers.get(aggregate)
        if known is None:
            return False
        return known.settled.status != "FAILED" or self._is_handled(aggregate)

    def _move(self, at: At, what: int) -> None:
        token = self.marking.tokens[at]
        match token.kind:
            case TokenKind.NORMAL if self.ir.nodes[at[0]].is_gate:
                self._pass(at)
            case TokenKind.NORMAL if what == PARKS:
                self._apply(parked(self.ir, *at))
            case TokenKind.NORMAL:
                answer = self._answer(at)
                assert answer is not None
                self._give(at, token, answer)
            case TokenKind.SKIP:
                self._die(at, token)
            case TokenKind.FILL:
                codes: list[str] = []
                while maps.fill_on(self.marking, self.ir, self._map_of(at), codes):
                    pass
                self.marking.take(*at)
                self._call()
            case TokenKind.COLLECT:
                self._collect(at)
            case TokenKind.CLEAR:
                self._clear(at)
            case _:
                raise AssertionError(f"nobody puts a token of the kind {token.kind!r} here")

    def _pass(self, at: At) -> None:
        known = self.oracle.answers.get(at)
        if known is not None and known.settled.is_withdrawn and at not in self.oracle.gates:
            self.marking.withdraw(*at)
            self._call()
        else:
            self._settle(at, taken(self.ir.nodes[at[0]], self.ir.edges))

    def _give(self, at: At, token: Token, answer: Answer) -> None:
        node, settled = self.ir.nodes[at[0]], answer.settled
        if settled.is_withdrawn:
            self.marking.withdraw(*at)
            self._call()
            return
        if at in self.oracle.inputs:
            self.marking.inputs[at] = self.oracle.inputs[at]
        if settled.status == "SUCCEEDED":
            self._succeed(at, token, settled)
            return
        try:
            if settled.status == "SKIPPED" and self.decisions.runs_now(at, token, settled):
                return
        except StepError:
            return
        if node.keeps_status:
            self.marking.statuses[at] = settled.status.encode()
        self.settled[at] = settled
        if settled.status == "SKIPPED":
            self._settle(at, died(node, "d"))
            return
        if answer.error is not None:
            self.marking.errors[at] = answer.error
            self._apply(fold_maps.item_error(self.ir, at, answer.error))
        self._settle(at, failed(self.ir, node)[0])

    def _succeed(self, at: At, token: Token, settled: Settled) -> None:
        node = self.ir.nodes[at[0]]
        try:
            decision = self.decisions.decide(at, token, settled)
            items = self.decisions.items(at, token, settled) if node.is_map and decision else -1
        except StepError:
            return  # it stays on the floor, and whoever executes it meets the same
        if not decision:
            self.settled[at] = Settled("SKIPPED", 1, "condition_false")
            self._settle(at, died(node, "d"))
            return
        if settled.output is not None:
            self.marking.outputs[at] = settled.output
        if node.keeps_status:
            self.marking.statuses[at] = b"SUCCEEDED"
        edges = "" if decision == taken(node, self.ir.edges) else decision
        self.settled[at] = settled._replace(edges=edges, items=items)
        effects = succeeded(self.ir, *at)
        if node.is_map:
            self.marking.take(*at)
            self._apply([*effects, *opened(self.ir, *at, items, is_open=False)])
        else:
            self._apply(effects)
            self._settle(at, decision)

    def _settle(self, at: At, decision: str) -> None:
        token = self.marking.take(*at)
        if token.kind is TokenKind.NORMAL:
            fold_maps.settled(self.ir, self.marking, at, token.live)
        position = 0
        while position >= 0:
            effects, position = settle(self.ir, *at, decision, position)
            self._apply(effects)

    def _die(self, at: At, token: Token) -> None:
        known = self.oracle.answers.get(at)
        reason = "upstream_failed" if token.extra == "f" else "branch_not_taken"
        is_known = known is not None and known.settled.status == "SKIPPED" and not known.settled.attempt
        self.settled[at] = known.settled if known is not None and is_known else Settled("SKIPPED", 0, reason)
        self._settle(at, died(self.ir.nodes[at[0]], token.extra))

    def _map_of(self, at: At) -> At:
        return self.ir.regions[self.ir.nodes[at[0]].map_region].node, at[1]

    def _collect(self, at: At) -> None:
        """The results of chunks: as the log has them. Where it has not, a worker gathers them, if they are needed."""
        over = self._map_of(at)
        aggregate = self.ir.regions[self.ir.nodes[over[0]].map_region].aggregate, over[1]
        is_needed = self._answer(aggregate) is None
        record = self.marking.maps[over]
        while record.ready:
            place = over[0], (*over[1], record.ready[0])
            is_other = self.is_rerouting or bool(self.given)
            content = None if is_other else self.oracle.results.get(place)
            if content is None and is_needed:
                return
            self.marking.results[place] = content or b"[]"
            codes: list[str] = []
            if not maps.collected(self.marking, self.ir, Collected(*over, record.ready[0]), codes):
                self.marking.take(*at)
                break
        self._call()

    def _clear(self, at: At) -> None:
        """A failed item has closed the map: what is below goes without any effect."""
        marking, over = self.marking, self._map_of(at)
        for place in [place for place in marking.tokens if maps.below(self.ir, over, place)]:
            marking.take(*place)
        for place in [place for place in marking.joins if maps.below(self.ir, over, place)]:
            del marking.joins[place]
        for place in [place for place in marking.maps if place != over and maps.below(self.ir, over, place)]:
            del marking.maps[place]
        fold_maps.swept(self.ir, marking, at)
