"""The comprehensions ``all``, ``exists``, ``exists_one``, ``filter`` and ``map``.

Each charges the cost of its body times the number of items before the first item, so an evaluation that would not
end in its budget does not begin. ``all`` and ``exists`` absorb errors as ``&&`` and ``||`` do.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .errors import Fault
from .frame import Eval, Frame, Value, kind_of
from .values import LISTS, MadeList, is_map, map_keys, no_overload


@dataclass(frozen=True, slots=True)
class Parts:
    """A macro's compiled pieces. ``cost``: steps of one pass through the body."""

    operand: Eval
    slot: int
    cost: int
    body: tuple[Eval, ...]


def _items(frame: Frame, parts: Parts) -> list[Value]:
    """List what is gone through: elements of a list, keys of a map. Charges for all of it."""
    value = parts.operand(frame)
    if kind_of(value) in LISTS:
        frame.charge(len(value) * parts.cost)
        items: list[Value] = value
        return items
    if is_map(value):
        frame.charge(len(value) * parts.cost)
        return map_keys(value)
    raise no_overload("comprehension", value)


def _not_bool(value: Value) -> Fault:
    return no_overload("condition of a comprehension", value)


def _quantifier(decisive: bool) -> Callable[[Parts], Eval]:
    """Make ``exists`` (the first True decides) or ``all`` (the first False decides)."""

    def make(parts: Parts) -> Eval:
        slot, condition = parts.slot, parts.body[0]
        other = not decisive

        def run(frame: Frame) -> bool:
            failure: Fault | None = None
            slots = frame.slots
            for slots[slot] in _items(frame, parts):
                try:
                    held = condition(frame)
                except Fault as fault:
                    failure = failure or fault.with_traceback(None)
                    continue
                if held is decisive:
                    return bool(decisive)
                if held is not other:
                    failure = failure or _not_bool(held)
            if failure is not None:
                raise Fault(failure.code, failure.message)
            return other

        return run

    return make


def _exists_one(parts: Parts) -> Eval:
    slot, condition = parts.slot, parts.body[0]

    def run(frame: Frame) -> bool:
        count, slots = 0, frame.slots
        for slots[slot] in _items(frame, parts):
            held = condition(frame)
            if held is True:
                count += 1
            elif held is not False:
                raise _not_bool(held)
        return count == 1

    return run


def _filter(parts: Parts) -> Eval:
    slot, condition = parts.slot, parts.body[0]

    def run(frame: Frame) -> MadeList:
        made, slots = MadeList(), frame.slots
        for item in _items(frame, parts):
            slots[slot] = item
            held = condition(frame)
            if held is True:
                made.append(item)
            elif held is not False:
                raise _not_bool(held)
        return made

    return run


def _map(parts: Parts) -> Eval:
    slot, result = parts.slot, parts.body[-1]
    if len(parts.body) == 2:
        return _map_filtered(parts)

    def run(frame: Frame) -> MadeList:
        made, slots = MadeList(), frame.slots
        for slots[slot] in _items(frame, parts):
            made.append(result(frame))
        return made

    return run


def _map_filtered(parts: Parts) -> Eval:
    slot, (condition, result) = parts.slot, parts.body

    def run(frame: Frame) -> MadeList:
        made, slots = MadeList(), frame.slots
        for slots[slot] in _items(frame, parts):
            held = condition(frame)
            if held is True:
                made.append(result(frame))
            elif held is not False:
                raise _not_bool(held)
        return made

    return run


MACROS: dict[str, Callable[[Parts], Eval]] = {
    "all": _quantifier(decisive=False),
    "exists": _quantifier(decisive=True),
    "exists_one": _exists_one,
    "filter": _filter,
    "map": _map,
}
