"""Bonds: what one node means to another that no way leads to: milestones (``while_waiting``) and ``cancels``.

Both hold within one scope: the waiting node and the withdrawn one are those of the same iteration and item.
"""

from __future__ import annotations

from collections.abc import Iterator

from ..workflow import JoinPolicy, Node
from .compensations import Compensations
from .graph import Findings, Graph
from .precedence import Precedence
from .refusals import refuse_milestone
from .regions import Regions

WAITING_TYPES = frozenset({"wait", "approval", "signal"})


def check_bonds(graph: Graph, findings: Findings, compensations: Compensations) -> None:
    """Refuse what could never happen. The graph is sorted."""
    precedence = Precedence(graph, findings, (*_milestones(graph), *_cancels(graph, findings)))
    for waiting, node in _milestones(graph):
        _check_milestone(findings, precedence, waiting, node)
    for node, target in _cancels(graph, findings):
        why = _cancels_nothing(compensations, precedence, node, target)
        if why:
            findings.conclude(
                "cancels_nothing",
                f"{findings.id(node)!r} cancels {findings.id(target)!r}, {why}",
                node,
                "cancels",
                hint="'cancels' names nodes that may be at work or waiting at that time; rules choose what comes next",
            )


def check_scopes(graph: Graph, regions: Regions, findings: Findings) -> None:
    """Refuse bonds between nodes that are not inside of the same loops, maps and ``each`` joins."""
    for waiting, node in _milestones(graph):
        if regions.levels[waiting] != regions.levels[node] and waiting not in findings.doubted:
            refuse_milestone(findings, waiting, node)
    for node, target in _cancels(graph, findings):
        if regions.levels[node] != regions.levels[target] and target not in findings.doubted:
            findings.conclude(
                "cancels_scope",
                f"{findings.id(node)!r} cancels {findings.id(target)!r}, which is not in the same loop, map or 'each' "
                "region",
                node,
                "cancels",
                hint="let a node of the same region do it",
            )


def _milestones(graph: Graph) -> Iterator[tuple[int, int]]:
    """Yield (the waiting node, the one that runs meanwhile)."""
    for numbers in graph.milestones.values():
        for number in numbers:
            yield graph.links[number].source, graph.links[number].target


def _cancels(graph: Graph, findings: Findings) -> Iterator[tuple[int, int]]:
    for number, node in enumerate(findings.workflow.nodes):
        for name in node.cancels:
            yield number, graph.index[name]


def _check_milestone(findings: Findings, precedence: Precedence, waiting: int, number: int) -> None:
    node, other = findings.workflow.nodes[number], findings.workflow.nodes[waiting]
    if not _waits(other):
        findings.add(
            "milestone_never_waits",
            f"{node.id!r} runs while {other.id!r} waits, but a node of type {other.type!r} never waits",
            number,
            "while_waiting",
            hint="nodes of type wait, signal or approval wait, and those with requires_approval",
        )
    if node.join is not None and node.join.policy is not JoinPolicy.EVERY:
        findings.add(
            "milestone_joins",
            f"{node.id!r} needs {other.id!r} to wait and every predecessor to lead to it: it has 'join: every'",
            number,
            "join",
            hint="leave 'join' out",
        )
    if precedence.precedes(waiting, number):
        findings.conclude(
            "milestone_too_late",
            f"{node.id!r} starts only after {other.id!r} has ended, and so never while it waits",
            number,
            "while_waiting",
            hint=f"let it depend on what comes before {other.id!r}",
        )


def _waits(node: Node) -> bool:
    return node.type in WAITING_TYPES or node.approval is not None


def _cancels_nothing(compensations: Compensations, precedence: Precedence, node: int, target: int) -> str:
    """Return why there is nothing to withdraw, or nothing."""
    if target == node:
        return "that is itself"
    if target in compensations.undoes:
        return "which runs only when the run has failed"
    if precedence.precedes(target, node):
        return "which has always ended by then"
    if precedence.precedes(node, target):
        return "which starts only after it"
    return ""
