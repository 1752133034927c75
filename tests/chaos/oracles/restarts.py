"""Runs that go on from others: what such a run says that it takes over, and whether that is what the other one had."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from chaos.oracles.broken import Broken, GaveUp
from chaos.oracles.decisions import Cursor, read_cursor
from chaos.oracles.finding import Finding
from chaos.oracles.graph import Scope
from chaos.oracles.joins import Record
from chaos.oracles.maps import OpenMap, read_map

if TYPE_CHECKING:
    from chaos.oracles.log import Event
    from chaos.oracles.walk import Walk

Place = tuple[int, Scope]
TYPES = frozenset("step.reused value.restored join.restored fanout.restored token.restored run.restored".split())
SETTLING = frozenset("step.succeeded step.failed step.skipped path.died step.reused".split())
"""After these a step is settled."""
TOLD = {"b": "back", "x": "exit", "": ""}
STATES = {"": "ready", "n": "ready", "k": "skip", "c": "cursor"} | dict.fromkeys("xfgzuw", "ready")
"""By the kind of the token: a step's, a skip, one whose effects go on, a run's closing one, a map's own, a waker, a
sweep.
"""
START, WAKER = -1, -4


@dataclass
class Taken:
    """What a run had when all was told. ``base_run`` after its event ``base_seq`` is where it comes from.

    ``settled``: steps that are not executed again; ``values``: the outputs that were told.
    """

    base_run: str
    base_seq: int
    is_told: bool = False
    living: dict[Place, str] = field(default_factory=dict[Place, str])
    cursors: dict[Place, Cursor] = field(default_factory=dict[Place, Cursor])
    joins: dict[Place, Record] = field(default_factory=dict[Place, Record])
    maps: dict[Place, OpenMap] = field(default_factory=dict[Place, OpenMap])
    closed: set[Place] = field(default_factory=set[Place])
    settled: set[Place] = field(default_factory=set[Place])
    values: dict[Place, bytes] = field(default_factory=dict[Place, bytes])


def check_order(walk: Walk, kind: str) -> None:
    """It is told once, at the beginning, and before anything else."""
    is_being_told = walk.taken is not None and not walk.taken.is_told
    if (kind in TYPES) > is_being_told or (is_being_told and kind not in TYPES | {"step.input_kept"}):
        raise Broken("O3", "a run is told once, at its beginning, what it takes over")


def take_over(walk: Walk, event: Event, place: Place) -> None:
    """Take one of ``TYPES``."""
    taken, data = walk.taken, event.facts.get("data", {})
    assert taken is not None
    match event.type:
        case "step.reused":
            if place in walk.living or walk.consumed[place]:
                raise Broken("O2", f"a step is taken over twice, or both settled and not: {place}")
            walk.consumed[place] += 1
            _keep(walk, taken, place, event)
        case "value.restored":
            if data.get("output"):
                _keep(walk, taken, place, event)
        case "join.restored":
            _take_join(walk, place, data)
        case "fanout.restored":
            _take_map(walk, place, data)
        case "token.restored":
            _take_token(walk, place, event)
        case _:
            walk.reached |= {_place(str(key)) for key in data.get("marks", [])}
            walk.is_draining = bool(data.get("phase"))
            _finish(walk, taken)


def _keep(walk: Walk, taken: Taken, place: Place, event: Event) -> None:
    if event.stored is not None:
        walk.outputs[place] = taken.values[place] = event.stored


def _take_join(walk: Walk, place: Place, data: dict[str, Any]) -> None:
    node = walk.graph.nodes[place[0]]
    at = (place[0], (*place[1], int(data.get("item", 0)))) if node.is_aggregate else place
    if at in walk.joins or not (node.join or node.is_gate or node.is_aggregate):
        raise Broken("O3", f"no join can be half-filled at {at}")
    live, dead, failed = (int(data.get(name, 0)) for name in ("live", "dead", "failed"))
    walk.joins[at] = Record(live, dead, failed, bool(data.get("settled")), TOLD[str(data.get("told", ""))])


def _take_map(walk: Walk, place: Place, data: dict[str, Any]) -> None:
    if "record" in data:
        known = read_map(str(data["record"]))
        if known is None:
            walk.closed.add(place)
        else:
            walk.opened[place] = known
    elif "ends" in data and place in walk.opened:
        walk.opened[place].ends[int(data["chunk"])] = len(str(data["ends"]).split(";"))


def _take_token(walk: Walk, place: Place, event: Event) -> None:
    data: dict[str, Any] = event.facts.get("data", {})
    kind, extra = str(data.get("kind", "")), str(data.get("extra", ""))
    if kind not in STATES:
        raise GaveUp(f"it takes over a token of the kind {kind!r}")
    if place in walk.living or walk.consumed[place]:
        raise Broken("O2", f"a token is taken over twice, or both living and settled: {place}")
    is_parked = event.facts.get("due") or (kind == "x" and not data.get("released"))
    walk.living[place] = "parked" if is_parked else STATES[kind]
    if place[0] == START:
        position = int(extra.partition("@")[0])
        walk.living[place], walk.cursors[place] = "ready", Cursor((), "", position)
    elif STATES[kind] == "cursor":
        walk.cursors[place] = read_cursor(extra)


def _finish(walk: Walk, taken: Taken) -> None:
    taken.is_told = True
    taken.living, taken.joins, taken.maps = dict(walk.living), deepcopy(walk.joins), deepcopy(walk.opened)
    taken.cursors = dict(walk.cursors)
    taken.closed, taken.settled = set(walk.closed), set(walk.settled)


def check_taken(run_id: str, taken: Taken, base: Walk) -> Iterator[Finding]:
    """O5: what a run has taken over is what its base run had. base: walked up to where it goes on from."""
    living = (_without_waker(taken.living), _without_waker(base.living))
    for what, found, wanted in (
        ("tokens", *living),
        ("cursors", _under_way(taken.cursors), _under_way(base.cursors)),
        ("joins", taken.joins, base.joins),
        ("maps", {at: one.text for at, one in taken.maps.items()}, {at: one.text for at, one in base.opened.items()}),
        ("closed maps", dict.fromkeys(taken.closed), dict.fromkeys(base.closed)),
        ("steps", dict.fromkeys(taken.settled), dict.fromkeys(_steps(base))),
    ):
        if found != wanted:
            more = sorted(at for at in found if at not in wanted or found[at] != wanted[at])
            less = sorted(at for at in wanted if at not in found)
            told = f"its {what} are not those of {taken.base_run} after event {taken.base_seq}"
            yield Finding("O5", run_id, f"{told}: {more[:3]} too many or other, {less[:3]} missing")
    for place, value in taken.values.items():
        if base.outputs.get(place) != value:
            yield Finding("O5", run_id, f"the output of {place} is another one than in {taken.base_run}")


def _without_waker(living: dict[Place, str]) -> dict[Place, str]:
    """A waker is emitted anew where it is needed. What waits is told as ready, until its wait is told."""
    return {at: "skip" if state == "skip" else "" for at, state in living.items() if at[0] != WAKER}


def _under_way(cursors: dict[Place, Cursor]) -> dict[Place, Cursor]:
    """Without a start that has emitted nothing yet."""
    return {at: cursor for at, cursor in cursors.items() if cursor.position}


def _steps(base: Walk) -> list[Place]:
    """Settled steps; a gate is none."""
    return [at for at in base.settled if not base.graph.nodes[at[0]].is_gate and at not in base.living]


def _place(key: str) -> Place:
    number, _, scope = key.partition(":")
    return int(number), tuple(int(index) for index in scope.split(".")) if scope else ()
