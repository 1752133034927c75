"""Recall: what the log says of a place, also where the items of a map stand elsewhere than they did. Pure.

Another version may give a map another list. An item of the same value is the same item, wherever it stands; of one that
the list did not have nothing is known.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TypeAlias

from ...compiler.ir import Ir
from ..marking.scopes import Scope
from .oracle import Answer, Oracle

At: TypeAlias = tuple[int, Scope]


@dataclass(frozen=True)
class Relisted:
    """A map with another list. ``before``: how many items it had; ``items``: by index now, the index then, or None;
    ``places``: by index then, the index now.
    """

    before: int
    items: Sequence[int | None]

    @cached_property
    def places(self) -> dict[int, int]:
        return {before: index for index, before in enumerate(self.items) if before is not None}


@dataclass
class Recall:
    """Asked by places of a run that is enacted again. ``relisted``: maps with other lists, by their places now."""

    ir: Ir
    oracle: Oracle
    relisted: dict[At, Relisted] = field(default_factory=dict[At, Relisted])

    def then(self, at: At) -> At | None:
        """Return where a place was then, None where it was not."""
        if not self.relisted:
            return at
        number, scope = at
        found: list[int] = []
        for depth, (region, index) in enumerate(zip(self.ir.nodes[number].levels, scope, strict=False)):
            relisted = self.relisted.get((self.ir.regions[region].node, scope[:depth]))
            before = index if relisted is None else relisted.items[index]
            if before is None:
                return None
            found.append(before)
        return number, tuple(found)

    def now(self, at: At) -> At | None:
        """Return where a place of then is, None where it is not any more."""
        if not self.relisted:
            return at
        number, scope = at
        found: Scope = ()
        for region, index in zip(self.ir.nodes[number].levels, scope, strict=False):
            relisted = self.relisted.get((self.ir.regions[region].node, found))
            place = index if relisted is None else relisted.places.get(index)
            if place is None:
                return None
            found = (*found, place)
        return number, found

    def answer(self, at: At) -> Answer | None:
        before = self.then(at)
        return None if before is None else self.oracle.answers.get(before)

    def input(self, at: At) -> bytes | None:
        before = self.then(at)
        return None if before is None else self.oracle.inputs.get(before)

    def gate(self, at: At) -> int | None:
        """When a gate was passed."""
        before = self.then(at)
        return None if before is None else self.oracle.gates.get(before)

    def parked(self, at: At) -> int | None:
        """Since when a step has waited that others run only beside."""
        before = self.then(at)
        return None if before is None else self.oracle.parked.get(before)

    def is_forced(self, at: At) -> bool:
        return self.then(at) in self.oracle.forced


def matched(before: Sequence[bytes], now: Sequence[bytes]) -> list[int | None]:
    """Return where each item stood before: at its place, else at any where nobody else of its value stands."""
    stays = [index < len(before) and before[index] == value for index, value in enumerate(now)]
    free: defaultdict[bytes, deque[int]] = defaultdict(deque)
    for index, value in enumerate(before):
        if index >= len(now) or not stays[index]:
            free[value].append(index)
    return [
        index if stays[index] else free[value].popleft() if free[value] else None for index, value in enumerate(now)
    ]
