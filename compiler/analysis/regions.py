"""Regions and levels: which loops, maps and ``each`` joins a node stands in (token-rules, sections 1 and 2).

Refuses, naming the nodes, every shape whose scopes would not be well defined. Costs the nodes and edges, plus the
sum of the bodies of all regions (nodes x nesting).
"""

from __future__ import annotations

from dataclasses import dataclass

from ..ir import RegionKind
from ..workflow import EdgeKind, JoinPolicy
from .graph import Findings, Graph
from .refusals import LEVELS_MAX, refuse_depth, refuse_milestone


@dataclass(slots=True)
class Area:
    """One region while it is being worked on. ``body``: its nodes."""

    kind: RegionKind
    node: int
    entry: int
    body: frozenset[int]
    aggregate: int = -1
    depth: int = -1


@dataclass(slots=True)
class Regions:
    """``levels``: per node, numbers of ``areas``, outermost first. ``loop_of``: loop node -> area.

    ``aggregates``: the nodes that close a map.
    """

    areas: list[Area]
    levels: list[tuple[int, ...]]
    loop_of: dict[int, int]
    map_of: dict[int, int]
    aggregates: frozenset[int]


def find_regions(graph: Graph, findings: Findings) -> Regions:
    """Return the regions. One that is refused, or has a node in doubt, is left out, and its head is doubted."""
    each_levels = _each_levels(graph, findings)
    inner = _sure([*_loops(graph, findings), *_maps(graph, findings)], findings)
    areas: list[Area] = []
    levels: list[tuple[int, ...]] = []
    bodies: dict[int, list[int]] = {}
    for node, joins in enumerate(each_levels):
        for join in joins:
            bodies.setdefault(join, []).append(node)
    number_of_each = {join: number for number, join in enumerate(bodies)}
    areas += [Area(RegionKind.EACH, join, join, frozenset(body)) for join, body in bodies.items()]
    levels += [tuple(number_of_each[join] for join in joins) for joins in each_levels]
    _nest(areas, levels, inner, findings)
    _check_each(areas, levels, findings)
    _check_aggregates(areas, levels, findings)
    for number, area in enumerate(areas):
        inside = next(iter(area.body))
        area.depth = levels[inside].index(number)
    return Regions(
        areas,
        levels,
        {a.node: i for i, a in enumerate(areas) if a.kind is RegionKind.LOOP},
        {a.node: i for i, a in enumerate(areas) if a.kind is RegionKind.MAP},
        frozenset(a.aggregate for a in areas if a.kind is RegionKind.MAP),
    )


def _sure(areas: list[Area], findings: Findings) -> list[Area]:
    """The areas without a node in doubt."""
    if not findings.doubted:
        return areas
    sure = [area for area in areas if area.body.isdisjoint(findings.doubted)]
    findings.doubted |= {area.entry for area in areas} - {area.entry for area in sure}
    return sure


def _is_each(graph: Graph, findings: Findings, node: int) -> bool:
    join = findings.workflow.nodes[node].join
    return join is not None and join.policy is JoinPolicy.EACH and len(graph.ins[node]) > 1


def _each_levels(graph: Graph, findings: Findings) -> list[tuple[int, ...]]:
    """Per node the ``each`` joins above it, outermost first."""
    levels: list[tuple[int, ...]] = [() for _ in graph.ins]
    deep: set[int] = set()
    for node in graph.order:
        sources = graph.sources(node)
        outer = levels[sources[0]] if sources else ()
        for number, source in zip(graph.ins[node][1:], sources[1:], strict=True):
            if levels[source] != outer:
                if graph.links[number].kind is EdgeKind.MILESTONE:
                    refuse_milestone(findings, source, node)
                    break
                findings.refuse(
                    "each_region_entered",
                    f"{findings.id(node)!r} joins paths of an 'each' region with paths from outside of it "
                    f"({findings.id(sources[0])!r} and {findings.id(source)!r})",
                    node,
                    hint="keep the paths apart, or use 'join: all' or 'join: any' instead of 'each'",
                )
                break
        inside = (*outer, node) if _is_each(graph, findings, node) else outer
        if not deep.isdisjoint(sources):
            deep.add(node)
        elif len(inside) > LEVELS_MAX:
            refuse_depth(findings, node)
            deep.add(node)
        levels[node] = inside[:LEVELS_MAX]
    findings.doubted |= deep
    return levels


def _loops(graph: Graph, findings: Findings) -> list[Area]:
    """The loops. Where their bodies have more nodes than fit without nesting too deeply no other one is looked for."""
    loops: list[Area] = []
    room = LEVELS_MAX * len(graph.order)
    for number, node in enumerate(findings.workflow.nodes):
        if node.loop is None:
            continue
        entry = graph.index[node.loop.back_to]
        body = _loop_body(graph, entry, number)
        if body is None:
            findings.conclude(
                "back_to_no_ancestor",
                f"{node.id!r} loops back to {node.loop.back_to!r}, which is not on a path that leads to it",
                number,
                "loop",
                "back_to",
                hint="'back_to' names the loop node itself or a node before it",
            )
            findings.doubted |= {entry, number}
        elif _is_entered_at_its_head(graph, findings, entry, number, body):
            loops.append(Area(RegionKind.LOOP, number, entry, frozenset(body)))
            room -= len(body)
        else:
            findings.doubted.add(entry)
        if room < 0:
            refuse_depth(findings, number)
            findings.doubted.update(graph.order)
            return []
    return loops


def _loop_body(graph: Graph, entry: int, last: int) -> set[int] | None:
    """Return the nodes that lead to ``last`` without passing ``entry``, both included; None if ``entry`` does not."""
    body = {last}
    if entry == last:
        return body
    found = False
    stack = [last]
    while stack:
        for source in graph.sources(stack.pop()):
            if source == entry:
                found = True
            elif source not in body:
                body.add(source)
                stack.append(source)
    body.add(entry)
    return body if found else None


def _is_entered_at_its_head(graph: Graph, findings: Findings, entry: int, last: int, body: set[int]) -> bool:
    inside = {entry}
    stack = [entry]
    while stack:
        for target in graph.targets(stack.pop()):
            if target in body and target not in inside:
                inside.add(target)
                stack.append(target)
    ok = True
    for node in sorted(inside - {entry}):
        for number in graph.ins[node]:
            source = graph.links[number].source
            if source not in inside:
                ok = False
                if graph.links[number].kind is EdgeKind.MILESTONE:
                    refuse_milestone(findings, source, node)
                    continue
                findings.conclude(
                    "loop_side_entry",
                    f"the edge {findings.id(source)!r} -> {findings.id(node)!r} enters the body of the loop "
                    f"{findings.id(last)!r} other than at its head {findings.id(entry)!r}",
                    node,
                    hint=f"depend on it at {findings.id(entry)!r}; inside the loop read "
                    f"steps.{findings.id(source)}.output",
                )
    return ok


def _maps(graph: Graph, findings: Findings) -> list[Area]:
    """Match every map with its aggregate by the stack of maps open above each node."""
    nodes = findings.workflow.nodes
    open_maps: list[tuple[int, ...]] = [() for _ in nodes]
    bodies: dict[int, list[int]] = {}
    aggregate_of: dict[int, int] = {}
    ends: list[tuple[int, int]] = []
    for node in graph.order:
        stacks = _stacks_over(graph, findings, open_maps, node)
        if len(stacks) > 1:
            names = ", ".join(repr(findings.id(source)) for source in stacks.values())
            findings.refuse(
                "map_side_door",
                f"{findings.id(node)!r} is reached from inside and from outside of a map's body ({names})",
                node,
                hint="a map's body is entered by the map and left by its aggregate only",
            )
        stack = max(stacks, key=len, default=())
        if nodes[node].type == "aggregate":
            if not stack:
                _check_fan_in(graph, findings, node)
            elif aggregate_of.setdefault(stack[-1], node) != node:
                findings.refuse(
                    "map_two_aggregates",
                    f"the map {findings.id(stack[-1])!r} has two aggregates: "
                    f"{findings.id(aggregate_of[stack[-1]])!r} and {nodes[node].id!r}",
                    node,
                )
            stack = stack[:-1]
        if len(stack) > LEVELS_MAX:
            refuse_depth(findings, node)
            findings.doubted.update(graph.order)
            return []
        open_maps[node] = stack
        for outer in stack:
            bodies.setdefault(outer, []).append(node)
        if stack and not graph.ways_out(node) and nodes[node].type != "map":
            ends.append((node, stack[-1]))
    _check_ends(findings, [(node, over) for node, over in ends if over in aggregate_of])
    return _map_areas(findings, bodies, aggregate_of, _unsure_maps(graph, findings, open_maps))


def _unsure_maps(graph: Graph, findings: Findings, open_maps: list[tuple[int, ...]]) -> set[int]:
    """The maps whose aggregate may be there: one of no map is in doubt, or a node of their body has no type we know."""
    nodes = findings.workflow.nodes
    is_lost = any(nodes[node].type == "aggregate" and not open_maps[node] for node in findings.doubted)
    if is_lost or any(not nodes[node].type and not graph.ins[node] for node in findings.unread):
        return set(graph.order)
    return {outer for node in findings.unread if not nodes[node].type for outer in open_maps[node]}


def _check_ends(findings: Findings, ends: list[tuple[int, int]]) -> None:
    """ends: nodes that nothing follows, each with the map in whose body it is."""
    for node, over in ends:
        findings.conclude(
            "map_body_open",
            f"{findings.id(node)!r} is in the body of the map {findings.id(over)!r} but does not lead to its aggregate",
            node,
            hint="lead it to the aggregate",
        )


def _check_fan_in(graph: Graph, findings: Findings, node: int) -> None:
    """An aggregate of no map joins several nodes; with one way in it is the second one of a map, or left over."""
    written = findings.workflow.nodes[node]
    if len(graph.ins[node]) < 2:
        findings.conclude(
            "aggregate_without_map",
            f"{written.id!r} aggregates neither a map nor several nodes",
            node,
            hint="let it depend on the last nodes of a map's body, or on two nodes or more",
        )
    if "policy" in written.config:
        findings.conclude(
            "aggregate_policy",
            f"{written.id!r} aggregates no map, and 'policy' is about a map's items",
            node,
            "config",
            "policy",
            hint="write on_error at the nodes that may fail",
        )


def _stacks_over(
    graph: Graph, findings: Findings, open_maps: list[tuple[int, ...]], node: int
) -> dict[tuple[int, ...], int]:
    """Return the stacks of maps that lead to a node, each with a node that it comes from: one, where all is well."""
    stacks: dict[tuple[int, ...], int] = {}
    for number in graph.ins[node]:
        link = graph.links[number]
        stack = _stack_over(graph, findings, open_maps, number)
        if link.kind is EdgeKind.MILESTONE and stacks and stack not in stacks:
            refuse_milestone(findings, link.source, node)
        else:
            stacks[stack] = link.source
    return stacks


def _stack_over(graph: Graph, findings: Findings, open_maps: list[tuple[int, ...]], link: int) -> tuple[int, ...]:
    edge = graph.links[link]
    outer = open_maps[edge.source]
    if findings.workflow.nodes[edge.source].type == "map" and edge.kind is EdgeKind.NORMAL:
        return (*outer, edge.source)
    return outer


def _map_areas(
    findings: Findings, bodies: dict[int, list[int]], aggregate_of: dict[int, int], unsure: set[int]
) -> list[Area]:
    areas: list[Area] = []
    for number, node in enumerate(findings.workflow.nodes):
        if node.type != "map":
            continue
        body = bodies.get(number, [])
        if number not in aggregate_of and number in unsure:
            findings.doubted.add(number)
        elif number not in aggregate_of:
            findings.refuse("map_without_aggregate", f"the map {node.id!r} has no aggregate", number)
        elif not body:
            findings.refuse("map_body_empty", f"the map {node.id!r} has an empty body", number)
        else:
            areas.append(Area(RegionKind.MAP, number, number, frozenset(body), aggregate_of[number]))
    return areas


def _nest(areas: list[Area], levels: list[tuple[int, ...]], inner: list[Area], findings: Findings) -> None:
    """Put loops and maps into each other, larger ones outside; equal ones: the map, as each item loops by itself."""
    for area in sorted(inner, key=lambda a: (-len(a.body), a.kind is not RegionKind.MAP, a.node)):
        if not _fits(areas, levels, area, findings):
            findings.doubted.add(area.entry)
            continue
        for node in area.body:
            levels[node] = (*levels[node], len(areas))
        areas.append(area)


def _fits(areas: list[Area], levels: list[tuple[int, ...]], area: Area, findings: Findings) -> bool:
    """Whether an area stands inside of others as a whole, and not too deep; told where it does not."""
    over = {levels[node] for node in area.body}
    if len(over) > 1:
        other = _overlapping(areas, levels, area)
        if other.kind is RegionKind.EACH and other.node in area.body - {area.entry}:
            _refuse_each(findings, other, area)
            return False
        findings.refuse(
            "regions_overlap",
            f"the regions of {findings.id(other.node)!r} and {findings.id(area.node)!r} overlap and neither holds "
            "the other",
            area.node,
            hint="use one loop node behind a merge, or put a noop between",
        )
        return False
    if len(next(iter(over))) == LEVELS_MAX:
        refuse_depth(findings, min(area.body))
        findings.doubted |= area.body  # those inside of it are too deep as well
        return False
    return True


def _overlapping(areas: list[Area], levels: list[tuple[int, ...]], area: Area) -> Area:
    for node in sorted(area.body):
        for number in levels[node]:
            if not area.body <= areas[number].body:
                return areas[number]
    return area


def _check_each(areas: list[Area], levels: list[tuple[int, ...]], findings: Findings) -> None:
    for area in areas:
        if area.kind is not RegionKind.EACH:
            continue
        for number in levels[area.node]:
            over = areas[number]
            if over.kind is RegionKind.MAP or (over.kind is RegionKind.LOOP and over.entry != area.node):
                _refuse_each(findings, area, over)


def _check_aggregates(areas: list[Area], levels: list[tuple[int, ...]], findings: Findings) -> None:
    """A loop that goes back to an aggregate would run it again without its map."""
    for area in areas:
        if area.kind is RegionKind.MAP and levels[area.node] != levels[area.aggregate]:
            findings.refuse(
                "aggregate_apart",
                f"{findings.id(area.aggregate)!r} is in a loop without the map {findings.id(area.node)!r} that it "
                "aggregates",
                area.aggregate,
                hint=f"go back to {findings.id(area.node)!r}, or put a noop behind the aggregate and go back to that",
            )


def _refuse_each(findings: Findings, area: Area, over: Area) -> None:
    what = "loop" if over.kind is RegionKind.LOOP else "map"
    findings.refuse(
        "each_in_region",
        f"{findings.id(area.node)!r} joins 'each' inside the body of the {what} {findings.id(over.node)!r}",
        area.node,
        hint="put this part into a subflow",
    )
