"""The fold of what a run takes over from the one that it continues, told at its beginning. Pure.

After ``run.started`` the log says what the other run had come to: its settled steps, half-filled joins, values that
had come, living tokens, and last, with ``run.restored``, the rest. All tokens are on the floor then; those that wait
are parked again by the ``step.waiting`` that follow, as by their own nodes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias, cast

import msgspec

from ...compiler.ir import Ir
from ..corrupt import Corrupt
from ..events import Facts, RecordedEvent
from ..marking.joins import JoinRecord
from ..marking.map_plans import read_ends, read_record
from ..marking.marking import Marking, Mutex, Place, RunPhase, Token, TokenKind
from ..marking.scopes import Scope, parse_token_key
from .emptied import value_in
from .restarted_ends import PHASES

At: TypeAlias = tuple[int, Scope]

TYPES = frozenset("step.reused value.restored join.restored fanout.restored token.restored run.restored".split())
"""Events that only a run has that continues another one, and only at its beginning."""
ALLOWED = TYPES | {"step.input_kept"}


def restored(ir: Ir, marking: Marking, at: At, event: RecordedEvent) -> None:
    """Apply one of ``TYPES``. at: what it is about. Raises Corrupt."""
    kind = event.facts.type
    if kind in ("step.reused", "join.restored", "fanout.restored") and at[0] < 0:
        raise Corrupt("it names no node")
    match kind:
        case "step.reused":
            _step_reused(ir, marking, at, event)
        case "value.restored":
            _value_restored(ir, marking, at, event)
        case "join.restored":
            _join_restored(ir, marking, at, event)
        case "fanout.restored":
            _map_restored(marking, at, event)
        case "token.restored":
            _token_restored(marking, at, event.facts)
        case _:
            _run_restored(marking, event.facts)


def _step_reused(ir: Ir, marking: Marking, at: At, event: RecordedEvent) -> None:
    """A step was settled in the other run: its output, error and status are there, but where the run had forgotten
    them, as it does of items whose results are collected.
    """
    facts = event.facts
    if at in marking.tokens:
        raise Corrupt("a step that is settled has no token")
    if event.payload is not None and not facts.data.get("forgotten"):
        marking.outputs[at] = event.payload
    if facts.error is not None:
        marking.errors[at] = msgspec.json.encode(facts.error)
    if facts.attempt and ir.nodes[at[0]].keeps_status and not facts.data.get("forgotten"):
        marking.statuses[at] = str(facts.data.get("status", "")).encode()


def _value_restored(ir: Ir, marking: Marking, at: At, event: RecordedEvent) -> None:
    """What a release has brought to a token; with a name, a signal that came early; or what a living one has said,
    or how it has ended.
    """
    value, name, number = value_in(event), event.facts.data.get("name"), event.facts.data.get("number")
    if isinstance(name, str) and isinstance(number, int):
        marking.signals.setdefault(name, []).append((number, value))
    elif ended := event.facts.data.get("ended"):
        if event.facts.error is not None:
            marking.errors[at] = msgspec.json.encode(event.facts.error)
        if ir.nodes[at[0]].keeps_status:
            marking.statuses[at] = str(ended).encode()
    elif event.facts.data.get("output"):
        marking.outputs[at] = value
    else:
        marking.values[at] = value


def _join_restored(ir: Ir, marking: Marking, at: At, event: RecordedEvent) -> None:
    """A join is half-filled, or settled with arrivals still to come."""
    node, data = ir.nodes[at[0]], event.facts.data
    if node.is_aggregate:
        at = at[0], (*at[1], _number(data, "item"))
    if (node.join is None and not node.is_gate and not node.is_aggregate) or at in marking.joins:
        raise Corrupt("no such join can be half-filled")
    marking.joins[at] = JoinRecord(
        live=_number(data, "live"),
        dead=_number(data, "dead"),
        failed=_number(data, "failed"),
        is_settled=bool(data.get("settled")),
        told=str(data.get("told", "")),
        slots=[int(slot) for slot in str(data.get("slots", "")).split()],
    )


def _map_restored(marking: Marking, at: At, event: RecordedEvent) -> None:
    """A map has items: its record, how the items of a chunk ended and what they gave, or an item's first error."""
    data, error = event.facts.data, event.facts.error
    try:
        if "record" in data:
            marking.maps[at] = read_record(str(data["record"]))
        elif "chunk" in data:
            place = at[0], (*at[1], _number(data, "chunk"))
            if "ends" in data:
                marking.chunks[place] = read_ends(str(data["ends"]))
            if event.payload is not None:
                marking.results[place] = event.payload
        elif error is not None:
            marking.item_errors[at[0], (*at[1], _number(data, "item"))] = msgspec.json.encode(error)
    except (ValueError, StopIteration) as cause:
        raise Corrupt("nothing that a map can be") from cause


def _token_restored(marking: Marking, at: At, facts: Facts) -> None:
    """A token lives. With a due time it is in the timers; the one that closes the run is held.

    In a bounded run what is about to wait takes no room: ``waits``.
    """
    try:
        kind = TokenKind(str(facts.data.get("kind", TokenKind.NORMAL)))
    except ValueError as error:
        raise Corrupt("there is no such kind of token") from error
    is_held = kind is TokenKind.CLOSING and not facts.data.get("released")
    place = Place.HELD if is_held else Place.TIMER if facts.due else Place.FLOOR
    live, extra = str(facts.data.get("live", "")), str(facts.data.get("extra", ""))
    attempt = facts.attempt or 1
    token = Token(kind=kind, attempt=attempt, live=live, extra=extra, place=place, due=facts.due)
    marking.put(*at, token)
    if facts.data.get("waits"):
        marking.leave(at)
        token.place = Place.FLOOR


def _run_restored(marking: Marking, facts: Facts) -> None:
    """Everything is told; what is left are small things of the run as a whole."""
    phase = str(facts.data.get("phase", ""))
    if phase and phase not in PHASES:
        raise Corrupt("there is no such end")
    marking.phase = PHASES.get(phase, marking.phase)
    if marking.room is not None and marking.phase is RunPhase.DRAINING:
        for at in marking.room.open():
            marking.tokens[at].place = Place.FLOOR
    marking.completed = [parse_token_key(str(key)) for key in _list(facts.data, "completed")]
    marking.marks = {parse_token_key(str(key)) for key in _list(facts.data, "marks")}
    marking.last = {parse_token_key(key): int(str(index)) for key, index in _object(facts.data, "last").items()}
    marking.mutexes = {name: Mutex(parse_token_key(str(key))) for name, key in _object(facts.data, "mutexes").items()}
    marking.reason = facts.reason
    marking.error = None if facts.error is None else msgspec.json.encode(facts.error)


def _number(data: Mapping[str, object], name: str) -> int:
    value = data.get(name, 0)
    if not isinstance(value, int):
        raise Corrupt(f"{name} is no number")
    return value


def _list(data: Mapping[str, object], name: str) -> list[object]:
    value = data.get(name, [])
    return cast("list[object]", value) if isinstance(value, list) else []


def _object(data: Mapping[str, object], name: str) -> dict[str, object]:
    value = data.get(name, {})
    return cast("dict[str, object]", value) if isinstance(value, dict) else {}
