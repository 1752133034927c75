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
from dataclasses import KW_ONLY, dataclass, field
from heapq import heappop, heappush
from typing import NamedTuple, TypeAlias

from ...compiler.ir import Ir
from ..fold import fold_maps
from ..fold.cuts import Cut, Settled
from ..marking import maps
from ..marking.marking import Marking, Place, Token, TokenKind
from ..marking.plan import Plan
from ..marking.room import room_of
from ..marking.rules import (
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
from ..marking.scopes import Scope
from ..outcomes.step_context import StepError
from .kept_contents import KeptContents
from .likeness import DIFFERS, Likeness, Seen
from .oracle import Answer, Oracle
from .recall import Recall
from .redeciding import Decisions, Unloaded
from .restarting import GIVEN

At: TypeAlias = tuple[int, Scope]
SETTLES, PARKS = 1, 0


class Enacted(NamedTuple):
    """``cut``: the run at the end. ``rerouted``: where it went otherwise than its base (``Decisions``).

    ``unlike``: steps that are not answered for because they would not do the same, and why (``Likeness``). ``recall``:
    what was known, and which maps had another list.
    """

    cut: Cut
    rerouted: Mapping[At, tuple[str, str]]
    unlike: Mapping[At, str]
    recall: Recall


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
        codes = [] if node in self.kept else super().withdraw(node, scope)
        if codes:
            self.born.append((node, scope))
        return codes


@dataclass
class Enacting:
    """A run that is being played again. ``run`` it; where it raises Unloaded, put what is missing into ``contents`` and
    run it on. Deterministic.

    plan: of the new run. stop: nodes that are not answered for. given: outputs that stand for steps, whatever became of
    these. is_rerouting: decisions are made again with the plan's expressions, not taken from the log; those behind a
    given output always are. input: of the new run, None where it is the base's. likeness: what tells which steps would
    do the same; None: all that the oracle knows. seen: is told what the steps read that are answered for. had: see
    ``Decisions``.
    """

    plan: Plan
    oracle: Oracle
    _: KW_ONLY
    stop: frozenset[int] = frozenset()
    given: Mapping[At, bytes] = field(default_factory=dict[At, bytes])
    is_rerouting: bool = False
    input: bytes | None = None
    contents: KeptContents = field(default_factory=KeptContents)
    likeness: Likeness | None = None
    seen: dict[At, Seen] | None = None
    had: Mapping[At, int] = field(default_factory=dict[At, int])
    settled: dict[At, Settled] = field(default_factory=dict[At, Settled])
    unlike: dict[At, str] = field(default_factory=dict[At, str])
    _turns: list[tuple[int, int, At]] = field(default_factory=list[tuple[int, int, At]])
    _has_begun: bool = False

    def __post_init__(self) -> None:
        self.ir: Ir = self.plan.ir
        self.marking = _Stage(self.stop)
        self.marking.signals = {name: [*kept] for name, kept in self.oracle.signals.items()}
        self.marking.input = self.oracle.input if self.input is None else self.input
        self.recall = Recall(self.ir, self.oracle)
        had = self.had if self.likeness is None else None
        reads = (self.plan, self.recall, self.marking, self.given, self.contents)
        self.decisions = Decisions(*reads, is_again=self.is_rerouting, had=had)

    def run(self) -> Enacted:
        """Go on to the end. Raises Unloaded."""
        while self.go_on(self.oracle.seq + 1):
            pass
        return self.enacted()

    def go_on(self, turns: int) -> bool:
        """Go on by so many turns; return whether there are more to come. Raises Unloaded.

        A turn is one token's, and little, but for those that fill or clear a map: they go over all of its items.
        """
        if not self._has_begun:
            self._begin()
        for _ in range(turns):
            if not self._turns:
                break
            turn = heappop(self._turns)
            _, what, at = turn
            try:
                if at in self.marking.tokens:
                    self._move(at, what)
            except Unloaded:
                heappush(self._turns, turn)
                raise
            self.contents.let_go()
        return bool(self._turns)

    def enacted(self) -> Enacted:
        """Return what has come of it, when there is nothing more to come."""
        return Enacted(self.cut(), self.decisions.rerouted, self.unlike, self.recall)

    def _begin(self) -> None:
        self._has_begun = True
        position = 0
        while position >= 0:
            effects, position = start(self.ir, position)
            self._apply(effects)

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
                parked = self.recall.parked(at)
                if parked is not None and self.ir.nodes[at[0]].milestones:
                    heappush(self._turns, (parked, PARKS, at))
                continue
            heappush(self._turns, (self._turn_of(at, token), SETTLES, at))
        self.marking.born.clear()

    def _turn_of(self, at: At, token: Token) -> int:
        """Of what the engine does by itself. What it never came to comes last; maps are filled and emptied at once."""
        last = self.oracle.seq + 1
        if token.kind is TokenKind.SKIP:
            known = self.recall.answer(at)
            return last if known is None else known.seq
        passed = self.recall.gate(at) if token.kind is TokenKind.NORMAL else 0
        return last if passed is None else passed

    def _answer(self, at: At) -> Answer | None:
        """Return what is known of a step that is not to be executed."""
        known = self.recall.answer(at)
        if at in self.given:
            seq = 0 if known is None else known.seq
            return Answer(seq, Settled("SUCCEEDED", 1, GIVEN, output=self.given[at]))
        if at[0] in self.stop or known is None or not self._holds(at, known.settled):
            return None
        if self.ir.nodes[at[0]].is_aggregate and self._map_of(at) in self.recall.relisted:
            return None  # what it gave was made of another list
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
        known = self.recall.answer(aggregate)
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
        known = self.recall.answer(at)
        if known is not None and known.settled.is_withdrawn and self.recall.gate(at) is None:
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
        if self.seen is not None:
            self.seen[at] = Seen(token.live, self.decisions.values(at, token))
        if not self._is_like(at, token, settled):
            return
        kept = self.recall.input(at)
        if kept is not None:
            self.marking.inputs[at] = kept
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

    def _is_like(self, at: At, token: Token, settled: Settled) -> bool:
        """Whether a step would do the same; else it stays on the floor. What is skipped is asked of its condition."""
        if self.likeness is None or settled.status == "SKIPPED":
            return True
        if self.ir.nodes[at[0]].is_aggregate and any(
            maps.below(self.ir, self._map_of(at), place) for place in self.decisions.rerouted
        ):
            why = DIFFERS  # an item went another way
        else:
            why = self.likeness.unlike(at, token.live, self.decisions.values(at, token), self.decisions)
        if why:
            self.unlike[at] = why
        elif self.ir.nodes[at[0]].keeps_input and self.recall.input(at) is None:
            self.marking.inputs[at] = self.decisions.context(at, token).input_bytes()
        return not why

    def _succeed(self, at: At, token: Token, settled: Settled) -> None:
        node = self.ir.nodes[at[0]]
        try:
            decision = self.decisions.decide(at, token, settled)
            items = self.decisions.items(at, token, settled) if node.is_map and decision else None
        except StepError:
            return  # it stays on the floor, and whoever executes it meets the same
        if not decision:
            self.settled[at] = Settled("SKIPPED", 1, "condition_false")
            self._settle(at, died(node, "d"))
            return
        output = settled.output if items is None else items.output
        if output is not None:
            self.marking.outputs[at] = output
        if node.keeps_status:
            self.marking.statuses[at] = b"SUCCEEDED"
        edges = "" if decision == taken(node, self.ir.edges) else decision
        self.settled[at] = settled._replace(edges=edges, items=-1 if items is None else items.number, output=output)
        effects = succeeded(self.ir, *at)
        if items is not None:
            self.marking.take(*at)
            self._apply([*effects, *opened(self.ir, *at, items.number, is_open=False)])
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
        known = self.recall.answer(at)
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
