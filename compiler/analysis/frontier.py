"""Dead-path frontiers: where a dead edge is felt, precomputed (token-rules, section 4).

Nodes that are no joins have one in-edge and form a forest, so the frontier of every edge is a slice of one
depth-first array: linear in the graph. An entry is an edge number (it arrives at its join), ``-1 - gate`` (told that
its loop ends), or ``LOOP_ENDS - region`` (a loop whose last iteration is read from outside ends).
"""

from __future__ import annotations

from dataclasses import dataclass

from ..ir import LOOP_ENDS
from ..workflow import EdgeKind
from .gates import Gates
from .graph import Graph
from .regions import Regions


@dataclass(slots=True)
class Frontiers:
    entries: list[int]
    edge: list[tuple[int, int]]
    node: list[tuple[int, int]]


def find_frontiers(
    graph: Graph,
    regions: Regions,
    gates: Gates,
    kept_last: set[int],
    is_join: list[bool],
    is_each: list[bool],
    is_map: list[bool],
) -> Frontiers:
    entries: list[int] = []
    edge = [(0, 0)] * len(graph.links)
    node = [(0, 0)] * len(graph.ins)
    roots = [
        n
        for n in range(len(graph.ins))
        if is_join[n] or is_each[n] or not graph.ins[n] or _begins_item(graph, is_map, n)
    ]
    for root in roots:
        stack: list[tuple[str, int, int]] = [("node", root, 0)]
        while stack:
            what, number, start = stack.pop()
            if what == "node":
                stack.append(("node_end", number, len(entries)))
                stack.extend(("edge", e, 0) for e in reversed(_dead_outs(graph, regions, number, is_map)))
            elif what == "node_end":
                decides = regions.areas[regions.map_of[number]].aggregate if is_map[number] else number
                area = regions.loop_of.get(decides, -1)
                if area in kept_last:
                    entries.append(LOOP_ENDS - area)
                entries.extend(-1 - gate for gate in gates.told_by.get(area, ()))
                node[number] = (start, len(entries))
            elif what == "edge_end":
                edge[number] = (start, len(entries))
            else:
                target = graph.links[number].target
                stack.append(("edge_end", number, len(entries)))
                if is_join[target]:
                    entries.append(number)
                elif not is_each[target]:
                    stack.append(("node", target, 0))
    return Frontiers(entries, edge, node)


def _begins_item(graph: Graph, is_map: list[bool], node: int) -> bool:
    """Whether a map leads to it: no dead path comes that way, for where a map is dead its body never exists."""
    return any(is_map[graph.links[e].source] and graph.links[e].kind is EdgeKind.NORMAL for e in graph.ins[node])


def _dead_outs(graph: Graph, regions: Regions, node: int, is_map: list[bool]) -> list[int]:
    """A map that never ran has its error edge dead, and then its aggregate: the body never exists."""
    if not is_map[node]:
        return graph.outs[node]
    errors = [e for e in graph.outs[node] if graph.links[e].kind is not EdgeKind.NORMAL]
    aggregate = regions.areas[regions.map_of[node]].aggregate
    return errors + graph.outs[aggregate]
