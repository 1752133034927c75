"""Cuts: a run at one of its events, with what its marking does not say of its steps; and where it came to a bad end.

Pure. ``Cutter`` is a fold in progress that can be stopped anywhere; ``Ending`` finds the event before which a run that
failed, was cancelled or ran out of time was still sound.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from ...compiler.ir import Ir
from ..corrupt import Corrupt
from ..events import Facts, RecordedEvent
from ..marking.marking import Marking, RunPhase, TokenKind
from ..marking.rules import failing_item, reaches_milestones
from ..marking.scopes import Scope, parse_scope_key
from .fold import Folder
from .migrated import MIGRATED

At = tuple[int, Scope]
STATUS = {
    "step.succeeded": "SUCCEEDED",
    "step.failed": "FAILED",
    "step.skipped": "SKIPPED",
    "path.died": "SKIPPED",
}
"""Events that settle a step, and how."""
PAYING = frozenset({"step.succeeded", "step.input_kept", "run.started"})
"""Events that have a payload, unless it was emptied."""

INTRODUCING = frozenset({"approval.granted", "approval.rejected", "step.input_kept"})
"""Events that are said before a step's own, in its transition."""


class Settled(NamedTuple):
    """What became of a step. ``status``: SUCCEEDED, FAILED or SKIPPED; ``attempt``: 0 where a dead path went by.

    ``edges``, ``loop``: as its event said. ``items``: of a map, how many it has; else -1. ``is_withdrawn``: its token
    was taken away while it lived. ``has_waited``: so that others ran beside it. ``output``: what it gave, where that is
    known though the run has forgotten it.
    """

    status: str
    attempt: int
    reason: str
    edges: str = ""
    loop: str = ""
    items: int = -1
    is_withdrawn: bool = False
    has_waited: bool = False
    output: bytes | None = None

    @property
    def said(self) -> dict[str, object]:
        """What else the log says of it, where it is taken over."""
        items: dict[str, object] = {} if self.items < 0 else {"items": self.items}
        told = {"withdrawn": self.is_withdrawn, "waited": self.has_waited}
        return items | {name: True for name, is_so in told.items() if is_so}


def settled_by(facts: Facts, *, is_withdrawn: bool = False, has_waited: bool = False) -> Settled | None:
    """Return what became of a step by an event about it, None where that settles nothing.

    is_withdrawn, has_waited: what the events before it have said.
    """
    said = facts.data
    items = said.get("items", -1)
    if facts.type in STATUS:
        status = STATUS[facts.type]
    elif facts.type == "step.reused":
        status = str(said.get("status"))
        is_withdrawn, has_waited = bool(said.get("withdrawn")), bool(said.get("waited"))
    else:
        return None
    is_gone = is_withdrawn and not facts.attempt
    count = items if isinstance(items, int) else -1
    return Settled(status, facts.attempt, facts.reason, facts.edges, facts.loop, count, is_gone, has_waited)


@dataclass(frozen=True, kw_only=True)
class Cut:
    """A run after event ``seq``, which came at ``at_ms``.

    ``settled``: in the order of settling. ``parked``: what the log said of each token that waits, in the order of
    parking. ``emptied``: steps whose output or input is not stored any more.
    """

    seq: int
    at_ms: int
    marking: Marking
    settled: dict[At, Settled]
    parked: dict[At, Facts]
    emptied: set[At]


@dataclass
class Cutter:
    """``add`` events in order, then ``cut``. For one use. ``ir``: that the run began with. ``irs``: see ``Folder``."""

    ir: Ir
    irs: Mapping[str, Ir] = field(default_factory=dict[str, Ir])
    _at_ms: int = 0
    _settled: dict[At, Settled] = field(default_factory=dict[At, Settled])
    _parked: dict[At, Facts] = field(default_factory=dict[At, Facts])
    _emptied: set[At] = field(default_factory=set[At])
    _waits: int = 0
    _is_introduced: bool = False
    _withdrawn: set[At] = field(default_factory=set[At])
    _waited: set[At] = field(default_factory=set[At])

    def __post_init__(self) -> None:
        self._folder = Folder(self.ir, irs=self.irs)
        self._numbers = numbers_of(self.ir)

    @property
    def is_whole(self) -> bool:
        """Whether a transition is complete here, or all that a restarted run begins with."""
        return self._folder.is_between and not self._waits and not self._is_introduced

    def add(self, event: RecordedEvent) -> None:
        """Raises Corrupt."""
        self._folder.add(event)
        if event.facts.type == MIGRATED:
            self.ir = self._folder.ir
            self._numbers = numbers_of(self.ir)
        elif event.facts.type == "run.restored":
            waits = event.facts.data.get("waits")
            self._waits = waits if isinstance(waits, int) else 0
        self._at_ms = event.at_ms
        facts = event.facts
        self._is_introduced = facts.type in INTRODUCING
        at = place_of(self._numbers, facts)
        if at is None:
            return
        settled = settled_by(facts, is_withdrawn=at in self._withdrawn, has_waited=at in self._waited)
        if settled is not None:
            self._settled[at] = settled
        elif facts.type == "step.withdrawn":
            self._withdrawn.add(at)
        elif facts.type == "step.waiting":
            self._parked.pop(at, None)
            self._parked[at] = facts
            self._waits -= bool(self._waits)
            if reaches_milestones(self.ir.nodes[at[0]], facts.reason):
                self._waited.add(at)
        if event.payload is None and (facts.type in PAYING or facts.data.get("status") == "SUCCEEDED"):
            self._emptied.add(at)

    def cut(self) -> Cut:
        """Return the run as it is now. Raises Corrupt where the rules demand more of the transition."""
        if not self._folder.is_between:
            raise Corrupt(f"event {self._folder.marking.seq} is one of several that belong together")
        marking = self._folder.marking
        if marking.phase is RunPhase.HALTED and self._folder.halted_from is not None:
            marking.phase = self._folder.halted_from  # what was damaged in Redis is whole in the log
        return Cut(
            seq=marking.seq,
            at_ms=self._at_ms,
            marking=marking,
            settled=self._settled,
            parked={at: facts for at, facts in self._parked.items() if at in marking.tokens},
            emptied=self._emptied,
        )


@dataclass
class Ending:
    """How a run came to its end: ``add`` all of its events.

    ``seq``: of the event by which it began to end otherwise than well; 0 where it did not. Where that is an aggregate
    that failed by its items, it is the first of these that failed. ``failed``: steps that failed for good from there
    on. ``undone``: steps whose compensation has begun. ``is_of_items``: it was so, and nothing else was under way.
    ``folder``: of somebody who adds the events to it as well: he calls ``is_alone`` before that, and ``hear`` after it.
    """

    ir: Ir
    irs: Mapping[str, Ir] = field(default_factory=dict[str, Ir])
    folder: Folder | None = None
    seq: int = 0
    undone: list[At] = field(default_factory=list[At])
    is_of_items: bool = False
    _failures: dict[At, int] = field(default_factory=dict[At, int])
    _items: dict[At, int] = field(default_factory=dict[At, int])

    def __post_init__(self) -> None:
        self._folder = self.folder or Folder(self.ir, irs=self.irs)
        self._numbers = numbers_of(self.ir)

    @property
    def failed(self) -> list[At]:
        return [at for at, seq in self._failures.items() if seq >= self.seq]

    def add(self, event: RecordedEvent) -> None:
        """Raises Corrupt."""
        is_alone = self.is_alone(event)
        self._folder.add(event)
        self.hear(event, is_alone=is_alone)

    def is_alone(self, event: RecordedEvent) -> bool:
        """Whether an event that comes next is the failure of an aggregate beside which nothing is under way."""
        facts, marking = event.facts, self._folder.marking
        return facts.type == "step.failed" and self._is_aggregate(facts) and _living(marking) == 1

    def hear(self, event: RecordedEvent, *, is_alone: bool) -> None:
        """Follow an event that has been folded."""
        if event.facts.type == MIGRATED:
            self.ir = self._folder.ir
            self._numbers = numbers_of(self.ir)
        at, cause = place_of(self._numbers, event.facts), event.seq
        if at is not None and event.facts.type == "step.failed":
            cause = self._cause(at, event.seq)
        elif at is not None and event.facts.type == "compensation.started":
            self.undone.append(at)
        if self._folder.marking.reason and not self.seq:
            self.seq = cause
            self.is_of_items = is_alone and cause < event.seq

    def _is_aggregate(self, facts: Facts) -> bool:
        at = place_of(self._numbers, facts)
        return at is not None and self.ir.nodes[at[0]].is_aggregate

    def _cause(self, at: At, seq: int) -> int:
        """Return where the failure of a step began: of an aggregate with its map's first failed item."""
        self._failures[at] = seq
        node = self.ir.nodes[at[0]]
        if node.is_aggregate:
            seq = self._items.get((self.ir.regions[node.map_region].node, at[1]), seq)
        item = failing_item(self.ir, *at)
        if item is not None:
            self._items.setdefault((item[0], item[1][:-1]), seq)
        return seq


def _living(marking: Marking) -> int:
    return sum(token.kind is TokenKind.NORMAL for token in marking.tokens.values())


def with_input(cut: Cut, input: bytes) -> Cut:
    """Return the cut of a run with another input from there on."""
    return replace(cut, marking=replace(cut.marking, input=input))


def numbers_of(ir: Ir) -> dict[str, int]:
    return {node.id: number for number, node in enumerate(ir.nodes)}


def place_of(numbers: dict[str, int], facts: Facts) -> At | None:
    """Return the node and scope that an event is about, None where it is about the run or a token of the engine."""
    number = numbers.get(facts.node)
    return None if number is None else (number, parse_scope_key(facts.scope))
