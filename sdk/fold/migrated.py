"""``run.migrated``: how a run's move to another IR is told, by the script and in the log, and what it does. Pure."""

from __future__ import annotations

from typing import NamedTuple

from ...compiler.ir import Ir
from ..corrupt import Corrupt
from ..events import Facts
from ..marking.marking import GOES_ON, Marking, Place, TokenKind
from ..marking.room import Room

MIGRATED = "run.migrated"
MIGRATED_CODE = "m"
"""The letter of its code (``events``)."""


class Move(NamedTuple):
    """``before``, ``after``: hashes of IRs. ``version``: that ``after`` is of. ``by``, ``reason``: may be empty.

    The reason is as it is stored (``sealing``).
    """

    before: str
    after: str
    version: int
    by: str = ""
    reason: str = ""


def migrated_code(move: Move) -> str:
    """Return the code by which the script tells of it. Texts go as hex: codes have marks of their own."""
    texts = (text.encode().hex() for text in (move.by, move.reason))
    return f"{MIGRATED_CODE}{move.before},{move.after},{move.version},{','.join(texts)}"


def read_migrated(rest: str) -> Facts:
    """Return what a code says, without its letter. Raises ValueError."""
    before, after, version, *texts = rest.split(",")
    by, reason = (bytes.fromhex(text).decode() for text in texts)
    data: dict[str, object] = {"from": before, "ir": after, "version": int(version)}
    return Facts(type=MIGRATED, reason=reason, data=data | ({"by": by} if by else {}))


def move_marking(marking: Marking, old: Ir, new: Ir | None) -> Ir:
    """Do what the move does, and return the IR: all stays where it is, but how many may be worked on at once.

    Who is at work stays so, even where that are more than may be; who waits for room has it where there is no bound.
    new: None where it is not known. Raises Corrupt.
    """
    if new is None:
        raise Corrupt("the IR that it moves to is not known")
    if marking.phase not in GOES_ON or not marking.tokens:
        raise Corrupt("a run that ends is not moved")
    for number, node in enumerate(old.nodes):
        if number >= len(new.nodes) or new.nodes[number].id != node.id:
            raise Corrupt(f"it is no form of {new.workflow!r} that fits the run: {node.id} has another number there")
    room, limit = marking.room, new.max_parallel
    if limit is None:
        marking.room = None
        for at in () if room is None else room.waiting:
            marking.tokens[at].place = Place.FLOOR
    elif room is None:
        marking.room = Room(limit)
        marking.room.inside.update(
            at for at, token in marking.tokens.items() if token.kind is TokenKind.NORMAL and token.place is Place.FLOOR
        )
    else:
        room.limit = limit
    return new


def moved_to(codes: str) -> str:
    """Return the hash of the IR that codes which begin with such a one lead to."""
    return codes.split(",", 2)[1]


def ir_told(facts: Facts) -> str:
    """Return the hash of the IR that ``run.started`` or ``run.migrated`` names, or nothing."""
    found = facts.data.get("ir")
    return found if isinstance(found, str) else ""
