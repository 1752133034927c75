"""Outbox entries, read: stream fields become transitions, and a script's codes become facts.

The format is written down in ``sdk/events.py``. Pure: no I/O.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from ...sdk.events import BELOW_CLOSED, Facts
from ...sdk.fold.migrated import MIGRATED_CODE, read_migrated
from ...sdk.marking.marking import EXPIRED
from ...sdk.marking.scopes import NODE_NAMES
from ...sdk.moments import from_ms

HEAD = b"h"
QUARANTINED = "event.quarantined"


class LogDiverged(Exception):
    """Redis and the log tell different stories: it lost data or was rewound. Never skipped; recovery must decide.

    kind: cursor (the last recorded entry is gone or changed), epoch, partition_seq, run_seq, content, malformed.
    """

    def __init__(self, kind: str, partition: int, entry_id: str, message: str) -> None:
        super().__init__(f"partition {partition}, entry {entry_id}: {message}")
        self.kind = kind
        self.partition = partition
        self.entry_id = entry_id


@dataclass(frozen=True, slots=True)
class Transition:
    """The events of one transition: ``count`` in ``blob``, and after them one for each of ``codes``."""

    run_id: str
    first_seq: int
    count: int
    codes: str
    blob: bytes


@dataclass(frozen=True, slots=True)
class Entry:
    """One outbox entry. ``at``: Redis time of the call that wrote it."""

    id: str
    epoch: int
    seq: int
    at_ms: int
    at: datetime
    transitions: list[Transition]
    fields: Mapping[bytes, bytes]


def read_entry(partition: int, entry_id: bytes, fields: Mapping[bytes, bytes]) -> Entry:
    """Raises LogDiverged (malformed): who cannot read the head cannot tell what follows what."""
    name = entry_id.decode()
    try:
        epoch, seq, at_ms = map(int, fields[HEAD].split(b" "))
        at = from_ms(at_ms)
        transitions: list[Transition] = []
        for field, blob in fields.items():
            if field == HEAD:
                continue
            run_id, first_seq, count, codes = field.decode().rsplit("|", 3)
            transitions.append(Transition(run_id, int(first_seq), int(count), codes, blob))
    except (KeyError, ValueError, OverflowError) as cause:
        raise LogDiverged("malformed", partition, name, f"not an outbox entry: {cause!r}") from cause
    return Entry(name, epoch, seq, at_ms, at, transitions, fields)


def events_in(entries: Iterable[Entry]) -> int:
    """Return how many events the entries tell, but for those of codes."""
    return sum(transition.count for entry in entries for transition in entry.transitions)


def read_code(code: str, node_ids: Sequence[str]) -> Facts:
    """Return what a script said of itself. node_ids: of the run's IR. Raises ValueError where it is no code."""
    letter, rest = code[:1], code[1:]
    if letter == "Z":
        return Facts(type="run.halted", reason="corrupt", data={"unfinished": int(rest)})
    if letter == "H" and rest.isalpha():
        return Facts(type="run.halted", reason=rest)
    if letter == "X" and rest.replace("_", "").isalpha():
        return Facts(type="run.draining", reason=rest)
    if code in _OF_RUNS:
        return Facts(type=_OF_RUNS[code])
    if letter == MIGRATED_CODE:
        return read_migrated(rest)
    number, _, rest = rest.partition(":")
    node = _node(int(number), node_ids)
    scope, _, extra = rest.partition(":")
    match letter:
        case "F":
            return Facts(type="join.fired", node=node, scope=scope, data={"live": extra})
        case "I" if extra:
            return Facts(type="fanout.completed", node=node, scope=scope, data={"live": extra})
        case "E" if not extra:
            return Facts(type="token.dropped", node=node, scope=scope, reason=BELOW_CLOSED)
        case "D" if extra in ("d", "f"):
            return Facts(type="join.died", node=node, scope=scope, reason="failed" if extra == "f" else "dead")
        case "P":
            return Facts(type="timer.set", node=node, scope=scope, due=int(extra))
        case "T":
            return Facts(type="timer.released", node=node, scope=scope)
        case "K":
            return Facts(type="token.claimed", node=node, scope=scope, data={"deliveries": int(extra)})
        case "L" if extra:
            reason = "expired" if extra == EXPIRED else "signal"
            return Facts(type="token.released", node=node, scope=scope, reason=reason, data={"word": extra})
        case _ if letter in _OF_TOKENS and not extra:
            return Facts(type=_OF_TOKENS[letter], node=node, scope=scope)
        case _:
            raise ValueError(f"no such code: {code!r}")


_OF_RUNS = {"R": "run.rebuilt", "S": "run.swept", "U": "run.woken", "B": "closing.released", "N": "command.ignored"}
_OF_TOKENS = {
    "W": "token.withdrawn",
    "G": "mutex.granted",
    "g": "slot.granted",
    "b": "budget.granted",
    "e": "budget.refused",
    "V": "step.withdrawn",
    "J": "token.forced",
    "O": "token.overdue",
    "Y": "approval.escalated",
    "A": "fanout.closed",
    "C": "fanout.dropped",
    "M": "fanout.swept",
    "Q": "join.dropped",
}


def quarantine(reason: str, raw: bytes, payload: bytes | None = None, *, part: int = 0) -> Facts:
    """Return the facts that stand where an event could not. raw: what came; part: place in an unreadable blob."""
    data: dict[str, object] = {"raw": base64.b64encode(raw).decode()}
    if payload is not None:
        data["payload"] = base64.b64encode(payload).decode()
    if part:
        data = {"part": part}
    return Facts(type=QUARANTINED, reason=reason.replace("\x00", ""), data=data)


def _node(number: int, node_ids: Sequence[str]) -> str:
    if number in NODE_NAMES:
        return NODE_NAMES[number]
    if not 0 <= number < len(node_ids):
        raise ValueError(f"the IR has no node {number}")
    return node_ids[number]
