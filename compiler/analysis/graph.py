"""The graph of a workflow as numbers: nodes, edges, order, cycles.

Everything here is linear in nodes and edges. Findings go to a ``Findings``, which knows how to name nodes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from ..diagnostics import Diagnostic, Path, Severity
from ..workflow import EdgeKind, Workflow
from .knots import find_knots


@dataclass(slots=True)
class Link:
    """An edge while it is being worked on. ``origin``: the node that declared it."""

    source: int
    target: int
    kind: EdgeKind
    when: str | None
    origin: int


@dataclass(slots=True)
class Findings:
    """Collects diagnostics; ``nodes_key`` is where the document keeps its nodes.

    ``doubted``: nodes of which what is concluded from the ways to them may be wrong, for another fault has been found
    that decides it. The faults themselves make more of them. ``unread``: those of them that were not read as a whole.
    """

    workflow: Workflow
    nodes_key: str = "nodes"
    found: list[Diagnostic] = field(default_factory=lambda: [])
    doubted: set[int] = field(default_factory=lambda: set())
    unread: frozenset[int] = frozenset()

    def conclude(self, code: str, message: str, node: int, *more: str | int, hint: str = "") -> None:
        """Add what follows from the ways that lead to a node, where they are not in doubt."""
        if node not in self.doubted:
            self.add(code, message, node, *more, hint=hint)

    def refuse(self, code: str, message: str, node: int, *more: str | int, hint: str = "") -> None:
        """Like ``conclude``; the node is in doubt from now on."""
        self.conclude(code, message, node, *more, hint=hint)
        self.doubted.add(node)

    def add(self, code: str, message: str, node: int, *more: str | int, hint: str = "", warning: bool = False) -> None:
        path: Path = (self.nodes_key, node, *more) if node >= 0 else more
        severity = Severity.WARNING if warning else Severity.ERROR
        self.found.append(Diagnostic(code=code, message=message, severity=severity, path=path, hint=hint))

    def id(self, node: int) -> str:
        return self.workflow.nodes[node].id


@dataclass(slots=True)
class Graph:
    """``links``: forward edges in order. ``ins``/``outs``: link numbers per node. ``order``: topological.

    ``milestones``: by source, the links that its parking decides; they are among its ``outs`` too.
    """

    index: dict[str, int]
    links: list[Link]
    ins: list[list[int]]
    outs: list[list[int]]
    milestones: dict[int, list[int]] = field(default_factory=lambda: {})
    order: list[int] = field(default_factory=lambda: [])
    phase: list[int] = field(default_factory=lambda: [])

    def sources(self, node: int) -> list[int]:
        return [self.links[e].source for e in self.ins[node]]

    def targets(self, node: int) -> list[int]:
        return [self.links[e].target for e in self.outs[node]]

    def ways_out(self, node: int) -> list[int]:
        """Return the links that are decided when the node settles."""
        if node not in self.milestones:
            return self.outs[node]
        return [e for e in self.outs[node] if self.links[e].kind is not EdgeKind.MILESTONE]


def build_graph(workflow: Workflow) -> Graph:
    index = {node.id: i for i, node in enumerate(workflow.nodes)}
    links: list[Link] = []
    ins: list[list[int]] = [[] for _ in workflow.nodes]
    outs: list[list[int]] = [[] for _ in workflow.nodes]
    milestones: dict[int, list[int]] = {}
    for edge in workflow.edges:
        source, target = index[edge.source], index[edge.target]
        number = len(links)
        links.append(Link(source, target, edge.kind, edge.when, source))
        outs[source].append(number)
        ins[target].append(number)
        if edge.kind is EdgeKind.MILESTONE:
            milestones.setdefault(source, []).append(number)
    return Graph(index, links, ins, outs, milestones)


def sort_graph(graph: Graph, findings: Findings) -> None:
    """Fill ``order`` and ``phase`` (Kahn 1962). Each knot of cycles is told, with one of them, and cut out."""
    has_entry = any(not ins for ins in graph.ins)
    if _sort(graph):
        return
    left = set(range(len(graph.ins))) - set(graph.order)
    for knot in find_knots(graph, left):
        if findings.unread.isdisjoint(knot):  # else a loop may stand there that could not be read
            _tell_cycle(graph, findings, knot)
        _cut(graph, knot)
        findings.doubted |= knot
    if not has_entry and not findings.unread:
        findings.add("no_entry", "no node can start: every node has a predecessor", -1, findings.nodes_key)
    _sort(graph)


def spread_doubts(graph: Graph, findings: Findings) -> None:
    """Doubt what comes after a node that is doubted. The graph is sorted."""
    for node in graph.order if findings.doubted else ():
        if node not in findings.doubted and any(source in findings.doubted for source in graph.sources(node)):
            findings.doubted.add(node)


def _sort(graph: Graph) -> bool:
    waiting = [len(ins) for ins in graph.ins]
    phase = [0] * len(waiting)
    ready = deque(node for node, n in enumerate(waiting) if n == 0)
    order: list[int] = []
    while ready:
        node = ready.popleft()
        order.append(node)
        for target in graph.targets(node):
            phase[target] = max(phase[target], phase[node] + 1)
            waiting[target] -= 1
            if waiting[target] == 0:
                ready.append(target)
    graph.order, graph.phase = order, phase
    return len(order) == len(waiting)


def _tell_cycle(graph: Graph, findings: Findings, knot: set[int]) -> None:
    cycle = _find_cycle(graph, knot)
    names = " -> ".join(repr(findings.id(node)) for node in [*cycle, cycle[0]])
    around = set(zip(cycle, [*cycle[1:], cycle[0]], strict=True))
    links = (graph.links[number] for node in cycle for number in graph.outs[node])
    bonds = [link for link in links if link.kind is EdgeKind.MILESTONE and (link.source, link.target) in around]
    hint = "give the last node of the cycle a 'loop' with 'back_to' instead of an edge"
    if bonds:
        parked, meanwhile = findings.id(bonds[0].source), findings.id(bonds[0].target)
        hint = f"{meanwhile!r} runs only while {parked!r} waits: {parked!r} can not come after it"
    findings.add("cycle", f"the nodes form a cycle that no loop covers: {names}", cycle[0], hint=hint)


def _cut(graph: Graph, knot: set[int]) -> None:
    """Take the edges between the nodes of a knot out of the graph."""
    for node in knot:
        graph.ins[node] = [number for number in graph.ins[node] if graph.links[number].source not in knot]
        graph.outs[node] = [number for number in graph.outs[node] if graph.links[number].target not in knot]


def _find_cycle(graph: Graph, left: set[int]) -> list[int]:
    """Every node of a knot has a predecessor in it: walk back until one repeats. Its first node leads."""
    node = min(left)
    seen: dict[int, int] = {}
    path: list[int] = []
    while node not in seen:
        seen[node] = len(path)
        path.append(node)
        node = next(source for source in graph.sources(node) if source in left)
    cycle = path[seen[node] :][::-1]
    first = cycle.index(min(cycle))
    return cycle[first:] + cycle[:first]


def components(graph: Graph, bonds: Iterable[tuple[int, int]]) -> int:
    """Return how many parts of the graph are not connected (edges and ``bonds`` taken both ways)."""
    part = list(range(len(graph.ins)))

    def find(node: int) -> int:
        while part[node] != node:
            part[node] = part[part[node]]
            node = part[node]
        return node

    for link in graph.links:
        part[find(link.source)] = find(link.target)
    for one, other in bonds:
        part[find(one)] = find(other)
    return sum(1 for node in range(len(part)) if find(node) == node)
