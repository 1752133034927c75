"""Early signals: what has come for the open door of a map while its token was under way, to be taken at once.

Each time the whole list of the map is written anew: a door that takes one signal at a time does that as often as they
come, with twice as many signals four times as much.
"""

from __future__ import annotations

from typing import NamedTuple

from ...compiler.ir import signals_of
from ..floor.payloads import is_reference
from ..marking.marking import EXPIRED
from .gathering import Read
from .step_context import StepContext

TAKEN_MAX = 200
"""Signals that one transition takes, each at the cost of one write."""
TAKEN_BYTES_MAX = 256 * 1024
"""Of their values, also of those that are stored apart; those of one signal more at most."""
AT_ONCE = 25
"""Values that one call reads, of 8 KiB at the most."""


class EarlySignals(NamedTuple):
    """``numbers``: of the commands that they are. ``values``: as they are kept, some as references."""

    numbers: tuple[str, ...] = ()
    values: tuple[bytes, ...] = ()


def door_name(step: StepContext) -> str:
    """Return the name of the signals that bring a map more items, if one of them has released its token."""
    is_released = step.word.startswith("s") and step.word != EXPIRED
    if not step.node.is_map or not is_released or step.own_output is None:
        return ""
    return "".join(signals_of(step.node))


async def look_for_more(read: Read, step: StepContext) -> EarlySignals:
    """Return the signals that a map's token may take with the one that released it. Nothing is changed."""
    name = door_name(step)
    (kept,) = await read(step.run_id, [f"g:{name}"]) if name else (None,)
    if kept is None:
        return EarlySignals()
    numbers = kept.decode().split()[:TAKEN_MAX]
    found: list[bytes] = []
    room = TAKEN_BYTES_MAX
    for first in range(0, len(numbers), AT_ONCE):
        for value in await read(step.run_id, [f"G{number}" for number in numbers[first : first + AT_ONCE]]):
            if value is None or room <= 0:  # somebody else has taken it meanwhile, or it is enough
                return EarlySignals(tuple(numbers[: len(found)]), tuple(found))
            found.append(value)
            room -= _size(value)
    return EarlySignals(tuple(numbers), tuple(found))


def _size(value: bytes) -> int:
    return int(value.rpartition(b":")[2]) if is_reference(value) else len(value)
