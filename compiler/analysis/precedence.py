"""Precedence: which nodes have surely settled before another one starts, whatever is chosen, dies or comes first."""

from __future__ import annotations

from ..workflow import EdgeKind, JoinPolicy, Node
from .graph import Findings, Graph


class Precedence:
    """Answers for pairs of the nodes asked about, within one scope: one bit set per node, in one pass over the order.

    A set lives only until all targets of its node have been passed. A node that died has settled.
    """

    def __init__(self, graph: Graph, findings: Findings, asked: set[int]) -> None:
        self._bits = {node: 1 << i for i, node in enumerate(sorted(asked))}
        self._before: dict[int, int] = {}
        if asked:
            self._walk(graph, findings.workflow.nodes)

    def precedes(self, one: int, other: int) -> bool:
        return bool(self._before[other] & self._bits[one])

    def _walk(self, graph: Graph, nodes: tuple[Node, ...]) -> None:
        above: dict[int, int] = {}
        waiting = [len(outs) for outs in graph.outs]
        for node in graph.order:
            is_patient = _waits_for_all(nodes[node], len(graph.ins[node]))
            found = 0 if is_patient or not graph.ins[node] else -1
            for number in graph.ins[node]:
                link = graph.links[number]
                came = above[link.source]
                if link.kind is not EdgeKind.MILESTONE:
                    came |= self._bits.get(link.source, 0)
                found = found | came if is_patient else found & came
                waiting[link.source] -= 1
                if not waiting[link.source]:
                    del above[link.source]
            if node in self._bits:
                self._before[node] = found
            if waiting[node]:
                above[node] = found


def _waits_for_all(node: Node, arity: int) -> bool:
    """Whether every in-edge has arrived when the node starts."""
    if node.join is None or node.while_waiting is not None:
        return True
    if node.join.policy is JoinPolicy.AT_LEAST:
        return node.join.n >= arity
    return node.join.policy in (JoinPolicy.ALL, JoinPolicy.EVERY)
