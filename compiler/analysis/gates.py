"""Gates: an edge that leaves a loop from a node that does not decide it is decided once (token-rules, section 5).

``insert_gates`` puts a join of arity 2 on such an edge, one per loop left, innermost first: it waits for the edge's
status and for the loop node's decision.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ..ir import RegionKind
from ..workflow import EdgeKind
from .graph import Findings, Graph, Link
from .regions import Regions


@dataclass(slots=True)
class Gates:
    """``ids`` of the gate nodes, numbered after the workflow's own. ``told_by``: area -> gates."""

    ids: list[str] = field(default_factory=lambda: [])
    told_by: dict[int, list[int]] = field(default_factory=lambda: {})


def insert_gates(graph: Graph, regions: Regions, findings: Findings) -> Gates:
    """Change ``graph`` and ``regions.levels`` in place."""
    gates = Gates()
    position = {number: place for ins in graph.ins for place, number in enumerate(ins)}
    for number in range(len(graph.links)):
        link = graph.links[number]
        left = _regions_left(regions, link.source, link.target)
        loops = [area for area in left if regions.areas[area].kind is RegionKind.LOOP]  # an aggregate closes the map
        inside = [area for area in loops if regions.areas[area].node != link.source]
        if not inside or number not in position:
            continue
        routes = findings.workflow.nodes[link.source].routing is not None
        if not routes and link.when is None and link.kind is EdgeKind.NORMAL:
            _warn(findings, link, regions.areas[inside[0]].node)
        _insert(graph, regions, gates, number, position[number], inside, findings)
    return gates


def _warn(findings: Findings, link: Link, loop: int) -> None:
    findings.add(
        "loop_left_by_side",
        f"the edge {findings.id(link.source)!r} -> {findings.id(link.target)!r} leaves the body of the loop "
        f"{findings.id(loop)!r} from a node that does not route: {findings.id(link.target)!r} runs once, when the loop "
        "ends, and sees the last iteration only",
        link.source,
        hint=f"what must happen in every iteration leads back to {findings.id(loop)!r}",
        warning=True,
    )


def _regions_left(regions: Regions, source: int, target: int) -> list[int]:
    kept = regions.levels[target]
    return [area for area in reversed(regions.levels[source]) if area not in kept]


def _insert(
    graph: Graph, regions: Regions, gates: Gates, number: int, position: int, left: list[int], findings: Findings
) -> None:
    """Put gates on an edge. position: its place among the in-edges of its target."""
    link = graph.links[number]
    target = link.target
    incoming = number
    for area in left:
        gate = len(graph.ins)
        depth = regions.areas[area].depth
        gates.ids.append(f"gate:{findings.id(link.origin)}:{findings.id(target)}:{link.kind}:{depth}")
        gates.told_by.setdefault(area, []).append(gate)
        regions.levels.append(regions.levels[link.source][: depth + 1])
        graph.phase.append(graph.phase[link.source])
        graph.links[incoming].target = gate
        outgoing = len(graph.links)
        graph.links.append(Link(gate, target, EdgeKind.NORMAL, None, link.origin))
        graph.ins.append([incoming])
        graph.outs.append([outgoing])
        incoming = outgoing
    graph.ins[target][position] = incoming
