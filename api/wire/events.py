"""Events of the log as they travel."""

from __future__ import annotations

from typing import Any

import msgspec

from ...compiler.ir import Ir
from ...sdk.events import RecordedEvent
from ...sdk.marking.scopes import parse_scope_key, scope_text
from ...sdk.moments import from_ms, iso_text
from ...sdk.sealing.sealing import shown_error, shown_sayings, shown_text
from .moments import Moment


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """``seq``: from 1, without a gap. ``token``: id of the token, null where it is about the run.

    ``data``: what this type says, see docs/reference/events.md; with ``payload`` where payloads were asked for.
    """

    run_id: str
    seq: int
    type: str
    at: Moment
    node: str | None
    scope: str
    token: str | None
    attempt: int
    worker: str | None
    data: dict[str, Any]


class EventPage(msgspec.Struct, frozen=True, kw_only=True):
    """``next``: the ``after`` of the next page; null where the log has no more for now."""

    run_id: str
    events: list[Event]
    next: int | None


class Numbers:
    """The numbers of an IR's nodes, for scopes. ir: None where it is not known."""

    def __init__(self, ir: Ir | None) -> None:
        self._ir = ir
        self._numbers = {} if ir is None else {node.id: number for number, node in enumerate(ir.nodes)}

    def scope(self, node: str, scope: str) -> str:
        """Return a scope as people read it. scope: as the log has it."""
        number = self._numbers.get(node)
        if self._ir is None or number is None or not scope:
            return scope
        return scope_text(self._ir, number, parse_scope_key(scope))


def event_of(event: RecordedEvent, numbers: Numbers, payload: object = None) -> Event:
    facts = event.facts
    data = data_of(event)
    if payload is not None:
        data["payload"] = payload
    return Event(
        run_id=event.run_id,
        seq=event.seq,
        type=facts.type,
        at=iso_text(from_ms(event.at_ms)),
        node=facts.node or None,
        scope=numbers.scope(facts.node, facts.scope),
        token=f"{event.run_id}/{facts.node}/{facts.scope}" if facts.node else None,
        attempt=facts.attempt,
        worker=facts.worker or None,
        data=data,
    )


def data_of(event: RecordedEvent) -> dict[str, Any]:
    """Return what an event says beside who, where and when."""
    facts = event.facts
    data: dict[str, Any] = shown_sayings(facts.data)
    for name in ("edges", "loop", "reason", "ms"):
        value = getattr(facts, name)
        if value:
            data[name] = shown_text(value) if name == "reason" else value
    if facts.due:
        data["due"] = iso_text(from_ms(facts.due))
    if facts.error is not None:
        data["error"] = msgspec.to_builtins(shown_error(facts.error))
    return data
