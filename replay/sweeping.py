"""Sweeping: which values of a run can still be read. The others are history, and need not be in memory.

A node reads, of a loop around it, its own iteration and the one before; of a loop that has ended, the last one; of an
item of a map, its own (docs/concepts: loops, maps). So nothing reads what was written two iterations below the lowest
one in which a token lives or a join is half-filled, or in an item whose result was collected. What was completed and
may be undone counts as living.
"""

from __future__ import annotations

from collections.abc import Iterable

from ..compiler.ir import Ir, RegionKind
from ..sdk.marking.marking import Marking
from ..sdk.marking.scopes import Scope

At = tuple[int, Scope]


class Reach:
    """What can be read in a marking. Made anew after each event for which it is asked. Cost: what lives."""

    def __init__(self, ir: Ir, marking: Marking) -> None:
        self._ir = ir
        self._marking = marking
        self._lowest: dict[At, int] = {}
        self._items: set[tuple[int, Scope, int]] = set()
        for living in (marking.tokens, marking.joins, marking.maps, marking.completed):
            self._live(living)

    def _live(self, places: Iterable[At]) -> None:
        for node, scope in places:
            if node < 0:
                continue
            for depth, (region, index) in enumerate(zip(self._ir.nodes[node].levels, scope, strict=False)):
                at = region, scope[:depth]
                self._lowest[at] = min(index, self._lowest.get(at, index))
                self._items.add((*at, index))

    def has(self, node: int, scope: Scope) -> bool:
        """Whether a value of a node in a scope can still be read."""
        return self._is_within(self._ir.nodes[node].levels, scope)

    def has_last(self, region: int, scope: Scope) -> bool:
        """Whether it can still matter which iteration of a loop was the last. scope: around the loop."""
        found = self._ir.regions[region]
        return self._is_within(self._ir.nodes[found.node].levels[: found.depth], scope)

    def _is_within(self, levels: Iterable[int], scope: Scope) -> bool:
        return all(
            self._has_index(region, scope[:depth], index)
            for depth, (region, index) in enumerate(zip(levels, scope, strict=False))
        )

    def _has_index(self, region: int, around: Scope, index: int) -> bool:
        kind = self._ir.regions[region].kind
        if kind is RegionKind.LOOP:
            lowest = self._lowest.get((region, around))
            is_near = lowest is not None and index >= lowest - 1
            return is_near or index == self._marking.last.get((region, around))
        return kind is not RegionKind.MAP or self._has_item(region, around, index)

    def _has_item(self, region: int, around: Scope, index: int) -> bool:
        """An item is at work, or has ended and its result is still to be collected."""
        found = self._ir.regions[region]
        chunk = found.node, (*around, index // max(1, found.chunk))
        return (region, around, index) in self._items or chunk in self._marking.chunks
