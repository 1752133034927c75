"""Precedence: which nodes have surely settled before another one starts, whatever is chosen, dies or comes first."""

from __future__ import annotations

from collections.abc import Iterable

from ..workflow import EdgeKind, JoinPolicy, Node
from .graph import Findings, Graph


class Precedence:
    """Answers for the pairs asked about, both ways and within one scope: one bit set per node, in one pass.

    A set lives only until all targets of its node have been passed. A node that died has settled.
    """

    def __init__(self, graph: Graph, findings: Findings, pairs: Iterable[tuple[int, int]]) -> None:
        asked: dict[int, set[int]] = {}
        for one, other in pairs:
            asked.setdefault(one, set()).add(other)
            asked.setdefault(other, set()).add(one)
        self._before: set[tuple[int, int]] = set()
        if asked:
            self._walk(graph, findings.workflow.nodes, asked)

    def precedes(self, one: int, other: int) -> bool:
        return (one, other) in self._before

    def _walk(self, graph: Graph, nodes: tuple[Node, ...], asked: dict[int, set[int]]) -> None:
        bits = {node: 1 << i for i, node in enumerate(sorted(asked))}
        above: dict[int, int] = {}
        waiting = [len(outs) for outs in graph.outs]
        for node in graph.order:
            is_patient = _waits_for_all(nodes[node], len(graph.ins[node]))
            found = 0 if is_patient or not graph.ins[node] else -1
            for number in graph.ins[node]:
                link = graph.links[number]
                came = above[link.source]
                if link.kind is not EdgeKind.MILESTONE:
                    came |= bits.get(link.source, 0)
                found = found | came if is_patient else found & came
                waiting[link.source] -= 1
                if not waiting[link.source]:
                    del above[link.source]
            self._before.update((other, node) for other in asked.get(node, ()) if found & bits[other])
            if waiting[node]:
                above[node] = found


def _waits_for_all(node: Node, arity: int) -> bool:
    """Whether every in-edge has arrived when the node starts."""
    if node.join is None or node.while_waiting is not None:
        return True
    if node.join.policy is JoinPolicy.AT_LEAST:
        return node.join.n >= arity
    return node.join.policy in (JoinPolicy.ALL, JoinPolicy.EVERY)
