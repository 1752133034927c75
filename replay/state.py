"""The state of a run at any event, from the log alone: as a marking, and as JSON for people.

Nothing here reads a database; ``sdk.stores.log.read_events`` brings the events.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from ..compiler.ir import Ir
from ..sdk.events import RecordedEvent
from ..sdk.fold.emptied import EMPTIED
from ..sdk.fold.fold import Folder
from ..sdk.marking.marking import WOKEN, Marking, Place, RunPhase, Token, TokenKind
from ..sdk.marking.scopes import NODE_NAMES, SWEEP_NODE, Scope, parse_scope_key, scope_text
from .steps import StepStates

KIND = {
    TokenKind.NORMAL: "step",
    TokenKind.SKIP: "skip",
    TokenKind.CURSOR: "cursor",
    TokenKind.SWEEP: "sweep",
    TokenKind.CLOSING: "closing",
    TokenKind.WAKER: "waker",
    TokenKind.FILL: "fill",
    TokenKind.COLLECT: "collect",
    TokenKind.CLEAR: "clear",
}
ENDED = {"": "COMPLETED", "cancelled": "CANCELLED", "timed_out": "TIMED_OUT", "expired": "TIMED_OUT"}
OUTER = {**NODE_NAMES, SWEEP_NODE: "(sweep)"}
At = tuple[int, Scope]


class NoSuchEvent(Exception):
    """The log of the run has no event of that number. ``last``: the number of its last one."""

    def __init__(self, seq: int, last: int) -> None:
        super().__init__(f"there is no event {seq}: the run has events 1 to {last}")
        self.last = last


class StateReader:
    """A state that follows the events of a run, as they are read. ``seq``: of the last one. ir, irs: see ``fold``."""

    def __init__(self, ir: Ir, irs: Mapping[str, Ir] | None = None) -> None:
        self._folder = Folder(ir, irs=irs)
        self._steps = StepStates()

    @property
    def marking(self) -> Marking:
        return self._folder.marking

    @property
    def seq(self) -> int:
        return self.marking.seq

    def add(self, event: RecordedEvent) -> None:
        """Raises Corrupt."""
        self._folder.add(event)
        self._steps.add(event)

    def state(self) -> dict[str, Any]:
        """Return the state as ``marking_to_json`` shows it, with what only the events know."""
        ir = self._folder.ir
        numbers = {node.id: number for number, node in enumerate(ir.nodes)}
        known = {(numbers[key.node], parse_scope_key(key.scope)): one.status for key, one in self._steps.all.items()}
        return marking_to_json(ir, self.marking, status=self._folder.status, steps=known)


def marking_at(ir: Ir, events: Iterable[RecordedEvent], seq: int, irs: Mapping[str, Ir] | None = None) -> Marking:
    """Return the marking after event ``seq`` (0: before the first). ir, irs: see ``fold``.

    Raises NoSuchEvent, Corrupt.
    """
    return _read_to(ir, events, seq, irs).marking


def state_at(ir: Ir, events: Iterable[RecordedEvent], seq: int, irs: Mapping[str, Ir] | None = None) -> dict[str, Any]:
    """Return the state after event ``seq``, see ``StateReader``. Raises NoSuchEvent, Corrupt."""
    return _read_to(ir, events, seq, irs).state()


def _read_to(ir: Ir, events: Iterable[RecordedEvent], seq: int, irs: Mapping[str, Ir] | None) -> StateReader:
    reader = StateReader(ir, irs)
    for event in events:
        if event.seq > seq:
            break
        reader.add(event)
    if reader.seq != seq:
        raise NoSuchEvent(seq, reader.seq)
    return reader


def marking_to_json(
    ir: Ir, marking: Marking, *, status: str = "", steps: dict[At, str] | None = None
) -> dict[str, Any]:
    """Return a marking as a JSON object. status, steps: what the fold knows beyond the marking.

    Without ``steps``, what a marking does not keep is told from what it does: a step with an output has succeeded.
    Scopes are as people read them; steps that have not been heard of are PENDING, or SKIPPED when the run has ended.
    """
    return {
        "seq": marking.seq,
        "status": status or _status(marking),
        "phase": marking.phase.name,
        "reason": marking.reason,
        "counter": marking.counter,
        "input": _value(marking.input),
        "tokens": [_token(ir, place, token) for place, token in sorted(marking.tokens.items())],
        "joins": [_join(ir, place, marking) for place in sorted(marking.joins)],
        "steps": _steps(ir, marking, steps or {}),
        "outputs": _values(ir, marking.outputs),
        "errors": _values(ir, marking.errors),
    }


def _status(marking: Marking) -> str:
    if marking.phase is RunPhase.ENDED:
        return ENDED.get(marking.reason, "FAILED")
    return "RUNNING" if marking.seq else "PENDING"


def _token(ir: Ir, place: At, token: Token) -> dict[str, Any]:
    shown: dict[str, Any] = {"node": _node(ir, place[0]), "scope": scope_text(ir, *place), "kind": KIND[token.kind]}
    if token.attempt > 1:
        shown["attempt"] = token.attempt
    if token.due:
        shown["due"] = token.due
    if token.waits:
        shown["waits_for"] = list(token.waits)
    if token.kind is TokenKind.SKIP:
        shown["because"] = "failed" if token.extra == "f" else "dead"
    return shown


def _join(ir: Ir, place: At, marking: Marking) -> dict[str, Any]:
    record, node = marking.joins[place], ir.nodes[place[0]]
    shown: dict[str, Any] = {
        "node": node.id,
        "scope": scope_text(ir, *place),
        "live": record.live,
        "dead": record.dead,
        "failed": record.failed,
        "arity": 2 if node.is_gate else len(node.ins),
        "settled": record.is_settled,
    }
    if record.told:
        shown["loop"] = "back" if record.told == "b" else "ends"
    return shown


def _steps(ir: Ir, marking: Marking, known: dict[At, str]) -> list[dict[str, Any]]:
    statuses: dict[At, str] = dict.fromkeys(marking.outputs, "SUCCEEDED")
    statuses.update(dict.fromkeys(marking.errors, "FAILED"))
    statuses.update(known)
    for place, token in marking.tokens.items():
        if place[0] >= 0 and token.kind is TokenKind.NORMAL:
            is_running = statuses.get(place) == "RUNNING"
            is_retrying = token.place is Place.TIMER and not token.extra.endswith(WOKEN)
            statuses[place] = (
                "RETRYING" if is_retrying else "WAITING" if token.place else "RUNNING" if is_running else "READY"
            )
    seen = {number for number, _ in statuses}
    rest = "SKIPPED" if marking.phase is RunPhase.ENDED else "PENDING"
    for number, node in enumerate(ir.nodes):
        if number not in seen and not node.is_gate:
            statuses[number, ()] = rest
    return [
        {"node": ir.nodes[number].id, "scope": _scope(ir, number, scope), "status": status}
        for (number, scope), status in sorted(statuses.items())
        if not ir.nodes[number].is_gate
    ]


def _scope(ir: Ir, number: int, scope: Scope) -> str:
    """The scope as people read it; "" for a node in a region that was never entered."""
    return scope_text(ir, number, scope) if len(scope) == len(ir.nodes[number].levels) else ""


def _values(ir: Ir, values: dict[At, bytes]) -> list[dict[str, Any]]:
    return [
        {"node": ir.nodes[number].id, "scope": scope_text(ir, number, scope), "value": _value(content)}
        for (number, scope), content in sorted(values.items())
    ]


def _value(content: bytes) -> Any:
    """The JSON value; a payload that is stored apart stays a reference, and what was emptied is told as that."""
    if content is EMPTIED:
        return {"emptied": True}
    return {"reference": content.decode()} if content.startswith(b"@") else msgspec.json.decode(content)


def _node(ir: Ir, number: int) -> str:
    return OUTER[number] if number < 0 else ir.nodes[number].id
