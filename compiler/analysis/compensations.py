"""Compensations: nodes that undo another one when the run fails. They stand beside the graph, never in it."""

from __future__ import annotations

from dataclasses import dataclass, field

from .graph import Findings, Graph

MEANINGLESS = ("compensate", "loop", "cancels")
"""Fields that a compensation cannot have: when it runs, nothing else does, and nobody undoes it."""


@dataclass(slots=True)
class Compensations:
    """``of``: node -> its compensation. ``undoes``: compensation -> the one node that it undoes."""

    of: dict[int, int] = field(default_factory=lambda: {})
    undoes: dict[int, int] = field(default_factory=lambda: {})

    def place(self, node: int) -> int:
        """Return where a node stands in the graph: a compensation right behind the node that it undoes."""
        return self.undoes.get(node, node)


def find_compensations(graph: Graph, findings: Findings) -> Compensations:
    """Collect the pairs; name those that cannot be."""
    found = Compensations()
    for number, node in enumerate(findings.workflow.nodes):
        if node.compensate is None:
            continue
        target = graph.index[node.compensate]
        if target == number:
            findings.add("compensates_itself", f"{node.id!r} cannot compensate itself", number, "compensate")
            continue
        other = found.undoes.setdefault(target, number)
        if other != number:
            findings.add(
                "compensates_two",
                f"{node.compensate!r} compensates {findings.id(other)!r} and cannot compensate {node.id!r} too",
                number,
                "compensate",
                hint="give each node a compensation of its own; they may call the same handler",
            )
            continue
        found.of[number] = target
    for target, number in found.undoes.items():
        _check(graph, findings, target, findings.id(number))
    return found


def _check(graph: Graph, findings: Findings, number: int, undone: str) -> None:
    node = findings.workflow.nodes[number]
    if graph.ins[number] or graph.outs[number]:
        findings.add("compensation_has_edges", f"{node.id!r} compensates {undone!r} and so can have no edges", number)
    for name in MEANINGLESS:
        if getattr(node, name):
            findings.add(
                "compensation_field",
                f"{node.id!r} compensates {undone!r}: {name!r} means nothing there",
                number,
                name,
                hint="leave it out",
            )
