"""Regions, levels, and the shapes that are refused: sections 1 and 2 of the token rules, read naively.

Sets of node ids, compared pair by pair; quadratic and worse, on purpose without any cleverness. Maps are not
read yet: a region of theirs would be one more kind in ``regions``, placed last by ``levels``.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from itertools import combinations

from .graph import Graph


class RegionKind(StrEnum):
    """In the order in which regions of equal sets lie: each outside loop."""

    EACH = "@"
    LOOP = "#"


class Reason(StrEnum):
    CYCLE = "cycle"
    BACK_TO = "back_to"
    AT_LEAST = "at_least"
    OVERLAP = "overlap"
    INTO_LOOP = "into_loop"
    INTO_EACH = "into_each"
    EACH_INSIDE = "each_inside"


@dataclass(frozen=True, kw_only=True)
class Region:
    """``owner``: the loop node, or the ``each`` join. ``entry``: the one node by which it is entered."""

    kind: RegionKind
    owner: str
    entry: str
    nodes: frozenset[str]

    @property
    def id(self) -> str:
        """As a scope writes it before the index: ``poll#``, ``merge@``."""
        return f"{self.owner}{self.kind}"


def reachable(graph: Graph, start: str) -> frozenset[str]:
    """``start`` and every node that forward edges of any kind lead to from it."""
    found: set[str] = set()
    waiting = [start]
    while waiting:
        node = waiting.pop()
        if node not in found:
            found.add(node)
            waiting.extend(edge.target for edge in graph.outs[node])
    return frozenset(found)


def regions(graph: Graph) -> list[Region]:
    """All regions of an acyclic graph, in document order. A loop that is no loop (``back_to``) has none."""
    after = {node: reachable(graph, node) for node in graph.nodes}
    found: list[Region] = []
    for node in graph.nodes.values():
        if graph.is_each(node.id):
            found.append(Region(kind=RegionKind.EACH, owner=node.id, entry=node.id, nodes=after[node.id]))
        if node.loop is not None and node.id in after[node.loop.back_to]:
            body = frozenset(other for other in after[node.loop.back_to] if node.id in after[other])
            found.append(Region(kind=RegionKind.LOOP, owner=node.id, entry=node.loop.back_to, nodes=body))
    return found


def levels(graph: Graph) -> dict[str, tuple[Region, ...]]:
    """The regions each node lies in, outermost first. Only for graphs that are not refused."""
    order = [*RegionKind]
    nested = sorted(regions(graph), key=lambda region: (-len(region.nodes), order.index(region.kind)))
    return {node: tuple(region for region in nested if node in region.nodes) for node in graph.nodes}


def refusal(graph: Graph) -> set[Reason]:
    """Why the compiler must refuse this graph; empty if it must not."""
    ranges = {Reason.AT_LEAST for node in graph.nodes if not _is_in_range(graph, node)}
    if has_cycle(graph):
        return ranges | {Reason.CYCLE}
    everywhere = regions(graph)
    overlaps = {
        Reason.OVERLAP
        for one, other in combinations(everywhere, 2)
        if one.nodes & other.nodes and not (one.nodes <= other.nodes or other.nodes <= one.nodes)
    }
    return ranges.union(overlaps, _loose_loops(graph), *(_misuse(graph, region) for region in everywhere))


def has_cycle(graph: Graph) -> bool:
    """True if some forward edge leads back to where it came from; loops are not edges."""
    return any(edge.source in reachable(graph, edge.target) for edge in graph.edges)


def _is_in_range(graph: Graph, node: str) -> bool:
    """True for other policies. ``any`` and ``at_least`` 1 ask for nothing of a node without in-edges."""
    join = graph.nodes[node].join
    return join.policy != "at_least" or 1 <= join.n <= max(len(graph.ins[node]), 1)


def _loose_loops(graph: Graph) -> set[Reason]:
    """Loops whose ``back_to`` is no ancestor of the loop node, nor itself."""
    return {
        Reason.BACK_TO
        for node in graph.nodes.values()
        if node.loop is not None and node.id not in reachable(graph, node.loop.back_to)
    }


def _misuse(graph: Graph, region: Region) -> set[Reason]:
    """Edges that enter elsewhere than at the entry, and ``each`` joins in a loop body but at its head."""
    is_loop = region.kind is RegionKind.LOOP
    found = {
        Reason.INTO_LOOP if is_loop else Reason.INTO_EACH
        for edge in graph.edges
        if edge.source not in region.nodes and edge.target in region.nodes - {region.entry}
    }
    if is_loop and any(graph.is_each(node) for node in region.nodes - {region.entry}):
        found.add(Reason.EACH_INSIDE)
    return found
