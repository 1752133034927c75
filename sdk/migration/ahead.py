"""Ahead: what of a graph is still to come for a marking, and what is behind it. Pure.

An edge is *ahead* where its status is not decided yet: its source lives, or a token may still come to it. A node is
ahead where a token may come to it and none has been there. Both are found by walking on from the tokens, scope by
scope, and the walk ends where a node had its turn.

A milestone is decided when its source parks, everything else when it settles.
"""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from ...compiler.ir import Ir, Node, RegionKind
from ...compiler.workflow import EdgeKind
from ..marking.marking import Marking, TokenKind
from ..marking.scopes import START_NODE, Scope, follow, project

At = tuple[int, Scope]
LATER = 10**9
"""An iteration that has not begun, or an item that is not there yet; one stands for all of them."""


def outer_region(node: Node) -> int:
    """Return the outermost region that a node stands in, or -1."""
    return node.levels[0] if node.levels else -1


def inside(ir: Ir, region: int) -> set[int]:
    """Return the nodes of a region; of a map also those of its own tokens."""
    found = {number for number, node in enumerate(ir.nodes) if region in node.levels}
    if ir.regions[region].kind is RegionKind.MAP:
        own = ir.regions[region]
        found |= {own.cursor, own.collector, own.sweeper}
    return found


def regions_under_way(ir: Ir, marking: Marking, settled: Iterable[int]) -> set[int]:
    """Return the outermost regions in which something lives, waits at a join, or has items.

    An ``each`` join is under way from its first activation on: more may follow.
    """
    found: set[int] = set()
    for number, _ in marking.tokens:
        if number >= 0:
            node = ir.nodes[number]
            found.update(_around(node, is_within=node.is_gate)[:1])
    for number, _ in (*marking.joins, *marking.maps):
        found.update(_around(ir.nodes[number], is_within=True)[:1])
    each = (outer_region(ir.nodes[number]) for number in settled)
    return found | {region for region in each if region >= 0 and ir.regions[region].kind is RegionKind.EACH}


def _is_own(node: Node) -> bool:
    """Whether it is a node of a map's own tokens."""
    return node.is_gate and node.map_region >= 0


def _around(node: Node, *, is_within: bool) -> tuple[int, ...]:
    """The regions around a node. is_within: of a map, its aggregate or its own nodes, what is about its items."""
    return (*node.levels, node.map_region) if is_within and node.map_region >= 0 else node.levels


@dataclass(frozen=True, kw_only=True)
class Ahead:
    """``edges``, ``nodes``: what is ahead, in whatever scope. ``begun``: nodes that had their turn, or have it now."""

    edges: AbstractSet[int]
    nodes: AbstractSet[int]
    begun: AbstractSet[int]


def look_ahead(ir: Ir, marking: Marking, settled: Iterable[At]) -> Ahead:
    """Walk on from the tokens. settled: the places that are. Cost: the graph, and what is under way."""
    walk = _Walk(ir, marking, settled)
    walk.run()
    return Ahead(
        edges=walk.edges,
        nodes={number for number, _ in walk.ahead},
        begun={number for number, _ in walk.begun},
    )


class _Walk:
    """A walk on its way: places whose edges are still to be followed are in ``left``."""

    def __init__(self, ir: Ir, marking: Marking, settled: Iterable[At]) -> None:
        self._ir = ir
        self._marking = marking
        self._living = [at for at in marking.tokens if at[0] >= 0 and not self._is_void(at)]
        fired = (at for at, record in marking.joins.items() if record.is_settled)
        self.begun: set[At] = {*settled, *self._living, *fired}
        self.edges: set[int] = set()
        self.ahead: set[At] = set()
        self._left: list[At] = []

    def run(self) -> None:
        for at in self._living:
            self._decide(*at)
        for at, record in self._marking.maps.items():
            if not record.is_closed:
                self._items(*at, is_more=record.is_open or record.next < record.count)
        self._begin()
        while self._left:
            self._decide(*self._left.pop())

    def _is_void(self, at: At) -> bool:
        """Whether a failed item has closed a map around a token: it has no effect."""
        levels = self._ir.nodes[at[0]].levels[: len(at[1])]
        return any(
            (record := self._marking.maps.get((self._ir.regions[level].node, at[1][:depth]))) is not None
            and record.is_closed
            for depth, level in enumerate(levels)
        )

    def _begin(self) -> None:
        """The entry nodes whose tokens are still to come."""
        start = self._marking.tokens.get((START_NODE, ()))
        if start is not None and start.kind is TokenKind.CURSOR:
            for number in self._ir.entries[int(start.extra.partition("@")[0]) :]:
                self._come((number, (1,) * len(self._ir.nodes[number].levels)))

    def _decide(self, number: int, scope: Scope) -> None:
        """All that a node may do when it settles."""
        node = self._ir.nodes[number]
        if _is_own(node):
            return
        for edge in node.outs if self._marking.maps.get((number, scope)) is None else ():
            self._follow(edge, scope)
        for edge in node.milestones:
            if (edge, scope) not in self._marking.marks:
                self._follow(edge, scope)
        if node.loop_region >= 0:
            self._loop(node, scope)

    def _follow(self, edge: int, scope: Scope) -> None:
        self.edges.add(edge)
        way = self._ir.edges[edge]
        self._come((way.target, follow(way, scope)))

    def _come(self, at: At) -> None:
        if at not in self.begun and at not in self.ahead:
            self.ahead.add(at)
            self._left.append(at)

    def _loop(self, node: Node, scope: Scope) -> None:
        """It may end, which its gates are told, or go back: then everything in it may come, in an iteration later."""
        region = self._ir.regions[node.loop_region]
        for gate in region.gates:
            self._come((gate, scope[: len(self._ir.nodes[gate].levels)]))
        entry = self._ir.nodes[region.entry]
        if scope[region.depth] != LATER:
            around = (*scope[: region.depth], LATER, *scope[region.depth + 1 :])
            self._come((region.entry, project(node.levels, around, entry.levels)))

    def _items(self, number: int, scope: Scope, *, is_more: bool) -> None:
        """A map that has items: the aggregate comes, and perhaps more items."""
        region = self._ir.regions[self._ir.nodes[number].map_region]
        for edge in self._ir.nodes[region.aggregate].ins:
            self.edges.add(edge)
        self._come((region.aggregate, scope))
        if is_more:
            for edge in self._ir.nodes[number].outs:
                way = self._ir.edges[edge]
                if way.kind is EdgeKind.NORMAL:
                    self.edges.add(edge)
                    self._come((way.target, follow(way, scope, LATER)))
