"""Doubts: which nodes of a document that is wrong may mean something else than can be read of them.

What would be concluded from the ways to such a node, or to one behind it, is not told: it may follow from a fault that
is told already. A node that is named and is not there makes none, for whoever names it says that it is missing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from .diagnostics import Diagnostic, Path, Severity
from .findings import Findings
from .wiring import Wired
from .workflow import Json, Node

SHAPE_FIELDS = frozenset(
    ("id", "depends_on", "join", "loop", "rules", "default", "on_error", "compensate", "while_waiting", "cancels")
)
ROUTING_FIELDS = frozenset(("rules", "default", "mode"))


def find_doubts(findings: Findings, wired: Wired, edges: Sequence[Json]) -> set[int]:
    """Return the numbers of the nodes. ``edges``: the items of ``edges:``."""
    nodes = wired.nodes
    errors = [found for found in findings if found.severity is Severity.ERROR and len(found.path) > 1]
    doubted: set[int] = set()
    for found in errors:
        part, index = found.path[:2]
        if part == "nodes" and isinstance(index, int) and _is_of_shape(found.path, nodes[index]):
            doubted.add(index)
    wrong = {found.path[1] for found in errors if found.path[0] == "edges"}
    doubted |= _ends(nodes, [edge for number, edge in enumerate(edges) if number in wrong])
    if any(_may_lead_on(found, nodes) for found in errors):
        led = {edge.target for edge in wired.edges}
        doubted |= {number for number, node in enumerate(nodes) if node.id not in led}
    return doubted


def _is_of_shape(path: Path, node: Node) -> bool:
    """Whether a place of a node decides its type, or the ways to it or from it."""
    if len(path) == 2 or path[2] in SHAPE_FIELDS:
        return True
    return (path[2] == "config" and node.type == "conditional") or (path[2] == "type" and not node.type)


def _ends(nodes: Sequence[Node], edges: Sequence[Json]) -> set[int]:
    """The nodes that edges name."""
    numbers = {node.id: number for number, node in enumerate(nodes)}
    named = [each for edge in edges if isinstance(edge, dict) for each in cast("dict[str, Json]", edge).values()]
    return {numbers[name] for name in named if isinstance(name, str) and name in numbers}


def _may_lead_on(found: Diagnostic, nodes: Sequence[Node]) -> bool:
    """Whether what cannot be read may be a way to any node that none seems to lead to."""
    part, index = found.path[:2]
    if found.code == "unknown_node":
        return False
    if part == "edges":
        return True
    if part != "nodes" or not isinstance(index, int):
        return False
    if len(found.path) == 2 and found.code == "wrong_type":
        return True
    node = nodes[index]
    if not node.type:
        return not ROUTING_FIELDS.isdisjoint(node.config)
    return (node.type == "conditional" and "config" in found.path) or not ROUTING_FIELDS.isdisjoint(found.path[2:3])
